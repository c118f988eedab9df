//! Work out of sums that only grow while their channel lives.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::sample::{Measured, PeerKind, Sample, Total, is_quantity};

/// After a longer gap between two polls, in seconds, sums begin anew.
const LONGEST_GAP: f64 = 600.0;
/// How far the uptime of a source may lag behind the time that has passed, in seconds, before that means a restart.
const UPTIME_SLACK: f64 = 5.0;

/// The sum of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkSum<'a> {
    /// The number of the client. It is used again after a restart.
    pub client_id: u32,
    /// The number of the channel.
    pub channel_id: u32,
    /// The kind of the channel.
    pub kind: PeerKind,
    /// The user identity, or the name of the worker.
    pub name: &'a str,
    /// The work since the channel was opened.
    pub work: f64,
}

/// One poll of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poll {
    /// When it was, in Unix seconds of our clock.
    pub at: f64,
    /// How long the source has been running, in seconds, if it says so.
    pub uptime: Option<f64>,
}

/// Which sum of a source is meant. Another name or kind at the same numbers is another channel.
type Channel = (u32, u32, PeerKind, String);

/// Measures the channels of one polled source.
#[derive(Clone, Debug)]
pub struct SumMeter {
    source: Arc<str>,
    last: Option<Poll>,
    sums: HashMap<Channel, f64>,
    rates: BTreeMap<u32, f64>,
}

impl SumMeter {
    /// A meter of a source. Its first poll measures nothing.
    #[must_use]
    pub fn new(source: Arc<str>) -> Self {
        Self { source, last: None, sums: HashMap::new(), rates: BTreeMap::new() }
    }

    /// Takes the sums of one poll.
    ///
    /// A sum that has fallen begins anew, and all of them do after a restart of the source or of our clock. Channels of one
    /// name and kind are one peer.
    pub fn measure<'a>(&mut self, sums: impl IntoIterator<Item = WorkSum<'a>>, poll: Poll) -> Measured {
        let passed = self.last.map(|last| poll.at - last.at);
        // Not even a moment: the sums of this poll are part of the next one's.
        if passed == Some(0.0) {
            return Measured::default();
        }
        let seconds =
            passed.filter(|passed| (0.0..=LONGEST_GAP).contains(passed) && !self.has_restarted(poll));
        self.last = Some(poll);
        let before = std::mem::take(&mut self.sums);
        self.rates.clear();
        // By name and kind: the least client id, and the work.
        let mut peers: BTreeMap<(String, PeerKind), (u32, f64)> = BTreeMap::new();
        for sum in sums.into_iter().filter(|sum| is_quantity(sum.work)) {
            let channel = (sum.client_id, sum.channel_id, sum.kind, sum.name.to_owned());
            if let (Some(_), Some(before)) = (seconds, before.get(&channel))
                && sum.work >= *before
            {
                let peer = peers.entry((sum.name.to_owned(), sum.kind)).or_insert((sum.client_id, 0.0));
                *peer = (peer.0.min(sum.client_id), peer.1 + (sum.work - before));
                *self.rates.entry(sum.client_id).or_default() += sum.work - before;
            }
            self.sums.insert(channel, sum.work);
        }
        let Some(seconds) = seconds else { return Measured::default() };
        self.rates.values_mut().for_each(|rate| *rate /= seconds);
        self.measured(peers, poll.at as u64, seconds)
    }

    /// The work a second of each client between the last two polls, by its number; clients of which nothing was measured are left
    /// out.
    #[must_use]
    pub fn rates(&self) -> &BTreeMap<u32, f64> {
        &self.rates
    }

    fn measured(
        &self,
        peers: BTreeMap<(String, PeerKind), (u32, f64)>,
        timestamp: u64,
        seconds: f64,
    ) -> Measured {
        // Without any channel the source did no work, which is known. With new ones only, nothing is.
        let is_known = !peers.is_empty() || self.sums.is_empty();
        let work = peers.values().map(|(_, work)| work).sum();
        let total = Total { timestamp, source: Arc::clone(&self.source), work, seconds, declared_hs: None };
        let sample = |((name, kind), (downstream_id, work))| Sample {
            timestamp,
            source: Arc::clone(&self.source),
            downstream_id,
            name,
            kind,
            work,
            seconds,
            declared_hs: None,
        };
        Measured { samples: peers.into_iter().map(sample).collect(), total: is_known.then_some(total) }
    }

    /// Whether the source has restarted since the last poll: its uptime fell, or grew by less than the time.
    fn has_restarted(&self, poll: Poll) -> bool {
        let Some(last) = self.last else { return false };
        match (last.uptime, poll.uptime) {
            (Some(before), Some(uptime)) => {
                uptime < before || uptime + UPTIME_SLACK < before + (poll.at - last.at)
            }
            _ => false,
        }
    }
}
