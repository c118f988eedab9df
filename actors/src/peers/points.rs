//! The failure points of the peers' actors.

use crate::env::FailurePoint;

const CONNECTION: &str = "peer connection";
const STATE: &str = "peer state";
const POLL: &str = "peer poll";
const HISTORY: &str = "peer history";

domain::table! {
    /// The failure points of the peers' actors.
    pub(crate) POINTS: FailurePoint;
    pub(super) CONNECTION_AFTER_READ = FailurePoint::new("peer_connection::after_read", CONNECTION,
        "The actor of a connection has read bytes and handed over no line of them.");
    pub(super) POLL_BEFORE_SWAP = FailurePoint::new("peer_poll::before_swap", POLL,
        "The worker of a polled source has a picture, and readers see the one before.");
    pub(super) STATE_BEFORE_SWAP = FailurePoint::new("peer_state::before_swap", STATE,
        "The state has a picture, and readers see the one before.");
    pub(super) STATE_AFTER_SWAP = FailurePoint::new("peer_state::after_swap", STATE,
        "Readers see the picture, and nothing of it is measured.");
    pub(super) HISTORY_BEFORE_WRITE = FailurePoint::new("peer_history::before_write", HISTORY,
        "The history has taken samples and written none.");
    pub(super) HISTORY_AFTER_WRITE = FailurePoint::new("peer_history::after_write", HISTORY,
        "The samples are in the file, and not counted.");
}
