//! One history from a seed: the chain, its nodes, the collectors, the trackers and what happens to them, and a look whenever the
//! trackers rest.

mod chain;
mod looks;
mod nodes;
mod trackers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use supervision::Clock;
use testkit::{Dice, contents::query};

use super::{
    clock::TimedRedis,
    judge::{Inputs, Judge},
    node::{Behaviour, Node},
    script::{Id, MARKETS, Script},
    settings::Settings,
    tracker::{Tracker, Wanted},
};

/// Steps of a history.
const STEPS: usize = 30;
/// The beginning, in Unix milliseconds: before the clock of every machine, since blocks of the future are doubted.
const BEGIN: u64 = 1_700_000_000_000;

pub struct History {
    seed: u64,
    dice: Dice,
    settings: Settings,
    script: Arc<Mutex<Script>>,
    /// The newest block of the chain.
    head: Id,
    nodes: Vec<Node>,
    redis: TimedRedis,
    connection: MultiplexedConnection,
    clock: Clock,
    now: u64,
    trackers: Vec<Option<Tracker>>,
    /// What their configurations say.
    wanted: Vec<Wanted>,
    /// The trackers that were started since the last look.
    started: BTreeSet<usize>,
    /// The markets whose contract was asked anew since the last look, with the heads that nodes have shown since.
    asked: BTreeMap<usize, BTreeSet<Id>>,
    /// The markets whose contract answers nothing.
    failing: BTreeSet<usize>,
    inputs: Inputs,
    judge: Judge,
    looked: u64,
    /// The head that all trackers have rested at, and since when they know it.
    caught: Option<(Id, u64)>,
    /// What was taken from the queues of finalizers and attestors.
    consumed: [Vec<String>; 2],
    hindered: BTreeSet<(usize, u64)>,
    acts: Vec<String>,
    /// Where the trackers have to rest, while the nodes show different heads.
    shown: Option<Vec<(Id, bool)>>,
}

impl History {
    pub async fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let settings = Settings::of(&mut dice);
        let mut script = Script::new(seed, BEGIN / 1_000);
        let mut head = 0;
        for block in 0..settings.start {
            head = script.add(head, BEGIN / 1_000 + block, Vec::new());
        }
        let now = BEGIN + 10_000;
        let script = Arc::new(Mutex::new(script));
        let mut nodes = Vec::new();
        for _ in 0..settings.nodes {
            let behaviour = Behaviour {
                heads: vec![head],
                window: settings.window,
                failing: BTreeSet::new(),
                tells_days: settings.tells_days,
                serves_receipts: dice.roll(2) == 0,
                has_bloom: dice.roll(3) > 0,
            };
            nodes.push(Node::start(script.clone(), behaviour).await);
        }
        let redis = TimedRedis::start(now).await;
        let connection = redis.server.connection().await.expect("a connection");
        let judge = Judge::new(&settings);
        Self {
            seed,
            dice,
            script,
            head,
            nodes,
            redis,
            connection,
            clock: Clock::manual(Duration::from_millis(now)),
            now,
            trackers: (0..settings.trackers).map(|_| None).collect(),
            wanted: Vec::new(),
            started: BTreeSet::new(),
            asked: BTreeMap::new(),
            failing: BTreeSet::new(),
            settings,
            inputs: Inputs::new(),
            judge,
            looked: now,
            caught: None,
            consumed: [const { Vec::new() }; 2],
            hindered: BTreeSet::new(),
            acts: Vec::new(),
            shown: None,
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&mut self, what: impl Into<String>) {
        let at = (self.now - BEGIN) as f64 / 1e3;
        self.acts.push(format!("{at:8.2} {}", what.into()));
    }

    fn fail(&self, why: &str) -> ! {
        let acts = self.acts.join("\n  ");
        panic!("CHAIN_SEED={}: {why}\n{:?}\n  {acts}\nCHAIN_SEED={}", self.seed, self.settings, self.seed)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.dice.roll(100) < percent
    }

    fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.dice.roll(to - from + 1)
    }

    /// What was looked at, by kind.
    pub async fn run(mut self) -> BTreeMap<&'static str, u64> {
        self.write_foreign().await;
        self.configure();
        self.start_trackers().await;
        // Both trackers have taken their markets over before a block comes.
        self.look().await;
        for _ in 0..STEPS {
            if self.trackers.iter().all(Option::is_none) && self.chance(70) {
                self.start_trackers().await;
                // What they accept now may be dropped by what comes next.
                self.look().await;
            }
            match self.dice.roll(28) {
                0..=7 => self.grow().await,
                8..=10 => self.reorganise().await,
                11 => self.fall_back(),
                12..=13 => self.wait().await,
                14 => self.stop_trackers().await,
                15 => self.be_away().await,
                16 => self.consume().await,
                17 => self.hinder().await,
                18 => self.be_silent().await,
                19 => self.disagree().await,
                20..=22 if self.settings.markets_vary => self.reconfigure().await,
                23..=24 if self.settings.contracts_vary => self.vary_contract(),
                25 => self.plant().await,
                26 => self.pass(606_000),
                _ => self.grow().await,
            }
            self.show_head();
            self.look().await;
        }
        self.mend().await;
        self.start_trackers().await;
        self.advance_chain(3).await;
        self.show_head();
        self.look().await;
        self.stop_trackers().await;
        *self.judge.counts.entry("looks").or_default() += STEPS as u64;
        self.judge.counts
    }

    /// Time passes, in milliseconds.
    fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.redis.set(self.now);
        self.clock.advance(Duration::from_millis(millis));
    }

    async fn write_foreign(&mut self) {
        let others = MARKETS[3];
        let hash = self.script().hash(1).to_owned();
        for words in [
            vec![
                "SADD".to_owned(),
                format!("SnapshotCollector.{others}.1.{hash}"),
                format!("{others}.1.p.1"),
            ],
            vec!["SADD".to_owned(), format!("EpochMarkerSetKey.{others}"), "1".to_owned()],
            vec!["SET".to_owned(), format!("EpochMarkerDetailsKey.{others}.1"), "{}".to_owned()],
            vec!["SET".to_owned(), format!("{others}.CurrentEpochID"), "1".to_owned()],
            vec!["SET".to_owned(), "somebody:else".to_owned(), "1".to_owned()],
        ] {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _: redis::Value = query(&mut self.connection, &words).await;
        }
        self.judge.foreign = self.read().await;
    }
}
