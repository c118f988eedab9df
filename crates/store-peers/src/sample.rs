//! What is written: samples of hashrate, quotes, balances, and the limits of each value. What exceeds a limit is refused and
//! counted; it never reaches the file.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// The latest time that is kept, in Unix seconds: the end of the year 2105.
pub const LATEST: i64 = u32::MAX as i64;
/// The most seconds that one sample may cover: a day.
pub const MOST_SECONDS: f64 = 86_400.0;
/// The fewest.
pub const FEWEST_SECONDS: f64 = 0.001;
/// The most work or hashes a second of one sample. Sums of as many samples as a file can hold stay finite.
pub const MOST_WORK: f64 = 1e30;
/// The longest name of a source or a miner, in bytes.
pub const LONGEST_NAME: usize = 256;

/// What a series is of. Each of these has a history of its own; none is the sum of others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The total of the newest pictures of all sources.
    All,
    /// The total of a source.
    Source(Arc<str>),
    /// A miner or a connection of a source. The name belongs to it, so that an id that is used again joins no history.
    Miner {
        /// The source.
        source: Arc<str>,
        /// The id in the source's messages; none where ids change and the name alone tells who it is.
        downstream_id: Option<u32>,
        /// The name, such as the worker's; it may be empty.
        name: Arc<str>,
    },
}

/// One sample: a rate that held for the seconds before its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The end of the time that it covers, in Unix seconds.
    pub timestamp: i64,
    /// Whose it is.
    pub subject: Subject,
    /// How many seconds it covers.
    pub seconds: f64,
    /// The measured work in these seconds, in units of difficulty.
    pub work: Option<f64>,
    /// The hashrate that the sender declares, in H/s. It never stands in for measured work.
    pub declared_hs: Option<f64>,
}

/// A quote that a miner got for its shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// When, in Unix seconds.
    pub timestamp: i64,
    /// The source.
    pub source: Arc<str>,
    /// The id in the source's messages.
    pub downstream_id: u32,
    /// The amount.
    pub amount: u64,
}

/// The balance of a source's wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// When it was told, in Unix seconds.
    pub timestamp: i64,
    /// The source.
    pub source: Arc<str>,
    /// The balance.
    pub balance: u64,
}

/// Why a value is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The time is below 0 or after [`LATEST`].
    Time,
    /// The seconds are outside of [`FEWEST_SECONDS`] to [`MOST_SECONDS`].
    Seconds,
    /// Work, hashrate or amount is negative, not finite, or too large.
    Amount,
    /// Neither work nor a declared hashrate.
    Empty,
    /// A name is longer than [`LONGEST_NAME`], or a source has none.
    Name,
    /// There are as many sources or series as the limit allows, and this one is new.
    Full,
}

impl Refusal {
    /// The value of a label for counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Seconds => "seconds",
            Self::Amount => "amount",
            Self::Empty => "empty",
            Self::Name => "name",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many values were refused, by reason.
pub type Refused = BTreeMap<Refusal, u64>;

/// Whether a time can be kept.
pub(crate) fn check_time(timestamp: i64) -> Result<(), Refusal> {
    if (0..=LATEST).contains(&timestamp) { Ok(()) } else { Err(Refusal::Time) }
}

/// Whether a source can have this name.
pub(crate) fn check_source(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > LONGEST_NAME { Err(Refusal::Name) } else { Ok(()) }
}

/// An amount as the file keeps it.
pub(crate) fn check_amount(amount: u64) -> Result<i64, Refusal> {
    i64::try_from(amount).map_err(|_| Refusal::Amount)
}

impl Sample {
    /// Whether it can be kept.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self) -> Result<(), Refusal> {
        check_time(self.timestamp)?;
        if !(FEWEST_SECONDS..=MOST_SECONDS).contains(&self.seconds) {
            return Err(Refusal::Seconds);
        }
        for amount in [self.work, self.declared_hs].into_iter().flatten() {
            if !(0.0..=MOST_WORK).contains(&amount) {
                return Err(Refusal::Amount);
            }
        }
        if self.work.is_none() && self.declared_hs.is_none() {
            return Err(Refusal::Empty);
        }
        match &self.subject {
            Subject::All => Ok(()),
            Subject::Source(source) => check_source(source),
            Subject::Miner { name, .. } if name.len() > LONGEST_NAME => Err(Refusal::Name),
            Subject::Miner { source, .. } => check_source(source),
        }
    }
}

/// The total of one picture: the sum of its samples' work over the longest time that one of them covers, and the sum of the
/// declared hashrates, apart. None when the picture has no sample that can be kept.
#[must_use]
pub fn total_of(source: &Arc<str>, timestamp: i64, picture: &[Sample]) -> Option<Sample> {
    let mut total = Sample {
        timestamp,
        subject: Subject::Source(source.clone()),
        seconds: 0.0,
        work: None,
        declared_hs: None,
    };
    for sample in picture.iter().filter(|sample| sample.check().is_ok()) {
        total.seconds = total.seconds.max(sample.seconds);
        for (sum, part) in [(&mut total.work, sample.work), (&mut total.declared_hs, sample.declared_hs)] {
            if let Some(part) = part {
                *sum = Some(sum.unwrap_or_default() + part);
            }
        }
    }
    total.check().is_ok().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(work: Option<f64>, declared_hs: Option<f64>, seconds: f64) -> Sample {
        let subject = Subject::Miner { source: "s".into(), downstream_id: Some(1), name: "n".into() };
        Sample { timestamp: 1, subject, seconds, work, declared_hs }
    }

    #[test]
    fn what_can_not_be_kept_is_refused_with_its_reason() {
        let good = sample(Some(1.0), None, 5.0);
        assert_eq!(good.check(), Ok(()));
        let long: Arc<str> = "x".repeat(LONGEST_NAME + 1).into();
        let named = |source: Arc<str>, name: Arc<str>| Sample {
            subject: Subject::Miner { source, downstream_id: None, name },
            ..good.clone()
        };
        let bad = [
            (Sample { timestamp: -1, ..good.clone() }, Refusal::Time),
            (Sample { timestamp: i64::MAX, ..good.clone() }, Refusal::Time),
            (Sample { seconds: 0.0, ..good.clone() }, Refusal::Seconds),
            (Sample { seconds: f64::NAN, ..good.clone() }, Refusal::Seconds),
            (Sample { seconds: 1e9, ..good.clone() }, Refusal::Seconds),
            (Sample { work: Some(f64::NAN), ..good.clone() }, Refusal::Amount),
            (Sample { work: Some(-1.0), ..good.clone() }, Refusal::Amount),
            (Sample { declared_hs: Some(f64::INFINITY), ..good.clone() }, Refusal::Amount),
            (sample(None, None, 5.0), Refusal::Empty),
            (named(long.clone(), "n".into()), Refusal::Name),
            (named("".into(), "n".into()), Refusal::Name),
            (named("s".into(), long), Refusal::Name),
        ];
        for (sample, reason) in bad {
            assert_eq!(sample.check(), Err(reason), "{sample:?}");
        }
    }

    #[test]
    fn a_total_adds_measured_and_declared_samples_apart() {
        let picture = [
            sample(Some(1.0), None, 5.0),
            sample(Some(2.0), None, 4.0),
            sample(None, Some(9.0), 5.0),
            sample(None, None, 9.0),
        ];
        let total = total_of(&"s".into(), 7, &picture).expect("a total");
        assert_eq!((total.work, total.declared_hs, total.seconds), (Some(3.0), Some(9.0), 5.0));
        assert_eq!(total_of(&"s".into(), 7, &picture[3..]), None);
    }
}
