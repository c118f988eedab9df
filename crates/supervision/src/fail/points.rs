//! The table of a tree's failure points: which are armed, for which actors, and how often each was passed. It touches nothing.

use std::time::Duration;

/// The error of an armed failure point.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the failure point {0} was armed with this error")]
pub struct InjectedFailure(pub String);

/// What an armed failure point does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Panics.
    Panic,
    /// Returns an [`InjectedFailure`].
    Error,
    /// Continues after this time.
    Delay(Duration),
    /// Never continues, but can be killed.
    Hang,
    /// Does not yield its thread until the point is disarmed.
    Spin,
}

/// The passages at which an armed failure point acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Every passage.
    Always,
    /// Only the n-th passage from now, counted from 1.
    Nth(u64),
    /// The next n passages.
    Times(u64),
    /// Every n-th passage.
    Every(u64),
}

#[cfg(feature = "failure-points")]
pub use armed::{BadFailurePoint, FailurePoints, Written};

#[cfg(feature = "failure-points")]
mod armed {
    use std::collections::HashMap;

    use super::{Fault, When};
    use crate::sync::{Mutex, lock};

    /// The text of a failure point could not be parsed.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error(
        "`{0}` is no failure point: expected POINT[@ACTOR]=FAULT[*TIMES], with FAULT one of panic, error, hang, spin, TIMES at least 1"
    )]
    pub struct BadFailurePoint(pub String);

    /// The failure points of one tree.
    #[derive(Debug, Default)]
    pub struct FailurePoints(Mutex<HashMap<String, Point>>);

    #[derive(Debug, Default)]
    struct Point {
        passages: u64,
        acted: u64,
        armed: Vec<Armed>,
    }

    #[derive(Debug)]
    struct Armed {
        fault: Fault,
        when: When,
        /// The end of the paths of the actors for which it acts.
        actor: String,
        seen: u64,
    }

    /// A failure point as an operator writes it: `POINT[@ACTOR]=FAULT[*TIMES]`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Written {
        /// The point.
        pub point: String,
        /// The end of the paths of the actors that are meant; empty for all.
        pub actor: String,
        /// What it does there.
        pub fault: Fault,
        /// At which passages.
        pub when: When,
    }

    impl Written {
        /// Reads a text as [`FailurePoints::arm_all`] takes it.
        ///
        /// # Errors
        /// [`BadFailurePoint`] for the first one that can't be parsed.
        pub fn all(text: &str) -> Result<Vec<Self>, BadFailurePoint> {
            let written = text.split(',').map(str::trim).filter(|written| !written.is_empty());
            written.map(|text| Self::one(text).ok_or_else(|| BadFailurePoint(text.to_owned()))).collect()
        }

        fn one(text: &str) -> Option<Self> {
            let (place, what) = text.split_once('=')?;
            let (point, actor) = place.split_once('@').unwrap_or((place, ""));
            let (fault, times) =
                what.split_once('*').map_or((what, None), |(fault, times)| (fault, Some(times)));
            let fault = match fault {
                "panic" => Fault::Panic,
                "error" => Fault::Error,
                "hang" => Fault::Hang,
                "spin" => Fault::Spin,
                _ => return None,
            };
            // A point that acts no times is a mistake, and not an armed point.
            let when = match times {
                None => When::Always,
                Some(times) => When::Times(times.parse().ok().filter(|times| *times > 0)?),
            };
            let (point, actor) = (point.to_owned(), actor.to_owned());
            (!point.is_empty()).then_some(Self { point, actor, fault, when })
        }
    }

    impl FailurePoints {
        /// Arms a point for the actors whose path ends with `actor` (empty for all). A point can be armed several times; the first
        /// fault that applies acts.
        pub fn arm(&self, point: &str, actor: &str, fault: Fault, when: When) {
            let armed = Armed { fault, when, actor: actor.to_owned(), seen: 0 };
            self.with(|points| points.entry(point.to_owned()).or_default().armed.push(armed));
        }

        /// Arms the points of a text: `POINT[@ACTOR]=FAULT[*TIMES]`, separated by commas, where FAULT is panic, error, hang or
        /// spin. Without TIMES a point acts at each passage.
        ///
        /// # Errors
        /// [`BadFailurePoint`] for the first one that can't be parsed; then none is armed.
        pub fn arm_all(&self, text: &str) -> Result<(), BadFailurePoint> {
            Written::all(text)?.iter().for_each(|written| self.arm_written(written));
            Ok(())
        }

        /// Arms one point of such a text.
        pub fn arm_written(&self, written: &Written) {
            self.arm(&written.point, &written.actor, written.fault, written.when);
        }

        /// Disarms a point; an actor that spins there continues.
        pub fn disarm(&self, point: &str) {
            self.with(|points| {
                if let Some(point) = points.get_mut(point) {
                    point.armed.clear();
                }
            });
        }

        /// How often a point has been passed, and how often it has acted.
        pub fn passages(&self, point: &str) -> (u64, u64) {
            self.with(|points| points.get(point).map_or((0, 0), |point| (point.passages, point.acted)))
        }

        fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Point>) -> T) -> T {
            work(&mut lock(&self.0))
        }

        pub(crate) fn pass(&self, name: &str, path: &str) -> Option<Fault> {
            self.with(|points| {
                let point = match points.get_mut(name) {
                    Some(point) => point,
                    None => points.entry(name.to_owned()).or_default(),
                };
                point.passages += 1;
                let mut chosen = None;
                for armed in point.armed.iter_mut().filter(|armed| path.ends_with(&armed.actor)) {
                    armed.seen += 1;
                    let acts = match armed.when {
                        When::Always => true,
                        When::Nth(n) => armed.seen == n,
                        When::Times(n) => armed.seen <= n,
                        When::Every(n) => armed.seen.is_multiple_of(n.max(1)),
                    };
                    if acts && chosen.is_none() {
                        chosen = Some(armed.fault);
                    }
                }
                point.acted += u64::from(chosen.is_some());
                chosen
            })
        }

        pub(crate) fn is_armed(&self, name: &str) -> bool {
            self.with(|points| points.get(name).is_some_and(|point| !point.armed.is_empty()))
        }
    }
}

#[cfg(all(test, feature = "failure-points"))]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_word() {
        for (word, fault) in
            [("panic", Fault::Panic), ("error", Fault::Error), ("hang", Fault::Hang), ("spin", Fault::Spin)]
        {
            let written = Written::all(&format!("a::b@c={word}*2")).expect("it is right");
            let (point, actor) = ("a::b".to_owned(), "c".to_owned());
            assert_eq!(written, [Written { point, actor, fault, when: When::Times(2) }]);
        }
    }

    #[test]
    fn a_point_acts_at_the_passages_of_its_actor_that_it_is_armed_for() {
        let acts = |when: When| {
            let points = FailurePoints::default();
            points.arm("p", "actor", Fault::Panic, when);
            let acted: Vec<u64> = (1..=7)
                .filter(|_| {
                    // Passages of another actor count for nothing.
                    assert_eq!((points.pass("p", "other"), points.pass("q", "an/actor")), (None, None));
                    points.pass("p", "an/actor").is_some()
                })
                .collect();
            assert_eq!(points.passages("p"), (14, acted.len() as u64));
            assert!(points.is_armed("p") && !points.is_armed("q"));
            points.disarm("p");
            assert!(!points.is_armed("p") && points.pass("p", "an/actor").is_none());
            acted
        };
        assert_eq!(acts(When::Always), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(acts(When::Nth(3)), [3]);
        assert_eq!(acts(When::Times(2)), [1, 2]);
        assert_eq!(acts(When::Every(3)), [3, 6]);
    }

    #[test]
    fn failure_points_are_armed_as_they_are_written_or_not_at_all() {
        let points = FailurePoints::default();
        assert_eq!(points.arm_all("a::b=panic*3, c::d@market/aggregator=hang,,"), Ok(()));
        assert!(
            format!("{points:?}").contains("Times(3)") && format!("{points:?}").contains("market/aggregator")
        );
        for bad in ["a", "a=explode", "=panic", "a=panic*many", "a=panic*0", "b=error,a="] {
            let fresh = FailurePoints::default();
            assert!(fresh.arm_all(bad).is_err(), "{bad}");
            assert_eq!(format!("{fresh:?}"), format!("{:?}", FailurePoints::default()), "{bad}");
        }
    }
}
