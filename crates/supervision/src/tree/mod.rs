//! A tree of supervised actors: it is started, observed and stopped here.

mod change;
mod reports;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

pub use self::reports::{ChangeError, NotStarted, Outcome, Removed, StartError, StopReport};
use crate::{
    Clock, cell,
    changes::Subscription,
    child::{Child, ROOT, place_all},
    crash,
    edges::{Edge, waiting_cycle},
    env::Env,
    group::{Group, Member},
    health::{ActorHealth, Crash},
    mailbox::DeadLetter,
    plan::KILL_GRACE,
    policy::{Chance, Policy, Strategy},
    registry::Registry,
    slot::Slot,
    state::{ExitKind, State},
    supervisor::{Order, Supervisor},
    sync::Mutex,
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
    /// What determines the random part of all pauses; `None` for another one each time. With a manual clock on one thread, a tree
    /// with a seed does the same each time.
    pub seed: Option<u64>,
    /// The failure points that are armed before the first actor starts.
    #[cfg(feature = "failure-points")]
    pub failure_points: Vec<crate::fail::Written>,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            watch: WatchSettings::default(),
            simultaneous_restarts: 8,
            seed: None,
            #[cfg(feature = "failure-points")]
            failure_points: Vec::new(),
        }
    }
}

/// A running tree. Dropping it kills its actors; [`Tree::stop`] stops them in order.
pub struct Tree {
    env: Arc<Env>,
    registry: Arc<Registry>,
    group: Arc<Group>,
    root: Arc<Slot>,
    link: cell::Link<Order>,
    boot: u64,
    started: watch::Receiver<bool>,
    ended: watch::Receiver<Option<Outcome>>,
    /// Whether it was asked to stop.
    stopping: AtomicBool,
    watch: Option<Watch>,
    changing: Mutex<()>,
}

impl Tree {
    /// Starts the root supervisor, which starts `children` in order. Returns when that has begun: [`Tree::started`] waits for its
    /// end.
    ///
    /// # Errors
    /// [`StartError`] when the children can't become a tree, or the root supervisor can't be spawned.
    pub async fn start(children: Vec<Child>, options: TreeOptions) -> Result<Self, StartError> {
        // Before any actor runs: a panic without the hook has neither location nor backtrace.
        crash::install_hook();
        let seed = options.seed.unwrap_or_else(Chance::any_seed);
        let env = Env::new(options.clock.clone(), options.simultaneous_restarts, seed);
        #[cfg(feature = "failure-points")]
        options.failure_points.iter().for_each(|written| env.failure_points.arm_written(written));
        let group = Arc::new(Group::new(Strategy::OneForOne, place_all(children, "", &env)?));
        if let Some(cycle) = waiting_cycle(&group.edges()) {
            return Err(cycle.into());
        }
        let policy = Policy { stall_after: None, ..Policy::default() };
        let root = Slot::new(ROOT.into(), Arc::new(policy), None, true, &env);
        let registry = Arc::new(Registry::default());
        registry.register(&root);
        group.walk(&mut |member| registry.register(&member.slot));
        root.show_state(State::Running);
        let (starting, started) = watch::channel(false);
        let ready = Box::new(move || {
            starting.send_replace(true);
        });
        let supervisor = Supervisor::new(root.clone(), group.clone(), true, ready);
        let (link, ending) = cell::root(supervisor).await.map_err(StartError::Spawn)?;
        root.spawned(link.cell().switch());
        let (end, ended) = watch::channel(None);
        // A task of its own, so that `ended` resolves however the root ends, also when it panics or is killed.
        tokio::spawn({
            let (root, group, link) = (root.clone(), group.clone(), link.clone());
            // Dropped with the task where the runtime ends first: that is the end of the tree too.
            let mut end = End { root: root.clone(), group, end, outcome: None };
            async move {
                let outcome = see_to_the_end(&root, &link, ending).await;
                end.outcome = Some(outcome);
                drop(end);
            }
        });
        link.order(Order::Begin);
        // After the slots exist, and outside of the runtime, which an actor could block.
        let watch = Watch::start(&env.clock, &env.pulse, &registry, options.watch);
        Ok(Self {
            env,
            registry,
            group,
            root,
            link,
            boot: next_boot(),
            started,
            ended,
            stopping: AtomicBool::new(false),
            watch: Some(watch),
            changing: Mutex::default(),
        })
    }

    /// Waits until the ordered start is over: every actor is ready, has failed, or has taken longer than its policy allows.
    ///
    /// # Errors
    /// [`NotStarted`] with the actors that failed in their first `pre_start` or are not ready in time, or when the tree ended
    /// first. The tree goes on: failed actors are restarted.
    pub async fn started(&self) -> Result<(), NotStarted> {
        let (mut started, mut ended) = (self.started.clone(), self.ended.clone());
        // The sender is in the root: gone without a word, the tree has ended.
        let is_started = tokio::select! {
            biased;
            started = started.wait_for(|started| *started) => started.is_ok(),
            _ = ended.wait_for(Option::is_some) => false,
        };
        if !is_started {
            return Err(NotStarted::Ended);
        }
        let mut failed = Vec::new();
        self.group.walk(&mut |member| {
            let late = (member.slot.state() == State::Starting)
                .then(|| format!("it was not ready within {}", shown(member.slot.policy.start_within)));
            if let Some(why) = member.slot.failed_start().or(late) {
                failed.push((member.slot.path().to_owned(), why));
            }
        });
        if failed.is_empty() { Ok(()) } else { Err(NotStarted::Failed(failed)) }
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
        self.group.walk(&mut |member| records.push(member.slot.health()));
        records
    }

    /// The changes of all actors from now on. To know the states before, read [`Tree::health`] after this call.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.env.changes.subscribe()
    }

    /// The declared edges between its actors, ordered by the start order of their readers.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        self.group.edges()
    }

    /// The last crashes of an actor with their backtraces, oldest first; empty for an unknown path.
    #[must_use]
    pub fn crashes(&self, path: &str) -> Vec<Crash> {
        self.find(path).map_or_else(Vec::new, |slot| slot.crashes())
    }

    /// All dead letters that are not evicted.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        self.group.walk(&mut |member| {
            letters.extend(member.slot.mailbox.iter().flat_map(|mailbox| mailbox.dead_letters()));
        });
        letters
    }

    /// Puts a dead letter back into its mailbox as a new message; `false` when there is no such letter, or its mailbox is full or
    /// closed.
    #[must_use]
    pub fn replay(&self, path: &str, sequence: u64) -> bool {
        self.find(path).and_then(|slot| slot.mailbox.clone()).is_some_and(|mailbox| mailbox.replay(sequence))
    }

    /// Kills the present incarnation of an actor; its supervisor treats that as a crash.
    #[must_use]
    pub fn kill(&self, path: &str) -> bool {
        self.find(path).is_some_and(|slot| slot.kill(ExitKind::Killed, "killed by an operator".to_owned()))
    }

    /// The number of actors that the watch knows, including removed ones that it has not forgotten yet.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.registry.len()
    }

    /// The actors whose running poll has lasted for at least `at_least`; they can't be killed meanwhile. It takes no lock that an
    /// actor could hold.
    #[must_use]
    pub fn not_yielding(&self, at_least: Duration) -> Vec<(String, Duration)> {
        let now = self.env.clock.awake_nanos();
        let polling = |slot: &Arc<Slot>| {
            let polling = Duration::from_nanos(slot.progress().polling_for(now)?);
            (polling >= at_least).then(|| (slot.path().to_owned(), polling))
        };
        self.registry.slots().iter().filter_map(polling).collect()
    }

    /// The failure points of this tree.
    #[cfg(feature = "failure-points")]
    #[must_use]
    pub fn failure_points(&self) -> &crate::fail::FailurePoints {
        &self.env.failure_points
    }

    /// Resolves when the tree has ended, for whatever reason.
    pub async fn ended(&self) -> Outcome {
        let mut ended = self.ended.clone();
        let outcome = ended.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(runtime_ended)
    }

    /// Stops all actors in reverse order, each within its deadline, and kills the remaining ones after `within`.
    pub async fn stop(&self, within: Duration) -> StopReport {
        let began = Instant::now();
        self.stopping.store(true, Relaxed);
        self.link.order(Order::Stop { returns: false });
        let orderly = self.env.clock.timeout_awake(within, self.ended()).await;
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
        let mut live = self.env.live.subscribe();
        let _ = tokio::time::timeout(KILL_GRACE, live.wait_for(|&live| live == 0)).await;
        let left_behind = *live.borrow();
        StopReport { outcome, abandoned: self.group.overdue(), left_behind, took: began.elapsed() }
    }

    fn find(&self, path: &str) -> Option<Arc<Slot>> {
        self.member(path).map(|member| member.slot.clone())
    }

    fn member(&self, path: &str) -> Option<Arc<Member>> {
        self.group.find(path).map(|(member, _)| member)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.root.kill(ExitKind::Killed, "the tree was dropped".to_owned());
        // At once, and not when the kill has arrived: a sender must not wait for readers that will never come.
        self.group.close_mailboxes();
        drop(self.watch.take());
    }
}

/// Marks a tree as ended when it is dropped, and says how it ended. Nobody waits for its actors from then on.
struct End {
    root: Arc<Slot>,
    group: Arc<Group>,
    end: watch::Sender<Option<Outcome>>,
    /// `None` where the runtime ended before the root.
    outcome: Option<Outcome>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.root.show_state(State::Stopped);
        self.group.end();
        self.root.env().changes.end();
        self.end.send_replace(Some(self.outcome.take().unwrap_or_else(runtime_ended)));
    }
}

fn runtime_ended() -> Outcome {
    Outcome::RootEnded { reason: "the runtime was shut down".to_owned() }
}

/// Waits for the end of the root, and stops it when the tree gives up.
async fn see_to_the_end(root: &Slot, link: &cell::Link<Order>, ending: cell::Ending) -> Outcome {
    let mut verdict = root.env().verdict.subscribe();
    // Without its value, which is a lock.
    let given_up = async { verdict.wait_for(Option::is_some).await.is_ok() };
    let mut ending = std::pin::pin!(ending.wait());
    tokio::select! {
        biased;
        () = &mut ending => {}
        _ = given_up => {
            link.order(Order::Stop { returns: false });
            ending.await;
        }
    }
    let is_orderly = root.take_exit() == Some(ExitKind::Stopped);
    let verdict = root.env().verdict.borrow().clone();
    match verdict {
        Some(verdict) => Outcome::GaveUp { path: verdict.path, reason: verdict.reason },
        None if is_orderly => Outcome::Stopped,
        None => {
            Outcome::RootEnded { reason: root.last_crash().unwrap_or_else(|| "it was killed".to_owned()) }
        }
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
