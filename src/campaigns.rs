//! What the port of campaigns answers beside Socket.IO: health, history, and the service's order to send a status again.
//!
//! It touches the actors' view of campaigns alone: no Redis, no database, no configuration.

mod answers;
mod history;
mod pages;
mod requests;
mod routes;

pub use pages::{CampaignPages, PagesSettings};
pub use routes::{CampaignEndpoint, ENDPOINTS};
