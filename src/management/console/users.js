// Users: the list, and one with permissions, topic permissions and limits.
import * as api from "./api.js";
import { badge, button, h, link } from "./dom.js";
import { confirm, fold, form, formDialog, toast } from "./forms.js";
import * as f from "./format.js";
import { facts, listView, loadPage, place, rowLink } from "./list.js";
import { vhostNames } from "./queues.js";

const tagHint = "administrator, monitoring, policymaker, management; separated by commas. Empty: no access to this console.";
const tagsOf = (user) => (user.tags.length === 0 ? h("span", { class: "dim" }, "none") : h("span", { class: "badges" }, user.tags.map((tag) => badge(tag, "tag", tag === "administrator" ? "strong" : ""))));
export const limitTexts = (limits) => Object.entries(limits ?? {}).map(([name, value]) => `${name}: ${f.count(value)}`).join(", ");

const listed = [
    { label: "Name", sort: "name", class: "name", cell: (u) => rowLink(u.name, place("users", u.name)) },
    { label: "Tags", cell: tagsOf },
    { label: "Password", class: "opt", cell: (u) => (u.password_hash ? "set" : h("span", { class: "badge warn" }, "none: cannot log in")) },
    { label: "Limits", class: "opt", cell: (u) => limitTexts(u.limits) || "–" },
];

export const users = {
    title: () => "Users",
    load: async (ctx) => ({ answer: await loadPage(ctx, "users", ["name", "tags", "password_hash", "limits"]) }),
    view: (data, ctx) => [
        listView({ ctx, answer: data.answer, columns: listed, keyOf: (u) => u.name, what: "users", empty: h("p", null, "There are none. Add one below.") }),
        fold("Add a user", form({
            key: "add", verb: "Add",
            fields: [{ name: "user", label: "Name", required: true }, { name: "password", label: "Password", kind: "password", required: true }, { name: "tags", label: "Tags", hint: tagHint }],
            act: async (values) => {
                await api.put(api.path("users", values.user), { password: values.password, tags: values.tags });
                ctx.refresh();
                return h("p", { class: "note good" }, "Added: ", link(values.user, place("users", values.user)), ". It has no permission yet: give it one there.");
            },
        }), { key: "add" }),
    ],
};

// --- one -------------------------------------------------------------------------------------------------------------------

function table(heads, rows) {
    return h("div", { class: "scroll flat" }, h("table", { class: "list" }, h("thead", null, h("tr", null, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", null, rows)));
}

export const removeButton = (label, text, act) => button(text, () => act().catch((error) => toast("bad", error.message)), { class: "danger", "aria-label": label });

function permissions(ctx, data) {
    const [name] = ctx.params;
    return fold("Permissions", [
        h("p", { class: "dim" }, "Regular expressions that the names of queues and exchanges have to match. Empty: nothing; .*: everything."),
        data.permissions.length === 0 ? h("p", { class: "note" }, "This user may not use any virtual host yet.")
            : table(["Virtual host", "Configure", "Write", "Read", ""], data.permissions.map((p) => h("tr", { key: p.vhost }, h("td", null, link(p.vhost, place("vhosts", p.vhost))), ["configure", "write", "read"].map((kind) => h("td", { class: "long" }, h("code", null, p[kind] === "" ? "(nothing)" : p[kind]))),
                h("td", { class: "do" }, removeButton(`Take away the permission on ${p.vhost}`, "Take away", async () => { await api.remove(api.path("permissions", p.vhost, name)); await ctx.done("Taken away"); }))))),
        form({
            key: "permission", verb: "Set the permission",
            fields: [{ name: "vhost", label: "Virtual host", kind: "select", options: data.vhosts.map((one) => [one, one]) }, ...["configure", "write", "read"].map((kind) => ({ name: kind, label: kind.charAt(0).toUpperCase() + kind.slice(1), value: ".*" }))],
            act: async ({ vhost, ...values }) => { await api.put(api.path("permissions", vhost, name), values); await ctx.done("Set"); },
        }),
    ], { key: "permissions", open: true, count: f.count(data.permissions.length) });
}

function topicPermissions(ctx, data) {
    const [name] = ctx.params;
    return fold("Topic permissions", [
        h("p", { class: "dim" }, "For topic exchanges: regular expressions that routing keys have to match. Without one, all may be used."),
        data.topics.length === 0 ? null : table(["Virtual host", "Exchange", "Write", "Read", ""], data.topics.map((p) => h("tr", { key: `${p.vhost}\n${p.exchange}` }, h("td", null, p.vhost), h("td", { class: "long" }, p.exchange === "" ? "(all)" : p.exchange), h("td", { class: "long" }, h("code", null, p.write)), h("td", { class: "long" }, h("code", null, p.read)),
            h("td", { class: "do" }, removeButton(`Take away the topic permission on ${p.exchange} in ${p.vhost}`, "Take away", async () => { await api.remove(`${api.path("topic-permissions", p.vhost, name)}${p.exchange === "" ? "" : "/" + api.path(p.exchange)}`); await ctx.done("Taken away"); }))))),
        form({
            key: "topic", verb: "Set the topic permission",
            fields: [{ name: "vhost", label: "Virtual host", kind: "select", options: data.vhosts.map((one) => [one, one]) }, { name: "exchange", label: "Exchange", value: "amq.topic", required: true }, { name: "write", label: "Write", value: ".*" }, { name: "read", label: "Read", value: ".*" }],
            act: async ({ vhost, ...values }) => { await api.put(api.path("topic-permissions", vhost, name), values); await ctx.done("Set"); },
        }),
    ], { key: "topics", count: f.count(data.topics.length) });
}

// Limits of a user or virtual host: the same endpoint twice.
export function limits(ctx, where, found, names) {
    return fold("Limits", [
        Object.keys(found ?? {}).length === 0 ? h("p", { class: "dim" }, "None.") : table(["Limit", "Value", ""], Object.entries(found).map(([limit, value]) => h("tr", { key: limit }, h("td", null, limit), h("td", { class: "num" }, f.count(value)),
            h("td", { class: "do" }, removeButton(`Lift ${limit}`, "Lift", async () => { await api.remove(`${where}/${limit}`); await ctx.done("Lifted"); }))))),
        form({
            key: "limits", verb: "Set the limit",
            fields: [{ name: "limit", label: "Limit", kind: "select", options: names }, { name: "value", label: "Value", kind: "number", required: true }],
            act: async (values) => { await api.put(`${where}/${values.limit}`, { value: values.value }); await ctx.done("Set"); },
        }),
    ], { key: "limits", count: f.count(Object.keys(found ?? {}).length) });
}

export const user = {
    title: (ctx) => `User ${ctx.params[0]}`,
    actions: (ctx, data) => h("div", { class: "buttons" },
        button("Change password", () => formDialog(`A new password for ${ctx.params[0]}`, {
            verb: "Change", fields: [{ name: "password", label: "New password", kind: "password", required: true }],
            act: async (values) => { await api.put(api.path("users", ctx.params[0]), { password: values.password, tags: data.user.tags.join(",") }); toast("good", "Changed. Log-ins to this console with the old one have ended."); ctx.refresh(); },
        })),
        button("Change tags", () => formDialog(`Tags of ${ctx.params[0]}`, {
            verb: "Change", fields: [{ name: "tags", label: "Tags", value: data.user.tags.join(","), hint: tagHint }],
            act: async (values) => { await api.put(api.path("users", ctx.params[0]), { tags: values.tags, password_hash: data.user.password_hash, hashing_algorithm: data.user.hashing_algorithm }); await ctx.done("Changed"); },
        })),
        button("Delete", () => confirm({
            title: "Delete the user", name: ctx.params[0], verb: "Delete", text: "It goes with its permissions; its connections are closed.",
            act: async () => { await api.remove(api.path("users", ctx.params[0])); toast("good", `Deleted: ${ctx.params[0]}`); ctx.go("#/users"); },
        }), { class: "danger" })),
    load: async (ctx) => {
        const where = api.path("users", ctx.params[0]);
        const [found, permissionList, topics, vhosts] = await Promise.all([api.get(where, ctx.signal), api.get(`${where}/permissions` + api.query({ limit: 500 }), ctx.signal), api.get(`${where}/topic-permissions` + api.query({ limit: 500 }), ctx.signal), vhostNames(ctx)]);
        return { user: found, permissions: permissionList, topics, vhosts };
    },
    view: (data, ctx) => [
        h("section", { key: "facts" }, facts([["Tags", tagsOf(data.user)], ["Password", data.user.password_hash ? `set (${data.user.hashing_algorithm.replace("rabbit_password_hashing_", "")})` : "none: it cannot log in"]])),
        h("div", { class: "folds", key: "folds" }, permissions(ctx, data), topicPermissions(ctx, data),
            limits(ctx, api.path("user-limits", ctx.params[0]), data.user.limits, [["max-connections", "max-connections"], ["max-channels", "max-channels"], ["max-publish-rate", "max-publish-rate (messages a second)"], ["max-publish-bytes-rate", "max-publish-bytes-rate (bytes a second)"]])),
    ],
};
