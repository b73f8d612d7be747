// The document: everything that was applied, as YAML; edit it, see what would change, then apply it.
import { ask, get } from "/assets/api.js";
import { confirm, showProblem, toast } from "/assets/dialog.js";
import { command, h, icon, setAttribute, setText } from "/assets/dom.js";
import { plural } from "/assets/format.js";
import { example } from "/assets/pages/examples.js";

/** `#/document/example` begins with an example where nothing was applied yet. */
export function open(main, name) {
    const told = h("p", { class: "quiet", role: "status", text: "Asking the node…" });
    const notes = h("ul", { class: "notes" });
    const text = h("textarea", { id: "document", class: "document", rows: "14", spellcheck: "false", autocapitalize: "none", autocomplete: "off", "aria-label": "The document, YAML", disabled: true, oninput: edited });
    const prune = h("input", { type: "checkbox", id: "prune", onchange: edited });
    const look = h("button", { type: "submit", text: "Show what would change" });
    const apply = h("button", { type: "button", class: "primary", text: "Apply…", disabled: true, onclick: applyIt });
    const back = h("button", { type: "button", class: "plain", text: "Discard edits", hidden: true, onclick: () => { text.value = saved; edited(); } });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const plan = h("div", { class: "plan", role: "status" });
    const form = h("form", { class: "sql", onsubmit: compare }, text,
        h("div", { class: "sql-line" }, h("label", { class: "switch", for: "prune" }, prune, h("span", { text: "Also remove what its parts no longer name" })), h("span", { class: "actions" }, back, look, apply)));
    const panel = h("section", { class: "panel", "aria-labelledby": "plan-title" }, h("h2", { id: "plan-title", text: "What would change" }), problem, plan);
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Document" }), told, h("button", { type: "button", text: "Download", onclick: download })), notes,
        h("section", { class: "panel", "aria-label": "The document" }, form), panel,
        h("p", { class: "quiet" }, "The same from a shell: ", h("code", { text: "bramble export > FILE" }), ", edit it, ", h("code", { text: "bramble plan -f FILE" }), ", ", h("code", { text: "bramble apply -f FILE" }), "."));

    let saved = "";
    let planned = null;
    const request = (dryRun) => ({ document: text.value, name: "document", prune: prune.checked, dryRun });

    async function load() {
        try {
            const found = await get("/v1/export");
            saved = found.document;
            const isEmpty = !/^\s*[^#\s{]/m.test(saved);
            text.value = isEmpty && name === "example" ? example : saved;
            text.disabled = false;
            setText(told, isEmpty ? "nothing was applied yet" : "what the cluster should be");
            setAttribute(text, "placeholder", isEmpty ? example : null);
            notes.replaceChildren(...found.unreadable.map((sentence) => h("li", {}, icon("warn"), h("span", { text: `Left out, this version cannot read it: ${sentence}` }))));
            edited();
        } catch (error) {
            setText(told, "");
            showProblem(problem, error);
        }
    }
    function edited() {
        planned = null;
        apply.disabled = true;
        back.hidden = text.value === saved;
        problem.hidden = true;
        setText(plan, "");
        plan.replaceChildren(h("p", { class: "quiet", text: text.value === saved && !prune.checked ? "The text is as it was applied." : "The text was edited: see what would change, then apply it." }));
    }
    async function compare(event) {
        event?.preventDefault();
        look.disabled = true;
        try {
            const asked = request(true);
            planned = await ask("POST", "/v1/apply", asked);
            // What is not named stays, which who deleted it from the text may not expect.
            const full = asked.prune ? planned : await ask("POST", "/v1/apply", { ...asked, prune: true });
            const stays = asked.prune ? [] : full.changes.filter((change) => change.change === "removed");
            problem.hidden = true;
            plan.replaceChildren(...differences(planned, stays));
            apply.disabled = planned.changes.length === 0;
        } catch (error) {
            planned = null;
            apply.disabled = true;
            plan.replaceChildren();
            showProblem(problem, error);
        }
        look.disabled = false;
    }
    async function applyIt() {
        const removed = planned.changes.filter((change) => change.change === "removed");
        const done = await confirm({
            title: `Apply ${plural(planned.changes.length, "change")}?`, action: "Apply", tone: removed.length ? "danger" : "primary",
            body: [...differences(planned, []), h("p", { text: "All of it or, where something is wrong, nothing. Every node follows at once: services that are new start, those that changed may restart, and those that are removed stop." })],
            run: () => ask("POST", "/v1/apply", request(false)),
        });
        if (!done) return;
        toast(done.changes.length ? `${plural(done.changes.length, "change")} applied` : "Everything was so already");
        prune.checked = false;
        location.hash = "#/document";
        name = "";
        load();
    }
    function download() {
        const link = h("a", { href: URL.createObjectURL(new Blob([text.value], { type: "text/yaml" })), download: "bramble.yaml" });
        link.click();
        URL.revokeObjectURL(link.href);
    }
    text.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    load();
    return () => {};
}

const signs = { added: "+", changed: "~", removed: "−" };
function differences(answer, stays) {
    return [
        answer.changes.length === 0 ? h("p", { text: "Nothing: everything is so already." }) : h("ul", { class: "differences" }, ...answer.changes.map((change) => h("li", { "data-change": change.change },
            h("p", {}, h("span", { class: "sign", "aria-hidden": "true", text: signs[change.change] }), h("b", { text: change.part === change.name ? change.part : change.name }), h("span", { class: "quiet", text: change.part === change.name ? change.change : `${change.part}, ${change.change}` })),
            change.details.length ? h("pre", { text: change.details.join("\n") }) : null))),
        ...answer.notes.map((note) => h("p", { class: "plan-note" }, icon("info"), h("span", { text: note }))),
        stays.length ? h("p", { class: "plan-note" }, icon("info"), h("span", { text: `Not named in the text, and stays: ${stays.map((change) => `${change.part} ${change.name}`).join(", ")}. Tick the box to remove ${stays.length === 1 ? "it" : "them"}.` })) : null,
    ].filter(Boolean);
}
