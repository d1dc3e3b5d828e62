// Definitions: everything but the messages as one file: out, in, and what a file would change.
import * as api from "./api.js";
import { button, h, link, note, replace } from "./dom.js";
import { confirm } from "./forms.js";
import * as f from "./format.js";
import { vhostNames } from "./queues.js";
import { run } from "./work.js";

const where = (vhost, word = "definitions") => (vhost === "" ? word : `${word}/${api.path(vhost.slice(1))}`);

async function download(vhost) {
    const content = await run(`Export of ${vhost === "" ? "everything" : vhost.slice(1)}`, () => api.getBlob(where(vhost)));
    const url = URL.createObjectURL(content);
    const name = `leveret-${vhost === "" ? "all" : vhost.slice(1).replace(/[^\w.-]+/g, "_")}-${new Date().toISOString().slice(0, 10)}.json`;
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
}

const verbs = { create: "Create", change: "Change", conflict: "Conflict", skip: "Skip", delete: "Delete", same: "Nothing to do" };
const PLAN_BYTES_MAX = 4 << 20;
const PLAN_SHOWN = 500;

// What an import would do.
function planView(plan) {
    const counts = Object.entries(plan.counts ?? {}).filter(([, n]) => n > 0);
    const total = plan.counts ? Object.entries(plan.counts).reduce((sum, [verb, n]) => (verb === "same" ? sum : sum + n), 0) : plan.changes.length;
    return [
        h("p", { class: "note" }, "Nothing was changed. This is what the import would do."),
        h("ul", { class: "tiles" }, counts.map(([verb, n]) => h("li", null, h("div", null, h("span", null, verbs[verb] ?? verb), h("b", null, f.count(n)))))),
        plan.changes.length === 0 ? h("p", null, "Everything in the file is there already, as the file says.") : h("div", { class: "scroll flat" }, h("table", { class: "list" },
            h("thead", null, h("tr", null, ["What", "Kind", "Virtual host", "Name", "Why"].map((text) => h("th", { scope: "col" }, text)))),
            h("tbody", null, plan.changes.slice(0, PLAN_SHOWN).map((one) => h("tr", null, h("td", null, h("span", { class: `badge ${one.action === "create" ? "good" : ["conflict", "delete"].includes(one.action) ? "bad" : "warn"}` }, verbs[one.action] ?? one.action)),
                h("td", null, one.kind), h("td", null, one.vhost ?? "–"), h("td", { class: "long" }, one.name ?? [one.user, one.source, one.destination, one.routing_key].filter(Boolean).join(" → ")), h("td", { class: "long" }, one.reason ?? "")))))),
        plan.isCut || total > PLAN_SHOWN ? h("p", { class: "dim" }, plan.isCut ? `The first ${f.count(PLAN_SHOWN)} of very many.` : `The first ${f.count(PLAN_SHOWN)} of ${f.count(total)}.`) : null,
    ];
}

function upload(ctx, vhosts) {
    const target = h("select", { id: "import-vhost" }, h("option", { value: "" }, "as the file says"), vhosts.map((name) => h("option", { value: ` ${name}` }, name)));
    const mode = h("select", { id: "import-mode" }, h("option", { value: "" }, "add and change"), h("option", { value: "exact" }, "exactly the file: delete what it does not have"));
    const file = h("input", { type: "file", id: "import-file", accept: ".json,application/json" });
    const result = h("div", { class: "result", role: "status" });
    const query = (isPlan) => api.query({ dry_run: isPlan ? "true" : null, mode: mode.value });
    async function carryOut(content) {
        await run(`Import of ${content.name} (${f.bytes(content.size)})`, () => api.postBlob(where(target.value) + query(false), content));
        replace(result, note("good", `Imported: ${content.name}. `, mode.value === "exact" ? "What the file does not have was deleted." : "What was there already and is not in the file stays."));
        document.dispatchEvent(new Event("leveret:vhosts"));
    }
    async function send(isPlan) {
        if (file.files.length === 0) {
            replace(result, note("bad", "Choose a file first."));
            file.focus();
            return;
        }
        const content = file.files[0];
        if (!isPlan && mode.value === "exact") {
            confirm({ title: "Import exactly", name: content.name, verb: "Import and delete", text: "What the file does not have is deleted, of every section that it has: queues with their messages, exchanges, bindings, users, policies. Look first what would change.", act: () => carryOut(content) });
            return;
        }
        replace(result, h("p", null, isPlan ? "Comparing…" : "Importing… ", isPlan ? null : link("How far?", "#/activity")));
        try {
            if (isPlan)
                replace(result, planView(await api.postBlobPart(where(target.value) + query(true), content, PLAN_BYTES_MAX)));
            else
                await carryOut(content);
        } catch (error) {
            replace(result, note("bad", error.message, isPlan ? "" : " What came before it in the file may have been carried out."));
        }
    }
    return h("div", { class: "grid", key: "import", keep: true },
        h("div", { class: "field" }, h("label", { for: "import-file" }, "File"), file), h("div", { class: "field" }, h("label", { for: "import-vhost" }, "Into"), target), h("div", { class: "field" }, h("label", { for: "import-mode" }, "How"), mode),
        h("div", { class: "actions" }, button("What would it change?", () => send(true)), button("Import", () => send(false), { class: "primary" })), result);
}

function exporting(vhosts) {
    const source = h("select", { id: "export-vhost" }, h("option", { value: "" }, "everything, users too"), vhosts.map((name) => h("option", { value: ` ${name}` }, name)));
    const result = h("div", { class: "result", role: "status" });
    return h("div", { class: "grid", key: "export", keep: true }, h("div", { class: "field" }, h("label", { for: "export-vhost" }, "Of"), source),
        h("div", { class: "actions" }, button("Download", async () => {
            try {
                await download(source.value);
                replace(result, note("good", "Downloaded. The file holds password hashes when it holds users: keep it as you keep passwords."));
            } catch (error) {
                replace(result, note("bad", error.status === 404 ? "This broker has no definitions export." : error.message));
            }
        }, { class: "primary" })), result);
}

export const definitions = {
    title: () => "Definitions",
    every: 3600000,
    load: async (ctx) => ({ vhosts: await vhostNames(ctx) }),
    view: ({ vhosts }, ctx) => [
        h("p", { class: "dim", key: "text" }, "Users, virtual hosts, permissions, policies, queues, exchanges and bindings as one JSON file, of this broker or of RabbitMQ 3.8 and later. Messages are not in it."),
        h("section", { key: "out" }, h("h2", null, "Export"), exporting(vhosts)),
        h("section", { key: "in" }, h("h2", null, "Import"), upload(ctx, vhosts)),
    ],
};
