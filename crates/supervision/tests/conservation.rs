//! A million messages and two hundred panics: none is lost, doubled or overtaken.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use common::{HOUR, Job, MS, Random, attempts, eventually, policy, record, size, start};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Lease, Limits, Mailbox, Overflow, State,
};

/// A million, or a tenth of that among the quick tests.
fn messages() -> u64 {
    size(1_000_000)
}

/// Panic at both attempts: 160 panics.
const POISONED: usize = 80;
/// Panic at the first attempt only: 40 panics.
const FAIL_ONCE: usize = 40;
const PANICS: u64 = 2 * POISONED as u64 + FAIL_ONCE as u64;

/// What was done, recorded outside the kit.
struct Ledger {
    poisoned: BTreeSet<(usize, u64)>,
    fail_once: BTreeSet<(usize, u64)>,
    effects: Vec<Vec<AtomicU8>>,
    next: Vec<AtomicU64>,
    overtaken: AtomicU64,
    panics: AtomicU64,
}

impl Ledger {
    fn new(random: &mut Random, senders: usize) -> Self {
        let each = messages() / senders as u64;
        let mut places = BTreeSet::new();
        while places.len() < POISONED + FAIL_ONCE {
            places.insert((random.below(senders as u64) as usize, random.below(each)));
        }
        let mut fail_once = BTreeSet::new();
        while fail_once.len() < FAIL_ONCE {
            let at = random.below(places.len() as u64) as usize;
            let place = *places.iter().nth(at).unwrap();
            places.remove(&place);
            fail_once.insert(place);
        }
        Self {
            poisoned: places,
            fail_once,
            effects: (0..senders).map(|_| (0..each).map(|_| AtomicU8::new(0)).collect()).collect(),
            next: (0..senders).map(|_| AtomicU64::new(0)).collect(),
            overtaken: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    fn handle(&self, lease: Lease<'_, Job>) {
        let place = (lease.sender, lease.number);
        if self.poisoned.contains(&place) || (lease.attempt() == 1 && self.fail_once.contains(&place)) {
            self.panics.fetch_add(1, Relaxed);
            panic!("message {} of sender {}", place.1, place.0);
        }
        // Handled messages of a sender have growing numbers, those that were delivered again included.
        if self.next[place.0].swap(place.1 + 1, Relaxed) > place.1 {
            self.overtaken.fetch_add(1, Relaxed);
        }
        self.effects[place.0][place.1 as usize].fetch_add(1, Relaxed);
        lease.ack();
    }
}

/// Takes messages one by one in its odd incarnations, and in batches in its even ones.
struct Worker(Arc<Ledger>);

impl Actor for Worker {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        if cx.generation() % 2 == 1 {
            while let Some(lease) = inbox.recv().await {
                self.0.handle(lease);
            }
        } else {
            while let Some(mut batch) = inbox.recv_many().await {
                while let Some(lease) = batch.lease() {
                    self.0.handle(lease);
                }
            }
        }
        Ok(())
    }
}

async fn a_million_messages_survive_two_hundred_panics(senders: usize) {
    let ledger = Arc::new(Ledger::new(&mut Random::seeded(), senders));
    let clock = Clock::system();
    // 2 attempts; 1,000 restarts an hour are tolerated; 1 ms before each.
    let limits = Limits { batch: 64, dead_letters: 2 * POISONED, ..attempts(2) };
    let mailbox = Mailbox::new("worker", limits, &clock);
    // An address for each sender: each is an edge of its own.
    let addresses: Vec<_> = (0..senders).map(|_| mailbox.address("test", Overflow::Wait)).collect();
    let view = mailbox.view();
    let worker = Child::actor(mailbox, {
        let ledger = ledger.clone();
        move || Worker(ledger.clone())
    });
    let tree = start(&clock, vec![worker.policy(policy((1_000, HOUR), (MS, MS)))]).await;

    let sending: Vec<_> = addresses
        .into_iter()
        .enumerate()
        .map(|(sender, address)| {
            tokio::spawn(async move {
                for number in 0..messages() / senders as u64 {
                    address.send(Job { sender, number }).await.expect("accepted");
                }
            })
        })
        .collect();
    // The sum holds at every moment, not only at the end.
    while !sending.iter().all(tokio::task::JoinHandle::is_finished) {
        let stats = view.stats();
        assert!(stats.is_conserved(), "{stats:?}");
        assert!(stats.waiting <= stats.capacity + limits.batch as u64, "{stats:?}");
        assert!(stats.in_flight <= limits.batch as u64, "{stats:?}");
        tokio::time::sleep(MS).await;
    }
    for sender in sending {
        sender.await.expect("a sender does not fail");
    }
    eventually("the mailbox is empty", || {
        let stats = view.stats();
        stats.waiting + stats.in_flight == 0
    })
    .await;

    let stats = view.stats();
    assert!(stats.is_conserved(), "{stats:?}");
    assert_eq!(stats.accepted, messages());
    assert_eq!(stats.dead_lettered, POISONED as u64);
    assert_eq!(stats.handled, messages() - POISONED as u64);
    assert_eq!((stats.dropped, stats.coalesced, stats.refused, stats.letters_evicted), (0, 0, 0, 0));
    // The same, counted by the actors that did the work.
    for (sender, effects) in ledger.effects.iter().enumerate() {
        for (number, effect) in effects.iter().enumerate() {
            let wanted = u8::from(!ledger.poisoned.contains(&(sender, number as u64)));
            assert_eq!(effect.load(Relaxed), wanted, "effects of message {number} of sender {sender}");
        }
    }
    assert_eq!(ledger.overtaken.load(Relaxed), 0, "each sender's order is kept");
    assert_eq!(ledger.panics.load(Relaxed), PANICS);

    let letters = tree.dead_letters();
    let dead: BTreeSet<_> = letters
        .iter()
        .map(|letter| serde_json::from_value::<Job>(letter.message.clone()).expect("a job"))
        .map(|job| (job.sender, job.number))
        .collect();
    assert_eq!(letters.len(), POISONED, "each one once");
    assert_eq!(dead, ledger.poisoned, "exactly the poisoned ones");
    for letter in &letters {
        let place = serde_json::from_value::<Job>(letter.message.clone()).expect("a job");
        assert_eq!(letter.attempts, 2);
        assert_eq!(
            letter.reason,
            format!("its actor panicked: message {} of sender {}", place.number, place.sender)
        );
    }

    eventually("the last restart is over", || record(&tree, "worker").state == State::Running).await;
    let health = record(&tree, "worker");
    assert_eq!(health.exits(ExitKind::Panicked), PANICS);
    assert_eq!((health.generation, health.restarts()), (PANICS + 1, PANICS));
    assert_eq!(tree.stop(HOUR).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_messages_of_one_sender_survive_two_hundred_panics() {
    a_million_messages_survive_two_hundred_panics(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_messages_of_four_senders_survive_two_hundred_panics() {
    a_million_messages_survive_two_hundred_panics(4).await;
}
