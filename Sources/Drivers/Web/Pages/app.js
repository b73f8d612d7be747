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
