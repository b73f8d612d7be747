// What an operator orders of services and nodes: what will happen is said before it does.
import { ask } from "/assets/api.js";
import { confirm, toast } from "/assets/dialog.js";
import { h } from "/assets/dom.js";
import { byName, list } from "/assets/format.js";
import { store } from "/assets/live.js";
import { gap, upperUnlessName } from "/assets/sentences.js";

const items = (...texts) => h("ul", { class: "consequences" }, ...texts.filter(Boolean).map((text) => h("li", { text })));
const lead = () => h("p", { text: "This is what will happen:" });
const its = (service) => (service.addresses.length ? service.addresses.map((address) => address.split("/")[0]) : []);
const answers = (service, text) => (its(service).length ? `${list(its(service))} ${its(service).length === 1 ? "answers" : "answer"} ${text}` : null);

async function order(service, action, options) {
    const done = await confirm({ ...options, run: (form) => ask("POST", `/v1/services/${encodeURIComponent(service.name)}/${action}`, options.request?.(form)) });
    if (!done) return;
    const away = done.gapMs === null || done.gapMs === undefined ? "" : `. Nobody answered for ${Math.round(done.gapMs)} ms`;
    toast(upperUnlessName(done.done, done.name) + away);
}

export const startService = (service) => order(service, "start", {
    title: `Start ${service.name}?`, action: `Start ${service.name}`,
    body: [lead(), items("it is started on the node that fits best: a preferred one that is alive and not on hold", answers(service, "there"), "from then on it is started again wherever its node fails, until it is stopped")],
});

export const stopService = (service) => order(service, "stop", {
    title: `Stop ${service.name}?`, action: `Stop ${service.name}`, tone: "danger",
    body: [lead(), items(
        service.node ? `it is stopped on ${service.node}, and whoever uses it loses the connection` : "no node runs it now; from then on none tries to",
        answers(service, "no more"),
        "no other node takes it over, and it stays stopped, also after restarts, until it is started here or with bramble service start"),
    ],
});

export function moveService(service) {
    const targets = store.nodes.filter((node) => node.state === "alive" && node.role !== "witness" && node.name !== service.node).sort(byName);
    const choice = h("select", { id: "to", name: "to", "data-first": true }, h("option", { value: "", text: "the best other node" }),
        ...targets.map((node) => h("option", { value: node.name, text: node.duty ? `${node.name} (${dutyWord(node)})` : node.name, disabled: Boolean(node.duty) })));
    return order(service, "move", {
        title: `Move ${service.name} away from ${service.node}?`, action: `Move ${service.name}`,
        request: (form) => (form.to.value ? { to: form.to.value } : {}),
        ready: () => targets.length > 0,
        body: targets.length === 0 ? [h("p", { class: "problem" }, h("b", { text: "No other node is alive." }), h("span", { text: "Start another one first." }))] : [
            h("label", { for: "to", text: "To" }), choice, lead(), items(
                `it is stopped on ${service.node}, and whoever uses it loses the connection`,
                service.mirrors.length ? `its ${service.mirrors.length === 1 ? "mirror" : "mirrors"} ${list(service.mirrors)} ${service.mirrors.length === 1 ? "runs" : "run"} once more, so that nothing is missing there` : "its files are not mirrored: what it wrote on its disk stays where it is",
                "it is started there; if that fails, it comes back",
                service.lastGapMs === null || service.lastGapCause !== "move" ? "it is away for as long as it takes to stop and start" : `last time: ${gap(service.lastGapMs, service.lastGapCause)}`,
                "it stays there: it does not move back by itself unless its document asks for that"),
        ],
    });
}

export function drillService(service) {
    const others = store.nodes.filter((node) => node.state === "alive" && node.role !== "witness" && node.name !== service.node);
    return order(service, "drill", {
        title: `Rehearse a failure of ${service.node}?`, action: "Do it now", tone: "danger",
        ready: () => others.length > 0,
        body: others.length === 0 ? [h("p", { class: "problem" }, h("b", { text: "No other node is alive to take over." }), h("span", { text: "Start another one first." }))] : [
            lead(), items(
                `${service.node} plays dead for ${service.name}, without a warning, and another node takes it over`,
                "whoever uses it loses the connection, as in a real failure",
                service.mirrors.length ? "what was not mirrored yet stays behind, and is set aside when the mirrors run next" : null,
                "the gap that a client sees is measured, and shown here"),
        ],
    });
}

// A node's duty

export const dutyWord = (node) => ({ held: "on hold", drained: "drained" })[node.duty] ?? "";

/** What can be ordered of a node, each with what it means. */
export async function openDuty(node) {
    if (node.duty) return resumeNode(node);
    const choice = (value, title, about) => h("label", { class: "choice" }, h("input", { type: "radio", name: "duty", value, "data-first": value === "drain" ? true : null }), h("span", {}, h("b", { text: title }), h("span", { class: "quiet", text: about })));
    const word = await confirm({
        title: `Duty of ${node.name}`, action: "Go on…", ready: (form) => Boolean(form.duty.value),
        body: [choice("drain", "Drain it", "before it is switched off or updated: what it runs moves to other nodes; what none can take goes on here"),
            choice("hold", "Hold it", "it runs nothing at all: what it runs stops, and starts elsewhere where a node can take it")],
        run: (form) => form.duty.value,
    });
    if (word === "drain") return drainNode(node);
    if (word === "hold") return holdNode(node);
}

async function duty(node, word, options) {
    const done = await confirm({ ...options, run: () => ask("POST", `/v1/nodes/${encodeURIComponent(node.name)}/${word}`) });
    if (done) toast(upperUnlessName(done.done, done.name));
}
const runs = (node) => (store.services ?? []).filter((service) => service.node === node.name).map((service) => service.name);

export function holdNode(node) {
    const own = runs(node);
    return duty(node, "hold", {
        title: `Put ${node.name} on hold?`, action: `Hold ${node.name}`,
        body: [lead(), items(
            own.length ? `${list(own)} ${own.length === 1 ? "stops" : "stop"} here, and ${own.length === 1 ? "starts" : "start"} on another node where one can take ${own.length === 1 ? "it" : "them"}, else nowhere` : "it runs no service now",
            "it runs nothing, also after a restart, until it is resumed",
            "it stays a member: it votes, keeps its copy of the database, and takes mirrors",
            others(node) === 0 ? "no other node can run services now: what it runs is away until it is resumed" : null)],
    });
}
export function drainNode(node) {
    const own = runs(node);
    return duty(node, "drain", {
        title: `Take ${node.name} out of service?`, action: `Drain ${node.name}`,
        body: [lead(), items(
            own.length ? `${list(own)} ${own.length === 1 ? "moves" : "move"} to other nodes that can take ${own.length === 1 ? "it" : "them"}: the mirrors run once more, and each is away for a moment` : "it runs no service that would have to move",
            "it takes nothing new, also after a restart, until it is resumed",
            "it stays a member; switch it off once it runs nothing any more",
            others(node) === 0 && own.length ? "no other node can take services now: what it runs goes on here until one can" : null)],
    });
}
export function resumeNode(node) {
    return duty(node, "resume", {
        title: `Let ${node.name} run services again?`, action: `Resume ${node.name}`,
        body: [lead(), items("from now on it may take services over", "nothing moves back by itself, unless a service's document asks for failback")],
    });
}
const others = (node) => store.nodes.filter((other) => other.state === "alive" && !other.duty && other.id !== node.id).length;
