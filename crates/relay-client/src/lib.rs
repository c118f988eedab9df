//! Calls the relayer over HTTP.
//!
//! The token is added to a call when it is sent: no other part of the program has it, and no error shows it. A certificate is
//! always verified. A call is one request on a connection that is used again; the number of calls at once has a limit.
//!
//! **Invariant:** this crate keeps nothing, repeats nothing and knows no key of Redis: the caller decides what an answer means for a lane.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

use std::{fmt, sync::Arc, time::Duration};

use domain::{
    chain::ContractAddress,
    collector::{RelayCall, Verdict},
};
use errors::sanitise;
use http_client::{Answer, BaseUrl, HttpClient, HttpError, HttpTarget};
pub use http_client::{BadUrl, Trust, TrustError};
use serde::Serialize;
use tokio::sync::Semaphore;
use url::Url;

/// The largest answer that is read, in bytes. The relayer's have some dozen.
const LARGEST_ANSWER: usize = 64 << 10;
/// The most characters of an answer that are shown.
const MOST_SHOWN: usize = 200;
/// The most calls at once, of all lanes together: each has a connection of its own.
const MOST_CALLS: usize = 256;

/// The relayer.
#[derive(Clone)]
pub struct RelayClient {
    client: HttpClient,
    targets: Arc<Targets>,
    token: Arc<str>,
    timeout: Duration,
    calls: Arc<Semaphore>,
}

/// Where each call goes.
struct Targets {
    batch_size: HttpTarget,
    rewards: HttpTarget,
}

/// Why a call was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The relayer answered with another status than 200.
    #[error("{path}: the relayer answered {status}{}", shown(text))]
    Status {
        /// What was called.
        path: &'static str,
        /// The status.
        status: u16,
        /// The beginning of the answer.
        text: String,
        /// The pause that it asks for (`Retry-After`), without a limit.
        retry_after: Option<Duration>,
    },
    /// There is no whole answer: the relayer may have the call, or not.
    #[error("{path}: there is no answer")]
    NoAnswer {
        /// What was called.
        path: &'static str,
        /// Why.
        #[source]
        cause: HttpError,
    },
    /// The answer did not come in time: the relayer may have the call, or not.
    #[error("{path}: no answer came within {}", errors::rounded(*within))]
    Late {
        /// What was called.
        path: &'static str,
        /// How long was waited.
        within: Duration,
    },
}

impl CallError {
    /// What it means for the call.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Status { status, .. } => Verdict::of(*status),
            Self::NoAnswer { .. } | Self::Late { .. } => Verdict::Later,
        }
    }

    /// The pause that the relayer asks for, without a limit.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::NoAnswer { .. } | Self::Late { .. } => None,
        }
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// `submitBatchSize`, in the order of the original's fields.
#[derive(Serialize)]
struct BatchSize<'a> {
    #[serde(rename = "epochID")]
    epoch: u64,
    #[serde(rename = "batchSize")]
    batches: u64,
    #[serde(rename = "authToken")]
    token: &'a str,
    #[serde(rename = "dataMarketAddress")]
    market: String,
}

/// `submitUpdateRewards`, in the order of the original's fields.
#[derive(Serialize)]
struct Rewards<'a> {
    #[serde(rename = "dataMarketAddress")]
    market: String,
    #[serde(rename = "slotIDs")]
    slots: &'a [u64],
    #[serde(rename = "submissionsList")]
    submissions: &'a [u64],
    day: u64,
    #[serde(rename = "eligibleNodes")]
    eligible: u64,
    #[serde(rename = "authToken")]
    token: &'a str,
}

impl RelayClient {
    /// The relayer at this URL, with the token that it expects. A call may take `timeout`.
    ///
    /// # Errors
    /// [`BadUrl`], which does not show the URL: it may hold credentials.
    pub fn new(url: &Url, token: &str, timeout: Duration, trust: Trust) -> Result<Self, BadUrl> {
        let base = BaseUrl::new(url)?;
        let at = |path| base.at(path, None);
        let targets = Targets { batch_size: at("submitBatchSize")?, rewards: at("submitUpdateRewards")? };
        Ok(Self {
            client: HttpClient::new(trust),
            targets: Arc::new(targets),
            token: token.into(),
            timeout,
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
        })
    }

    /// Makes a call of a market with its idempotency key. The time in which it waits for others does not count as its own.
    ///
    /// # Errors
    /// [`CallError`] unless the relayer has answered 200. Of a very large answer the status counts alone.
    pub async fn call(&self, market: &ContractAddress, call: &RelayCall, key: &str) -> Result<(), CallError> {
        // It is never closed.
        let _place = self.calls.acquire().await.ok();
        let (path, body) = (call.path(), self.body(market, call));
        let post = self.client.post_once(self.target(call), body, key, LARGEST_ANSWER);
        let answer = tokio::time::timeout(self.timeout, post).await;
        let Answer { status, retry_after, body } = answer
            .map_err(|_| CallError::Late { path, within: self.timeout })?
            .or_else(HttpError::without_body)
            .map_err(|cause| CallError::NoAnswer { path, cause })?;
        let status = status.as_u16();
        if Verdict::of(status) == Verdict::Delivered {
            return Ok(());
        }
        // Before it is cut: a part of the token would not be found.
        let text: String =
            self.without_token(&String::from_utf8_lossy(&body)).chars().take(MOST_SHOWN).collect();
        Err(CallError::Status { path, status, text: sanitise(text), retry_after })
    }

    fn target(&self, call: &RelayCall) -> &HttpTarget {
        match call {
            RelayCall::BatchSize { .. } => &self.targets.batch_size,
            RelayCall::Rewards { .. } => &self.targets.rewards,
        }
    }

    fn body(&self, market: &ContractAddress, call: &RelayCall) -> String {
        let (token, market) = (&*self.token, market.to_string());
        let body = match call {
            RelayCall::BatchSize { epoch, batches } => {
                serde_json::to_string(&BatchSize { epoch: *epoch, batches: *batches, token, market })
            }
            RelayCall::Rewards { day, slots, submissions, eligible, .. } => {
                let (day, eligible) = (*day, *eligible);
                serde_json::to_string(&Rewards { market, slots, submissions, day, eligible, token })
            }
        };
        // Plain data always has a JSON form.
        body.unwrap_or_default()
    }

    /// A relayer may repeat what it got.
    fn without_token(&self, text: &str) -> String {
        if self.token.is_empty() { text.to_owned() } else { text.replace(&*self.token, "***") }
    }
}

// Not derived: it holds the token.
impl fmt::Debug for RelayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<RelayClient, BadUrl> {
        RelayClient::new(&url.parse().unwrap(), "secret-token", Duration::from_secs(1), Trust::default())
    }

    #[test]
    fn a_call_has_the_fields_that_relayers_expect_in_their_order() {
        let call = RelayCall::BatchSize { epoch: 7, batches: 3 };
        let body = client("http://relayer").unwrap().body(&ContractAddress([0xab; 20]), &call);
        assert_eq!(
            body,
            r#"{"epochID":7,"batchSize":3,"authToken":"secret-token","dataMarketAddress":"0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"}"#
        );
    }

    #[test]
    fn rewards_have_the_fields_that_relayers_expect_in_their_order() {
        let (plan, slots, submissions) = ("final:9:4".to_owned(), vec![1, 3], vec![20, 0]);
        let call = RelayCall::Rewards { plan, epoch: 9, day: 4, piece: 2, slots, submissions, eligible: 5 };
        let body = client("http://relayer").unwrap().body(&ContractAddress([0xab; 20]), &call);
        assert_eq!(
            body,
            r#"{"dataMarketAddress":"0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB","slotIDs":[1,3],"submissionsList":[20,0],"day":4,"eligibleNodes":5,"authToken":"secret-token"}"#
        );
    }

    #[test]
    fn only_urls_of_http_are_a_relayers() {
        for good in ["http://relayer:8090", "https://a:b@relayer/api/"] {
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in ["ftp://relayer", "unix:/relayer", "data:text"] {
            assert!(matches!(client(bad), Err(BadUrl::Scheme)), "{bad}");
        }
    }

    #[test]
    fn neither_the_client_nor_an_error_shows_the_token() {
        let client = client("http://relayer").unwrap();
        assert!(!format!("{client:?}").contains("secret-token"));
        assert_eq!(client.without_token("bad token secret-token!"), "bad token ***!");
    }
}
