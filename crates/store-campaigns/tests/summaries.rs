//! The summary of a run: written only when it changed, each write with a version of its own, final once the run has left.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use std::collections::BTreeMap;

use domain::campaigns::{RunId, Summary};
use serde_json::{Value, json};
use store_campaigns::{Claim, Computed, Database, DatabaseErrorKind, History, SummaryWrite};
use support::{AT_ONCE, World, turn, wanted};
use testkit::{RoleRights, UserTables};

/// Takes a turn of the run, whole.
async fn count(database: &Database, world: &World, run: RunId) -> SummaryWrite {
    let campaign = domain::campaigns::CampaignId(
        world.one(&format!("SELECT campaign_id FROM campaign_runs WHERE id = '{run}'")).await,
    );
    world.end_breaks().await;
    let claim = turn(database, campaign, run).await;
    let computed = database.compute(run).await.unwrap();
    let finished = database.finish(&claim, computed.as_ref(), History::Absent).await.unwrap();
    assert!(finished.is_held);
    finished.summary
}

fn version_of(write: &SummaryWrite) -> i64 {
    match write {
        SummaryWrite::Written { version, .. } => *version,
        other => panic!("it was not written: {other:?}"),
    }
}

#[tokio::test]
async fn a_summary_is_written_only_when_the_figures_changed() {
    let world = World::new().await;
    let (database, (_, run)) = (world.database().await, world.running().await);
    let first = version_of(&count(&database, &world, run).await);
    let before = world.summary(run).await.unwrap();
    assert!(matches!(count(&database, &world, run).await, SummaryWrite::Unchanged));
    assert_eq!(world.summary(run).await.unwrap(), before);
    world.job(run, "buy", "succeeded").await;
    let write = count(&database, &world, run).await;
    let after = world.summary(run).await.unwrap();
    assert!(version_of(&write) > first);
    let read = Summary::read(&after).unwrap();
    let SummaryWrite::Written { version, updated_at } = write else { panic!("{write:?}") };
    assert_eq!((read.version, read.updated_at), (Some(version), Some(updated_at)));
    assert_eq!((read.metrics.total_jobs, read.is_final), (1, false));
    // The fields of the contract, as they stand in the users' table.
    for field in ["totalJobs", "succeededJobs", "byQueue", "successRate", "avgLatencyMs", "totalCostLamports"]
    {
        assert!(after.get(field).is_some(), "{field} in {after}");
    }
}

#[tokio::test]
async fn writers_at_the_same_moment_never_give_one_version_to_different_figures() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let base = database.compute(run).await.unwrap().unwrap();
    // Sixteen claims on one run, which no planner would make: rows of the original beside ours.
    world
        .sql(&format!(
            "INSERT INTO jobs (run_id, queue, type, status) SELECT '{run}', 'status', \
            'aggregate-status', 'queued' \
             FROM generate_series(1, 16)"
        ))
        .await;
    let claims = database.claim(16).await.unwrap().claims;
    assert_eq!((claims.len(), claims[0].campaign), (16, campaign));
    let write = async |number: usize, claim: &Claim| {
        let mut computed: Computed = base.clone();
        computed.metrics.total_jobs = number as u64;
        let finished = database.finish(claim, Some(&computed), History::Absent).await.unwrap();
        (number, version_of(&finished.summary))
    };
    let all = claims.iter().enumerate().map(|(number, claim)| write(number + 1, claim));
    let written = futures_util::future::join_all(all).await;
    let versions: BTreeMap<i64, usize> =
        written.iter().map(|(number, version)| (*version, *number)).collect();
    assert_eq!(versions.len(), 16, "{written:?}");
    // The last version is what stands there.
    let summary = world.summary(run).await.unwrap();
    let (last, number) = versions.last_key_value().unwrap();
    assert_eq!((&summary["version"], &summary["totalJobs"]), (&json!(last), &json!(number)));
}

#[tokio::test]
async fn a_summary_that_another_program_overwrote_gets_a_later_version_again() {
    let world = World::new().await;
    let (database, (_, run)) = (world.database().await, world.running().await);
    let mut last = version_of(&count(&database, &world, run).await);
    let ahead = json!({"totalJobs": 9, "version": last + 1_000_000});
    for other in
        [json!({"totalJobs": 9}), json!([1]), json!("text"), json!({"version": "x"}), Value::Null, ahead]
    {
        let update = "UPDATE campaign_runs SET summary = $2 WHERE id = $1";
        world.users.execute(update, &[&run.0, &other]).await.unwrap();
        let version = version_of(&count(&database, &world, run).await);
        assert!(version > last, "{other}");
        last = version;
    }
}

#[tokio::test]
async fn a_run_that_leaves_running_gets_one_last_summary_which_stays() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    count(&database, &world, run).await;
    world.sql("UPDATE campaign_runs SET status = 'completed', ended_at = now()").await;
    let found = database.runs_without_last_summary(support::LONG, None, 10).await.unwrap();
    assert_eq!(found.rows.iter().map(|found| found.run).collect::<Vec<_>>(), [run]);
    version_of(&count(&database, &world, run).await);
    let last = world.summary(run).await.unwrap();
    assert_eq!(last["final"], json!(true));
    assert!(database.runs_without_last_summary(support::LONG, None, 10).await.unwrap().rows.is_empty());

    world.job(run, "buy", "failed").await;
    assert!(matches!(count(&database, &world, run).await, SummaryWrite::AlreadyFinal));
    assert_eq!(world.summary(run).await.unwrap(), last);

    // A paused run that goes on is counted again.
    world.sql("UPDATE campaign_runs SET status = 'running'").await;
    version_of(&count(&database, &world, run).await);
    assert_eq!(world.summary(run).await.unwrap().get("final"), None);
    assert_eq!(campaign, database.runs(&[run]).await.unwrap()[0].campaign);
}

#[tokio::test]
async fn a_summary_that_can_not_be_written_fails_no_turn_and_is_written_by_the_next_one() {
    let world = World::new().await;
    let (database, (_, run)) = (world.database().await, world.running().await);
    world.sql(&format!("REVOKE UPDATE (summary) ON campaign_runs FROM {}", world.role)).await;
    let SummaryWrite::Failed(error) = count(&database, &world, run).await else { panic!("it was written") };
    assert_eq!(error.kind, DatabaseErrorKind::Denied);
    assert_eq!(database.queue().await.unwrap(), store_campaigns::Queue::default(), "the turn is over");
    world.sql(&format!("GRANT UPDATE (summary) ON campaign_runs TO {}", world.role)).await;
    version_of(&count(&database, &world, run).await);
}

#[tokio::test]
async fn a_run_that_a_user_holds_locked_delays_its_summary_and_nothing_else() {
    let world = World::new().await;
    let (_, run) = world.running().await;
    let database =
        world.database_with(|settings| settings.lock_timeout = std::time::Duration::from_millis(50)).await;
    world.sql("BEGIN; SELECT FROM campaign_runs FOR UPDATE").await;
    let campaign = domain::campaigns::CampaignId(world.one("SELECT id FROM campaigns").await);
    // Even the turn's row waits for the lock, since it refers to the run.
    let refused = database.enqueue(&[wanted(campaign, run, AT_ONCE)]).await.unwrap_err();
    assert_eq!(refused.kind, DatabaseErrorKind::Slow);
    world.sql("COMMIT").await;
    let claim = turn(&database, campaign, run).await;
    let computed = database.compute(run).await.unwrap();
    world.sql("BEGIN; SELECT FROM campaign_runs FOR UPDATE").await;
    let finished = database.finish(&claim, computed.as_ref(), History::Absent).await.unwrap();
    assert!(finished.is_held);
    let SummaryWrite::Failed(error) = finished.summary else { panic!("it was written") };
    assert_eq!(error.kind, DatabaseErrorKind::Slow);
    world.sql("COMMIT").await;
    version_of(&count(&database, &world, run).await);
}

#[tokio::test]
async fn a_users_transaction_that_rolls_back_is_never_counted() {
    let world = World::new().await;
    let (database, (_, run)) = (world.database().await, world.running().await);
    world.sql("BEGIN").await;
    world.job(run, "buy", "succeeded").await;
    assert_eq!(database.compute(run).await.unwrap().unwrap().metrics.total_jobs, 0);
    world.sql("ROLLBACK").await;
    assert_eq!(database.compute(run).await.unwrap().unwrap().metrics.total_jobs, 0);
}

#[tokio::test]
async fn a_policy_that_hides_the_run_from_changes_is_reported() {
    let tables = UserTables { row_level_security: true, ..UserTables::default() };
    let world = World::with(tables, RoleRights::Service).await;
    let database = world.database().await;
    // Jobs may be changed, runs only be read: as with policies for reading only.
    world
        .sql(
            "CREATE POLICY all_jobs ON jobs USING (true) WITH CHECK (true); \
             CREATE POLICY all_runs ON campaign_runs FOR SELECT USING (true)",
        )
        .await;
    let (campaign, run) = world.running().await;
    let claim = turn(&database, campaign, run).await;
    let computed = database.compute(run).await.unwrap();
    let finished = database.finish(&claim, computed.as_ref(), History::Absent).await.unwrap();
    let SummaryWrite::Failed(error) = finished.summary else { panic!("{:?}", finished.summary) };
    assert_eq!((finished.is_held, error.kind), (true, DatabaseErrorKind::Hidden));
}
