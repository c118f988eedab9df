//! Signals, and the last deadline of a stop, on a thread of their own.
//!
//! An actor that never yields keeps the thread that it runs on, and that may be the one that drives all I/O and timers of
//! the actors' runtime. So signals are heard elsewhere, and a stop that does not come to its end is cut short from
//! there. Touches nothing of the actors but the marks of their progress, which takes no lock that an actor could hold.

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

/// A signal that follows the first one within this time is no second one: `timeout` signals the process, and then its
/// group.
const REPEATED_WITHIN: Duration = Duration::from_millis(250);
/// An actor that has been on its thread for this long when a stop is cut short is named as what held it up.
const HOLDS_UP: Duration = Duration::from_secs(1);

/// What the process has been told by signals. They are caught from its making on, until the process ends.
pub(crate) struct Signals {
    told: watch::Receiver<Option<&'static str>>,
    hangups: Arc<Notify>,
    tree: Arc<OnceLock<Weak<Tree>>>,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP. With `stop_within` the process ends that long after the first SIGTERM or
    /// SIGINT whatever it is doing then, and at once at the second one; without, only the first one is told.
    ///
    /// # Errors
    /// When there is no thread for it, or the system refuses.
    pub(crate) fn catch(stop_within: Option<Duration>) -> Result<Self> {
        let (tell, told) = watch::channel(None);
        let (hangups, tree) = (Arc::new(Notify::new()), Arc::new(OnceLock::new()));
        let listener = Listener { tell, hangups: hangups.clone(), tree: tree.clone(), stop_within };
        let (caught, catching) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || listener.listen(&caught)).wrap_err("no thread for signals")?;
        catching.recv().wrap_err("the thread for signals ended")?.wrap_err("signals can't be caught")?;
        Ok(Self { told, hangups, tree })
    }

    /// When a stop is cut short, the actors of this tree that held it up are named.
    pub(crate) fn watch_over(&self, tree: &Arc<Tree>) {
        self.tree.get_or_init(|| Arc::downgrade(tree));
    }

    /// Says whether SIGTERM or SIGINT has come.
    pub(crate) fn is_told_to_stop(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let told = self.told.clone();
        move || told.borrow().is_some()
    }

    /// Resolves when SIGTERM or SIGINT has come, with its name.
    pub(crate) async fn told_to_stop(&self) -> &'static str {
        let mut told = self.told.clone();
        match told.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or_default(),
            // The thread ends only with the process.
            Err(_) => std::future::pending().await,
        }
    }

    /// Resolves at the next SIGHUP; several that come meanwhile are one.
    pub(crate) async fn hangup(&self) {
        self.hangups.notified().await;
    }
}

/// What runs on the thread.
struct Listener {
    tell: watch::Sender<Option<&'static str>>,
    hangups: Arc<Notify>,
    tree: Arc<OnceLock<Weak<Tree>>>,
    stop_within: Option<Duration>,
}

impl Listener {
    fn listen(self, caught: &mpsc::SyncSender<std::io::Result<()>>) {
        // Refused only when nobody waits for it, and then nobody wants the signals either.
        let failed = |error| drop(caught.send(Err(error)));
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(error),
        };
        runtime.block_on(async {
            match Caught::all() {
                Ok(signals) => {
                    drop(caught.send(Ok(())));
                    self.obey(signals).await;
                }
                Err(error) => failed(error),
            }
        });
    }

    async fn obey(self, mut signals: Caught) {
        let mut first: Option<Instant> = None;
        loop {
            let deadline = first.zip(self.stop_within).map(|(first, within)| first + within);
            let name = tokio::select! {
                _ = signals.terminate.recv() => "SIGTERM",
                _ = signals.interrupt.recv() => "SIGINT",
                _ = signals.hangup.recv() => {
                    self.hangups.notify_one();
                    continue;
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.cut_short(),
            };
            match first {
                None => {
                    first = Some(Instant::now());
                    last_resort::log(move || tracing::info!("{name}: stopping"));
                    self.tell.send_replace(Some(name));
                }
                Some(first) if deadline.is_some() && first.elapsed() >= REPEATED_WITHIN => {
                    last_resort::exit(i32::from(STOPPED_TWICE.code), move || {
                        tracing::warn!("{name} again: not waiting any longer");
                    });
                }
                Some(_) => {}
            }
        }
    }

    /// Ends the process in the middle of its stop. Nothing is lost: what was not committed is derived again.
    fn cut_short(&self) -> ! {
        let (tree, within) = (self.tree.clone(), self.stop_within.unwrap_or_default());
        // As after a stop in which something had to be killed: who was told to stop has done so.
        last_resort::exit(i32::from(SUCCESS.code), move || {
            let tree = tree.get().and_then(Weak::upgrade);
            let holding = tree.map_or_else(Vec::new, |tree| tree.not_yielding(HOLDS_UP));
            let holding: Vec<String> = holding
                .into_iter()
                .map(|(actor, polling)| format!("{actor} for {}", rounded(polling)))
                .collect();
            tracing::error!(
                ?holding,
                "the stop did not end within {}, the process ends; `holding` are the actors that do not yield",
                rounded(within)
            );
        })
    }
}

struct Caught {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Caught {
    fn all() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
