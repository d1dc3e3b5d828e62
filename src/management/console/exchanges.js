// Exchanges: the list, and one of them.
import * as api from "./api.js";
import { badge, h, link } from "./dom.js";
import { confirm, fold, form, toast } from "./forms.js";
import * as f from "./format.js";
import { argumentList, facts, inVhost, listView, loadPage, place, rowLink } from "./list.js";
import { publish } from "./messages.js";
import { rangeOf, rangePicker, rangeQuery, ratePlot } from "./overview.js";
import { bindingRows, loadBindings } from "./queue.js";
import { vhostNames } from "./queues.js";
import { removeButton } from "./users.js";

const BINDINGS_SHOWN = 200;
const types = ["direct", "fanout", "topic", "headers", "x-consistent-hash", "x-modulus-hash", "x-random", "x-recent-history", "x-delayed-message"];

const features = (x) => h("span", { class: "badges" },
    x.durable ? badge("D", "durable: survives a restart") : badge("T", "transient: gone after a restart"),
    x.auto_delete && badge("AD", "auto-delete: goes with its last binding"),
    x.internal && badge("I", "internal: clients cannot publish to it"),
    x.arguments?.["alternate-exchange"] && badge("AE", `alternate exchange: ${x.arguments["alternate-exchange"]}`),
    x.policy && badge("Pol", `policy: ${x.policy}`, "policy"));

const listed = (ctx) => [
    { label: "Name", sort: "name", class: "name", cell: (x) => rowLink(x.name, place("exchanges", x.vhost, x.name === "" ? "amq.default" : x.name)) },
    ctx.vhost === null && { label: "Virtual host", sort: "vhost", class: "opt", cell: (x) => x.vhost },
    { label: "Type", sort: "type", cell: (x) => x.type },
    { label: "Features", class: "opt", cell: features },
    { label: "In", sort: "message_stats.publish_in_details.rate", class: "num", cell: (x) => f.rate(f.detailRate(x.message_stats, "publish_in")), help: "messages published to it" },
    { label: "Out", sort: "message_stats.publish_out_details.rate", class: "num", cell: (x) => f.rate(f.detailRate(x.message_stats, "publish_out")), help: "copies that went to queues" },
    { label: "In, in all", sort: "message_stats.publish_in", class: "num opt", cell: (x) => f.short(x.message_stats?.publish_in), help: "messages published to it since the broker started" },
];

function declare(ctx, data) {
    return fold("Declare an exchange", form({
        key: "declare", verb: "Declare", wide: true,
        fields: [
            { name: "vhost", label: "Virtual host", kind: "select", options: data.vhosts.map((name) => [name, name]), value: ctx.vhost ?? data.vhosts[0] },
            { name: "exchange", label: "Name", required: true },
            { name: "type", label: "Type", kind: "select", options: types.map((type) => [type, type]) },
            { name: "durable", label: "Durability", kind: "select", options: [["true", "durable"], ["false", "transient"]] },
            { name: "auto_delete", label: "Auto-delete", kind: "select", options: [["false", "no"], ["true", "yes, with its last binding"]] },
            { name: "internal", label: "Internal", kind: "select", options: [["false", "no"], ["true", "yes: only bindings lead to it"]] },
            { name: "alternate", label: "Alternate exchange", hint: "Gets what no binding is for." },
            { name: "arguments", label: "More arguments (JSON)", kind: "json" },
        ],
        act: async (values) => {
            const table = { ...values.arguments, ...(values.alternate ? { "alternate-exchange": values.alternate } : {}) };
            await api.put(api.path("exchanges", values.vhost, values.exchange), { type: values.type, durable: values.durable === "true", auto_delete: values.auto_delete === "true", internal: values.internal === "true", arguments: table });
            ctx.refresh();
            return h("p", { class: "note good" }, "Declared: ", link(values.exchange, place("exchanges", values.vhost, values.exchange)));
        },
    }), { key: "declare" });
}

export const exchanges = {
    title: () => "Exchanges",
    load: async (ctx) => {
        const [answer, vhosts] = await Promise.all([loadPage(ctx, inVhost(ctx, "exchanges"), ["name", "vhost", "type", "durable", "auto_delete", "internal", "arguments", "policy", "message_stats"]), vhostNames(ctx)]);
        return { answer, vhosts };
    },
    view: (data, ctx) => [
        listView({ ctx, answer: data.answer, columns: listed(ctx), keyOf: (x) => `${x.vhost}\n${x.name}`, what: "exchanges", empty: h("p", null, "There are no exchanges you may see. Ask for a permission on a virtual host.") }),
        data.vhosts.length > 0 ? declare(ctx, data) : null,
    ],
};

// --- one -------------------------------------------------------------------------------------------------------------------

const isDefault = (name) => name === "amq.default" || name === "";

function bind(ctx) {
    const [vhost, name] = ctx.params;
    return form({
        key: "bind", verb: "Bind",
        fields: [{ name: "kind", label: "To a", kind: "select", options: [["q", "queue"], ["e", "exchange"]] }, { name: "destination", label: "Name", required: true }, { name: "routing_key", label: "Routing key" }, { name: "arguments", label: "Arguments (JSON)", kind: "json", rows: 2 }],
        act: async (values) => {
            await api.post(api.path("bindings", vhost, "e", name, values.kind, values.destination), { routing_key: values.routing_key, arguments: values.arguments });
            await ctx.done("Bound");
        },
    });
}

function boundPart(ctx, title, key, found, side, more) {
    return fold(title, [
        found.bindings.length === 0 ? h("p", { class: "dim" }, side === "source" ? "No exchange is bound to this one." : "It leads nowhere: messages published to it are dropped or returned.") : bindingRows(ctx, found.bindings, side),
        found.count > found.bindings.length ? h("p", { class: "dim" }, `The first ${f.count(found.bindings.length)} of ${f.count(found.count)}.`) : null, more,
    ], { key, open: true, count: f.count(found.count) });
}

// What waits at a delayed exchange, in the order of the publishes.
function delayed(ctx, x, found) {
    return found === null ? null : fold("Delayed messages", found.items.length === 0 ? h("p", { class: "dim" }, "None waits.") : [
        h("div", { class: "scroll flat" }, h("table", { class: "list" },
            h("thead", null, h("tr", null, [["Due"], ["Routing key"], ["Size", "num"], ["Properties", "opt"], [""]].map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))),
            h("tbody", null, found.items.map((m) => h("tr", { key: m.id }, h("td", null, f.time(m.due)), h("td", { class: "long" }, h("code", null, m.routing_key ?? "")), h("td", { class: "num" }, f.bytes(m.payload_bytes)), h("td", { class: "opt" }, argumentList(m.properties)),
                h("td", { class: "do" }, removeButton(`Cancel the message ${m.id}`, "Cancel", async () => { await api.remove(`${api.path("exchanges", x.vhost, x.name, "delayed")}/${m.id}`); await ctx.done("Cancelled"); }))))))),
        found.total_count > found.items.length ? h("p", { class: "dim" }, `The first ${f.count(found.items.length)} of ${f.count(found.total_count)}.`) : null,
    ], { key: "delayed", open: true, count: f.count(found.total_count) });
}

export const exchange = {
    title: (ctx) => (isDefault(ctx.params[1]) ? "Default exchange" : `Exchange ${ctx.params[1]}`),
    actions: (ctx, data) => h("div", { class: "buttons" }, rangePicker(ctx), isDefault(data.exchange.name) || data.exchange.name.startsWith("amq.") ? null : h("button", {
        type: "button", class: "danger",
        onclick: () => confirm({ title: "Delete the exchange", name: data.exchange.name, verb: "Delete", text: `It goes with its ${f.plural(data.out.count, "binding")}. Messages published to it afterwards close their channel with an error.`,
            act: async () => {
                await api.remove(api.path("exchanges", ...ctx.params));
                toast("good", `Deleted: ${data.exchange.name}`);
                ctx.go("#/exchanges");
            } }),
    }, "Delete")),
    load: async (ctx) => {
        const where = api.path("exchanges", ...ctx.params);
        const none = { bindings: [], count: 0 };
        const isBound = !isDefault(ctx.params[1]); // to the default one every queue is, by its name
        const [found, out, into] = await Promise.all([api.get(where + api.query(rangeQuery(ctx)), ctx.signal), isBound ? loadBindings(`${where}/bindings/source`, BINDINGS_SHOWN, ctx.signal) : none, isBound ? loadBindings(`${where}/bindings/destination`, BINDINGS_SHOWN, ctx.signal) : none]);
        const isDelayed = found.type === "x-delayed-message" || found.policy;
        return { exchange: found, out, into, waiting: isDelayed ? await api.getIf(`${where}/delayed` + api.query({ page_size: 50 }), ctx.signal) : null };
    },
    view: ({ exchange: x, out, into, waiting }, ctx) => [
        h("div", { class: "plots two", key: "plots" }, ratePlot("rates", "Messages a second", "rate", [[x.message_stats?.publish_in_details, "In", "--c1"], [x.message_stats?.publish_out_details, "Out, copies", "--c3"]], rangeOf(ctx))),
        h("div", { class: "cards", key: "cards" }, h("section", null, h("h2", null, "What it is"), facts([
            ["Virtual host", link(x.vhost, place("vhosts", x.vhost))], ["Type", x.type], ["Features", features(x)], ["Arguments", argumentList(x.arguments)], ["Policy", x.policy ?? "none"], ["Declared by", x.user_who_performed_action],
        ])), h("section", null, h("h2", null, "Messages since the broker started"), facts([
            ["Published to it", f.count(x.message_stats?.publish_in ?? 0)], ["Copies to queues", f.count(x.message_stats?.publish_out ?? 0)],
        ]), h("p", null, link("Where would a message go?", place("route", x.vhost, x.name))))),
        h("div", { class: "folds", key: "folds" },
            isDefault(x.name) ? h("p", { class: "note" }, "Every queue is bound to the default exchange by its name. It can be neither bound nor deleted.") : [
                boundPart(ctx, "Bindings from it", "out", out, "destination", [h("p", null, link("As a picture", place("bindings", x.vhost, "exchange", x.name))), bind(ctx)]),
                boundPart(ctx, "Bindings to it", "into", into, "source"),
            ],
            delayed(ctx, x, waiting),
            publish(x.vhost, x.name, "")),
    ],
};
