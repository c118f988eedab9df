//! The publisher: all events in one pipeline; and when the last of them has left the server and the reader's socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use testkit::RedisServer;

use crate::{CHANNEL, EVENTS};

/// How long a burst may take.
const SOON: Duration = Duration::from_secs(60);

/// Publishes all events; returns when the server has none for a reader any more, and no socket of a reader holds one.
pub(crate) async fn burst(redis: &RedisServer) -> Duration {
    let server = redis.addr();
    tokio::task::spawn_blocking(move || {
        let mut pipeline = Vec::new();
        for event in 0..EVENTS {
            let payload = format!("submission:received:{event}:42:pair:UNI:17639");
            write!(
                pipeline,
                "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{CHANNEL}\r\n${}\r\n{payload}\r\n",
                CHANNEL.len(),
                payload.len()
            )
            .expect("a text");
        }
        let mut stream = TcpStream::connect(server).expect("connected");
        let mut answers = stream.try_clone().expect("cloned");
        let began = Instant::now();
        let writer = std::thread::spawn(move || stream.write_all(&pipeline).map(|()| stream));
        let (mut answered, mut bytes) = (0, vec![0; 64 << 10]);
        while answered < EVENTS {
            let size = answers.read(&mut bytes).expect("answers");
            assert!(size > 0, "the publisher is cut off");
            answered += bytes[..size].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        let _stream = writer.join().expect("no panic").expect("written");
        let mut asks = TcpStream::connect(server).expect("connected");
        while is_waiting(&mut asks, server) {
            assert!(began.elapsed() < SOON, "the burst does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    })
    .await
    .expect("no panic")
}

/// Whether the server holds output for a reader, or the kernel input for one.
fn is_waiting(asks: &mut TcpStream, server: SocketAddr) -> bool {
    asks.write_all(b"CLIENT LIST TYPE pubsub\r\n").expect("asked");
    let mut bytes = [0; 16 << 10];
    let size = asks.read(&mut bytes).expect("answered");
    let clients = String::from_utf8_lossy(&bytes[..size]);
    if clients.split_whitespace().any(|word| {
        word.strip_prefix("omem=").is_some_and(|held| held != "0")
            || word.strip_prefix("obl=").is_some_and(|held| held != "0")
    }) {
        return true;
    }
    // Each line: number, local address, remote address, state, tx_queue:rx_queue, …
    let table = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
    let port = format!(":{:04X}", server.port());
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let queues = fields.get(4).and_then(|queues| queues.split_once(':'));
        let (local, remote) = (fields.get(1).copied().unwrap_or(""), fields.get(2).copied().unwrap_or(""));
        let is_waiting = |queue: &str| u64::from_str_radix(queue, 16).is_ok_and(|held| held > 0);
        match queues {
            // The receive queue of a socket that listens counts connections.
            Some((sent, _)) if local.ends_with(&port) && fields.get(3) != Some(&"0A") => is_waiting(sent),
            Some((_, received)) if remote.ends_with(&port) => is_waiting(received),
            _ => false,
        }
    })
}
