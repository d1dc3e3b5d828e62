// Cluster, federation and shovel: what the API says of them, which may be that they are not there.
import * as api from "./api.js";
import { h, link } from "./dom.js";
import * as f from "./format.js";
import { facts, inVhost } from "./list.js";

export const cluster = {
    title: () => "Cluster",
    load: async (ctx) => {
        const [nodes, name] = await Promise.all([api.get("nodes", ctx.signal), api.getIf("cluster-name", ctx.signal)]);
        return { nodes, name: name?.name };
    },
    view: ({ nodes, name }) => [
        nodes.length === 1 ? h("div", { class: "empty", key: "text" }, h("p", null, "This node is not in a cluster. Queues live on it alone: what is on its disk is the only copy.")) : h("p", { class: "dim", key: "text" }, `${f.plural(nodes.length, "node")} in the cluster ${name}.`),
        h("div", { class: "cards", key: "nodes" }, nodes.map((node) => h("section", { key: node.name }, h("h2", null, node.name), facts([
            ["State", node.running ? h("span", { class: "badge good" }, "running") : h("span", { class: "badge bad" }, "down")], ["Up since", node.uptime ? f.time(Date.now() - node.uptime, true) : "–"],
            ["Memory", `${f.bytes(node.mem_used)} of ${f.bytes(node.mem_limit)}`], ["Disk free", f.bytes(node.disk_free)], ["Partitions", (node.partitions ?? []).length === 0 ? "none" : node.partitions.join(", ")], ["Links", (node.cluster_links ?? []).length === 0 ? "none" : f.count(node.cluster_links.length)],
        ])))),
    ],
};

// A list of links of which only the API knows the members: what is known is shown, as it is.
function links(all, empty) {
    return all.length === 0 ? h("div", { class: "empty", key: "text" }, empty)
        : h("div", { class: "cards", key: "links" }, all.slice(0, 200).map((one) => h("section", { key: JSON.stringify([one.vhost, one.name, one.upstream, one.exchange, one.queue]) }, h("h2", null, one.name ?? one.upstream ?? "link"),
            facts(Object.entries(one).filter(([, value]) => typeof value !== "object").map(([name, value]) => [name.replaceAll("_", " "), f.value(value)])))));
}

async function parameters(ctx, component) {
    if (!api.isPolicymaker())
        return [];
    return (await api.getIf(`parameters/${component}${ctx.vhost === null ? "" : "/" + api.path(ctx.vhost)}` + api.query({ limit: 200 }), ctx.signal)) ?? [];
}

const configured = (list, text) => (list.length === 0 ? null : h("section", { key: "configured" }, h("h2", null, text), h("ul", { class: "plain" }, list.map((one) => h("li", { key: `${one.vhost} ${one.name}` }, h("b", null, one.name), h("span", { class: "dim" }, ` in ${one.vhost}`))))));

export const federation = {
    title: () => "Federation",
    load: async (ctx) => {
        const [found, upstreams] = await Promise.all([api.getIf(inVhost(ctx, "federation-links"), ctx.signal), parameters(ctx, "federation-upstream")]);
        return { links: found, upstreams };
    },
    view: ({ links: found, upstreams }) => [
        found === null ? h("div", { class: "empty", key: "text" }, h("p", null, "This broker has no federation.")) : links(found, [h("p", null, "There is no federation link."), h("p", null, "Links begin where a ", link("policy", "#/policies"), " with “federation-upstream” or “federation-upstream-set” matches an exchange or a queue.")]),
        configured(upstreams, "Upstreams"),
    ],
};

export const shovel = {
    title: () => "Shovels",
    load: async (ctx) => {
        const [found, shovels] = await Promise.all([api.getIf(inVhost(ctx, "shovels"), ctx.signal), parameters(ctx, "shovel")]);
        return { shovels: found, configured: shovels };
    },
    view: ({ shovels, configured: list }) => [
        shovels === null ? h("div", { class: "empty", key: "text" }, h("p", null, "This broker has no shovels. Messages can be moved by hand from the page of a ", link("queue", "#/queues"), ".")) : links(shovels, [h("p", null, "There is no shovel.")]),
        configured(list, "Configured"),
    ],
};
