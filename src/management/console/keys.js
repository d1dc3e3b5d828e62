// The keys of the console. None counts while something is being typed or a dialog is open.

export const places = { o: ["", "overview"], c: ["connections", "connections"], h: ["channels", "channels"], e: ["exchanges", "exchanges"], q: ["queues", "queues"], b: ["bindings", "bindings"],
    r: ["route", "routing dry run"], u: ["users", "users"], v: ["vhosts", "virtual hosts"], p: ["policies", "policies"], d: ["definitions", "definitions"], w: ["reasons", "what was refused, and why"] };

export const list = [
    ["?", "this help"], ["/", "find: to the filter of the list"], ["j  k", "next, previous row of the list"], ["Enter", "open the row"], ["[  ]", "previous, next page of the list"],
    ["r", "ask the broker again, now"], ["t", "theme: as the system, light, dark"], ["Esc", "close a dialog or the menu"],
];

function isTyping(target) {
    return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}

function step(by) {
    const rows = [...document.querySelectorAll("main table.list tbody tr a.row")];
    const at = rows.findIndex((row) => row === document.activeElement || row.closest("tr").contains(document.activeElement));
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
    next?.focus();
}

export function keys(actions) {
    let isGoing = false; // "g" was pressed: the next key says where to
    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.altKey || event.metaKey)
            return;
        if (event.key === "Escape") {
            actions.closeMenu();
            if (isTyping(event.target) && !event.target.closest("dialog"))
                event.target.blur();
            return;
        }
        if (isTyping(event.target) || document.querySelector("dialog[open]") || document.body.classList.contains("out"))
            return;
        const wasGoing = isGoing;
        isGoing = event.key === "g" && !wasGoing;
        if (wasGoing && places[event.key]) {
            location.hash = `#/${places[event.key][0]}`;
        } else if (event.key === "j" || event.key === "k") {
            step(event.key === "j" ? 1 : -1);
        } else if (event.key === "[" || event.key === "]") {
            document.querySelector(event.key === "[" ? "main .pages .previous" : "main .pages .next")?.click();
        } else if (event.key === "/") {
            document.querySelector("main input[type=search]")?.focus();
        } else if (event.key === "r") {
            actions.refresh();
        } else if (event.key === "t") {
            actions.theme();
        } else if (event.key === "?") {
            actions.help();
        } else {
            return;
        }
        event.preventDefault();
    });
}
