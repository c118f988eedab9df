//! Supervised actors whose mailboxes outlive them, over [`ractor`].
//!
//! `ractor` gives actors, links and supervision events; its mailboxes are unbounded and die with the actor.
//! This crate adds what a service needs that must lose nothing and count nothing twice:
//!
//! - [`Mailbox`]: bounded in messages and bytes; messages are leased and settled, go back to the front when
//!   their holder dies, and become dead letters after their attempts. Each edge into one is declared with its sender;
//!   edges that wait form no cycle, or the tree does not start.
//! - [`Child`] and [`Tree`]: supervision, one for one or rest for one, with restart intensity, jittered backoff, ordered start,
//!   reverse stop within deadlines, and a `degraded` state with slow retries beyond the intensity.
//! - A watch on progress: hung actors are replaced; idle, waiting and slow ones are not.
//! - [`ActorHealth`]: one record an actor over all its incarnations, with its last crashes.
//! - [`Budget`]: deadlines that a child can't exceed. [`fail`]: failure points. [`Clock`]: time that tests drive.
//!
//! It knows nothing of what the actors do, and touches nothing but memory, tasks and one thread a tree.
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

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

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

pub use actor::{Actor, Context};
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

/// Why an actor's code could not go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
