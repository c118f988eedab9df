//! What the parts of the gateway share, and how they ask its sources: each question has a time limit and is counted when it fails.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use access_tokens::Verifier;
use errors::sanitise;
use supervision::Clock;
use tokio::sync::mpsc;

use crate::{
    counts::{Counters, count},
    rooms::Rooms,
    settings::Settings,
    sources::SourceError,
    users::Users,
};

/// The least time between two lines about questions that failed.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// The most secrets of clients that left whose time is not set yet. What is forgotten lives a little longer.
const MOST_LEFT: usize = 10_000;

/// The replays that wait to be run: no call waits long, since each is taken at once.
const WAITING_REPLAYS: usize = 1_024;

/// What sends a client that came back what it missed.
pub(crate) type Replay = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the parts of a running gateway share.
pub(crate) struct Shared<C, L> {
    pub(crate) campaigns: Arc<C>,
    pub(crate) log: Arc<L>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) users: Arc<Users>,
    pub(crate) rooms: Rooms,
    /// Where replays go that are to be run.
    replays: mpsc::Sender<Replay>,
    /// The secrets of clients that left.
    left: Mutex<Vec<String>>,
    logged: Mutex<Option<Instant>>,
}

/// A question took too long.
#[derive(Debug, thiserror::Error)]
#[error("no answer came in time")]
struct Late;

impl<C, L> Shared<C, L> {
    pub(crate) fn new(
        campaigns: Arc<C>,
        log: Arc<L>,
        verifier: Arc<Verifier>,
        settings: Arc<Settings>,
        clock: Clock,
        counters: Arc<Counters>,
        users: Arc<Users>,
    ) -> (Arc<Self>, mpsc::Receiver<Replay>) {
        let (replays, waiting) = mpsc::channel(WAITING_REPLAYS);
        let shared = Arc::new(Self {
            campaigns,
            log,
            verifier,
            settings,
            clock,
            counters,
            users,
            rooms: Rooms::new(),
            replays,
            left: Mutex::default(),
            logged: Mutex::default(),
        });
        (shared, waiting)
    }

    /// Lets a replay run beside what the client asks for meanwhile: within its request, a client of long polling that changes its transport
    /// would wait for the answer, and the replay for the client.
    pub(crate) async fn run(&self, replay: impl Future<Output = ()> + Send + 'static) {
        // Where the gateway ends, its connections do.
        let _ = self.replays.send(Box::pin(replay)).await;
    }

    /// Asks a source.
    ///
    /// # Errors
    /// The source's, or that it took too long.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        question: impl Future<Output = Result<T, SourceError>> + Send,
    ) -> Result<T, SourceError> {
        let answer = self.clock.timeout(self.settings.source_timeout, question).await;
        let answer = answer.unwrap_or_else(|| Err(Late.into()));
        if let Err(error) = &answer {
            self.note(what, error);
        }
        answer
    }

    /// Counts a failure, and logs one a minute.
    pub(crate) fn note(&self, what: &str, error: &SourceError) {
        count(&self.counters.source_errors);
        let now = self.clock.now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|at| now.saturating_duration_since(at) >= LINE_EVERY) {
            *logged = Some(now);
            tracing::warn!("the campaign gateway could not {what}: {}", sanitise(error));
        }
    }

    /// Notes that a client left: what is kept of it is given its last time soon.
    pub(crate) fn note_left(&self, secret: String) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() < MOST_LEFT {
            left.push(secret);
        }
    }

    /// Takes the secrets of those that left.
    pub(crate) fn take_left(&self) -> Vec<String> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
