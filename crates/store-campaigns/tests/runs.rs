//! Which runs are found, what has changed, whose campaigns they are.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use std::collections::BTreeSet;

use domain::campaigns::{CampaignId, RunId, RunStatus, Timestamp, UserId};
use support::{World, nobody};

#[tokio::test]
async fn running_runs_of_active_campaigns_are_found_and_no_others() {
    let world = World::new().await;
    let database = world.database().await;
    let (campaign, run) = world.running().await;
    let second = world.run_of(campaign, "running").await;
    for status in ["paused", "stopped", "completed", "failed"] {
        world.run_of(campaign, status).await;
    }
    for status in ["draft", "paused", "stopped", "completed"] {
        let other = world.campaign(status).await;
        world.run_of(other, "running").await;
    }
    let page = database.active_runs(None, 100).await.unwrap();
    let found: BTreeSet<RunId> = page.rows.iter().map(|found| found.run).collect();
    assert_eq!(found, BTreeSet::from([run, second]));
    assert!(page.rows.iter().all(|found| found.campaign == campaign && found.status == RunStatus::Running));
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn parameters_of_campaigns_come_along_and_odd_ones_do_no_harm() {
    let world = World::new().await;
    let database = world.database().await;
    world.running().await;
    let params_after = async |params: &str| {
        world.sql(&format!("UPDATE campaigns SET params = '{params}'")).await;
        database.active_runs(None, 1).await.unwrap().rows[0].params
    };
    let good = params_after("{\"status_interval_seconds\": 20, \"alert_threshold\": 0.5}").await;
    assert_eq!((good.interval_ms, good.alert_threshold), (Some(20_000), Some(0.5)));
    let huge = format!("{{\"status_interval_seconds\": \"{}\"}}", "9".repeat(1000));
    for odd in ["null", "[]", "\"text\"", "{\"status_interval_seconds\": {\"a\": 1}}", &huge] {
        let params = params_after(odd).await;
        assert!(params.interval_ms.is_none_or(|interval| interval == 3_600_000), "{odd}: {params:?}");
    }
}

#[tokio::test]
async fn pages_hold_whole_campaigns_and_every_run_once() {
    let world = World::new().await;
    let database = world.database().await;
    let mut all = BTreeSet::new();
    for runs in [1, 3, 2, 1, 4, 1] {
        let campaign = world.campaign("active").await;
        for _ in 0..runs {
            all.insert(world.run_of(campaign, "running").await);
        }
    }
    let (mut after, mut found, mut campaigns) = (None, Vec::new(), BTreeSet::new());
    loop {
        let page = database.active_runs(after, 4).await.unwrap();
        assert!(page.rows.len() <= 4);
        let of_page: BTreeSet<CampaignId> = page.rows.iter().map(|run| run.campaign).collect();
        assert!(campaigns.is_disjoint(&of_page), "a campaign was cut");
        campaigns.extend(of_page);
        found.extend(page.rows.iter().map(|run| run.run));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (12, all));
}

#[tokio::test]
async fn changes_are_runs_whose_status_or_summary_differs_by_whichever_program() {
    let world = World::new().await;
    let database = world.database().await;
    let (campaign, run) = world.running().await;
    let quiet = world.run_of(campaign, "running").await;
    let gone = world.run_of(campaign, "running").await;
    let rows = database.runs(&[run, quiet, gone]).await.unwrap();
    let mut seen: Vec<_> = rows.iter().map(store_campaigns::RunRow::seen).collect();
    let page = database.running(None, 10).await.unwrap();
    assert_eq!(page.rows.len(), 3);
    assert!(page.rows.iter().all(|found| seen.contains(found)), "{page:?}");

    let changes = database.changes(&seen).await.unwrap();
    assert!(changes.changed.is_empty() && changes.gone.is_empty(), "{changes:?}");
    world.sql(&format!("DELETE FROM campaign_runs WHERE id = '{gone}'")).await;
    world.sql(&format!("UPDATE campaign_runs SET summary = '{{\"totalJobs\": 4}}' WHERE id = '{run}'")).await;
    let changes = database.changes(&seen).await.unwrap();
    assert_eq!(changes.gone, [gone]);
    assert_eq!(changes.changed.iter().map(|row| row.run).collect::<Vec<_>>(), [run]);
    let summary = changes.changed[0].summary.as_ref().unwrap();
    assert_eq!((summary.metrics.total_jobs, summary.version), (4, None));

    seen = vec![changes.changed[0].seen()];
    assert!(database.changes(&seen).await.unwrap().changed.is_empty());
    world.sql("UPDATE campaign_runs SET status = 'stopped', ended_at = '2026-01-02T03:04:05.678Z'").await;
    let changed = database.changes(&seen).await.unwrap().changed.remove(0);
    assert_eq!(changed.status, RunStatus::Stopped);
    assert_eq!(changed.ended_at, Timestamp::parse("2026-01-02T03:04:05.678Z"));
}

#[tokio::test]
async fn the_latest_of_a_campaign_is_each_running_run_or_else_the_newest() {
    let world = World::new().await;
    let database = world.database().await;
    let latest = async |campaign| {
        let rows = database.latest(&[campaign]).await.unwrap();
        rows.iter().map(|row| row.run).collect::<BTreeSet<_>>()
    };
    let campaign = world.campaign("active").await;
    assert_eq!(latest(campaign).await, BTreeSet::new());
    let mut ended = Vec::new();
    for hour in 1..=3 {
        let run = world.run_of(campaign, "completed").await;
        let move_it = format!(
            "UPDATE campaign_runs SET started_at = now() - interval '{hour} hours' WHERE id = '{run}'"
        );
        world.sql(&move_it).await;
        ended.push(run);
    }
    assert_eq!(latest(campaign).await, BTreeSet::from([ended[0]]));
    world.sql(&format!("UPDATE campaign_runs SET status = 'running' WHERE id = '{}'", ended[2])).await;
    assert_eq!(latest(campaign).await, BTreeSet::from([ended[2]]), "an older one still runs");
    let new = world.run_of(campaign, "running").await;
    assert_eq!(latest(campaign).await, BTreeSet::from([ended[2], new]));
}

#[tokio::test]
async fn a_campaigns_owner_is_found_and_nobody_owns_what_is_not_there() {
    let world = World::new().await;
    let database = world.database().await;
    let campaign = world.campaign("draft").await;
    let owner: String = world.one("SELECT user_id::text FROM campaigns").await;
    assert_eq!(database.owner_of(campaign).await.unwrap(), Some(UserId(owner)));
    assert_eq!(database.owner_of(nobody()).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_can_not_be_read_is_counted_and_the_others_are_found() {
    let tables = testkit::UserTables { unchecked: true, ..testkit::UserTables::default() };
    let world = World::with(tables, testkit::RoleRights::Service).await;
    let database = world.database().await;
    let (campaign, run) = world.running().await;
    let odd = world.run_of(campaign, "lost").await;
    world
        .sql(&format!(
            "UPDATE campaign_runs SET started_at = 'infinity', ended_at = '-infinity' WHERE id = '{run}'"
        ))
        .await;
    let rows = database.runs(&[run, odd]).await.unwrap();
    assert_eq!((rows.len(), rows[0].run, rows[0].ended_at), (1, run, None));
    let seen = [run, odd].map(|run| store_campaigns::Seen {
        run,
        status: RunStatus::Running,
        fingerprint: String::new(),
    });
    let changes = database.changes(&seen).await.unwrap();
    assert_eq!((changes.changed.len(), changes.unreadable), (0, 1));
    // A summary beyond all measure is left out, and its run is not.
    world.sql("UPDATE campaign_runs SET summary = jsonb_build_object('a', repeat('x', 300000))").await;
    assert_eq!(database.runs(&[run]).await.unwrap()[0].summary, None);
}
