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
