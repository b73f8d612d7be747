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
