// Numbers with units, times, sizes: as texts, or as small elements that tell more when pointed at.
import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });
const absolute = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const count = (n) => (typeof n === "number" ? whole.format(n) : "–");

function scaled(n, step, units) {
    let i = 0;
    let value = Math.abs(n);
    while (value >= step && i < units.length - 1) {
        value /= step;
        i++;
    }
    const text = i === 0 || value >= 100 ? Math.round(value).toString() : value >= 10 ? value.toFixed(1) : value.toFixed(2);
    return `${n < 0 ? "−" : ""}${text.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "")}${units[i] ? " " + units[i] : ""}`;
}

// 123,456 up to a million, then 4.56 M.
export const short = (n) => (typeof n !== "number" ? "–" : Math.abs(n) < 1000000 ? whole.format(n) : scaled(n, 1000, ["", "k", "M", "G", "T"]));
export const bytes = (n) => (typeof n !== "number" || n < 0 ? "–" : scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]));

export function rate(n) {
    if (typeof n !== "number")
        return "–";
    if (n > 0 && n < 10)
        return `${n < 0.1 ? "<0.1" : n.toFixed(1).replace(/\.0$/, "")}/s`;
    return `${n < 10000 ? whole.format(n) : scaled(n, 1000, ["", "k", "M", "G"])}/s`;
}

export const byteRate = (n) => (typeof n !== "number" ? "–" : `${bytes(n)}/s`);
export const detailRate = (object, name) => object?.[`${name}_details`]?.rate;

export function duration(ms) {
    if (typeof ms !== "number")
        return "–";
    if (ms < 1000)
        return `${Math.round(ms)} ms`;
    const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    let seconds = Math.floor(ms / 1000);
    const found = [];
    for (const [size, unit] of parts) {
        if (seconds >= size || (found.length > 0 && unit !== "s")) {
            found.push(`${Math.floor(seconds / size)} ${unit}`);
            seconds %= size;
        }
        if (found.length === 2)
            break;
    }
    return found.filter((text) => !text.startsWith("0 ")).join(" ") || "0 s";
}

function ago(ms) {
    const seconds = Math.round((ms - Date.now()) / 1000);
    const size = Math.abs(seconds);
    if (size < 2)
        return "just now";
    if (size < 90)
        return relative.format(seconds, "second");
    if (size < 5400)
        return relative.format(Math.round(seconds / 60), "minute");
    if (size < 129600)
        return relative.format(Math.round(seconds / 3600), "hour");
    return relative.format(Math.round(seconds / 86400), "day");
}

// Relative, with the moment beside it when `isLong`, otherwise when pointed at.
export function time(value, isLong = false) {
    const ms = typeof value === "string" ? Date.parse(value) : value;
    if (typeof ms !== "number" || !Number.isFinite(ms) || ms <= 0)
        return "–";
    const moment = absolute.format(ms);
    return h("time", { datetime: new Date(ms).toISOString(), title: moment }, isLong ? `${ago(ms)} (${moment})` : ago(ms));
}

export const clockTime = (ms) => clock.format(ms);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function value(v) {
    if (v === null || v === undefined)
        return "–";
    if (typeof v === "boolean")
        return v ? "yes" : "no";
    if (typeof v === "object")
        return JSON.stringify(v);
    return typeof v === "number" ? count(v) : String(v);
}

// The moment of reading, for tests and screen readers: "5 messages" and not "5".
export const messages = (n) => plural(n, "message");
