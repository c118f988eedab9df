// The same feed by the protocol's own server: it hears of changed runs by LISTEN, reads them, and sends them to the rooms.
"use strict";
const path = require("path");
const http = require("http");
const crypto = require("crypto");
const [folder, driver, url, secret] = process.argv.slice(2);
const { Server } = require(path.join(folder, "node_modules", "socket.io"));
const { Client } = require(path.join(driver, "node_modules", "pg"));

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

let number = 0;
const statement = {
    name: "run",
    text: "SELECT campaign_id, status, summary FROM campaign_runs WHERE id = $1",
};
(async () => {
    const reader = new Client({ connectionString: url });
    const listener = new Client({ connectionString: url });
    await Promise.all([reader.connect(), listener.connect()]);
    listener.on("notification", async ({ payload }) => {
        const { rows } = await reader.query({ ...statement, values: [payload] });
        for (const { campaign_id: campaignId, status, summary } of rows) {
            feed.to(`campaign:${campaignId}`).emit("campaign:status", {
                eventId: ++number,
                timestamp: new Date().toISOString(),
                runId: payload,
                campaignId,
                status,
                metrics: summary,
                updatedAt: summary.updatedAt,
            });
        }
    });
    await listener.query("LISTEN state_tracker_runs");
    server.listen(0, "127.0.0.1", () => console.log(server.address().port));
})();
require("readline")
    .createInterface({ input: process.stdin })
    .on("line", () => {
        global.gc();
        console.log("collected");
    })
    .on("close", () => process.exit(0));
