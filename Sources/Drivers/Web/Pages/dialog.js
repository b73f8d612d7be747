// Questions before something changes, and what became of it.
import { h, icon } from "/assets/dom.js";

/**
 * Asks before doing: what will happen, then the deed, then its outcome.
 * `title`, `body` (elements), `action` (the button's word), `tone` ("danger" or "primary"),
 * `ready` (called with the form; true when the button may be used), `run` (does it; its text is shown).
 */
export function confirm({ title, body, action, tone = "primary", ready = () => true, run }) {
    const problem = h("div", { class: "problem", role: "alert", hidden: true });
    const go = h("button", { type: "submit", class: tone, text: action });
    const no = h("button", { type: "button", text: "Cancel" });
    const form = h("form", { method: "dialog", novalidate: true }, h("h2", { id: "dialog-title", text: title }), h("div", { class: "dialog-body" }, ...body), problem,
        h("div", { class: "buttons" }, no, go));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    const check = () => { go.disabled = !ready(form); };
    form.addEventListener("input", check);
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    return new Promise((resolve) => {
        dialog.addEventListener("close", () => resolve(null));
        form.addEventListener("submit", async (event) => {
            event.preventDefault();
            if (!ready(form)) return;
            go.disabled = true;
            form.setAttribute("aria-busy", "true");
            problem.hidden = true;
            try {
                const outcome = await run(form);
                resolve(outcome);
                dialog.close();
            } catch (error) {
                showProblem(problem, error);
                form.removeAttribute("aria-busy");
                check();
            }
        });
        document.body.append(dialog);
        dialog.showModal();
        check();
        (dialog.querySelector("[data-first]") ?? no).focus();
    });
}

/** Shows something until it is closed. */
export function show({ title, body }) {
    const done = h("button", { type: "submit", class: "primary", text: "Done" });
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" },
        h("form", { method: "dialog" }, h("h2", { id: "dialog-title", text: title }), h("div", { class: "dialog-body" }, ...body), h("div", { class: "buttons" }, done)));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    done.focus();
}

export function showProblem(element, error) {
    element.replaceChildren(h("b", { text: error.message }), ...(error.remedy ? [h("span", { text: error.remedy })] : []));
    element.hidden = false;
}

/** A line at the bottom that goes away by itself. */
export function toast(text, tone = "ok") {
    const line = h("p", { class: "toast", "data-tone": tone }, icon(tone === "ok" ? "alive" : "warn"), h("span", { text }));
    document.getElementById("toasts").append(line);
    setTimeout(() => line.remove(), 7000);
}
