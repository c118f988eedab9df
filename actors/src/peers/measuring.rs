//! What a picture adds to the history. Pure: the meters are in memory.

mod polled;

use std::sync::Arc;

use domain::peers::{DeclaredPeer, Measured, Now, PeerKind, PictureKind, Total, Window, declared};
use peer_snapshots::{Message, Metrics};
use store_peers::{Balance, Sample, Subject};

pub(super) use polled::measure_poll;

use super::{content::metrics_kind, pending::Gathered, shared::Meters};

/// The longest time for which a declared rate counts, in seconds.
const LONGEST_DECLARED: f64 = 60.0;

/// The time of a sender where it can be right, else ours, in Unix seconds.
pub(super) fn own_time(timestamp: u64, now: Now) -> i64 {
    /// How far a sender's clock may be off, in seconds.
    const OFF: f64 = 600.0;
    let at = timestamp as f64;
    if (now.unix - OFF..=now.unix).contains(&at) { at as i64 } else { now.unix as i64 }
}

/// What a message adds to the history. A source of metrics needs its meter for that.
pub(super) fn measure(meters: &mut Meters, source: &Arc<str>, message: &Message, now: Now) -> Gathered {
    match message {
        Message::Metrics(metrics) => measure_metrics(meters, source, metrics, now),
        Message::Miners(all) => {
            let peers =
                all.miners.iter().map(|miner| pushed(miner.downstream_id, &miner.name, miner.hashrate));
            declare(meters, source, peers, now, true)
        }
        Message::Proxy(status) => {
            let peers =
                status.downstream_miners.iter().map(|miner| pushed(miner.id, &miner.name, miner.hashrate));
            declare(meters, source, peers, now, true)
        }
        Message::Connections(all) => {
            let peers = all.connections.iter().map(|peer| pushed(peer.downstream_id, "", peer.hashrate));
            declare(meters, source, peers, now, true)
        }
        Message::Balance(balance) => {
            let balance = Balance {
                timestamp: own_time(balance.timestamp, now),
                source: source.clone(),
                balance: balance.balance,
            };
            Gathered { balances: vec![balance], ..Gathered::default() }
        }
        Message::Pool(_) | Message::Heartbeat(_) | Message::Quote(_) | Message::Retired(_) => {
            Gathered::default()
        }
    }
}

fn measure_metrics(meters: &mut Meters, source: &Arc<str>, metrics: &Metrics, now: Now) -> Gathered {
    let kind = metrics_kind(metrics.service_type);
    let Some(meter) = meters.windows.get_mut(&(source.clone(), kind)) else { return Gathered::default() };
    let windows = metrics.downstreams.iter().map(|peer| Window {
        downstream_id: peer.downstream_id,
        name: &peer.name,
        work: peer.sum_difficulty_in_window,
        seconds: peer.window_seconds,
        timestamp: peer.timestamp,
    });
    let mut measured = meter.measure(windows, metrics.timestamp, now.unix as u64);
    meters.note(source, kind, &measured, now);
    if !meters.counts(source, kind, now) {
        measured.total = None;
    }
    gathered(measured, None, true)
}

/// A peer of a picture that was pushed.
fn pushed(downstream_id: u32, name: &str, hashrate: f64) -> DeclaredPeer<'_> {
    DeclaredPeer { downstream_id, name, kind: PeerKind::Pushed, hashrate }
}

/// What is declared: each rate holds for the time since the picture before, which the first one does not have.
fn declare<'a>(
    meters: &mut Meters,
    source: &Arc<str>,
    peers: impl Iterator<Item = DeclaredPeer<'a>>,
    now: Now,
    has_ids: bool,
) -> Gathered {
    let before = meters.declared.insert(source.clone(), now.steady);
    let Some(seconds) =
        before.map(|before| (now.steady - before).min(LONGEST_DECLARED)).filter(|it| *it > 0.0)
    else {
        return Gathered::default();
    };
    gathered(declared(source, peers, now.unix as u64), Some(seconds), has_ids)
}

/// Samples as the file takes them. `declared` is how long declared rates hold, in seconds; `has_ids` whether readers may ask for the
/// peers by their numbers.
fn gathered(Measured { samples, total }: Measured, declared: Option<f64>, has_ids: bool) -> Gathered {
    let row = |timestamp: u64, subject, work: f64, seconds: f64, declared_hs: Option<f64>| Sample {
        timestamp: i64::try_from(timestamp).unwrap_or(i64::MAX),
        subject,
        seconds: declared.unwrap_or(seconds),
        work: declared_hs.is_none().then_some(work),
        declared_hs,
    };
    let of_peer = |sample: domain::peers::Sample| {
        let name = sample.series().to_string().into();
        let downstream_id = has_ids.then_some(sample.downstream_id);
        let subject = Subject::Miner { source: sample.source.clone(), downstream_id, name };
        row(sample.timestamp, subject, sample.work, sample.seconds, sample.declared_hs)
    };
    let of_source = |total: Total| {
        row(total.timestamp, Subject::Source(total.source), total.work, total.seconds, total.declared_hs)
    };
    let samples = samples.into_iter().map(of_peer).chain(total.map(of_source)).collect();
    Gathered { samples, ..Gathered::default() }
}

/// A measured total counts for so long, in seconds.
const RATE_LIVES: f64 = 60.0;

impl Meters {
    /// Notes the total of a source, where a picture of this kind has one.
    fn note(&mut self, source: &Arc<str>, kind: PictureKind, measured: &Measured, now: Now) {
        if let Some(total) = measured.total.as_ref().filter(|total| total.seconds > 0.0) {
            self.rates.insert((source.clone(), kind), (total.work / total.seconds, now.steady));
        }
    }

    /// Whether what this kind of picture measures counts for the totals of its source. What a proxy measures beside its pool arrives at
    /// that pool: with both, it would count twice.
    fn counts(&self, source: &Arc<str>, kind: PictureKind, now: Now) -> bool {
        let is_fresh = |kind| {
            let rate = self.rates.get(&(source.clone(), kind));
            rate.is_some_and(|(_, at)| now.steady - at <= RATE_LIVES)
        };
        kind != PictureKind::ProxyMetrics || !is_fresh(PictureKind::PoolMetrics)
    }

    /// The work a second of all sources together; `None` while nothing is measured, which is a gap and not 0.
    pub(super) fn total(&mut self, now: Now) -> Option<f64> {
        self.rates.retain(|_, (_, at)| now.steady - *at <= RATE_LIVES);
        let counted = self.rates.iter().filter(|((source, kind), _)| self.counts(source, *kind, now));
        let rates: Vec<f64> = counted.map(|(_, (rate, _))| *rate).collect();
        (!rates.is_empty()).then(|| rates.iter().sum())
    }

    /// Forgets a source.
    pub(super) fn forget(&mut self, source: &Arc<str>) {
        self.windows.retain(|(of, _), _| of != source);
        self.rates.retain(|(of, _), _| of != source);
        self.sums.remove(source);
        self.declared.remove(source);
    }
}

#[cfg(test)]
mod tests {
    use domain::peers::WindowMeter;
    use peer_snapshots::{DownstreamMetrics, MeteredService};

    use super::*;

    const START: u64 = 1_700_000_000;

    fn metrics(service_type: MeteredService, work: f64, second: u64) -> Message {
        let peer = DownstreamMetrics {
            downstream_id: 1,
            name: format!("{service_type:?}"),
            address: None,
            shares_lifetime: 1,
            shares_in_window: 1,
            sum_difficulty_in_window: work,
            window_seconds: 60,
            timestamp: START + second,
        };
        Message::Metrics(Metrics { service_type, downstreams: vec![peer], timestamp: START + second })
    }

    #[test]
    fn a_pool_and_a_proxy_at_one_address_are_measured_apart_and_their_work_counts_once() {
        let source: Arc<str> = "host".into();
        let mut meters = Meters::default();
        for kind in [PictureKind::ProxyMetrics, PictureKind::PoolMetrics] {
            meters.windows.insert((source.clone(), kind), WindowMeter::new(source.clone(), Some(START)));
        }
        let (mut works, mut totals) = (Vec::new(), Vec::new());
        for second in [5, 10] {
            for (service, work) in [(MeteredService::Pool, 120.0), (MeteredService::Translator, 60.0)] {
                let now = Now { unix: (START + second) as f64, steady: second as f64 };
                let gathered = measure(&mut meters, &source, &metrics(service, work, second), now);
                for sample in gathered.samples {
                    let all =
                        if matches!(sample.subject, Subject::Source(_)) { &mut totals } else { &mut works };
                    all.push((sample.work, sample.seconds));
                }
            }
        }
        // Of the pool 2 a second, of the proxy 1.
        assert_eq!(works, [10.0, 5.0, 10.0, 5.0].map(|work| (Some(work), 5.0)));
        assert_eq!(totals, [(Some(10.0), 5.0); 2]);
        let now = |steady| Now { unix: START as f64, steady };
        assert_eq!(meters.total(now(10.0)), Some(2.0));
        // The pool has gone silent: what the proxy measures counts again.
        let late = Now { unix: (START + 75) as f64, steady: 75.0 };
        let gathered = measure(&mut meters, &source, &metrics(MeteredService::Translator, 60.0, 75), late);
        assert!(gathered.samples.iter().any(|sample| matches!(sample.subject, Subject::Source(_))));
        assert_eq!(meters.total(late), Some(1.0));
        meters.forget(&source);
        assert_eq!((meters.total(late), meters.windows.len()), (None, 0));
    }
}
