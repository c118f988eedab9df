//! Standard error and standard output that take nothing: their reader is gone or stuck, or the disk is full.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{PipeReader, PipeWriter, Read, Write},
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::{SOON, environment, free_port, get};
use testkit::{RedisServer, wait_until};
use tokio::process::{Child, Command};

/// A service whose standard error is not read for its addresses.
struct Unread {
    child: Child,
    metrics: SocketAddr,
    operator: SocketAddr,
}

impl Unread {
    /// Starts it, with everything logged, and waits until it is ready.
    async fn ready(redis: &RedisServer, changed: &[(&str, &str)], stderr: Stdio) -> Self {
        let service = Self::start(redis, changed, stderr).await;
        service.wait_for("/readyz", 200).await;
        service
    }

    async fn start(redis: &RedisServer, changed: &[(&str, &str)], stderr: Stdio) -> Self {
        let (metrics, operator) = (free_port().await, free_port().await);
        let [metrics, operator] = [metrics, operator].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut environment = environment(redis.addr());
        for (name, value) in [
            ("STATE_TRACKER_METRICS_PORT", metrics.port().to_string().as_str()),
            ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", &operator.to_string()),
            ("LOG_LEVEL", "trace"),
        ]
        .iter()
        .chain(changed)
        {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        let mut command = program(&[], &environment);
        let child = command.stderr(stderr).kill_on_drop(true).spawn().expect("the binary starts");
        Self { child, metrics, operator }
    }

    async fn wait_for(&self, path: &str, status: u16) {
        wait_until(&format!("{path} answers {status}"), SOON, async || {
            // Refused until the endpoints are open.
            tokio::net::TcpStream::connect(self.metrics).await.is_ok()
                && get(self.metrics, path).await.0 == status
        })
        .await;
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().await;
        assert!(status.expect("kill runs").success());
    }

    /// Its exit code, and how long it took to end.
    async fn ended(&mut self) -> (Option<i32>, Duration) {
        let since = Instant::now();
        let ended = tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends");
        (ended.expect("it is a child").code(), since.elapsed())
    }

    /// SIGHUP makes it log a few lines, and the endpoint shows that it is over them.
    async fn reloads_and_is_well(&self) {
        for _ in 0..3 {
            self.signal("HUP").await;
            self.wait_for("/readyz", 200).await;
        }
        let health = get(self.operator, "/health").await.1;
        assert!(health.contains("\"listener\"") && !health.contains("\"wedged\":true"), "{health}");
    }
}

fn program(args: &[&str], environment: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.args(args).env_clear().envs(environment).env("RUST_BACKTRACE", "1");
    command
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

/// A pipe whose reader is gone.
fn closed_pipe() -> Stdio {
    std::io::pipe().expect("a pipe").1.into()
}

/// The reader of a pipe that is full.
struct Stuck {
    reader: PipeReader,
    is_stuck: Arc<AtomicBool>,
}

impl Stuck {
    /// Reads everything that is written from now on, until all writers have ended.
    fn read(mut self) -> String {
        self.is_stuck.store(false, Ordering::Relaxed);
        let mut text = Vec::new();
        self.reader.read_to_end(&mut text).expect("read");
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

/// A pipe that is full, and stays so until it is read from.
fn full_pipe() -> (Stuck, Stdio) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut filling: PipeWriter = writer.try_clone().expect("a second end");
    let is_stuck = Arc::new(AtomicBool::new(true));
    let stuck = Stuck { reader, is_stuck: is_stuck.clone() };
    // What does not fit waits on this thread, and keeps the pipe full.
    std::thread::spawn(move || {
        while is_stuck.load(Ordering::Relaxed) && filling.write_all(&[b'\n'; 4_096]).is_ok() {}
    });
    (stuck, writer.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_survives_a_closed_and_a_full_standard_error() {
    let redis = RedisServer::start().await.expect("a Redis server");
    for (what, stderr) in [("closed", closed_pipe()), ("full disk", full_disk())] {
        let mut service = Unread::ready(&redis, &[], stderr).await;
        service.reloads_and_is_well().await;
        wait_until("lines were dropped", SOON, async || {
            let metrics = get(service.metrics, "/metrics").await.1;
            let name = "state_tracker_log_lines_dropped_total ";
            let dropped = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
            dropped.is_some_and(|lines| lines > 3)
        })
        .await;
        service.signal("TERM").await;
        assert_eq!(service.ended().await.0, Some(0), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_log_reader_blocks_neither_actors_nor_the_stop() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let (_reader, stderr) = full_pipe();
    let mut service = Unread::ready(&redis, &[], stderr).await;
    service.reloads_and_is_well().await;
    service.signal("TERM").await;
    let (code, took) = service.ended().await;
    assert_eq!(code, Some(0));
    assert!(
        took < Duration::from_secs(5),
        "the stop takes milliseconds, the last lines a short while: {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_logged_while_the_reader_was_stuck_are_read_later() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let (stuck, stderr) = full_pipe();
    let mut service = Unread::ready(&redis, &[("LOG_LEVEL", "info")], stderr).await;
    let log = std::thread::spawn(|| stuck.read());
    service.signal("TERM").await;
    assert_eq!(service.ended().await.0, Some(0));
    let log = log.join().expect("read");
    for line in ["starting", "endpoints are open", "SIGTERM: stopping", "stopped"] {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
}

/// Its handler may keep a thread for 1.2 s.
#[cfg(feature = "failure-points")]
const SPINS: [(&str, &str); 5] = [
    ("STATE_TRACKER_FAILURE_POINTS", "aggregator::before_read=spin"),
    ("STATE_TRACKER__SUPERVISION__STALL_TIMEOUT", "600ms"),
    ("STATE_TRACKER__SUPERVISION__WEDGE_TIMEOUT", "1200ms"),
    ("STATE_TRACKER__REDIS__COMMAND_TIMEOUT", "100ms"),
    ("STATE_TRACKER__REDIS__CONNECT_TIMEOUT", "100ms"),
];

#[cfg(feature = "failure-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wedged_service_exits_with_70_though_its_log_is_stuck() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let (_reader, stderr) = full_pipe();
    let mut service = Unread::start(&redis, &SPINS, stderr).await;
    let (code, took) = service.ended().await;
    assert_eq!(code, Some(70));
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// The actors spin on a runtime of one thread. Without a signal the process would end after a minute, with 70.
#[cfg(feature = "failure-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_at_its_deadline_or_a_second_signal_though_the_log_is_stuck() {
    let redis = RedisServer::start().await.expect("a Redis server");
    for (again, within, code) in [(false, "1s", 0), (true, "8s", 130)] {
        let (_reader, stderr) = full_pipe();
        let within = ("STATE_TRACKER__SUPERVISION__SHUTDOWN_TIMEOUT", within);
        let each_within = ("STATE_TRACKER__SUPERVISION__STOP_TIMEOUT", "500ms");
        let spins = [SPINS[0], within, each_within, ("TOKIO_WORKER_THREADS", "1")];
        let mut service = Unread::start(&redis, &spins, stderr).await;
        wait_until("it listens", SOON, async || {
            tokio::net::TcpStream::connect(service.metrics).await.is_ok()
        })
        .await;
        wait_until("an actor spins", SOON, async || {
            let answer = get(service.metrics, "/livez");
            tokio::time::timeout(Duration::from_millis(500), answer).await.is_err()
        })
        .await;
        let told = Instant::now();
        service.signal("TERM").await;
        wait_until("it ends", SOON, async || {
            let ended = service.child.try_wait().expect("it is a child").is_some();
            if again && !ended {
                service.signal("TERM").await;
            }
            ended
        })
        .await;
        let took = told.elapsed();
        assert_eq!(service.ended().await.0, Some(code), "again: {again}");
        let expected = if again { 0..7 } else { 1..7 };
        assert!(expected.contains(&took.as_secs()), "again: {again}, {took:?}");
    }
}
