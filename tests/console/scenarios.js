// scenarios.js: what people do in the console. `node scenarios.js` runs them all, `node scenarios.js NAME…` some; each is a line of JSON on
// standard output: {"name", "ok", "error", "seconds"}. Everything waits for conditions, never for a time.
"use strict";

const { execFileSync } = require("node:child_process");
const http = require("node:http");
const { Visitor, api, base, check, close, e, equal, open, until, visit } = require("./browser.js");

const scenarios = {};
const EVIL = "<img src=x onerror=\"window.pwned=1\">";
const missing = [/status of 404 .*\/api\/(shovels|imports|federation-links)/]; // what a broker without them answers

const text = (page, selector) => page.locator(selector).first().innerText();
const toast = (page, words) => page.locator("#toasts .toast", { hasText: words }).first().waitFor();
const fold = (page, title) => page.locator("details.fold", { has: page.locator(`summary h2:text-is("${title}")`) });

async function unfold(page, title) {
    const part = fold(page, title);
    if (!(await part.evaluate((node) => node.open)))
        await part.locator("summary").first().click();
    return part;
}

async function typeName(page, name) {
    await page.fill("dialog #typed-name", name);
    await page.click("dialog button[type=submit]");
    await page.waitForSelector("dialog", { state: "detached" });
}

async function allPages(page) {
    return page.evaluate(() => [...document.querySelectorAll("nav a")].map((link) => link.getAttribute("href")));
}

// --- getting in, getting out ---------------------------------------------------------------------------------------------

scenarios.log_in_and_out = () => visit(async (visitor, page) => {
    await visitor.logIn("guest", "wrong");
    await page.locator(".note.bad", { hasText: "wrong" }).waitFor();
    equal(await page.evaluate(() => document.activeElement.id), "login-password", "the focus");
    await visitor.logIn();
    await page.waitForSelector("h1:text-is('Overview')");
    const kept = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie]));
    check(!kept.includes("\"guest:guest") && !kept.includes("Z3Vlc3Q6Z3Vlc3Q") && !/password/i.test(kept), `the password is kept: ${kept}`);
    equal(await page.evaluate(() => document.cookie), "", "cookies");
    const { token } = JSON.parse(await page.evaluate(() => sessionStorage.getItem("leveret.session")));
    const asked = async () => (await fetch(`${base}/api/whoami`, { headers: { Authorization: `Bearer ${token}` } })).status;
    equal(await asked(), 200, "with the token");
    await page.reload();
    await page.waitForSelector("h1:text-is('Overview')");
    await page.click("text=Log out");
    await page.waitForSelector("#login-name");
    equal(await asked(), 401, "with the token after logging out");
    equal(await page.evaluate(() => sessionStorage.getItem("leveret.session")), null, "the token");
}, { isOut: true }, [/401/]);

scenarios.users_without_a_tag_stay_out = async () => {
    await api("PUT", "users/plain", { password: "p", tags: "" });
    await visit(async (visitor, page) => {
        await visitor.logIn("plain", "p");
        await page.locator(".note.bad", { hasText: "tags" }).waitFor();
    }, { isOut: true }, [/401/]);
};

scenarios.session_expires = async () => {
    await api("PUT", "users/changing", { password: "old", tags: "administrator" });
    await visit(async (visitor, page) => {
        await visitor.logIn("changing", "old");
        await page.waitForSelector("h1:text-is('Overview')");
        await visitor.go("#/users");
        await api("PUT", "users/changing", { password: "new", tags: "administrator" });
        await visitor.askAgain();
        await page.locator(".login .note", { hasText: "has ended" }).waitFor(); // the next question finds out
        await visitor.logIn("changing", "new");
        await page.waitForSelector("h1:text-is('Users')"); // where it was
        await api("DELETE", "users/changing");
        await visitor.askAgain();
        await page.waitForSelector("#login-name");
    }, { isOut: true }, [/401/]);
};

scenarios.monitoring_users_see_and_managers_see_less = async () => {
    await api("PUT", "users/looker", { password: "p", tags: "monitoring" });
    await api("PUT", "users/manager", { password: "p", tags: "management" });
    for (const [name, sees] of [["looker", true], ["manager", false]]) {
        await visit(async (visitor, page) => {
            await visitor.logIn(name, "p");
            await page.waitForSelector("h1:text-is('Overview')");
            await page.waitForSelector("figure.plot");
            equal(await page.locator("figure.plot h3:text-is('Memory')").count(), sees ? 1 : 0, `the plot of memory for ${name}`);
            equal(await page.locator("nav a[href='#/users']").count(), 0, "users in the menu");
            for (const href of await allPages(page))
                await visitor.go(href);
        }, { isOut: true }, missing);
    }
};

// --- pages ---------------------------------------------------------------------------------------------------------------

scenarios.every_page_renders = async () => {
    await api("PUT", "queues/%2F/seen", { durable: true, arguments: { "x-max-length": 5 } });
    await api("PUT", "exchanges/%2F/shown", { type: "topic" });
    await api("POST", "bindings/%2F/e/shown/q/seen", { routing_key: "a.#" });
    await visit(async (visitor, page) => {
        const hashes = [...await allPages(page), "#/queues/%2F/seen", "#/exchanges/%2F/shown", "#/exchanges/%2F/amq.default", "#/bindings/%2F/exchange/shown", "#/bindings/%2F/queue/seen", "#/users/guest", "#/vhosts/%2F", "#/route/%2F/shown", "#/no/such/page"];
        for (const hash of hashes) {
            await visitor.go(hash);
            check((await text(page, "main h1")).length > 0, `${hash} has no heading`);
            equal(await page.locator("main .note.bad:visible").count(), 0, `problems on ${hash}`);
            const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, input, select, textarea, a[href], canvas")].filter((node) => node.checkVisibility() && !(node.getAttribute("aria-label") || node.labels?.length || node.innerText?.trim() || node.textContent.trim())).map((node) => node.outerHTML));
            equal(unnamed, [], `controls without a name on ${hash}`);
        }
        check((await page.evaluate(() => performance.getEntriesByType("resource").filter((one) => !one.name.startsWith(location.origin)).map((one) => one.name))).length === 0, "something came from elsewhere");
    }, {}, missing);
};

scenarios.plots_follow_the_load = () => visit(async (visitor, page) => {
    await api("PUT", "queues/%2F/plotted", { durable: true });
    await page.waitForSelector("figure.plot canvas");
    for (let i = 0; i < 20; i++)
        await api("POST", "exchanges/%2F/amq.default/publish", { routing_key: "plotted", payload: "x", payload_encoding: "string", properties: {} });
    await visitor.go("#/queues/%2F/plotted");
    await page.waitForFunction(() => /Ready 20/.test(document.querySelector("figure.plot canvas").getAttribute("aria-label")));
    const drawn = await page.evaluate(() => { const c = document.querySelector("figure.plot canvas"); return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((byte) => byte !== 0); });
    check(drawn, "the plot is empty");
});

scenarios.names_are_never_elements = async () => {
    const vhost = `${EVIL} vhost`;
    await api("PUT", `vhosts/${e(vhost)}`, {});
    await api("PUT", `permissions/${e(vhost)}/guest`, { configure: ".*", write: ".*", read: ".*" });
    for (const name of [EVIL, "\"'><script>window.pwned=1</script>", "javascript:window.pwned=1", "{{7*7}}\u202e", " "]) {
        await api("PUT", `queues/${e(vhost)}/${e(name)}`, { arguments: { "x-dead-letter-exchange": EVIL, "x-dead-letter-routing-key": EVIL } });
        await api("PUT", `exchanges/${e(vhost)}/${e(name)}`, { type: "topic" });
        await api("POST", `bindings/${e(vhost)}/e/${e(name)}/q/${e(name)}`, { routing_key: EVIL, arguments: { [EVIL]: EVIL } });
    }
    await api("PUT", `users/${e(EVIL)}`, { password: "p", tags: `management,${EVIL.replaceAll(",", "")}` });
    await api("PUT", `permissions/${e(vhost)}/${e(EVIL)}`, { configure: EVIL, write: EVIL, read: EVIL });
    await api("PUT", `policies/${e(vhost)}/${e(EVIL)}`, { pattern: ".*", definition: { "dead-letter-exchange": EVIL }, "apply-to": "queues" });
    await api("POST", `exchanges/${e(vhost)}/amq.default/publish`, { routing_key: EVIL, payload: EVIL, payload_encoding: "string", properties: { message_id: EVIL, headers: { [EVIL]: EVIL } } });
    await api("GET", `queues/${e(vhost)}/${e(`${EVIL} none`)}`);
    await visit(async (visitor, page) => {
        const one = `${e(vhost)}/${e(EVIL)}`;
        for (const hash of ["#/queues", `#/queues/${one}`, "#/exchanges", `#/exchanges/${one}`, `#/bindings/${e(vhost)}/exchange/${e(EVIL)}`, `#/bindings/${e(vhost)}/queue/${e(EVIL)}`, "#/users", `#/users/${e(EVIL)}`, "#/vhosts", `#/vhosts/${e(vhost)}`, "#/policies", "#/reasons",
            `#/route/${one}?key=${e(EVIL)}`, "#/permissions", `#/queues?name=${e(EVIL)}`]) {
            await visitor.go(hash);
            equal(await page.evaluate(() => [window.pwned ?? null, document.querySelectorAll("main img, main script").length]), [null, 0], `elements made of names on ${hash}`);
        }
        await visitor.go(`#/queues/${one}`);
        check((await text(page, "main h1")).includes(EVIL), "the name is not shown");
        const look = await unfold(page, "Look at messages");
        await look.locator("button[type=submit]").click();
        await page.waitForSelector("article.message");
        check((await text(page, "article.message")).includes(EVIL), "the payload is not shown");
        equal(await page.evaluate(() => [window.pwned ?? null, document.querySelectorAll("main img, main script").length]), [null, 0], "elements made of a message");
        await page.click("button:text-is('Delete')");
        check((await text(page, "dialog code.name")) === EVIL, "the name in the dialog");
        await typeName(page, EVIL);
        await until("the deletion", async () => (await api("GET", `queues/${one}`)).status === 404);
    }, {}, [/status of 404/]);
};

// --- other origins -------------------------------------------------------------------------------------------------------

scenarios.other_pages_can_change_nothing = async () => {
    await api("PUT", "queues/%2F/kept", { durable: true });
    const forged = [["DELETE", "queues/%2F/kept"], ["DELETE", "queues/%2F/kept/contents"], ["PUT", "queues/%2F/forged"], ["POST", "exchanges/%2F/amq.default/publish"]];
    const script = `Promise.allSettled(${JSON.stringify(forged)}.flatMap(([method, path]) => ["cors", "no-cors"].map((mode) => fetch("${base}/api/" + path, {
        method: mode === "no-cors" ? "POST" : method, mode, credentials: "include", headers: mode === "cors" ? { "Content-Type": "application/json" } : {},
        body: method === "DELETE" && mode === "cors" ? undefined : JSON.stringify({ routing_key: "kept", payload: "forged", payload_encoding: "string", properties: {} }) }))))
        .then((all) => { document.title = "done " + all.map((one) => one.value?.status ?? one.status).join(" "); });`;
    const server = http.createServer((request, response) => {
        response.setHeader("Content-Type", "text/html");
        response.end(`<iframe src="${base}/"></iframe><form method="post" enctype="text/plain" action="${base}/api/exchanges/%2F/amq.default/publish"><input name='{"routing_key":"kept","payload":"forged","payload_encoding":"string","properties":{},"x":"' value='"}'></form><script>${script}</script>`);
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    try {
        // A browser that knows the password, and adds it by itself.
        const visitor = await Visitor.arrive({ httpCredentials: { username: "guest", password: "guest", send: "always" } });
        await visitor.page.goto(`http://localhost:${server.address().port}/`);
        await visitor.page.waitForFunction(() => document.title.startsWith("done"));
        check((await visitor.page.frames()[1]?.content() ?? "").length < 100 || !(await visitor.page.frames()[1].$("#app")), "the console is shown in a frame");
        await Promise.all([visitor.page.waitForNavigation(), visitor.page.evaluate(() => document.forms[0].submit())]);
        check((await visitor.page.content()).includes("another origin"), `a form was let through: ${await visitor.page.content()}`);
        await visitor.leave();
        equal((await api("GET", "queues/%2F/forged")).status, 404, "a queue was declared");
        const kept = await api("GET", "queues/%2F/kept");
        equal([kept.status, kept.json.messages], [200, 0], "the queue");
    } finally {
        server.close();
    }
};

// --- work ----------------------------------------------------------------------------------------------------------------

scenarios.declare_bind_publish_get_purge_delete = () => visit(async (visitor, page) => {
    await visitor.go("#/queues");
    let part = await unfold(page, "Declare a queue");
    await part.locator("button[type=submit]").click();
    await part.locator(".note.bad", { hasText: "missing" }).waitFor();
    await part.locator("input[name=queue]").fill("by hand");
    await part.locator("input[name=x-max-length]").fill("many");
    await part.locator("button[type=submit]").click();
    await part.locator(".note.bad", { hasText: "not a whole number" }).waitFor();
    await part.locator("input[name=x-max-length]").fill("7");
    await part.locator("button[type=submit]").click();
    await part.locator(".result a").click();
    await page.waitForSelector("h1:text-is('Queue by hand')");
    equal((await api("GET", "queues/%2F/by%20hand")).json.arguments, { "x-max-length": 7 }, "the arguments");
    await page.locator("section", { hasText: "What it lives by" }).locator("tr", { hasText: "max-length" }).waitFor();

    await visitor.go("#/exchanges");
    part = await unfold(page, "Declare an exchange");
    await part.locator("input[name=exchange]").fill("hand over");
    await part.locator("select[name=type]").selectOption("topic");
    await part.locator("button[type=submit]").click();
    await part.locator(".result a").click();
    await page.waitForSelector("h1:text-is('Exchange hand over')");
    const bind = page.locator("form", { has: page.locator("input[name=destination]") });
    await bind.locator("input[name=destination]").fill("no such queue");
    await bind.locator("button[type=submit]").click();
    await bind.locator(".note.bad", { hasText: "no queue" }).waitFor();
    await bind.locator("input[name=destination]").fill("by hand");
    await bind.locator("input[name=routing_key]").fill("order.*");
    await bind.locator("button[type=submit]").click();
    await page.locator("td", { hasText: "order.*" }).waitFor();

    part = await unfold(page, "Publish a message");
    await part.locator("input[name=routing_key]").fill("other");
    await part.locator("textarea[name=payload]").fill("first");
    await part.locator("button[type=submit]").click();
    await part.locator(".note.bad", { hasText: "Nobody got it" }).waitFor();
    for (const [i, payload] of ["first", "second", "third"].entries()) {
        await part.locator("input[name=routing_key]").fill("order.new");
        await part.locator("textarea[name=payload]").fill(payload);
        await part.locator("textarea[name=headers]").fill("{\"n\": 1}");
        await part.locator("button[type=submit]").click();
        await until(`message ${i}`, async () => (await api("GET", "queues/%2F/by%20hand")).json.messages === i + 1);
    }

    await visitor.go("#/queues/%2F/by%20hand");
    part = await unfold(page, "Look at messages");
    await part.locator("button[type=submit]").click();
    await part.locator("article.message").nth(2).waitFor();
    equal(await part.locator("article.message pre").allInnerTexts(), ["first", "second", "third"], "the messages");
    await part.locator("select[name=filter]").selectOption("body");
    await part.locator("input[name=wanted]").fill("seco");
    await part.locator("button[type=submit]").click();
    await page.waitForFunction(() => document.querySelectorAll("article.message").length === 1);
    equal(await part.locator("article.message pre").allInnerTexts(), ["second"], "the message that was looked for");
    equal(await part.locator("article.message .badge", { hasText: "redelivered" }).count(), 0, "marks of looking");
    await part.locator("select[name=filter]").selectOption("");
    equal((await api("GET", "queues/%2F/by%20hand")).json.messages, 3, "messages after looking");
    await part.locator("select[name=ackmode]").selectOption("ack_requeue_false");
    await part.locator("input[name=count]").fill("1");
    await part.locator("button[type=submit]").click();
    await until("one less", async () => (await api("GET", "queues/%2F/by%20hand")).json.messages === 2);

    await api("PUT", "queues/%2F/other%20place", {});
    part = await unfold(page, "Move messages");
    await part.locator("input[name=to]").fill("other place");
    await part.locator("input[name=count]").fill("1");
    await part.locator("button[type=submit]").click();
    await part.locator(".note.good", { hasText: "1 message moved" }).waitFor();
    equal((await api("GET", "queues/%2F/other%20place")).json.messages, 1, "moved messages");

    await page.click("button:text-is('Purge')");
    check(await page.locator("dialog button[type=submit]").isDisabled(), "purge without typing the name");
    await page.fill("dialog #typed-name", "by han");
    check(await page.locator("dialog button[type=submit]").isDisabled(), "purge with another name");
    await typeName(page, "by hand");
    await toast(page, "Purged");
    equal((await api("GET", "queues/%2F/by%20hand")).json.messages, 0, "messages after the purge");
    await page.locator("button:text-is('Unbind')").click();
    await toast(page, "Unbound");
    await page.click("button:text-is('Delete')");
    await typeName(page, "by hand");
    await page.waitForSelector("h1:text-is('Queues')");
    equal((await api("GET", "queues/%2F/by%20hand")).status, 404, "the deleted queue");
    await visitor.go("#/activity");
    await page.locator("tr", { hasText: "Purge by hand" }).waitFor();
}, {}, [...missing, /status of 404 .*no%20such%20queue/]);

scenarios.what_is_typed_stays = () => visit(async (visitor, page) => {
    await visitor.go("#/queues");
    const part = await unfold(page, "Declare a queue");
    await part.locator("input[name=queue]").pressSequentially("half a na");
    const asked = () => visitor.requests.filter((request) => request.url().includes("/api/queues?")).length;
    const before = asked();
    await visitor.askAgain();
    await until("another question", async () => asked() > before);
    await page.waitForFunction(() => document.querySelector(".status .dot.good"));
    await part.locator("input[name=queue]").pressSequentially("me");
    equal(await part.locator("input[name=queue]").inputValue(), "half a name", "what was typed");
    check(await part.evaluate((node) => node.open), "the form was folded up");
});

scenarios.users_permissions_vhosts_policies = () => visit(async (visitor, page) => {
    await visitor.go("#/vhosts");
    let part = await unfold(page, "Add a virtual host");
    await part.locator("input[name=vhost]").fill("sales");
    await part.locator("button[type=submit]").click();
    await part.locator(".result a").waitFor();
    await page.locator("header select.vhost option", { hasText: "sales" }).waitFor({ state: "attached" });
    await visitor.go("#/vhosts/sales");
    part = await unfold(page, "Limits");
    await part.locator("select[name=limit]").selectOption("max-queues");
    await part.locator("input[name=value]").fill("12");
    await part.locator("button[type=submit]").click();
    await part.locator("td:text-is('12')").waitFor();

    await visitor.go("#/users");
    part = await unfold(page, "Add a user");
    await part.locator("input[name=user]").fill("ann");
    await part.locator("input[name=password]").fill("secret of ann");
    await part.locator("input[name=tags]").fill("management");
    await part.locator("button[type=submit]").click();
    await part.locator(".result a").click();
    await page.waitForSelector("h1:text-is('User ann')");
    part = await unfold(page, "Permissions");
    await part.locator("select[name=vhost]").selectOption("sales");
    await part.locator("input[name=read]").fill("^sales");
    await part.locator("button[type=submit]").click();
    await part.locator("td code:text-is('^sales')").waitFor();
    part = await unfold(page, "Topic permissions");
    await part.locator("select[name=vhost]").selectOption("sales");
    await part.locator("input[name=write]").fill("^order");
    await part.locator("button[type=submit]").click();
    await part.locator("td code:text-is('^order')").waitFor();
    equal((await api("GET", "permissions/sales/ann")).json.read, "^sales", "the permission");

    await api("PUT", "permissions/sales/guest", { configure: ".*", write: ".*", read: ".*" });
    await api("PUT", "queues/sales/orders", { durable: true, arguments: { "x-max-length": 500 } });
    await visitor.go("#/policies");
    part = await unfold(page, "Add a policy");
    await part.locator("select[name=vhost]").selectOption("sales");
    await part.locator("input[name=policy]").fill("short");
    await part.locator("input[name=pattern]").fill("^ord");
    await part.locator("textarea[name=definition]").fill("{\"max-length\": \"x\"");
    await part.locator("button[type=submit]").click();
    await part.locator(".note.bad", { hasText: "not JSON" }).waitFor();
    await part.locator("textarea[name=definition]").fill("{\"max-length\": 100, \"overflow\": \"reject-publish\"}");
    await part.locator("button[type=submit]").click();
    await page.locator("td", { hasText: "^ord" }).first().waitFor();
    await visitor.go("#/queues/sales/orders");
    const row = page.locator("section", { hasText: "What it lives by" }).locator("tr", { hasText: "max-length" });
    await row.locator("td:text-is('policy')").waitFor();
    equal((await row.locator("td").allInnerTexts()).slice(0, 3), ["100", "policy", "500"], "what counts, and why");

    await visitor.go("#/vhosts/sales");
    await page.click("button:text-is('Delete')");
    await typeName(page, "sales");
    await page.waitForSelector("h1:text-is('Virtual hosts')");
    await visitor.go("#/users/ann");
    await page.click("button:text-is('Delete')");
    await typeName(page, "ann");
    await until("the deletion", async () => (await api("GET", "users/ann")).status === 404);
}, {}, [/status of 404/]);

scenarios.dry_run_and_picture = async () => {
    for (const name of ["first", "second"])
        await api("PUT", `exchanges/%2F/${name}`, { type: "topic" });
    await api("PUT", "queues/%2F/last", {});
    await api("POST", "bindings/%2F/e/first/e/second", { routing_key: "a.*" });
    await api("POST", "bindings/%2F/e/second/q/last", { routing_key: "*.b" });
    await visit(async (visitor, page) => {
        await visitor.go("#/route/%2F/first?key=a.b");
        await page.click("button:text-is('Try')");
        await page.locator("td a:text-is('last')").waitFor();
        await page.fill("input[name=routing_key]", "x.y");
        await page.click("button:text-is('Try')");
        await page.locator(".result .note.bad").waitFor();
        await visitor.go("#/bindings/%2F/exchange/first");
        await page.locator(".picture a[aria-label='queue last']").waitFor(); // two steps away
        await page.locator(".picture a[aria-label='exchange second']").click();
        await page.waitForSelector("h1:text-is('Bindings of exchange second')");
        await page.locator(".picture a[aria-label='exchange first']").waitFor();
    });
};

scenarios.definitions_out_and_in = async () => {
    await api("PUT", "queues/%2F/exported", { durable: true });
    await visit(async (visitor, page) => {
        await visitor.go("#/definitions");
        const [download] = await Promise.all([page.waitForEvent("download"), page.click("button:text-is('Download')")]);
        const stream = await download.createReadStream();
        const chunks = [];
        for await (const chunk of stream)
            chunks.push(chunk);
        const found = JSON.parse(Buffer.concat(chunks));
        check(found.queues.some((queue) => queue.name === "exported"), "the queue is not in the file");
        const file = (name, content) => page.setInputFiles("#import-file", { name, mimeType: "application/json", buffer: Buffer.from(content) });
        await page.click("button:text-is('Import')");
        await page.locator(".note.bad", { hasText: "Choose a file" }).waitFor();
        await file("plan.json", JSON.stringify({ queues: [{ name: "imported", vhost: "/", durable: true, auto_delete: false, arguments: {} }, { name: "exported", vhost: "/", durable: false, auto_delete: false, arguments: {} }] }));
        await page.click("button:text-is('What would it change?')");
        await page.locator(".result tr", { hasText: "Create" }).locator("td:text-is('imported')").waitFor();
        await page.locator(".result tr", { hasText: "Conflict" }).locator("td:text-is('exported')").waitFor();
        equal((await api("GET", "queues/%2F/imported")).status, 404, "the queue that is only planned");
        await file("good.json", JSON.stringify({ queues: [{ name: "imported", vhost: "/", durable: true, auto_delete: false, arguments: {} }] }));
        await page.click("button:text-is('Import')");
        await page.locator(".note.good", { hasText: "Imported: good.json" }).waitFor();
        equal((await api("GET", "queues/%2F/imported")).status, 200, "the imported queue");
        await file("bad.json", "{\"queues\": [");
        await page.click("button:text-is('Import')");
        await page.locator(".note.bad:visible").waitFor();
        await visitor.go("#/activity");
        await page.locator("tr", { hasText: "Import of bad.json" }).locator(".badge:text-is('failed')").waitFor();
    }, {}, [/status of 400/]);
};

// --- ways to look at it ----------------------------------------------------------------------------------------------------

scenarios.by_keyboard_alone = async () => {
    for (const name of ["keys-1", "keys-2"])
        await api("PUT", `queues/%2F/${name}`, {});
    await visit(async (visitor, page) => {
        const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
        equal(await page.evaluate(() => document.activeElement.id), "login-name", "the focus at the beginning");
        await page.keyboard.type("guest");
        await press("Tab");
        await page.keyboard.type("guest");
        await press("Enter");
        await page.waitForSelector("h1:text-is('Overview')");
        await page.waitForFunction(() => document.activeElement.tagName === "H1");
        await page.reload();
        await page.waitForSelector("h1:text-is('Overview')");
        await press("Tab");
        equal(await page.evaluate(() => document.activeElement.id), "skip", "the first stop");
        await press("Enter");
        equal(await page.evaluate(() => document.activeElement.id), "main", "after skipping");
        await press("?");
        await page.waitForSelector("dialog[open] kbd");
        await press("Escape");
        await page.waitForSelector("dialog", { state: "detached" });
        await press("g", "q");
        await page.waitForSelector("h1:text-is('Queues')");
        await page.waitForSelector("table.list a.row");
        await press("/");
        await page.keyboard.type("keys-");
        await page.waitForFunction(() => document.querySelectorAll("table.list tbody tr").length === 2);
        equal(await page.evaluate(() => document.activeElement.type), "search", "the focus while typing");
        await press("Escape", "j", "j");
        equal(await page.evaluate(() => document.activeElement.innerText), "keys-2", "the second row");
        await press("k", "Enter");
        await page.waitForSelector("h1:text-is('Queue keys-1')");
        equal(await page.evaluate(() => document.activeElement.tagName), "H1", "the focus on a new page");
        await page.waitForSelector("button:text-is('Delete')");
        for (let i = 0; i < 20 && !(await page.evaluate(() => document.activeElement.innerText === "Delete")); i++)
            await press("Tab");
        await press("Enter");
        await page.waitForSelector("dialog[open]");
        equal(await page.evaluate(() => document.activeElement.id), "typed-name", "the focus in the dialog");
        await page.keyboard.type("keys-1");
        await press("Enter");
        await page.waitForSelector("h1:text-is('Queues')");
        equal((await api("GET", "queues/%2F/keys-1")).status, 404, "the queue");
        const seen = await page.evaluate(() => getComputedStyle(document.activeElement, null).outlineStyle);
        check(seen !== undefined, "no outline");
    }, { isOut: true }, [/status of 404/]);
};

scenarios.on_a_phone = async () => {
    await api("PUT", `queues/%2F/${"a-long-name-".repeat(20)}`, { durable: true, arguments: { "x-max-length": 5, "x-message-ttl": 100000, "x-dead-letter-exchange": "amq.fanout" } });
    await api("POST", `bindings/%2F/e/amq.topic/q/${"a-long-name-".repeat(20)}`, { routing_key: "k".repeat(250) });
    await visit(async (visitor, page) => {
        await page.waitForSelector("main:not(.login)");
        for (const hash of [...await allPages(page), `#/queues/%2F/${"a-long-name-".repeat(20)}`, "#/exchanges/%2F/amq.topic", "#/bindings/%2F/exchange/amq.topic", "#/users/guest", "#/vhosts/%2F"]) {
            await visitor.go(hash);
            await page.evaluate(() => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
            const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
            check(wide <= window, `${hash} scrolls sideways: ${wide} of ${window}`);
        }
        check(!(await page.isVisible("nav")), "the menu is open");
        await page.click("button.menu");
        check(await page.isVisible("nav"), "the menu does not open");
        await page.click("nav a[href='#/queues']");
        await page.waitForSelector("h1:text-is('Queues')");
        check(!(await page.isVisible("nav")), "the menu stays open");
    }, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }, missing);
};

scenarios.light_and_dark = () => visit(async (visitor, page) => {
    // WCAG's contrast of two colours, of what is drawn on what.
    const contrasts = () => page.evaluate(() => {
        const parse = (color) => color.match(/[\d.]+/g).slice(0, 3).map(Number);
        const light = (rgb) => { const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = (node) => { for (; node; node = node.parentElement) { const color = getComputedStyle(node).backgroundColor; if (!/rgba\(.*, 0\)/.test(color)) return parse(color); } return [255, 255, 255]; };
        const low = [];
        for (const node of document.querySelectorAll("h1, h2, h3, p, a, td, th, dt, dd, small, label, button, .badge, .tiles span, .tiles b")) {
            if (!node.checkVisibility() || node.innerText.trim() === "" || node.disabled || node.getAttribute("aria-pressed") === "false")
                continue;
            const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5)
                low.push(`${node.tagName}.${node.className} “${node.innerText.slice(0, 20)}” ${ratio.toFixed(2)}`);
        }
        return [light(behind(document.body)), low];
    });
    await page.waitForSelector("figure.plot");
    for (const [theme, isDark] of [["Auto", true], ["Light", false], ["Dark", true]]) {
        equal(await text(page, "header .theme"), theme, "the theme");
        for (const hash of ["#/", "#/queues", "#/reasons", "#/users/guest"]) {
            await visitor.go(hash);
            const [back, low] = await contrasts();
            equal(back < 0.2, isDark, `${theme} is dark`);
            equal(low, [], `too little contrast in ${theme} on ${hash}`);
        }
        await page.evaluate(() => document.activeElement.blur());
        await page.keyboard.press("t");
    }
    await page.keyboard.press("t"); // light again
    await visitor.go("#/");
    await page.reload();
    await page.waitForSelector("figure.plot");
    equal(await page.evaluate(() => document.documentElement.dataset.theme), "light", "the theme after a reload");
}, { colorScheme: "dark" });

scenarios.many_queues = async () => {
    const count = Number(process.env.MANY_QUEUES);
    execFileSync(process.env.LEVERET_PERF, ["declare", "--uri", process.env.AMQP, "-n", String(count), "--keep", "--queue-pattern", "many-%d"], { stdio: "ignore" });
    await visit(async (visitor, page) => {
        let largest = 0;
        page.on("response", async (response) => { largest = Math.max(largest, (await response.body().catch(() => "")).length); });
        const rows = () => page.locator("table.list tbody tr").count();
        await visitor.go("#/queues?name=many-");
        await page.locator(".pages", { hasText: `${count.toLocaleString("en")}` }).waitFor();
        equal(await rows(), 100, "rows");
        await page.keyboard.press("]");
        await page.locator(".pages", { hasText: "page 2 of" }).waitFor();
        await page.locator("th button:text-is('Ready')").click();
        await page.waitForSelector("th[aria-sort=descending]");
        await visitor.go(`#/queues?name=many-&page=${count / 100}`);
        await page.locator(".pages", { hasText: `page ${(count / 100).toLocaleString("en")} of` }).waitFor();
        await page.fill("input[type=search]", `many-${count}`);
        await page.waitForFunction(() => document.querySelectorAll("table.list tbody tr").length === 1);
        await visitor.go("#/");
        await page.waitForFunction((n) => [...document.querySelectorAll(".tiles li")].some((tile) => tile.innerText.includes("Queues") && Number(tile.querySelector("b").innerText.replace(/\D/g, "")) >= n), Math.round(count / 1000));
        await visitor.go("#/bindings/%2F/exchange/amq.direct");
        for (const request of visitor.requests) {
            const url = new URL(request.url());
            check(!/^\/api\/(queues|exchanges|connections|channels|bindings|consumers)(\/[^/]+)?$/.test(url.pathname) || url.searchParams.has("page"), `a whole list was asked for: ${url}`);
        }
        check(largest < 400000, `an answer of ${largest} bytes`);
    });
};

// --- all -------------------------------------------------------------------------------------------------------------------

async function main(wanted) {
    await open();
    let status = 0;
    for (const [name, run] of Object.entries(scenarios)) {
        if (wanted.length > 0 && !wanted.includes(name))
            continue;
        const begun = Date.now();
        let error = null;
        try {
            await run();
        } catch (caught) {
            error = String(caught.stack);
            status = 1;
        }
        console.log(JSON.stringify({ name, ok: error === null, error, seconds: (Date.now() - begun) / 1000 }));
    }
    await close();
    process.exitCode = status;
}

if (process.argv[2] === "--list")
    console.log(Object.keys(scenarios).join("\n"));
else
    main(process.argv.slice(2));
