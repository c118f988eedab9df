//! The incremental counts equal a full computation, whatever users do and whatever fails.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that can not go on panics.

mod support;

use std::time::Duration;

use domain::campaigns::{JobStatus, RunId, Tally};
use serde_json::json;
use store_campaigns::{Database, DatabaseSettings, RecountOutcome};
use support::{World, server};

/// A database with the migration, and the service on it.
async fn migrated() -> (World, Database) {
    let world = World::new().await;
    let owner = Database::new(DatabaseSettings::new(server().await.admin_url(&world.name))).unwrap();
    owner.migrate(Some(&world.role)).await.unwrap();
    let database = world.database().await;
    (world, database)
}

/// Applies everything that was appended.
async fn catch_up(database: &Database) {
    while database.count_changes().await.unwrap().is_full {}
}

/// Counts a run that counts.
async fn counted(database: &Database, run: RunId) -> Tally {
    catch_up(database).await;
    database.counted(run).await.unwrap().expect("the run counts").tally
}

async fn recounted(database: &Database, run: RunId) -> RecountOutcome {
    database.recount(run).await.unwrap().expect("the run is there").outcome
}

/// Equal but for percentiles, which may differ by one per cent.
#[track_caller]
fn assert_same(counted: &Tally, computed: &Tally, what: &str) {
    let (ours, full) = (counted.latencies, computed.latencies);
    for (found, exact) in [(ours.p95_ms, full.p95_ms), (ours.p99_ms, full.p99_ms)] {
        assert!(found.abs_diff(exact) * 100 <= exact, "{what}: {found} for {exact}");
    }
    let mut exact = counted.clone();
    (exact.latencies.p95_ms, exact.latencies.p99_ms) = (full.p95_ms, full.p99_ms);
    assert_eq!(&exact, computed, "{what}");
}

/// The run counts, and equals the full computation.
async fn check(database: &Database, run: RunId, what: &str) {
    let found = counted(database, run).await;
    assert_same(&found, &database.compute(run).await.unwrap().unwrap().tally, what);
}

#[tokio::test]
async fn changes_of_jobs_are_counted_as_they_are() {
    let (world, database) = migrated().await;
    let (_, run) = world.running().await;
    assert!(database.counted(run).await.unwrap().is_none());
    assert_eq!(recounted(&database, run).await, RecountOutcome::Counts { drift: None });
    check(&database, run, "empty").await;
    let job = world.job(run, "buy", "queued").await;
    check(&database, run, "one job").await;
    for status in ["processing", "succeeded", "queued", "failed", "cancelled", "queued"] {
        world.users.execute("UPDATE jobs SET status = $1 WHERE id = $2", &[&status, &job.0]).await.unwrap();
        check(&database, run, status).await;
    }
    world.users.execute("UPDATE jobs SET queue = 'sell' WHERE id = $1", &[&job.0]).await.unwrap();
    check(&database, run, "another queue").await;
    world.sql("BEGIN; UPDATE jobs SET status = 'failed'; DELETE FROM jobs; ROLLBACK").await;
    check(&database, run, "a rollback").await;
    world
        .sql("BEGIN; UPDATE jobs SET status = 'failed'; SAVEPOINT a; UPDATE jobs SET status = 'queued'; ROLLBACK TO a; COMMIT")
        .await;
    check(&database, run, "a rollback to a savepoint").await;
    // Our own jobs count nowhere, whatever changes them.
    world
        .sql(&format!(
            "INSERT INTO jobs (run_id, queue, type) VALUES ('{run}', 'status', 'aggregate-status')"
        ))
        .await;
    world.sql("UPDATE jobs SET status = 'processing' WHERE type = 'aggregate-status'").await;
    check(&database, run, "status jobs").await;
    assert_eq!(recounted(&database, run).await, RecountOutcome::Counts { drift: Some(0) });
    let metrics = domain::campaigns::Metrics::of(&counted(&database, run).await);
    assert_eq!((metrics.total_jobs, metrics.failed_jobs), (1, 1));
}

#[tokio::test]
async fn statements_of_one_and_of_many_rows_count_alike() {
    let (world, database) = migrated().await;
    let (_, run) = world.running().await;
    recounted(&database, run).await;
    for many in [1, 2, 100, 5_000, 5_001, 12_000] {
        world
            .sql(&format!(
                "INSERT INTO jobs (run_id, queue, type) SELECT '{run}', 'q' || n % 7, 'swap' FROM generate_series(1, {many}) n; \
                 INSERT INTO executions (job_id, latency_ms, result) SELECT id, n % 3000, '{{\"tip_lamports\": 3, \"fee_lamports\": \"7\"}}' \
                   FROM (SELECT id, row_number() OVER () AS n FROM jobs WHERE status = 'queued') AS j; \
                 UPDATE jobs SET status = CASE WHEN random() < 0.5 THEN 'succeeded' ELSE 'failed' END WHERE status = 'queued'"
            ))
            .await;
        check(&database, run, &format!("{many} rows")).await;
    }
    world
        .sql("UPDATE jobs SET status = 'queued' WHERE false; INSERT INTO jobs SELECT * FROM jobs WHERE false")
        .await;
    check(&database, run, "no rows").await;
    assert_eq!(recounted(&database, run).await, RecountOutcome::Counts { drift: Some(0) });
}

#[tokio::test]
async fn values_that_can_not_be_read_are_set_aside_as_in_a_full_computation() {
    let world = World::with(
        testkit::UserTables { unchecked: true, ..testkit::UserTables::default() },
        testkit::RoleRights::Service,
    )
    .await;
    let owner = Database::new(DatabaseSettings::new(server().await.admin_url(&world.name))).unwrap();
    owner.migrate(Some(&world.role)).await.unwrap();
    let database = world.database().await;
    let (_, run) = world.running().await;
    recounted(&database, run).await;
    let long = "ä".repeat(100);
    for (queue, status) in [("buy", "running"), ("buy", "weird"), ("", "queued"), (long.as_str(), "queued")] {
        world.job(run, queue, status).await;
        world.job(run, &format!("{long}x"), status).await;
        world.job(run, &"y".repeat(100_000), &"z".repeat(100_000)).await;
    }
    world
        .sql(&format!("INSERT INTO jobs (run_id, queue, type, status) VALUES ('{run}', NULL, 'swap', NULL)"))
        .await;
    let job = world.job(run, "buy", "succeeded").await;
    for latency in [-5, 0, 1, 86_400_000, 86_400_001] {
        world.execution(job, latency, &json!({"tip_lamports": "x", "fee_lamports": 12})).await;
        world.execution(job, latency, &json!({"tip_lamports": null, "fee_lamports": -1})).await;
        world.execution(job, latency, &json!([1])).await;
    }
    world.sql(&format!("INSERT INTO executions (job_id) VALUES ('{}')", job.0)).await;
    check(&database, run, "odd values").await;
    assert_eq!(recounted(&database, run).await, RecountOutcome::Counts { drift: Some(0) });
    check(&database, run, "counted anew").await;
}

/// What can't be applied exactly makes the run count no longer; the next recount mends it.
#[tokio::test]
async fn rows_that_are_removed_or_replaced_make_the_run_count_anew() {
    let (world, database) = migrated().await;
    let (_, run) = world.running().await;
    let (_, other) = world.running().await;
    let job = world.job(run, "buy", "queued").await;
    world.job(other, "buy", "queued").await;
    for change in [
        "UPDATE executions SET latency_ms = 5",
        "DELETE FROM executions WHERE latency_ms = 5",
        "DELETE FROM jobs WHERE id = '{job}'",
        "DELETE FROM campaign_runs WHERE id = '{run}'",
    ] {
        world.users.execute("INSERT INTO jobs (id, run_id, queue, type) VALUES ($1, $2, 'buy', 'swap') ON CONFLICT DO NOTHING", &[&job.0, &run.0]).await.unwrap();
        world.execution(job, 100, &json!({})).await;
        recounted(&database, run).await;
        recounted(&database, other).await;
        check(&database, run, change).await;
        world.sql(&change.replace("{job}", &job.to_string()).replace("{run}", &run.to_string())).await;
        catch_up(&database).await;
        assert!(database.counted(run).await.unwrap().is_none(), "{change}");
        check(&database, other, "another run").await;
    }
    assert!(database.recount(run).await.unwrap().is_none(), "the run is gone");
    assert_eq!(database.forget_counts().await.unwrap(), 1);
    // A job that moves takes its executions with it.
    let (_, run) = world.running().await;
    let job = world.job(run, "buy", "queued").await;
    world.execution(job, 100, &json!({})).await;
    recounted(&database, run).await;
    world.users.execute("UPDATE jobs SET run_id = $1 WHERE id = $2", &[&other.0, &job.0]).await.unwrap();
    catch_up(&database).await;
    for run in [run, other] {
        assert!(database.counted(run).await.unwrap().is_none());
        recounted(&database, run).await;
        check(&database, run, "moved").await;
    }
    world.sql("TRUNCATE executions").await;
    catch_up(&database).await;
    assert!(database.counted(other).await.unwrap().is_none());
    recounted(&database, other).await;
    world.sql("TRUNCATE jobs CASCADE").await;
    catch_up(&database).await;
    assert!(database.counted(other).await.unwrap().is_none());
    recounted(&database, other).await;
    check(&database, other, "truncated").await;
}

#[tokio::test]
async fn what_no_trigger_saw_is_mended_by_a_full_computation() {
    let (world, database) = migrated().await;
    let (_, run) = world.running().await;
    recounted(&database, run).await;
    let job = world.job(run, "buy", "queued").await;
    world.sql("SET session_replication_role = replica").await;
    world.sql(&format!("INSERT INTO jobs (run_id, queue, type) VALUES ('{run}', 'sell', 'swap')")).await;
    world.execution(job, 40, &json!({})).await;
    world.sql("RESET session_replication_role").await;
    let counted_before = counted(&database, run).await;
    assert_eq!((counted_before.queues.len(), counted_before.executions), (1, 0), "the triggers saw one job");
    // One group of jobs; executions, latencies and the sum of latencies.
    assert_eq!(recounted(&database, run).await, RecountOutcome::Counts { drift: Some(4) });
    check(&database, run, "mended").await;
    // When it is due again is decided by the database's clock.
    let age = async || database.counted(run).await.unwrap().unwrap().age;
    assert!(age().await < Duration::from_secs(60));
    world.sql("UPDATE state_tracker.run_counts SET counted_at = now() - interval '2 hours'").await;
    assert!(age().await >= Duration::from_secs(7_200));
}

/// Writers go on during the recount: what its snapshot saw is not counted twice, and what it did not see is not lost.
#[tokio::test]
async fn a_recount_beside_writers_counts_each_change_once() {
    let (world, database) = migrated().await;
    let (_, run) = world.running().await;
    let mut writers = Vec::new();
    for writer in 0..4 {
        let client = server().await.admin(&world.name).await.unwrap();
        writers.push(tokio::spawn(async move {
            for round in 0..150 {
                let rows = 1 + (round * 7 + writer) % 9;
                client
                    .batch_execute(&format!(
                        "BEGIN; INSERT INTO jobs (run_id, queue, type) SELECT '{run}', 'q{writer}', 'swap' \
                           FROM generate_series(1, {rows}); \
                         INSERT INTO executions (job_id, latency_ms) SELECT id, {round} FROM jobs \
                           WHERE queue = 'q{writer}' AND status = 'queued' LIMIT 3; \
                         UPDATE jobs SET status = 'succeeded' WHERE queue = 'q{writer}' AND status = 'queued' \
                           AND random() < 0.7; {}",
                        if round % 5 == 4 { "ROLLBACK" } else { "COMMIT" }
                    ))
                    .await
                    .unwrap();
            }
        }));
    }
    let mut recounts = 0;
    while writers.iter().any(|writer| !writer.is_finished()) {
        let outcome = recounted(&database, run).await;
        assert!(matches!(outcome, RecountOutcome::Counts { drift: None | Some(0) }), "{outcome:?}");
        recounts += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(recounts >= 3, "{recounts} recounts");
    check(&database, run, "after the writers").await;
    assert_eq!(recounted(&database, run).await, RecountOutcome::Counts { drift: Some(0) });
}

#[tokio::test]
async fn changed_jobs_are_listed_once_a_change_with_their_state() {
    let (world, database) = migrated().await;
    let (campaign, run) = world.running().await;
    let start = database.changed_jobs(None).await.unwrap();
    assert!(start.jobs.is_empty());
    let job = world.job(run, "buy", "queued").await;
    catch_up(&database).await;
    let first = database.changed_jobs(Some(start.next)).await.unwrap();
    assert_eq!(first.jobs.len(), 1);
    let found = &first.jobs[0];
    assert_eq!((found.job, found.run, found.campaign, found.status), (job, run, campaign, JobStatus::Queued));
    assert_eq!((found.queue.as_str(), found.kind.as_str(), found.attempts), ("buy", "swap", 0));
    // An update that leaves the status as it is, and one of our own jobs, are no change.
    world.sql("UPDATE jobs SET attempts = 7").await;
    world
        .sql(&format!(
            "INSERT INTO jobs (run_id, queue, type) VALUES ('{run}', 'status', 'aggregate-status')"
        ))
        .await;
    catch_up(&database).await;
    assert!(database.changed_jobs(Some(first.next)).await.unwrap().jobs.is_empty());
    world
        .users
        .execute("UPDATE jobs SET status = 'failed', error = '{\"a\": 1}' WHERE id = $1", &[&job.0])
        .await
        .unwrap();
    catch_up(&database).await;
    let second = database.changed_jobs(Some(first.next)).await.unwrap();
    assert_eq!(second.jobs.len(), 1);
    assert_eq!((second.jobs[0].status, second.jobs[0].attempts), (JobStatus::Failed, 7));
    assert_eq!(second.jobs[0].error, Some(json!({"a": 1})));
    assert!(!second.is_truncated && !second.has_more);
    // A sequence skips numbers, such as in a crash: nothing is missing for that.
    world.sql("SELECT setval(pg_get_serial_sequence('state_tracker.changed_jobs', 'place'), 1000)").await;
    world.job(run, "buy", "queued").await;
    catch_up(&database).await;
    let third = database.changed_jobs(Some(second.next)).await.unwrap();
    assert_eq!((third.jobs.len(), third.is_truncated), (1, false));
    assert!(third.next > 1_000 && third.jobs[0].read_us >= second.jobs[0].read_us);
    // Many: bounded pages, and what is forgotten is told.
    let mut left = 13_000;
    while left > 0 {
        world.sql(&format!("INSERT INTO jobs (run_id, queue, type) SELECT '{run}', 'buy', 'swap' FROM generate_series(1, 1000)")).await;
        catch_up(&database).await;
        left -= 1_000;
    }
    let late = database.changed_jobs(Some(second.next)).await.unwrap();
    assert!(late.is_truncated && late.has_more, "{} {}", late.is_truncated, late.has_more);
    assert_eq!(late.jobs.len(), 1_000);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM state_tracker.changed_jobs").await, 10_000);
    // Where the migration was run again, places begin anew.
    world.sql("TRUNCATE state_tracker.changed_jobs RESTART IDENTITY").await;
    let anew = database.changed_jobs(Some(late.next)).await.unwrap();
    assert_eq!((anew.next, anew.is_truncated), (0, true));
    world.job(run, "buy", "queued").await;
    catch_up(&database).await;
    assert_eq!(database.changed_jobs(Some(anew.next)).await.unwrap().jobs.len(), 1);
}

#[tokio::test]
async fn two_replicas_that_count_at_once_count_each_change_once() {
    let (world, database) = migrated().await;
    let other = world.database().await;
    let (_, run) = world.running().await;
    recounted(&database, run).await;
    for _ in 0..30 {
        world.job(run, "buy", "queued").await;
        let (one, two) = tokio::join!(database.count_changes(), other.count_changes());
        for step in [one, two] {
            if let Err(error) = step {
                assert!(error.kind.is_outage(), "{error}");
            }
        }
    }
    check(&database, run, "two replicas").await;
}

#[tokio::test]
async fn reading_the_counts_does_not_depend_on_the_size_of_the_run() {
    let (world, database) = migrated().await;
    let (_, run) = world.running().await;
    world
        .sql(&format!(
            "INSERT INTO jobs (run_id, queue, type, status) SELECT '{run}', 'q' || n % 20, 'swap', 'succeeded' \
             FROM generate_series(1, 50000) n; ANALYZE jobs"
        ))
        .await;
    recounted(&database, run).await;
    check(&database, run, "large").await;
    // The users' large tables out of reach: only ours and the run's row are read.
    world.sql(&format!("REVOKE SELECT ON jobs, executions FROM {}", world.role)).await;
    let begun = std::time::Instant::now();
    assert!(database.counted(run).await.unwrap().is_some());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn several_runs_are_read_at_once_and_one_that_does_not_count_is_left_out() {
    let (world, database) = migrated().await;
    let mut runs = Vec::new();
    for jobs in 1..=3 {
        let (_, run) = world.running().await;
        for _ in 0..jobs {
            let job = world.job(run, "buy", "succeeded").await;
            world.execution(job, 10 * jobs, &json!({"tip_lamports": jobs})).await;
        }
        runs.push(run);
    }
    recounted(&database, runs[0]).await;
    recounted(&database, runs[2]).await;
    let mut several = database.counted_runs(&runs).await.unwrap();
    several.sort_by_key(|counted| counted.tally.executions);
    let mut alone = Vec::new();
    for run in [runs[0], runs[2]] {
        alone.push(database.counted(run).await.unwrap().unwrap());
    }
    // Their ages differ by the time between two statements.
    several.iter_mut().chain(&mut alone).for_each(|counted| counted.age = Duration::ZERO);
    assert_eq!(several, alone);
    assert_eq!(several[1].tally, database.compute(runs[2]).await.unwrap().unwrap().tally);
}
