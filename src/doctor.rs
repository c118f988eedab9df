//! `doctor`: examines Redis with the tracker's configuration, and reports each fault with its remedy.
//!
//! It only reads: the servers and their settings, the inputs of a pass for each market, the datasets, and all keys by `SCAN`, in
//! slices with pauses and for a limited time. This file reads; `server`, `replica`, `census`, `neighbours` and `market` judge
//! what it has read and are pure.

pub(crate) mod campaigns;
mod census;
mod chain;
mod faults;
mod finding;
mod index;
mod market;
mod neighbours;
mod others;
mod replica;
mod report;
mod server;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use domain::tracker::EpochMember;
use redis::from_redis_value;
use store_redis::{Batch, ErrorKind, KeyFacts, KeyRequest, KeyType, Need, Store, StoreError};
use store_tracker::{
    Index, IndexKeys, MarketKeys, MarketStore, Pass, Scope as PassScope, channels,
    inspect::{self, WatchedDataset},
    operations::{EXAMINE_INDEX, EXAMINE_MARKET, READ_DATASETS},
};
use supervision::Clock;

pub use census::Memory;
pub use finding::{Finding, Severity};
pub use report::{Keys, Report, Watched};
pub(crate) use report::{WATCHED, counted};

use crate::{
    config::{Compat, Config},
    producers::{self, Advice, Place, Search},
    protocol::{self, Verdict},
    remedy, rights, service,
};
use census::{Census, Question};
use market::{MarketFacts, PassFacts};

/// How many keys one slice has, and the pause after it. Redis serves one command at a time: producers get their turn in between.
const SLICE: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);
/// Time between two reads of the datasets while they are watched.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// How far a timeline entry may be ahead of the clock, in seconds, before it is reported. Clocks differ by less.
const FUTURE: f64 = 60.0;

/// The extent of an examination.
pub struct Scope<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The markets to examine, which are some of `tracker.markets`.
    pub markets: Vec<String>,
    /// Time limit for the examination of keys.
    pub time_limit: Duration,
    /// How long the datasets are watched.
    pub watch: Duration,
    /// Findings about the configuration itself.
    pub findings: Vec<Finding>,
}

/// Examines everything. If the server stops answering on the way, the report says so and contains the findings so far.
///
/// # Errors
/// Settings that make no connection, and a server that does not answer at all.
pub async fn examine(scope: Scope<'_>) -> color_eyre::Result<Report> {
    let mut examination = Examination::new(scope)?;
    // Only this step may fail the command: if no server answers, there is nothing to report.
    if let Err(error) = examination.servers().await {
        let verdicts = protocol::verdicts(&examination.store).await;
        if verdicts.is_empty() {
            return Err(error.into());
        }
        let finding =
            |verdict: Verdict| Finding::error("protocol", verdict.server, verdict.problem, verdict.remedy);
        examination.findings.extend(verdicts.into_iter().map(finding));
        return Ok(examination.report());
    }
    let of_campaigns = campaigns::examine(examination.scope.config).await?;
    examination.findings.extend(of_campaigns);
    if let Err(error) = examination.rest().await {
        let problem = format!("the doctor could not {}: {}: {}", error.operation, error.kind, error.detail());
        let remedy =
            format!("{}; then run the doctor again: not everything was examined", remedy::of_store(&error));
        examination.findings.push(Finding::error("redis", error.object, problem, remedy));
    }
    Ok(examination.report())
}

/// An examination in progress.
struct Examination<'a> {
    scope: Scope<'a>,
    store: Store,
    clock: Clock,
    keys: Vec<MarketKeys>,
    needs: Vec<Need>,
    at: u64,
    findings: Vec<Finding>,
    /// How many clients are subscribed to each market's channel; `None` if the user may not ask.
    subscribers: Vec<Option<u64>>,
    census: Census,
    examined: Keys,
    watched: Option<Watched>,
}

impl<'a> Examination<'a> {
    fn new(mut scope: Scope<'a>) -> color_eyre::Result<Self> {
        let (store, clock) = (service::connect(scope.config)?, Clock::system());
        let keys: Vec<MarketKeys> =
            scope.markets.iter().map(|market| service::market_keys(scope.config, market)).collect();
        Ok(Self {
            store,
            at: clock.unix().as_secs(),
            clock,
            findings: std::mem::take(&mut scope.findings),
            subscribers: vec![Some(0); keys.len()],
            census: Census::new(&keys, &scope.config.tracker.protocol, &scope.config.output.prefix),
            examined: Keys::default(),
            watched: None,
            // Computed before anything is asked: a configuration with invalid addresses fails at once.
            needs: rights::needs(scope.config, &scope.markets)?,
            keys,
            scope,
        })
    }

    /// The servers, the replicas that may take over, and the sentinels.
    async fn servers(&mut self) -> Result<(), StoreError> {
        for mut inspector in self.store.inspectors().await? {
            let facts = inspector.facts().await?;
            // Each node of a cluster counts its own keys.
            self.examined.total += facts.keys;
            self.findings.extend(server::judge(&facts));
            // A harmful setting of a replica has no effect until a failover makes it the master: then it is too late.
            for (server, standby) in self.store.replica_inspectors(facts.replicas()).await {
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
                // The tracker itself does not need this right: it is no fault that the user lacks it.
                Err(error) if error.kind == ErrorKind::Denied => self.subscribers.fill(None),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Examines rights, markets and keys, and reads the datasets at several moments in between.
    async fn rest(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        // Before and after the long census: two reads some seconds apart already show whether two programs write in turn.
        let mut looks = vec![shown(&self.store, &self.keys).await?];
        let missing =
            rights::ask(&self.store, &self.needs, channels(&self.keys), &self.scope.config.output).await?;
        let lacks_rights = missing.iter().any(|missing| !missing.is_for_operators);
        self.findings.extend(missing.into_iter().map(|missing| match missing.is_for_operators {
            false => Finding::error("acl", missing.object, missing.problem, rights::REMEDY),
            true => {
                let problem =
                    format!("{}; the service runs without, doctor, diff and ledger don't", missing.problem);
                Finding::note("acl", missing.object, problem, rights::REMEDY)
            }
        }));
        self.indexes().await?;
        let chain_state = chain::examine(self.scope.config, &self.store).await?;
        let mut markets = self.markets(lacks_rights).await?;
        // With a right missing the absence of keys proves nothing.
        let search = match lacks_rights {
            true => Search::default(),
            false => or_denied(producers::search(&self.store, &self.keys).await)?,
        };
        self.take_census().await?;
        looks.push(shown(&self.store, &self.keys).await?);
        while let Some(left) = self.scope.watch.checked_sub(began.elapsed()) {
            tokio::time::sleep(left.min(WATCH_EVERY)).await;
            looks.push(shown(&self.store, &self.keys).await?);
        }
        // The findings of the census first: it knows the type of a key that a pass could not read, and the report keeps the first one.
        // A market whose keys are in another database is not mistyped.
        let is_elsewhere = |market: usize| matches!(search.places.get(market), Some(Place::Database(..)));
        let is_empty = |market: usize| {
            matches!(&markets[market].pass, Ok(pass) if !pass.has_epochs) && !is_elsewhere(market)
        };
        self.findings.extend(self.census.findings(is_empty));
        let config = self.scope.config;
        // In a sample the absence of keys proves nothing.
        let collects = config.collector.is_enabled() && self.examined.complete;
        let others = self.census.others();
        self.findings.extend(others.findings(&config.output.prefix, &config.tracker.protocol, collects));
        self.findings.extend(chain_state);
        self.findings.extend(absent_producers(&search, &self.census, &self.keys));
        let mut of_datasets = Vec::new();
        for (at, facts) in markets.iter_mut().enumerate() {
            facts.shown = looks.iter().filter_map(|look| look.get(at).cloned()).collect();
            // The census may have taken half a minute: ages are judged by the time of the last read.
            facts.now = self.clock.unix().as_secs_f64();
            self.findings.extend(market::judge(facts));
            of_datasets.extend(market::judge_datasets(facts));
        }
        let is_well = of_datasets.iter().all(|finding| finding.severity == Severity::Note);
        self.watched = (!self.scope.watch.is_zero()).then(|| Watched {
            markets: markets.len(),
            seconds: began.elapsed().as_secs_f64(),
            reads: looks.len(),
            is_well,
        });
        self.findings.extend(of_datasets);
        self.findings.extend(self.denied_keys());
        Ok(())
    }

    /// The state indexes of the examined markets.
    async fn indexes(&mut self) -> Result<(), StoreError> {
        let config = self.scope.config;
        let keys: Vec<IndexKeys> = match (config.index.enabled, config.index.namespaced) {
            (false, _) => return Ok(()),
            (true, false) => vec![IndexKeys::plain(&config.output)],
            (true, true) => self.keys.iter().map(IndexKeys::of_market).collect(),
        };
        for keys in keys {
            let index = Index::new(keys, config.retention.index.as_secs());
            let index = index.with_quota(service::quota(&config.index));
            let mut session = self.store.session(EXAMINE_INDEX).await?;
            // A denied read is reported as a missing right.
            let usage = or_denied(index.usage(&mut session).await)?;
            self.findings.extend(index::judge(index.name(), &usage));
        }
        Ok(())
    }

    async fn markets(&self, lacks_rights: bool) -> Result<Vec<MarketFacts>, StoreError> {
        let (config, validator) = (self.scope.config, &self.scope.config.tracker.sequencer_id);
        let mut all = Vec::new();
        for ((market, keys), subscribers) in self.scope.markets.iter().zip(&self.keys).zip(&self.subscribers)
        {
            let now = self.clock.unix().as_secs_f64();
            // One session at a time: a pool of one connection is allowed.
            let mut session = self.store.session(EXAMINE_MARKET).await?;
            // A denied read is no error here: it is reported as a missing right.
            let ahead = or_denied(inspect::ahead(&mut session, keys, validator, now + FUTURE).await)?;
            drop(session);
            let pass = pass(&self.store, keys, validator, now).await;
            let types = types(&self.store, &market::mistyped(&pass)).await?;
            all.push(MarketFacts {
                name: keys.market().checksummed().to_owned(),
                spaces: keys.spaces(),
                now,
                intervals: service::intervals(config),
                is_distinguishable: config.market(market).compat != Compat::Go,
                pass,
                types,
                shown: Vec::new(),
                subscribers: *subscribers,
                ahead,
                lacks_rights,
            });
        }
        Ok(all)
    }

    /// Examines as many keys as the time limit allows.
    async fn take_census(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        let whole = count_keys(&self.store, &mut self.census, began + self.scope.time_limit).await;
        self.examined.examined = self.census.keys();
        // DBSIZE was read earlier, and is 0 if the user may not ask: keys were added since.
        self.examined.total = self.examined.total.max(self.examined.examined);
        self.examined.seconds = began.elapsed().as_secs_f64();
        self.examined.complete = match whole {
            Err(error) if error.kind == ErrorKind::Denied => {
                let remedy = "grant it SCAN, TYPE and PTTL, or run the doctor as another user";
                self.findings.push(Finding::note("unanswered", error.object.clone(), error.detail(), remedy));
                false
            }
            whole => whole?,
        };
        Ok(())
    }

    fn denied_keys(&self) -> Option<Finding> {
        let denied = Some(self.census.denied()).filter(|&denied| denied > 0)?;
        let problem =
            format!("this user may not read {denied} keys: their types, TTLs and sizes are unknown");
        let remedy = "nothing, if they belong to other programs; else run the doctor as another user";
        Some(Finding::note("unanswered", "keys", problem, remedy))
    }

    fn report(self) -> Report {
        let redis = self.scope.config.redis.address();
        let report = Report::new(redis, self.at, self.findings, self.examined, self.census.memory());
        Report { watched: self.watched, ..report }
    }
}

/// The findings about markets whose producers write elsewhere, or nowhere.
fn absent_producers(search: &Search, census: &Census, keys: &[MarketKeys]) -> Vec<Finding> {
    let finding = |(at, place): (usize, &Place)| {
        let Advice { problem, remedy } = search.advice(place)?;
        let object = format!("market {}", keys[at].market().configured());
        match place {
            Place::Database(..) => Some(Finding::error("other_database", object, problem, remedy)),
            Place::Nowhere if !census.has_keys(at) => {
                Some(Finding::note("no_producer", object, problem, remedy))
            }
            // If the census was a sample, or denied; else it has reported names in a spelling that the tracker does not read.
            Place::Spelling(_) if !census.has_keys(at) => {
                Some(Finding::error("spelling", object, problem, remedy))
            }
            Place::Here | Place::Spelling(_) | Place::Nowhere => None,
        }
    };
    search.places.iter().enumerate().filter_map(finding).collect()
}

fn or_denied<T: Default>(answer: Result<T, StoreError>) -> Result<T, StoreError> {
    match answer {
        Err(error) if error.kind == ErrorKind::Denied => Ok(T::default()),
        answer => answer,
    }
}

async fn shown(store: &Store, markets: &[MarketKeys]) -> Result<Vec<Vec<Vec<WatchedDataset>>>, StoreError> {
    let mut session = store.session(READ_DATASETS).await?;
    let mut all = Vec::new();
    for keys in markets {
        all.push(or_denied(inspect::watched_datasets(&mut session, keys).await)?);
    }
    Ok(all)
}

/// Reads the same keys as a pass of the tracker. It commits nothing.
async fn pass(store: &Store, keys: &MarketKeys, validator: &str, now: f64) -> Result<PassFacts, StoreError> {
    let market = MarketStore::new(keys.clone(), validator);
    let mut session = store.session(EXAMINE_MARKET).await?;
    Ok(conclude(market.read(&mut session, now, PassScope::everything()).await?))
}

/// The types of these keys. The census, which names them too, may be a sample.
async fn types(store: &Store, keys: &[String]) -> Result<BTreeMap<String, KeyType>, StoreError> {
    let mut all = BTreeMap::new();
    if keys.is_empty() {
        return Ok(all);
    }
    let mut batch = Batch::new();
    keys.iter().for_each(|key| {
        batch.cmd("TYPE", key);
    });
    let mut session = store.session(EXAMINE_MARKET).await?;
    let answers = session.run(EXAMINE_MARKET, "keys of a wrong type", batch).await?;
    for (key, answer) in keys.iter().zip(answers) {
        // Without the right to ask, the type stays unknown.
        if let Some(kind) = answer.ok().and_then(|kind| from_redis_value::<String>(kind).ok()) {
            all.insert(key.clone(), KeyType::parse(&kind));
        }
    }
    Ok(all)
}

fn conclude(pass: Pass) -> PassFacts {
    let opened = pass.seen.epochs_timeline.iter().flatten().filter_map(|entry| match &entry.what {
        EpochMember::Opened(epoch) => Some(epoch),
        EpochMember::Closed(_) => None,
    });
    let floor = pass.mark.floor;
    let is_below = |epoch: &&domain::EpochId| floor.as_ref().is_some_and(|floor| *epoch <= floor);
    let below_floor = opened.filter(is_below).cloned().collect();
    let has_epochs = !pass.seen.facts.is_empty() || pass.has_timeline;
    PassFacts { faults: pass.faults, has_epochs, floor, below_floor }
}

/// Examines the keys of every server until `deadline`. Returns whether these were all keys.
async fn count_keys(store: &Store, census: &mut Census, deadline: Instant) -> Result<bool, StoreError> {
    for mut inspector in store.inspectors().await? {
        let mut cursor = 0;
        loop {
            // SCAN and not KEYS, which would block the server for the whole census.
            let (next, keys) = inspector.scan(cursor, "*", SLICE).await?;
            let asked: Vec<(Vec<u8>, bool)> = keys
                .into_iter()
                .filter_map(|key| match census.count(&key) {
                    Question::Nothing => None,
                    question => Some((key, question == Question::Size)),
                })
                .collect();
            let wanted: Vec<KeyRequest<'_>> =
                asked.iter().map(|(key, size)| KeyRequest { key, size: *size }).collect();
            // One round trip for the questions of a whole slice.
            let facts: Vec<Option<KeyFacts>> = inspector.examine(&wanted).await?;
            for ((key, _), facts) in asked.iter().zip(facts) {
                census.record(key, facts);
            }
            // SCAN has ended when its cursor is 0 again, and not when a slice is empty: a slice may be empty at any time.
            if next == 0 {
                break;
            }
            cursor = next;
            // After a whole slice, so that even a limit of 0 s gives a sample.
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(true)
}
