//! A slot: an actor's place in the tree, which outlives its incarnations.
//!
//! It has the health record, the generation, and the gate that admits one incarnation at a time, whatever supervisors, timers
//! and kills do. It knows how to end an incarnation, but not what runs it.

use std::{backtrace::Backtrace, collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    changes::What,
    current::Identity,
    edges::Edge,
    env::Env,
    exit::Exit,
    gate::{Gate, Pass},
    health::{ActorHealth, Crash},
    mailbox::AnyMailbox,
    policy::Policy,
    progress::Progress,
    state::{ExitKind, State},
    sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Relaxed, lock},
};

/// What runs an incarnation, as the slot sees it. `Any`, so that a test finds the type behind it.
pub(crate) trait Switch: std::any::Any + Send + Sync {
    /// Ends the incarnation at its next await.
    fn kill(&self);
}

pub(crate) struct Slot {
    pub(crate) identity: Arc<Identity>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) mailbox: Option<Arc<dyn AnyMailbox>>,
    supervisor: bool,
    gate: Arc<Gate>,
    /// Whether the present incarnation was asked to stop and will be followed by another.
    returns: AtomicBool,
    generation: AtomicU64,
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
    exits: [u64; ExitKind::COUNT],
    /// What happened to it that happens to few actors; see [`Record::incidents`].
    incidents: Option<Box<Incidents>>,
    /// Of the last incarnation that was spawned, to kill it from outside.
    switch: Option<Arc<dyn Switch>>,
    /// It has entered. Until then the one before it may still be ending.
    inside: bool,
    /// The present incarnation's `pre_start` is done.
    ready: bool,
    /// How the last incarnation ended, until its supervisor has taken note.
    exit: Option<ExitKind>,
}

/// Crashes and kills. Made at the first of them: most actors have none, and there may be very many actors.
#[derive(Default)]
struct Incidents {
    /// The last crashes, with the backtraces of panics.
    crashes: VecDeque<(Crash, Option<Arc<Backtrace>>)>,
    last_crash_id: u64,
    /// Why the first incarnation ended before it was ready.
    failed_start: Option<String>,
    /// Why the last incarnation that was spawned is being killed.
    kill: Option<(ExitKind, String)>,
    /// Why the one before it was killed, which is still inside.
    abandoned: Option<(ExitKind, String)>,
}

impl Record {
    fn incidents(&mut self) -> &mut Incidents {
        self.incidents.get_or_insert_default()
    }

    fn last_crash(&self) -> Option<&Crash> {
        self.incidents.as_ref()?.crashes.back().map(|(crash, _)| crash)
    }
}

/// How many crash reports a slot keeps.
const CRASHES_KEPT: usize = 8;

impl Slot {
    pub(crate) fn new(
        path: Arc<str>,
        policy: Arc<Policy>,
        mailbox: Option<Arc<dyn AnyMailbox>>,
        supervisor: bool,
        env: &Arc<Env>,
    ) -> Arc<Self> {
        mailbox.iter().for_each(|mailbox| mailbox.follow(&env.pulse));
        let progress = Arc::new(Progress::new(&env.pulse));
        Arc::new(Self {
            identity: Arc::new(Identity { path, progress, env: env.clone() }),
            policy,
            mailbox,
            supervisor,
            gate: Arc::default(),
            returns: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            record: Mutex::default(),
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    pub(crate) fn path(&self) -> &str {
        &self.identity.path
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.identity.progress
    }

    pub(crate) fn env(&self) -> &Env {
        &self.identity.env
    }

    /// Waits until no incarnation is left and begins the next one, which lasts as long as the guard.
    pub(crate) async fn enter(self: &Arc<Self>) -> Incarnation {
        let pass = self.gate.enter().await;
        {
            let mut record = self.record();
            record.inside = true;
            record.incidents.iter_mut().for_each(|incidents| incidents.abandoned = None);
        }
        self.returns.store(false, Relaxed);
        self.generation.fetch_add(1, Relaxed);
        // After the gate: the wait for a predecessor is no work of this incarnation.
        self.progress().entered();
        self.env().live.send_modify(|live| *live += 1);
        let presence = Arc::new(Presence { slot: self.clone(), pass: Some(pass) });
        Incarnation { presence, exit: None, ended: false }
    }

    /// The span of the actor's log lines, with its path. It has no parent, since that would be the span of what runs the actor,
    /// which means nothing to an operator. It is an error span, so that it exists at every log level.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::error_span!(parent: None, "actor", path = self.path())
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

    /// Shows its state, and whether it is degraded.
    pub(crate) fn show(&self, state: State, degraded: bool) {
        let mut record = self.record();
        if (record.state, record.degraded) == (state, degraded) {
            return;
        }
        (record.state, record.degraded) = (state, degraded);
        // Under the lock: two changes must be told in their order.
        self.tell(What::State { state, degraded });
    }

    /// Shows its state; it stays degraded if it was.
    pub(crate) fn show_state(&self, state: State) {
        let degraded = self.record().degraded;
        self.show(state, degraded);
    }

    fn tell(&self, what: What) {
        self.env().changes.tell(&self.identity.path, self.generation(), what);
    }

    /// Records whether a handler does not yield; returns whether that is worse than before.
    pub(crate) fn set_wedged(&self, wedged: Wedged) -> bool {
        std::mem::replace(&mut self.record().wedged, wedged) < wedged
    }

    /// A new incarnation exists, which `switch` ends. It begins when it has entered.
    pub(crate) fn spawned(&self, switch: Arc<dyn Switch>) {
        let is_inside = self.gate.is_taken();
        let mut record = self.record();
        if let Some(incidents) = &mut record.incidents {
            let killed = incidents.kill.take();
            if is_inside {
                incidents.abandoned = killed.or(incidents.abandoned.take());
            }
        }
        record.exit = None;
        record.wedged = Wedged::No;
        record.inside = false;
        record.ready = false;
        record.switch = Some(switch);
    }

    /// The present incarnation's `pre_start` is done.
    pub(crate) fn ready(&self) {
        self.record().ready = true;
    }

    /// Why the first incarnation ended before it was ready, if it did.
    pub(crate) fn failed_start(&self) -> Option<String> {
        self.record().incidents.as_ref()?.failed_start.clone()
    }

    /// Kills the incarnation that makes no progress. One that waits for its predecessor to end is not killed in its place.
    pub(crate) fn kill_stalled(&self, why: String) {
        if self.record().inside {
            self.kill(ExitKind::Stalled, why);
        }
    }

    /// Kills the running incarnation at its next await. No message is charged for it.
    pub(crate) fn kill(&self, kind: ExitKind, why: String) -> bool {
        let switch = {
            let mut record = self.record();
            // The first reason stays: the watch checks a wedged actor again and again.
            if record.incidents.as_ref().is_some_and(|incidents| incidents.kill.is_some()) {
                return false;
            }
            let Some(switch) = record.switch.clone() else { return false };
            record.incidents().kill = Some((kind, why));
            switch
        };
        switch.kill();
        true
    }

    /// Whether an incarnation exists, in whatever state.
    pub(crate) fn has_incarnation(&self) -> bool {
        self.gate.is_taken()
    }

    /// How the last incarnation ended; `None` when it has not entered.
    pub(crate) fn take_exit(&self) -> Option<ExitKind> {
        let mut record = self.record();
        record.switch = None;
        record.exit.take()
    }

    fn ended(&self, mut exit: Exit) {
        // A stop that is followed by a restart is no end of the actor, and metrics tell the two apart.
        if exit.kind == ExitKind::Stopped && self.returns.load(Relaxed) {
            exit.kind = ExitKind::Sibling;
        }
        let is_crash = exit.kind.is_crash();
        if is_crash {
            tracing::error!(
                actor = self.path(),
                generation = self.generation(),
                kind = exit.kind.as_str(),
                location = exit.panicked.as_ref().and_then(|panicked| panicked.location.as_deref()),
                "the actor crashed: {}",
                exit.message
            );
        }
        // As it was captured: to resolve its symbols takes long, and the restart would wait for it.
        let (location, backtrace) = match exit.panicked {
            Some(panicked) => (panicked.location, Some(Arc::new(panicked.backtrace))),
            None => (None, None),
        };
        let mut record = self.record();
        if let Some(count) = record.exits.get_mut(exit.kind.index()) {
            *count += 1;
        }
        record.exit = Some(exit.kind);
        if is_crash {
            let is_failed_start = self.generation() == 1 && !record.ready;
            let incidents = record.incidents();
            if is_failed_start {
                incidents.failed_start = Some(exit.message.clone());
            }
            incidents.last_crash_id += 1;
            let crash = Crash {
                id: incidents.last_crash_id,
                at: self.env().clock.unix().as_secs_f64(),
                generation: self.generation(),
                kind: exit.kind,
                message: exit.message,
                location,
                backtrace: None,
            };
            incidents.crashes.push_back((crash, backtrace));
            // Backtraces are long: a crash loop must not fill the memory.
            if incidents.crashes.len() > CRASHES_KEPT {
                incidents.crashes.pop_front();
            }
        }
        self.tell(What::Ended(exit.kind));
    }

    /// How many incarnations ended in this way.
    pub(crate) fn exits(&self, kind: ExitKind) -> u64 {
        self.record().exits.get(kind.index()).copied().unwrap_or(0)
    }

    pub(crate) fn crashes(&self) -> Vec<Crash> {
        let crashes = self.record().incidents.as_ref().map_or_else(VecDeque::new, |all| all.crashes.clone());
        // Outside of the lock, for which the actor would wait.
        let shown = |(crash, backtrace): (Crash, Option<Arc<Backtrace>>)| Crash {
            backtrace: backtrace.map(|backtrace| backtrace.to_string()),
            ..crash
        };
        crashes.into_iter().map(shown).collect()
    }

    /// The message of the last crash.
    pub(crate) fn last_crash(&self) -> Option<String> {
        self.record().last_crash().map(|crash| crash.message.clone())
    }

    /// The declared edges to it from actors and from senders outside the tree, ordered by their senders.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let declared = self.mailbox.iter().flat_map(|mailbox| mailbox.edges());
        let mut edges: Vec<_> = declared
            .map(|(from, overflow)| Edge::new(&from, self.path(), overflow, self.env().tree))
            .collect();
        // A mailbox has them by the identities of their senders, whose order is by chance.
        edges.sort();
        edges
    }

    pub(crate) fn health(&self) -> ActorHealth {
        let mailbox = self.mailbox.as_ref().map(|mailbox| mailbox.stats());
        let record = self.record();
        ActorHealth {
            path: self.path().to_owned(),
            supervisor: self.supervisor,
            state: record.state,
            degraded: record.degraded,
            generation: self.generation(),
            exits: record.exits,
            last_crash: record.last_crash().cloned(),
            activity: self.progress().activity(),
            wedged: record.wedged != Wedged::No,
            quiet: Duration::from_nanos(self.progress().quiet_for(self.progress().now())),
            mailbox,
        }
    }

    /// What runs the present incarnation.
    #[cfg(test)]
    pub(crate) fn switch(&self) -> Option<Arc<dyn Switch>> {
        self.record().switch.clone()
    }
}

/// The guard of one incarnation. If it is dropped without [`Incarnation::end`], the incarnation was killed.
pub(crate) struct Incarnation {
    presence: Arc<Presence>,
    exit: Option<Exit>,
    ended: bool,
}

/// An incarnation is in the slot as long as this exists: its sub-tasks hold it too.
pub(crate) struct Presence {
    slot: Arc<Slot>,
    pass: Option<Pass>,
}

impl Incarnation {
    pub(crate) fn presence(&self) -> Arc<Presence> {
        self.presence.clone()
    }

    /// Its own code has ended, but something of it still runs. A crash is recorded as such, even if it is killed now.
    pub(crate) fn ending(&mut self, exit: Exit) {
        self.exit = Some(exit);
    }

    /// It has ended as [`Incarnation::ending`] has said.
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        let slot = &self.presence.slot;
        // First, so that the watch does not check an incarnation that has ended.
        slot.progress().left();
        let exit = match self.exit.take() {
            Some(exit) if self.ended || exit.kind.is_crash() => exit,
            _ => {
                let mut record = slot.record();
                let incidents = record.incidents.as_mut();
                let kill = incidents.and_then(|all| all.abandoned.take().or_else(|| all.kill.take()));
                drop(record);
                let (kind, why) = kill.unwrap_or((ExitKind::Killed, "its supervisor ended".to_owned()));
                Exit::new(kind, why)
            }
        };
        slot.ended(exit);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // The pass first: code that waits for `live` to fall may check whether the slot is free.
        self.pass = None;
        self.slot.env().live.send_modify(|live| *live -= 1);
    }
}
