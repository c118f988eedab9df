//! Messages in flight when their actor ends: which one is charged, and what happens to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{future::pending, sync::Arc};

use common::{
    HOUR, Job, Log, MINUTE, MS, SECOND, all_run, attempts, calm, each, eventually, filled, job, manual,
    policy, record, start,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Lease, Limits, Mailbox, Overflow, Policy, State,
    Worker,
    fail::{self, Fault, When},
};

/// 100 restarts an hour, 1 ms before each.
fn quick() -> Policy {
    policy((100, HOUR), (MS, MS))
}

/// A handled message: its number, and the attempt.
type Handled = Log<(u64, u32)>;

#[tokio::test]
async fn a_message_that_fails_once_is_handled_at_its_second_attempt() {
    // 2 attempts; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, attempts(2), 3);
    let handled = Handled::default();
    let worker = each(mailbox, {
        let handled = handled.clone();
        move |lease: Lease<'_, Job>| {
            assert!(lease.number != 1 || lease.attempt() > 1, "the first attempt fails");
            handled.note((lease.number, lease.attempt()));
            lease.ack();
            Ok(())
        }
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    eventually("all are handled", || view.stats().handled == 3).await;
    assert_eq!(handled.all(), [(0, 1), (1, 2), (2, 1)]);
    assert_eq!(record(&tree, "worker").exits(ExitKind::Panicked), 1);
    assert_eq!(view.stats().dead_lettered, 0);
}

#[tokio::test]
async fn the_neighbours_of_a_failing_message_in_its_batch_are_never_charged() {
    // 5 attempts; 100 restarts an hour; 1 ms before each. All ten messages are in flight together.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, attempts(5), 10);
    let handled = Handled::default();
    let worker = each(mailbox, {
        let handled = handled.clone();
        move |lease: Lease<'_, Job>| {
            if lease.number == 4 {
                return Err("a failure without a panic".into());
            }
            handled.note((lease.number, lease.attempt()));
            lease.ack();
            Ok(())
        }
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    eventually("all are through", || view.stats().handled == 9).await;
    let expected: Vec<_> = (0..10).filter(|&number| number != 4).map(|number| (number, 1)).collect();
    assert_eq!(handled.all(), expected);
    let letters = tree.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].sequence, letters[0].attempts), (5, 5));
    assert_eq!(letters[0].reason, "its actor failed: a failure without a panic");
    assert_eq!(record(&tree, "worker").exits(ExitKind::Failed), 5);
}

#[tokio::test]
async fn a_returned_lease_is_never_charged() {
    // 1 attempt; 100 restarts an hour; 1 ms before each. A server is away: the message goes back, the actor
    // fails, again and again.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, attempts(1), 1);
    let handled = Handled::default();
    let failures = Log::<u32>::default();
    let worker = each(mailbox, {
        let (handled, failures) = (handled.clone(), failures.clone());
        move |lease: Lease<'_, Job>| {
            if failures.len() < 20 {
                failures.note(lease.attempt());
                lease.nack();
                return Err("the server is away".into());
            }
            handled.note((lease.number, lease.attempt()));
            lease.ack();
            Ok(())
        }
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    eventually("it is handled", || view.stats().handled == 1).await;
    assert_eq!(handled.all(), [(0, 1)]);
    assert_eq!(failures.all(), [1; 20]);
    assert_eq!(record(&tree, "worker").exits(ExitKind::Failed), 20);
    assert_eq!(view.stats().dead_lettered, 0);
}

/// Waits for ever in the middle of each message, where it can be killed.
struct Hangs(Handled);

impl Actor for Hangs {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            self.0.note((lease.number, lease.attempt()));
            pending::<()>().await;
            lease.ack();
        }
        Ok(())
    }
}

fn hangs(mailbox: Mailbox<Job>, begun: &Handled) -> Child {
    let begun = begun.clone();
    Child::actor(mailbox, move || Hangs(begun.clone()))
}

#[tokio::test]
async fn a_message_is_not_charged_when_its_actor_is_killed() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let ((mailbox, view), begun) = (filled(&clock, attempts(1), 1), Handled::default());
    let tree = start(&clock, vec![hangs(mailbox, &begun).policy(quick())]).await;
    for kills in 1..=5 {
        eventually("the message is in flight", || begun.len() == kills).await;
        assert!(tree.kill("worker"));
        eventually("it was killed", || record(&tree, "worker").exits(ExitKind::Killed) == kills as u64).await;
    }
    eventually("the message is in flight", || begun.len() == 6).await;
    assert_eq!(begun.all(), [(0, 1); 6]);
    assert_eq!(view.stats().dead_lettered, 0);
}

#[tokio::test]
async fn a_message_is_not_charged_when_the_supervisor_of_its_actor_crashes() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let ((mailbox, _), begun) = (filled(&clock, attempts(1), 1), Handled::default());
    let other = Mailbox::new("other", attempts(1), &clock);
    let group = Child::supervisor("group", vec![hangs(mailbox, &begun).policy(quick()), calm(other)]);
    let tree = start(&clock, vec![group.policy(quick())]).await;
    eventually("the message is in flight", || begun.len() == 1).await;
    tree.failure_points().arm("supervisor::after_exit", "group", Fault::Panic, When::Nth(1));
    assert!(tree.kill("group/other"));
    eventually("the message is in flight again", || begun.len() == 2).await;
    assert_eq!(begun.all(), [(0, 1); 2]);
    assert_eq!(record(&tree, "group").exits(ExitKind::Panicked), 1);
}

#[tokio::test]
async fn a_stall_charges_no_message_since_a_slow_server_may_be_the_cause() {
    // 1 attempt; 100 restarts an hour; 1 ms before each; a stall is 30 s without progress.
    let clock = manual();
    let ((mailbox, _), begun) = (filled(&clock, attempts(1), 2), Handled::default());
    let worker = hangs(mailbox, &begun).policy(Policy { stall_after: Some(30 * SECOND), ..quick() });
    let tree = start(&clock, vec![worker]).await;
    for stall in 1..=3 {
        eventually("the message is in flight", || begun.len() == stall).await;
        common::advance_until(&clock, 10 * SECOND, "it is replaced", || {
            record(&tree, "worker").exits(ExitKind::Stalled) == stall as u64
        })
        .await;
        common::advance_until(&clock, MS, "it is back", || begun.len() == stall + 1).await;
    }
    assert_eq!(begun.all(), [(0, 1); 4]);
    assert!(tree.dead_letters().is_empty());
}

#[tokio::test]
async fn the_reason_of_a_dead_letter_is_not_rewritten_by_a_later_crash() {
    // 1 attempt; 100 restarts an hour; 1 ms before each. Message 0 is dropped, 1 is acknowledged, 2 makes the actor fail.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, attempts(1), 3);
    let worker = each(mailbox, |lease: Lease<'_, Job>| match lease.number {
        0 => Ok(()),
        1 => {
            lease.ack();
            Ok(())
        }
        _ => Err("a failure without a panic".into()),
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    eventually("all are through", || view.stats().dead_lettered == 2).await;
    eventually("the crash is on record", || record(&tree, "worker").exits(ExitKind::Failed) == 1).await;
    let reasons: Vec<_> = tree.dead_letters().into_iter().map(|letter| letter.reason).collect();
    let expected =
        ["its handler dropped it without acknowledging it", "its actor failed: a failure without a panic"];
    assert_eq!(reasons, expected);
}

/// Takes a batch and returns.
struct Leaves;

impl Actor for Leaves {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        let _batch = inbox.recv_many().await;
        Ok(())
    }
}

#[tokio::test]
async fn a_batch_over_which_the_actor_returns_without_an_error_is_charged() {
    // 2 attempts; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, attempts(2), 1);
    let worker = Child::actor(mailbox, || Leaves);
    let _tree = start(&clock, vec![worker.policy(quick())]).await;
    eventually("it is given up", || view.stats().dead_lettered == 1).await;
    assert_eq!(view.dead_letters()[0].reason, "its actor finished: finished by itself");
}

#[tokio::test]
async fn a_dead_letter_is_shown_as_json_with_the_reason_and_can_be_replayed() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, attempts(1), 2);
    let repaired = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let worker = each(mailbox, {
        let repaired = repaired.clone();
        move |lease: Lease<'_, Job>| {
            let healthy = lease.number != 0 || repaired.load(std::sync::atomic::Ordering::Relaxed);
            assert!(healthy, "job {} can't be done", lease.number);
            lease.ack();
            Ok(())
        }
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    eventually("the other is handled", || view.stats().handled == 1).await;
    let shown = serde_json::to_value(tree.dead_letters()).expect("serialisable");
    let expected = serde_json::json!([{
        "mailbox": "worker", "sequence": 1, "attempts": 1, "reason": "its actor panicked: job 0 can't be done",
        "message": { "sender": 0, "number": 0 },
    }]);
    assert_eq!(shown, expected);

    repaired.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(!tree.replay("worker", 2), "there is no such letter");
    assert!(!tree.replay("nobody", 1), "there is no such actor");
    assert!(tree.replay("worker", 1));
    assert!(!tree.replay("worker", 1), "it is no letter any more");
    eventually("it is handled", || view.stats().handled == 2).await;
    assert!(tree.dead_letters().is_empty());
    let stats = view.stats();
    // A replayed letter is a new message: accepted once more, dead once.
    assert_eq!((stats.accepted, stats.dead_lettered), (3, 1));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn a_dead_letter_stays_where_it_is_when_its_mailbox_is_full_or_closed() {
    // 1 attempt; no restarts needed.
    let clock = Clock::system();
    let (mailbox, view) = filled(&clock, Limits { capacity: 1, ..attempts(1) }, 1);
    let mut inbox = mailbox.open().expect("the only reader");
    inbox.recv().await.expect("a message").dead_letter("no use");
    mailbox.address("test", Overflow::Wait).try_send(job(1)).expect("room");
    let worker = each(mailbox, |_lease: Lease<'_, Job>| unreachable!("it never starts"));
    // It is in a tree, but its start hangs: the mailbox stays full.
    let first = Child::worker("first", || NeverReady);
    let tree = start(&clock, vec![first.policy(Policy { start_within: HOUR, ..quick() }), worker]).await;
    assert!(!tree.replay("worker", 1), "it is full");
    assert_eq!((view.stats().waiting, tree.dead_letters().len()), (1, 1));

    inbox.recv().await.expect("a message").ack();
    assert_eq!(tree.stop(MINUTE).await.left_behind, 0);
    assert!(!tree.replay("worker", 1), "it is closed");
    assert_eq!((view.stats().waiting, tree.dead_letters().len()), (0, 1));
}

struct NeverReady;

impl Worker for NeverReady {
    async fn pre_start(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.stopped().await;
        Ok(())
    }

    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn a_dead_letter_is_explained_though_mailbox_and_tree_have_separate_clocks() {
    // 1 attempt; 100 restarts an hour; 1 ms before each. The tree's clock is older than the mailbox's.
    let clock = Clock::system();
    let began = clock.now();
    eventually("the clock moved on", || clock.now().duration_since(began) > 50 * MS).await;
    let (mailbox, view) = filled(&Clock::system(), attempts(1), 1);
    let worker = each(mailbox, |_lease: Lease<'_, Job>| Err("it failed".into()));
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    eventually("it is dead", || view.stats().dead_lettered == 1).await;
    eventually("its actor is back", || record(&tree, "worker").generation == 2).await;
    assert_eq!(tree.dead_letters()[0].reason, "its actor failed: it failed");
}

/// Passes a failure point with a lease in flight.
struct Passes;

impl Actor for Passes {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            fail::point("worker::before_ack").await?;
            lease.ack();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_failure_point_fails_as_often_as_it_was_told() {
    // 3 attempts; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let mailbox = Mailbox::new("worker", attempts(3), &clock);
    let (address, view) = (mailbox.address("test", Overflow::Wait), mailbox.view());
    let tree = start(&clock, vec![Child::actor(mailbox, || Passes).policy(quick())]).await;
    all_run(&tree).await;
    tree.failure_points().arm("worker::before_ack", "worker", Fault::Error, When::Times(2));
    tree.failure_points().arm("worker::before_ack", "somebody else", Fault::Panic, When::Always);
    address.send(job(0)).await.expect("accepted");
    eventually("it is handled", || view.stats().handled == 1).await;
    assert_eq!(tree.failure_points().passages("worker::before_ack"), (3, 2));
    let health = record(&tree, "worker");
    assert_eq!((health.exits(ExitKind::Failed), health.exits(ExitKind::Panicked)), (2, 0));
    assert_eq!(health.state, State::Running);
    let crash = health.last_crash.expect("it crashed");
    assert_eq!(crash.message, "the failure point worker::before_ack was armed with this error");
}

/// Takes batches, notes them, and falls over each with this number in it.
struct Batches {
    bad: u64,
    panics: bool,
    seen: Log<Vec<u64>>,
}

impl Actor for Batches {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(batch) = inbox.recv_many().await {
            let numbers: Vec<u64> = batch.iter().map(|job| job.number).collect();
            self.seen.note(numbers.clone());
            if numbers.contains(&self.bad) {
                assert!(!self.panics, "over a batch");
                return Err("over a batch".into());
            }
            batch.ack();
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_message_at_fault_in_a_batch_is_found_and_no_other_is_charged() {
    // 2 attempts; 100 restarts an hour; 1 ms before each.
    for (panics, kind) in [(true, ExitKind::Panicked), (false, ExitKind::Failed)] {
        let clock = Clock::system();
        let ((mailbox, view), seen) = (filled(&clock, attempts(2), 4), Log::default());
        let address = mailbox.address("test", Overflow::Wait);
        let worker = Child::actor(mailbox, {
            let seen = seen.clone();
            move || Batches { bad: 1, panics, seen: seen.clone() }
        });
        let tree = start(&clock, vec![worker.policy(quick())]).await;
        eventually("the others are through", || view.stats().handled == 3).await;
        let one = |number| vec![number];
        assert_eq!(seen.all(), [vec![0, 1, 2, 3], one(0), one(1), one(1), one(2), one(3)]);
        let letters = tree.dead_letters();
        assert_eq!(
            letters.iter().map(|letter| (letter.sequence, letter.attempts)).collect::<Vec<_>>(),
            [(2, 2)]
        );
        assert_eq!(letters[0].reason, format!("its actor {}: over a batch", kind.as_str()));
        assert_eq!(record(&tree, "worker").exits(kind), 3);
        // After that it gets batches again.
        for number in 4..7 {
            address.try_send(job(number)).expect("room");
        }
        eventually("they are through", || view.stats().handled == 6).await;
        assert_eq!(seen.all().last(), Some(&vec![4, 5, 6]));
        assert!(view.stats().is_conserved(), "{:?}", view.stats());
    }
}

/// Takes a batch and waits for ever with it, or returns it and fails.
struct HoldsBatch {
    hangs: bool,
    begun: Log<usize>,
}

impl Actor for HoldsBatch {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        let Some(batch) = inbox.recv_many().await else { return Ok(()) };
        self.begun.note(batch.len());
        if self.hangs {
            pending::<()>().await;
        }
        batch.nack();
        Err("the server is away".into())
    }
}

#[tokio::test]
async fn a_batch_is_not_charged_for_a_kill_or_for_what_is_not_its_fault() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    for hangs in [true, false] {
        let clock = Clock::system();
        for waiting in [1, 3] {
            let ((mailbox, view), begun) = (filled(&clock, attempts(1), waiting), Log::default());
            let worker = Child::actor(mailbox, {
                let begun = begun.clone();
                move || HoldsBatch { hangs, begun: begun.clone() }
            });
            let tree = start(&clock, vec![worker.policy(quick())]).await;
            for times in 1..=5 {
                eventually("the batch is in flight", || begun.len() >= times).await;
                if hangs {
                    assert!(tree.kill("worker"));
                }
            }
            assert!(begun.all().iter().all(|&batch| batch as u64 == waiting), "{:?}", begun.all());
            assert_eq!(view.stats().dead_lettered, 0);
        }
    }
}

/// Drops each lease without an answer, and then does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Receives the next message.
    Continues,
    Fails,
    Panics,
    Finishes,
    /// Waits until it is stopped.
    WaitsForStop,
}

struct DropsLeases {
    then: Then,
    begun: Handled,
}

impl Actor for DropsLeases {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            self.begun.note((lease.number, lease.attempt()));
            drop(lease);
            match self.then {
                Then::Continues => {}
                Then::Fails => return Err("a failure".into()),
                Then::Panics => panic!("a panic"),
                Then::Finishes => return Ok(()),
                Then::WaitsForStop => {
                    cx.idle(cx.stopped()).await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn drops_leases(mailbox: Mailbox<Job>, then: Then, begun: &Handled) -> Child {
    let begun = begun.clone();
    Child::actor(mailbox, move || DropsLeases { then, begun: begun.clone() }).policy(quick())
}

#[tokio::test]
async fn a_lease_that_is_dropped_is_charged_once_when_its_handler_continues_or_fails_and_says_why() {
    // 2 attempts; 100 restarts an hour; 1 ms before each.
    let cases = [
        (Then::Continues, "its handler dropped it without acknowledging it"),
        (Then::Fails, "its actor failed: a failure"),
        (Then::Panics, "its actor panicked: a panic"),
        (Then::Finishes, "its actor finished: finished by itself"),
    ];
    for (then, reason) in cases {
        let clock = Clock::system();
        let ((mailbox, view), begun) = (filled(&clock, attempts(2), 2), Handled::default());
        let _tree = start(&clock, vec![drops_leases(mailbox, then, &begun)]).await;
        eventually("all are dead letters", || view.stats().dead_lettered == 2).await;
        assert_eq!(begun.all(), [(0, 1), (0, 2), (1, 1), (1, 2)], "{then:?}");
        let letters: Vec<_> =
            view.dead_letters().into_iter().map(|letter| (letter.attempts, letter.reason)).collect();
        assert_eq!(letters, [(2, reason.to_owned()), (2, reason.to_owned())], "{then:?}");
        assert!(view.stats().is_conserved());
    }
}

#[tokio::test]
async fn a_lease_that_is_dropped_is_not_charged_when_its_actor_is_stopped_or_killed() {
    // 1 attempt; 100 restarts an hour; 1 ms before each. The actor is killed, stopped for a sibling, and stopped for good.
    let clock = Clock::system();
    let ((mailbox, view), begun) = (filled(&clock, attempts(1), 1), Handled::default());
    let (first, worker) =
        (Child::worker("first", || common::Idles), drops_leases(mailbox, Then::WaitsForStop, &begun));
    let group = Child::rest_for_one("group", vec![first.policy(quick()), worker]).policy(quick());
    let tree = start(&clock, vec![group]).await;
    for (times, killed) in [(1, "group/worker"), (2, "group/first")] {
        eventually("its lease is dropped", || begun.len() == times && view.stats().in_flight == 1).await;
        all_run(&tree).await;
        assert!(tree.kill(killed));
    }
    eventually("its lease is dropped", || begun.len() == 3).await;
    let health = record(&tree, "group/worker");
    assert_eq!((health.exits(ExitKind::Killed), health.exits(ExitKind::Sibling)), (1, 1));
    assert_eq!(tree.stop(MINUTE).await.left_behind, 0);
    assert_eq!(begun.all(), [(0, 1); 3]);
    assert_eq!((view.stats().waiting, view.stats().dead_lettered), (1, 0));
}
