// Small helpers to build and update the page. Text always goes in as text: names come from the network.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
    for (const [name, value] of Object.entries(properties ?? {})) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (name === "text") element.textContent = value;
        else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
}

/** An HTML element: `h("a", {href: "#", onclick: f}, "text", child)`. */
export function h(tag, properties, ...children) {
    return fill(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function s(tag, properties, ...children) {
    return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Changes the text only when it differs: nothing flickers, and screen readers stay quiet. */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Children of `parent` become those of `items`, in order; elements that stay are kept, with their focus. */
export function keyed(parent, items, key, create, update) {
    const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
    let place = parent.firstElementChild;
    for (const item of items) {
        const name = String(key(item));
        let element = old.get(name);
        if (element) {
            old.delete(name);
        } else {
            element = create(item);
            element.dataset.key = name;
        }
        update(element, item);
        if (element === place) place = place.nextElementSibling;
        else parent.insertBefore(element, place);
    }
    for (const element of old.values()) element.remove();
}

const paths = {
    nodes: "M12 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM5 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Zm14 0a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM10.8 9.2 6.2 14.8M13.2 9.2l4.6 5.6M7.5 17h9",
    services: "M4 5h16v5H4ZM4 14h16v5H4ZM7.5 7.5h.1M7.5 16.5h.1M11 7.5h5.5M11 16.5h5.5",
    volumes: "M4 7c0-2 3.6-3.5 8-3.5S20 5 20 7s-3.6 3.5-8 3.5S4 9 4 7v10c0 2 3.6 3.5 8 3.5s8-1.5 8-3.5V7M4 12c0 2 3.6 3.5 8 3.5s8-1.5 8-3.5",
    mirrors: "M4 8h13l-3.5-3.5M20 16H7l3.5 3.5",
    balancers: "M3 12h6M9 12l5-6.5h6M9 12h11M9 12l5 6.5h6",
    clock: "M12 7v5l3 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
    document: "M6 3.5h8l4 4v13H6ZM14 3.5v4h4M9 12h6M9 16h6",
    data: "M12 4c4 0 7 1.2 7 2.7s-3 2.7-7 2.7-7-1.2-7-2.7S8 4 12 4ZM5 6.7v10.6C5 18.8 8 20 12 20s7-1.2 7-2.7V6.7M5 12c0 1.5 3 2.7 7 2.7s7-1.2 7-2.7",
    events: "M5 6h14M5 12h14M5 18h9",
    health: "M3 12h4l2.5-6 4 12 2.5-6h5",
    access: "M8 15a4 4 0 1 1 3.5-6H21v3h-2v3h-3v-3h-4.5A4 4 0 0 1 8 15Z",
    alive: "M5 12.5l4.5 4.5L19 7.5",
    suspect: "M9 9.2a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2M12 17.6v.2",
    down: "M7 7l10 10M17 7 7 17",
    left: "M6 12h12",
    warn: "M12 8v5M12 16.4v.2M12 3.5 21.5 20h-19Z",
    plus: "M12 5v14M5 12h14",
    back: "M14 6l-6 6 6 6",
    copy: "M9 9h10v11H9ZM6 15H5V4h10v2",
    wait: "M12 7v5l3 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
    key: "M8 15a4 4 0 1 1 3.5-6H21v3h-2v3h-3v-3h-4.5A4 4 0 0 1 8 15Z",
    info: "M12 11v6M12 7.2v.2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z",
};

/** A line icon; beside text it is decoration, so it has no name of its own. */
export function icon(name) {
    return s("svg", { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: paths[name] ?? paths.info }));
}

/** A line of text that copies itself. */
export function command(text) {
    const button = h("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}` }, icon("copy"));
    button.addEventListener("click", async () => {
        try {
            await navigator.clipboard.writeText(text);
            button.dataset.done = "yes";
            setTimeout(() => delete button.dataset.done, 1500);
        } catch {
            // Over plain HTTP browsers keep the clipboard to themselves: select it instead.
            const range = document.createRange();
            range.selectNodeContents(code);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
        }
    });
    const code = h("code", { text });
    return h("div", { class: "command" }, code, button);
}
