//! How fast a run's figures are answered with the migration, beside the goal.
//!
//! `cargo bench -p store-campaigns --bench counts` makes a run of `COUNT_JOBS` (1,000,000) jobs with as many executions, counts it
//! anew, changes single jobs, and answers after each change. At the end the counts are compared with COUNT(*).
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)] // A failed measurement ends the run.

use std::time::{Duration, Instant};

use domain::campaigns::RunId;
use store_campaigns::{Database, DatabaseSettings};
use testkit::{Postgres, UserTables};
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
    let server = Postgres::start().await.expect("a server");
    server.create_database("users", UserTables::default()).await.unwrap();
    let admin = server.admin("users").await.unwrap();
    let run = RunId(Uuid::from_u128(7));
    let begun = Instant::now();
    admin
        .batch_execute(&format!(
            "WITH c AS (INSERT INTO campaigns (user_id, name, status) VALUES (gen_random_uuid(), 'a', 'active') RETURNING id) \
             INSERT INTO campaign_runs (id, campaign_id) SELECT '{run}', id FROM c; \
             SET session_replication_role = replica; \
             INSERT INTO jobs (run_id, queue, type, status) SELECT '{run}', 'q' || n % 5, 'swap', \
               (ARRAY['queued', 'succeeded', 'succeeded', 'failed'])[1 + n % 4] FROM generate_series(1, {jobs}) n; \
             INSERT INTO executions (job_id, latency_ms, result) \
               SELECT id, (random() * random() * 20000)::integer, '{{\"tip_lamports\": 1000}}' FROM jobs; \
             RESET session_replication_role"
        ))
        .await
        .unwrap();
    admin.batch_execute("VACUUM ANALYZE").await.unwrap();
    println!("{jobs} jobs and executions made in {:.1?}", begun.elapsed());
    let mut settings = DatabaseSettings::new(server.admin_url("users"));
    settings.compute_timeout = Duration::from_secs(1800);
    let database = Database::new(settings).unwrap();
    database.migrate(None).await.unwrap();
    let recounted = database.recount(run).await.unwrap().expect("the run is there");
    println!("counted anew in {:.1?}: {:?}", recounted.took, recounted.outcome);

    let mut times = Vec::with_capacity(ANSWERS);
    for answer in 0..ANSWERS {
        let status = ["processing", "succeeded", "failed"][answer % 3];
        admin
            .batch_execute(&format!(
                "UPDATE jobs SET status = '{status}' WHERE id = (SELECT id FROM jobs WHERE run_id = '{run}' AND status = 'queued' LIMIT 1); \
                 INSERT INTO executions (job_id, latency_ms) SELECT id, {answer} FROM jobs WHERE run_id = '{run}' LIMIT 1"
            ))
            .await
            .unwrap();
        let begun = Instant::now();
        while database.count_changes().await.unwrap().is_full {}
        database.counted(run).await.unwrap().expect("the run counts");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |per_cent: usize| times[(times.len() * per_cent / 100).min(times.len() - 1)];
    println!(
        "an answer that includes the last change: p50 {:.1?}, p99 {:.1?} (goal: under {GOAL:?}), with {jobs} jobs",
        at(50),
        at(99)
    );
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
    assert!(is_equal, "the counts differ");
}
