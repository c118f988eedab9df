//! Trackers and pruners of the history's market, with their real actors on the test's own clock.

use std::time::{Duration, Instant};

use actors::{
    env::{Services, Wake, telemetry::Telemetry},
    tracker::{
        Aggregator, EpochTracker, Finder, MarketEdges, MarketRegistry, Pruner, Timing, TrackerServices,
        WakeEdges,
    },
};
use domain::Address;
use redis::IntoConnectionInfo;
use reference::{DAY, MARKET, OWN, PROTOCOL};
use store_redis::{RedisSettings, Store};
use store_tracker::{
    DATASETS, Dataset, Intervals, MarketKeys, Retention,
    datasets::{CURRENT_EPOCH, SUMMARY},
};
use supervision::{
    Backoff, Child, Clock, Intensity, Limits, Mailbox, MailboxView, Name, Policy, State, Tree, TreeOptions,
};

const SECOND: Duration = Duration::from_secs(1);
/// The intervals of a service that sets none.
pub const USUAL: Intervals = Intervals {
    summary: Duration::from_secs(30),
    hourly: Duration::from_secs(300),
    daily: Duration::from_secs(3600),
    current_epoch: Duration::from_secs(30),
};
/// Nothing in a history takes long, so none of these limits is reached, however busy the machine is.
pub const NEVER: Duration = Duration::from_secs(120);

/// The limit of a connection and of a command. A pass that reaches it has failed and is made again, so it may be reached.
const COMMAND: Duration = Duration::from_secs(5);

/// How often a condition is checked.
pub const POLL: Duration = Duration::from_micros(200);

/// The steps that a pruner makes in one run are fewer than this.
const SLICES: usize = 60;
/// A finder scans all keys in fewer slices than these, with pauses of at most a second.
const SEARCHES: usize = 3;
/// The pruner's pause after each of them.
const SLICE_PAUSE: Duration = Duration::from_millis(2);

fn timing(intervals: Intervals) -> Timing {
    Timing {
        intervals,
        wake_debounce: Duration::ZERO,
        seal_after: Duration::from_secs(3600),
        measurement_window: Duration::from_secs(DAY as u64),
        reconnect_within: Duration::from_millis(200),
    }
}

/// Restarts with the next second of the clock, and no timers for anything that is not tested here.
fn policy() -> Policy {
    Policy {
        intensity: Intensity { max_restarts: 1000, within: SECOND },
        backoff: Backoff {
            max: Duration::from_millis(200),
            reset_after: Duration::ZERO,
            ..Policy::default().backoff
        },
        start_within: Duration::ZERO,
        stall_after: None,
        ..Policy::default()
    }
}

/// Whether an actor waits for its restart.
fn is_down(state: State) -> bool {
    matches!(state, State::BackingOff | State::Degraded)
}

/// An awaited event did not happen.
#[derive(Debug)]
pub struct Late;

/// Waits for an event that must happen.
pub async fn until(so: impl Fn() -> bool) -> Result<(), Late> {
    let began = Instant::now();
    while !so() {
        if began.elapsed() > NEVER {
            return Err(Late);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// How many sleepers the clock has when each actor of a tree sleeps until its next pass, or waits for its restart; `None` while one of
/// them is neither running nor waiting. Each running actor has one, and their supervisor has one for all restarts. There are no
/// other timers; see the policy.
fn sleepers_at_rest(tree: &Tree) -> Option<usize> {
    let health = tree.health();
    let actors = || health.iter().filter(|known| !known.supervisor);
    let (running, waiting): (Vec<_>, Vec<_>) = actors().partition(|known| known.state == State::Running);
    let all_wait = waiting.iter().all(|known| is_down(known.state));
    all_wait.then(|| running.len() + usize::from(!waiting.is_empty()))
}

/// Waits until nothing is under way at this moment of the clock: everything due has ended, with or without a failure. An error
/// names what does not end.
pub async fn rest<'a>(trees: impl Iterator<Item = &'a Tree> + Clone, clock: &Clock) -> Result<(), String> {
    let is_at_rest = || {
        let expected: Option<usize> = trees.clone().map(sleepers_at_rest).sum();
        expected == Some(clock.sleepers())
    };
    until(is_at_rest).await.map_err(|Late| {
        let health: Vec<_> = trees.clone().map(Tree::health).collect();
        format!("{} sleep: {health:#?}", clock.sleepers())
    })
}

fn services(url: String, clock: &Clock) -> Services {
    let settings = RedisSettings {
        servers: url.as_str().into_connection_info().expect("a URL").into(),
        certificates: None,
        address: url,
        pool_size: 4,
        connect_timeout: COMMAND,
        command_timeout: COMMAND,
        check_after: Duration::ZERO,
    };
    let telemetry = Telemetry::new().expect("metrics");
    Services::new(Store::new(settings).expect("settings"), telemetry, clock)
}

fn keys(spelling: usize) -> MarketKeys {
    MarketKeys::new(&Address::new(PROTOCOL[spelling]), &Address::new(MARKET[spelling]))
}

/// The actor whose pass succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// The aggregator's.
    pub totals: bool,
    /// The epoch tracker's.
    pub current: bool,
}

/// A tracker.
pub struct Tracker {
    pub tree: Tree,
    services: Services,
    clock: Clock,
    /// The finder's edges to its actors, and their mailboxes.
    finder: WakeEdges,
    mailboxes: [MailboxView; 2],
}

impl Tracker {
    /// One for which everything is due with each second of the clock.
    pub async fn start(url: String, clock: &Clock, spelling: usize) -> Self {
        let each = Intervals { summary: SECOND, hourly: SECOND, daily: SECOND, current_epoch: SECOND };
        Self::start_with(url, clock, spelling, each).await
    }

    /// One with these intervals.
    pub async fn start_with(url: String, clock: &Clock, spelling: usize, intervals: Intervals) -> Self {
        let (services, keys) = (services(url, clock), keys(spelling));
        for condition in DATASETS.iter().filter_map(|dataset| dataset.readiness) {
            // A dataset is fresh if it was written at this moment.
            services.readiness.expect(keys.market().checksummed(), condition, Duration::ZERO);
        }
        let tracker = TrackerServices::new(services.clone(), timing(intervals), OWN.to_owned(), clock);
        let mailbox = |name: &str| Mailbox::<Wake>::new(name, Limits::default(), clock);
        let (first, second) = ((tracker.clone(), keys.clone()), (tracker, keys));
        let (aggregator, epoch_tracker) = (mailbox("aggregator"), mailbox("epoch-tracker"));
        let finder = WakeEdges::new(&Name::new("finder"), &aggregator, &epoch_tracker);
        let mailboxes = [aggregator.view(), epoch_tracker.view()];
        let children = vec![
            Child::actor(aggregator, move || Aggregator::new(first.0.clone(), first.1.clone())),
            Child::actor(epoch_tracker, move || EpochTracker::new(second.0.clone(), second.1.clone())),
        ];
        let children = children.into_iter().map(|child| child.policy(policy())).collect();
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let tree = Tree::start(children, options).await.expect("the tree starts");
        Self { tree, services, clock: clock.clone(), finder, mailboxes }
    }

    /// Kills an actor, and waits until it has ended. An actor that is being restarted can't be killed.
    pub async fn kill(&self, path: &str) {
        let ends = || {
            let known = self.tree.health().into_iter().find(|known| known.path == path);
            known.expect("it is in the tree").exits.iter().sum::<u64>()
        };
        let before = ends();
        if self.tree.kill(path) {
            until(|| ends() > before).await.expect("it ends");
        }
    }

    /// Whether, at rest, the last pass of each actor was made at this moment of the clock, and succeeded.
    pub fn passed(&self) -> Passed {
        let (health, conditions) = (self.tree.health(), self.services.readiness.conditions());
        let has_passed = |actor: &str, dataset: &Dataset| {
            let up = health.iter().any(|known| known.path == actor && !is_down(known.state));
            up && conditions
                .iter()
                .any(|known| known.ok && dataset.readiness.is_some_and(|name| known.name.ends_with(name)))
        };
        let current = has_passed("epoch-tracker", &CURRENT_EPOCH);
        Passed { totals: has_passed("aggregator", &SUMMARY), current }
    }

    /// Lets a finder make one round, on a clock of its own, and waits until the actors have taken up what it found. A message is
    /// acknowledged when its pass is committed.
    pub async fn search(&self, url: &str, now: i64, spelling: usize) {
        let clock = Clock::manual(Duration::from_secs(now as u64));
        let tracker =
            TrackerServices::new(services(url.to_owned(), &clock), timing(USUAL), OWN.to_owned(), &clock);
        let edges =
            MarketEdges { keys: keys(spelling), listener: self.finder.clone(), finder: self.finder.clone() };
        let registry = MarketRegistry::new(vec![edges]);
        let make = move || Finder::new(tracker.clone(), registry.clone(), Duration::from_secs(3600));
        let children = vec![Child::worker("finder", make).policy(policy())];
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let tree = Tree::start(children, options).await.expect("the tree starts");
        for _ in 0..SEARCHES {
            rest([&tree].into_iter(), &clock).await.expect("a slice ends");
            clock.advance(SECOND);
        }
        tree.stop(5 * SECOND).await;
        let is_taken = |mailbox: &MailboxView| {
            let stats = mailbox.stats();
            stats.waiting == 0 && stats.in_flight == 0
        };
        until(|| self.mailboxes.iter().all(is_taken)).await.expect("what was found is taken up");
    }

    /// Stops it; `others` sleep on the same clock.
    pub async fn stop(self, others: usize) {
        let report = self.tree.stop(5 * SECOND).await;
        assert_eq!(report.abandoned, Vec::<String>::new());
        // Its timers must not count as sleepers of the next one.
        until(|| self.clock.sleepers() <= others).await.expect("its timers end");
    }
}

/// Lets so many pruners make one run each at the same time, on a clock of their own, since they pause between slices.
pub async fn prune(url: &str, now: i64, spelling: usize, kept: i64, pruners: usize) {
    let clock = Clock::manual(Duration::from_secs(now as u64) - SECOND);
    let retention = Retention {
        timelines: DAY as u64,
        priorities: 7 * DAY as u64,
        sealed: kept as u64,
        active: (pruners == 1).then_some(kept as u64),
    };
    let mut trees = Vec::new();
    for _ in 0..pruners {
        let tracker =
            TrackerServices::new(services(url.to_owned(), &clock), timing(USUAL), OWN.to_owned(), &clock);
        let nobody = Mailbox::<Wake>::new("nobody", Limits::default(), &clock);
        let to_nobody = WakeEdges::new(&Name::new("test"), &nobody, &nobody);
        let edges = MarketEdges { keys: keys(spelling), listener: to_nobody.clone(), finder: to_nobody };
        let registry = MarketRegistry::new(vec![edges]);
        let make = move || Pruner::new(tracker.clone(), registry.clone(), SECOND, retention);
        let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
        let children = vec![Child::worker("pruner", make).policy(policy())];
        trees.push(Tree::start(children, options).await.expect("the tree starts"));
    }
    rest(trees.iter(), &clock).await.expect("it waits for its first run");
    clock.advance(SECOND);
    for _ in 0..SLICES {
        rest(trees.iter(), &clock).await.expect("a slice ends");
        clock.advance(SLICE_PAUSE);
    }
    for tree in trees {
        tree.stop(5 * SECOND).await;
    }
}
