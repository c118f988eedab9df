//! Bounded mailboxes that outlive the incarnations of the actor that reads them.
//!
//! A [`Mailbox`] is created before its actor, which owns it as a part of its [`Child`](crate::Child). Senders hold an
//! [`Address`] of it. Each incarnation of the actor borrows its [`Inbox`], takes messages as [`Lease`]s, and acknowledges each
//! one when its effect is committed. The messages in flight of a dead incarnation return to the front, in order. The message
//! that it was handling has an attempt charged where the actor itself failed, and becomes a dead letter after `max_attempts`. If
//! it was handling several as a batch, the next incarnation gets these one by one.
//!
//! Promises, for every mailbox at every moment:
//! - `accepted = handled + waiting + in_flight + coalesced + dead_lettered + dropped`;
//! - at most `capacity` messages and `bytes` bytes wait, and at most `batch` messages are in flight. Only what
//!   a dead incarnation returns may exceed the first bounds, by at most `batch` messages, and what one merge adds
//!   the second;
//! - messages of one sender are leased in the order in which they were accepted, redelivered ones included;
//! - a message that does not fit waits, is refused, or takes the room of older ones as its edge declares: [`Overflow`].
//!   Whatever other edges do, what an edge that waits has handed over is never dropped, and room goes to the senders that wait
//!   for it in the order in which they came, and then to others. (A sender whose room is kept may use it after another one has
//!   found more room: between senders no order of messages is promised.)

mod address;
mod ask;
mod entry;
mod inbox;
mod lease;
mod letters;
mod message;
mod overflow;
mod owner;
mod queue;
mod sending;
mod shared;

pub use address::Address;
pub use ask::{AskError, Reply};
pub use inbox::Inbox;
pub(crate) use inbox::Reader;
pub use lease::{Batch, Lease};
pub use letters::DeadLetter;
pub(crate) use message::NoMessage;
pub use message::{Limits, MailboxStats, Message};
pub use overflow::{Overflow, SendError, Sent};
pub use owner::{Mailbox, MailboxView};
pub(crate) use shared::AnyMailbox;
