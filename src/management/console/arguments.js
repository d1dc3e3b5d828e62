// What queues can be told, by argument or policy: names, how they are filled in, and which of several sayings counts.

// [argument, policy key, label, kind, hint]
export const settings = [
    ["x-message-ttl", "message-ttl", "Message time to live (ms)", "number", "Messages older than this leave."],
    ["x-expires", "expires", "Expires unused after (ms)", "number", "The queue is deleted when nobody used it for so long."],
    ["x-max-length", "max-length", "Longest (messages)", "number", "Beyond it “overflow” says what happens."],
    ["x-max-length-bytes", "max-length-bytes", "Largest (bytes)", "number", "Of bodies that wait."],
    ["x-overflow", "overflow", "Overflow", ["", "drop-head", "reject-publish", "reject-publish-dlx"], "drop-head: the oldest leave; reject-publish: new ones are refused."],
    ["x-dead-letter-exchange", "dead-letter-exchange", "Dead-letter exchange", "text", "Where messages go that expire, are rejected or dropped."],
    ["x-dead-letter-routing-key", "dead-letter-routing-key", "Dead-letter routing key", "text", "Empty: each keeps its own."],
    ["x-dead-letter-strategy", "dead-letter-strategy", "Dead-letter strategy", ["", "at-most-once", "at-least-once"], ""],
    ["x-max-priority", null, "Priorities up to", "number", "1 to 255; a few are enough."],
    ["x-delivery-limit", "delivery-limit", "Delivery limit", "number", "A message that came back more often leaves."],
    ["x-consumer-timeout", "consumer-timeout", "Consumer timeout (ms)", "number", "How long a consumer may hold a message."],
    ["x-single-active-consumer", null, "Single active consumer", "check", "One consumer gets all, the others wait."],
    ["x-durability", "durability", "Confirm when", ["", "fsync", "os", "memory"], "fsync: on disk; os: handed to the operating system; memory: taken."],
];

const numbers = new Set(["message-ttl", "expires", "max-length", "max-length-bytes", "delivery-limit", "consumer-timeout"]);

// What counts of an argument, an operator policy's and a policy's value: of numbers the smallest, otherwise the first that says something.
// A negative delivery limit and a consumer timeout of 0 mean "none".
function counted(key, sayings) {
    const said = sayings.filter(([, value]) => value !== undefined);
    if (said.length === 0 || !numbers.has(key) || said.some(([, value]) => typeof value !== "number"))
        return said[0];
    const isNone = (value) => (key === "delivery-limit" && value < 0) || (key === "consumer-timeout" && value === 0);
    const limits = said.filter(([, value]) => !isNone(value));
    return (limits.length > 0 ? limits : said).reduce((least, one) => (one[1] < least[1] ? one : least));
}

// [{name, argument, operator, policy, value, from}] of everything that says something.
export function explain(argumentTable, policy, operator) {
    const rows = [];
    const names = new Map(settings.map(([argument, key]) => [argument, key]));
    const keys = new Set([...Object.keys(policy?.definition ?? {}), ...Object.keys(operator?.definition ?? {})]);
    for (const [argument, key] of names) {
        if (argumentTable[argument] !== undefined)
            keys.add(key ?? argument);
    }
    for (const argument of Object.keys(argumentTable)) {
        if (!names.has(argument))
            keys.add(argument.startsWith("x-") && keys.has(argument.slice(2)) ? argument.slice(2) : argument);
    }
    for (const key of keys) {
        const sayings = [
            ["argument", argumentTable[key.startsWith("x-") ? key : `x-${key}`]],
            ["operator policy", operator?.definition?.[key]],
            ["policy", policy?.definition?.[key]],
        ];
        const [from, value] = counted(key, sayings) ?? [];
        rows.push({ name: key.replace(/^x-/, ""), argument: sayings[0][1], operator: sayings[1][1], policy: sayings[2][1], value, from });
    }
    return rows.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export const argumentFields = () => settings.map(([name, , label, kind, hint]) => (Array.isArray(kind)
    ? { name, label, kind: "select", options: kind.map((text) => [text, text === "" ? "not set" : text]), hint }
    : { name, label, kind, hint }));

// What the fields of argumentFields came to, and the JSON for everything else.
export function argumentsOf(values) {
    const found = { ...values.arguments };
    for (const [name] of settings) {
        if (values[name] !== undefined && values[name] !== "" && values[name] !== false)
            found[name] = values[name];
    }
    return found;
}
