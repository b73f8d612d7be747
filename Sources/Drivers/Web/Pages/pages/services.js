// The services: who holds what, since when, how sure that is, and why something does not run.
import { get } from "/assets/api.js";
import { showProblem } from "/assets/dialog.js";
import { command, h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { byName, list, moment, plural, sinceNow } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";
import { drillService, moveService, startService, stopService } from "/assets/pages/orders.js";
import { example } from "/assets/pages/examples.js";
import { eventList, pair, updateEvents } from "/assets/pages/parts.js";
import { figure, gap, guarantee, upperUnlessName } from "/assets/sentences.js";

/** All of them, or the one in the address: `#/services/NAME`. */
export function open(main, name) {
    return name ? openOne(main, name) : openAll(main);
}

function openAll(main) {
    const count = h("p", { class: "quiet", role: "status", text: "Asking the node…" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const rows = h("ul", { class: "services" });
    const panel = h("section", { class: "panel", "aria-label": "Services", hidden: true }, rows);
    const empty = noServices();
    const locks = lockPanel();
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Services" }), count, h("a", { class: "button", href: "#/document", text: "Change the document" })), problem, empty, panel, locks.element);

    function render(what) {
        if (what.has("locks")) locks.update(store.locks ?? []);
        if (what.has("time")) locks.tick();
        const services = store.services;
        if (!services) return;
        if (what.has("services")) {
            problem.hidden = true;
            empty.hidden = services.length > 0;
            panel.hidden = services.length === 0;
            keyed(rows, [...services].sort(byName), (service) => service.name, serviceRow, (row, service) => row.update(service));
            const running = services.filter((service) => service.state === "running").length;
            const wanted = services.filter((service) => service.wanted).length;
            setText(count, services.length === 0 ? "none yet" : running === services.length ? `${plural(running, "service")}, all running` : `${running} of ${wanted} running${wanted < services.length ? `, ${services.length - wanted} stopped by an operator` : ""}`);
        }
        if (what.has("time")) for (const row of rows.children) row.tick();
    }
    render(new Set(["services", "locks"]));
    askOnce("services", "/v1/services", count, problem, render);
    return subscribe(render);
}

// Locks: what `bramble lock` holds. Shown only where there are any.

function lockPanel() {
    const rows = h("tbody", {});
    const element = h("section", { class: "panel", "aria-labelledby": "locks-title", hidden: true },
        h("div", { class: "panel-head" }, h("h2", { id: "locks-title", text: "Locks" }), h("span", { class: "quiet", text: "Jobs of your own that run on one node at a time" })),
        h("table", { class: "copies locks" },
            h("caption", { class: "hidden-text", text: "The locks, and who holds each" }),
            h("thead", {}, h("tr", {}, ...["Lock", "Held by", "Epoch", "For", "Waiting here"].map((text) => h("th", { scope: "col", text })))), rows));
    return {
        element,
        update(locks) {
            element.hidden = locks.length === 0;
            keyed(rows, [...locks].sort(byName), (lock) => lock.name, lockRow, (row, lock) => row.update(lock));
        },
        tick() { for (const row of rows.children) row.tick(); },
    };
}

function lockRow(lock) {
    const holder = h("td", { class: "cell-copy" });
    const epoch = h("td", { class: "number", "data-label": "Epoch" });
    const since = h("td", { class: "number", "data-label": "For" });
    const waiting = h("td", { class: "number", "data-label": "Waiting here" });
    const row = h("tr", {}, h("th", { scope: "row" }, h("b", { text: lock.name })), holder, epoch, since, waiting);
    let shown = lock;
    row.update = (lock) => {
        shown = lock;
        if (holder.dataset.told !== String(lock.node)) {
            holder.dataset.told = String(lock.node);
            holder.replaceChildren(lock.node ? nodeLink(lock.node) : h("span", { class: "quiet", text: "nobody" }));
        }
        setText(epoch, String(lock.epoch));
        setText(waiting, String(lock.waiting));
        row.tick();
    };
    row.tick = () => setText(since, shown.since ? sinceNow(shown.since) : "–");
    return row;
}

/** The stream tells; a page that is opened before it did asks once, and shows why there is no answer. */
export function askOnce(part, path, count, problem, render) {
    if (store[part]) return;
    get(path).then((value) => {
        store[part] ??= value;
        render(new Set([part]));
    }).catch((error) => {
        setText(count, "");
        showProblem(problem, error);
    });
}

const glyphs = { running: "alive", starting: "wait", stopped: "left", failed: "down", blocked: "warn" };
const words = { running: "running", starting: "starting", stopped: "stopped", failed: "failed", blocked: "cannot run" };
export function updateServiceState(chip, state) {
    if (chip.dataset.state === state) return;
    chip.dataset.state = state;
    chip.replaceChildren(icon(glyphs[state] ?? "info"), words[state] ?? state);
}
const nodeLink = (name) => h("a", { href: `#/node/${encodeURIComponent(name)}`, text: name });

function serviceRow(service) {
    const name = h("a", { class: "node-name", href: `#/services/${encodeURIComponent(service.name)}`, text: service.name });
    const chip = h("span", { class: "state" });
    const since = h("span", { class: "quiet" });
    const where = h("span", { class: "service-where" });
    const reason = h("p", { class: "service-reason" });
    const addresses = h("span", { class: "address-list" });
    const surety = h("span", { class: "chip" });
    const meaning = h("span", { class: "quiet" });
    const last = h("span", {});
    const act = actions(() => shown);
    let shown = service;
    const row = h("li", { class: "service" },
        h("div", { class: "service-head" }, name, chip, where, since, act.element),
        reason,
        h("dl", { class: "service-facts" }, field("Addresses", addresses), field("Last gap", last), field("Guarantee", h("span", {}, surety, meaning))));
    row.update = (service) => {
        shown = service;
        setAttribute(row, "data-state", service.state);
        updateServiceState(chip, service.state);
        const told = service.node ? `on ${service.node}, epoch ${service.epoch}` : "on no node";
        if (where.dataset.told !== told) {
            where.dataset.told = told;
            where.replaceChildren(...(service.node ? ["on ", nodeLink(service.node), h("span", { class: "quiet", text: `, epoch ${service.epoch}`, title: "A number that grows with each new holder" })] : ["on no node"]));
        }
        reason.hidden = !service.reason && service.wanted;
        setText(reason, service.reason ? sentenceCase(service.reason) : "An operator stopped it. It stays stopped until it is started.");
        setText(addresses, service.addresses.length ? service.addresses.join("\n") : "none of its own");
        setText(last, gap(service.lastGapMs, service.lastGapCause));
        setAttribute(last, "title", service.lastGapAt ? moment(service.lastGapAt) : null);
        const [word, what] = guarantee(service.guarantee);
        setText(surety, word);
        setText(meaning, what);
        act.update(service);
        row.tick();
    };
    row.tick = () => setText(since, `for ${sinceNow(shown.since)}`);
    return row;
}
const field = (name, value) => h("div", {}, h("dt", { text: name }), h("dd", {}, value));
const sentenceCase = (text) => (/^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text);

function actions(get) {
    const button = (text, run, tone) => h("button", { type: "button", class: tone, text, onclick: () => run(get()) });
    const start = button("Start…", startService, "primary");
    const move = button("Move…", moveService);
    const drill = button("Drill…", drillService);
    const stop = button("Stop…", stopService, "danger");
    return {
        element: h("span", { class: "actions" }, start, move, drill, stop),
        update(service) {
            const isHeld = Boolean(service.node);
            for (const [element, word] of [[start, "Start"], [move, "Move"], [drill, "Drill"], [stop, "Stop"]]) setAttribute(element, "aria-label", `${word} ${service.name}`);
            start.hidden = service.wanted && service.state !== "stopped";
            stop.hidden = !start.hidden;
            move.hidden = drill.hidden = !isHeld || !service.wanted;
        },
    };
}

function noServices() {
    return h("section", { class: "panel help", hidden: true, "aria-labelledby": "none-title" },
        h("h2", { id: "none-title", text: "The first service" }),
        h("p", {}, "A service is something that one node runs for all, with an address that goes where it goes. When that node dies, another one takes it over. Write down what it is, and apply it:"),
        h("div", { class: "columns empty-columns" },
            h("pre", { class: "statement grow", text: example }),
            h("ol", { class: "steps narrow-steps" },
                h("li", {}, h("b", { text: "Save it as a file" }), h("p", { text: "On any node: services.yaml, with an address that nobody else uses, and two routers or servers of yours as the reach list." })),
                h("li", {}, h("b", { text: "Look, then apply" }), command("bramble plan -f services.yaml"), command("bramble apply -f services.yaml")),
                h("li", {}, h("b", { text: "Or write it here" }), h("p", { text: "The same document in the browser, with the differences shown before anything changes." }), h("a", { class: "button", href: "#/document/example", text: "Begin with this example" })))));
}

// One service

function openOne(main, name) {
    const find = () => store.services?.find((service) => service.name === name);
    const chip = h("span", { class: "state" });
    const since = h("span", { class: "quiet" });
    const act = actions(find);
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const answer = h("p", { class: "answer" });
    const reasons = h("ol", { class: "reasons" });
    const facts = h("dl", { class: "facts" });
    const events = eventList();
    const noEvents = h("p", { class: "quiet", text: "Nothing is kept about it." });
    const gone = h("p", { class: "problem", hidden: true }, h("b", { text: `There is no service ${name}.` }), h("span", {}, "It was removed, or never was. ", h("a", { href: "#/services", text: "All services" })));
    const body = h("div", { class: "column" },
        h("section", { class: "panel why", "aria-labelledby": "why-title" }, h("h2", { id: "why-title", text: "Why" }), answer, reasons),
        h("div", { class: "columns" },
            h("section", { class: "panel grow", "aria-labelledby": "own-events" }, h("h2", { id: "own-events", text: "What happened to it" }), events, noEvents),
            h("section", { class: "panel narrow", "aria-labelledby": "facts-title" }, h("h2", { id: "facts-title", text: "Facts" }), facts)));
    main.append(h("a", { class: "back", href: "#/services" }, icon("back"), "Services"),
        h("header", { class: "page-head" }, h("h1", { text: name }), chip, since, act.element), problem, gone, body);

    async function askWhy() {
        try {
            const why = await get(`/v1/why/${encodeURIComponent(name)}`);
            setText(answer, upperUnlessName(why.answer, name));
            reasons.replaceChildren(...why.because.map((reason) => h("li", {}, h("time", { datetime: reason.at, text: moment(reason.at) }),
                h("div", {}, h("span", { text: reason.text }), h("dl", { class: "figures" }, ...Object.entries(reason.figures).flatMap(([key, value]) => pair(...figure(key, value))))))));
        } catch (error) {
            const service = find();
            setText(answer, service?.reason ? sentenceCase(service.reason) : error.message);
            reasons.replaceChildren();
        }
    }
    const again = setInterval(askWhy, 10000);
    let told = "";
    function render(what) {
        if (!store.services) return;
        const service = find();
        gone.hidden = Boolean(service);
        body.hidden = chip.hidden = act.element.hidden = !service;
        if (!service) {
            told = "";
            setText(since, "");
            return;
        }
        setText(since, `for ${sinceNow(service.since)}`);
        if (what.has("services")) {
            const key = `${service.state} ${service.node} ${service.epoch} ${service.reason}`;
            if (key !== told) {
                told = key;
                askWhy();
            }
            updateServiceState(chip, service.state);
            act.update(service);
            const [word, meaning] = guarantee(service.guarantee);
            const mirrors = service.mirrors.flatMap((mirror, index) => [index ? ", " : "", h("a", { href: "#/mirrors", text: mirror })]);
            facts.replaceChildren(
                ...pairOf("Node", service.node ? nodeLink(service.node) : "none"), ...pair("Since", moment(service.since)), ...pair("Epoch", String(service.epoch)),
                ...pair("Addresses", service.addresses.join("\n") || "none of its own"), ...pair("Runs", service.run ?? "nothing: only its addresses move"),
                ...pairOf("Mirrors", ...(mirrors.length ? mirrors : ["none: its files are on one node"])),
                ...pair("Last gap", gap(service.lastGapMs, service.lastGapCause) + (service.lastGapAt ? `, ${moment(service.lastGapAt)}` : "")), ...pair("Guarantee", `${word}. ${meaning}`), ...pair("Wanted", service.wanted ? "to run" : "stopped by an operator"));
        }
        if (what.has("event")) {
            const own = store.events.filter((event) => event.subject === name).slice(-40).reverse();
            updateEvents(events, own);
            noEvents.hidden = own.length > 0;
        }
    }
    render(new Set(["services", "event"]));
    askOnce("services", "/v1/services", since, problem, render);
    const stop = subscribe(render);
    return () => {
        clearInterval(again);
        stop();
    };
}
const pairOf = (name, ...value) => [h("div", {}, h("dt", { text: name }), h("dd", {}, ...value))];

/** Services a node runs, by name. */
export const servicesOf = (node) => (store.services ?? []).filter((service) => service.node === node).map((service) => service.name);
export const listed = (names) => list(names.map((name) => `“${name}”`));
