// Bindings as a picture: what is bound to one exchange or queue, and what that is bound to, up to a bound; every box leads to its own
// picture. The lists on the pages of exchanges and queues say the same in words.
import * as api from "./api.js";
import { h, link, s } from "./dom.js";
import { form } from "./forms.js";
import * as f from "./format.js";
import { inVhost, place } from "./list.js";
import { bindingRows, loadBindings } from "./queue.js";
import { vhostNames } from "./queues.js";

const SHOWN = 24; // bindings on one side of a box
const DEEPER = 6; // exchanges of which the next bindings are looked at
const HEIGHT = 40, GAP = 14, MARGIN = 16;

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

// --- asking ------------------------------------------------------------------------------------------------------------

async function around(vhost, kind, name, signal) {
    const where = kind === "queue" ? api.path("queues", vhost, name) : api.path("exchanges", vhost, name);
    const none = { bindings: [], count: 0 };
    if (kind === "queue")
        return { into: await loadBindings(`${where}/bindings`, SHOWN, signal), out: none };
    const [into, out] = await Promise.all([loadBindings(`${where}/bindings/destination`, SHOWN, signal), loadBindings(`${where}/bindings/source`, SHOWN, signal)]);
    return { into, out };
}

// One step more to each side, through exchanges alone.
async function deeper(vhost, found, signal) {
    const sources = [...new Set(found.into.bindings.map((b) => b.source).filter((name) => name !== ""))].slice(0, DEEPER);
    const targets = [...new Set(found.out.bindings.filter((b) => b.destination_type === "exchange").map((b) => b.destination))].slice(0, DEEPER);
    const [before, after] = await Promise.all([
        Promise.all(sources.map((name) => loadBindings(`${api.path("exchanges", vhost, name)}/bindings/destination`, 4, signal))),
        Promise.all(targets.map((name) => loadBindings(`${api.path("exchanges", vhost, name)}/bindings/source`, 6, signal))),
    ]);
    return { before: before.flatMap((one) => one.bindings), after: after.flatMap((one) => one.bindings) };
}

// --- drawing -----------------------------------------------------------------------------------------------------------

// Boxes in columns: {column, kind, name}; a name stands once.
function layout(kind, name, data) {
    const isNarrow = innerWidth < 600;
    const boxes = new Map();
    const add = (column, boxKind, boxName) => {
        const key = `${boxKind} ${boxName}`;
        if (!boxes.has(key))
            boxes.set(key, { column, kind: boxKind, name: boxName });
        return boxes.get(key);
    };
    const center = add(0, kind, name);
    const ways = [];
    const take = (bindings, column, isInto) => {
        for (const b of bindings) {
            const from = add(isInto ? column : column - 1, "exchange", b.source);
            const to = add(isInto ? column + 1 : column, b.destination_type, b.destination);
            ways.push({ from, to, key: b.routing_key, hasArguments: Object.keys(b.arguments).length > 0 });
        }
    };
    take(data.into.bindings, -1, true);
    take(data.out.bindings, 1, false);
    take(data.before, -2, true);
    take(data.after, 2, false);
    const columns = [...new Set([...boxes.values()].map((box) => box.column))].sort((a, b) => a - b);
    const width = isNarrow ? 150 : columns.length > 3 ? 170 : 210;
    // As far apart as the page is wide, but not so near that keys are no longer read.
    const room = (document.querySelector("main")?.clientWidth ?? 0) - 2 * MARGIN - width - 40;
    const step = Math.min(370, Math.max(width + 105, room / Math.max(1, columns.length - 1)));
    const tallest = Math.max(...columns.map((column) => [...boxes.values()].filter((box) => box.column === column).length));
    const height = tallest * (HEIGHT + GAP) - GAP + 2 * MARGIN;
    columns.forEach((column, i) => {
        const all = [...boxes.values()].filter((box) => box.column === column);
        all.forEach((box, j) => {
            box.x = MARGIN + i * step;
            box.y = (height - all.length * (HEIGHT + GAP) + GAP) / 2 + j * (HEIGHT + GAP);
        });
    });
    return { boxes: [...boxes.values()], ways, center, height, all: 2 * MARGIN + (columns.length - 1) * step + width, box: width, letters: Math.floor(width / 8) - 1 };
}

function drawWay(way, i, plan) {
    const x1 = way.from.x + plan.box, y1 = way.from.y + HEIGHT / 2, x2 = way.to.x - 6, y2 = way.to.y + HEIGHT / 2;
    const bend = Math.max(40, (x2 - x1) / 2);
    const text = way.key === "" ? (way.hasArguments ? "by headers" : "") : cut(way.key, plan.letters - 4);
    // Where many come together their keys are told at the other ends.
    const isInto = way.to.column <= 0;
    return s("g", { key: i }, s("path", { class: "way", "marker-end": "url(#arrow)", d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` }),
        text && s("text", { class: "key", x: isInto ? x1 + 6 : x2 - 2, y: (isInto ? y1 : y2) - 5, "text-anchor": isInto ? "start" : "end" }, text, s("title", null, way.key)));
}

function drawBox(vhost, box, plan) {
    const isCenter = box === plan.center;
    const isDefault = box.kind === "exchange" && (box.name === "" || box.name === "amq.default");
    const title = isDefault ? "(default exchange)" : box.name;
    return s("a", { key: `${box.kind} ${box.name}`, class: `${box.kind}${isCenter ? " center" : ""}`, href: isCenter ? place(`${box.kind}s`, vhost, box.name) : isDefault ? place("exchanges", vhost, "amq.default") : place("bindings", vhost, box.kind, box.name),
        "aria-label": `${box.kind} ${title}` },
    s("rect", { class: "box", x: box.x, y: box.y, width: plan.box, height: HEIGHT, rx: box.kind === "queue" ? 4 : 18 }),
    s("text", { class: "kind", x: box.x + 14, y: box.y + 15 }, box.kind), s("text", { x: box.x + 14, y: box.y + 31 }, cut(title, plan.letters)), s("title", null, title));
}

function draw(vhost, kind, name, data) {
    const plan = layout(kind, name, data);
    const { all: width, height } = plan;
    return h("div", { class: "picture", key: "picture", tabindex: "0", role: "region", "aria-label": "Picture of the bindings" },
        s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group" },
            s("defs", null, s("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, s("path", { d: "M0 0L8 4L0 8z", fill: "currentColor" }))),
            plan.ways.map((way, i) => drawWay(way, i, plan)), plan.boxes.map((box) => drawBox(vhost, box, plan))));
}

// --- pages -------------------------------------------------------------------------------------------------------------

const choose = (ctx, vhosts) => form({
    key: "choose", verb: "Show", keepsText: true,
    fields: [
        { name: "vhost", label: "Virtual host", kind: "select", options: vhosts.map((one) => [one, one]), value: ctx.params[0] ?? ctx.vhost ?? vhosts[0] },
        { name: "kind", label: "What", kind: "select", options: [["exchange", "exchange"], ["queue", "queue"]], value: ctx.params[1] },
        { name: "name", label: "Name", required: true, value: ctx.params[2] },
    ],
    act: async (values) => ctx.go(place("bindings", values.vhost, values.kind, values.name)),
});

export const bindings = {
    title: () => "Bindings",
    every: 30000,
    load: async (ctx) => {
        const vhosts = await vhostNames(ctx);
        const answer = await api.get(inVhost(ctx, "exchanges") + api.query({ page: 1, page_size: 100, sort: "message_stats.publish_in", sort_reverse: "true", columns: "name,vhost,type" }), ctx.signal);
        return { vhosts, exchanges: answer.items.filter((x) => x.name !== "") };
    },
    view: ({ vhosts, exchanges }, ctx) => [
        h("section", { key: "choose" }, h("h2", null, "Whose neighbourhood?"), choose(ctx, vhosts)),
        h("section", { key: "exchanges" }, h("h2", null, "Exchanges, the busiest first"),
            exchanges.length === 0 ? h("p", { class: "dim" }, "There is none that you may see.") : h("ul", { class: "columns" }, exchanges.map((x) => h("li", { key: `${x.vhost}\n${x.name}` }, link(x.name, place("bindings", x.vhost, "exchange", x.name)), " ", h("span", { class: "dim" }, ctx.vhost === null ? `${x.type}, in ${x.vhost}` : x.type))))),
    ],
};

export const picture = {
    title: (ctx) => `Bindings of ${ctx.params[1]} ${ctx.params[2]}`,
    every: 15000,
    load: async (ctx) => {
        const [vhost, kind, name] = ctx.params;
        const found = await around(vhost, kind === "queue" ? "queue" : "exchange", name, ctx.signal);
        return { ...found, ...(await deeper(vhost, found, ctx.signal)) };
    },
    view: (data, ctx) => {
        const [vhost, kind, name] = ctx.params;
        const total = data.into.count + data.out.count;
        const shown = data.into.bindings.length + data.out.bindings.length;
        return [
            h("p", { class: "dim", key: "text" }, total === 0 ? "Nothing is bound to it, and it is bound to nothing." : shown < total ? `The first ${f.count(shown)} of ${f.plural(total, "binding")}. ` : `${f.plural(total, "binding")}. `, link(`To the ${kind}`, place(`${kind}s`, vhost, name))),
            total > 0 ? draw(vhost, kind, name, data) : null,
            data.into.bindings.length > 0 ? h("section", { key: "into" }, h("h2", null, "Bindings to it"), bindingRows(ctx, data.into.bindings, "source")) : null,
            data.out.bindings.length > 0 ? h("section", { key: "out" }, h("h2", null, "Bindings from it"), bindingRows(ctx, data.out.bindings, "destination")) : null,
        ];
    },
};
