//! A pool: its proxies come and go and bring shares, it creates quotes for them, and its wallet grows.

use crate::Dice;

/// The most proxies of a pool.
const MOST_PROXIES: usize = 10_000;
/// The most quotes that wait to be taken.
const MOST_QUOTES: usize = 1_000;
/// The amount of the first quote; each later one is larger by one.
pub const FIRST_QUOTE: u64 = 1_001;
/// A proxy gets a quote so often, on average, in seconds.
const QUOTE_EVERY: u64 = 10;
/// The most seconds that a step plays. A longer one begins so long before its end.
const LONGEST_STEP: u64 = 600;

/// What a pool is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// How many proxies it has, at most 10,000.
    pub proxies: usize,
    /// The seed of all that happens.
    pub seed: u64,
    /// How long a connection of a proxy lasts on average, in seconds; 0 for ever.
    pub stays: u64,
}

/// A pool at one time.
#[derive(Clone, Debug)]
pub struct PoolModel {
    plan: PoolPlan,
    dice: Dice,
    /// In Unix seconds.
    now: u64,
    is_still: bool,
    proxies: Vec<ProxyEntry>,
    next_id: u32,
    balance: u64,
    /// Quotes that nobody has taken yet.
    quotes: Vec<Quote>,
    made: u64,
}

/// A proxy in the picture of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyEntry {
    /// Its number in the pool.
    pub id: u32,
    /// Its address.
    pub address: String,
    /// The numbers of its channels.
    pub channels: Vec<u32>,
    /// Its shares since it connected.
    pub shares: u64,
    /// Quotes created for it.
    pub quotes: u64,
    /// What was issued to it.
    pub ehash: u64,
    /// When its last share came, in Unix seconds.
    pub last_share_at: Option<u64>,
    /// Whether it selects the work itself.
    pub selects_work: bool,
}

/// A pool as it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPicture {
    /// In Unix seconds.
    pub timestamp: u64,
    /// Where it listens.
    pub address: String,
    /// The address of its mint.
    pub mint: String,
    /// Where its job declarator listens, which tells so itself.
    pub declarator: String,
    /// All proxies that are connected.
    pub proxies: Vec<ProxyEntry>,
}

/// A quote that the pool's wallet has created. No two have the same amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quote {
    /// The proxy that it is for.
    pub id: u32,
    /// Its amount.
    pub amount: u64,
    /// In Unix seconds.
    pub timestamp: u64,
}

/// What the wallet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The amount.
    pub amount: u64,
    /// In Unix seconds.
    pub timestamp: u64,
}

impl PoolModel {
    /// A pool at `now`, in Unix seconds.
    #[must_use]
    pub fn new(plan: PoolPlan, now: u64) -> Self {
        let plan = PoolPlan { proxies: plan.proxies.min(MOST_PROXIES), ..plan };
        let dice = Dice::new(plan.seed);
        let mut model = Self {
            plan,
            dice,
            now,
            is_still: false,
            proxies: Vec::new(),
            next_id: 1,
            balance: 0,
            quotes: Vec::new(),
            made: 0,
        };
        model.restart();
        model
    }

    /// The pool is started again: all proxies connect, with ids from 1. The wallet is as it was.
    pub fn restart(&mut self) {
        self.proxies.clear();
        self.next_id = 1;
        (0..self.plan.proxies).for_each(|_| self.connect());
    }

    /// Plays until `now`, second by second. A clock that goes back changes nothing.
    pub fn advance(&mut self, now: u64) {
        if self.is_still {
            self.now = self.now.max(now);
        }
        self.now = self.now.max(now.saturating_sub(LONGEST_STEP));
        while self.now < now {
            self.now += 1;
            self.second();
        }
    }

    /// From now on only the time changes.
    pub fn stand_still(&mut self) {
        self.is_still = true;
    }

    /// What it tells now.
    #[must_use]
    pub fn picture(&self) -> PoolPicture {
        PoolPicture {
            timestamp: self.now,
            address: "203.0.113.1:34254".to_owned(),
            mint: "203.0.113.1:3338".to_owned(),
            declarator: "203.0.113.1:34264".to_owned(),
            proxies: self.proxies.clone(),
        }
    }

    /// What its wallet has now.
    #[must_use]
    pub fn balance(&self) -> Balance {
        Balance { amount: self.balance, timestamp: self.now }
    }

    /// The quotes since the last call; the oldest are dropped if nobody takes them.
    pub fn take_quotes(&mut self) -> Vec<Quote> {
        std::mem::take(&mut self.quotes)
    }

    /// How many quotes were created since the start.
    #[must_use]
    pub fn quotes_made(&self) -> u64 {
        self.made
    }

    fn connect(&mut self) {
        let (id, number) = (self.next_id, self.dice.roll(250));
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.proxies.push(ProxyEntry {
            id,
            address: format!("192.0.2.{}:{}", number + 1, 40_000 + id % 20_000),
            channels: (0..=id % 3).map(|channel| id.saturating_mul(4).saturating_add(channel)).collect(),
            shares: 0,
            quotes: 0,
            ehash: 0,
            last_share_at: None,
            selects_work: id.is_multiple_of(2),
        });
    }

    fn second(&mut self) {
        for proxy in &mut self.proxies {
            if self.dice.roll(2) == 0 {
                proxy.shares += 1 + self.dice.roll(5);
                proxy.last_share_at = Some(self.now);
            }
            if self.dice.roll(QUOTE_EVERY) == 0 {
                self.made += 1;
                let amount = FIRST_QUOTE + self.made - 1;
                (proxy.quotes, proxy.ehash) = (proxy.quotes + 1, proxy.ehash + amount);
                self.balance = self.balance.saturating_add(amount);
                if self.quotes.len() == MOST_QUOTES {
                    self.quotes.remove(0);
                }
                self.quotes.push(Quote { id: proxy.id, amount, timestamp: self.now });
            }
        }
        let stays = self.plan.stays;
        let (dice, before) = (&mut self.dice, self.proxies.len());
        self.proxies.retain(|_| stays == 0 || dice.roll(stays) > 0);
        // One that leaves is followed by another.
        (self.proxies.len()..before).for_each(|_| self.connect());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const START: u64 = 1_700_000_000;

    #[test]
    fn proxies_come_and_go_and_quotes_and_balance_add_up() {
        let plan = PoolPlan { proxies: 6, seed: 1, stays: 60 };
        let (mut pool, mut again) = (PoolModel::new(plan.clone(), START), PoolModel::new(plan, START));
        let (mut ids, mut quotes) = (BTreeSet::new(), Vec::new());
        for second in 1..=600 {
            pool.advance(START + second);
            let picture = pool.picture();
            assert_eq!(picture.proxies.len(), 6);
            ids.extend(picture.proxies.iter().map(|proxy| proxy.id));
            quotes.extend(pool.take_quotes());
        }
        again.advance(START + 600);
        assert_eq!(again.picture(), pool.picture());
        assert!(ids.len() > 12 && quotes.len() > 100, "{} {}", ids.len(), quotes.len());
        let amounts: BTreeSet<u64> = quotes.iter().map(|quote| quote.amount).collect();
        assert_eq!((amounts.len(), amounts.iter().sum::<u64>()), (quotes.len(), pool.balance().amount));
        assert!(pool.take_quotes().is_empty());
        pool.stand_still();
        let still = pool.picture();
        pool.advance(START + 700);
        assert_eq!(pool.picture(), PoolPicture { timestamp: START + 700, ..still });
    }

    #[test]
    fn quotes_that_nobody_takes_are_bounded() {
        let mut pool = PoolModel::new(PoolPlan { proxies: 500, seed: 1, stays: 0 }, START);
        pool.advance(START + 300);
        assert_eq!(pool.take_quotes().len(), MOST_QUOTES);
    }
}
