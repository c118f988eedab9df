//! The failure points of the collector's actors.

use crate::env::{FailurePoint, periodic::Points};

const FETCHER: &str = "block fetcher";
const PREPARER: &str = "batch preparer";
const CLEANER: &str = "cleaner";
const RELAYER: &str = "relayer";
const REWARDS: &str = "rewards";
const VALUES: &str = "contract values";

domain::table! {
    /// The failure points of the collector's actors.
    pub(crate) POINTS: FailurePoint;
    pub(super) FETCHER_BEFORE_WRITE = FailurePoint::new("block_fetcher::before_write", FETCHER,
        "The block fetcher has computed the effects of blocks and written nothing.");
    pub(super) FETCHER_AFTER_WRITE = FailurePoint::new("block_fetcher::after_write", FETCHER,
        "The block fetcher has the answer of Redis and has neither counted nor reported it.");
    pub(super) FETCHER_AFTER_CHECKPOINT = FailurePoint::new("block_fetcher::after_checkpoint", FETCHER,
        "The block fetcher has moved the checkpoint and woken the other actors.");
    pub(super) PREPARER_BEFORE_READ = FailurePoint::new("batch_preparer::before_read", PREPARER,
        "The batch preparer is about to look for closed windows.");
    pub(super) PREPARER_AFTER_READ = FailurePoint::new("batch_preparer::after_read", PREPARER,
        "The batch preparer has read the submissions of an epoch.");
    pub(super) PREPARER_BEFORE_WRITE = FailurePoint::new("batch_preparer::before_write", PREPARER,
        "The batch preparer has made the batches of an epoch and handed over none.");
    pub(super) PREPARER_AFTER_WRITE = FailurePoint::new("batch_preparer::after_write", PREPARER,
        "The batch preparer has the answer of Redis and has neither counted nor reported it.");
    pub(super) REWARDS_BEFORE_READ = FailurePoint::new("rewards::before_read", REWARDS,
        "The rewards of a market are about to look for plans.");
    pub(super) REWARDS_AFTER_READ = FailurePoint::new("rewards::after_read", REWARDS,
        "The rewards of a market have read the numbers of a plan.");
    pub(super) REWARDS_BEFORE_WRITE = FailurePoint::new("rewards::before_write", REWARDS,
        "The rewards of a market have made the calls of a plan and written none.");
    pub(super) REWARDS_AFTER_WRITE = FailurePoint::new("rewards::after_write", REWARDS,
        "The calls of a plan are in the outbox, and neither counted nor reported.");
    pub(super) RELAYER_BEFORE_CALL = FailurePoint::new("relayer::before_call", RELAYER,
        "The relayer's lane has read a call and not made it.");
    pub(super) RELAYER_AFTER_CALL = FailurePoint::new("relayer::after_call", RELAYER,
        "The relayer has accepted a call, and the lane has not noted it.");
    pub(super) RELAYER_AFTER_WRITE = FailurePoint::new("relayer::after_write", RELAYER,
        "The lane has noted that the relayer has a call.");
    VALUES_BEFORE_PAUSE = FailurePoint::new("contract_values::before_pause", VALUES,
        "The actor of the contract values is about to wait for its next round.");
    VALUES_BEFORE_ROUND = FailurePoint::new("contract_values::before_round", VALUES,
        "A round of the actor of the contract values has asked for nothing.");
    VALUES_AFTER_ROUND = FailurePoint::new("contract_values::after_round", VALUES,
        "A round of the actor of the contract values is finished.");
    CLEANER_BEFORE_PAUSE = FailurePoint::new("cleaner::before_pause", CLEANER,
        "The cleaner is about to wait for its next run.");
    CLEANER_BEFORE_ROUND = FailurePoint::new("cleaner::before_round", CLEANER,
        "A run of the cleaner has removed nothing.");
    CLEANER_AFTER_ROUND = FailurePoint::new("cleaner::after_round", CLEANER,
        "A run of the cleaner is finished.");
}

/// The failure points of the loop of the contract values.
pub(super) const CONTRACT_VALUES_POINTS: Points = Points {
    before_pause: &VALUES_BEFORE_PAUSE,
    before_round: &VALUES_BEFORE_ROUND,
    after_round: &VALUES_AFTER_ROUND,
};

/// The failure points of the cleaner's loop.
pub(super) const CLEANER_POINTS: Points = Points {
    before_pause: &CLEANER_BEFORE_PAUSE,
    before_round: &CLEANER_BEFORE_ROUND,
    after_round: &CLEANER_AFTER_ROUND,
};
