// Drives clients of the official library: commands come in as lines of JSON, and what happens goes out as lines of JSON.
// The first argument is the folder whose node_modules has socket.io-client.
"use strict";
const path = require("path");
const readline = require("readline");
const { io } = require(path.join(process.argv[2], "node_modules", "socket.io-client"));

const sockets = new Map();
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const fail = (id) => (error) => say({ id, what: "failed", error: String(error) });

const commands = {
    connect({ id, url, options }) {
        const socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, ...options });
        sockets.set(id, socket);
        socket.on("connect", () => {
            say({
                id,
                what: "connect",
                recovered: socket.recovered,
                sid: socket.id,
                transport: socket.io.engine.transport.name,
            });
        });
        // The change may be over before the namespace has answered.
        socket.io.on("open", () =>
            socket.io.engine.once("upgrade", (transport) => say({ id, what: "upgrade", transport: transport.name })),
        );
        socket.on("connect_error", (error) =>
            say({ id, what: "connect_error", message: error.message, data: error.data ?? null }),
        );
        socket.on("disconnect", (reason) => say({ id, what: "disconnect", reason }));
        socket.io.on("reconnect_failed", () => say({ id, what: "reconnect_failed" }));
        socket.onAny((name, ...values) => say({ id, what: "event", name, values }));
    },
    emit({ id, name, values, number }) {
        const socket = sockets.get(id);
        if (number === undefined) return socket.emit(name, ...values);
        socket.timeout(20000).emit(name, ...values, (error, value) =>
            say({ id, what: "ack", number, error: error ? String(error) : null, value: value ?? null }),
        );
    },
    // The connection breaks below the library, as a network does it.
    // With another URL, it connects there next, as behind a balancer.
    cut({ id, next }) {
        const { engine } = sockets.get(id).io;
        if (next) sockets.get(id).io.uri = new URL(next).origin;
        const transport = engine.transport;
        if (transport.ws) transport.ws.terminate ? transport.ws.terminate() : transport.ws.close();
        else transport.onError("cut");
    },
    cut_if_connected(command) {
        const socket = sockets.get(command.id);
        if (socket.connected && socket.io.engine && socket.io.engine.transport) commands.cut(command);
    },
    // Raw text below the library.
    raw({ id, text }) {
        const { engine } = sockets.get(id).io;
        engine.transport.ws.send(text);
    },
    token({ id, token }) {
        sockets.get(id).auth = { token };
    },
    disconnect({ id }) {
        sockets.get(id).disconnect();
    },
    open({ id }) {
        sockets.get(id).connect();
    },
    // A component that makes a new connection at each drawing, since its callbacks are new each time, and ends the former one.
    flood({ id, url, options, count, within }) {
        let made = 0;
        let last = null;
        const outcome = { connect: 0, connect_error: 0, disconnect: 0 };
        const timer = setInterval(() => {
            for (let step = 0; step < Math.ceil((count * 10) / within) && made < count; step++, made++) {
                if (last) last.disconnect();
                last = io(url, { forceNew: true, reconnectionAttempts: 5, ...options });
                for (const what of Object.keys(outcome)) last.on(what, () => outcome[what]++);
            }
            if (made >= count) {
                clearInterval(timer);
                last.disconnect();
                setTimeout(() => say({ id, what: "flooded", made, ...outcome }), 200);
            }
        }, 10);
    },
};

readline
    .createInterface({ input: process.stdin })
    .on("line", (line) => {
        const command = JSON.parse(line);
        try {
            commands[command.do](command);
        } catch (error) {
            fail(command.id)(error);
        }
    })
    .on("close", () => process.exit(0));
say({ what: "ready", version: require(path.join(process.argv[2], "node_modules", "socket.io-client", "package.json")).version });
