//! What waits for the file: samples, quotes and balances, up to a limit.

use std::sync::Mutex;

use store_peers::{Balance, Quote, Sample};

use crate::env::lock::lock;

/// The most samples, and the most quotes, that wait while the file can't be written.
const MOST_WAITING: usize = 1_000_000;
/// The most balances that wait.
const MOST_BALANCES: usize = 10_000;

/// What is written together.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) samples: Vec<Sample>,
    pub(super) quotes: Vec<Quote>,
    pub(super) balances: Vec<Balance>,
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.quotes.is_empty() && self.balances.is_empty()
    }
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Gathered>);

impl Pending {
    /// Adds what is newer; returns how much was dropped, which is what is beyond the limit.
    pub(super) fn add(&self, newer: Gathered) -> usize {
        let mut all = lock(&self.0);
        join(&mut all.samples, newer.samples, MOST_WAITING)
            + join(&mut all.quotes, newer.quotes, MOST_WAITING)
            + join(&mut all.balances, newer.balances, MOST_BALANCES)
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> Gathered {
        std::mem::take(&mut lock(&self.0))
    }

    /// Puts back what could not be written, before what came since; returns how much was dropped.
    pub(super) fn put_back(&self, mut older: Gathered) -> usize {
        let mut all = lock(&self.0);
        let newer = std::mem::take(&mut *all);
        let dropped = join(&mut older.samples, newer.samples, MOST_WAITING)
            + join(&mut older.quotes, newer.quotes, MOST_WAITING)
            + join(&mut older.balances, newer.balances, MOST_BALANCES);
        *all = older;
        dropped
    }

    /// How many samples wait.
    pub(super) fn samples(&self) -> usize {
        lock(&self.0).samples.len()
    }
}

/// Appends as many as fit; returns how many did not.
fn join<T>(all: &mut Vec<T>, mut newer: Vec<T>, most: usize) -> usize {
    let room = most.saturating_sub(all.len());
    let dropped = newer.len().saturating_sub(room);
    newer.truncate(room);
    all.append(&mut newer);
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotes(times: &[i64]) -> Gathered {
        let quote = |at: &i64| Quote { timestamp: *at, source: "s".into(), downstream_id: 1, amount: 1 };
        Gathered { quotes: times.iter().map(quote).collect(), ..Gathered::default() }
    }

    #[test]
    fn what_could_not_be_written_comes_before_what_came_since() {
        let pending = Pending::default();
        assert_eq!(pending.add(quotes(&[1, 2])), 0);
        let taken = pending.take();
        assert_eq!((pending.add(quotes(&[3])), pending.put_back(taken)), (0, 0));
        let times: Vec<i64> = pending.take().quotes.iter().map(|quote| quote.timestamp).collect();
        assert_eq!(times, [1, 2, 3]);
        assert!(pending.take().is_empty());
    }

    #[test]
    fn what_is_beyond_the_limit_is_dropped_and_counted() {
        let mut all = vec![1, 2];
        assert_eq!((join(&mut all, vec![3, 4, 5], 4), &all[..]), (1, &[1, 2, 3, 4][..]));
        assert_eq!(join(&mut all, vec![6], 4), 1);
    }
}
