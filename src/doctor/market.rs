//! Judges one market: its ledger, what could not be read, what its readers see and who writes that, entries of the
//! future, missing rights. Pure.

use std::collections::BTreeMap;

use actors::env::stale_after;
use domain::EpochId;
use store_redis::{ErrorKind, Fault, StoreError};
use store_tracker::{
    Intervals,
    datasets::{CURRENT_EPOCH, SUMMARY},
    inspect::{Ahead, Refusal, Shown},
};

use super::finding::Finding;

/// A field of the summary that no other program writes.
const OURS: &str = "unaccounted_epochs";
/// A score beyond this is no time in seconds, in any clock's opinion.
const MILLISECONDS: f64 = 1e11;

/// What is known of a market.
#[derive(Debug)]
pub(super) struct MarketFacts {
    /// Its name, as it is shown.
    pub(super) name: String,
    /// When the doctor looked, in Unix seconds.
    pub(super) now: f64,
    /// How often datasets are written.
    pub(super) intervals: Intervals,
    /// Whether its summary can be told from the original's.
    pub(super) is_marked: bool,
    /// What a pass of the tracker reads.
    pub(super) pass: Result<PassFacts, StoreError>,
    /// What readers saw of the datasets that readiness depends on, each time that the doctor looked: under each spelling.
    pub(super) shown: Vec<Vec<Vec<Shown>>>,
    /// How many are subscribed to its own channel, where that may be asked: each tracker is.
    pub(super) subscribers: Option<u64>,
    /// Timelines with entries that are later than a minute from now.
    pub(super) ahead: Vec<Ahead>,
    /// What the user may not do.
    pub(super) refused: Vec<Refusal>,
}

/// What a pass of the tracker reads.
#[derive(Debug, Default)]
pub(super) struct PassFacts {
    /// What it could not read.
    pub(super) faults: Vec<Fault>,
    /// Whether any epoch is known, finished or not.
    pub(super) has_epochs: bool,
    /// The highest epoch that the ledger has forgotten.
    pub(super) floor: Option<EpochId>,
    /// Epochs that were opened lately though they are not above the floor.
    pub(super) below_floor: Vec<EpochId>,
}

/// Everything that is the matter with a market.
#[must_use]
pub(super) fn judge(facts: &MarketFacts) -> Vec<Finding> {
    let mut findings = rights(&facts.refused);
    match &facts.pass {
        Ok(pass) => {
            findings.extend(pass.faults.iter().map(unreadable));
            findings.extend(floor(facts, pass));
        }
        // What is missing is told already.
        Err(error)
            if !findings.is_empty() && matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused) => {}
        Err(error) => findings.push(ledger(error)),
    }
    findings.extend(facts.ahead.iter().map(|ahead| future(ahead, facts.now)));
    findings.extend(datasets(facts));
    findings
}

fn rights(refused: &[Refusal]) -> Vec<Finding> {
    let mut commands: BTreeMap<&str, Vec<&Refusal>> = BTreeMap::new();
    for refusal in refused {
        commands.entry(refusal.command).or_default().push(refusal);
    }
    let finding = |(command, refusals): (&str, Vec<&Refusal>)| {
        let first = refusals[0];
        let more = match refusals.len() {
            1 => String::new(),
            keys => format!(" (and on {} more keys)", keys - 1),
        };
        let problem = format!("the tracker's user may not use {command} on it{more}: {}", first.detail);
        let remedy = "ACL SETUSER as docs/operations.md says: keys P:M:* and {P:M}:tracker:*, both channels";
        Finding::error("acl", &first.object, problem, remedy)
    };
    commands.into_iter().map(finding).collect()
}

fn unreadable(fault: &Fault) -> Finding {
    let remedy = fault.kind.remedy();
    match fault.kind {
        ErrorKind::WrongType => Finding::error("wrong_type", &fault.key, &fault.detail, remedy),
        _ => Finding::warning("unreadable", &fault.key, &fault.detail, remedy),
    }
}

fn ledger(error: &StoreError) -> Finding {
    let (check, remedy) = match error.kind {
        ErrorKind::Torn => ("ledger_torn", error.kind.remedy()),
        ErrorKind::Refused if error.object.ends_with(":meta") => (
            "ledger_schema",
            "run the version that wrote it, or delete the market's tracker keys: the ledger is then made anew",
        ),
        ErrorKind::WrongType => ("wrong_type", error.kind.remedy()),
        ErrorKind::Denied => ("acl", error.kind.remedy()),
        _ => ("ledger", error.kind.remedy()),
    };
    let problem = format!("the tracker can't {}: {}", error.operation, error.detail);
    Finding::error(check, &error.object, problem, remedy)
}

/// Ids up to the floor count as sealed. Producers that begin anew at low ids are not counted then.
fn floor(facts: &MarketFacts, pass: &PassFacts) -> Option<Finding> {
    let (floor, first) = (pass.floor.as_ref()?, pass.below_floor.first()?);
    let problem = format!(
        "{} epochs that were opened within a day, such as {first}, are not above {floor}, up to which the ledger \
         has forgotten them as sealed: they are not counted",
        pass.below_floor.len()
    );
    let remedy = "did ids begin anew? Then reset the market's ledger: docs/operations.md, \"The ledger\"";
    Some(Finding::warning("ledger_floor", format!("market {}", facts.name), problem, remedy))
}

fn future(ahead: &Ahead, now: f64) -> Finding {
    let entries = match ahead.entries {
        1 => "an entry is".to_owned(),
        entries => format!("{entries} entries are"),
    };
    let problem = format!("{entries} later than now, by up to {:.0} s", ahead.highest - now);
    if ahead.highest > MILLISECONDS {
        let problem = format!("{entries} no time in seconds: a producer writes milliseconds");
        return Finding::warning(
            "future",
            &ahead.key,
            problem,
            "mend that producer; ZREMRANGEBYSCORE what it wrote",
        );
    }
    let remedy = "synchronise the producers' clocks; until then the entries count when their time has come";
    Finding::warning("future", &ahead.key, problem, remedy)
}

/// What readers see, and who writes it.
fn datasets(facts: &MarketFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has_epochs = facts.pass.as_ref().is_ok_and(|pass| pass.has_epochs);
    for (at, output) in facts.shown.last().into_iter().flatten().enumerate() {
        for (of, shown) in output.iter().enumerate() {
            if *shown.dataset == SUMMARY {
                let seen = facts.shown.iter().filter_map(|look| look.get(at)?.get(of));
                findings.extend(writer(facts, shown, &seen.collect::<Vec<_>>()));
            }
            // A market without epochs has no current one.
            if *shown.dataset != CURRENT_EPOCH || has_epochs || shown.exists {
                findings.extend(age(facts, shown));
            }
        }
    }
    if facts.subscribers == Some(0) && findings.is_empty() {
        let problem = "nobody is subscribed to its channel: no tracker serves this market now";
        findings.push(Finding::note(
            "no_tracker",
            format!("market {}", facts.name),
            problem,
            "start state-tracker",
        ));
    }
    if let Some(trackers) = facts.subscribers.filter(|&trackers| trackers > 1) {
        let problem = format!("{trackers} are subscribed to its channel: more than one tracker serves it");
        let remedy = "nothing, if that is meant: they keep one ledger";
        findings.push(Finding::note("trackers", format!("market {}", facts.name), problem, remedy));
    }
    findings
}

/// How old a dataset is, in seconds, by its own word.
fn age_of(shown: &Shown, now: f64) -> Option<f64> {
    Some(now - shown.json.as_ref()?.get(shown.dataset.dated?)?.as_f64()?)
}

/// How old it may be, in seconds.
fn limit(facts: &MarketFacts, shown: &Shown) -> f64 {
    stale_after(shown.dataset.interval(&facts.intervals)).as_secs_f64()
}

fn age(facts: &MarketFacts, shown: &Shown) -> Option<Finding> {
    if shown.exists && shown.json.is_none() {
        let problem = "it is no JSON: its readers show nothing";
        let remedy = "delete it, and find out which program wrote it";
        return Some(Finding::error("unreadable", &shown.key, problem, remedy));
    }
    let field = shown.dataset.dated.unwrap_or_default();
    let every = shown.dataset.interval(&facts.intervals);
    let age = age_of(shown, facts.now);
    let problem = match age {
        Some(age) if age <= limit(facts, shown) => return None,
        Some(age) => format!("it is {age:.0} s old, and shall be written every {every:?}"),
        None if shown.exists => format!("it does not say when it was written ({field})"),
        // Nobody promised it.
        None if facts.subscribers.is_none_or(|trackers| trackers == 0) => return None,
        None => "a tracker listens, and readers find nothing here".to_owned(),
    };
    let remedy = "look at the tracker's /readyz?verbose: it says what keeps it from writing";
    Some(Finding::warning("stale", &shown.key, problem, remedy))
}

/// Whether somebody else writes the summary. `seen`: each time that the doctor looked.
fn writer(facts: &MarketFacts, last: &Shown, seen: &[&Shown]) -> Option<Finding> {
    let looks: Vec<_> = seen.iter().filter_map(|shown| shown.json.as_ref()).collect();
    let ours = looks.iter().filter(|json| json.get(OURS).is_some()).count();
    let is_young = || age_of(last, facts.now).is_some_and(|age| age <= limit(facts, last));
    let remedy = "stop it, or run state-tracker beside it as a shadow (output.prefix)";
    if facts.is_marked && ours > 0 && ours < looks.len() {
        let problem = "two programs write it in turn: a tracker, and the original or another one";
        return Some(Finding::error("writer", &last.key, problem, remedy));
    }
    if facts.is_marked && ours == 0 && !looks.is_empty() && is_young() {
        let problem = "it was not written by state-tracker: the original, or another program, is at work";
        return Some(Finding::warning("writer", &last.key, problem, remedy));
    }
    let times = |json: &&serde_json::Value| json.get("updated_at").and_then(serde_json::Value::as_f64);
    let moves = looks.first().and_then(times) != looks.last().and_then(times);
    (facts.subscribers == Some(0) && moves && looks.len() > 1).then(|| {
        let problem = "it is being written, and no tracker is subscribed at this server";
        Finding::warning("writer", &last.key, problem, "find out who writes it, and stop it")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use store_tracker::Dataset;

    use super::*;
    use crate::doctor::finding::Severity;

    const NOW: f64 = 1_795_341_600.0;

    fn shown(dataset: &'static Dataset, json: Option<Value>) -> Shown {
        let (key, exists) = (dataset.name().to_owned(), json.is_some());
        Shown { dataset, key, exists, json: json.filter(|json| !json.is_null()) }
    }

    fn look(summary: Option<Value>, current: Option<Value>) -> Vec<Vec<Shown>> {
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

    /// A market that one tracker serves as it should.
    fn well() -> MarketFacts {
        MarketFacts {
            name: "M".to_owned(),
            now: NOW,
            intervals: intervals(),
            is_marked: true,
            pass: Ok(PassFacts { has_epochs: true, ..PassFacts::default() }),
            shown: vec![look(ours(40.0), current(20.0)), look(ours(10.0), current(20.0))],
            subscribers: Some(1),
            ahead: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn found(facts: &MarketFacts) -> Vec<(&'static str, Severity)> {
        judge(facts).into_iter().map(|finding| (finding.check, finding.severity)).collect()
    }

    #[test]
    fn a_market_that_is_served_as_it_should_gives_no_finding() {
        assert_eq!(judge(&well()), []);
        let no_epochs =
            MarketFacts { pass: Ok(PassFacts::default()), shown: vec![look(ours(1.0), None)], ..well() };
        assert_eq!(judge(&no_epochs), [], "where there is no epoch there is no current one");
    }

    #[test]
    fn datasets_that_are_old_missing_or_no_json_are_found() {
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
    fn another_writer_is_told_from_a_tracker() {
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
            "one that was just stopped"
        );
        assert_eq!(with(2, vec![ours(30.0), ours(1.0)]), [("trackers", Note)]);
        let go = MarketFacts { is_marked: false, shown: vec![look(theirs(5.0), current(1.0))], ..well() };
        assert_eq!(found(&go), [], "what can't be told apart is not accused");
    }

    #[test]
    fn a_market_without_a_tracker_and_without_datasets_is_noted_once() {
        let facts = MarketFacts { subscribers: Some(0), shown: vec![look(None, None)], ..well() };
        assert_eq!(found(&facts), [("no_tracker", Severity::Note)]);
    }

    #[test]
    fn a_ledger_that_is_refused_is_an_error_by_its_kind() {
        for (kind, check) in [
            (ErrorKind::Torn, "ledger_torn"),
            (ErrorKind::Refused, "ledger_schema"),
            (ErrorKind::WrongType, "wrong_type"),
            (ErrorKind::Denied, "acl"),
        ] {
            let error = StoreError {
                operation: "read the ledger",
                object: "{P:M}:tracker:meta".to_owned(),
                kind,
                detail: "so it is".to_owned(),
            };
            assert_eq!(found(&MarketFacts { pass: Err(error), ..well() }), [(check, Severity::Error)]);
        }
    }

    #[test]
    fn epochs_at_or_below_the_floor_are_found_when_they_are_opened() {
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
    fn inputs_that_can_not_be_read_and_entries_of_the_future_are_found() {
        use Severity::{Error, Warning};
        let fault = |kind| Fault { key: "key".to_owned(), kind, detail: "unreadable".to_owned() };
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
    fn each_command_that_is_refused_is_one_error() {
        let refusal = |command, object: &str| Refusal {
            command,
            object: object.to_owned(),
            detail: "NOPERM".to_owned(),
        };
        let refused = vec![refusal("SET", "a"), refusal("SET", "b"), refusal("EVALSHA", "c")];
        let findings = judge(&MarketFacts { refused, ..well() });
        let objects: Vec<_> =
            findings.iter().map(|finding| (finding.check, finding.object.as_str())).collect();
        assert_eq!(objects, [("acl", "c"), ("acl", "a")]);
        assert!(findings[1].problem.contains("and on 1 more keys"), "{}", findings[1].problem);
    }
}
