//! A database of the users, and the writers' sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use testkit::{Dice, Postgres, UserTables};
use tokio::sync::Semaphore;
use tokio_postgres::NoTls;

pub(crate) const WRITERS: u64 = 64;
pub(crate) const RUNS: u64 = 50;
/// The jobs that are there; each writer changes its own part of them.
pub(crate) const JOBS: u64 = 192_000;

/// The id of the run or the job with this number, as SQL.
pub(crate) fn id(number: &str) -> String {
    format!("('00000000-0000-4000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid")
}

/// The tables with their rows.
pub(crate) async fn fill(server: &Postgres, name: &str) {
    server.create_database(name, UserTables::default()).await.unwrap();
    let rows = format!(
        "INSERT INTO campaigns (id, user_id, name, status) VALUES ({zero}, gen_random_uuid(), 'a', 'active'); \
         INSERT INTO campaign_runs (id, campaign_id) SELECT {run}, {zero} FROM generate_series(0, {RUNS} - 1) n; \
         INSERT INTO jobs (id, run_id, queue, type) SELECT {run}, {of}, 'buy', 'swap' FROM generate_series(0, {JOBS} - 1) n",
        zero = id("0"),
        run = id("n"),
        of = id(&format!("n % {RUNS}")),
    );
    server.execute(name, &rows).await.unwrap();
    server.execute(name, "VACUUM ANALYZE").await.unwrap();
}

/// When it may work, how many statements are done, and how many have failed.
pub(crate) type Parts = (Arc<AtomicBool>, Arc<Semaphore>, Arc<AtomicU64>, Arc<AtomicU64>);

/// One writer: a job is inserted, another one changed, an execution of it inserted; each statement is a transaction. It ends
/// with the semaphore.
pub(crate) async fn write(url: String, seed: u64, rows: u64, parts: Parts) {
    let (may_work, resumed, done, failed) = parts;
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.application_name("writer");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut dice = Dice::new(seed);
    let own = JOBS / WRITERS;
    while let Ok(permit) = resumed.acquire().await {
        permit.forget();
        while may_work.load(Relaxed) {
            let (first, run) = (seed * own + dice.roll(own - rows), dice.roll(RUNS));
            let status = ["processing", "succeeded", "failed", "queued"][dice.roll(4) as usize];
            for statement in statements(first, rows, run, status) {
                let result = client.batch_execute(&statement).await;
                failed.fetch_add(u64::from(result.is_err()), Relaxed);
                done.fetch_add(1, Relaxed);
            }
        }
    }
}

/// As a program of the users writes them.
fn statements(first: u64, rows: u64, run: u64, status: &str) -> [String; 3] {
    let (one, run) = (id(&first.to_string()), id(&run.to_string()));
    if rows == 1 {
        return [
            format!(
                "INSERT INTO jobs (run_id, queue, type, payload) VALUES ({run}, 'buy', 'swap', '{{\"amount\": 1}}')"
            ),
            format!("UPDATE jobs SET status = '{status}', updated_at = now() WHERE id = {one}"),
            format!(
                "INSERT INTO executions (job_id, latency_ms, result) VALUES ({one}, 5, '{{\"tip_lamports\": 1000}}')"
            ),
        ];
    }
    let jobs = format!("SELECT {} FROM generate_series({first}, {}) n", id("n"), first + rows - 1);
    [
        format!(
            "INSERT INTO jobs (run_id, queue, type, payload) SELECT {run}, 'buy', 'swap', '{{\"amount\": 1}}' \
             FROM generate_series(1, {rows})"
        ),
        format!("UPDATE jobs SET status = '{status}', updated_at = now() WHERE id = ANY (ARRAY({jobs}))"),
        format!(
            "INSERT INTO executions (job_id, latency_ms, result) SELECT j, 5, '{{\"tip_lamports\": 1000}}' \
             FROM ({jobs}) AS j (j)"
        ),
    ]
}
