//! The tables of all actors, joined. The reference pages list them.

use crate::{collector, env::FailurePoint, tracker};

/// The failure points of the kit's supervisors. The kit names them itself; a test compares.
static OF_SUPERVISORS: [FailurePoint; 2] = [
    FailurePoint::new(
        "supervisor::before_order",
        "supervisor",
        "A supervisor has received an order to change its children and done nothing.",
    ),
    FailurePoint::new(
        "supervisor::after_exit",
        "supervisor",
        "A supervisor has received the exit of a child and done nothing.",
    ),
];

/// Every failure point, those of the tracker first.
pub fn failure_points() -> impl Iterator<Item = &'static FailurePoint> {
    tracker::points::POINTS.iter().chain(collector::points::POINTS).chain(&OF_SUPERVISORS)
}

#[cfg(test)]
mod tests;
