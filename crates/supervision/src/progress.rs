//! The progress of one actor, readable without its help.
//!
//! The actor's calls into this crate set marks (waiting for a message, working, waiting on a full edge); the watch reads them
//! from outside. Work without a mark for too long is a stall; a poll that does not return is a handler that does not yield.
//! All times are nanoseconds in which the process ran (a frozen one makes no progress, and that is nobody's fault), and as
//! old as the watch's last look: to read the clock at each message would cost more than the rest of its handling. So the
//! interval of the looks is the resolution of everything here.

use std::sync::{Arc, Weak};

use serde::Serialize;

use crate::{
    sync::{Acquire, AtomicBool, AtomicU32, AtomicU64, Mutex, Relaxed, Release, lock},
    weak_list,
};

/// The time of the watch's last look.
#[derive(Debug)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    pub(crate) fn new(now: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now)))
    }

    /// The time of the last look, in nanoseconds of the clock.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// The watch looks at `now`.
    pub(crate) fn beat(&self, now: u64) {
        self.0.store(now, Relaxed);
    }
}

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

/// The progress of one actor, over all its incarnations.
#[derive(Debug)]
pub(crate) struct Progress {
    pulse: Arc<Pulse>,
    /// An incarnation runs.
    present: AtomicBool,
    /// The numbers of its waits for outside events and on full edges. Numbers, because an actor can join several waits.
    idling: AtomicU32,
    blocked: AtomicU32,
    /// The number of the incarnation whose waits are counted: what an earlier one has left behind counts for nothing.
    incarnation: AtomicU32,
    last: AtomicU64,
    /// When the running poll of its own future began; 0 without one.
    poll_since: AtomicU64,
    /// That of its sub-tasks, of which only the polls are watched.
    tasks: Mutex<Vec<Weak<Progress>>>,
}

impl Progress {
    pub(crate) fn new(pulse: &Arc<Pulse>) -> Self {
        Self {
            pulse: pulse.clone(),
            present: AtomicBool::new(false),
            idling: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            incarnation: AtomicU32::new(0),
            last: AtomicU64::new(0),
            poll_since: AtomicU64::new(0),
            tasks: Mutex::default(),
        }
    }

    /// An incarnation begins: it works.
    pub(crate) fn entered(&self) {
        // The mark first: the time before this incarnation is none of its work.
        self.beat();
        self.incarnation.fetch_add(1, Relaxed);
        self.idling.store(0, Relaxed);
        self.blocked.store(0, Relaxed);
        self.present.store(true, Release);
    }

    /// The incarnation is over.
    pub(crate) fn left(&self) {
        self.beat();
        self.present.store(false, Relaxed);
    }

    /// The time with which marks are stamped now.
    pub(crate) fn now(&self) -> u64 {
        self.pulse.now()
    }

    /// The progress of a new sub-task. Its marks are its own: an actor does not idle because its sub-task does.
    pub(crate) fn task(&self) -> Arc<Self> {
        let task = Arc::new(Self::new(&self.pulse));
        weak_list::push(&mut lock(&self.tasks), &task);
        task
    }

    /// Marks it as idle until the guard is dropped, even if the wait itself is dropped.
    pub(crate) fn idling(&self) -> impl Drop {
        Wait { progress: self, incarnation: self.begin(&self.idling) }
    }

    /// Waiting on a full edge begins. Its `unblocked` needs the number that this returns.
    pub(crate) fn blocked(&self) -> u32 {
        self.begin(&self.blocked)
    }

    /// One wait on a full edge is over.
    pub(crate) fn unblocked(&self, incarnation: u32) {
        self.end(&self.blocked, incarnation);
    }

    fn begin(&self, waits: &AtomicU32) -> u32 {
        self.beat();
        waits.fetch_add(1, Relaxed);
        self.incarnation.load(Relaxed)
    }

    fn end(&self, waits: &AtomicU32, incarnation: u32) {
        // The mark first: the other way round, the watch could see work that began with the long wait, and kill the actor.
        self.beat();
        if self.incarnation.load(Relaxed) == incarnation {
            // Not below zero, where a new incarnation has just begun to count.
            let _ = waits.fetch_update(Release, Relaxed, |waits| waits.checked_sub(1));
        }
    }

    /// Notes progress without a change of activity.
    pub(crate) fn beat(&self) {
        self.last.store(self.pulse.now(), Relaxed);
    }

    pub(crate) fn activity(&self) -> Activity {
        // Blocked before idle: an actor that waits for both is waiting for another actor.
        // Each with the mark that was set before its change, which the reader may compare.
        if !self.present.load(Acquire) {
            Activity::Idle
        } else if self.blocked.load(Acquire) > 0 {
            Activity::Blocked
        } else if self.idling.load(Acquire) > 0 {
            Activity::Idle
        } else {
            Activity::Working
        }
    }

    /// Nanoseconds since the last mark when it is working; `None` while it idles or waits on an edge.
    pub(crate) fn worked_for(&self, now: u64) -> Option<u64> {
        // The activity before the mark: an actor whose wait has just ended set its mark before. The other way round, it would seem
        // to have worked since that wait began, and be killed.
        (self.activity() == Activity::Working).then(|| self.quiet_for(now))
    }

    pub(crate) fn poll_began(&self) {
        self.poll_since.store(self.pulse.now(), Relaxed);
    }

    pub(crate) fn poll_ended(&self) {
        self.poll_since.store(0, Relaxed);
    }

    /// Nanoseconds since the longest running poll of it or of its sub-tasks began; `None` when none is on a thread.
    pub(crate) fn polling_for(&self, now: u64) -> Option<u64> {
        // Relaxed is enough: the watch reads again within its interval, and acts on seconds.
        let since = |progress: &Self| Some(progress.poll_since.load(Relaxed)).filter(|&since| since != 0);
        let tasks = lock(&self.tasks);
        let of_tasks = tasks.iter().filter_map(Weak::upgrade).filter_map(|task| since(&task));
        of_tasks.chain(since(self)).min().map(|since| now.saturating_sub(since))
    }

    /// Nanoseconds since the last mark of any kind.
    pub(crate) fn quiet_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.last.load(Relaxed))
    }
}

/// A wait that counts while it lasts.
struct Wait<'a> {
    progress: &'a Progress,
    incarnation: u32,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.progress.end(&self.progress.idling, self.incarnation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_task_that_lasts_is_seen_however_many_others_end() {
        let progress = Progress::new(&Pulse::new(1));
        let lasts = progress.task();
        for _ in 0..1_000 {
            drop(progress.task());
        }
        lasts.poll_began();
        assert_eq!(progress.polling_for(5), Some(4));
    }
}
