//! The gateway as a whole: what it is made of, and the one future that runs it.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use access_tokens::Verifier;
use ports::Tls;
use serde_json::json;
use socket_io::{Message, Pages, Server};
use supervision::Clock;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    answers::Refused,
    campaign::CampaignId,
    client::{Client, Link},
    counts::{Counters, Counts, count},
    encode::{NAMESPACE, time},
    expiry::{Due, Stage, due},
    feed::{Feed, FeedState, follow},
    namespace::Namespace,
    settings::Settings,
    shared::{Replay, Shared},
    sources::{Campaigns, EventLog},
    users::{UserLimits, Users},
    vocabulary::AUTH_EXPIRED,
};

/// The time between two looks at all clients.
const ROUND: Duration = Duration::from_secs(1);
/// The secrets of one call.
const KEPT_AT_ONCE: usize = 1_000;

/// The gateway. It may run several times, one after the other, such as after a crash; its counts continue.
pub struct Gateway<C: Campaigns, L: EventLog> {
    campaigns: Arc<C>,
    log: Arc<L>,
    verifier: Arc<Verifier>,
    settings: Arc<Settings>,
    clock: Clock,
    counters: Arc<Counters>,
    users: Arc<Users>,
    feed: Feed,
    /// The run at the moment.
    running: Mutex<Weak<Run<C, L>>>,
}

/// Why a user may not know of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The token is missing, wrong or over.
    #[error("{}", Refused::Expired.text())]
    Token,
    /// There is no such campaign, or another user owns it: a stranger does not learn which.
    #[error("{}", Refused::Access.text())]
    Access,
    /// The user asks too often, and may ask again after this time.
    #[error("{}", Refused::Rate(0).text())]
    Rate(Duration),
    /// The keys of tokens, or the owner of the campaign, can't be found out now.
    #[error("The token or the owner of the campaign can't be checked now")]
    Unavailable,
}

/// One run, with its clients.
struct Run<C: Campaigns, L: EventLog> {
    shared: Arc<Shared<C, L>>,
    server: Arc<Server<Namespace<C, L>>>,
}

impl<C: Campaigns, L: EventLog> Gateway<C, L> {
    /// A gateway that asks these sources. It sets up without connecting.
    #[must_use]
    pub fn new(campaigns: C, log: L, verifier: Verifier, settings: Settings, clock: Clock) -> Arc<Self> {
        let limits = UserLimits {
            connections: settings.connections_per_user,
            connects_per_second: settings.connects_per_second,
            requests_per_second: settings.requests_per_second,
        };
        Arc::new(Self {
            campaigns: Arc::new(campaigns),
            log: Arc::new(log),
            verifier: Arc::new(verifier),
            settings: Arc::new(settings),
            clock,
            counters: Arc::default(),
            users: Users::new(limits),
            feed: Feed::new(),
            running: Mutex::default(),
        })
    }

    /// Serves clients until `stop`; `pages` answer what is not the feed. It never fails: what a source refuses is asked for again. Dropping
    /// the future ends all connections.
    pub async fn serve<P: Pages>(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
        pages: P,
        stop: CancellationToken,
    ) {
        let (shared, replays) = Shared::new(
            self.campaigns.clone(),
            self.log.clone(),
            self.verifier.clone(),
            self.settings.clone(),
            self.clock.clone(),
            self.counters.clone(),
            self.users.clone(),
        );
        let settings = self.settings.connections.clone();
        let server = Server::new(Namespace(shared.clone()), settings, self.counters.connections.clone());
        let run = Arc::new(Run { shared, server });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&run);
        self.feed.set(FeedState::Starting);
        let served = socket_io::serve(run.server.clone(), listener, tls, Arc::new(pages), stop);
        tokio::select! {
            () = served => {}
            () = follow(&run.shared, &self.feed, || run.server.end_all()) => {}
            () = run.rounds() => {}
            () = run_all(replays) => {}
        }
    }

    /// Checks that the user of this token may know of a campaign, as a join does, and takes one of the requests that the user may make.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn authorise(&self, token: &str, campaign: CampaignId) -> Result<(), Denied> {
        let identity = self.verifier.verify(token).await.map_err(|error| match error.is_temporary() {
            true => Denied::Unavailable,
            false => Denied::Token,
        })?;
        if let Err(after) = self.users.ask(&identity.user, self.clock.now()) {
            count(&self.counters.requests_limited);
            return Err(Denied::Rate(after));
        }
        let owner = self.clock.timeout(self.settings.source_timeout, self.campaigns.owner_of(campaign)).await;
        match owner {
            Some(Ok(Some(owner))) if *owner == *identity.user => Ok(()),
            Some(Ok(_)) => Err(Denied::Access),
            Some(Err(_)) | None => {
                count(&self.counters.source_errors);
                Err(Denied::Unavailable)
            }
        }
    }

    /// What happened so far, and what there is at the moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counts = self.counters.snapshot();
        let run = self.running.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(run) = run else { return counts };
        Counts {
            clients: run.server.sessions() as u64,
            rooms: run.shared.rooms.len() as u64,
            users: self.users.connected() as u64,
            position: run.shared.rooms.position().unwrap_or_default(),
            ..counts
        }
    }

    /// Whether it follows the log.
    #[must_use]
    pub fn feed_state(&self) -> FeedState {
        self.feed.state()
    }

    /// The log that it follows.
    #[must_use]
    pub fn log(&self) -> &Arc<L> {
        &self.log
    }
}

impl<C: Campaigns, L: EventLog> Run<C, L> {
    /// Looks at all clients again and again: at the ends of their tokens, and at what is kept of them.
    async fn rounds(&self) {
        loop {
            self.shared.clock.sleep(ROUND).await;
            self.shared.users.forget(self.shared.clock.now());
            let due = self.look();
            let settings = &self.shared.settings;
            self.keep(due, settings.session_life()).await;
            self.keep(self.shared.take_left(), settings.recovered_within).await;
        }
    }

    /// Does what is due for the tokens of all clients; returns the secrets under which something must be kept further.
    fn look(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        let (now, renew) = (self.shared.clock.now(), self.shared.settings.renew_after());
        for link in self.server.connections() {
            let Some(client) = link.client() else { continue };
            self.expire(&link, client);
            let mut state = client.state();
            if state.is_saved && now.saturating_duration_since(state.kept) >= renew {
                state.kept = now;
                secrets.push(client.secret.clone());
            }
        }
        secrets
    }

    fn expire(&self, link: &Link, client: &Client) {
        let (now, notice) = (self.shared.clock.unix(), self.shared.settings.expiry_notice);
        let mut state = client.state();
        let Some(due) = due(state.stage, state.expires, notice, now) else { return };
        let expires = state.expires;
        match due {
            Due::Warning => {
                state.stage = Stage::Warned;
                drop(state);
                // Also to a client that still gets what it missed.
                link.send_first(expired(expires, now, false));
            }
            Due::End => {
                state.stage = Stage::Expired;
                let rooms = std::mem::take(&mut state.rooms);
                drop(state);
                count(&self.shared.counters.expired);
                self.shared.rooms.leave(rooms.into_keys(), link);
                // After that nothing more is held for it, so that its replay can drop what is.
                client.state().has_lost_rooms = true;
                link.send_first(expired(expires, now, true));
            }
            Due::Dismissal => {
                drop(state);
                link.dismiss(NAMESPACE);
            }
        }
    }

    /// Lets what is kept under these secrets live so long from now on. What fails lives as long as before.
    async fn keep(&self, secrets: Vec<String>, life: Duration) {
        for some in secrets.chunks(KEPT_AT_ONCE) {
            let kept = self.shared.log.keep_sessions(some, life);
            // It is logged and counted.
            let _ = self.shared.ask("keep what is known of clients", kept).await;
        }
    }
}

/// Runs replays, for ever. They end with it.
async fn run_all(mut replays: mpsc::Receiver<Replay>) {
    let mut running = JoinSet::new();
    while let Some(replay) = replays.recv().await {
        running.spawn(replay);
        // A JoinSet keeps the results of ended tasks until they are joined.
        while running.try_join_next().is_some() {}
    }
}

/// The event about the end of a token.
fn expired(expires: Duration, now: Duration, is_over: bool) -> Message {
    let at = |unix: Duration| time(SystemTime::UNIX_EPOCH + unix);
    let message = match is_over {
        true => {
            "The token has expired: the campaigns are left. Send auth:refresh with a new token, and join again"
        }
        false => "The token expires soon. Send auth:refresh with a new token",
    };
    let payload =
        json!({ "expired": is_over, "expiresAt": at(expires), "timestamp": at(now), "message": message });
    Message::event(NAMESPACE, AUTH_EXPIRED.name, &payload.to_string(), None)
}
