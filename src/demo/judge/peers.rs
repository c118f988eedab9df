//! Compares what the service shows and keeps of its peers with what their senders told.
//!
//! Lists are compared exactly, once the senders repeat their last pictures. A rate may differ by a tenth: an actor that crashes loses a
//! picture or a second of the history, and the next picture stands for that time. Lines of the lying sender, and seconds of the
//! history, may be missing where an actor crashed that had them in hand, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use testkit::peers::{MinerPicture, PoolPicture};

use super::{
    super::peers::{Kept, LIAR, POOL, PeersTruth, Seen, SeenConnection, SeenMiner},
    findings::Findings,
};

/// How much a rate may differ.
const TOLERANCE: f64 = 0.1;
/// A rate of fewer seconds than this is not compared: one picture of it could be missing.
const FEWEST_SECONDS: f64 = 10.0;
/// Seconds of a source that may be missing at any time: what is not written yet.
const UNWRITTEN: f64 = 3.0;
/// Seconds of a source that a crash of the history costs at most: the interval of its writes, and of the pictures.
const LOST: f64 = 3.0;
/// Lines that a crash of a connection costs at most: what was written in two rounds.
const LOST_LINES: u64 = 20;
/// A total counts the last rate of a source for so long, in seconds.
const RATE_LIVES: u64 = 65;

/// A comparison: its counts and its differences.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub(super) findings: Findings,
    pub(super) miners: usize,
    pub(super) connections: usize,
    /// How many rates of the history were compared.
    pub(super) rates: usize,
    /// How many seconds of history were compared.
    pub(super) seconds: f64,
    /// How many lies were dropped.
    pub(super) lies: u64,
}

/// What must never be shown, at whatever moment.
pub(super) fn haunted(seen: &Seen) -> Option<String> {
    let paths: Vec<&str> = seen.haunted.iter().map(String::as_str).collect();
    (!paths.is_empty()).then(|| format!("{} shows what the lying sender told", paths.join(", ")))
}

impl Comparison {
    /// Compares the state after the last pictures.
    pub(super) fn of(truth: &PeersTruth, seen: &Seen, kept: &Kept) -> Self {
        let mut all = Self::default();
        all.miners(truth, seen);
        all.pool(truth, seen);
        haunted(seen).into_iter().for_each(|finding| all.findings.add(finding));
        all.sources(truth, kept);
        all.total(truth, kept);
        all.lies(truth, kept);
        all.wallet(truth, kept);
        all
    }

    fn miners(&mut self, truth: &PeersTruth, seen: &Seen) {
        let mut expected = BTreeMap::new();
        for (name, proxy) in &truth.proxies {
            // Until then its miners may be shown, and may not.
            let is_gone = !proxy.is_mortal || proxy.newest.is_none();
            self.check(is_gone, || format!("{name}, which was to leave, is still there"));
            for miner in proxy.newest.iter().flat_map(|picture| &picture.miners) {
                expected.insert(((*name).to_owned(), miner.id), expected_miner(name, miner));
            }
        }
        self.miners = expected.len();
        let mut shown = BTreeMap::new();
        for miner in &seen.miners {
            let before = shown.insert((miner.source.clone(), miner.id), miner);
            self.check(before.is_none(), || format!("miner {} of {} is shown twice", miner.id, miner.source));
        }
        for (key, miner) in &shown {
            let is_dead = truth.proxies.get(key.0.as_str()).is_none_or(|proxy| proxy.newest.is_none());
            match expected.get(key) {
                Some(expected) => self.check(are_equal(expected, miner), || {
                    format!("its proxy told of {expected:?}, shown is {miner:?}")
                }),
                None => self.check(false, || {
                    let why = if is_dead { "is not there any more" } else { "does not tell of it" };
                    format!("miner {} of {} is shown, and {} {why}", miner.name, key.0, key.0)
                }),
            }
        }
        for (source, id) in expected.keys().filter(|key| !shown.contains_key(*key)) {
            self.check(false, || format!("miner {id} of {source} is not shown"));
        }
    }

    fn pool(&mut self, truth: &PeersTruth, seen: &Seen) {
        let expected = truth.pool.as_ref().map(|(picture, _)| connections(picture)).unwrap_or_default();
        self.connections = expected.len();
        self.check(expected == seen.connections, || {
            format!("the pool told of the connections {expected:?}, shown are {:?}", seen.connections)
        });
        let services = ["Pool", "Mint", "JobDeclarator"].map(|one| (POOL.to_owned(), one.to_owned()));
        let services = if truth.pool.is_some() { services.to_vec() } else { Vec::new() };
        self.check(services == seen.services, || {
            format!("the pool has the services {services:?}, shown are {:?}", seen.services)
        });
    }

    /// Rates and seconds of the proxies that never die.
    fn sources(&mut self, truth: &PeersTruth, kept: &Kept) {
        for (name, proxy) in truth.proxies.iter().filter(|(_, proxy)| !proxy.is_mortal) {
            let Some((first, last)) = proxy.measured.range() else { continue };
            for (range, rate) in kept.rates.get(*name).into_iter().flatten() {
                let Some(expected) = proxy.measured.rate_hs(range.clone()) else {
                    self.check(false, || format!("the history of {name} has a rate where nothing was told"));
                    continue;
                };
                if proxy.measured.seconds(range.clone()) < FEWEST_SECONDS {
                    continue;
                }
                self.rates += 1;
                self.check((rate / expected - 1.0).abs() <= TOLERANCE, || {
                    format!(
                        "the history of {name} has {rate:.3e} H/s at {}, told were {expected:.3e}",
                        range.start
                    )
                });
            }
            let (expected, seconds) = (
                proxy.measured.seconds(first..last + 1),
                kept.seconds.get(*name).copied().unwrap_or_default(),
            );
            self.seconds += seconds;
            let most_lost = UNWRITTEN + LOST * kept.restarts[0] as f64;
            self.check(seconds >= expected - most_lost, || {
                format!(
                    "the history of {name} has {seconds} s of {expected}, and {} crashes of its actor explain {most_lost} at most",
                    kept.restarts[0]
                )
            });
            self.check(seconds <= expected + 1.0, || {
                format!("the history of {name} has {seconds} s, told were {expected}: some count twice")
            });
        }
    }

    /// The total of all is at least that of the proxies that never die, and at most that with the others at their best.
    fn total(&mut self, truth: &PeersTruth, kept: &Kept) {
        for (range, rate) in &kept.total {
            let told = range.start.saturating_sub(RATE_LIVES)..range.end;
            let (mut least, mut most) = (0.0, 0.0);
            for proxy in truth.proxies.values() {
                let (lowest, highest) = proxy.measured.bounds_hs(told.clone()).unwrap_or_default();
                least += if proxy.is_mortal { 0.0 } else { lowest };
                most += if proxy.is_mortal { highest.max(proxy.rate_hs) } else { highest };
            }
            self.rates += 1;
            self.check((least * (1.0 - TOLERANCE)..=most * (1.0 + TOLERANCE)).contains(rate), || {
                format!(
                    "the history of all has {rate:.3e} H/s at {}, told were {least:.3e} to {most:.3e}",
                    range.start
                )
            });
        }
    }

    fn lies(&mut self, truth: &PeersTruth, kept: &Kept) {
        let most_lost = LOST_LINES * kept.restarts[1];
        let told: u64 = truth.lies.values().sum::<u64>() + truth.leaps;
        self.lies = kept.dropped.values().sum::<u64>();
        let counted = self.lies + kept.clocks;
        self.check(counted + most_lost >= told, || {
            format!(
                "the sender {LIAR} told {told} lies, {counted} were counted, and {} crashes explain {most_lost} at most",
                kept.restarts[1]
            )
        });
        for (reason, count) in &kept.dropped {
            let told = truth.lies.get(reason.as_str()).copied().unwrap_or_default();
            self.check(*count <= told, || {
                format!("{count} lines were dropped as {reason}, {told} were told")
            });
        }
        self.check(kept.clocks <= truth.leaps, || {
            format!("{} leaps of clocks were counted, {} were told", kept.clocks, truth.leaps)
        });
    }

    fn wallet(&mut self, truth: &PeersTruth, kept: &Kept) {
        let amounts: BTreeSet<u64> = kept.quotes.iter().copied().collect();
        self.check(amounts.len() == kept.quotes.len(), || "a quote is in the history twice".to_owned());
        let made = testkit::peers::FIRST_QUOTE..testkit::peers::FIRST_QUOTE + truth.quotes;
        let foreign = amounts.iter().find(|amount| !made.contains(amount));
        self.check(foreign.is_none(), || {
            format!("the history has a quote of {foreign:?}, which nobody created")
        });
        let balance = truth.pool.as_ref().map(|(_, balance)| balance.amount);
        self.check(balance == kept.balance, || {
            format!("the wallet has {balance:?}, shown is {:?}", kept.balance)
        });
    }

    fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.findings.add(finding());
        }
    }
}

fn expected_miner(source: &str, miner: &MinerPicture) -> SeenMiner {
    SeenMiner {
        source: source.to_owned(),
        id: miner.id,
        name: miner.name.clone(),
        hashrate: miner.declared_hs,
        measured_hashrate: Some(miner.measured_hs()),
        shares_submitted: miner.shares,
        connected_at: miner.connected_at,
    }
}

/// Whether they are the same but for the last digits of what was measured.
fn are_equal(expected: &SeenMiner, shown: &SeenMiner) -> bool {
    let close = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs(),
        (one, other) => one == other,
    };
    let bare = |miner: &SeenMiner| SeenMiner { measured_hashrate: None, ..miner.clone() };
    close(expected.measured_hashrate, shown.measured_hashrate) && bare(expected) == bare(shown)
}

fn connections(picture: &PoolPicture) -> Vec<SeenConnection> {
    let connection = |proxy: &testkit::peers::ProxyEntry| SeenConnection {
        source: POOL.to_owned(),
        id: proxy.id,
        channels: proxy.channels.clone(),
        shares_submitted: proxy.shares,
        quotes_created: proxy.quotes,
        ehash_mined: proxy.ehash,
        last_share_at: proxy.last_share_at,
        work_selection: proxy.selects_work,
    };
    picture.proxies.iter().map(connection).collect()
}

#[cfg(test)]
#[path = "peers/tests.rs"]
mod tests;
