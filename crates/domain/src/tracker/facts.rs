//! What was read of keys, before anything is concluded from it. `None` means that an input could not be read (a wrong
//! type, an error), which is not the same as empty or zero.

use crate::tracker::Steps;

/// What was read of the keys of one epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpochFacts {
    /// Its keys were read under some of their spellings only: this pass must not seal it.
    pub partly: bool,
    /// It is a member of `epochs:active`.
    pub active: bool,
    /// `status` of its info, else `window_status` of its state: whether its window is open.
    pub open: Option<bool>,
    /// When its window opened, in Unix seconds, by info or state.
    pub start: Option<f64>,
    /// When its window closed, or closes, in Unix seconds, by info or state.
    pub end: Option<f64>,
    /// How long its window lasts, in seconds.
    pub duration: Option<f64>,
    /// The `data_market` of its info.
    pub data_market: Option<String>,
    /// Processed submissions. `None`: neither form of the key could be read.
    pub submissions: Option<u64>,
    /// The key of its processed submissions exists.
    pub has_submissions_key: bool,
    /// Those with a time in the last minute and in the last five, where times are kept.
    pub submissions_recent: Option<(u64, u64)>,
    /// The metadata of its local batch exists.
    pub local_batch: bool,
    /// The metadata of its aggregated batch exists.
    pub aggregated_batch: bool,
    /// The validators in its aggregated batch, where they are listed.
    pub batch_validators: Option<Vec<String>>,
    /// They are listed, but the list could not be read.
    pub batch_validators_unread: bool,
    /// When it was opened, closed, batched locally and aggregated, by the timelines.
    pub timeline: Moments,
    /// The steps of its life, by its state hash.
    pub steps: Steps,
    /// The part of its state hash that the tracker writes, where there is one.
    pub state: Option<StateHash>,
    /// There is a state hash, but it could not be read.
    pub state_unread: bool,
}

/// The part of an epoch's state hash that the tracker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// `submissions_count`
    pub submissions_count: Option<u64>,
}

/// Times of an epoch, in Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// `open:E`
    pub opened: Option<f64>,
    /// `close:E`
    pub closed: Option<f64>,
    /// `local:E`
    pub local: Option<f64>,
    /// `aggregated:E`
    pub aggregated: Option<f64>,
}

/// Counts of the last 24 hours. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Sealed epochs that were opened.
    pub opened: Option<u64>,
    /// Sealed epochs that were aggregated.
    pub aggregated: Option<u64>,
    /// Sealed epochs whose aggregated batch names this validator.
    pub included: Option<u64>,
    /// Epochs for which this validator made a local batch, by its own timeline.
    pub level1: Option<u64>,
}

/// The counts of the keys `vpa:*`. The outer `None`: there is no such field; the inner one: it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priorities {
    /// `total_priority_assignments`
    pub assignments: Option<Option<u64>>,
    /// `no_priority_count`
    pub none: Option<Option<u64>>,
    /// `total_submissions_success`
    pub succeeded: Option<Option<u64>>,
    /// `total_submissions_failed`
    pub failed: Option<Option<u64>>,
    /// Assignments of the last 24 hours.
    pub assignments_24h: Option<u64>,
    /// Submissions of the last 24 hours.
    pub submissions_24h: Option<u64>,
}
