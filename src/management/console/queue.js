// One queue: what it holds and does, and why it is as it is.
import * as api from "./api.js";
import { explain } from "./arguments.js";
import { badge, h, link } from "./dom.js";
import { confirm, fold, form, toast } from "./forms.js";
import * as f from "./format.js";
import { argumentList, facts, place } from "./list.js";
import { getMessages, moveMessages, publish, purgeButton } from "./messages.js";
import { messagePlots, rangeOf, rangePicker } from "./overview.js";
import { features } from "./queues.js";
import { run } from "./work.js";

const BINDINGS_SHOWN = 100;

function settingsTable(data) {
    const rows = explain(data.queue.arguments, data.policy, data.operator);
    const cell = (value, isCounted) => h("td", { class: isCounted ? "" : "dim" }, value === undefined ? "" : isCounted ? h("b", null, f.value(value)) : f.value(value));
    return h("section", { key: "settings" }, h("h2", null, "What it lives by"),
        h("p", { class: "dim" }, "Policy: ", data.queue.policy ? link(data.queue.policy, place("policies")) : "none", " · Operator policy: ", data.queue.operator_policy ? link(data.queue.operator_policy, place("policies")) : "none"),
        rows.length === 0 ? h("p", null, "No argument and no policy says anything: it keeps every message until somebody takes it.")
            : h("div", { class: "scroll flat" }, h("table", { class: "list" },
                h("thead", null, h("tr", null, ["Setting", "In effect", "From", "Argument", "Operator policy", "Policy"].map((text) => h("th", { scope: "col" }, text)))),
                h("tbody", null, rows.map((row) => h("tr", { key: row.name }, h("th", { scope: "row" }, h("code", null, row.name)), h("td", null, h("b", null, f.value(row.value))), h("td", null, row.from),
                    cell(row.argument, row.from === "argument"), cell(row.operator, row.from === "operator policy"), cell(row.policy, row.from === "policy")))))));
}

// What holds the queue, or its publishers, up; in words.
function troubles({ queue, node, reasons }) {
    const found = [];
    if (queue.state !== "running")
        found.push(`The queue is not running: ${queue.state}.`);
    if (node?.mem_alarm || node?.disk_free_alarm)
        found.push(`All publishers are blocked: the broker is short of ${node.mem_alarm ? "memory" : "disk"}.`);
    if (queue.messages_ready > 0 && queue.consumers === 0)
        found.push(`${f.plural(queue.messages_ready, "message waits", "messages wait")} and there is no consumer.`);
    if (queue.messages_ready > 0 && queue.consumers > 0 && queue.consumer_details?.every((c) => c.ack_required && c.prefetch_count > 0) && queue.messages_unacknowledged >= queue.consumer_details.reduce((sum, c) => sum + c.prefetch_count, 0))
        found.push("Every consumer holds as many unacknowledged messages as its prefetch allows: they have to acknowledge before they get more.");
    for (const reason of reasons?.recent ?? []) {
        if (reason.vhost === queue.vhost && reason.object === queue.name)
            found.push([f.time(reason.time), ": ", reason.text, reason.count > 1 ? ` (${f.count(reason.count)} times)` : ""]);
    }
    return found.length === 0 ? null : h("section", { key: "troubles" }, h("h2", null, "To know"), h("ul", { class: "plain" }, found.map((text) => h("li", null, text))));
}

function state(queue) {
    return h("section", { key: "state" }, h("h2", null, "Now"), facts([
        ["State", h("span", { class: `badge ${queue.state === "running" ? "good" : "bad"}` }, queue.state)],
        ["Ready", `${f.count(queue.messages_ready)} (${f.bytes(queue.message_bytes_ready)})`],
        ["Unacknowledged", `${f.count(queue.messages_unacknowledged)} (${f.bytes(queue.message_bytes_unacknowledged)})`],
        ["Persistent", f.count(queue.messages_persistent)],
        ["Memory", f.bytes(queue.memory)],
        ["Consumers", f.count(queue.consumers)],
        ["Idle", queue.idle_since ? ["since ", f.time(queue.idle_since, true)] : "in use"],
        ["Published in all", f.count(queue.message_stats?.publish)],
        ["Delivered in all", f.count(queue.message_stats?.deliver_get)],
        ["Redelivered in all", f.count(queue.message_stats?.redeliver)],
    ]));
}

function identity(queue) {
    return h("section", { key: "identity" }, h("h2", null, "What it is"), facts([
        ["Virtual host", link(queue.vhost, place("vhosts", queue.vhost))],
        ["Type", queue.type],
        ["Features", features(queue)],
        ["Arguments", argumentList(queue.arguments)],
        ["Declared by", queue.user_who_performed_action],
        ["Node", h("code", null, queue.node)],
        queue.members ? ["Members", queue.members.join(", ")] : null,
        ["Worker", queue.worker, "the broker's thread that owns it"],
    ]));
}

function consumers(queue) {
    const all = queue.consumer_details ?? [];
    return fold("Consumers", all.length === 0 ? h("p", { class: "dim" }, "Nobody consumes from this queue.") : h("div", { class: "scroll flat" }, h("table", { class: "list" },
        h("thead", null, h("tr", null, ["Channel", "Tag", "Acknowledges", "Prefetch", "State", "Arguments"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", null, all.slice(0, 200).map((c) => h("tr", { key: `${c.channel_details.name}${c.consumer_tag}` },
            h("td", null, link(c.channel_details.name, place("channels", c.channel_details.name))), h("td", { class: "long" }, h("code", null, c.consumer_tag)),
            h("td", null, c.ack_required ? "yes" : "no"), h("td", { class: "num" }, c.prefetch_count === 0 ? "no limit" : f.count(c.prefetch_count)),
            h("td", null, badge(c.activity_status, c.active ? "gets messages" : "waits for its turn", c.active ? "good" : ""), c.exclusive ? badge("exclusive", "nobody else may consume") : null), h("td", null, argumentList(c.arguments))))))), { key: "consumers", open: true, count: f.count(all.length) });
}

export async function removeBinding(ctx, b) {
    await api.remove(api.path("bindings", b.vhost, "e", b.source === "" ? "amq.default" : b.source, b.destination_type === "queue" ? "q" : "e", b.destination, b.properties_key));
    toast("good", "Unbound");
    await ctx.refresh();
}

export function bindingRows(ctx, bindings, side) {
    return h("div", { class: "scroll flat" }, h("table", { class: "list" },
        h("thead", null, h("tr", null, [side === "source" ? "From" : "To", "Routing key", "Arguments", ""].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", null, bindings.map((b) => h("tr", { key: `${b.source}\n${b.destination_type}\n${b.destination}\n${b.properties_key}` },
            h("td", { class: "name" }, side === "source" ? (b.source === "" ? h("span", { class: "dim" }, "(default exchange)") : link(b.source, place("exchanges", b.vhost, b.source), { class: "row" }))
                : link(b.destination, place(b.destination_type === "queue" ? "queues" : "exchanges", b.vhost, b.destination), { class: "row" })),
            h("td", { class: "long" }, h("code", null, b.routing_key)), h("td", null, argumentList(b.arguments)),
            h("td", { class: "do" }, b.source === "" ? null : h("button", { type: "button", class: "danger", "aria-label": `Unbind ${b.source} from ${b.destination}, key ${b.routing_key}`, onclick: () => removeBinding(ctx, b).catch((error) => toast("bad", error.message)) }, "Unbind")))))));
}

function bindings(ctx, data) {
    const [vhost, name] = ctx.params;
    return fold("Bindings", [
        data.bindings.length === 0 ? h("p", { class: "dim" }, "None.") : bindingRows(ctx, data.bindings, "source"),
        data.bindingCount > data.bindings.length ? h("p", { class: "dim" }, `The first ${f.count(data.bindings.length)} of ${f.count(data.bindingCount)}.`) : null,
        h("p", null, link("As a picture", place("bindings", vhost, "queue", name))),
        form({ key: "bind", verb: "Bind", fields: [{ name: "source", label: "From exchange", required: true }, { name: "routing_key", label: "Routing key" }, { name: "arguments", label: "Arguments (JSON)", kind: "json", rows: 2 }],
            act: async (values) => {
                await api.post(api.path("bindings", vhost, "e", values.source, "q", name), { routing_key: values.routing_key, arguments: values.arguments });
                await ctx.done("Bound");
            } }),
    ], { key: "bindings", open: true, count: f.count(data.bindingCount) });
}

export async function loadBindings(where, limit, signal) {
    const { json, headers } = await api.getFull(where + api.query({ limit }), signal);
    return { bindings: json, count: Number(headers.get("X-Total-Count") ?? json.length) };
}

export const queue = {
    title: (ctx) => `Queue ${ctx.params[1]}`,
    actions: (ctx, data) => h("div", { class: "buttons" }, rangePicker(ctx), purgeButton(ctx, ...ctx.params), h("button", {
        type: "button", class: "danger",
        onclick: () => confirm({
            title: "Delete the queue", name: ctx.params[1], verb: "Delete",
            text: `It goes with its bindings and ${data.queue.messages > 0 ? `its ${f.plural(data.queue.messages, "message")}` : "no message"}. ${data.queue.consumers > 0 ? `Its ${f.plural(data.queue.consumers, "consumer is", "consumers are")} cancelled.` : ""}`,
            act: async () => {
                await run(`Delete queue ${ctx.params[1]}`, () => api.remove(api.path("queues", ...ctx.params)));
                toast("good", `Deleted: ${ctx.params[1]}`);
                ctx.go("#/queues");
            },
        }),
    }, "Delete")),
    load: async (ctx) => {
        const [vhost, name] = ctx.params;
        const where = api.path("queues", vhost, name);
        const [age, step] = rangeOf(ctx);
        const isMonitor = api.isMonitor();
        const [found, bound, nodes, reasons] = await Promise.all([
            api.get(where + api.query({ lengths_age: age, lengths_incr: step, msg_rates_age: age, msg_rates_incr: step }), ctx.signal),
            loadBindings(`${where}/bindings`, BINDINGS_SHOWN, ctx.signal),
            isMonitor ? api.getIf("nodes", ctx.signal) : null,
            isMonitor ? api.getIf("reasons" + api.query({ vhost }), ctx.signal) : null,
        ]);
        const [policy, operator] = await Promise.all([
            found.policy ? api.getIf(api.path("policies", vhost, found.policy), ctx.signal) : null,
            found.operator_policy ? api.getIf(api.path("operator-policies", vhost, found.operator_policy), ctx.signal) : null,
        ]);
        return { queue: found, bindings: bound.bindings, bindingCount: bound.count, node: nodes?.[0], reasons, policy, operator };
    },
    view: (data, ctx) => [
        h("div", { class: "plots two", key: "plots" }, messagePlots("queue", data.queue, data.queue.message_stats, rangeOf(ctx))),
        troubles(data),
        h("div", { class: "cards", key: "cards" }, state(data.queue), identity(data.queue)),
        settingsTable(data),
        h("div", { class: "folds", key: "folds" },
            consumers(data.queue), bindings(ctx, data), publish(data.queue.vhost, "", data.queue.name), getMessages(ctx, ...ctx.params), moveMessages(ctx, ...ctx.params)),
    ],
};
