//! How often a sender sends, learned from what arrives.

/// How many gaps are remembered. Of so many, one outage or one burst changes nothing.
const REMEMBERED: usize = 5;
/// The shortest interval that is believed, in seconds.
const SHORTEST: f64 = 1.0;

/// The last gaps between the pictures of one kind, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    gaps: [f64; REMEMBERED],
    seen: usize,
}

impl Interval {
    /// Notes a gap: between two arrivals by our clock, and between two pictures by the sender's.
    ///
    /// The larger one counts: pictures that were held up arrive in a burst, though the sender kept its interval.
    pub(super) fn note(&mut self, arrived: f64, sent: f64, longest: f64) {
        self.gaps[self.seen % REMEMBERED] = arrived.max(sent).clamp(SHORTEST, longest.max(SHORTEST));
        self.seen += 1;
    }

    /// The interval, in seconds: the median of the last gaps, of two the shorter one, since a longer one would keep a dead
    /// source fresh. `None` before there was a gap.
    pub(super) fn known(&self) -> Option<f64> {
        let mut gaps = self.gaps;
        let gaps = gaps.get_mut(..self.seen.min(REMEMBERED))?;
        gaps.sort_by(f64::total_cmp);
        gaps.get(gaps.len().checked_sub(1)? / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(gaps: &[(f64, f64)]) -> Option<f64> {
        let mut interval = Interval::default();
        gaps.iter().for_each(|(arrived, sent)| interval.note(*arrived, *sent, 200.0));
        interval.known()
    }

    #[test]
    fn an_interval_is_the_median_of_the_last_gaps() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(5.0, 5.0)]), Some(5.0));
        assert_eq!(of(&[(5.0, 5.0), (300.0, 300.0), (5.1, 5.0), (4.9, 4.0), (5.0, 5.0)]), Some(5.0));
        assert_eq!(of(&[(5.0, 5.0), (190.0, 190.0)]), Some(5.0));
        // The sender changed its interval.
        assert_eq!(
            of(&[(5.0, 5.0); 5].iter().chain(&[(15.0, 15.0); 3]).copied().collect::<Vec<_>>()),
            Some(15.0)
        );
    }

    #[test]
    fn a_burst_is_no_interval_and_a_lie_has_a_limit() {
        assert_eq!(of(&[(0.0, 5.0); 5]), Some(5.0));
        assert_eq!(of(&[(0.0, 0.0)]), Some(SHORTEST));
        assert_eq!(of(&[(5.0, 1e18)]), Some(200.0));
    }
}
