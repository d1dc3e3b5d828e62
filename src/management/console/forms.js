// Dialogs, forms and short messages.
import { button, h, replace } from "./dom.js";
import { list, places } from "./keys.js";

// --- short messages ----------------------------------------------------------------------------------------------------

const SHOWN_MS = 6000;

export function toast(kind, text) {
    const node = h("div", { class: `toast ${kind}` }, h("span", null, text), button("×", () => node.remove(), { class: "icon", "aria-label": "Dismiss" }));
    document.getElementById("toasts").append(node);
    setTimeout(() => node.remove(), SHOWN_MS);
}

// --- dialogs -----------------------------------------------------------------------------------------------------------

let last = 0;

export function dialog(title, ...content) {
    const id = `dialog-${++last}`;
    const before = document.activeElement;
    const node = h("dialog", { "aria-labelledby": id, onclose: () => { node.remove(); before?.isConnected && before.focus(); } },
        h("div", { class: "top" }, h("h2", { id }, title), button("×", () => node.close(), { class: "icon", "aria-label": "Close" })), content);
    document.body.append(node);
    node.showModal();
    return node;
}

// Asks before something that cannot be taken back; `name` has to be typed.
export function confirm({ title, text, name, verb, act }) {
    const problem = h("p", { class: "note bad", role: "alert", hidden: true });
    const typed = h("input", { id: "typed-name", autocomplete: "off", autocapitalize: "none", spellcheck: "false", oninput: () => { go.disabled = typed.value !== name; } });
    const go = h("button", { type: "submit", class: "danger", disabled: true }, verb);
    const node = dialog(title, h("form", {
        onsubmit: async (event) => {
            event.preventDefault();
            if (typed.value !== name)
                return;
            go.disabled = true;
            try {
                await act();
                node.close();
            } catch (error) {
                replace(problem, error.message);
                problem.hidden = false;
                go.disabled = false;
            }
        },
    }, h("p", null, text), h("label", { for: "typed-name" }, "Type the name to go on: ", h("code", { class: "name" }, name)), typed, problem,
    h("div", { class: "actions" }, button("Cancel", () => node.close()), go)));
    typed.focus();
}

export function help() {
    if (document.querySelector("dialog[open]"))
        return;
    const rows = [...list, ...Object.entries(places).map(([key, [, text]]) => [`g ${key}`, `to: ${text}`])];
    dialog("Keys", h("table", { class: "facts" }, h("tbody", null, rows.map(([key, text]) => h("tr", null, h("th", { scope: "row" }, key.split(" ").filter(Boolean).map((one) => [h("kbd", null, one), " "])), h("td", null, text))))));
}

// --- forms -------------------------------------------------------------------------------------------------------------

let ids = 0;

// One labelled control. kinds: text, number, password, select (options: [value, text]), check, area, json.
function control(field) {
    const id = `field-${++ids}`;
    const shared = { id, name: field.name, required: field.required, "aria-describedby": field.hint ? `${id}-hint` : null };
    const wide = field.kind === "area" || field.kind === "json" || field.wide;
    let input;
    if (field.kind === "select")
        input = h("select", shared, field.options.map(([value, text]) => h("option", { value, selected: value === field.value }, text)));
    else if (field.kind === "area" || field.kind === "json")
        input = h("textarea", { ...shared, rows: field.rows ?? 3, spellcheck: "false", value: field.value ?? "" });
    else if (field.kind === "check")
        input = h("input", { ...shared, type: "checkbox", checked: field.value === true });
    else
        input = h("input", { ...shared, type: field.kind === "number" ? "text" : field.kind ?? "text", inputmode: field.kind === "number" ? "numeric" : null, autocomplete: field.kind === "password" ? "new-password" : "off",
            autocapitalize: "none", spellcheck: "false", placeholder: field.placeholder, value: field.value ?? "", list: field.list });
    const hint = field.hint ? h("small", { id: `${id}-hint` }, field.hint) : null;
    if (field.kind === "check")
        return h("div", { class: "field check" }, h("label", { for: id }, input, " ", field.label), hint);
    return h("div", { class: wide ? "field wide" : "field" }, h("label", { for: id }, field.label), input, hint);
}

function read(form, fields) {
    const found = {};
    for (const field of fields) {
        const input = form.elements[field.name];
        const text = input.value;
        if (field.kind === "check") {
            found[field.name] = input.checked;
        } else if (field.kind === "number") {
            if (text.trim() !== "" && !/^-?\d+$/.test(text.trim()))
                throw Object.assign(new Error(`${field.label}: “${text}” is not a whole number.`), { input });
            if (text.trim() !== "")
                found[field.name] = Number(text);
        } else if (field.kind === "json") {
            try {
                found[field.name] = text.trim() === "" ? {} : JSON.parse(text);
            } catch {
                throw Object.assign(new Error(`${field.label} is not JSON. For example: {"x-max-length": 1000}`), { input });
            }
            if (typeof found[field.name] !== "object" || found[field.name] === null || Array.isArray(found[field.name]))
                throw Object.assign(new Error(`${field.label} has to be an object, such as {"key": "value"}.`), { input });
        } else {
            found[field.name] = text;
        }
    }
    return found;
}

// A form that stays as it is while the page is updated. act(values) may give a text, or a node, that is shown below.
export function form({ key, fields, verb, act, kind = "primary", keepsText = false, wide = false }) {
    const problem = h("p", { class: "note bad", role: "alert", hidden: true });
    const result = h("div", { class: "result", role: "status" });
    const submit = h("button", { type: "submit", class: kind }, verb);
    return h("form", {
        key: `form ${key}`, keep: true, class: wide ? "grid wide" : "grid", novalidate: true,
        onsubmit: async (event) => {
            event.preventDefault();
            const node = event.target;
            problem.hidden = true;
            for (const input of node.querySelectorAll("[aria-invalid]"))
                input.removeAttribute("aria-invalid");
            try {
                const values = read(node, fields);
                const missing = fields.find((field) => field.required && values[field.name] === "");
                if (missing)
                    throw Object.assign(new Error(`${missing.label} is missing.`), { input: node.elements[missing.name] });
                submit.disabled = true;
                const answer = await act(values, node);
                replace(result, answer ?? "");
                if (!keepsText)
                    node.reset();
            } catch (error) {
                replace(result);
                replace(problem, error.message);
                problem.hidden = false;
                error.input?.setAttribute("aria-invalid", "true");
                error.input?.focus();
            }
            submit.disabled = false;
        },
    }, fields.map(control), h("div", { class: "actions" }, submit), problem, result);
}

// A part of a page that is folded away until it is wanted.
export function fold(title, content, { key = title, open = false, count = null } = {}) {
    return h("details", { key: `fold ${key}`, open, class: "fold" }, h("summary", null, h("h2", null, title), count === null ? null : h("span", { class: "count" }, count)), h("div", { class: "inside" }, content));
}

export function formDialog(title, properties) {
    const node = dialog(title, form({
        ...properties, key: "dialog",
        act: async (values) => {
            await properties.act(values);
            node.close();
        },
    }));
    node.querySelector("input, select, textarea")?.focus();
}
