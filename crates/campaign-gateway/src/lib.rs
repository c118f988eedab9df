//! The live feed of campaigns: a Socket.IO namespace in which the owner of a campaign gets each change of its status, once and in order.
//!
//! All events of all campaigns are one log, in which each has a number that only grows. The gateway follows the log and sends each event to
//! the room of its campaign, with the number as `eventId` and as the protocol's offset. So a client that comes back says how far it was, and
//! gets what followed, from whichever replica it reaches: first from the log up to the gateway's own position, then live from there on.
//! Neither part can overlap the other, and nothing lies between them.
//!
//! - [`Campaigns`] and [`EventLog`] are what it needs from outside.
//! - [`Gateway`] is the whole: make one, and let [`Gateway::serve`] run.
//!
//! **Invariant:** it writes no event, asks no database but through [`Campaigns`], and gives a client nothing of a campaign that the user of
//! its token does not own.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod answers;
mod campaign;
mod client;
mod counts;
mod encode;
mod event;
mod expiry;
mod feed;
mod gateway;
mod handlers;
mod namespace;
mod recovery;
mod replay;
mod rooms;
mod settings;
mod shared;
mod sources;
mod users;
mod vocabulary;

pub use campaign::{BadCampaignId, CampaignId};
pub use counts::Counts;
pub use event::{Event, EventId, EventKind, Page, SavedSession, Since};
pub use feed::FeedState;
pub use gateway::{Denied, Gateway};
pub use settings::Settings;
pub use socket_io::{Bytes, Method, Origins, Pages, Parts, Peer, Response, StatusCode, header};
pub use sources::{Campaigns, EventLog, SourceError};
pub use vocabulary::{Request, ServerEvent, server_events};
