// Connections and channels: the lists, and one of each.
import * as api from "./api.js";
import { badge, h, link } from "./dom.js";
import { confirm, fold, toast } from "./forms.js";
import * as f from "./format.js";
import { argumentList, facts, listView, loadPage, place, rowLink } from "./list.js";
import { rangeOf, rangePicker, rangeQuery, rateLines, ratePlot } from "./overview.js";

const states = {
    running: ["good", "works"], idle: ["", "has nothing to do"], flow: ["warn", "is slowed down: it publishes faster than is taken"], blocked: ["bad", "may not publish: an alarm is on"], blocking: ["warn", "will be blocked at its next publish: an alarm is on"],
    closing: ["warn", "is being closed"],
};
const stateBadge = (state) => badge(state ?? "–", states[state]?.[1] ?? "", states[state]?.[0] ?? "");

// The virtual host in the head counts here, too: these lists have a path of their own for it.
const within = (ctx, word) => (ctx.vhost === null ? word : `vhosts/${api.path(ctx.vhost)}/${word}`);

const called = (c) => c.user_provided_name ?? c.client_properties?.connection_name;

const listedConnections = (ctx) => [
    { label: "Name", sort: "name", class: "name", cell: (c) => [rowLink(c.name, place("connections", c.name)), called(c) ? h("small", { class: "dim" }, called(c)) : null] },
    ctx.vhost === null && { label: "Virtual host", sort: "vhost", class: "opt", cell: (c) => c.vhost },
    { label: "User", sort: "user", class: "opt", cell: (c) => c.user },
    { label: "State", sort: "state", cell: (c) => stateBadge(c.state) },
    { label: "TLS", sort: "ssl", class: "opt2", cell: (c) => (c.ssl ? "yes" : "no") },
    { label: "Client", class: "opt2", cell: (c) => [c.client_properties?.product, c.client_properties?.version].filter(Boolean).join(" ") || "–" },
    { label: "Channels", sort: "channels", class: "num", cell: (c) => f.count(c.channels) },
    { label: "From it", sort: "recv_oct_details.rate", class: "num opt", cell: (c) => f.byteRate(c.recv_oct_details?.rate) },
    { label: "To it", sort: "send_oct_details.rate", class: "num opt", cell: (c) => f.byteRate(c.send_oct_details?.rate) },
    { label: "Since", sort: "connected_at", class: "num opt", cell: (c) => f.time(c.connected_at) },
];

export const connections = {
    title: () => "Connections",
    load: async (ctx) => ({ answer: await loadPage(ctx, within(ctx, "connections"), ["name", "vhost", "user", "state", "ssl", "client_properties.product", "client_properties.version", "client_properties.connection_name", "user_provided_name", "channels", "recv_oct_details.rate", "send_oct_details.rate", "connected_at"]) }),
    view: (data, ctx) => listView({ ctx, answer: data.answer, columns: listedConnections(ctx), keyOf: (c) => c.name, what: "connections", empty: h("p", null, "Nobody is connected. Programs connect to the listeners that the ", link("overview", "#/"), " names.") }),
};

const listedChannels = (ctx) => [
    { label: "Channel", sort: "name", class: "name", cell: (c) => rowLink(c.name, place("channels", c.name)) },
    ctx.vhost === null && { label: "Virtual host", sort: "vhost", class: "opt", cell: (c) => c.vhost },
    { label: "User", sort: "user", class: "opt", cell: (c) => c.user },
    { label: "Mode", class: "opt2", cell: (c) => h("span", { class: "badges" }, c.confirm && badge("C", "publisher confirms"), c.transactional && badge("T", "transactions")) },
    { label: "State", sort: "state", class: "opt", cell: (c) => stateBadge(c.state) },
    { label: "Unconfirmed", sort: "messages_unconfirmed", class: "num opt2", cell: (c) => f.short(c.messages_unconfirmed) },
    { label: "Prefetch", sort: "prefetch_count", class: "num opt2", cell: (c) => (c.prefetch_count === 0 ? "–" : f.short(c.prefetch_count)) },
    { label: "Unacked", sort: "messages_unacknowledged", class: "num", cell: (c) => f.short(c.messages_unacknowledged) },
    { label: "Published", sort: "message_stats.publish_details.rate", class: "num", cell: (c) => f.rate(f.detailRate(c.message_stats, "publish")) },
    { label: "Delivered", sort: "message_stats.deliver_get_details.rate", class: "num", cell: (c) => f.rate(f.detailRate(c.message_stats, "deliver_get")) },
    { label: "Acked", sort: "message_stats.ack_details.rate", class: "num opt", cell: (c) => f.rate(f.detailRate(c.message_stats, "ack")) },
];

export const channels = {
    title: () => "Channels",
    load: async (ctx) => ({ answer: await loadPage(ctx, within(ctx, "channels"), ["name", "vhost", "user", "confirm", "transactional", "state", "messages_unconfirmed", "prefetch_count", "messages_unacknowledged", "message_stats.publish_details.rate", "message_stats.deliver_get_details.rate", "message_stats.ack_details.rate"]) }),
    view: (data, ctx) => listView({ ctx, answer: data.answer, columns: listedChannels(ctx), keyOf: (c) => c.name, what: "channels", empty: h("p", null, "There are no channels: clients open them in their ", link("connections", "#/connections"), ".") }),
};

// --- one -------------------------------------------------------------------------------------------------------------------

export const connection = {
    title: (ctx) => `Connection ${ctx.params[0]}`,
    actions: (ctx) => h("div", { class: "buttons" }, rangePicker(ctx), h("button", {
        type: "button", class: "danger",
        onclick: () => confirm({ title: "Close the connection", name: ctx.params[0], verb: "Close", text: "The client is told so, and probably connects again. What it has not acknowledged goes back to the queues; its exclusive queues are deleted.",
            act: async () => {
                await api.remove(api.path("connections", ctx.params[0]), { reason: "Closed in the console" });
                toast("good", "Closed");
                ctx.go("#/connections");
            } }),
    }, "Close")),
    load: async (ctx) => {
        const where = api.path("connections", ctx.params[0]);
        const [found, list] = await Promise.all([api.get(where + api.query(rangeQuery(ctx)), ctx.signal), api.get(`${where}/channels` + api.query({ page: 1, page_size: 100 }), ctx.signal)]);
        return { connection: found, channels: Array.isArray(list) ? list : list.items };
    },
    view: ({ connection: c, channels: list }, ctx) => [
        h("div", { class: "plots two", key: "plots" }, ratePlot("traffic", "Traffic", "byteRate", [[c.recv_oct_details, "From it", "--c1"], [c.send_oct_details, "To it", "--c3"]], rangeOf(ctx))),
        h("div", { class: "cards", key: "cards" },
            h("section", null, h("h2", null, "Who"), facts([
                ["Given name", called(c)], ["User", c.user], ["Log-in", c.auth_mechanism], ["Virtual host", link(c.vhost, place("vhosts", c.vhost))], ["From", h("code", null, `${c.peer_host}:${c.peer_port}`)], ["To", h("code", null, `${c.host}:${c.port}`)],
                ["Since", f.time(c.connected_at, true)], ["TLS", c.ssl ? `${c.ssl_protocol} ${c.ssl_cipher}` : "no: what it sends can be read on the way"],
            ])),
            h("section", null, h("h2", null, "Now"), facts([
                ["State", stateBadge(c.state)], ["From it", `${f.byteRate(c.recv_oct_details?.rate)} (${f.bytes(c.recv_oct)} in all)`], ["To it", `${f.byteRate(c.send_oct_details?.rate)} (${f.bytes(c.send_oct)} in all)`],
                ["Channels", `${f.count(c.channels)} (at most ${f.count(c.channel_max)})`], ["Heartbeat", c.timeout > 0 ? `${c.timeout} s` : "none"], ["Largest frame", f.bytes(c.frame_max)], ["Protocol", c.protocol],
            ])),
            h("section", null, h("h2", null, "What the client says of itself"), facts(Object.entries(c.client_properties ?? {}).slice(0, 40).map(([name, value]) => [name, name === "capabilities" ? argumentList(value) : f.value(value)])))),
        fold("Channels", list.length === 0 ? h("p", { class: "dim" }, "It has none.") : h("ul", { class: "plain" }, list.map((ch) => h("li", { key: ch.name }, link(ch.name, place("channels", ch.name)), " ", stateBadge(ch.state)))), { key: "channels", open: true, count: f.count(c.channels) }),
    ],
};

export const channel = {
    title: (ctx) => `Channel ${ctx.params[0]}`,
    actions: (ctx) => rangePicker(ctx),
    load: async (ctx) => ({ channel: await api.get(api.path("channels", ctx.params[0]) + api.query(rangeQuery(ctx)), ctx.signal) }),
    view: ({ channel: c }, ctx) => [
        h("div", { class: "plots two", key: "plots" }, ratePlot("rates", "Messages a second", "rate", rateLines.map(([name, text, color]) => [c.message_stats?.[`${name}_details`], text, color]), rangeOf(ctx))),
        h("div", { class: "cards", key: "cards" },
            h("section", null, h("h2", null, "What it is"), facts([
                ["Connection", link(c.connection_details.name, place("connections", c.connection_details.name))], ["Number", c.number], ["User", c.user], ["Virtual host", link(c.vhost, place("vhosts", c.vhost))], ["State", stateBadge(c.state)],
                ["Confirms", c.confirm ? "yes" : "no"], ["Transactions", c.transactional ? "yes" : "no"], ["Prefetch", c.prefetch_count === 0 ? "no limit" : `${f.count(c.prefetch_count)} a consumer`], ["Global prefetch", c.global_prefetch_count === 0 ? "no limit" : f.count(c.global_prefetch_count)],
            ])),
            h("section", null, h("h2", null, "Under way"), facts([["Unacknowledged", f.count(c.messages_unacknowledged)], ["Unconfirmed", f.count(c.messages_unconfirmed)], ["Uncommitted", f.count(c.messages_uncommitted)], ["Acks uncommitted", f.count(c.acks_uncommitted)]])),
            h("section", null, h("h2", null, "Messages"), facts(["publish", "confirm", "nack", "return_unroutable", "drop_unroutable", "deliver_get", "ack", "reject", "requeue", "redeliver", "get_empty"]
                .filter((name) => c.message_stats?.[name] !== undefined).map((name) => [name.replace("_", " "), `${f.rate(f.detailRate(c.message_stats, name))} (${f.count(c.message_stats[name])} in all)`])))),
        fold("Consumers", (c.consumer_details ?? []).length === 0 ? h("p", { class: "dim" }, "It has none.") : h("ul", { class: "plain" }, c.consumer_details.slice(0, 200).map((one) => h("li", { key: one.consumer_tag },
            link(one.queue.name, place("queues", one.queue.vhost, one.queue.name)), " ", h("code", null, one.consumer_tag), " ", one.ack_required ? null : badge("no ack", "what is sent counts as delivered")))), { key: "consumers", open: true, count: f.count(c.consumer_count) }),
    ],
};
