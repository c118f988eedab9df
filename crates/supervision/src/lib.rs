//! Supervised actors whose mailboxes outlive them, over [`ractor`].
//!
//! `ractor` provides actors, links and supervision events; its mailboxes are unbounded and die with the actor.
//! This crate adds what a service needs that must not lose a message or count one twice:
//!
//! - [`Mailbox`]: bounded in messages and bytes. Messages are leased and acknowledged, return to the front when
//!   their actor dies, and become dead letters when their attempts are used up. Each edge into a mailbox is declared with its
//!   sender; a tree whose waiting edges form a cycle does not start.
//! - [`Child`] and [`Tree`]: supervision, one for one, rest for one or one for all, with a restart limit, jittered backoff, ordered
//!   start, reverse stop within deadlines, and beyond the restart limit a `degraded` state with slow retries, or escalation.
//! - [`Context`]: sub-tasks and timers that end with their incarnation. [`Subscription`]: the changes of all actors' states.
//! - A progress watch: stalled actors are replaced; idle, waiting and slow ones are not.
//! - [`ActorHealth`]: one health record for each actor, over all its incarnations, with its last crash.
//! - [`Budget`]: deadlines that a nested step can't exceed. [`fail`]: failure points. [`Clock`]: time that tests control.
//!
//! It does not know what the actors do. It touches only memory, tasks, and one thread for each tree.
//!
//! **Invariant:** no market, block, Redis or setting is known here, and nothing is global but the panic hook and the clocks: several
//! trees live in one process.
//!
//! ```
//! use std::time::Duration;
//! use supervision::{
//!     Actor, Child, Clock, Context, Failure, Inbox, Limits, Mailbox, Message, Overflow, Tree, TreeOptions,
//! };
//!
//! #[derive(serde::Serialize)]
//! struct Greeting(String);
//! impl Message for Greeting {}
//!
//! struct Greeter;
//! impl Actor for Greeter {
//!     type Message = Greeting;
//!     async fn run(&mut self, _: &Context, inbox: &mut Inbox<Greeting>) -> Result<(), Failure> {
//!         while let Some(greeting) = inbox.recv().await {
//!             println!("hello {}", greeting.0);
//!             greeting.ack();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Failure> {
//! let mailbox = Mailbox::new("greeter", Limits::default(), &Clock::system());
//! let (greeter, view) = (mailbox.address("main", Overflow::Wait), mailbox.view());
//! let tree = Tree::start(vec![Child::actor(mailbox, || Greeter)], TreeOptions::default()).await?;
//! greeter.send(Greeting("world".to_owned())).await.map_err(|error| error.to_string())?;
//! let report = tree.stop(Duration::from_secs(5)).await;
//! assert_eq!((view.stats().handled, report.left_behind), (1, 0));
//! # Ok(()) }
//! ```

#![deny(missing_docs)]
#![warn(clippy::print_stdout, clippy::print_stderr)] // Both macros panic when the pipe is closed.

// Five layers, from the bottom to the top: a file uses files of its own layer and of those above it in this list, and no two
// files use each other. A test of the project checks both.

// 1. The ground: time, chance, words. No actor is known here.
mod budget;
mod clock;
mod name;
mod policy;
mod state;
mod sync;
mod text;
mod weak_list;

// 2. What the code of an actor leaves behind while it runs: marks of progress, changes of its state, failure points.
mod changes;
mod current;
mod env;
pub mod fail;
mod progress;

// 3. Messages.
mod edges;
mod mailbox;

// 4. One actor, over all its incarnations. `cell` is the only file that knows `ractor`.
mod actor;
mod cell;
mod context;
mod crash;
mod exit;
mod gate;
mod health;
mod slot;
mod tasks;

// 5. Many of them: what a supervisor decides, does and knows, and the tree that is made of it.
mod alarm;
mod child;
mod group;
mod plan;
mod registry;
mod supervisor;
mod tree;
mod watch;

// Explored by `make loom`.
#[cfg(test)]
#[cfg(kit_loom)]
mod models;

pub use actor::{Actor, Worker};
pub use budget::{Budget, DeadlineExceeded};
pub use changes::{Change, Notice, Subscription, What};
pub use child::{BadDescription, Child};
pub use clock::Clock;
pub use context::Context;
pub use edges::{Edge, WaitingCycle};
pub use exit::{Failure, Unavailable};
pub use health::{ActorHealth, Crash};
pub use mailbox::{
    Address, AskError, Batch, DeadLetter, Inbox, Lease, Limits, Mailbox, MailboxStats, MailboxView, Message,
    Overflow, Reply, SendError, Sent,
};
pub use name::Name;
pub use policy::{Backoff, Intensity, OnLimit, Policy, Restart, Shutdown};
pub use progress::Activity;
pub use state::{ExitKind, State};
pub use tasks::{SpawnError, Task};
pub use tree::{ChangeError, NotStarted, Outcome, Removed, StartError, StopReport, Tree, TreeOptions};
pub use watch::{OnWedged, WatchSettings};

/// The example of the README is compiled and run, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
