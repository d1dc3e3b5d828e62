// browser.js: one Chromium for all scenarios: pages that watch what goes wrong in them, and the steps that scenarios are made of.
"use strict";

const { chromium } = require(`${process.env.NPM_MODULES}/playwright-core`);

const WAIT_MS = 60000; // for a condition; a slow machine is no reason to fail
const base = process.env.CONSOLE_URL;

let browser = null;

async function open() {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"] });
    return browser;
}

const close = () => browser?.close();

// What a scenario looks at: a page of its own context, and what it complained of.
class Visitor {
    static async arrive(options = {}) {
        const visitor = new Visitor();
        visitor.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
        visitor.page = await visitor.context.newPage();
        visitor.page.setDefaultTimeout(WAIT_MS);
        visitor.complaints = [];
        visitor.requests = [];
        visitor.page.on("console", (message) => {
            if (["error", "warning"].includes(message.type()))
                visitor.complaints.push(`${message.text()} (${message.location().url})`);
        });
        visitor.page.on("pageerror", (error) => visitor.complaints.push(String(error.stack)));
        visitor.page.on("request", (request) => visitor.requests.push(request));
        await visitor.page.addInitScript(() => {
            globalThis.violations = [];
            document.addEventListener("securitypolicyviolation", (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
        });
        await visitor.page.goto(`${base}/`);
        return visitor;
    }

    async logIn(name = "guest", password = "guest") {
        await this.page.fill("#login-name", name);
        await this.page.fill("#login-password", password);
        await this.page.click("form button[type=submit]");
    }

    // Goes to an address of the console, and waits for its answer.
    async go(hash) {
        await this.page.waitForSelector("nav", { state: "attached" });
        await this.page.evaluate((to) => { location.hash = to; }, hash);
        await this.page.waitForFunction((to) => location.hash === to && document.querySelector("main") && !document.querySelector("main").hasAttribute("aria-busy"), hash);
    }

    // The loop asks the broker now, as when the tab is looked at again.
    async askAgain() {
        await this.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    }

    async leave() {
        const violations = await this.page.evaluate(() => globalThis.violations).catch(() => []);
        await this.context.close();
        return violations;
    }
}

// A visitor who is in; afterwards nothing may have been complained of but `allowed`.
async function visit(act, options = {}, allowed = []) {
    const visitor = await Visitor.arrive(options);
    try {
        if (options.isOut !== true) {
            await visitor.logIn();
            await visitor.page.waitForSelector("main:not(.login)");
        }
        await act(visitor, visitor.page);
    } catch (error) {
        const text = await visitor.page.evaluate(() => document.body.innerText).catch(() => "");
        await visitor.page.screenshot({ path: `${process.env.SCREENSHOTS}/failed.png` }).catch(() => null);
        throw new Error(`${error.stack}\n--- the page says:\n${text.slice(0, 1500)}\n--- complaints: ${visitor.complaints.join("\n")}`);
    }
    const complaints = visitor.complaints.filter((text) => !allowed.some((pattern) => pattern.test(text)));
    const violations = await visitor.leave();
    if (complaints.length + violations.length > 0)
        throw new Error(`the browser complained: ${[...complaints, ...violations].join("\n")}`);
}

// --- the HTTP API, as somebody else --------------------------------------------------------------------------------------

async function api(method, path, body, [name, password] = ["guest", "guest"]) {
    const response = await fetch(`${base}/api/${path}`, {
        method, body: body === undefined ? undefined : JSON.stringify(body),
        headers: { Authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`, "Content-Type": "application/json" },
    });
    const text = await response.text();
    return { status: response.status, json: text === "" ? null : JSON.parse(text) };
}

function check(condition, text) {
    if (!condition)
        throw new Error(text);
}

const equal = (found, wanted, what) => check(JSON.stringify(found) === JSON.stringify(wanted), `${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);

// Until the API says what it should.
async function until(what, ask) {
    const end = Date.now() + WAIT_MS;
    let last;
    while (Date.now() < end) {
        last = await ask();
        if (last)
            return last;
        await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`never came: ${what} (${JSON.stringify(last)})`);
}

const e = encodeURIComponent;

module.exports = { Visitor, WAIT_MS, api, base, check, close, e, equal, open, until, visit };
