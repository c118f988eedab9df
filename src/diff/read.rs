//! Reads a market, computes its datasets as of several moments, and compares them with what stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use color_eyre::eyre::Result;
use domain::tracker::{
    DayStats, HeardSince, HourStats, MeasurementWindow, Participation, Summary, SummaryInput, Totals,
    current_epoch,
};
use serde_json::{Map, Value};
use store_redis::{Session, Store, StoreError};
use store_tracker::{MarketKeys, MarketStore, OriginalDatasets, Scope, inspect};

use super::{Facts, Row, Three, compare};
use crate::{
    config::{Compat, Config},
    service::{connect, market_keys, stale_after},
};

/// Datasets by the names of their keys behind `P:M:`.
type Datasets = BTreeMap<String, Value>;

/// Reads a market and compares. Nothing is written.
///
/// # Errors
/// A server that does not answer, or a ledger that can't be read.
pub async fn diff(config: &Config, market: &str) -> Result<Vec<Row>> {
    let store: Store = connect(config)?;
    let keys = market_keys(config, market);
    let mut session = store.session("compare").await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (now, second) = (now.as_secs_f64(), now.as_secs());
    let hours = HourStats::hours(second).map(|(start, _)| start);

    // What stands first: what comes meanwhile came since.
    let mut stands: Datasets = inspect::stands(&mut session, &keys, &hours).await?.into_iter().collect();
    let gaps;
    let mut computed = {
        let mut market = Market { config, keys: &keys, session: &mut session };
        let (datasets, open) = market.computed(now).await?;
        gaps = open;
        datasets
    };
    let mut original = original(&mut session, config, &keys, now, gaps).await?;
    let written: BTreeSet<u64> =
        stands.values().filter_map(super::written).filter(|written| *written <= second).collect();
    let mut then: BTreeMap<u64, [Datasets; 2]> = BTreeMap::new();
    for second in &written {
        // Its datasets say the second in which they were written, and no more.
        let mut market = Market { config, keys: &keys, session: &mut session };
        let begin = market.computed(*second as f64).await?.0;
        let end = market.computed((*second as f64 + 0.999).min(now)).await?.0;
        then.insert(*second, [begin, end]);
    }
    let moments: Vec<u64> = written.into_iter().collect();
    let since = inspect::entries_since(&mut session, &keys, &config.tracker.sequencer_id, &moments).await?;
    let entries =
        inspect::raw_entries(&mut session, &keys, second.saturating_sub(domain::tracker::DAY)).await?;

    let names: Vec<String> = computed.keys().cloned().collect();
    let all: Vec<Three> = names
        .into_iter()
        .map(|dataset| {
            let stands = stands.remove(&dataset).unwrap_or_default();
            let then = super::written(&stands).and_then(|written| then.get(&written));
            let then =
                then.map(|both| both.each_ref().map(|all| all.get(&dataset).cloned().unwrap_or_default()));
            Three {
                computed: computed.remove(&dataset).unwrap_or_default(),
                original: original.remove(&dataset).unwrap_or_default(),
                then: then.unwrap_or_default(),
                limit: limit(config, &dataset),
                stands,
                dataset,
            }
        })
        .collect();
    let compat = config.market(market).compat == Compat::Go;
    let since = moments.into_iter().zip(since).collect();
    Ok(compare(&all, &Facts { now: second, compat, entries, since }))
}

/// How old a dataset may be, in seconds.
fn limit(config: &Config, dataset: &str) -> u64 {
    let intervals = &config.intervals;
    let interval = match dataset {
        "metrics:current_epoch" => intervals.current_epoch,
        "stats:daily" => intervals.daily,
        hour if hour.starts_with("stats:hourly:") => intervals.hourly,
        _ => intervals.summary,
    };
    stale_after(interval).as_secs_f64().ceil() as u64
}

/// A market that is read as a tracker would.
struct Market<'a> {
    config: &'a Config,
    keys: &'a MarketKeys,
    session: &'a mut Session,
}

impl Market<'_> {
    /// Its datasets as of a moment, from all that is known now, and how many gaps are open.
    async fn computed(&mut self, at: f64) -> Result<(Datasets, u64), StoreError> {
        let validator = &self.config.tracker.sequencer_id;
        let ledger = &self.config.ledger;
        // Another one each time: it remembers what it has seen at which moment.
        let reader = MarketStore::new(self.keys.clone(), validator);
        let pass = reader.read(self.session, at, Scope::everything()).await?;
        let (candidates, _) = reader.latest(self.session, at).await?;

        let totals = Totals::of(&pass.seen, validator, ledger.seal_delay.as_secs_f64());
        let window =
            MeasurementWindow::at(pass.seen.window, &totals.all, at, ledger.measurement_window.as_secs_f64());
        let summary = Summary::of(&SummaryInput::of(&pass.seen, &totals, window)).to_json();
        let gaps: Map<String, Value> =
            pass.seen.gaps().map(|(epoch, gap)| (gap.member(&epoch), Value::Bool(true))).collect();
        let open = gaps.len() as u64;
        let current = current_epoch(&candidates, at).map_or(Value::Null, |current| current.to_json(at));
        let mut all = Datasets::from([
            ("dashboard:summary".to_owned(), summary.clone()),
            ("stats:current".to_owned(), summary),
            ("metrics:participation".to_owned(), Participation::of(&pass.seen, &totals).to_json(at)),
            ("metrics:current_epoch".to_owned(), current),
            ("stats:daily".to_owned(), DayStats::of(&pass.seen, &totals, at as u64).to_json(at)),
            ("epochs:gaps".to_owned(), Value::Object(gaps)),
        ]);
        for hour in HourStats::hours(at as u64) {
            let stats = HourStats::of(&pass.seen, &totals, hour).to_json(at);
            all.insert(format!("stats:hourly:{}", hour.0), stats);
        }
        Ok((all, open))
    }
}

/// What the original would have computed, had it just started.
async fn original(
    session: &mut Session,
    config: &Config,
    keys: &MarketKeys,
    now: f64,
    gaps: u64,
) -> Result<Datasets, StoreError> {
    let reader = MarketStore::new(keys.clone(), &config.tracker.sequencer_id);
    let heard = HeardSince { began: now, ..HeardSince::default() };
    let (datasets, _) = reader.original(session, now, &heard, gaps).await?;
    let (current, _) = reader.original_current(session, now).await?;
    let OriginalDatasets { summary, participation, day, hours, .. } = datasets;
    // They are made by us, as JSON.
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut all = Datasets::from([
        ("dashboard:summary".to_owned(), json(&summary)),
        ("stats:current".to_owned(), json(&summary)),
        ("metrics:participation".to_owned(), json(&participation)),
        ("metrics:current_epoch".to_owned(), current.map_or(Value::Null, |text| json(&text))),
        ("stats:daily".to_owned(), json(&day)),
    ]);
    all.extend(hours.iter().map(|(start, text)| (format!("stats:hourly:{start}"), json(text))));
    Ok(all)
}
