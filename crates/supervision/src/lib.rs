//! Supervised actors whose mailboxes outlive them, over [`ractor`].
//!
//! `ractor` provides actors, links and supervision events; its mailboxes are unbounded and die with the actor.
//! This crate adds what a service needs that must not lose a message or count one twice:
//!
//! - [`Mailbox`]: bounded in messages and bytes. Messages are leased and settled (acknowledged), return to the front when
//!   their actor dies, and become dead letters when their attempts are used up. Each edge into a mailbox is declared with its
//!   sender; a tree whose waiting edges form a cycle does not start.
//! - [`Child`] and [`Tree`]: supervision, one for one or rest for one, with a restart limit, jittered backoff, ordered start,
//!   reverse stop within deadlines, and a `degraded` state with slow retries beyond the restart limit.
//! - A progress watch: stalled actors are replaced; idle, waiting and slow ones are not.
//! - [`ActorHealth`]: one health record for each actor, over all its incarnations, with its last crash.
//! - [`Budget`]: deadlines that a nested step can't exceed. [`fail`]: failure points. [`Clock`]: time that tests control.
//!
//! It does not know what the actors do. It touches only memory, tasks, and one thread for each tree.
//!
//! **Invariant:** no market, block, Redis or setting is known here, and nothing is global but the panic hook: several trees
//! live in one process.
//!
//! ```
//! use std::time::Duration;
//! use supervision::{Actor, Child, Clock, Context, Failure, Limits, Mailbox, Message, Overflow, Tree, TreeOptions};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Greeting(String);
//! impl Message for Greeting {}
//!
//! struct Greeter;
//! impl Actor for Greeter {
//!     type Message = Greeting;
//!     async fn run(&mut self, cx: &mut Context<Greeting>) -> Result<(), Failure> {
//!         while let Some(greeting) = cx.recv().await {
//!             println!("hello {}", greeting.0);
//!             greeting.settle();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Failure> {
//! let mailbox = Mailbox::new("greeter", Limits::default(), &Clock::system());
//! let greeter = mailbox.address("main", Overflow::Wait);
//! let tree = Tree::start(vec![Child::actor("greeter", &mailbox, || Greeter)], TreeOptions::default()).await?;
//! greeter.send(Greeting("world".to_owned())).await.map_err(|error| error.to_string())?;
//! let report = tree.stop(Duration::from_secs(5)).await;
//! assert_eq!((mailbox.stats().handled, report.left_behind), (1, 0));
//! # Ok(()) }
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)] // Both macros panic when the pipe is closed.

mod actor;
mod budget;
mod child;
mod clock;
mod crash;
mod edges;
pub mod fail;
mod health;
mod mailbox;
mod policy;
mod progress;
mod reports;
mod seat;
mod supervisor;
mod text;
mod tree;
mod watch;

pub use actor::{Actor, Context, Handle};
pub use budget::{Budget, DeadlineExceeded};
pub use child::Child;
pub use clock::Clock;
pub use edges::{Edge, WaitingCycle};
pub use health::{ActorHealth, Crash, ExitKind, State};
pub use mailbox::{
    Address, Batch, DeadLetter, Inbox, Lease, Limits, Mailbox, MailboxStats, Message, NoMessage, Overflow,
    SendError, Sent,
};
pub use policy::{Backoff, Intensity, Policy, Restart};
pub use progress::Activity;
pub use reports::{BadDescription, ChangeError, Outcome, Removed, StartError, StopReport};
pub use tree::{Tree, TreeOptions};
pub use watch::{OnWedged, WatchSettings};

/// The error with which an actor ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
