//! Trackers start and stop, with different markets.

use std::collections::BTreeSet;

use super::{
    super::tracker::{Tracker, Wanted, remove},
    History,
};

impl History {
    pub(super) async fn start_trackers(&mut self) {
        for reader in 0..self.settings.trackers {
            if self.trackers[reader].is_some() {
                continue;
            }
            let nodes: Vec<String> = self.nodes.iter().map(|node| node.url(reader)).collect();
            let url = self.redis.server.url();
            let wanted = self.wanted[reader].clone();
            let tracker = Tracker::start(&url, &nodes, &wanted, &self.settings, &self.clock).await;
            tracker.arm(self.settings.crashes);
            self.trackers[reader] = Some(tracker);
            self.tell(format!("tracker {reader} starts with {wanted:?}"));
            self.started.insert(reader);
            self.wish(&wanted);
        }
        self.caught = None;
    }

    pub(super) async fn stop_trackers(&mut self) {
        for reader in 0..self.settings.trackers {
            if let Some(tracker) = self.trackers[reader].take() {
                tracker.stop().await;
                self.tell(format!("tracker {reader} is stopped"));
            }
        }
        self.caught = None;
    }

    /// The trackers are away while the chain goes on, and stops; at last it goes on again.
    pub(super) async fn be_away(&mut self) {
        self.stop_trackers().await;
        let blocks = self.within(1, 4);
        self.advance_chain(blocks).await;
        self.show_head();
        self.wait().await;
        self.start_trackers().await;
        if self.chance(70) {
            self.look().await;
        }
        self.advance_chain(1).await;
    }

    /// The first configurations: all markets, or some of them.
    pub(super) fn configure(&mut self) {
        for reader in 0..self.settings.trackers {
            let wanted = self.some_markets(reader);
            self.wanted.push(wanted);
        }
    }

    /// Markets for a tracker. Those that have a market in common want the same for it.
    fn some_markets(&mut self, reader: usize) -> Wanted {
        let all: BTreeSet<usize> = (0..self.settings.markets).collect();
        let mut markets = all.clone();
        if self.settings.markets_vary {
            markets.retain(|_| self.dice.roll(3) > 0);
            // A market is not taken over while its contract does not tell the day.
            markets.retain(|market| !self.failing.contains(market) || self.judge.follows(*market));
        }
        if markets.is_empty() {
            markets = self.wanted.get(reader).map_or(all, |wanted| wanted.markets.clone());
        }
        let others = self.wanted.iter().enumerate().filter(|(other, _)| *other != reader);
        let common = others.map(|(_, it)| it).find(|it| !it.markets.is_disjoint(&markets));
        let attest = match common {
            Some(other) => other.attest,
            None => self.dice.roll(2) == 0,
        };
        Wanted { markets, attest }
    }

    /// Notes what a tracker that starts wants, and asks.
    fn wish(&mut self, Wanted { markets, attest }: &Wanted) {
        let heads = self.heads();
        let script = self.script();
        let first = self.judge.tip.map_or(self.settings.start, |tip| script.blocks[tip].number + 1);
        drop(script);
        for market in markets {
            if self.judge.wish(*market) != Some(*attest) {
                self.judge.follow(*market, first, *attest);
            }
            self.asked.entry(*market).or_default().extend(&heads);
        }
    }

    /// A tracker gets other markets. Nothing else happens meanwhile, so that it is known from which block on.
    pub(super) async fn reconfigure(&mut self) {
        let Some(tip) = self.judge.tip.filter(|tip| self.heads() == BTreeSet::from([*tip])) else { return };
        let reader = self.dice.roll(self.settings.trackers as u64) as usize;
        // With the same wish for all, a tracker that is stopped would wish otherwise at its next start.
        let wanted = self.some_markets(reader);
        if let Some(tracker) = self.trackers[reader].take() {
            tracker.stop().await;
            self.tell(format!("tracker {reader} is stopped"));
        }
        self.wanted[reader] = wanted;
        let mut left: BTreeSet<usize> = (0..self.settings.markets).collect();
        left.retain(|market| {
            self.judge.follows(*market) && !self.wanted.iter().any(|it| it.markets.contains(market))
        });
        for market in left {
            if self.chance(60) {
                remove(&self.redis.server.url(), market, &self.clock).await;
                let first = self.script().blocks[tip].number + 1;
                self.judge.remove(market, first);
                self.tell(format!("market {market} is removed"));
            }
        }
        self.start_trackers().await;
    }

    /// Whether a market was taken over at a block that may still be dropped.
    pub(super) fn is_young(&self) -> bool {
        let script = self.script();
        let Some(tip) = self.judge.tip else { return true };
        let since = (0..self.settings.markets).filter_map(|market| self.judge.followed_since(market));
        let newest = since.filter(|first| *first > self.settings.start).max();
        newest.is_some_and(|first| first + self.settings.max_reorg_depth > script.blocks[tip].number)
    }
}
