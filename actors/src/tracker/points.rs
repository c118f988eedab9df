//! The failure points of the tracker's actors.

use crate::env::{FailurePoint, periodic::Points};

const AGGREGATOR: &str = "aggregator";
const EPOCH_TRACKER: &str = "epoch tracker";
const LISTENER: &str = "listener";
const INDEXER: &str = "indexer";
const FINALIZED_BATCHES: &str = "finalized batches";
const FINDER: &str = "finder";
const PRUNER: &str = "pruner";

domain::table! {
    /// The failure points of the tracker's actors.
    pub(crate) POINTS: FailurePoint;
    pub(super) LISTENER_AFTER_SUBSCRIBE = FailurePoint::new("listener::after_subscribe", LISTENER,
        "The listener is subscribed and has not woken the markets.");
    pub(super) LISTENER_BEFORE_HAND_OVER = FailurePoint::new("listener::before_hand_over", LISTENER,
        "The listener holds events that it has not passed on.");
    pub(super) LISTENER_AFTER_HAND_OVER = FailurePoint::new("listener::after_hand_over", LISTENER,
        "The listener has passed on its events.");
    pub(super) AGGREGATOR_BEFORE_READ = FailurePoint::new("aggregator::before_read", AGGREGATOR,
        "A pass of the aggregator has read nothing.");
    pub(super) AGGREGATOR_AFTER_READ = FailurePoint::new("aggregator::after_read", AGGREGATOR,
        "A pass of the aggregator has read its inputs.");
    pub(super) AGGREGATOR_BEFORE_COMMIT = FailurePoint::new("aggregator::before_commit", AGGREGATOR,
        "A pass of the aggregator has computed its datasets and written nothing.");
    pub(super) AGGREGATOR_AFTER_COMMIT = FailurePoint::new("aggregator::after_commit", AGGREGATOR,
        "A pass of the aggregator has written ledger and datasets and has counted nothing.");
    pub(super) EPOCH_TRACKER_BEFORE_READ = FailurePoint::new("epoch_tracker::before_read", EPOCH_TRACKER,
        "A pass of the epoch tracker has read nothing.");
    pub(super) EPOCH_TRACKER_BEFORE_COMMIT = FailurePoint::new("epoch_tracker::before_commit", EPOCH_TRACKER,
        "A pass of the epoch tracker has computed the current epoch and written nothing.");
    pub(super) EPOCH_TRACKER_AFTER_COMMIT = FailurePoint::new("epoch_tracker::after_commit", EPOCH_TRACKER,
        "A pass of the epoch tracker has written the current epoch.");
    pub(super) INDEXER_BEFORE_COMMIT = FailurePoint::new("indexer::before_commit", INDEXER,
        "The indexer holds messages of which it has written nothing.");
    pub(super) INDEXER_AFTER_COMMIT = FailurePoint::new("indexer::after_commit", INDEXER,
        "The indexer has written what its messages change and has not acknowledged them.");
    pub(super) FINALIZED_BATCHES_BEFORE_READ = FailurePoint::new("finalized_batches::before_read", FINALIZED_BATCHES,
        "The finalized batches hold a message and have read nothing.");
    pub(super) FINALIZED_BATCHES_AFTER_SEND = FailurePoint::new("finalized_batches::after_send", FINALIZED_BATCHES,
        "The finalized batches have sent their events and have not acknowledged their message.");
    FINDER_BEFORE_PAUSE = FailurePoint::new("finder::before_pause", FINDER,
        "The finder is about to wait for its next round.");
    FINDER_BEFORE_ROUND = FailurePoint::new("finder::before_round", FINDER,
        "A round of the finder has read nothing.");
    FINDER_AFTER_ROUND = FailurePoint::new("finder::after_round", FINDER,
        "A round of the finder is finished, and what it found is on its way.");
    PRUNER_BEFORE_PAUSE = FailurePoint::new("pruner::before_pause", PRUNER,
        "The pruner is about to wait for its next run.");
    PRUNER_BEFORE_ROUND = FailurePoint::new("pruner::before_round", PRUNER,
        "A run of the pruner has removed nothing.");
    PRUNER_AFTER_ROUND = FailurePoint::new("pruner::after_round", PRUNER, "A run of the pruner is finished.");
}

/// The failure points of the finder's loop.
pub(super) const FINDER_POINTS: Points = Points {
    before_pause: &FINDER_BEFORE_PAUSE,
    before_round: &FINDER_BEFORE_ROUND,
    after_round: &FINDER_AFTER_ROUND,
};

/// The failure points of the pruner's loop.
pub(super) const PRUNER_POINTS: Points = Points {
    before_pause: &PRUNER_BEFORE_PAUSE,
    before_round: &PRUNER_BEFORE_ROUND,
    after_round: &PRUNER_AFTER_ROUND,
};
