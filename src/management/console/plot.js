// Plots over time: Chart.js draws, this says what. Each is a figure with its title, a legend that tells the newest values and shows or
// hides lines, and a text for those who do not see the picture.
import { h, replace } from "./dom.js";
import * as f from "./format.js";

const live = new Set();
const units = { rate: f.rate, count: f.short, bytes: f.bytes, byteRate: f.byteRate };

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Bytes are counted in powers of two: so are the lines behind them.
function byteStep(lines) {
    const most = Math.max(4096, ...lines.flatMap((line) => line.points.map((point) => point.y)));
    return 2 ** Math.ceil(Math.log2(most / 4));
}

function options(props, shown) {
    const unit = units[props.unit];
    const grid = color("--line");
    const text = color("--dim");
    const font = { family: "system-ui, sans-serif", size: 11 };
    return {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        parsing: false,
        normalized: true,
        interaction: { mode: "index", intersect: false },
        plugins: {
            legend: { display: false },
            tooltip: {
                animation: false,
                boxPadding: 3,
                itemSort: (a, b) => b.parsed.y - a.parsed.y,
                callbacks: {
                    title: (items) => (items.length > 0 ? f.clockTime(items[0].parsed.x) : ""),
                    label: (item) => ` ${item.dataset.label}: ${unit(item.parsed.y)}`,
                },
            },
        },
        scales: {
            x: {
                type: "linear", min: props.from, max: props.to,
                grid: { display: false }, border: { color: grid },
                ticks: { color: text, font, maxRotation: 0, autoSkip: true, maxTicksLimit: 6, callback: (v) => f.clockTime(v).slice(0, props.to - props.from > 180000 ? 5 : 8) },
            },
            y: {
                beginAtZero: true, suggestedMax: props.unit.startsWith("byte") ? 1024 : 4,
                grid: { color: grid, drawBorder: false },
                ticks: { color: text, font, maxTicksLimit: 6, precision: 0, stepSize: props.unit.startsWith("byte") ? byteStep(shown) : undefined, callback: (v) => unit(v) },
            },
        },
    };
}

function datasets(props, hidden) {
    return props.series.map((line) => ({
        label: line.name,
        data: line.points,
        hidden: hidden.has(line.name),
        borderColor: color(line.color),
        backgroundColor: color(line.color),
        borderWidth: line.isLimit ? 1 : 1.6,
        borderDash: line.isLimit ? [4, 4] : [],
        pointRadius: 0,
        pointHitRadius: 8,
        tension: 0,
    }));
}

const last = (line) => line.points.at(-1)?.y;

function legend(node) {
    const props = node.lv_props;
    const unit = units[props.unit];
    replace(node.querySelector("figcaption ul"), props.series.map((line) => h("li", null,
        h("button", {
            type: "button", "aria-pressed": node.hidden_.has(line.name) ? "false" : "true", title: line.help,
            onclick: () => {
                if (!node.hidden_.delete(line.name))
                    node.hidden_.add(line.name);
                draw(node);
            },
        }, h("i", { class: line.isLimit ? "dash" : "", vars: { "--mark": `var(${line.color})` } }), line.name, h("b", null, unit(last(line)))))));
}

function draw(node) {
    const props = node.lv_props;
    const signature = JSON.stringify([...node.hidden_, ...props.series.map((line) => [line.name, last(line)])]);
    if (signature !== node.signature_) {
        const at = [...node.querySelectorAll("figcaption button")].indexOf(document.activeElement);
        legend(node);
        node.signature_ = signature;
        if (at >= 0)
            node.querySelectorAll("figcaption button")[at]?.focus();
    }
    node.querySelector("canvas").setAttribute("aria-label",
        `${props.title}: ` + props.series.map((line) => `${line.name} ${units[props.unit](last(line))}`).join(", "));
    node.querySelector(".waiting").hidden = props.series.some((line) => !line.isLimit && line.points.length > 1);
    node.chart_.data.datasets = datasets(props, node.hidden_);
    node.chart_.options = options(props, props.series.filter((line) => !node.hidden_.has(line.name)));
    node.chart_.update("none");
}

function mount(props, node) {
    node.hidden_ = new Set(props.series.filter((line) => line.isHidden).map((line) => line.name));
    node.chart_ = new globalThis.Chart(node.querySelector("canvas"), { type: "line", data: { datasets: [] }, options: options(props, props.series) });
    live.add(node);
    draw(node);
}

function update(props, node) {
    node.lv_props = props;
    if (node.chart_)
        draw(node);
}

// Plots that have left the page give their memory back.
export function sweep() {
    for (const node of live) {
        if (!node.isConnected) {
            node.chart_.destroy();
            live.delete(node);
        }
    }
}

export function redraw() {
    for (const node of live)
        draw(node);
}

// props: key, title, unit, series [{name, color (a CSS variable), points [{x, y}], isLimit, isHidden, help}], from, to (ms).
export function plot(props) {
    return h("figure", { class: "plot", key: `plot ${props.key}`, props, mount, update },
        h("figcaption", null, h("h3", null, props.title), h("ul", null)),
        h("div", { class: "canvas" }, h("canvas", { role: "img", "aria-label": props.title }),
            h("p", { class: "waiting" }, "Samples are kept while somebody looks: the first come in some seconds.")));
}

// --- from samples to points --------------------------------------------------------------------------------------------

const pointsOf = (details) => (details?.samples ?? []).map(({ timestamp, sample }) => ({ x: timestamp, y: sample })).reverse();

// Histories begin when somebody looks for the first time; before that every sample is 0. When did it begin? 0: all are known; `hasMore`:
// there is something now, so that zeros alone are not the truth.
export function beginning(counters, totals, hasMore) {
    const firsts = [counters, totals].map((group) => Math.min(...group.map((details) => pointsOf(details).find((point) => point.y > 0)?.x ?? Infinity)));
    const first = Number.isFinite(firsts[0]) ? firsts[0] : firsts[1];
    return Number.isFinite(first) || hasMore ? first : 0;
}

export const lengths = (details, since = 0) => pointsOf(details).filter((point) => point.x >= since);

// Counters become rates: what came between two samples.
export function rates(details, since = 0) {
    const points = lengths(details, since);
    const found = [];
    for (let i = 1; i < points.length; i++) {
        const seconds = (points[i].x - points[i - 1].x) / 1000;
        found.push({ x: points[i].x, y: Math.max(0, (points[i].y - points[i - 1].y) / seconds) });
    }
    return found;
}

// What the API keeps no history of: kept here while the page is open.
const histories = new Map();
const HISTORY_MAX = 1000;

export function remember(name, y) {
    if (!histories.has(name))
        histories.set(name, []);
    const points = histories.get(name);
    if (typeof y === "number")
        points.push({ x: Date.now(), y });
    if (points.length > HISTORY_MAX)
        points.shift();
    return points;
}

export const forget = () => histories.clear();
