// The dry run: where would a message go, and why? Nothing is published.
import * as api from "./api.js";
import { badge, h, link } from "./dom.js";
import { form } from "./forms.js";
import * as f from "./format.js";
import { place } from "./list.js";
import { vhostNames } from "./queues.js";

const QUEUES_SHOWN = 200;

function steps(all) {
    const below = new Map();
    for (const step of all.slice(0, 500)) {
        const key = step.from ?? -1;
        below.set(key, [...(below.get(key) ?? []), step]);
    }
    const list = (key) => (below.has(key) ? h("ol", { class: "steps" }, below.get(key).map((step) => h("li", null, badge(step.kind, "kind of step"), " ", step.text, list(step.step)))) : null);
    return list(-1);
}

function answered(vhost, answer) {
    const kind = answer.outcome === "routed" && !answer.nacked ? "good" : "bad";
    return [
        h("p", { class: `note ${kind}` }, h("b", null, answer.text.charAt(0).toUpperCase() + answer.text.slice(1)), answer.nacked ? ". At least one of them would refuse it, so that the publisher gets a nack." : "."),
        answer.queues.length > 0 && h("div", { class: "scroll" }, h("table", { class: "list" }, h("thead", null, h("tr", null, ["Queue", "Way", "Ready", "Consumers", "Would it take the message?"].map((text) => h("th", { scope: "col" }, text)))),
            h("tbody", null, answer.queues.slice(0, QUEUES_SHOWN).map((q) => h("tr", null, h("td", { class: "name" }, link(q.name, place("queues", vhost, q.name), { class: "row" })), h("td", { class: "long dim" }, q.path), h("td", { class: "num" }, f.short(q.messages_ready)), h("td", { class: "num" }, f.short(q.consumers)),
                h("td", { class: "long" }, q.accepts === undefined ? "not asked" : q.accepts ? "yes" : q.text)))))),
        answer.queue_count > Math.min(answer.queues.length, QUEUES_SHOWN) ? h("p", { class: "dim" }, `${f.count(Math.min(answer.queues.length, QUEUES_SHOWN))} of ${f.plural(answer.queue_count, "queue")}.`) : null,
        answer.steps.length > 0 && h("section", null, h("h2", null, "Step by step"), steps(answer.steps)),
    ];
}

export const route = {
    title: () => "Where would a message go?",
    every: 3600000,
    load: async (ctx) => ({ vhosts: await vhostNames(ctx) }),
    view: ({ vhosts }, ctx) => [
        h("p", { class: "dim", key: "text" }, "A dry run: the way of a message through bindings and alternate exchanges, and which queue would refuse it. Nothing is published."),
        h("section", { key: "form" }, form({
            key: `route ${ctx.params.join("/")}`, verb: "Try", keepsText: true, wide: true,
            fields: [
                { name: "vhost", label: "Virtual host", kind: "select", options: vhosts.map((name) => [name, name]), value: ctx.params[0] ?? ctx.vhost ?? vhosts[0] },
                { name: "exchange", label: "Exchange", value: ctx.params[1] ?? "", hint: "Empty: the default exchange." },
                { name: "routing_key", label: "Routing key", value: ctx.query.get("key") ?? "" },
                ...(api.isAdministrator() ? [{ name: "user", label: "As user", hint: "Empty: without asking for permissions." }] : []),
                { name: "mandatory", label: "Mandatory", kind: "check" },
                { name: "headers", label: "Headers (JSON)", kind: "json", rows: 2 },
            ],
            act: async (values) => {
                const body = { routing_key: values.routing_key, headers: values.headers, mandatory: values.mandatory };
                if (values.user)
                    body.user = values.user;
                return answered(values.vhost, await api.post(`${api.path("exchanges", values.vhost, values.exchange || "amq.default")}/route`, body));
            },
        })),
    ],
};
