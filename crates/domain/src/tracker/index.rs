//! The state index: what follows from the events that producers publish, and how the states of epochs, submissions and
//! validators move. Pure: the time of an event is an argument.
//!
//! What an event moves:
//!
//! | event | effect |
//! |---|---|
//! | `epoch:open:E` | epoch → processing |
//! | `epoch:closed:E`, `part:created:E:BATCH` | epoch → finalizing: parts are made once the window is closed |
//! | `batch:local:E` | epoch → aggregating; finalization `local:E` |
//! | `batch:aggregated:E` | epoch → completed; finalization `aggregated:E` |
//! | `batch:validator:V:E` | V is seen with a batch; V and E are linked. E does not move: its own batch is local |
//! | `submission:STATE:ID`, `validation:STATE:ID` | submission → STATE, by the names of the states |
//!
//! An epoch that is only named, by a submission's id or a validator's batch, is pending. All other events are foreign
//! to the index. Nothing is guessed: a submission is not finalized because its epoch is completed, since no event says
//! which submissions a batch contains.
//!
//! States only go forward, and may skip those whose events were missed; an event that would go backwards changes
//! nothing. A validator's state is not a step but a function of two moments, its last sign and its last batch, and of
//! the time since then: see [`ValidatorSigns`].

mod changes;
mod event;
mod quota;
mod states;
mod submission;

pub use changes::{Changes, EpochChange, Refused, SubmissionChange};
pub use event::{IndexEvent, Unindexed};
pub use quota::{LONGEST_EPOCH, LONGEST_ID, LONGEST_VALIDATOR, Quota, VALIDATORS_AN_EPOCH};
pub use states::{
    EpochState, IndexSet, Machine, Move, SubmissionState, VALIDATOR_ACTIVE_FOR, VALIDATOR_ONLINE_FOR,
    ValidatorSigns, ValidatorState, backwards,
};
pub use submission::SubmissionParts;
