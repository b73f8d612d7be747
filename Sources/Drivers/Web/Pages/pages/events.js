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
