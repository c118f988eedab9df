//! Judges one market: its ledger, its unreadable inputs, its datasets with the programs that write them, and timeline entries that
//! are ahead of the clock. Pure.

use std::collections::BTreeMap;

use actors::env::stale_after;
use domain::EpochId;
use errors::rounded;
use store_redis::{ErrorKind, Family, Fault, KeyType, StoreError};
use store_tracker::{
    Intervals,
    datasets::{CURRENT_EPOCH, SUMMARY},
    inspect::{Ahead, WatchedDataset},
};

use super::finding::Finding;
use crate::{
    remedy::{self, keys},
    rights,
};

/// A field of the summary that only state-tracker writes.
const OWN_FIELD: &str = "unaccounted_epochs";
/// A larger score is a time in milliseconds: in seconds it would be in the year 5138.
const MILLISECONDS: f64 = 1e11;

/// What was read of a market.
#[derive(Debug)]
pub(super) struct MarketFacts {
    /// Its name in checksum form.
    pub(super) name: String,
    /// The prefixes of its keys, such as `P:M` and `{P:M}`, in every spelling.
    pub(super) spaces: Vec<String>,
    /// The time of the examination, in Unix seconds.
    pub(super) now: f64,
    /// How often datasets are written.
    pub(super) intervals: Intervals,
    /// Whether the tracker's summary can be told from the original's, which it can't with `compat = "go"`.
    pub(super) is_distinguishable: bool,
    /// The types of keys that have a wrong one, by their names.
    pub(super) types: BTreeMap<String, KeyType>,
    /// The result of reading the inputs of a pass.
    pub(super) pass: Result<PassFacts, StoreError>,
    /// The datasets that readiness depends on: for each moment, for each spelling.
    pub(super) shown: Vec<Vec<Vec<WatchedDataset>>>,
    /// How many trackers are subscribed to the market's channel; `None` if the user may not ask. Each tracker subscribes to it.
    pub(super) subscribers: Option<u64>,
    /// Timelines with entries more than a minute ahead of the clock.
    pub(super) ahead: Vec<Ahead>,
    /// Whether the user lacks rights. That is reported already.
    pub(super) lacks_rights: bool,
}

/// The facts from the inputs of a pass.
#[derive(Debug, Default)]
pub(super) struct PassFacts {
    /// Unreadable inputs.
    pub(super) faults: Vec<Fault>,
    /// Whether the market has any epoch, finished or not.
    pub(super) has_epochs: bool,
    /// The ledger's floor: the highest sealed epoch whose entry was removed.
    pub(super) floor: Option<EpochId>,
    /// Epochs that were opened within a day and are not above the floor.
    pub(super) below_floor: Vec<EpochId>,
}

/// The findings about a market's ledger and inputs.
#[must_use]
pub(super) fn judge(facts: &MarketFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &facts.pass {
        Ok(pass) => {
            let floor = floor(facts, pass);
            // What a pass says of the market as a whole has findings of its own, which say more.
            let is_told = !facts.ahead.is_empty() || floor.is_some();
            let faults = pass.faults.iter().filter(|fault| !is_told || fault.key != facts.name);
            findings.extend(faults.map(|fault| unreadable(facts, fault)));
            findings.extend(floor);
        }
        // The missing right is reported already.
        Err(error) if facts.lacks_rights && matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused) => {}
        Err(error) => findings.push(ledger(facts, error)),
    }
    findings.extend(facts.ahead.iter().map(|ahead| future(facts, ahead)));
    findings
}

/// The keys of a wrong type that reading the inputs has met.
pub(super) fn mistyped(pass: &Result<PassFacts, StoreError>) -> Vec<String> {
    match pass {
        Ok(pass) => {
            let mistyped = pass.faults.iter().filter(|fault| fault.kind == ErrorKind::WrongType);
            // A star stands for the ids of several keys.
            mistyped.map(|fault| fault.key.clone()).filter(|key| !key.contains('*')).collect()
        }
        Err(error) if error.kind == ErrorKind::WrongType => vec![error.object.clone()],
        Err(_) => Vec::new(),
    }
}

fn family_of(facts: &MarketFacts, key: &str) -> Option<&'static Family> {
    let rest = |space: &String| key.strip_prefix(space.as_str())?.strip_prefix(':');
    // One fault may stand for several keys, with a star in place of the epoch.
    facts.spaces.iter().find_map(rest).and_then(|rest| store_tracker::family_of(&rest.replace('*', "0")))
}

fn unreadable(facts: &MarketFacts, fault: &Fault) -> Finding {
    let family = family_of(facts, &fault.key);
    if fault.kind == ErrorKind::WrongType {
        return wrong_type(facts, &fault.key, family, &fault.detail);
    }
    Finding::warning("unreadable", &fault.key, &fault.detail, keys::malformed(family))
}

fn wrong_type(facts: &MarketFacts, key: &str, family: Option<&Family>, detail: &str) -> Finding {
    let right = family.map_or("another type", |family| family.kind.as_str());
    let remedy = family.map_or_else(|| keys::malformed(None), |family| keys::wrong_type(family, false));
    let problem = match facts.types.get(key) {
        Some(kind) => format!("it is a {}, and must be a {right}", kind.as_str()),
        None => format!("it must be a {right}, and is not: {detail}"),
    };
    Finding::error("wrong_type", key, problem, remedy)
}

fn ledger(facts: &MarketFacts, error: &StoreError) -> Finding {
    let problem = format!("the tracker can't {}: {}", error.operation, error.detail());
    let (check, remedy) = match error.kind {
        ErrorKind::WrongType => {
            return wrong_type(facts, &error.object, family_of(facts, &error.object), &error.detail());
        }
        ErrorKind::Denied => ("acl", rights::REMEDY.to_owned()),
        ErrorKind::Torn => ("ledger_torn", remedy::of_store(error)),
        ErrorKind::Foreign => ("ledger_schema", remedy::of_store(error)),
        _ => ("ledger", remedy::of_store(error)),
    };
    Finding::error(check, &error.object, problem, remedy)
}

/// Ids up to the floor count as sealed, so the epochs of a chain whose ids start again at low numbers are never counted.
fn floor(facts: &MarketFacts, pass: &PassFacts) -> Option<Finding> {
    let (floor, first) = (pass.floor.as_ref()?, pass.below_floor.first()?);
    let problem = format!(
        "{} epochs that were opened within a day, such as {first}, are not above {floor}: the ledger has removed the \
         epochs up to that id as sealed, and does not count them again",
        pass.below_floor.len()
    );
    let remedy = "if epoch ids started again from low numbers, reset the market's ledger: `state-tracker ledger reset`";
    Some(Finding::warning("ledger_floor", format!("market {}", facts.name), problem, remedy))
}

fn future(facts: &MarketFacts, ahead: &Ahead) -> Finding {
    // One producer with a wrong clock writes many such entries: they are one finding.
    let entries = match ahead.entries {
        1 => "an entry is".to_owned(),
        entries => format!("{entries} entries are"),
    };
    if ahead.highest > MILLISECONDS {
        let problem = format!("{entries} no time in seconds: a producer writes milliseconds");
        let remedy =
            format!("{}; scores must be Unix seconds", keys::malformed(family_of(facts, &ahead.key)));
        return Finding::warning("future", &ahead.key, problem, remedy);
    }
    let problem = format!("{entries} later than now, by up to {:.0} s", ahead.highest - facts.now);
    let remedy = "synchronise the producers' clocks: a time up to 5 minutes ahead is waited for, a later one counts as unknown";
    Finding::warning("future", &ahead.key, problem, remedy)
}

/// The findings about the datasets and about the programs that write them.
#[must_use]
pub(super) fn judge_datasets(facts: &MarketFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has_epochs = facts.pass.as_ref().is_ok_and(|pass| pass.has_epochs);
    for (at, output) in facts.shown.last().into_iter().flatten().enumerate() {
        for (of, shown) in output.iter().enumerate() {
            if *shown.dataset == SUMMARY {
                let seen = facts.shown.iter().filter_map(|look| look.get(at)?.get(of));
                findings.extend(writer(facts, shown, &seen.collect::<Vec<_>>()));
            }
            // A market without epochs has no current epoch: that dataset may be missing.
            if *shown.dataset != CURRENT_EPOCH || has_epochs || shown.exists {
                findings.extend(age(facts, shown));
            }
        }
    }
    let market = || format!("market {}", facts.name);
    // Only as the sole finding: a stale dataset already says that nothing serves the market.
    if facts.subscribers == Some(0) && findings.is_empty() {
        let problem = "no tracker serves this market: its channel has no subscriber";
        findings.push(Finding::note("no_tracker", market(), problem, "start state-tracker"));
    }
    if let Some(trackers) = facts.subscribers.filter(|&trackers| trackers > 1) {
        let problem = format!("{trackers} trackers serve this market: its channel has as many subscribers");
        let remedy = "nothing, if that is intended: they share one ledger";
        findings.push(Finding::note("trackers", market(), problem, remedy));
    }
    findings
}

/// The age of a dataset in seconds, by the time that it contains.
fn age_of(shown: &WatchedDataset, now: f64) -> Option<f64> {
    Some(now - shown.json.as_ref()?.get(shown.dataset.dated?)?.as_f64()?)
}

/// The greatest age of a dataset in seconds.
fn limit(facts: &MarketFacts, shown: &WatchedDataset) -> f64 {
    stale_after(shown.dataset.interval(&facts.intervals)).as_secs_f64()
}

fn age(facts: &MarketFacts, shown: &WatchedDataset) -> Option<Finding> {
    if shown.exists && shown.json.is_none() {
        let problem = "it is not JSON: its readers show nothing";
        let remedy = "stop the program that writes it; the tracker replaces it with its next pass";
        return Some(Finding::error("unreadable", &shown.key, problem, remedy));
    }
    let field = shown.dataset.dated.unwrap_or_default();
    let every = shown.dataset.interval(&facts.intervals);
    let age = age_of(shown, facts.now);
    let problem = match age {
        Some(age) if age <= limit(facts, shown) => return None,
        Some(age) => format!("it is {age:.0} s old, and must be written every {}", rounded(every)),
        // Without its time, readers can't tell a fresh dataset from an old one.
        None if shown.exists => format!("it does not say when it was written ({field})"),
        // No tracker, no dataset: that is one note for the market and not one finding a dataset.
        None if facts.subscribers.is_none_or(|trackers| trackers == 0) => return None,
        None => "a tracker is subscribed, and the dataset is missing".to_owned(),
    };
    let remedy = "see /readyz?verbose of the tracker: it says why the tracker can't write";
    Some(Finding::warning("stale", &shown.key, problem, remedy))
}

/// The finding that another program writes the summary. `seen` is the summary at each read.
fn writer(facts: &MarketFacts, last: &WatchedDataset, seen: &[&WatchedDataset]) -> Option<Finding> {
    let looks: Vec<_> = seen.iter().filter_map(|shown| shown.json.as_ref()).collect();
    let ours = looks.iter().filter(|json| json.get(OWN_FIELD).is_some()).count();
    // By the same limit as readiness: what `/readyz` accepts is young.
    let is_young = || age_of(last, facts.now).is_some_and(|age| age <= limit(facts, last));
    let remedy = "stop it, or run state-tracker beside it as a shadow (output.prefix)";
    // The field comes and goes: two programs overwrite each other.
    if facts.is_distinguishable && ours > 0 && ours < looks.len() {
        let problem = "two programs write it in turn: a tracker, and the original or another program";
        return Some(Finding::error("writer", &last.key, problem, remedy));
    }
    // A young summary without the field has another writer. An old one may be left from before a migration.
    if facts.is_distinguishable && ours == 0 && !looks.is_empty() && is_young() {
        let problem = "state-tracker did not write it: the original or another program runs";
        return Some(Finding::warning("writer", &last.key, problem, remedy));
    }
    let times = |json: &&serde_json::Value| json.get("updated_at").and_then(serde_json::Value::as_f64);
    // Without a subscriber no tracker runs, so a summary whose time advances has another writer, even if it looks like ours.
    let moves = looks.first().and_then(times) != looks.last().and_then(times);
    (facts.subscribers == Some(0) && moves && looks.len() > 1).then(|| {
        let problem = "a program writes it, and no tracker is subscribed at this server";
        Finding::warning("writer", &last.key, problem, "find out which program writes it, and stop it")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use store_tracker::{Dataset, operations::READ_LEDGER};

    use super::*;
    use crate::doctor::finding::Severity;

    const NOW: f64 = 1_795_341_600.0;

    fn shown(dataset: &'static Dataset, json: Option<Value>) -> WatchedDataset {
        let (key, exists) = (dataset.name().to_owned(), json.is_some());
        WatchedDataset { dataset, key, exists, json: json.filter(|json| !json.is_null()) }
    }

    fn look(summary: Option<Value>, current: Option<Value>) -> Vec<Vec<WatchedDataset>> {
        vec![vec![shown(&SUMMARY, summary), shown(&CURRENT_EPOCH, current)]]
    }

    fn intervals() -> Intervals {
        let every = Duration::from_secs(30);
        Intervals { summary: every, hourly: every, daily: every, current_epoch: every }
    }

    fn ours(age: f64) -> Option<Value> {
        Some(json!({ "updated_at": NOW - age, "unaccounted_epochs": 0 }))
    }

    fn theirs(age: f64) -> Option<Value> {
        Some(json!({ "updated_at": NOW - age }))
    }

    fn current(age: f64) -> Option<Value> {
        Some(json!({ "timestamp": NOW - age }))
    }

    /// A market that one tracker serves without a fault.
    fn well() -> MarketFacts {
        MarketFacts {
            name: "M".to_owned(),
            types: BTreeMap::new(),
            spaces: vec!["P:M".to_owned(), "{P:M}".to_owned()],
            now: NOW,
            intervals: intervals(),
            is_distinguishable: true,
            pass: Ok(PassFacts { has_epochs: true, ..PassFacts::default() }),
            shown: vec![look(ours(40.0), current(20.0)), look(ours(10.0), current(20.0))],
            subscribers: Some(1),
            ahead: Vec::new(),
            lacks_rights: false,
        }
    }

    fn found(facts: &MarketFacts) -> Vec<(&'static str, Severity)> {
        let all = judge(facts).into_iter().chain(judge_datasets(facts));
        all.map(|finding| (finding.check, finding.severity)).collect()
    }

    #[test]
    fn a_market_that_a_tracker_serves_has_no_finding() {
        assert_eq!(found(&well()), []);
        let no_epochs =
            MarketFacts { pass: Ok(PassFacts::default()), shown: vec![look(ours(1.0), None)], ..well() };
        assert_eq!(found(&no_epochs), [], "where there is no epoch there is no current one");
    }

    #[test]
    fn old_missing_and_unreadable_datasets_are_found() {
        use Severity::{Error, Warning};
        for (summary, current_epoch, expected) in [
            (ours(96.0), current(20.0), vec![("stale", Warning)]),
            (ours(94.0), current(200.0), vec![("stale", Warning)]),
            (None, current(1.0), vec![("stale", Warning)]),
            (ours(1.0), None, vec![("stale", Warning)]),
            (Some(json!({ "unaccounted_epochs": 1 })), current(1.0), vec![("stale", Warning)]),
            (Some(Value::Null), current(1.0), vec![("unreadable", Error)]),
        ] {
            let facts = MarketFacts { shown: vec![look(summary.clone(), current_epoch)], ..well() };
            assert_eq!(found(&facts), expected, "{summary:?}");
        }
    }

    #[test]
    fn another_writer_is_distinguished_from_a_tracker() {
        use Severity::{Error, Note, Warning};
        let with = |subscribers, looks: Vec<Option<Value>>| {
            let shown = looks.into_iter().map(|summary| look(summary, current(1.0))).collect();
            found(&MarketFacts { subscribers: Some(subscribers), shown, ..well() })
        };
        assert_eq!(with(0, vec![theirs(5.0), theirs(5.0)]), [("writer", Warning)]);
        assert_eq!(with(1, vec![theirs(5.0), theirs(5.0)]), [("writer", Warning)]);
        assert_eq!(with(1, vec![theirs(8.0), ours(5.0)]), [("writer", Error)]);
        assert_eq!(with(0, vec![ours(30.0), ours(1.0)]), [("writer", Warning)]);
        assert_eq!(
            with(0, vec![ours(30.0), ours(30.0)]),
            [("no_tracker", Note)],
            "a tracker that was just stopped"
        );
        assert_eq!(with(2, vec![ours(30.0), ours(1.0)]), [("trackers", Note)]);
        let go =
            MarketFacts { is_distinguishable: false, shown: vec![look(theirs(5.0), current(1.0))], ..well() };
        assert_eq!(found(&go), [], "what can't be distinguished is no finding");
    }

    #[test]
    fn a_market_without_a_tracker_and_without_datasets_is_noted_once() {
        let facts = MarketFacts { subscribers: Some(0), shown: vec![look(None, None)], ..well() };
        assert_eq!(found(&facts), [("no_tracker", Severity::Note)]);
    }

    #[test]
    fn a_refused_ledger_is_an_error_of_its_kind() {
        for (kind, check) in [
            (ErrorKind::Torn, "ledger_torn"),
            (ErrorKind::Foreign, "ledger_schema"),
            (ErrorKind::WrongType, "wrong_type"),
            (ErrorKind::Denied, "acl"),
        ] {
            let error = StoreError::new(READ_LEDGER, "{P:M}:tracker:meta".to_owned(), kind, "so it is");
            assert_eq!(found(&MarketFacts { pass: Err(error), ..well() }), [(check, Severity::Error)]);
        }
    }

    #[test]
    fn opened_epochs_at_or_below_the_floor_are_found() {
        let id = |text| EpochId::parse(text).expect("an id");
        let pass = PassFacts {
            floor: Some(id("500")),
            below_floor: vec![id("7"), id("8")],
            has_epochs: true,
            ..PassFacts::default()
        };
        let findings = judge(&MarketFacts { pass: Ok(pass), ..well() });
        assert_eq!((findings.len(), findings[0].check), (1, "ledger_floor"));
        assert!(findings[0].problem.starts_with("2 epochs"), "{}", findings[0].problem);
    }

    #[test]
    fn unreadable_inputs_and_entries_of_the_future_are_found() {
        use Severity::{Error, Warning};
        let fault = |kind| Fault::new("key", kind, "unreadable");
        let faults = vec![fault(ErrorKind::WrongType), fault(ErrorKind::Malformed)];
        let ahead = |highest| Ahead { key: "timeline".to_owned(), entries: 3, highest };
        let facts = MarketFacts {
            pass: Ok(PassFacts { faults, has_epochs: true, ..PassFacts::default() }),
            ahead: vec![ahead(NOW + 300.0), ahead(NOW * 1000.0)],
            ..well()
        };
        let checks =
            [("wrong_type", Error), ("unreadable", Warning), ("future", Warning), ("future", Warning)];
        assert_eq!(found(&facts), checks);
        let problems: Vec<String> = judge(&facts).into_iter().map(|finding| finding.problem).collect();
        assert!(
            problems[2].contains("by up to 300 s") && problems[3].contains("milliseconds"),
            "{problems:?}"
        );
    }

    #[test]
    fn an_input_of_a_wrong_type_names_the_right_type_and_the_program_that_writes_it() {
        let fault = Fault {
            key: "P:M:epoch:*:validators".to_owned(),
            kind: ErrorKind::WrongType,
            detail: "WRONGTYPE".to_owned(),
        };
        let pass = PassFacts { faults: vec![fault], has_epochs: true, ..PassFacts::default() };
        let findings = judge(&MarketFacts { pass: Ok(pass), ..well() });
        assert!(findings[0].problem.contains("must be a set"), "{}", findings[0].problem);
        assert!(findings[0].remedy.starts_with("fix the producer: this key is written by gateway"));
    }

    #[test]
    fn a_missing_right_is_not_reported_twice() {
        let denied = StoreError::new(READ_LEDGER, "{P:M}:tracker:meta", ErrorKind::Denied, "NOPERM");
        assert_eq!(found(&MarketFacts { pass: Err(denied), lacks_rights: true, ..well() }), []);
    }
}
