//! The rules of the tracker: events, epochs and their phases, the epoch ledger, and the datasets made from them.

mod current_epoch;
mod datasets;
mod entry;
mod event;
mod facts;
mod fields;
mod gaps;
pub mod index;
mod ledger;
mod moment;
mod observation;
mod original;
mod plan;
mod rates;
mod reading;
mod sealed;
mod statistics;
mod summary;
mod timeline;

pub use current_epoch::{Candidate, CurrentEpoch, Phase, current_epoch, learn_from_chain};
pub use datasets::{Datasets, Due};
pub use entry::{BadEntry, Entry, HourSums, Sums};
pub use event::{Entity, EventCounts};
pub use facts::{Day, EpochFacts, Moments, Priorities, StateHash};
pub use fields::Field;
pub use gaps::{GAP_SHOWN, Gap};
pub use ledger::Totals;
pub use moment::{AHEAD, Claim, DAY, HOUR, Moment};
pub use observation::Observation;
pub use original::{Entries, EventsSinceStart, OriginalEpoch, OriginalSeen, go_json, original_open};
pub use plan::{ABSENCE, EarlyCounts, Found, Known, RECENT, Selection, Span};
pub use rates::{MeasurementWindow, Recent};
pub use reading::Reading;
pub use sealed::Sealed;
pub use statistics::{DayStats, HourStats, Participation};
pub use summary::{Summary, SummaryInput};
pub use timeline::{BatchMember, EpochMember, Timed};

/// The window of an epoch whose duration is not known, in seconds.
pub const DEFAULT_WINDOW: f64 = 60.0;

/// The longest window that is accepted, in seconds; a longer one counts as unknown.
pub const LONGEST_WINDOW: f64 = 86_400.0;
