// Which page is at which address, and the menu. "*" is a name.
import { cluster, federation, shovel } from "./cluster.js";
import { channel, channels, connection, connections } from "./connections.js";
import { definitions } from "./definitions.js";
import { exchange, exchanges } from "./exchanges.js";
import { overview } from "./overview.js";
import { bindings, picture } from "./picture.js";
import { policies } from "./policies.js";
import { queue } from "./queue.js";
import { queues } from "./queues.js";
import { reasons } from "./reasons.js";
import { route } from "./route.js";
import { user, users } from "./users.js";
import { vhost, vhosts } from "./vhosts.js";
import { activity } from "./work.js";

export const routes = [
    ["", overview], ["reasons", reasons], ["activity", activity],
    ["connections", connections], ["connections/*", connection], ["channels", channels], ["channels/*", channel],
    ["exchanges", exchanges], ["exchanges/*/*", exchange], ["queues", queues], ["queues/*/*", queue],
    ["bindings", bindings], ["bindings/*/*/*", picture], ["route", route], ["route/*/*", route], ["route/*", route],
    ["users", users], ["users/*", user], ["vhosts", vhosts], ["vhosts/*", vhost], ["policies", policies], ["definitions", definitions],
    ["cluster", cluster], ["federation", federation], ["shovels", shovel],
];

const monitors = ["administrator", "monitoring"];
const administrators = ["administrator"];

export const menu = [
    { group: "Broker", word: "", text: "Overview" },
    { group: "Broker", word: "reasons", text: "Reasons", tags: monitors },
    { group: "Broker", word: "activity", text: "Activity" },
    { group: "Clients", word: "connections", text: "Connections" },
    { group: "Clients", word: "channels", text: "Channels" },
    { group: "Messages", word: "exchanges", text: "Exchanges" },
    { group: "Messages", word: "queues", text: "Queues" },
    { group: "Messages", word: "bindings", text: "Bindings" },
    { group: "Messages", word: "route", text: "Routing dry run" },
    { group: "Rules", word: "policies", text: "Policies" },
    { group: "Rules", word: "users", text: "Users", tags: administrators },
    { group: "Rules", word: "vhosts", text: "Virtual hosts" },
    { group: "Rules", word: "definitions", text: "Definitions", tags: administrators },
    { group: "Elsewhere", word: "cluster", text: "Cluster", tags: monitors },
    { group: "Elsewhere", word: "federation", text: "Federation", tags: monitors },
    { group: "Elsewhere", word: "shovels", text: "Shovels", tags: monitors },
];
