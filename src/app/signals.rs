//! A thread that catches signals, and that enforces the deadline of a stop.
//!
//! An actor that never yields blocks its thread, and that may be the thread that drives all I/O and timers of the actors'
//! runtime. So signals have a thread and a runtime of their own, which also ends the process if a stop takes too long. Of the
//! actors it reads only the records of their progress, for which it takes no lock that an actor could hold.

use std::{
    sync::{Arc, OnceLock, Weak, mpsc},
    time::Duration,
};

use color_eyre::eyre::{Result, WrapErr};
use errors::rounded;
use supervision::Tree;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::last_resort;
use crate::exit::{STOPPED_TWICE, SUCCESS};

/// A signal that arrives this soon after the first one is a repetition of it: GNU `timeout` signals the process and then its
/// group, so that the process gets one request twice.
const REPEATED_WITHIN: Duration = Duration::from_millis(250);
/// An actor that has held its thread for this long when a stop is cut short is named as a reason.
const BLOCKER_AFTER: Duration = Duration::from_secs(1);

/// The signals that the process has received. They are caught from [`Signals::catch`] on, until the process ends.
pub(crate) struct Signals {
    told: watch::Receiver<Option<&'static str>>,
    hangups: Arc<Notify>,
    tree: Arc<OnceLock<Weak<Tree>>>,
    limit: watch::Sender<Option<Duration>>,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP, and ignores SIGUSR1 and SIGUSR2, whose default would end the process. With `stop_within`,
    /// the process ends that long after the first SIGTERM or SIGINT whatever it is doing, and at once at the second one. Without it,
    /// every signal after the first one is ignored; [`Self::limit_stop`] sets it later.
    ///
    /// # Errors
    /// The thread can't be started, or the system refuses a handler.
    pub(crate) fn catch(stop_within: Option<Duration>) -> Result<Self> {
        let (tell, told) = watch::channel(None);
        let (hangups, tree) = (Arc::new(Notify::new()), Arc::new(OnceLock::new()));
        let (limit, stop_within) = watch::channel(stop_within);
        let listener = Listener { tell, hangups: hangups.clone(), tree: tree.clone(), stop_within };
        let (caught, catching) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("signals".to_owned());
        // Detached: it must outlive every stop, and it ends with the process.
        thread.spawn(move || listener.listen(&caught)).wrap_err("the thread for signals can't be started")?;
        // Returns only when the handlers are installed: a signal right after it must not end the process by default.
        catching.recv().wrap_err("the thread for signals ended")?.wrap_err("signals can't be caught")?;
        Ok(Self { told, hangups, tree, limit })
    }

    /// Limits the time from the first SIGTERM or SIGINT on, also from one that has arrived already.
    pub(crate) fn limit_stop(&self, within: Duration) {
        self.limit.send_replace(Some(within));
    }

    /// Names the actors of this tree that block a stop, if the stop is cut short.
    pub(crate) fn report_blockers_of(&self, tree: &Arc<Tree>) {
        // Weak: this thread lives as long as the process and must not keep the tree alive.
        self.tree.get_or_init(|| Arc::downgrade(tree));
    }

    /// A check whether SIGTERM or SIGINT has arrived, for threads outside any runtime.
    pub(crate) fn is_stopping(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let told = self.told.clone();
        move || told.borrow().is_some()
    }

    /// Resolves with the name of the first SIGTERM or SIGINT.
    pub(crate) async fn stop_requested(&self) -> &'static str {
        let mut told = self.told.clone();
        match told.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or_default(),
            // The sender is dropped only when the process ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Resolves at the next SIGHUP. Several that arrive before the call count as one.
    pub(crate) async fn hangup(&self) {
        self.hangups.notified().await;
    }
}

/// The state of the thread.
struct Listener {
    tell: watch::Sender<Option<&'static str>>,
    hangups: Arc<Notify>,
    tree: Arc<OnceLock<Weak<Tree>>>,
    stop_within: watch::Receiver<Option<Duration>>,
}

impl Listener {
    fn listen(self, caught: &mpsc::SyncSender<std::io::Result<()>>) {
        // Fails only if `catch` no longer waits: then no one uses the signals.
        let failed = |error| drop(caught.send(Err(error)));
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(error),
        };
        runtime.block_on(async {
            // Within `block_on`: tokio registers the handlers with the runtime of the current thread.
            match Caught::all() {
                Ok(signals) => {
                    drop(caught.send(Ok(())));
                    self.handle(signals).await;
                }
                Err(error) => failed(error),
            }
        });
    }

    async fn handle(mut self, mut signals: Caught) {
        let mut first: Option<Instant> = None;
        loop {
            let within = *self.stop_within.borrow_and_update();
            let deadline = first.zip(within).map(|(first, within)| first + within);
            let name = tokio::select! {
                _ = signals.terminate.recv() => "SIGTERM",
                _ = signals.interrupt.recv() => "SIGINT",
                // Not after the end of the sender, with that of the process.
                Ok(()) = self.stop_within.changed() => continue,
                _ = signals.hangup.recv() => {
                    // `notify_one` stores a permit: a SIGHUP during a reload is not lost, it starts the next one.
                    self.hangups.notify_one();
                    continue;
                }
                // `select!` evaluates the expression even if its condition is false, so it needs some instant.
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.cut_short(),
            };
            match first {
                None => {
                    first = Some(Instant::now());
                    // Logged by another thread: a lock that a wedged actor holds would otherwise block the handling of signals.
                    last_resort::log(move || tracing::info!("{name}: stopping"));
                    self.tell.send_replace(Some(name));
                }
                Some(first) if deadline.is_some() && first.elapsed() >= REPEATED_WITHIN => {
                    last_resort::exit(i32::from(STOPPED_TWICE.code), move || {
                        tracing::warn!("{name} again: the process ends without waiting for its actors");
                    });
                }
                // A repetition of the first signal, or a command without a deadline.
                Some(_) => {}
            }
        }
    }

    /// Ends the process during its stop. No data is lost: the next run computes again what was not committed.
    fn cut_short(&self) -> ! {
        let (tree, within) = (self.tree.clone(), self.stop_within.borrow().unwrap_or_default());
        // Success, as after a stop that had to kill actors: the stop was requested. A failure would make systemd restart it.
        last_resort::exit(i32::from(SUCCESS.code), move || {
            let tree = tree.get().and_then(Weak::upgrade);
            let blockers = tree.map_or_else(Vec::new, |tree| tree.not_yielding(BLOCKER_AFTER));
            let holding: Vec<String> = blockers
                .into_iter()
                .map(|(actor, polling)| format!("{actor} for {}", rounded(polling)))
                .collect();
            tracing::error!(
                ?holding,
                "the stop did not end within {}, so the process ends; the actors in `holding` do not yield their threads",
                rounded(within)
            );
        })
    }
}

/// A file became larger than its limit: the number on Linux and macOS.
const SIGXFSZ: i32 = 25;

struct Caught {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Caught {
    fn all() -> std::io::Result<Self> {
        // With a limit on the size of files, the log may reach it. The write then fails, as on a full disk, in place of this
        // signal's default action, which ends the process. The handler stays when its stream is dropped.
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        // Operators send these to other programs for a reload or for new log files. The handlers stay, as above.
        drop((signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
