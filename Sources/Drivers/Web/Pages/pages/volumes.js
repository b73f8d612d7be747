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
