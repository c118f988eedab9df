//! How fast a run's figures are answered with the migration, beside the goal.
//!
//! `cargo bench -p store-campaigns --bench counts` makes a run of `COUNT_JOBS` (1,000,000) jobs with as many executions, counts it
//! anew, changes single jobs, and answers after each change. At the end the counts are compared with COUNT(*).
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)] // A failed measurement ends the run.

use std::time::{Duration, Instant};

use domain::campaigns::RunId;
use store_campaigns::{Database, DatabaseSettings};
use testkit::{Indexes, Postgres, UserTables};
use tokio_postgres::Client;
use uuid::Uuid;

const ANSWERS: usize = 500;
const GOAL: Duration = Duration::from_millis(50);

fn main() {
    // `cargo test --benches` runs this too, and needs no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let jobs: u64 = std::env::var("COUNT_JOBS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    // For filling: the rest is as PostgreSQL has it by default.
    let builder = Postgres::builder().setting("max_wal_size", "8GB").setting("maintenance_work_mem", "512MB");
    let server = builder.start().await.expect("a server");
    let run = RunId(Uuid::from_u128(7));
    let admin = fill(&server, run, jobs).await;
    let mut settings = DatabaseSettings::new(server.admin_url("users"));
    settings.compute_timeout = Duration::from_secs(1800);
    let database = Database::new(settings).unwrap();
    let begun = Instant::now();
    database.migrate(None).await.unwrap();
    admin.batch_execute("VACUUM ANALYZE").await.unwrap();
    println!("migrated, with all indexes, in {:.1?}", begun.elapsed());
    let recounted = database.recount(run).await.unwrap().expect("the run is there");
    println!("counted anew in {:.1?}: {:?}", recounted.took, recounted.outcome);
    let p99 = answer(&admin, &database, run, jobs).await;
    check(&admin, &database, run).await;
    assert!(p99 < GOAL, "an answer takes too long");
}

/// A run with so many jobs, and an execution each.
async fn fill(server: &Postgres, run: RunId, jobs: u64) -> Client {
    // The migration makes the indexes, which is faster than to keep them while rows are added.
    let tables = UserTables { indexes: Indexes::None, ..UserTables::default() };
    server.create_database("users", tables).await.unwrap();
    let admin = server.admin("users").await.unwrap();
    let begun = Instant::now();
    // Ids are random, and inserted in their order: the primary key is filled from left to right.
    admin
        .batch_execute(&format!(
            "WITH c AS (INSERT INTO campaigns (user_id, name, status) VALUES (gen_random_uuid(), 'a', 'active') RETURNING id) \
             INSERT INTO campaign_runs (id, campaign_id) SELECT '{run}', id FROM c; \
             SET session_replication_role = replica; SET work_mem = '512MB'; \
             INSERT INTO jobs (id, run_id, queue, type, status) SELECT id, '{run}', 'q' || n % 5, 'swap', \
               (ARRAY['queued', 'succeeded', 'succeeded', 'failed'])[1 + n % 4] \
               FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, {jobs}) n ORDER BY 1) AS ids; \
             INSERT INTO executions (id, job_id, latency_ms, result) \
               SELECT e.id, e.job, (random() * random() * 20000)::integer, '{{\"tip_lamports\": 1000}}' \
               FROM (SELECT gen_random_uuid() AS id, id AS job FROM jobs ORDER BY 1) AS e; \
             RESET session_replication_role"
        ))
        .await
        .unwrap();
    println!("{jobs} jobs and executions made in {:.1?}", begun.elapsed());
    admin
}

/// Changes a job, and asks for the counts, again and again. Returns the time that 99 of 100 answers did not exceed.
async fn answer(admin: &Client, database: &Database, run: RunId, jobs: u64) -> Duration {
    let mut times = Vec::with_capacity(ANSWERS);
    let mut cpu = 0.0;
    for answer in 0..ANSWERS {
        let status = ["processing", "succeeded", "failed"][answer % 3];
        admin
            .batch_execute(&format!(
                "UPDATE jobs SET status = '{status}' WHERE id = (SELECT id FROM jobs WHERE run_id = '{run}' AND status = 'queued' LIMIT 1); \
                 INSERT INTO executions (job_id, latency_ms) SELECT id, {answer} FROM jobs WHERE run_id = '{run}' LIMIT 1"
            ))
            .await
            .unwrap();
        let ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'state-tracker'";
        let ours: Vec<i32> = admin.query(ours, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        let (begun, before) = (Instant::now(), cpu_of(&ours));
        while database.count_changes().await.unwrap().is_full {}
        database.counted(run).await.unwrap().expect("the run counts");
        times.push(begun.elapsed());
        cpu += cpu_of(&ours) - before;
    }
    times.sort_unstable();
    let at = |per_cent: usize| times[(times.len() * per_cent / 100).min(times.len() - 1)];
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "an answer that includes the last change: p50 {:.1?}, p99 {:.1?} (goal: under {GOAL:?}), with {jobs} jobs; the database's \
         CPU for it {:.1} ms; load {}",
        at(50),
        at(99),
        cpu * 1e3 / ANSWERS as f64,
        load.trim()
    );
    at(99)
}

/// Compares the counts with the full computation, and with what any user would ask.
async fn check(admin: &Client, database: &Database, run: RunId) {
    let counted = database.counted(run).await.unwrap().expect("the run counts").tally;
    let begun = Instant::now();
    let full = database.compute(run).await.unwrap().expect("the run is there").tally;
    let is_equal = counted.queues == full.queues
        && (counted.executions, counted.latencies.sum_ms, counted.tip_lamports)
            == (full.executions, full.latencies.sum_ms, full.tip_lamports);
    println!(
        "equal to the full computation, which took {:.1?}: {is_equal}; p95 {} for {}, p99 {} for {}",
        begun.elapsed(),
        counted.latencies.p95_ms,
        full.latencies.p95_ms,
        counted.latencies.p99_ms,
        full.latencies.p99_ms
    );
    let statement = "SELECT queue, count(*) FILTER (WHERE status = 'succeeded'), count(*) FROM jobs WHERE run_id = $1 GROUP BY queue";
    let rows = admin.query(statement, &[&run.0]).await.unwrap();
    let is_as_counted = rows.len() == counted.queues.len()
        && rows.iter().all(|row| {
            let (queue, succeeded, all): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
            counted
                .queues
                .get(&queue)
                .is_some_and(|queue| (queue.succeeded, queue.total()) == (succeeded as u64, all as u64))
        });
    println!("equal to COUNT(*) by queue: {is_as_counted}");
    assert!(is_equal && is_as_counted, "the counts differ");
}

/// The seconds that these processes were on a processor.
fn cpu_of(pids: &[i32]) -> f64 {
    let nanos = |pid: &i32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
    };
    pids.iter().map(nanos).sum::<u64>() as f64 / 1e9
}
