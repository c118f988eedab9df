//! The Redis client: connections to one server, to the master that sentinels name, or to a cluster; batches of commands, scripts,
//! answers, the subscription, and the inspection of servers and keys.
//!
//! **Invariant:** this crate knows no key, no market and no chain: the stores above it build the names. Of the workspace it
//! imports `errors` and `retry` alone. It reconnects only on a call for a session or a subscription, and draws no conclusions from
//! answers.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod answers;
mod batch;
mod connect;
mod error;
mod events;
mod frames;
mod inspect;
mod key_family;
mod kind;
pub mod operations;
mod reply;
mod rights;
mod script;

pub use answers::{ANSWERS, Answer, Consequence, UNKNOWN, answer_of, consequence_of, kind_of};
pub use batch::Batch;
pub use connect::{
    PoolStatus, Protocol, RedisSettings, SentinelView, Servers, Session, Spoken, Store, Subscriber,
};
pub use error::StoreError;
pub use errors::Operation;
pub use events::EventStream;
pub use inspect::{Inspector, KeyFacts, KeyRequest, ServerClock, ServerFacts};
pub use key_family::{Age, Family, FamilyTable, KeyType, Removal, Retention, Ttl, Writer};
pub use kind::ErrorKind;
pub use reply::{Fault, Replies};
pub use rights::{
    Denied, MissingRight, Need, PROBE_ARGUMENT, changes_keys, covers, escape_pattern, may_run,
    missing_rights, server_version,
};
pub use script::Lua;
