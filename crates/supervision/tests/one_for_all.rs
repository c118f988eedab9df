//! One for all: all children of a supervisor stop when one of them ends, and start again in order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use common::{
    Ends, HOUR, Idles, Job, Log, MINUTE, MS, SECOND, all_run, attempts, handle_by_permits, job, manual,
    new_mailbox, policy, quiet, record, soon,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Policy, SendError, Shutdown, State, Tree,
    TreeOptions,
};
use tokio::sync::Semaphore;

/// How an actor of these tests behaves from now on.
struct Behaviour {
    /// How many of its starts fail.
    failing_starts: AtomicUsize,
    /// It becomes ready when it has a permit.
    starts: Semaphore,
    /// It crashes when it is asked to stop.
    crashes_at_stop: AtomicBool,
    /// It stops when it has a permit.
    stops: Semaphore,
    /// It handles a message when it has a permit.
    handles: Semaphore,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            failing_starts: AtomicUsize::new(0),
            starts: Semaphore::new(1_000),
            crashes_at_stop: AtomicBool::new(false),
            stops: Semaphore::new(1_000),
            handles: Semaphore::new(0),
        }
    }
}

/// Records its starts and stops, handles messages while there are permits, and fails at message 13.
struct Works {
    name: &'static str,
    behaviour: Arc<Behaviour>,
    events: Log<String>,
}

impl Actor for Works {
    type Message = Job;

    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        self.events.note(format!("+{}", self.name));
        let failing = &self.behaviour.failing_starts;
        if failing.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err("it must not start".into());
        }
        self.behaviour.starts.acquire().await?.forget();
        Ok(())
    }

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        handle_by_permits(cx, inbox, &self.behaviour.handles).await?;
        self.behaviour.stops.acquire().await?.forget();
        if self.behaviour.crashes_at_stop.load(Relaxed) {
            return Err("it crashes at its stop".into());
        }
        self.events.note(format!("-{}", self.name));
        Ok(())
    }
}

/// The children `a`, `b`, `c` of `group`, which depend on each other.
struct Group {
    clock: Clock,
    tree: Arc<Tree>,
    behaviours: Vec<Arc<Behaviour>>,
    ends: Vec<Ends>,
    events: Log<String>,
}

/// What a child of the group needs.
fn child(name: &'static str, clock: &Clock, events: &Log<String>) -> (Child, Ends, Arc<Behaviour>) {
    let behaviour = Arc::<Behaviour>::default();
    let (mailbox, ends) = new_mailbox(name, attempts(1), clock);
    let make = {
        let (behaviour, events) = (behaviour.clone(), events.clone());
        move || Works { name, behaviour: behaviour.clone(), events: events.clone() }
    };
    // A start may take as long as the test.
    let policy = Policy {
        shutdown: Shutdown::Within(10 * SECOND),
        start_within: HOUR,
        ..policy((2, HOUR), (SECOND, MINUTE))
    };
    (Child::actor(mailbox, make).policy(policy), ends, behaviour)
}

impl Group {
    /// 2 restarts an hour; 1 s, then doubled, before each; 10 s to stop.
    async fn new() -> Self {
        let (clock, events) = (manual(), Log::default());
        let (mut children, mut ends, mut behaviours) = (Vec::new(), Vec::new(), Vec::new());
        for name in ["a", "b", "c"] {
            let (child, its_ends, behaviour) = child(name, &clock, &events);
            children.push(child);
            ends.push(its_ends);
            behaviours.push(behaviour);
        }
        let group = Child::one_for_all("group", children);
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let tree = Tree::start(vec![group, Child::worker("aside", || Idles)], options).await;
        let group = Self { clock, tree: Arc::new(tree.expect("the root starts")), behaviours, ends, events };
        all_run(&group.tree).await;
        assert_eq!(group.take_events().await, ["+a", "+b", "+c"]);
        group
    }

    /// The events since the last call, when nothing more happens.
    async fn take_events(&self) -> Vec<String> {
        quiet().await;
        self.events.take()
    }

    async fn after(&self, time: std::time::Duration) -> Vec<String> {
        quiet().await;
        self.clock.advance(time);
        self.take_events().await
    }

    fn states(&self) -> [State; 3] {
        ["a", "b", "c"].map(|name| record(&self.tree, &format!("group/{name}")).state)
    }

    fn generations(&self) -> [u64; 3] {
        ["a", "b", "c"].map(|name| record(&self.tree, &format!("group/{name}")).generation)
    }

    /// How many of the exits of a child were of this kind, and how many there were.
    fn exits(&self, name: &str, kind: ExitKind) -> (u64, u64) {
        let health = record(&self.tree, &format!("group/{name}"));
        (health.exits(kind), health.exits.iter().sum())
    }
}

#[tokio::test]
async fn all_stop_in_reverse_order_and_start_again_in_order_after_the_pause_of_the_failed_child() {
    let group = Group::new().await;
    group.ends[1].send(13).await;
    assert_eq!(group.take_events().await, ["-c", "-a"]);
    assert_eq!(group.states(), [State::Waiting, State::BackingOff, State::Waiting]);
    assert_eq!(group.after(SECOND - MS).await, [""; 0], "nobody starts before the pause is over");
    assert_eq!(group.after(MS).await, ["+a", "+b", "+c"]);
    assert_eq!((group.states(), group.generations()), ([State::Running; 3], [2; 3]));
    assert_eq!(group.exits("b", ExitKind::Failed), (1, 1));
    for sibling in ["a", "c"] {
        assert_eq!(group.exits(sibling, ExitKind::Sibling), (1, 1), "{sibling}");
        assert!(record(&group.tree, &format!("group/{sibling}")).last_crash.is_none());
    }
    assert_eq!(record(&group.tree, "aside").generation, 1);
}

#[tokio::test]
async fn only_the_failed_child_has_a_restart_charged() {
    let group = Group::new().await;
    // Each child may fail twice an hour.
    for (failing, pause) in [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)] {
        group.ends[failing].send(13).await;
        group.after(pause * SECOND).await;
        assert_eq!(group.states(), [State::Running; 3], "after a failure of {failing}");
    }
    group.ends[0].send(13).await;
    quiet().await;
    assert_eq!(group.states(), [State::Degraded, State::Waiting, State::Waiting]);
    let letters = group.ends.iter().map(|ends| ends.stats().dead_lettered).collect::<Vec<_>>();
    assert_eq!(letters, [3, 2, 2], "the messages at which they failed");
}

#[tokio::test]
async fn messages_wait_through_the_restart_of_all_and_senders_are_not_refused() {
    let group = Group::new().await;
    // One in flight and two waiting for each of `a` and `c`.
    for actor in [0, 2] {
        for number in 0..3 {
            group.ends[actor].send(number).await;
        }
    }
    quiet().await;
    assert_eq!(group.ends[0].stats().in_flight, 3);
    group.ends[1].send(13).await;
    quiet().await;
    for ends in &group.ends {
        ends.send(4).await;
    }
    group.after(SECOND).await;
    assert_eq!(group.states(), [State::Running; 3]);
    group.behaviours.iter().for_each(|behaviour| behaviour.handles.add_permits(10));
    quiet().await;
    let handled = group.ends.iter().map(|ends| ends.stats().handled).collect::<Vec<_>>();
    assert_eq!(handled, [4, 1, 4]);
    assert!(group.ends.iter().all(|ends| ends.stats().is_conserved()));
}

#[tokio::test]
async fn a_child_that_crashes_while_the_others_stop_is_charged_for_nothing() {
    let group = Group::new().await;
    group.behaviours[2].crashes_at_stop.store(true, Relaxed);
    group.ends[0].send(13).await;
    assert_eq!(group.take_events().await, ["-b"]);
    assert_eq!(group.states(), [State::BackingOff, State::Waiting, State::Waiting]);
    assert_eq!(group.exits("c", ExitKind::Failed), (1, 1));
    group.behaviours[2].crashes_at_stop.store(false, Relaxed);
    assert_eq!(group.after(SECOND).await, ["+a", "+b", "+c"]);
    // Its next pause is the first one.
    group.ends[2].send(13).await;
    assert_eq!(group.take_events().await, ["-b", "-a"]);
    assert_eq!(group.after(SECOND).await, ["+a", "+b", "+c"]);
}

#[tokio::test]
async fn the_pause_runs_while_the_others_stop() {
    let group = Group::new().await;
    group.behaviours[2].stops.forget_permits(1_000);
    group.ends[0].send(13).await;
    assert_eq!(group.after(5 * SECOND).await, [""; 0], "`c` has not stopped, so `b` is not asked");
    assert_eq!(group.states(), [State::BackingOff, State::Running, State::Stopping]);
    group.behaviours[2].stops.add_permits(1);
    assert_eq!(group.take_events().await, ["-c", "-b", "+a", "+b", "+c"]);
    assert_eq!(group.states(), [State::Running; 3]);
}

#[tokio::test]
async fn a_child_that_does_not_stop_for_the_others_is_killed_at_its_deadline() {
    let group = Group::new().await;
    group.behaviours[2].stops.forget_permits(1_000);
    group.ends[2].send(0).await;
    group.ends[0].send(13).await;
    group.after(10 * SECOND - MS).await;
    assert_eq!(group.states()[2], State::Stopping);
    assert_eq!(group.after(MS).await, ["-b", "+a", "+b", "+c"]);
    assert_eq!(group.exits("c", ExitKind::Killed), (1, 1));
    assert_eq!(group.ends[2].stats().dead_lettered, 0);
}

#[tokio::test]
async fn a_child_that_crashes_during_the_start_of_all_stops_those_that_were_started() {
    let group = Group::new().await;
    group.behaviours[1].failing_starts.store(1, Relaxed);
    group.ends[2].send(13).await;
    assert_eq!(group.take_events().await, ["-b", "-a"]);
    // `a` is ready when `b` fails, and `c` has not been started.
    assert_eq!(group.after(SECOND).await, ["+a", "+b", "-a"]);
    assert_eq!(group.states(), [State::Waiting, State::BackingOff, State::Waiting]);
    assert_eq!(group.after(SECOND).await, ["+a", "+b", "+c"]);
    assert_eq!((group.states(), group.generations()), ([State::Running; 3], [3, 3, 2]));
}

#[tokio::test]
async fn a_failure_while_another_child_still_starts_stops_that_child_too() {
    let group = Group::new().await;
    group.behaviours[2].starts.forget_permits(1_000);
    group.ends[2].send(13).await;
    assert_eq!(group.take_events().await, ["-b", "-a"]);
    assert_eq!(group.after(SECOND).await, ["+a", "+b", "+c"]);
    assert_eq!(group.states(), [State::Running, State::Running, State::Starting]);
    group.ends[0].send(13).await;
    quiet().await;
    assert_eq!(group.states(), [State::BackingOff, State::Running, State::Stopping]);
    group.behaviours[2].starts.add_permits(1_000);
    assert_eq!(group.take_events().await, ["-c", "-b"]);
    assert_eq!(group.after(SECOND).await, ["+a", "+b", "+c"]);
    assert_eq!((group.states(), group.generations()), ([State::Running; 3], [3; 3]));
}

#[tokio::test]
async fn a_member_that_is_added_while_all_stop_starts_in_its_place() {
    let group = Group::new().await;
    group.behaviours[0].stops.forget_permits(1_000);
    group.ends[1].send(13).await;
    assert_eq!(group.take_events().await, ["-c"]);
    let (added, ends, _) = child("d", &group.clock, &group.events);
    group.tree.add_child("group", added).expect("added");
    assert_eq!(group.after(SECOND).await, [""; 0], "`a` has not stopped");
    assert_eq!(record(&group.tree, "group/d").state, State::Waiting);
    ends.send(13).await;
    group.behaviours[0].stops.add_permits(1_000);
    let events = group.take_events().await;
    assert_eq!(events[..5], ["-a", "+a", "+b", "+c", "+d"]);
    // It is one of them: at its failure all others stop.
    assert_eq!(events[5..], ["-c", "-b", "-a"]);
    assert_eq!(group.after(SECOND).await, ["+a", "+b", "+c", "+d"]);
}

#[tokio::test]
async fn a_member_that_is_removed_while_it_stops_for_the_others_does_not_come_back() {
    let group = Group::new().await;
    group.behaviours[2].stops.forget_permits(1_000);
    group.ends[1].send(13).await;
    quiet().await;
    assert_eq!(group.states()[2], State::Stopping);
    let removal = tokio::spawn({
        let tree = group.tree.clone();
        async move { tree.remove_child("group/c").await }
    });
    quiet().await;
    assert!(!removal.is_finished());
    group.behaviours[2].stops.add_permits(1_000);
    soon("it is removed", removal).await.expect("no panic").expect("removed");
    assert_eq!(group.take_events().await, ["-c", "-a"]);
    assert_eq!(group.after(SECOND).await, ["+a", "+b"]);
    assert!(matches!(group.ends[2].to.try_send(job(0)), Err(SendError::Closed(_))));
}

#[tokio::test]
async fn the_removal_of_the_failed_child_lets_the_others_start_at_once() {
    let group = Group::new().await;
    group.ends[1].send(13).await;
    assert_eq!(group.take_events().await, ["-c", "-a"]);
    soon("it is removed", group.tree.remove_child("group/b")).await.expect("removed");
    assert_eq!(group.take_events().await, ["+a", "+c"]);
}

#[tokio::test]
async fn a_stop_while_all_wait_for_the_pause_ends_all_for_good() {
    let group = Group::new().await;
    group.ends[1].send(13).await;
    assert_eq!(group.take_events().await, ["-c", "-a"]);
    let report = soon("the stop", group.tree.stop(MINUTE)).await;
    assert_eq!((report.left_behind, report.abandoned), (0, vec![]));
    assert_eq!(group.after(HOUR).await, [""; 0]);
    assert_eq!(group.states(), [State::Stopped; 3]);
    for ends in &group.ends {
        assert!(matches!(ends.to.try_send(job(0)), Err(SendError::Closed(_))));
    }
}
