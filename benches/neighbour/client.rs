//! Another client of the same server: a command each millisecond, and how long each took.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A client that measures until it is stopped.
pub(crate) struct Client {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

/// How long its commands took.
pub(crate) struct Waits {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
}

impl Client {
    /// A client of this server. It has a thread of its own, so that it waits for no task of this program.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(server).expect("connected");
            stream.set_nodelay(true).expect("set");
            let (mut waits, mut answer) = (Vec::new(), [0; 64]);
            while !over.load(Relaxed) {
                let began = Instant::now();
                stream.write_all(b"PING\r\n").expect("sent");
                let size = stream.read(&mut answer).expect("answered");
                assert_eq!(&answer[..size], b"+PONG\r\n");
                waits.push(began.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            waits
        });
        Self { is_over, thread }
    }

    /// Measures while this work is done.
    pub(crate) async fn during(self, work: impl Future<Output = ()>) -> Waits {
        work.await;
        self.is_over.store(true, Relaxed);
        let mut waits = self.thread.join().expect("no panic");
        waits.sort_unstable();
        let of = |share: usize| waits[(waits.len() - 1) * share / 1_000];
        Waits { p50: of(500), p99: of(990), longest: of(1_000) }
    }
}

/// The name, first key and time of an entry of Redis' log of slow commands.
pub(crate) fn slow_command(entry: &redis::Value) -> Option<String> {
    let redis::Value::Array(fields) = entry else { return None };
    let (redis::Value::Int(took), redis::Value::Array(words)) = (fields.get(2)?, fields.get(3)?) else {
        return None;
    };
    let text = |word: &redis::Value| match word {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).chars().take(80).collect(),
        _ => String::new(),
    };
    let words: Vec<String> = words.iter().take(3).map(text).collect();
    Some(format!("[{} {took} us]", words.join(" ")))
}
