//! The progress of one actor, readable without its help.
//!
//! The actor's calls into this crate set marks (waiting for a message, working, waiting on a full edge); the watch reads them
//! on its own OS thread. Work without a mark for too long is a stall; a poll that does not return is a handler that does not
//! yield. All times are nanoseconds of the clock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::Clock;

/// The activity of an actor, as its marks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It waits for a message or another outside event.
    Idle,
    /// It works.
    Working,
    /// It waits for room in the mailbox of another actor.
    Blocked,
}

#[derive(Debug)]
pub(crate) struct Progress {
    clock: Clock,
    /// An incarnation is in the seat.
    seated: AtomicBool,
    /// The numbers of its waits for outside events and on full edges. Numbers, because an actor can join several waits.
    idling: AtomicU32,
    blocked: AtomicU32,
    last: AtomicU64,
    poll_since: AtomicU64,
    /// What the watch has seen of the two.
    seen_last: Seen,
    seen_poll: Seen,
}

/// The time that a watch knows to have missed, since nothing ran meanwhile. In nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Missed {
    /// All of it but the last gap.
    before: u64,
    /// All of it.
    total: u64,
    /// When the last gap ended.
    until: u64,
}

impl Missed {
    /// Takes note of a look at `now` that came `gap` late.
    pub(crate) fn note(&mut self, now: u64, gap: u64) {
        self.before = self.total;
        self.total += gap;
        if gap > 0 {
            self.until = now;
        }
    }
}

/// A mark of progress as the watch saw it last, and what it had missed before that mark.
#[derive(Debug, Default)]
struct Seen {
    mark: AtomicU64,
    missed: AtomicU64,
}

impl Seen {
    /// The time since `mark`, without what the watch has missed since then. Called by the watch alone.
    fn awake_since(&self, mark: u64, now: u64, missed: &Missed) -> u64 {
        if self.mark.swap(mark, Relaxed) != mark {
            let before = if mark < missed.until { missed.before } else { missed.total };
            self.missed.store(before, Relaxed);
        }
        let since = missed.total - self.missed.load(Relaxed);
        now.saturating_sub(mark).saturating_sub(since)
    }
}

impl Progress {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            seated: AtomicBool::new(false),
            idling: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            last: AtomicU64::new(0),
            poll_since: AtomicU64::new(0),
            seen_last: Seen::default(),
            seen_poll: Seen::default(),
        }
    }

    /// An incarnation begins: it works.
    pub(crate) fn entered(&self) {
        // The mark first: the time before this incarnation is none of its work.
        self.beat();
        self.seated.store(true, Relaxed);
    }

    /// The incarnation is over.
    pub(crate) fn left(&self) {
        self.beat();
        self.seated.store(false, Relaxed);
    }

    /// Marks it as idle until the guard is dropped, even if the wait itself is dropped.
    pub(crate) fn idling(&self) -> impl Drop {
        Wait::begin(self, &self.idling)
    }

    /// Waiting on a full edge begins; each call needs its `unblocked`.
    pub(crate) fn blocked(&self) {
        self.beat();
        self.blocked.fetch_add(1, Relaxed);
    }

    /// One wait on a full edge is over.
    pub(crate) fn unblocked(&self) {
        self.beat();
        self.blocked.fetch_sub(1, Relaxed);
    }

    /// Notes progress without a change of activity.
    pub(crate) fn beat(&self) {
        self.last.store(self.clock.nanos(), Relaxed);
    }

    pub(crate) fn activity(&self) -> Activity {
        // Blocked before idle: an actor that waits for both is waiting for another actor.
        if !self.seated.load(Relaxed) {
            Activity::Idle
        } else if self.blocked.load(Relaxed) > 0 {
            Activity::Blocked
        } else if self.idling.load(Relaxed) > 0 {
            Activity::Idle
        } else {
            Activity::Working
        }
    }

    /// Nanoseconds since the last mark in which the process ran, when it is working; `None` while it idles or waits on an
    /// edge. For the watch.
    pub(crate) fn worked_for(&self, now: u64, missed: &Missed) -> Option<u64> {
        // The mark before the activity: one that begins to work in between has a newer mark than this one.
        let awake = self.seen_last.awake_since(self.last.load(Relaxed), now, missed);
        (self.activity() == Activity::Working).then_some(awake)
    }

    /// Nanoseconds since the running poll began in which the process ran; `None` when there is none. For the watch.
    pub(crate) fn polled_for(&self, now: u64, missed: &Missed) -> Option<u64> {
        let since = self.poll_since.load(Relaxed);
        let awake = self.seen_poll.awake_since(since, now, missed);
        (since != 0).then_some(awake)
    }

    /// Nanoseconds since the last mark of any kind.
    pub(crate) fn quiet_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.last.load(Relaxed))
    }

    pub(crate) fn poll_began(&self) {
        self.poll_since.store(self.clock.nanos(), Relaxed);
    }

    pub(crate) fn poll_ended(&self) {
        self.poll_since.store(0, Relaxed);
    }

    /// Nanoseconds since the running poll began; `None` when the actor is not on a thread.
    pub(crate) fn polling_for(&self, now: u64) -> Option<u64> {
        // Relaxed is enough: the watch reads again within its interval, and acts on seconds.
        match self.poll_since.load(Relaxed) {
            0 => None,
            since => Some(now.saturating_sub(since)),
        }
    }
}

/// A wait that counts while it lasts.
struct Wait<'a> {
    progress: &'a Progress,
    waits: &'a AtomicU32,
}

impl<'a> Wait<'a> {
    fn begin(progress: &'a Progress, waits: &'a AtomicU32) -> Self {
        progress.beat();
        waits.fetch_add(1, Relaxed);
        Self { progress, waits }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        // The mark first: the other way round, the watch could see work that began with the long wait, and kill the actor.
        self.progress.beat();
        self.waits.fetch_sub(1, Relaxed);
    }
}
