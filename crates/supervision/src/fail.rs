//! Failure points: named places at which a test, or an operator of a build that has them, makes an actor
//! fail. Without the feature `failure-points` they compile to nothing.
//!
//! They belong to a tree, not to the process, so that trees in one process do not disturb each other; code
//! reaches them through the actor that it runs in.

use std::time::Duration;

/// An error that a failure point was told to raise.
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
    /// Goes on after this time.
    Delay(Duration),
    /// Never goes on, but can be killed.
    Hang,
    /// Keeps its thread busy and never yields, until it is disarmed.
    Spin,
}

/// At which passages an armed failure point acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At each one.
    Always,
    /// At the n-th one from now (from 1), and never again.
    Nth(u64),
    /// At the next n ones.
    Times(u64),
    /// At every n-th one.
    Every(u64),
}

/// Passes the failure point `name` of the running actor's tree.
///
/// # Errors
/// [`InjectedFailure`] when it is armed with [`Fault::Error`].
#[cfg(not(feature = "failure-points"))]
#[allow(clippy::unused_async)]
pub async fn point(_name: &'static str) -> Result<(), InjectedFailure> {
    Ok(())
}

#[cfg(feature = "failure-points")]
pub use armed::{BadFailurePoint, FailurePoints, point};

#[cfg(feature = "failure-points")]
mod armed {
    use std::{
        collections::HashMap,
        sync::{Mutex, PoisonError},
    };

    use super::{Duration, Fault, InjectedFailure, When};
    use crate::seat;

    /// A failure point that is not written as it should be.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error(
        "`{0}` is no failure point: POINT[@ACTOR]=FAULT[*TIMES] is expected, FAULT one of panic, error, hang, spin"
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
        /// Only actors whose path ends with this.
        actor: String,
        seen: u64,
    }

    impl FailurePoints {
        /// Arms a point for the actors whose path ends with `actor` (all, when it is empty). Points may be
        /// armed several times; the first that applies acts.
        pub fn arm(&self, point: &str, actor: &str, fault: Fault, when: When) {
            let armed = Armed { fault, when, actor: actor.to_owned(), seen: 0 };
            self.with(|points| points.entry(point.to_owned()).or_default().armed.push(armed));
        }

        /// Arms points as an operator writes them: `POINT[@ACTOR]=FAULT[*TIMES]`, several with commas between them,
        /// where FAULT is panic, error, hang or spin. Without TIMES a point acts at each passage.
        ///
        /// # Errors
        /// [`BadFailurePoint`] for the first one that is not of this form; then none is armed.
        pub fn arm_all(&self, text: &str) -> Result<(), BadFailurePoint> {
            let written = text.split(',').map(str::trim).filter(|written| !written.is_empty());
            let read = |written: &str| {
                let (place, what) = written.split_once('=')?;
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
                let when = times.map_or(Some(When::Always), |times| times.parse().ok().map(When::Times))?;
                (!point.is_empty()).then(|| (point.to_owned(), actor.to_owned(), fault, when))
            };
            let all: Vec<_> = written
                .map(|written| read(written).ok_or_else(|| BadFailurePoint(written.to_owned())))
                .collect::<Result<_, _>>()?;
            for (point, actor, fault, when) in all {
                self.arm(&point, &actor, fault, when);
            }
            Ok(())
        }

        /// Disarms a point; what spins or waits in it goes on.
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
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        fn pass(&self, name: &str, path: &str) -> Option<Fault> {
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

        fn is_armed(&self, name: &str) -> bool {
            self.with(|points| points.get(name).is_some_and(|point| !point.armed.is_empty()))
        }
    }

    /// Passes the failure point `name` of the running actor's tree.
    ///
    /// # Errors
    /// [`InjectedFailure`] when it is armed with [`Fault::Error`].
    ///
    /// # Panics
    /// When it is armed with [`Fault::Panic`].
    pub async fn point(name: &'static str) -> Result<(), InjectedFailure> {
        let Some(seat) = seat::current() else {
            return Ok(());
        };
        let points = &seat.tree.failure_points;
        match points.pass(name, &seat.path) {
            None => {}
            Some(Fault::Panic) => panic!("the failure point {name} was armed with this panic"),
            Some(Fault::Error) => return Err(InjectedFailure(name.to_owned())),
            Some(Fault::Delay(delay)) => seat.tree.clock.sleep(delay).await,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Spin) => {
                // Panics and errors tell of themselves; this one never does.
                tracing::warn!(actor = seat.path, "the failure point {name} holds this thread");
                while points.is_armed(name) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "failure-points"))]
mod tests {
    use super::*;

    #[test]
    fn failure_points_are_armed_as_they_are_written_or_not_at_all() {
        let points = FailurePoints::default();
        assert_eq!(points.arm_all("a::b=panic*3, c::d@market/aggregator=hang,,"), Ok(()));
        assert!(
            format!("{points:?}").contains("Times(3)") && format!("{points:?}").contains("market/aggregator")
        );
        for bad in ["a", "a=explode", "=panic", "a=panic*many", "b=error,a="] {
            let fresh = FailurePoints::default();
            assert!(fresh.arm_all(bad).is_err(), "{bad}");
            assert_eq!(format!("{fresh:?}"), format!("{:?}", FailurePoints::default()), "{bad}");
        }
    }
}
