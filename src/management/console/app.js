// The frame around the pages: log-in, menu, head, keys, and the loop that asks the broker and shows the answer.
import * as api from "./api.js";
import { button, h, link, morph, note, replace } from "./dom.js";
import * as f from "./format.js";
import { help, toast } from "./forms.js";
import { keys } from "./keys.js";
import { showLogin } from "./login.js";
import { forget, redraw, sweep } from "./plot.js";
import { menu, routes } from "./routes.js";

const POLL_MS = 5000;
const app = document.getElementById("app");
let main, status, crumbs;
let current = null; // {page, ctx, data, timer, controller}
let vhosts = null;

// --- where we are ------------------------------------------------------------------------------------------------------

function parse(hash) {
    const [path, search] = hash.replace(/^#?\/?/, "").split("?");
    let parts;
    try {
        parts = path.split("/").filter((part) => part !== "").map(decodeURIComponent);
    } catch {
        parts = ["?"];
    }
    return { parts, query: new URLSearchParams(search ?? "") };
}

function find(parts) {
    for (const [pattern, page] of routes) {
        const want = pattern === "" ? [] : pattern.split("/");
        if (want.length === parts.length && want.every((word, i) => word === "*" || word === parts[i]))
            return { page, params: parts.filter((_, i) => want[i] === "*") };
    }
    return null;
}

function setQuery(changes, replaceEntry = false) {
    const { parts, query } = parse(location.hash);
    for (const [name, value] of Object.entries(changes)) {
        if (value === null || value === undefined || value === "" || value === false)
            query.delete(name);
        else
            query.set(name, value === true ? "1" : value);
    }
    const search = query.toString();
    const hash = `#/${parts.map(encodeURIComponent).join("/")}${search ? "?" + search : ""}`;
    if (replaceEntry)
        history.replaceState(null, "", hash);
    else
        history.pushState(null, "", hash);
    open(true);
}

function chosenVhost() {
    try {
        return sessionStorage.getItem("leveret.vhost");
    } catch {
        return null;
    }
}

// --- the loop ----------------------------------------------------------------------------------------------------------

function showStatus(kind, text) {
    replace(status, h("span", { class: `dot ${kind}` }), text);
}

function stop() {
    if (current) {
        clearTimeout(current.timer);
        current.controller.abort();
    }
}

function show(ctx, data, error) {
    const { page } = current;
    document.title = `${page.title(ctx)} · Leveret`;
    morph(main,
        h("div", { class: "head", key: "head" }, h("h1", { tabindex: "-1" }, page.title(ctx)), page.actions && data ? page.actions(ctx, data) : null),
        error ? note("bad", error.message, data ? " What is below is older." : "") : null,
        data ? page.view(data, ctx) : null);
    main.removeAttribute("aria-busy");
    sweep();
}

async function load() {
    const mine = current;
    const started = performance.now();
    clearTimeout(mine.timer);
    mine.controller.abort();
    mine.controller = new AbortController();
    const { signal } = mine.controller;
    mine.ctx.signal = signal;
    let error = null;
    try {
        mine.data = await mine.page.load(mine.ctx);
        if (signal.aborted || mine !== current || !api.user())
            return;
        showStatus("good", `Updated ${f.clockTime(Date.now())}`);
    } catch (caught) {
        if (caught.name === "AbortError" || mine !== current || !api.user())
            return;
        if (!(caught instanceof api.ApiError))
            console.error(caught);
        error = caught;
        showStatus("bad", caught.status === 0 ? "No answer" : "Error");
    }
    show(mine.ctx, mine.data, error);
    // A dear question is asked less often: the broker has better things to do.
    const wait = Math.max(mine.page.every ?? POLL_MS, 10 * (performance.now() - started));
    mine.timer = setTimeout(() => (document.hidden ? null : load()), wait);
}

document.addEventListener("visibilitychange", () => {
    if (!document.hidden && current && api.user())
        load();
});

function notFound() {
    return { title: () => "There is no such page", load: async () => ({}), view: () => h("p", null, "Choose one from the menu, or go to the ", link("overview", "#/"), ".") };
}

// Shows the page of the address. `isSame`: only its query has changed; focus stays.
function open(isSame = false) {
    if (!api.user())
        return;
    const { parts, query } = parse(location.hash);
    const found = find(parts) ?? { page: notFound(), params: [] };
    const sameParts = current && current.parts.join("/") === parts.join("/");
    stop();
    closeMenu();
    const ctx = {
        params: found.params, query, set: setQuery, refresh: load, vhost: chosenVhost(),
        memo: sameParts ? current.ctx.memo : {},
        go: (hash) => { location.hash = hash; },
        done: (text) => { toast("good", text); return load(); },
    };
    current = { page: found.page, parts, ctx, data: sameParts ? current.data : null, timer: 0, controller: new AbortController() };
    for (const item of app.querySelectorAll("nav a"))
        item.setAttribute("aria-current", item.dataset.word === (parts[0] ?? "") ? "page" : "false");
    if (!sameParts) {
        replace(main, h("div", { class: "head", key: "head" }, h("h1", { tabindex: "-1" }, found.page.title(ctx))));
        main.setAttribute("aria-busy", "true");
        if (!isSame && crumbs) {
            main.querySelector("h1").focus({ preventScroll: true });
            scrollTo(0, 0);
        }
    }
    crumbs = parts;
    load();
}

// --- the frame -----------------------------------------------------------------------------------------------------------

function closeMenu() {
    app.querySelector("nav")?.classList.remove("open");
    app.querySelector(".menu")?.setAttribute("aria-expanded", "false");
}

function toggleMenu() {
    const isOpen = app.querySelector("nav").classList.toggle("open");
    app.querySelector(".menu").setAttribute("aria-expanded", String(isOpen));
    if (isOpen)
        app.querySelector("nav a").focus();
}

export function nextTheme() {
    const order = ["system", "light", "dark"];
    const now = document.documentElement.dataset.theme ?? "system";
    const next = order[(order.indexOf(now) + 1) % order.length];
    if (next === "system")
        delete document.documentElement.dataset.theme;
    else
        document.documentElement.dataset.theme = next;
    try {
        localStorage.setItem("leveret.theme", next);
    } catch {
        // It lasts as long as the page.
    }
    showTheme();
    redraw();
}

function showTheme() {
    const theme = document.documentElement.dataset.theme ?? "system";
    const node = app.querySelector(".theme");
    replace(node, { system: "Auto", light: "Light", dark: "Dark" }[theme]);
    node.setAttribute("aria-label", `Theme: ${theme === "system" ? "as the system" : theme}. Change`);
}

async function fillVhosts() {
    const select = app.querySelector(".vhost");
    try {
        const answer = await api.get("vhosts" + api.query({ columns: "name", page: 1, page_size: 500 }));
        vhosts = answer.items.map((vhost) => vhost.name);
        replace(select, h("option", { value: "" }, "All virtual hosts"), vhosts.map((name) => h("option", { value: ` ${name}` }, name)));
        select.value = chosenVhost() !== null && vhosts.includes(chosenVhost()) ? ` ${chosenVhost()}` : "";
        if (select.value === "")
            sessionStorage.removeItem("leveret.vhost");
    } catch {
        vhosts = null; // the page that is shown says what is the matter
    }
}

function chooseVhost(event) {
    if (event.target.value === "")
        sessionStorage.removeItem("leveret.vhost");
    else
        sessionStorage.setItem("leveret.vhost", event.target.value.slice(1));
    setQuery({ page: null }, true);
}

function frame() {
    const items = menu.filter((item) => !item.tags || api.hasTag(...item.tags));
    replace(app,
        h("header", null,
            button("Menu", toggleMenu, { class: "menu", "aria-expanded": "false", "aria-controls": "nav" }),
            link([h("img", { src: document.querySelector("link[rel=icon]").href, alt: "", width: 22, height: 22 }), "Leveret"], "#/", { class: "brand", "aria-label": "Leveret: overview" }),
            h("select", { class: "vhost", "aria-label": "Virtual host", onchange: chooseVhost }, h("option", { value: "" }, "All virtual hosts")),
            h("span", { class: "status", role: "status" }),
            button("?", help, { class: "icon", "aria-label": "Keys" }),
            button("", nextTheme, { class: "theme" }),
            h("span", { class: "who" }, h("span", { class: "name" }, api.user().name), button("Log out", api.logOut, { class: "quiet" }))),
        h("nav", { id: "nav", "aria-label": "Pages" }, [...new Set(items.map((item) => item.group))].map((group) => [
            h("h2", null, group),
            h("ul", null, items.filter((item) => item.group === group).map((item) => h("li", null, link(item.text, `#/${item.word}`, { "data-word": item.word.split("/")[0] })))),
        ])),
        h("main", { id: "main", tabindex: "-1" }));
    main = app.querySelector("main");
    status = app.querySelector(".status");
    showStatus("", "Loading");
    showTheme();
    fillVhosts();
}

function start(why) {
    stop();
    current = null;
    document.body.classList.toggle("out", !api.user());
    for (const dialog of document.querySelectorAll("dialog"))
        dialog.remove();
    if (api.user()) {
        crumbs = why === "in" ? [] : null; // after a log-in the focus goes to the page
        frame();
        open();
    } else {
        forget();
        document.title = "Log in · Leveret";
        try {
            sessionStorage.removeItem("leveret.vhost");
        } catch {
            // There is none.
        }
        showLogin(app, why);
    }
}

document.getElementById("skip").onclick = (event) => {
    event.preventDefault(); // the part of the address behind the # is the page's
    (app.querySelector("main") ?? app).focus();
};
addEventListener("hashchange", () => open());
addEventListener("popstate", () => current && open());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
keys({ refresh: () => current && load(), theme: () => api.user() && nextTheme(), help, closeMenu });
api.onSession(start);
document.addEventListener("leveret:vhosts", fillVhosts);
start();
