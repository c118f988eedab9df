//! What the ends of a mailbox share: the queue under its lock, and who waits for it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
    task::Waker,
};

use super::{
    entry::Entry,
    letters::{DeadLetter, Letters},
    message::{Limits, MailboxStats, Message},
    overflow::Overflow,
    queue::Queue,
};
use crate::{
    clock::Clock,
    name::Name,
    progress::Pulse,
    sync::{AtomicU64, Mutex, MutexGuard, Relaxed, lock},
};

pub(super) struct Shared<M: Message> {
    pub(super) name: Name,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    /// The time of the tree that it is in, which is cheaper to read than the clock.
    pulse: OnceLock<Arc<Pulse>>,
    /// The edges whose addresses exist.
    pub(super) edges: Mutex<Edges>,
    /// Under a lock of their own: showing them takes long, and runs code of the messages. It is taken before that of the queue.
    letters: Mutex<Letters<M>>,
    pub(super) reading: Apart<Reading>,
    state: Apart<Mutex<State<M>>>,
}

/// The senders by their identities and what happens when the mailbox is full, with the names and how often each was declared.
pub(super) type Edges = BTreeMap<(usize, Overflow), (Name, usize)>;

/// Written by the one inbox at each message, read by anyone.
pub(super) struct Reading {
    pub(super) handled: AtomicU64,
    /// When the oldest message in flight was accepted; 0 without one.
    pub(super) oldest_in_flight: AtomicU64,
}

/// On its own cache lines of 64 bytes, so that the writes of the reader and of the senders do not invalidate each other's caches.
#[repr(align(64))]
pub(super) struct Apart<T>(pub(super) T);

pub(super) struct State<M> {
    pub(super) queue: Queue<M>,
    /// An inbox exists. There is never a second one.
    pub(super) open: bool,
    pub(super) receiver: Option<Waker>,
    /// The line of senders that wait for room.
    pub(super) senders: VecDeque<Waiting>,
    /// Those of them that were granted room and have not used it yet, with its bytes.
    pub(super) granted: BTreeMap<Ticket, usize>,
    last_ticket: Ticket,
}

/// A place in the line of senders.
pub(super) type Ticket = u64;

/// A sender that waits for room.
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    weight: usize,
    pub(super) waker: Waker,
}

impl<M: Message> Shared<M> {
    pub(super) fn new(name: Name, limits: Limits, clock: &Clock) -> Self {
        let limits = limits.usable();
        Self {
            name,
            limits,
            clock: clock.clone(),
            pulse: OnceLock::new(),
            edges: Mutex::default(),
            letters: Mutex::new(Letters::new(limits.dead_letters, limits.bytes)),
            reading: Apart(Reading { handled: AtomicU64::new(0), oldest_in_flight: AtomicU64::new(0) }),
            state: Apart(Mutex::new(State {
                queue: Queue::new(),
                open: false,
                receiver: None,
                senders: VecDeque::new(),
                granted: BTreeMap::new(),
                last_ticket: 0,
            })),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<M>> {
        lock(&self.state.0)
    }

    /// Makes a message in flight a dead letter.
    pub(super) fn dead_letter(&self, entry: Entry<M>, reason: String) {
        let now = self.now();
        let mut letters = lock(&self.letters);
        let evicted = letters.write(entry, reason, now);
        self.lock().queue.dead_lettered(evicted.len());
        drop(letters);
        // Dropped without a lock, as what is displaced: see `Accepted`.
        drop(evicted);
    }

    /// Nanoseconds with which messages are stamped, never 0.
    pub(super) fn now(&self) -> u64 {
        self.pulse.get().map_or_else(|| self.clock.awake_nanos(), |pulse| pulse.now())
    }
}

impl<M: Message> State<M> {
    /// Gets in line with a message of this weight.
    pub(super) fn get_in_line(&mut self, weight: usize, waker: &Waker) -> Ticket {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.senders.push_back(Waiting { ticket, weight, waker: waker.clone() });
        ticket
    }

    /// Takes a sender out of the line, which has used its room or gives it up.
    pub(super) fn leave_line(&mut self, ticket: Ticket) {
        match self.granted.remove(&ticket) {
            Some(weight) => self.queue.release(weight),
            None => self.senders.retain(|waiting| waiting.ticket != ticket),
        }
    }

    /// Grants the room that there is to the senders that wait, in their order, and returns whom to wake. All of them at once: one
    /// after the other, each would find the mailbox empty before the next one is woken.
    #[must_use]
    pub(super) fn grant(&mut self, limits: &Limits) -> Vec<Waker> {
        let mut woken = Vec::new();
        while self.senders.front().is_some_and(|first| self.queue.grant(first.weight, limits)) {
            let Some(Waiting { ticket, weight, waker }) = self.senders.pop_front() else { break };
            self.granted.insert(ticket, weight);
            woken.push(waker);
        }
        woken
    }
}

/// Wakes outside of the lock, which those that are woken take at once.
pub(super) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// A mailbox without its message type: what supervisors, health records and operators see.
pub(crate) trait AnyMailbox: Send + Sync {
    fn stats(&self) -> MailboxStats;
    /// The declared edges into it: their senders, and what happens when it is full.
    fn edges(&self) -> Vec<(Name, Overflow)>;
    fn dead_letters(&self) -> Vec<DeadLetter>;
    fn replay(&self, sequence: u64) -> bool;
    /// Accepts nothing more; what waits can still be taken.
    fn close(&self);
    /// Accepts again, since a closed mailbox gets a reader after all.
    fn reopen(&self);
    /// It is in a tree now, whose watch keeps this time.
    fn follow(&self, pulse: &Arc<Pulse>);
}

impl<M: Message> AnyMailbox for Shared<M> {
    fn stats(&self) -> MailboxStats {
        let now = self.now();
        let state = self.lock();
        // Read under the lock: the inbox can't return or dead-letter a message meanwhile, so the counts add up.
        let Reading { handled, oldest_in_flight } = &self.reading.0;
        let stats =
            state.queue.stats(now, &self.limits, handled.load(Relaxed), oldest_in_flight.load(Relaxed));
        MailboxStats { senders_waiting: (state.senders.len() + state.granted.len()) as u64, ..stats }
    }

    fn edges(&self) -> Vec<(Name, Overflow)> {
        let edges = lock(&self.edges);
        edges.iter().map(|(&(_, overflow), (from, _))| (from.clone(), overflow)).collect()
    }

    fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.letters).show(self.name.shown())
    }

    fn replay(&self, sequence: u64) -> bool {
        let now = self.now();
        let receiver = {
            let mut letters = lock(&self.letters);
            let mut state = self.lock();
            let fits = |weight| state.queue.can_replay(weight, &self.limits);
            let Some(letter) = letters.take_if(sequence, fits) else {
                return false;
            };
            state.queue.replay(letter, now);
            state.receiver.take()
        };
        wake(receiver);
        true
    }

    fn close(&self) {
        let (receiver, senders) = {
            let mut state = self.lock();
            state.queue.closed = true;
            // Those that were granted room have been woken.
            for (_, weight) in std::mem::take(&mut state.granted) {
                state.queue.release(weight);
            }
            (state.receiver.take(), std::mem::take(&mut state.senders))
        };
        wake(receiver.into_iter().chain(senders.into_iter().map(|waiting| waiting.waker)));
    }

    fn reopen(&self) {
        self.lock().queue.closed = false;
    }

    fn follow(&self, pulse: &Arc<Pulse>) {
        // Set once: a mailbox is in one tree.
        let _ = self.pulse.set(pulse.clone());
    }
}
