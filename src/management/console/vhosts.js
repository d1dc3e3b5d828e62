// Virtual hosts: the list, and one with permissions and limits.
import * as api from "./api.js";
import { button, h, link } from "./dom.js";
import { confirm, fold, form, formDialog, toast } from "./forms.js";
import * as f from "./format.js";
import { facts, listView, loadPage, place, rowLink } from "./list.js";
import { messagePlots, rangeOf, rangePicker } from "./overview.js";
import { limits, limitTexts } from "./users.js";
import { run } from "./work.js";

const changed = () => document.dispatchEvent(new Event("leveret:vhosts")); // the choice in the head

const fields = (vhost) => [
    { name: "description", label: "Description", value: vhost?.description },
    { name: "tags", label: "Tags", value: vhost?.tags?.join(","), hint: "Separated by commas." },
    { name: "default_queue_type", label: "Default type of queues", kind: "select", value: vhost?.default_queue_type, options: [["", "classic, as nothing is set"], ["classic", "classic"], ["quorum", "quorum"]] },
];

function bodyOf(values) {
    const body = { description: values.description, tags: values.tags };
    if (values.default_queue_type)
        body.default_queue_type = values.default_queue_type;
    return body;
}

const listed = [
    { label: "Name", sort: "name", class: "name", cell: (v) => rowLink(v.name, place("vhosts", v.name)) },
    { label: "Description", class: "long opt", cell: (v) => v.description || "–" },
    { label: "Messages", sort: "messages", class: "num", cell: (v) => f.short(v.messages) },
    { label: "Published", sort: "message_stats.publish_details.rate", class: "num opt", cell: (v) => f.rate(f.detailRate(v.message_stats, "publish")) },
    { label: "Delivered", sort: "message_stats.deliver_get_details.rate", class: "num opt", cell: (v) => f.rate(f.detailRate(v.message_stats, "deliver_get")) },
    { label: "Limits", class: "opt2", cell: (v) => limitTexts(v.limits) || "–" },
    { label: "State", class: "opt", cell: (v) => Object.values(v.cluster_state ?? {}).join(", ") },
];

export const vhosts = {
    title: () => "Virtual hosts",
    load: async (ctx) => ({ answer: await loadPage(ctx, "vhosts", ["name", "description", "messages", "message_stats.publish_details.rate", "message_stats.deliver_get_details.rate", "limits", "cluster_state"]) }),
    view: (data, ctx) => [
        listView({ ctx, answer: data.answer, columns: listed, keyOf: (v) => v.name, what: "virtual hosts", empty: h("p", null, "There is none that you may use.") }),
        api.isAdministrator() ? fold("Add a virtual host", form({
            key: "add", verb: "Add", fields: [{ name: "vhost", label: "Name", required: true }, ...fields()],
            act: async ({ vhost, ...values }) => {
                await api.put(api.path("vhosts", vhost), bodyOf(values));
                changed();
                ctx.refresh();
                return h("p", { class: "note good" }, "Added: ", link(vhost, place("vhosts", vhost)), ". Users need a permission to use it.");
            },
        }), { key: "add" }) : null,
    ],
};

export const vhost = {
    title: (ctx) => `Virtual host ${ctx.params[0]}`,
    actions: (ctx, data) => h("div", { class: "buttons" }, rangePicker(ctx),
        button("Change", () => formDialog(`Virtual host ${ctx.params[0]}`, { verb: "Change", fields: fields(data.vhost), act: async (values) => { await api.put(api.path("vhosts", ctx.params[0]), bodyOf(values)); await ctx.done("Changed"); } })),
        button("Delete", () => confirm({
            title: "Delete the virtual host", name: ctx.params[0], verb: "Delete", text: `Everything in it goes: exchanges, queues with their ${f.plural(data.vhost.messages, "message")}, permissions, policies. Its connections are closed.`,
            act: async () => { await run(`Delete virtual host ${ctx.params[0]}`, () => api.remove(api.path("vhosts", ctx.params[0]))); changed(); toast("good", `Deleted: ${ctx.params[0]}`); ctx.go("#/vhosts"); },
        }), { class: "danger" })),
    load: async (ctx) => {
        const where = api.path("vhosts", ctx.params[0]);
        const [age, step] = rangeOf(ctx);
        const [found, permissions] = await Promise.all([api.get(where + api.query({ lengths_age: age, lengths_incr: step, msg_rates_age: age, msg_rates_incr: step }), ctx.signal), api.getIf(`${where}/permissions` + api.query({ limit: 500 }), ctx.signal)]);
        return { vhost: found, permissions: permissions ?? [] };
    },
    view: ({ vhost: v, permissions }, ctx) => [
        h("div", { class: "plots two", key: "plots" }, messagePlots("vhost", v, v.message_stats, rangeOf(ctx))),
        h("section", { key: "facts" }, facts([["Description", v.description || "–"], ["Tags", v.tags.join(", ") || "–"], ["Default type of queues", v.default_queue_type === "undefined" ? "not set" : v.default_queue_type],
            ["Messages", `${f.count(v.messages)} (${f.count(v.messages_ready)} ready)`], ["Tracing", v.tracing ? "on: every message is copied to amq.rabbitmq.trace" : "off"], ["State", Object.entries(v.cluster_state ?? {}).map(([node, text]) => `${node}: ${text}`).join(", ")]])),
        h("div", { class: "folds", key: "folds" },
            fold("Users with a permission", permissions.length === 0 ? h("p", { class: "note" }, "No user may use it yet. Give a permission on the page of a ", link("user", "#/users"), ".")
                : h("ul", { class: "plain" }, permissions.map((p) => h("li", { key: p.user }, link(p.user, place("users", p.user)), h("span", { class: "dim" }, " configure "), h("code", null, p.configure), h("span", { class: "dim" }, " write "), h("code", null, p.write), h("span", { class: "dim" }, " read "), h("code", null, p.read)))), { key: "permissions", open: true, count: f.count(permissions.length) }),
            limits(ctx, api.path("vhost-limits", ctx.params[0]), v.limits, [["max-connections", "max-connections"], ["max-queues", "max-queues"], ["max-publish-rate", "max-publish-rate (messages a second)"], ["max-publish-bytes-rate", "max-publish-bytes-rate (bytes a second)"], ["max-messages", "max-messages (held by its queues)"], ["max-memory-bytes", "max-memory-bytes (of messages in memory)"]])),
    ],
};
