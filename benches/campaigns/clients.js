// Official clients: each joins its room and notes when which event came, by the clock of the machine. "report" prints both since the
// last one.
"use strict";
const path = require("path");
const [folder, url, ...pairs] = process.argv.slice(2);
const { io } = require(path.join(folder, "node_modules", "socket.io-client"));

let arrivals = [];
let joined = 0;
const now = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
for (const pair of pairs) {
    const [campaignId, token] = pair.split("=");
    const socket = io(url, { forceNew: true, transports: ["websocket"], auth: { token } });
    socket.on("campaign:status", (event) => arrivals.push(`${event.metrics.totalExecutions}:${now()}`));
    socket.on("connect", () =>
        socket.emit("join_campaign", { campaignId }, (answer) => {
            if (!answer.success) throw new Error(answer.message);
            if (++joined === pairs.length) console.log("ready");
        }),
    );
}
require("readline")
    .createInterface({ input: process.stdin })
    .on("line", () => {
        console.log(arrivals.join(" "));
        arrivals = [];
    })
    .on("close", () => process.exit(0));
