//! What a receiver that misses nothing makes of a proxy's pictures, by the rule of the contract: a sample is a rate that holds for
//! the time since the sample before it of that peer, at most for its window.
//!
//! Its own words, and not those of the code under test, which it judges.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use super::proxy::{HASHES_PER_WORK, ProxyPicture, WINDOW};

/// How many pictures are remembered: more than an hour of one a second.
const MOST_PICTURES: usize = 4_096;
/// After so many pictures miners that are long gone are dropped.
const SWEEP_EVERY: usize = 256;
/// A miner is remembered for so long, in seconds; then it counts as a new one, as after a window anyway.
const REMEMBERED: u64 = 4 * WINDOW;

/// The pictures of one proxy, as measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// When each miner was last in a picture, by id and name.
    last: HashMap<(u32, String), u64>,
    until: Option<u64>,
    pictures: VecDeque<Sample>,
    taken: usize,
    /// Work of pictures of the same second as the one before.
    left_over: f64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The end of the time that it covers, in Unix seconds.
    timestamp: u64,
    work: f64,
    seconds: f64,
}

impl Measured {
    /// Takes the next picture.
    pub fn take(&mut self, picture: &ProxyPicture) {
        let now = picture.timestamp;
        let since = |last: Option<u64>| last.map_or(WINDOW, |last| now.saturating_sub(last).min(WINDOW));
        let mut work = std::mem::take(&mut self.left_over);
        for miner in &picture.miners {
            let last = self.last.insert((miner.id, miner.name.clone()), now);
            work += miner.window_work / WINDOW as f64 * since(last) as f64;
        }
        let seconds = since(self.until);
        self.until = Some(now);
        if seconds == 0 {
            self.left_over = work;
        } else {
            if self.pictures.len() == MOST_PICTURES {
                self.pictures.pop_front();
            }
            self.pictures.push_back(Sample { timestamp: now, work, seconds: seconds as f64 });
        }
        self.taken += 1;
        if self.taken.is_multiple_of(SWEEP_EVERY) {
            self.last.retain(|_, last| *last + REMEMBERED >= now);
        }
    }

    /// When the first picture that is remembered, and the last one, were taken, in Unix seconds.
    #[must_use]
    pub fn range(&self) -> Option<(u64, u64)> {
        Some((self.pictures.front()?.timestamp, self.pictures.back()?.timestamp))
    }

    /// The rate of a range of Unix seconds, in H/s; `None` where nothing was measured.
    #[must_use]
    pub fn rate_hs(&self, range: Range<u64>) -> Option<f64> {
        let (work, seconds) = self.of(range);
        (seconds > 0.0).then(|| work / seconds * HASHES_PER_WORK)
    }

    /// How many seconds of a range were measured. The first picture tells of the whole window before it.
    #[must_use]
    pub fn seconds(&self, range: Range<u64>) -> f64 {
        self.of(range).1
    }

    /// The lowest and the highest rate of single pictures in a range, in H/s.
    #[must_use]
    pub fn bounds_hs(&self, range: Range<u64>) -> Option<(f64, f64)> {
        let all = self.pictures.iter().filter(|sample| range.contains(&sample.timestamp));
        let rates = all.map(|sample| sample.work / sample.seconds * HASHES_PER_WORK);
        rates.fold(None, |bounds, rate| {
            let (lowest, highest) = bounds.unwrap_or((rate, rate));
            Some((rate.min(lowest), rate.max(highest)))
        })
    }

    fn of(&self, range: Range<u64>) -> (f64, f64) {
        let all = self.pictures.iter().filter(|sample| range.contains(&sample.timestamp));
        all.fold((0.0, 0.0), |(work, seconds), sample| (work + sample.work, seconds + sample.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{ProxyModel, ProxyPlan};

    const START: u64 = 1_700_000_000;

    #[test]
    fn overlapping_windows_count_the_work_that_was_done_once() {
        for (every, stays) in [(1, 0), (5, 0), (15, 0), (5, 3_600)] {
            let plan = ProxyPlan { name: "a".to_owned(), miners: 50, seed: 3, stays };
            let mut proxy = ProxyModel::new(plan, START);
            let mut measured = Measured::default();
            measured.take(&proxy.picture());
            for step in 1..=1_800 / every {
                proxy.advance(START + step * every);
                measured.take(&proxy.picture());
            }
            assert_eq!(measured.range(), Some((START, START + 1_800)));
            let seconds = measured.seconds(START..START + 1_801);
            assert!((seconds - 1_860.0).abs() < 1e-9, "{seconds}");
            // Without the window before the start, which the first picture tells.
            let rate = measured.rate_hs(START + 1..START + 1_801).unwrap();
            let done = proxy.done() * HASHES_PER_WORK / 1_800.0;
            assert!((rate / done - 1.0).abs() < 0.03, "every {every}: {rate} of {done}");
        }
        assert_eq!(Measured::default().rate_hs(0..u64::MAX), None);
    }

    #[test]
    fn its_memory_is_bounded() {
        let plan = ProxyPlan { name: "a".to_owned(), miners: 5, seed: 3, stays: 20 };
        let mut proxy = ProxyModel::new(plan, START);
        let mut measured = Measured::default();
        for second in 1..=20_000 {
            proxy.advance(START + second);
            measured.take(&proxy.picture());
        }
        assert_eq!((measured.pictures.len(), measured.range().unwrap().1), (MOST_PICTURES, START + 20_000));
        assert!(measured.last.len() < 400, "{}", measured.last.len());
    }
}
