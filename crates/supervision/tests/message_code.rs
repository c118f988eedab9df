//! Code of messages that the mailbox runs, their drop and their serialisation: it may send to that mailbox, and however long it
//! takes, no sender waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
    mpsc,
};

use common::{HOUR, MS, SECOND, attempts, policy};
use serde::{Serialize, Serializer};
use supervision::{
    Actor, Address, Child, Clock, Context, Failure, Inbox, Limits, Mailbox, Message, Overflow, Sent, Tree,
    TreeOptions,
};

/// What a message does when it is dropped or shown.
type Deed = Arc<dyn Fn() + Send + Sync>;

/// A message that does something when it is dropped or shown, once each.
struct Active {
    dropped: Option<Deed>,
    shown: Mutex<Option<Deed>>,
}

fn plain() -> Active {
    Active { dropped: None, shown: Mutex::default() }
}

fn at_its_drop(deed: Deed) -> Active {
    Active { dropped: Some(deed), shown: Mutex::default() }
}

fn when_shown(deed: Deed) -> Active {
    Active { dropped: None, shown: Mutex::new(Some(deed)) }
}

impl Message for Active {}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(deed) = self.dropped.take() {
            deed();
        }
    }
}

impl Serialize for Active {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(deed) = self.shown.lock().unwrap().take() {
            deed();
        }
        serializer.serialize_str("active")
    }
}

fn mailbox(capacity: usize, dead_letters: usize) -> Mailbox<Active> {
    Mailbox::new("m", Limits { capacity, dead_letters, ..attempts(1) }, &Clock::system())
}

/// Runs `work` on a thread of its own. A deadlock ends the process: a panic would wait for the same lock, to drop the mailbox.
fn without_a_deadlock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(30 * SECOND).unwrap_or_else(|error| {
        eprintln!("deadlock: {error}");
        std::process::exit(1)
    })
}

/// Reads the counts of this mailbox and sends one more message to it, and whether both went well.
fn uses(mailbox: &Mailbox<Active>, address: &Address<Active>) -> (Deed, Arc<AtomicBool>) {
    let (view, address, sent) = (mailbox.view(), address.clone(), Arc::new(AtomicBool::new(false)));
    let deed = {
        let sent = sent.clone();
        move || sent.store(view.stats().is_conserved() && address.try_send(plain()).is_ok(), SeqCst)
    };
    (Arc::new(deed), sent)
}

/// A deed that lasts until it is told to end, and the signal of its begin.
fn lasts() -> (Deed, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, begins) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    let deed = move || {
        begun.send(()).unwrap();
        ends.lock().unwrap().recv().unwrap();
    };
    (Arc::new(deed), begins, end)
}

#[test]
fn a_message_that_is_displaced_may_use_its_mailbox_when_it_is_dropped() {
    let mailbox = mailbox(1, 1);
    let address = mailbox.address("test", Overflow::DropOldest);
    let (deed, sent) = uses(&mailbox, &address);
    address.try_send(at_its_drop(deed)).expect("room");
    let displaced = without_a_deadlock(move || address.try_send(plain()).map_err(|_| ()));
    assert_eq!(displaced, Ok(Sent::Displaced(1)));
    assert!(sent.load(SeqCst));
    let stats = mailbox.stats();
    assert_eq!((stats.accepted, stats.dropped, stats.waiting), (3, 2, 1));
}

#[test]
fn a_dead_letter_that_is_evicted_may_use_its_mailbox_when_it_is_dropped() {
    // By itself, and by a later one.
    for (kept, letters) in [(0, 1), (1, 2)] {
        let mailbox = mailbox(4, kept);
        let address = mailbox.address("test", Overflow::Wait);
        let (deed, sent) = uses(&mailbox, &address);
        address.try_send(at_its_drop(deed)).expect("room");
        for _ in 1..letters {
            address.try_send(plain()).expect("room");
        }
        let mut inbox = mailbox.open().expect("the only one");
        without_a_deadlock(move || {
            (0..letters).for_each(|_| inbox.try_recv().expect("a message").dead_letter("it is bad"));
        });
        assert!(sent.load(SeqCst));
        let stats = mailbox.stats();
        assert_eq!((stats.dead_lettered, stats.letters_evicted, stats.waiting), (letters, 1, 1));
    }
}

#[test]
fn a_dead_letter_may_use_its_mailbox_when_it_is_shown() {
    let mailbox = mailbox(4, 4);
    let address = mailbox.address("test", Overflow::Wait);
    let (deed, sent) = uses(&mailbox, &address);
    address.try_send(when_shown(deed)).expect("room");
    mailbox.open().expect("the only one").try_recv().expect("a message").dead_letter("it is bad");
    let view = mailbox.view();
    let letters = without_a_deadlock(move || view.dead_letters());
    assert_eq!(letters.len(), 1);
    assert!(sent.load(SeqCst));
}

#[test]
fn nobody_waits_for_a_dead_letter_that_is_shown() {
    let mailbox = mailbox(4, 4);
    let address = mailbox.address("test", Overflow::Wait);
    let (deed, begins, end) = lasts();
    address.try_send(when_shown(deed)).expect("room");
    let mut inbox = mailbox.open().expect("the only one");
    inbox.try_recv().expect("a message").dead_letter("it is bad");
    let view = mailbox.view();
    let showing = std::thread::spawn(move || view.dead_letters().len());
    begins.recv().unwrap();
    // In the middle of that, all others go on.
    let stats = without_a_deadlock(move || {
        address.try_send(plain()).map_err(|_| ()).expect("room");
        inbox.try_recv().expect("a message").ack();
        mailbox.stats()
    });
    assert_eq!((stats.handled, stats.dead_lettered), (1, 1));
    end.send(()).unwrap();
    assert_eq!(showing.join().unwrap(), 1);
}

/// Makes every message a dead letter.
struct Refuses;

impl Actor for Refuses {
    type Message = Active;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Active>) -> Result<(), Failure> {
        while let Some(message) = inbox.recv().await {
            message.dead_letter("it is bad");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_restarts_its_actors_while_a_dead_letter_is_shown() {
    let quick = policy((1_000, HOUR), (MS, MS));
    let mailbox = mailbox(4, 4);
    let (address, view) = (mailbox.address("test", Overflow::Wait), mailbox.view());
    let (deed, begins, end) = lasts();
    address.send(when_shown(deed)).await.map_err(|_| ()).expect("accepted");
    let children = vec![Child::actor(mailbox, || Refuses).policy(quick)];
    let tree = Arc::new(Tree::start(children, TreeOptions::default()).await.expect("no cycle"));
    common::eventually("the message is a dead letter", || view.stats().dead_lettered == 1).await;
    let showing = {
        let tree = tree.clone();
        std::thread::spawn(move || tree.dead_letters().len())
    };
    tokio::task::spawn_blocking(move || begins.recv()).await.unwrap().unwrap();
    assert!(tree.kill("m"));
    common::eventually("it runs again", || {
        let health = tree.health();
        health.iter().any(|actor| actor.path == "m" && actor.generation == 2)
    })
    .await;
    tree.remove_child("m").await.expect("removed");
    end.send(()).unwrap();
    assert_eq!(tokio::task::spawn_blocking(move || showing.join()).await.unwrap().unwrap(), 1);
}
