//! Which alerts are sent: one for each cause at once, one with the count of what came meanwhile, and one when it is over. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long the repetitions of a cause are counted before they are told together.
pub(super) const REPEAT_EVERY: Duration = Duration::from_secs(600);
/// How long a cause is remembered that has not come again.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);
/// The most causes that are remembered: each market may have some.
const MOST_CAUSES: usize = 1_000;

/// A cause: what is told of it comes in one alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cause {
    /// The kind of a notice, or the path of an actor that crashes.
    pub(super) name: String,
    /// What it concerns, such as a market; empty for all.
    pub(super) subject: String,
}

/// How grave an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gravity {
    Low,
    Medium,
    High,
}

impl Gravity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) gravity: Gravity,
    pub(super) is_recovery: bool,
}

/// What is known of a cause.
#[derive(Clone, Debug)]
struct Known {
    /// How often it came since it was told.
    untold: u64,
    /// How often it came at all.
    total: u64,
    told: Instant,
    last: Instant,
    gravity: Gravity,
    /// Its last text.
    text: String,
}

/// The causes.
#[derive(Debug, Default)]
pub(super) struct Causes {
    known: BTreeMap<Cause, Known>,
}

impl Causes {
    /// A cause came. Returns the alert that is sent for it at once, if it is new.
    pub(super) fn came(
        &mut self,
        cause: Cause,
        gravity: Gravity,
        text: String,
        now: Instant,
    ) -> Option<Alert> {
        if let Some(known) = self.known.get_mut(&cause) {
            known.untold += 1;
            known.total += 1;
            known.last = now;
            // What is graver than what was told is told at once.
            let is_graver = gravity > known.gravity;
            (known.gravity, known.text) = (known.gravity.max(gravity), text);
            return is_graver.then(|| known.tell(&cause.name, now));
        }
        if self.known.len() >= MOST_CAUSES {
            // The one that has been quiet for longest.
            let quiet = self.known.iter().min_by_key(|(_, known)| known.last).map(|(cause, _)| cause.clone());
            quiet.map(|quiet| self.known.remove(&quiet));
        }
        let alert = Alert { name: cause.name.clone(), text: text.clone(), gravity, is_recovery: false };
        self.known.insert(cause, Known { untold: 0, total: 1, told: now, last: now, gravity, text });
        Some(alert)
    }

    /// A cause is over. Returns the alert that tells it, if it was told that there is one.
    pub(super) fn ended(&mut self, cause: &Cause, text: &str) -> Option<Alert> {
        let known = self.known.remove(cause)?;
        let times =
            if known.total == 1 { String::new() } else { format!(" (it came {} times)", known.total) };
        let (name, text) = (cause.name.clone(), format!("{text}{times}"));
        Some(Alert { name, text, gravity: known.gravity, is_recovery: true })
    }

    /// The alerts with counts that are due, and forgets what is long over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (cause, known) in &mut self.known {
            if known.untold > 0 && now.saturating_duration_since(known.told) >= REPEAT_EVERY {
                alerts.push(known.tell(&cause.name, now));
            }
        }
        self.known.retain(|_, known| now.saturating_duration_since(known.last) < FORGET_AFTER);
        alerts
    }
}

impl Known {
    fn tell(&mut self, name: &str, now: Instant) -> Alert {
        let untold = std::mem::take(&mut self.untold);
        self.told = now;
        let text = match untold {
            0 | 1 => self.text.clone(),
            more => format!("{more} times more, the last one: {}", self.text),
        };
        Alert { name: name.to_owned(), text, gravity: self.gravity, is_recovery: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(subject: &str) -> Cause {
        Cause { name: "kind".to_owned(), subject: subject.to_owned() }
    }

    #[test]
    fn a_cause_is_told_at_once_then_with_its_count_then_that_it_is_over() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let came = |causes: &mut Causes, second: u64| {
            causes.came(
                cause("a"),
                Gravity::Medium,
                format!("at {second}"),
                start + Duration::from_secs(second),
            )
        };
        assert_eq!(came(&mut causes, 0).expect("at once").text, "at 0");
        for second in 1..500 {
            assert_eq!(came(&mut causes, second), None);
        }
        assert_eq!(causes.due(start + REPEAT_EVERY - Duration::from_secs(1)), []);
        let told = causes.due(start + REPEAT_EVERY);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].text, "499 times more, the last one: at 499");
        assert_eq!(causes.due(start + REPEAT_EVERY * 3), [], "nothing came meanwhile");
        let over = causes.ended(&cause("a"), "all is well").expect("it was told");
        assert_eq!((over.text.as_str(), over.is_recovery), ("all is well (it came 500 times)", true));
        assert_eq!(causes.ended(&cause("a"), "all is well"), None, "once");
    }

    #[test]
    fn another_subject_is_another_cause_and_a_graver_one_is_told_at_once() {
        let (mut causes, now) = (Causes::default(), Instant::now());
        for subject in ["a", "b"] {
            assert!(causes.came(cause(subject), Gravity::Medium, String::new(), now).is_some());
        }
        assert!(causes.came(cause("a"), Gravity::Medium, String::new(), now).is_none());
        let graver = causes.came(cause("a"), Gravity::High, "worse".to_owned(), now).expect("at once");
        assert_eq!(graver.gravity, Gravity::High);
    }

    #[test]
    fn any_number_of_causes_takes_bounded_memory_and_old_ones_are_forgotten() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        for number in 0..3 * MOST_CAUSES as u64 {
            let at = start + Duration::from_millis(number);
            assert!(causes.came(cause(&number.to_string()), Gravity::High, String::new(), at).is_some());
        }
        assert_eq!(causes.known.len(), MOST_CAUSES);
        assert!(causes.known.contains_key(&cause("2999")) && !causes.known.contains_key(&cause("0")));
        causes.due(start + FORGET_AFTER + Duration::from_secs(3));
        assert!(causes.known.is_empty());
    }
}
