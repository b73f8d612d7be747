// Who may get in: API tokens for scripts, the password for people, and what scripts can ask.
import { ask, get } from "/assets/api.js";
import { confirm, show, showProblem, toast } from "/assets/dialog.js";
import { command, h, keyed } from "/assets/dom.js";
import { moment } from "/assets/format.js";

export function open(main) {
    const tokens = h("tbody", {});
    const none = h("p", { class: "quiet", text: "No tokens yet." });
    const tokenProblem = h("div", { class: "problem", role: "alert", hidden: true });
    const name = h("input", { id: "token-name", name: "name", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: "63", required: true });
    const make = h("form", { class: "row-form", onsubmit: create }, h("label", { for: "token-name", text: "Name of a new token" }), h("div", { class: "line-fields" }, name, h("button", { type: "submit", class: "primary", text: "Create" })));

    const user = h("input", { type: "text", name: "user", autocomplete: "username", class: "hidden-text", tabindex: "-1", "aria-hidden": "true" });
    const current = h("input", { id: "current", type: "password", autocomplete: "current-password", required: true, maxlength: "1024" });
    const wanted = h("input", { id: "wanted", type: "password", autocomplete: "new-password", required: true, maxlength: "1024" });
    const again = h("input", { id: "again", type: "password", autocomplete: "new-password", required: true, maxlength: "1024" });
    const passwordProblem = h("div", { class: "problem", role: "alert", hidden: true });
    const password = h("form", { class: "stack", onsubmit: change }, user, h("label", { for: "current", text: "Password of today" }), current, h("label", { for: "wanted", text: "New password" }), wanted,
        h("label", { for: "again", text: "New password again" }), again, passwordProblem, h("button", { type: "submit", class: "primary", text: "Change it" }));
    const routes = h("ul", { class: "routes" });
    const who = h("p", { class: "quiet" });

    main.append(h("header", { class: "page-head" }, h("h1", { text: "Access" }), who),
        h("div", { class: "columns" },
            h("section", { class: "panel grow", "aria-labelledby": "tokens-title" }, h("h2", { id: "tokens-title", text: "API tokens" }),
                h("p", { class: "quiet", text: "A token lets a script do everything that you can do here. Each is shown once, works on every node, and can be revoked at any time." }),
                h("table", { class: "tokens" }, h("thead", { class: "hidden-text" }, h("tr", {}, h("th", { scope: "col", text: "Name" }), h("th", { scope: "col", text: "Created" }), h("th", { scope: "col", text: "Revoke" }))), tokens), none, tokenProblem, make),
            h("section", { class: "panel narrow", "aria-labelledby": "password-title" }, h("h2", { id: "password-title", text: "Password" }), password)),
        h("section", { class: "panel", "aria-labelledby": "routes-title" }, h("h2", { id: "routes-title", text: "What scripts can ask" }),
            h("p", { class: "quiet" }, "The same on every node. The whole description, for tools: ", h("a", { href: "/openapi.json", text: "openapi.json" }), "."),
            command(`curl -H "Authorization: Bearer $TOKEN" ${location.origin}/v1/nodes`), routes));

    async function load() {
        try {
            const known = await get("/v1/tokens");
            keyed(tokens, known, (token) => token.name, (token) => h("tr", {}, h("th", { scope: "row", text: token.name }), h("td", { class: "quiet", text: moment(token.created) }),
                h("td", { class: "number" }, h("button", { type: "button", class: "plain danger-word", "aria-label": `Revoke ${token.name}`, onclick: () => revoke(token), text: "Revoke…" }))), () => {});
            none.hidden = known.length > 0;
        } catch (error) {
            showProblem(tokenProblem, error);
        }
    }
    async function create(event) {
        event.preventDefault();
        tokenProblem.hidden = true;
        try {
            const made = await ask("POST", "/v1/tokens", { name: name.value.trim() });
            name.value = "";
            show({ title: `Token “${made.name}”`, body: [h("p", { text: "Copy it now: this is the only time it is shown." }), command(made.token)] });
            await load();
        } catch (error) {
            showProblem(tokenProblem, error);
        }
    }
    async function revoke(token) {
        const done = await confirm({
            title: `Revoke “${token.name}”?`, action: "Revoke it", tone: "danger",
            body: [h("p", { text: "Scripts that use it are refused from now on, on every node. It cannot be brought back; a new one can be made." })],
            run: () => ask("DELETE", `/v1/tokens/${encodeURIComponent(token.name)}`),
        });
        if (done) {
            toast(`The token “${token.name}” is revoked`);
            load();
        }
    }
    async function change(event) {
        event.preventDefault();
        passwordProblem.hidden = true;
        if (wanted.value !== again.value) {
            showProblem(passwordProblem, { message: "The two new passwords differ.", remedy: "Type the new one twice." });
            again.focus();
            return;
        }
        try {
            await ask("POST", "/v1/password", { current: current.value, password: wanted.value });
            password.reset();
            toast("The password is changed. Your other sessions are over.");
        } catch (error) {
            showProblem(passwordProblem, error);
            current.focus();
        }
    }
    load();
    get("/v1/session").then((session) => {
        user.value = session.user;
        who.textContent = `logged in as ${session.user}${session.encrypted ? ", encrypted" : ", not encrypted"}`;
    }).catch(() => {});
    get("/openapi.json").then((api) => {
        routes.replaceChildren(...Object.entries(api.paths).flatMap(([path, operations]) => Object.entries(operations).map(([method, operation]) =>
            h("li", {}, h("code", { class: "method", "data-method": method, text: method.toUpperCase() }), h("code", { text: path }), h("span", { class: "quiet", text: operation.summary })))));
    }).catch(() => {});
    return () => {};
}
