// Definitions: everything but the messages as one file: out, in, and what a file would change.
import * as api from "./api.js";
import { button, h, link, note, replace } from "./dom.js";
import * as f from "./format.js";
import { vhostNames } from "./queues.js";
import { run, sections } from "./work.js";

const where = (vhost, word = "definitions") => (vhost === "" ? word : `${word}/${api.path(vhost.slice(1))}`);

async function download(vhost) {
    const content = await run(`Export of ${vhost === "" ? "everything" : vhost.slice(1)}`, () => api.getBlob(where(vhost)));
    const url = URL.createObjectURL(content);
    const name = `leveret-${vhost === "" ? "all" : vhost.slice(1).replace(/[^\w.-]+/g, "_")}-${new Date().toISOString().slice(0, 10)}.json`;
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function upload(ctx, vhosts) {
    const target = h("select", { id: "import-vhost" }, h("option", { value: "" }, "as the file says"), vhosts.map((name) => h("option", { value: ` ${name}` }, name)));
    const file = h("input", { type: "file", id: "import-file", accept: ".json,application/json" });
    const result = h("div", { class: "result", role: "status" });
    async function send(isPlan) {
        if (file.files.length === 0) {
            replace(result, note("bad", "Choose a file first."));
            file.focus();
            return;
        }
        const content = file.files[0];
        replace(result, h("p", null, isPlan ? "Comparing…" : "Importing… ", isPlan ? null : link("How far?", "#/activity")));
        try {
            if (isPlan) {
                const plan = await api.postBlob("definitions/plan" + (target.value === "" ? "" : "/" + api.path(target.value.slice(1))), content);
                replace(result, h("p", { class: "note" }, "Nothing was changed. This is what the import would do:"), sections(plan?.sections ?? plan), plan?.changes ? h("pre", { class: "payload" }, JSON.stringify(plan.changes, null, 2).slice(0, 50000)) : null);
            } else {
                await run(`Import of ${content.name} (${f.bytes(content.size)})`, () => api.postBlob(where(target.value), content));
                replace(result, note("good", `Imported: ${content.name}. What was there already and is not in the file stays.`));
                document.dispatchEvent(new Event("leveret:vhosts"));
            }
        } catch (error) {
            const text = isPlan && [404, 405].includes(error.status) ? "This broker cannot say beforehand what an import would change." : error.message;
            replace(result, note("bad", text, isPlan ? "" : " What came before it in the file may have been carried out."));
        }
    }
    return h("div", { class: "grid", key: "import", keep: true },
        h("div", { class: "field" }, h("label", { for: "import-file" }, "File"), file), h("div", { class: "field" }, h("label", { for: "import-vhost" }, "Into"), target),
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
        h("div", { class: "cards", key: "cards" }, h("section", { key: "out" }, h("h2", null, "Export"), exporting(vhosts)), h("section", { key: "in" }, h("h2", null, "Import"), upload(ctx, vhosts))),
    ],
};
