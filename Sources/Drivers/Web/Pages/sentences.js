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
    foreign: (e) => `a node of another cluster is at ${e.subject}`,
};

export function sentence(event) {
    const text = event.text || sentences[event.type]?.(event) || `${event.subject}: ${event.type}${said(event)}`;
    return upperUnlessName(text, event.subject);
}

/** A sentence begins with a capital, a node's name stays as it is. */
export function upperUnlessName(text, name) {
    return text.startsWith(name) ? text : text[0].toUpperCase() + text.slice(1);
}

const weights = {
    down: "bad", removed: "bad", failed: "bad",
    suspect: "warn", isolated: "warn", stalled: "warn", conflict: "warn", foreign: "warn", waiting: "warn", "path-lost": "warn",
    alive: "ok", joined: "ok", recovered: "ok", "path-back": "ok", approved: "ok", acquired: "ok", started: "ok",
};
/** bad, warn, ok or plain: its colour, never its only sign. */
export const weight = (event) => weights[event.type] ?? "plain";

const icons = { bad: "down", warn: "warn", ok: "alive", plain: "info" };
export const eventIcon = (event) => (event.type === "waiting" ? "wait" : event.type.includes("key") || event.type.includes("token") || event.type.includes("password") ? "key" : icons[weight(event)]);

const labels = {
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
