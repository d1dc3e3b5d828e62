// Messages: publish, look at, take, move, purge.
import * as api from "./api.js";
import { h, link, note } from "./dom.js";
import { confirm, fold, form, toast } from "./forms.js";
import * as f from "./format.js";
import { place } from "./list.js";
import { run } from "./work.js";

const SHOWN_BYTES = 20000;

const properties = [["content_type", "Content type"], ["message_id", "Message id"], ["correlation_id", "Correlation id"], ["reply_to", "Reply to"], ["expiration", "Expiration (ms)"], ["type", "Type"], ["app_id", "Application"]];

export function publish(vhost, exchange, routingKey) {
    const where = exchange === "" ? "amq.default" : exchange;
    return fold("Publish a message", form({
        key: "publish", verb: "Publish", wide: true, keepsText: true,
        fields: [
            { name: "routing_key", label: "Routing key", value: routingKey ?? "" },
            { name: "delivery_mode", label: "Persistence", kind: "select", options: [["2", "persistent"], ["1", "transient"]] },
            { name: "priority", label: "Priority", kind: "number" },
            { name: "payload_encoding", label: "The payload is", kind: "select", options: [["string", "text"], ["base64", "Base64"]] },
            { name: "payload", label: "Payload", kind: "area", rows: 4 },
            ...properties.map(([name, label]) => ({ name, label })),
            { name: "headers", label: "Headers (JSON)", kind: "json", rows: 2 },
        ],
        act: async (values) => {
            const given = { delivery_mode: Number(values.delivery_mode), headers: values.headers };
            if (values.priority !== undefined)
                given.priority = values.priority;
            for (const [name] of properties) {
                if (values[name] !== "")
                    given[name] = values[name];
            }
            const { routed } = await api.post(`${api.path("exchanges", vhost, where)}/publish`, { properties: given, routing_key: values.routing_key, payload: values.payload, payload_encoding: values.payload_encoding });
            return routed ? h("p", { class: "note good" }, "Published, and taken by every queue it was for.")
                : h("p", { class: "note bad" }, "Nobody got it: no binding is for this routing key. ", link("Why?", `${place("route", vhost, exchange)}?key=${encodeURIComponent(values.routing_key)}`));
        },
    }), { key: "publish" });
}

// --- looking -------------------------------------------------------------------------------------------------------------

function payload(message) {
    const text = h("pre", { class: "payload", tabindex: "0", "aria-label": "Payload" }, message.payload);
    const isWhole = message.payload_encoding === "base64" || new TextEncoder().encode(message.payload).length >= message.payload_bytes;
    if (message.payload_bytes === 0)
        return h("p", { class: "dim" }, "The payload is empty.");
    return [text, isWhole ? null : h("p", { class: "dim" }, `The first ${f.bytes(SHOWN_BYTES)} of it.`)];
}

function shown(message, number) {
    const rows = Object.entries(message.properties ?? {}).filter(([name]) => name !== "headers");
    const headers = Object.entries(message.properties?.headers ?? {});
    return h("article", { class: "message", "aria-label": `Message ${number}` },
        h("div", { class: "badges" }, h("b", null, `#${number}`),
            h("span", null, "exchange ", h("code", null, message.exchange === "" ? "(default)" : message.exchange)), h("span", null, "routing key ", h("code", null, message.routing_key)),
            h("span", { class: "dim" }, `${f.bytes(message.payload_bytes)}${message.payload_encoding === "base64" ? ", shown as Base64" : ""}`),
            message.redelivered ? h("span", { class: "badge warn" }, "redelivered") : null,
            message.properties?.timestamp ? f.time(message.properties.timestamp * 1000) : null),
        rows.length > 0 && h("div", { class: "arguments" }, rows.map(([name, value]) => h("code", null, `${name}=${f.value(value)}`))),
        headers.length > 0 && h("div", { class: "arguments" }, h("span", { class: "dim" }, "headers"), headers.map(([name, value]) => h("code", null, `${name}=${f.value(value)}`))),
        payload(message));
}

const modes = [["ack_requeue_true", "look: they stay (redelivered)"], ["ack_requeue_false", "take: they are gone"], ["reject_requeue_false", "reject: dead-lettered, or gone"]];

export function getMessages(ctx, vhost, name) {
    return fold("Look at messages", form({
        key: "get", verb: "Get", wide: true, keepsText: true,
        fields: [
            { name: "ackmode", label: "What becomes of them", kind: "select", options: modes },
            { name: "count", label: "How many, from the front", kind: "number", value: "10", required: true },
            { name: "encoding", label: "Payloads", kind: "select", options: [["auto", "as text where they are text"], ["base64", "as Base64"]] },
        ],
        act: async (values) => {
            const count = Math.min(Math.max(values.count ?? 1, 1), 200);
            const found = await api.post(`${api.path("queues", vhost, name)}/get`, { ackmode: values.ackmode, count, encoding: values.encoding, truncate: SHOWN_BYTES });
            ctx.refresh();
            if (found.length === 0)
                return h("p", { class: "note" }, "The queue has no message that is ready.");
            return [h("p", { class: "dim" }, `${f.plural(found.length, "message")}; ${f.plural(found.at(-1).message_count, "message")} behind.`), found.map((message, i) => shown(message, i + 1))];
        },
    }), { key: "get" });
}

// --- moving, purging -------------------------------------------------------------------------------------------------------

export function moveMessages(ctx, vhost, name) {
    return fold("Move messages", [
        h("p", { class: "dim" }, "From the front of this queue to another one, or through an exchange. A message leaves this queue when its new one has taken it, as durably as that one promises."),
        form({
            key: "move", verb: "Move", wide: true, keepsText: true,
            fields: [
                { name: "exchange", label: "Exchange", hint: "Empty: the routing key is the name of a queue." },
                { name: "routing_key", label: "Routing key, or queue", required: true },
                { name: "count", label: "How many at most", kind: "number", value: "1000" },
            ],
            act: async (values) => {
                let moved = 0;
                let answer;
                const wanted = values.count ?? 1000;
                await run(`Move from ${name} to ${values.exchange || "(default)"} ${values.routing_key}`, async (report) => {
                    do {
                        const body = { exchange: values.exchange, routing_key: values.routing_key, count: Math.min(wanted - moved, 1000) };
                        answer = await api.post(`${api.path("queues", vhost, name)}/move`, body);
                        moved += answer.moved;
                        report(`${f.plural(moved, "message")} moved`);
                    } while (answer.moved === 1000 && moved < wanted && !answer.reason);
                });
                ctx.refresh();
                return note(answer.reason ? "bad" : "good", `${f.plural(moved, "message")} moved.`, answer.reason ? ` The rest stays: ${answer.reason}` : "");
            },
        })], { key: "move" });
}

export function purgeButton(ctx, vhost, name) {
    return h("button", {
        type: "button", class: "danger",
        onclick: () => confirm({
            title: "Purge the queue", name, verb: "Purge", text: "All messages that are ready are deleted; nobody gets them. Unacknowledged ones stay with their consumers.",
            act: async () => {
                await run(`Purge ${name}`, () => api.remove(`${api.path("queues", vhost, name)}/contents`));
                toast("good", `Purged: ${name}`);
                ctx.refresh();
            },
        }),
    }, "Purge");
}
