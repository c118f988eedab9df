// Follows a campaign as the original's front end does, with the official client, until it is ended (Ctrl-C).
//
//   npm install socket.io-client
//   TOKEN=… node client.mjs CAMPAIGN_ID [URL]
import { io } from "socket.io-client";

const [campaignId, url = "http://localhost:3000/campaigns"] = process.argv.slice(2);
const socket = io(url, { auth: { token: process.env.TOKEN } });

socket.on("connect", () => {
    // A client that was away for less than two minutes is in its rooms again.
    if (socket.recovered) return;
    socket.emit("join_campaign", { campaignId }, (answer) => console.log(answer.message));
});
socket.on("campaign:status", ({ eventId, runId, status, metrics }) => {
    console.log(`${eventId} run ${runId} ${status}: ${metrics.succeededJobs} of ${metrics.totalJobs} jobs succeeded`);
});
socket.on("campaign:alert", ({ runId, successRate, threshold }) => {
    console.log(`run ${runId}: the success rate ${successRate} is below ${threshold}`);
});
socket.on("auth:expired", () => console.log("the token expires: send auth:refresh {token}"));
socket.on("connect_error", (error) => console.error(error.message));

process.once("SIGINT", () => {
    socket.emit("leave_campaign", { campaignId }, (answer) => {
        console.log(answer.message);
        socket.disconnect();
    });
    // Without an answer there is nobody to leave.
    setTimeout(() => process.exit(), 1_000).unref();
});
