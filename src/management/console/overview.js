// The overview: is the broker well, what does it do, what does it hold.
import * as api from "./api.js";
import { h, link, note } from "./dom.js";
import * as f from "./format.js";
import { facts } from "./list.js";
import { beginning, lengths, plot, rates, remember } from "./plot.js";

export const ranges = [["60", "5", "1 min"], ["600", "5", "10 min"], ["3600", "60", "1 h"], ["28800", "300", "8 h"], ["86400", "900", "24 h"]];

export function rangeOf(ctx) {
    return ranges.find(([age]) => age === ctx.query.get("range")) ?? ranges[0];
}

export function rangePicker(ctx) {
    const [chosen] = rangeOf(ctx);
    return h("div", { class: "choice", role: "group", "aria-label": "Time shown" }, ranges.map(([age, , text]) =>
        h("button", { type: "button", "aria-pressed": age === chosen ? "true" : "false", onclick: () => ctx.set({ range: age === "60" ? null : age }, true) }, text)));
}

export const rateLines = [["publish", "Published", "--c1"], ["confirm", "Confirmed", "--c2"], ["deliver_get", "Delivered", "--c3"], ["ack", "Acknowledged", "--c4"],
    ["redeliver", "Redelivered", "--c5"], ["return_unroutable", "Returned", "--c6"], ["drop_unroutable", "Dropped", "--c7"]];

// The two plots of messages, for the node, a virtual host or a queue.
export function messagePlots(key, totals, stats, [age, , ]) {
    const to = Date.now();
    const from = to - Number(age) * 1000;
    const lines = rateLines.filter(([name]) => stats?.[`${name}_details`]?.samples);
    const since = beginning(lines.map(([name]) => stats[`${name}_details`]), [totals?.messages_details], totals?.messages > 0);
    const held = (name) => [...lengths(totals?.[`${name}_details`], since), { x: to, y: totals?.[name] }];
    return [
        plot({ key: `${key} messages`, title: "Queued messages", unit: "count", from, to, series: [
            { name: "Ready", color: "--c3", points: held("messages_ready"), help: "wait for a consumer" },
            { name: "Unacknowledged", color: "--c4", points: held("messages_unacknowledged"), help: "are with a consumer" },
            { name: "Total", color: "--c1", points: held("messages"), help: "both" },
        ] }),
        plot({ key: `${key} rates`, title: "Messages a second", unit: "rate", from, to,
            series: lines.map(([name, text, color]) => ({ name: text, color, points: rates(stats[`${name}_details`], since) })) }),
    ];
}

// One plot of counters: lines are [details, text, color].
export function ratePlot(key, title, unit, lines, [age]) {
    const to = Date.now();
    const shown = lines.filter(([details]) => details?.samples);
    const since = beginning(shown.map(([details]) => details), []);
    return shown.length === 0 ? null : plot({ key, title, unit, from: to - Number(age) * 1000, to, series: shown.map(([details, text, color]) => ({ name: text, color, points: rates(details, since) })) });
}

// What asks for histories, as the query of a request.
export function rangeQuery(ctx) {
    const [age, step] = rangeOf(ctx);
    return { lengths_age: age, lengths_incr: step, msg_rates_age: age, msg_rates_incr: step, data_rates_age: age, data_rates_incr: step };
}

const tile = (text, value, more, href) => h("li", null, h(href ? "a" : "div", { href }, h("span", null, text), h("b", null, value), h("small", null, more ?? "")));

function tiles({ overview }) {
    const { queue_totals: totals, message_stats: stats, object_totals: objects } = overview;
    return h("ul", { class: "tiles", key: "tiles" },
        tile("Queued", f.short(totals.messages), `${f.short(totals.messages_unacknowledged)} unacked`, "#/queues?sort=messages&down=1"),
        tile("Published", f.rate(f.detailRate(stats, "publish")), `${f.short(stats?.publish)} in all`),
        tile("Delivered", f.rate(f.detailRate(stats, "deliver_get")), `${f.short(stats?.deliver_get)} in all`),
        tile("Acknowledged", f.rate(f.detailRate(stats, "ack")), `${f.short(stats?.ack)} in all`),
        tile("Connections", f.short(objects.connections), "", "#/connections"),
        tile("Channels", f.short(objects.channels), "", "#/channels"),
        tile("Consumers", f.short(objects.consumers), ""),
        tile("Queues", f.short(objects.queues), "", "#/queues"));
}

function alarms(node) {
    if (!node)
        return [];
    return [
        node.mem_alarm && note("bad", h("b", null, "Memory alarm. "), `${f.bytes(node.mem_used)} are used, the limit is ${f.bytes(node.mem_limit)}. Publishers are blocked until it falls; consumers go on. Find the `, link("longest queues", "#/queues?sort=messages&down=1"), "."),
        node.disk_free_alarm && note("bad", h("b", null, "Disk alarm. "), `${f.bytes(node.disk_free)} are free, at least ${f.bytes(node.disk_free_limit)} have to be. Publishers are blocked until there is room; consumers go on.`),
    ];
}

function nodePlots(node, objects, [age]) {
    const to = Date.now();
    const from = to - Number(age) * 1000;
    const line = (points, y) => [{ x: from, y }, { x: to, y }];
    const memory = remember("memory", node?.mem_used);
    const disk = remember("disk", node?.disk_free);
    return [
        plot({ key: "connections", title: "Connections and channels", unit: "count", from, to, series: [
            { name: "Connections", color: "--c1", points: [...remember("connections", objects.connections)] },
            { name: "Channels", color: "--c2", points: [...remember("channels", objects.channels)] },
            { name: "Consumers", color: "--c3", points: [...remember("consumers", objects.consumers)] },
        ] }),
        node && plot({ key: "memory", title: "Memory", unit: "bytes", from, to, series: [
            { name: "Used", color: "--c1", points: [...memory] },
            { name: "Limit", color: "--c6", isLimit: true, isHidden: node.mem_used < node.mem_limit / 4, points: line(memory, node.mem_limit), help: "Publishers are blocked above it." },
        ] }),
        node && plot({ key: "disk", title: "Free disk", unit: "bytes", from, to, series: [
            { name: "Free", color: "--c3", points: [...disk] },
            { name: "Limit", color: "--c6", isLimit: true, points: line(disk, node.disk_free_limit), help: "Publishers are blocked below it." },
        ] }),
    ];
}

function meter(used, limit, unit) {
    const share = limit > 0 ? Math.min(1, used / limit) : 0;
    return h("span", { class: "meter" }, h("i", { vars: { "--share": `${(100 * share).toFixed(1)}%` }, class: share > 0.85 ? "bad" : "" }), `${unit(used)} of ${unit(limit)}`);
}

function nodeCard(node) {
    return h("section", { key: "node" }, h("h2", null, "Node"), facts([
        ["Name", h("code", null, node.name)],
        ["State", node.running ? "running" : "starting or stopping"],
        ["Up since", f.time(Date.now() - node.uptime, true)],
        ["Memory", meter(node.mem_used, node.mem_limit, f.bytes), "resident memory, of the limit above which publishers are blocked"],
        ["Disk free", `${f.bytes(node.disk_free)} (limit ${f.bytes(node.disk_free_limit)})`],
        ["File descriptors", meter(node.fd_used, node.fd_total, f.short)],
        ["Sockets", f.count(node.sockets_used)],
        ["Cores", f.count(node.processors)],
        ["Process", node.os_pid],
        ["Data", h("code", null, node.db_dir)],
    ]));
}

function serverCard(overview) {
    return h("section", { key: "server" }, h("h2", null, "Broker"), facts([
        ["Version", `Leveret ${overview.leveret_version}`],
        ["Cluster name", overview.cluster_name],
        ["Speaks as", `${overview.product_name} ${overview.product_version}`],
        ["Workers", overview.workers],
        ["Listeners", overview.listeners ? overview.listeners.map((l) => h("code", { key: `${l.protocol}${l.port}` }, `${l.protocol} ${l.ip_address}:${l.port} `)) : null],
        ["Users", f.count(overview.object_totals.users)],
        ["Virtual hosts", f.count(overview.object_totals.vhosts)],
        ["Connections made", f.count(overview.churn_rates?.connection_created)],
        ["Channels opened", f.count(overview.churn_rates?.channel_created)],
    ]));
}

function recent(reasons) {
    if (!reasons)
        return null;
    return h("section", { key: "recent" }, h("h2", null, "Refused lately"), reasons.recent.length === 0
        ? h("p", { class: "dim" }, "Nothing was refused, dropped or held up since the broker started.")
        : [h("ul", { class: "reasons" }, reasons.recent.slice(0, 5).map((r) => h("li", { key: `${r.kind}${r.object}` }, f.time(r.time), " ", h("b", null, r.text), r.count > 1 ? ` ${f.count(r.count)} times` : ""))), h("p", null, link("All reasons", "#/reasons"))]);
}

export const overview = {
    title: () => "Overview",
    actions: (ctx) => rangePicker(ctx),
    load: async (ctx) => {
        const [age, step] = rangeOf(ctx);
        const more = api.query({ lengths_age: age, lengths_incr: step, msg_rates_age: age, msg_rates_incr: step });
        const isMonitor = api.isMonitor();
        const [answer, nodes, reasons] = await Promise.all([
            api.get(`overview${more}`, ctx.signal),
            isMonitor ? api.getIf("nodes", ctx.signal) : null,
            isMonitor ? api.getIf("reasons", ctx.signal) : null,
        ]);
        return { overview: answer, node: nodes?.[0] ?? null, reasons };
    },
    view: (data, ctx) => [
        alarms(data.node),
        tiles(data),
        h("div", { class: "plots", key: "plots" }, messagePlots("node", data.overview.queue_totals, data.overview.message_stats, rangeOf(ctx)), nodePlots(data.node, data.overview.object_totals, rangeOf(ctx))),
        recent(data.reasons),
        h("div", { class: "cards", key: "cards" }, data.node ? nodeCard(data.node) : note("", "Memory, disk and refusals are shown to users with the tag “monitoring”."), serverCard(data.overview)),
    ],
};
