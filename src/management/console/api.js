// The broker's HTTP API. Who is logged in holds a token that this tab alone knows; the password is sent once and not kept.

const KEY = "leveret.session";
const listeners = new Set();
let session = null;

try {
    session = JSON.parse(sessionStorage.getItem(KEY));
} catch {
    session = null;
}

export class ApiError extends Error {
    constructor(status, text) {
        super(text);
        this.status = status;
    }
}

export const user = () => session;
export const hasTag = (...tags) => session !== null && tags.some((tag) => session.tags.includes(tag));
export const isAdministrator = () => hasTag("administrator");
export const isMonitor = () => hasTag("administrator", "monitoring");
export const isPolicymaker = () => hasTag("administrator", "policymaker");
export const onSession = (listener) => listeners.add(listener);

function setSession(next, why) {
    session = next;
    try {
        if (next)
            sessionStorage.setItem(KEY, JSON.stringify(next));
        else
            sessionStorage.removeItem(KEY);
    } catch {
        // Then it ends with the page.
    }
    for (const listener of listeners)
        listener(why);
}

// Path segments, escaped. A browser takes "." and ".." for folders, however they are escaped.
export function path(...segments) {
    for (const segment of segments) {
        if (segment === "." || segment === "..")
            throw new ApiError(0, `A browser cannot ask for something that is named “${segment}”. Use leveretctl.`);
    }
    return segments.map(encodeURIComponent).join("/");
}

export function query(parameters) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
    return given.length > 0 ? "?" + new URLSearchParams(given) : "";
}

function words(status, body) {
    let text = "";
    try {
        const { reason, error } = JSON.parse(body);
        text = Array.isArray(reason) ? reason.join(": ") : typeof reason === "string" ? reason : "";
        if (text === "" || (status === 404 && text === "Not Found"))
            text = status === 404 ? "It is not there (any more)." : String(error ?? "");
    } catch {
        text = body.slice(0, 200);
    }
    return text || `The broker answered with status ${status}.`;
}

// The beginning of a long answer: whole elements of its first array, and that there is more.
async function readPart(response, bytesMax) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
        text += decoder.decode(part.value, { stream: true });
        if (text.length > bytesMax) {
            reader.cancel();
            const end = text.lastIndexOf("},{");
            return { ...JSON.parse(`${text.slice(0, end)}}]}`), isCut: true };
        }
    }
    return JSON.parse(text);
}

async function ask(method, where, { body, signal, headers, isBlob, bytesMax } = {}) {
    let response;
    try {
        response = await fetch(`api/${where}`, {
            method,
            signal,
            credentials: "omit",
            cache: "no-store",
            redirect: "error",
            referrerPolicy: "no-referrer",
            headers: {
                Accept: "application/json",
                ...(session ? { Authorization: `Bearer ${session.token}` } : {}),
                ...(body !== undefined ? { "Content-Type": "application/json" } : {}),
                ...headers,
            },
            body: body === undefined ? undefined : typeof body === "string" || body instanceof Blob ? body : JSON.stringify(body),
        });
    } catch (error) {
        if (error.name === "AbortError")
            throw error;
        throw new ApiError(0, "The broker does not answer.");
    }
    if (isBlob && response.ok)
        return response.blob();
    if (bytesMax && response.ok)
        return readPart(response, bytesMax);
    const text = await response.text();
    if (response.status === 401 && session && !headers && JSON.parse(text || "{}").error === "not_authorized")
        setSession(null, "ended");
    if (!response.ok)
        throw new ApiError(response.status, words(response.status, text));
    return { status: response.status, headers: response.headers, json: text === "" ? null : JSON.parse(text) };
}

export const get = async (where, signal) => (await ask("GET", where, { signal })).json;
export const getFull = (where, signal) => ask("GET", where, { signal });
export const put = (where, body = {}) => ask("PUT", where, { body });
export const post = async (where, body = {}) => (await ask("POST", where, { body })).json;
export const getBlob = (where) => ask("GET", where, { isBlob: true });
export const postBlob = async (where, blob) => (await ask("POST", where, { body: blob })).json;
export const postBlobPart = (where, blob, bytesMax) => ask("POST", where, { body: blob, bytesMax });
export const remove = (where, body) => ask("DELETE", where, { body });

// null instead of an error where it is not there, or not for this user.
export async function getIf(where, signal) {
    try {
        return await get(where, signal);
    } catch (error) {
        if (error instanceof ApiError && session && [401, 403, 404, 405].includes(error.status))
            return null;
        throw error;
    }
}

export async function logIn(name, password) {
    const bytes = new TextEncoder().encode(`${name}:${password}`);
    const credentials = btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
    const { json } = await ask("POST", "session", { body: {}, headers: { Authorization: `Basic ${credentials}` } });
    setSession({ token: json.token, name: json.name, tags: json.tags }, "in");
}

export async function logOut() {
    try {
        await ask("DELETE", "session");
    } catch {
        // It has ended already, or ends by itself.
    }
    setSession(null, "out");
}
