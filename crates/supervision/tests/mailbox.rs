//! The mailbox by itself, without actors: bounds, edges, the order of senders, leases, dead letters.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use common::{Job, SECOND, attempts, calm, eventually, job, manual, soon, start};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use supervision::{Address, Inbox, Limits, Mailbox, Message, Overflow, SendError, Sent, Tree, TreeOptions};

/// A message with a chosen weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Parcel {
    number: u64,
    weight: usize,
}

impl Message for Parcel {
    fn weight(&self) -> usize {
        self.weight
    }
}

/// Changes of a market; those of one market are merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Changes {
    market: u32,
    count: u64,
}

impl Message for Changes {
    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        if self.market != newer.market {
            return Err(newer);
        }
        self.count += newer.count;
        Ok(())
    }
}

fn small(capacity: usize) -> Limits {
    Limits { capacity, ..attempts(2) }
}

async fn take<M: Message + Clone>(inbox: &mut Inbox<M>) -> M {
    let lease = inbox.recv().await.expect("a message");
    let message = lease.clone();
    lease.ack();
    message
}

/// Sends in a task of its own and returns when the send waits.
async fn wait_in_line<M: Message + Clone>(
    mailbox: &Mailbox<M>,
    address: &Address<M>,
    message: M,
) -> tokio::task::JoinHandle<Result<Sent, SendError<M>>> {
    let before = mailbox.stats().senders_waiting;
    let address = address.clone();
    let waiting = tokio::spawn(async move { address.send(message).await });
    eventually("the send waits", || mailbox.stats().senders_waiting == before + 1).await;
    waiting
}

#[tokio::test]
async fn a_full_mailbox_makes_its_sender_wait_and_measures_it() {
    let clock = manual();
    let mailbox = Mailbox::new("m", small(2), &clock);
    let address = mailbox.address("test", Overflow::Wait);
    for number in 0..2 {
        assert_eq!(address.send(job(number)).await.expect("room"), Sent::Queued);
    }
    let waiting = wait_in_line(&mailbox, &address, job(2)).await;
    clock.advance(3 * SECOND);
    assert_eq!(mailbox.stats().oldest_age_nanos, 3_000_000_000);
    let mut inbox = mailbox.open().expect("the only reader");
    assert_eq!(take(&mut inbox).await, job(0));
    assert_eq!(waiting.await.expect("joined").expect("accepted"), Sent::Queued);
    assert_eq!((take(&mut inbox).await, take(&mut inbox).await), (job(1), job(2)));

    let stats = mailbox.stats();
    assert_eq!((stats.waits, stats.waited_nanos), (1, 3_000_000_000));
    assert_eq!((stats.accepted, stats.handled, stats.high_water), (3, 3, 2));
    assert_eq!((stats.senders_waiting, stats.oldest_age_nanos), (0, 0));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn a_refused_message_comes_back_and_is_counted() {
    let mailbox = Mailbox::new("m", small(1), &manual());
    let address = mailbox.address("test", Overflow::Wait);
    address.try_send(job(0)).expect("room");
    match address.try_send(job(1)) {
        Err(SendError::Full(message)) => assert_eq!(message, job(1)),
        other => panic!("not full: {other:?}"),
    }
    let stats = mailbox.stats();
    assert_eq!((stats.accepted, stats.refused, stats.waiting), (1, 1, 1));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn a_coalescing_edge_merges_into_a_full_mailbox_and_waits_only_if_declared_so() {
    let mailbox = Mailbox::new("m", small(2), &manual());
    let address = mailbox.address("test", Overflow::CoalesceOrWait);
    let one = |market| Changes { market, count: 1 };
    address.try_send(one(1)).expect("room");
    address.try_send(one(2)).expect("room");
    for _ in 0..100 {
        assert_eq!(address.try_send(one(1)).expect("merged"), Sent::Coalesced);
    }
    assert_eq!(address.send(one(2)).await.expect("merged"), Sent::Coalesced);
    assert!(matches!(address.try_send(one(3)), Err(SendError::Full(Changes { market: 3, count: 1 }))));
    let never_waits = mailbox.address("test", Overflow::Coalesce);
    assert_eq!(never_waits.send(one(2)).await.expect("merged"), Sent::Coalesced);
    let refused = soon("it does not wait", never_waits.send(one(3))).await;
    assert!(matches!(refused, Err(SendError::Full(Changes { market: 3, count: 1 }))));
    let waiting = wait_in_line(&mailbox, &address, one(3)).await;
    assert_eq!((mailbox.stats().waiting, mailbox.stats().coalesced), (2, 102));

    let mut inbox = mailbox.open().expect("the only reader");
    assert_eq!(take(&mut inbox).await, Changes { market: 1, count: 101 });
    assert_eq!(take(&mut inbox).await, Changes { market: 2, count: 3 });
    assert_eq!(waiting.await.expect("joined").expect("accepted"), Sent::Queued);
    assert_eq!(take(&mut inbox).await, one(3));
    let stats = mailbox.stats();
    assert_eq!((stats.accepted, stats.handled, stats.coalesced, stats.high_water), (105, 3, 102, 2));
    assert_eq!(stats.refused, 2);
    assert!(stats.is_conserved());
}

/// A message that grows with each merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grows(usize);

impl Message for Grows {
    fn weight(&self) -> usize {
        self.0
    }

    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        self.0 += newer.0;
        Ok(())
    }
}

#[tokio::test]
async fn merges_that_grow_stay_within_the_byte_limit_and_one_merge() {
    // 2 messages or 100 bytes.
    let mailbox = Mailbox::new("m", Limits { bytes: 100, ..small(2) }, &manual());
    let address = mailbox.address("test", Overflow::Coalesce);
    let merged = (0..1_000).take_while(|_| address.try_send(Grows(30)).is_ok());
    // 3 fit, of which two are merged; one more merge goes beyond.
    assert_eq!(merged.count(), 4);
    assert_eq!((mailbox.stats().bytes, mailbox.stats().waiting), (120, 1));
    assert!(matches!(address.try_send(Grows(1)), Err(SendError::Full(Grows(1)))));
    let waits = mailbox.address("test", Overflow::CoalesceOrWait);
    let waiting = wait_in_line(&mailbox, &waits, Grows(1)).await;
    let mut inbox = mailbox.open().expect("the only reader");
    assert_eq!(take(&mut inbox).await.0, 120);
    assert_eq!(waiting.await.expect("joined").expect("accepted"), Sent::Queued);
    assert!(mailbox.stats().is_conserved());
}

#[tokio::test]
async fn messages_that_merge_do_so_at_once_however_few_wait() {
    for overflow in [Overflow::Coalesce, Overflow::CoalesceOrWait] {
        let mailbox = Mailbox::new("m", small(1_024), &manual());
        let address = mailbox.address("test", overflow);
        let one = |market| Changes { market, count: 1 };
        for round in 0..1_000 {
            for market in 0..2 {
                let expected = if round == 0 { Sent::Queued } else { Sent::Coalesced };
                assert_eq!(address.send(one(market)).await.expect("accepted"), expected);
            }
        }
        let mut inbox = mailbox.open().expect("the only reader");
        assert_eq!(take(&mut inbox).await, Changes { market: 0, count: 1_000 });
        assert_eq!(take(&mut inbox).await, Changes { market: 1, count: 1_000 });
        let stats = mailbox.stats();
        assert_eq!((stats.handled, stats.coalesced, stats.high_water), (2, 1_998, 2));
    }
}

#[tokio::test]
async fn an_edge_that_drops_the_oldest_drops_nothing_that_a_waiting_edge_has_handed_over() {
    let mailbox = Mailbox::new("m", small(3), &manual());
    let (waits, drops) = (mailbox.address("a", Overflow::Wait), mailbox.address("b", Overflow::DropOldest));
    waits.try_send(job(0)).expect("room");
    drops.try_send(job(1)).expect("room");
    waits.try_send(job(2)).expect("room");
    assert_eq!(drops.try_send(job(3)).expect("takes the place of its own"), Sent::Displaced(1));
    let mut inbox = mailbox.open().expect("the only reader");
    for number in [0, 2, 3] {
        assert_eq!(take(&mut inbox).await, job(number));
    }
    for number in 0..3 {
        waits.try_send(job(number)).expect("room");
    }
    assert!(matches!(drops.try_send(job(4)), Err(SendError::Full(message)) if message == job(4)));
    let stats = mailbox.stats();
    assert_eq!((stats.dropped, stats.refused, stats.waiting), (1, 1, 3));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn an_edge_that_drops_the_oldest_neither_overtakes_nor_starves_a_line_of_senders() {
    let mailbox = Mailbox::new("m", Limits { batch: 1, ..small(2) }, &manual());
    let (waits, drops) = (mailbox.address("a", Overflow::Wait), mailbox.address("b", Overflow::DropOldest));
    drops.try_send(job(100)).expect("room");
    waits.try_send(job(0)).expect("room");
    let in_line = wait_in_line(&mailbox, &waits, job(1)).await;
    let mut inbox = mailbox.open().expect("the only reader");
    assert_eq!(take(&mut inbox).await, job(100));
    // A place is free, and it is that of the sender in line, which has not run yet.
    assert!(matches!(drops.try_send(job(101)), Err(SendError::Full(_))));
    assert_eq!(in_line.await.expect("joined").expect("accepted"), Sent::Queued);
    assert_eq!((take(&mut inbox).await, take(&mut inbox).await), (job(0), job(1)));
    assert_eq!(drops.try_send(job(102)).expect("room"), Sent::Queued);
}

#[tokio::test]
async fn nothing_is_merged_into_a_message_that_has_failed() {
    let mailbox = Mailbox::new("m", small(1), &manual());
    let address = mailbox.address("test", Overflow::Coalesce);
    address.try_send(Changes { market: 1, count: 1 }).expect("room");
    let mut inbox = mailbox.open().expect("the only reader");
    drop(inbox.recv().await.expect("a message"));
    drop(inbox);
    assert!(matches!(address.try_send(Changes { market: 1, count: 1 }), Err(SendError::Full(_))));
    assert_eq!(mailbox.stats().coalesced, 0);
}

#[tokio::test]
async fn an_edge_that_drops_the_oldest_keeps_the_newest() {
    let mailbox = Mailbox::new("m", small(3), &manual());
    let address = mailbox.address("test", Overflow::DropOldest);
    for number in 0..3 {
        assert_eq!(address.try_send(job(number)).expect("room"), Sent::Queued);
    }
    for number in 3..10 {
        assert_eq!(address.send(job(number)).await.expect("made room"), Sent::Displaced(1));
    }
    let mut inbox = mailbox.open().expect("the only reader");
    let batch = inbox.recv_many().await.expect("messages");
    assert_eq!(batch.iter().map(|job| job.number).collect::<Vec<_>>(), [7, 8, 9]);
    batch.ack();
    let stats = mailbox.stats();
    assert_eq!((stats.accepted, stats.handled, stats.dropped, stats.high_water), (10, 3, 7, 3));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn bytes_are_bounded_as_well_as_messages() {
    let mailbox = Mailbox::new("m", Limits { bytes: 100, ..small(1_000) }, &manual());
    let parcel = |number, weight| Parcel { number, weight };
    let (wait, drops) =
        (mailbox.address("test", Overflow::Wait), mailbox.address("test", Overflow::DropOldest));
    drops.try_send(parcel(0, 60)).expect("room");
    drops.try_send(parcel(1, 40)).expect("exactly full");
    assert!(matches!(wait.try_send(parcel(2, 1)), Err(SendError::Full(_))));
    assert_eq!(mailbox.stats().bytes, 100);
    // 60 bytes are not enough room for 70: both go.
    let sent = drops.try_send(parcel(3, 70)).expect("made room");
    assert_eq!((sent, mailbox.stats().bytes), (Sent::Displaced(2), 70));
    let mut inbox = mailbox.open().expect("the only reader");
    assert_eq!(take(&mut inbox).await, parcel(3, 70));
    assert_eq!(mailbox.stats().bytes, 0);
}

#[tokio::test]
async fn a_message_that_could_never_fit_is_refused_at_once() {
    let mailbox = Mailbox::new("m", Limits { bytes: 100, ..small(1_000) }, &manual());
    for overflow in [Overflow::Wait, Overflow::Coalesce, Overflow::DropOldest] {
        let address = mailbox.address("test", overflow);
        match address.send(Parcel { number: 7, weight: 101 }).await {
            Err(SendError::TooLarge { message, weight: 101, limit: 100 }) => assert_eq!(message.number, 7),
            other => panic!("not too large: {other:?}"),
        }
    }
    assert_eq!((mailbox.stats().accepted, mailbox.stats().dropped), (0, 0));
}

#[tokio::test]
async fn waiting_senders_have_their_turn_in_the_order_of_their_coming() {
    let mailbox = Mailbox::new("m", Limits { batch: 1, ..small(1) }, &manual());
    let address = mailbox.address("test", Overflow::Wait);
    address.try_send(job(0)).expect("room");
    let mut waiting = Vec::new();
    for number in 1..20 {
        waiting.push(wait_in_line(&mailbox, &address, job(number)).await);
    }
    let mut inbox = mailbox.open().expect("the only reader");
    for number in 0..20 {
        // No later sender overtakes those in line, even while there is room.
        let lease = inbox.recv().await.expect("a message");
        if number < 19 {
            assert!(matches!(address.try_send(job(99)), Err(SendError::Full(_))), "an overtaker at {number}");
        }
        assert_eq!(lease.number, number);
        lease.ack();
    }
    for sender in waiting {
        assert_eq!(sender.await.expect("joined").expect("accepted"), Sent::Queued);
    }
    assert_eq!(mailbox.stats().waits, 19);
}

#[tokio::test]
async fn a_send_that_is_dropped_while_it_waits_passes_its_turn_on_and_loses_nothing_else() {
    let mailbox = Mailbox::new("m", small(1), &manual());
    let address = mailbox.address("test", Overflow::Wait);
    address.try_send(job(0)).expect("room");
    let first = wait_in_line(&mailbox, &address, job(1)).await;
    let second = wait_in_line(&mailbox, &address, job(2)).await;
    let third = wait_in_line(&mailbox, &address, job(3)).await;

    let mut inbox = mailbox.open().expect("the only reader");
    // The first sender gives up while it waits in line, the second after it was woken.
    first.abort();
    assert!(first.await.expect_err("aborted").is_cancelled());
    assert_eq!(take(&mut inbox).await, job(0));
    second.abort();
    assert!(second.await.expect_err("aborted").is_cancelled());

    assert_eq!(
        soon("the turn of the third", third).await.expect("joined").expect("the turn came"),
        Sent::Queued
    );
    assert_eq!(take(&mut inbox).await, job(3));
    let stats = mailbox.stats();
    assert_eq!((stats.accepted, stats.handled, stats.senders_waiting), (2, 2, 0));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn a_reader_returns_what_it_had_in_flight_in_order() {
    let mailbox = Mailbox::new("m", Limits { batch: 4, ..small(8) }, &manual());
    let address = mailbox.address("test", Overflow::Wait);
    for number in 0..8 {
        address.try_send(job(number)).expect("room");
    }
    let mut inbox = mailbox.open().expect("the only reader");
    assert!(mailbox.open().is_none(), "there is never a second reader");
    assert_eq!(take(&mut inbox).await, job(0));
    // The dropped lease has an attempt charged; the two behind it in the hand have not.
    drop(inbox.recv().await.expect("a message"));
    drop(inbox);
    assert_eq!((mailbox.stats().redelivered, mailbox.stats().waiting), (3, 7));

    let mut inbox = mailbox.open().expect("the first one is gone");
    for number in 1..8 {
        let lease = inbox.recv().await.expect("a message");
        assert_eq!((lease.number, lease.attempt()), (number, if number == 1 { 2 } else { 1 }));
        assert_eq!(lease.sequence(), number + 1);
        lease.ack();
    }
    assert!(mailbox.stats().is_conserved());
}

#[tokio::test]
async fn the_leases_of_a_batch_that_are_dropped_are_charged_one_after_the_other() {
    // 2 attempts.
    let mailbox = Mailbox::new("m", small(8), &manual());
    let address = mailbox.address("test", Overflow::Wait);
    for number in 0..3 {
        address.try_send(job(number)).expect("room");
    }
    let mut inbox = mailbox.open().expect("the only reader");
    let mut batch = inbox.recv_many().await.expect("messages");
    let mut seen = Vec::new();
    while let Some(lease) = batch.lease().filter(|_| seen.len() < 10) {
        seen.push((lease.number, lease.attempt()));
    }
    assert_eq!(seen, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
    assert!(batch.is_empty());
    assert_eq!((mailbox.stats().dead_lettered, mailbox.stats().in_flight), (3, 0));
}

#[tokio::test]
async fn returned_messages_may_exceed_the_capacity_by_one_batch_and_senders_wait() {
    let mailbox = Mailbox::new("m", Limits { batch: 4, ..small(4) }, &manual());
    let address = mailbox.address("test", Overflow::Wait);
    for number in 0..4 {
        address.try_send(job(number)).expect("room");
    }
    let mut inbox = mailbox.open().expect("the only reader");
    inbox.recv().await.expect("a message").nack();
    for number in 4..8 {
        address.try_send(job(number)).expect("room again");
    }
    drop(inbox);
    assert_eq!((mailbox.stats().waiting, mailbox.stats().capacity), (8, 4));
    let waiting = wait_in_line(&mailbox, &address, job(8)).await;
    let mut inbox = mailbox.open().expect("the first one is gone");
    for number in 0..9 {
        assert_eq!(take(&mut inbox).await, job(number));
    }
    waiting.await.expect("joined").expect("accepted");
    assert!(mailbox.stats().is_conserved());
}

#[tokio::test]
async fn a_dropped_receive_loses_nothing() {
    let mailbox = Mailbox::new("m", small(8), &manual());
    let address = mailbox.address("test", Overflow::Wait);
    let mut inbox = mailbox.open().expect("the only reader");
    for number in 0..100 {
        tokio::select! {
            biased;
            _ = inbox.recv() => panic!("there is nothing to receive"),
            () = std::future::ready(()) => {}
        }
        address.try_send(job(number)).expect("room");
        assert_eq!(take(&mut inbox).await, job(number));
    }
    assert_eq!(mailbox.stats().handled, 100);
}

#[tokio::test]
async fn a_reader_yields_even_when_its_mailbox_is_never_empty() {
    let mailbox = Mailbox::new("m", Limits { batch: 1, ..small(4) }, &manual());
    let address = mailbox.address("test", Overflow::Wait);
    let reader = tokio::spawn(async move {
        let mut inbox = mailbox.open().expect("the only reader");
        loop {
            address.try_send(job(0)).expect("room");
            inbox.recv().await.expect("a message").ack();
        }
    });
    // On this one thread, nothing else would ever run.
    tokio::task::yield_now().await;
    reader.abort();
    assert!(reader.await.expect_err("aborted").is_cancelled());
}

#[tokio::test]
async fn a_sender_yields_even_when_it_never_has_to_wait() {
    let mailbox = Mailbox::new("m", small(4), &manual());
    let address = mailbox.address("test", Overflow::DropOldest);
    let sender = tokio::spawn(async move {
        loop {
            address.send(job(0)).await.expect("accepted");
        }
    });
    // On this one thread, nothing else would ever run.
    tokio::task::yield_now().await;
    sender.abort();
    assert!(sender.await.expect_err("aborted").is_cancelled());
    assert!(mailbox.stats().is_conserved() && mailbox.stats().dropped > 0);
}

#[tokio::test]
async fn dead_letters_are_bounded_and_the_evicted_are_counted() {
    let limits = Limits { dead_letters: 3, bytes: 100, ..small(100) };
    let mailbox = Mailbox::new("m", limits, &manual());
    let address = mailbox.address("test", Overflow::Wait);
    let mut inbox = mailbox.open().expect("the only reader");
    for number in 0..10 {
        address.try_send(Parcel { number, weight: 1 }).expect("room");
        inbox.recv().await.expect("a message").dead_letter("no use");
    }
    let stats = mailbox.stats();
    assert_eq!((stats.dead_lettered, stats.letters_evicted), (10, 7));
    // Bytes are bounded too: two letters of 60 do not fit.
    for number in 10..12 {
        address.try_send(Parcel { number, weight: 60 }).expect("room");
        inbox.recv().await.expect("a message").dead_letter("no use");
    }
    let stats = mailbox.stats();
    assert_eq!((stats.dead_lettered, stats.letters_evicted, stats.handled), (12, 11, 0));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn a_mailbox_without_an_owner_is_closed_for_its_senders() {
    let mailbox = Mailbox::new("m", small(1), &manual());
    let (address, view) = (mailbox.address("test", Overflow::Wait), mailbox.view());
    address.try_send(job(0)).expect("room");
    let waiting = wait_in_line(&mailbox, &address, job(1)).await;
    drop(mailbox);
    let sent = soon("a sender in line learns it", waiting).await.expect("joined");
    assert!(matches!(sent, Err(SendError::Closed(message)) if message == job(1)));
    assert!(matches!(address.send(job(2)).await, Err(SendError::Closed(message)) if message == job(2)));
    assert!(matches!(address.try_send(job(2)), Err(SendError::Closed(_))));
    // What it had accepted is still shown, and so is that nothing was lost.
    assert_eq!((view.stats().waiting, view.stats().senders_waiting), (1, 0));
    assert!(view.stats().is_conserved());
}

#[tokio::test]
async fn a_reader_outside_of_a_tree_empties_a_mailbox_whose_owner_is_gone() {
    let mailbox = Mailbox::new("m", small(8), &manual());
    let address = mailbox.address("test", Overflow::Wait);
    let mut inbox = mailbox.open().expect("the only reader");
    address.try_send(job(0)).expect("room");
    drop(mailbox);
    assert_eq!(take(&mut inbox).await, job(0));
    assert!(soon("the end", inbox.recv()).await.is_none());
}

/// The ways in which a child comes to nothing.
#[tokio::test]
async fn the_mailbox_of_a_child_that_is_refused_or_dropped_is_closed_for_its_senders() {
    let mailbox = |name: &str| {
        let mailbox = Mailbox::new(name, small(8), &manual());
        let address = mailbox.address("test", Overflow::Wait);
        (calm(mailbox), address)
    };
    let is_closed = |address: &Address<Job>| matches!(address.try_send(job(0)), Err(SendError::Closed(_)));

    let (child, address) = mailbox("child");
    assert!(!is_closed(&address));
    drop(child);
    assert!(is_closed(&address), "its description was dropped");

    let ((one, to_one), (two, to_two)) = (mailbox("same"), mailbox("same"));
    assert!(Tree::start(vec![one, two], TreeOptions::default()).await.is_err());
    assert!(is_closed(&to_one) && is_closed(&to_two), "its tree did not start");

    let ((present, to_present), (added, to_added)) = (mailbox("child"), mailbox("child"));
    let tree = start(&manual(), vec![present]).await;
    assert!(tree.add_child("root", added).is_err());
    assert!(is_closed(&to_added), "its name was taken");
    assert!(!is_closed(&to_present), "the reader of this one is another actor");

    drop(tree);
    assert!(is_closed(&to_present), "its tree was dropped");
}

/// One step of the random run of a mailbox.
#[derive(Clone, Debug)]
enum Step {
    Send {
        edge: usize,
        weight: usize,
    },
    Ack,
    Nack,
    DeadLetter,
    /// Drops the lease without an answer, of a single message or in a batch.
    Drop,
    DropFirstOfBatch,
    AckBatch,
    AckFirstOfBatch,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..2, 1_usize..40).prop_map(|(edge, weight)| Step::Send { edge, weight }),
        3 => Just(Step::Ack),
        1 => Just(Step::Nack),
        1 => Just(Step::DeadLetter),
        2 => Just(Step::Drop),
        1 => Just(Step::DropFirstOfBatch),
        1 => Just(Step::AckBatch),
        1 => Just(Step::AckFirstOfBatch),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// 2 attempts; the mailbox holds 5 messages or 100 bytes; 3 may be in flight.
    #[test]
    fn at_every_moment_each_message_is_in_exactly_one_place(steps in proptest::collection::vec(step(), 1..200)) {
        let limits = Limits { capacity: 5, bytes: 100, batch: 3, max_attempts: 2, dead_letters: 4 };
        let mailbox = Mailbox::new("m", limits, &manual());
        let edges = [Overflow::Wait, Overflow::DropOldest].map(|overflow| mailbox.address("test", overflow));
        let mut inbox = mailbox.open().expect("the only reader");
        // The reference of a mailbox: the waiting messages and those in flight, with their attempts.
        let mut waiting: VecDeque<(Parcel, u32)> = VecDeque::new();
        let mut hand: VecDeque<(Parcel, u32)> = VecDeque::new();
        let mut droppable = BTreeSet::new();
        let mut letters: VecDeque<usize> = VecDeque::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (mut accepted, mut handled, mut dead, mut dropped, mut refused) = (0, 0, 0, 0, 0);
        // The first message in flight was dropped without an answer, and is charged when the reader goes on.
        let mut unanswered = false;
        for step in steps {
            let takes = !matches!(step, Step::Send { .. } | Step::Reopen);
            if !matches!(step, Step::Send { .. }) && std::mem::take(&mut unanswered) {
                let (parcel, attempts) = hand.pop_front().expect("the one that was dropped");
                if attempts + 1 == limits.max_attempts {
                    dead += 1;
                    letters.push_back(parcel.weight);
                } else {
                    hand.push_front((parcel, attempts + 1));
                }
            }
            if takes && hand.is_empty() {
                if waiting.is_empty() {
                    prop_assert!(inbox.try_recv().is_none());
                    continue;
                }
                hand.extend(waiting.drain(..waiting.len().min(limits.batch)));
            }
            match step {
                Step::Send { edge, weight } => {
                    let parcel = Parcel { number: accepted + refused, weight };
                    let mut displaced = 0;
                    let before = waiting.clone();
                    let full = |waiting: &VecDeque<(Parcel, u32)>| {
                        let bytes: usize = waiting.iter().map(|(parcel, _)| parcel.weight).sum();
                        waiting.len() >= limits.capacity || bytes + weight > limits.bytes
                    };
                    if edge == 1 {
                        // Only what came by the edge that drops may go for it, the oldest first.
                        let is_droppable = |(parcel, _): &(Parcel, u32)| droppable.contains(&parcel.number);
                        while full(&waiting) && let Some(at) = waiting.iter().position(is_droppable) {
                            waiting.remove(at);
                            displaced += 1;
                        }
                        // Where that is not enough, nothing goes.
                        if full(&waiting) {
                            (waiting, displaced) = (before, 0);
                        } else {
                            droppable.insert(parcel.number);
                        }
                    }
                    match edges[edge].try_send(parcel.clone()) {
                        Ok(sent) => {
                            prop_assert!(!full(&waiting));
                            prop_assert_eq!(sent, if displaced > 0 { Sent::Displaced(displaced) } else { Sent::Queued });
                            waiting.push_back((parcel, 0));
                            accepted += 1;
                        }
                        Err(error) => {
                            prop_assert!(full(&waiting) && matches!(error, SendError::Full(_)));
                            refused += 1;
                        }
                    }
                    dropped += displaced as u64;
                }
                Step::Reopen => {
                    drop(inbox);
                    while let Some(entry) = hand.pop_back() {
                        waiting.push_front(entry);
                    }
                    inbox = mailbox.open().expect("the first one is gone");
                }
                Step::AckBatch => {
                    inbox.try_recv().expect("a message").nack();
                    let batch = runtime.block_on(inbox.recv_many()).expect("messages");
                    let found: Vec<_> = batch.iter().cloned().collect();
                    let expected: Vec<_> = hand.drain(..).map(|(parcel, _)| parcel).collect();
                    prop_assert_eq!(&found, &expected);
                    batch.ack();
                    handled += expected.len() as u64;
                }
                Step::AckFirstOfBatch | Step::DropFirstOfBatch => {
                    inbox.try_recv().expect("a message").nack();
                    let mut batch = runtime.block_on(inbox.recv_many()).expect("messages");
                    prop_assert_eq!(batch.len(), hand.len());
                    let lease = batch.lease().expect("a message");
                    let (parcel, attempts) = hand.front().expect("filled above");
                    prop_assert_eq!((&*lease, lease.attempt()), (parcel, attempts + 1));
                    if matches!(step, Step::AckFirstOfBatch) {
                        lease.ack();
                        hand.pop_front();
                        handled += 1;
                    } else {
                        drop(lease);
                        unanswered = true;
                    }
                }
                Step::Ack | Step::Nack | Step::DeadLetter | Step::Drop => {
                    let lease = inbox.try_recv().expect("a message");
                    let (parcel, attempts) = hand.front().expect("filled above");
                    prop_assert_eq!((&*lease, lease.attempt()), (parcel, attempts + 1));
                    match step {
                        Step::Ack => {
                            lease.ack();
                            hand.pop_front();
                            handled += 1;
                        }
                        Step::Nack => lease.nack(),
                        Step::DeadLetter => {
                            lease.dead_letter("no use");
                            dead += 1;
                            letters.extend(hand.pop_front().map(|(parcel, _)| parcel.weight));
                        }
                        _ => {
                            drop(lease);
                            unanswered = true;
                        }
                    }
                }
            }
            let stats = mailbox.stats();
            prop_assert!(stats.is_conserved(), "{:?}", stats);
            prop_assert_eq!(stats.bytes, waiting.iter().map(|(parcel, _)| parcel.weight as u64).sum::<u64>());
            prop_assert_eq!(
                (stats.accepted, stats.waiting, stats.in_flight, stats.handled, stats.dead_lettered, stats.dropped, stats.refused),
                (accepted, waiting.len() as u64, hand.len() as u64, handled, dead, dropped, refused)
            );
            prop_assert!(stats.waiting as usize <= limits.capacity + limits.batch);
            while letters.len() > limits.dead_letters || letters.iter().sum::<usize>() > limits.bytes {
                letters.pop_front();
            }
            prop_assert_eq!(stats.letters_evicted, dead - letters.len() as u64);
        }
    }
}

/// A mailbox does not depend on the wall clock.
#[test]
fn a_message_may_wait_for_years() {
    let clock = manual();
    let mailbox = Mailbox::new("m", attempts(1), &clock);
    mailbox.address("test", Overflow::Wait).try_send(Job { sender: 0, number: 1 }).expect("room");
    clock.advance(Duration::from_secs(400 * 24 * 3_600));
    let mut inbox = mailbox.open().expect("the only reader");
    assert_eq!(inbox.try_recv().expect("it is still there").number, 1);
}

#[tokio::test]
async fn a_batch_is_empty_once_all_its_messages_are_answered() {
    let mailbox = Mailbox::new("m", small(8), &manual());
    let address = mailbox.address("test", Overflow::Wait);
    for number in 0..2 {
        address.try_send(job(number)).expect("room");
    }
    let mut inbox = mailbox.open().expect("the only one");
    let mut batch = inbox.recv_many().await.expect("a batch");
    for left in [2, 1] {
        assert_eq!((batch.len(), batch.is_empty(), batch.iter().count()), (left, false, left));
        batch.lease().expect("one is left").ack();
    }
    assert!(batch.is_empty() && batch.lease().is_none());
}
