//! Adding members to and removing them from a running tree.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use common::{
    HOUR, Hold, HoldsAtOnce, Job, Log, Lowered, MS, all_run, attempts, calm, each, eventually, job, policy,
    record, soon, start,
};
use supervision::{
    Actor, BadDescription, ChangeError, Child, Clock, Context, Failure, Limits, Mailbox, NoMessage, Outcome,
    Overflow, Policy, Restart, SendError, StartError, State, Tree, TreeOptions,
};

fn paths(tree: &Tree) -> Vec<String> {
    tree.health().into_iter().map(|actor| actor.path).collect()
}

/// A supervisor over one actor, as of a market, and the actor's mailbox.
fn market(name: &str, clock: &Clock) -> (Child, Mailbox<Job>) {
    let mailbox = Mailbox::new(format!("markets/{name}/worker"), attempts(2), clock);
    (Child::supervisor(name, vec![calm("worker", &mailbox)]), mailbox)
}

async fn tree_of(names: &[&str]) -> (Tree, Vec<Mailbox<Job>>) {
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
    added.address("test", Overflow::Wait).send(job(1)).await.expect("accepted");
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
    assert!(
        mailboxes[1].address("test", Overflow::Coalesce).try_send(job(2)).is_err(),
        "nobody reads it any more"
    );
    mailboxes[0].address("test", Overflow::Wait).send(job(3)).await.expect("accepted");
    eventually("its sibling goes on", || mailboxes[0].stats().handled == 1).await;
    assert!(tree.health().iter().all(|actor| actor.generation == 1), "nobody was restarted");
    let report = tree.stop(10 * common::SECOND).await;
    assert_eq!(report.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_added_and_removed_stays_so_through_crashes_of_the_supervisor() {
    let (tree, _mailboxes) = tree_of(&["a", "b"]).await;
    let (child, mailbox) = market("c", &Clock::system());
    tree.add_child("markets", child).expect("added");
    soon("it is removed", tree.remove_child("markets/a")).await.expect("removed");
    for crash in 2..5 {
        assert!(tree.kill("markets"));
        eventually("its next incarnation runs", || record(&tree, "markets").generation == crash).await;
        all_run(&tree).await;
        assert_eq!(paths(&tree)[2..], ["markets/b", "markets/b/worker", "markets/c", "markets/c/worker"]);
        mailbox.address("test", Overflow::Wait).send(job(crash)).await.expect("accepted");
        eventually("it works", || mailbox.stats().handled == crash - 1).await;
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
    let mailbox = Mailbox::new("worker", attempts(2), &clock);
    let slow = policy((1_000, HOUR), (HOUR, HOUR));
    let tree = start(&clock, vec![calm("worker", &mailbox).policy(slow)]).await;
    all_run(&tree).await;
    assert!(tree.kill("worker"));
    eventually("it waits", || record(&tree, "worker").state == State::BackingOff).await;
    soon("it is removed", tree.remove_child("worker")).await.expect("removed");
    assert_eq!(paths(&tree), ["root"]);
    tree.stop(10 * common::SECOND).await;
}

/// Passes a failure point for ever, once it has been asked to stop.
struct HangsAtItsStop;

impl Actor for HangsAtItsStop {
    type Message = NoMessage;

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_removes_a_member_is_told_what_had_to_be_killed() {
    // 20 ms to stop.
    let clock = Clock::system();
    let mailbox = Mailbox::new("group/orderly", attempts(2), &clock);
    let hangs = Child::source("hangs", || HangsAtItsStop);
    let hangs = hangs.policy(supervision::Policy { stop_within: 20 * MS, ..policy((1_000, HOUR), (MS, MS)) });
    let other = Mailbox::new("other", attempts(2), &clock);
    let group = Child::supervisor("group", vec![calm("orderly", &mailbox), hangs]);
    let tree = start(&clock, vec![group, calm("other", &other)]).await;
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
        let policy = supervision::Policy { stop_within: HOUR, ..policy((1_000, HOUR), (MS, MS)) };
        Child::source("hangs", || HangsAtItsStop).policy(policy)
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

/// Records how many of its kind are starting at a time.
struct Starts {
    starting: Arc<AtomicUsize>,
    most: Log<usize>,
}

impl Actor for Starts {
    type Message = NoMessage;

    async fn pre_start(&mut self, _: &mut Context<NoMessage>) -> Result<(), Failure> {
        self.most.note(self.starting.fetch_add(1, Relaxed) + 1);
        tokio::time::sleep(5 * MS).await;
        self.starting.fetch_sub(1, Relaxed);
        Ok(())
    }

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_falls_together_does_not_rise_together() {
    let (starting, most) = (Arc::new(AtomicUsize::new(0)), Log::default());
    let make = |name: usize| {
        let (starting, most) = (starting.clone(), most.clone());
        let child = Child::source(name.to_string(), move || Starts {
            starting: starting.clone(),
            most: most.clone(),
        });
        child.policy(policy((1_000, HOUR), (MS, MS)))
    };
    let groups = (0..4).map(|group| Child::supervisor(format!("group{group}"), (0..10).map(make).collect()));
    let options = TreeOptions { simultaneous_restarts: 3, ..TreeOptions::default() };
    let tree = Tree::start(groups.collect(), options).await.expect("the root starts");
    all_run(&tree).await;
    let before = most.len();
    for path in paths(&tree).into_iter().filter(|path| path.contains('/')) {
        assert!(tree.kill(&path));
    }
    eventually("all are back", || most.len() == before + 40).await;
    all_run(&tree).await;
    let highest = most.all()[before..].iter().copied().max();
    assert_eq!(highest, Some(3), "as many as may, and no more");
    tree.stop(10 * common::SECOND).await;
}

/// Records its name when it starts, which takes a permit.
struct StartsBy {
    name: &'static str,
    permits: Arc<tokio::sync::Semaphore>,
    started: Log<&'static str>,
}

impl Actor for StartsBy {
    type Message = NoMessage;

    async fn pre_start(&mut self, _: &mut Context<NoMessage>) -> Result<(), Failure> {
        self.permits.acquire().await?.forget();
        self.started.note(self.name);
        Ok(())
    }

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

/// On one thread, so that what is woken has run when the test goes on.
#[tokio::test]
async fn restarts_that_wait_for_their_turn_keep_the_order_of_their_coming() {
    // One restart at a time. Pauses of 1 s to 4 s, against the order of the start. A start may take an hour.
    let clock = common::manual();
    let (permits, started) = (Arc::new(tokio::sync::Semaphore::new(4)), Log::default());
    let children = ["d", "c", "b", "a"].into_iter().zip([4, 3, 2, 1]).map(|(name, pause)| {
        let (permits, started) = (permits.clone(), started.clone());
        let pause = pause * common::SECOND;
        let policy = supervision::Policy { start_within: HOUR, ..policy((1_000, HOUR), (pause, pause)) };
        Child::source(name, move || StartsBy { name, permits: permits.clone(), started: started.clone() })
            .policy(policy)
    });
    let options = TreeOptions { clock: clock.clone(), simultaneous_restarts: 1, ..TreeOptions::default() };
    let tree = Tree::start(children.collect(), options).await.expect("the root starts");
    all_run(&tree).await;
    let before = started.len();
    for name in ["d", "c", "b", "a"] {
        assert!(tree.kill(name));
        eventually("it waits", || record(&tree, name).state == State::BackingOff).await;
    }
    for _ in 0..4 {
        clock.advance(common::SECOND);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(record(&tree, "a").state, State::Starting, "it has the only turn");
    for name in ["b", "c", "d"] {
        assert_eq!(record(&tree, name).state, State::BackingOff, "{name} waits for its turn");
    }
    permits.add_permits(4);
    all_run(&tree).await;
    assert_eq!(started.all()[before..], ["a", "b", "c", "d"]);
    tree.stop(10 * common::SECOND).await;
}

/// Fails to start on demand.
struct FailsToStart(Arc<AtomicBool>);

impl Actor for FailsToStart {
    type Message = NoMessage;

    async fn pre_start(&mut self, _: &mut Context<NoMessage>) -> Result<(), Failure> {
        if self.0.load(Relaxed) { Err("it shall not start".into()) } else { Ok(()) }
    }

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_crashes_or_is_removed_gives_up_its_turn() {
    let clock = Clock::system();
    let quick = policy((1_000_000, HOUR), (MS, MS));
    let bad = Arc::new(AtomicBool::new(false));
    let mailboxes = ["good", "gone"].map(|name| Mailbox::new(name, attempts(2), &clock));
    let children = ["good", "gone"].iter().zip(&mailboxes).map(|(name, mailbox)| calm(name, mailbox));
    let fails = Child::source("bad", {
        let bad = bad.clone();
        move || FailsToStart(bad.clone())
    });
    let children = children.chain([fails]).map(|child| child.policy(quick)).collect();
    let options = TreeOptions { simultaneous_restarts: 1, ..TreeOptions::default() };
    let tree = Tree::start(children, options).await.expect("the root starts");
    all_run(&tree).await;
    bad.store(true, Relaxed);
    assert!(tree.kill("bad"));
    eventually("it crashes at each start", || record(&tree, "bad").generation > 10).await;
    for round in 2..6 {
        assert!(tree.kill("good"));
        eventually("it is back all the same", || record(&tree, "good").generation == round).await;
    }
    assert!(tree.kill("gone"));
    soon("it is removed", tree.remove_child("gone")).await.expect("removed");
    soon("it is removed", tree.remove_child("bad")).await.expect("removed");
    assert!(tree.kill("good"));
    eventually("the turn is free", || record(&tree, "good").generation == 6).await;
    tree.stop(10 * common::SECOND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_has_no_second_incarnation_while_a_removed_one_holds_its_thread() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let tree = start(&Clock::system(), Vec::new()).await;
    let wedged = || {
        let hold = hold.clone();
        let child = Child::source("child", move || HoldsAtOnce(hold.clone()));
        child.policy(Policy { stop_within: MS, ..policy((1, HOUR), (MS, MS)) })
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
    let (one, other) = (Mailbox::new("one", attempts(1), &clock), Mailbox::new("other", attempts(1), &clock));
    let group = |name: &str, children| Child::supervisor(name, children);
    let duplicate = |path: &str| BadDescription::Duplicate(path.to_owned());
    let shared = |first: &str, second: &str| BadDescription::SharedMailbox {
        first: first.to_owned(),
        second: second.to_owned(),
    };
    let cases = [
        (vec![calm("a", &one), calm("a", &other)], duplicate("a")),
        (vec![group("g", vec![calm("a", &one), calm("a", &other)])], duplicate("g/a")),
        (vec![calm("a", &one), group("g", vec![calm("b", &one)])], shared("a", "g/b")),
        (vec![calm("", &one)], BadDescription::BadName(String::new())),
        (vec![calm("a/b", &one)], BadDescription::BadName("a/b".to_owned())),
    ];
    for (children, expected) in cases {
        match Tree::start(children, TreeOptions::default()).await {
            Err(StartError::Description(found)) => assert_eq!(found, expected),
            Err(error) => panic!("{error} in place of {expected}"),
            Ok(_) => panic!("it started in spite of this: {expected}"),
        }
    }
    let tree = start(&clock, vec![calm("a", &one)]).await;
    let added = tree.add_child("root", calm("b", &one));
    assert_eq!(added, Err(ChangeError::Description(shared("a", "b"))));
    one.address("test", Overflow::Wait).send(job(1)).await.expect("its reader goes on");
    let added = tree.add_child("root", group("g", vec![calm("c", &other), calm("c", &other)]));
    assert_eq!(added, Err(ChangeError::Description(duplicate("g/c"))));
}

#[tokio::test]
async fn a_mailbox_that_is_added_again_after_its_removal_accepts_again() {
    let clock = Clock::system();
    let mailbox = Mailbox::new("child", attempts(1), &clock);
    let address = mailbox.address("test", Overflow::Wait);
    let tree = start(&clock, vec![calm("child", &mailbox)]).await;
    for round in 1..4 {
        address.send(job(round)).await.expect("accepted");
        eventually("it is handled", || mailbox.stats().handled == round).await;
        soon("it is removed", tree.remove_child("child")).await.expect("removed");
        assert!(address.send(job(0)).await.is_err(), "nobody reads it");
        tree.add_child("root", calm("child", &mailbox)).expect("added");
    }
}

/// A supervisor with this restart over `worker`, which returns at each message, and `other`; and a message on its way to
/// the full mailbox of `worker`.
async fn under(restart: Restart) -> (Tree, Mailbox<Job>) {
    let clock = Clock::system();
    let limits = Limits { capacity: 1, ..attempts(100) };
    let mailbox = Mailbox::new("group/worker", limits, &clock);
    let worker = each("worker", &mailbox, |_lease| Ok(()));
    let quick = policy((1_000, HOUR), (HOUR, HOUR));
    let other = Mailbox::new("group/other", attempts(1), &clock);
    let group = Child::supervisor("group", vec![worker.policy(quick), calm("other", &other)]);
    let tree = start(&clock, vec![group.policy(Policy { restart, ..quick })]).await;
    all_run(&tree).await;
    (tree, mailbox)
}

#[tokio::test]
async fn records_below_a_supervisor_that_is_down_do_not_say_that_they_run() {
    for (restart, expected) in [(Restart::Permanent, State::Waiting), (Restart::Temporary, State::Stopped)] {
        let (tree, _mailbox) = under(restart).await;
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
    let (tree, mailbox) = under(Restart::Temporary).await;
    let tree = Arc::new(tree);
    let address = mailbox.address("test", Overflow::Wait);
    assert!(tree.kill("group"));
    eventually("it has ended", || record(&tree, "group").state == State::Stopped).await;
    for number in 0..3 {
        let sent = soon("a send ends", address.send(job(number))).await;
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
    let mailbox = Mailbox::new("group/child", attempts(1), &Clock::system());
    let endless = Policy { stop_within: std::time::Duration::MAX, ..Policy::default() };
    tree.add_child("group", calm("child", &mailbox).policy(endless)).expect("added");
    all_run(&tree).await;
    let report = soon("the stop", tree.stop(10 * common::SECOND)).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
}
