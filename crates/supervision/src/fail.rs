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
pub use armed::{FailurePoints, point};

#[cfg(feature = "failure-points")]
mod armed {
    use std::{
        collections::HashMap,
        sync::{Mutex, PoisonError},
    };

    use super::{Duration, Fault, InjectedFailure, When};
    use crate::seat;

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
                while points.is_armed(name) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Ok(())
    }
}
