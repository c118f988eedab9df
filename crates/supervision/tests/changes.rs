//! Adding members to and removing them from a running tree.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{
    Ends, HOUR, Hold, HoldsAtOnce, Idles, Lowered, MS, SECOND, all_run, attempts, calm, each, eventually,
    job, manual, new_mailbox, policy, quiet, record, soon, start, while_time_passes,
};
use supervision::{
    BadDescription, ChangeError, Child, Clock, Context, Failure, Limits, Name, Outcome, Policy, Restart,
    SendError, Shutdown, StartError, State, Tree, TreeOptions, Worker,
    fail::{Fault, When},
};

fn paths(tree: &Tree) -> Vec<String> {
    tree.health().into_iter().map(|actor| actor.path).collect()
}

/// A supervisor over one actor, as of a market, and the ends of the actor's mailbox.
fn market(name: &str, clock: &Clock) -> (Child, Ends) {
    let (mailbox, ends) = new_mailbox("worker", attempts(2), clock);
    (Child::supervisor(name, vec![calm(mailbox)]), ends)
}

/// A child that acknowledges every message.
fn calm_one(name: &str, clock: &Clock) -> Child {
    calm(new_mailbox(name, attempts(2), clock).0)
}

async fn tree_of(names: &[&str]) -> (Tree, Vec<Ends>) {
    let clock = Clock::system();
    let (children, mailboxes): (Vec<_>, Vec<_>) = names.iter().map(|name| market(name, &clock)).unzip();
    let quick = policy((1_000, HOUR), (MS, MS));
    let tree = start(&clock, vec![Child::supervisor("markets", children).policy(quick)]).await;
    all_run(&tree).await;
    (tree, mailboxes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_added_member_works_a_removed_one_is_gone_and_siblings_do_not_notice() {
    let (tree, mailboxes) = tree_of(&["a", "b"]).await;
    let (child, added) = market("c", &Clock::system());
    tree.add_child("markets", child).expect("added");
    all_run(&tree).await;
    added.send(1).await;
    eventually("it works", || added.stats().handled == 1).await;
    assert_eq!(
        paths(&tree),
        [
            "root",
            "markets",
            "markets/a",
            "markets/a/worker",
            "markets/b",
            "markets/b/worker",
            "markets/c",
            "markets/c/worker"
        ]
    );

    soon("it is removed", tree.remove_child("markets/b")).await.expect("removed");
    assert!(!paths(&tree).iter().any(|path| path.starts_with("markets/b")));
    let refused = mailboxes[1].to.try_send(job(2));
    assert!(matches!(refused, Err(SendError::Closed(_))), "nobody reads it any more: {refused:?}");
    mailboxes[0].send(3).await;
    eventually("its sibling continues", || mailboxes[0].stats().handled == 1).await;
    assert!(tree.health().iter().all(|actor| actor.generation == 1), "nobody was restarted");
    let report = tree.stop(10 * common::SECOND).await;
    assert_eq!(report.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_added_and_removed_stays_so_through_crashes_of_the_supervisor() {
    let (tree, _mailboxes) = tree_of(&["a", "b"]).await;
    let (child, ends) = market("c", &Clock::system());
    tree.add_child("markets", child).expect("added");
    soon("it is removed", tree.remove_child("markets/a")).await.expect("removed");
    for crash in 2..5 {
        assert!(tree.kill("markets"));
        eventually("its next incarnation runs", || record(&tree, "markets").generation == crash).await;
        all_run(&tree).await;
        assert_eq!(paths(&tree)[2..], ["markets/b", "markets/b/worker", "markets/c", "markets/c/worker"]);
        ends.send(crash).await;
        eventually("it works", || ends.stats().handled == crash - 1).await;
    }
    tree.stop(10 * common::SECOND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_during_crashes_of_the_supervisor_are_not_lost() {
    let (tree, _mailboxes) = tree_of(&["a"]).await;
    let tree = Arc::new(tree);
    let crasher = tokio::spawn({
        let tree = tree.clone();
        async move {
            loop {
                let _ = tree.kill("markets");
                tokio::time::sleep(MS).await;
            }
        }
    });
    for number in 0..100 {
        let (child, _) = market(&format!("more{number}"), &Clock::system());
        tree.add_child("markets", child).expect("added");
        if number % 2 == 0 {
            let removed = soon("it is removed", tree.remove_child(&format!("markets/more{number}"))).await;
            removed.expect("removed");
        }
    }
    crasher.abort();
    all_run(&tree).await;
    // root, markets, a and its worker, and of every second one supervisor and worker.
    assert_eq!(paths(&tree).len(), 4 + 2 * 50);
    assert_eq!(tree.stop(10 * common::SECOND).await.left_behind, 0);
}

#[tokio::test]
async fn a_member_that_is_removed_while_its_supervisor_begins_anew_delays_no_sibling() {
    // The next incarnation of the supervisor has read its members for a second before it starts them.
    let clock = manual();
    let children = ["first", "second"].map(|name| Child::worker(name, || Idles));
    let group = Child::supervisor("group", children.into()).policy(policy((1_000, HOUR), (MS, MS)));
    let tree = start(&clock, vec![group]).await;
    all_run(&tree).await;
    let points = tree.failure_points();
    points.arm("supervisor::before_order", "group", Fault::Delay(SECOND), When::Nth(1));
    assert!(tree.kill("group"));
    quiet().await;
    clock.advance(MS);
    quiet().await;
    let removal = tree.remove_child("group/first");
    while_time_passes(&clock, SECOND, removal).await.expect("removed");
    quiet().await;
    assert_eq!(points.passages("supervisor::before_order").1, 1);
    assert_eq!(record(&tree, "group/second").state, State::Running);
    assert_eq!(paths(&tree), ["root", "group", "group/second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_changed_is_an_error_that_says_why() {
    let (tree, _mailboxes) = tree_of(&["a"]).await;
    let child = || market("a", &Clock::system()).0;
    let nobody = ChangeError::NoSupervisor("nobody".to_owned());
    assert_eq!(tree.add_child("nobody", child()), Err(nobody));
    let worker = ChangeError::NoSupervisor("markets/a/worker".to_owned());
    assert_eq!(tree.add_child("markets/a/worker", child()), Err(worker));
    assert_eq!(tree.add_child("markets", child()), Err(ChangeError::Taken("markets/a".to_owned())));
    assert_eq!(tree.remove_child("markets/b").await, Err(ChangeError::Unknown("markets/b".to_owned())));
    tree.add_child("root", child()).expect("the root takes members too");
    soon("it is removed", tree.remove_child("a")).await.expect("removed");
    tree.stop(10 * common::SECOND).await;
    assert_eq!(tree.add_child("markets", child()), Err(ChangeError::Ended));
    assert_eq!(tree.remove_child("markets/a").await, Err(ChangeError::Ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_waits_for_its_restart_can_be_removed() {
    let clock = Clock::system();
    let slow = policy((1_000, HOUR), (HOUR, HOUR));
    let tree = start(&clock, vec![calm_one("worker", &clock).policy(slow)]).await;
    all_run(&tree).await;
    assert!(tree.kill("worker"));
    eventually("it waits", || record(&tree, "worker").state == State::BackingOff).await;
    soon("it is removed", tree.remove_child("worker")).await.expect("removed");
    assert_eq!(paths(&tree), ["root"]);
    tree.stop(10 * common::SECOND).await;
}

/// Passes a failure point for ever, once it has been asked to stop.
struct HangsAtItsStop;

impl Worker for HangsAtItsStop {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_returns_which_actors_had_to_be_killed() {
    // 20 ms to stop.
    let clock = Clock::system();
    let quick = policy((1_000, HOUR), (MS, MS));
    let hangs = Child::worker("hangs", || HangsAtItsStop);
    let hangs = hangs.policy(Policy { shutdown: Shutdown::Within(20 * MS), ..quick });
    let group = Child::supervisor("group", vec![calm_one("orderly", &clock), hangs]);
    let tree = start(&clock, vec![group, calm_one("other", &clock).policy(quick)]).await;
    all_run(&tree).await;
    // That it had been killed before it was asked to leave does not count.
    assert!(tree.kill("other"));
    eventually("it is back", || record(&tree, "other").generation == 2).await;
    let removed = soon("it is removed", tree.remove_child("other")).await.expect("removed");
    assert_eq!(removed.killed, Vec::<String>::new());
    let removed = soon("it is removed", tree.remove_child("group")).await.expect("removed");
    assert_eq!(removed.killed, ["group/hangs"]);
    assert_eq!(tree.stop(10 * common::SECOND).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_can_be_added_to_what_is_being_stopped() {
    let clock = Clock::system();
    // Longer than the test: it hangs until the end of the tree kills it.
    let hangs = || {
        let policy = Policy { shutdown: Shutdown::Within(HOUR), ..policy((1_000, HOUR), (MS, MS)) };
        Child::worker("hangs", || HangsAtItsStop).policy(policy)
    };
    let leaving = Child::supervisor("leaving", vec![Child::supervisor("inner", vec![hangs()])]);
    let tree = Arc::new(start(&clock, vec![Child::supervisor("stays", vec![hangs()]), leaving]).await);
    all_run(&tree).await;
    let removing = tokio::spawn({
        let tree = tree.clone();
        async move { tree.remove_child("leaving").await }
    });
    eventually("it is being stopped", || record(&tree, "leaving/inner/hangs").state == State::Stopping).await;
    let more = || market("more", &clock).0;
    assert_eq!(tree.add_child("leaving/inner", more()), Err(ChangeError::Stopping("leaving".to_owned())));
    assert_eq!(tree.add_child("leaving", more()), Err(ChangeError::Stopping("leaving".to_owned())));
    tree.add_child("stays", more()).expect("its sibling takes members");
    let mut stopping = std::pin::pin!(tree.stop(200 * MS));
    tokio::select! {
        biased;
        _ = &mut stopping => panic!("one hangs"),
        () = std::future::ready(()) => {}
    }
    for supervisor in ["root", "stays"] {
        let refused = tree.add_child(supervisor, market("late", &clock).0);
        assert_eq!(refused, Err(ChangeError::Stopping("the tree".to_owned())));
    }
    soon("the stop", stopping).await;
    assert_eq!(soon("the removal", removing).await.expect("no panic"), Err(ChangeError::Ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_has_no_second_incarnation_while_a_removed_one_holds_its_thread() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let tree = start(&Clock::system(), Vec::new()).await;
    let wedged = || {
        let hold = hold.clone();
        let child = Child::worker("child", move || HoldsAtOnce(hold.clone()));
        child.policy(Policy { shutdown: Shutdown::Within(MS), ..policy((1, HOUR), (MS, MS)) })
    };
    tree.add_child("root", wedged()).expect("added");
    all_run(&tree).await;
    let removed = soon("it is given up", tree.remove_child("child")).await;
    assert_eq!(removed, Err(ChangeError::Abandoned("child".to_owned())));
    assert_eq!(tree.add_child("root", wedged()), Err(ChangeError::StillRuns("child".to_owned())));
    assert_eq!(paths(&tree), ["root"]);
    hold.lower();
    let mut added = Err(ChangeError::Ended);
    eventually("it can be added again", || {
        added = tree.add_child("root", wedged());
        added.is_ok()
    })
    .await;
    all_run(&tree).await;
    assert_eq!(paths(&tree), ["root", "child"]);
}

#[tokio::test]
async fn children_that_can_not_become_a_tree_are_refused_with_their_path() {
    let clock = Clock::system();
    let group = |name: &str, children| Child::supervisor(name, children);
    let one = |name: &str| calm_one(name, &clock);
    let worker = |name: &Name| Child::worker(name, || Idles);
    let duplicate = |path: &str| BadDescription::Duplicate(path.to_owned());
    let used_twice = |path: &str| BadDescription::NameUsedTwice(path.to_owned());
    let name = Name::new("a");
    let cases = [
        (vec![one("a"), one("a")], duplicate("a")),
        (vec![group("g", vec![one("a"), one("a")])], duplicate("g/a")),
        (vec![group("a", vec![]), one("a")], duplicate("a")),
        (vec![worker(&name), group("g", vec![worker(&name)])], used_twice("a")),
        (vec![one("")], BadDescription::BadName(String::new())),
        (vec![group("g", vec![one("a/b")])], BadDescription::BadName("a/b".to_owned())),
    ];
    for (children, expected) in cases {
        match Tree::start(children, TreeOptions::default()).await {
            Err(StartError::Description(found)) => assert_eq!(found, expected),
            Err(error) => panic!("{error} in place of {expected}"),
            Ok(_) => panic!("it started in spite of this: {expected}"),
        }
    }
    let (mailbox, ends) = new_mailbox("b", attempts(1), &clock);
    let name = mailbox.name().clone();
    let tree = start(&clock, vec![calm(mailbox)]).await;
    let added = tree.add_child("root", group("g", vec![worker(&name)]));
    assert_eq!(added, Err(ChangeError::Description(used_twice("b"))));
    let added = tree.add_child("root", group("g", vec![one("c"), one("c")]));
    assert_eq!(added, Err(ChangeError::Description(duplicate("g/c"))));
    ends.send(1).await;
    eventually("its reader continues", || ends.stats().handled == 1).await;
    assert_eq!(paths(&tree), ["root", "b"]);
}

#[tokio::test]
async fn the_address_of_a_removed_member_stays_closed_when_another_takes_its_path() {
    let clock = Clock::system();
    let tree = start(&clock, Vec::new()).await;
    let mut removed: Vec<Ends> = Vec::new();
    for round in 1..4 {
        let (mailbox, ends) = new_mailbox("child", attempts(1), &clock);
        tree.add_child("root", calm(mailbox)).expect("added");
        ends.send(round).await;
        eventually("it is handled", || ends.stats().handled == 1).await;
        for earlier in &removed {
            let refused = earlier.to.send(job(0)).await;
            assert!(matches!(refused, Err(SendError::Closed(_))), "{refused:?}");
        }
        soon("it is removed", tree.remove_child("child")).await.expect("removed");
        removed.push(ends);
    }
}

/// A supervisor with this restart over `worker`, which returns at each message, and `other`; and the ends of the mailbox of
/// `worker`, in which one message has room.
async fn under(restart: Restart) -> (Tree, Ends) {
    let clock = Clock::system();
    let limits = Limits { capacity: 1, ..attempts(100) };
    let (mailbox, ends) = new_mailbox("worker", limits, &clock);
    let worker = each(mailbox, |_lease| Ok(()));
    let quick = policy((1_000, HOUR), (HOUR, HOUR));
    let group = Child::supervisor("group", vec![worker.policy(quick), calm_one("other", &clock)]);
    let tree = start(&clock, vec![group.policy(Policy { restart, ..quick })]).await;
    all_run(&tree).await;
    (tree, ends)
}

#[tokio::test]
async fn records_below_a_supervisor_that_is_down_do_not_say_that_they_run() {
    for (restart, expected) in [(Restart::Permanent, State::Waiting), (Restart::Temporary, State::Stopped)] {
        let (tree, _) = under(restart).await;
        assert!(tree.kill("group"));
        let state = |path: &str| record(&tree, path).state;
        eventually("it is down", || !matches!(state("group"), State::Running)).await;
        eventually("so are those below", || {
            ["group/worker", "group/other"].iter().all(|path| state(path) == expected)
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_waits_for_what_is_below_a_supervisor_that_has_ended_for_good() {
    let (tree, ends) = under(Restart::Temporary).await;
    let tree = Arc::new(tree);
    assert!(tree.kill("group"));
    eventually("it has ended", || record(&tree, "group").state == State::Stopped).await;
    for number in 0..3 {
        let sent = soon("a send ends", ends.to.send(job(number))).await;
        assert!(matches!(sent, Err(SendError::Closed(_))), "{sent:?}");
    }
    soon("it is removed", tree.remove_child("group/worker")).await.expect("removed");
    let (child, _) = market("more", &Clock::system());
    assert_eq!(tree.add_child("group", child), Err(ChangeError::Down("group".to_owned())));
    soon("the stop", tree.stop(10 * common::SECOND)).await;
}

#[tokio::test]
async fn a_member_without_a_limit_for_its_stop_can_be_added_and_stopped() {
    let tree = start(&Clock::system(), vec![Child::supervisor("group", Vec::new())]).await;
    for (name, shutdown) in
        [("long", Shutdown::Within(std::time::Duration::MAX)), ("endless", Shutdown::Unlimited)]
    {
        let child = calm_one(name, &Clock::system()).policy(Policy { shutdown, ..Policy::default() });
        tree.add_child("group", child).expect("added");
    }
    all_run(&tree).await;
    let report = soon("the stop", tree.stop(10 * common::SECOND)).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
}
