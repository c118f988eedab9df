//! The hand-over of messages from senders to the reader of a mailbox: with one and two places, and with senders that wait, do not
//! wait, drop the oldest or give up.
//!
//! Without a bound: one sender and the reader (226 and 7,584 executions), the first of the line that gives up (118,000), and two
//! places for two of the line (23,000). The others with up to three interruptions, 1,500 to 91,000 executions.

use std::{
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use loom::thread;

use super::{explore, poll_once};
use crate::{Clock, Inbox, Limits, Mailbox, MailboxView, Message, Overflow, SendError, Sent, sync::block_on};

/// A message: the `number` of sender `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(super) struct Mail {
    pub(super) from: u8,
    pub(super) number: u8,
}

/// The sender whose messages can be merged.
const MERGING: u8 = 9;
/// The sender whose messages weigh two bytes; others weigh one.
const HEAVY: u8 = 8;

impl Message for Mail {
    fn weight(&self) -> usize {
        if self.from == HEAVY { 2 } else { 1 }
    }

    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        if self.from != MERGING || newer.from != MERGING {
            return Err(newer);
        }
        self.number = newer.number;
        Ok(())
    }
}

pub(super) fn mail(from: u8, number: u8) -> Mail {
    Mail { from, number }
}

pub(super) type Address = crate::Address<Mail>;

/// A mailbox whose messages become dead letters at their first failure.
pub(super) fn mailbox(capacity: usize, batch: usize) -> Mailbox<Mail> {
    let limits = Limits { capacity, batch, max_attempts: 1, ..Limits::default() };
    Mailbox::new("reader", limits, &Clock::manual(Duration::ZERO))
}

/// A send that can be polled on several threads.
pub(super) type Sending = Pin<Box<dyn Future<Output = Result<Sent, SendError<Mail>>>>>;

pub(super) fn sending(address: &Address, mail: Mail) -> Sending {
    let address = address.clone();
    Box::pin(async move { address.send(mail).await })
}

/// A send that waits in line.
pub(super) fn waiting(address: &Address, mail: Mail) -> Sending {
    let mut sending = sending(address, mail);
    assert!(poll_once(sending.as_mut()).is_pending());
    sending
}

/// A thread that waits for room.
pub(super) fn waiter(sending: Sending) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        block_on(sending).unwrap();
    })
}

/// A thread that sends the messages 0 to `count`, and waits for room.
pub(super) fn sender(address: &Address, from: u8, count: u8) -> thread::JoinHandle<()> {
    let address = address.clone();
    thread::spawn(move || {
        for number in 0..count {
            block_on(address.send(mail(from, number))).unwrap();
        }
    })
}

/// Takes `count` messages, one by one, and acknowledges them.
pub(super) fn receive(inbox: &mut Inbox<Mail>, count: usize) -> Vec<Mail> {
    let mut received = Vec::new();
    for _ in 0..count {
        let lease = block_on(inbox.recv()).expect("an open mailbox");
        received.push(*lease);
        lease.ack();
    }
    received
}

/// No message twice, and those of each sender in their order.
pub(super) fn assert_ordered(received: &[Mail]) {
    for (at, mail) in received.iter().enumerate() {
        let earlier = received[..at].iter().rfind(|earlier| earlier.from == mail.from);
        assert!(earlier.is_none_or(|earlier| earlier.number < mail.number), "{received:?}");
    }
}

/// What the counts promise at every moment.
pub(super) fn observe(view: &MailboxView, batch: u64) {
    let stats = view.stats();
    assert!(stats.is_conserved(), "{stats:?}");
    assert!(stats.waiting <= stats.capacity && stats.in_flight <= batch, "{stats:?}");
}

/// All that was accepted has been acknowledged.
pub(super) fn assert_all_handled(view: &MailboxView, handled: u64) {
    let stats = view.stats();
    assert_eq!((stats.accepted, stats.handled, stats.waiting, stats.in_flight), (handled, handled, 0, 0));
    assert_eq!(stats.senders_waiting, 0);
}

#[test]
fn two_senders_that_wait_for_one_place_hand_over_everything() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let senders = [0, 1].map(|from| sender(&address, from, 2));
        let mut inbox = mailbox.open().unwrap();
        let received = receive(&mut inbox, 4);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_ordered(&received);
        assert_all_handled(&mailbox.view(), 4);
    });
}

#[test]
fn two_senders_that_wait_for_two_places_hand_over_everything_in_batches() {
    explore(Some(3), || {
        let mailbox = mailbox(2, 2);
        let address = mailbox.address("sender", Overflow::Wait);
        let senders = [0, 1].map(|from| sender(&address, from, 2));
        let mut inbox = mailbox.open().unwrap();
        let mut received = Vec::new();
        while received.len() < 4 {
            let batch = block_on(inbox.recv_many()).unwrap();
            received.extend(batch.iter());
            batch.ack();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_ordered(&received);
        assert_all_handled(&mailbox.view(), 4);
    });
}

#[test]
fn one_that_does_not_wait_overtakes_no_message_of_its_own() {
    explore(None, || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let trying = {
            let address = address.clone();
            thread::spawn(move || (0..3).filter(|&number| address.try_send(mail(0, number)).is_ok()).count())
        };
        // The first one is always accepted.
        let mut inbox = mailbox.open().unwrap();
        let mut received = receive(&mut inbox, 1);
        let accepted = trying.join().unwrap();
        received.extend(receive(&mut inbox, accepted - 1));
        assert_ordered(&received);
        assert_all_handled(&mailbox.view(), accepted as u64);
        assert_eq!(mailbox.stats().refused, 3 - accepted as u64);
    });
}

#[test]
fn the_counts_add_up_whenever_they_are_read() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let sender = sender(&address, 0, 2);
        let (view, trying) = (mailbox.view(), address.clone());
        let observer = thread::spawn(move || {
            observe(&view, 1);
            let accepted = trying.try_send(mail(1, 0)).is_ok();
            observe(&view, 1);
            accepted
        });
        let mut inbox = mailbox.open().unwrap();
        let mut received = receive(&mut inbox, 2);
        let accepted = observer.join().unwrap();
        received.extend(receive(&mut inbox, usize::from(accepted)));
        sender.join().unwrap();
        assert_ordered(&received);
        assert_all_handled(&mailbox.view(), received.len() as u64);
    });
}

/// One of a line gives up at each moment of its wait; those behind it and before it are not kept waiting.
fn one_of_a_line_gives_up(is_first: bool, preemptions: Option<usize>) {
    explore(preemptions, move || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let mut inbox = mailbox.open().unwrap();
        address.try_send(mail(0, 0)).unwrap();
        let lines = [mail(1, 0), mail(2, 0)].map(|mail| waiting(&address, mail));
        let [first, second] = lines;
        let (mut giving_up, staying) = if is_first { (first, second) } else { (second, first) };
        let giving_up = thread::spawn(move || {
            let sent = poll_once(giving_up.as_mut());
            drop(giving_up);
            sent.is_ready()
        });
        let staying = waiter(staying);
        let mut received = receive(&mut inbox, 2);
        staying.join().unwrap();
        if giving_up.join().unwrap() {
            received.extend(receive(&mut inbox, 1));
        }
        assert_ordered(&received);
        assert_all_handled(&mailbox.view(), received.len() as u64);
    });
}

#[test]
fn the_first_of_the_line_can_give_up_at_each_moment() {
    one_of_a_line_gives_up(true, None);
}

#[test]
fn the_second_of_the_line_can_give_up_at_each_moment() {
    one_of_a_line_gives_up(false, Some(3));
}

#[test]
fn two_places_that_become_free_at_once_are_given_to_two_of_the_line() {
    explore(None, || {
        let mailbox = mailbox(2, 2);
        let address = mailbox.address("sender", Overflow::Wait);
        let mut inbox = mailbox.open().unwrap();
        for number in 0..2 {
            address.try_send(mail(0, number)).unwrap();
        }
        let lines = [mail(1, 0), mail(2, 0)].map(|mail| waiting(&address, mail));
        let lines = lines.map(waiter);
        // The only time that the reader makes room.
        let batch = block_on(inbox.recv_many()).unwrap();
        assert_eq!(batch.len(), 2);
        batch.ack();
        lines.into_iter().for_each(|sending| sending.join().unwrap());
        receive(&mut inbox, 2);
        assert_all_handled(&mailbox.view(), 4);
    });
}

#[test]
fn room_that_a_merged_message_does_not_need_is_given_to_the_next_of_the_line() {
    explore(Some(3), || {
        let mailbox = mailbox(2, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let merging = mailbox.address("merging", Overflow::CoalesceOrWait);
        let mut inbox = mailbox.open().unwrap();
        for number in 0..2 {
            address.try_send(mail(0, number)).unwrap();
        }
        let first = [0, 1].map(|number| waiting(&merging, mail(MERGING, number)));
        let last = waiting(&address, mail(1, 0));
        let line = first.into_iter().chain([last]).map(waiter).collect::<Vec<_>>();
        // Makes room for two. The second is merged into the first, or the other way round.
        receive(&mut inbox, 2);
        line.into_iter().for_each(|sending| sending.join().unwrap());
        let received = receive(&mut inbox, 2);
        assert!(received.contains(&mail(1, 0)), "{received:?}");
        let stats = mailbox.stats();
        assert_eq!((stats.accepted, stats.handled, stats.coalesced), (5, 4, 1));
    });
}

#[test]
fn the_line_is_not_overtaken() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let mut inbox = mailbox.open().unwrap();
        address.try_send(mail(0, 0)).unwrap();
        let first = waiting(&address, mail(1, 0));
        let first = waiter(first);
        let (later, trying) = (sender(&address, 2, 1), address.clone());
        let trying = thread::spawn(move || trying.try_send(mail(3, 0)).is_ok());
        let mut received = receive(&mut inbox, 3);
        if trying.join().unwrap() {
            received.extend(receive(&mut inbox, 1));
        }
        first.join().unwrap();
        later.join().unwrap();
        assert_eq!(received[..2], [mail(0, 0), mail(1, 0)]);
        assert_all_handled(&mailbox.view(), received.len() as u64);
    });
}

#[test]
fn a_heavy_message_is_not_overtaken_by_light_ones_that_would_fit() {
    explore(Some(3), || {
        let limits = Limits { capacity: 4, bytes: 2, batch: 1, ..Limits::default() };
        let mailbox = Mailbox::new("reader", limits, &Clock::manual(Duration::ZERO));
        let address = mailbox.address("sender", Overflow::Wait);
        let mut inbox = mailbox.open().unwrap();
        for number in 0..2 {
            address.try_send(mail(0, number)).unwrap();
        }
        let heavy = waiter(waiting(&address, mail(HEAVY, 0)));
        let (later, trying) = (sender(&address, 1, 1), address.clone());
        let trying = thread::spawn(move || trying.try_send(mail(2, 0)).is_ok());
        // After the first, there is room for a light one.
        let mut received = receive(&mut inbox, 4);
        if trying.join().unwrap() {
            received.extend(receive(&mut inbox, 1));
        }
        heavy.join().unwrap();
        later.join().unwrap();
        assert_eq!(received[..3], [mail(0, 0), mail(0, 1), mail(HEAVY, 0)]);
        assert_all_handled(&mailbox.view(), received.len() as u64);
    });
}

#[test]
fn an_edge_that_drops_the_oldest_drops_nothing_of_an_edge_that_waits() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let dropping = mailbox.address("ticker", Overflow::DropOldest);
        let mut inbox = mailbox.open().unwrap();
        dropping.try_send(mail(1, 0)).unwrap();
        let sending = waiting(&address, mail(0, 0));
        let sending = waiter(sending);
        let ticking = thread::spawn(move || {
            (1..3).filter(|&number| dropping.try_send(mail(1, number)).is_ok()).count();
        });
        let mut received = Vec::new();
        while !received.contains(&mail(0, 0)) {
            received.extend(receive(&mut inbox, 1));
        }
        sending.join().unwrap();
        ticking.join().unwrap();
        while let Some(lease) = inbox.try_recv() {
            received.push(*lease);
            lease.ack();
        }
        assert_ordered(&received);
        let stats = mailbox.stats();
        assert_eq!(stats.handled, received.len() as u64);
        assert_eq!(stats.accepted, stats.handled + stats.dropped);
    });
}

#[test]
fn a_wait_for_a_message_can_be_dropped_and_begun_again() {
    explore(None, || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let sender = sender(&address, 0, 2);
        let mut inbox = mailbox.open().unwrap();
        let mut received = Vec::new();
        while received.len() < 2 {
            if let Poll::Ready(Some(lease)) = poll_once(pin!(inbox.recv())) {
                received.push(*lease);
                lease.ack();
                continue;
            }
            received.extend(receive(&mut inbox, 1));
        }
        sender.join().unwrap();
        assert_eq!(received, [mail(0, 0), mail(0, 1)]);
        assert_all_handled(&mailbox.view(), 2);
    });
}
