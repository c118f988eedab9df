//! The keys of an issuer, read from a file or a URL, kept, and read again when a token names one that is not among them.
//!
//! A reading has a task of its own: who presents an unknown key and leaves would else end it, and nobody could read for a minute.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use http_client::{HttpClient, HttpTarget, StatusCode};
use supervision::Clock;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    error::{KeysError, TokenError},
    jwks::KeySet,
    token::Token,
};

/// The largest set, in bytes.
const LARGEST: usize = 64 << 10;
/// How long a request may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The least time between two readings, whatever tokens come.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// The same while no keys are known at all.
const AT_MOST_EVERY_WITHOUT_KEYS: Duration = Duration::from_secs(5);
/// When keys are read again without a reason: an issuer may have withdrawn one.
const FRESH_FOR: Duration = Duration::from_secs(600);

/// Where the keys are.
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// A URL.
    Url(Box<(HttpTarget, HttpClient)>),
}

/// The keys of a place.
pub(crate) struct Published(Arc<Kept>);

struct Kept {
    place: Place,
    clock: Clock,
    known: RwLock<Option<Known>>,
    /// When a reading began last. Its lock is held while one goes on, so that there is one at a time.
    tried: Arc<Mutex<Option<Instant>>>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    read: Instant,
}

impl Published {
    pub(crate) fn new(place: Place, clock: Clock) -> Self {
        Self(Arc::new(Kept { place, clock, known: RwLock::default(), tried: Arc::default() }))
    }

    /// Checks the signature of a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) async fn check(&self, token: &Token<'_>) -> Result<(), TokenError> {
        let known = self.0.known();
        let is_fresh = |known: &Known| self.0.clock.now().saturating_duration_since(known.read) < FRESH_FOR;
        match &known {
            Some(fresh) if is_fresh(fresh) => match fresh.keys.check(token) {
                // The issuer may have begun to use a new key.
                Err(TokenError::UnknownKey) => {}
                other => return other,
            },
            // While another call reads them again, nobody who has a known key waits for that.
            Some(old) if self.0.tried.try_lock().is_err() && old.keys.check(token).is_ok() => return Ok(()),
            Some(_) | None => {}
        }
        match (self.read_again(known.as_ref().map(|known| known.read)).await, known) {
            (Ok(keys), _) => keys.check(token),
            // Old keys are better than none: the place may be away for a while.
            (Err(_), Some(known)) => known.keys.check(token),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Reads the keys, unless another call has done so since `seen`, or the last attempt is too recent.
    async fn read_again(&self, seen: Option<Instant>) -> Result<Arc<KeySet>, KeysError> {
        let tried = self.0.tried.clone().lock_owned().await;
        if let Some(outcome) = self.0.without_reading(seen, *tried) {
            return outcome;
        }
        // It ends by its limit of time, and the lock lets one run at a time.
        let reading = tokio::spawn(Arc::clone(&self.0).read(tried));
        reading.await.map_err(|error| KeysError::File(io::Error::other(error)))?
    }
}

impl Kept {
    fn known(&self) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is answered without a reading, if that is so.
    fn without_reading(
        &self,
        seen: Option<Instant>,
        tried: Option<Instant>,
    ) -> Option<Result<Arc<KeySet>, KeysError>> {
        let known = self.known();
        if let Some(newer) = known.as_ref().filter(|known| Some(known.read) != seen) {
            return Some(Ok(newer.keys.clone()));
        }
        let pause = if known.is_some() { AT_MOST_EVERY } else { AT_MOST_EVERY_WITHOUT_KEYS };
        let is_recent = tried.is_some_and(|tried| self.clock.now().saturating_duration_since(tried) < pause);
        is_recent.then_some(Err(KeysError::Pausing))
    }

    async fn read(
        self: Arc<Self>,
        mut tried: OwnedMutexGuard<Option<Instant>>,
    ) -> Result<Arc<KeySet>, KeysError> {
        *tried = Some(self.clock.now());
        let text = self.clock.timeout(WITHIN, self.place.read()).await.ok_or(KeysError::Late)??;
        let keys = Arc::new(KeySet::parse(&text)?);
        let read = Known { keys: keys.clone(), read: self.clock.now() };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(read);
        Ok(keys)
    }
}

impl Place {
    async fn read(&self) -> Result<Vec<u8>, KeysError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                // A file system that hangs holds a thread, and one at a time.
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(|error| KeysError::File(io::Error::other(error)))?
            }
            Self::Url(site) => {
                let (target, client) = &**site;
                let answer = client.get(target, LARGEST).await?;
                match answer.status {
                    StatusCode::OK => Ok(answer.body.to_vec()),
                    status => Err(KeysError::Status(status.as_u16())),
                }
            }
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, KeysError> {
    // Checked before it is opened: to open a pipe without a writer blocks for ever.
    let metadata = fs::metadata(path).map_err(KeysError::File)?;
    if !metadata.is_file() || metadata.len() > LARGEST as u64 {
        return Err(KeysError::NoFile(LARGEST as u64));
    }
    fs::read(path).map_err(KeysError::File)
}
