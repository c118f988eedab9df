//! What a mailbox does when its reader ends, is replaced or is stopped, when it is closed, and when dead letters are replayed.
//!
//! Two threads without a bound (6 to 86 executions), the two replays of one letter with up to two interruptions (25,000). The others
//! with up to three: 2,000 to 247,000 executions.

use std::sync::Arc;

use loom::thread;

use super::{
    Alone, explore,
    mailbox::{
        Mail, assert_all_handled, assert_ordered, mail, mailbox, observe, receive, sender, sending, waiter,
        waiting,
    },
};
use crate::{
    Inbox, Mailbox, Overflow, SendError,
    clock::Clock,
    current::Identity,
    env::Env,
    gate::Gate,
    mailbox::Reader,
    progress::Progress,
    sync::{CancellationToken, block_on},
};

/// Takes and acknowledges messages until there will be none.
fn drain(inbox: &mut Inbox<Mail>) -> Vec<Mail> {
    let mut received = Vec::new();
    while let Some(lease) = block_on(inbox.recv()) {
        received.push(*lease);
        lease.ack();
    }
    received
}

/// A thread that sends until it is refused, at most the messages 0 to `count`; returns how many were accepted.
fn sender_until_closed(address: &super::mailbox::Address, from: u8, count: u8) -> thread::JoinHandle<usize> {
    let address = address.clone();
    thread::spawn(move || {
        for number in 0..count {
            match block_on(address.send(mail(from, number))) {
                Ok(_) => {}
                Err(SendError::Closed(returned)) => {
                    assert_eq!(returned, mail(from, number));
                    return usize::from(number);
                }
                Err(error) => panic!("{error}"),
            }
        }
        usize::from(count)
    })
}

#[test]
fn messages_in_flight_return_in_order_to_the_next_incarnation() {
    explore(Some(3), || {
        let mailbox = Arc::new(mailbox(3, 3));
        let address = mailbox.address("sender", Overflow::Wait);
        let sender = sender(&address, 0, 3);
        let gate = Arc::<Gate>::default();
        let handled = Arc::<std::sync::Mutex<Vec<u8>>>::default();
        // Acknowledges one message, and ends with what else it has in flight.
        let incarnation = {
            let (mailbox, gate, handled) = (mailbox.clone(), gate.clone(), handled.clone());
            move || {
                let pass = block_on(gate.enter());
                let mut inbox = mailbox.open().expect("the only reader");
                let mut batch = block_on(inbox.recv_many()).unwrap();
                let lease = batch.lease().unwrap();
                assert_eq!(lease.attempt(), 1);
                handled.lock().unwrap().push(lease.number);
                lease.ack();
                drop(inbox);
                drop(pass);
            }
        };
        let first = thread::spawn(incarnation.clone());
        incarnation();
        first.join().unwrap();
        incarnation();
        sender.join().unwrap();
        assert_eq!(*handled.lock().unwrap(), [0, 1, 2]);
        assert_all_handled(&mailbox.view(), 3);
    });
}

#[test]
fn a_mailbox_has_one_reader_at_a_time() {
    explore(None, || {
        let (mailbox, alone) = (Arc::new(mailbox(1, 1)), Arc::<Alone>::default());
        let reader = {
            let (mailbox, alone) = (mailbox.clone(), alone.clone());
            move || {
                for _ in 0..2 {
                    if let Some(inbox) = mailbox.open() {
                        alone.step();
                        drop(inbox);
                    }
                }
            }
        };
        let other = thread::spawn(reader.clone());
        reader();
        other.join().unwrap();
        assert!(mailbox.open().is_some());
    });
}

#[test]
fn a_message_that_returns_takes_no_room_that_was_granted() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let mut inbox = mailbox.open().unwrap();
        address.try_send(mail(0, 0)).unwrap();
        let line = [mail(1, 0), mail(2, 0)].map(|mail| waiter(waiting(&address, mail)));
        block_on(inbox.recv()).unwrap().nack();
        drop(inbox);
        let mut inbox = mailbox.open().unwrap();
        let received = receive(&mut inbox, 3);
        line.into_iter().for_each(|sending| sending.join().unwrap());
        assert_eq!(received, [mail(0, 0), mail(1, 0), mail(2, 0)]);
        assert_all_handled(&mailbox.view(), 3);
    });
}

#[test]
fn the_counts_add_up_while_a_reader_is_replaced() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let sender = sender(&address, 0, 2);
        let view = mailbox.view();
        let observer = thread::spawn(move || {
            for _ in 0..2 {
                let stats = view.stats();
                assert!(stats.is_conserved(), "{stats:?}");
                // What returned may exceed the capacity.
                assert!(stats.waiting <= 2 && stats.in_flight <= 1, "{stats:?}");
            }
        });
        let mut inbox = mailbox.open().unwrap();
        block_on(inbox.recv()).unwrap().nack();
        drop(inbox);
        let mut inbox = mailbox.open().unwrap();
        let received = receive(&mut inbox, 2);
        sender.join().unwrap();
        observer.join().unwrap();
        assert_eq!(received, [mail(0, 0), mail(0, 1)]);
        assert_all_handled(&mailbox.view(), 2);
        assert_eq!(mailbox.stats().redelivered, 1);
    });
}

#[test]
fn a_close_ends_every_wait_and_loses_nothing_that_was_accepted() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let senders = [(0, 2), (1, 1)].map(|(from, count)| sender_until_closed(&address, from, count));
        let any = mailbox.any();
        let closer = thread::spawn(move || any.close());
        let mut inbox = mailbox.open().unwrap();
        let received = drain(&mut inbox);
        closer.join().unwrap();
        let accepted: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert_eq!(received.len(), accepted);
        assert_ordered(&received);
        assert_all_handled(&mailbox.view(), accepted as u64);
    });
}

#[test]
fn a_mailbox_that_is_closed_and_opened_again_keeps_nobody_waiting() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let sender = sender_until_closed(&address, 0, 3);
        let (any, reopened) = (mailbox.any(), CancellationToken::new());
        let seen = reopened.clone();
        let closer = thread::spawn(move || {
            any.close();
            any.reopen();
            reopened.cancel();
            let accepted = sender.join().unwrap();
            // For good.
            any.close();
            accepted
        });
        let mut inbox = mailbox.open().unwrap();
        let mut received = drain(&mut inbox);
        block_on(seen.cancelled());
        received.extend(drain(&mut inbox));
        let accepted = closer.join().unwrap();
        assert_ordered(&received);
        assert_eq!(received.len(), accepted);
        assert_all_handled(&mailbox.view(), accepted as u64);
    });
}

#[test]
fn a_dead_letter_is_replayed_once_or_stays() {
    explore(Some(2), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        address.try_send(mail(0, 0)).unwrap();
        let mut inbox = mailbox.open().unwrap();
        let lease = block_on(inbox.recv()).unwrap();
        let sequence = lease.sequence();
        lease.dead_letter("a test");
        let sender = sender(&address, 1, 1);
        // Two operators want the same.
        let operators = [0, 1].map(|_| {
            let (any, view) = (mailbox.any(), mailbox.view());
            thread::spawn(move || {
                let replayed = any.replay(sequence);
                observe(&view, 1);
                replayed
            })
        });
        let mut received = receive(&mut inbox, 1);
        let replayed = operators.map(|operator| operator.join().unwrap());
        let replayed = replayed.into_iter().filter(|&replayed| replayed).count();
        assert!(replayed <= 1);
        received.extend(receive(&mut inbox, replayed));
        sender.join().unwrap();
        assert_ordered(&received);
        assert_eq!(received.contains(&mail(0, 0)), replayed == 1);
        let stats = mailbox.stats();
        assert_eq!((stats.handled, stats.dead_lettered), (1 + replayed as u64, 1));
        assert!(stats.is_conserved() && stats.waiting == 0, "{stats:?}");
        assert_eq!(mailbox.view().dead_letters().len(), 1 - replayed);
    });
}

#[test]
fn a_replay_wakes_the_reader() {
    explore(None, || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        address.try_send(mail(0, 0)).unwrap();
        let mut inbox = mailbox.open().unwrap();
        let lease = block_on(inbox.recv()).unwrap();
        let sequence = lease.sequence();
        lease.dead_letter("a test");
        let any = mailbox.any();
        let operator = thread::spawn(move || assert!(any.replay(sequence)));
        assert_eq!(receive(&mut inbox, 1), [mail(0, 0)]);
        operator.join().unwrap();
        observe(&mailbox.view(), 1);
    });
}

/// The reading end for an incarnation in a tree, and what stops it.
fn incarnation(mailbox: &Mailbox<Mail>, env: &Arc<Env>) -> (Inbox<Mail>, CancellationToken) {
    let stop = CancellationToken::new();
    let progress = Arc::new(Progress::new(&env.pulse));
    let actor = Arc::new(Identity { path: "reader".into(), progress, env: env.clone() });
    let inbox = mailbox.open_for(Reader { actor, stop: stop.clone() }).expect("the only reader");
    (inbox, stop)
}

fn env() -> Arc<Env> {
    Env::new(Clock::manual(std::time::Duration::ZERO), 1, 0)
}

#[test]
fn an_actor_that_is_stopped_for_good_handles_what_was_accepted() {
    explore(Some(3), || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let (mut inbox, stop) = incarnation(&mailbox, &env());
        let sender = sender_until_closed(&address, 0, 2);
        let any = mailbox.any();
        let stopper = thread::spawn(move || {
            any.close();
            stop.cancel();
        });
        let received = drain(&mut inbox);
        stopper.join().unwrap();
        let accepted = sender.join().unwrap();
        assert_eq!(received.len(), accepted);
        assert_all_handled(&mailbox.view(), accepted as u64);
    });
}

#[test]
fn an_actor_that_is_restarted_leaves_the_rest_to_its_next_incarnation() {
    explore(Some(3), || {
        let (mailbox, env) = (mailbox(1, 1), env());
        let address = mailbox.address("sender", Overflow::Wait);
        let (mut inbox, stop) = incarnation(&mailbox, &env);
        let sender = sender(&address, 0, 2);
        let stopper = thread::spawn(move || stop.cancel());
        let mut received = drain(&mut inbox);
        drop(inbox);
        let (mut inbox, _stop) = incarnation(&mailbox, &env);
        received.extend(receive(&mut inbox, 2 - received.len()));
        stopper.join().unwrap();
        sender.join().unwrap();
        assert_eq!(received, [mail(0, 0), mail(0, 1)]);
        assert_all_handled(&mailbox.view(), 2);
    });
}

#[test]
fn a_mailbox_without_an_owner_keeps_no_sender_waiting() {
    explore(None, || {
        let mailbox = mailbox(1, 1);
        let address = mailbox.address("sender", Overflow::Wait);
        let trying = address.clone();
        address.try_send(mail(0, 0)).unwrap();
        let sending = sending(&address, mail(0, 1));
        let sender = thread::spawn(move || assert!(matches!(block_on(sending), Err(SendError::Closed(_)))));
        drop(mailbox);
        sender.join().unwrap();
        assert!(matches!(trying.try_send(mail(0, 2)), Err(SendError::Closed(_))));
    });
}
