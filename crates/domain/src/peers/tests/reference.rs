//! The contract, computed in the plainest way from all that ever came. It uses nothing of the code that it judges.

use std::collections::{BTreeMap, BTreeSet};

/// What a sample should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expected {
    pub(super) source: usize,
    pub(super) series: String,
    pub(super) timestamp: u64,
    pub(super) work: f64,
    pub(super) seconds: f64,
}

/// A sliding window that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) series: String,
    pub(super) work: f64,
    pub(super) window: u64,
}

/// The seconds of each series that are counted, one by one.
#[derive(Default)]
pub(super) struct Windows {
    counted: BTreeMap<String, BTreeSet<u64>>,
    /// Seconds before a restart of ours: all series were counted up to here.
    before: BTreeSet<u64>,
}

impl Windows {
    /// A restart of ours, which knows the end of the last sample only.
    pub(super) fn restart(&mut self, last: Option<u64>) {
        self.counted.clear();
        self.before = last.into_iter().collect();
    }

    /// One picture: "a rate that holds for the time since the sample before it of that peer, at most `window_seconds`".
    pub(super) fn picture(&mut self, source: usize, sent: &[Sent], timestamp: u64) -> Vec<Expected> {
        let mut expected = Vec::new();
        for one in sent {
            let before = &self.before;
            let counted = self.counted.entry(one.series.clone()).or_insert_with(|| before.clone());
            let newest = counted.last().copied();
            if newest.is_some_and(|newest| newest > timestamp + one.window) {
                // The clock leapt back: its time begins anew.
                *counted = BTreeSet::from([timestamp]);
                continue;
            }
            let seconds: Vec<u64> = (timestamp - one.window + 1..=timestamp)
                .filter(|second| newest.is_none_or(|newest| *second > newest))
                .collect();
            counted.extend(&seconds);
            if seconds.is_empty() {
                continue;
            }
            let a_second = one.work / one.window as f64;
            expected.push(Expected {
                source,
                series: one.series.clone(),
                timestamp,
                work: seconds.iter().map(|_| a_second).sum(),
                seconds: seconds.len() as f64,
            });
        }
        expected
    }
}

/// A channel in a poll: the work that it truly did since the last poll, and whether its counter began anew.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) series: String,
    pub(super) done: f64,
    pub(super) is_new: bool,
}

/// A poll; `is_broken` if the source restarted since the last one or time can't be told. `seconds` is what passed.
pub(super) fn poll(
    source: usize,
    channels: &[Channel],
    timestamp: u64,
    seconds: f64,
    is_broken: bool,
) -> Vec<Expected> {
    if is_broken {
        return Vec::new();
    }
    let mut all: BTreeMap<&str, f64> = BTreeMap::new();
    for channel in channels.iter().filter(|channel| !channel.is_new) {
        *all.entry(&channel.series).or_default() += channel.done;
    }
    let of = |(series, work): (&str, f64)| Expected {
        source,
        series: series.to_owned(),
        timestamp,
        work,
        seconds,
    };
    all.into_iter().map(of).collect()
}
