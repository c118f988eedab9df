//! What a level keeps of many samples: sums and extremes, never an average, so that roll-ups merge without loss.

/// A sum of samples. Of measured ones, `work` is in units of difficulty; of declared ones in hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rollup {
    /// The work of all samples.
    pub work: f64,
    /// The time that they cover, in seconds.
    pub seconds: f64,
    /// The lowest rate of a sample: its work by its seconds.
    pub lowest: f64,
    /// The highest rate of a sample.
    pub highest: f64,
    /// How many samples there are.
    pub samples: u64,
}

impl Rollup {
    /// The roll-up of one sample. `seconds` must be above 0.
    #[must_use]
    pub fn of(work: f64, seconds: f64) -> Self {
        let rate = work / seconds;
        Self { work, seconds, lowest: rate, highest: rate, samples: 1 }
    }

    /// Adds what another one has.
    pub fn merge(&mut self, other: &Self) {
        if other.samples == 0 {
            return;
        }
        if self.samples == 0 {
            *self = *other;
            return;
        }
        self.work += other.work;
        self.seconds += other.seconds;
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
        self.samples = self.samples.saturating_add(other.samples);
    }

    /// The mean rate over the time that the samples cover; none without samples.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.work / self.seconds)
    }
}

/// Measured and declared samples of the same time, which are never added to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Both {
    /// What was measured, in work.
    pub measured: Rollup,
    /// What was declared, in hashes.
    pub declared: Rollup,
}

impl Both {
    /// The roll-ups of one sample. `seconds` must be above 0.
    #[must_use]
    pub fn of(seconds: f64, work: Option<f64>, declared_hs: Option<f64>) -> Self {
        let measured = work.map(|work| Rollup::of(work, seconds)).unwrap_or_default();
        // The rate itself, and not what a product and a quotient make of it, is lowest and highest.
        let declared = declared_hs.map(|rate| Rollup {
            lowest: rate,
            highest: rate,
            ..Rollup::of(rate * seconds, seconds)
        });
        Self { measured, declared: declared.unwrap_or_default() }
    }

    /// Adds what another pair has.
    pub fn merge(&mut self, other: &Self) {
        self.measured.merge(&other.measured);
        self.declared.merge(&other.declared);
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.measured.samples == 0 && self.declared.samples == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_sums_and_not_a_mean_of_rates() {
        let mut all = Rollup::default();
        assert_eq!(all.rate(), None);
        all.merge(&Rollup::of(10.0, 1.0));
        all.merge(&Rollup::of(10.0, 9.0));
        all.merge(&Rollup::default());
        assert_eq!(all.rate(), Some(2.0));
        assert_eq!((all.lowest, all.highest, all.samples), (10.0 / 9.0, 10.0, 2));
    }

    #[test]
    fn measured_and_declared_samples_are_kept_apart() {
        let mut both = Both::of(5.0, Some(10.0), None);
        both.merge(&Both::of(5.0, None, Some(7.0)));
        assert_eq!((both.measured.rate(), both.measured.samples), (Some(2.0), 1));
        assert_eq!((both.declared.rate(), both.declared.samples), (Some(7.0), 1));
        assert!(Both::default().is_empty() && !both.is_empty());
    }
}
