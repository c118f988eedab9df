//! Messages that misbehave: whose drop, merge or weight panics or lies, or that have addresses of their own mailbox. What their
//! code may do with their mailbox is tested in `message_code`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests that can't continue panic")]

mod common;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

use common::{MS, attempts, each, eventually, record, soon, start};
use serde::{Serialize, Serializer};
use supervision::{
    Address, AskError, Child, Clock, Context, Failure, Inbox, Limits, Mailbox, MailboxView, Message,
    Overflow, Reply, SendError, Sent,
};

type Callback = Arc<dyn Fn() + Send + Sync>;

/// A message that calls a function where it is used.
#[derive(Clone, Default)]
struct Hostile {
    weight: usize,
    #[expect(dead_code, reason = "it is dropped")]
    on_drop: OnDrop,
    on_merge: Option<Callback>,
    merges: bool,
    number: u64,
}

/// Calls a function when it is dropped.
#[derive(Clone, Default)]
struct OnDrop(Option<Callback>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(call) = self.0.take()
            && !std::thread::panicking()
        {
            call();
        }
    }
}

impl Serialize for Hostile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.number)
    }
}

impl Message for Hostile {
    fn weight(&self) -> usize {
        self.weight.max(1)
    }

    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        if !self.merges {
            return Err(newer);
        }
        newer.on_merge.iter().for_each(|call| call());
        self.number += newer.number;
        Ok(())
    }
}

fn panics() -> Option<Callback> {
    Some(Arc::new(|| panic!("hostile")))
}

fn limits(capacity: usize, bytes: usize) -> Limits {
    Limits { capacity, bytes, batch: 64, max_attempts: 1, dead_letters: 1 }
}

fn hostile(number: u64) -> Hostile {
    Hostile { number, ..Hostile::default() }
}

// 1. A panic in the middle of `ack`.

#[tokio::test]
async fn a_message_whose_drop_panics_in_ack_is_counted() {
    let mailbox = Mailbox::<Hostile>::new("reader", limits(8, 1 << 20), &Clock::system());
    let to = mailbox.address("test", Overflow::Wait);
    to.try_send(Hostile { on_drop: OnDrop(panics()), ..hostile(1) }).unwrap();
    let mut inbox = mailbox.open().unwrap();
    let lease = inbox.try_recv().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| lease.ack())).is_err());
    drop(inbox);
    let stats = mailbox.stats();
    assert_eq!((stats.in_flight, stats.handled), (0, 1), "{stats:?}");
}

#[tokio::test]
async fn a_batch_whose_drop_panics_in_ack_is_counted() {
    let mailbox = Mailbox::<Hostile>::new("reader", limits(8, 1 << 20), &Clock::system());
    let to = mailbox.address("test", Overflow::Wait);
    for number in 0..5 {
        to.try_send(Hostile { on_drop: OnDrop(panics().filter(|_| number == 2)), ..hostile(number) })
            .unwrap();
    }
    let mut inbox = mailbox.open().unwrap();
    let batch = inbox.recv_many().await.unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| batch.ack())).is_err());
    drop(inbox);
    let stats = mailbox.stats();
    assert_eq!((stats.in_flight, stats.handled), (0, 5), "{stats:?}");
}

// 2. Edges of different kinds.

#[tokio::test]
async fn what_was_merged_into_a_droppable_message_is_not_dropped_with_it() {
    let mailbox = Mailbox::<Hostile>::new("reader", limits(1, 1 << 20), &Clock::system());
    let drops = mailbox.address("drops", Overflow::DropOldest);
    let merges = mailbox.address("merges", Overflow::CoalesceOrWait);
    drops.try_send(Hostile { merges: true, ..hostile(1) }).unwrap();
    let merged = merges.try_send(hostile(10));
    assert!(matches!(merged, Ok(_) | Err(SendError::Full(_))), "{merged:?}");
    let displaced = drops.try_send(hostile(100));
    // Either it was not merged into a message that may be dropped, or such a message may not be dropped any more.
    assert!(
        !(matches!(merged, Ok(Sent::Coalesced)) && matches!(displaced, Ok(Sent::Displaced(1)))),
        "the edge that waits handed over a message, and it was dropped: {:?}",
        mailbox.stats()
    );
}

// 3. Panics under the lock.

#[tokio::test]
async fn a_drop_that_panics_for_another_message_leaves_the_counts_right() {
    let mailbox = Mailbox::<Hostile>::new("reader", limits(1, 100), &Clock::system());
    let to = mailbox.address("test", Overflow::DropOldest);
    to.try_send(Hostile { weight: 60, on_drop: OnDrop(panics()), ..hostile(1) }).unwrap();
    let _ = catch_unwind(AssertUnwindSafe(|| to.try_send(Hostile { weight: 60, ..hostile(2) })));
    let stats = mailbox.stats();
    assert!(stats.is_conserved(), "{stats:?}");
    let bytes = stats.waiting * 60;
    assert_eq!(stats.bytes, bytes, "{stats:?}");
}

#[tokio::test]
async fn a_dead_letter_whose_eviction_panics_leaves_the_counts_right() {
    let mailbox = Mailbox::<Hostile>::new("reader", limits(8, 1 << 20), &Clock::system());
    let to = mailbox.address("test", Overflow::Wait);
    to.try_send(Hostile { on_drop: OnDrop(panics()), ..hostile(1) }).unwrap();
    to.try_send(hostile(2)).unwrap();
    let mut inbox = mailbox.open().unwrap();
    inbox.try_recv().unwrap().dead_letter("first");
    let _ = catch_unwind(AssertUnwindSafe(|| inbox.try_recv().unwrap().dead_letter("second")));
    drop(inbox);
    let stats = mailbox.stats();
    assert!(stats.is_conserved(), "{stats:?}");
    assert_eq!((stats.dead_lettered, stats.letters_evicted, stats.in_flight), (2, 1, 0), "{stats:?}");
}

#[tokio::test]
async fn a_merge_that_panics_leaves_the_counts_right_and_the_mailbox_usable() {
    let mailbox = Mailbox::<Hostile>::new("reader", limits(8, 1 << 20), &Clock::system());
    let to = mailbox.address("test", Overflow::Coalesce);
    to.try_send(Hostile { merges: true, ..hostile(1) }).unwrap();
    let hostile_merge = Hostile { on_merge: panics(), ..hostile(2) };
    assert!(catch_unwind(AssertUnwindSafe(|| to.try_send(hostile_merge))).is_err());
    assert!(mailbox.stats().is_conserved());
    assert_eq!(to.try_send(hostile(3)).unwrap(), Sent::Coalesced);
    let mut inbox = mailbox.open().unwrap();
    assert_eq!(inbox.recv().await.unwrap().number, 4);
}

// 4. Weights.

#[tokio::test]
async fn weights_at_their_extremes_do_not_overflow() {
    let mailbox = Mailbox::<Hostile>::new("reader", limits(8, usize::MAX), &Clock::system());
    let to = mailbox.address("test", Overflow::Wait);
    for number in 0..3 {
        let heavy = Hostile { weight: usize::MAX / 16 + 1, ..hostile(number) };
        let sent = catch_unwind(AssertUnwindSafe(|| to.try_send(heavy)));
        let sent = sent.expect("no panic");
        assert_eq!(sent.is_ok(), number == 0, "{number}: {sent:?}");
    }
}

#[tokio::test]
async fn limits_of_zero_block_nobody_for_ever() {
    let zero = Limits { capacity: 0, bytes: 0, batch: 0, max_attempts: 0, dead_letters: 0 };
    let mailbox = Mailbox::<Hostile>::new("reader", zero, &Clock::system());
    for overflow in [Overflow::Wait, Overflow::Coalesce, Overflow::CoalesceOrWait, Overflow::DropOldest] {
        let to = mailbox.address("test", overflow);
        let sent = tokio::time::timeout(100 * MS, to.send(hostile(1))).await;
        assert!(matches!(sent, Ok(Err(SendError::TooLarge { .. }))), "{overflow:?}: {sent:?}");
    }
    // It has room for one message, and its reader takes one at a time.
    let no_room = Limits { capacity: 0, batch: 0, ..Limits::default() };
    let mailbox = Mailbox::<Hostile>::new("reader", no_room, &Clock::system());
    let to = mailbox.address("test", Overflow::Wait);
    assert!(to.try_send(hostile(1)).is_ok());
    assert!(matches!(to.try_send(hostile(2)), Err(SendError::Full(_))));
    let mut inbox = mailbox.open().unwrap();
    assert_eq!(inbox.recv_many().await.unwrap().len(), 1);
}

// 5. Dead letters: the memory of their reasons.

#[tokio::test]
async fn the_reasons_of_dead_letters_are_bounded() {
    let limits = Limits { capacity: 1024, bytes: 64 << 10, batch: 64, max_attempts: 1, dead_letters: 128 };
    let mailbox = Mailbox::<Hostile>::new("reader", limits, &Clock::system());
    let to = mailbox.address("test", Overflow::Wait);
    for number in 0..128 {
        to.try_send(hostile(number)).unwrap();
        let mut inbox = mailbox.open().unwrap();
        inbox.try_recv().unwrap().dead_letter("x".repeat(100 << 10));
    }
    let held: usize = mailbox.view().dead_letters().iter().map(|letter| letter.reason.len()).sum();
    assert!(held <= 1 << 20, "a mailbox of 64 KiB keeps {held} bytes of reasons");
}

// 6. Questions.

struct Question {
    reply: Reply<u64>,
}

impl Serialize for Question {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.reply.serialize(serializer)
    }
}

impl Message for Question {}

struct Holds;

impl supervision::Actor for Holds {
    type Message = Question;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Question>) -> Result<(), Failure> {
        if cx.generation() == 1 {
            let _lease = inbox.recv().await;
            return Err("it crashes with the question in its hand".into());
        }
        while let Some(lease) = inbox.recv().await {
            let first = lease.reply.send(cx.generation());
            let second = lease.reply.send(99);
            assert!(first && !second, "{first} {second}");
            lease.ack();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_held_over_a_crash_is_answered_once() {
    let clock = Clock::system();
    let limits = Limits { max_attempts: 3, ..Limits::default() };
    let mailbox = Mailbox::<Question>::new("holds", limits, &clock);
    let to = mailbox.address("test", Overflow::Wait);
    let tree = start(&clock, vec![Child::actor(mailbox, || Holds)]).await;
    let answer = soon("an answer", to.ask(Duration::MAX, |reply| Question { reply })).await;
    assert!(matches!(answer, Ok(2)));
    let none = to.ask(Duration::ZERO, |reply| Question { reply }).await;
    assert!(matches!(none, Err(AskError::Deadline { .. })) || none.is_ok());
    let asked = tokio::spawn({
        let to = to.clone();
        async move {
            catch_unwind(AssertUnwindSafe(|| {
                drop(to.ask(MS, |_: Reply<u64>| -> Question { panic!("no question") }))
            }))
            .is_ok()
        }
    });
    assert!(asked.await.unwrap());
    assert_eq!(tree.stop(Duration::from_secs(5)).await.left_behind, 0);
}

// 7. Cancel safety under load, on threads.

struct Selects {
    log: Arc<std::sync::Mutex<Vec<u64>>>,
}

impl supervision::Actor for Selects {
    type Message = common::Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<common::Job>) -> Result<(), Failure> {
        let mut turn = 0_u64;
        loop {
            turn += 1;
            // Many of these receives are dropped.
            if turn.is_multiple_of(2) {
                tokio::select! {
                    () = tokio::task::yield_now() => {}
                    () = cx.stopped() => return Ok(()),
                    lease = inbox.recv() => {
                        let Some(lease) = lease else { return Ok(()) };
                        self.log.lock().unwrap().push(lease.number);
                        lease.ack();
                    }
                }
            } else {
                tokio::select! {
                    () = tokio::task::yield_now() => {}
                    () = cx.stopped() => return Ok(()),
                    batch = inbox.recv_many() => {
                        let Some(batch) = batch else { return Ok(()) };
                        self.log.lock().unwrap().extend(batch.iter().map(|job| job.number));
                        batch.ack();
                    }
                }
            }
            if turn.is_multiple_of(997) {
                return Err("now and then it fails between two messages".into());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receives_and_sends_that_are_dropped_lose_nothing_and_keep_the_order() {
    const COUNT: u64 = 3_000;
    let clock = Clock::system();
    let (mailbox, ends) =
        common::new_mailbox("selects", Limits { capacity: 7, batch: 3, ..attempts(2) }, &clock);
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let child = Child::actor(mailbox, {
        let log = log.clone();
        move || Selects { log: log.clone() }
    })
    .policy(common::policy((u32::MAX, MS), (Duration::ZERO, Duration::ZERO)));
    let tree = start(&clock, vec![child]).await;
    let mut sent = 0;
    let mut dropped = 0_u64;
    while sent < COUNT {
        tokio::select! {
            biased;
            sending = ends.to.send(common::job(sent)) => { sending.unwrap(); sent += 1; }
            // A send that is dropped while it waits was not accepted.
            () = tokio::task::yield_now() => dropped += 1,
        }
    }
    eventually("all are handled", || ends.stats().handled == COUNT).await;
    assert!(dropped > 0);
    let log = log.lock().unwrap().clone();
    assert_eq!(log, (0..COUNT).collect::<Vec<_>>());
    let stats = ends.stats();
    assert!(stats.is_conserved() && stats.dead_lettered == 0, "{stats:?}");
    assert!(record(&tree, "selects").generation > 1);
    tree.stop(Duration::from_secs(5)).await;
}

/// A view of its own mailbox in a message in it.
struct Carries {
    _own: MailboxView,
    _to: OnceLock<Address<Carries>>,
}

impl Serialize for Carries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl Message for Carries {}

#[tokio::test]
async fn messages_that_have_an_address_of_their_own_mailbox_are_dropped_without_a_deadlock() {
    let clock = Clock::system();
    let mailbox = Mailbox::<Carries>::new("carries", limits(1, 1 << 20), &clock);
    let to = mailbox.address("test", Overflow::DropOldest);
    for _ in 0..4 {
        let own = mailbox.address("own", Overflow::DropOldest);
        to.try_send(Carries { _own: mailbox.view(), _to: own.into() }).unwrap();
    }
    assert_eq!(mailbox.stats().dropped, 3);
    let tree = start(
        &clock,
        vec![each(mailbox, |lease| {
            lease.ack();
            Ok(())
        })],
    )
    .await;
    soon("the end", tree.stop(Duration::from_secs(5))).await;
}
