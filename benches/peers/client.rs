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

    /// Sends this many requests at a time, again and again, for a while; the answers. Their heads need not be as long as each other.
    async fn pour(&mut self, requests: &[u8], at_a_time: usize, body: usize, until: Instant) -> usize {
        let (mut answers, mut head) = (0, Vec::new());
        while Instant::now() < until {
            self.stream.write_all(requests).await.expect("sent");
            let (mut left, mut of_body) = (at_a_time, 0);
            while left > 0 || of_body > 0 {
                let count = self.stream.read(&mut self.buffer).await.expect("read");
                assert!(count > 0, "the server closed");
                let mut read = &self.buffer[..count];
                while !read.is_empty() {
                    if of_body > 0 {
                        let taken = of_body.min(read.len());
                        (of_body, read) = (of_body - taken, &read[taken..]);
                        continue;
                    }
                    // The end of a head may be in two reads.
                    let before = head.len();
                    head.extend_from_slice(&read[..read.len().min(4 << 10)]);
                    let from = before.saturating_sub(3);
                    let Some(end) = head[from..].windows(4).position(|part| part == b"\r\n\r\n") else {
                        assert!(head.len() < 8 << 10, "an answer has no end of its head");
                        read = &read[head.len() - before..];
                        continue;
                    };
                    read = &read[from + end + 4 - before..];
                    head.clear();
                    (left, of_body) = (left - 1, body);
                }
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
        let (requests, body) = (requests.clone(), one.body.len());
        tokio::spawn(async move {
            let mut client = Client::connect(load.to).await;
            client.pour(&requests, load.at_a_time, body, began + length).await
        })
    });
    let all = futures_util::future::join_all(clients).await;
    let count: usize = all.into_iter().map(|count| count.expect("no panic")).sum();
    count as f64 / began.elapsed().as_secs_f64()
}
