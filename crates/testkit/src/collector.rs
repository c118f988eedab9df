//! What collectors write for a block: one set of the submissions of an epoch that came while the block was the newest.
//! No I/O, no panics: the demo uses it too.

use crate::Dice;

/// The TTL of a set, in seconds.
pub const LIVES: u64 = 20 * 60;

/// A member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The member of the set.
    pub key: String,
    /// Its project; `None` where the key is malformed.
    pub project: Option<String>,
}

/// The name of the set for the submissions of an epoch at the block of this hash.
#[must_use]
pub fn set(market: &str, epoch: u64, hash: &str) -> String {
    format!("SnapshotCollector.{}.{epoch}.{hash}", market.to_lowercase())
}

/// Up to five submissions of an epoch, one of twenty malformed.
pub fn submissions(dice: &mut Dice, market: &str, epoch: u64) -> Vec<Submitted> {
    let market = market.to_lowercase();
    let many = dice.roll(6);
    let submitted = (0..many).map(|_| {
        let (project, slot) = (format!("project-{}", dice.roll(12)), dice.roll(40));
        match dice.roll(20) {
            0 => Submitted { key: format!("{market}.{epoch}.broken"), project: None },
            _ => Submitted { key: format!("{market}.{epoch}.{project}.{slot}"), project: Some(project) },
        }
    });
    submitted.collect()
}
