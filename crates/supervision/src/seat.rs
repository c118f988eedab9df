//! A seat: an actor's place in the tree, which outlives its incarnations.
//!
//! It owns the mailbox, the health record and the generation, and the turnstile that admits one incarnation at a time, whatever
//! supervisors, timers and kills do.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ractor::ActorCell;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    crash::Panicked,
    edges::Edge,
    health::{ActorHealth, Crash, ExitKind, State},
    mailbox::AnyMailbox,
    policy::Policy,
    progress::Progress,
    supervisor::Order,
    tree::TreeShared,
};

tokio::task_local! {
    /// The seat of the actor whose code runs.
    static CURRENT: Arc<Seat>;
}

/// Runs `life` as the code of the actor on `seat`.
pub(crate) async fn scope<F: Future>(seat: Arc<Seat>, life: F) -> F::Output {
    CURRENT.scope(seat, life).await
}

/// The seat of the running actor, outside of one `None`.
pub(crate) fn current() -> Option<Arc<Seat>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Marks the running actor as blocked on an edge until the guard is dropped.
pub(crate) fn blocked() -> Blocked {
    let seat = current();
    if let Some(seat) = &seat {
        seat.progress.blocked();
    }
    Blocked(seat)
}

/// The running actor waits on an edge.
pub(crate) struct Blocked(Option<Arc<Seat>>);

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(seat) = &self.0 {
            seat.progress.unblocked();
        }
    }
}

/// The exit of an incarnation: its kind, and the reason.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) kind: ExitKind,
    message: String,
    panicked: Option<Panicked>,
}

impl Exit {
    pub(crate) fn new(kind: ExitKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), panicked: None }
    }

    pub(crate) fn panicked(panicked: Panicked) -> Self {
        Self { kind: ExitKind::Panicked, message: panicked.message.clone(), panicked: Some(panicked) }
    }

    pub(crate) fn failed(error: &crate::Failure) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some errors repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::new(ExitKind::Failed, message)
    }
}

pub(crate) struct Seat {
    pub(crate) path: String,
    pub(crate) policy: Policy,
    pub(crate) tree: Arc<TreeShared>,
    pub(crate) mailbox: Option<Arc<dyn AnyMailbox>>,
    pub(crate) progress: Progress,
    /// Whether the present incarnation was asked to stop and will be followed by another.
    returns: AtomicBool,
    supervisor: bool,
    turnstile: Arc<Semaphore>,
    generation: AtomicU64,
    began_at: AtomicU64,
    record: Mutex<Record>,
}

/// Whether a handler does not yield, and who was informed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wedged {
    /// It yields.
    #[default]
    No,
    /// It was reported.
    Reported,
    /// The owner of the process was called.
    Told,
}

#[derive(Default)]
struct Record {
    state: State,
    degraded: bool,
    wedged: Wedged,
    exits: [u64; 7],
    crashes: VecDeque<Crash>,
    last_crash_id: u64,
    /// The last incarnation that was spawned, to be killed from outside.
    cell: Option<ActorCell>,
    /// It has entered. Until then the one before it may still be ending.
    inside: bool,
    /// Why the running incarnation is being killed.
    kill: Option<(ExitKind, String)>,
    /// How the last incarnation ended, until its supervisor has taken note.
    exit: Option<ExitKind>,
}

/// How many crash reports a seat keeps.
const CRASHES_KEPT: usize = 8;

impl Seat {
    pub(crate) fn new(
        path: String,
        policy: Policy,
        mailbox: Option<Arc<dyn AnyMailbox>>,
        supervisor: bool,
        tree: &Arc<TreeShared>,
    ) -> Arc<Self> {
        let seat = Arc::new(Self {
            path,
            policy,
            progress: Progress::new(&tree.clock),
            tree: tree.clone(),
            mailbox,
            returns: AtomicBool::new(false),
            supervisor,
            turnstile: Arc::new(Semaphore::new(1)),
            generation: AtomicU64::new(0),
            began_at: AtomicU64::new(0),
            record: Mutex::default(),
        });
        seat.mailbox.iter().for_each(|mailbox| mailbox.attach());
        tree.register(&seat);
        seat
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no incarnation is left and begins the next one, which lasts as long as the guard.
    pub(crate) async fn enter(self: &Arc<Self>) -> Incarnate {
        // The semaphore is never closed, so this can't fail. Without a permit the incarnation must never begin.
        let permit = match self.turnstile.clone().acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        };
        self.record().inside = true;
        self.returns.store(false, Relaxed);
        self.began_at.store(self.tree.clock.nanos(), Relaxed);
        self.generation.fetch_add(1, Relaxed);
        // After the turnstile: the wait for a predecessor is no work of this incarnation.
        self.progress.entered();
        self.tree.live.send_modify(|live| *live += 1);
        Incarnate { seat: self.clone(), ended: false, permit: Some(permit) }
    }

    /// The span of the actor's log lines, with its path. It has no parent, since that would be the span of `ractor` with ids that
    /// mean nothing to an operator. It is an error span, so that it exists at every log level.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::error_span!(parent: None, "actor", path = self.path)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// The present incarnation is asked to stop, for good or not.
    pub(crate) fn set_returns(&self, returns: bool) {
        self.returns.store(returns, Relaxed);
    }

    pub(crate) fn state(&self) -> State {
        self.record().state
    }

    pub(crate) fn set_state(&self, state: State) {
        self.record().state = state;
    }

    pub(crate) fn set_degraded(&self, degraded: bool) {
        self.record().degraded = degraded;
    }

    /// Records whether a handler does not yield; returns whether that is worse than before.
    pub(crate) fn set_wedged(&self, wedged: Wedged) -> bool {
        std::mem::replace(&mut self.record().wedged, wedged) < wedged
    }

    pub(crate) fn seated(&self, cell: ActorCell) {
        let mut record = self.record();
        record.kill = None;
        record.exit = None;
        record.wedged = Wedged::No;
        record.inside = false;
        record.cell = Some(cell);
    }

    /// Tells a supervisor that the members of its group have changed. One that does not run reads them when it begins.
    pub(crate) fn tell_changed(&self) {
        let cell = self.record().cell.clone();
        if let Some(cell) = cell {
            // Refused only by a supervisor that has ended.
            let _ = cell.send_message(Order::Changed);
        }
    }

    /// Kills the incarnation that makes no progress. One that waits for its predecessor to end is not killed in its place.
    pub(crate) fn kill_stalled(&self, why: String) {
        if self.record().inside {
            self.kill(ExitKind::Stalled, why);
        }
    }

    /// Kills the running incarnation at its next await. No message is charged for it.
    pub(crate) fn kill(&self, kind: ExitKind, why: String) -> bool {
        let cell = {
            let mut record = self.record();
            // The first reason stays: the watch checks a wedged actor again and again.
            if record.kill.is_some() || record.cell.is_none() {
                return false;
            }
            record.kill = Some((kind, why));
            record.cell.clone()
        };
        if let Some(cell) = cell {
            cell.kill();
        }
        true
    }

    /// Whether an incarnation exists, in whatever state.
    pub(crate) fn has_incarnation(&self) -> bool {
        self.turnstile.available_permits() == 0
    }

    pub(crate) fn take_exit(&self) -> Option<ExitKind> {
        let mut record = self.record();
        record.cell = None;
        record.exit.take()
    }

    fn ended(&self, mut exit: Exit) {
        // A stop that is followed by a restart is no end of the actor, and metrics tell the two apart.
        if exit.kind == ExitKind::Stopped && self.returns.load(Relaxed) {
            exit.kind = ExitKind::Sibling;
        }
        let is_crash = !matches!(exit.kind, ExitKind::Finished | ExitKind::Stopped | ExitKind::Sibling);
        if is_crash {
            // The letters were written when the inbox was dropped, before the reason was known.
            let reason = format!("its actor {}: {}", exit.kind.as_str(), exit.message);
            if let Some(mailbox) = &self.mailbox {
                mailbox.explain_letters(self.began_at.load(Relaxed), &reason);
            }
            tracing::error!(
                actor = self.path,
                generation = self.generation(),
                kind = exit.kind.as_str(),
                location = exit.panicked.as_ref().and_then(|panicked| panicked.location.as_deref()),
                "the actor crashed: {}",
                exit.message
            );
        }
        // Before the lock: to resolve the symbols of a backtrace takes long, and health records wait for the lock.
        let (location, backtrace) = match exit.panicked {
            Some(panicked) if is_crash => (panicked.location, Some(panicked.backtrace.to_string())),
            _ => (None, None),
        };
        let mut record = self.record();
        for (kind, count) in ExitKind::ALL.iter().zip(&mut record.exits) {
            *count += u64::from(*kind == exit.kind);
        }
        record.exit = Some(exit.kind);
        if is_crash {
            record.last_crash_id += 1;
            let crash = Crash {
                id: record.last_crash_id,
                at: self.tree.clock.unix().as_secs_f64(),
                generation: self.generation(),
                kind: exit.kind,
                message: exit.message,
                location,
                backtrace,
            };
            record.crashes.push_back(crash);
            // Backtraces are long: a crash loop must not fill the memory.
            if record.crashes.len() > CRASHES_KEPT {
                record.crashes.pop_front();
            }
        }
    }

    /// How many incarnations ended in this way.
    pub(crate) fn exits(&self, kind: ExitKind) -> u64 {
        let exits = self.record().exits;
        ExitKind::ALL
            .iter()
            .zip(exits)
            .find_map(|(&known, count)| (known == kind).then_some(count))
            .unwrap_or(0)
    }

    pub(crate) fn crashes(&self) -> Vec<Crash> {
        self.record().crashes.iter().cloned().collect()
    }

    /// The declared edges to it.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let declared = self.mailbox.iter().flat_map(|mailbox| mailbox.edges());
        declared.map(|(from, overflow)| Edge { from, to: self.path.clone(), overflow }).collect()
    }

    pub(crate) fn health(&self) -> ActorHealth {
        let now = self.tree.clock.nanos();
        let mailbox = self.mailbox.as_ref().map(|mailbox| mailbox.stats());
        let record = self.record();
        ActorHealth {
            path: self.path.clone(),
            supervisor: self.supervisor,
            state: record.state,
            degraded: record.degraded,
            generation: self.generation(),
            exits: record.exits,
            last_crash: record.crashes.back().cloned(),
            activity: self.progress.activity(),
            wedged: record.wedged != Wedged::No,
            quiet: Duration::from_nanos(self.progress.quiet_for(now)),
            mailbox,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A sender that still has an address must not wait for a reader that will never come.
        self.mailbox.iter().for_each(|mailbox| mailbox.detach());
    }
}

/// The guard of one incarnation. If it is dropped without [`Incarnate::end`], the incarnation was killed.
pub(crate) struct Incarnate {
    seat: Arc<Seat>,
    ended: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Incarnate {
    pub(crate) fn end(mut self, exit: Exit) {
        self.ended = true;
        self.seat.ended(exit);
    }
}

impl Drop for Incarnate {
    fn drop(&mut self) {
        // First, so that the watch does not check an incarnation that has ended.
        self.seat.progress.left();
        if !self.ended {
            let kill = self.seat.record().kill.take();
            let (kind, why) = kill.unwrap_or((ExitKind::Killed, "its supervisor ended".to_owned()));
            self.seat.ended(Exit::new(kind, why));
        }
        // The permit first: code that waits for `live` to fall may check whether the seat is free.
        self.permit = None;
        self.seat.tree.live.send_modify(|live| *live -= 1);
    }
}
