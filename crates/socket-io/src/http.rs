//! Requests of HTTP: which are of Engine.IO, what each asks for, and the headers that let pages read the answers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    upgrade::OnUpgrade,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::Serialize;
use tokio::{sync::oneshot, time::timeout};

use crate::{
    application::{Application, Pages, Peer},
    connection::{Connection, Transport},
    counts::Full as NoPlace,
    ending::Ending,
    message::Message,
    polling::{poll, post},
    server::Server,
    settings::Origins,
};

/// What RFC 6455 appends to a client's key.
const WEBSOCKET: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest body of a request that is none of Engine.IO.
const LARGEST_BODY: usize = 64 << 10;
/// How long the answer to such a request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub(crate) type Answer = Response<Full<Bytes>>;

/// A WebSocket that a request has opened.
pub(crate) struct Opened<C> {
    pub(crate) connection: Arc<Connection<C>>,
    /// Whether the session polls so far.
    pub(crate) is_probe: bool,
    pub(crate) upgrade: OnUpgrade,
}

/// Why a request is refused, in the numbers of Engine.IO.
#[derive(Clone, Copy)]
enum Refused {
    Transport,
    Session,
    Method,
    Bad,
    Forbidden,
    Version,
}

impl Refused {
    fn answer(self, why: Option<String>) -> Answer {
        #[derive(Serialize)]
        struct Body {
            code: u8,
            message: String,
        }
        let (code, text) = match self {
            Self::Transport => (0, "Transport unknown"),
            Self::Session => (1, "Session ID unknown"),
            Self::Method => (2, "Bad handshake method"),
            Self::Bad => (3, "Bad request"),
            Self::Forbidden => (4, "Forbidden"),
            Self::Version => (5, "Unsupported protocol version"),
        };
        let status =
            if matches!(self, Self::Forbidden) { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        let message = why.map_or_else(|| text.to_owned(), |why| format!("{text}: {why}"));
        let body = serde_json::to_vec(&Body { code, message }).unwrap_or_default();
        answer(status, "application/json", body)
    }
}

/// The parts of the query that Engine.IO reads.
#[derive(Default)]
struct Query<'a> {
    version: &'a str,
    transport: &'a str,
    session: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Self {
        let mut query = Self::default();
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "EIO" => query.version = value,
                "transport" => query.transport = value,
                "sid" => query.session = Some(value),
                _ => {}
            }
        }
        query
    }
}

/// Answers a request. A WebSocket that it opens is handed over by `opened`.
pub(crate) async fn handle<A: Application, P: Pages>(
    server: Arc<Server<A>>,
    pages: Arc<P>,
    peer: SocketAddr,
    request: Request<Incoming>,
    opened: Option<oneshot::Sender<Opened<A::Client>>>,
) -> Answer {
    let origins = &server.settings().origins;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_allowed = origins.allow(request.headers());
    let path = request.uri().path();
    let ours = server.settings().path.trim_end_matches('/');
    let is_ours = path.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest == "/");
    let mut answer = if !is_allowed {
        server.counts().refuse(NoPlace::Origin);
        Refused::Forbidden.answer(Some("the page's origin is not allowed".to_owned()))
    } else if request.method() == Method::OPTIONS {
        preflight(request.headers())
    } else if is_ours {
        engine(&server, peer, request, opened).await
    } else {
        page(&server, &*pages, peer, request).await
    };
    if is_allowed {
        allow(answer.headers_mut(), origins, origin);
    }
    answer
}

async fn engine<A: Application>(
    server: &Arc<Server<A>>,
    peer: SocketAddr,
    request: Request<Incoming>,
    opened: Option<oneshot::Sender<Opened<A::Client>>>,
) -> Answer {
    let text = request.uri().query().unwrap_or_default().to_owned();
    let query = Query::parse(&text);
    if query.version != "4" {
        return Refused::Version.answer(None);
    }
    let transport = match query.transport {
        "polling" => Transport::Polling,
        "websocket" => Transport::WebSocket,
        _ => return Refused::Transport.answer(None),
    };
    let connection = match query.session.map(|session| server.find(session)) {
        Some(Some(connection)) => Some(connection),
        Some(None) => return Refused::Session.answer(None),
        None if request.method() != Method::GET => return Refused::Method.answer(None),
        None => None,
    };
    match (transport, connection) {
        (Transport::WebSocket, connection) => websocket(server, peer, request, connection, &text, opened),
        (_, None) => match begin(server, peer, Transport::Polling, &text) {
            Ok(connection) => text_answer(hello(server, &connection, true).payload().to_vec()),
            Err(why) => no_place(why),
        },
        (_, Some(connection)) if request.method() == Method::GET => match poll(&connection).await {
            Ok(body) => text_answer(body),
            Err(bad) => Refused::Bad.answer(Some(bad.to_string())),
        },
        (_, Some(connection)) if request.method() == Method::POST => {
            receive(server, &connection, request).await
        }
        _ => Refused::Method.answer(None),
    }
}

/// Begins a session.
fn begin<A: Application>(
    server: &Arc<Server<A>>,
    peer: SocketAddr,
    transport: Transport,
    query: &str,
) -> Result<Arc<Connection<A::Client>>, NoPlace> {
    let address = peer.ip();
    let opened = server.admit(address).and_then(|()| server.open(address, transport, query));
    opened.inspect_err(|why| server.counts().refuse(*why))
}

fn no_place(why: NoPlace) -> Answer {
    let (status, text) = match why {
        NoPlace::Server => (StatusCode::SERVICE_UNAVAILABLE, "the server has its most connections"),
        _ => {
            (StatusCode::TOO_MANY_REQUESTS, "this address has too many connections, or opens them too often")
        }
    };
    let mut answer = plain(status, text);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// The first packet of a session.
pub(crate) fn hello<A: Application>(
    server: &Server<A>,
    connection: &Connection<A::Client>,
    polls: bool,
) -> Message {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Hello {
        sid: String,
        upgrades: &'static [&'static str],
        ping_interval: u64,
        ping_timeout: u64,
        max_payload: usize,
    }
    let settings = server.settings();
    // Milliseconds of a setting fit.
    let millis = |duration: Duration| duration.as_millis() as u64;
    let hello = Hello {
        sid: connection.id().text(),
        upgrades: if polls { &["websocket"] } else { &[] },
        ping_interval: millis(settings.ping_interval),
        ping_timeout: millis(settings.ping_timeout),
        max_payload: settings.max_payload,
    };
    Message::text(&format!("0{}", serde_json::to_string(&hello).unwrap_or_default()))
}

/// Reads the packets of a body.
async fn receive<A: Application>(
    server: &Arc<Server<A>>,
    connection: &Arc<Connection<A::Client>>,
    request: Request<Incoming>,
) -> Answer {
    let settings = server.settings();
    let body = match body(request.into_body(), settings.max_payload, settings.head_within).await {
        Ok(body) => body,
        Err((status, why)) => {
            connection.end(Ending::Protocol);
            return plain(status, why);
        }
    };
    match post(server, connection, &body).await {
        Ok(()) => answer(StatusCode::OK, "text/html", b"ok".to_vec()),
        Err(bad) => Refused::Bad.answer(Some(bad.to_string())),
    }
}

/// A body within its limits, or the status and text of a refusal.
async fn body(body: Incoming, most: usize, within: Duration) -> Result<Bytes, (StatusCode, &'static str)> {
    match timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"))
        }
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn websocket<A: Application>(
    server: &Arc<Server<A>>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
    connection: Option<Arc<Connection<A::Client>>>,
    query: &str,
    opened: Option<oneshot::Sender<Opened<A::Client>>>,
) -> Answer {
    let bad = || Refused::Bad.answer(Some("it opens no WebSocket of version 13".to_owned()));
    let (Some(accept), Some(opened)) = (accept_key(&request), opened) else { return bad() };
    let is_probe = connection.is_some();
    let connection = match connection {
        // A session has one WebSocket.
        Some(connection) if connection.transport() != Transport::Polling => {
            return Refused::Bad.answer(Some("the session has a WebSocket".to_owned()));
        }
        Some(connection) => connection,
        None => match begin(server, peer, Transport::WebSocket, query) {
            Ok(connection) => connection,
            Err(why) => return no_place(why),
        },
    };
    let upgrade = hyper::upgrade::on(&mut request);
    if opened.send(Opened { connection, is_probe, upgrade }).is_err() {
        return bad();
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

/// The answer to the key of a request that opens a WebSocket.
fn accept_key<B>(request: &Request<B>) -> Option<HeaderValue> {
    let has = |name: &HeaderName, word: &str| {
        let mut values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let is_websocket = request.method() == Method::GET
        && has(&header::UPGRADE, "websocket")
        && has(&header::CONNECTION, "upgrade")
        && has(&header::SEC_WEBSOCKET_VERSION, "13");
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).filter(|_| is_websocket)?;
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), WEBSOCKET.as_bytes()].concat());
    HeaderValue::try_from(STANDARD.encode(digest)).ok()
}

async fn page<A: Application, P: Pages>(
    server: &Server<A>,
    pages: &P,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Answer {
    if let Err(why) = server.admit(peer.ip()) {
        server.counts().refuse(why);
        return no_place(why);
    }
    let (mut head, incoming) = request.into_parts();
    head.extensions.insert(Peer(peer));
    let body = match body(incoming, LARGEST_BODY, server.settings().head_within).await {
        Ok(body) => body,
        Err((status, why)) => return plain(status, why),
    };
    match timeout(ANSWER_WITHIN, pages.answer(head, body)).await {
        Ok(response) => response.map(Full::new),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long"),
    }
}

fn plain(status: StatusCode, text: &str) -> Answer {
    answer(status, "text/plain; charset=UTF-8", text.as_bytes().to_vec())
}

fn text_answer(body: Vec<u8>) -> Answer {
    answer(StatusCode::OK, "text/plain; charset=UTF-8", body)
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers a browser that asks whether a page may send a request.
fn preflight(headers: &HeaderMap) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    answer.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        asked.unwrap_or(HeaderValue::from_static("Content-Type, Authorization")),
    );
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

/// Lets a page read an answer.
fn allow(headers: &mut HeaderMap, origins: &Origins, origin: Option<HeaderValue>) {
    match (origins, origin) {
        (_, None) => {}
        (Origins::Any, Some(_)) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        (Origins::List(_), Some(origin)) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_websocket_is_answered_as_the_rfc_shows() {
        let request = |version: &str| {
            let request = Request::get("/").header("upgrade", "WebSocket");
            let request = request.header("connection", "keep-alive, Upgrade");
            let request = request.header("sec-websocket-version", version);
            request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap()
        };
        assert_eq!(accept_key(&request("13")).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept_key(&request("8")), None);
        assert_eq!(accept_key(&Request::get("/").body(()).unwrap()), None);
    }

    #[test]
    fn an_origin_that_is_listed_is_named_in_the_answer() {
        let origin = Some(HeaderValue::from_static("https://app.example"));
        let mut headers = HeaderMap::new();
        allow(&mut headers, &Origins::Any, origin.clone());
        assert_eq!(headers["access-control-allow-origin"], "*");
        allow(&mut headers, &Origins::List(Vec::new()), origin);
        assert_eq!(headers["access-control-allow-origin"], "https://app.example");
        assert_eq!(headers["vary"], "Origin");
    }
}
