//! Summaries are kept for trends as they are written, in the same statement, and a history that can't be written costs nothing else.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use std::time::Duration;

use domain::campaigns::{CampaignId, RunId, Timestamp};
use store_campaigns::{
    Claim, Computed, Database, DatabaseErrorKind, DatabaseSettings, Finished, History, HistoryPlace,
    SummaryWrite,
};
use support::{World, server, turn};

const ALWAYS: (Timestamp, Timestamp) = (Timestamp(0), Timestamp(i64::MAX >> 11));

async fn migrated() -> (World, Database) {
    let world = World::new().await;
    let owner = Database::new(DatabaseSettings::new(server().await.admin_url(&world.name))).unwrap();
    owner.migrate(Some(&world.role)).await.unwrap();
    let database = world.database().await;
    (world, database)
}

/// Takes a turn of the run, whole.
async fn count(world: &World, database: &Database, campaign: CampaignId, run: RunId) -> Finished {
    world.end_breaks().await;
    let claim = turn(database, campaign, run).await;
    let computed = database.compute(run).await.unwrap();
    database.finish(&claim, computed.as_ref(), History::Kept).await.unwrap()
}

async fn all(database: &Database, campaign: CampaignId) -> Vec<store_campaigns::KeptSummary> {
    let page = database.summaries(campaign, ALWAYS, None, 1_000).await.unwrap();
    assert_eq!(page.next, None);
    page.summaries
}

#[tokio::test]
async fn a_changed_summary_is_kept_as_it_is_written_and_an_unchanged_one_is_not() {
    let (world, database) = migrated().await;
    let (campaign, run) = world.running().await;
    let mut versions = Vec::new();
    for total in 1..=3 {
        world.job(run, "buy", "succeeded").await;
        let finished = count(&world, &database, campaign, run).await;
        let SummaryWrite::Written { version, updated_at } = finished.summary else { panic!("{finished:?}") };
        versions.push((version, updated_at, total));
        let again = count(&world, &database, campaign, run).await;
        assert!(matches!(again.summary, SummaryWrite::Unchanged) && again.unkept.is_none(), "{again:?}");
    }
    let kept = all(&database, campaign).await;
    let read = |kept: &store_campaigns::KeptSummary| {
        let summary = kept.summary.clone().unwrap();
        assert_eq!((kept.run, summary.version), (run, Some(kept.version)));
        (kept.version, summary.updated_at.unwrap(), summary.metrics.total_jobs)
    };
    assert_eq!(kept.iter().map(read).collect::<Vec<_>>(), versions);
    // Both ends of a time are included.
    let second = kept[1].written_at;
    let part = database.summaries(campaign, (second, second), None, 1_000).await.unwrap();
    assert!(part.summaries.contains(&kept[1]));
    assert!(!part.summaries.contains(&kept[2]) || kept[2].written_at == second);
}

#[tokio::test]
async fn a_history_that_can_not_be_written_fails_neither_the_turn_nor_the_summary() {
    let (world, database) = migrated().await;
    let (campaign, run) = world.running().await;
    for (harm, mend, kind) in [
        (
            format!("REVOKE INSERT ON state_tracker.summaries FROM {}", world.role),
            format!("GRANT INSERT ON state_tracker.summaries TO {}", world.role),
            DatabaseErrorKind::Denied,
        ),
        (
            "ALTER TABLE state_tracker.summaries RENAME TO away".to_owned(),
            "ALTER TABLE state_tracker.away RENAME TO summaries".to_owned(),
            DatabaseErrorKind::Missing,
        ),
    ] {
        world.sql(&harm).await;
        world.job(run, "buy", "succeeded").await;
        let finished = count(&world, &database, campaign, run).await;
        assert!(finished.is_held && matches!(finished.summary, SummaryWrite::Written { .. }), "{finished:?}");
        assert_eq!(finished.unkept.map(|error| error.kind), Some(kind));
        world.sql(&mend).await;
        assert!(all(&database, campaign).await.is_empty());
    }
    world.job(run, "buy", "succeeded").await;
    assert!(count(&world, &database, campaign, run).await.unkept.is_none());
    assert_eq!(all(&database, campaign).await.len(), 1);
}

#[tokio::test]
async fn several_turns_end_in_one_statement_and_one_that_is_locked_or_lost_is_left_out() {
    let (world, database) = migrated().await;
    let mut turns: Vec<(Claim, Computed)> = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..4 {
        let (campaign, run) = world.running().await;
        world.job(run, "buy", "succeeded").await;
        turns.push((turn(&database, campaign, run).await, database.compute(run).await.unwrap().unwrap()));
        runs.push(run);
    }
    // The user locks the run of the first, and another worker has taken the second one over.
    world.sql(&format!("BEGIN; SELECT FROM campaign_runs WHERE id = '{}' FOR UPDATE", runs[0])).await;
    assert!(database.release(&turns[1].0).await.unwrap());
    let turns: Vec<(&Claim, &Computed)> = turns.iter().map(|(claim, computed)| (claim, computed)).collect();
    let begun = std::time::Instant::now();
    let ended = database.finish_several(&turns, History::Kept).await.unwrap();
    assert!(begun.elapsed() < database.settings().lock_timeout, "it waited: {:?}", begun.elapsed());
    assert_eq!(
        ended.keys().copied().collect::<std::collections::BTreeSet<_>>(),
        [turns[2].0.job, turns[3].0.job].into()
    );
    for (number, (claim, _)) in turns.iter().enumerate().skip(2) {
        let SummaryWrite::Written { version, .. } = ended[&claim.job].summary else { panic!("{ended:?}") };
        let kept = all(&database, claim.campaign).await;
        assert_eq!((kept.len(), kept[0].version, kept[0].run), (1, version, runs[number]));
        assert_eq!(world.status_row(claim.job).await.0, "succeeded");
    }
    world.sql("COMMIT").await;
    // What was left out ends by itself, or is lost.
    let (claim, computed) = turns[0];
    assert!(database.finish(claim, Some(computed), History::Kept).await.unwrap().is_held);
    assert!(!database.finish(turns[1].0, Some(turns[1].1), History::Kept).await.unwrap().is_held);
    assert!(world.summary(runs[1]).await.is_none());
    // Once is enough.
    assert!(database.finish_several(&turns, History::Kept).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_history_is_read_in_pages_of_limited_size_and_pruned() {
    let (world, database) = migrated().await;
    let (campaign, run) = world.running().await;
    let insert = |first: u32, many: u32, content: &str| {
        format!(
            "INSERT INTO state_tracker.summaries SELECT '{run}', {first} + n, '{campaign}', now() - interval '2 days', \
             {content} FROM generate_series(1, {many}) n"
        )
    };
    world.sql(&insert(0, 2_500, "'{}'")).await;
    // Three of the largest ones are more than a page's bytes together with the next.
    world.sql(&insert(2_500, 20, "jsonb_build_object('x', repeat('x', 262000))")).await;
    let (mut after, mut seen, mut pages): (Option<HistoryPlace>, Vec<i64>, usize) = (None, Vec::new(), 0);
    loop {
        let page = database.summaries(campaign, ALWAYS, after, 700).await.unwrap();
        assert!(
            page.summaries.len() <= 700
                && page.summaries.iter().filter(|kept| kept.version > 2_500).count() <= 17
        );
        seen.extend(page.summaries.iter().map(|kept| kept.version));
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), ((1..=2_520).collect(), 5));
    assert_eq!(database.prune_summaries(Duration::from_secs(86_400)).await.unwrap(), 2_520);
    assert!(all(&database, campaign).await.is_empty());
}
