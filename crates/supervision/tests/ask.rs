//! Questions: `Address::ask` and the way back for the answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{error::Error, future::pending, sync::Arc};

use common::{
    HOUR, Log, MINUTE, MS, SECOND, all_run, attempts, each, eventually, manual, policy, record, soon, start,
};
use serde::Serialize;
use supervision::{
    Activity, Actor, Address, AskError, Child, Clock, Context, ExitKind, Failure, Inbox, Lease, Limits,
    Mailbox, Message, Name, Overflow, Policy, Reply, SendError, StartError, State, Tree, TreeOptions,
    WaitingCycle, Worker,
};
use tokio::sync::Notify;

/// A question for twice a number.
#[derive(Debug, Serialize)]
struct Twice {
    number: u64,
    reply: Reply<u64>,
}

impl Message for Twice {}

fn twice(number: u64) -> impl FnOnce(Reply<u64>) -> Twice {
    move |reply| Twice { number, reply }
}

fn mailbox(name: &str, clock: &Clock) -> (Mailbox<Twice>, Address<Twice>) {
    let mailbox = Mailbox::new(name, attempts(2), clock);
    let address = mailbox.address("test", Overflow::Wait);
    (mailbox, address)
}

/// Asks in a task of its own.
fn asks(address: &Address<Twice>, number: u64) -> tokio::task::JoinHandle<Result<u64, AskError<Twice>>> {
    let address = address.clone();
    tokio::spawn(async move { address.ask(5 * SECOND, twice(number)).await })
}

/// 1,000 restarts an hour; 1 ms before each.
fn quick() -> Policy {
    policy((1_000, HOUR), (MS, MS))
}

#[tokio::test]
async fn each_question_gets_its_own_answer() {
    let clock = Clock::system();
    let (mailbox, address) = mailbox("doubles", &clock);
    let view = mailbox.view();
    let doubles = each(mailbox, |lease: Lease<'_, Twice>| {
        assert!(lease.reply.is_awaited());
        assert!(lease.reply.send(2 * lease.number), "it is awaited");
        assert!(!lease.reply.send(7) && !lease.reply.is_awaited(), "only the first answer counts");
        lease.ack();
        Ok(())
    });
    let _tree = start(&clock, vec![doubles]).await;
    let waiting: Vec<_> = (0..50).map(|number| asks(&address, number)).collect();
    for (number, answer) in (0..50).zip(waiting) {
        assert_eq!(answer.await.expect("joined").expect("answered"), 2 * number);
    }
    eventually("all are acknowledged", || view.stats().handled == 50).await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_missed_deadline_and_the_question_stays() {
    let clock = manual();
    let (mailbox, address) = mailbox("slow", &clock);
    let asking = asks(&address, 1);
    eventually("it is asked", || mailbox.stats().waiting == 1 && clock.sleepers() == 1).await;
    clock.advance(5 * SECOND - MS);
    // Time in which the process did not run is no time to answer in.
    clock.freeze(HOUR);
    eventually("its deadline is set again", || clock.sleepers() == 1).await;
    let mut inbox = mailbox.open().expect("the only reader");
    let lease = inbox.recv().await.expect("the question");
    assert!(lease.reply.is_awaited() && !asking.is_finished());
    clock.advance(MS);
    let missed = soon("the deadline", asking).await.expect("joined").expect_err("no answer");
    assert_eq!(missed.to_string(), "slow did not answer within 5s");
    assert!(
        matches!(missed, AskError::Deadline { mailbox, within } if mailbox == "slow" && within == 5 * SECOND)
    );
    assert!(!lease.reply.is_awaited() && !lease.reply.send(2), "it came too late");
    lease.ack();
    assert_eq!(clock.sleepers(), 0, "the deadline of an ended question is gone");
}

#[tokio::test]
async fn the_wait_for_room_is_part_of_the_deadline_and_leaves_no_question_behind() {
    let clock = manual();
    let mailbox = Mailbox::new("full", Limits { capacity: 1, ..attempts(2) }, &clock);
    let address = mailbox.address("test", Overflow::Wait);
    let first = asks(&address, 1);
    eventually("it is asked", || mailbox.stats().waiting == 1).await;
    let second = asks(&address, 2);
    eventually("it waits for room", || mailbox.stats().senders_waiting == 1 && clock.sleepers() == 2).await;
    clock.advance(5 * SECOND);
    for asking in [first, second] {
        let missed = soon("the deadline", asking).await.expect("joined");
        assert!(matches!(missed, Err(AskError::Deadline { .. })), "{missed:?}");
    }
    let stats = mailbox.stats();
    assert_eq!((stats.accepted, stats.waiting, stats.senders_waiting), (1, 1, 0));
}

#[tokio::test]
async fn a_question_that_its_reader_drops_is_told_at_once() {
    // 2 attempts, no dead letter is kept: acknowledged, or dead at once, or after its attempts, or evicted by the next one.
    let clock = manual();
    let mailbox = Mailbox::new("drops", Limits { dead_letters: 0, ..attempts(2) }, &clock);
    let address = mailbox.address("test", Overflow::Wait);
    let asking: Vec<_> = (0..3).map(|number| asks(&address, number)).collect();
    eventually("all are asked", || mailbox.stats().waiting == 3).await;
    let mut inbox = mailbox.open().expect("the only reader");
    inbox.recv().await.expect("a question").ack();
    inbox.recv().await.expect("a question").dead_letter("no use");
    drop(inbox.recv().await.expect("a question"));
    drop(inbox.recv().await.expect("it comes again"));
    drop(inbox);
    for asking in asking {
        let unanswered = soon("no answer", asking).await.expect("joined").expect_err("no answer");
        assert_eq!(unanswered.to_string(), "drops dropped the question without an answer");
        assert!(matches!(unanswered, AskError::NoAnswer(mailbox) if mailbox == "drops"));
    }
}

#[tokio::test]
async fn a_question_that_is_a_dead_letter_can_be_replayed_and_answered() {
    // 1 attempt; 1,000 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let mailbox = Mailbox::new("doubles", attempts(1), &clock);
    let (address, view) = (mailbox.address("test", Overflow::Wait), mailbox.view());
    let failures = Log::default();
    let doubles = each(mailbox, {
        let failures = failures.clone();
        move |lease: Lease<'_, Twice>| {
            if failures.len() == 0 {
                failures.note(());
                return Err("a failure".into());
            }
            lease.reply.send(2 * lease.number);
            lease.ack();
            Ok(())
        }
    });
    let tree = start(&clock, vec![doubles.policy(quick())]).await;
    let asking = tokio::spawn(async move { address.ask(HOUR, twice(21)).await });
    eventually("it is dead", || view.stats().dead_lettered == 1).await;
    let message = tree.dead_letters().remove(0).message;
    assert_eq!(message, serde_json::json!({ "number": 21, "reply": true }), "it shows that it is awaited");
    assert!(tree.replay("doubles", 1));
    assert_eq!(soon("the answer", asking).await.expect("joined").expect("answered"), 42);
}

#[tokio::test]
async fn an_edge_that_does_not_wait_can_not_ask() {
    let mailbox = Mailbox::new("m", attempts(2), &manual());
    for overflow in [Overflow::Coalesce, Overflow::DropOldest] {
        let address = mailbox.address("test", overflow);
        let refused = address.ask(SECOND, |_: Reply<u64>| -> Twice { unreachable!("it is not asked") }).await;
        assert!(matches!(&refused, Err(AskError::EdgeDoesNotWait(mailbox)) if mailbox == "m"), "{refused:?}");
        let why = refused.expect_err("refused").to_string();
        assert_eq!(
            why,
            "the edge to m does not wait, so nothing can be asked on it: declare it with Overflow::Wait"
        );
    }
    assert_eq!(mailbox.stats().accepted, 0);
}

#[tokio::test]
async fn a_question_to_a_closed_mailbox_comes_back() {
    let (mailbox, address) = mailbox("m", &manual());
    drop(mailbox);
    let refused = address.ask(SECOND, twice(7)).await.expect_err("it is closed");
    assert_eq!(refused.to_string(), "the question to m was not accepted");
    assert_eq!(
        refused.source().map(ToString::to_string).as_deref(),
        Some("the mailbox is closed: its actor has been stopped")
    );
    let AskError::Refused { error: SendError::Closed(question), .. } = refused else { panic!("{refused:?}") };
    assert_eq!((question.number, question.reply.is_awaited()), (7, false));
}

#[tokio::test]
async fn a_redelivered_question_can_still_be_answered_and_its_first_answer_counts() {
    // 3 attempts; 1,000 restarts an hour; 1 ms before each. One fails before it answers, the other one afterwards.
    let clock = Clock::system();
    let mailbox = Mailbox::new("doubles", attempts(3), &clock);
    let (address, view) = (mailbox.address("test", Overflow::Wait), mailbox.view());
    let answers = Log::default();
    let doubles = each(mailbox, {
        let answers = answers.clone();
        move |lease: Lease<'_, Twice>| {
            assert!(lease.number != 1 || lease.attempt() > 2, "it fails before it answers, twice");
            let is_first = lease.reply.send(2 * lease.number + u64::from(lease.attempt()));
            answers.note((lease.number, lease.attempt(), is_first));
            assert!(lease.number != 2 || lease.attempt() > 1, "it fails after it has answered");
            lease.ack();
            Ok(())
        }
    });
    let _tree = start(&clock, vec![doubles.policy(quick())]).await;
    assert_eq!(soon("the answer", address.ask(MINUTE, twice(1))).await.expect("answered"), 2 + 3);
    assert_eq!(soon("the answer", address.ask(MINUTE, twice(2))).await.expect("answered"), 4 + 1);
    eventually("both are acknowledged", || view.stats().handled == 2).await;
    assert_eq!(answers.all(), [(1, 3, true), (2, 1, true), (2, 2, false)]);
}

/// Asks once, and then works until it is stopped.
struct Asks {
    address: Address<Twice>,
    answers: Log<u64>,
}

impl Worker for Asks {
    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
        let answer = self.address.ask(HOUR, twice(4)).await.map_err(|error| error.to_string())?;
        self.answers.note(answer);
        // Without a sign of progress.
        pending().await
    }
}

/// Answers when it may.
struct Answers(Arc<Notify>);

impl Actor for Answers {
    type Message = Twice;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Twice>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            cx.idle(self.0.notified()).await;
            lease.reply.send(2 * lease.number);
            lease.ack();
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_actor_that_waits_for_an_answer_is_blocked_and_not_stalled() {
    // A stall is 10 s without progress.
    let clock = manual();
    let (mailbox, asker) = (Mailbox::new("answers", attempts(2), &clock), Name::new("asks"));
    let (address, view) = (mailbox.address(&asker, Overflow::Wait), mailbox.view());
    let (may, answers) = (Arc::new(Notify::new()), Log::default());
    let slow = Child::actor(mailbox, {
        let may = may.clone();
        move || Answers(may.clone())
    });
    let asks = Child::worker(&asker, {
        let answers = answers.clone();
        move || Asks { address: address.clone(), answers: answers.clone() }
    });
    let stalls = Policy { stall_after: Some(10 * SECOND), ..quick() };
    let tree = start(&clock, vec![slow.policy(stalls), asks.policy(stalls)]).await;
    all_run(&tree).await;
    eventually("its question is in flight", || view.stats().in_flight == 1).await;
    for _ in 0..60 {
        clock.advance(SECOND);
        let health = record(&tree, "asks");
        assert_eq!((health.activity, health.state), (Activity::Blocked, State::Running));
    }
    may.notify_one();
    eventually("it has its answer", || answers.len() == 1).await;
    let health = record(&tree, "asks");
    assert_eq!((health.activity, health.generation, answers.all()), (Activity::Working, 1, vec![8]));
    // Then it counts as working again.
    common::advance_until(&clock, SECOND, "it is replaced", || {
        record(&tree, "asks").exits(ExitKind::Stalled) == 1
    })
    .await;
}

#[tokio::test]
async fn actors_that_ask_each_other_do_not_start() {
    let clock = manual();
    let (a, b) = (Mailbox::new("a", attempts(2), &clock), Mailbox::new("b", attempts(2), &clock));
    let addresses = (a.address(b.name(), Overflow::Wait), b.address(a.name(), Overflow::CoalesceOrWait));
    let answers = |mailbox| Child::actor(mailbox, || Answers(Arc::default()));
    let refused = Tree::start(vec![answers(a), answers(b)], TreeOptions::default()).await;
    assert!(matches!(refused, Err(StartError::Cycle(WaitingCycle(way))) if way == ["a", "b", "a"]));
    // On both of these edges they could have asked.
    for address in [addresses.0, addresses.1] {
        assert!(matches!(address.ask(SECOND, twice(1)).await, Err(AskError::Refused { .. })));
    }
}
