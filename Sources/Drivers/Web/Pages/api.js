// Questions to the node that answers this page.
import { learnClock } from "/assets/format.js";

/** What the node refused, in its own words. */
export class Refused extends Error {
    constructor(status, { problem, remedy } = {}) {
        super(problem ?? `the node answered ${status}`);
        this.status = status;
        this.remedy = remedy ?? "";
    }
}

export async function ask(method, path, body) {
    let answer;
    try {
        answer = await fetch(path, {
            method,
            credentials: "same-origin",
            headers: body === undefined ? {} : { "Content-Type": "application/json" },
            body: body === undefined ? undefined : JSON.stringify(body),
        });
    } catch {
        throw new Refused(0, { problem: "this node does not answer", remedy: "check that it runs and that you can reach it, then try again" });
    }
    learnClock(answer.headers.get("Date"));
    if (answer.status === 401 && path !== "/login" && path !== "/v1/password") {
        location.assign("/login");
        return new Promise(() => {});  // the page is on its way out
    }
    const text = await answer.text();
    let value = null;
    try {
        value = text ? JSON.parse(text) : null;
    } catch {
        // Not from the node: a proxy's page, maybe.
    }
    if (!answer.ok) throw new Refused(answer.status, value?.error);
    return value;
}

export const get = (path) => ask("GET", path);
