//! Servers that answer without an end, on each way to Redis: the memory stays bounded, and the error says why.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{ConnectionInfo, IntoConnectionInfo};
use store_redis::{Batch, ErrorKind, Operation, RedisSettings, Servers, Store, StoreError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

/// One test at a time: they measure the memory of the process.
static ALONE: Mutex<()> = Mutex::const_new(());
const TEST: Operation = Operation::new("test", "test");
/// What one request may be answered.
const LIMIT: usize = 64 << 20;
/// What the sockets of both sides hold beside it, by the limits of the system: at most some 40 MB.
const BUFFERS: usize = 64 << 20;

/// The answer to a command.
#[derive(Clone)]
enum Reply {
    Once(Vec<u8>),
    /// A beginning, and what follows for ever.
    Endless(Vec<u8>, Vec<u8>),
}

fn once(text: &str) -> Reply {
    Reply::Once(text.as_bytes().to_vec())
}

fn endless(begin: &str, part: &str) -> Reply {
    // Large parts, so that the server is not slower than the client.
    Reply::Endless(begin.as_bytes().to_vec(), part.repeat((256 << 10) / part.len()).into_bytes())
}

/// A server that answers by a function of the command's words.
struct Server {
    address: SocketAddr,
    /// Bytes sent to each of the connections.
    sent: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: impl Fn(&[String]) -> Reply + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, sent) = (listener.local_addr().expect("bound"), Arc::<AtomicUsize>::default());
        let counted = sent.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), counted.clone()));
            }
        });
        Self { address, sent }
    }

    fn info(&self) -> ConnectionInfo {
        format!("redis://{}/0", self.address).into_connection_info().expect("a URL")
    }

    fn store(&self, servers: Servers) -> Store {
        Store::new(RedisSettings {
            servers,
            certificates: None,
            address: self.address.to_string(),
            pool_size: 2,
            connect_timeout: Duration::from_secs(60),
            command_timeout: Duration::from_secs(60),
            check_after: Duration::ZERO,
        })
        .expect("settings")
    }

    fn single(&self) -> Store {
        self.store(self.info().into())
    }
}

async fn serve(mut stream: TcpStream, answer: impl Fn(&[String]) -> Reply, sent: Arc<AtomicUsize>) {
    let mut waiting = Vec::new();
    loop {
        while let Some((words, length)) = command(&waiting) {
            waiting.drain(..length);
            let (begin, part) = match answer(&words) {
                Reply::Once(text) => (text, None),
                Reply::Endless(begin, part) => (begin, Some(part)),
            };
            if stream.write_all(&begin).await.is_err() {
                return;
            }
            let mut at = 0;
            while let Some(part) = &part {
                match stream.write(&part[at..]).await {
                    Ok(bytes) => {
                        sent.fetch_add(bytes, Relaxed);
                        at = (at + bytes) % part.len();
                    }
                    Err(_) => return,
                }
            }
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).await {
            Ok(bytes) if bytes > 0 => waiting.extend_from_slice(&more[..bytes]),
            _ => return,
        }
    }
}

/// The words of the first whole command, and its length.
fn command(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let line = |from: usize| {
        let end = from + bytes.get(from..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let number = std::str::from_utf8(&bytes[from + 1..end]).ok()?.parse::<usize>().ok()?;
        Some((number, end + 2))
    };
    let (count, mut at) = line(0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, begin) = line(at)?;
        at = begin + length + 2;
        if at > bytes.len() {
            return None;
        }
        words.push(String::from_utf8_lossy(&bytes[begin..begin + length]).to_uppercase());
    }
    Some((words, at))
}

/// What a well-behaved server answers to a log-in, and this to everything else.
fn after_login(reply: Reply) -> impl Fn(&[String]) -> Reply + Clone + Send + Sync + 'static {
    move |words| match words[0].as_str() {
        "HELLO" => once("%1\r\n$5\r\nproto\r\n:3\r\n"),
        "CLIENT" | "SELECT" => once("+OK\r\n"),
        _ => reply.clone(),
    }
}

async fn get(store: &Store) -> Result<usize, StoreError> {
    let mut session = store.session(TEST).await?;
    let mut batch = Batch::new();
    batch.cmd("GET", "key");
    batch.cmd("GET", "other");
    let answers = session.run(TEST, "keys", batch).await?;
    Ok(answers.len())
}

/// The most memory that this process has had since the last call, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    // Begins a new measurement.
    std::fs::write("/proc/self/clear_refs", "5").expect("a file of our own process");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

fn assert_too_large(error: &StoreError, what: &str) {
    assert_eq!(error.kind, ErrorKind::TooLarge, "{what}: {error}");
    assert!(error.to_string().contains("more than 67108864 bytes"), "{what}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_answer_of_any_form_ends_the_connection_at_the_limit() {
    let _alone = ALONE.lock().await;
    let forms = [
        ("a text", endless("$1000000000\r\n", "x")),
        ("a list of texts", endless("*1000000000\r\n", "$3\r\nabc\r\n")),
        ("a list of numbers", endless("*1000000000\r\n", ":1\r\n")),
        ("a list of empty lists", endless("*1000000000\r\n", "*0\r\n")),
        ("a map", endless("%1000000000\r\n", "+k\r\n$1\r\nv\r\n")),
        ("a line", endless("+", "x")),
        ("an error", endless("-ERR ", "x")),
        ("an attribute", endless("|1000000000\r\n", ":1\r\n")),
        ("a number", endless(":", "1")),
    ];
    for (form, reply) in forms {
        let server = Server::start(after_login(reply)).await;
        peak();
        let error = get(&server.single()).await.expect_err(form);
        assert_too_large(&error, form);
        let (sent, most) = (server.sent.load(Relaxed), peak());
        println!("{form}: {sent} bytes sent, {most} bytes of memory");
        assert!(sent <= LIMIT + BUFFERS, "{form}: {sent} bytes");
        // With what the process needs beside the answer.
        assert!(most <= 4 * LIMIT, "{form}: {most} bytes of memory");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_answer_to_the_log_in_ends_the_connection_on_every_way() {
    let _alone = ALONE.lock().await;
    let server = Server::start(|_| endless("*1000000000\r\n", ":1\r\n")).await;
    let info = server.info();
    let sentinel =
        Servers::Sentinel { sentinels: vec![info.clone()], master: "m".to_owned(), node: info.clone() };
    for servers in [info.clone().into(), sentinel, Servers::Cluster(vec![info])] {
        let store = server.store(servers);
        assert_too_large(&get(&store).await.expect_err("refused"), "a session");
        let subscribed = store.subscribe(vec!["state:change".to_owned()]).await;
        // It knows at once that this is no answer.
        let error = subscribed.err().expect("refused");
        assert!(matches!(error.kind, ErrorKind::TooLarge | ErrorKind::Unavailable), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_answer_of_a_sentinel_or_a_node_ends_its_connection() {
    let _alone = ALONE.lock().await;
    let server = Server::start(after_login(endless("*1000000000\r\n", "$1\r\na\r\n"))).await;
    let info = server.info();
    let sentinel =
        Servers::Sentinel { sentinels: vec![info.clone()], master: "m".to_owned(), node: info.clone() };
    for servers in [sentinel, Servers::Cluster(vec![info])] {
        assert_too_large(&get(&server.store(servers)).await.expect_err("refused"), "a session");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_event_ends_the_subscription_and_many_events_do_not() {
    let _alone = ALONE.lock().await;
    // Each event is short; together they are more than the limit.
    let many = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$100000\r\n{}\r\n", "x".repeat(100_000));
    let confirmed = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    let begin = format!("{confirmed}{}*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2000000000\r\n", many.repeat(1_000));
    let server = Server::start(after_login(Reply::Endless(begin.into_bytes(), vec![b'y'; 256 << 10]))).await;
    let store = server.single().with_event_queue(1 << 30);
    let (mut subscriber, mut events) = store.subscribe(vec!["c".to_owned()]).await.expect("subscribed");
    let mut received = 0;
    while let Some((_, payload)) = events.next().await {
        assert_eq!(payload.len(), 100_000);
        received += 1;
    }
    assert_eq!(received, 1_000);
    assert_too_large(&subscriber.ping().await.expect_err("ended"), "the subscription");
    assert!(server.sent.load(Relaxed) <= LIMIT + BUFFERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_the_whole_limit() {
    let _alone = ALONE.lock().await;
    let half = format!("${}\r\n{}\r\n", LIMIT / 5 * 2, "x".repeat(LIMIT / 5 * 2));
    let server = Server::start(move |words: &[String]| match words[0].as_str() {
        "PING" => Reply::Once(format!("${}\r\n{}\r\n", words[1].len(), words[1]).into_bytes()),
        "GET" => once(&half),
        _ => once("+OK\r\n"),
    })
    .await;
    let store = server.single();
    for _ in 0..3 {
        assert_eq!(get(&store).await.expect("within the limit"), 2);
    }
    assert_eq!(store.pool().created, 1, "by one connection");
}

#[tokio::test]
async fn a_long_error_is_cut_wherever_it_is_shown() {
    let _alone = ALONE.lock().await;
    let text = format!("-ERR {}\u{1b}[2J\r\n", "x".repeat(100_000));
    let server = Server::start(after_login(once(&text))).await;
    let store = server.single();
    let mut session = store.session(TEST).await.expect("a session");
    let mut batch = Batch::new();
    batch.cmd("GET", "key");
    let answers = session.run(TEST, "key", batch).await.expect("answered");
    let error = answers[0].as_ref().expect_err("an error");
    let error = StoreError::redis(TEST, "key", error);
    let subscribed = store.subscribe(vec!["c".to_owned()]).await.err().expect("refused");
    for error in [error, subscribed] {
        for shown in [error.detail(), error.to_string(), format!("{error:?}")] {
            assert!(shown.len() <= 1_000 && !shown.contains('\u{1b}'), "{} bytes: {shown:.300}", shown.len());
        }
    }
}
