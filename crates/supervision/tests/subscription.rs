//! The changes of the actors' states, as subscribers receive them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use common::{
    HOUR, Idles, MINUTE, MS, SECOND, all_run, attempts, calm, manual, new_mailbox, policy, quiet, record,
    soon, start,
};
use supervision::{
    Change, Child, Clock, Context, ExitKind, Failure, Notice, Policy, State, Subscription, Tree, What, Worker,
};

/// A change in one line.
fn line(change: &Change) -> String {
    let Change { path, generation, what } = change;
    match what {
        What::State { state, degraded: false } => format!("{path} {generation} {state:?}"),
        What::State { state, degraded: true } => format!("{path} {generation} {state:?} degraded"),
        What::Ended(kind) => format!("{path} {generation} ended: {}", kind.as_str()),
    }
}

/// The changes that the subscriber has not read, when nothing more happens.
async fn changes(subscription: &mut Subscription) -> Vec<String> {
    quiet().await;
    let mut lines = Vec::new();
    while let Ok(notice) = tokio::time::timeout(MS, subscription.next()).await {
        match notice {
            Some(Notice::Changed(change)) => lines.push(line(&change)),
            Some(Notice::Missed(missed)) => lines.push(format!("missed {missed}")),
            None => break,
        }
    }
    lines
}

/// One restart an hour, a second before it, a minute between those of a degraded one; healthy after an hour.
fn strict() -> Policy {
    Policy { degraded_retry: MINUTE, ..policy((1, HOUR), (SECOND, SECOND)) }
}

#[tokio::test]
async fn a_subscriber_receives_every_change_in_order() {
    let clock = manual();
    let child = Child::worker("child", || Idles).policy(strict());
    let tree = start(&clock, vec![Child::supervisor("group", vec![child])]).await;
    // Nothing has run on this one thread yet.
    let mut subscription = tree.subscribe();
    let started = ["group 0 Starting", "group/child 0 Starting", "group/child 1 Running", "group 1 Running"];
    assert_eq!(changes(&mut subscription).await, started);
    assert!(tree.kill("group/child"));
    assert_eq!(changes(&mut subscription).await, ["group/child 1 ended: killed", "group/child 1 BackingOff"]);
    clock.advance(SECOND);
    assert_eq!(changes(&mut subscription).await, ["group/child 1 Starting", "group/child 2 Running"]);
    assert!(tree.kill("group/child"));
    let degraded = ["group/child 2 ended: killed", "group/child 2 Degraded degraded"];
    assert_eq!(changes(&mut subscription).await, degraded);
    clock.advance(MINUTE);
    let back = ["group/child 2 Starting degraded", "group/child 3 Running degraded"];
    assert_eq!(changes(&mut subscription).await, back);
    clock.advance(HOUR);
    assert_eq!(changes(&mut subscription).await, ["group/child 3 Running"], "it is healthy");
    let mut late = tree.subscribe();
    soon("the stop", tree.stop(MINUTE)).await;
    let stopped = [
        "group 1 Stopping",
        "group/child 3 Stopping",
        "group/child 3 ended: stopped",
        "group/child 3 Stopped",
        "group 1 ended: stopped",
        "group 1 Stopped",
        "root 1 ended: stopped",
        "root 1 Stopped",
    ];
    assert_eq!(changes(&mut subscription).await, stopped);
    assert_eq!(changes(&mut late).await, stopped, "only what happened after its subscription");
    drop(tree);
    assert_eq!(soon("the end is known", subscription.next()).await, None);
}

#[tokio::test]
async fn an_actor_can_wait_for_the_end_of_another_one() {
    struct Watches(Arc<AtomicU64>);
    impl Worker for Watches {
        async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
            let mut subscription = cx.subscribe();
            while let Some(kind) = cx.idle(subscription.ended("child")).await {
                assert_eq!(kind, ExitKind::Killed);
                self.0.fetch_add(1, Relaxed);
            }
            Ok(())
        }
    }
    let (clock, seen) = (manual(), Arc::<AtomicU64>::default());
    let quick = policy((100, HOUR), (SECOND, SECOND));
    let watches = Child::worker("watches", {
        let seen = seen.clone();
        move || Watches(seen.clone())
    });
    let children = ["child", "children"].map(|name| Child::worker(name, || Idles).policy(quick));
    let tree = start(&clock, children.into_iter().chain([watches]).collect()).await;
    quiet().await;
    for round in 1..=3 {
        assert!(tree.kill("children") && tree.kill("child"));
        quiet().await;
        assert_eq!(seen.load(Relaxed), round, "the end of another actor is none of this one");
        clock.advance(SECOND);
        quiet().await;
    }
    assert_eq!(record(&tree, "watches").state, State::Running);
}

/// Adds and removes a worker: five changes each time, and more in all than are kept for a subscriber.
async fn many_changes(tree: &Tree) {
    for _ in 0..300 {
        tree.add_child("root", Child::worker("short", || Idles)).expect("added");
        quiet().await;
        soon("it is removed", tree.remove_child("short")).await.expect("removed");
    }
}

#[tokio::test]
async fn a_slow_subscriber_learns_how_many_changes_it_missed_and_delays_nobody() {
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("child", attempts(1), &clock);
    let tree = start(&clock, vec![calm(mailbox)]).await;
    all_run(&tree).await;
    let (mut slow, mut quick, mut waits) = (tree.subscribe(), tree.subscribe(), tree.subscribe());
    let counting = tokio::spawn(async move {
        let mut count = 0_u64;
        loop {
            match quick.next().await {
                Some(Notice::Changed(_)) => count += 1,
                Some(Notice::Missed(missed)) => panic!("the quick one missed {missed}"),
                None => return count,
            }
        }
    });
    // `slow` never reads meanwhile. The actors work, and the changes happen.
    many_changes(&tree).await;
    ends.send(0).await;
    quiet().await;
    assert_eq!(ends.stats().handled, 1);
    let Some(Notice::Missed(missed)) = slow.next().await else { panic!("it must have missed changes") };
    let unread = changes(&mut slow).await;
    assert!(
        unread.last().is_some_and(|last| last.starts_with("short ")),
        "the last ones are kept: {unread:?}"
    );
    // Changes that it can't know may have been the end that it waits for.
    assert_eq!(soon("the wait ends", waits.ended("nobody")).await, None);
    drop(tree);
    drop((slow, waits));
    let seen = soon("the tree is gone", counting).await.expect("no panic");
    assert!(seen >= missed + unread.len() as u64, "{seen}: {missed} missed, {} read", unread.len());
}
