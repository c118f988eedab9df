//! Gaps in the life of an epoch: a step that should have been taken and was not.

use crate::EpochId;

/// The statuses of an epoch's steps, as its state hash has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// The state hash says that the window is closed.
    pub window_closed: bool,
    /// `level1_status`
    pub level1: Option<String>,
    /// `level2_status`
    pub level2: Option<String>,
    /// `onchain_status`
    pub onchain: Option<String>,
}

/// Which step is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// The window is closed, and level 1 is neither in progress nor completed.
    Level1,
    /// Level 1 is completed, and level 2 is neither collecting, aggregating nor completed.
    Level2,
    /// Level 2 is completed, and nothing was queued, submitted or confirmed on the chain.
    Onchain,
}

impl Gap {
    /// Every kind of gap.
    pub const ALL: [Self; 3] = [Self::Level1, Self::Level2, Self::Onchain];

    /// The gaps of an epoch.
    #[must_use]
    pub fn of(steps: &Steps) -> Vec<Self> {
        let is = |status: &Option<String>, any: &[&str]| {
            status.as_deref().is_some_and(|status| any.contains(&status))
        };
        // `pending`, `failed` and no status at all are gaps alike: only the listed ones show that the step is under
        // way or done.
        let missing = |gap: &Self| match gap {
            Self::Level1 => steps.window_closed && !is(&steps.level1, &["in_progress", "completed"]),
            Self::Level2 => {
                is(&steps.level1, &["completed"])
                    && !is(&steps.level2, &["collecting", "aggregating", "completed"])
            }
            Self::Onchain => {
                is(&steps.level2, &["completed"])
                    && !is(&steps.onchain, &["queued", "submitted", "confirmed"])
            }
        };
        Self::ALL.into_iter().filter(missing).collect()
    }

    /// The member of `epochs:gaps`.
    #[must_use]
    pub fn member(self, epoch: &EpochId) -> String {
        let kind = match self {
            Self::Level1 => "missing_level1",
            Self::Level2 => "missing_level2",
            Self::Onchain => "missing_onchain",
        };
        format!("{epoch}:{kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(window_closed: bool, level1: &str, level2: &str, onchain: &str) -> Vec<Gap> {
        let status = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Gap::of(&Steps {
            window_closed,
            level1: status(level1),
            level2: status(level2),
            onchain: status(onchain),
        })
    }

    #[test]
    fn each_step_is_missed_when_the_one_before_it_is_done() {
        assert_eq!(gaps(false, "pending", "pending", "pending"), []);
        assert_eq!(gaps(true, "pending", "pending", "pending"), [Gap::Level1]);
        assert_eq!(gaps(true, "", "", ""), [Gap::Level1]);
        assert_eq!(gaps(true, "failed", "", ""), [Gap::Level1]);
        assert_eq!(gaps(true, "in_progress", "pending", ""), []);
        assert_eq!(gaps(true, "completed", "pending", ""), [Gap::Level2]);
        assert_eq!(gaps(true, "completed", "collecting", ""), []);
        assert_eq!(gaps(true, "completed", "completed", "pending"), [Gap::Onchain]);
        assert_eq!(gaps(true, "completed", "completed", "failed"), [Gap::Onchain]);
        assert_eq!(gaps(true, "completed", "completed", "queued"), []);
        assert_eq!(Gap::Level2.member(&EpochId::parse("7").expect("an id")), "7:missing_level2");
    }
}
