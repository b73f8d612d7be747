// The balancers: one place for clients, many nodes behind it, and why one of them gets nothing.
import { confirm, toast } from "/assets/dialog.js";
import { command, h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { byName, list, plural } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";
import { addObject, removeObject } from "/assets/pages/desired.js";
import { askOnce } from "/assets/pages/services.js";

export function open(main) {
    const count = h("p", { class: "quiet", role: "status", text: "Asking the node…" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const all = h("div", { class: "column" });
    const empty = h("section", { class: "panel help", hidden: true, "aria-labelledby": "none-title" },
        h("h2", { id: "none-title", text: "The first balancer" }),
        h("p", {}, "A balancer hands what clients ask for to the nodes that are alive and answer. Every node balances, so any of them may be asked; with a service's floating address clients have one address that stays. HTTP goes through an nginx of Bramble's own, TCP and UDP through the kernel."),
        command("sudo apt install nginx-light"), command("bramble balance add web --listen :80 --to 8080 --sticky source"));
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Balancers" }), count,
        h("button", { type: "button", onclick: addBalancer }, icon("plus"), "Add a balancer…")), problem, empty, all);

    function render(what) {
        const balancers = store.balancers;
        if (!balancers || !what.has("balancers")) return;
        problem.hidden = true;
        empty.hidden = balancers.length > 0;
        keyed(all, [...balancers].sort(byName), (balancer) => balancer.name, balancerPanel, (panel, balancer) => panel.update(balancer));
        const backends = balancers.flatMap((balancer) => balancer.backends);
        const up = backends.filter((backend) => backend.state === "up").length;
        setText(count, balancers.length === 0 ? "none yet" : `${plural(balancers.length, "balancer")}, ${up === backends.length ? `all ${plural(up, "backend")} up` : `${up} of ${plural(backends.length, "backend")} up`}`);
    }
    render(new Set(["balancers"]));
    askOnce("balancers", "/v1/balancers", count, problem, render);
    return subscribe(render);
}

const states = { up: ["up", "alive", "alive"], draining: ["draining", "wait", "suspect"], unchecked: ["not asked yet", "wait", "suspect"], failing: ["failing", "warn", "down"], down: ["down", "down", "down"] };
const protocols = { http: "HTTP", tcp: "TCP", udp: "UDP" };

function place(balancer) {
    const port = balancer.listen.startsWith(":") ? `port ${balancer.listen.slice(1)}` : balancer.listen;
    if (balancer.service) return ["listens on ", port, " at the addresses of ", h("a", { href: `#/services/${encodeURIComponent(balancer.service)}`, text: balancer.service })];
    return [balancer.listen.startsWith(":") ? `listens on ${port} of every node` : `listens on ${port}`];
}

function balancerPanel(balancer) {
    const protocol = h("span", { class: "chip" });
    const where = h("span", {});
    const sticky = h("span", { class: "quiet" });
    const problem = h("p", { class: "problem", role: "alert", hidden: true });
    const nobody = h("p", { class: "problem", hidden: true }, h("b", { text: "No backend is up: nobody who asks gets an answer." }));
    const rows = h("tbody", {});
    const title = `balancer-${balancer.name}`;
    const panel = h("section", { class: "panel balancer", "aria-labelledby": title },
        h("div", { class: "service-head" }, h("h2", { id: title, class: "node-name", text: balancer.name }), protocol, where, sticky,
            h("span", { class: "actions" }, h("button", { type: "button", class: "danger", "aria-label": `Remove ${balancer.name}`, text: "Remove…", onclick: () => removeBalancer(shown) }))),
        problem, nobody,
        h("table", { class: "copies backends" }, h("caption", { class: "hidden-text", text: `The backends of ${balancer.name}` }),
            h("thead", {}, h("tr", {}, ...["Backend", "State"].map((text) => h("th", { scope: "col", text })))), rows));
    let shown = balancer;
    panel.update = (balancer) => {
        shown = balancer;
        setText(protocol, protocols[balancer.protocol] ?? balancer.protocol);
        const told = `${balancer.listen} ${balancer.service}`;
        if (where.dataset.told !== told) {
            where.dataset.told = told;
            where.replaceChildren(...place(balancer));
        }
        setText(sticky, balancer.sticky === "source" ? "a client stays on its backend" : "each connection goes to any backend");
        problem.hidden = !balancer.reason;
        setText(problem, balancer.reason ? `It does not work on the node that answers you: ${balancer.reason}` : "");
        nobody.hidden = balancer.backends.length === 0 || balancer.backends.some((backend) => backend.state === "up" || backend.state === "unchecked");
        keyed(rows, [...balancer.backends].sort((a, b) => byName({ name: a.node }, { name: b.node })), (backend) => backend.node, backendRow, (row, backend) => row.update(backend));
    };
    return panel;
}

function backendRow(backend) {
    const chip = h("span", { class: "state" });
    const reason = h("span", { class: "quiet copy-note" });
    const address = h("span", { class: "address" });
    const row = h("tr", {}, h("th", { scope: "row" }, h("a", { class: "node-name", href: `#/node/${encodeURIComponent(backend.node)}`, text: backend.node }), address), h("td", { class: "cell-copy" }, chip, reason));
    row.update = (backend) => {
        const [word, glyph, tone] = states[backend.state] ?? [backend.state, "info", null];
        if (chip.dataset.told !== word) {
            chip.dataset.told = word;
            chip.replaceChildren(icon(glyph), word);
        }
        setAttribute(chip, "data-state", tone);
        // “not asked yet” is the state itself
        setText(reason, backend.state === "unchecked" ? "" : backend.reason);
        setText(address, backend.address);
    };
    return row;
}

// Adding and removing

const field = (name, label, about, properties) => [h("label", { for: name, text: label }), h("input", { id: name, name, autocomplete: "off", autocapitalize: "none", spellcheck: "false", ...properties }), ...(about ? [h("p", { class: "quiet", text: about })] : [])];

async function addBalancer() {
    const nodes = store.nodes.filter((node) => node.state !== "left").sort(byName);
    const services = (store.services ?? []).filter((service) => service.addresses.length).sort(byName);
    const done = await confirm({
        title: "Add a balancer", action: "Add it",
        body: [
            ...field("name", "Name", null, { maxlength: "63", placeholder: "web", "data-first": true }),
            h("label", { for: "protocol", text: "Protocol" }),
            h("select", { id: "protocol", name: "protocol" }, h("option", { value: "http", text: "HTTP, by nginx (package nginx-light)" }), h("option", { value: "tcp", text: "TCP, by the kernel (package nftables)" }), h("option", { value: "udp", text: "UDP, by the kernel (package nftables)" })),
            ...field("listen", "Clients come to", ":PORT on every node, or ADDRESS:PORT", { placeholder: ":80" }),
            ...field("to", "Port of the backends", null, { inputmode: "numeric", maxlength: "5", placeholder: "8080" }),
            ...field("check", "Path of the check", "Each backend has to answer it with a good status. Without it, accepting a connection is enough.", { placeholder: "/health" }),
            ...(services.length ? [h("label", { for: "service", text: "At the addresses of" }), h("select", { id: "service", name: "service" }, h("option", { value: "", text: "every node" }), ...services.map((service) => h("option", { value: service.name, text: `the service ${service.name}` })))] : []),
            h("label", { class: "check" }, h("input", { type: "checkbox", name: "sticky" }), "A client stays on its backend (by its address)"),
            ...(nodes.length > 1 ? [h("fieldset", { class: "node-choice" }, h("legend", { text: "Backends" }), ...nodes.map((node) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "node", value: node.name, checked: true }), node.name)))] : []),
        ],
        ready: (form) => value(form, "name") !== "" && /:\d+$/.test(value(form, "listen")) && isPort(value(form, "to")) && (nodes.length < 2 || chosen(form).length > 0),
        run: async (form) => {
            const object = { name: value(form, "name"), listen: value(form, "listen"), protocol: value(form, "protocol"), to: Number(value(form, "to")) };
            if (form.elements.sticky.checked) object.sticky = "source";
            if (value(form, "check")) object.check = value(form, "check");
            if (value(form, "service")) object.service = value(form, "service");
            const only = chosen(form);
            if (only.length < nodes.length) object.nodes = only;
            const answer = await addObject("balancers", object);
            return { name: object.name, notes: answer.notes };
        },
    });
    if (done) toast(`${done.name} is added, and every node follows${done.notes.length ? `. ${done.notes.join(" ")}` : ""}`);
}
// A form's own properties, such as its name, hide fields that are called so.
const value = (form, name) => (form.elements.namedItem(name)?.value ?? "").trim();
const chosen = (form) => [...form.querySelectorAll("[name=node]:checked")].map((box) => box.value);
const isPort = (text) => /^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= 65535;

async function removeBalancer(balancer) {
    const up = balancer.backends.filter((backend) => backend.state === "up").map((backend) => backend.node);
    const done = await confirm({
        title: `Remove ${balancer.name}?`, action: `Remove ${balancer.name}`, tone: "danger",
        body: [h("p", { text: "This is what will happen:" }), h("ul", { class: "consequences" },
            h("li", { text: balancer.service ? `${balancer.listen} of the addresses of ${balancer.service} answers no more` : balancer.listen.startsWith(":") ? `no node answers on port ${balancer.listen.slice(1)} any more` : `${balancer.listen} answers no more` }),
            h("li", { text: balancer.protocol === "http" ? "requests that are under way may end; clients that keep a connection open lose it" : "connections that go through it may break" }),
            h("li", { text: up.length ? `what listens on ${list(up)} goes on, and can be asked there` : "what listens on its backends goes on" }))],
        run: () => removeObject("balancers", balancer.name),
    });
    if (done) toast(`${balancer.name} is removed`);
}
