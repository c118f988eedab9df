//! A server that answers anything to what the stores ask, at random and as it is kept in `corpus/answers`: broken frames, other types,
//! cut-off and endless forms. Nothing panics or hangs; what can't be read is an error or a fault that names its object, on one line.
//!
//! The first byte of an input chooses what is asked, the others are the answer to each command after the log-in.

#![allow(clippy::expect_used, clippy::panic)] // A test that can not go on panics.

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{NOW, Tracker, settings};
use store_redis::{Batch, Fault, Lua, Operation, Replies, Session, Store, StoreError, missing_rights};
use store_tracker::{
    MarketKeys, Prunable, Reach, forget_sealed, inspect::produced, old_validators, prune, prune_active,
};
use testkit::fuzz::Corpus;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const TEST: Operation = Operation::new("test", "test");
/// The time limit of one input, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the store waits for an answer: for one that never becomes whole, all of it.
const COMMAND: Duration = Duration::from_millis(300);
/// Arrays in arrays, up to which the server knows whether an answer is whole.
const DEEPEST: usize = 20;

/// What the server does now.
#[derive(Clone, Debug, Default)]
struct Part {
    answer: Vec<u8>,
    /// Whether the log-in gets it too.
    from_login: bool,
    /// Whether it follows what confirms a subscription.
    after_subscription: bool,
}

/// A server without contents.
struct Server {
    address: SocketAddr,
    part: Arc<Mutex<Part>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let part = Arc::<Mutex<Part>>::default();
        let shared = part.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let part = shared.lock().expect("no panic holds it").clone();
                tokio::spawn(serve(stream, part));
            }
        });
        Self { address, part }
    }

    fn play(&self, part: Part) {
        *self.part.lock().expect("no panic holds it") = part;
    }
}

async fn serve(mut stream: TcpStream, part: Part) {
    let is_whole = whole(&part.answer, DEEPEST) == Some(part.answer.len());
    let (mut waiting, mut more) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(bytes @ 1..) = stream.read(&mut more).await {
        waiting.extend_from_slice(&more[..bytes]);
        let (mut answers, mut is_answered) = (Vec::new(), false);
        while let Some((name, length)) = command(&waiting) {
            waiting.drain(..length);
            match name.as_str() {
                "HELLO" if !part.from_login => answers.extend_from_slice(b"%1\r\n$5\r\nproto\r\n:3\r\n"),
                "CLIENT" | "SELECT" if !part.from_login => answers.extend_from_slice(b"+OK\r\n"),
                "SUBSCRIBE" if part.after_subscription => {
                    answers.extend_from_slice(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
                    answers.extend_from_slice(&part.answer);
                    is_answered = true;
                }
                _ => {
                    answers.extend_from_slice(&part.answer);
                    is_answered = true;
                }
            }
        }
        let ends = is_answered && (part.after_subscription || !is_whole);
        if stream.write_all(&answers).await.is_err() || ends {
            // Without an end the client would wait for the rest, or for more events, until its time is over.
            return;
        }
    }
}

/// The name of the first whole command, and its length.
fn command(bytes: &[u8]) -> Option<(String, usize)> {
    let length = whole(bytes, DEEPEST)?;
    let name = bytes.split(|byte| *byte == b'\n').nth(2)?;
    Some((String::from_utf8_lossy(name).trim_end().to_uppercase(), length))
}

/// The length of the first value, if it is whole.
fn whole(bytes: &[u8], depth: usize) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let number = || std::str::from_utf8(&bytes[1..end]).ok()?.parse::<usize>().ok();
    let values = match bytes[0] {
        b'$' | b'=' | b'!' => {
            let at = number()?.checked_add(end + 4)?;
            return (at <= bytes.len()).then_some(at);
        }
        b'*' | b'~' | b'>' => number()?,
        b'%' => number()?.checked_mul(2)?,
        _ => return Some(end + 2),
    };
    let mut at = end + 2;
    for _ in 0..values {
        at += whole(bytes.get(at..).filter(|rest| !rest.is_empty())?, depth.checked_sub(1)?)?;
    }
    Some(at)
}

/// What came of an input: errors, faults and sorts of values.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn error(&mut self, error: &StoreError) {
        let text = error.to_string();
        assert!(!error.object.is_empty(), "{text:?} names no object");
        self.line(&text);
        self.0.push(format!("{:?} {}", error.kind, testkit::fuzz::label(&error.detail())));
    }

    fn fault(&mut self, fault: &Fault) {
        self.line(&fault.to_string());
        self.0.push(format!("{:?}", fault.kind));
    }

    fn line(&self, text: &str) {
        assert!(text.chars().count() < 1_000, "{} bytes: {text:.300}", text.len());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    fn outcome<T>(&mut self, outcome: Result<T, StoreError>) -> Option<T> {
        outcome.map_err(|error| self.error(&error)).ok()
    }
}

/// Typed readings of one answer each, a transaction, and a script that the server may not know.
async fn read(session: &mut Session, told: &mut Told) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for name in ["GET", "HGETALL", "ZRANGE", "SMEMBERS", "HMGET", "HSCAN", "EXISTS", "ZMSCORE"] {
        batch.cmd(name, "key");
    }
    let mut replies = Replies::new(TEST, session.run(TEST, "key", batch).await?);
    replies.take::<Option<String>>("a text")?;
    replies.take::<Vec<(String, String)>>("fields")?;
    replies.take::<Vec<(String, f64)>>("members with scores")?;
    replies.take::<Vec<Vec<u8>>>("members")?;
    replies.take::<Vec<Option<String>>>("some fields")?;
    replies.take::<(u64, Vec<(String, String)>)>("a slice")?;
    replies.take::<bool>("a yes or no")?;
    replies.take::<Vec<Option<f64>>>("scores")?;
    for fault in replies.into_faults() {
        told.fault(&fault);
    }
    let mut batch = Batch::new();
    batch.transaction(|batch| {
        batch.cmd("SET", "key").arg("value");
        batch.cmd("DEL", "key");
    });
    let transaction = session.run(TEST, "key", batch).await;
    if let Some(answers) = told.outcome(transaction) {
        let mut replies = Replies::new(TEST, answers);
        told.outcome(replies.raw("anything"));
        told.outcome(replies.required::<u64>("a count"));
    }
    let script = Lua::new("return 1");
    let answers = session.run_scripts(TEST, "key", |batch| {
        script.run(batch, &["key"]);
    });
    Replies::new(TEST, answers.await?).required::<(u64, u64)>("a script")?;
    Ok(())
}

/// What the pruner does with a market.
async fn pruned(session: &mut Session, keys: &MarketKeys, told: &mut Told) {
    let timeline = Prunable { key: "timeline".to_owned(), before: 7 };
    told.outcome(prune(session, &timeline, 10).await);
    told.outcome(old_validators(session, &timeline, 10).await);
    told.outcome(forget_sealed(session, keys, 0, 7, 10).await);
    told.outcome(prune_active(session, keys, "active", 0, 7, 10).await);
}

/// What the doctor asks.
async fn examined(store: &Store, keys: &MarketKeys, told: &mut Told) -> Result<(), StoreError> {
    let mut session = store.session(TEST).await?;
    told.outcome(missing_rights(&mut session, &keys.needs()).await);
    told.outcome(produced(&mut session, std::slice::from_ref(keys)).await);
    for mut inspector in store.inspectors().await? {
        told.outcome(inspector.facts().await);
        told.outcome(inspector.databases().await);
        told.outcome(inspector.scan(0, "*", 10).await);
        told.outcome(inspector.subscribers(&["c".to_owned()]).await);
    }
    Ok(())
}

/// Reads events to the end.
async fn listen(store: &Store, told: &mut Told) -> Result<(), StoreError> {
    let (mut subscriber, mut events) = store.subscribe(vec!["c".to_owned()]).await?;
    let mut count = 0;
    while events.next().await.is_some() {
        count += 1;
    }
    told.outcome(subscriber.ping().await);
    told.0.push(format!("{} events", count.min(3)));
    Ok(())
}

async fn play(server: &Server, input: &[u8]) -> String {
    let (mode, answer) = input.split_first().map_or((b'r', &[][..]), |(mode, rest)| (*mode, rest));
    server.play(Part { answer: answer.to_vec(), from_login: mode == b'l', after_subscription: mode == b'e' });
    let settings = store_redis::RedisSettings { command_timeout: COMMAND, ..settings(server.address) };
    let tracker = Tracker::with(settings, common::PROTOCOL, common::MARKET);
    let keys =
        MarketKeys::new(&domain::Address::new(common::PROTOCOL), &domain::Address::new(common::MARKET));
    let (store, mut told) = (&tracker.store, Told::default());
    match mode {
        b'e' => {
            let listened = listen(store, &mut told).await;
            told.outcome(listened);
        }
        b'd' => {
            let examined = examined(store, &keys, &mut told).await;
            told.outcome(examined);
        }
        _ => {
            let Some(mut session) = told.outcome(store.session(TEST).await) else { return told.0.join("|") };
            match mode {
                b'p' => {
                    let pass = tracker.look(&mut session, NOW as f64, Reach::Everything).await;
                    if let Some(pass) = told.outcome(pass) {
                        told.outcome(tracker.commit(&mut session, pass).await);
                    }
                }
                b'u' => pruned(&mut session, &keys, &mut told).await,
                _ => {
                    let read = read(&mut session, &mut told).await;
                    told.outcome(read);
                }
            }
        }
    }
    told.0.join("|")
}

/// One test at a time: they count the panics of the process.
static ALONE: Mutex<()> = Mutex::new(());

/// Panics of any thread or task: the client library has tasks of its own, whose panics end nothing else.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn explore(count: u64) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Relaxed);
        before(info);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let corpus =
        Corpus::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/answers")).expect("a corpus");
    corpus.explore(count, |input| {
        let panics = PANICS.load(Relaxed);
        let label = runtime.block_on(async { timeout(PATIENCE, play(&server, input)).await });
        assert_eq!(PANICS.load(Relaxed), panics, "a task has panicked");
        label.unwrap_or_else(|_| panic!("it hangs"))
    });
}

#[test]
fn no_answer_makes_a_store_panic_or_hang() {
    explore(1_000);
}

#[test]
#[ignore = "minutes"]
fn no_answer_makes_a_store_panic_or_hang_for_long() {
    explore(50_000);
}

#[test]
fn the_kept_answers_reach_what_they_are_for() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let label = |input: &[u8]| runtime.block_on(play(&server, input));
    for (input, parts) in [
        (&b"r+OK\r\n"[..], &["Malformed|Malformed|", "Refused"][..]),
        (b"r$100\r\ncut", &["Unavailable"]),
        (b"r-WRONGTYPE no\r\n", &["WrongType|WrongType|"]),
        (b"e*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", &["1 events"]),
        (b"l-NOAUTH no\r\n", &["Denied"]),
        (b"p-NOPERM no\r\n", &["Denied"]),
        (b"d-NOPERM no\r\n", &["Denied"]),
        (b"u$-1\r\n", &["Malformed"]),
    ] {
        let label = label(input);
        let shown = String::from_utf8_lossy(input);
        assert!(parts.iter().all(|part| label.contains(part)), "{shown}: {label}");
    }
}
