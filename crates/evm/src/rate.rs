//! The rate of calls to one node: the configured one, and one that is learned from the node's refusals. Pure but for the moments
//! that callers give.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// The share of what a node answered in a second that is asked for: calls that are sent evenly do not arrive evenly.
const SHARE: f64 = 0.96;
/// The share of a learned rate that is kept after one more refusal.
const LESS: f64 = 0.9;
/// The growth of a learned rate after a time without a refusal.
const MORE: f64 = 1.0 + 1.0 / 16.0;
/// The time without a refusal after which a learned rate grows, and its limit: a limit is tried more seldom each time that it is met.
const FIRST_CALM: Duration = Duration::from_secs(30);
const LONGEST_CALM: Duration = Duration::from_secs(1_920);
/// Below this rate, in calls a second, the pauses after refusals alone set the pace.
const LEAST: f64 = 10.0;
/// Above this rate, in calls a second, no limit of a node is assumed any more.
const MOST: f64 = 10_000.0;
/// Two refusals after this many calls and after at most an eighth more are of one limit.
const ALIKE: u32 = 8;
/// The limit of answers that are remembered for a second.
const MOST_ANSWERS: usize = 10_000;

/// Calls to one node, sent and answered.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    configured: Option<NonZeroU32>,
    learned: Option<Learned>,
    /// When an even rate allows the next call.
    next_slot: Option<Instant>,
    /// The last calls that were given a moment: as many as the rate allows in a second.
    sent: VecDeque<(Instant, u32)>,
    sent_calls: u32,
    /// The calls that were answered in the last second.
    answered: VecDeque<(Instant, u32)>,
    refused_at: Option<Instant>,
    /// The calls in the second before a refusal, which the next refusal has to confirm.
    evidence: Option<u32>,
}

/// A rate that a node was found to allow, in calls a second.
#[derive(Debug)]
struct Learned {
    rate: f64,
    /// The rate before it grew last; `None` once it was refused.
    before: Option<f64>,
    /// Since when the node has refused nothing at this rate.
    since: Instant,
    /// The time without a refusal after which it grows.
    calm: Duration,
}

impl Rate {
    pub(crate) fn new(configured: Option<NonZeroU32>) -> Self {
        Self { configured, ..Self::default() }
    }

    /// Calls a second; `None` without a limit.
    pub(crate) fn limit(&self) -> Option<f64> {
        let configured = self.configured.map(|rate| f64::from(rate.get()));
        let learned = self.learned.as_ref().map(|learned| learned.rate);
        configured.into_iter().chain(learned).reduce(f64::min)
    }

    /// Reserves the time of `calls` calls, and returns the moment of the first. No second has more calls than the rate.
    pub(crate) fn take(&mut self, calls: u32, now: Instant) -> Instant {
        self.grow(now);
        let Some(limit) = self.limit() else { return now };
        let interval = SECOND.div_f64(limit);
        // A quarter of a second's calls may be sent at once: a block needs several requests, one after the other.
        // With a rate below 4 this is 0, and requests are spread evenly.
        let burst = interval * (limit / 4.0) as u32;
        // A slot in the past is unused allowance; only that of the burst is kept.
        let earliest = now.checked_sub(burst).unwrap_or(now);
        let even = self.next_slot.map_or(earliest, |slot| slot.max(earliest));
        let slot = self.full_until(calls, limit as u32).map_or(even, |free| free.max(even));
        self.next_slot = Some(slot + interval.saturating_mul(calls));
        let slot = slot.max(now);
        self.sent.push_back((slot, calls));
        self.sent_calls = self.sent_calls.saturating_add(calls);
        // Calls behind a whole second's do not matter any more.
        while let Some((_, first)) = self.sent.front()
            && self.sent_calls - first >= limit as u32
        {
            self.sent_calls -= first;
            self.sent.pop_front();
        }
        slot
    }

    /// Until when so many calls have been reserved that `calls` more would be too many for one second.
    fn full_until(&self, calls: u32, most: u32) -> Option<Instant> {
        let mut sum = calls;
        for (at, calls) in self.sent.iter().rev() {
            sum = sum.saturating_add(*calls);
            if sum > most {
                return Some(*at + SECOND);
            }
        }
        None
    }

    /// Notes that calls were answered, with results or with errors that are not about the rate.
    pub(crate) fn answered(&mut self, calls: u32, now: Instant) {
        self.forget(now);
        if self.answered.len() >= MOST_ANSWERS {
            self.answered.pop_front();
        }
        self.answered.push_back((now, calls));
    }

    /// Notes that the node refused a request for its rate.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.forget(now);
        let earlier = self.refused_at.replace(now);
        // Within a second of another refusal, the calls of this second say nothing about the limit.
        if earlier.is_some_and(|earlier| now.saturating_duration_since(earlier) < SECOND) {
            return;
        }
        if let Some(learned) = &mut self.learned {
            learned.refused(now);
            return;
        }
        let found = self.answered.iter().fold(0, |sum: u32, (_, calls)| sum.saturating_add(*calls));
        // A node that is busy refuses after any number of calls; one with a limit refuses after the same number.
        let alike = |other: &u32| found.abs_diff(*other) <= found.min(*other) / ALIKE;
        match self.evidence.replace(found).filter(alike) {
            Some(other) if f64::from(found.min(other)) * SHARE >= LEAST => {
                let rate = f64::from(found.min(other)) * SHARE;
                self.learned = Some(Learned { rate, before: None, since: now, calm: FIRST_CALM });
            }
            _ => {}
        }
    }

    fn grow(&mut self, now: Instant) {
        if let Some(learned) = &mut self.learned
            && now.saturating_duration_since(learned.since) >= learned.calm
        {
            learned.before = Some(learned.rate);
            (learned.rate, learned.since) = (learned.rate * MORE, now);
            if learned.rate > MOST {
                self.learned = None;
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= SECOND;
        while self.answered.front().is_some_and(|(at, _)| is_old(at)) {
            self.answered.pop_front();
        }
    }
}

impl Learned {
    fn refused(&mut self, now: Instant) {
        self.rate = match self.before.take() {
            // It had grown too far.
            Some(before) => {
                self.calm = (self.calm * 2).min(LONGEST_CALM);
                before
            }
            None => (self.rate * LESS).max(LEAST),
        };
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that allows so many calls in each second of its clock, and a caller that has the next call ready at once.
    struct Played {
        rate: Rate,
        now: Instant,
        second: u64,
        in_second: u32,
        answered: u32,
        refused: u32,
    }

    impl Played {
        fn new(configured: Option<u32>) -> Self {
            let rate = Rate::new(configured.and_then(NonZeroU32::new));
            Self { rate, now: Instant::now(), second: 0, in_second: 0, answered: 0, refused: 0 }
        }

        /// Asks for so many seconds, each call taking at least `least`, with a pause of a second after each refusal.
        fn play(&mut self, allowed: u32, seconds: u64, least: Duration) {
            let start = self.now;
            while self.now - start < SECOND * u32::try_from(seconds).unwrap() {
                self.now = self.rate.take(1, self.now).max(self.now) + least;
                let second = (self.now - start).as_secs() + 1_000;
                if self.second != second {
                    (self.second, self.in_second) = (second, 0);
                }
                if self.in_second < allowed {
                    self.in_second += 1;
                    self.answered += 1;
                    self.rate.answered(1, self.now);
                } else {
                    self.refused += 1;
                    self.rate.refused(self.now);
                    self.now += SECOND;
                }
            }
        }
    }

    #[test]
    fn an_unknown_rate_is_found_within_seconds_and_used() {
        // A caller that is hardly faster than the limit meets it late in a second, and has seen less of it.
        for (fast, least) in [(1, 0.7), (2, 0.9), (8, 0.94)] {
            for allowed in [20, 200] {
                let mut played = Played::new(None);
                played.play(allowed, 20, SECOND / (allowed * fast + allowed / 3));
                let share = f64::from(played.answered) / f64::from(allowed * 20);
                assert!(share >= least, "{allowed} {fast}: {share}");
                assert!(played.refused <= 6, "{allowed} {fast}: {} refusals", played.refused);
                // From then on it is used, and what is lost by trying for more is little.
                let (answered, refused) = (played.answered, played.refused);
                played.play(allowed, 200, Duration::from_millis(1));
                let share = f64::from(played.answered - answered) / f64::from(allowed * 200);
                assert!(share >= 0.94, "{allowed} {fast}: {share}");
                assert!(played.refused - refused <= 3, "{allowed} {fast}: {}", played.refused - refused);
            }
        }
    }

    #[test]
    fn a_limit_that_was_lifted_is_noticed() {
        let mut played = Played::new(None);
        played.play(100, 20, Duration::from_millis(1));
        assert!(played.rate.limit().is_some_and(|limit| limit <= 100.0));
        played.play(1_000, 400, Duration::from_millis(2));
        assert!(played.rate.limit().is_none_or(|limit| limit > 180.0), "{:?}", played.rate.limit());
    }

    #[test]
    fn no_second_has_more_calls_than_the_rate() {
        for (limit, sizes) in [(10, [1, 1, 1]), (10, [5, 10, 1]), (190, [1, 50, 3]), (3, [1, 2, 3])] {
            let mut rate = Rate::new(NonZeroU32::new(limit));
            let (mut now, mut sent) = (Instant::now(), Vec::<(Instant, u32)>::new());
            for turn in 0..2_000_usize {
                // Some callers wait for their turn, and sometimes nobody asks for a while.
                let calls = sizes[turn % 3];
                let at = rate.take(calls, now);
                sent.push((at, calls));
                if turn % 50 == 49 {
                    now = at + Duration::from_millis(400 * (turn as u64 % 7));
                }
            }
            for (place, (start, _)) in sent.iter().enumerate() {
                let within = sent[place..].iter().take_while(|(at, _)| *at < *start + SECOND);
                let calls: u32 = within.map(|(_, calls)| calls).sum();
                assert!(calls <= limit, "{limit} {sizes:?}: {calls} calls in a second");
            }
            assert!(rate.sent.len() <= limit as usize + 1);
        }
    }

    #[test]
    fn refusals_after_any_number_of_calls_teach_nothing() {
        let (mut rate, mut now) = (Rate::new(None), Instant::now());
        for calls in [30, 300, 12, 100, 3, 3] {
            for _ in 0..calls {
                now += Duration::from_millis(1);
                rate.answered(1, now);
            }
            rate.refused(now);
            // Requests that were on their way.
            rate.refused(now);
            now += SECOND;
        }
        assert_eq!(rate.limit(), None);
    }

    #[test]
    fn a_configured_rate_is_an_upper_limit_of_a_learned_one() {
        let mut played = Played::new(Some(50));
        played.play(30, 10, Duration::from_millis(1));
        assert!(played.rate.limit().is_some_and(|limit| limit <= 30.0));
        played.play(1_000, 600, Duration::from_millis(1));
        assert_eq!(played.rate.limit(), Some(50.0));
    }
}
