//! What the gateway needs from outside: whose a campaign is, and the log of events.

use std::time::Duration;

use crate::{
    campaign::CampaignId,
    event::{Event, EventId, Page, SavedSession, Since},
};

/// Why a source gave no answer. It is logged, and the client gets a text that says nothing of it.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The campaigns.
pub trait Campaigns: Send + Sync + 'static {
    /// The user that owns a campaign; `None` where there is no such campaign.
    fn owner_of(
        &self,
        campaign: CampaignId,
    ) -> impl Future<Output = Result<Option<String>, SourceError>> + Send;

    /// The latest [`EventKind::Status`](crate::EventKind::Status) of a campaign, with the id under which it stands in the log; `None` while
    /// there is none.
    fn latest_status(
        &self,
        campaign: CampaignId,
    ) -> impl Future<Output = Result<Option<Event>, SourceError>> + Send;
}

/// The log of the events of all campaigns, and what is kept beside it of clients that may come back.
///
/// Once a call has returned an event, each event with a smaller id can be read.
pub trait EventLog: Send + Sync + 'static {
    /// The id of the newest event; 0 of an empty log.
    fn newest(&self) -> impl Future<Output = Result<EventId, SourceError>> + Send;

    /// Events of all campaigns after this one, at most `limit`. Waits up to `wait` for the first, then returns none.
    fn feed(
        &self,
        after: EventId,
        limit: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Page, SourceError>> + Send;

    /// Events of a campaign after one and up to another: the oldest ones, at most `limit`.
    fn between(
        &self,
        campaign: CampaignId,
        after: EventId,
        upto: EventId,
        limit: usize,
    ) -> impl Future<Output = Result<Page, SourceError>> + Send;

    /// The newest events of a campaign since then, at most `limit`. The page is truncated also where the limit cut off older ones.
    fn missed(
        &self,
        campaign: CampaignId,
        since: Since,
        limit: usize,
    ) -> impl Future<Output = Result<Page, SourceError>> + Send;

    /// Keeps what a client finds again under this secret, for so long.
    fn save_session(
        &self,
        secret: &str,
        session: SavedSession,
        life: Duration,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// What is kept under this secret. It stays: a connection that breaks again at once must find it again.
    fn session(&self, secret: &str)
    -> impl Future<Output = Result<Option<SavedSession>, SourceError>> + Send;

    /// Keeps these for so long from now on; unknown ones are skipped.
    fn keep_sessions(
        &self,
        secrets: &[String],
        life: Duration,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;
}
