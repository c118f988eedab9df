//! Asks a provider about each token, as the front end's own back end does.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http_client::{
    HeaderMap, HttpClient, HttpTarget, StatusCode,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::Deserialize;
use supervision::Clock;
use tokio::sync::Semaphore;

use crate::{
    cache::{Cache, Hash},
    claims::{Identity, unix, user},
    error::{KeysError, TokenError},
    token::{LONGEST, claimed_expiry},
};

/// The largest answer, in bytes.
const LARGEST: usize = 64 << 10;
/// How long a request may take, with the wait for its turn.
const WITHIN: Duration = Duration::from_secs(5);
/// The most requests at a time.
const AT_ONCE: usize = 16;
/// How long the word about a good token holds.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// How long a refusal holds.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How long a token without an expiry of its own may be used before it must be presented again.
const UNKNOWN_EXPIRY: Duration = Duration::from_secs(3_600);

/// A provider.
pub(crate) struct Provider {
    target: HttpTarget,
    headers: HeaderMap,
    client: HttpClient,
    clock: Clock,
    said: Mutex<Cache>,
    turns: Semaphore,
}

/// The user in an answer: at the top, or below `user`.
#[derive(Deserialize)]
struct Said {
    #[serde(default, alias = "sub")]
    id: Option<String>,
    #[serde(default)]
    user: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(alias = "sub")]
    id: String,
}

impl Provider {
    pub(crate) fn new(target: HttpTarget, headers: HeaderMap, client: HttpClient, clock: Clock) -> Self {
        Self { target, headers, client, clock, said: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }

    fn known(&self, hash: Hash) -> Option<Option<Identity>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).get(hash, self.clock.unix())
    }

    /// The user of a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) async fn check(&self, token: &str) -> Result<Identity, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > LONGEST {
            return Err(TokenError::TooLong(LONGEST));
        }
        let hash = Hash::of(token);
        let said = match self.known(hash) {
            Some(said) => said,
            None => {
                let asked = self.clock.timeout(WITHIN, self.ask(token, hash)).await;
                asked.unwrap_or(Err(TokenError::Provider(KeysError::Late)))?
            }
        };
        let identity = said.ok_or(TokenError::Refused)?;
        if identity.expires <= self.clock.unix() { Err(TokenError::Expired) } else { Ok(identity) }
    }

    async fn ask(&self, token: &str, hash: Hash) -> Result<Option<Identity>, TokenError> {
        // It is never closed.
        let _turn = self.turns.acquire().await.map_err(|_| TokenError::Provider(KeysError::Late))?;
        // Another connection with the same token may have asked meanwhile.
        if let Some(said) = self.known(hash) {
            return Ok(said);
        }
        let mut headers = self.headers.clone();
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| TokenError::Form("it holds characters that no header can hold"))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let answer = self.client.get_with(&self.target, headers, LARGEST).await;
        let answer = answer.map_err(|error| TokenError::Provider(error.into()))?;
        let now = self.clock.unix();
        let (said, until) = match answer.status {
            StatusCode::OK => {
                let identity = identity(&answer.body, token, now)?;
                let until = identity.expires.min(now + GOOD_FOR);
                (Some(identity), until)
            }
            StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND => (None, now + REFUSED_FOR),
            status => return Err(TokenError::Provider(KeysError::Status(status.as_u16()))),
        };
        self.said.lock().unwrap_or_else(PoisonError::into_inner).put(hash, said.clone(), now, until);
        Ok(said)
    }
}

/// The user of an answer, until the end that the token itself claims.
fn identity(body: &[u8], token: &str, now: Duration) -> Result<Identity, TokenError> {
    let said: Said =
        serde_json::from_slice(body).map_err(|error| TokenError::Provider(KeysError::Form(error)))?;
    let name = said.id.or(said.user.map(|user| user.id)).unwrap_or_default();
    let expires = claimed_expiry(token).map_or(now + UNKNOWN_EXPIRY, unix);
    Ok(Identity { user: user(&name)?, expires })
}
