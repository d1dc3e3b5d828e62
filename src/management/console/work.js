// Work that takes a while: what this tab has asked for, how far it is, how it ended.
import * as api from "./api.js";
import { h, link, note } from "./dom.js";
import * as f from "./format.js";

const KEPT = 50;
const all = [];
let last = 0;

// Runs act(report); report(text) says how far it is. What it throws is kept as the outcome, and thrown on.
export async function run(text, act) {
    const item = { id: ++last, text, started: Date.now(), state: "running", progress: "" };
    all.unshift(item);
    all.length = Math.min(all.length, KEPT);
    try {
        const result = await act((progress) => { item.progress = progress; });
        item.state = "done";
        return result;
    } catch (error) {
        item.state = "failed";
        item.progress = error.message;
        throw error;
    } finally {
        item.ended = Date.now();
    }
}

// --- imports, of which the broker itself tells ---------------------------------------------------------------------------

const sum = (sections, name) => Object.values(sections).reduce((all, one) => all + (one[name] ?? 0), 0);

// {section: {elements, changes, created, …}} as a table; anything else as JSON.
function sections(table) {
    const rows = Object.entries(table ?? {}).filter(([, value]) => typeof value === "object" && value !== null && !Array.isArray(value));
    const heads = [...new Set(rows.flatMap(([, value]) => Object.keys(value).filter((name) => typeof value[name] === "number")))];
    if (rows.length === 0 || heads.length === 0)
        return h("pre", { class: "payload" }, JSON.stringify(table, null, 2));
    return h("div", { class: "scroll flat" }, h("table", { class: "list" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Section"), heads.map((name) => h("th", { scope: "col", class: "num" }, name)))),
        h("tbody", null, rows.map(([name, value]) => h("tr", { key: name }, h("td", null, name), heads.map((head) => h("td", { class: "num" }, f.count(value[head] ?? 0))))))));
}

// One import, running or done, as the broker tells of it.
function importState(one) {
    const done = sum(one.sections ?? {}, "done");
    const all = sum(one.sections ?? {}, "changes");
    return h("section", { class: "flat" }, h("h3", null, `${one.source}${one.user ? `, by ${one.user}` : ""}: ${one.state}`),
        h("p", null, one.section ? `${one.section}; ` : "", all > 0 ? `${f.count(done)} of ${f.plural(all, "change")}` : "", one.milliseconds ? `, ${f.duration(one.milliseconds)}` : ""),
        one.reason ? note("bad", f.value(one.reason)) : null, sections(one.sections));
}

export const activity = {
    title: () => "Activity",
    every: 1000,
    load: async (ctx) => ({ items: all.map((item) => ({ ...item })), imports: api.isAdministrator() ? await api.getIf("imports", ctx.signal) : null }),
    view: ({ items, imports }) => [
        imports && (imports.imports.length > 0 || imports.last) ? h("section", { key: "imports" }, h("h2", null, "Imports of definitions, by anybody"), imports.imports.map(importState), imports.last ? importState(imports.last) : null) : null,
        h("p", { class: "dim", key: "text" }, "Purges, moves, imports and deletes that were begun in this tab. A broker that is still recovering its messages does not answer here yet; its log says how far it is."),
        items.length === 0
            ? h("div", { class: "empty" }, h("p", null, "Nothing was begun yet. Purge, move or delete from the page of a ", link("queue", "#/queues"), ", import from ", link("definitions", "#/definitions"), "."))
            : h("div", { class: "scroll" }, h("table", { class: "list" },
                h("thead", null, h("tr", null, ["What", "State", "Progress", "Begun", "Took"].map((text) => h("th", { scope: "col" }, text)))),
                h("tbody", null, items.map((item) => h("tr", { key: item.id }, h("td", { class: "long" }, item.text),
                    h("td", null, h("span", { class: `badge ${item.state === "done" ? "good" : item.state === "failed" ? "bad" : "strong"}` }, item.state)),
                    h("td", { class: "long" }, item.progress || "–"), h("td", null, f.time(item.started)), h("td", { class: "num" }, f.duration((item.ended ?? Date.now()) - item.started))))))),
    ],
};
