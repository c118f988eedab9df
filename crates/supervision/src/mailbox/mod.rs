//! Bounded mailboxes that outlive the actor that reads them.
//!
//! A [`Mailbox`] is created before its actor and belongs to the tree. Senders hold an [`Address`] of it. Each incarnation of
//! the actor borrows its [`Inbox`], takes messages as [`Lease`]s, and settles each one when its effect is committed. The
//! messages in flight of a dead incarnation return to the front, in order. The message that it was handling has an attempt
//! charged and becomes a dead letter after `max_attempts`. If it was handling several as a batch, the next incarnation gets
//! these one by one.
//!
//! Promises, for every mailbox at every moment:
//! - `accepted = handled + waiting + in_hand + coalesced + dead_lettered + dropped`;
//! - at most `capacity` messages and `bytes` bytes wait, and at most `batch` messages are in flight. Only what
//!   a dead incarnation gives back may exceed the first bounds, by at most `batch` messages, and what one merge adds
//!   the second;
//! - messages of one sender are leased in the order in which they were accepted, redelivered ones included;
//! - a message that does not fit waits, is refused, or takes the room of older ones as its edge declares: [`Overflow`].
//!   Whatever other edges do, what an edge that waits has handed over is never dropped, and its line is never overtaken.

mod address;
mod inbox;
mod letters;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

use serde::Serialize;

pub use address::{Address, Overflow, SendError, Sent};
pub use inbox::{Batch, Inbox, Lease};
pub use letters::DeadLetter;
use letters::Letters;

use crate::Clock;

/// A message of a mailbox. It is serialisable, so that a dead letter can be shown.
pub trait Message: Serialize + Send + 'static {
    /// Bytes that the message holds, heap included. The default counts the value itself only.
    fn weight(&self) -> usize {
        size_of_val(self)
    }

    /// Merges a newer message into this one, on edges that coalesce. A message must not grow with the number of merges.
    ///
    /// # Errors
    /// Returns the newer message when the two can't be merged. The default never merges.
    fn merge(&mut self, newer: Self) -> Result<(), Self>
    where
        Self: Sized,
    {
        Err(newer)
    }
}

/// The message type of an actor without messages: it has no values.
#[derive(Debug, Clone, Copy, Serialize, serde::Deserialize)]
pub enum NoMessage {}

impl Message for NoMessage {}

/// The limits of a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most waiting messages.
    pub capacity: usize,
    /// The most waiting bytes, as [`Message::weight`] counts them.
    pub bytes: usize,
    /// The most messages in flight.
    pub batch: usize,
    /// The number of charged attempts after which a message becomes a dead letter.
    pub max_attempts: u32,
    /// The most dead letters that are kept; older ones are evicted, and counted.
    pub dead_letters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { capacity: 1024, bytes: 4 << 20, batch: 64, max_attempts: 2, dead_letters: 128 }
    }
}

/// The counts of a mailbox at one moment, over all incarnations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MailboxStats {
    /// Messages accepted from senders, including replayed dead letters.
    pub accepted: u64,
    /// Messages settled.
    pub handled: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages in flight: taken by the present incarnation and not settled.
    pub in_hand: u64,
    /// Messages merged into an earlier one.
    pub coalesced: u64,
    /// Messages that became dead letters, including evicted ones.
    pub dead_lettered: u64,
    /// Dead letters that were evicted.
    pub letters_evicted: u64,
    /// Messages dropped by an edge that drops the oldest.
    pub dropped: u64,
    /// Messages refused because the mailbox was full; their senders kept them.
    pub refused: u64,
    /// Messages that an incarnation returned at its end.
    pub redelivered: u64,
    /// The most messages that may wait.
    pub capacity: u64,
    /// The most messages that ever waited.
    pub high_water: u64,
    /// Bytes that wait.
    pub bytes: u64,
    /// Sends that had to wait for room.
    pub waits: u64,
    /// How long those sends waited in all, in nanoseconds.
    pub waited_nanos: u64,
    /// Sends that wait for room now.
    pub senders_waiting: u64,
    /// Age of the oldest message that waits or is in flight, in nanoseconds; 0 without one.
    pub oldest_age_nanos: u64,
}

impl MailboxStats {
    /// Whether no message was lost or doubled: the first promise of the module.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        self.accepted
            == self.handled + self.waiting + self.in_hand + self.coalesced + self.dead_lettered + self.dropped
    }
}

/// The owner's handle of a mailbox. A clone is the same mailbox.
pub struct Mailbox<M: Message>(Arc<Shared<M>>);

struct Shared<M> {
    name: String,
    limits: Limits,
    clock: Clock,
    /// The edges whose addresses exist: the sender, what happens when the mailbox is full, and how often it was declared.
    edges: Mutex<BTreeMap<(String, Overflow), usize>>,
    reading: Apart<Reading>,
    state: Apart<Mutex<State<M>>>,
}

/// Written by the one inbox at each message, read by anyone.
struct Reading {
    handled: AtomicU64,
    /// When the oldest message in flight was accepted; 0 without one.
    oldest_in_hand: AtomicU64,
}

/// On its own cache lines, so that the writes of the reader and of the senders do not invalidate each other's caches.
#[repr(align(128))]
struct Apart<T>(T);

struct State<M> {
    waiting: VecDeque<Entry<M>>,
    bytes: usize,
    closed: bool,
    /// How many places in trees read it: one, or two for the moment in which one follows another.
    attached: usize,
    /// An inbox exists. There is never a second one.
    open: bool,
    receiver: Option<Waker>,
    /// The number of messages at the front that were in flight as a batch when a reader failed. They are taken one by one.
    suspects: usize,
    senders: VecDeque<(u64, Waker)>,
    last_ticket: u64,
    last_sequence: u64,
    counts: Counts,
    letters: Letters<M>,
}

#[derive(Default)]
struct Counts {
    accepted: u64,
    taken: u64,
    given_back: u64,
    dead_from_hand: u64,
    coalesced: u64,
    dropped: u64,
    refused: u64,
    high_water: u64,
    waits: u64,
    waited_nanos: u64,
}

struct Entry<M> {
    message: M,
    weight: usize,
    sequence: u64,
    attempts: u32,
    accepted_at: u64,
    /// It came by an edge that drops the oldest: newer ones of such edges may take its place.
    droppable: bool,
}

impl<M: Message> Mailbox<M> {
    /// Creates an empty mailbox. `name` is the path of the actor that will read it.
    #[must_use]
    pub fn new(name: impl Into<String>, limits: Limits, clock: &Clock) -> Self {
        Self(Arc::new(Shared {
            name: name.into(),
            limits,
            clock: clock.clone(),
            edges: Mutex::default(),
            reading: Apart(Reading { handled: AtomicU64::new(0), oldest_in_hand: AtomicU64::new(0) }),
            state: Apart(Mutex::new(State {
                waiting: VecDeque::new(),
                bytes: 0,
                closed: false,
                attached: 0,
                open: false,
                receiver: None,
                suspects: 0,
                senders: VecDeque::new(),
                last_ticket: 0,
                last_sequence: 0,
                counts: Counts::default(),
                letters: Letters::new(limits.dead_letters, limits.bytes),
            })),
        }))
    }

    /// Declares an edge into this mailbox and returns its address, which only this sender should hold. `from` is the path of the
    /// sending actor, or another name for a sender outside the tree. The edge also declares what happens when the mailbox is
    /// full. Create addresses before the reader is started or added: that is when the tree checks for cycles of waiting edges.
    #[must_use]
    pub fn address(&self, from: &str, overflow: Overflow) -> Address<M> {
        Address::declare(self.0.clone(), from.to_owned(), overflow)
    }

    /// Borrows the reading end. `None` while another inbox of this mailbox exists.
    #[must_use]
    pub fn open(&self) -> Option<Inbox<M>> {
        Inbox::open(self.0.clone())
    }

    /// The counts now.
    #[must_use]
    pub fn stats(&self) -> MailboxStats {
        self.0.stats()
    }
}

impl<M: Message> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Message> Shared<M> {
    fn stats(&self) -> MailboxStats {
        let now = self.clock.nanos();
        let state = self.lock();
        let counts = &state.counts;
        // Read under the lock: the inbox can't return or dead-letter a message meanwhile, so the counts add up.
        let Reading { handled, oldest_in_hand } = &self.reading.0;
        let handled = handled.load(Relaxed);
        let oldest =
            [oldest_in_hand.load(Relaxed), state.waiting.front().map_or(0, |entry| entry.accepted_at)];
        let oldest = oldest.into_iter().filter(|&at| at != 0).min();
        MailboxStats {
            accepted: counts.accepted,
            handled,
            waiting: state.waiting.len() as u64,
            in_hand: counts.taken - counts.given_back - counts.dead_from_hand - handled,
            coalesced: counts.coalesced,
            dead_lettered: state.letters.total(),
            letters_evicted: state.letters.evicted(),
            dropped: counts.dropped,
            refused: counts.refused,
            redelivered: counts.given_back,
            capacity: self.limits.capacity as u64,
            high_water: counts.high_water,
            bytes: state.bytes as u64,
            waits: counts.waits,
            waited_nanos: counts.waited_nanos,
            senders_waiting: state.senders.len() as u64,
            oldest_age_nanos: oldest.map_or(0, |at| now.saturating_sub(at)),
        }
    }
}

impl<M> State<M> {
    fn has_room(&self, weight: usize, limits: &Limits) -> bool {
        self.waiting.len() < limits.capacity && self.bytes + weight <= limits.bytes
    }

    fn push(&mut self, message: M, weight: usize, now: u64, droppable: bool) {
        self.last_sequence += 1;
        self.counts.accepted += 1;
        self.bytes += weight;
        let sequence = self.last_sequence;
        self.waiting.push_back(Entry { message, weight, sequence, attempts: 0, accepted_at: now, droppable });
        self.counts.high_water = self.counts.high_water.max(self.waiting.len() as u64);
    }

    /// Counts a message that stays with its sender because the mailbox is full.
    fn refused(&mut self, error: &SendError<M>) {
        self.counts.refused += u64::from(matches!(error, SendError::Full(_)));
    }

    /// Takes a sender out of the line. Returns the waker of the sender that is first then, if there is room for its message.
    fn leave_line(&mut self, ticket: u64, limits: &Limits) -> Option<Waker> {
        if self.senders.front().is_some_and(|&(first, _)| first == ticket) {
            self.senders.pop_front();
        } else {
            self.senders.retain(|&(queued, _)| queued != ticket);
        }
        if self.has_room(0, limits) { self.next_sender() } else { None }
    }

    /// The sender that may continue now that there is room again. It stays in the line until it has sent: a sender that is dropped
    /// instead wakes the next one.
    fn next_sender(&self) -> Option<Waker> {
        self.senders.front().map(|(_, waker)| waker.clone())
    }
}

/// A mailbox without its message type: what supervisors, health records and operators see.
pub(crate) trait AnyMailbox: Send + Sync {
    fn stats(&self) -> MailboxStats;
    /// The declared edges into it: their senders, and what happens when it is full.
    fn edges(&self) -> Vec<(String, Overflow)>;
    fn dead_letters(&self) -> Vec<DeadLetter>;
    fn replay(&self, sequence: u64) -> bool;
    /// Accepts nothing more; what waits can still be taken.
    fn close(&self);
    /// Accepts again, since a closed mailbox gets a reader after all.
    fn reopen(&self);
    /// A place in a tree reads it from now on: it accepts again.
    fn attach(&self);
    /// That place is gone. The last one closes it: a sender must not wait for a reader that will never come.
    fn detach(&self);
    /// The same for all handles on one mailbox, and for no other one.
    fn identity(&self) -> usize;
    /// Completes the reason of the letters that were written since `since` (clock nanoseconds).
    fn explain_letters(&self, since: u64, reason: &str);
}

impl<M: Message> AnyMailbox for Mailbox<M> {
    fn stats(&self) -> MailboxStats {
        self.0.stats()
    }

    fn edges(&self) -> Vec<(String, Overflow)> {
        self.0.edges.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn dead_letters(&self) -> Vec<DeadLetter> {
        self.0.lock().letters.show(&self.0.name)
    }

    fn replay(&self, sequence: u64) -> bool {
        let now = self.0.clock.nanos();
        let receiver = {
            let mut state = self.0.lock();
            // Checked before the letter is taken: a replay that is refused must not lose it.
            let room = |weight| !state.closed && state.has_room(weight, &self.0.limits);
            if !state.letters.weight_of(sequence).is_some_and(room) {
                return false;
            }
            let Some(letter) = state.letters.take(sequence) else {
                return false;
            };
            state.push(letter.message, letter.weight, now, false);
            state.receiver.take()
        };
        if let Some(waker) = receiver {
            waker.wake();
        }
        true
    }

    fn close(&self) {
        let (receiver, senders) = {
            let mut state = self.0.lock();
            state.closed = true;
            (state.receiver.take(), std::mem::take(&mut state.senders))
        };
        // Woken outside of the lock, which they take at once.
        receiver.into_iter().chain(senders.into_iter().map(|(_, waker)| waker)).for_each(Waker::wake);
    }

    fn reopen(&self) {
        self.0.lock().closed = false;
    }

    fn attach(&self) {
        let mut state = self.0.lock();
        state.attached += 1;
        state.closed = false;
    }

    fn detach(&self) {
        let is_last = {
            let mut state = self.0.lock();
            state.attached = state.attached.saturating_sub(1);
            state.attached == 0
        };
        if is_last {
            self.close();
        }
    }

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn explain_letters(&self, since: u64, reason: &str) {
        self.0.lock().letters.explain(since, reason);
    }
}

fn nanos(duration: u64) -> Duration {
    Duration::from_nanos(duration)
}
