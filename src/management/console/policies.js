// Policies and operator policies: what queues and exchanges live by, chosen by pattern.
import * as api from "./api.js";
import { button, h, link } from "./dom.js";
import { confirm, fold, form, formDialog, toast } from "./forms.js";
import * as f from "./format.js";
import { argumentList, inVhost } from "./list.js";
import { vhostNames } from "./queues.js";

const SHOWN = 500;
const kinds = { policies: "policy", "operator-policies": "operator policy" };
const applyTo = ["all", "queues", "classic_queues", "quorum_queues", "streams", "exchanges"];

const fields = (vhosts, ctx, policy) => [
    ...(policy ? [] : [{ name: "vhost", label: "Virtual host", kind: "select", options: vhosts.map((name) => [name, name]), value: ctx.vhost ?? vhosts[0] }, { name: "policy", label: "Name", required: true }]),
    { name: "pattern", label: "Pattern", required: true, value: policy?.pattern, placeholder: "^orders\\.", hint: "Regular expression; matches anywhere in a name, so begin with ^ and end with $ to mean all of it." },
    { name: "apply-to", label: "For", kind: "select", options: applyTo.map((word) => [word, word.replace("_", " ")]), value: policy?.["apply-to"] ?? "queues" },
    { name: "priority", label: "Priority", kind: "number", value: String(policy?.priority ?? 0), hint: "The highest that matches counts." },
    { name: "definition", label: "Definition (JSON)", kind: "json", rows: 4, value: policy ? JSON.stringify(policy.definition, null, 2) : "", required: true, hint: "For example {\"max-length\": 10000, \"overflow\": \"reject-publish\"}" },
];

const body = (values) => ({ pattern: values.pattern, "apply-to": values["apply-to"], priority: values.priority ?? 0, definition: values.definition });

function row(ctx, word, policy, mayChange) {
    const where = api.path(word, policy.vhost, policy.name);
    return h("tr", { key: `${policy.vhost}\n${policy.name}` },
        h("td", { class: "name" }, h("span", { title: policy.name }, policy.name)), h("td", { class: "opt" }, policy.vhost), h("td", { class: "long" }, h("code", null, policy.pattern)), h("td", { class: "opt" }, policy["apply-to"].replace("_", " ")),
        h("td", { class: "num" }, f.count(policy.priority)), h("td", { class: "definition" }, argumentList(policy.definition)),
        h("td", { class: "do" }, mayChange ? [
            button("Change", () => formDialog(`The ${kinds[word]} ${policy.name}`, { verb: "Change", fields: fields([], ctx, policy), act: async (values) => { await api.put(where, body(values)); await ctx.done("Changed, and in effect everywhere"); } })), " ",
            button("Delete", () => confirm({ title: `Delete the ${kinds[word]}`, name: policy.name, verb: "Delete", text: "The queues and exchanges that it matches live by the next one that matches, at once.", act: async () => { await api.remove(where); toast("good", `Deleted: ${policy.name}`); ctx.refresh(); } }), { class: "danger" }),
        ] : null));
}

function part(ctx, word, title, found, vhosts, mayChange, text) {
    return h("section", { key: word }, h("h2", null, title), h("p", { class: "dim" }, text),
        found.items.length === 0 ? h("p", null, "There is none yet.") : h("div", { class: "scroll flat" }, h("table", { class: "list" },
            h("thead", null, h("tr", null, [["Name"], ["Virtual host", "opt"], ["Pattern"], ["For", "opt"], ["Priority", "num"], ["Definition"], [""]].map(([label, kind]) => h("th", { scope: "col", class: kind }, label)))),
            h("tbody", null, found.items.map((policy) => row(ctx, word, policy, mayChange))))),
        found.count > found.items.length ? h("p", { class: "dim" }, `The first ${f.count(found.items.length)} of ${f.count(found.count)}; choose a virtual host to see fewer.`) : null,
        mayChange && vhosts.length > 0 ? fold(`Add ${word === "policies" ? "a policy" : "an operator policy"}`, form({
            key: `add ${word}`, verb: "Add", wide: true, fields: fields(vhosts, ctx),
            act: async (values) => { await api.put(api.path(word, values.vhost, values.policy), body(values)); await ctx.done(`Added, and in effect everywhere: ${values.policy}`); },
        }), { key: `add ${word}` }) : null);
}

async function load(ctx, word) {
    const { json, headers } = await api.getFull(inVhost(ctx, word) + api.query({ limit: SHOWN }), ctx.signal);
    return { items: json, count: Number(headers.get("X-Total-Count") ?? json.length) };
}

export const policies = {
    title: () => "Policies",
    load: async (ctx) => {
        const [own, operator, vhosts] = await Promise.all([load(ctx, "policies"), load(ctx, "operator-policies"), vhostNames(ctx)]);
        return { own, operator, vhosts };
    },
    view: (data, ctx) => [
        part(ctx, "policies", "Policies", data.own, data.vhosts, api.isPolicymaker(), ["What queues and exchanges live by, beside their arguments. The page of a ", link("queue", "#/queues"), " says which setting comes from where."]),
        part(ctx, "operator-policies", "Operator policies", data.operator, data.vhosts, api.isAdministrator(), "Limits that no argument and no policy can loosen: of numbers the smallest counts."),
    ],
};
