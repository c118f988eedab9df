//! Statements of every kind at once, while the service counts: none fails or waits because of us, and the counts are right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use domain::campaigns::RunId;
use store_campaigns::Database;
use testkit::{Dice, Postgres};
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::session::{JOBS, RUNS, WRITERS, id};
use crate::{load, setting};

/// Waits for an object of ours, but for its growth by a page. An append can wait for no row and no transaction, since its tables have
/// no constraint.
const WAITS: &str = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
     WHERE NOT l.granted AND l.locktype IN ('relation', 'tuple', 'transactionid') \
     AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'state_tracker') \
     AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = 'writer')";

pub(crate) async fn measure(server: &Postgres, database: &Database) -> bool {
    let (stop, failed): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
    let done: Arc<AtomicU64> = Arc::default();
    let writers: Vec<_> = (0..WRITERS)
        .map(|seed| {
            tokio::spawn(write(
                server.admin_url("migrated"),
                seed,
                stop.clone(),
                done.clone(),
                failed.clone(),
            ))
        })
        .collect();
    let looking = server.admin("migrated").await.unwrap();
    let (begun, length) = (Instant::now(), Duration::from_secs(setting("WRITERS_MIXED_SECONDS", 20)));
    let run = RunId(Uuid::parse_str("00000000-0000-4000-8000-000000000001").unwrap());
    let (mut waits, mut samples, mut steps) = (0, 0, 0);
    while begun.elapsed() < length {
        // The service's own work, beside them.
        steps += database.count_changes().await.unwrap().rows;
        if samples % 20 == 0 {
            database.recount(run).await.unwrap();
        }
        waits += looking.query_one(WAITS, &[]).await.unwrap().get::<_, i64>(0);
        samples += 1;
    }
    stop.store(true, Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    // What no trigger saw, by the replication role, a full computation mends; deleted rows that wait would make it count no longer.
    while database.count_changes().await.unwrap().is_full {}
    let recounted = database.recount(run).await.unwrap();
    println!("  counted anew: {:?}", recounted.map(|recounted| recounted.outcome));
    while database.count_changes().await.unwrap().is_full {}
    let counted = database.counted(run).await.unwrap().map(|counted| counted.tally);
    let full = database.compute(run).await.unwrap().map(|computed| computed.tally);
    let is_equal = match (&counted, &full) {
        (Some(counted), Some(full)) => {
            (&counted.queues, counted.executions, counted.tip_lamports)
                == (&full.queues, full.executions, full.tip_lamports)
        }
        _ => false,
    };
    let failed = failed.load(Relaxed);
    println!(
        "mixed statements for {length:?}: {} transactions, {failed} failed because of us (goal: 0), {waits} waits for ours in \
         {samples} samples (goal: 0), {steps} changes counted meanwhile, load {}",
        done.load(Relaxed),
        load()
    );
    println!("  counts equal to the full computation at the end: {is_equal}");
    failed == 0 && waits == 0 && is_equal
}

async fn write(url: String, seed: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>, failed: Arc<AtomicU64>) {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.application_name("writer");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut dice = Dice::new(seed);
    while !stop.load(Relaxed) {
        let statements = statements(&mut dice, seed);
        for statement in statements {
            if let Err(error) = client.batch_execute(&statement).await {
                // Each writer has rows of its own, and takes locks in one order: none of these fails by itself.
                println!("  failed: {statement}: {error:?}");
                failed.fetch_add(1, Relaxed);
                let _ = client.batch_execute("ROLLBACK").await;
            }
            done.fetch_add(1, Relaxed);
        }
    }
}

/// A few statements of one kind, by chance.
fn statements(dice: &mut Dice, seed: u64) -> Vec<String> {
    let own = JOBS / WRITERS;
    let (job, run) = (id(&(seed * own + dice.roll(own)).to_string()), id(&dice.roll(RUNS).to_string()));
    let insert = format!("INSERT INTO jobs (run_id, queue, type) VALUES ({run}, 'buy', 'swap')");
    let update = format!("UPDATE jobs SET status = 'failed' WHERE id = {job}");
    let execution = format!("INSERT INTO executions (job_id, latency_ms) VALUES ({job}, 7)");
    // A run of its own: two prepared transactions would wait for each other.
    let own_run = id(&(seed % RUNS).to_string());
    let name = format!("{seed}-{}", dice.roll(1_000_000_000));
    match dice.roll(100) {
        // One writer only empties a table, since this locks out all others of the users.
        0..3 if seed == 0 => vec!["TRUNCATE executions".to_owned()],
        3..15 => vec![format!("BEGIN; {insert}; {update}; ROLLBACK")],
        15..30 => vec![format!(
            "BEGIN; SAVEPOINT a; {update}; ROLLBACK TO a; {insert}; SAVEPOINT b; {execution}; RELEASE b; COMMIT"
        )],
        30..40 => vec![format!("DELETE FROM executions WHERE job_id = {job}")],
        40..45 => vec![format!(
            "DELETE FROM executions WHERE job_id = {job}; DELETE FROM jobs WHERE id = {job}; \
             INSERT INTO jobs (id, run_id, queue, type) VALUES ({job}, {run}, 'buy', 'swap')"
        )],
        45..50 => {
            vec![format!("BEGIN; SET LOCAL session_replication_role = replica; {insert}; {update}; COMMIT")]
        }
        50..55 if seed < RUNS => vec![
            format!(
                "BEGIN; {insert}; {update}; UPDATE campaign_runs SET summary = '{{\"by\": {seed}}}' WHERE id = {own_run}; \
                 PREPARE TRANSACTION '{name}'"
            ),
            format!("COMMIT PREPARED '{name}'"),
        ],
        55..60 => vec![format!("UPDATE jobs SET run_id = {run} WHERE id = {job}")],
        60..63 => vec![format!(
            "COPY jobs (run_id, queue, type) FROM PROGRAM 'printf \"00000000-0000-4000-8000-0000000000%s\\\\tbuy\\\\tswap\\\\n\" 01 02 03'"
        )],
        _ => vec![insert, update, execution],
    }
}
