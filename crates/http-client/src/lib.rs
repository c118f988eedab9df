//! An HTTP client that posts a JSON text, or asks for one, and reads an answer of limited size.
//!
//! It follows no redirects, reuses connections, and reads the system's certificate authorities at the first request by TLS.
//!
//! **Invariant:** this crate knows neither JSON-RPC nor retries: the caller decides what a status means, and limits the time of a
//! request. No error contains a part of a target's URL.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod base;
mod trust;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::http::{request, uri::Scheme};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use url::Url;

pub use base::{BadUrl, BaseUrl};
pub use hyper::body::Bytes;
pub use hyper::{HeaderMap, StatusCode, header};
pub use trust::{Trust, TrustError};

/// How long a connection stays open without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP client with a pool of connections. Clones share the pool.
#[derive(Clone, Debug)]
pub struct HttpClient {
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Set up at the first request by TLS: a system without authorities must still reach `http` targets.
    secure: Arc<OnceCell<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>>,
    trust: Trust,
}

/// The URL of requests without its credentials, and the header that carries these.
pub struct HttpTarget {
    uri: Uri,
    authorization: Option<String>,
}

/// The answer to a request, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The pause that the server requests (`Retry-After`), without a limit.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The target's URL can't be requested.
    #[error("the URL can't be requested")]
    Url(#[source] hyper::http::uri::InvalidUri),
    /// The request could not be built.
    #[error("the request could not be built")]
    Request(#[source] hyper::http::Error),
    /// TLS could not be set up.
    #[error("{0}")]
    Trust(#[from] TrustError),
    /// The server could not be reached, or broke the connection.
    #[error("the connection failed")]
    Connection(#[source] hyper_util::client::legacy::Error),
    /// The body exceeds the caller's limit.
    #[error("the answer, with status {status}, is larger than {limit} bytes")]
    Oversized {
        /// Its status: for some callers it says enough.
        status: StatusCode,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The connection ended within the body.
    #[error("the answer broke off")]
    Incomplete(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl HttpError {
    /// The answer without its body, if that was too large: for callers to whom the status says enough.
    ///
    /// # Errors
    /// Any other error.
    pub fn without_body(self) -> Result<Answer, Self> {
        match self {
            Self::Oversized { status, .. } => Ok(Answer { status, retry_after: None, body: Bytes::new() }),
            other => Err(other),
        }
    }
}

impl HttpClient {
    /// A client that trusts these authorities. It neither connects nor reads certificates yet.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        let plain = pool().build(tcp());
        Self { plain, secure: Arc::default(), trust }
    }

    async fn secure(&self) -> Result<&Client<HttpsConnector<HttpConnector>, Full<Bytes>>, TrustError> {
        let make = async || {
            let config = self.trust.config().await?;
            let mut tcp = tcp();
            // The connector would refuse `https`: it does not know that TLS is put on top of its connections.
            tcp.enforce_http(false);
            let connector = HttpsConnectorBuilder::new().with_tls_config((*config).clone());
            Ok(pool().build(connector.https_only().enable_http1().wrap_connector(tcp)))
        };
        // A failure is not kept: the next request tries again, after an operator may have installed certificates.
        self.secure.get_or_try_init(make).await
    }

    /// Posts a JSON text and returns the answer, whose body may have at most `max_answer` bytes.
    ///
    /// # Errors
    /// [`HttpError`] without a complete answer. An answer with an error status is returned as an answer.
    pub async fn post(
        &self,
        target: &HttpTarget,
        json: String,
        max_answer: usize,
    ) -> Result<Answer, HttpError> {
        self.send(target, json, None, max_answer).await
    }

    /// The same with a key in the header `Idempotency-Key`, by which the server knows a request that is repeated.
    ///
    /// # Errors
    /// As [`Self::post`]; [`HttpError::Request`] for a key that is no value of a header.
    pub async fn post_once(
        &self,
        target: &HttpTarget,
        json: String,
        key: &str,
        max_answer: usize,
    ) -> Result<Answer, HttpError> {
        self.send(target, json, Some(key), max_answer).await
    }

    /// Asks for a JSON text and returns the answer, whose body may have at most `max_answer` bytes.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn get(&self, target: &HttpTarget, max_answer: usize) -> Result<Answer, HttpError> {
        let request = Request::get(&target.uri).header(ACCEPT, "application/json");
        self.request(target, request, String::new(), max_answer).await
    }

    /// The same with more headers, such as a token of the caller's own in `Authorization`: it takes the place of the URL's credentials.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn get_with(
        &self,
        target: &HttpTarget,
        headers: HeaderMap,
        max_answer: usize,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::get(&target.uri).header(ACCEPT, "application/json");
        if let Some(all) = request.headers_mut() {
            all.extend(headers);
        }
        self.request(target, request, String::new(), max_answer).await
    }

    async fn send(
        &self,
        target: &HttpTarget,
        json: String,
        key: Option<&str>,
        max_answer: usize,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::post(&target.uri).header(CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.request(target, request, json, max_answer).await
    }

    async fn request(
        &self,
        target: &HttpTarget,
        mut request: request::Builder,
        body: String,
        max_answer: usize,
    ) -> Result<Answer, HttpError> {
        let has_own = request.headers_ref().is_some_and(|headers| headers.contains_key(AUTHORIZATION));
        if let Some(authorization) = target.authorization.as_ref().filter(|_| !has_own) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::from(body)).map_err(HttpError::Request)?;
        let response = match target.uri.scheme() == Some(&Scheme::HTTPS) {
            true => self.secure().await?.request(request),
            false => self.plain.request(request),
        };
        let response = response.await.map_err(HttpError::Connection)?;
        // Before the body: reading it consumes the response.
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        Ok(Answer { status, retry_after, body: read(response, max_answer).await? })
    }
}

impl HttpTarget {
    /// The target of a URL. Its user name and password are sent as a header of basic authentication.
    ///
    /// # Errors
    /// [`HttpError::Url`] for a URL without a host.
    pub fn new(url: &Url) -> Result<Self, HttpError> {
        let mut bare = url.clone();
        // hyper would send them in the request line, and errors would show them. Both calls fail only for URLs without a host,
        // which the parser below refuses.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        bare.set_fragment(None);
        let uri = bare.as_str().parse().map_err(HttpError::Url)?;
        Ok(Self { uri, authorization: basic_authorization(url) })
    }
}

// Not derived: a path may hold a key, and the header holds the password.
impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpTarget({})", self.uri.host().unwrap_or_default())
    }
}

/// The header of basic authentication with the user name and password of a URL, if it has any.
#[must_use]
pub fn basic_authorization(url: &Url) -> Option<String> {
    (!url.username().is_empty() || url.password().is_some()).then(|| {
        let credentials = format!("{}:{}", url.username(), url.password().unwrap_or_default());
        format!("Basic {}", base64(&percent_decode(&credentials)))
    })
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // Nagle's algorithm would hold a small request back until the server acknowledges the previous one.
    tcp.set_nodelay(true);
    tcp
}

fn pool() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    // Without a timer hyper ignores the idle timeout.
    builder.pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
    builder
}

async fn read(response: Response<Incoming>, max_answer: usize) -> Result<Bytes, HttpError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), max_answer).collect().await;
    // `Limited` boxes both its own error and that of the connection.
    body.map(http_body_util::Collected::to_bytes).map_err(|source| {
        match source.downcast_ref::<LengthLimitError>() {
            Some(_) => HttpError::Oversized { status, limit: max_answer },
            None => HttpError::Incomplete(source),
        }
    })
}

/// The pause that a server requests in `Retry-After`, as seconds or as a date. It may be of any length: the caller limits it.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    // Digits only: `parse` would accept a leading `+`, which RFC 9110 does not.
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that don't fit into 64 bits are valid, and mean a very long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date in the past means now.
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            // A `%` without two hex digits stands for itself.
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

// Twelve lines instead of a dependency, for one header.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        // A chunk of n bytes has n + 1 digits; padding fills the rest of the four.
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_url_are_sent_as_a_header() {
        let target =
            HttpTarget::new(&"http://Aladdin:open%20sesame@host:1/rpc?x=1".parse().unwrap()).unwrap();
        assert_eq!(target.uri.to_string(), "http://host:1/rpc?x=1");
        // The example of RFC 7617.
        assert_eq!(target.authorization.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    }

    #[test]
    fn retry_after_is_parsed_as_seconds_and_as_a_date() {
        let with = |value: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(with("7"), Some(Duration::from_secs(7)));
        assert_eq!(with("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(with("Sun, 21 Oct 2085 07:28:00 GMT").unwrap() > Duration::from_secs(1_000_000));
        assert_eq!(with("18446744073709551615"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(with("18446744073709551616"), Some(Duration::from_secs(u64::MAX)));
        for unreadable in ["soon", "", "-1", "1.5", "+7"] {
            assert_eq!(with(unreadable), None, "{unreadable:?}");
        }
    }
}
