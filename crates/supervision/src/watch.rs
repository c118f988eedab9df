//! The watch: it checks the progress of every actor of a tree from outside the runtime, on a thread of its own. On a manual clock
//! it has no thread: it looks at each move of the clock, on the thread that moves it, so that a driven test is deterministic.
//!
//! One thread of a runtime drives all timers and I/O, and it may be the one that an actor does not yield. So while a poll
//! lasts, the watch wakes another thread, which takes over the timers and I/O: the siblings continue while a thread is free.
//!
//! An actor that works without progress is killed, and its supervisor restarts it. An actor that does not yield can't be
//! killed inside a process: it is reported, and after `wedged_after` the owner of the process is called, which should end the
//! process. A log that blocks does not block the watch: it acts before it logs, and logs on another thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    Clock,
    clock::{BEAT, Beater, OnMove},
    progress::Pulse,
    registry::Registry,
    slot::{Slot, Wedged},
    text::shown,
};

/// Called once for each wedge, with the path of the actor and the time for which its poll has been running.
pub type OnWedged = Arc<dyn Fn(&str, Duration) + Send + Sync>;

/// The shortest pause of the watch: without one it would take a core.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// The settings for handlers that do not yield.
#[derive(Clone)]
pub struct WatchSettings {
    /// The interval of the checks; at least 1 ms.
    pub every: Duration,
    /// A poll that has been running for this long is reported.
    pub report_after: Duration,
    /// A poll that has been running for this long calls `on_wedged`.
    pub wedged_after: Duration,
    /// The call; the default only logs.
    pub on_wedged: OnWedged,
}

impl WatchSettings {
    /// How long the watch rests between two beats.
    fn pause(&self) -> Duration {
        self.every.clamp(LEAST_PAUSE, BEAT)
    }
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(100),
            report_after: Duration::from_secs(10),
            wedged_after: Duration::from_secs(60),
            on_wedged: Arc::new(|_, _| {}),
        }
    }
}

/// The running watch. Dropping it ends its thread, and joins it, unless it is dropped on that thread.
pub(crate) struct Watch {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// On a manual clock, in place of the thread.
    _on_move: Option<Arc<OnMove>>,
}

/// One look after the other.
struct Looks {
    clock: Clock,
    pulse: Arc<Pulse>,
    registry: Arc<Registry>,
    settings: WatchSettings,
    /// How much older a mark may be than it says, in nanoseconds: marks have the time of the look before them.
    slack: Duration,
    runtime: Option<Handle>,
}

impl Watch {
    pub(crate) fn start(
        clock: &Clock,
        pulse: &Arc<Pulse>,
        registry: &Arc<Registry>,
        settings: WatchSettings,
    ) -> Self {
        let mut looks = Looks {
            clock: clock.clone(),
            pulse: pulse.clone(),
            registry: registry.clone(),
            settings,
            slack: Duration::ZERO,
            runtime: Handle::try_current().ok(),
        };
        let end = Arc::new(AtomicBool::new(false));
        if clock.is_manual() {
            let on_move: Arc<OnMove> = Arc::new(move || looks.look());
            clock.on_move(&on_move);
            return Self { end, thread: None, _on_move: Some(on_move) };
        }
        looks.slack = looks.settings.every.max(BEAT);
        let ending = end.clone();
        let thread = std::thread::Builder::new().name("progress-watch".to_owned()).spawn(move || {
            let _beater = Beater::begin();
            let mut since_look = Duration::ZERO;
            while !ending.load(Relaxed) {
                let pause = looks.settings.pause();
                std::thread::park_timeout(pause);
                since_look += pause;
                if since_look >= looks.settings.every {
                    since_look = Duration::ZERO;
                    looks.look();
                } else {
                    looks.clock.awake_nanos();
                }
            }
        });
        if let Err(error) = &thread {
            tracing::error!("the progress watch has no thread, so stalled actors are not restarted: {error}");
        }
        Self { end, thread: thread.ok(), _on_move: None }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The owner's reaction to a wedge drops the tree: that thread can't wait for itself, and ends after the reaction.
            if thread.thread().id() == std::thread::current().id() {
                return;
            }
            // Its only way to fail is a panic, which has been printed.
            let _ = thread.join();
        }
    }
}

impl Looks {
    /// Checks every actor.
    fn look(&self) {
        // One reading for all of them: a freeze in the middle of a look is seen at the next one, as a gap.
        let now = self.clock.awake_nanos();
        self.pulse.beat(now);
        let mut held = false;
        for slot in self.registry.slots() {
            held |= self.look_at(&slot, now);
        }
        if let Some(runtime) = self.runtime.as_ref().filter(|_| held) {
            // An empty task: to run it, tokio wakes an idle thread, and that one takes over the timers.
            runtime.spawn(std::future::ready(()));
        }
    }

    /// Checks one actor. Returns whether its poll has lasted longer than the interval of the checks.
    fn look_at(&self, slot: &Slot, now: u64) -> bool {
        let settings = &self.settings;
        let running_poll = slot.progress().polling_for(now).map(Duration::from_nanos);
        let wedged = match running_poll.map(|polling| polling.saturating_sub(self.slack)) {
            Some(surely) if surely >= settings.wedged_after => Wedged::Told,
            Some(surely) if surely >= settings.report_after => Wedged::Reported,
            _ => Wedged::No,
        };
        let polling = running_poll.unwrap_or_default();
        // Once for each wedge: an actor that has yielded in between can be reported again.
        if slot.set_wedged(wedged) {
            // The call before the log: the owner has to be informed even if the log blocks.
            if wedged == Wedged::Told {
                // A panic of the owner's code must not end the watch: the other actors need it.
                let told = catch_unwind(AssertUnwindSafe(|| (settings.on_wedged)(slot.path(), polling)));
                if told.is_err() {
                    tracing::error!(
                        actor = slot.path(),
                        "the reaction to an actor that never yields panicked"
                    );
                }
            }
            report(slot.path(), polling);
        }
        let worked = slot.progress().worked_for(now).map(Duration::from_nanos);
        if let Some((limit, worked)) = slot.policy.stall_after.zip(worked)
            && worked.saturating_sub(self.slack) >= limit
        {
            slot.kill_stalled(format!("it worked for {} without a sign of progress", shown(worked)));
        }
        running_poll.is_some_and(|polling| polling >= settings.every)
    }
}

/// Logs that an actor does not yield. On its own thread: the log may block, and the watch has other actors to check.
fn report(actor: &str, polling: Duration) {
    let actor = actor.to_owned();
    let log = move || {
        tracing::error!(
            actor,
            "a handler has not yielded for {}, so it can't be killed and restarted",
            shown(polling)
        );
    };
    // Without a thread for it, only the health record shows the wedge.
    drop(std::thread::Builder::new().name("progress-report".to_owned()).spawn(log));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watch_rests_for_at_least_a_millisecond_and_at_most_a_beat() {
        let pause = |every| WatchSettings { every, ..WatchSettings::default() }.pause();
        let ms = Duration::from_millis;
        assert_eq!([ms(0), ms(7), ms(60_000)].map(pause), [ms(1), ms(7), BEAT]);
    }
}
