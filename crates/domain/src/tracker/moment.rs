//! Whether and when something happened, and how a time that a producer wrote is judged.
//!
//! A producer's clock may be ahead of ours. A time up to [`AHEAD`] in the future counts only once our clock has reached it. A time that
//! is further ahead, or no number, can't be read: its event counts as having happened at an unknown time.

/// An hour, in seconds.
pub const HOUR: u64 = 3600;
/// A day, in seconds.
pub const DAY: u64 = 24 * HOUR;

/// How far a producer's clock may be ahead of ours, in seconds.
pub const AHEAD: f64 = 300.0;

/// Whether and when something happened. The greater one knows more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// It has not happened: nothing tells of it.
    #[default]
    Never,
    /// It happened at an unknown time.
    Sometime,
    /// It happened in this second, in Unix seconds.
    At(u64),
}

impl Moment {
    /// What a written time says at `now`, both in Unix seconds: nothing yet, where the time is ahead.
    #[must_use]
    pub fn claimed(at: f64, now: f64) -> Self {
        match Claim::of(at, now) {
            Claim::Past(second) => Self::At(second),
            Claim::Ahead => Self::Never,
            Claim::Unreadable => Self::Sometime,
        }
    }

    /// [`Moment::Sometime`], if it happened.
    #[must_use]
    pub fn if_so(happened: bool) -> Self {
        if happened { Self::Sometime } else { Self::Never }
    }

    /// Whether it happened.
    #[must_use]
    pub fn has_happened(self) -> bool {
        self != Self::Never
    }

    /// When it happened, in Unix seconds, where that is known.
    #[must_use]
    pub fn at(self) -> Option<u64> {
        match self {
            Self::At(second) => Some(second),
            Self::Never | Self::Sometime => None,
        }
    }
}

/// How a time that a producer wrote is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It has come; in whole Unix seconds.
    Past(u64),
    /// It is ahead of our clock, by at most [`AHEAD`] seconds.
    Ahead,
    /// It is no time: not after 1970, no number, or further ahead.
    Unreadable,
}

impl Claim {
    /// Judges a time at `now`, both in Unix seconds.
    #[must_use]
    pub fn of(at: f64, now: f64) -> Self {
        if at.is_nan() || at < 1.0 || at > now + AHEAD {
            Self::Unreadable
        } else if at > now {
            Self::Ahead
        } else {
            Self::Past(at as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_a_little_ahead_is_not_yet_true_and_one_that_is_far_ahead_is_no_time() {
        let now = 1_000_000.0;
        for (at, claim, moment) in [
            (now, Claim::Past(1_000_000), Moment::At(1_000_000)),
            (999_999.9, Claim::Past(999_999), Moment::At(999_999)),
            (1.0, Claim::Past(1), Moment::At(1)),
            (now + 0.1, Claim::Ahead, Moment::Never),
            (now + AHEAD, Claim::Ahead, Moment::Never),
            (now + AHEAD + 0.1, Claim::Unreadable, Moment::Sometime),
            (0.0, Claim::Unreadable, Moment::Sometime),
            (-5.0, Claim::Unreadable, Moment::Sometime),
            (f64::NAN, Claim::Unreadable, Moment::Sometime),
            (f64::INFINITY, Claim::Unreadable, Moment::Sometime),
            (f64::NEG_INFINITY, Claim::Unreadable, Moment::Sometime),
        ] {
            assert_eq!((Claim::of(at, now), Moment::claimed(at, now)), (claim, moment), "{at}");
        }
    }

    #[test]
    fn the_greater_moment_knows_more() {
        assert!(
            Moment::Never < Moment::Sometime
                && Moment::Sometime < Moment::At(0)
                && Moment::At(0) < Moment::At(1)
        );
        assert_eq!((Moment::if_so(false), Moment::if_so(true)), (Moment::Never, Moment::Sometime));
        assert_eq!((Moment::Sometime.at(), Moment::At(7).at()), (None, Some(7)));
        assert!(!Moment::Never.has_happened() && Moment::Sometime.has_happened());
    }
}
