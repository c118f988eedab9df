//! What the migration's triggers cost the users' writers, beside the goal.
//!
//! `cargo bench -p store-campaigns --bench writers` lets 64 writers work on a private server with its default settings, with the
//! triggers and without them in turns, with one and with a hundred rows a statement. Meanwhile the locks of the server are
//! sampled: a writer that waits for a relation, a row or a transaction because of us would be seen there. The CPU time of the
//! server's processes tells more than the rate on a machine that others use too.
//!
//! `WRITERS_SECONDS` (8) is the length of a turn, `WRITERS_TURNS` (10) their number each.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)] // A failed measurement ends the run.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use store_campaigns::{Database, DatabaseSettings};
use testkit::{Dice, Postgres, UserTables};
use tokio_postgres::{Client, NoTls};

const WRITERS: u64 = 64;
const RUNS: u64 = 50;
const JOBS: u64 = 200_000;

/// Waits for locks of our tables, or for a relation, a row or a transaction at all while none of the users' own is in the way.
const WAITS: &str = "SELECT count(*) FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation \
     WHERE NOT l.granted AND l.locktype IN ('relation', 'tuple', 'transactionid') \
     AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'state_tracker')";
const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'users'";

fn main() {
    // `cargo test --benches` runs this too, and needs no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn measure() {
    let builder = Postgres::builder().setting("fsync", "on").setting("full_page_writes", "on");
    let server = builder.start().await.expect("a server");
    server.create_database("users", UserTables::default()).await.unwrap();
    let admin = server.admin("users").await.unwrap();
    admin
        .batch_execute(&format!(
            "INSERT INTO campaigns (id, user_id, name, status) VALUES ('00000000-0000-4000-8000-000000000000', gen_random_uuid(), 'a', 'active'); \
             INSERT INTO campaign_runs (id, campaign_id) SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, \
               '00000000-0000-4000-8000-000000000000' FROM generate_series(0, {RUNS} - 1) n; \
             INSERT INTO jobs (id, run_id, queue, type) SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, \
               ('00000000-0000-4000-8000-' || lpad(to_hex(n % {RUNS}), 12, '0'))::uuid, 'buy', 'swap' FROM generate_series(0, {JOBS} - 1) n"
        ))
        .await
        .unwrap();
    admin.batch_execute("VACUUM ANALYZE").await.unwrap();
    let database = Database::new(DatabaseSettings::new(server.admin_url("users"))).unwrap();
    let (turns, seconds) = (setting("WRITERS_TURNS", 10), setting("WRITERS_SECONDS", 8));
    for (rows, goal) in [(1, 5.0), (100, 3.0)] {
        let (mut rates, mut costs, mut waits) = (Vec::new(), Vec::new(), 0);
        for turn in 0..turns {
            let mut pair = [Turn::default(), Turn::default()];
            // In changing order, so that neither always follows the other.
            for with in if turn % 2 == 0 { [false, true] } else { [true, false] } {
                if with {
                    database.migrate(None).await.unwrap();
                } else {
                    database.undo_migration().await.unwrap();
                }
                admin.batch_execute("CHECKPOINT").await.unwrap();
                pair[usize::from(with)] = one_turn(&server, &admin, rows, Duration::from_secs(seconds)).await;
            }
            let [without, with] = pair;
            waits += with.waits;
            rates.push((without.rate / with.rate - 1.0) * 100.0);
            costs.push((with.cpu / without.cpu - 1.0) * 100.0);
            println!(
                "{rows} rows, turn {turn}: {:.0} statements/s without, {:.0} with; CPU {:.3} and {:.3} ms a statement",
                without.rate, with.rate, without.cpu, with.cpu
            );
        }
        let deadlocks: i64 = admin.query_one(DEADLOCKS, &[]).await.unwrap().get(0);
        println!(
            "{rows} rows a statement: writers {:.1} % slower (goal: at most {goal} %), CPU of the server {:+.1} %; \
             waits on ours {waits} (goal: 0), deadlocks {deadlocks} (goal: 0)",
            median(&mut rates),
            median(&mut costs)
        );
    }
}

#[derive(Clone, Copy, Default)]
struct Turn {
    rate: f64,
    /// Milliseconds of the server's CPU a statement.
    cpu: f64,
    waits: i64,
}

async fn one_turn(server: &Postgres, admin: &Client, rows: u64, length: Duration) -> Turn {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let url = server.admin_url("users");
    let writers =
        (0..WRITERS).map(|seed| tokio::spawn(write(url.clone(), seed, rows, stop.clone(), done.clone())));
    let writers: Vec<_> = writers.collect();
    // The first statements of each session compile and plan.
    tokio::time::sleep(length / 4).await;
    let pid = server.pid().expect("it runs");
    let (begun, before, cpu) = (Instant::now(), done.load(Relaxed), cpu_of(pid));
    let mut waits = 0;
    while begun.elapsed() < length {
        waits += admin.query_one(WAITS, &[]).await.unwrap().get::<_, i64>(0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (statements, spent) = ((done.load(Relaxed) - before) as f64, cpu_of(pid) - cpu);
    let seconds = begun.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    Turn { rate: statements / seconds, cpu: spent * 1000.0 / statements, waits }
}

/// One writer: a job is inserted, another one changed, an execution of it inserted; each statement is a transaction.
async fn write(url: String, seed: u64, rows: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut dice = Dice::new(seed);
    let id = |number: &str| format!("('00000000-0000-4000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid");
    while !stop.load(Relaxed) {
        let (first, run) = (dice.roll(JOBS - rows), dice.roll(RUNS));
        let status = ["processing", "succeeded", "failed", "queued"][dice.roll(4) as usize];
        let last = first + rows - 1;
        let jobs = format!("SELECT {} FROM generate_series({first}, {last}) n", id("n"));
        for statement in [
            format!(
                "INSERT INTO jobs (run_id, queue, type, payload) SELECT {}, 'buy', 'swap', '{{\"amount\": 1}}' \
                 FROM generate_series(1, {rows})",
                id(&run.to_string())
            ),
            format!("UPDATE jobs SET status = '{status}', updated_at = now() WHERE id = ANY (ARRAY({jobs}))"),
            format!(
                "INSERT INTO executions (job_id, latency_ms, result) \
                 SELECT j, {first} % 1000, '{{\"tip_lamports\": 1000}}' FROM ({jobs}) AS j (j)"
            ),
        ] {
            // A deadlock among the users' own updates ends one statement; it is counted.
            let _ = client.batch_execute(&statement).await;
            done.fetch_add(1, Relaxed);
        }
    }
}

/// The CPU seconds of a server's processes, of those that have ended too.
fn cpu_of(first: u32) -> f64 {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((pid, rest)) = stat.split_once(' ') else { continue };
        let fields: Vec<u64> = rest
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .map(|text| text.parse().unwrap_or(0))
            .collect();
        if pid == first.to_string() {
            ticks += fields[11..15].iter().sum::<u64>();
        } else if fields.get(1) == Some(&u64::from(first)) {
            ticks += fields[11] + fields[12];
        }
    }
    // The kernel counts hundredths of a second.
    ticks as f64 / 100.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
