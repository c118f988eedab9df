//! A client of HTTP that costs little: it shares the machine with what it measures.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The end of a head.
const END: &[u8] = b"\r\n\r\n";
/// The most bytes of a head.
const LONGEST_HEAD: usize = 16 << 10;

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
            let Some(end) = all.windows(END.len()).take(LONGEST_HEAD).position(|part| part == END) else {
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

    /// Sends this many requests at a time, again and again, for a while; the answers, whose bodies have all this length.
    async fn pour(&mut self, requests: &[u8], at_a_time: usize, body: usize, until: Instant) -> usize {
        let (mut begun, mut passed) = (0, Passed { body, ..Passed::default() });
        while Instant::now() < until {
            self.stream.write_all(requests).await.expect("sent");
            begun += at_a_time;
            while passed.answers < begun {
                let count = self.stream.read(&mut self.buffer).await.expect("read");
                assert!(count > 0, "the server closed");
                passed.pass(&self.buffer[..count]);
            }
        }
        passed.answers
    }
}

/// Counts answers whose bodies have one length, and keeps none of them. Their heads need not be as long as each other.
#[derive(Default)]
struct Passed {
    /// How long a body is.
    body: usize,
    answers: usize,
    /// The beginning of a head, whose end has not come.
    head: Vec<u8>,
    /// What is missing of a body, after its head.
    missing: Option<usize>,
}

impl Passed {
    fn pass(&mut self, mut read: &[u8]) {
        while !read.is_empty() || self.missing == Some(0) {
            read = match self.missing {
                Some(missing) => self.pass_body(missing, read),
                None => self.pass_head(read),
            };
        }
    }

    fn pass_body<'a>(&mut self, missing: usize, read: &'a [u8]) -> &'a [u8] {
        let taken = missing.min(read.len());
        self.missing = Some(missing - taken).filter(|left| *left > 0);
        self.answers += usize::from(self.missing.is_none());
        &read[taken..]
    }

    fn pass_head<'a>(&mut self, read: &'a [u8]) -> &'a [u8] {
        let before = self.head.len();
        self.head.extend_from_slice(&read[..read.len().min(LONGEST_HEAD)]);
        // The end of a head may be in two reads.
        let from = before.saturating_sub(END.len() - 1);
        let Some(end) = self.head[from..].windows(END.len()).position(|part| part == END) else {
            assert!(self.head.len() < LONGEST_HEAD, "an answer has no end of its head");
            return &[];
        };
        self.missing = Some(self.body);
        self.head.clear();
        &read[from + end + END.len() - before..]
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
