// Making and updating the page. Text is always text: nothing here turns a string into elements.
//
// A view makes a new tree each time; `morph` carries the differences over to what is shown, so that focus, scroll position and what is
// being typed stay. Nodes with a `key` are found again among their siblings; nodes with `keep` stay as they are (forms, plots), but
// for their own `update(props)`.

const SVG = "http://www.w3.org/2000/svg";

function append(node, children) {
    for (const child of children) {
        if (Array.isArray(child))
            append(node, child);
        else if (child instanceof Node)
            node.append(child);
        else if (child !== null && child !== undefined && child !== false && child !== true)
            node.append(document.createTextNode(String(child)));
    }
}

function setProperty(node, name, value) {
    if (name === "key") {
        node.lvKey = value;
    } else if (name === "keep") {
        node.lvKeep = value;
    } else if (name === "mount" || name === "update" || name === "props") {
        node[`lv_${name}`] = value;
        node.lvKeep = true;
    } else if (name.startsWith("on")) {
        (node.lvOn ??= {})[name] = value;
        node[name] = value;
    } else if (name === "vars") {
        for (const [variable, text] of Object.entries(value))
            node.style.setProperty(variable, text);
    } else if (name === "value" && "value" in node) {
        node.value = value;
        node.lvValue = value;
    } else if (value === true) {
        node.setAttribute(name, "");
        if (name === "checked" || name === "selected")
            node[name] = true;
    } else if (value !== false && value !== null && value !== undefined) {
        node.setAttribute(name, value);
    }
}

function make(node, properties, children) {
    append(node, children);
    for (const [name, value] of Object.entries(properties ?? {}))
        setProperty(node, name, value);
    return node;
}

export const h = (tag, properties, ...children) => make(document.createElement(tag), properties, children);
export const s = (tag, properties, ...children) => make(document.createElementNS(SVG, tag), properties, children);

// --- morph -----------------------------------------------------------------------------------------------------------

function morphAttributes(node, next) {
    for (const { name } of [...node.attributes]) {
        if (name !== "style" && name !== "open" && !next.hasAttribute(name))
            node.removeAttribute(name);
    }
    for (const { name, value } of [...next.attributes]) {
        if (name !== "style" && name !== "open" && node.getAttribute(name) !== value)
            node.setAttribute(name, value);
    }
    if (node.style && node.style.cssText !== next.style.cssText)
        node.style.cssText = next.style.cssText;
    for (const name of Object.keys(node.lvOn ?? {}))
        node[name] = null;
    node.lvOn = next.lvOn;
    for (const [name, handler] of Object.entries(next.lvOn ?? {}))
        node[name] = handler;
}

function morphNode(node, next) {
    if (node.nodeType === Node.TEXT_NODE) {
        if (node.data !== next.data)
            node.data = next.data;
        return;
    }
    if (node.lvKeep) {
        node.lv_update?.(next.lv_props, node);
        return;
    }
    morphAttributes(node, next);
    morphChildren(node, [...next.childNodes]);
    if (next.lvValue !== undefined && document.activeElement !== node && node.value !== next.lvValue)
        node.value = next.lvValue;
}

const isAlike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.lvKey === b.lvKey && !a.lvKeep === !b.lvKeep;

function morphChildren(parent, children) {
    const keyed = new Map();
    for (const child of parent.childNodes) {
        if (child.lvKey !== undefined)
            keyed.set(child.lvKey, child);
    }
    let at = parent.firstChild;
    for (const next of children) {
        const found = next.lvKey !== undefined ? keyed.get(next.lvKey) : at;
        if (found && found.parentNode === parent && isAlike(found, next)) {
            if (found === at)
                at = at.nextSibling;
            else
                parent.insertBefore(found, at);
            morphNode(found, next);
        } else {
            parent.insertBefore(next, at);
        }
    }
    while (at) {
        const next = at.nextSibling;
        at.remove();
        at = next;
    }
}

function mountAll(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT);
    const found = [];
    for (let node = walker.currentNode; node; node = walker.nextNode()) {
        if (node.lv_mount && !node.lvMounted)
            found.push(node);
    }
    for (const node of found) {
        node.lvMounted = true;
        node.lv_mount(node.lv_props, node);
    }
}

export function morph(parent, ...children) {
    const focused = document.activeElement;
    const holder = h("div", null, ...children);
    morphChildren(parent, [...holder.childNodes]);
    mountAll(parent);
    if (focused && focused !== document.activeElement && focused.isConnected && parent.contains(focused))
        focused.focus({ preventScroll: true }); // a move takes the focus away
}

export function replace(parent, ...children) {
    parent.replaceChildren();
    append(parent, children);
    mountAll(parent);
}

// --- small pieces ----------------------------------------------------------------------------------------------------

export const link = (text, href, properties) => h("a", { href, ...properties }, text);
export const button = (text, onclick, properties) => h("button", { type: "button", onclick, ...properties }, text);
export const note = (kind, ...text) => h("p", { class: `note ${kind}`, role: kind === "bad" ? "alert" : null }, ...text);
export const badge = (text, title, kind = "") => h("abbr", { class: `badge ${kind}`, title }, text);
