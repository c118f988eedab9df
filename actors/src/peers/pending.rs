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

    /// Adds what is newer; returns how much was dropped, which is what is beyond the limit.
    fn add(&mut self, newer: Self) -> usize {
        join(&mut self.samples, newer.samples, MOST_WAITING)
            + join(&mut self.quotes, newer.quotes, MOST_WAITING)
            + join(&mut self.balances, newer.balances, MOST_BALANCES)
    }
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    waiting: Gathered,
    /// How many samples were taken and are not yet written.
    in_hand: usize,
}

impl Pending {
    /// Adds what is newer; returns how much was dropped, which is what is beyond the limit.
    pub(super) fn add(&self, newer: Gathered) -> usize {
        lock(&self.0).waiting.add(newer)
    }

    /// Takes all that waits. It is in hand until [`Self::written`] or [`Self::put_back`], or the next one is taken.
    pub(super) fn take(&self) -> Gathered {
        let mut all = lock(&self.0);
        let taken = std::mem::take(&mut all.waiting);
        all.in_hand = taken.samples.len();
        taken
    }

    /// Notes that what was in hand is written.
    pub(super) fn written(&self) {
        lock(&self.0).in_hand = 0;
    }

    /// Puts back what could not be written, before what came since; returns how much was dropped.
    pub(super) fn put_back(&self, older: Gathered) -> usize {
        let mut all = lock(&self.0);
        let newer = std::mem::replace(&mut all.waiting, older);
        all.in_hand = 0;
        all.waiting.add(newer)
    }

    /// How many samples wait, with those in hand.
    pub(super) fn samples(&self) -> usize {
        let all = lock(&self.0);
        all.waiting.samples.len() + all.in_hand
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
    fn samples_wait_until_they_are_written() {
        let sample = Sample {
            timestamp: 1,
            subject: store_peers::Subject::All,
            seconds: 1.0,
            work: Some(1.0),
            declared_hs: None,
        };
        let one = || Gathered { samples: vec![sample.clone()], ..Gathered::default() };
        let pending = Pending::default();
        pending.add(one());
        let taken = pending.take();
        pending.add(one());
        assert_eq!(pending.samples(), 2, "one waits, one is in hand");
        pending.put_back(taken);
        assert_eq!(pending.samples(), 2, "both wait");
        let _ = pending.take();
        assert_eq!(pending.samples(), 2, "both are in hand");
        pending.written();
        assert_eq!(pending.samples(), 0);
        // An actor that crashes with samples in hand has lost them: the next one has others.
        pending.add(one());
        let _ = (pending.take(), pending.take());
        assert_eq!(pending.samples(), 0);
    }

    #[test]
    fn what_is_beyond_the_limit_is_dropped_and_counted() {
        let mut all = vec![1, 2];
        assert_eq!((join(&mut all, vec![3, 4, 5], 4), &all[..]), (1, &[1, 2, 3, 4][..]));
        assert_eq!(join(&mut all, vec![6], 4), 1);
    }
}
