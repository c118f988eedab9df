//! What the numbers mean: events, epochs and their phases, the epoch ledger, and the datasets made from them.
//!
//! Pure types and functions. No I/O, and no clock of its own: the time always comes in as an argument, in
//! Unix seconds. Who wants to change a number changes it here.

mod address;
pub mod chain;
mod current_epoch;
mod epoch;
mod event;
mod gaps;
pub mod index;
mod ledger;
mod number;
mod observation;
mod original;
mod sealed;
mod statistics;
mod summary;
mod timeline;

pub use address::Address;
pub use current_epoch::{Candidate, CurrentEpoch, Phase, current_epoch, learn_from_chain};
pub use epoch::{BadEpoch, EpochId};
pub use event::{Entity, EventCounts};
pub use gaps::{Gap, Steps};
pub use ledger::{BadEntry, Entry, Sums, Totals};
pub use number::{Number, parse_seconds};
pub use observation::{Day, EpochFacts, Moments, Observation, Priorities, StateHash};
pub use original::{Entries, HeardSince, OriginalEpoch, OriginalSeen, go_json, original_open};
pub use sealed::Sealed;
pub use statistics::{DAY, DayStats, HOUR, HourStats, Participation};
pub use summary::{MeasurementWindow, Recent, Summary, SummaryInput};
pub use timeline::{BatchMember, EpochMember, Timed};

/// The window of an epoch whose duration is not known, in seconds.
pub const DEFAULT_WINDOW: f64 = 60.0;

/// A window that is said to last longer is not believed, in seconds.
pub const LONGEST_WINDOW: f64 = 86_400.0;
