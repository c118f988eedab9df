//! Families of keys: what stands behind `P:M:` in the keys of a market, of which type it is, and whether it
//! expires. For whoever looks at keys without reading them.

use store_redis::{Family, KeyType, Life, Writer, family};

use crate::keys::MarketKeys;

static OF_MARKETS: [Family; 27] = {
    use KeyType::{Hash, List, Set, String, Zset};
    use Life::{Either, Expires};
    use Writer::{Datasets, Producers};
    [
        family("submissionQueue", List, Either, Producers),
        family("epochs:active", Set, Expires, Producers),
        family("epoch:*:validators", Set, Expires, Producers),
        family("epoch:*:submissions:ids", Zset, Expires, Producers),
        family("epoch:*:processed", Set, Expires, Producers),
        family("epoch:*:state", Hash, Expires, Producers),
        family("metrics:epoch:*:info", Hash, Expires, Producers),
        family("metrics:epochs:timeline", Zset, Either, Producers),
        family("metrics:batches:timeline", Zset, Either, Producers),
        family("metrics:submissions:timeline", Zset, Either, Producers),
        family("metrics:validations:timeline", Zset, Either, Producers),
        family("metrics:parts:timeline", Zset, Either, Producers),
        family("metrics:validator:*:batches", Zset, Either, Producers),
        family("metrics:batch:local:*", String, Expires, Producers),
        family("metrics:batch:aggregated:*", String, Expires, Producers),
        family("metrics:batch:*:validators", String, Expires, Producers),
        // The tracker gives it a TTL where it has none.
        family("vpa:stats", Hash, Either, Producers),
        family("vpa:priority:timeline", Zset, Either, Producers),
        family("vpa:submission:timeline", Zset, Either, Producers),
        family("dashboard:summary", String, Expires, Datasets),
        family("stats:current", Hash, Expires, Datasets),
        family("stats:hourly:*", String, Expires, Datasets),
        family("stats:daily", String, Expires, Datasets),
        family("metrics:participation", String, Expires, Datasets),
        family("metrics:current_epoch", String, Expires, Datasets),
        family("epochs:gaps", Zset, Expires, Datasets),
        family("metrics:submissions:metadata:*", String, Either, Producers),
    ]
};

/// Of a market's state index, where it has one.
static OF_INDEXES: [Family; 23] = {
    use KeyType::{Hash, Set, Zset};
    use Life::{Expires, Stays};
    use Writer::Datasets;
    [
        family("metrics:submissions:by_time", Zset, Stays, Datasets),
        family("metrics:epochs:by_time", Zset, Stays, Datasets),
        family("metrics:finalizations:by_time", Zset, Stays, Datasets),
        family("epoch:*:submissions", Set, Expires, Datasets),
        family("validator:*:epochs", Set, Expires, Datasets),
        family("validator:*:batches", Set, Expires, Datasets),
        family("validator:*:stats", Hash, Expires, Datasets),
        family("project:*:submissions", Set, Expires, Datasets),
        family("snapshotter:*:submissions", Set, Expires, Datasets),
        family("state:epoch:*", Hash, Expires, Datasets),
        family("state:submission:*", Hash, Expires, Datasets),
        family("state:validator:*", Hash, Expires, Datasets),
        family("validators:last_seen", Hash, Stays, Datasets),
        family("validators:peer_mapping", Hash, Stays, Datasets),
        family("pending:epochs", Set, Stays, Datasets),
        family("active:epochs", Set, Stays, Datasets),
        family("completed:epochs", Set, Stays, Datasets),
        family("active:submissions", Set, Stays, Datasets),
        family("rejected:submissions", Set, Stays, Datasets),
        family("finalized:submissions", Set, Stays, Datasets),
        family("online:validators", Set, Stays, Datasets),
        family("active:validators", Set, Stays, Datasets),
        family("offline:validators", Set, Stays, Datasets),
    ]
};

static OF_LEDGERS: [Family; 8] = {
    use KeyType::{Hash, Set, Zset};
    use Life::{Expires, Stays};
    use Writer::Ledger;
    [
        family("tracker:open", Hash, Stays, Ledger),
        family("tracker:sealed", Hash, Stays, Ledger),
        family("tracker:sums", Hash, Stays, Ledger),
        family("tracker:meta", Hash, Stays, Ledger),
        family("tracker:opened", Zset, Stays, Ledger),
        family("tracker:aggregated", Zset, Stays, Ledger),
        family("tracker:included", Zset, Stays, Ledger),
        family("tracker:validators:*", Set, Expires, Ledger),
    ]
};

/// The family of a key by what stands behind `P:M:`, or behind `{P:M}:` in the keys of a ledger.
#[must_use]
pub fn family_of(rest: &str) -> Option<&'static Family> {
    OF_MARKETS.iter().chain(&OF_LEDGERS).chain(&OF_INDEXES).find(|family| match family.name.split_once('*') {
        None => family.name == rest,
        Some((before, after)) => {
            rest.strip_prefix(before).and_then(|id| id.strip_suffix(after)).is_some_and(|id| !id.is_empty())
        }
    })
}

impl MarketKeys {
    /// Everything that may stand before the name of a family, without the colon behind it: `P:M` of inputs and
    /// outputs in each spelling, the second namespace, `{P:M}` of the ledger.
    #[must_use]
    pub fn spaces(&self) -> Vec<String> {
        let ledger = self.open();
        let ledger = ledger.strip_suffix(":tracker:open").unwrap_or(&ledger);
        let inputs = self.inputs().chain(self.second()).map(|input| input.space().to_owned());
        let outputs = self.outputs().map(|output| output.space().to_owned());
        let mut all: Vec<String> = inputs.chain(outputs).chain([ledger.to_owned()]).collect();
        all.sort();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::{
        Address, EpochId,
        tracker::index::{EpochState, Machine, SubmissionState, ValidatorState},
    };

    use super::*;
    use crate::keys::{IndexKeys, InputKeys, Output, OutputKeys};

    fn name_of(key: &str, space: &str) -> Option<&'static str> {
        let rest = key.strip_prefix(space)?.strip_prefix(':')?;
        family_of(rest).map(|family| family.name)
    }

    #[test]
    fn every_key_that_the_tracker_names_has_its_family() {
        let keys = MarketKeys::new(&Address::new("P"), &Address::new("M"));
        let epoch = EpochId::parse("23").expect("an id");
        let input = keys.inputs().next().expect("one");
        let of_epochs = [InputKeys::info, InputKeys::state, InputKeys::validators, InputKeys::submission_ids];
        let of_batches = [
            InputKeys::processed,
            InputKeys::local_batch,
            InputKeys::aggregated_batch,
            InputKeys::batch_validators,
        ];
        let single = [InputKeys::queue, InputKeys::active, InputKeys::vpa_stats];
        let vpa = [InputKeys::vpa_assignments, InputKeys::vpa_submissions];
        let inputs = of_epochs.iter().chain(&of_batches).map(|key| key(input, &epoch));
        let inputs = inputs.chain(single.iter().chain(&vpa).map(|key| key(input)));
        let output = keys.outputs().next().expect("one");
        let outputs = [
            OutputKeys::summary,
            OutputKeys::stats,
            OutputKeys::current_epoch,
            OutputKeys::participation,
            OutputKeys::daily,
            OutputKeys::gaps,
        ];
        let outputs = outputs.iter().map(|key| key(output)).chain([output.hourly(3600)]);
        let mut checked = 0;
        for key in inputs.chain(input.timelines("v:1")).chain(outputs) {
            assert!(name_of(&key, "P:M").is_some(), "{key} has no family");
            checked += 1;
        }
        for key in keys.of_ledger().into_iter().chain([keys.hour_validators(3600)]) {
            assert!(name_of(&key, "{P:M}").is_some(), "{key} has no family");
            checked += 1;
        }
        assert_eq!(checked, 34);
        assert_eq!(name_of("P:M:metrics:batch:23:validators", "P:M"), Some("metrics:batch:*:validators"));
        assert_eq!(name_of("P:M:metrics:batch:local:23", "P:M"), Some("metrics:batch:local:*"));
        assert_eq!(name_of("P:M:epoch::state", "P:M"), None);
    }

    #[test]
    fn every_key_of_a_markets_state_index_has_its_family() {
        let keys = IndexKeys::of_market(&MarketKeys::new(&Address::new("P"), &Address::new("M")));
        let epoch = EpochId::parse("23").expect("an id");
        let mut all = vec![
            keys.submissions_by_time(),
            keys.epochs_by_time(),
            keys.finalizations_by_time(),
            keys.epoch_submissions(&epoch),
            keys.validator_epochs("a:b"),
            keys.validator_batches("a:b"),
            keys.validator_stats("a:b"),
            keys.project_submissions("a:b"),
            keys.snapshotter_submissions("42"),
            keys.epoch(&epoch),
            keys.submission("a:b"),
            keys.validator("a:b"),
            keys.last_seen(),
            keys.peer_mapping(),
        ];
        let sets = [EpochState::SETS, SubmissionState::SETS, ValidatorState::SETS].concat();
        all.extend(sets.into_iter().map(|set| keys.set(set)));
        assert_eq!(all.len(), OF_INDEXES.len());
        let names: BTreeSet<_> = all.iter().map(|key| name_of(key, "P:M").expect("a family")).collect();
        assert_eq!(names, OF_INDEXES.iter().map(|family| family.name).collect());
    }

    #[test]
    fn the_spaces_of_a_market_are_those_of_its_inputs_outputs_and_ledger() {
        let keys = MarketKeys::new(&Address::new("P"), &Address::new("M"));
        assert_eq!(keys.spaces(), ["P:M", "{P:M}"]);
        let output = Output { prefix: "s".to_owned(), ..Output::default() };
        let keys = keys.with_output(&output).with_priority(&Address::new("Q"), &Address::new("N"));
        assert_eq!(keys.spaces(), ["P:M", "Q:N", "s:P:M", "s:{P:M}"]);
    }
}
