//! Compares what the relayer received with what was handed over: each epoch, with its number of batches, in the order of the
//! finalizers' queue, and repeated only with the same key and the same words.

use std::collections::BTreeMap;

use testkit::RelayerCall;

use super::{
    super::{collector::Epoch, seen::Deliveries},
    findings::Findings,
};

/// A comparison: its counts and its differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) findings: Findings,
    /// How many epochs it was told of.
    pub(super) epochs: usize,
    /// How many attempts it got.
    pub(super) attempts: usize,
}

/// What the relayer took of one market: the epochs with their numbers of batches, without repetitions.
#[derive(Default)]
struct Lane<'a> {
    taken: Vec<(u64, u64)>,
    /// The words of each call, by its key.
    words: BTreeMap<&'a str, &'a str>,
    last: Option<&'a str>,
}

impl Comparison {
    /// Compares what was handed over with the calls.
    pub(super) fn of(deliveries: &Deliveries, calls: &[RelayerCall]) -> Self {
        let mut all = Self { attempts: calls.len(), ..Self::default() };
        let mut lanes: BTreeMap<String, Lane<'_>> = BTreeMap::new();
        for call in calls.iter().filter(|call| call.path == "/submitBatchSize") {
            let market = call.field("dataMarketAddress").as_str().unwrap_or_default().to_lowercase();
            all.take(lanes.entry(market.clone()).or_default(), &market, call);
        }
        for (market, lane) in &lanes {
            all.epochs += lane.taken.len();
            all.lane(market, &lane.taken, deliveries);
        }
        let told = |(market, _): &&Epoch| lanes.contains_key(market);
        let untold = deliveries.counts.keys().filter(|epoch| !told(epoch)).count();
        all.check(untold == 0, || format!("the relayer was told nothing of markets with {untold} epochs"));
        all
    }

    /// Takes one call.
    fn take<'a>(&mut self, lane: &mut Lane<'a>, market: &str, call: &'a RelayerCall) {
        let key = call.key.as_deref().unwrap_or_default();
        self.check(!key.is_empty(), || {
            format!("a call of market {market} has no idempotency key: {}", call.body)
        });
        let words = *lane.words.entry(key).or_insert(&call.body);
        self.check(words == call.body, || {
            format!("the key {key} was used for {words} and for {}", call.body)
        });
        let is_new = lane.last != Some(key);
        let numbers = [call.field("epochID"), call.field("batchSize")].map(|number| number.as_u64());
        if let [Some(epoch), Some(batches)] = numbers
            && call.is_taken()
            && is_new
        {
            lane.taken.push((epoch, batches));
            lane.last = Some(key);
        }
    }

    /// Compares what it took of a market.
    fn lane(&mut self, market: &str, taken: &[(u64, u64)], deliveries: &Deliveries) {
        let counts = deliveries.counts.iter().filter(|((of, _), _)| of == market);
        let mut counts: Vec<(u64, u64)> = counts.map(|((_, epoch), count)| (*epoch, *count)).collect();
        let mut sorted = taken.to_vec();
        sorted.sort_unstable();
        counts.sort_unstable();
        self.check(sorted == counts, || {
            let lacks: Vec<_> = counts.iter().filter(|epoch| !sorted.contains(epoch)).collect();
            format!(
                "market {market}: the relayer took {} calls, and {} epochs were handed over; it lacks {lacks:?}",
                taken.len(),
                counts.len()
            )
        });
        let mut queued: Vec<u64> = deliveries
            .jobs
            .iter()
            .map(|job| job.epoch())
            .filter(|(of, _)| of == market)
            .map(|(_, epoch)| epoch)
            .collect();
        queued.dedup();
        let told: Vec<u64> =
            taken.iter().map(|(epoch, _)| *epoch).filter(|epoch| queued.contains(epoch)).collect();
        self.check(told == queued, || {
            format!(
                "market {market}: the queue has the epochs in the order {queued:?}, the relayer got {told:?}"
            )
        });
    }

    fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.findings.add(finding());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{from_value, json};
    use testkit::RelayerAnswer;

    use super::*;

    const MARKET: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";

    fn call(epoch: u64, batches: u64, answer: RelayerAnswer) -> RelayerCall {
        let body = json!({ "epochID": epoch, "batchSize": batches, "dataMarketAddress": MARKET }).to_string();
        let (path, key) = ("/submitBatchSize".to_owned(), Some(format!("key-{epoch}")));
        RelayerCall { at: Instant::now(), path, key, body, answer }
    }

    /// Epochs 7, 9 and 8 were handed over in this order; 9 has no batches.
    fn deliveries() -> Deliveries {
        let job = |epoch: u64, number: u64| {
            from_value(
                json!({ "DataMarketAddress": MARKET, "EpochID": epoch, "BatchID": number, "Batch": {} }),
            )
            .expect("a job")
        };
        let counts = [(7, 2), (9, 0), (8, 1)].map(|(epoch, count)| ((MARKET.to_owned(), epoch), count));
        Deliveries {
            jobs: vec![job(7, 1), job(7, 2), job(8, 1)],
            counts: counts.into(),
            ..Deliveries::default()
        }
    }

    #[test]
    fn each_epoch_once_in_order_is_content_however_often_calls_are_repeated() {
        use RelayerAnswer::{Accept, Cut, Say, TakeAndSay};
        let calls = [
            call(7, 2, Say(503, None)),
            call(7, 2, TakeAndSay(500)),
            call(7, 2, Accept),
            call(9, 0, Cut),
            call(9, 0, Accept),
            call(8, 1, Accept),
        ];
        let all = Comparison::of(&deliveries(), &calls);
        assert_eq!(all, Comparison { findings: Findings::default(), epochs: 3, attempts: 6 });
    }

    #[test]
    fn what_is_left_out_turned_round_or_told_twice_is_found() {
        use RelayerAnswer::{Accept, Say};
        let (seven, nine, eight) = (call(7, 2, Accept), call(9, 0, Accept), call(8, 1, Accept));
        let renamed = RelayerCall { key: Some("another".to_owned()), ..seven.clone() };
        let reused = RelayerCall { key: seven.key.clone(), ..nine.clone() };
        let unnamed = RelayerCall { key: None, ..nine.clone() };
        for (calls, finding) in [
            (vec![seven.clone(), nine.clone()], "it lacks [(8, 1)]"),
            (vec![seven.clone(), call(9, 0, Say(500, None)), eight.clone()], "it lacks [(9, 0)]"),
            (vec![eight.clone(), seven.clone(), nine.clone()], "the relayer got [8, 7]"),
            (vec![seven.clone(), nine.clone(), call(8, 3, Accept)], "it lacks [(8, 1)]"),
            (vec![seven.clone(), renamed, nine.clone(), eight.clone()], "took 4 calls, and 3 epochs"),
            (vec![seven.clone(), eight.clone(), seven.clone(), nine.clone()], "took 4 calls"),
            (vec![seven.clone(), reused, eight.clone()], "was used for"),
            (vec![seven, unnamed, eight], "no idempotency key"),
            (vec![], "told nothing of markets with 3 epochs"),
        ] {
            let found = Comparison::of(&deliveries(), &calls).findings.all().join("\n");
            assert!(found.contains(finding), "{finding}\nfound: {found}");
        }
    }
}
