// Written by embed-pages from the folder Pages: change the files there, then run it.
// swift-format-ignore-file
extension Asset {
    static let embedded: [Asset] = [
        Asset(path: "api.js", type: "text/javascript; charset=utf-8", tag: "67e6af05149a240e", content: ####"""
// Questions to the node that answers this page.
import { learnClock } from "/assets/format.js";

/** What the node refused, in its own words. */
export class Refused extends Error {
    constructor(status, { problem, remedy } = {}) {
        super(problem ?? `the node answered ${status}`);
        this.status = status;
        this.remedy = remedy ?? "";
    }
}

export async function ask(method, path, body) {
    let answer;
    try {
        answer = await fetch(path, {
            method,
            credentials: "same-origin",
            headers: body === undefined ? {} : { "Content-Type": "application/json" },
            body: body === undefined ? undefined : JSON.stringify(body),
        });
    } catch {
        throw new Refused(0, { problem: "this node does not answer", remedy: "check that it runs and that you can reach it, then try again" });
    }
    learnClock(answer.headers.get("Date"));
    if (answer.status === 401 && path !== "/login" && path !== "/v1/password") {
        location.assign("/login");
        return new Promise(() => {});  // the page is on its way out
    }
    const text = await answer.text();
    let value = null;
    try {
        value = text ? JSON.parse(text) : null;
    } catch {
        // Not from the node: a proxy's page, maybe.
    }
    if (!answer.ok) throw new Refused(answer.status, value?.error);
    return value;
}

export const get = (path) => ask("GET", path);

"""####),
        Asset(path: "app.js", type: "text/javascript; charset=utf-8", tag: "ea355e4a28ba42fe", content: ####"""
// The frame: pages, the live stream, what is said when it breaks.
import { ask, get } from "/assets/api.js";
import { h, icon, setText } from "/assets/dom.js";
import { shortClock } from "/assets/format.js";
import { connect, store, subscribe } from "/assets/live.js";
import * as access from "/assets/pages/access.js";
import * as balancers from "/assets/pages/balancers.js";
import * as clock from "/assets/pages/clock.js";
import * as data from "/assets/pages/data.js";
import * as document_ from "/assets/pages/document.js";
import * as events from "/assets/pages/events.js";
import * as health from "/assets/pages/health.js";
import * as mirrors from "/assets/pages/mirrors.js";
import * as node from "/assets/pages/node.js";
import * as nodes from "/assets/pages/nodes.js";
import * as services from "/assets/pages/services.js";
import * as volumes from "/assets/pages/volumes.js";

// A page: `path` (one word, or a word and a name), `title`, `open(main, name)` which gives back how to close it.
// Those with an icon are in the menu, in this order.
const pages = [
    { path: "nodes", title: "Nodes", icon: "nodes", ...nodes },
    { path: "services", title: "Services", icon: "services", ...services },
    { path: "mirrors", title: "Mirrors", icon: "mirrors", ...mirrors },
    { path: "volumes", title: "Volumes", icon: "volumes", ...volumes },
    { path: "balancers", title: "Balancers", icon: "balancers", ...balancers },
    { path: "clock", title: "Clocks", icon: "clock", ...clock },
    { path: "data", title: "Data", icon: "data", ...data },
    { path: "document", title: "Document", icon: "document", ...document_ },
    { path: "events", title: "Events", icon: "events", ...events },
    { path: "health", title: "Health", icon: "health", ...health },
    { path: "access", title: "Access", icon: "access", ...access },
    { path: "node", title: "Node", parent: "nodes", ...node },
];

const main = document.getElementById("main");
const menu = document.getElementById("pages");
for (const page of pages.filter((page) => page.icon)) {
    menu.append(h("li", {}, h("a", { href: `#/${page.path}`, "data-page": page.path }, icon(page.icon), h("span", { text: page.title }))));
}

let close = null;
let isFirst = true;
function route() {
    const [, word, name] = location.hash.split("/");
    const page = pages.find((page) => page.path === word) ?? pages[0];
    close?.();
    main.replaceChildren();
    for (const link of menu.querySelectorAll("a")) {
        if (link.dataset.page === (page.parent ?? page.path)) {
            link.setAttribute("aria-current", "page");
            link.scrollIntoView({ block: "nearest", inline: "center" });  // on a phone the menu is wider than the screen
        } else link.removeAttribute("aria-current");
    }
    const subject = name === undefined ? "" : safeDecode(name);
    document.title = `${subject || page.title} – Bramble`;
    close = page.open(main, subject);
    // A new page is read from its start; the first one leaves the focus where the browser put it.
    if (!isFirst) main.focus({ preventScroll: true });
    if (!isFirst) scrollTo(0, 0);
    isFirst = false;
}
function safeDecode(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}
addEventListener("hashchange", () => {
    if (location.hash.startsWith("#/") || location.hash === "") route();
});
document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
});
document.getElementById("log-out").addEventListener("click", async () => {
    await ask("POST", "/logout").catch(() => {});
    location.assign("/login");
});

const live = document.getElementById("live");
const banner = document.getElementById("banner");
const announcer = document.getElementById("announcer");
const states = new Map();

subscribe((what) => {
    if (what.has("status") && store.status) {
        setText(document.getElementById("cluster-name"), store.status.cluster || "no cluster yet");
        setText(document.getElementById("seen-from"), store.status.node || "this machine");
        setText(document.getElementById("version"), `version ${store.status.version}`);
    }
    if (what.has("connection")) {
        live.dataset.state = store.connection;
        setText(document.getElementById("live-text"), { live: "live", lost: "connection lost", opening: "connecting" }[store.connection]);
        const isLost = store.connection === "lost";
        document.body.classList.toggle("is-stale", isLost);
        if (isLost) {
            const since = store.lastHeard ? ` What you see is from ${shortClock(new Date(store.lastHeard).toISOString())}.` : "";
            banner.replaceChildren(icon("warn"), h("span", { text: `No connection to ${store.status?.node || "this node"}.${since} Trying again…` }));
        }
        banner.hidden = !isLost;
    }
    // Screen readers hear of changes of state, never of figures.
    if (what.has("nodes")) {
        for (const node of store.nodes) {
            const before = states.get(node.name);
            if (before !== undefined && before !== node.state) announcer.textContent = `${node.name} is ${node.state}`;
            states.set(node.name, node.state);
        }
    }
    if (what.has("services")) {
        for (const service of store.services) {
            const key = `service ${service.name}`;
            const told = `${service.state}${service.node ? ` on ${service.node}` : ""}`;
            if (states.has(key) && states.get(key) !== told) announcer.textContent = `${service.name} is ${told}`;
            states.set(key, told);
        }
    }
});

route();
connect();
get("/v1/session").catch(() => {});

"""####),
        Asset(path: "dialog.js", type: "text/javascript; charset=utf-8", tag: "3dbba1415e89f75b", content: ####"""
// Questions before something changes, and what became of it.
import { h, icon } from "/assets/dom.js";

/**
 * Asks before doing: what will happen, then the deed, then its outcome.
 * `title`, `body` (elements), `action` (the button's word), `tone` ("danger" or "primary"),
 * `ready` (called with the form; true when the button may be used), `run` (does it; its text is shown).
 */
export function confirm({ title, body, action, tone = "primary", ready = () => true, run }) {
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const go = h("button", { type: "submit", class: tone, text: action });
    const no = h("button", { type: "button", text: "Cancel" });
    const form = h("form", { method: "dialog", novalidate: true }, h("h2", { id: "dialog-title", text: title }), h("div", { class: "dialog-body" }, ...body), problem,
        h("div", { class: "buttons" }, no, go));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    const check = () => { go.disabled = !ready(form); };
    form.addEventListener("input", check);
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    return new Promise((resolve) => {
        dialog.addEventListener("close", () => resolve(null));
        form.addEventListener("submit", async (event) => {
            event.preventDefault();
            if (!ready(form)) return;
            go.disabled = true;
            form.setAttribute("aria-busy", "true");
            problem.hidden = true;
            try {
                const outcome = await run(form);
                resolve(outcome);
                dialog.close();
            } catch (error) {
                showProblem(problem, error);
                form.removeAttribute("aria-busy");
                check();
            }
        });
        document.body.append(dialog);
        dialog.showModal();
        check();
        (dialog.querySelector("[data-first]") ?? no).focus();
    });
}

/** Shows something until it is closed. */
export function show({ title, body }) {
    const done = h("button", { type: "submit", class: "primary", text: "Done" });
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" },
        h("form", { method: "dialog" }, h("h2", { id: "dialog-title", text: title }), h("div", { class: "dialog-body" }, ...body), h("div", { class: "buttons" }, done)));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    done.focus();
}

export function showProblem(element, error) {
    element.replaceChildren(h("b", { text: error.message }), ...(error.remedy ? [h("span", { text: error.remedy })] : []));
    element.hidden = false;
}

/** A line at the bottom that goes away by itself. */
export function toast(text, tone = "ok") {
    const line = h("p", { class: "toast", "data-tone": tone }, icon(tone === "ok" ? "alive" : "warn"), h("span", { text }));
    document.getElementById("toasts").append(line);
    setTimeout(() => line.remove(), 7000);
}

"""####),
        Asset(path: "dom.js", type: "text/javascript; charset=utf-8", tag: "5be2b41b86c783da", content: ####"""
// Small helpers to build and update the page. Text always goes in as text: names come from the network.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
    for (const [name, value] of Object.entries(properties ?? {})) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (name === "text") element.textContent = value;
        else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
}

/** An HTML element: `h("a", {href: "#", onclick: f}, "text", child)`. */
export function h(tag, properties, ...children) {
    return fill(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function s(tag, properties, ...children) {
    return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Changes the text only when it differs: nothing flickers, and screen readers stay quiet. */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Children of `parent` become those of `items`, in order; elements that stay are kept, with their focus. */
export function keyed(parent, items, key, create, update) {
    const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
    let place = parent.firstElementChild;
    for (const item of items) {
        const name = String(key(item));
        let element = old.get(name);
        if (element) {
            old.delete(name);
        } else {
            element = create(item);
            element.dataset.key = name;
        }
        update(element, item);
        if (element === place) place = place.nextElementSibling;
        else parent.insertBefore(element, place);
    }
    for (const element of old.values()) element.remove();
}

const paths = {
    nodes: "M12 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM5 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Zm14 0a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM10.8 9.2 6.2 14.8M13.2 9.2l4.6 5.6M7.5 17h9",
    services: "M4 5h16v5H4ZM4 14h16v5H4ZM7.5 7.5h.1M7.5 16.5h.1M11 7.5h5.5M11 16.5h5.5",
    volumes: "M4 7c0-2 3.6-3.5 8-3.5S20 5 20 7s-3.6 3.5-8 3.5S4 9 4 7v10c0 2 3.6 3.5 8 3.5s8-1.5 8-3.5V7M4 12c0 2 3.6 3.5 8 3.5s8-1.5 8-3.5",
    mirrors: "M4 8h13l-3.5-3.5M20 16H7l3.5 3.5",
    balancers: "M3 12h6M9 12l5-6.5h6M9 12h11M9 12l5 6.5h6",
    clock: "M12 7v5l3 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
    document: "M6 3.5h8l4 4v13H6ZM14 3.5v4h4M9 12h6M9 16h6",
    data: "M12 4c4 0 7 1.2 7 2.7s-3 2.7-7 2.7-7-1.2-7-2.7S8 4 12 4ZM5 6.7v10.6C5 18.8 8 20 12 20s7-1.2 7-2.7V6.7M5 12c0 1.5 3 2.7 7 2.7s7-1.2 7-2.7",
    events: "M5 6h14M5 12h14M5 18h9",
    health: "M3 12h4l2.5-6 4 12 2.5-6h5",
    access: "M8 15a4 4 0 1 1 3.5-6H21v3h-2v3h-3v-3h-4.5A4 4 0 0 1 8 15Z",
    alive: "M5 12.5l4.5 4.5L19 7.5",
    suspect: "M9 9.2a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2M12 17.6v.2",
    down: "M7 7l10 10M17 7 7 17",
    left: "M6 12h12",
    warn: "M12 8v5M12 16.4v.2M12 3.5 21.5 20h-19Z",
    plus: "M12 5v14M5 12h14",
    back: "M14 6l-6 6 6 6",
    copy: "M9 9h10v11H9ZM6 15H5V4h10v2",
    wait: "M12 7v5l3 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
    key: "M8 15a4 4 0 1 1 3.5-6H21v3h-2v3h-3v-3h-4.5A4 4 0 0 1 8 15Z",
    info: "M12 11v6M12 7.2v.2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
};

/** A line icon; beside text it is decoration, so it has no name of its own. */
export function icon(name) {
    return s("svg", { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: paths[name] ?? paths.info }));
}

/** A line of text that copies itself. */
export function command(text) {
    const button = h("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}` }, icon("copy"));
    button.addEventListener("click", async () => {
        try {
            await navigator.clipboard.writeText(text);
            button.dataset.done = "yes";
            setTimeout(() => delete button.dataset.done, 1500);
        } catch {
            // Over plain HTTP browsers keep the clipboard to themselves: select it instead.
            const range = document.createRange();
            range.selectNodeContents(code);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
        }
    });
    const code = h("code", { text });
    return h("div", { class: "command" }, code, button);
}

"""####),
        Asset(path: "format.js", type: "text/javascript; charset=utf-8", tag: "8a34b1f54c25833d", content: ####"""
// Figures and times as people read them.

let offset = 0;

/** The node's clock against the browser's, from the Date header of an answer. */
export function learnClock(header) {
    const time = Date.parse(header ?? "");
    if (!Number.isNaN(time)) offset = time - Date.now();
}
export const nodeNow = () => Date.now() + offset;

/** “42 s”, “3 min”, “5 h 12 min”, “8 d 4 h”. */
export function duration(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole} s`;
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    const days = Math.floor(hours / 24);
    return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}
export const sinceNow = (iso) => duration((nodeNow() - Date.parse(iso)) / 1000);

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const shortFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const fullFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const read = (format, iso) => (Number.isNaN(Date.parse(iso)) ? iso : format.format(new Date(iso)));
export const clock = (iso) => read(clockFormat, iso);
export const shortClock = (iso) => read(shortFormat, iso);
export const day = (iso) => read(dayFormat, iso);
export const moment = (iso) => read(fullFormat, iso);

export const percent = (share) => `${Math.round(share * 100)} %`;
/** “1.3 MB”: two digits that matter, thousands as disks count them. */
export function bytes(count) {
    if (count < 1000) return plural(count, "byte");
    let value = count;
    let unit = -1;
    while (value >= 999.5 && unit < 3) {
        value /= 1000;
        unit += 1;
    }
    return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${["kB", "MB", "GB", "TB"][unit]}`;
}
export const phi = (value) => (value >= 99.95 ? "100+" : value.toFixed(1));
export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** “a”, “a and b”, “a, b and c”. */
export function list(words) {
    return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

const collator = new Intl.Collator("en", { numeric: true });
export const byName = (a, b) => collator.compare(a.name, b.name);
export const compareNames = (a, b) => collator.compare(a, b);

export const stateWords = { alive: "alive", suspect: "suspect", down: "down", left: "left" };

"""####),
        Asset(path: "icon.svg", type: "image/svg+xml", tag: "0829e9c4200da6a4", content: ####"""
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<style>
path { stroke: #6a9a63; stroke-width: 2.2; stroke-linecap: round; fill: none }
line { stroke: #8d5bb5; stroke-width: 2 }
circle { fill: #7a45a5 }
</style>
<path d="M16 9c0-3.4 1.8-5.6 5-6.4"/>
<line x1="16" y1="11" x2="8" y2="23"/><line x1="16" y1="11" x2="24" y2="23"/><line x1="8" y1="23" x2="24" y2="23"/>
<circle cx="16" cy="11.5" r="5"/><circle cx="8" cy="23.5" r="5"/><circle cx="24" cy="23.5" r="5"/>
</svg>

"""####),
        Asset(path: "index.html", type: "text/html; charset=utf-8", tag: "5d919b8d9e4c8edd", content: ####"""
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Bramble</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
<script type="module" src="/assets/app.js"></script>
</head>
<body class="shell">
<a class="skip" href="#main">Skip to the content</a>
<header class="rail">
  <a class="brand" href="#/nodes"><img src="/assets/icon.svg" alt="" width="26" height="26"><span>Bramble</span></a>
  <p class="cluster"><span id="cluster-name">&nbsp;</span></p>
  <nav aria-label="Pages"><ul id="pages"></ul></nav>
  <div class="seen">
    <p id="live" class="live" data-state="opening"><span class="live-dot"></span><span id="live-text">connecting</span></p>
    <p class="quiet">seen from <b id="seen-from">…</b></p>
    <p class="quiet"><span id="version"></span></p>
    <button type="button" class="plain" id="log-out">Log out</button>
  </div>
</header>
<main id="main" tabindex="-1"><p class="quiet loading">Asking the node…</p></main>
<div id="banner" class="banner" role="alert" hidden></div>
<div id="toasts" class="toasts" role="status" aria-live="polite"></div>
<div id="announcer" class="hidden-text" aria-live="polite"></div>
<noscript><p class="no-script">The dashboard needs JavaScript. Without it: <code>bramble nodes</code> on the machine.</p></noscript>
</body>
</html>

"""####),
        Asset(path: "live.js", type: "text/javascript; charset=utf-8", tag: "a4b463005d2a4056", content: ####"""
// What the node tells as it changes, kept for all pages: one event stream a browser tab.
import { get } from "/assets/api.js";

const keptEvents = 500;
const historySeconds = 120;
const historyStep = 500;

export const store = {
    status: null,
    nodes: [],
    /** False until the nodes were told once; a node that is in no cluster knows none. */
    isComplete: false,
    edges: [],
    waiting: [],
    /** How the database is; null until it was told. */
    database: null,
    /** Null until they were told; a node that is in no cluster says nothing of them. */
    services: null,
    mirrors: null,
    volumes: null,
    balancers: null,
    locks: null,
    events: [],
    /** φ by node name, one value for each half second, oldest first; null where unknown. */
    history: new Map(),
    connection: "opening",
    lastHeard: 0,
};

const listeners = new Set();
let dirty = new Set();

/** Calls back with the set of what changed, at most once a frame. Returns how to stop. */
export function subscribe(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
}

function changed(what) {
    if (dirty.size === 0) requestAnimationFrame(tell);
    dirty.add(what);
}
function tell() {
    const what = dirty;
    dirty = new Set();
    for (const listener of listeners) listener(what);
}

let source = null;
let retry = null;
let wait = 1000;

export function connect() {
    clearTimeout(retry);
    source?.close();
    const last = store.events.at(-1)?.id;
    source = new EventSource(last === undefined ? "/v1/live" : `/v1/live?since=${last}`);
    const on = (name, take) => source.addEventListener(name, (message) => {
        store.lastHeard = Date.now();
        take(JSON.parse(message.data));
        changed(name);
    });
    source.addEventListener("open", () => {
        wait = 1000;
        setConnection("live");
    });
    source.addEventListener("error", lost);
    on("status", (value) => { store.status = value; });
    on("nodes", (value) => {
        store.nodes = value;
        store.isComplete = true;
    });
    on("edges", (value) => { store.edges = value; });
    on("waiting", (value) => { store.waiting = value; });
    on("database", (value) => { store.database = value; });
    on("services", (value) => { store.services = value; });
    on("mirrors", (value) => { store.mirrors = value; });
    on("volumes", (value) => { store.volumes = value; });
    on("balancers", (value) => { store.balancers = value; });
    on("locks", (value) => { store.locks = value; });
    on("phi", (value) => {
        for (const node of store.nodes) if (node.name in value.nodes) node.phi = value.nodes[node.name];
        for (const edge of store.edges) edge.phi = value.edges[`${edge.from}>${edge.to}`] ?? null;
        if (store.status) store.status.uptimeSeconds = value.uptimeSeconds;
    });
    on("event", (event) => {
        if (event.id <= (store.events.at(-1)?.id ?? 0)) return;
        store.events.push(event);
        if (store.events.length > keptEvents) store.events.splice(0, store.events.length - keptEvents);
    });
}

/** The browser would try again by itself, but not after every kind of end, and it cannot tell a login that is over. */
function lost() {
    source.close();
    if (store.connection === "live" || store.connection === "opening") setConnection("lost");
    clearTimeout(retry);
    retry = setTimeout(async () => {
        try {
            await get("/v1/session");  // leads to the login page when the session is over
            connect();
        } catch {
            wait = Math.min(wait * 1.6, 10000);
            lost();
        }
    }, wait);
}

function setConnection(state) {
    store.connection = state;
    changed("connection");
}

setInterval(() => {
    const limit = (historySeconds * 1000) / historyStep;
    const names = new Set();
    for (const node of store.nodes) {
        names.add(node.name);
        const past = store.history.get(node.name) ?? [];
        past.push(store.connection === "live" ? node.phi : null);
        if (past.length > limit) past.splice(0, past.length - limit);
        store.history.set(node.name, past);
    }
    for (const name of store.history.keys()) if (!names.has(name)) store.history.delete(name);
    if (store.nodes.length) changed("history");
}, historyStep);
// Durations (“for 3 min”) move on their own.
setInterval(() => changed("time"), 1000);

"""####),
        Asset(path: "login.html", type: "text/html; charset=utf-8", tag: "e4388235570242c8", content: ####"""
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in – Bramble</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
<script type="module" src="/assets/login.js"></script>
</head>
<body class="door">
<main class="door-card">
  <p class="brand"><img src="/assets/icon.svg" alt="" width="34" height="34"><span>Bramble</span></p>
  <h1>Log in to this node</h1>
  <form id="login" method="post" action="/login">
    <label for="user">User</label>
    <input id="user" name="user" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" required value="admin">
    <label for="password">Password</label>
    <input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required autofocus>
    <p id="problem" class="problem" role="alert" hidden></p>
    <button type="submit" class="primary wide">Log in</button>
  </form>
  <p id="plain-http" class="advice" hidden>This connection is not encrypted: whoever can listen on this network can read the
    password. <code>tls: self</code> in <code>bramble.yaml</code> changes that.</p>
  <p class="quiet">Forgotten? On the machine itself: <code>bramble password</code></p>
</main>
</body>
</html>

"""####),
        Asset(path: "login.js", type: "text/javascript; charset=utf-8", tag: "4963e39716c7c312", content: ####"""
import { ask } from "/assets/api.js";

const form = document.getElementById("login");
const problem = document.getElementById("problem");
const button = form.querySelector("button");
const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
document.getElementById("plain-http").hidden = location.protocol === "https:" || isHere;

form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    button.disabled = true;
    try {
        await ask("POST", "/login", { user: form.user.value, password: form.password.value });
        location.assign("/");
    } catch (error) {
        problem.textContent = `${error.message[0].toUpperCase()}${error.message.slice(1)}: ${error.remedy}`;
        problem.hidden = false;
        form.password.select();
        form.password.focus();
        button.disabled = false;
    }
});

"""####),
        Asset(path: "pages/access.js", type: "text/javascript; charset=utf-8", tag: "fc6d8690bb34fa19", content: ####"""
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

"""####),
        Asset(path: "pages/balancers.js", type: "text/javascript; charset=utf-8", tag: "9a86f4e734338489", content: ####"""
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

"""####),
        Asset(path: "pages/clock.js", type: "text/javascript; charset=utf-8", tag: "0290e183d2139fc3", content: ####"""
// The clocks: how far each node's is from the others', how sure that is, and who gives the time.
import { ask, get } from "/assets/api.js";
import { confirm, showProblem, toast } from "/assets/dialog.js";
import { h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { compareNames } from "/assets/format.js";
import { upperUnlessName } from "/assets/sentences.js";

/** From here on `bramble doctor` warns, too. Milliseconds. */
const far = 10;
/** Between two measurements while somebody looks. Milliseconds. */
const pace = 3000;

export function open(main) {
    const told = h("p", { class: "quiet", role: "status", text: "Asking every node…" });
    const change = h("button", { type: "button", hidden: true, onclick: () => keep(!isKept, look) });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const rows = h("tbody", {});
    const kept = h("p", {});
    const panel = h("section", { class: "panel", "aria-label": "Clocks", hidden: true }, h("table", { class: "copies clocks" },
        h("caption", { class: "hidden-text", text: "The clock of each node, as measured from the node that answers" }),
        h("thead", {}, h("tr", {}, ...["Node", "State", "Offset", "Error at most", "Follows"].map((text) => h("th", { scope: "col", text })))), rows));
    const about = h("section", { class: "panel", "aria-labelledby": "kept-title", hidden: true }, h("h2", { id: "kept-title", text: "Who keeps them" }), kept);
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Clocks" }), told, change), problem, panel, about);

    let isKept = false;
    let timer = null;
    let isClosed = false;
    async function look() {
        clearTimeout(timer);
        try {
            const clocks = await get("/v1/clock");
            if (isClosed) return;
            show(clocks);
        } catch (error) {
            if (isClosed) return;
            setText(told, "");
            showProblem(problem, error);
        }
        timer = setTimeout(look, pace);
    }
    function show(clocks) {
        problem.hidden = true;
        panel.hidden = about.hidden = change.hidden = false;
        keyed(rows, [...clocks].sort((a, b) => compareNames(a.node, b.node)), (clock) => clock.node, clockRow, (row, clock) => row.update(clock));
        isKept = clocks.some((clock) => clock.kept);
        const server = clocks.find((clock) => clock.serves)?.node;
        setText(told, verdict(clocks));
        setText(change, isKept ? "Leave them alone…" : "Keep them together…");
        setText(kept, !isKept ? "Each machine keeps its own clock, by whatever it has. chrony can keep them together: one node gives the others the time."
            : server ? `chrony keeps them together. ${server} gives the others the time; when it dies, another node does.`
                : "chrony keeps them together. No node gives the time yet: who does is being agreed.");
    }
    look();
    return () => {
        isClosed = true;
        clearTimeout(timer);
    };
}

function verdict(clocks) {
    const silent = clocks.filter((clock) => clock.offsetMs === null);
    if (silent.length) return `${silent.length} of ${clocks.length} did not answer`;
    if (clocks.length < 2) return "one node, one clock";
    const highest = Math.max(...clocks.map((clock) => clock.offsetMs + clock.errorMs));
    const lowest = Math.min(...clocks.map((clock) => clock.offsetMs - clock.errorMs));
    return `all within ${milliseconds(highest - lowest)} of each other, errors included`;
}
function milliseconds(value) {
    return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 3 : 1)} ms`;
}

function clockRow(clock) {
    const serves = h("span", { class: "tag", text: "gives the time" });
    const chip = h("span", { class: "state" });
    const offset = h("td", { class: "number", "data-label": "Offset" });
    const error = h("td", { class: "number", "data-label": "Error at most" });
    const source = h("td", { class: "number", "data-label": "Follows" });
    const row = h("tr", {}, h("th", { scope: "row" }, h("a", { class: "node-name", href: `#/node/${encodeURIComponent(clock.node)}`, text: clock.node }), serves), h("td", { class: "cell-copy" }, chip), offset, error, source);
    row.update = (clock) => {
        const isSilent = clock.offsetMs === null;
        const isOff = !isSilent && Math.abs(clock.offsetMs) > Math.max(far, clock.errorMs ?? 0);
        const [word, glyph, tone] = isSilent ? ["no answer", "suspect", "suspect"] : isOff ? ["off", "warn", "down"] : ["right", "alive", "alive"];
        if (chip.dataset.told !== word) {
            chip.dataset.told = word;
            chip.replaceChildren(icon(glyph), word);
        }
        setAttribute(chip, "data-state", tone);
        serves.hidden = !clock.serves;
        setText(offset, isSilent ? "–" : `${clock.offsetMs > 0 ? "+" : clock.offsetMs < 0 ? "−" : ""}${milliseconds(Math.abs(clock.offsetMs))}`);
        setText(error, clock.errorMs === null ? "–" : `±${milliseconds(clock.errorMs)}`);
        setText(source, isSilent ? "–" : clock.source === null ? "nobody" : clock.source === "local" ? "its own clock" : clock.source);
    };
    return row;
}

async function keep(isOn, look) {
    const done = await confirm({
        title: isOn ? "Let chrony keep the clocks together?" : "Leave each clock alone?", action: isOn ? "Keep them together" : "Leave them alone", tone: isOn ? "primary" : "danger",
        body: [h("p", { text: "This is what will happen:" }), h("ul", { class: "consequences" }, ...(isOn ? [
            "one node gives the others the time: that of its own sources where it reaches them, else of its own clock; when it dies, another node does",
            "on each node two files tell chrony so: /etc/chrony/conf.d/bramble.conf and /etc/chrony/sources.d/bramble.sources",
            "each node needs the package chrony, which takes the place of systemd-timesyncd and ntp; one without it says so in its events",
        ] : [
            "what was written for chrony is taken away, and chrony is started again as it was before",
            "each machine keeps its own clock; without a source of its own it drifts, by seconds a week",
            "jobs that wait for equal clocks may wait in vain",
        ]).map((text) => h("li", { text })))],
        run: () => ask("POST", "/v1/clock", { on: isOn }),
    });
    if (!done) return;
    toast(upperUnlessName(done.done, "chrony"));
    look();
}

"""####),
        Asset(path: "pages/data.js", type: "text/javascript; charset=utf-8", tag: "d8b046d779b9b683", content: ####"""
// The database: how each node's copy is, the tables and their rows, SQL, and what was overwritten unseen.
import { ask, get } from "/assets/api.js";
import { confirm, showProblem, toast } from "/assets/dialog.js";
import { h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { bytes, duration, moment, percent, plural, sinceNow } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";

const pageSize = 50;
const longestCell = 120;

/** The tables, and the rows of the one in the address: `#/data/NAME`. */
export function open(main, name) {
    const count = h("p", { class: "quiet", role: "status" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const notes = h("ul", { class: "notes" });
    const copies = copiesPanel();
    const conflicts = conflictsPanel();
    const names = h("ul", { class: "tables" });
    const none = h("p", { class: "quiet", text: "No tables yet. Make the first one below: it is on every node at once.", hidden: true });
    const rows = name ? rowsPanel(name) : null;
    const sql = sqlPanel(name, () => { load(); rows?.load(); });
    main.append(
        h("header", { class: "page-head" }, h("h1", { text: "Data" }), count,
            h("a", { class: "button", href: "/v1/backup", download: "bramble-backup.db" }, "Download a backup")),
        notes, problem,
        h("div", { class: "columns" },
            h("section", { class: "panel table-list", "aria-labelledby": "tables-title" }, h("h2", { id: "tables-title", text: "Tables" }), names, none),
            h("div", { class: "column grow" }, ...(rows ? [rows.element] : []), sql, copies.element, conflicts.element)));

    async function load() {
        try {
            const tables = await get("/v1/tables");
            problem.hidden = true;
            const own = tables.filter((table) => !table.system);
            none.hidden = own.length > 0;
            keyed(names, [...own, ...tables.filter((table) => table.system)], (table) => table.name,
                (table) => h("li", {}, h("a", { href: `#/data/${encodeURIComponent(table.name)}`, "data-system": table.system ? "yes" : null },
                    h("span", { class: "table-name", text: table.name }), h("span", { class: "quiet number" }))),
                (element, table) => {
                    setText(element.querySelector(".number"), table.rows === null ? "" : String(table.rows));
                    setAttribute(element.querySelector("a"), "aria-current", table.name === name ? "page" : null);
                });
        } catch (error) {
            showProblem(problem, error);
        }
    }
    let conflictCount = null;
    let tableCount = null;
    function render(what) {
        const status = store.database;
        if (!status) return;
        if (what.has("database") || what.has("time")) copies.update(status);
        if (!what.has("database")) return;
        setText(count, `${bytes(status.bytes)} in ${plural(status.tables, "table")}`);
        keyed(notes, status.notes, (note) => note, (note) => h("li", {}, icon("info"), h("span", { text: note })), () => {});
        if (status.conflicts !== conflictCount) {
            conflictCount = status.conflicts;
            conflicts.load(conflictCount);
        }
        if (status.tables !== tableCount) {
            tableCount = status.tables;
            load();
        }
    }
    load();
    rows?.load();
    render(new Set(["database"]));
    return subscribe(render);
}

// How far each node's copy is

function copiesPanel() {
    const rows = h("tbody", {});
    const element = h("section", { class: "panel", "aria-labelledby": "copies-title", hidden: true },
        h("div", { class: "panel-head" }, h("h2", { id: "copies-title", text: "Each node's copy" })),
        h("table", { class: "copies" },
            h("caption", { class: "hidden-text", text: "How far each node's copy of the database is" }),
            h("thead", {}, h("tr", {}, ...["Node", "Copy", "Lacks", "Behind by", "Last equal"].map((text) => h("th", { scope: "col", text })))), rows));
    const held = h("ul", { class: "notes held", "aria-label": "Writes that this node does not take", hidden: true });
    element.append(held);
    return {
        element,
        update(status) {
            element.hidden = false;
            keyed(rows, status.replicas, (replica) => replica.node, copyRow, (row, replica) => row.update(replica));
            const stuck = (status.origins ?? []).filter((origin) => origin.state !== "taken");
            held.hidden = stuck.length === 0;
            keyed(held, stuck, (origin) => origin.origin, heldRow, (row, origin) => row.update(origin));
        },
    };
}

/** Writes of one node that are not taken here: the future is released by an operator, what cannot be read by an update. */
function heldRow(origin) {
    const text = h("span", {});
    const release = h("button", {
        type: "button", text: "Release…",
        onclick: () => confirm({
            title: `Take what ${origin.node} wrote with a wrong clock?`, action: "Release", tone: "danger",
            body: [h("p", { text: "It is taken on every node, as it is: where others wrote the same values since, these writes count all the same, until they are written again. It cannot be taken back." })],
            run: () => ask("POST", "/v1/database/release", { of: origin.origin }),
        }).then((done) => done && toast(done.done)),
    });
    const row = h("li", {}, icon("warn"), text, release);
    row.update = (origin) => {
        const count = `${plural(origin.waiting, "write")} of ${origin.node}`;
        setText(text, origin.state === "held" ? `${count}, from ${moment(origin.at)}, held back: the clock there was wrong.` : `${count} cannot be read by this version: install the newest one on this node.`);
        release.hidden = origin.state !== "held";
    };
    return row;
}
const copyWords = { equal: ["equal", "alive"], behind: ["behind", "wait"], snapshot: ["whole copy", "wait"], unreachable: ["unreachable", "down"], quarantined: ["quarantined", "warn"] };

function copyRow(replica) {
    const chip = h("span", { class: "state" });
    const note = h("span", { class: "quiet copy-note" });
    const fill = h("span", { class: "bar-fill" });
    const bar = h("span", { class: "bar", role: "meter", "aria-label": "Of the database", "aria-valuemin": "0", "aria-valuemax": "100", hidden: true }, fill);
    const lacks = h("td", { class: "number", "data-label": "Lacks" });
    const behind = h("td", { class: "number", "data-label": "Behind by" });
    const last = h("td", { class: "number", "data-label": "Last equal" });
    const row = h("tr", {}, h("th", { scope: "row" }, h("a", { class: "node-name", href: `#/node/${encodeURIComponent(replica.node)}`, text: replica.node }), replica.self ? h("span", { class: "tag", text: "this node" }) : null),
        h("td", { class: "cell-copy" }, chip, bar, note), lacks, behind, last);
    row.update = (replica) => {
        const part = replica.snapshot;
        const share = part && part.totalBytes > 0 ? Math.min(part.bytes / part.totalBytes, 1) : 0;
        const isAhead = replica.state === "behind" && replica.missing === 0 && replica.ahead > 0;
        const [word, glyph] = isAhead ? [`ahead by ${replica.ahead}`, "wait"] : copyWords[replica.state] ?? [replica.state, "info"];
        const told = part ? `${word}, ${percent(share)} ${part.direction === "sending" ? "sent" : "here"}` : word;
        if (chip.dataset.told !== told) {
            chip.dataset.told = told;
            chip.replaceChildren(icon(glyph), told);
        }
        setAttribute(chip, "data-state", { equal: "alive", behind: "suspect", snapshot: "suspect", unreachable: "down", quarantined: "down" }[replica.state]);
        bar.hidden = !part;
        fill.style.setProperty("--share", share.toFixed(3));
        setAttribute(bar, "aria-valuenow", Math.round(share * 100));
        setText(note, replica.note);
        const isKnown = !replica.self && replica.state !== "unreachable";
        setText(lacks, replica.self ? "–" : replica.missing === 0 ? "nothing" : plural(replica.missing, "write"));
        setText(behind, !isKnown ? "–" : replica.behindSeconds <= 0 ? "0 s" : replica.behindSeconds < 60 ? `${replica.behindSeconds.toFixed(1)} s` : duration(replica.behindSeconds));
        setText(last, replica.self ? "–" : replica.state === "equal" ? "now" : replica.lastSync ? `${sinceNow(replica.lastSync)} ago` : "–");
    };
    return row;
}

// Rows of one table, page by page

function rowsPanel(name) {
    const title = h("h2", { id: "rows-title", text: name });
    const about = h("p", { class: "quiet columns-about" });
    const head = h("tr", {});
    const body = h("tbody", {});
    const none = h("p", { class: "quiet", text: "No rows.", hidden: true });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    // Where each page seen so far begins; the first begins at the start.
    let starts = [null];
    let place = 0;
    const back = h("button", { type: "button", text: "Back", onclick: () => go(place - 1) });
    const on = h("button", { type: "button", text: "Next", onclick: () => go(place + 1) });
    const where = h("span", { class: "quiet", role: "status" });
    const element = h("section", { class: "panel rows", "aria-labelledby": "rows-title" }, h("div", { class: "panel-head" }, title, h("button", { type: "button", class: "plain", text: "Load again", onclick: () => load() })), about, problem,
        h("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "rows-title" }, h("table", { class: "values" }, h("thead", {}, head), body)), none,
        h("div", { class: "pages" }, back, where, on));

    function go(next) {
        place = next;
        load();
    }
    async function load() {
        const after = starts[place];
        try {
            const page = await get(`/v1/tables/${encodeURIComponent(name)}?limit=${pageSize}&safeIntegers=true${after === null ? "" : `&after=${after}`}`);
            problem.hidden = true;
            starts = [...starts.slice(0, place + 1), ...(page.next === null ? [] : [page.next])];
            setText(about, page.table.columns.map((column) => [column.name, column.type.toLowerCase(), column.key ? "key" : "", column.counter ? "adds up" : ""].filter(Boolean).join(" ")).join(", "));
            fillTable(head, body, page.table.columns.map((column) => column.name), page.rows);
            none.hidden = page.rows.length > 0;
            const first = place * pageSize + 1;
            const all = page.table.rows === null ? "" : ` of ${page.table.rows}`;
            setText(where, page.rows.length === 0 ? "" : `rows ${first} to ${first + page.rows.length - 1}${all}`);
            back.disabled = place === 0;
            on.disabled = page.next === null;
        } catch (error) {
            showProblem(problem, error);
        }
    }
    return { element, load };
}

function fillTable(head, body, columns, rows) {
    const isNumeric = (index) => rows.length > 0 && rows.every((row) => row[index] === null || typeof row[index] === "number" || row[index].integer !== undefined || row[index].real !== undefined);
    head.replaceChildren(...columns.map((text, index) => h("th", { scope: "col", class: isNumeric(index) ? "number" : null, text })));
    body.replaceChildren(...rows.map((row) => h("tr", {}, ...row.map(cell))));
}

/** A value as SQL knows it: what is no text looks different from text that reads the same. */
function cell(value) {
    if (value === null) return h("td", { class: "is-null", text: "NULL" });
    if (typeof value === "number") return h("td", { class: "number", text: String(value) });
    if (typeof value === "string") {
        const isLong = value.length > longestCell;
        return h("td", { title: isLong ? value.slice(0, 2000) : null, text: isLong ? `${value.slice(0, longestCell)}…` : value });
    }
    if ("integer" in value) return h("td", { class: "number", text: value.integer });
    if ("real" in value) return h("td", { class: "number", text: value.real });
    const size = Math.floor((value.blob.length * 3) / 4) - (value.blob.endsWith("==") ? 2 : value.blob.endsWith("=") ? 1 : 0);
    return h("td", { class: "is-null", title: "Base 64: " + value.blob.slice(0, 200), text: plural(size, "byte") });
}
const asText = (value) => cell(value).textContent;

// SQL

function sqlPanel(name, changed) {
    const text = h("textarea", { id: "statement", rows: "3", spellcheck: "false", autocapitalize: "none", autocomplete: "off", "aria-label": "SQL statement", placeholder: "select … from …" });
    text.value = name ? `select * from "${name.replaceAll('"', '""')}" limit 100` : store.lastStatement ?? "";
    const mode = h("input", { type: "checkbox", id: "may-write", role: "switch", onchange: tellMode });
    const run = h("button", { type: "submit", class: "primary" });
    const warning = h("p", { class: "write-note", role: "status" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const told = h("p", { class: "quiet", role: "status" });
    const head = h("tr", {});
    const body = h("tbody", {});
    const answer = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rows of the answer", hidden: true }, h("table", { class: "values" }, h("thead", {}, head), body));
    const form = h("form", { class: "sql", onsubmit: submit }, text,
        h("div", { class: "sql-line" }, h("label", { class: "switch", for: "may-write" }, mode, h("span", { text: "Let it write" })), warning, run), problem, told, answer);
    text.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    function tellMode() {
        setText(run, mode.checked ? "Run and write…" : "Run, reading only");
        setAttribute(run, "class", mode.checked ? "danger" : "primary");
        setText(warning, mode.checked ? "What it changes is changed on every node." : "");
        setAttribute(form, "data-writes", mode.checked ? "yes" : null);
    }
    async function submit(event) {
        event.preventDefault();
        const statement = text.value.trim().replace(/;\s*$/, "");
        problem.hidden = true;
        if (statement === "") {
            text.focus();
            return;
        }
        const call = () => ask("POST", "/v1/sql", { statement, readOnly: !mode.checked, limit: 500, safeIntegers: true });
        run.disabled = true;
        try {
            const result = mode.checked
                ? await confirm({
                    title: "Run this on the shared database?", action: "Run it", tone: "danger",
                    body: [h("pre", { class: "statement", text: statement }), h("p", { text: "What it changes is changed on every node of the cluster. There is no undo; a backup helps." })],
                    run: call,
                })
                : await call();
            if (result) show(result);
        } catch (error) {
            answer.hidden = true;
            setText(told, "");
            showProblem(problem, error);
        }
        run.disabled = false;
    }
    function show(result) {
        const parts = [];
        if (result.columns.length) parts.push(result.truncated ? `the first ${plural(result.rows.length, "row")}: there are more` : plural(result.rows.length, "row"));
        if (result.durability !== null) {
            parts.push(`${plural(result.changed, "row")} changed`, { local: "on this node's disk", one: "on the disk of another node, too", majority: "on the disks of more than half of the nodes" }[result.durability]);
            toast("Done");
            changed();
        }
        if (result.note) parts.push(result.note);
        setText(told, parts.join(", ") || "Done, nothing changed");
        answer.hidden = result.columns.length === 0;
        fillTable(head, body, result.columns, result.rows);
    }
    tellMode();
    return h("section", { class: "panel", "aria-labelledby": "sql-title" }, h("h2", { id: "sql-title", text: "SQL" }), form);
}

// What was overwritten unseen

function conflictsPanel() {
    const list = h("ul", { class: "conflicts" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const element = h("section", { class: "panel", "aria-labelledby": "conflicts-title", hidden: true }, h("h2", { id: "conflicts-title", text: "Overwritten unseen" }),
        h("p", { class: "quiet", text: "Two nodes changed the same value without hearing of each other. The later one counts; if the other was right, write it again." }), problem, list);
    async function load(count) {
        element.hidden = !count;
        if (!count) return;
        try {
            const found = await get("/v1/conflicts?limit=100&safeIntegers=true");
            problem.hidden = true;
            keyed(list, found, (conflict) => conflict.id, conflictRow, () => {});
        } catch (error) {
            showProblem(problem, error);
        }
    }
    return { element, load };
}
function conflictRow(conflict) {
    const key = Object.entries(conflict.key).map(([name, value]) => `${name} ${asText(value)}`).join(", ");
    return h("li", {},
        h("p", {}, h("b", { text: conflict.table }), ` ${key}`, conflict.column ? [", ", h("b", { text: conflict.column })] : null, h("time", { class: "quiet", datetime: conflict.at, text: moment(conflict.at) })),
        h("div", { class: "sides" }, side("counts", conflict.kept), side("lost", conflict.lost)));
}
function side(word, value) {
    return h("div", { class: `side side-${word}` }, h("span", { class: "side-word", text: word }), h("span", { class: "side-value", text: value.action === "deleted" ? "deleted" : asText(value.value) }),
        h("span", { class: "quiet", text: `${value.node}, ${moment(value.at)}` }));
}

"""####),
        Asset(path: "pages/desired.js", type: "text/javascript; charset=utf-8", tag: "4b876623d994d28f", content: ####"""
// Single objects of what should be: added and removed through the document, as `bramble … add` and `remove` do.
import { ask, Refused } from "/assets/api.js";

const apply = (request) => ask("POST", "/v1/apply", { name: "the dashboard", ...request });

/** Adds one object to a part (“balancers”); refused where one of that name is there. JSON is YAML, too. */
export async function addObject(part, object) {
    const document = JSON.stringify({ [part]: [object] });
    const plan = await apply({ document, dryRun: true });
    if (plan.changes.length === 0 || plan.changes.some((change) => change.part === part && change.name === object.name && change.change === "changed")) {
        throw new Refused(409, { problem: `“${object.name}” is there already`, remedy: "give another name, or change it on the page of the document" });
    }
    return apply({ document });
}

export const removeObject = (part, name) => apply({ document: "{}", remove: [`${part}/${name}`] });

"""####),
        Asset(path: "pages/document.js", type: "text/javascript; charset=utf-8", tag: "59f82bce252d9923", content: ####"""
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

"""####),
        Asset(path: "pages/events.js", type: "text/javascript; charset=utf-8", tag: "69684a616495c937", content: ####"""
// The event log, newest first, with a filter.
import { get } from "/assets/api.js";
import { h, setText } from "/assets/dom.js";
import { plural } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";
import { eventList, updateEvents } from "/assets/pages/parts.js";
import { sentence, weight } from "/assets/sentences.js";

const step = 200;

export function open(main) {
    let all = store.events.slice();
    let room = step;
    const word = h("input", { type: "search", class: "filter", placeholder: "Find: a name, a word, a kind", "aria-label": "Find events", oninput: () => { room = step; render(); } });
    const kinds = [["all", "All"], ["problems", "Problems"], ["services", "Services"], ["changes", "Members"]];
    const group = h("fieldset", { class: "segments" }, h("legend", { class: "hidden-text", text: "Show" }),
        ...kinds.map(([value, text], index) => h("label", {}, h("input", { type: "radio", name: "kind", value, checked: index === 0, onchange: () => { room = step; render(); } }), h("span", { text }))));
    const count = h("p", { class: "quiet", role: "status" });
    const list = eventList();
    const more = h("button", { type: "button", text: "Show older ones", hidden: true, onclick: () => { room += step; render(); } });
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Events" }), count), h("div", { class: "tools" }, word, group), h("section", { class: "panel", "aria-label": "Events" }, list, more));

    const joins = new Set(["joined", "left", "removed", "alive", "down", "waiting", "approved", "restarted"]);
    const ofServices = new Set(["acquired", "released", "started", "stopped", "failed", "moved", "blocked", "parked", "mirrored", "drilled", "held", "drained", "resumed", "applied", "made", "mounted", "unmounted", "degraded", "changing", "deleted"]);
    const names = () => new Set([...(store.services ?? []), ...(store.mirrors ?? []), ...(store.volumes ?? [])].map((thing) => thing.name));
    function render() {
        const own = names();
        const kind = main.querySelector("input[name=kind]:checked")?.value ?? "all";
        const words = word.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
        const found = all.filter((event) => {
            if (kind === "problems" && !["bad", "warn"].includes(weight(event))) return false;
            if (kind === "services" && !ofServices.has(event.type) && !own.has(event.subject)) return false;
            if (kind === "changes" && !joins.has(event.type)) return false;
            const text = `${sentence(event)} ${event.type} ${event.subject} ${(event.by ?? []).join(" ")}`.toLowerCase();
            return words.every((part) => text.includes(part));
        });
        updateEvents(list, found.slice(-room).reverse(), { days: true });
        more.hidden = found.length <= room;
        setText(count, found.length === all.length ? plural(all.length, "event") : `${found.length} of ${plural(all.length, "event")}`);
    }
    function merge(events) {
        const last = all.at(-1)?.id ?? 0;
        all.push(...events.filter((event) => event.id > last));
    }
    render();
    // The stream began with the newest; the rest is asked for once.
    get("/v1/events").then((kept) => {
        const live = all;
        all = kept;
        merge(live);
        render();
    }).catch(() => {});
    return subscribe((what) => {
        if (!what.has("event")) return;
        merge(store.events);
        render();
    });
}

"""####),
        Asset(path: "pages/examples.js", type: "text/javascript; charset=utf-8", tag: "512ded289c1bee31", content: ####"""
// What a person may begin with.
export const example = `reach: [192.168.1.1, 192.168.1.2]   # hosts that normally answer, such as the router
services:
  - name: files
    addresses: [192.168.1.50/24]    # goes where the service goes
    run: systemd:smbd
    check: tcp:445
    mirrors: [samba]
mirrors:
  - name: samba
    paths: [/srv/files/, /var/lib/samba/]
    every: 10m                      # or on-change
`;

"""####),
        Asset(path: "pages/health.js", type: "text/javascript; charset=utf-8", tag: "ad089e4cd74b094b", content: ####"""
// What `bramble doctor` says about the node that answers.
import { get } from "/assets/api.js";
import { h, icon, setText } from "/assets/dom.js";
import { showProblem } from "/assets/dialog.js";
import { plural } from "/assets/format.js";

const order = { fail: 0, warn: 1, ok: 2 };
const icons = { fail: "down", warn: "warn", ok: "alive" };
const words = { fail: "wrong", warn: "could be better", ok: "in order" };

export function open(main) {
    const count = h("p", { class: "quiet", role: "status", text: "Looking…" });
    const again = h("button", { type: "button", text: "Look again", onclick: look });
    const list = h("ul", { class: "checks" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Health of this node" }), count, again), problem, h("section", { class: "panel", "aria-label": "Findings" }, list));

    async function look() {
        again.disabled = true;
        problem.hidden = true;
        try {
            const checks = (await get("/v1/doctor")).sort((a, b) => order[a.state] - order[b.state]);
            list.replaceChildren(...checks.map((check) => h("li", { "data-state": check.state },
                h("span", { class: "check-glyph" }, icon(icons[check.state])),
                h("div", {}, h("p", {}, h("b", { text: check.check }), h("span", { class: "quiet", text: words[check.state] })), h("p", { text: check.text }), check.remedy ? h("p", { class: "remedy" }, h("span", { text: check.remedy })) : null))));
            const open = checks.filter((check) => check.state !== "ok").length;
            setText(count, open === 0 ? `${plural(checks.length, "check")}, all in order` : `${open} of ${plural(checks.length, "check")} ${open === 1 ? "wants" : "want"} a look`);
        } catch (error) {
            showProblem(problem, error);
            setText(count, "");
        }
        again.disabled = false;
    }
    look();
    return () => {};
}

"""####),
        Asset(path: "pages/labels.js", type: "text/javascript; charset=utf-8", tag: "3a523ba17cccd26b", content: ####"""
// Labels of nodes: what a machine is for.
import { ask } from "/assets/api.js";
import { confirm, toast } from "/assets/dialog.js";
import { h } from "/assets/dom.js";
import { compareNames } from "/assets/format.js";
import { upperUnlessName } from "/assets/sentences.js";

/** “role=web”, by key. */
export const labelTexts = (node) => Object.entries(node.labels ?? {}).map(([key, value]) => `${key}=${value}`).sort(compareNames);

export async function labelNode(node) {
    const before = node.labels ?? {};
    const parse = (form) => form.labels.value.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => [line, line.indexOf("=")]);
    const done = await confirm({
        title: `Labels of ${node.name}`, action: "Save",
        body: [
            h("label", { for: "labels", text: "One KEY=VALUE a line" }),
            h("textarea", { id: "labels", name: "labels", rows: "5", spellcheck: "false", autocapitalize: "none", autocomplete: "off", placeholder: "role=web", "data-first": true }, labelTexts(node).join("\n")),
            h("p", { class: "quiet", text: "Ansible gets them as groups: role=web becomes role_web, and rack=a becomes label_rack_a. They change nothing on the machine itself." }),
        ],
        ready: (form) => parse(form).every(([line, equals]) => equals > 0 && equals < line.length - 1),
        run: (form) => {
            const set = Object.fromEntries(parse(form).map(([line, equals]) => [line.slice(0, equals).trim(), line.slice(equals + 1).trim()]));
            return ask("POST", `/v1/nodes/${encodeURIComponent(node.name)}/labels`, { set, remove: Object.keys(before).filter((key) => !(key in set)) });
        },
    });
    if (done) toast(upperUnlessName(done.done, done.name));
}

"""####),
        Asset(path: "pages/membership.js", type: "text/javascript; charset=utf-8", tag: "866f825ada3a09f3", content: ####"""
// Adding and removing machines: what will happen is said before it does.
import { ask } from "/assets/api.js";
import { confirm, toast } from "/assets/dialog.js";
import { command, h } from "/assets/dom.js";
import { plural } from "/assets/format.js";
import { store } from "/assets/live.js";
import { upperUnlessName } from "/assets/sentences.js";

export async function addWaiting(machine) {
    const hasKey = machine.reason === "approval";
    const done = await confirm({
        title: `Add ${machine.name}?`,
        action: `Add ${machine.name}`,
        body: [
            h("p", { text: "Compare this code with the one that the machine itself shows:" }),
            h("p", { class: "code large", text: machine.code }),
            h("p", { class: "quiet" }, "There: ", h("code", { text: "bramble status" }), `, or its log. This machine answers at ${machine.address}.`),
            h("p", { text: "Then:" }),
            h("ul", { class: "consequences" },
                hasKey ? h("li", { text: "it proved that it has the cluster key, and is let in" })
                    : h("li", { text: "it gets the cluster key, over an encrypted connection to exactly this machine" }),
                h("li", { text: `it joins as ${machine.name}, and every node knows it within a second` }),
                h("li", { text: "a database that it has is set aside there as a backup file: it gets a copy of this cluster's" }),
                h("li", { text: "from then on it sees everything the cluster knows, and may run its services" })),
            h("label", { class: "check" }, h("input", { type: "checkbox", name: "same", "data-first": true }), "The codes are the same"),
        ],
        ready: (form) => form.same.checked,
        run: () => ask("POST", "/v1/nodes", { name: machine.id }),
    });
    if (done) toast(upperUnlessName(done.done, done.name));
}

export async function addMachine() {
    const done = await confirm({
        title: "Add a machine",
        action: "Look for it",
        body: [
            h("p", { text: "A machine on the same network needs nothing from here: start Bramble there, and it shows up on the first page, waiting, with a code to compare. With the cluster's key in its data directory it joins by itself:" }),
            command("scp /var/lib/bramble/cluster.key root@MACHINE:/var/lib/bramble/"),
            h("p", { text: "A machine elsewhere is looked for at its name or address. It must be reachable on UDP and TCP 7771." }),
            h("p", { text: "A database that the machine has is set aside there as a backup file: it gets a copy of this cluster's." }),
            h("label", { for: "host", text: "Name or address" }),
            h("input", { id: "host", name: "host", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: "255", placeholder: "192.168.1.20", "data-first": true }),
        ],
        ready: (form) => form.host.value.trim() !== "",
        run: (form) => ask("POST", "/v1/probe", { host: form.host.value.trim() }),
    });
    if (done) toast(upperUnlessName(done.done, done.name));
}

export async function removeNode(node) {
    const left = store.nodes.filter((other) => other.state !== "left" && other.id !== node.id).length;
    const isDown = node.state !== "alive" && node.state !== "suspect";
    const done = await confirm({
        title: `Remove ${node.name}?`,
        action: `Remove ${node.name}`,
        tone: "danger",
        body: [
            node.self ? h("p", { class: "problem" }, h("b", { text: "This is the node that answers you." }), h("span", { text: "This page will stop working; go on from another node's dashboard." })) : null,
            h("p", { text: "This is what will happen:" }),
            h("ul", { class: "consequences" },
                h("li", { text: `${node.name} is refused at once on every node` }),
                h("li", { text: "the cluster key is changed on the rest, so nobody gets in with the old one" }),
                isDown ? h("li", { text: `${node.name} does not answer now: when it comes back it is told, stops its services and wipes its copy of the cluster's data` })
                    : h("li", { text: `${node.name} stops its services and wipes its copy of the cluster's data; other files stay` }),
                h("li", { text: "machines that wait with the old key, or a copied SD card with it, need the new one" }),
                h("li", { text: left === 1 ? "one node is left, alone: nothing takes over when it fails" : left === 2 ? "two nodes are left: they still watch each other, but there is no majority any more" : `${plural(left, "node")} ${left === 1 ? "is" : "are"} left` })),
            h("p", {}, "It cannot be undone, but ", node.name, " can be added again as a new machine."),
            h("label", { for: "typed" }, "Type ", h("b", { text: node.name }), " to go on"),
            h("input", { id: "typed", name: "typed", autocomplete: "off", autocapitalize: "none", spellcheck: "false", "data-first": true }),
        ],
        ready: (form) => form.typed.value.trim() === node.name,
        run: () => ask("DELETE", `/v1/nodes/${encodeURIComponent(node.name)}`),
    });
    if (done) {
        toast(upperUnlessName(done.done, done.name));
        location.hash = "#/nodes";
    }
}

"""####),
        Asset(path: "pages/mirrors.js", type: "text/javascript; charset=utf-8", tag: "151f35285a2b83f0", content: ####"""
// The mirrors: files that are on other nodes, too, how far behind they are, and what was set aside.
import { ask, get } from "/assets/api.js";
import { confirm, showProblem, toast } from "/assets/dialog.js";
import { command, h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { byName, bytes, duration, list, moment, plural, sinceNow } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";
import { askOnce } from "/assets/pages/services.js";
import { upperUnlessName } from "/assets/sentences.js";

const example = `mirrors:
  - name: samba
    paths: [/srv/files/, /var/lib/samba/]
    every: 10m        # or on-change
`;

export function open(main) {
    const count = h("p", { class: "quiet", role: "status", text: "Asking the node…" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const rows = h("tbody", {});
    const panel = h("section", { class: "panel", "aria-label": "Mirrors", hidden: true }, h("table", { class: "copies mirrors" },
        h("caption", { class: "hidden-text", text: "The mirrors, and how far behind each is" }),
        h("thead", {}, h("tr", {}, ...["Mirror", "State", "Behind by", "Last run", "Files"].map((text) => h("th", { scope: "col", text })), h("th", {}, h("span", { class: "hidden-text", text: "Run it" })))), rows));
    const empty = h("section", { class: "panel help", hidden: true, "aria-labelledby": "none-title" },
        h("h2", { id: "none-title", text: "The first mirror" }),
        h("p", {}, "A mirror keeps files of the node that runs a service on the other nodes, too, so that the service finds them wherever it starts. Name the files in a document, and name the mirror in the service (", h("code", { text: "mirrors: [samba]" }), "):"),
        h("pre", { class: "statement", text: example }), command("bramble apply -f FILE"),
        h("p", {}, "Or write it here: ", h("a", { href: "#/document", text: "the document" })));
    const parked = parkedPanel();
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Mirrors" }), count), problem, empty, panel, parked.element);

    let parkedCount = null;
    function render(what) {
        const mirrors = store.mirrors;
        if (!mirrors) return;
        if (what.has("mirrors")) {
            problem.hidden = true;
            empty.hidden = mirrors.length > 0;
            panel.hidden = mirrors.length === 0;
            keyed(rows, [...mirrors].sort(byName), (mirror) => mirror.name, mirrorRow, (row, mirror) => row.update(mirror));
            const equal = mirrors.filter((mirror) => mirror.state === "equal").length;
            setText(count, mirrors.length === 0 ? "none yet" : equal === mirrors.length ? `${plural(equal, "mirror")}, all equal` : `${equal} of ${plural(mirrors.length, "mirror")} equal`);
            const conflicts = mirrors.reduce((sum, mirror) => sum + mirror.conflicts, 0);
            if (conflicts !== parkedCount) {
                parkedCount = conflicts;
                parked.load();
            }
        }
        if (what.has("time")) for (const row of rows.children) row.tick();
    }
    render(new Set(["mirrors"]));
    askOnce("mirrors", "/v1/mirrors", count, problem, render);
    return subscribe(render);
}

const states = { equal: ["equal", "alive", "alive"], running: ["running", "wait", "suspect"], behind: ["behind", "wait", "suspect"], paused: ["paused", "left", "stopped"], failed: ["failed", "down", "down"] };

function mirrorRow(mirror) {
    const way = h("span", { class: "mirror-way" });
    const chip = h("span", { class: "state" });
    const reason = h("span", { class: "quiet copy-note" });
    const behind = h("td", { class: "number", "data-label": "Behind by" });
    const last = h("td", { class: "number", "data-label": "Last run" });
    const files = h("td", { class: "number", "data-label": "Files" });
    const run = h("button", { type: "button", "aria-label": `Run ${mirror.name} now`, text: "Run now", onclick: () => runNow(mirror.name, run) });
    let shown = mirror;
    const row = h("tr", {}, h("th", { scope: "row" }, h("b", { class: "mirror-name", text: mirror.name }), way), h("td", { class: "cell-copy" }, chip, reason), behind, last, files, h("td", { class: "cell-act" }, run));
    row.update = (mirror) => {
        shown = mirror;
        setText(way, `${mirror.from ?? "nobody holds its service"} → ${mirror.to.length ? list(mirror.to) : "no other node"}`);
        const [word, glyph, tone] = states[mirror.state] ?? [mirror.state, "info", null];
        if (chip.dataset.told !== word) {
            chip.dataset.told = word;
            chip.replaceChildren(icon(glyph), word);
        }
        setAttribute(chip, "data-state", tone);
        setText(reason, mirror.reason);
        setText(behind, mirror.lastRun === null ? "never equal" : mirror.behindSeconds < 1 ? "0 s" : duration(mirror.behindSeconds));
        setText(files, `${plural(mirror.files, "file")}, ${bytes(mirror.bytes)}`);
        run.disabled = mirror.state === "running" || !mirror.from || mirror.to.length === 0;
        row.tick();
    };
    row.tick = () => {
        setText(last, shown.lastRun ? `${sinceNow(shown.lastRun)} ago` : "never");
        setAttribute(last, "title", shown.lastRun ? moment(shown.lastRun) : null);
    };
    return row;
}

async function runNow(name, button) {
    button.disabled = true;
    try {
        const done = await ask("POST", `/v1/mirrors/${encodeURIComponent(name)}/run`);
        toast(`${name} is ${done.state}: ${plural(done.files, "file")}, ${bytes(done.bytes)}${done.to.length ? `, on ${list(done.to)}` : ""}`);
    } catch (error) {
        toast(`${name} did not run: ${error.message}`, "bad");
    }
    button.disabled = false;
}

// What was set aside

function parkedPanel() {
    const rows = h("ul", { class: "conflicts" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const element = h("section", { class: "panel", "aria-labelledby": "parked-title", hidden: true }, h("h2", { id: "parked-title", text: "Set aside" }),
        h("p", { class: "quiet", text: "Files that a node had when it came back, and that differed. The newer holder's counts; the other one is kept until you want it back." }), problem, rows);
    async function load() {
        try {
            const files = await get("/v1/parked");
            problem.hidden = true;
            element.hidden = files.length === 0;
            keyed(rows, files, (file) => file.id, (file) => parkedRow(file, load), () => {});
        } catch (error) {
            element.hidden = false;
            showProblem(problem, error);
        }
    }
    return { element, load };
}
function parkedRow(file, reload) {
    return h("li", { class: "parked" },
        h("div", {}, h("b", { class: "parked-path", text: file.path }), h("p", { class: "quiet", text: `${bytes(file.bytes)} of ${file.node}, changed ${moment(file.changed)}; set aside ${moment(file.at)} by the mirror ${file.mirror}` })),
        h("button", { type: "button", text: "Restore…", "aria-label": `Restore ${file.path}`, onclick: () => restore(file, reload) }));
}
async function restore(file, reload) {
    const done = await confirm({
        title: "Put this file back?", action: "Put it back", tone: "danger",
        body: [h("pre", { class: "statement", text: file.path }), h("p", { text: "This is what will happen:" }), h("ul", { class: "consequences" },
            h("li", { text: `the file as ${file.node} had it, changed ${moment(file.changed)}, takes the place of the one that counts now` }),
            h("li", { text: "what is there now is set aside instead, so this can be undone" }),
            h("li", { text: "the next run of the mirror brings it to the other nodes" }),
            h("li", { text: "a service that has the file open may have to be restarted to see it" }))],
        run: () => ask("POST", `/v1/parked/${encodeURIComponent(file.id)}/restore`),
    });
    if (!done) return;
    toast(upperUnlessName(done.done, file.path));
    reload();
}

"""####),
        Asset(path: "pages/node.js", type: "text/javascript; charset=utf-8", tag: "1ab7dadacbf68d78", content: ####"""
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

"""####),
        Asset(path: "pages/nodes.js", type: "text/javascript; charset=utf-8", tag: "28ee2ac51ee745b2", content: ####"""
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

"""####),
        Asset(path: "pages/orders.js", type: "text/javascript; charset=utf-8", tag: "7e7f38aff1070cef", content: ####"""
// What an operator orders of services and nodes: what will happen is said before it does.
import { ask } from "/assets/api.js";
import { confirm, toast } from "/assets/dialog.js";
import { h } from "/assets/dom.js";
import { byName, list } from "/assets/format.js";
import { store } from "/assets/live.js";
import { gap, upperUnlessName } from "/assets/sentences.js";

const items = (...texts) => h("ul", { class: "consequences" }, ...texts.filter(Boolean).map((text) => h("li", { text })));
const lead = () => h("p", { text: "This is what will happen:" });
const its = (service) => (service.addresses.length ? service.addresses.map((address) => address.split("/")[0]) : []);
const answers = (service, text) => (its(service).length ? `${list(its(service))} ${its(service).length === 1 ? "answers" : "answer"} ${text}` : null);

async function order(service, action, options) {
    const done = await confirm({ ...options, run: (form) => ask("POST", `/v1/services/${encodeURIComponent(service.name)}/${action}`, options.request?.(form)) });
    if (!done) return;
    const away = done.gapMs === null || done.gapMs === undefined ? "" : `. Nobody answered for ${Math.round(done.gapMs)} ms`;
    toast(upperUnlessName(done.done, done.name) + away);
}

export const startService = (service) => order(service, "start", {
    title: `Start ${service.name}?`, action: `Start ${service.name}`,
    body: [lead(), items("it is started on the node that fits best: a preferred one that is alive and not on hold", answers(service, "there"), "from then on it is started again wherever its node fails, until it is stopped")],
});

export const stopService = (service) => order(service, "stop", {
    title: `Stop ${service.name}?`, action: `Stop ${service.name}`, tone: "danger",
    body: [lead(), items(
        service.node ? `it is stopped on ${service.node}, and whoever uses it loses the connection` : "no node runs it now; from then on none tries to",
        answers(service, "no more"),
        "no other node takes it over, and it stays stopped, also after restarts, until it is started here or with bramble service start"),
    ],
});

export function moveService(service) {
    const targets = store.nodes.filter((node) => node.state === "alive" && node.role !== "witness" && node.name !== service.node).sort(byName);
    const choice = h("select", { id: "to", name: "to", "data-first": true }, h("option", { value: "", text: "the best other node" }),
        ...targets.map((node) => h("option", { value: node.name, text: node.duty ? `${node.name} (${dutyWord(node)})` : node.name, disabled: Boolean(node.duty) })));
    return order(service, "move", {
        title: `Move ${service.name} away from ${service.node}?`, action: `Move ${service.name}`,
        request: (form) => (form.to.value ? { to: form.to.value } : {}),
        ready: () => targets.length > 0,
        body: targets.length === 0 ? [h("p", { class: "problem" }, h("b", { text: "No other node is alive." }), h("span", { text: "Start another one first." }))] : [
            h("label", { for: "to", text: "To" }), choice, lead(), items(
                `it is stopped on ${service.node}, and whoever uses it loses the connection`,
                service.mirrors.length ? `its ${service.mirrors.length === 1 ? "mirror" : "mirrors"} ${list(service.mirrors)} ${service.mirrors.length === 1 ? "runs" : "run"} once more, so that nothing is missing there` : "its files are not mirrored: what it wrote on its disk stays where it is",
                "it is started there; if that fails, it comes back",
                service.lastGapMs === null || service.lastGapCause !== "move" ? "it is away for as long as it takes to stop and start" : `last time: ${gap(service.lastGapMs, service.lastGapCause)}`,
                "it stays there: it does not move back by itself unless its document asks for that"),
        ],
    });
}

export function drillService(service) {
    const others = store.nodes.filter((node) => node.state === "alive" && node.role !== "witness" && node.name !== service.node);
    return order(service, "drill", {
        title: `Rehearse a failure of ${service.node}?`, action: "Do it now", tone: "danger",
        ready: () => others.length > 0,
        body: others.length === 0 ? [h("p", { class: "problem" }, h("b", { text: "No other node is alive to take over." }), h("span", { text: "Start another one first." }))] : [
            lead(), items(
                `${service.node} plays dead for ${service.name}, without a warning, and another node takes it over`,
                "whoever uses it loses the connection, as in a real failure",
                service.mirrors.length ? "what was not mirrored yet stays behind, and is set aside when the mirrors run next" : null,
                "the gap that a client sees is measured, and shown here"),
        ],
    });
}

// A node's duty

export const dutyWord = (node) => ({ held: "on hold", drained: "drained" })[node.duty] ?? "";

/** What can be ordered of a node, each with what it means. */
export async function openDuty(node) {
    if (node.duty) return resumeNode(node);
    const choice = (value, title, about) => h("label", { class: "choice" }, h("input", { type: "radio", name: "duty", value, "data-first": value === "drain" ? true : null }), h("span", {}, h("b", { text: title }), h("span", { class: "quiet", text: about })));
    const word = await confirm({
        title: `Duty of ${node.name}`, action: "Go on…", ready: (form) => Boolean(form.duty.value),
        body: [choice("drain", "Drain it", "before it is switched off or updated: what it runs moves to other nodes; what none can take goes on here"),
            choice("hold", "Hold it", "it runs nothing at all: what it runs stops, and starts elsewhere where a node can take it")],
        run: (form) => form.duty.value,
    });
    if (word === "drain") return drainNode(node);
    if (word === "hold") return holdNode(node);
}

async function duty(node, word, options) {
    const done = await confirm({ ...options, run: () => ask("POST", `/v1/nodes/${encodeURIComponent(node.name)}/${word}`) });
    if (done) toast(upperUnlessName(done.done, done.name));
}
const runs = (node) => (store.services ?? []).filter((service) => service.node === node.name).map((service) => service.name);

export function holdNode(node) {
    const own = runs(node);
    return duty(node, "hold", {
        title: `Put ${node.name} on hold?`, action: `Hold ${node.name}`,
        body: [lead(), items(
            own.length ? `${list(own)} ${own.length === 1 ? "stops" : "stop"} here, and ${own.length === 1 ? "starts" : "start"} on another node where one can take ${own.length === 1 ? "it" : "them"}, else nowhere` : "it runs no service now",
            "it runs nothing, also after a restart, until it is resumed",
            "it stays a member: it votes, keeps its copy of the database, and takes mirrors",
            others(node) === 0 ? "no other node can run services now: what it runs is away until it is resumed" : null)],
    });
}
export function drainNode(node) {
    const own = runs(node);
    return duty(node, "drain", {
        title: `Take ${node.name} out of service?`, action: `Drain ${node.name}`,
        body: [lead(), items(
            own.length ? `${list(own)} ${own.length === 1 ? "moves" : "move"} to other nodes that can take ${own.length === 1 ? "it" : "them"}: the mirrors run once more, and each is away for a moment` : "it runs no service that would have to move",
            "it takes nothing new, also after a restart, until it is resumed",
            "it stays a member; switch it off once it runs nothing any more",
            others(node) === 0 && own.length ? "no other node can take services now: what it runs goes on here until one can" : null)],
    });
}
export function resumeNode(node) {
    return duty(node, "resume", {
        title: `Let ${node.name} run services again?`, action: `Resume ${node.name}`,
        body: [lead(), items("from now on it may take services over", "nothing moves back by itself, unless a service's document asks for failback")],
    });
}
const others = (node) => store.nodes.filter((other) => other.state === "alive" && !other.duty && other.id !== node.id).length;

"""####),
        Asset(path: "pages/parts.js", type: "text/javascript; charset=utf-8", tag: "66ee11b9aa1df9bc", content: ####"""
// Parts that several pages show.
import { h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { clock, day, moment, phi as phiText, stateWords } from "/assets/format.js";
import { eventIcon, figure, sentence, weight } from "/assets/sentences.js";

/** A state by colour, shape and word. */
export function stateChip(state) {
    const chip = h("span", { class: "state" });
    updateState(chip, state);
    return chip;
}
export function updateState(chip, state) {
    if (chip.dataset.state === state) return;
    chip.dataset.state = state;
    chip.replaceChildren(icon(state), stateWords[state] ?? state);
}

/** Suspicion against its threshold. */
export function suspicionBar() {
    const fill = h("span", { class: "bar-fill" });
    const bar = h("span", { class: "bar", role: "meter", "aria-valuemin": "0" }, fill);
    const text = h("span", { class: "bar-text" });
    return { element: h("span", { class: "suspicion" }, bar, text), bar, fill, text };
}
export function updateSuspicion(part, node) {
    const known = !node.self && node.phi !== null && node.phi !== undefined;  // nobody suspects itself
    const share = known ? Math.min(node.phi / node.threshold, 1) : 0;
    part.element.dataset.level = !known ? "unknown" : share >= 1 ? "bad" : share >= 0.6 ? "warn" : "ok";
    part.fill.style.setProperty("--share", share.toFixed(3));
    setText(part.text, known ? `${phiText(node.phi)} / ${node.threshold}` : node.self ? "–" : "not watched from here");
    part.bar.hidden = !known;
    setAttribute(part.bar, "aria-label", `Suspicion of ${node.name}`);
    setAttribute(part.bar, "aria-valuemax", node.threshold);
    setAttribute(part.bar, "aria-valuenow", known ? Math.min(node.phi, node.threshold).toFixed(1) : null);
}

/** Events, newest first. `onlyNew` keeps elements that are there. */
export function eventList() {
    return h("ol", { class: "events" });
}
export function updateEvents(element, events, { days = false } = {}) {
    let lastDay = "";
    const items = [];
    for (const event of events) {
        const today = day(event.at);
        if (days && today !== lastDay) items.push({ day: today });
        lastDay = today;
        items.push(event);
    }
    keyed(element, items, (item) => item.day ?? item.id, (item) => (item.day ? h("li", { class: "events-day", text: item.day }) : eventRow(item)), () => {});
}
function eventRow(event) {
    const figures = Object.entries(event.detail ?? {});
    return h("li", { class: "event", "data-weight": weight(event) },
        h("details", {},
            h("summary", {}, h("time", { datetime: event.at, title: moment(event.at), text: clock(event.at) }), icon(eventIcon(event)), h("span", { class: "event-text", text: sentence(event) })),
            h("dl", { class: "figures" },
                ...pair("kind", event.type), ...pair("subject", event.subject), ...(event.by?.length ? pair("said by", event.by.join(", ")) : []), ...pair("number", String(event.id)),
                ...figures.flatMap(([name, value]) => pair(...figure(name, value))))));
}
export function pair(name, value) {
    return [h("div", {}, h("dt", { text: name }), h("dd", { text: value }))];
}

"""####),
        Asset(path: "pages/services.js", type: "text/javascript; charset=utf-8", tag: "8df118862657cc25", content: ####"""
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

"""####),
        Asset(path: "pages/volumes.js", type: "text/javascript; charset=utf-8", tag: "010dc29fc4c9e1d0", content: ####"""
// The volumes: one file system on every node, made of bricks on some of them.
import { ask } from "/assets/api.js";
import { confirm, toast } from "/assets/dialog.js";
import { command, h, icon, keyed, setAttribute, setText } from "/assets/dom.js";
import { byName, bytes, list, percent, plural } from "/assets/format.js";
import { store, subscribe } from "/assets/live.js";
import { askOnce } from "/assets/pages/services.js";
import { upperUnlessName } from "/assets/sentences.js";

export function open(main) {
    const count = h("p", { class: "quiet", role: "status", text: "Asking the node…" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const all = h("div", { class: "volumes" });
    const empty = h("section", { class: "panel help", hidden: true, "aria-labelledby": "none-title" },
        h("h2", { id: "none-title", text: "The first volume" }),
        h("p", { text: "A volume is one directory with the same files on every node. GlusterFS keeps them on bricks: directories on disks of some nodes, so that they outlive any one of them." }),
        command("apt install glusterfs-server glusterfs-client"),
        command("bramble volume create shared --replica 3 --path /data/bricks/shared"));
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Volumes" }), count), problem, empty, all);

    function render(what) {
        const volumes = store.volumes;
        if (!volumes || !what.has("volumes")) return;
        problem.hidden = true;
        empty.hidden = volumes.length > 0;
        keyed(all, [...volumes].sort(byName), (volume) => volume.name, volumePanel, (panel, volume) => panel.update(volume));
        const online = volumes.filter((volume) => volume.state === "online").length;
        setText(count, volumes.length === 0 ? "none yet" : online === volumes.length ? `${plural(online, "volume")}, all bricks online` : `${online} of ${plural(volumes.length, "volume")} with all bricks online`);
    }
    render(new Set(["volumes"]));
    askOnce("volumes", "/v1/volumes", count, problem, render);
    return subscribe(render);
}

// Word, picture and tone.
const states = {
    online: ["online", "alive", "alive"], making: ["being made", "wait", "suspect"], changing: ["being changed", "wait", "suspect"],
    degraded: ["degraded", "suspect", "suspect"], deleting: ["being deleted", "wait", "left"],
    blocked: ["needs you", "down", "down"], offline: ["offline", "down", "down"],
};

function kind(volume) {
    if (volume.type === "disperse") return `dispersed over ${volume.disperse} bricks, any ${volume.redundancy} may be lost`;
    return volume.arbiter ? "2 copies and an arbiter" : `${volume.replica} copies of each file`;
}

function volumePanel(volume) {
    const title = `volume-${volume.name}`;
    const chip = h("span", { class: "state" });
    const facts = h("p", { class: "quiet" });
    const reason = h("p", { class: "service-reason" });
    const progress = h("p", {});
    const offer = h("p", { class: "quiet" });
    const bar = h("span", { class: "bar", role: "img" }, h("span", { class: "bar-fill" }));
    const room = h("span", { class: "number" });
    const space = h("p", { class: "volume-space" }, bar, room);
    const missing = h("p", { class: "quiet" });
    const rows = h("tbody", {});
    const heal = h("button", { type: "button", text: "Heal now", "aria-label": `Heal ${volume.name} now`, onclick: () => healNow(volume.name, heal) });
    const remove = h("button", { type: "button", class: "danger", text: "Delete…", "aria-label": `Delete ${volume.name}`, onclick: () => removeVolume(volume.name, shown) });
    let shown = volume;
    const panel = h("section", { class: "panel volume", "aria-labelledby": title },
        h("header", { class: "service-head" }, h("h2", { id: title, text: volume.name }), chip, h("div", { class: "actions" }, heal, remove)),
        facts, reason, progress, offer, space,
        h("table", { class: "copies bricks" },
            h("caption", { class: "hidden-text", text: `The bricks of ${volume.name}` }),
            h("thead", {}, h("tr", {}, ...["Brick", "State", "To heal", "Free"].map((text) => h("th", { scope: "col", text })))), rows),
        missing);
    panel.update = (volume) => {
        shown = volume;
        const [word, glyph, tone] = states[volume.state] ?? [volume.state, "info", null];
        tell(chip, word, glyph, tone);
        setAttribute(panel, "data-state", volume.state);
        setText(facts, `${kind(volume)}, at ${volume.mount} on ${volume.mountedOn.length ? list(volume.mountedOn) : "no node yet"}`);
        note(reason, sentence(volume.reason, volume.name));
        note(progress, sentence(volume.progress, volume.name));
        note(offer, sentence(volume.offer, volume.name));
        space.hidden = volume.totalBytes === 0;
        const share = volume.totalBytes ? 1 - volume.freeBytes / volume.totalBytes : 0;
        bar.style.setProperty("--share", share.toFixed(3));
        setAttribute(space, "data-level", share > 0.95 ? "bad" : share > 0.85 ? "warn" : null);
        setAttribute(bar, "aria-label", `${percent(share)} used`);
        setText(room, `${bytes(volume.freeBytes)} of ${bytes(volume.totalBytes)} free`);
        keyed(rows, volume.bricks, (brick) => `${brick.node}:${brick.path}`, brickRow, (row, brick) => row.update(brick));
        note(missing, volume.notMounted.map((node) => `Not mounted on ${node.node}${node.reason ? `: ${node.reason}` : ""}`).join(". "));
        heal.disabled = volume.toHeal === 0 || !["online", "degraded"].includes(volume.state);
        remove.disabled = volume.state === "deleting";
    };
    panel.update(volume);
    return panel;
}
/** With a capital, unless it begins with a name. */
function sentence(text, name) {
    if (!text) return "";
    const first = text.split(/[ :,]/, 1)[0];
    return store.nodes.some((node) => node.name === first) ? text : upperUnlessName(text, name);
}
function tell(chip, word, glyph, tone) {
    if (chip.dataset.told !== word) {
        chip.dataset.told = word;
        chip.replaceChildren(icon(glyph), word);
    }
    setAttribute(chip, "data-state", tone);
}
function note(element, text) {
    setText(element, text);
    element.hidden = !text;
}

function brickRow(brick) {
    const chip = h("span", { class: "state" });
    const heal = h("td", { class: "number", "data-label": "To heal" });
    const free = h("td", { class: "number", "data-label": "Free" });
    const row = h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#/node/${encodeURIComponent(brick.node)}`, text: brick.node }), brick.arbiter ? h("span", { class: "tag", text: "arbiter" }) : null, h("span", { class: "mirror-way brick-path", text: brick.path })), h("td", { class: "cell-copy" }, chip), heal, free);
    row.update = (brick) => {
        tell(chip, brick.online ? "online" : "offline", brick.online ? "alive" : "down", brick.online ? "alive" : "down");
        setText(heal, brick.toHeal ? plural(brick.toHeal, "entry", "entries") : "none");
        setText(free, brick.totalBytes ? bytes(brick.freeBytes) : "unknown");
    };
    row.update(brick);
    return row;
}

async function healNow(name, button) {
    button.disabled = true;
    try {
        const done = await ask("POST", `/v1/volumes/${encodeURIComponent(name)}/heal`);
        toast(upperUnlessName(done.done, name));
    } catch (error) {
        toast(`${name} was not healed: ${error.message}`, "bad");
    }
    button.disabled = false;
}

async function removeVolume(name, volume) {
    const done = await confirm({
        title: `Delete the volume ${name}?`, action: "Delete it", tone: "danger",
        body: [h("p", { text: "This is what will happen:" }), h("ul", { class: "consequences" },
            h("li", { text: `${volume.mount} is empty on ${volume.mountedOn.length ? list(volume.mountedOn) : "every node"}: programs that use it have to end first` }),
            h("li", { text: `its files stay in the directories of its bricks, on ${list(volume.bricks.map((brick) => brick.node))}` }),
            h("li", { text: "nobody keeps them equal any more" }))],
        run: () => ask("DELETE", `/v1/volumes/${encodeURIComponent(name)}`),
    });
    if (done) toast(upperUnlessName(done.done, name));
}

"""####),
        Asset(path: "picture.js", type: "text/javascript; charset=utf-8", tag: "3068307d8931cc70", content: ####"""
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

"""####),
        Asset(path: "sentences.js", type: "text/javascript; charset=utf-8", tag: "f796549d9a1e8442", content: ####"""
// Events in plain words. The node tells its own sentence; these are for events of nodes that did not.
import { list } from "/assets/format.js";

const said = (event) => (event.by?.length ? `: ${list(event.by)} ${event.by.length === 1 ? "says" : "say"} so` : "");

const sentences = {
    joined: (e) => `${e.subject} joined`,
    suspect: (e) => `${e.subject} is suspect${said(e)}`,
    down: (e) => `${e.subject} is down${said(e)}`,
    alive: (e) => `${e.subject} is alive again`,
    left: (e) => `${e.subject} left: it was stopped on purpose`,
    removed: (e) => `${e.subject} was removed from the cluster`,
    stalled: (e) => `${e.subject} did not run for a while`,
    isolated: (e) => `${e.subject} is isolated, and accuses nobody`,
    waiting: (e) => `${e.subject} waits to be added`,
    conflict: (e) => `${e.subject} has a conflict`,
    acquired: (e) => `${e.by?.length ? list(e.by) : "a node"} holds ${e.subject} now`,
    released: (e) => `${e.by?.length ? list(e.by) : "its node"} gave ${e.subject} up`,
    started: (e) => `${e.subject} runs${e.by?.length ? ` on ${list(e.by)}` : ""}`,
    stopped: (e) => `${e.subject} is stopped${e.by?.length ? ` on ${list(e.by)}` : ""}`,
    moved: (e) => `${e.subject} was moved${e.by?.length ? ` to ${list(e.by)}` : ""}`,
    blocked: (e) => `${e.subject} cannot run`,
    parked: (e) => `a file of ${e.subject} was set aside${e.by?.length ? ` on ${list(e.by)}` : ""}`,
    mirrored: (e) => `${e.subject} is mirrored`,
    held: (e) => `${e.subject} is on hold`,
    drained: (e) => `${e.subject} is drained`,
    resumed: (e) => `${e.subject} runs services again`,
    applied: (e) => `${e.by?.length ? list(e.by) : "somebody"} applied a document`,
    failed: (e) => `${e.subject} failed${e.by?.length ? ` on ${list(e.by)}` : ""}`,
    fencing: (e) => `${e.subject} is being switched off`,
    fenced: (e) => `${e.subject} is off`,
    "fence-failed": (e) => `${e.subject} could not be switched off`,
    foreign: (e) => `a node of another cluster is at ${e.subject}`,
};

export function sentence(event) {
    const text = event.text || sentences[event.type]?.(event) || `${event.subject}: ${event.type}${said(event)}`;
    return [event.subject, ...(event.by ?? [])].some((name) => name && text.startsWith(name)) ? text : upperUnlessName(text, event.subject);
}

/** A sentence begins with a capital, a node's name stays as it is. */
export function upperUnlessName(text, name) {
    return text.startsWith(name) ? text : text[0].toUpperCase() + text.slice(1);
}

const weights = {
    down: "bad", removed: "bad", failed: "bad", "fence-failed": "bad",
    suspect: "warn", isolated: "warn", fencing: "warn", fenced: "warn", stalled: "warn", conflict: "warn", foreign: "warn", waiting: "warn", "path-lost": "warn",
    parked: "warn", blocked: "warn", degraded: "warn", held: "warn", drained: "warn",
    alive: "ok", joined: "ok", recovered: "ok", "path-back": "ok", approved: "ok", acquired: "ok", started: "ok", moved: "ok", resumed: "ok", made: "ok", mounted: "ok",
};
/** bad, warn, ok or plain: its colour, never its only sign. */
export const weight = (event) => weights[event.type] ?? "plain";

const icons = { bad: "down", warn: "warn", ok: "alive", plain: "info" };
const ownIcons = { stopped: "left", released: "left", left: "left", moved: "mirrors", mirrored: "mirrors", applied: "document" };
export const eventIcon = (event) => ownIcons[event.type] ?? (event.type === "waiting" ? "wait" : event.type.includes("key") || event.type.includes("token") || event.type.includes("password") ? "key" : icons[weight(event)]);

// What a guarantee means: for the cluster on the first page, and for one service.
const guarantees = {
    majority: ["majority", "It never runs twice: more than half of the nodes must agree on who runs it."],
    witness: ["witness", "It never runs twice: two nodes and a witness, and two of the three must agree."],
    fence: ["fence", "It never runs twice: a node that is lost is switched off before it starts elsewhere."],
    "single-fault": ["single fault", "No single fault makes it run twice: two nodes, and the reach list tells who is cut off."],
    "best-effort": ["best effort", "It is taken over, but a cut network could make both sides run it."],
};
export const guarantee = (word) => guarantees[word] ?? [word, ""];

/** How long it was away; after a failure nobody was asking, so that is worked out from what the nodes heard. */
export const gap = (milliseconds, cause) => {
    if (milliseconds === null || milliseconds === undefined) return "not moved yet";
    const time = milliseconds < 10000 ? `${Math.round(milliseconds)} ms` : `${Math.round(milliseconds / 1000)} s`;
    return cause === "failure" ? `${time} from the last sign of the node that failed until another ran it` : `${time} away, at its last move`;
};

const labels = {
    epoch: "epoch", gapMs: "gap", tookMs: "took",
    phi: "φ", threshold: "threshold", silenceMs: "silence", unansweredProbes: "unanswered probes", accusers: "accusers", observers: "observers",
    needed: "needed", defenders: "with contact", confirmed: "confirmed", pauseMs: "pause", afterMs: "after",
};
/** A figure's name and value: {silenceMs: 431} is “silence 431 ms”. */
export function figure(name, value) {
    const label = labels[name] ?? name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
    let text = typeof value === "object" ? JSON.stringify(value) : value === true ? "yes" : value === false ? "no" : String(value);
    if (typeof value === "number" && !Number.isInteger(value)) text = String(Math.round(value * 100) / 100);
    if (name.endsWith("Ms")) text = `${Math.round(value)} ms`;
    return [label.replace(/ ms$/, ""), text];
}

"""####),
        Asset(path: "style.css", type: "text/css; charset=utf-8", tag: "bebd19d3755b41d4", content: ####"""
/* Bramble's dashboard. Colours are named by what they mean; every state also has a shape and a word. */
:root {
    --paper: #f5f4f1;
    --panel: #fffefc;
    --sunk: #f0eeea;
    --ink: #201d26;
    --ink-soft: #56525f;
    --ink-faint: #6d6976;
    --line: #e2dfe0;
    --line-strong: #cbc6cc;
    --accent: #6b3b93;
    --accent-strong: #552c78;
    --accent-soft: #efe6f6;
    --on-accent: #ffffff;
    --ok: #2a7a4b;
    --ok-soft: #e2f1e7;
    --ok-bar: #57a877;
    --warn: #8a5300;
    --warn-soft: #fbeed4;
    --warn-bar: #e0a12f;
    --bad: #b3261e;
    --bad-soft: #fbe5e2;
    --bad-bar: #d8483e;
    --edge: #a39cab;
    --shadow: 0 1px 2px rgb(32 29 38 / 5%), 0 2px 10px rgb(32 29 38 / 4%);
    --shadow-high: 0 12px 48px rgb(32 29 38 / 24%);
    --radius: 10px;
    --mono: ui-monospace, "SF Mono", "Cascadia Code", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
    color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
    :root {
        --paper: #131117;
        --panel: #1b1920;
        --sunk: #232029;
        --ink: #edeaf2;
        --ink-soft: #b5b0bf;
        --ink-faint: #98929f;
        --line: #2c2933;
        --line-strong: #454050;
        --accent: #bb92e3;
        --accent-strong: #cfaef0;
        --accent-soft: #2d2439;
        --on-accent: #1b1024;
        --ok: #6fcf97;
        --ok-soft: #18291f;
        --ok-bar: #4caf78;
        --warn: #eebb5c;
        --warn-soft: #2e2413;
        --warn-bar: #d99a2b;
        --bad: #ff8b81;
        --bad-soft: #351b1a;
        --bad-bar: #e35d52;
        --edge: #6b6576;
        --shadow: 0 1px 2px rgb(0 0 0 / 30%);
        --shadow-high: 0 16px 56px rgb(0 0 0 / 60%);
    }
}

* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { -webkit-text-size-adjust: 100%; }
body {
    margin: 0;
    background: var(--paper);
    color: var(--ink);
    font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif;
    font-variant-numeric: tabular-nums;
}
h1, h2, p, ul, ol, dl, dd, figure { margin: 0; padding: 0; }
ul, ol { list-style: none; }
h1 { font-size: 22px; line-height: 1.2; font-weight: 650; letter-spacing: -0.012em; overflow-wrap: anywhere; }
h2 { font-size: 13px; line-height: 1.3; font-weight: 650; letter-spacing: 0.002em; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 2px; }
code, .address, .code, .command { font-family: var(--mono); font-size: 0.92em; }
abbr { text-decoration: none; }
.quiet { color: var(--ink-faint); }
.hidden-text { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; border: 0; padding: 0; margin: -1px; }
.icon { width: 16px; height: 16px; flex: none; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
main:focus, h1:focus { outline: none; }
.skip { position: absolute; left: 12px; top: -60px; z-index: 10; background: var(--panel); padding: 10px 14px; border-radius: 8px; }
.skip:focus { top: 12px; box-shadow: var(--shadow-high); }

/* Buttons and fields */
button {
    font: inherit; font-weight: 550; color: var(--ink); background: var(--panel); border: 1px solid var(--line-strong); border-radius: 7px;
    padding: 6px 12px; min-height: 34px; display: inline-flex; align-items: center; justify-content: center; gap: 6px; cursor: pointer; white-space: nowrap;
}
button:hover { border-color: var(--ink-faint); }
button:disabled { opacity: 0.5; cursor: default; }
button.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button.primary:hover:not(:disabled) { background: var(--accent-strong); border-color: var(--accent-strong); }
button.danger { color: var(--bad); border-color: color-mix(in srgb, var(--bad) 45%, var(--line-strong)); }
button.danger:hover:not(:disabled), dialog button.danger { background: var(--bad); border-color: var(--bad); color: var(--panel); }
button.plain { background: none; border-color: transparent; color: var(--ink-soft); padding-inline: 8px; }
button.plain:hover { color: var(--ink); background: var(--sunk); }
button.danger-word { color: var(--bad); }
button.wide { width: 100%; }
label { font-weight: 550; }
input:not([type="checkbox"], [type="radio"]) {
    font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line-strong); border-radius: 7px; padding: 6px 10px; min-height: 36px; width: 100%; min-width: 0;
}
input.hidden-text { width: 1px !important; min-height: 0 !important; padding: 0 !important; }
input::placeholder { color: var(--ink-faint); opacity: 1; }
input:focus { outline: 2px solid var(--accent); outline-offset: 0; border-color: transparent; }
input[type="checkbox"], input[type="radio"] { accent-color: var(--accent); width: 17px; height: 17px; }

/* Frame */
.shell { display: grid; grid-template-columns: 212px minmax(0, 1fr); min-height: 100vh; min-height: 100dvh; }
.rail {
    position: sticky; top: 0; height: 100vh; height: 100dvh; overflow-y: auto; display: flex; flex-direction: column; gap: 4px; padding: 18px 12px 14px;
    border-right: 1px solid var(--line); background: color-mix(in srgb, var(--panel) 55%, var(--paper));
}
.brand { display: flex; align-items: center; gap: 9px; padding: 0 8px; font-size: 17px; font-weight: 680; letter-spacing: -0.015em; color: var(--ink); text-decoration: none; }
.cluster { padding: 2px 8px 14px 43px; color: var(--ink-soft); overflow-wrap: anywhere; }
.rail nav ul { display: flex; flex-direction: column; gap: 2px; }
.rail nav a { display: flex; align-items: center; gap: 10px; padding: 7px 10px; border-radius: 8px; color: var(--ink-soft); text-decoration: none; font-weight: 550; }
.rail nav a:hover { background: var(--sunk); color: var(--ink); }
.rail nav a[aria-current] { background: var(--accent-soft); color: var(--accent-strong); }
.seen { margin-top: auto; padding: 12px 8px 0; display: grid; gap: 3px; font-size: 12.5px; }
.seen b { font-weight: 600; color: var(--ink-soft); overflow-wrap: anywhere; }
.seen button { justify-self: start; margin: 6px 0 0 -8px; font-size: 13px; }
.live { display: flex; align-items: center; gap: 8px; font-weight: 550; color: var(--ink-soft); }
.live-dot { width: 8px; height: 8px; border-radius: 50%; background: var(--edge); }
.live[data-state="live"] .live-dot { background: var(--ok-bar); box-shadow: 0 0 0 3px color-mix(in srgb, var(--ok-bar) 22%, transparent); }
.live[data-state="lost"] { color: var(--bad); }
.live[data-state="lost"] .live-dot { background: var(--bad-bar); border-radius: 2px; }
main { padding: 24px 28px 40px; display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; align-content: start; min-width: 0; max-width: 1680px; width: 100%; }
.loading { padding: 12vh 0; text-align: center; }
.banner { position: fixed; z-index: 5; left: 50%; bottom: 20px; transform: translateX(-50%); width: max-content; max-width: calc(100vw - 32px); display: flex; gap: 10px; align-items: center; padding: 10px 16px; border-radius: 10px; background: var(--ink); color: var(--panel); box-shadow: var(--shadow-high); font-weight: 550; }
.banner .icon { color: var(--warn-bar); }
.is-stale main { opacity: 0.55; filter: saturate(0.35); transition: opacity 300ms; }
.toasts { position: fixed; z-index: 6; right: 20px; bottom: 20px; display: grid; gap: 8px; max-width: min(420px, calc(100vw - 40px)); }
.toast { display: flex; gap: 10px; align-items: start; padding: 10px 14px; border-radius: 10px; background: var(--panel); border: 1px solid var(--line-strong); box-shadow: var(--shadow-high); }
.toast .icon { color: var(--ok); margin-top: 2px; }
.no-script { grid-column: 1 / -1; padding: 20px; }

/* Panels */
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: var(--radius); box-shadow: var(--shadow); padding: 14px 16px; min-width: 0; }
.panel-head { display: flex; align-items: center; gap: 10px; margin-bottom: 10px; flex-wrap: wrap; }
.panel-head a, .panel-head .suspicion { margin-left: auto; }
.panel-head .filter { margin-left: auto; width: 180px; min-height: 30px; padding-block: 3px; }
.panel > h2:not(:only-child) { margin-bottom: 8px; }
.columns { display: flex; gap: 16px; align-items: stretch; }
.column { display: flex; flex-direction: column; gap: 16px; min-width: 0; }
.columns .grow { flex: 1 1 0; }
.columns .watch { flex: 0 0 344px; align-self: start; position: sticky; top: 24px; }
.columns .narrow { flex: 0 0 340px; }
.page-head { display: flex; align-items: center; gap: 10px 12px; flex-wrap: wrap; }
.page-head button { margin-left: auto; }
.back { display: inline-flex; align-items: center; gap: 4px; margin-bottom: -8px; justify-self: start; text-decoration: none; font-weight: 550; }
.chip, .tag { display: inline-flex; align-items: center; padding: 1px 7px; border-radius: 5px; font-size: 12px; line-height: 18px; white-space: nowrap; }
.chip { border: 1px solid var(--line-strong); color: var(--ink-soft); margin-right: 4px; }
.tag { background: var(--accent-soft); color: var(--accent-strong); font-weight: 550; }

/* The verdict: is all well? */
.verdict { display: flex; align-items: center; gap: 14px; }
.verdict-glyph { width: 44px; height: 44px; border-radius: 50%; display: grid; place-items: center; flex: none; background: var(--sunk); color: var(--ink-faint); }
.verdict-glyph .icon { width: 24px; height: 24px; stroke-width: 2.4; }
.verdict-glyph[data-tone="ok"] { background: var(--ok-soft); color: var(--ok); }
.verdict-glyph[data-tone="warn"] { background: var(--warn-soft); color: var(--warn); }
.verdict-glyph[data-tone="bad"] { background: var(--bad-soft); color: var(--bad); }
.verdict-words { min-width: 0; }
.verdict-sub { color: var(--ink-soft); margin-top: 3px; }
.verdict-side { margin-left: auto; }
.notes { display: grid; gap: 6px; }
.notes:empty { display: none; }
.notes li { display: flex; gap: 10px; padding: 9px 13px; border-radius: 8px; background: var(--accent-soft); overflow-wrap: anywhere; }
.notes .icon { margin-top: 2px; color: var(--accent); }

/* States */
.state { display: inline-flex; align-items: center; gap: 5px; padding: 1px 9px 1px 6px; border-radius: 99px; font-weight: 600; font-size: 12.5px; line-height: 20px; background: var(--sunk); color: var(--ink-soft); white-space: nowrap; }
.state .icon { width: 14px; height: 14px; stroke-width: 2.6; }
.state[data-state="alive"] { background: var(--ok-soft); color: var(--ok); }
.state[data-state="suspect"] { background: var(--warn-soft); color: var(--warn); }
.state[data-state="down"] { background: var(--bad-soft); color: var(--bad); }

.state[data-state="running"] { background: var(--ok-soft); color: var(--ok); }
.state[data-state="starting"] { background: var(--warn-soft); color: var(--warn); }
.state[data-state="failed"], .state[data-state="blocked"] { background: var(--bad-soft); color: var(--bad); }
.tag-warn { background: var(--warn-soft); color: var(--warn); }

/* Bars */
.suspicion, .meter { display: inline-flex; align-items: center; gap: 9px; white-space: nowrap; }
.bar { position: relative; display: inline-block; width: 112px; height: 8px; border-radius: 4px; background: var(--sunk); box-shadow: inset 0 0 0 1px var(--line); overflow: hidden; flex: none; }
.cell-phi .bar { width: clamp(56px, 5vw, 150px); }
.bar.small { width: 48px; height: 6px; }
.bar-fill { position: absolute; inset: 0; transform-origin: left; transform: scaleX(var(--share, 0)); background: var(--ok-bar); transition: transform 240ms linear, background-color 240ms; }
.meter .bar-fill { background: var(--edge); }
[data-level="warn"] .bar-fill { background: var(--warn-bar); }
[data-level="bad"] .bar-fill { background: var(--bad-bar); }
[data-level="warn"] .bar-text, .is-warn { color: var(--warn); }
[data-level="bad"] .bar-text, .is-bad { color: var(--bad); font-weight: 600; }
[data-level="unknown"] .bar-text { color: var(--ink-faint); }
.bar-text { min-width: 36px; }
.meter .bar-text { text-align: right; }

/* Nodes */
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: inherit; }
.nodes thead th { font-size: 12px; font-weight: 550; color: var(--ink-faint); padding: 0 6px 6px; border-bottom: 1px solid var(--line); white-space: nowrap; }
.nodes td, .nodes tbody th { padding: 8px 6px; border-bottom: 1px solid var(--line); vertical-align: middle; white-space: nowrap; }
.nodes tbody tr:last-child > * { border-bottom: 0; padding-bottom: 2px; }
.nodes tr > :first-child { padding-left: 0; }
.nodes tr > :last-child { padding-right: 0; }
.nodes tr[data-state="down"] .node-name { color: var(--bad); }
.node-line { display: flex; align-items: center; gap: 8px; }
.node-name { font-weight: 620; font-size: 14.5px; color: var(--ink); text-decoration: none; overflow: hidden; text-overflow: ellipsis; max-width: 22ch; }
.node-name:hover { text-decoration: underline; }
.address { display: block; font-size: 12px; color: var(--ink-faint); overflow-wrap: anywhere; white-space: normal; max-width: 34ch; }
.version { display: inline-block; margin-left: 2px; white-space: nowrap; }
.cell-state .since { display: block; font-size: 12px; padding: 2px 0 0 6px; }
.nodes tr[data-state="down"] > * { background: color-mix(in srgb, var(--bad-soft) 55%, transparent); }
.nodes tr[data-state="down"] > :first-child { box-shadow: -16px 0 0 color-mix(in srgb, var(--bad-soft) 55%, transparent), inset 0 0 0 0 transparent; }
.nodes tr[data-state="down"] > :last-child { box-shadow: 16px 0 0 color-mix(in srgb, var(--bad-soft) 55%, transparent); }
.cell-use .meter { display: flex; line-height: 19px; }
.meter-name { width: 28px; font-size: 12px; color: var(--ink-faint); }
.cell-load .load { display: block; white-space: pre; line-height: 19px; }
.cell-load .heat { display: block; line-height: 19px; color: var(--ink-soft); }

/* Who watches whom */
.watch { display: flex; flex-direction: column; }
.picture { display: block; width: 100%; max-width: 440px; margin: auto; height: auto; overflow: visible; }
.line { fill: none; stroke: var(--edge); stroke-width: 1.3; opacity: 0.6; transition: stroke 240ms, opacity 160ms; }
.line[data-state="probing"] { stroke: var(--warn-bar); stroke-width: 1.8; stroke-dasharray: 5 3; opacity: 1; }
.line[data-state="down"] { stroke: var(--bad-bar); stroke-width: 1.6; stroke-dasharray: 3 4; opacity: 0.9; }
.line[data-state="opening"] { stroke-dasharray: 1 4; }
.pair[data-expected] .line { opacity: 0.45; }
.line-break { display: none; fill: none; stroke: var(--bad); stroke-width: 2.2; stroke-linecap: round; }
.line-break[data-state="down"] { display: inline; }
.dot { cursor: pointer; outline: none; }
.dot-hit { fill: transparent; }
.dot-fill { fill: var(--ok-bar); transition: fill 240ms; }
.dot[data-self] .dot-fill { stroke: var(--panel); stroke-width: 2; paint-order: normal; }
.dot[data-state="suspect"] .dot-fill { fill: var(--warn-bar); }
.dot[data-state="down"] .dot-fill { fill: var(--bad-bar); }
.dot[data-state="left"] .dot-fill { fill: var(--edge); }
.dot-mark { fill: none; stroke: var(--panel); stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.gauge-track { fill: var(--panel); stroke: var(--line); stroke-width: 2.5; }
.gauge { fill: none; stroke: var(--ok-bar); stroke-width: 2.5; transition: stroke-dasharray 240ms linear; }
.dot[data-state="suspect"] .gauge { stroke: var(--warn-bar); }
.dot[data-state="down"] .gauge { stroke: var(--bad-bar); }
.dot-name { fill: var(--ink); font-size: 13px; font-weight: 550; }
.dot[data-state="down"] .dot-name { fill: var(--bad); }
.dot[data-state="left"] .dot-name { fill: var(--ink-faint); }
.dot[data-self] .dot-name { text-decoration: underline; text-decoration-thickness: 2px; text-underline-offset: 3px; text-decoration-color: var(--accent); }
.dot:focus-visible .gauge-track { stroke: var(--accent); stroke-width: 5; }
.is-dense .line { stroke-width: 1; opacity: 0.32; }
.is-dense .line[data-state="down"], .is-dense .line[data-state="probing"] { opacity: 0.9; }
.is-dense .pair[data-expected] .line { opacity: 0.3; }
.is-looking .pair:not(.is-seen) .line { opacity: 0.1; }
.is-looking .pair:not(.is-seen) .line-break { opacity: 0.15; }
.is-looking .pair.is-seen .line { opacity: 1; stroke-width: 2; }
.legend { display: flex; justify-content: center; gap: 16px; font-size: 12px; color: var(--ink-soft); margin-top: 8px; flex-wrap: wrap; }
.legend li { display: flex; align-items: center; gap: 6px; }
.legend li::before { content: ""; width: 20px; border-top: 2px solid var(--edge); }
.legend li[data-state="probing"]::before { border-top: 2px dashed var(--warn-bar); }
.legend li[data-state="down"]::before { border-top: 2px dotted var(--bad-bar); }
.broken { color: var(--bad); font-size: 13px; text-align: center; margin-top: 6px; overflow-wrap: anywhere; }
.broken:empty { display: none; }

/* Machines that wait */
.waiting { border-color: color-mix(in srgb, var(--accent) 45%, var(--line)); }
.waiting-list { display: grid; }
.waiting-list li { display: flex; align-items: center; gap: 8px 20px; padding: 9px 0; flex-wrap: wrap; }
.waiting-list li:first-child { padding-top: 2px; }
.waiting-list li:last-child { padding-bottom: 0; }
.waiting-list li + li { border-top: 1px solid var(--line); }
.waiting-who { display: flex; align-items: baseline; gap: 2px 10px; flex-wrap: wrap; flex: 1 1 260px; min-width: 0; }
.code { font-weight: 600; letter-spacing: 0.06em; background: var(--sunk); border-radius: 6px; padding: 4px 10px; font-size: 15px; white-space: nowrap; }
.code.large { font-size: 22px; text-align: center; padding: 10px; margin: 8px 0; }

/* First steps */
.steps { counter-reset: step; display: grid; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); gap: 14px 28px; }
.steps li { counter-increment: step; display: grid; gap: 6px; align-content: start; justify-items: start; }
.steps li::before { content: counter(step); width: 24px; height: 24px; border-radius: 50%; background: var(--accent-soft); color: var(--accent-strong); font-weight: 650; display: grid; place-items: center; }
.steps p { color: var(--ink-soft); }
.command { display: flex; align-items: center; gap: 4px; width: 100%; min-width: 0; background: var(--sunk); border-radius: 7px; padding: 3px 3px 3px 10px; }
.command code { flex: 1 1 auto; min-width: 0; overflow-x: auto; white-space: pre; scrollbar-width: thin; padding: 4px 0; font-size: 12.5px; }
.copy { border: 0; background: none; padding: 4px; min-height: 28px; color: var(--ink-faint); flex: none; }
.copy[data-done] { color: var(--ok); }

/* Events */
.events { display: grid; }
.events-day { padding: 14px 0 4px; font-weight: 620; font-size: 12.5px; color: var(--ink-soft); }
.events-day:first-child { padding-top: 0; }
.event { border-top: 1px solid var(--line); }
.event:first-child, .events-day + .event { border-top: 0; }
.event summary { display: grid; grid-template-columns: max-content 16px minmax(0, 1fr); gap: 10px; align-items: start; padding: 5px 4px; cursor: pointer; list-style: none; border-radius: 6px; }
.event summary::-webkit-details-marker { display: none; }
.event summary:hover { background: var(--sunk); }
.event time { font-family: var(--mono); font-size: 12px; color: var(--ink-faint); line-height: 20px; }
.event .icon { margin-top: 2px; color: var(--ink-faint); }
.event-text { overflow-wrap: anywhere; }
.event[data-weight="ok"] .icon { color: var(--ok); }
.event[data-weight="warn"] .icon { color: var(--warn); }
.event[data-weight="bad"] .icon { color: var(--bad); }
.event[data-weight="bad"] .event-text { font-weight: 550; }
.event .figures { padding: 2px 4px 8px 126px; }
.figures { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: 12.5px; }
.figures div { display: flex; gap: 5px; }
.figures dt { color: var(--ink-faint); }
.figures dd { font-weight: 550; overflow-wrap: anywhere; }
.tools { display: flex; gap: 10px; flex-wrap: wrap; align-items: center; }
.tools .filter { flex: 1 1 220px; max-width: 420px; }
.segments { display: inline-flex; border: 1px solid var(--line-strong); border-radius: 8px; padding: 2px; margin: 0; gap: 2px; background: var(--panel); }
.segments label { cursor: pointer; }
.segments input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.segments span { display: block; padding: 4px 11px; border-radius: 6px; color: var(--ink-soft); }
.segments input:checked + span { background: var(--accent-soft); color: var(--accent-strong); }
.segments input:focus-visible + span { outline: 2px solid var(--accent); }
.events + button { margin-top: 10px; }

/* One node */
.answer { font-size: 16px; line-height: 1.45; max-width: 75ch; overflow-wrap: anywhere; }
.reasons { margin-top: 10px; display: grid; }
.reasons li { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 12px; padding: 6px 0; border-top: 1px solid var(--line); }
.reasons time { font-family: var(--mono); font-size: 12px; color: var(--ink-faint); line-height: 20px; }
.reasons .figures { margin-top: 2px; }
.facts { display: grid; gap: 5px; }
.facts div { display: grid; grid-template-columns: 116px minmax(0, 1fr); gap: 10px; }
.facts dt { color: var(--ink-faint); }
.facts dd { overflow-wrap: anywhere; white-space: pre-line; }
.watches th, .watches td { padding: 4px 0; font-size: 13px; overflow-wrap: anywhere; }
.watches tr + tr > * { border-top: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; padding-left: 10px !important; color: var(--ink-soft); }
.watch-state { padding-left: 10px; white-space: nowrap; color: var(--ink-soft); }
.watch-state[data-state="down"] { color: var(--bad); font-weight: 600; }
.watch-state[data-state="probing"] { color: var(--warn); font-weight: 600; }
.chart { display: block; width: 100%; height: 180px; background: var(--sunk); border-radius: 7px; }
.chart-line { fill: none; stroke: var(--accent); stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.chart-area { fill: var(--accent); opacity: 0.12; }
.chart-limit { stroke: var(--bad-bar); stroke-width: 1.3; stroke-dasharray: 5 4; vector-effect: non-scaling-stroke; }
.chart-axis { display: flex; justify-content: space-between; font-size: 12px; color: var(--ink-faint); padding-top: 4px; }
.end, .duty-panel { display: flex; align-items: center; gap: 12px 24px; flex-wrap: wrap; }
.end > div, .duty-panel > div { flex: 1 1 320px; }

/* Health */
.checks li { display: flex; gap: 12px; padding: 11px 0; border-top: 1px solid var(--line); }
.checks li:first-child { border-top: 0; padding-top: 2px; }
.checks p { overflow-wrap: anywhere; }
.checks p:first-child { display: flex; gap: 8px; align-items: baseline; }
.check-glyph { width: 28px; height: 28px; border-radius: 50%; display: grid; place-items: center; flex: none; background: var(--ok-soft); color: var(--ok); }
[data-state="warn"] > .check-glyph { background: var(--warn-soft); color: var(--warn); }
[data-state="fail"] > .check-glyph { background: var(--bad-soft); color: var(--bad); }
.remedy span { display: inline-block; margin-top: 5px; background: var(--sunk); border-radius: 6px; padding: 3px 9px; font-family: var(--mono); font-size: 12.5px; }

/* Data */
.button { display: inline-flex; align-items: center; min-height: 34px; padding: 6px 12px; border: 1px solid var(--line-strong); border-radius: 7px; background: var(--panel); color: var(--ink); font-weight: 550; text-decoration: none; }
.button:hover { border-color: var(--ink-faint); }
.page-head .button { margin-left: auto; }
.columns .table-list { flex: 0 0 230px; align-self: start; position: sticky; top: 24px; max-height: calc(100dvh - 48px); overflow-y: auto; }
.tables a { display: flex; justify-content: space-between; gap: 8px; padding: 5px 8px; margin: 0 -8px; border-radius: 7px; color: var(--ink); text-decoration: none; font-weight: 550; }
.tables a:hover { background: var(--sunk); }
.tables a[aria-current] { background: var(--accent-soft); color: var(--accent-strong); }
.tables a[data-system] { color: var(--ink-faint); font-weight: 450; }
.table-name { overflow-wrap: anywhere; min-width: 0; }
.columns-about { overflow-wrap: anywhere; margin-bottom: 8px; }
.scroll { overflow: auto; margin: 0 -16px; padding: 0 16px; max-height: 66dvh; }
.scroll thead th { position: sticky; top: 0; background: var(--panel); }
.values tr > :last-child { width: 100%; }
.panel-head .plain { margin-left: auto; }
.values { width: auto; min-width: 100%; font-size: 13px; }
.values th, .values td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); white-space: pre; vertical-align: top; max-width: 46ch; overflow: hidden; text-overflow: ellipsis; }
.values th { font-weight: 600; color: var(--ink-soft); }
.values .number { text-align: right; padding-left: 0 !important; }
.values td.number { color: var(--ink); font-family: var(--mono); font-size: 12.5px; }
.is-null { color: var(--ink-faint); font-style: italic; }
.pages { display: flex; align-items: center; justify-content: space-between; gap: 10px; margin-top: 10px; }
.sql { display: grid; gap: 10px; min-width: 0; }
textarea { font: 13px/1.5 var(--mono); color: inherit; background: var(--paper); border: 1px solid var(--line-strong); border-radius: 7px; padding: 8px 10px; width: 100%; min-height: 76px; resize: vertical; }
textarea:focus { outline: 2px solid var(--accent); outline-offset: 0; border-color: transparent; }
.sql[data-writes] textarea { border-color: var(--bad); }
.sql-line { display: flex; align-items: center; gap: 8px 14px; flex-wrap: wrap; }
.sql-line button { margin-left: auto; }
.switch { display: inline-flex; align-items: center; gap: 8px; cursor: pointer; }
.write-note { color: var(--bad); font-weight: 550; }
.statement { margin: 0; padding: 8px 10px; max-height: 40vh; overflow: auto; background: var(--sunk); border-radius: 7px; font: 12.5px/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
.copies thead th { font-size: 12px; font-weight: 550; color: var(--ink-faint); padding: 0 8px 6px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
.copies thead th:nth-child(n+3) { text-align: right; }
.copies td, .copies tbody th { padding: 7px 8px 7px 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
.copies tbody tr:last-child > * { border-bottom: 0; padding-bottom: 0; }
.copies tr > :last-child { padding-right: 0; }
.copies tbody th .tag { margin-left: 8px; }
.copies .node-name { display: inline-block; vertical-align: middle; }
.cell-copy .bar { margin-left: 10px; }
.copy-note { display: block; font-size: 12.5px; overflow-wrap: anywhere; }
.copy-note:empty { display: none; }
.conflicts li { padding: 10px 0; border-top: 1px solid var(--line); }
.conflicts li:first-child { border-top: 0; }
.conflicts li:last-child { padding-bottom: 0; }
.conflicts p { display: flex; flex-wrap: wrap; gap: 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
.conflicts time { margin-left: auto; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(240px, 100%), 1fr)); gap: 8px; margin-top: 6px; }
.side { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0 10px; padding: 7px 10px; border-radius: 7px; background: var(--sunk); align-items: baseline; }
.side .quiet { grid-column: 2; font-size: 12.5px; }
.side-word { font-size: 12px; font-weight: 600; color: var(--ink-faint); }
.side-counts .side-word { color: var(--ok); }
.side-lost .side-word { color: var(--bad); }
.side-value { font-family: var(--mono); font-size: 13px; overflow-wrap: anywhere; }

/* Services, mirrors, the document */
.service { padding: 13px 0; border-top: 1px solid var(--line); display: grid; gap: 8px; }
.service:first-child { border-top: 0; padding-top: 2px; }
.service:last-child { padding-bottom: 2px; }
.service-head { display: flex; align-items: center; gap: 6px 12px; flex-wrap: wrap; }
.service-head .node-name { font-size: 15.5px; max-width: 28ch; }
.service-where a { color: inherit; font-weight: 550; }
.actions { display: flex; gap: 6px; flex-wrap: wrap; margin-left: auto; }
.page-head .actions button { margin-left: 0; }
.service-reason { padding: 6px 11px; border-radius: 7px; background: var(--sunk); overflow-wrap: anywhere; }
.service[data-state="failed"] .service-reason, .service[data-state="blocked"] .service-reason { background: var(--bad-soft); color: var(--bad); }
.service[data-state="starting"] .service-reason { background: var(--warn-soft); color: var(--warn); }
.service-facts { display: grid; grid-template-columns: minmax(150px, 220px) minmax(130px, 190px) minmax(0, 1fr); gap: 8px 20px; }
.service-facts dt { font-size: 12px; color: var(--ink-faint); }
.service-facts dd { overflow-wrap: anywhere; }
.address-list { font-family: var(--mono); font-size: 12.5px; white-space: pre-line; }
.empty-columns { margin-top: 12px; gap: 24px; }
.narrow-steps { flex: 0 0 min(420px, 100%); grid-template-columns: minmax(0, 1fr); }
.help .statement { white-space: pre; overflow-x: auto; margin: 8px 0; }
.empty-columns .statement { margin: 0; align-self: start; max-width: 100%; }
.mirror-name { display: block; font-weight: 620; font-size: 14.5px; }
.mirror-way { font-size: 12.5px; color: var(--ink-soft); font-weight: 450; }
.mirrors thead th:last-child { width: 1%; }
.cell-act { text-align: right; padding-left: 12px !important; }
.volumes { display: grid; gap: 16px; }
.volume { display: grid; gap: 10px; }
.volume > p { overflow-wrap: anywhere; }
.volume h2 { font-size: 15.5px; margin: 0; }
.volume-space { display: flex; align-items: center; gap: 4px 10px; flex-wrap: wrap; }
.volume-space .bar { width: min(260px, 100%); }
.volume[data-state="offline"] .service-reason, .volume[data-state="blocked"] .service-reason { background: var(--bad-soft); color: var(--bad); }
.volume[data-state="degraded"] .service-reason { background: var(--warn-soft); color: var(--warn); }
.brick-path { display: block; font-family: var(--mono); overflow-wrap: anywhere; }
.bricks .tag { margin-left: 8px; }
.parked { display: flex; align-items: center; gap: 8px 16px; flex-wrap: wrap; }
.parked > div { flex: 1 1 300px; min-width: 0; }
.parked-path { font-family: var(--mono); font-size: 13px; overflow-wrap: anywhere; }
.parked p { display: block; font-size: 12.5px; white-space: normal; }
.toast[data-tone="bad"] .icon { color: var(--warn); }
.nodes .cell-services { text-align: right; }
.nodes thead th:last-child { text-align: right; }
.node-services .chip { color: inherit; text-decoration: none; margin: 1px 0 1px 4px; }
.node-services .chip:hover { border-color: var(--ink-faint); }
.duty { min-height: 26px; padding-block: 1px; font-size: 12.5px; }
.choice { display: flex; gap: 10px; align-items: start; padding: 9px 11px; border: 1px solid var(--line-strong); border-radius: 8px; cursor: pointer; font-weight: inherit; }
.choice:has(:checked) { border-color: var(--accent); background: var(--accent-soft); }
.choice input { margin-top: 2px; flex: none; }
.choice span { display: block; }
select { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line-strong); border-radius: 7px; padding: 6px 10px; min-height: 36px; width: 100%; min-width: 0; }
textarea.document { min-height: min(46dvh, 440px); white-space: pre; overflow-x: auto; tab-size: 2; }
textarea::placeholder { color: var(--ink-faint); opacity: 0.75; }
.sql-line .actions button { margin-left: 0; }
.differences { display: grid; gap: 8px; }
.differences p { display: flex; gap: 8px; align-items: baseline; flex-wrap: wrap; overflow-wrap: anywhere; }
.differences pre { margin: 3px 0 0 20px; font: 12.5px/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; color: var(--ink-soft); }
.sign { width: 12px; font-family: var(--mono); font-weight: 700; color: var(--warn); }
[data-change="added"] .sign { color: var(--ok); }
[data-change="removed"] .sign { color: var(--bad); }
.plan-note { display: flex; gap: 8px; margin-top: 10px; color: var(--ink-soft); }
.plan-note .icon { margin-top: 2px; color: var(--accent); }

/* Balancers, clocks, labels */
.balancer h2.node-name { font-size: 15.5px; margin: 0; }
.balancer .copies { margin-top: 10px; }
.balancer > .problem { margin-top: 10px; }
.backends thead th:first-child { width: 34%; }
.clocks thead th:nth-child(2) { width: 22%; }
.clocks td.number { font-family: var(--mono); font-size: 12.5px; }
.labels { display: flex; flex-wrap: wrap; gap: 4px; white-space: normal; }
.labels:empty { display: none; }
.labels .chip { margin: 0; overflow-wrap: anywhere; white-space: normal; }
.cell-node .labels { margin-top: 3px; }
.node-choice { border: 1px solid var(--line-strong); border-radius: 8px; padding: 2px 11px 9px; margin: 4px 0 0; display: flex; flex-wrap: wrap; gap: 0 16px; min-width: 0; }
.node-choice legend { font-weight: 550; padding: 0 4px; }

/* Access */
.tokens th, .tokens td { padding: 4px 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
.tokens th { font-weight: 600; }
.tokens { margin: 10px 0 4px; }
.row-form { margin-top: 12px; display: grid; gap: 6px; }
.line-fields { display: flex; gap: 8px; }
.stack { display: grid; gap: 5px; }
.stack input + label { margin-top: 8px; }
.stack button { margin-top: 12px; justify-self: start; }
.routes { margin-top: 12px; }
.routes li { display: grid; grid-template-columns: 62px minmax(150px, 220px) minmax(0, 1fr); gap: 10px; padding: 5px 0; border-top: 1px solid var(--line); align-items: baseline; }
.routes code { overflow-wrap: anywhere; }
.method { font-size: 11.5px; font-weight: 650; color: var(--ok); }
.method[data-method="post"] { color: var(--accent); }
.method[data-method="delete"] { color: var(--bad); }

/* Dialogs and problems */
dialog { border: 1px solid var(--line-strong); border-radius: 14px; padding: 0; background: var(--panel); color: var(--ink); width: min(520px, calc(100vw - 24px)); max-height: calc(100dvh - 24px); box-shadow: var(--shadow-high); }
dialog::backdrop { background: rgb(20 17 24 / 45%); backdrop-filter: blur(2px); }
dialog form { padding: 20px 22px; display: grid; gap: 12px; min-width: 0; }
dialog h2 { font-size: 18px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
.dialog-body { display: grid; gap: 8px; min-width: 0; overflow-wrap: anywhere; }
.consequences { display: grid; gap: 5px; padding-left: 4px; }
.consequences li { position: relative; padding-left: 18px; color: var(--ink-soft); }
.consequences li::before { content: ""; position: absolute; left: 3px; top: 8px; width: 6px; height: 6px; border-radius: 50%; background: var(--accent); }
.check { display: flex; gap: 9px; align-items: center; padding: 8px 0 0; cursor: pointer; }
.buttons button, .end button { white-space: normal; overflow-wrap: anywhere; min-width: 0; }
.buttons { display: flex; justify-content: flex-end; gap: 8px; margin-top: 4px; flex-wrap: wrap; }
.problem { display: grid; gap: 2px; padding: 9px 12px; border-radius: 8px; background: var(--bad-soft); color: var(--bad); overflow-wrap: anywhere; }
.problem b { font-weight: 620; }
.problem b::first-letter { text-transform: uppercase; }
.problem span { color: var(--ink); }

/* Login */
.door { display: grid; place-items: center; min-height: 100vh; min-height: 100dvh; padding: 16px; }
.door-card { width: min(372px, 100%); padding: 28px; gap: 14px; background: var(--panel); border: 1px solid var(--line); border-radius: 16px; box-shadow: var(--shadow-high); }
.door-card .brand { padding: 0; font-size: 20px; }
.door-card h1 { font-size: 16px; color: var(--ink-soft); font-weight: 550; letter-spacing: 0; }
.door-card form { display: grid; gap: 6px; }
.door-card input { margin-bottom: 8px; min-height: 40px; }
.door-card button { min-height: 40px; margin-top: 4px; }
.advice { background: var(--warn-soft); color: var(--ink); border-radius: 8px; padding: 9px 12px; font-size: 13px; }

/* Narrower: the picture moves below, then the rail to the top, then rows become cards */
@media (max-width: 1320px) {
    .columns { flex-direction: column; }
    .columns > * { flex: none !important; }
    .columns .table-list { position: static; align-self: stretch; max-height: none; }
    .tables { display: flex; flex-wrap: wrap; gap: 2px 6px; }
    .tables a { margin: 0; background: var(--sunk); }
    .columns .watch { position: static; align-self: stretch; order: 1; }
    .columns > .column:has(.recent) { display: contents; }
    .recent { order: 2; }
}
@media (max-width: 1000px) {
    .shell { display: block; }
    .rail { position: static; height: auto; display: grid; grid-template-columns: 1fr auto; align-items: center; gap: 0 10px; padding: 10px 14px 0; border-right: 0; border-bottom: 1px solid var(--line); }
    .cluster { display: none; }
    .brand { padding: 0; }
    .seen { grid-area: 1 / 2; margin: 0; padding: 0; display: flex; align-items: center; gap: 10px; }
    .seen .quiet { display: none; }
    .seen button { margin: 0; }
    .rail nav { grid-row: 2; grid-column: 1 / -1; margin: 6px -14px 0; overflow-x: auto; scrollbar-width: none; }
    .rail nav ul { flex-direction: row; gap: 0; padding: 0 6px; }
    .rail nav a { border-radius: 0; padding: 8px 9px 9px; gap: 6px; border-bottom: 2px solid transparent; white-space: nowrap; }
    .rail nav a[aria-current] { background: none; border-bottom-color: var(--accent); }
    .rail nav a:focus-visible { outline-offset: -2px; }
    main { padding: 16px 14px 90px; gap: 12px; }
    .columns, .column { gap: 12px; }
}
@media (max-width: 760px) {
    .verdict { flex-wrap: wrap; }
    .verdict-words { flex: 1 1 200px; }
    .verdict-side, .verdict-side button { width: 100%; }
    .nodes, .nodes tbody { display: block; }
    .nodes thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    .nodes tbody tr { display: grid; grid-template-columns: minmax(0, 1fr) max-content; gap: 8px 12px; padding: 12px 16px; margin: 0 -16px; border-bottom: 1px solid var(--line); }
    .nodes tbody tr:first-child { padding-top: 4px; }
    .nodes tbody tr:last-child { border-bottom: 0; padding-bottom: 4px; }
    .nodes tr[data-state="down"] { background: color-mix(in srgb, var(--bad-soft) 55%, transparent); }
    .nodes tr[data-state="down"] > * { background: none; box-shadow: none !important; }
    .nodes td, .nodes tbody th { display: block; border: 0; padding: 0 !important; min-width: 0; white-space: normal; }
    .nodes td[data-label]::before { content: attr(data-label); display: block; font-size: 11.5px; color: var(--ink-faint); margin-bottom: 1px; }
    .copies, .copies tbody { display: block; }
    .copies thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    .copies tbody tr { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 6px 10px; padding: 10px 0; border-bottom: 1px solid var(--line); }
    .copies tbody tr:last-child { border-bottom: 0; }
    .copies td, .copies tbody th { display: block; border: 0; padding: 0 !important; text-align: left; min-width: 0; }
    .copies tbody th, .copies .cell-copy { grid-column: 1 / -1; }
    .copies td[data-label]::before { content: attr(data-label); display: block; font-size: 11.5px; color: var(--ink-faint); }
    .page-head .button { margin-left: 0; }
    .service-facts { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
    .service-facts > :last-child { grid-column: 1 / -1; }
    .actions { width: 100%; margin-left: 0; }
    .actions button { flex: 1 1 auto; min-height: 38px; }
    .mirrors tbody tr:first-child, .copies tbody tr:first-child { padding-top: 0; }
    .mirrors td.number, .clocks td.number { white-space: normal; overflow-wrap: anywhere; }
    .copies td[data-label]::before { font-family: system-ui, sans-serif; }
    .backends tbody tr { grid-template-columns: minmax(0, 1fr) minmax(0, 1.3fr); }
    .copies.backends tbody th, .copies.backends .cell-copy { grid-column: auto; }
    .mirrors .cell-act { grid-column: 1 / -1; }
    .mirrors .cell-act button, .parked button { width: 100%; min-height: 38px; }
    .cell-services { grid-column: 1 / -1; display: flex !important; flex-wrap: wrap; align-items: center; gap: 6px; text-align: left !important; }
    .cell-services .duty { margin-left: auto; border-color: var(--line-strong); min-height: 34px; }
    .nodes td.cell-services[data-label]::before { margin: 0; }
    .conflicts time { margin-left: 0; width: 100%; }
    .sql-line button { width: 100%; min-height: 40px; }
    .cell-state { text-align: right; }
    .cell-phi { grid-column: 1 / -1; }
    .nodes tr[data-self] .cell-phi { display: none; }
    .cell-phi .suspicion { display: flex; }
    .cell-phi .bar { flex: 1 1 auto; height: 10px; }
    .cell-load { min-width: 112px; }
    .node-name { font-size: 16px; max-width: 100%; }
    .event summary { grid-template-columns: 16px minmax(0, 1fr); }
    .event summary time { grid-column: 2; grid-row: 2; }
    .event summary .icon { grid-row: 1; }
    .event .figures { padding-left: 30px; }
    .reasons li { grid-template-columns: minmax(0, 1fr); gap: 0; }
    .routes li { grid-template-columns: 62px minmax(0, 1fr); }
    .routes .quiet { grid-column: 2; }
    .page-head button { margin-left: 0; }
    .segments span { padding-inline: 8px; }
    .waiting-list button { width: 100%; }
    .code { width: 100%; text-align: center; }
    .buttons button { flex: 1 1 auto; min-height: 40px; }
}
@media (prefers-reduced-motion: reduce) {
    * { transition: none !important; }
}
@media (forced-colors: active) {
    .bar-fill { background: CanvasText; }
    .line[data-state="down"] { stroke: LinkText; }
}
@media print {
    .rail, .banner, .toasts, .verdict-side { display: none; }
    .shell { display: block; }
}

"""####),
    ]
}
