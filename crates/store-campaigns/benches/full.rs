//! The full computation of a large run, beside the same statement in `psql`: at most 1.2 times as long, and under 15 s.
//!
//! `CAMPAIGN_JOBS=100000` is a small run; a million by default, with five executions each. It prints the figures with their
//! limits, and fails where one is exceeded.

#![allow(clippy::expect_used)] // A benchmark that can not go on panics.

use std::time::{Duration, Instant};

use domain::campaigns::RunId;
use store_campaigns::{Database, DatabaseSettings};
use testkit::{Postgres, RoleRights, UserTables};
use uuid::Uuid;

const ROUNDS: usize = 5;
const EXECUTIONS: u64 = 5;
const MOST_RATIO: f64 = 1.2;
const MOST_TIME: Duration = Duration::from_secs(15);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    assert!(runtime.block_on(bench()), "a limit was exceeded");
}

async fn bench() -> bool {
    let jobs: u64 =
        std::env::var("CAMPAIGN_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1_000_000);
    let server = Postgres::builder()
        .setting("max_wal_size", "4GB")
        .setting("checkpoint_timeout", "1h")
        .setting("autovacuum", "off")
        .start()
        .await
        .expect("a server");
    let run = fill(&server, jobs).await;
    let mut settings = DatabaseSettings::new(server.url("bench", "tracker"));
    // A machine that others use too is judged by its figures, and not by an error.
    settings.compute_timeout = Duration::from_secs(1800);
    let database = Database::new(settings).expect("a URL");
    // Both read the same warm pages.
    database.compute(run).await.expect("a computation");
    let before = memory();
    let (mut ours, mut theirs, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut others = [Vec::new(), Vec::new()];
    let settings = "SET work_mem = '64MB'; SET jit = off;";
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let computed = database.compute(run).await.expect("a computation").expect("a run");
        ours.push(started.elapsed());
        assert_eq!(
            (computed.metrics.total_jobs, computed.metrics.total_executions),
            (jobs, jobs * EXECUTIONS)
        );
        theirs.push(psql(&server, settings, &database.compute_statement_for(run)));
        bare.push(psql(&server, "", &database.compute_statement_for(run)));
        for (times, settings) in others.iter_mut().zip(["SET work_mem = '64MB';", "SET jit = off;"]) {
            times.push(psql(&server, settings, &database.compute_statement_for(run)));
        }
    }
    let grown = memory().saturating_sub(before);
    let (ours, theirs, bare) = (median(&mut ours), median(&mut theirs), median(&mut bare));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{jobs} jobs, {} executions, median of {ROUNDS} rounds", jobs * EXECUTIONS);
    println!("ours {ours:.2?} (limit {MOST_TIME:?}); the pause after it is {:.1?}", ours * 9);
    println!(
        "psql with the same settings {theirs:.2?}: {ratio:.2} times (limit {MOST_RATIO}); with the defaults {bare:.2?}"
    );
    let [compiled, small] = others.map(|mut times| median(&mut times));
    println!("psql with 64 MB and jit {compiled:.2?}, with the default memory and without jit {small:.2?}");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the machine {}", load.trim());
    println!("memory of this process grew by {grown} KiB");
    ratio <= MOST_RATIO && ours <= MOST_TIME
}

/// A run with so many jobs among some of other runs.
async fn fill(server: &Postgres, jobs: u64) -> RunId {
    server.create_database("bench", UserTables::default()).await.expect("a database");
    server.create_role("tracker", "bench", RoleRights::Service).await.expect("a role");
    let run = RunId(Uuid::from_u128(1));
    let started = Instant::now();
    // In the order of the ids, so that the indexes are filled from left to right: random ones take twenty times as long.
    let statements = format!(
        "INSERT INTO campaigns (id, user_id, name, status) VALUES ('{run}', gen_random_uuid(), 'a', 'active');
         INSERT INTO campaign_runs (id, campaign_id) VALUES ('{run}', '{run}');
         INSERT INTO campaign_runs (campaign_id, status) SELECT '{run}', 'completed' FROM generate_series(1, 10);
         SET session_replication_role = replica;
         SET work_mem = '512MB';
         INSERT INTO jobs (id, run_id, queue, type, status, created_at)
         SELECT i.id, CASE WHEN i.i <= {jobs} THEN '{run}'::uuid ELSE r.id END,
           (ARRAY['buy', 'sell', 'distribute', 'funds'])[1 + i.i % 4], 'swap',
           (ARRAY['queued', 'processing', 'succeeded', 'succeeded', 'failed'])[1 + i.i % 5], now() - i.i * interval '1 ms'
         FROM (SELECT gen_random_uuid() AS id, i FROM generate_series(1, {jobs} + {jobs} / 10) i ORDER BY 1) i
         CROSS JOIN (SELECT id FROM campaign_runs WHERE status = 'completed' LIMIT 1) r;
         INSERT INTO executions (id, job_id, latency_ms, result)
         SELECT (lpad(to_hex(row_number() OVER ()), 32, '0'))::uuid, j.id, (exp(random() * 4) * 40)::int,
           jsonb_build_object('slot', 12345, 'tip_lamports', (random() * 10000)::int, 'fee_lamports', 5000)
         FROM jobs j, generate_series(1, {EXECUTIONS});"
    );
    server.execute("bench", &statements).await.expect("rows");
    server.execute("bench", "VACUUM ANALYZE").await.expect("statistics");
    println!("filled in {:.1?}", started.elapsed());
    run
}

/// How long the statement takes in `psql`, as it says itself.
fn psql(server: &Postgres, settings: &str, statement: &str) -> Duration {
    let mut command = server.psql("bench").expect("psql");
    let script = format!("{settings}\n\\timing on\n{statement};\n");
    let path = server.dir().join("bench.sql");
    std::fs::write(&path, script).expect("a script");
    let output = command.arg("--file").arg(&path).output().expect("psql runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let time = text.lines().rev().find_map(|line| line.strip_prefix("Time: ")).expect("a time");
    let millis: f64 = time.split(' ').next().and_then(|millis| millis.parse().ok()).expect("milliseconds");
    Duration::from_secs_f64(millis / 1000.0)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The memory of this process in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|size| size.parse().ok()).unwrap_or(0)
}
