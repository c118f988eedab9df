//! `doctor`: looks at Redis as the tracker finds it, and says what is wrong and what helps.
//!
//! It only reads: servers and their settings, what one pass of each market reads, what readers see, and all keys by
//! `SCAN` in slices with pauses, for a bounded time. What it concludes is in `server`, `census` and `market`, which
//! are pure; here is the asking.

mod census;
mod finding;
mod market;
mod report;
mod server;

use std::time::{Duration, Instant};

use domain::EpochMember;
use store::{
    ErrorKind, KeyFacts, MarketKeys, MarketStore, Pass, Reach, Scope, Shown, Store, StoreError, Wanted,
};
use supervision::Clock;

pub use census::Memory;
pub use finding::{Finding, Severity};
pub use report::{Keys, Report};

use crate::{
    config::{Compat, Config},
    service,
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

/// Looks at everything, and reports.
///
/// # Errors
/// Settings that make no connection, and a server that does not answer.
pub async fn examine(order: Order<'_>) -> color_eyre::Result<Report> {
    let (config, mut findings) = (order.config, order.findings);
    let (store, clock) = (service::connect(config)?, Clock::system());
    let keys: Vec<MarketKeys> =
        order.markets.iter().map(|market| service::market_keys(config, market)).collect();
    let at = clock.unix().as_secs();

    let (mut count, mut subscribers) = (0, vec![Some(0); keys.len()]);
    // One session at a time: a pool of one is allowed.
    for mut inspector in store.inspectors().await? {
        let facts = inspector.facts().await?;
        count += facts.keys;
        findings.extend(server::judge(&facts));
        match inspector.subscribers(&keys).await {
            Ok(counted) => {
                let sums = subscribers.iter_mut().flatten();
                sums.zip(counted).for_each(|(sum, more)| *sum += more);
            }
            // Not every user may ask.
            Err(error) if error.kind == ErrorKind::Denied => subscribers.fill(None),
            Err(error) => return Err(error.into()),
        }
    }
    let watched = Instant::now();
    let mut looks = vec![shown(&store, &keys).await?];
    let mut all = Vec::new();
    for ((market, keys), subscribers) in order.markets.iter().zip(&keys).zip(subscribers) {
        let now = clock.unix().as_secs_f64();
        let mut session = store.session("examine a market").await?;
        let refused = session.rights(keys).await?;
        let ahead = session.ahead(keys, &config.tracker.sequencer_id, now + FUTURE).await;
        drop(session);
        all.push(MarketFacts {
            name: keys.market().checksummed().to_owned(),
            now,
            intervals: [config.intervals.summary, config.intervals.current_epoch],
            is_marked: config.market(market).compat != Compat::Go,
            pass: pass(&store, keys, &config.tracker.sequencer_id, now).await,
            shown: Vec::new(),
            subscribers,
            // Who may not read it is told so by the pass.
            ahead: or_denied(ahead)?,
            refused,
        });
    }
    findings.extend(subscription(&store, &keys).await?);

    let began = Instant::now();
    let mut census = Census::new(&keys);
    let whole = take_census(&store, &mut census, began + order.within).await;
    let looked_at = census.keys();
    let whole = whole.or_else(|error| match error.kind {
        ErrorKind::Denied => {
            let remedy = "allow it SCAN, TYPE and PTTL, or run the doctor as another user";
            findings.push(Finding::note("unanswered", error.object, error.detail, remedy));
            Ok(false)
        }
        _ => Err(error),
    })?;
    let seconds = began.elapsed().as_secs_f64();
    looks.push(shown(&store, &keys).await?);
    while let Some(left) = order.watch.checked_sub(watched.elapsed()) {
        tokio::time::sleep(left.min(WATCH_EVERY)).await;
        looks.push(shown(&store, &keys).await?);
    }
    for (at, facts) in all.iter_mut().enumerate() {
        facts.shown = looks.iter().filter_map(|look| look.get(at).cloned()).collect();
        facts.now = clock.unix().as_secs_f64();
        findings.extend(market::judge(facts));
    }
    let is_empty = |market: usize| matches!(&all[market].pass, Ok(pass) if !pass.has_epochs);
    findings.extend(census.findings(is_empty));
    let keys = Keys { looked_at, of: count.max(looked_at), all: whole, seconds };
    Ok(Report::new(config.redis.address(), at, findings, keys, census.memory()))
}

fn or_denied<T: Default>(answer: Result<T, StoreError>) -> Result<T, StoreError> {
    match answer {
        Err(error) if error.kind == ErrorKind::Denied => Ok(T::default()),
        answer => answer,
    }
}

async fn shown(store: &Store, markets: &[MarketKeys]) -> Result<Vec<Vec<[Shown; 2]>>, StoreError> {
    let mut session = store.session("read the datasets").await?;
    let mut all = Vec::new();
    for keys in markets {
        all.push(or_denied(session.shown(keys).await)?);
    }
    Ok(all)
}

/// Reads what a pass of the tracker reads, and writes nothing.
async fn pass(store: &Store, keys: &MarketKeys, validator: &str, now: f64) -> Result<PassFacts, StoreError> {
    let market = MarketStore::new(keys.clone(), validator);
    let scope = Scope { reach: Reach::Full, hourly: true, daily: true };
    let mut session = store.session("examine a market").await?;
    let mut pass = market.discover(&mut session, now, scope).await?;
    market.examine(&mut session, &mut pass).await?;
    Ok(conclude(pass))
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
    match store.subscribe(keys).await {
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
async fn take_census(store: &Store, census: &mut Census, deadline: Instant) -> Result<bool, StoreError> {
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
            let facts: Vec<KeyFacts> = inspector.look(&wanted).await?;
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
