//! A client of HTTP that costs little: it shares the machine with what it measures.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection that is kept open.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A field of its head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The bytes of the whole of it.
    pub(crate) fn length(&self) -> usize {
        self.head.len() + 4 + self.body.len()
    }
}

/// A request with these lines in its head, each with its end.
pub(crate) fn request(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        Self { stream, buffer: vec![0; 256 << 10] }
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(&mut self, path: &str, lines: &str) -> Answer {
        self.stream.write_all(request(path, lines).as_bytes()).await.expect("sent");
        let mut all: Vec<u8> = Vec::new();
        loop {
            let count = self.stream.read(&mut self.buffer).await.expect("read");
            assert!(count > 0, "the server closed");
            all.extend_from_slice(&self.buffer[..count]);
            let Some(end) = all.windows(4).take(16 << 10).position(|part| part == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&all[..end]).into_owned();
            let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
            let mut answer = Answer { status, head, body: Vec::new() };
            let length = answer.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if status == 304 || all.len() == end + 4 + length {
                answer.body = all.split_off(end + 4);
                return answer;
            }
        }
    }

    /// Sends this many requests at a time, again and again, for a while; the answers, whose length is always the same.
    async fn pour(&mut self, requests: &[u8], at_a_time: usize, length: usize, until: Instant) -> usize {
        let mut answers = 0;
        while Instant::now() < until {
            self.stream.write_all(requests).await.expect("sent");
            let mut left = at_a_time * length;
            while left > 0 {
                let count = self.stream.read(&mut self.buffer).await.expect("read");
                assert!(
                    count > 0 && count <= left,
                    "an answer of another length: {count} bytes, {left} were left of {at_a_time} times {length}: {}",
                    String::from_utf8_lossy(&self.buffer[..count.min(300)])
                );
                left -= count;
            }
            answers += at_a_time;
        }
        answers
    }
}

/// How a server is asked.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) path: &'a str,
    /// The lines of the head, each with its end.
    pub(crate) lines: &'a str,
    pub(crate) status: u16,
    /// The connections that ask at a time, and how many requests each sends at a time.
    pub(crate) connections: usize,
    pub(crate) at_a_time: usize,
}

/// The answers a second of a server over a while.
pub(crate) async fn answers(load: Load<'_>, length: Duration) -> f64 {
    let one = Client::connect(load.to).await.ask(load.path, load.lines).await;
    assert_eq!(one.status, load.status);
    let requests = request(load.path, load.lines).repeat(load.at_a_time).into_bytes();
    let began = Instant::now();
    let clients = (0..load.connections).map(|_| {
        let (requests, bytes) = (requests.clone(), one.length());
        tokio::spawn(async move {
            let mut client = Client::connect(load.to).await;
            client.pour(&requests, load.at_a_time, bytes, began + length).await
        })
    });
    let all = futures_util::future::join_all(clients).await;
    let count: usize = all.into_iter().map(|count| count.expect("no panic")).sum();
    count as f64 / began.elapsed().as_secs_f64()
}
