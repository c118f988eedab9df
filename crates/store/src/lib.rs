//! Redis as the tracker uses it: the names of all keys, the connections, and what is read and written in one
//! round trip.
//!
//! It knows how, not when or why: each function is one `Batch` of commands. It concludes nothing from what it reads; it
//! hands it to `domain` as an [`Observation`](domain::Observation), with every input that could not be read
//! left out and reported as a [`Fault`].

mod batch;
pub mod chain;
mod connect;
mod error;
mod events;
mod families;
mod index;
mod inspect;
mod keys;
mod ledger;
mod market;
mod prune;
mod reply;
mod script;

pub use connect::{RedisSettings, SentinelView, Servers, Session, Store};
pub use error::{ErrorKind, StoreError};
pub use events::{EventStream, Subscriber};
pub use families::{Family, KeyType, Life, Writer};
pub use index::{Index, IndexKeys, IndexPart, Indexed};
pub use inspect::{Ahead, Inspector, KeyFacts, Refusal, ServerClock, ServerFacts, Shown, Wanted};
pub use keys::{EVENTS, MarketKeys, Output, OutputKeys, Spelling};
pub use ledger::{LedgerMark, SCHEMA};
pub use market::{Datasets, MarketStore, OriginalDatasets, Pass, Reach, Scope, Written};
pub use prune::{Prunable, Retention};
pub use reply::Fault;
