//! The rules of the tracker: events, epochs and their phases, the epoch ledger, and the datasets made from them.

mod current_epoch;
mod datasets;
mod event;
mod gaps;
pub mod index;
mod ledger;
mod observation;
mod original;
mod sealed;
mod statistics;
mod summary;
mod timeline;

pub use current_epoch::{Candidate, CurrentEpoch, Phase, current_epoch, learn_from_chain};
pub use datasets::{Datasets, Due, Field};
pub use event::{Entity, EventCounts};
pub use gaps::{Gap, Steps};
pub use ledger::{BadEntry, Entry, Sums, Totals};
pub use observation::{Day, EpochFacts, Moments, Observation, Priorities, StateHash};
pub use original::{Entries, HeardSince, OriginalEpoch, OriginalSeen, go_json, original_open};
pub use sealed::Sealed;
pub use statistics::{DAY, DayStats, HOUR, HourStats, Participation};
pub use summary::{MeasurementWindow, Recent, Summary, SummaryInput};
pub use timeline::{BatchMember, EpochMember, Timed};

/// The window of an epoch whose duration is not known, in seconds.
pub const DEFAULT_WINDOW: f64 = 60.0;

/// The longest window that is believed, in seconds.
pub const LONGEST_WINDOW: f64 = 86_400.0;
