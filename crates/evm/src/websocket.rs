//! Sends requests to one node over a WebSocket, and receives its notifications of new heads. One task owns the connection. It ends
//! with the value or with the connection; the next request opens a new connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_client::{HttpError, Trust, basic_authorization, retry_after};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::config::NodeUrl;
use crate::counters::{Counters, FaultKind};
use crate::fault::{Fault, Hint};
use crate::json_rpc::{Call, has_error};

/// The limit of requests that wait to be written.
const QUEUE: usize = 256;
/// The interval of pings. A connection without any message for two of them is closed.
const PING: Duration = Duration::from_secs(15);
/// The id of the subscription's request; other requests count from 1.
const SUBSCRIBE: u64 = 0;

/// The requests without an answer, by their ids.
type Waiting = HashMap<u64, oneshot::Sender<Result<Message, Fault>>>;
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A node with a WebSocket URL.
#[derive(Debug)]
pub(crate) struct WebSocketNode {
    url: NodeUrl,
    max_answer: usize,
    trust: Trust,
    connection: Mutex<Option<Connection>>,
    heads: Arc<Notify>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Connection {
    requests: mpsc::Sender<Request>,
    next_id: u64,
}

#[derive(Debug)]
struct Request {
    id: u64,
    text: String,
    answer: oneshot::Sender<Result<Message, Fault>>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    method: Option<String>,
}

impl WebSocketNode {
    /// A node that is not connected yet. While it is, it notifies `heads` of each new head.
    pub(crate) fn new(
        url: NodeUrl,
        max_answer: usize,
        trust: Trust,
        heads: Arc<Notify>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { url, max_answer, trust, connection: Mutex::new(None), heads, counters }
    }

    /// Sends `calls`; returns their answers in order.
    pub(crate) async fn ask(&self, calls: &[Call]) -> Result<Vec<Bytes>, Fault> {
        // All requests are sent before the first answer is awaited, so they share one round trip.
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(self.send(call).await?);
        }
        let mut texts = Vec::with_capacity(calls.len());
        for answer in answers {
            let message = answer.await.map_err(|_| lost("the connection ended"))??;
            texts.push(message.into_data());
        }
        Ok(texts)
    }

    /// Drops the connection, after an answer did not arrive in time. Its task ends when the queue closes.
    pub(crate) async fn reset(&self) {
        self.connection.lock().await.take();
    }

    async fn send(&self, call: &Call) -> Result<oneshot::Receiver<Result<Message, Fault>>, Fault> {
        // Held while connecting, so that requests at the same time share one connection.
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_none_or(|connection| connection.requests.is_closed()) {
            *connection = Some(self.connect().await?);
        }
        let Some(live) = connection.as_mut() else { return Err(lost("it is not connected")) };
        live.next_id += 1;
        let (sender, answer) = oneshot::channel();
        let request = Request { id: live.next_id, text: call.text(live.next_id), answer: sender };
        live.requests.send(request).await.map_err(|_| lost("the connection ended"))?;
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        // Both limits: a message may consist of many frames.
        let config = WebSocketConfig::default()
            .max_message_size(Some(self.max_answer))
            .max_frame_size(Some(self.max_answer));
        let url = self.url.with_credentials();
        let connector = match url.scheme() {
            "wss" => Connector::Rustls(self.trust.config().await.map_err(HttpError::from)?),
            _ => Connector::Plain,
        };
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|source| failed("its URL can't be requested", source))?;
        // The library sends no credentials of its own.
        if let Some(value) = basic_authorization(url).and_then(|text| HeaderValue::from_str(&text).ok()) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        // `true` disables Nagle's algorithm.
        let connected = connect_async_tls_with_config(request, Some(config), true, Some(connector)).await;
        let (mut socket, _) = connected.map_err(|source| match source {
            Error::Http(response) if matches!(response.status().as_u16(), 401 | 403) => {
                Fault::new(FaultKind::Refused, format!("it refused the credentials ({})", response.status()))
            }
            Error::Http(response) => {
                let retry_after = retry_after(response.headers());
                let fault = match response.status().as_u16() {
                    429 => Fault::new(FaultKind::RateLimited, "it asked for fewer requests (429)"),
                    _ => lost(&format!("it refused the connection ({})", response.status())),
                };
                Fault { retry_after, ..fault }
            }
            other => failed("the connection failed", other),
        })?;
        let subscribe = Call::new("eth_subscribe", serde_json::json!(["newHeads"])).text(SUBSCRIBE);
        // A node without `eth_subscribe` answers with an error that `serve` ignores; the poll interval finds heads then.
        socket.send(Message::text(subscribe)).await.map_err(|source| failed("sending failed", source))?;
        let (requests, queue) = mpsc::channel(QUEUE);
        tokio::spawn(serve(socket, queue, Arc::clone(&self.heads), Arc::clone(&self.counters)));
        Ok(Connection { requests, next_id: 0 })
    }
}

/// Serves a connection, until it ends or its `Connection` is dropped.
async fn serve(
    mut socket: Socket,
    mut queue: mpsc::Receiver<Request>,
    heads: Arc<Notify>,
    counters: Arc<Counters>,
) {
    let mut waiting = Waiting::new();
    let mut ping = interval_at(Instant::now() + PING, PING);
    let mut last_heard = Instant::now();
    let fault = loop {
        // All three are cancel safe: what one branch has not returned is not lost when another one runs.
        tokio::select! {
            request = queue.recv() => {
                // The node was dropped or reset; callers that still wait see their channel close.
                let Some(Request { id, text, answer }) = request else { return };
                // Callers that reached their deadline wait no more; without this the map would grow with each of them.
                waiting.retain(|_, answer| !answer.is_closed());
                waiting.insert(id, answer);
                if let Err(source) = socket.send(Message::text(text)).await {
                    break failed("sending failed", source);
                }
            }
            message = socket.next() => {
                // Every message is a sign of life, pongs included.
                last_heard = Instant::now();
                acknowledge(&socket);
                match message {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        if let Err(fault) = pass_on(message, &mut waiting, &heads, &counters) {
                            break fault;
                        }
                    }
                    Some(Ok(Message::Close(_))) | None => break lost("it closed the connection"),
                    // Pings and pongs: tungstenite answers them.
                    Some(Ok(_)) => {}
                    Some(Err(Error::Capacity(source))) => {
                        break Fault::caused(FaultKind::Oversized, "its answer is too large", source).hint(Hint::Large);
                    }
                    Some(Err(source)) => break failed("the connection failed", source),
                }
            }
            _ = ping.tick() => {
                if last_heard.elapsed() > 2 * PING || socket.send(Message::Ping(Bytes::new())).await.is_err() {
                    break lost("it sent nothing for too long");
                }
            }
        }
    };
    for (_, answer) in waiting {
        let _ = answer.send(Err(fault.clone()));
    }
}

/// Passes a message on to the request that it answers, or notifies of a head.
fn pass_on(
    message: Message,
    waiting: &mut Waiting,
    heads: &Notify,
    counters: &Counters,
) -> Result<(), Fault> {
    let data = message.clone().into_data();
    match serde_json::from_slice(&data) {
        Ok(Head { method: Some(_), .. }) => {
            // A message with a method is a notification, and the only subscription is that of heads. The header in it is not used:
            // it comes from one node without verification.
            counters.add_wake();
            heads.notify_one();
        }
        Ok(Head { id: Some(id), .. }) => {
            if let Some(answer) = waiting.remove(&id) {
                // Fails if the caller reached its deadline.
                let _ = answer.send(Ok(message));
            }
        }
        // An error whose request the node could not read. It may belong to each of those that wait, and says nothing about the
        // connection.
        Ok(Head { id: None, .. }) if has_error(&data) => {
            for (_, answer) in waiting.drain() {
                let _ = answer.send(Ok(message.clone()));
            }
        }
        // Without an id the request is unknown, so all requests of this connection fail.
        _ => return Err(Fault::new(FaultKind::Malformed, "its message is no answer")),
    }
    Ok(())
}

/// Acknowledges received data at once. A node with Nagle's algorithm holds its notification of a head back until its last message is
/// acknowledged, and Linux delays that by up to 40 ms. The kernel resets the option, so it is set after each message. On other
/// systems heads arrive later.
#[cfg(target_os = "linux")]
fn acknowledge(socket: &Socket) {
    let tcp = match socket.get_ref() {
        MaybeTlsStream::Plain(tcp) => tcp,
        MaybeTlsStream::Rustls(tls) => tls.get_ref().0,
        _ => return,
    };
    let _ = tcp.set_quickack(true);
}

#[cfg(not(target_os = "linux"))]
fn acknowledge(_: &Socket) {}

fn failed(what: &str, source: Error) -> Fault {
    Fault::caused(FaultKind::Unreachable, what, source)
}

fn lost(detail: &str) -> Fault {
    Fault::new(FaultKind::Unreachable, detail)
}
