//! Under which spellings of its name a market's keys are read: all of them once a minute, and meanwhile those under
//! which there was something. Most markets have one spelling; producers of different age use different ones.
//!
//! What was not looked at in between is late and not lost: a pass that did not read all spellings seals nothing.

use std::sync::{Mutex, PoisonError};

use crate::keys::{InputKeys, MarketKeys};

/// How often all spellings are read, in seconds.
const LOOK_EVERY: f64 = 60.0;

/// What was seen by the passes of one kind.
#[derive(Debug, Default)]
pub(super) struct Spellings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// In the order of [`MarketKeys::inputs`].
    used: Vec<bool>,
    looked: Option<f64>,
}

impl Spellings {
    /// What a pass at `now` (Unix seconds) reads: all spellings when that is due or asked for, or when nothing was
    /// under any of them.
    pub(super) fn choose(&self, keys: &MarketKeys, now: f64, all: bool) -> Chosen {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes it due too.
        let is_recent = known.looked.is_some_and(|looked| (looked..looked + LOOK_EVERY).contains(&now));
        let count = keys.inputs().count();
        let read = if all || !is_recent || !known.used.contains(&true) {
            vec![true; count]
        } else {
            known.used.clone()
        };
        Chosen { now, read, used: vec![false; count] }
    }

    /// Remembers what a pass that read all spellings found.
    pub(super) fn learn(&self, chosen: &Chosen) {
        if !chosen.is_narrow() {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Known { used: chosen.used.clone(), looked: Some(chosen.now) };
        }
    }
}

/// The spellings that one pass reads, and under which of them there was something.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    now: f64,
    read: Vec<bool>,
    used: Vec<bool>,
}

impl Chosen {
    /// Whether there are spellings that are not read.
    pub(super) fn is_narrow(&self) -> bool {
        self.read.contains(&false)
    }

    /// The spellings that are read, the preferred one first.
    pub(super) fn inputs<'a>(&'a self, keys: &'a MarketKeys) -> impl Iterator<Item = InputKeys<'a>> {
        keys.inputs().zip(&self.read).filter(|(_, read)| **read).map(|(input, _)| input)
    }

    /// The same with the second namespace before them, for priorities.
    pub(super) fn priorities<'a>(&'a self, keys: &'a MarketKeys) -> impl Iterator<Item = InputKeys<'a>> {
        keys.second().chain(self.inputs(keys))
    }

    /// Takes note of keys under which there was something.
    pub(super) fn note(&mut self, keys: &MarketKeys, present: &[String]) {
        for (input, used) in keys.inputs().zip(&mut self.used) {
            *used |= present.iter().any(|key| input.has(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Address;

    use super::*;

    const LOWER: &str = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";

    fn keys() -> MarketKeys {
        MarketKeys::new(&Address::new("P"), &Address::new(LOWER))
    }

    fn read(spellings: &Spellings, now: f64) -> usize {
        spellings.choose(&keys(), now, false).inputs(&keys()).count()
    }

    #[test]
    fn what_was_found_is_read_alone_until_a_minute_has_passed() {
        let (spellings, keys) = (Spellings::default(), keys());
        assert_eq!(read(&spellings, 1000.0), 2, "nothing is known yet");
        let mut chosen = spellings.choose(&keys, 1000.0, false);
        chosen.note(&keys, &[format!("P:{LOWER}:epochs:active"), "P:other:epochs:active".to_owned()]);
        spellings.learn(&chosen);
        for (now, count) in [(1000.0, 1), (1059.9, 1), (1060.0, 2), (999.0, 2)] {
            assert_eq!(read(&spellings, now), count, "at {now}");
        }
        let narrow = spellings.choose(&keys, 1030.0, false);
        assert!(narrow.is_narrow());
        let queues: Vec<_> = narrow.inputs(&keys).map(InputKeys::queue).collect();
        assert_eq!(queues, [format!("P:{LOWER}:submissionQueue")]);
        spellings.learn(&narrow);
        assert_eq!(read(&spellings, 1060.0), 2, "what a narrow pass did not see is not forgotten");
        assert!(!spellings.choose(&keys, 1030.0, true).is_narrow(), "unless all are asked for");
    }

    #[test]
    fn a_market_of_which_nothing_was_found_is_read_under_all_its_spellings() {
        let spellings = Spellings::default();
        spellings.learn(&spellings.choose(&keys(), 1000.0, false));
        assert_eq!(read(&spellings, 1001.0), 2);
    }
}
