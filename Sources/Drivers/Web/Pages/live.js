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
