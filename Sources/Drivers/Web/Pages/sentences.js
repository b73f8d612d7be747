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
