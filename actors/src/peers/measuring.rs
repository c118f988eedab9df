//! What a picture adds to the history. Pure: the meters are in memory.

use std::sync::Arc;

use domain::peers::{DeclaredPeer, Measured, Now, PeerKind, Total, Window, declared};
use peer_snapshots::Message;
use store_peers::{Balance, Sample, Subject};

use super::{pending::Gathered, shared::Meters};

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
    let unix = now.unix as u64;
    match message {
        Message::Metrics(metrics) => {
            let Some(meter) = meters.windows.get_mut(source) else { return Gathered::default() };
            let windows = metrics.downstreams.iter().map(|peer| Window {
                downstream_id: peer.downstream_id,
                name: &peer.name,
                work: peer.sum_difficulty_in_window,
                seconds: peer.window_seconds,
                timestamp: peer.timestamp,
            });
            let measured = meter.measure(windows, metrics.timestamp, unix);
            if let Some(total) = measured.total.as_ref().filter(|total| total.seconds > 0.0) {
                meters.rates.insert(source.clone(), (total.work / total.seconds, now.steady));
            }
            gathered(measured, None)
        }
        Message::Miners(all) => {
            let peers = all.miners.iter().map(|miner| (miner.downstream_id, &*miner.name, miner.hashrate));
            declare(meters, source, peers, now)
        }
        Message::Proxy(status) => {
            let peers = status.downstream_miners.iter().map(|miner| (miner.id, &*miner.name, miner.hashrate));
            declare(meters, source, peers, now)
        }
        Message::Connections(all) => {
            let peers = all.connections.iter().map(|peer| (peer.downstream_id, "", peer.hashrate));
            declare(meters, source, peers, now)
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

/// What is declared: each rate holds for the time since the picture before, which the first one does not have.
fn declare<'a>(
    meters: &mut Meters,
    source: &Arc<str>,
    peers: impl Iterator<Item = (u32, &'a str, f64)>,
    now: Now,
) -> Gathered {
    let before = meters.declared.insert(source.clone(), now.steady);
    let Some(seconds) =
        before.map(|before| (now.steady - before).min(LONGEST_DECLARED)).filter(|it| *it > 0.0)
    else {
        return Gathered::default();
    };
    let peer = |(downstream_id, name, hashrate)| DeclaredPeer {
        downstream_id,
        name,
        kind: PeerKind::Pushed,
        hashrate,
    };
    gathered(declared(source, peers.map(peer), now.unix as u64), Some(seconds))
}

/// Samples as the file takes them. `declared` is how long declared rates hold, in seconds.
fn gathered(Measured { samples, total }: Measured, declared: Option<f64>) -> Gathered {
    let row = |timestamp: u64, subject, work: f64, seconds: f64, declared_hs: Option<f64>| Sample {
        timestamp: i64::try_from(timestamp).unwrap_or(i64::MAX),
        subject,
        seconds: declared.unwrap_or(seconds),
        work: declared_hs.is_none().then_some(work),
        declared_hs,
    };
    let of_peer = |sample: domain::peers::Sample| {
        let name = sample.series().to_string().into();
        let subject =
            Subject::Miner { source: sample.source.clone(), downstream_id: Some(sample.downstream_id), name };
        row(sample.timestamp, subject, sample.work, sample.seconds, sample.declared_hs)
    };
    let of_source = |total: Total| {
        row(total.timestamp, Subject::Source(total.source), total.work, total.seconds, total.declared_hs)
    };
    let samples = samples.into_iter().map(of_peer).chain(total.map(of_source)).collect();
    Gathered { samples, ..Gathered::default() }
}
