// Figures and times as people read them.

let offset = 0;

/** The node's clock against the browser's, from the Date header of an answer. */
export function learnClock(header) {
    const time = Date.parse(header ?? "");
    if (!Number.isNaN(time)) offset = time - Date.now();
}
export const nodeNow = () => Date.now() + offset;

/** “42 s”, “3 min”, “5 h 12 min”, “8 d 4 h”. */
export function duration(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole} s`;
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    const days = Math.floor(hours / 24);
    return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}
export const sinceNow = (iso) => duration((nodeNow() - Date.parse(iso)) / 1000);

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const shortFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const fullFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const read = (format, iso) => (Number.isNaN(Date.parse(iso)) ? iso : format.format(new Date(iso)));
export const clock = (iso) => read(clockFormat, iso);
export const shortClock = (iso) => read(shortFormat, iso);
export const day = (iso) => read(dayFormat, iso);
export const moment = (iso) => read(fullFormat, iso);

export const percent = (share) => `${Math.round(share * 100)} %`;
/** “1.3 MB”: two digits that matter, thousands as disks count them. */
export function bytes(count) {
    if (count < 1000) return plural(count, "byte");
    let value = count;
    let unit = -1;
    while (value >= 999.5 && unit < 3) {
        value /= 1000;
        unit += 1;
    }
    return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${["kB", "MB", "GB", "TB"][unit]}`;
}
export const phi = (value) => (value >= 99.95 ? "100+" : value.toFixed(1));
export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** “a”, “a and b”, “a, b and c”. */
export function list(words) {
    return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

const collator = new Intl.Collator("en", { numeric: true });
export const byName = (a, b) => collator.compare(a.name, b.name);
export const compareNames = (a, b) => collator.compare(a, b);

export const stateWords = { alive: "alive", suspect: "suspect", down: "down", left: "left" };
