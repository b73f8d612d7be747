// Adding and removing machines: what will happen is said before it does.
import { ask } from "/assets/api.js";
import { confirm, toast } from "/assets/dialog.js";
import { command, h } from "/assets/dom.js";
import { plural } from "/assets/format.js";
import { store } from "/assets/live.js";
import { upperUnlessName } from "/assets/sentences.js";

export async function addWaiting(machine) {
    const hasKey = machine.reason === "approval";
    const done = await confirm({
        title: `Add ${machine.name}?`,
        action: `Add ${machine.name}`,
        body: [
            h("p", { text: "Compare this code with the one that the machine itself shows:" }),
            h("p", { class: "code large", text: machine.code }),
            h("p", { class: "quiet" }, "There: ", h("code", { text: "bramble status" }), `, or its log. This machine answers at ${machine.address}.`),
            h("p", { text: "Then:" }),
            h("ul", { class: "consequences" },
                hasKey ? h("li", { text: "it proved that it has the cluster key, and is let in" })
                    : h("li", { text: "it gets the cluster key, over an encrypted connection to exactly this machine" }),
                h("li", { text: `it joins as ${machine.name}, and every node knows it within a second` }),
                h("li", { text: "a database that it has is set aside there as a backup file: it gets a copy of this cluster's" }),
                h("li", { text: "from then on it sees everything the cluster knows, and may run its services" })),
            h("label", { class: "check" }, h("input", { type: "checkbox", name: "same", "data-first": true }), "The codes are the same"),
        ],
        ready: (form) => form.same.checked,
        run: () => ask("POST", "/v1/nodes", { name: machine.id }),
    });
    if (done) toast(upperUnlessName(done.done, done.name));
}

export async function addMachine() {
    const done = await confirm({
        title: "Add a machine",
        action: "Look for it",
        body: [
            h("p", { text: "A machine on the same network needs nothing from here: start Bramble there, and it shows up on the first page, waiting, with a code to compare. With the cluster's key in its data directory it joins by itself:" }),
            command("scp /var/lib/bramble/cluster.key root@MACHINE:/var/lib/bramble/"),
            h("p", { text: "A machine elsewhere is looked for at its name or address. It must be reachable on UDP and TCP 7771." }),
            h("p", { text: "A database that the machine has is set aside there as a backup file: it gets a copy of this cluster's." }),
            h("label", { for: "host", text: "Name or address" }),
            h("input", { id: "host", name: "host", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: "255", placeholder: "192.168.1.20", "data-first": true }),
        ],
        ready: (form) => form.host.value.trim() !== "",
        run: (form) => ask("POST", "/v1/probe", { host: form.host.value.trim() }),
    });
    if (done) toast(upperUnlessName(done.done, done.name));
}

export async function removeNode(node) {
    const left = store.nodes.filter((other) => other.state !== "left" && other.id !== node.id).length;
    const isDown = node.state !== "alive" && node.state !== "suspect";
    const done = await confirm({
        title: `Remove ${node.name}?`,
        action: `Remove ${node.name}`,
        tone: "danger",
        body: [
            node.self ? h("p", { class: "problem" }, h("b", { text: "This is the node that answers you." }), h("span", { text: "This page will stop working; go on from another node's dashboard." })) : null,
            h("p", { text: "This is what will happen:" }),
            h("ul", { class: "consequences" },
                h("li", { text: `${node.name} is refused at once on every node` }),
                h("li", { text: "the cluster key is changed on the rest, so nobody gets in with the old one" }),
                isDown ? h("li", { text: `${node.name} does not answer now: when it comes back it is told, stops its services and wipes its copy of the cluster's data` })
                    : h("li", { text: `${node.name} stops its services and wipes its copy of the cluster's data; other files stay` }),
                h("li", { text: "machines that wait with the old key, or a copied SD card with it, need the new one" }),
                h("li", { text: left === 1 ? "one node is left, alone: nothing takes over when it fails" : left === 2 ? "two nodes are left: they still watch each other, but there is no majority any more" : `${plural(left, "node")} ${left === 1 ? "is" : "are"} left` })),
            h("p", {}, "It cannot be undone, but ", node.name, " can be added again as a new machine."),
            h("label", { for: "typed" }, "Type ", h("b", { text: node.name }), " to go on"),
            h("input", { id: "typed", name: "typed", autocomplete: "off", autocapitalize: "none", spellcheck: "false", "data-first": true }),
        ],
        ready: (form) => form.typed.value.trim() === node.name,
        run: () => ask("DELETE", `/v1/nodes/${encodeURIComponent(node.name)}`),
    });
    if (done) {
        toast(upperUnlessName(done.done, done.name));
        location.hash = "#/nodes";
    }
}
