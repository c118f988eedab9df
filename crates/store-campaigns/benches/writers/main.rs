//! What the migration's triggers cost the users' writers, beside the goal.
//!
//! `cargo bench -p store-campaigns --bench writers` lets 64 writers work on each of two equal databases of one private server with its
//! default settings, of which one has the triggers. Short turns of both alternate, in changing order, so that other programs of the
//! machine disturb both alike; the figures are medians of pairs of turns. The CPU time of the writers' sessions tells more than the
//! rate there. Each writer has rows of its own, so a writer that waits for a relation, a row or a transaction at all waits because
//! of us: the waits of all sessions are sampled meanwhile. At the end other statements are mixed in: rollbacks, savepoints, COPY, DELETE,
//! TRUNCATE, the replication role, a two-phase commit, while the service counts.
//!
//! `WRITERS_PAIRS` (40) is the number of pairs, `WRITERS_MILLIS` (1000) the length of a turn, `WRITERS_ROWS` (`1,100`) the rows a
//! statement.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)] // A failed measurement ends the run.

mod mixed;
mod session;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use session::{JOBS, WRITERS, write};
use store_campaigns::{Database, DatabaseSettings};
use testkit::Postgres;
use tokio::sync::Semaphore;
use tokio_postgres::Client;

/// Waits of the writers' sessions for what they might wait for because of us.
const WAITS: &str = "SELECT count(*) FROM pg_locks l \
     WHERE NOT l.granted AND l.locktype IN ('relation', 'tuple', 'transactionid') \
     AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE datname = $1)";
/// What the sessions wait for right now, by name.
const EVENTS: &str = "SELECT wait_event_type || ':' || wait_event FROM pg_stat_activity \
     WHERE datname = $1 AND wait_event_type IN ('Lock', 'LWLock', 'BufferPin')";
const DEADLOCKS: &str =
    "SELECT coalesce(sum(deadlocks), 0)::bigint FROM pg_stat_database WHERE datname IN ('plain', 'migrated')";
const NAMES: [&str; 2] = ["plain", "migrated"];

fn main() {
    // `cargo test --benches` runs this too, and needs no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    assert!(runtime.block_on(measure()), "a goal was missed");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn measure() -> bool {
    let builder = Postgres::builder()
        .setting("fsync", "on")
        .setting("full_page_writes", "on")
        .setting("max_connections", "200")
        .setting("max_prepared_transactions", "100");
    let server = builder.start().await.expect("a server");
    for name in NAMES {
        session::fill(&server, name).await;
    }
    let database = Database::new(DatabaseSettings::new(server.admin_url("migrated"))).unwrap();
    database.migrate(None).await.unwrap();
    let admin = server.admin("postgres").await.unwrap();
    let sizes = std::env::var("WRITERS_ROWS").unwrap_or_else(|_| "1,100".to_owned());
    let mut is_kept = true;
    for rows in sizes.split(',').map(|rows| rows.parse().expect("a number")) {
        is_kept &= compare(&server, &admin, rows).await;
        // What was appended is taken, as the service does all the time.
        while database.count_changes().await.unwrap().is_full {}
    }
    is_kept &= mixed::measure(&server, &database).await;
    let deadlocks: i64 = admin.query_one(DEADLOCKS, &[]).await.unwrap().get(0);
    println!("deadlocks {deadlocks} (goal: 0)");
    is_kept && deadlocks == 0
}

/// Writers of one database, which work while they may.
struct Writers {
    name: &'static str,
    may_work: Arc<AtomicBool>,
    resumed: Arc<Semaphore>,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    pids: Vec<i32>,
}

impl Writers {
    async fn start(server: &Postgres, admin: &Client, name: &'static str, rows: u64) -> Self {
        let this = Self {
            name,
            may_work: Arc::default(),
            resumed: Arc::new(Semaphore::new(0)),
            done: Arc::default(),
            failed: Arc::default(),
            pids: Vec::new(),
        };
        for seed in 0..WRITERS {
            let parts = (this.may_work.clone(), this.resumed.clone(), this.done.clone(), this.failed.clone());
            tokio::spawn(write(server.admin_url(name), seed, rows, parts));
        }
        let pids = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'writer'";
        let pids = testkit::wait_until("all are connected", Duration::from_mins(1), async || {
            let rows = admin.query(pids, &[&name]).await.unwrap();
            (rows.len() as u64 == WRITERS).then(|| rows.iter().map(|row| row.get(0)).collect())
        });
        Self { pids: pids.await, ..this }
    }

    /// Lets them work for a while; waits for locks are counted, and what else they wait for is noted.
    async fn turn(&self, admin: &Client, length: Duration, seen: &mut Seen) -> Turn {
        let (done, cpu, begun) = (self.done.load(Relaxed), cpu_of(&self.pids), Instant::now());
        self.may_work.store(true, Relaxed);
        self.resumed.add_permits(WRITERS as usize);
        while begun.elapsed() < length {
            seen.waits += admin.query_one(WAITS, &[&self.name]).await.unwrap().get::<_, i64>(0);
            for row in admin.query(EVENTS, &[&self.name]).await.unwrap() {
                *seen.events.entry(row.get(0)).or_default() += 1;
            }
            seen.samples += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.may_work.store(false, Relaxed);
        let took = begun.elapsed().as_secs_f64();
        let statements = (self.done.load(Relaxed) - done) as f64;
        // Each ends the statement at which it is, before the next turn.
        testkit::wait_until("all have paused", Duration::from_mins(1), async || {
            let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'writer' AND state <> 'idle'";
            admin.query_one(busy, &[&self.name]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
        let all = (self.done.load(Relaxed) - done) as f64;
        Turn { rate: statements / took, cpu: (cpu_of(&self.pids) - cpu) / all * 1e3 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    rate: f64,
    /// Milliseconds of the sessions' CPU a statement.
    cpu: f64,
}

/// What was sampled.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    waits: i64,
    samples: u64,
    events: std::collections::BTreeMap<String, u64>,
}

async fn compare(server: &Postgres, admin: &Client, rows: u64) -> bool {
    let goal = if rows == 1 { 5.0 } else { 3.0 };
    let [plain_name, migrated] = NAMES;
    let both = [
        Writers::start(server, admin, plain_name, rows).await,
        Writers::start(server, admin, migrated, rows).await,
    ];
    let length = Duration::from_millis(setting("WRITERS_MILLIS", 1000));
    let mut seen = [Seen::default(), Seen::default()];
    // The first statements of each session compile and plan.
    for (writers, seen) in both.iter().zip(&mut seen) {
        writers.turn(admin, 2 * length, seen).await;
    }
    seen = [Seen::default(), Seen::default()];
    let (mut slower, mut dearer, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..setting("WRITERS_PAIRS", 40) {
        let mut turns = [None, None];
        for which in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            turns[which] = Some(both[which].turn(admin, length, &mut seen[which]).await);
        }
        let [Some(without), Some(with)] = turns else { unreachable!("both have had their turn") };
        slower.push((1.0 - with.rate / without.rate) * 100.0);
        dearer.push((with.cpu / without.cpu - 1.0) * 100.0);
        plain.push(without);
    }
    let failed: u64 = both.iter().map(|writers| writers.failed.load(Relaxed)).sum();
    for writers in &both {
        writers.resumed.close();
    }
    let mut rates: Vec<f64> = plain.iter().map(|turn| turn.rate).collect();
    let mut cpus: Vec<f64> = plain.iter().map(|turn| turn.cpu).collect();
    let (rate, cpu, pairs) = (quarters(&mut rates)[1], quarters(&mut cpus)[1], slower.len());
    let ([first, median, third], [low, middle, high]) = (quarters(&mut slower), quarters(&mut dearer));
    println!(
        "{rows} rows a statement, {WRITERS} writers, {pairs} pairs of turns of {length:?}, load {}",
        load()
    );
    println!("  without: {rate:.0} statements/s, {cpu:.3} ms of CPU a statement");
    println!(
        "  with: {median:.1} % slower, quartiles {first:.1} to {third:.1} (goal: at most {goal}): {}",
        if median <= goal { "kept" } else { "MISSED" }
    );
    println!("  CPU of the sessions {middle:+.1} %, quartiles {low:+.1} to {high:+.1}");
    for (name, seen) in NAMES.iter().zip(&seen) {
        println!(
            "  {name}: {} waits for locks in {} samples; others {:?}",
            seen.waits, seen.samples, seen.events
        );
    }
    let is_undisturbed = seen[1].waits == 0 && failed == 0;
    println!("  no wait, no failed statement ({failed}): {}", if is_undisturbed { "kept" } else { "MISSED" });
    wait_for_end(admin).await;
    median <= goal && is_undisturbed
}

async fn wait_for_end(admin: &Client) {
    testkit::wait_until("all have ended", Duration::from_mins(1), async || {
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'writer'";
        admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}

/// The seconds that these processes were on a processor.
fn cpu_of(pids: &[i32]) -> f64 {
    let nanos = |pid: &i32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
    };
    pids.iter().map(nanos).sum::<u64>() as f64 / 1e9
}

/// The first quartile, the median, the third.
fn quarters(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|part| values[(values.len() - 1) * part / 4])
}

/// How many processes were about to run in the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

const _: () = assert!(JOBS.is_multiple_of(WRITERS));
