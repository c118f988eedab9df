//! The watch: one OS thread for each tree that checks the progress of every actor from outside the runtime.
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
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    progress::Missed,
    seat::{Seat, Wedged},
    text::shown,
    tree::TreeShared,
};

/// Called once for each wedge, with the path of the actor and the time for which its poll has been running.
pub type OnWedged = Arc<dyn Fn(&str, Duration) + Send + Sync>;

/// The settings for handlers that do not yield.
#[derive(Clone)]
pub struct WatchSettings {
    /// The interval of the checks.
    pub every: Duration,
    /// A poll that has been running for this long is reported.
    pub report_after: Duration,
    /// A poll that has been running for this long calls `on_wedged`.
    pub wedged_after: Duration,
    /// The call; the default only logs.
    pub on_wedged: OnWedged,
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

/// The running watch. Dropping it ends and joins its thread.
pub(crate) struct Watch {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(tree: &Arc<TreeShared>, settings: WatchSettings) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (tree, clock, ending) = (Arc::downgrade(tree), tree.clock.clone(), end.clone());
        let runtime = tokio::runtime::Handle::try_current().ok();
        let thread = std::thread::Builder::new().name("progress-watch".to_owned()).spawn(move || {
            let (mut last, mut missed) = (clock.nanos(), Missed::default());
            while !ending.load(Relaxed) {
                clock.pause_thread(settings.every);
                // One reading for all actors: a freeze in the middle of a look is seen at the next one, as a gap.
                let (now, gap) = clock.tick(last, settings.every);
                missed.note(now, gap);
                last = now;
                let Some(tree) = Weak::upgrade(&tree) else {
                    return;
                };
                let mut held = false;
                for seat in tree.seats() {
                    held |= look(&seat, &settings, now, &missed);
                }
                if let Some(runtime) = runtime.as_ref().filter(|_| held) {
                    // An empty task: to run it, tokio wakes an idle thread, and that one takes over the timers.
                    runtime.spawn(std::future::ready(()));
                }
            }
        });
        if let Err(error) = &thread {
            tracing::error!("the progress watch has no thread, so stalled actors are not restarted: {error}");
        }
        Self { end, thread: thread.ok() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its only way to fail is a panic, which has been printed.
            let _ = thread.join();
        }
    }
}

/// Checks one actor. Returns whether its poll has lasted longer than the interval of the checks.
fn look(seat: &Seat, settings: &WatchSettings, now: u64, missed: &Missed) -> bool {
    let polling = Duration::from_nanos(seat.progress.polled_for(now, missed).unwrap_or_default());
    let wedged = match polling {
        polling if polling >= settings.wedged_after => Wedged::Told,
        polling if polling >= settings.report_after => Wedged::Reported,
        _ => Wedged::No,
    };
    // Once for each wedge: an actor that has yielded in between can be reported again.
    if seat.set_wedged(wedged) {
        // The call before the log: the owner has to be informed even if the log blocks.
        if wedged == Wedged::Told {
            // A panic of the owner's code must not end the watch: the other actors need it.
            let told = catch_unwind(AssertUnwindSafe(|| (settings.on_wedged)(&seat.path, polling)));
            if told.is_err() {
                tracing::error!(actor = seat.path, "the reaction to an actor that never yields panicked");
            }
        }
        report(&seat.path, polling);
    }
    let worked = seat.progress.worked_for(now, missed).map(Duration::from_nanos);
    let stalled = seat.policy.stall_after.zip(worked);
    if let Some((limit, quiet)) = stalled
        && quiet >= limit
    {
        seat.kill_stalled(format!("it worked for {} without a sign of progress", shown(quiet)));
    }
    polling >= settings.every
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
