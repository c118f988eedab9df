//! Polls a Stratum V2 application (pool, job declarator client, translator proxy) over HTTP: all pages of all its lists make one picture.
//!
//! No answer is believed: how many pages there are is what arrives, and not what is announced; requests, entries, bytes and times have
//! limits ([`Limits`]). A list that changes while it is read is read again, three times at most, and then taken as it is and marked so.
//! Redirects are not followed, and a certificate is always verified.
//!
//! **Invariant:** this crate keeps nothing between two polls but open connections, repeats no poll, and no error shows a URL or a text of
//! the application.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod budget;
mod entry;
mod error;
mod limits;
mod listing;
mod pages;

use std::{collections::BTreeMap, fmt};

use futures_util::{StreamExt, TryStreamExt, stream};
use http_client::{Answer, BaseUrl, HttpClient, HttpError, HttpTarget, StatusCode};
pub use http_client::{BadUrl, Trust, TrustError};
use peer_snapshots::{
    Unreadable,
    polled::{
        ChannelsPage, Client, ClientInfo, ClientsPage, Global, Polled, ServerChannelsPage, Sv1ClientsPage,
    },
};
use url::Url;

use budget::Budget;
pub use error::{PollError, PollFault};
pub use limits::Limits;
use listing::{Listing, Next};
use pages::{LIMIT, Page, Path};

/// How often a list is read that changes meanwhile.
const READINGS: usize = 3;

/// An application that is polled.
pub struct SriClient {
    client: HttpClient,
    base: BaseUrl,
    limits: Limits,
}

// Not derived: the URL is not shown.
impl fmt::Debug for SriClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SriClient").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl SriClient {
    /// The application at this URL, before `/api/v1`.
    ///
    /// # Errors
    /// [`BadUrl`], which does not show the URL.
    pub fn new(url: &Url, trust: Trust, limits: Limits) -> Result<Self, BadUrl> {
        // Each request has a query of its own, or none.
        let mut url = url.clone();
        url.set_query(None);
        Ok(Self { client: HttpClient::new(trust), base: BaseUrl::new(&url)?, limits })
    }

    /// Asks for everything, once. The caller limits the time of the whole.
    ///
    /// # Errors
    /// [`PollError`] with what was asked for and why there is no picture.
    pub async fn poll(&self) -> Result<Polled, PollError> {
        let poll = Poll { sri: self, budget: Budget::new(&self.limits) };
        let before = poll.global().await?;
        let mut polled = Polled { uptime_secs: before.uptime_secs, ..Polled::default() };
        if before.sv2_clients.is_some() {
            polled.clients = poll.clients(&mut polled.is_uncertain).await?;
        }
        if before.sv1_clients.is_some() {
            let read = poll.list(Path::Sv1Clients, Sv1ClientsPage::read).await?;
            polled.sv1_clients = read.map(|listing| listing.into_items(&mut polled.is_uncertain));
        }
        if before.server.is_some() {
            let read = poll.list(Path::ServerChannels, ServerChannelsPage::read).await?;
            polled.server_channels = read.map(|listing| listing.into_items(&mut polled.is_uncertain));
        }
        // Ids are used again after a restart: the lists of two lives make no picture.
        if poll.global().await?.uptime_secs < before.uptime_secs {
            return Err(PollError::Restarted);
        }
        Ok(polled)
    }

    fn target(&self, path: Path, offset: usize) -> Result<HttpTarget, HttpError> {
        let query = path.is_list().then(|| format!("offset={offset}&limit={LIMIT}"));
        self.base.at(path.path().trim_start_matches('/'), query.as_deref())
    }
}

/// One poll.
struct Poll<'a> {
    sri: &'a SriClient,
    budget: Budget,
}

impl Poll<'_> {
    /// One request; `None` if there is no such thing (404).
    async fn ask(&self, path: Path, offset: usize) -> Result<Option<Answer>, PollError> {
        let (sri, within) = (self.sri, self.sri.limits.request);
        self.budget.request()?;
        let no_answer = |cause| PollError::NoAnswer { path: path.shown(), cause };
        let target = sri.target(path, offset).map_err(no_answer)?;
        let answer = tokio::time::timeout(within, sri.client.get(&target, sri.limits.answer)).await;
        let answer =
            answer.map_err(|_| PollError::Late { path: path.shown(), within })?.map_err(no_answer)?;
        self.budget.bytes(answer.body.len())?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(PollError::Status { path: path.shown(), status: status.as_u16() }),
        }
    }

    async fn global(&self) -> Result<Global, PollError> {
        let status = StatusCode::NOT_FOUND.as_u16();
        let missing = PollError::Status { path: Path::Global.shown(), status };
        let answer = self.ask(Path::Global, 0).await?.ok_or(missing)?;
        Global::read(&answer.body)
            .map_err(|cause| PollError::Unreadable { path: Path::Global.shown(), cause })
    }

    /// A list, as a whole; `None` if it is not there.
    async fn list<P: Page>(
        &self,
        path: Path,
        read: fn(&[u8]) -> Result<P, Unreadable>,
    ) -> Result<Option<Listing<P::Item>>, PollError> {
        let mut readings = 1;
        loop {
            let Some(listing) = self.reading(path, read).await? else { return Ok(None) };
            if !listing.has_changed() || readings == READINGS {
                self.budget.items(listing.len())?;
                return Ok(Some(listing));
            }
            readings += 1;
        }
    }

    /// A list, read once.
    async fn reading<P: Page>(
        &self,
        path: Path,
        read: fn(&[u8]) -> Result<P, Unreadable>,
    ) -> Result<Option<Listing<P::Item>>, PollError> {
        let mut listing = Listing::default();
        let mut offset = 0;
        loop {
            let Some(answer) = self.ask(path, offset).await? else {
                // One that ends while it is read has ended.
                return Ok(None);
            };
            let page =
                read(&answer.body).map_err(|cause| PollError::Unreadable { path: path.shown(), cause })?;
            if let Some(field) = page.is_not(path, offset) {
                return Err(PollError::Other { path: path.shown(), field });
            }
            let next = listing.take(page);
            if listing.len() > self.sri.limits.items {
                return Err(PollError::TooMany { what: "entries", most: self.sri.limits.items });
            }
            match next {
                Next::Page(at) => offset = at,
                Next::End => return Ok(Some(listing)),
            }
        }
    }

    /// The clients with their channels.
    async fn clients(&self, is_uncertain: &mut bool) -> Result<Option<Vec<Client>>, PollError> {
        let Some(listing) = self.list(Path::Clients, ClientsPage::read).await? else { return Ok(None) };
        let infos = listing.into_items(is_uncertain);
        let limits = &self.sri.limits;
        let has_channels = |info: &ClientInfo| {
            [info.extended_channels_count, info.standard_channels_count].iter().any(|count| *count != Some(0))
        };
        let wanted: Vec<u32> =
            infos.iter().filter(|info| has_channels(info)).map(|info| info.client_id).collect();
        *is_uncertain |= wanted.len() > limits.clients;
        let asked = wanted.into_iter().take(limits.clients).map(async |id| {
            let path = Path::ClientChannels(id);
            self.list(path, ChannelsPage::read).await.map(|listing| (id, listing))
        });
        let read: Vec<_> = stream::iter(asked).buffer_unordered(limits.at_once.max(1)).try_collect().await?;
        let mut channels: BTreeMap<u32, _> = read.into_iter().collect();
        let client = |info: ClientInfo| {
            let channels = match channels.remove(&info.client_id) {
                // It has left since the list was read.
                Some(None) => return None,
                Some(Some(listing)) => listing.into_items(is_uncertain),
                None => Vec::new(),
            };
            Some(Client { info, channels })
        };
        Ok(Some(infos.into_iter().filter_map(client).collect()))
    }
}
