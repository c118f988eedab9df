//! Two trees in one process are independent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::{
    Ends, HOUR, Job, MINUTE, MS, SECOND, all_run, attempts, eventually, manual, new_mailbox, policy, record,
    start,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Outcome, State, Tree,
    fail::{self, Fault, When},
};

struct Works;

impl Actor for Works {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            fail::point("works::before_ack").await?;
            lease.ack();
        }
        Ok(())
    }
}

/// A tree with the actor `group/works` and everything that a tree has.
async fn one(clock: &Clock) -> (Tree, Ends) {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let (mailbox, ends) = new_mailbox("works", attempts(1), clock);
    let quick = policy((100, HOUR), (MS, MS));
    let works = Child::actor(mailbox, || Works).policy(quick);
    let tree = start(clock, vec![Child::supervisor("group", vec![works]).policy(quick)]).await;
    all_run(&tree).await;
    (tree, ends)
}

fn untouched(tree: &Tree) {
    for actor in tree.health() {
        assert_eq!(
            (actor.state, actor.generation, actor.exits),
            (State::Running, 1, [0; 8]),
            "{}",
            actor.path
        );
        assert!(tree.crashes(&actor.path).is_empty());
    }
    assert!(tree.dead_letters().is_empty());
}

#[tokio::test]
async fn trees_of_the_same_names_do_not_share_anything() {
    let clock = Clock::system();
    let before = clock.unix().as_micros() as u64;
    let ((left, to_left), (right, to_right)) = (one(&clock).await, one(&clock).await);
    // A process that began later numbers its trees from a later moment on.
    assert!(left.boot() >= before && right.boot() > left.boot(), "{before} {} {}", left.boot(), right.boot());
    for (number, ends) in [(1, &to_left), (2, &to_left), (3, &to_right)] {
        ends.send(number).await;
    }
    eventually("each has its own", || (to_left.stats().handled, to_right.stats().handled) == (2, 1)).await;
}

#[tokio::test]
async fn a_failure_point_armed_in_one_tree_does_not_act_in_the_other() {
    let clock = Clock::system();
    let ((left, to_left), (right, to_right)) = (one(&clock).await, one(&clock).await);
    left.failure_points().arm("works::before_ack", "", Fault::Panic, When::Always);
    left.failure_points().arm("supervisor::after_exit", "group", Fault::Panic, When::Nth(1));
    for ends in [&to_left, &to_right] {
        ends.send(0).await;
    }
    eventually("the right one has handled it", || to_right.stats().handled == 1).await;
    eventually("the left one has dead-lettered it", || to_left.stats().dead_lettered == 1).await;
    eventually("its supervisor is back", || record(&left, "group").generation == 2).await;
    assert_eq!(right.failure_points().passages("works::before_ack"), (1, 0));
    assert_eq!(left.failure_points().passages("works::before_ack"), (1, 1));
    untouched(&right);
}

#[tokio::test]
async fn a_kill_or_a_stop_in_one_tree_leaves_the_other_alone() {
    let clock = Clock::system();
    let ((left, _), (right, to_right)) = (one(&clock).await, one(&clock).await);
    assert!(left.kill("group/works"));
    assert!(left.kill("group"));
    eventually("the left one is back", || {
        record(&left, "group").generation == 2 && record(&left, "group/works").generation >= 2
    })
    .await;
    untouched(&right);
    assert_eq!(left.stop(MINUTE).await.outcome, Outcome::Stopped);
    drop(left);
    to_right.send(0).await;
    eventually("the right one has handled it", || to_right.stats().handled == 1).await;
    untouched(&right);
    assert_eq!(right.stop(MINUTE).await.left_behind, 0);
}

#[tokio::test]
async fn the_clock_of_one_tree_does_not_move_the_other() {
    let (early, late) = (manual(), manual());
    let ((left, to_left), (right, to_right)) = (one(&early).await, one(&late).await);
    assert!(left.kill("group/works") && right.kill("group/works"));
    let state = |tree: &Tree| record(tree, "group/works").state;
    eventually("both wait", || [state(&left), state(&right)] == [State::BackingOff; 2]).await;
    common::advance_until(&late, MS, "the right one is back", || state(&right) == State::Running).await;
    late.advance(SECOND);
    assert_eq!((state(&left), record(&left, "group/works").exits(ExitKind::Killed)), (State::BackingOff, 1));
    to_right.send(0).await;
    eventually("the right one works", || to_right.stats().handled == 1).await;
    assert_eq!(to_left.stats().accepted, 0);
}
