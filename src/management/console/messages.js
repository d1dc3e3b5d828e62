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

const modes = [["look", "look: they stay as they are"], ["ack_requeue_false", "take: they are gone"], ["reject_requeue_false", "reject: dead-lettered, or gone"]];
const filters = [["", "any"], ["body", "with this in the payload"], ["header.", "header (name=value)"], ["routing_key", "routing key"], ["message_id", "message id"], ["correlation_id", "correlation id"], ["type", "type"], ["app_id", "application"]];

// {name: value} of the two fields that choose messages.
function filterOf(values) {
    if (values.filter === "")
        return {};
    if (values.filter !== "header.")
        return { [values.filter]: values.wanted };
    const [name, ...value] = values.wanted.split("=");
    return { [`header.${name}`]: value.join("=") };
}

const filterFields = [{ name: "filter", label: "Which", kind: "select", options: filters }, { name: "wanted", label: "Text", hint: "For a header: name=value." }];

// Messages that stay where they are, in their order.
async function browse(where, values, count) {
    const parameters = { count, offset: values.offset, examine: 10000, truncate: SHOWN_BYTES, encoding: values.encoding, ...filterOf(values) };
    const found = await api.get(`${where}/messages${api.query(parameters)}`);
    const more = found.more ? " There are more behind." : "";
    return [h("p", { class: "dim" }, `${f.plural(found.matched, "message")} of ${f.count(found.examined)} that were looked at.${more}${found.stopped ? ` It ended early: ${found.stopped}` : ""}`), found.messages.map((message) => shown(message, message.position + 1))];
}

async function take(where, values, count) {
    const found = await api.post(`${where}/get`, { ackmode: values.ackmode, count, encoding: values.encoding, truncate: SHOWN_BYTES });
    return found.length === 0 ? h("p", { class: "note" }, "The queue has no message that is ready.")
        : [h("p", { class: "dim" }, `${f.plural(found.length, "message")}; ${f.plural(found.at(-1).message_count, "message")} behind.`), found.map((message, i) => shown(message, i + 1))];
}

export function getMessages(ctx, vhost, name) {
    const where = api.path("queues", vhost, name);
    return fold("Look at messages", form({
        key: "get", verb: "Get", wide: true, keepsText: true,
        fields: [
            { name: "ackmode", label: "What becomes of them", kind: "select", options: modes },
            { name: "count", label: "How many", kind: "number", value: "10", required: true },
            { name: "offset", label: "Skip so many", kind: "number", hint: "Looking only, as the choice beside it." }, ...filterFields,
            { name: "encoding", label: "Payloads", kind: "select", options: [["auto", "as text where they are text"], ["base64", "as Base64"]] },
        ],
        act: async (values) => {
            const count = Math.min(Math.max(values.count ?? 1, 1), 200);
            if (values.ackmode !== "look" && values.filter !== "")
                throw new Error("Only looking can choose: taking and rejecting begin at the front.");
            const answer = await (values.ackmode === "look" ? browse : take)(where, values, count);
            ctx.refresh();
            return answer;
        },
    }), { key: "get" });
}

// --- moving, purging -------------------------------------------------------------------------------------------------------

// Asks again until as many are moved as were wanted, or no more can be.
async function walk(ctx, text, where, body, wanted) {
    let moved = 0;
    let answer;
    await run(text, async (report) => {
        do {
            answer = await api.post(where, { ...body, count: Math.min(wanted - moved, 1000) });
            moved += answer.moved;
            report(`${f.plural(moved, "message")} moved`);
        } while (answer.moved === 1000 && moved < wanted && !answer.stopped);
    });
    ctx.refresh();
    return note(answer.stopped ? "bad" : "good", `${f.plural(moved, "message")} moved.`, answer.stopped ? ` The rest stays: ${answer.stopped}` : "");
}

export function moveMessages(ctx, vhost, name) {
    const where = `${api.path("queues", vhost, name)}/messages`;
    return fold("Move messages", [
        h("p", { class: "dim" }, "To another queue, or through an exchange; or dead letters back to where they died. A message leaves this queue when its new one has taken it, as durably as that one promises."),
        form({
            key: "move", verb: "Move", wide: true, keepsText: true,
            fields: [
                { name: "kind", label: "To", kind: "select", options: [["queue", "a queue"], ["exchange", "an exchange"], ["redrive", "where they died (dead letters)"]] },
                { name: "to", label: "Name of the queue or exchange" },
                { name: "routing_key", label: "Routing key", hint: "For an exchange. Empty: each keeps its own." },
                { name: "count", label: "How many at most", kind: "number", value: "1000" }, ...filterFields,
            ],
            act: async (values) => {
                const body = values.kind === "redrive" ? {} : { [values.kind]: values.to };
                if (values.kind === "exchange" && values.routing_key !== "")
                    body.routing_key = values.routing_key;
                if (values.kind !== "redrive" && values.to === "")
                    throw new Error("Say where to: the name of a queue or exchange.");
                if (values.filter !== "")
                    body.filter = filterOf(values);
                return walk(ctx, `Move from ${name} to ${values.kind === "redrive" ? "where they died" : values.to}`, `${where}/${values.kind === "redrive" ? "redrive" : "move"}`, body, values.count ?? 1000);
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
