// Which page is at which address, and the menu. "*" is a name.
import { overview } from "./overview.js";
import { queues } from "./queues.js";

export const routes = [
    ["", overview],
    ["queues", queues],
];

export const menu = [
    { group: "Broker", word: "", text: "Overview" },
    { group: "Objects", word: "queues", text: "Queues" },
];
