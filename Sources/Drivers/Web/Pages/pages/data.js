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
