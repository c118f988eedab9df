//! `[rewards]`: when the relayer is told of rewards.

use std::num::{NonZeroU64, NonZeroUsize};

use domain::collector::RewardRules;

use super::super::setting::{flag, integer, section};

section! {
    /// The relayer is told how many eligible submissions the slots of each market have: every some epochs, and when a day is over. It is
    /// told if it is told anything, see relayer.url.
    pub struct Rewards in "rewards" {
        /// Every how many epochs the relayer is told the numbers of the day so far: with the hand-over of each epoch whose id it divides.
        epoch_interval: NonZeroU64 = integer(20, "a number of epochs", 1..=1_000_000)
            .variable("REWARDS_UPDATE_EPOCH_INTERVAL"),
        /// The most slots of a call. More slots are told in several calls.
        batch_size: NonZeroUsize = integer(500, "a number of slots", 1..=10_000).variable("REWARDS_UPDATE_BATCH_SIZE"),
        /// How many past days are told again, after a change of day and at the start, while the chain shows no eligible nodes of them.
        past_days: u64 = integer(5, "a number of days", 0..=100).variable("PAST_DAYS_BUFFER"),
        /// Whether a notice tells how many nodes are eligible, every epoch_interval epochs.
        eligible_notices: bool = flag(true).variable("PERIODIC_ELIGIBLE_COUNT_ALERTS"),
    }
}

impl Rewards {
    /// The rules.
    pub fn rules(&self) -> RewardRules {
        RewardRules { every: self.epoch_interval, piece: self.batch_size, past_days: self.past_days }
    }
}
