//! Actors that end with `Unavailable`: an outage is neither the fault of the message in flight nor that of the actor.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::{
    HOUR, Job, Log, MS, SECOND, advance_until, attempts, each, eventually, filled, manual, policy, record,
    start,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Lease, OnLimit, Policy, State, Unavailable,
    Worker,
};

/// The server that all of this depends on.
#[derive(Debug, thiserror::Error)]
#[error("connection refused")]
struct Refused;

/// An error of a library that has the outage as its cause, below another one.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error("read the ledger")]
    Read(#[source] Connect),
}

#[derive(Debug, thiserror::Error)]
#[error("connect to the store")]
struct Connect(#[source] Unavailable);

fn outage() -> Failure {
    Unavailable::new(Refused).into()
}

/// No restart is tolerated; 1 ms before each.
fn intolerant() -> Policy {
    policy((0, HOUR), (MS, MS))
}

#[tokio::test]
async fn a_message_is_not_charged_for_an_outage_however_its_lease_is_dropped() {
    // 1 attempt.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, attempts(1), 1);
    let seen = Log::default();
    let worker = each(mailbox, {
        let seen = seen.clone();
        move |lease: Lease<'_, Job>| {
            seen.note(lease.attempt());
            if seen.len() <= 20 {
                // Held until its handler has returned, or dropped before.
                drop(seen.len().is_multiple_of(2).then_some(lease));
                return Err(outage());
            }
            lease.ack();
            Ok(())
        }
    });
    let tree = start(&clock, vec![worker.policy(intolerant())]).await;
    eventually("it is handled", || view.stats().handled == 1).await;
    assert_eq!(seen.all(), [1; 21]);
    assert_eq!(view.stats().dead_lettered, 0);
    let health = record(&tree, "worker");
    assert_eq!((health.exits(ExitKind::Unavailable), health.exits(ExitKind::Failed)), (20, 0));
}

/// Takes batches, and has an outage with the first three.
struct Batches(Log<Vec<u64>>);

impl Actor for Batches {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(batch) = inbox.recv_many().await {
            self.0.note(batch.iter().map(|job| job.number).collect());
            if self.0.len() <= 3 {
                return Err(outage());
            }
            batch.ack();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_batch_is_neither_charged_nor_taken_one_by_one_for_an_outage() {
    // 1 attempt. A batch of one message could be charged, one of three suspected.
    for count in [1, 3] {
        let clock = Clock::system();
        let (mailbox, view) = filled(&clock, attempts(1), count);
        let seen = Log::default();
        let worker = Child::actor(mailbox, {
            let seen = seen.clone();
            move || Batches(seen.clone())
        });
        let _tree = start(&clock, vec![worker.policy(intolerant())]).await;
        eventually("all are handled", || view.stats().handled == count).await;
        let whole: Vec<_> = (0..count).collect();
        assert_eq!(seen.all(), [whole.clone(), whole.clone(), whole.clone(), whole]);
        assert_eq!((view.stats().dead_lettered, view.stats().redelivered), (0, 3 * count));
    }
}

/// Fails with these errors, one after the other, and then idles.
struct Fails<F>(F);

impl<F: FnMut(u64) -> Option<Failure> + Send + 'static> Worker for Fails<F> {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        match (self.0)(cx.generation()) {
            Some(error) => Err(error),
            None => {
                cx.idle(cx.stopped()).await;
                Ok(())
            }
        }
    }
}

#[tokio::test]
async fn an_outage_is_found_among_the_causes_of_an_error_and_told_with_all_of_them() {
    let errors = |generation| -> Option<Failure> {
        match generation {
            1 => Some(outage()),
            2 => Some(Box::new(Connect(Unavailable::new(Refused)))),
            3 => Some(Box::new(StoreError::Read(Connect(Unavailable::new(Refused))))),
            // Without the mark it is a failure.
            4 => Some(Box::new(Refused)),
            _ => None,
        }
    };
    let worker = Child::worker("worker", move || Fails(errors)).policy(policy((10, HOUR), (MS, MS)));
    let tree = start(&Clock::system(), vec![worker]).await;
    eventually("it runs", || {
        let health = record(&tree, "worker");
        (health.generation, health.state) == (5, State::Running)
    })
    .await;
    let crashes: Vec<_> =
        tree.crashes("worker").into_iter().map(|crash| (crash.kind, crash.message)).collect();
    let expected = [
        (ExitKind::Unavailable, "connection refused"),
        (ExitKind::Unavailable, "connect to the store: connection refused"),
        (ExitKind::Unavailable, "read the ledger: connect to the store: connection refused"),
        (ExitKind::Failed, "connection refused"),
    ];
    assert_eq!(crashes, expected.map(|(kind, message)| (kind, message.to_owned())));
    let health = record(&tree, "worker");
    assert_eq!((health.exits(ExitKind::Unavailable), health.exits(ExitKind::Failed)), (3, 1));
    assert!(ExitKind::Unavailable.is_crash());
    assert_eq!(serde_json::to_value(&health).expect("serialisable")["exits"]["unavailable"], 3);
}

#[tokio::test]
async fn outages_beyond_the_restart_limit_neither_degrade_nor_escalate_and_their_pauses_grow() {
    // No restart is tolerated; pauses of 1 s, 2 s, 4 s, then 5 s; healthy after an hour.
    for on_limit in [OnLimit::Degrade, OnLimit::Escalate] {
        let clock = manual();
        let errors = |generation| (generation <= 6).then(outage);
        let policy = Policy { on_limit, ..policy((0, HOUR), (SECOND, 5 * SECOND)) };
        let worker = Child::worker("worker", move || Fails(errors)).policy(policy);
        let tree = start(&clock, vec![worker]).await;
        let mut pauses = Vec::new();
        for generation in 1..=6 {
            eventually("it has ended and backs off", || {
                let health = record(&tree, "worker");
                (health.exits(ExitKind::Unavailable), health.state) == (generation, State::BackingOff)
            })
            .await;
            assert!(!record(&tree, "worker").degraded);
            let began = clock.now();
            advance_until(&clock, SECOND / 2, "it is restarted", || {
                record(&tree, "worker").generation > generation
            })
            .await;
            pauses.push(clock.now().duration_since(began).as_millis());
        }
        eventually("it runs", || record(&tree, "worker").state == State::Running).await;
        let grow = pauses
            .iter()
            .zip([1_000, 2_000, 4_000, 5_000, 5_000, 5_000])
            .all(|(pause, least)| *pause >= least);
        assert!(grow, "{pauses:?}");
        assert!(!record(&tree, "worker").degraded);
    }
}
