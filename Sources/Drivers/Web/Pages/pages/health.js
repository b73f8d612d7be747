// What `bramble doctor` says about the node that answers.
import { get } from "/assets/api.js";
import { h, icon, setText } from "/assets/dom.js";
import { showProblem } from "/assets/dialog.js";
import { plural } from "/assets/format.js";

const order = { fail: 0, warn: 1, ok: 2 };
const icons = { fail: "down", warn: "warn", ok: "alive" };
const words = { fail: "wrong", warn: "could be better", ok: "in order" };

export function open(main) {
    const count = h("p", { class: "quiet", role: "status", text: "Looking…" });
    const again = h("button", { type: "button", text: "Look again", onclick: look });
    const list = h("ul", { class: "checks" });
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    main.append(h("header", { class: "page-head" }, h("h1", { text: "Health of this node" }), count, again), problem, h("section", { class: "panel", "aria-label": "Findings" }, list));

    async function look() {
        again.disabled = true;
        problem.hidden = true;
        try {
            const checks = (await get("/v1/doctor")).sort((a, b) => order[a.state] - order[b.state]);
            list.replaceChildren(...checks.map((check) => h("li", { "data-state": check.state },
                h("span", { class: "check-glyph" }, icon(icons[check.state])),
                h("div", {}, h("p", {}, h("b", { text: check.check }), h("span", { class: "quiet", text: words[check.state] })), h("p", { text: check.text }), check.remedy ? h("p", { class: "remedy" }, h("span", { text: check.remedy })) : null))));
            const open = checks.filter((check) => check.state !== "ok").length;
            setText(count, open === 0 ? `${plural(checks.length, "check")}, all in order` : `${open} of ${plural(checks.length, "check")} ${open === 1 ? "wants" : "want"} a look`);
        } catch (error) {
            showProblem(problem, error);
            setText(count, "");
        }
        again.disabled = false;
    }
    look();
    return () => {};
}
