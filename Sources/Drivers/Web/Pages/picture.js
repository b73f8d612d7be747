// Who watches whom: the nodes on a ring, a line for each pair of which one watches the other. Each half of a line tells
// what the node at that end hears of the other, so a link that works one way only is seen as such.
import { s, setAttribute, setText } from "/assets/dom.js";
import { compareNames, phi as phiText, plural } from "/assets/format.js";

const size = 440;
const center = size / 2;
const order = { up: 0, opening: 1, probing: 2, down: 3 };

export function picture() {
    const lines = s("g", { class: "lines" });
    const dots = s("g", { class: "dots" });
    const svg = s("svg", { class: "picture", viewBox: `0 0 ${size} ${size}`, role: "group", "aria-label": "Who watches whom" }, lines, dots);
    let drawnNames = "";
    let drawnPairs = "";
    let looked = null;

    function look(name) {
        looked = name;
        svg.classList.toggle("is-looking", name !== null);
        for (const element of svg.querySelectorAll("[data-ends]")) {
            element.classList.toggle("is-seen", name !== null && element.dataset.ends.split(" ").includes(name));
        }
        for (const element of dots.children) element.classList.toggle("is-seen", element.dataset.name === name);
    }

    function update(nodes, edges) {
        const names = nodes.map((node) => node.name).sort(compareNames);
        const places = ring(names);
        const rename = names.join("\n") !== drawnNames;
        if (rename) {
            setAttribute(svg, "viewBox", names.length <= 2 ? `0 ${center - 80} ${size} 170` : `0 0 ${size} ${size}`);
            drawnNames = names.join("\n");
            dots.replaceChildren(...nodes.slice().sort((a, b) => compareNames(a.name, b.name)).map((node) => dot(node, places, names.length, look)));
        }
        for (const element of dots.children) paint(element, nodes.find((node) => node.name === element.dataset.name), places.radius);

        const pairs = pairUp(edges, places);
        const key = [...pairs.keys()].join("\n");
        if (rename || key !== drawnPairs) {
            drawnPairs = key;
            svg.classList.toggle("is-dense", pairs.size > 80);
            lines.replaceChildren(...[...pairs.values()].map((pair) => line(pair, places)));
            if (looked !== null) look(names.includes(looked) ? looked : null);
        }
        let index = 0;
        const gone = new Set(nodes.filter((node) => node.state === "down" || node.state === "left").map((node) => node.name));
        for (const pair of pairs.values()) paintLine(lines.children[index++], pair, gone.has(pair.a) || gone.has(pair.b));
        const broken = edges.filter((edge) => edge.state === "down").length;
        setAttribute(svg, "aria-label", `Who watches whom: ${plural(nodes.length, "node")}, ${plural(edges.length, "watch", "watches")}, ${broken === 0 ? "none broken" : `${broken} broken`}`);
    }
    return { element: svg, update };
}

function ring(names) {
    const count = names.length;
    const outer = count <= 2 ? 105 : count <= 14 ? 148 : 156;
    const radius = count <= 3 ? 17 : count <= 6 ? 14 : count <= 12 ? 11 : count <= 26 ? 8 : 6;
    const map = new Map();
    names.forEach((name, index) => {
        // Two nodes lie side by side, more begin at the top.
        const angle = count === 2 ? Math.PI * (index + 1) : -Math.PI / 2 + (2 * Math.PI * index) / count;
        const reach = count === 1 ? 0 : outer;
        map.set(name, { x: center + reach * Math.cos(angle), y: center + reach * Math.sin(angle), angle });
    });
    return { map, radius, count };
}

function dot(node, places, count, look) {
    const { x, y, angle } = places.map.get(node.name);
    const radius = places.radius;
    const gauge = radius + (count > 26 ? 2.5 : 4);
    const group = s("a", { class: "dot", href: `#/node/${encodeURIComponent(node.name)}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
        s("circle", { class: "dot-hit", r: gauge + 5 }),
        s("circle", { class: "gauge-track", r: gauge }),
        s("circle", { class: "gauge", r: gauge, transform: "rotate(-90)", pathLength: "100", "stroke-dasharray": "0 100" }),
        s("circle", { class: "dot-fill", r: radius }),
        s("path", { class: "dot-mark", d: "", transform: `scale(${(radius / 11).toFixed(2)})` }),
        label(node.name, angle, gauge + 7, count),
        s("title", {}));
    group.dataset.name = node.name;
    group.addEventListener("mouseenter", () => look(node.name));
    group.addEventListener("mouseleave", () => look(null));
    group.addEventListener("focus", () => look(node.name));
    group.addEventListener("blur", () => look(null));
    return group;
}

function label(name, angle, reach, count) {
    const text = name.length > 14 ? `${name.slice(0, 13)}…` : name;
    if (count > 14) {
        // Many: names stand on the ring like spokes, the left half turned to be read.
        const degrees = (angle * 180) / Math.PI;
        const isLeft = Math.cos(angle) < -0.001;
        return s("text", { class: "dot-name", x: isLeft ? -reach : reach, y: 0, transform: `rotate(${(isLeft ? degrees + 180 : degrees).toFixed(1)})`, "text-anchor": isLeft ? "end" : "start", "dominant-baseline": "central", "font-size": count > 30 ? 10 : 11, text });
    }
    const across = Math.cos(angle);
    const down = Math.sin(angle);
    if (count === 1 || Math.abs(across) < 0.3 || count === 2) {
        const above = count > 2 && down < 0;
        return s("text", { class: "dot-name", y: above ? -reach - 4 : reach + 5, "text-anchor": "middle", "dominant-baseline": above ? "auto" : "hanging", text });
    }
    return s("text", { class: "dot-name", x: across * reach + Math.sign(across) * 2, y: down * reach, "text-anchor": across < 0 ? "end" : "start", "dominant-baseline": "central", text });
}

const marks = { alive: "", suspect: "M-2.6 -2.2a2.7 2.7 0 1 1 3.9 2.4c-.9.5-1.3 1-1.3 1.9M0 4.6v.2", down: "M-3.4 -3.4 3.4 3.4M3.4 -3.4 -3.4 3.4", left: "M-4 0h8" };

function paint(element, node, radius) {
    setAttribute(element, "data-state", node.state);
    setAttribute(element, "data-self", node.self ? "yes" : null);
    const [, , gauge, , mark] = element.children;
    const share = node.self || node.state === "left" || node.phi === null || node.phi === undefined ? 0 : Math.min(node.phi / node.threshold, 1);
    setAttribute(gauge, "stroke-dasharray", `${(share * 100).toFixed(1)} 100`);
    setAttribute(mark, "d", marks[node.state] ?? "");
    setText(element.querySelector("title"), `${node.name}${node.self ? " (this node)" : ""}: ${node.state}${node.self || node.phi === null || node.phi === undefined ? "" : `, φ ${phiText(node.phi)} of ${node.threshold}`}`);
}

/** One entry for each pair of nodes, with what either end says. */
function pairUp(edges, places) {
    const pairs = new Map();
    for (const edge of edges) {
        if (!places.map.has(edge.from) || !places.map.has(edge.to) || edge.from === edge.to) continue;
        const [a, b] = compareNames(edge.from, edge.to) < 0 ? [edge.from, edge.to] : [edge.to, edge.from];
        const key = `${a} ${b}`;
        const pair = pairs.get(key) ?? { a, b, ofA: null, ofB: null };
        if (edge.from === a) pair.ofA = edge;
        else pair.ofB = edge;
        pairs.set(key, pair);
    }
    // What is broken is drawn last, on top.
    return new Map([...pairs].sort(([, one], [, other]) => worst(one) - worst(other)));
}
const worst = (pair) => Math.max(order[pair.ofA?.state] ?? 0, order[pair.ofB?.state] ?? 0);

function line(pair, places) {
    const from = places.map.get(pair.a);
    const to = places.map.get(pair.b);
    const pull = places.count <= 3 ? 0 : 0.28;
    const middle = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 };
    const control = { x: middle.x + (center - middle.x) * pull, y: middle.y + (center - middle.y) * pull };
    const half = (p, q) => ({ x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 });
    const first = half(from, control);
    const second = half(control, to);
    const peak = half(first, second);
    const at = (p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`;
    const group = s("g", { class: "pair" },
        s("path", { class: "line", d: `M${at(from)} Q${at(first)} ${at(peak)}` }),
        s("path", { class: "line", d: `M${at(to)} Q${at(second)} ${at(peak)}` }),
        s("path", { class: "line-break", d: "M-4 -4 4 4M4 -4 -4 4", transform: `translate(${at(peak)})` }),
        s("title", {}));
    group.dataset.ends = `${pair.a} ${pair.b}`;
    return group;
}

function paintLine(group, pair, isExpected) {
    const [first, second, mark, title] = group.children;
    const a = pair.ofA?.state ?? pair.ofB.state;
    const b = pair.ofB?.state ?? pair.ofA.state;
    setAttribute(first, "data-state", a);
    setAttribute(second, "data-state", b);
    setAttribute(group, "data-expected", isExpected ? "yes" : null);
    setAttribute(mark, "data-state", (a === "down" || b === "down") && !isExpected ? "down" : "up");
    const words = { up: "hears", probing: "probes", down: "does not hear", opening: "is calling" };
    const told = [pair.ofA, pair.ofB].filter(Boolean).map((edge) => {
        const figures = [edge.phi === null || edge.phi === undefined ? "" : `φ ${phiText(edge.phi)}`, edge.rttMs === null || edge.rttMs === undefined ? "" : `${edge.rttMs.toFixed(1)} ms`].filter(Boolean).join(", ");
        return `${edge.from} ${words[edge.state]} ${edge.to}${figures ? ` (${figures})` : ""}`;
    });
    setText(title, told.join("\n"));
}

/** Broken watches between living nodes in words: those of a node that is down are no news. */
export function brokenWatches(nodes, edges) {
    const living = new Set(nodes.filter((node) => node.state === "alive" || node.state === "suspect").map((node) => node.name));
    return edges.filter((edge) => edge.state === "down" && living.has(edge.from) && living.has(edge.to)).map((edge) => `${edge.from} does not hear ${edge.to}`);
}
