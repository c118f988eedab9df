//! The log of campaign events in Redis, which all gateways on it share: the last events of each campaign, the latest event of
//! each run, and the sessions of clients that are away for a moment.
//!
//! An event has an id, which grows over all campaigns, also after Redis has lost its data. The log assigns it once: gateways that
//! have read the same state of a run offer the same version, and the first one makes it an event. A gateway that offers an older
//! state than the last one changes nothing. So a client receives each event once and in order, whichever gateway it is at.
//!
//! **Invariant:** every key here is named in this crate and nowhere else, has a TTL and a bounded size. The keys of the log
//! have one hash tag, so that a script may write them on a cluster. The crate has no clock and no retry, and knows nothing of clients.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod append;
mod event;
mod keys;
pub mod operations;
mod read;
mod sessions;
mod watched;

pub use append::{Appended, Form, Offer};
pub use event::{Event, LARGEST_PAYLOAD, is_name};
pub use keys::{CampaignKeys, EVENT_AGE, MOST_EVENTS, family_of, key_families};
pub use read::Page;
