//! Ways to Redis: one server, the master that sentinels name, or a cluster; batches of commands, scripts, answers, the
//! subscription, and looks at servers and keys.
//!
//! **Invariant:** it knows no key, no market and no chain: the names come from the stores above it. Of the workspace it
//! imports `errors` alone. It reconnects only when it is asked for a session or a subscription, and decides nothing from answers.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod batch;
mod connect;
mod error;
mod events;
mod inspect;
mod key_family;
pub mod operations;
mod reply;
mod rights;
mod script;

pub use batch::Batch;
pub use connect::{PoolStatus, RedisSettings, SentinelView, Servers, Session, Store, Subscriber};
pub use error::{ErrorKind, StoreError, kind_of};
pub use errors::Operation;
pub use events::EventStream;
pub use inspect::{Inspector, KeyFacts, ServerClock, ServerFacts, Wanted};
pub use key_family::{Age, Family, FamilyTable, KeyType, Removal, Retention, Ttl, Writer};
pub use reply::{Fault, Replies};
pub use rights::{Access, Denied, NOBODY, Need, Refusal, literal, refused};
pub use script::Lua;
