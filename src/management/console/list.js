// Lists: tables of which the server sends one page at a time, ordered and filtered there; the address holds page, order and filter.
import * as api from "./api.js";
import { h, link } from "./dom.js";
import * as f from "./format.js";

const SIZES = [25, 50, 100, 250, 500];
const TYPING_MS = 300;

// --- asking ------------------------------------------------------------------------------------------------------------

export async function loadPage(ctx, where, columns, more = {}) {
    const { query } = ctx;
    const parameters = {
        page: query.get("page") ?? 1,
        page_size: query.get("size") ?? 100,
        name: query.get("name"),
        use_regex: query.get("regex") ? "true" : null,
        sort: query.get("sort"),
        sort_reverse: query.get("down") ? "true" : null,
        columns: columns.join(","),
        ...more,
    };
    try {
        return await api.get(where + api.query(parameters), ctx.signal);
    } catch (error) {
        if (error.status !== 400 || parameters.page === 1 || !error.message.startsWith("Page out of range"))
            throw error;
        return api.get(where + api.query({ ...parameters, page: 1 }), ctx.signal); // the list has become shorter
    }
}

// The virtual host chosen in the head, or all.
export const inVhost = (ctx, word) => (ctx.vhost === null ? word : `${word}/${api.path(ctx.vhost)}`);

// --- showing -----------------------------------------------------------------------------------------------------------

function heading(ctx, column) {
    const properties = { scope: "col", class: column.class, title: column.help };
    if (!column.sort)
        return h("th", properties, column.label);
    const isSorted = (ctx.query.get("sort") ?? "name") === column.sort;
    const isDown = ctx.query.get("down") === "1";
    const first = column.class?.includes("num") ? "1" : null; // of numbers the largest matter
    const next = !isSorted ? { sort: column.sort, down: first } : { sort: column.sort, down: isDown ? null : "1" };
    return h("th", { ...properties, "aria-sort": isSorted ? (isDown ? "descending" : "ascending") : null },
        h("button", { type: "button", onclick: () => ctx.set({ ...next, page: null }) }, column.label, h("i", { class: isSorted ? (isDown ? "down" : "up") : "", "aria-hidden": "true" })));
}

export function table({ ctx, columns, rows, keyOf, caption, empty, class: kind = "list" }) {
    const shown = columns.filter((column) => column);
    if (rows.length === 0)
        return h("div", { class: "empty" }, empty);
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", { class: kind },
        h("caption", { class: "hidden" }, caption),
        h("thead", null, h("tr", null, shown.map((column) => heading(ctx, column)))),
        h("tbody", null, rows.map((row) => h("tr", { key: keyOf(row) }, shown.map((column) => h("td", { class: column.class }, column.cell(row))))))));
}

function pages(ctx, answer) {
    const { page, page_count: last, filtered_count: filtered, total_count: total } = answer;
    const go = (to) => ctx.set({ page: to === 1 ? null : to });
    return h("div", { class: "pages", key: "pages" },
        h("span", null, filtered === total ? f.count(total) : `${f.count(filtered)} of ${f.count(total)}`),
        h("button", { type: "button", class: "previous", disabled: page <= 1, "aria-label": "Previous page", onclick: () => go(page - 1) }, "‹"),
        h("span", null, `page ${f.count(Math.min(page, Math.max(1, last)))} of ${f.count(Math.max(1, last))}`),
        h("button", { type: "button", class: "next", disabled: page >= last, "aria-label": "Next page", onclick: () => go(page + 1) }, "›"),
        h("select", { "aria-label": "Rows a page", value: String(ctx.query.get("size") ?? 100), onchange: (event) => ctx.set({ size: event.target.value === "100" ? null : event.target.value, page: null }) },
            SIZES.map((size) => h("option", { value: size, selected: String(size) === (ctx.query.get("size") ?? "100") }, `${size} rows`))));
}

function toolbar(ctx, what) {
    let timer = 0;
    const find = h("input", {
        type: "search", "aria-label": `Find ${what} by name`, placeholder: "Find by name  (/)", value: ctx.query.get("name") ?? "", autocomplete: "off", spellcheck: "false",
        oninput: () => {
            clearTimeout(timer);
            timer = setTimeout(() => ctx.set({ name: find.value, page: null }, true), TYPING_MS);
        },
    });
    const regex = h("input", { type: "checkbox", checked: ctx.query.get("regex") === "1", onchange: () => ctx.set({ regex: regex.checked, page: null }, true) });
    return h("form", { class: "find", key: "find", keep: true, role: "search", onsubmit: (event) => { event.preventDefault(); ctx.set({ name: find.value, page: null }, true); } },
        find, h("label", null, regex, " regex"));
}

// The whole of a list page: filter, pages, table.
export function listView({ ctx, answer, columns, keyOf, what, empty }) {
    const isFiltered = ctx.query.get("name");
    return [
        h("div", { class: "toolbar", key: "toolbar" }, toolbar(ctx, what), pages(ctx, answer)),
        table({ ctx, columns, rows: answer.items, keyOf, caption: what,
            empty: isFiltered ? h("p", null, `No ${what} match “${isFiltered}”.`) : empty }),
    ];
}

// --- cells -------------------------------------------------------------------------------------------------------------

export const rowLink = (text, hash) => link(text === "" ? "(default)" : text, hash, { class: "row", title: text });
export const place = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

// Facts about one thing, two columns.
export function facts(rows) {
    return h("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value, hint]) => h("div", null, h("dt", { title: hint }, name), h("dd", null, value ?? "–"))));
}

export const argumentList = (table) => {
    const entries = Object.entries(table ?? {});
    return entries.length === 0 ? "–" : h("span", { class: "arguments" }, entries.map(([name, value]) => h("code", { key: name }, `${name}=${f.value(value)}`)));
};
