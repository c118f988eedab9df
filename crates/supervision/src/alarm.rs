//! The timers of one supervisor: one task that waits for the next of them, however many there are.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::AbortHandle};

use crate::{
    clock::{Clock, as_nanos},
    sync::{Mutex, lock},
};

/// How a timer's time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Time in which the process did not run counts: a pause is over.
    Passed,
    /// It does not: one that could not run has missed no deadline.
    Awake,
}

/// Timers with what they remind of. Dropping it ends them.
pub(crate) struct Alarm<T> {
    clock: Clock,
    due: Arc<dyn Fn(T) + Send + Sync>,
    shared: Arc<Shared<T>>,
    task: Option<AbortHandle>,
}

struct Shared<T> {
    timers: Mutex<Timers<T>>,
    changed: Notify,
}

struct Timers<T> {
    next: u64,
    passed: BTreeMap<(Instant, u64), T>,
    awake: BTreeMap<(u64, u64), T>,
    /// How many there may be before the void ones are removed.
    sweep_at: usize,
    /// The first times that the task waits for, to wake it only for an earlier one.
    first: (Option<Instant>, Option<u64>),
}

/// The fewest timers that are worth a sweep.
const SWEEP_AT: usize = 64;

impl<T: Send + 'static> Alarm<T> {
    /// `due` gets each reminder when its time has come.
    pub(crate) fn new(clock: &Clock, due: impl Fn(T) + Send + Sync + 'static) -> Self {
        let timers = Timers {
            next: 0,
            passed: BTreeMap::new(),
            awake: BTreeMap::new(),
            sweep_at: SWEEP_AT,
            first: (None, None),
        };
        let shared = Arc::new(Shared { timers: Mutex::new(timers), changed: Notify::new() });
        Self { clock: clock.clone(), due: Arc::new(due), shared, task: None }
    }

    /// Gives back `reminder` after `after`. `is_void` tells which reminders are not needed any more: from time to time they are
    /// removed, so the number of timers stays within a factor of the needed ones.
    pub(crate) fn arm(&mut self, after: Duration, time: Time, reminder: T, is_void: impl Fn(&T) -> bool) {
        let is_first = {
            let mut timers = lock(&self.shared.timers);
            if timers.passed.len() + timers.awake.len() >= timers.sweep_at {
                timers.passed.retain(|_, reminder| !is_void(reminder));
                timers.awake.retain(|_, reminder| !is_void(reminder));
                timers.sweep_at = SWEEP_AT.max(2 * (timers.passed.len() + timers.awake.len()));
            }
            timers.next += 1;
            let number = timers.next;
            match time {
                // Nobody waits for a time that no clock can show.
                Time::Passed => match self.clock.now().checked_add(after) {
                    Some(at) => {
                        timers.passed.insert((at, number), reminder);
                        timers.first.0.is_none_or(|first| at < first)
                    }
                    None => return,
                },
                Time::Awake => {
                    let at = self.clock.awake_nanos().saturating_add(as_nanos(after));
                    timers.awake.insert((at, number), reminder);
                    timers.first.1.is_none_or(|first| at < first)
                }
            }
        };
        if is_first {
            self.shared.changed.notify_one();
        }
        let task =
            || tokio::spawn(ring(self.clock.clone(), self.shared.clone(), self.due.clone())).abort_handle();
        self.task.get_or_insert_with(task);
    }
}

impl<T> Drop for Alarm<T> {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

/// Waits for the timers, and calls `due` for each one whose time has come.
async fn ring<T>(clock: Clock, shared: Arc<Shared<T>>, due: Arc<dyn Fn(T) + Send + Sync>) {
    loop {
        let changed = shared.changed.notified();
        let (ready, wait) = lock(&shared.timers).due(&clock);
        ready.into_iter().for_each(&*due);
        match wait {
            None => changed.await,
            Some(wait) => {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = clock.sleep(wait) => {}
                }
            }
        }
    }
}

impl<T> Timers<T> {
    /// Takes the reminders whose time has come, and tells how long the next one has to wait.
    fn due(&mut self, clock: &Clock) -> (Vec<T>, Option<Duration>) {
        let (now, awake) = (clock.now(), clock.awake_nanos());
        let mut ready = Vec::new();
        while let Some(first) = self.passed.first_entry().filter(|first| first.key().0 <= now) {
            ready.push(first.remove());
        }
        while let Some(first) = self.awake.first_entry().filter(|first| first.key().0 <= awake) {
            ready.push(first.remove());
        }
        let first =
            (self.passed.keys().next().map(|(at, _)| *at), self.awake.keys().next().map(|(at, _)| *at));
        self.first = first;
        let passed = first.0.map(|at| at.saturating_duration_since(now));
        let awake = first.1.map(|at| Duration::from_nanos(at.saturating_sub(awake)));
        let wait = match (passed, awake) {
            (Some(passed), Some(awake)) => Some(passed.min(awake)),
            (one, other) => one.or(other),
        };
        (ready, wait)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl<T> Alarm<T> {
        fn len(&self) -> usize {
            let timers = lock(&self.shared.timers);
            timers.passed.len() + timers.awake.len()
        }
    }

    /// Arms a timer for each of these numbers; those that `is_needed` does not name are void.
    fn arm(alarm: &mut Alarm<u32>, time: Time, numbers: std::ops::Range<u32>, is_needed: fn(u32) -> bool) {
        for number in numbers {
            alarm.arm(SECOND, time, number, |number| !is_needed(*number));
        }
    }

    #[tokio::test]
    async fn timers_that_nobody_needs_are_removed_and_all_others_ring() {
        for (first, second) in
            [(Time::Passed, Time::Passed), (Time::Awake, Time::Awake), (Time::Passed, Time::Awake)]
        {
            let clock = Clock::manual(Duration::ZERO);
            let rung = Arc::new(Mutex::new(Vec::new()));
            let mut alarm = Alarm::new(&clock, {
                let rung = rung.clone();
                move |number| lock(&rung).push(number)
            });
            // One of a hundred is needed.
            arm(&mut alarm, first, 0..1_000, |number| number % 100 == 0);
            assert!(alarm.len() <= SWEEP_AT + 10, "{}", alarm.len());
            arm(&mut alarm, second, 1_000..20_000, |number| number % 100 == 0);
            assert!(alarm.len() <= 2 * 200 + SWEEP_AT, "{}", alarm.len());
            while clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            clock.advance(SECOND);
            while alarm.len() > 0 {
                tokio::task::yield_now().await;
            }
            let needed: Vec<_> = lock(&rung).iter().copied().filter(|number| number % 100 == 0).collect();
            assert_eq!(needed, (0..200).map(|hundred| 100 * hundred).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn many_timers_that_are_all_needed_are_not_looked_through_again_and_again() {
        let mut alarm = Alarm::new(&Clock::manual(Duration::ZERO), drop::<u32>);
        let asked = Arc::new(AtomicUsize::new(0));
        for number in 0..10_000 {
            alarm.arm(SECOND, Time::Passed, number, |_| {
                asked.fetch_add(1, Relaxed);
                false
            });
        }
        // Doubling: 64 + 128 + … + 8,192.
        assert!(asked.load(Relaxed) < 20_000, "{asked:?}");
    }
}
