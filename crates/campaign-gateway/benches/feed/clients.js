// Official clients: each joins its room and notes how old each event is. "report" prints the ages in microseconds since the last one.
"use strict";
const path = require("path");
const [folder, url, token, ...rooms] = process.argv.slice(2);
const { io } = require(path.join(folder, "node_modules", "socket.io-client"));

let ages = [];
let joined = 0;
const now = () => (performance.timeOrigin + performance.now()) * 1000;
for (const campaignId of rooms) {
    const socket = io(url, { forceNew: true, transports: ["websocket"], auth: { token } });
    socket.on("campaign:status", (event) => {
        if (event.at) ages.push(Math.max(0, Math.round(now() - event.at)));
    });
    socket.on("connect", () =>
        socket.emit("join_campaign", { campaignId }, (answer) => {
            if (!answer.success) throw new Error(answer.message);
            if (++joined === rooms.length) console.log("ready");
        }),
    );
}
require("readline")
    .createInterface({ input: process.stdin })
    .on("line", () => {
        // What is on its way still counts.
        setTimeout(() => {
            console.log(ages.join(" "));
            ages = [];
        }, 200);
    })
    .on("close", () => process.exit(0));
