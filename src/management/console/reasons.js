// What was refused, dropped, returned or held up, and why.
import * as api from "./api.js";
import { badge, h, link } from "./dom.js";
import * as f from "./format.js";
import { place } from "./list.js";

const kinds = {
    return_unroutable: ["Returned: no queue", "mandatory messages for which there was no queue"], drop_unroutable: ["Dropped: no queue", "messages for which there was no queue"], drop_queue_gone: ["Dropped: queue gone", "the queue was deleted meanwhile"],
    drop_reply: ["Dropped replies", "direct replies whose client did not read"], nack_queue_full: ["Nacked: queue full", "its length limit is reached, and it refuses"], nack_no_memory: ["Nacked: no memory", ""],
    held_connection_rate: ["Held: connection's rate", "a connection published faster than it may"], held_user_rate: ["Held: user's rate", ""], held_vhost_rate: ["Held: virtual host's rate", ""], blocked_memory: ["Blocked: memory alarm", ""], blocked_disk: ["Blocked: disk alarm", ""],
    refused_node_connections: ["Refused: node's connections", ""], refused_vhost_connections: ["Refused: virtual host's connections", ""], refused_user_connections: ["Refused: user's connections", ""], refused_login: ["Refused log-ins", "wrong name or password"],
    refused_vhost_access: ["Refused: virtual host", "no permission, or it does not exist"], refused_node_channels: ["Refused: node's channels", ""], refused_user_channels: ["Refused: user's channels", ""], refused_connection_channels: ["Refused: connection's channels", ""],
    refused_channel_consumers: ["Refused: channel's consumers", ""], refused_vhost_queues: ["Refused: virtual host's queues", ""], refused_cluster_queues: ["Refused: queues in all", ""], refused_cluster_exchanges: ["Refused: exchanges in all", ""],
    channel_error: ["Channel errors", "the broker closed a channel"], connection_error: ["Connection errors", "the broker closed a connection"],
};
const codes = { 311: "content too large", 312: "no route", 313: "no consumers", 320: "connection forced", 402: "invalid path", 403: "access refused", 404: "not found", 405: "locked", 406: "precondition failed", 501: "frame error", 502: "syntax error", 503: "command invalid", 504: "channel error", 505: "unexpected frame", 506: "resource error", 530: "not allowed", 540: "not implemented", 541: "internal error" };

const places = { queue: "queues", exchange: "exchanges", user: "users" };

const subject = (r) => (places[r.object_kind] === "users" ? link(r.object, place("users", r.object)) : places[r.object_kind] ? link(r.object, place(places[r.object_kind], r.vhost, r.object)) : r.object);

export const reasons = {
    title: () => "Reasons",
    load: async (ctx) => ({ reasons: await api.get("reasons" + api.query({ vhost: ctx.vhost ?? undefined, kind: ctx.query.get("kind") }), ctx.signal) }),
    view: ({ reasons: found }, ctx) => {
        const totals = Object.entries(found.totals).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
        const kind = ctx.query.get("kind");
        const errors = [["channel_errors", "Channel errors by code"], ["connection_errors", "Connection errors by code"]].map(([name, title]) => [title, Object.entries(found[name] ?? {})]).filter(([, rows]) => rows.length > 0);
        return [
            h("p", { class: "dim", key: "text" }, "Everything that the broker refused, dropped, returned or held up since it started. Counts are of the whole broker; of each kind the latest are below."),
            totals.length === 0 ? h("div", { class: "empty" }, h("p", null, "Nothing was refused yet.")) : h("ul", { class: "tiles", key: "totals" }, totals.map(([name, n]) => h("li", { key: name }, h("a", { href: kind === name ? "#/reasons" : `#/reasons?kind=${name}`, "aria-current": kind === name ? "true" : null, title: kinds[name]?.[1] }, h("span", null, kinds[name]?.[0] ?? name), h("b", null, f.short(n)))))),
            h("div", { class: "cards", key: "errors" }, errors.map(([title, rows]) => h("section", { key: title }, h("h2", null, title), h("dl", { class: "facts" }, rows.map(([code, n]) => h("div", null, h("dt", null, `${code} ${codes[code] ?? ""}`), h("dd", null, f.count(n)))))))),
            found.recent.length === 0 ? (totals.length > 0 ? h("p", { class: "dim" }, "None of the latest is of this choice.") : null) : h("div", { class: "scroll", key: "recent", tabindex: "0", role: "region", "aria-label": "The latest" }, h("table", { class: "list" },
                h("thead", null, h("tr", null, [["Last"], ["Kind"], ["Virtual host", "opt"], ["What", "opt"], ["Why"], ["Times", "num"], ["Since", "opt2"]].map(([text, kindOf]) => h("th", { scope: "col", class: kindOf }, text)))),
                h("tbody", null, found.recent.slice(0, 300).map((r) => h("tr", { key: `${r.kind} ${r.code} ${r.vhost}\n${r.object}` }, h("td", null, f.time(r.time)), h("td", null, badge(kinds[r.kind]?.[0] ?? r.kind, r.rule)), h("td", { class: "opt" }, r.vhost || "–"), h("td", { class: "opt long" }, r.object_kind, " ", subject(r)), h("td", { class: "long" }, r.text), h("td", { class: "num" }, f.count(r.count)), h("td", { class: "opt2" }, f.time(r.first_time))))))),
        ];
    },
};
