//! Messages that an actor sends later: once, or again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::{HOUR, Job, Log, MINUTE, MS, SECOND, attempts, job, manual, policy, quiet, record, soon, start};
use supervision::{
    Activity, Actor, Address, Child, Clock, Context, ExitKind, Failure, Inbox, Limits, Mailbox, Overflow,
    State, Tree,
};

/// Starts timers for messages to itself: number 1 after 10 s, number 2 every 4 s, number 3 after 10 s, which it gives up. It
/// notes what it receives.
struct Timed {
    me: Address<Job>,
    received: Log<(u64, u64)>,
}

impl Actor for Timed {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        drop(cx.send_after(10 * SECOND, &self.me, job(1))?);
        drop(cx.send_every(4 * SECOND, &self.me, || job(2))?);
        cx.send_after(10 * SECOND, &self.me, job(3))?.abort();
        while let Some(lease) = inbox.recv().await {
            self.received.note((cx.generation(), lease.number));
            lease.ack();
        }
        Ok(())
    }
}

async fn timed(clock: &Clock) -> (Tree, Log<(u64, u64)>) {
    let received = Log::default();
    let mailbox = Mailbox::new("timed", attempts(1), clock);
    let me = mailbox.address(mailbox.name(), Overflow::Coalesce);
    let timed = Child::actor(mailbox, {
        let received = received.clone();
        move || Timed { me: me.clone(), received: received.clone() }
    });
    let tree = start(clock, vec![timed.policy(policy((100, HOUR), (SECOND, SECOND)))]).await;
    quiet().await;
    (tree, received)
}

async fn pass(clock: &Clock, time: std::time::Duration) {
    clock.advance(time);
    quiet().await;
}

#[tokio::test]
async fn timers_send_at_their_time_of_the_trees_clock() {
    let clock = manual();
    let (tree, received) = timed(&clock).await;
    assert_eq!(record(&tree, "timed").activity, Activity::Idle);
    pass(&clock, 4 * SECOND - MS).await;
    assert_eq!(received.take(), []);
    pass(&clock, MS).await;
    assert_eq!(received.take(), [(1, 2)]);
    pass(&clock, 4 * SECOND).await;
    assert_eq!(received.take(), [(1, 2)]);
    pass(&clock, 2 * SECOND - MS).await;
    assert_eq!(received.take(), []);
    pass(&clock, MS).await;
    assert_eq!(received.take(), [(1, 1)], "once, and without the one that was given up");
    // An interval that passed unseen is not sent later.
    pass(&clock, HOUR).await;
    assert_eq!(received.take(), [(1, 2)]);
    pass(&clock, 4 * SECOND).await;
    assert_eq!(received.take(), [(1, 2)]);
}

#[tokio::test]
async fn timers_end_with_their_incarnation() {
    let clock = manual();
    let (tree, received) = timed(&clock).await;
    pass(&clock, 3 * SECOND).await;
    assert!(tree.kill("timed"));
    quiet().await;
    pass(&clock, SECOND).await;
    // The second incarnation has begun, and its timers with it; at this moment those of the first would send.
    assert_eq!((record(&tree, "timed").generation, received.take()), (2, vec![]));
    pass(&clock, 4 * SECOND - MS).await;
    assert_eq!(received.take(), []);
    pass(&clock, MS).await;
    assert_eq!(received.take(), [(2, 2)]);
    pass(&clock, 2 * SECOND).await;
    assert_eq!(received.take(), [], "the first incarnation would have sent number 1 now");
    assert_eq!(soon("the stop", tree.stop(MINUTE)).await.left_behind, 0);
    assert_eq!(clock.sleepers(), 0, "no timer is left");
    pass(&clock, HOUR).await;
    assert_eq!((received.take(), record(&tree, "timed").state), (vec![], State::Stopped));
}

/// Sends number 5 to an outside mailbox every second, and once after 10 s, until it is stopped.
struct Sends(Address<Job>);

impl supervision::Worker for Sends {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        drop(cx.send_every(SECOND, &self.0, || job(5))?);
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

async fn sends(clock: &Clock, overflow: Overflow) -> (Tree, Mailbox<Job>) {
    let mailbox = Mailbox::new("outside", Limits { capacity: 1, ..attempts(1) }, clock);
    let to = mailbox.address("sends", overflow);
    let sends = Child::worker("sends", move || Sends(to.clone()));
    let tree = start(clock, vec![sends.policy(policy((100, HOUR), (SECOND, SECOND)))]).await;
    quiet().await;
    (tree, mailbox)
}

#[tokio::test]
async fn a_message_that_is_refused_is_dropped_and_the_timer_continues() {
    let clock = manual();
    let (tree, mailbox) = sends(&clock, Overflow::Coalesce).await;
    for _ in 0..3 {
        pass(&clock, SECOND).await;
    }
    assert_eq!((mailbox.stats().accepted, mailbox.stats().waiting), (1, 1));
    let mut inbox = mailbox.open().expect("the only reader");
    inbox.recv().await.expect("a message").ack();
    pass(&clock, SECOND).await;
    assert_eq!(mailbox.stats().waiting, 1);
    assert_eq!(record(&tree, "sends").exits, [0; 8]);
}

#[tokio::test]
async fn an_interval_begins_when_the_message_before_was_accepted() {
    let clock = manual();
    let (tree, mailbox) = sends(&clock, Overflow::Wait).await;
    // The first message fills the mailbox, the second waits for room. None follows.
    for _ in 0..10 {
        pass(&clock, SECOND).await;
    }
    let stats = mailbox.stats();
    assert_eq!((stats.accepted, stats.senders_waiting), (1, 1));
    assert_eq!(record(&tree, "sends").activity, Activity::Idle, "it is the timer that waits");
    let mut inbox = mailbox.open().expect("the only reader");
    for expected in [1, 1, 0] {
        let taken = inbox.try_recv().map(|lease| lease.ack());
        assert_eq!(u64::from(taken.is_some()), expected);
        quiet().await;
    }
    pass(&clock, SECOND).await;
    assert!(inbox.try_recv().map(|lease| lease.ack()).is_some());
    assert_eq!(soon("the stop", tree.stop(MINUTE)).await.left_behind, 0);
    assert_eq!(record(&tree, "sends").exits(ExitKind::Stopped), 1);
}
