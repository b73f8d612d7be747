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
