//! Requests to one node over a WebSocket, and its word of new heads. One task owns the connection; it ends with the
//! value, or when the connection does. The next request makes a new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_client::{HttpError, Trust, retry_after};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use url::Url;

use crate::counters::{Counters, FaultKind};
use crate::json_rpc::{Call, Fault};

/// Requests waiting to be written.
const QUEUE: usize = 256;
/// A connection on which nothing came for two of these is given up.
const PING: Duration = Duration::from_secs(15);
/// The id of the subscription's request; others count from 1.
const SUBSCRIBE: u64 = 0;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A node behind a WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocketNode {
    url: Url,
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
    /// Notifies `heads` whenever the node tells of a new head while it is connected.
    pub(crate) fn new(
        url: Url,
        max_answer: usize,
        trust: Trust,
        heads: Arc<Notify>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { url, max_answer, trust, connection: Mutex::new(None), heads, counters }
    }

    /// The answers of `calls`, one after the other.
    pub(crate) async fn ask(&self, calls: &[Call]) -> Result<Vec<Bytes>, Fault> {
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

    /// Gives up a connection on which an answer did not come in time.
    pub(crate) async fn reset(&self) {
        self.connection.lock().await.take();
    }

    async fn send(&self, call: &Call) -> Result<oneshot::Receiver<Result<Message, Fault>>, Fault> {
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
        let config = WebSocketConfig::default()
            .max_message_size(Some(self.max_answer))
            .max_frame_size(Some(self.max_answer));
        let connector = match self.url.scheme() {
            "wss" => Connector::Rustls(self.trust.config().await.map_err(HttpError::from)?),
            _ => Connector::Plain,
        };
        let (url, connector) = (self.url.as_str(), Some(connector));
        let connected = connect_async_tls_with_config(url, Some(config), true, connector).await;
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
        socket.send(Message::text(subscribe)).await.map_err(|source| failed("sending failed", source))?;
        let (requests, queue) = mpsc::channel(QUEUE);
        tokio::spawn(serve(socket, queue, Arc::clone(&self.heads), Arc::clone(&self.counters)));
        Ok(Connection { requests, next_id: 0 })
    }
}

/// Ends when the connection does, or when nobody can send requests any longer.
async fn serve(
    mut socket: Socket,
    mut queue: mpsc::Receiver<Request>,
    heads: Arc<Notify>,
    counters: Arc<Counters>,
) {
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Message, Fault>>> = HashMap::new();
    let mut ping = interval_at(Instant::now() + PING, PING);
    let mut last_heard = Instant::now();
    let fault = loop {
        tokio::select! {
            request = queue.recv() => {
                let Some(Request { id, text, answer }) = request else { return };
                // Those whose callers gave up need no answer.
                waiting.retain(|_, answer| !answer.is_closed());
                waiting.insert(id, answer);
                if let Err(source) = socket.send(Message::text(text)).await {
                    break failed("sending failed", source);
                }
            }
            message = socket.next() => {
                last_heard = Instant::now();
                acknowledge(&socket);
                match message {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        let head: Result<Head, _> = serde_json::from_slice(&message.clone().into_data());
                        match head {
                            Ok(Head { method: Some(_), .. }) => {
                                counters.add_wake();
                                heads.notify_one();
                            }
                            Ok(Head { id: Some(id), .. }) => {
                                if let Some(answer) = waiting.remove(&id) {
                                    // A caller that gave up needs none.
                                    let _ = answer.send(Ok(message));
                                }
                            }
                            // It can't be told whose answer it is.
                            _ => break Fault::new(FaultKind::Malformed, "its message is no answer"),
                        }
                    }
                    Some(Ok(Message::Close(_))) | None => break lost("it closed the connection"),
                    Some(Ok(_)) => {}
                    Some(Err(Error::Capacity(source))) => break Fault::caused(FaultKind::Oversized, "its answer is too large", source),
                    Some(Err(source)) => break failed("the connection failed", source),
                }
            }
            _ = ping.tick() => {
                if last_heard.elapsed() > 2 * PING || socket.send(Message::Ping(Bytes::new())).await.is_err() {
                    break lost("it fell silent");
                }
            }
        }
    };
    for (_, answer) in waiting {
        let _ = answer.send(Err(fault.clone()));
    }
}

/// A node that waits for the acknowledgement of its last answer before it tells of a head (Nagle's algorithm) would wait for
/// as long as we put that off: 40 ms on Linux. It has to be asked for each time; where it can't be, heads come later.
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
