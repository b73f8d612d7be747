// The first page: is all well, every node, who watches whom, who waits, what happened.
import { command, h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { labelTexts } from "/assets/pages/labels.js";
import { addMachine, addWaiting } from "/assets/pages/membership.js";
import { byName, duration, list, percent, plural, sinceNow } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";
import { eventList, stateChip, suspicionBar, updateEvents, updateState, updateSuspicion } from "/assets/pages/parts.js";
import { dutyWord, openDuty } from "/assets/pages/orders.js";
import { servicesOf } from "/assets/pages/services.js";
import { brokenWatches, picture } from "/assets/picture.js";

const guarantees = {
    majority: ["majority", "A service that must not run twice never does: more than half of the nodes must agree on who runs it."],
    witness: ["witness", "Two nodes and a witness: a service that must not run twice never does."],
    fence: ["fence", "A node that is lost is switched off before its services start elsewhere."],
    "single-fault": ["single fault", "Two nodes and a reach list: no single fault makes a service run twice."],
    "best-effort": ["best effort", "Nodes watch each other and take over, but a cut network could make both sides act."],
};

export function open(main) {
    const heading = h("h1", { tabindex: "-1" });
    const glyph = h("span", { class: "verdict-glyph" });
    const sub = h("p", { class: "verdict-sub" });
    const guarantee = h("span", { class: "chip" });
    const add = h("button", { type: "button", onclick: () => addMachine() }, icon("plus"), "Add a machine…");
    const notes = h("ul", { class: "notes" });
    const waiting = h("section", { class: "panel waiting", "aria-labelledby": "waiting-title", hidden: true },
        h("h2", { id: "waiting-title", text: "Waiting to be added" }), h("ul", { class: "waiting-list" }));
    const rows = h("tbody", {});
    const filter = h("input", { type: "search", class: "filter", placeholder: "Find a node", "aria-label": "Find a node", oninput: () => render(new Set(["nodes", "phi"])) });
    const count = h("span", { class: "quiet" });
    const table = h("table", { class: "nodes" },
        h("caption", { class: "hidden-text", text: "The nodes of the cluster" }),
        h("thead", {}, h("tr", {},
            h("th", { scope: "col", text: "Node" }), h("th", { scope: "col", text: "State" }),
            h("th", { scope: "col" }, h("abbr", { title: "Suspicion φ: how unlikely such a silence is while the node lives. At the threshold it is reported.", text: "Suspicion φ" })),
            h("th", { scope: "col", text: "CPU, memory" }), h("th", { scope: "col" }, h("abbr", { title: "Load average of 1, 5 and 15 minutes", text: "Load" }), ", temp."),
            h("th", { scope: "col", text: "Services" }))),
        rows);
    const drawing = picture();
    const broken = h("p", { class: "broken" });
    const legend = h("ul", { class: "legend", "aria-hidden": "true" },
        ...[["up", "hears"], ["probing", "probes"], ["down", "hears nothing"]].map(([state, text]) => h("li", { "data-state": state, text })));
    const watch = h("section", { class: "panel watch", "aria-labelledby": "watch-title", hidden: true }, h("div", { class: "panel-head" }, h("h2", { id: "watch-title", text: "Who watches whom" })), drawing.element, legend, broken);
    const events = eventList();
    const help = h("section", { class: "panel help", hidden: true });

    main.append(
        h("header", { class: "verdict" }, glyph, h("div", { class: "verdict-words" }, heading, sub), h("div", { class: "verdict-side" }, add)),
        notes, waiting, help,
        h("div", { class: "columns" },
            h("div", { class: "column grow" },
                h("section", { class: "panel", "aria-labelledby": "nodes-title" }, h("div", { class: "panel-head" }, h("h2", { id: "nodes-title", text: "Nodes" }), count, filter), table),
                h("section", { class: "panel recent", "aria-labelledby": "recent-title" },
                    h("div", { class: "panel-head" }, h("h2", { id: "recent-title", text: "What happened last" }), h("a", { href: "#/events", text: "All events" })), events)),
            watch));

    function render(what) {
        const { status, nodes } = store;
        if (!status || !store.isComplete) return;
        const isTold = what.has("nodes") || what.has("status");
        if (isTold) tellVerdict(status, nodes);
        if (what.has("time") || isTold) {
            setText(sub, "");
            sub.replaceChildren(guarantee, ` up ${duration(status.uptimeSeconds)}`);
            for (const row of rows.children) row.parts.tick();
        }
        if (what.has("services") && !isTold) tellVerdict(status, nodes);
        if (isTold || what.has("phi") || what.has("services")) {
            const word = filter.value.trim().toLowerCase();
            const shown = nodes.filter((node) => !word || node.name.includes(word) || node.address.includes(word) || labelTexts(node).some((text) => text.includes(word))).sort(byName);
            keyed(rows, shown, (node) => node.id, nodeRow, (row, node) => row.parts.update(node));
            setText(count, plural(nodes.length, "node"));
            filter.hidden = nodes.length <= 12;
        }
        if (isTold || what.has("phi") || what.has("edges")) {
            watch.hidden = nodes.length < 2;  // alone there is nobody to watch
            drawing.update(nodes, store.edges);
            const told = brokenWatches(nodes, store.edges);
            setText(broken, told.length === 0 ? "" : `${list(told.slice(0, 4))}${told.length > 4 ? ` and ${told.length - 4} more` : ""}`);
        }
        if (what.has("waiting")) showWaiting(waiting);
        if (what.has("event")) updateEvents(events, store.events.slice(-12).reverse());
    }

    function tellVerdict(status, nodes) {
        const away = nodes.filter((node) => node.state === "down");
        const suspects = nodes.filter((node) => node.state === "suspect");
        const members = nodes.filter((node) => node.state !== "left" && node.role !== "witness");
        const witness = nodes.some((node) => node.state !== "left" && node.role === "witness") ? " and the witness" : "";
        let tone = "ok";
        let text = members.length === 2 ? `Both nodes${witness} are alive` : `All ${members.length} nodes${witness} are alive`;
        if (status.state === "alone") text = "This node is a cluster of one";
        if (status.state === "joining") [tone, text] = ["warn", "This machine is not in a cluster yet"];
        else if (status.state === "removed") [tone, text] = ["bad", "This node was removed from its cluster"];
        else if (away.length) [tone, text] = ["bad", `${list(away.slice(0, 3).map((node) => node.name))}${away.length > 3 ? ` and ${away.length - 3} more` : ""} ${away.length === 1 ? "is" : "are"} down`];
        else if (suspects.length) [tone, text] = ["warn", `${list(suspects.map((node) => node.name))} ${suspects.length === 1 ? "is" : "are"} suspect`];
        else if (status.state === "member" || status.state === "alone") {
            const idle = (store.services ?? []).filter((service) => service.wanted && (service.state === "failed" || service.state === "blocked")).map((service) => service.name);
            if (idle.length) [tone, text] = ["bad", `${list(idle.slice(0, 3))}${idle.length > 3 ? ` and ${idle.length - 3} more` : ""} ${idle.length === 1 ? "does" : "do"} not run`];
        }
        setText(heading, text);
        if (glyph.dataset.tone !== tone) {
            glyph.dataset.tone = tone;
            glyph.replaceChildren(icon({ ok: "alive", warn: "suspect", bad: "down" }[tone]));
        }
        const [word, meaning] = guarantees[status.guarantee] ?? [status.guarantee, ""];
        setText(guarantee, `guarantee: ${word}`);
        setAttribute(guarantee, "title", meaning);
        const isAlone = status.state === "alone";
        // How to add the second machine is told at length below.
        const told = status.notes.filter((note) => !(isAlone && note.includes("cluster.key")));
        keyed(notes, told, (note) => note, (note) => h("li", {}, icon("info"), h("span", { text: note[0].toUpperCase() + note.slice(1) })), () => {});
        if (help.hidden === isAlone) {
            help.hidden = !isAlone;
            if (isAlone) help.replaceChildren(...firstSteps());
        }
    }

    render(new Set(["status", "nodes", "phi", "edges", "waiting", "event"]));
    return subscribe(render);
}

function nodeRow(node) {
    const name = h("a", { class: "node-name", href: `#/node/${encodeURIComponent(node.name)}`, text: node.name });
    const own = h("span", { class: "tag", text: "this node" });
    const duty = h("span", { class: "tag tag-warn" });
    const role = h("span", { class: "tag", text: "witness", title: "It votes on who may run a service, and does nothing else", hidden: node.role !== "witness" });
    const services = h("span", { class: "node-services" });
    const change = h("button", { type: "button", class: "plain duty", "aria-label": `Duty of ${node.name}`, title: "Hold, drain or resume it", onclick: () => openDuty(shown) }, "Duty…");
    const where = h("span", {});
    const version = h("span", { class: "version" });
    const place = h("span", { class: "address" }, where, " ", version);
    const labels = h("span", { class: "labels" });
    const chip = stateChip(node.state);
    const since = h("span", { class: "quiet since" });
    const suspicion = suspicionBar();
    const cpu = meter("CPU", "cpu");
    const memory = meter("Memory", "mem");
    const load = h("span", { class: "load" });
    const heat = h("span", {});
    const row = h("tr", {},
        h("th", { scope: "row", class: "cell-node" }, h("span", { class: "node-line" }, name, own, role, duty), place, labels),
        h("td", { class: "cell-state" }, chip, since),
        h("td", { class: "cell-phi", "data-label": "Suspicion φ" }, suspicion.element),
        h("td", { class: "cell-use", "data-label": "CPU, memory" }, cpu.element, memory.element),
        h("td", { class: "cell-load", "data-label": "Load, temperature" }, load, heat),
        h("td", { class: "cell-services", "data-label": "Services" }, services, change));
    let shown = node;
    row.parts = {
        update(node) {
            shown = node;
            setAttribute(row, "data-state", node.state);
            setAttribute(row, "data-self", node.self ? "yes" : null);
            own.hidden = !node.self;
            setText(duty, dutyWord(node));
            duty.hidden = !node.duty;
            const held = servicesOf(node.name);
            if (services.dataset.told !== held.join()) {
                services.dataset.told = held.join();
                services.replaceChildren(...held.slice(0, 6).map((service) => h("a", { class: "chip", href: `#/services/${encodeURIComponent(service)}`, text: service })), ...(held.length > 6 ? [h("a", { class: "quiet", href: "#/services", text: `and ${held.length - 6} more` })] : held.length ? [] : [h("span", { class: "quiet", text: "none" })]));
            }
            change.hidden = services.hidden = node.role === "witness";
            change.hidden ||= node.state === "left" || node.state === "down" && !node.duty;
            setText(where, `${node.address.includes(":") ? `[${node.address}]` : node.address}:${node.port}`);
            const marks = labelTexts(node);
            if (labels.dataset.told !== marks.join()) {
                labels.dataset.told = marks.join();
                labels.replaceChildren(...marks.slice(0, 4).map((text) => h("span", { class: "chip", text })), ...(marks.length > 4 ? [h("span", { class: "quiet", text: `and ${marks.length - 4} more` })] : []));
            }
            setText(version, node.version ? `v${node.version}` : "");
            updateState(chip, node.state);
            updateSuspicion(suspicion, node);
            cpu.update(node.load?.cpu);
            memory.update(node.load?.memory);
            const load3 = node.load ? [node.load.load1, node.load.load5, node.load.load15] : null;
            setText(load, load3 ? load3.map((value) => value.toFixed(2)).join("  ") : "–");
            const degrees = node.load?.temperature;
            setText(heat, degrees === null || degrees === undefined ? "" : `${Math.round(degrees)} °C`);
            setAttribute(heat, "class", `heat ${degrees >= 80 ? "is-bad" : degrees >= 70 ? "is-warn" : ""}`);
            row.parts.tick();
        },
        tick() {
            setText(since, `for ${sinceNow(shown.since)}`);
        },
    };
    return row;
}

function meter(label, short) {
    const fill = h("span", { class: "bar-fill" });
    const bar = h("span", { class: "bar small", role: "meter", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
    const text = h("span", { class: "bar-text" });
    const element = h("span", { class: "meter" }, h("span", { class: "meter-name", "aria-hidden": "true", text: short }), bar, text);
    return {
        element,
        update(share) {
            const known = share !== undefined && share !== null;
            bar.hidden = !known;
            element.dataset.level = !known ? "unknown" : share >= 0.95 ? "bad" : share >= 0.85 ? "warn" : "ok";
            fill.style.setProperty("--share", known ? share.toFixed(3) : "0");
            setAttribute(bar, "aria-valuenow", known ? Math.round(share * 100) : null);
            setText(text, known ? percent(share) : "–");
        },
    };
}

function showWaiting(section) {
    const machines = store.waiting;
    section.hidden = machines.length === 0;
    keyed(section.querySelector("ul"), machines, (machine) => machine.id, (machine) => h("li", {},
        h("div", { class: "waiting-who" }, h("b", { text: machine.name }), h("span", { class: "address", text: machine.address }),
            h("span", { class: "quiet", text: machine.reason === "approval" ? "has the cluster key, waits for a yes" : "has no cluster key yet" })),
        h("div", { class: "code", "aria-label": `Code ${machine.code.split("").join(" ")}`, text: machine.code }),
        h("button", { type: "button", class: "primary", "aria-label": `Add ${machine.name}`, onclick: () => addWaiting(machine) }, "Add…")), () => {});
}

function firstSteps() {
    return [
        h("h2", { text: "Add the second machine" }),
        h("ol", { class: "steps" },
            h("li", {}, h("b", { text: "Copy the key" }), h("p", { text: "Put Bramble on the other machine and copy this cluster's key there. That one file is all it needs; on the same network it is found by itself." }),
                command("scp /var/lib/bramble/cluster.key root@MACHINE:/var/lib/bramble/"), command("systemctl start bramble")),
            h("li", {}, h("b", { text: "Or only start it" }), h("p", { text: "A Bramble without a key waits. It shows up on this page with a code: compare it with the one on the machine, and add it." })),
            h("li", {}, h("b", { text: "Not on the same network?" }), h("p", { text: "Look for it at its address:" }),
                h("button", { type: "button", onclick: () => addMachine() }, "Look for a machine…"))),
    ];
}
