// The list of queues.
import * as api from "./api.js";
import { argumentFields, argumentsOf } from "./arguments.js";
import { badge, h, link } from "./dom.js";
import { form, fold } from "./forms.js";
import * as f from "./format.js";
import { inVhost, listView, loadPage, place, rowLink } from "./list.js";

const columns = ["name", "vhost", "type", "durable", "auto_delete", "exclusive", "arguments", "policy", "operator_policy", "state", "messages", "messages_ready", "messages_unacknowledged", "consumers", "memory",
    "message_stats.publish_details.rate", "message_stats.deliver_get_details.rate", "message_stats.ack_details.rate"];

const marks = [["x-message-ttl", "TTL", "message time to live"], ["x-expires", "Exp", "expires unused"], ["x-max-length", "Lim", "longest, in messages"], ["x-max-length-bytes", "LimB", "largest, in bytes"],
    ["x-overflow", "Ovfl", "overflow"], ["x-dead-letter-exchange", "DLX", "dead-letter exchange"], ["x-dead-letter-routing-key", "DLK", "dead-letter routing key"], ["x-max-priority", "Pri", "priorities up to"],
    ["x-single-active-consumer", "SAC", "single active consumer"], ["x-delivery-limit", "DL", "delivery limit"], ["x-durability", "Dur", "confirmed when"]];

export function features(queue) {
    const table = queue.arguments ?? {};
    return h("span", { class: "badges" },
        queue.type !== "classic" && badge(queue.type, "type of the queue", "strong"),
        queue.durable ? badge("D", "durable: survives a restart") : badge("T", "transient: gone after a restart"),
        queue.auto_delete && badge("AD", "auto-delete: goes with its last consumer"),
        queue.exclusive && badge("Excl", "exclusive: its connection's alone"),
        marks.filter(([name]) => table[name] !== undefined).map(([name, text, title]) => badge(text, `${title}: ${f.value(table[name])}`)),
        queue.policy && badge("Pol", `policy: ${queue.policy}`, "policy"),
        queue.operator_policy && badge("Op", `operator policy: ${queue.operator_policy}`, "policy"));
}

const listed = (ctx) => [
    { label: "Name", sort: "name", class: "name", cell: (q) => rowLink(q.name, place("queues", q.vhost, q.name)) },
    ctx.vhost === null && { label: "Virtual host", sort: "vhost", class: "opt", cell: (q) => q.vhost },
    { label: "Features", class: "opt", cell: features },
    { label: "Ready", sort: "messages_ready", class: "num", cell: (q) => f.short(q.messages_ready), help: "wait for a consumer" },
    { label: "Unacked", sort: "messages_unacknowledged", class: "num opt", cell: (q) => f.short(q.messages_unacknowledged), help: "are with a consumer" },
    { label: "Total", sort: "messages", class: "num", cell: (q) => f.short(q.messages) },
    { label: "In", sort: "message_stats.publish_details.rate", class: "num opt2", cell: (q) => f.rate(q.message_stats?.publish_details?.rate) },
    { label: "Out", sort: "message_stats.deliver_get_details.rate", class: "num opt2", cell: (q) => f.rate(q.message_stats?.deliver_get_details?.rate) },
    { label: "Acks", sort: "message_stats.ack_details.rate", class: "num opt2", cell: (q) => f.rate(q.message_stats?.ack_details?.rate) },
    { label: "Consumers", sort: "consumers", class: "num opt", cell: (q) => f.short(q.consumers) },
    { label: "Memory", sort: "memory", class: "num opt3", cell: (q) => f.bytes(q.memory) },
];

function declare(ctx, data) {
    return fold("Declare a queue", form({
        key: "declare", verb: "Declare", wide: true,
        fields: [
            { name: "vhost", label: "Virtual host", kind: "select", options: data.vhosts.map((name) => [name, name]), value: ctx.vhost ?? data.vhosts[0] },
            { name: "queue", label: "Name", required: true },
            { name: "x-queue-type", label: "Type", kind: "select", options: [["", "default of the virtual host"], ["classic", "classic"], ["quorum", "quorum"]] },
            { name: "durable", label: "Durability", kind: "select", options: [["true", "durable"], ["false", "transient"]] },
            { name: "auto_delete", label: "Auto-delete", kind: "select", options: [["false", "no"], ["true", "yes, with its last consumer"]] },
            ...argumentFields(),
            { name: "arguments", label: "More arguments (JSON)", kind: "json" },
        ],
        act: async (values) => {
            const table = argumentsOf(values);
            if (values["x-queue-type"] !== "")
                table["x-queue-type"] = values["x-queue-type"];
            await api.put(api.path("queues", values.vhost, values.queue), { durable: values.durable === "true", auto_delete: values.auto_delete === "true", arguments: table });
            ctx.refresh();
            return h("p", { class: "note good" }, "Declared: ", link(values.queue, place("queues", values.vhost, values.queue)));
        },
    }), { key: "declare" });
}

// Names of virtual hosts, for forms; asked for once a page.
export async function vhostNames(ctx) {
    ctx.memo.vhosts ??= (await api.get("vhosts" + api.query({ columns: "name", page: 1, page_size: 500 }))).items.map((vhost) => vhost.name);
    return ctx.memo.vhosts;
}

export const queues = {
    title: () => "Queues",
    load: async (ctx) => {
        const [answer, vhosts] = await Promise.all([loadPage(ctx, inVhost(ctx, "queues"), columns), vhostNames(ctx)]);
        return { answer, vhosts };
    },
    view: (data, ctx) => [
        listView({ ctx, answer: data.answer, columns: listed(ctx), keyOf: (q) => `${q.vhost}\n${q.name}`, what: "queues",
            empty: h("p", null, "There are no queues here yet. Programs declare theirs as they start; or declare one below.") }),
        data.vhosts.length > 0 ? declare(ctx, data) : null,
    ],
};
