//! A tree of supervised actors: it is started, observed, changed and stopped here.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ractor::ActorRef;
use tokio::sync::{Semaphore, watch};

use crate::{
    Clock,
    child::Child,
    crash,
    edges::{Edge, waiting_cycle},
    health::{ActorHealth, Crash, ExitKind, State},
    mailbox::DeadLetter,
    policy::{Policy, Strategy},
    reports::{BadDescription, ChangeError, Outcome, Removed, StartError, StopReport},
    seat::Seat,
    supervisor::{Group, KILL_GRACE, Member, MemberKind, Order, Places, Post, Supervisor},
    text::shown,
    watch::{Watch, WatchSettings},
};

/// The options of a tree.
#[derive(Clone)]
pub struct TreeOptions {
    /// The clock of everything in the tree.
    pub clock: Clock,
    /// The settings of the watch.
    pub watch: WatchSettings,
    /// The most actors of the tree that restart at the same time, at least 1; the others wait for a permit. It keeps actors that
    /// crashed together from loading a server together.
    pub simultaneous_restarts: usize,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { clock: Clock::system(), watch: WatchSettings::default(), simultaneous_restarts: 8 }
    }
}

pub(crate) struct TreeShared {
    pub(crate) clock: Clock,
    /// The number of incarnations that have begun and not ended.
    pub(crate) live: watch::Sender<usize>,
    /// The restart permits.
    pub(crate) restarts: Arc<Semaphore>,
    #[cfg(feature = "failure-points")]
    pub(crate) failure_points: crate::fail::FailurePoints,
    seats: Mutex<Vec<Weak<Seat>>>,
    /// Whether the tree was asked to stop, or gives up.
    stopping: AtomicBool,
    root: Mutex<Option<ActorRef<Order>>>,
    verdict: Mutex<Option<Outcome>>,
}

/// A running tree. Dropping it kills its actors; [`Tree::stop`] stops them in order.
pub struct Tree {
    shared: Arc<TreeShared>,
    group: Arc<Group>,
    root: Arc<Seat>,
    boot: u64,
    ended: watch::Receiver<Option<Outcome>>,
    watch: Option<Watch>,
    changing: Mutex<()>,
}

impl Tree {
    /// Starts the root supervisor, which starts `children` in order. Returns when that has begun; [`Tree::health`] shows how far it
    /// is.
    ///
    /// # Errors
    /// [`StartError`] when waiting edges form a cycle, or the root supervisor can't be spawned.
    pub async fn start(children: Vec<Child>, options: TreeOptions) -> Result<Self, StartError> {
        // Before any actor runs: a panic without the hook has neither location nor backtrace.
        crash::install_hook();
        let shared = Arc::new(TreeShared {
            clock: options.clock.clone(),
            live: watch::Sender::new(0),
            restarts: Arc::new(Semaphore::new(options.simultaneous_restarts.max(1))),
            #[cfg(feature = "failure-points")]
            failure_points: crate::fail::FailurePoints::default(),
            seats: Mutex::default(),
            stopping: AtomicBool::new(false),
            root: Mutex::default(),
            verdict: Mutex::default(),
        });
        let policy = Policy { stall_after: None, ..Policy::default() };
        let root = Seat::new("root".to_owned(), policy, None, true, &shared);
        let group = Arc::new(Group::new(
            Strategy::OneForOne,
            children.into_iter().map(|child| child.seat("", &shared)),
        ));
        group.note_places("", &mut Places::default())?;
        if let Some(cycle) = waiting_cycle(&group.edges()) {
            return Err(cycle.into());
        }
        let post = Post { seat: root.clone(), group: group.clone(), ready: Box::new(|| {}) };
        root.set_state(State::Running);
        let (actor, handle) = ractor::Actor::spawn(None, Supervisor, post)
            .await
            .map_err(|error| StartError::Spawn(error.into()))?;
        root.seated(actor.get_cell());
        *shared.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(actor.clone());
        let (end, ended) = watch::channel(None);
        // A task of its own, so that `ended` resolves however the root ends, also when it panics or is killed.
        tokio::spawn({
            let (root, group, shared) = (root.clone(), group.clone(), Arc::downgrade(&shared));
            async move {
                let _ = handle.await;
                root.set_state(State::Stopped);
                group.close_mailboxes();
                let verdict = shared.upgrade().and_then(|shared| shared.take_verdict());
                let orderly = root.take_exit() == Some(ExitKind::Stopped);
                let outcome = verdict.unwrap_or_else(|| {
                    let reason =
                        root.crashes().pop().map_or("it was killed".to_owned(), |crash| crash.message);
                    if orderly { Outcome::Stopped } else { Outcome::RootEnded { reason } }
                });
                end.send_replace(Some(outcome));
            }
        });
        let _ = actor.cast(Order::Begin);
        // After the seats exist, and outside of the runtime, which an actor could block.
        let watch = Watch::start(&shared, options.watch);
        Ok(Self {
            shared,
            group,
            root,
            boot: next_boot(),
            ended,
            watch: Some(watch),
            changing: Mutex::default(),
        })
    }

    /// The boot id of this tree. It is unique among the trees of this process and of earlier ones, unless the machine's clock is
    /// set back; later trees have larger ones.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The health records of all actors, the root first, then in start order.
    #[must_use]
    pub fn health(&self) -> Vec<ActorHealth> {
        let mut records = vec![self.root.health()];
        self.group.walk(&mut |seat| records.push(seat.health()));
        records
    }

    /// The declared edges between its actors, ordered by the start order of their readers.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        self.group.edges()
    }

    /// The last crashes of an actor with their backtraces, oldest first; empty for an unknown path.
    #[must_use]
    pub fn crashes(&self, path: &str) -> Vec<Crash> {
        self.find(path).map_or_else(Vec::new, |seat| seat.crashes())
    }

    /// All dead letters that are not evicted.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        self.group
            .walk(&mut |seat| letters.extend(seat.mailbox.iter().flat_map(|mailbox| mailbox.dead_letters())));
        letters
    }

    /// Puts a dead letter back into its mailbox as a new message; `false` when there is no such letter, or its mailbox is full or
    /// closed.
    #[must_use]
    pub fn replay(&self, path: &str, sequence: u64) -> bool {
        self.find(path).and_then(|seat| seat.mailbox.clone()).is_some_and(|mailbox| mailbox.replay(sequence))
    }

    /// Kills the present incarnation of an actor; its supervisor treats that as a crash.
    #[must_use]
    pub fn kill(&self, path: &str) -> bool {
        self.find(path).is_some_and(|seat| seat.kill(ExitKind::Killed, "killed by an operator".to_owned()))
    }

    /// Adds a member under the supervisor with this path (`root` for the root), after the existing ones, and has it started. It
    /// outlives crashes of its supervisor.
    ///
    /// # Errors
    /// [`ChangeError`] when there is no such supervisor, the name is taken, its edges would close a cycle, or the supervisor
    /// or the whole tree is being stopped or has ended.
    pub fn add_child(&self, supervisor: &str, child: Child) -> Result<(), ChangeError> {
        // One change at a time: two calls that add the same name must not both find it free.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended.borrow().is_some() {
            return Err(ChangeError::Ended);
        }
        // A supervisor that stops would never start it.
        if self.shared.stopping.load(Relaxed) {
            return Err(ChangeError::Stopping("the tree".to_owned()));
        }
        let (parent, seat, group) = self.supervisor(supervisor)?;
        // Children of the root have no prefix in their paths.
        let path = if parent.is_empty() { child.name.clone() } else { format!("{parent}/{}", child.name) };
        if self.member(&path).is_some() {
            return Err(ChangeError::Taken(path));
        }
        let member = child.seat(parent, &self.shared);
        self.check_against_present(parent, &member)?;
        // All edges of the tree: a new member can close a cycle through old ones.
        let mut edges = self.group.edges();
        edges.extend(member.edges());
        if let Some(cycle) = waiting_cycle(&edges) {
            return Err(cycle.into());
        }
        group.insert(member);
        seat.tell_changed();
        Ok(())
    }

    /// Stops the member with this path and everything below it, in order and within its deadline, and removes it from the tree; its
    /// siblings continue. If its supervisor is just being restarted, the call waits for that. Returns the actors that had to be
    /// killed.
    ///
    /// # Errors
    /// [`ChangeError`] when there is no such member, the tree ended first, or a handler in it does not yield.
    pub async fn remove_child(&self, path: &str) -> Result<Removed, ChangeError> {
        if self.ended.borrow().is_some() {
            return Err(ChangeError::Ended);
        }
        let (member, supervisor) = self.member(path).ok_or_else(|| ChangeError::Unknown(path.to_owned()))?;
        let seats = || {
            let mut seats = vec![member.seat.clone()];
            if let MemberKind::Supervisor(group) = &member.kind {
                group.walk(&mut |seat| seats.push(seat.clone()));
            }
            seats
        };
        // The counters cover all incarnations, so only their growth belongs to this removal.
        let killed_before: HashMap<String, u64> =
            seats().iter().map(|seat| (seat.path.clone(), seat.exits(ExitKind::Killed))).collect();
        let left = member.leave();
        supervisor.tell_changed();
        if supervisor.state() == State::Stopped {
            // No later incarnation of the supervisor will do it.
            self.group_of(&supervisor.path).iter().for_each(|group| group.dismiss_leaving());
        }
        // The tree may end first, and then no supervisor is left to cancel the token.
        tokio::select! {
            () = left.cancelled() => {}
            _ = self.ended() => return Err(ChangeError::Ended),
        }
        // A killed actor ends at its next await. That takes real time, whatever the clock of the tree.
        let mut live = self.shared.live.subscribe();
        let all_ended = live.wait_for(|_| !seats().iter().any(|seat| seat.has_incarnation()));
        if tokio::time::timeout(KILL_GRACE, all_ended).await.is_err() {
            return Err(ChangeError::Abandoned(path.to_owned()));
        }
        let was_killed = |seat: &Arc<Seat>| {
            let before = killed_before.get(&seat.path).copied().unwrap_or_default();
            (seat.exits(ExitKind::Killed) > before).then(|| seat.path.clone())
        };
        Ok(Removed { killed: seats().iter().filter_map(was_killed).collect() })
    }

    /// The number of actors that the watch knows, including removed ones that it has not forgotten yet.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.shared.seats.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The actors whose running poll has lasted for at least `at_least`; they can't be killed meanwhile. It takes no lock that an
    /// actor could hold.
    #[must_use]
    pub fn not_yielding(&self, at_least: Duration) -> Vec<(String, Duration)> {
        let now = self.shared.clock.nanos();
        let polling = |seat: &Arc<Seat>| {
            let polling = Duration::from_nanos(seat.progress.polling_for(now)?);
            (polling >= at_least).then(|| (seat.path.clone(), polling))
        };
        self.shared.seats().iter().filter_map(polling).collect()
    }

    /// The failure points of this tree.
    #[cfg(feature = "failure-points")]
    #[must_use]
    pub fn failure_points(&self) -> &crate::fail::FailurePoints {
        &self.shared.failure_points
    }

    /// Resolves when the tree has ended, for whatever reason.
    pub async fn ended(&self) -> Outcome {
        let mut ended = self.ended.clone();
        let outcome = ended.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or(Outcome::RootEnded { reason: "the runtime was shut down".to_owned() })
    }

    /// Stops all actors in reverse order, each within its deadline, and kills the remaining ones after `within`.
    pub async fn stop(&self, within: Duration) -> StopReport {
        let began = Instant::now();
        self.shared.order_stop();
        let orderly = self.shared.clock.timeout_awake(within, self.ended()).await;
        let outcome = match orderly {
            Some(outcome) => outcome,
            None => {
                let reason = format!("the tree did not stop within {}", shown(within));
                // Killing the root kills the linked actors below it.
                self.root.kill(ExitKind::Killed, reason.clone());
                Outcome::RootEnded { reason }
            }
        };
        // A killed actor ends at its next await. That takes real time, whatever the clock of the tree.
        let mut live = self.shared.live.subscribe();
        let _ = tokio::time::timeout(KILL_GRACE, live.wait_for(|&live| live == 0)).await;
        let left_behind = *live.borrow();
        StopReport { outcome, abandoned: self.group.overdue(), left_behind, took: began.elapsed() }
    }

    /// Whether nothing that is to be added is in the tree already, or has an incarnation left of an earlier member.
    fn check_against_present(&self, parent: &str, member: &Member) -> Result<(), ChangeError> {
        let mut added = Places::default();
        member.note_places(parent, &mut added)?;
        let mut shared = None;
        self.group.walk(&mut |seat| {
            let mailbox = seat.mailbox.as_ref().map(|mailbox| mailbox.identity());
            if let Some(second) = mailbox.and_then(|mailbox| added.mailboxes.get(&mailbox)) {
                shared =
                    Some(BadDescription::SharedMailbox { first: seat.path.clone(), second: second.clone() });
            }
        });
        if let Some(shared) = shared {
            return Err(shared.into());
        }
        let remains = |seat: &&Arc<Seat>| seat.has_incarnation() && added.paths.contains(&seat.path);
        match self.shared.seats().iter().find(remains) {
            Some(seat) => Err(ChangeError::StillRuns(seat.path.clone())),
            None => Ok(()),
        }
    }

    /// The group under the supervisor with this path, `root` for the root.
    fn group_of(&self, path: &str) -> Option<Arc<Group>> {
        if path == self.root.path {
            return Some(self.group.clone());
        }
        let (member, _) = self.member(path)?;
        match &member.kind {
            MemberKind::Supervisor(group) => Some(group.clone()),
            MemberKind::Worker(_) => None,
        }
    }

    /// A member, and the seat of its supervisor.
    fn member(&self, path: &str) -> Option<(Arc<Member>, Arc<Seat>)> {
        let mut found = None;
        self.group.visit(None, &mut |member, above| {
            if member.seat.path == path {
                found = Some((member.clone(), above.unwrap_or(&self.root).clone()));
            }
        });
        found
    }

    /// Finds a supervisor by its path (`root` for the root): the prefix of its children's paths, its seat, its group.
    fn supervisor<'a>(&self, path: &'a str) -> Result<(&'a str, Arc<Seat>, Arc<Group>), ChangeError> {
        if path == self.root.path {
            return Ok(("", self.root.clone(), self.group.clone()));
        }
        let mut leaving = None;
        self.group.visit(None, &mut |member, _| {
            let above = path.strip_prefix(member.seat.path.as_str());
            if member.is_leaving() && above.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
                leaving = Some(member.seat.path.clone());
            }
        });
        if let Some(leaving) = leaving {
            return Err(ChangeError::Stopping(leaving));
        }
        let is_down = |seat: &Arc<Seat>| matches!(seat.state(), State::Stopped | State::Abandoned);
        let member = self.member(path).map(|(member, _)| member);
        match member.as_deref() {
            Some(Member { seat, kind: MemberKind::Supervisor(_), .. }) if is_down(seat) => {
                Err(ChangeError::Down(path.to_owned()))
            }
            Some(Member { seat, kind: MemberKind::Supervisor(group), .. }) => {
                Ok((path, seat.clone(), group.clone()))
            }
            _ => Err(ChangeError::NoSupervisor(path.to_owned())),
        }
    }

    fn find(&self, path: &str) -> Option<Arc<Seat>> {
        self.member(path).map(|(member, _)| member.seat.clone())
    }
}

/// A new boot id: microseconds of wall time, but more than the last one. Wall time, so that it grows over restarts.
fn next_boot() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_micros()).unwrap_or_default();
    let next = |last: u64| now.max(last + 1);
    LAST.fetch_update(Relaxed, Relaxed, |last| Some(next(last))).map_or(now, next)
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.root.kill(ExitKind::Killed, "the tree was dropped".to_owned());
        // At once, and not when the kill has arrived: a sender must not wait for readers that will never come.
        self.group.close_mailboxes();
        self.shared.root.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.watch.take());
    }
}

impl TreeShared {
    pub(crate) fn register(&self, seat: &Arc<Seat>) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        // The only place where removed seats are forgotten: it bounds the list by the number of additions.
        seats.retain(|known| known.strong_count() > 0);
        seats.push(Arc::downgrade(seat));
    }

    pub(crate) fn seats(&self) -> Vec<Arc<Seat>> {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.iter().filter_map(Weak::upgrade).collect()
    }

    /// Ends the tree because a mandatory actor stayed degraded.
    pub(crate) fn give_up(&self, seat: &Seat) {
        let reason = seat.crashes().pop().map_or("no crash on record".to_owned(), |crash| crash.message);
        tracing::error!(
            actor = seat.path,
            "giving up: a mandatory actor stayed degraded for too long: {reason}"
        );
        let verdict = Outcome::GaveUp { path: seat.path.clone(), reason };
        // The first mandatory actor decides; others may follow while the tree stops.
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(verdict);
        self.order_stop();
    }

    fn order_stop(&self) {
        self.stopping.store(true, Relaxed);
        if let Some(root) = &*self.root.lock().unwrap_or_else(PoisonError::into_inner) {
            // Refused only by a root that has ended already.
            let _ = root.cast(Order::Stop { returns: false });
        }
    }

    fn take_verdict(&self) -> Option<Outcome> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
