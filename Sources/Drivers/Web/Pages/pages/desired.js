// Single objects of what should be: added and removed through the document, as `bramble … add` and `remove` do.
import { ask, Refused } from "/assets/api.js";

const apply = (request) => ask("POST", "/v1/apply", { name: "the dashboard", ...request });

/** Adds one object to a part (“balancers”); refused where one of that name is there. JSON is YAML, too. */
export async function addObject(part, object) {
    const document = JSON.stringify({ [part]: [object] });
    const plan = await apply({ document, dryRun: true });
    if (plan.changes.length === 0 || plan.changes.some((change) => change.part === part && change.name === object.name && change.change === "changed")) {
        throw new Refused(409, { problem: `“${object.name}” is there already`, remedy: "give another name, or change it on the page of the document" });
    }
    return apply({ document });
}

export const removeObject = (part, name) => apply({ document: "{}", remove: [`${part}/${name}`] });
