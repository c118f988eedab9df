//! `doctor`: looks at Redis as the tracker finds it, and says what is wrong and what helps.
//!
//! It only reads: servers and their settings, what one pass of each market reads, what readers see, and all keys by
//! `SCAN` in slices with pauses, for a bounded time. What it concludes is in `server`, `replica`, `census` and `market`, which
//! are pure; here is the asking.

mod census;
mod finding;
mod market;
mod replica;
mod report;
mod server;

use std::time::{Duration, Instant};

use domain::tracker::EpochMember;
use store_redis::{ErrorKind, KeyFacts, Store, StoreError, Wanted};
use store_tracker::{
    MarketKeys, MarketStore, Pass, Scope, channels,
    inspect::{self, Shown},
};
use supervision::Clock;

pub use census::Memory;
pub use finding::{Finding, Severity};
pub use report::{Keys, Report};

use crate::{
    config::{Compat, Config},
    service::{self, intervals},
};
use census::{Census, Question};
use market::{MarketFacts, PassFacts};

/// How many keys one slice takes, and the pause after it, so that no other client waits.
const SLICE: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);
/// How often the datasets are looked at while they are watched.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Entries that are later than this from now are of the future, in seconds.
const FUTURE: f64 = 60.0;

/// What is examined.
pub struct Order<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Those of `tracker.markets` that are examined.
    pub markets: Vec<String>,
    /// How long keys are looked at, at most.
    pub within: Duration,
    /// How long the datasets are watched.
    pub watch: Duration,
    /// What is known from the configuration alone.
    pub findings: Vec<Finding>,
}

/// Looks at everything, and reports. A server that stops answering on the way ends the look, and is in the report.
///
/// # Errors
/// Settings that make no connection, and a server that does not answer at all.
pub async fn examine(order: Order<'_>) -> color_eyre::Result<Report> {
    let mut examination = Examination::new(order)?;
    examination.servers().await?;
    if let Err(error) = examination.rest().await {
        let problem = format!("the doctor could not {}: {}", error.operation, error.detail);
        let remedy = format!("{}; then ask again: not everything was examined", error.kind.remedy());
        examination.findings.push(Finding::error("redis", error.object, problem, remedy));
    }
    Ok(examination.report())
}

/// What is known so far.
struct Examination<'a> {
    order: Order<'a>,
    store: Store,
    clock: Clock,
    keys: Vec<MarketKeys>,
    at: u64,
    findings: Vec<Finding>,
    /// How many are subscribed to each market's channel.
    subscribers: Vec<Option<u64>>,
    census: Census,
    looked: Keys,
}

impl<'a> Examination<'a> {
    fn new(mut order: Order<'a>) -> color_eyre::Result<Self> {
        let (store, clock) = (service::connect(order.config)?, Clock::system());
        let keys: Vec<MarketKeys> =
            order.markets.iter().map(|market| service::market_keys(order.config, market)).collect();
        Ok(Self {
            store,
            at: clock.unix().as_secs(),
            clock,
            findings: std::mem::take(&mut order.findings),
            subscribers: vec![Some(0); keys.len()],
            census: Census::new(&keys, &order.config.output.prefix),
            looked: Keys { looked_at: 0, of: 0, all: false, seconds: 0.0 },
            keys,
            order,
        })
    }

    /// What the servers say of themselves, those that may take over, and the sentinels.
    async fn servers(&mut self) -> Result<(), StoreError> {
        for mut inspector in self.store.inspectors().await? {
            let facts = inspector.facts().await?;
            self.looked.of += facts.keys;
            self.findings.extend(server::judge(&facts));
            for (server, standby) in self.store.standbys(facts.replicas()).await {
                let facts = match standby {
                    Ok(mut standby) => standby.facts().await,
                    Err(error) => Err(error),
                };
                self.findings.extend(match facts {
                    Ok(facts) => replica::judge(&facts),
                    Err(error) => vec![replica::silent(&server, &error)],
                });
            }
            for (sentinel, view) in self.store.sentinels().await {
                self.findings.extend(replica::judge_sentinel(&sentinel, view.as_ref(), inspector.server()));
            }
            match inspect::subscribers(&mut inspector, &self.keys).await {
                Ok(counted) => {
                    let sums = self.subscribers.iter_mut().flatten();
                    sums.zip(counted).for_each(|(sum, more)| *sum += more);
                }
                // Not every user may ask.
                Err(error) if error.kind == ErrorKind::Denied => self.subscribers.fill(None),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The markets, the keys, and the datasets over the time of all that.
    async fn rest(&mut self) -> Result<(), StoreError> {
        let watched = Instant::now();
        let mut looks = vec![shown(&self.store, &self.keys).await?];
        let mut markets = self.markets().await?;
        let subscription = subscription(&self.store, &self.keys).await?;
        self.findings.extend(subscription);
        self.take_census().await?;
        looks.push(shown(&self.store, &self.keys).await?);
        while let Some(left) = self.order.watch.checked_sub(watched.elapsed()) {
            tokio::time::sleep(left.min(WATCH_EVERY)).await;
            looks.push(shown(&self.store, &self.keys).await?);
        }
        for (at, facts) in markets.iter_mut().enumerate() {
            facts.shown = looks.iter().filter_map(|look| look.get(at).cloned()).collect();
            facts.now = self.clock.unix().as_secs_f64();
            self.findings.extend(market::judge(facts));
        }
        let is_empty = |market: usize| matches!(&markets[market].pass, Ok(pass) if !pass.has_epochs);
        self.findings.extend(self.census.findings(is_empty));
        self.findings.extend(self.unseen());
        Ok(())
    }

    async fn markets(&self) -> Result<Vec<MarketFacts>, StoreError> {
        let (config, validator) = (self.order.config, &self.order.config.tracker.sequencer_id);
        let mut all = Vec::new();
        for ((market, keys), subscribers) in self.order.markets.iter().zip(&self.keys).zip(&self.subscribers)
        {
            let now = self.clock.unix().as_secs_f64();
            // One session at a time: a pool of one is allowed.
            let mut session = self.store.session("examine a market").await?;
            let refused = inspect::rights(&mut session, keys).await?;
            // Who may not read it is told so by the pass.
            let ahead = or_denied(inspect::ahead(&mut session, keys, validator, now + FUTURE).await)?;
            drop(session);
            all.push(MarketFacts {
                name: keys.market().checksummed().to_owned(),
                now,
                intervals: intervals(config),
                is_marked: config.market(market).compat != Compat::Go,
                pass: pass(&self.store, keys, validator, now).await,
                shown: Vec::new(),
                subscribers: *subscribers,
                ahead,
                refused,
            });
        }
        Ok(all)
    }

    /// Looks at all keys, as far as the time allows.
    async fn take_census(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        let whole = count_keys(&self.store, &mut self.census, began + self.order.within).await;
        self.looked.looked_at = self.census.keys();
        self.looked.of = self.looked.of.max(self.looked.looked_at);
        self.looked.seconds = began.elapsed().as_secs_f64();
        self.looked.all = match whole {
            Err(error) if error.kind == ErrorKind::Denied => {
                let remedy = "allow it SCAN, TYPE and PTTL, or run the doctor as another user";
                self.findings.push(Finding::note("unanswered", error.object, error.detail, remedy));
                false
            }
            whole => whole?,
        };
        Ok(())
    }

    fn unseen(&self) -> Option<Finding> {
        let unseen = Some(self.census.unseen()).filter(|&unseen| unseen > 0)?;
        let problem =
            format!("{unseen} keys are not for this user: their types, lives and sizes are not known");
        let remedy = "nothing, if they belong to other programs; else run the doctor as another user";
        Some(Finding::note("unanswered", "keys", problem, remedy))
    }

    fn report(self) -> Report {
        let redis = self.order.config.redis.address();
        Report::new(redis, self.at, self.findings, self.looked, self.census.memory())
    }
}

fn or_denied<T: Default>(answer: Result<T, StoreError>) -> Result<T, StoreError> {
    match answer {
        Err(error) if error.kind == ErrorKind::Denied => Ok(T::default()),
        answer => answer,
    }
}

async fn shown(store: &Store, markets: &[MarketKeys]) -> Result<Vec<Vec<Vec<Shown>>>, StoreError> {
    let mut session = store.session("read the datasets").await?;
    let mut all = Vec::new();
    for keys in markets {
        all.push(or_denied(inspect::shown(&mut session, keys).await)?);
    }
    Ok(all)
}

/// Reads what a pass of the tracker reads, and writes nothing.
async fn pass(store: &Store, keys: &MarketKeys, validator: &str, now: f64) -> Result<PassFacts, StoreError> {
    let market = MarketStore::new(keys.clone(), validator);
    let mut session = store.session("examine a market").await?;
    Ok(conclude(market.read(&mut session, now, Scope::everything()).await?))
}

fn conclude(pass: Pass) -> PassFacts {
    let opened = pass.seen.epochs_timeline.iter().flatten().filter_map(|entry| match &entry.what {
        EpochMember::Opened(epoch) => Some(epoch),
        EpochMember::Closed(_) => None,
    });
    let floor = pass.mark.floor;
    let is_below = |epoch: &&domain::EpochId| floor.as_ref().is_some_and(|floor| *epoch <= floor);
    let below_floor = opened.filter(is_below).cloned().collect();
    let has_epochs = !pass.seen.facts.is_empty()
        || pass.seen.epochs_timeline.as_ref().is_some_and(|timeline| !timeline.is_empty());
    PassFacts { faults: pass.faults, has_epochs, floor, below_floor }
}

/// Whether the user may subscribe as the listener does.
async fn subscription(store: &Store, keys: &[MarketKeys]) -> Result<Option<Finding>, StoreError> {
    match store.subscribe(channels(keys)).await {
        Ok(_) => Ok(None),
        Err(error) if error.kind == ErrorKind::Denied => {
            let problem = format!("the tracker's user may not subscribe: {}", error.detail);
            let remedy = "ACL SETUSER with &state:change and &P:M:state:change: docs/operations.md";
            Ok(Some(Finding::error("acl", "channel state:change", problem, remedy)))
        }
        Err(error) => Err(error),
    }
}

/// Looks at the keys of every server until `deadline`; whether these were all.
async fn count_keys(store: &Store, census: &mut Census, deadline: Instant) -> Result<bool, StoreError> {
    for mut inspector in store.inspectors().await? {
        let mut cursor = 0;
        loop {
            let (next, keys) = inspector.scan(cursor, SLICE).await?;
            let asked: Vec<(Vec<u8>, bool)> = keys
                .into_iter()
                .filter_map(|key| match census.meet(&key) {
                    Question::Nothing => None,
                    question => Some((key, question == Question::Size)),
                })
                .collect();
            let wanted: Vec<Wanted<'_>> =
                asked.iter().map(|(key, size)| Wanted { key, size: *size }).collect();
            let facts: Vec<Option<KeyFacts>> = inspector.look(&wanted).await?;
            for ((key, _), facts) in asked.iter().zip(facts) {
                census.note(key, facts);
            }
            if next == 0 {
                break;
            }
            cursor = next;
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(true)
}
