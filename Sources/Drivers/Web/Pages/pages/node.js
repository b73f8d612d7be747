// One node: why it is as it is, its figures, its watches, its past.
import { get } from "/assets/api.js";
import { h, icon, keyed, s, setAttribute, setText } from "/assets/dom.js";
import { clock, compareNames, moment, percent, phi as phiText, sinceNow } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";
import { labelNode, labelTexts } from "/assets/pages/labels.js";
import { removeNode } from "/assets/pages/membership.js";
import { drainNode, dutyWord, holdNode, resumeNode } from "/assets/pages/orders.js";
import { servicesOf } from "/assets/pages/services.js";
import { eventList, pair, stateChip, suspicionBar, updateEvents, updateState, updateSuspicion } from "/assets/pages/parts.js";
import { figure, upperUnlessName } from "/assets/sentences.js";

export function open(main, name) {
    const find = () => store.nodes.find((node) => node.name === name);
    const chip = stateChip("alive");
    const own = h("span", { class: "tag", text: "this node", hidden: true });
    const duty = h("span", { class: "tag tag-warn", hidden: true });
    const order = (text, run, tone) => h("button", { type: "button", class: tone, text, onclick: () => { const node = find(); if (node) run(node); } });
    const [drain, hold, resume] = [order("Drain…", drainNode), order("Hold…", holdNode), order("Resume…", resumeNode, "primary")];
    const dutyText = h("p", { class: "quiet" });
    const services = h("p", { class: "node-services" });
    const since = h("span", { class: "quiet" });
    const labels = h("p", { class: "labels" });
    const change = order("Change…", labelNode, "plain");
    const suspicion = suspicionBar();
    const answer = h("p", { class: "answer" });
    const reasons = h("ol", { class: "reasons" });
    const facts = h("dl", { class: "facts" });
    const graph = chart();
    const watches = h("tbody", {});
    const noWatches = h("p", { class: "quiet", text: "No watches of this node are known here." });
    const events = eventList();
    const noEvents = h("p", { class: "quiet", text: "Nothing is kept about it." });
    const remove = h("button", { type: "button", class: "danger", onclick: () => { const node = find(); if (node) removeNode(node); } }, `Remove ${name}…`);
    const gone = h("p", { class: "problem", hidden: true }, h("b", { text: `There is no node ${name}.` }), h("span", {}, "It was removed, or never was. ", h("a", { href: "#/nodes", text: "All nodes" })));
    const dutyPanel = h("section", { class: "panel duty-panel", "aria-labelledby": "duty-title" }, h("div", {}, h("h2", { id: "duty-title", text: "Services, and taking it out of service" }), services, dutyText), h("span", { class: "actions" }, resume, drain, hold));
    const body = h("div", { class: "column" },
        h("section", { class: "panel why", "aria-labelledby": "why-title" }, h("h2", { id: "why-title", text: "Why" }), answer, reasons),
        h("div", { class: "columns" },
            h("div", { class: "column grow" },
            h("section", { class: "panel", "aria-labelledby": "phi-title" }, h("div", { class: "panel-head" }, h("h2", { id: "phi-title", text: "Suspicion, last two minutes" }), suspicion.element), graph.element),
            h("section", { class: "panel", "aria-labelledby": "own-events" }, h("h2", { id: "own-events", text: "What happened to it, and what it says of others" }), events, noEvents)),
            h("div", { class: "column narrow" },
            h("section", { class: "panel", "aria-labelledby": "facts-title" }, h("h2", { id: "facts-title", text: "Facts" }), facts),
            h("section", { class: "panel", "aria-labelledby": "labels-title" }, h("div", { class: "panel-head" }, h("h2", { id: "labels-title", text: "Labels" }), change), labels),
            h("section", { class: "panel", "aria-labelledby": "watches-title" }, h("h2", { id: "watches-title", text: "Watches" }),
                h("table", { class: "watches" }, h("thead", { class: "hidden-text" }, h("tr", {}, h("th", { scope: "col", text: "Watch" }), h("th", { scope: "col", text: "State" }), h("th", { scope: "col", text: "φ" }), h("th", { scope: "col", text: "Round trip" }))), watches), noWatches))),
        dutyPanel,
        h("section", { class: "panel end", "aria-labelledby": "end-title" }, h("div", {}, h("h2", { id: "end-title", text: "Remove it from the cluster" }), h("p", { class: "quiet", text: "For a machine that is sold, broken or in the wrong hands. To restart or update one, nothing need be done here." })), remove));

    main.append(h("a", { class: "back", href: "#/nodes" }, icon("back"), "Nodes"),
        h("header", { class: "page-head" }, h("h1", { text: name }), chip, own, duty, since), gone, body);

    let told = "";
    async function askWhy() {
        try {
            const why = await get(`/v1/why/${encodeURIComponent(name)}`);
            setText(answer, upperUnlessName(why.answer, name));
            reasons.replaceChildren(...why.because.map((reason) => h("li", {}, h("time", { datetime: reason.at, title: moment(reason.at), text: clock(reason.at) }),
                h("div", {}, h("span", { text: reason.text }), h("dl", { class: "figures" }, ...Object.entries(reason.figures).flatMap(([key, value]) => pair(...figure(key, value))))))));
        } catch (error) {
            setText(answer, error.message);
        }
    }
    // The figures in the answer move: it is asked again from time to time, and at once when the state changes.
    const again = setInterval(askWhy, 10000);

    function render(what) {
        if (!store.isComplete) return;
        const node = find();
        gone.hidden = Boolean(node);
        body.hidden = !node;
        if (!node) {
            told = "";
            chip.hidden = true;
            setText(since, "");
            return;
        }
        chip.hidden = false;
        const key = `${node.state} ${node.incarnation} ${node.since}`;
        if (key !== told) {
            told = key;
            askWhy();
        }
        updateState(chip, node.state);
        own.hidden = !node.self;
        graph.element.closest("section").hidden = node.self;  // nobody suspects itself
        duty.hidden = !node.duty;
        dutyPanel.hidden = node.role === "witness";
        setText(duty, dutyWord(node));
        if (what.has("nodes") || what.has("services")) {
            const held = servicesOf(name);
            const told = `${node.duty} ${held.join()}`;
            if (services.dataset.told !== told) {
                services.dataset.told = told;
                services.replaceChildren(...(held.length ? ["It runs ", ...held.map((service) => h("a", { class: "chip", href: `#/services/${encodeURIComponent(service)}`, text: service }))] : ["It runs no service."]));
                setText(dutyText, node.duty === "held" ? "On hold: it runs nothing, also after a restart, until it is resumed." : node.duty === "drained" ? "Drained: it hands over what others can take, and takes nothing new, also after a restart. When it runs nothing, it can be switched off." : "Drain it before it is switched off or updated. Hold it when it must run nothing at all.");
                resume.hidden = !node.duty;
                drain.hidden = node.duty === "drained";
                hold.hidden = Boolean(node.duty);
            }
        }
        if (what.has("nodes")) {
            const all = labelTexts(node);
            if (labels.dataset.told !== all.join()) {
                labels.dataset.told = all.join();
                labels.replaceChildren(...(all.length ? all.map((text) => h("span", { class: "chip", text })) : [h("span", { class: "quiet", text: "None. Labels say what a machine is for, and Ansible gets them as groups." })]));
            }
        }
        if (what.has("time") || what.has("nodes")) setText(since, `for ${sinceNow(node.since)}`);
        if (what.has("nodes") || what.has("phi")) {
            updateSuspicion(suspicion, node);
            showFacts(facts, node);
        }
        if (what.has("history")) graph.update(store.history.get(name) ?? [], node.threshold);
        if (what.has("edges") || what.has("phi")) {
            const own = store.edges.filter((edge) => edge.from === name || edge.to === name)
                .sort((a, b) => compareNames(a.from, b.from) || compareNames(a.to, b.to));
            keyed(watches, own, (edge) => `${edge.from}>${edge.to}`, watchRow, (row, edge) => row.update(edge));
            noWatches.hidden = own.length > 0;
        }
        if (what.has("event")) {
            const own = store.events.filter((event) => event.subject === name || event.by?.includes(name)).slice(-40).reverse();
            updateEvents(events, own);
            noEvents.hidden = own.length > 0;
        }
    }
    render(new Set(["nodes", "phi", "edges", "event", "time", "history", "services"]));
    const stop = subscribe(render);
    return () => {
        clearInterval(again);
        stop();
    };
}

function showFacts(element, node) {
    const load = node.load;
    const rows = [
        ["address", `${node.address}`], ["port", String(node.port)],
        ...(node.addresses.length > 1 ? [["all addresses", node.addresses.join("\n")]] : []),
        ["CPU", load ? percent(load.cpu) : "–"], ["memory", load ? percent(load.memory) : "–"],
        ["load 1, 5, 15 min", load ? [load.load1, load.load5, load.load15].map((value) => value.toFixed(2)).join("  ") : "–"],
        ["temperature", load?.temperature === null || load?.temperature === undefined ? "–" : `${load.temperature.toFixed(1)} °C`],
        ["version", node.version], ["incarnation", String(node.incarnation)], ["identity", node.id], ["state since", moment(node.since)],
    ];
    keyed(element, rows, ([name]) => name, ([name]) => h("div", {}, h("dt", { text: name }), h("dd", {})), (row, [, value]) => setText(row.lastChild, value));
}

function watchRow(edge) {
    const state = h("span", { class: "watch-state" });
    const value = h("td", { class: "number" });
    const trip = h("td", { class: "number" });
    const row = h("tr", {}, h("th", { scope: "row" }, edge.from, h("span", { class: "quiet", text: " → " }), edge.to), h("td", {}, state), value, trip);
    const words = { up: "hears", probing: "probes", down: "hears nothing", opening: "is calling" };
    row.update = (edge) => {
        setAttribute(state, "data-state", edge.state);
        setText(state, words[edge.state] ?? edge.state);
        setText(value, edge.phi === null || edge.phi === undefined ? "" : `φ ${phiText(edge.phi)}`);
        setText(trip, edge.rttMs === null || edge.rttMs === undefined ? "" : `${edge.rttMs.toFixed(1)} ms`);
    };
    return row;
}

/** φ over time, with the threshold. */
function chart() {
    const width = 640;
    const height = 150;
    const line = s("path", { class: "chart-line" });
    const area = s("path", { class: "chart-area" });
    const limit = s("line", { class: "chart-limit", x1: "0", x2: width });
    const element = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" }, area, line, limit);
    const axis = h("div", { class: "chart-axis", "aria-hidden": "true" }, h("span", { text: "2 min ago" }), h("span", { class: "chart-threshold" }), h("span", { text: "now" }));
    const frame = h("div", { class: "chart-frame" }, element, axis);
    return {
        element: frame,
        update(values, threshold) {
            const top = Math.max(threshold * 1.15, ...values.filter((value) => value !== null).map((value) => Math.min(value, threshold * 3)));
            const steps = 240;
            const x = (index) => ((steps - values.length + index) / (steps - 1)) * width;
            const y = (value) => height - 2 - (Math.min(value, top) / top) * (height - 8);
            let path = "";
            let shade = "";
            let open = null;
            values.forEach((value, index) => {
                if (value === null || value === undefined) {
                    if (open !== null) shade += `L${x(index - 1).toFixed(1)} ${height}Z`;
                    open = null;
                    return;
                }
                const place = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
                path += `${open === null ? "M" : "L"}${place}`;
                shade += open === null ? `M${x(index).toFixed(1)} ${height}L${place}` : `L${place}`;
                open = index;
            });
            if (open !== null) shade += `L${x(open).toFixed(1)} ${height}Z`;
            setAttribute(line, "d", path);
            setAttribute(area, "d", shade);
            setAttribute(limit, "y1", y(threshold).toFixed(1));
            setAttribute(limit, "y2", y(threshold).toFixed(1));
            const last = values.at(-1);
            setText(axis.children[1], `dashed: the threshold, φ ${threshold}`);
            setAttribute(element, "aria-label", `Suspicion over the last two minutes; now ${last === null || last === undefined ? "unknown" : phiText(last)}, threshold ${threshold}`);
        },
    };
}
