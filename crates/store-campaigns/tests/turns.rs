//! The turns of runs as job rows: planned once, claimed once, taken over after a crash, never counted twice.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use domain::campaigns::{JobId, MOST_DEAD};
use serde_json::json;
use store_campaigns::{Claim, Failed, History, JobFailure, SummaryWrite};
use support::{AT_ONCE, World, turn, wanted};

fn failure(message: &str) -> JobFailure {
    JobFailure { message: message.to_owned(), stack: "a\nb".to_owned() }
}

#[tokio::test]
async fn a_campaign_has_one_row_that_is_used_again_by_its_next_run() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let first = turn(&database, campaign, run).await;
    database.finish(&first, None, History::Absent).await.unwrap();
    let second = turn(&database, campaign, run).await;
    database.finish(&second, None, History::Absent).await.unwrap();
    world.sql("UPDATE campaign_runs SET status = 'completed'").await;
    let next = world.run_of(campaign, "running").await;
    let third = turn(&database, campaign, next).await;
    assert_eq!((first.job, first.job), (second.job, third.job));
    assert_eq!(world.status_rows().await, 1);
    let (status, payload, _) = world.status_row(third.job).await;
    assert_eq!((status.as_str(), &payload["runId"]), ("processing", &json!(next.to_string())));
    assert_eq!(payload["campaignId"], json!(campaign.to_string()));
}

#[tokio::test]
async fn two_running_runs_of_a_campaign_take_turns_beside_each_other() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let other = world.run_of(campaign, "running").await;
    let turns = [wanted(campaign, run, AT_ONCE), wanted(campaign, other, AT_ONCE)];
    assert_eq!(database.enqueue(&turns).await.unwrap().queued.len(), 2);
    let claims = database.claim(10).await.unwrap().claims;
    let runs: BTreeSet<_> = claims.iter().map(|claim| claim.run).collect();
    assert_eq!(runs, BTreeSet::from([run, other]));
    for claim in &claims {
        assert!(database.finish(claim, None, History::Absent).await.unwrap().is_held);
    }
    assert_eq!(database.enqueue(&turns).await.unwrap().queued.len(), 2);
    assert_eq!(world.status_rows().await, 2);
}

#[tokio::test]
async fn a_turn_that_is_open_or_recent_is_not_planned_again() {
    let world = World::new().await;
    for database in [world.database().await, world.each().await] {
        let (campaign, run) = world.running().await;
        let plan = async |interval| database.enqueue(&[wanted(campaign, run, interval)]).await.unwrap();
        assert_eq!(plan(600_000).await.queued.len(), 1);
        assert_eq!(plan(0).await.open, 1, "it is queued");
        let claim = database.claim(1).await.unwrap().claims.remove(0);
        assert_eq!(plan(0).await.open, 1, "it is in work");
        database.finish(&claim, None, History::Absent).await.unwrap();
        assert_eq!(plan(600_000).await.recent, 1, "80 % of the interval have not passed");
        assert_eq!(plan(0).await.queued.len(), 1);
        let claim = database.claim(1).await.unwrap().claims.remove(0);
        database.finish(&claim, None, History::Absent).await.unwrap();
        world.sql("UPDATE jobs SET payload = payload || '{\"tookMs\": 100000}'").await;
        assert_eq!(plan(0).await.recent, 1, "it pauses for nine times the length of its computation");
    }
}

#[tokio::test]
async fn the_pause_after_a_long_computation_is_kept_however_old_its_row_is() {
    let world = World::new().await;
    for database in [world.database().await, world.each().await] {
        let (campaign, run) = world.running().await;
        let plan = async || database.enqueue(&[wanted(campaign, run, 15_000)]).await.unwrap();
        assert_eq!(plan().await.queued.len(), 1);
        let claim = database.claim(1).await.unwrap().claims.remove(0);
        database.finish(&claim, None, History::Absent).await.unwrap();
        // Planned 11 minutes ago, computed for a minute: nine minutes of pause, which began 9:30 or 8:30 minutes ago.
        let age = async |over_ms: u64| {
            let statement = format!(
                "UPDATE jobs SET created_at = now() - interval '11 minutes', payload = payload || \
                 jsonb_build_object('tookMs', 60000, \
                 'plannedAt', floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - 660000, \
                 'overAt', floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - {over_ms})"
            );
            world.sql(&statement).await;
        };
        age(510_000).await;
        assert_eq!(plan().await.recent, 1, "its pause goes on");
        age(570_000).await;
        assert_eq!(plan().await.queued.len(), 1, "its pause is over");
        world.sql("DELETE FROM jobs WHERE queue = 'status'").await;
    }
}

#[tokio::test]
async fn schedulers_that_plan_at_the_same_moment_plan_each_turn_once() {
    let world = World::new().await;
    for database in [world.database().await, world.each().await] {
        let mut turns = Vec::new();
        for _ in 0..20 {
            let (campaign, run) = world.running().await;
            turns.push(wanted(campaign, run, 600_000));
        }
        let before = world.status_rows().await;
        let replicas = (0..6).map(|_| database.enqueue(&turns));
        let planned = futures_util::future::join_all(replicas).await;
        let queued: usize = planned.iter().map(|result| result.as_ref().unwrap().queued.len()).sum();
        assert_eq!((queued, world.status_rows().await - before), (20, 20));
    }
}

#[tokio::test]
async fn of_many_claimers_each_turn_has_one() {
    let world = World::new().await;
    let database = world.database().await;
    let mut turns = Vec::new();
    for _ in 0..60 {
        let (campaign, run) = world.running().await;
        turns.push(wanted(campaign, run, AT_ONCE));
    }
    database.enqueue(&turns).await.unwrap();
    let claimers = (0..8).map(|_| async {
        let mut mine: Vec<JobId> = Vec::new();
        loop {
            let claimed = database.claim(3).await.unwrap();
            if claimed.claims.is_empty() {
                return mine;
            }
            mine.extend(claimed.claims.iter().map(|claim| claim.job));
        }
    });
    let all: Vec<JobId> = futures_util::future::join_all(claimers).await.concat();
    let different: BTreeSet<JobId> = all.iter().copied().collect();
    // A claimer may find all rows locked by others and end early, so some may be left; none may be claimed twice.
    assert_eq!(all.len(), different.len());
    let rest = database.claim(100).await.unwrap().claims.len();
    assert_eq!(all.len() + rest, 60);
}

#[tokio::test]
async fn a_crash_between_claim_and_finish_leads_to_another_claim_and_to_one_write() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let lost = turn(&database, campaign, run).await;
    let stale = database.compute(run).await.unwrap().unwrap();
    assert!(database.claim(1).await.unwrap().claims.is_empty(), "the lease has not ended");
    world.end_leases().await;
    let taken = database.claim(1).await.unwrap().claims.remove(0);
    assert_eq!((taken.job, taken.attempt), (lost.job, 2));
    world.job(run, "buy", "succeeded").await;
    let fresh = database.compute(run).await.unwrap().unwrap();

    // The first worker was slow, not dead.
    let late = database.finish(&lost, Some(&stale), History::Absent).await.unwrap();
    assert!(!late.is_held && matches!(late.summary, SummaryWrite::Nothing), "{late:?}");
    assert!(!database.extend(&lost).await.unwrap() && !database.release(&lost).await.unwrap());
    assert_eq!(database.fail(&lost, &failure("late")).await.unwrap(), Failed::Lost);
    assert_eq!(world.summary(run).await, None);

    let done = database.finish(&taken, Some(&fresh), History::Absent).await.unwrap();
    assert!(done.is_held && matches!(done.summary, SummaryWrite::Written { .. }), "{done:?}");
    assert!(!database.finish(&taken, Some(&fresh), History::Absent).await.unwrap().is_held, "once is enough");
    assert_eq!(world.summary(run).await.unwrap()["totalJobs"], json!(1));
}

#[tokio::test]
async fn an_extended_claim_is_not_taken_over() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let claim = turn(&database, campaign, run).await;
    world.end_leases().await;
    assert!(database.extend(&claim).await.unwrap());
    assert!(database.claim(1).await.unwrap().claims.is_empty());
}

#[tokio::test]
async fn a_released_turn_is_charged_with_no_attempt() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let mut claim = turn(&database, campaign, run).await;
    for _ in 0..10 {
        assert_eq!(claim.attempt, 1);
        assert!(database.release(&claim).await.unwrap());
        claim = database.claim(1).await.unwrap().claims.remove(0);
    }
}

/// Fails a turn until it is a dead letter, and returns its row.
async fn kill(world: &World, database: &store_campaigns::Database, mut claim: Claim) -> JobId {
    loop {
        match database.fail(&claim, &failure("the run is odd")).await.unwrap() {
            Failed::Retrying { after } => {
                assert!(
                    after >= Duration::from_millis(1500) && after <= Duration::from_secs(75),
                    "{after:?}"
                );
                assert!(database.claim(1).await.unwrap().claims.is_empty(), "the pause is not over");
                world.end_pauses().await;
                claim = database.claim(1).await.unwrap().claims.remove(0);
            }
            Failed::Dead => return claim.job,
            Failed::Lost => panic!("nobody else claims here"),
        }
    }
}

#[tokio::test]
async fn after_its_retries_a_turn_is_a_dead_letter_with_the_contracts_fields() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let job = kill(&world, &database, turn(&database, campaign, run).await).await;
    let (status, _, error) = world.status_row(job).await;
    let letter = error.unwrap();
    assert_eq!(status, "failed");
    assert_eq!(letter["attempts"], json!(4), "the first attempt and three retries");
    assert_eq!(letter["error"], json!({"message": "the run is odd", "stack": "a\nb"}));
    assert_eq!(letter["originalJob"]["payload"]["runId"], json!(run.to_string()));
    assert_eq!(letter["originalJob"]["payload"]["campaignId"], json!(campaign.to_string()));
    assert!(letter["failedAt"].as_str().unwrap().ends_with('Z'), "{letter}");

    let page = database.dead_letters(None, 10).await.unwrap();
    assert_eq!(
        (page.rows.len(), page.rows[0].job, page.rows[0].run, page.rows[0].attempts),
        (1, job, run, 4)
    );
    assert_eq!(page.rows[0].letter, letter);
    assert_eq!(database.dead_letter(job).await.unwrap().unwrap().letter, letter);
    assert_eq!(database.queue().await.unwrap().dead, 1);

    // The next turn has another row: the letter stays until it is replayed or dropped.
    let next = turn(&database, campaign, run).await;
    assert_ne!(next.job, job);
    database.finish(&next, None, History::Absent).await.unwrap();
    assert!(database.replay_dead_letter(job).await.unwrap());
    assert!(!database.replay_dead_letter(job).await.unwrap(), "it is none any more");
    let again = database.claim(1).await.unwrap().claims.remove(0);
    assert_eq!((again.job, again.attempt), (job, 1));
    kill(&world, &database, again).await;
    assert!(database.drop_dead_letter(job).await.unwrap());
    assert!(!database.drop_dead_letter(job).await.unwrap());
    assert_eq!(database.dead_letter(job).await.unwrap(), None);
}

#[tokio::test]
async fn a_turn_is_tried_again_as_often_as_is_set() {
    let world = World::new().await;
    for retries in [0, 1, 5] {
        let database = world.database_with(|settings| settings.retries = retries).await;
        let (campaign, run) = world.running().await;
        let job = kill(&world, &database, turn(&database, campaign, run).await).await;
        let letter = database.dead_letter(job).await.unwrap().unwrap();
        assert_eq!((letter.attempts, &letter.letter["attempts"]), (retries + 1, &json!(retries + 1)));
        // One that ends each of its workers without a word has as many attempts.
        let (campaign, run) = world.running().await;
        let job = turn(&database, campaign, run).await.job;
        for _ in 0..retries {
            world.end_leases().await;
            assert_eq!(database.claim(1).await.unwrap().claims.len(), 1);
        }
        world.end_leases().await;
        assert_eq!(database.claim(1).await.unwrap().exhausted, [job]);
    }
}

#[tokio::test]
async fn dead_letters_of_a_campaign_are_limited_and_the_oldest_goes_first() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let mut letters = Vec::new();
    for _ in 0..=MOST_DEAD {
        letters.push(kill(&world, &database, turn(&database, campaign, run).await).await);
    }
    let enqueued = database.enqueue(&[wanted(campaign, run, AT_ONCE)]).await.unwrap();
    assert_eq!((enqueued.evicted, enqueued.queued[0].0), (1, letters[0]));
    assert_eq!(world.status_rows().await, 1 + MOST_DEAD as i64);
}

#[tokio::test]
async fn a_turn_that_ends_each_of_its_workers_becomes_a_dead_letter() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let job = turn(&database, campaign, run).await.job;
    for attempt in 2..=4 {
        world.end_leases().await;
        assert_eq!(database.claim(1).await.unwrap().claims[0].attempt, attempt);
    }
    world.end_leases().await;
    let claimed = database.claim(1).await.unwrap();
    assert_eq!((claimed.claims.len(), claimed.exhausted), (0, vec![job]));
    let letter = database.dead_letter(job).await.unwrap().unwrap().letter;
    assert_eq!(letter["attempts"], json!(4));
    assert!(letter["error"]["message"].as_str().unwrap().contains("crash"), "{letter}");
}

#[tokio::test]
async fn failures_with_texts_that_a_database_refuses_are_kept_shortened() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let claim = turn(&database, campaign, run).await;
    let odd = JobFailure { message: "a\0b'\"\\".to_owned(), stack: "é".repeat(100_000) };
    assert!(matches!(database.fail(&claim, &odd).await.unwrap(), Failed::Retrying { .. }));
    let (_, _, error) = world.status_row(claim.job).await;
    let error = error.unwrap();
    assert_eq!(error["error"]["message"], json!("ab'\"\\"));
    assert_eq!(error["error"]["stack"].as_str().unwrap().chars().count(), 8_000);
}

#[tokio::test]
async fn each_turn_may_have_a_row_of_its_own_that_is_pruned_after_its_retention() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.each().await, world.running().await);
    for _ in 0..3 {
        let claim = turn(&database, campaign, run).await;
        database.finish(&claim, None, History::Absent).await.unwrap();
    }
    kill(&world, &database, turn(&database, campaign, run).await).await;
    assert_eq!(world.status_rows().await, 4);
    let (hour, week) = (Duration::from_secs(3600), Duration::from_secs(604_800));
    assert_eq!(database.prune(hour, week).await.unwrap(), 0);
    world.job(run, "status", "succeeded").await;
    world.sql("UPDATE jobs SET updated_at = now() - interval '2 hours'").await;
    assert_eq!(database.prune(hour, week).await.unwrap(), 3, "the dead letter stays, and a job of the users");
    assert_eq!(database.prune(hour, hour).await.unwrap(), 1);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM jobs").await, 1);
}

#[tokio::test]
async fn rows_that_the_original_queued_and_lost_are_taken_up() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let insert = format!(
        "INSERT INTO jobs (run_id, queue, type, status, payload, updated_at) VALUES \
         ('{run}', 'status', 'aggregate-status', 'queued', '{{\"campaignId\": \"{campaign}\"}}', now()), \
         ('{run}', 'status', 'aggregate-status', 'processing', '[1]', now() - interval '1 hour'), \
         ('{run}', 'status', 'aggregate-status', 'processing', 'null', now())"
    );
    world.sql(&insert).await;
    let claims = database.claim(10).await.unwrap().claims;
    assert_eq!(claims.len(), 2, "the third is in work elsewhere");
    assert!(claims.iter().all(|claim| claim.run == run && claim.campaign == campaign));
    for claim in &claims {
        assert!(database.finish(claim, None, History::Absent).await.unwrap().is_held);
    }
}

#[tokio::test]
async fn a_run_that_was_deleted_fails_no_other_run() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let (gone_campaign, gone) = world.running().await;
    world.sql(&format!("DELETE FROM campaigns WHERE id = '{gone_campaign}'")).await;
    let turns = [wanted(gone_campaign, gone, AT_ONCE), wanted(campaign, run, AT_ONCE)];
    let enqueued = database.enqueue(&turns).await.unwrap();
    assert_eq!(enqueued.queued.iter().map(|(_, run)| *run).collect::<Vec<_>>(), [run]);
}

#[tokio::test]
async fn rows_whose_run_is_gone_hold_up_no_others() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    world
        .sql(
            "ALTER TABLE jobs DROP CONSTRAINT jobs_run_id_fkey; \
             INSERT INTO jobs (run_id, queue, type, status, payload, created_at) \
             SELECT gen_random_uuid(), 'status', 'aggregate-status', 'queued', '{}', now() - interval '1 hour' \
             FROM generate_series(1, 10)",
        )
        .await;
    database.enqueue(&[wanted(campaign, run, AT_ONCE)]).await.unwrap();
    let claims = database.claim(4).await.unwrap().claims;
    assert_eq!(claims.iter().map(|claim| claim.run).collect::<Vec<_>>(), [run]);
}

#[tokio::test]
async fn the_queue_tells_its_depth_and_the_age_of_its_oldest_turn() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    assert_eq!(database.queue().await.unwrap(), store_campaigns::Queue::default());
    database.enqueue(&[wanted(campaign, run, AT_ONCE)]).await.unwrap();
    world.sql("UPDATE jobs SET created_at = now() - interval '1 minute'").await;
    let queue = database.queue().await.unwrap();
    assert_eq!((queue.queued, queue.processing), (1, 0));
    assert!(queue.oldest >= Duration::from_secs(60) && queue.oldest < Duration::from_secs(120), "{queue:?}");
}

/// Actors are spawned, so their calls must be `Send`.
#[tokio::test]
async fn calls_can_be_made_from_tasks() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let work = async move {
        database.enqueue(&[wanted(campaign, run, AT_ONCE)]).await?;
        let claims = database.claim(1).await?.claims;
        let computed = database.compute(run).await?;
        database.finish(&claims[0], computed.as_ref(), History::Absent).await?;
        database.prune(Duration::ZERO, Duration::ZERO).await
    };
    assert_eq!(tokio::spawn(work).await.unwrap().unwrap(), 1);
}
