//! Rest for one: the children that depend on a failed one stop, and start again after it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{future::pending, sync::Arc};

use common::{
    Ends, HOUR, Idles, Job, Log, MINUTE, MS, all_run, attempts, eventually, handle_by_permits, job, manual,
    new_mailbox, policy, quiet, record, soon, start,
};
use supervision::{Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Limits, Policy, Shutdown, State};
use tokio::sync::Semaphore;

/// Each event: the actor, and what happened.
type Events = Log<(&'static str, &'static str)>;

/// Records its starts and stops, handles messages while there are permits, and fails at message 13.
struct Works {
    name: &'static str,
    permits: Arc<Semaphore>,
    events: Events,
    /// It ignores the request to stop.
    stubborn: bool,
}

impl Actor for Works {
    type Message = Job;

    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        self.events.note((self.name, "starts"));
        Ok(())
    }

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        handle_by_permits(cx, inbox, &self.permits).await?;
        if self.stubborn && self.permits.available_permits() == 0 {
            pending::<()>().await;
        }
        Ok(())
    }

    async fn post_stop(&mut self, _: &Context) -> Result<(), Failure> {
        self.events.note((self.name, "stops"));
        Ok(())
    }
}

struct Group {
    tree: supervision::Tree,
    mailboxes: [Ends; 4],
    permits: [Arc<Semaphore>; 4],
    events: Events,
}

/// `a`, `b`, `c` and, under a supervisor of its own, `d`, in a group where each depends on those before it. 100
/// restarts an hour, 1 ms before each; 50 ms to stop.
async fn group(stubborn: &'static str) -> Group {
    let clock = Clock::system();
    let names = ["a", "b", "c", "d"];
    let (events, permits) = (Events::default(), names.map(|_| Arc::new(Semaphore::new(0))));
    let mut mailboxes = Vec::new();
    let mut children = names.into_iter().zip(&permits).map(|(name, permits)| {
        let (mailbox, ends) = new_mailbox(name, attempts(1), &clock);
        mailboxes.push(ends);
        let (permits, events) = (permits.clone(), events.clone());
        let stubborn = name == stubborn;
        let make = move || Works { name, permits: permits.clone(), events: events.clone(), stubborn };
        Child::actor(mailbox, make)
            .policy(Policy { shutdown: Shutdown::Within(50 * MS), ..policy((100, HOUR), (MS, MS)) })
    });
    let [a, b, c, d] = std::array::from_fn(|_| children.next().expect("one each"));
    let inner = Child::supervisor("inner", vec![d]);
    let tree = start(&clock, vec![Child::rest_for_one("group", vec![a, b, c, inner])]).await;
    all_run(&tree).await;
    drop(children);
    let mailboxes = mailboxes.try_into().unwrap_or_else(|_| unreachable!("one each"));
    Group { tree, mailboxes, permits, events }
}

impl Group {
    async fn send(&self, to: usize, number: u64) {
        self.mailboxes[to].send(number).await;
    }

    fn generations(&self) -> [u64; 5] {
        ["a", "b", "c", "inner", "inner/d"]
            .map(|name| record(&self.tree, &format!("group/{name}")).generation)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_behind_a_child_that_falls_start_again_behind_it_and_lose_nothing() {
    let group = group("nobody").await;
    // Each actor has one message in flight and two waiting.
    for actor in 0..4 {
        for number in 0..3 {
            group.send(actor, number).await;
        }
    }
    eventually("all work", || group.mailboxes.iter().all(|ends| ends.stats().in_flight > 0)).await;
    let before = group.events.all().len();
    // `b` fails at its fourth message.
    group.send(1, 13).await;
    group.permits[1].add_permits(3);
    eventually("those behind are back", || group.generations() == [1, 2, 2, 2, 2]).await;
    all_run(&group.tree).await;
    let expected = [("d", "stops"), ("c", "stops"), ("b", "starts"), ("c", "starts"), ("d", "starts")];
    assert_eq!(group.events.all()[before..], expected);
    for (path, kind) in [
        ("group/b", ExitKind::Failed),
        ("group/c", ExitKind::Sibling),
        ("group/inner", ExitKind::Sibling),
        ("group/inner/d", ExitKind::Sibling),
    ] {
        let health = record(&group.tree, path);
        assert_eq!((health.exits(kind), health.exits.iter().sum::<u64>()), (1, 1), "{path}");
        assert_eq!(health.last_crash.is_some(), kind == ExitKind::Failed, "{path}");
    }
    // What they had accepted is still there, at its first attempt, and more is taken.
    for actor in 0..4 {
        group.send(actor, 4).await;
        group.permits[actor].add_permits(10);
    }
    eventually("all is handled", || {
        let handled = group.mailboxes.each_ref().map(|ends| ends.stats().handled);
        handled == [4, 4, 4, 4]
    })
    .await;
    assert!(group.mailboxes.iter().all(|ends| ends.stats().is_conserved()));
    let letters: Vec<_> = group.tree.dead_letters().into_iter().map(|letter| letter.mailbox).collect();
    assert_eq!(letters, ["group/b"], "the one that made it fall");
    assert_eq!(group.tree.stop(MINUTE).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_behind_that_does_not_stop_is_killed_and_not_charged() {
    let group = group("c").await;
    group.send(2, 0).await;
    eventually("it works", || group.mailboxes[2].stats().in_flight > 0).await;
    group.send(1, 13).await;
    eventually("those behind are back", || group.generations() == [1, 2, 2, 2, 2]).await;
    all_run(&group.tree).await;
    assert_eq!(record(&group.tree, "group/c").exits(ExitKind::Killed), 1);
    group.permits[2].add_permits(10);
    eventually("its message is handled", || group.mailboxes[2].stats().handled == 1).await;
    // A stop during the restart ends everything for good.
    group.permits[2].forget_permits(10);
    group.send(1, 13).await;
    eventually("it is asked to stop", || record(&group.tree, "group/c").state == State::Stopping).await;
    let report = soon("the stop", group.tree.stop(MINUTE)).await;
    assert_eq!((report.left_behind, report.abandoned), (0, vec![]));
    for ends in &group.mailboxes {
        assert!(ends.to.try_send(job(1)).is_err(), "it is closed");
    }
}

/// In its first incarnation it handles a message until it is stopped, and asks for another one then. Its successors handle all.
struct AsksAgain(Log<(u64, Option<u64>)>);

impl Actor for AsksAgain {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        if cx.generation() == 1 {
            let first = inbox.recv().await.ok_or("a message waits")?;
            cx.stopped().await;
            first.ack();
        }
        loop {
            let next = inbox.recv().await;
            self.0.note((cx.generation(), next.as_ref().map(|lease| lease.number)));
            let Some(lease) = next else { return Ok(()) };
            lease.ack();
        }
    }
}

#[tokio::test]
async fn an_actor_that_is_stopped_for_another_leaves_what_waits_to_its_successor() {
    let clock = manual();
    // One message in flight at a time, so that others wait.
    let limits = Limits { batch: 1, ..attempts(1) };
    let (mailbox, ends) = new_mailbox("asks", limits, &clock);
    for number in 0..3 {
        ends.send(number).await;
    }
    let asked = Log::default();
    let asks = Child::actor(mailbox, {
        let asked = asked.clone();
        move || AsksAgain(asked.clone())
    });
    let first = Child::worker("first", || Idles).policy(policy((100, HOUR), (MS, MS)));
    let tree = start(&clock, vec![Child::rest_for_one("group", vec![first, asks])]).await;
    quiet().await;
    assert!(tree.kill("group/first"));
    quiet().await;
    assert_eq!(asked.all(), [(1, None)]);
    clock.advance(MS);
    quiet().await;
    assert_eq!(asked.all(), [(1, None), (2, Some(1)), (2, Some(2))]);
}
