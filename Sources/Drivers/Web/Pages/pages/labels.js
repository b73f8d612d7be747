// Labels of nodes: what a machine is for.
import { ask } from "/assets/api.js";
import { confirm, toast } from "/assets/dialog.js";
import { h } from "/assets/dom.js";
import { compareNames } from "/assets/format.js";
import { upperUnlessName } from "/assets/sentences.js";

/** “role=web”, by key. */
export const labelTexts = (node) => Object.entries(node.labels ?? {}).map(([key, value]) => `${key}=${value}`).sort(compareNames);

export async function labelNode(node) {
    const before = node.labels ?? {};
    const parse = (form) => form.labels.value.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => [line, line.indexOf("=")]);
    const done = await confirm({
        title: `Labels of ${node.name}`, action: "Save",
        body: [
            h("label", { for: "labels", text: "One KEY=VALUE a line" }),
            h("textarea", { id: "labels", name: "labels", rows: "5", spellcheck: "false", autocapitalize: "none", autocomplete: "off", placeholder: "role=web", "data-first": true }, labelTexts(node).join("\n")),
            h("p", { class: "quiet", text: "Ansible gets them as groups: role=web becomes role_web, and rack=a becomes label_rack_a. They change nothing on the machine itself." }),
        ],
        ready: (form) => parse(form).every(([line, equals]) => equals > 0 && equals < line.length - 1),
        run: (form) => {
            const set = Object.fromEntries(parse(form).map(([line, equals]) => [line.slice(0, equals).trim(), line.slice(equals + 1).trim()]));
            return ask("POST", `/v1/nodes/${encodeURIComponent(node.name)}/labels`, { set, remove: Object.keys(before).filter((key) => !(key in set)) });
        },
    });
    if (done) toast(upperUnlessName(done.done, done.name));
}
