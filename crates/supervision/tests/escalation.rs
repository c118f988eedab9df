//! Escalation: a child that exceeds its restart limit makes its supervisor fail, and the supervisor above decides.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    Ends, HOUR, Job, Log, MINUTE, MS, SECOND, all_run, attempts, handle_by_permits, job, manual, new_mailbox,
    policy, quiet, record, soon,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, OnLimit, Outcome, Policy, SendError, Shutdown,
    State, Tree, TreeOptions,
};
use tokio::sync::Semaphore;

/// Records its starts and stops, and fails at message 13. It stops, and handles messages, while there are permits.
struct Works {
    name: &'static str,
    shared: Shared,
}

/// What the actors of one test share.
#[derive(Clone)]
struct Shared {
    events: Log<String>,
    handles: Arc<Semaphore>,
    stops: Arc<Semaphore>,
    /// Every start of `b` fails.
    broken: Arc<AtomicBool>,
}

impl Actor for Works {
    type Message = Job;

    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        self.shared.events.note(format!("+{}", self.name));
        let is_broken = self.name == "b" && self.shared.broken.load(Relaxed);
        if is_broken { Err("broken".into()) } else { Ok(()) }
    }

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        handle_by_permits(cx, inbox, &self.shared.handles).await?;
        self.shared.stops.acquire().await?.forget();
        self.shared.events.note(format!("-{}", self.name));
        Ok(())
    }
}

struct Fixture {
    clock: Clock,
    tree: Tree,
    shared: Shared,
    /// Of `a`, `b`, `c` and `d`.
    ends: Vec<Ends>,
}

/// A supervisor over some children.
type Make = fn(&'static str, Vec<Child>) -> Child;

fn one_for_one(name: &'static str, children: Vec<Child>) -> Child {
    Child::supervisor(name, children)
}

/// `root/top/group` has `a`, `b`, `c`; `top` has `d` behind the group. `b` may be restarted `limit` times an hour and then
/// escalates, as the group does after its first failure if `group_escalates`, and `top` if `top_escalates`. A second of pause
/// before each restart, 10 s to stop.
async fn tree_of(
    limit: u32,
    make: Make,
    [group_escalates, top_escalates]: [bool; 2],
    broken: bool,
) -> Fixture {
    let clock = manual();
    let shared = Shared {
        events: Log::default(),
        handles: Arc::new(Semaphore::new(0)),
        stops: Arc::new(Semaphore::new(1_000)),
        broken: Arc::new(AtomicBool::new(broken)),
    };
    let (mut children, mut ends) = (Vec::new(), Vec::new());
    let usual = Policy { shutdown: Shutdown::Within(10 * SECOND), ..policy((100, HOUR), (SECOND, SECOND)) };
    let escalates = |limit| Policy {
        on_limit: OnLimit::Escalate,
        intensity: supervision::Intensity { max_restarts: limit, within: HOUR },
        ..usual
    };
    for name in ["a", "b", "c", "d"] {
        let (mailbox, its_ends) = new_mailbox(name, attempts(1), &clock);
        let child = Child::actor(mailbox, {
            let shared = shared.clone();
            move || Works { name, shared: shared.clone() }
        });
        children.push(child.policy(if name == "b" { escalates(limit) } else { usual }));
        ends.push(its_ends);
    }
    let behind = children.pop().expect("four");
    let group = make("group", children).policy(if group_escalates { escalates(0) } else { usual });
    let top = Child::supervisor("top", vec![group, behind]);
    let top = top.policy(if top_escalates { escalates(0) } else { usual });
    let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
    let tree = Tree::start(vec![top], options).await.expect("the root starts");
    let fixture = Fixture { clock, tree, shared, ends };
    if !broken {
        all_run(&fixture.tree).await;
        assert_eq!(fixture.take_events().await, ["+a", "+b", "+c", "+d"]);
    }
    fixture
}

impl Fixture {
    /// The events since the last call, when nothing more happens.
    async fn take_events(&self) -> Vec<String> {
        quiet().await;
        self.shared.events.take()
    }

    async fn after(&self, time: Duration) -> Vec<String> {
        quiet().await;
        self.clock.advance(time);
        self.take_events().await
    }

    /// The state, how many exits of this kind, how many exits.
    fn record(&self, path: &str, kind: ExitKind) -> (State, u64, u64) {
        let health = record(&self.tree, path);
        (health.state, health.exits(kind), health.exits.iter().sum())
    }

    fn last_crash(&self, path: &str) -> String {
        record(&self.tree, path).last_crash.expect("it crashed").message
    }
}

async fn a_supervisor_fails_with_its_child_and_comes_back_after_its_own_pause(make: Make) {
    let fixture = tree_of(0, make, [false, false], false).await;
    fixture.ends[1].send(13).await;
    assert_eq!(fixture.take_events().await, ["-c", "-a"]);
    assert_eq!(fixture.record("top/group", ExitKind::Failed), (State::BackingOff, 1, 1));
    let reason = "its child top/group/b exceeded its restart limit: 13";
    assert_eq!(fixture.last_crash("top/group"), reason);
    assert_eq!(fixture.record("top/group/b", ExitKind::Failed), (State::Waiting, 1, 1));
    for path in ["top/group/a", "top/group/c"] {
        assert_eq!(fixture.record(path, ExitKind::Sibling), (State::Waiting, 1, 1), "{path}");
    }
    assert_eq!(fixture.after(SECOND - MS).await, [""; 0], "the pause of the group is not over");
    assert_eq!(fixture.after(MS).await, ["+a", "+b", "+c"]);
    all_run(&fixture.tree).await;
    assert_eq!(record(&fixture.tree, "top/d").generation, 1);
}

#[tokio::test]
async fn a_one_for_one_supervisor_fails_with_its_child_and_comes_back_after_its_own_pause() {
    a_supervisor_fails_with_its_child_and_comes_back_after_its_own_pause(one_for_one).await;
}

#[tokio::test]
async fn a_rest_for_one_supervisor_fails_with_its_child_and_comes_back_after_its_own_pause() {
    let make: Make = |name, children| Child::rest_for_one(name, children);
    a_supervisor_fails_with_its_child_and_comes_back_after_its_own_pause(make).await;
}

#[tokio::test]
async fn a_one_for_all_supervisor_fails_with_its_child_and_comes_back_after_its_own_pause() {
    let make: Make = |name, children| Child::one_for_all(name, children);
    a_supervisor_fails_with_its_child_and_comes_back_after_its_own_pause(make).await;
}

#[tokio::test]
async fn restarts_within_the_limit_do_not_escalate_and_count_anew_after_an_escalation() {
    let fixture = tree_of(2, one_for_one, [false, false], false).await;
    for group_generation in 1..=3 {
        for _ in 0..2 {
            fixture.ends[1].send(13).await;
            assert_eq!(fixture.after(SECOND).await, ["+b"]);
        }
        assert_eq!(record(&fixture.tree, "top/group").generation, group_generation);
        fixture.ends[1].send(13).await;
        assert_eq!(fixture.after(SECOND).await, ["-c", "-a", "+a", "+b", "+c"]);
    }
}

#[tokio::test]
async fn mailboxes_stay_open_and_keep_their_messages_through_an_escalation() {
    let fixture = tree_of(0, one_for_one, [false, false], false).await;
    for actor in [0, 2] {
        for number in 0..3 {
            fixture.ends[actor].send(number).await;
        }
    }
    quiet().await;
    assert_eq!(fixture.ends[0].stats().in_flight, 3);
    fixture.shared.stops.forget_permits(1_000);
    fixture.ends[1].send(13).await;
    quiet().await;
    assert_eq!(fixture.record("top/group/c", ExitKind::Sibling), (State::Stopping, 0, 0));
    for ends in &fixture.ends[..3] {
        ends.send(4).await;
    }
    fixture.shared.stops.add_permits(1_000);
    quiet().await;
    assert_eq!(fixture.record("top/group", ExitKind::Failed), (State::BackingOff, 1, 1));
    for ends in &fixture.ends[..3] {
        ends.send(5).await;
    }
    fixture.after(SECOND).await;
    fixture.shared.handles.add_permits(100);
    quiet().await;
    let handled: Vec<_> = fixture.ends.iter().map(|ends| ends.stats().handled).collect();
    assert_eq!(handled, [5, 2, 5, 0]);
    assert!(fixture.ends.iter().all(|ends| ends.stats().is_conserved()));
    let letters: Vec<_> = fixture.tree.dead_letters().into_iter().map(|letter| letter.mailbox).collect();
    assert_eq!(letters, ["top/group/b"], "the one at which it failed");
}

#[tokio::test]
async fn a_child_that_exceeds_its_limit_during_the_start_escalates() {
    let fixture = tree_of(0, one_for_one, [false, false], true).await;
    // The first start waits for the group, which never becomes ready, for no longer than its policy says.
    assert_eq!(fixture.take_events().await, ["+a", "+b", "-a", "+d"]);
    assert_eq!(fixture.after(SECOND).await, ["+a", "+b", "-a"]);
    fixture.shared.broken.store(false, Relaxed);
    assert_eq!(fixture.after(SECOND).await, ["+a", "+b", "+c"]);
    all_run(&fixture.tree).await;
}

#[tokio::test]
async fn an_escalation_can_pass_through_two_levels() {
    let fixture = tree_of(0, one_for_one, [true, false], false).await;
    for ends in [&fixture.ends[0], &fixture.ends[3]] {
        ends.send(0).await;
    }
    fixture.ends[1].send(13).await;
    // The group stops what is left of it, and then `top` does the same.
    assert_eq!(fixture.take_events().await, ["-c", "-a", "-d"]);
    let of_group = "its child top/group/b exceeded its restart limit: 13";
    assert_eq!(fixture.last_crash("top/group"), of_group);
    let of_top = format!("its child top/group exceeded its restart limit: {of_group}");
    assert_eq!(fixture.last_crash("top"), of_top);
    assert_eq!(fixture.record("top", ExitKind::Failed), (State::BackingOff, 1, 1));
    for path in ["top/group", "top/group/a", "top/group/b", "top/group/c", "top/d"] {
        assert_eq!(record(&fixture.tree, path).state, State::Waiting, "{path}");
    }
    for ends in &fixture.ends {
        ends.send(1).await;
    }
    assert_eq!(fixture.after(SECOND).await, ["+a", "+b", "+c", "+d"]);
    fixture.shared.handles.add_permits(100);
    quiet().await;
    let handled: Vec<_> = fixture.ends.iter().map(|ends| ends.stats().handled).collect();
    assert_eq!(handled, [2, 1, 1, 2]);
    all_run(&fixture.tree).await;
}

#[tokio::test]
async fn an_escalation_that_reaches_the_root_ends_the_tree_in_order_and_names_the_child() {
    let fixture = tree_of(0, one_for_one, [true, true], false).await;
    fixture.ends[1].send(13).await;
    let outcome = soon("the tree ends", fixture.tree.ended()).await;
    let reason = "its child top/group exceeded its restart limit: its child top/group/b exceeded its restart \
                  limit: 13";
    assert_eq!(outcome, Outcome::GaveUp { path: "top".to_owned(), reason: reason.to_owned() });
    assert_eq!(fixture.take_events().await, ["-c", "-a", "-d"]);
    for ends in &fixture.ends {
        assert!(matches!(ends.to.try_send(job(0)), Err(SendError::Closed(_))));
    }
    let report = soon("the stop", fixture.tree.stop(MINUTE)).await;
    assert_eq!((report.outcome, report.left_behind), (outcome, 0));
}

#[tokio::test]
async fn a_child_of_the_root_that_escalates_ends_the_tree_with_its_last_crash() {
    let clock = manual();
    let events = Log::default();
    let child = |name, on_limit| {
        let (mailbox, ends) = new_mailbox(name, attempts(1), &clock);
        let shared = Shared {
            events: events.clone(),
            handles: Arc::new(Semaphore::new(0)),
            stops: Arc::new(Semaphore::new(1)),
            broken: Arc::default(),
        };
        let child = Child::actor(mailbox, move || Works { name, shared: shared.clone() });
        (child.policy(Policy { on_limit, ..policy((1, HOUR), (SECOND, SECOND)) }), ends)
    };
    let ((a, to_a), (b, to_b)) = (child("a", OnLimit::Degrade), child("x", OnLimit::Escalate));
    let (c, to_c) = child("c", OnLimit::Degrade);
    let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
    let tree = Tree::start(vec![a, b, c], options).await.expect("the root starts");
    all_run(&tree).await;
    to_b.send(13).await;
    quiet().await;
    clock.advance(SECOND);
    all_run(&tree).await;
    to_b.send(13).await;
    let expected = Outcome::GaveUp { path: "x".to_owned(), reason: "13".to_owned() };
    assert_eq!(soon("the tree ends", tree.ended()).await, expected);
    assert_eq!(events.all(), ["+a", "+x", "+c", "+x", "-c", "-a"]);
    for ends in [to_a, to_b, to_c] {
        assert!(matches!(ends.to.try_send(job(0)), Err(SendError::Closed(_))));
    }
    let report = soon("the stop", tree.stop(MINUTE)).await;
    assert_eq!((report.outcome, report.left_behind), (expected, 0));
}

#[tokio::test]
async fn a_stop_of_the_tree_during_an_escalation_ends_all_for_good() {
    let fixture = tree_of(0, one_for_one, [false, false], false).await;
    fixture.shared.stops.forget_permits(1_000);
    fixture.ends[1].send(13).await;
    quiet().await;
    assert_eq!(record(&fixture.tree, "top/group/c").state, State::Stopping);
    let release = async {
        quiet().await;
        fixture.shared.stops.add_permits(1_000);
    };
    let (report, ()) = tokio::join!(soon("the stop", fixture.tree.stop(MINUTE)), release);
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
    let mut stopped = fixture.after(HOUR).await;
    stopped.sort();
    assert_eq!(stopped, ["-a", "-c", "-d"], "nobody is started again");
    for ends in &fixture.ends {
        assert!(matches!(ends.to.try_send(job(0)), Err(SendError::Closed(_))));
    }
}
