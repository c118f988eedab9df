//! Compares what the relayer was told of rewards with what follows from the epochs that were handed over and from the counters of the
//! finalizers: the counters whole, in pieces, once for every second epoch.

use std::collections::{BTreeMap, BTreeSet};

use testkit::RelayerCall;

use super::{
    super::{
        finalizers::{EVERY, PIECE, counters},
        seen::Deliveries,
        servers::DAY,
    },
    findings::Findings,
};

/// A comparison: its counts and its differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) findings: Findings,
    /// How many calls the relayer took, without repetitions.
    pub(super) calls: usize,
}

/// The slots of a call with their submissions.
type Piece = Vec<(u64, u64)>;

impl Comparison {
    /// Compares what was handed over with the calls.
    pub(super) fn of(deliveries: &Deliveries, calls: &[RelayerCall]) -> Self {
        let mut all = Self::default();
        let mut told: BTreeMap<(String, Piece), BTreeSet<&str>> = BTreeMap::new();
        let taken = calls.iter().filter(|call| call.path == "/submitUpdateRewards" && call.is_taken());
        for call in taken {
            let market = call.field("dataMarketAddress").as_str().unwrap_or_default().to_lowercase();
            let piece = piece(call);
            all.check(piece.is_some(), || format!("the relayer can't read {}", call.body));
            let key = call.key.as_deref().unwrap_or_default();
            told.entry((market, piece.unwrap_or_default())).or_default().insert(key);
        }
        all.calls = told.values().map(BTreeSet::len).sum();
        let mut due: BTreeMap<&str, usize> = BTreeMap::new();
        for (market, epoch) in deliveries.counts.keys() {
            *due.entry(market).or_default() += usize::from(epoch.is_multiple_of(EVERY));
        }
        for (market, times) in due.into_iter().filter(|(_, times)| *times > 0) {
            for piece in counters(market).chunks(PIECE) {
                let found = told.remove(&(market.to_owned(), piece.to_vec())).unwrap_or_default().len();
                let first = piece.first().map_or(0, |(slot, _)| *slot);
                all.check(found == times, || {
                    format!(
                        "market {market}: the relayer was told the rewards from slot {first} on {found} times, {times} are due"
                    )
                });
            }
        }
        let more = told.keys().map(|(market, piece)| format!("{piece:?} of market {market}"));
        let more: Vec<String> = more.collect();
        all.check(more.is_empty(), || format!("the relayer was told rewards that nobody earned: {more:?}"));
        all
    }

    fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.findings.add(finding());
        }
    }
}

/// The slots of a call with their submissions; `None` if a reader of the relayer could not use it.
fn piece(call: &RelayerCall) -> Option<Piece> {
    let numbers = |name: &str| {
        let field = call.field(name);
        field.as_array()?.iter().map(serde_json::Value::as_u64).collect::<Option<Vec<u64>>>()
    };
    let (slots, submissions) = (numbers("slotIDs")?, numbers("submissionsList")?);
    let is_of_the_day = call.field("day") == DAY && call.field("eligibleNodes") == 0;
    (is_of_the_day && slots.len() == submissions.len()).then(|| slots.into_iter().zip(submissions).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};
    use testkit::RelayerAnswer;

    use super::*;

    const MARKET: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";

    fn call(key: &str, piece: &[(u64, u64)], change: impl FnOnce(&mut Value)) -> RelayerCall {
        let (slots, submissions): (Vec<u64>, Vec<u64>) = piece.iter().copied().unzip();
        let mut body = json!({
            "dataMarketAddress": MARKET, "slotIDs": slots, "submissionsList": submissions, "day": 1, "eligibleNodes": 0,
        });
        change(&mut body);
        let (path, key) = ("/submitUpdateRewards".to_owned(), Some(key.to_owned()));
        RelayerCall { at: Instant::now(), path, key, body: body.to_string(), answer: RelayerAnswer::Accept }
    }

    /// Epochs 7, 8 and 10: the relayer is told twice.
    fn deliveries() -> Deliveries {
        let counts = [7, 8, 10].map(|epoch| ((MARKET.to_owned(), epoch), 0));
        Deliveries { counts: counts.into(), ..Deliveries::default() }
    }

    fn due() -> Vec<RelayerCall> {
        let counters = counters(MARKET);
        let pieces = counters.chunks(PIECE).enumerate();
        let named = |epoch: u64| {
            pieces.clone().map(move |(index, piece)| call(&format!("{epoch}:{index}"), piece, |_| {}))
        };
        named(8).chain(named(10)).collect()
    }

    #[test]
    fn every_piece_once_for_each_epoch_that_makes_it_due_is_content_however_often_calls_are_repeated() {
        let mut calls = due();
        let (many, again) = (calls.len(), calls[1].clone());
        calls.push(again);
        let all = Comparison::of(&deliveries(), &calls);
        assert_eq!(all, Comparison { findings: Findings::default(), calls: many });
    }

    #[test]
    fn what_is_left_out_told_twice_or_changed_is_found() {
        type Change = fn(&mut Vec<RelayerCall>);
        let other = |calls: &mut Vec<RelayerCall>, name: &str, value: Value| {
            let mut body: Value = serde_json::from_str(&calls[1].body).expect("JSON");
            body[name] = value;
            calls[1].body = body.to_string();
        };
        let cases: [(Change, &str); 4] = [
            (|calls| drop(calls.remove(0)), "from slot 1 on 1 times, 2 are due"),
            (
                |calls| {
                    let renamed = RelayerCall { key: Some("another".to_owned()), ..calls[0].clone() };
                    calls.push(renamed);
                },
                "from slot 1 on 3 times",
            ),
            (|calls| calls[0].answer = RelayerAnswer::Say(503, None), "1 times, 2 are due"),
            (|calls| calls.push(call("more", &[(3, 1)], |_| {})), "nobody earned"),
        ];
        for (change, finding) in cases {
            let mut calls = due();
            change(&mut calls);
            let found = Comparison::of(&deliveries(), &calls).findings.all().join("\n");
            assert!(found.contains(finding), "{finding}\nfound: {found}");
        }
        for (name, value) in [
            ("day", json!(2)),
            ("eligibleNodes", json!(5)),
            ("slotIDs", json!(["1"])),
            ("submissionsList", json!([1])),
        ] {
            let mut calls = due();
            other(&mut calls, name, value);
            let found = Comparison::of(&deliveries(), &calls).findings.all().join("\n");
            assert!(found.contains("can't read"), "{name}\nfound: {found}");
        }
    }
}
