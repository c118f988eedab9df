// The same feed by the protocol's own server: tokens, rooms, acknowledgements, recovery.
"use strict";
const path = require("path");
const http = require("http");
const crypto = require("crypto");
const [folder, secret, first, rooms] = process.argv.slice(2);
const { Server } = require(path.join(folder, "node_modules", "socket.io"));

const server = http.createServer();
const io = new Server(server, { connectionStateRecovery: { maxDisconnectionDuration: 120000 } });
const feed = io.of("/campaigns");
feed.use((socket, next) => {
    const [header, claims, signature] = String(socket.handshake.auth.token).split(".");
    const right = crypto.createHmac("sha256", secret).update(`${header}.${claims}`).digest("base64url");
    next(signature === right ? undefined : new Error("Invalid token"));
});
feed.on("connection", (socket) => {
    socket.on("join_campaign", ({ campaignId }, answer) => {
        socket.join(`campaign:${campaignId}`);
        answer({ success: true, message: `Successfully joined campaign ${campaignId}`, campaignId });
    });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

const id = (number) => {
    const last = BigInt("0x" + first.slice(24)) + BigInt(number);
    return first.slice(0, 24) + last.toString(16).padStart(12, "0");
};
const now = () => (performance.timeOrigin + performance.now()) * 1000;
let published = 0;
const publish = () => {
    const campaignId = id(published % rooms);
    const filler = "x".repeat(350 + ((published * 37) % 1500));
    const at = Math.round(now());
    feed.to(`campaign:${campaignId}`).emit("campaign:status", {
        eventId: published,
        timestamp: new Date().toISOString(),
        runId: "r",
        campaignId,
        status: "running",
        number: published,
        at,
        filler,
    });
    published++;
};
require("readline")
    .createInterface({ input: process.stdin })
    .on("line", (line) => {
        const [what, events, perSecond] = line.split(" ");
        if (what !== "publish") {
            global.gc();
            return console.log("collected");
        }
        const started = performance.now();
        let done = 0;
        const step = () => {
            const due = Math.min(events, Math.floor(((performance.now() - started) * perSecond) / 1000) + 1);
            while (done < due) {
                publish();
                done++;
            }
            if (done < events) setTimeout(step, Math.max(1, started + (done * 1000) / perSecond - performance.now()));
            else console.log("published");
        };
        step();
    })
    .on("close", () => process.exit(0));
