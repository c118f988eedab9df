//! One request to one node over HTTP. Reads no more of an answer than allowed; follows no redirects.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::http::uri::Scheme;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use url::Url;

use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::json_rpc::Fault;
use crate::trust::Trust;

const IDLE: Duration = Duration::from_secs(30);

/// Keeps connections open between requests. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Made for the first request by TLS.
    secure: Arc<OnceCell<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>>,
    trust: Trust,
}

/// Where requests go, and with which credentials.
#[derive(Debug)]
pub(crate) struct HttpTarget {
    uri: Uri,
    authorization: Option<String>,
}

impl HttpClient {
    pub(crate) fn new(trust: Trust) -> Self {
        let plain = pool().build(tcp());
        Self { plain, secure: Arc::default(), trust }
    }

    async fn secure(&self) -> Result<&Client<HttpsConnector<HttpConnector>, Full<Bytes>>, Fault> {
        let make = async || {
            let config = self.trust.config().await?;
            let mut tcp = tcp();
            // TLS comes after it.
            tcp.enforce_http(false);
            let connector = HttpsConnectorBuilder::new().with_tls_config((*config).clone());
            Ok(pool().build(connector.https_only().enable_http1().wrap_connector(tcp)))
        };
        self.secure.get_or_try_init(make).await
    }

    /// The body of the answer, where the node gave one.
    pub(crate) async fn post(
        &self,
        target: &HttpTarget,
        text: String,
        max_answer: usize,
    ) -> Result<Bytes, Fault> {
        let mut request = Request::post(&target.uri).header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &target.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::from(text))
            .map_err(|source| Fault::new(FaultKind::Unreachable, format!("no request to it: {source}")))?;
        let answer = match target.uri.scheme() == Some(&Scheme::HTTPS) {
            true => self.secure().await?.request(request),
            false => self.plain.request(request),
        };
        let response = answer.await.map_err(|source| {
            Fault::new(FaultKind::Unreachable, format!("the connection failed: {}", causes(&source)))
        })?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = read(response, max_answer).await?;
        match status {
            status if status.is_success() => Ok(body),
            StatusCode::TOO_MANY_REQUESTS => {
                let detail = "it asked for fewer requests (429)";
                Err(Fault { retry_after, ..Fault::new(FaultKind::RateLimited, detail) })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Fault::new(FaultKind::Refused, format!("it refused the credentials ({status})")))
            }
            // Some send the errors of JSON-RPC with the status of HTTP.
            _ if is_error_answer(&body) => Ok(body),
            status => {
                let detail = format!("it answered {status}");
                Err(Fault { retry_after, ..Fault::new(FaultKind::Server, detail) })
            }
        }
    }
}

impl HttpTarget {
    pub(crate) fn new(url: &Url) -> Result<Self, ChainError> {
        let mut bare = url.clone();
        // Both fail only for URLs without a host, which a node's URL has.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        bare.set_fragment(None);
        let uri = bare.as_str().parse().map_err(|_| ChainError::Config {
            setting: "chain.rpc_nodes",
            problem: "a node's URL can't be requested".to_owned(),
        })?;
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let credentials = format!("{}:{}", url.username(), url.password().unwrap_or_default());
            format!("Basic {}", base64(&percent_decode(&credentials)))
        });
        Ok(Self { uri, authorization })
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // A small request shall not wait for the acknowledgement of the one before.
    tcp.set_nodelay(true);
    tcp
}

fn pool() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
    builder
}

async fn read(response: Response<Incoming>, max_answer: usize) -> Result<Bytes, Fault> {
    let body = Limited::new(response.into_body(), max_answer).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|source| {
        if source.downcast_ref::<LengthLimitError>().is_some() {
            return Fault::new(FaultKind::Oversized, format!("its answer is larger than {max_answer} bytes"));
        }
        Fault::new(FaultKind::Unreachable, format!("it broke off its answer: {source}"))
    })
}

fn is_error_answer(body: &[u8]) -> bool {
    matches!(crate::json_rpc::outcomes(body, 1).as_deref(), Ok([Err(_)]))
}

/// The pause that a node asks for, as it says it: seconds, or a date. See [`retry::clamp`] for what is made of it.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large is a long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
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
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
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
    fn credentials_in_a_url_are_sent_as_a_header_and_not_in_the_request_line() {
        let target =
            HttpTarget::new(&"http://Aladdin:open%20sesame@host:1/rpc?x=1".parse().unwrap()).unwrap();
        assert_eq!(target.uri.to_string(), "http://host:1/rpc?x=1");
        // The example of RFC 7617.
        assert_eq!(target.authorization.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
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
