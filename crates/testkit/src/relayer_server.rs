//! A relayer: an HTTP server that writes down each call, and answers as a test or the demo tells it to. Opens one local socket, and ends
//! with its value; a restart listens on the same port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// The largest body that it reads, in bytes.
const LARGEST_BODY: usize = 16 << 20;

/// A call as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayerCall {
    /// When it came.
    pub at: Instant,
    /// The path, such as `/submitBatchSize`.
    pub path: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// The body, byte for byte.
    pub body: String,
    /// How it was answered.
    pub answer: RelayerAnswer,
}

impl RelayerCall {
    /// A field of its body.
    #[must_use]
    pub fn field(&self, name: &str) -> Value {
        serde_json::from_str::<Value>(&self.body).map_or(Value::Null, |body| body[name].clone())
    }

    /// Whether the relayer has it, whatever it answered.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        match self.answer {
            RelayerAnswer::Accept
            | RelayerAnswer::AcceptAtLength(_)
            | RelayerAnswer::Cut
            | RelayerAnswer::TakeAndSay(_) => true,
            RelayerAnswer::Say(..) | RelayerAnswer::Close | RelayerAnswer::Hang => false,
        }
    }
}

/// How it answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayerAnswer {
    /// It takes the call and says so: 200.
    Accept,
    /// It takes the call and says so in so many bytes.
    AcceptAtLength(usize),
    /// It takes the call, and answers this status all the same.
    TakeAndSay(u16),
    /// It takes the call, and the connection breaks in the middle of the answer.
    Cut,
    /// It does not take the call, and answers this status, with `Retry-After` in seconds.
    Say(u16, Option<u64>),
    /// It closes the connection without an answer.
    Close,
    /// It never answers.
    Hang,
}

/// Decides upon a call; the number says how many came before it.
type Decide = dyn Fn(&RelayerCall, usize) -> (RelayerAnswer, Duration) + Send + Sync;

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<RelayerCall>>,
    decide: Mutex<Option<Arc<Decide>>>,
}

impl Shared {
    /// Writes a call down with its answer; also how long that takes.
    fn take(&self, mut call: RelayerCall) -> (RelayerAnswer, Duration) {
        let decide = self.decide.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, after) =
            decide.map_or((RelayerAnswer::Accept, Duration::ZERO), |decide| decide(&call, calls.len()));
        call.answer = answer;
        calls.push(call);
        (answer, after)
    }
}

/// The server.
pub struct RelayerServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<AbortOnDropHandle<()>>,
}

impl RelayerServer {
    /// Starts on a free port. It accepts all calls until [`Self::answer`].
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (addr, shared) = (listener.local_addr()?, Arc::<Shared>::default());
        let serving = Some(serve(listener, shared.clone()));
        Ok(Self { addr, shared, serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on answers as this says, after the time that it says. It gets the call and the number of calls before.
    pub fn answer(
        &self,
        decide: impl Fn(&RelayerCall, usize) -> (RelayerAnswer, Duration) + Send + Sync + 'static,
    ) {
        *self.shared.decide.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(decide));
    }

    /// From now on answers each call like this, at once.
    pub fn always(&self, answer: RelayerAnswer) {
        self.answer(move |_, _| (answer, Duration::ZERO));
    }

    /// All calls, in the order in which they came.
    #[must_use]
    pub fn calls(&self) -> Vec<RelayerCall> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls came.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Goes away: the port refuses connections, and those that are open break.
    pub fn go_away(&mut self) {
        self.serving = None;
    }

    /// Comes back on the same port.
    ///
    /// # Errors
    /// When another program has taken the port.
    pub async fn come_back(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.addr).await?;
        self.serving = Some(serve(listener, self.shared.clone()));
        Ok(())
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        // A JoinSet aborts its tasks when it is dropped: connections end with the server.
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(converse(client, shared.clone()));
            // Reaps ended connections, so that the set does not grow.
            while connections.try_join_next().is_some() {}
        }
    }))
}

/// Serves one connection until it ends.
async fn converse(client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    while let Some(call) = read(&mut client).await? {
        let (answer, after) = shared.take(call);
        tokio::time::sleep(after).await;
        let (status, retry_after) = match answer {
            RelayerAnswer::Accept | RelayerAnswer::AcceptAtLength(_) | RelayerAnswer::Cut => (200, None),
            RelayerAnswer::TakeAndSay(status) => (status, None),
            RelayerAnswer::Say(status, retry_after) => (status, retry_after),
            RelayerAnswer::Close => return Ok(()),
            RelayerAnswer::Hang => std::future::pending().await,
        };
        let retry_after =
            retry_after.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
        let mut body = r#"{"message":"from the relayer of the tests"}"#.to_owned();
        if let RelayerAnswer::AcceptAtLength(length) = answer {
            body = " ".repeat(length);
        }
        let head = format!("HTTP/1.1 {status} Said\r\n{retry_after}Content-Length: {}\r\n\r\n", body.len());
        if answer == RelayerAnswer::Cut {
            client.write_all(format!("{head}{{\"mess").as_bytes()).await?;
            return client.shutdown().await;
        }
        client.write_all(format!("{head}{body}").as_bytes()).await?;
    }
    Ok(())
}

/// Reads one request; `None` at the end of the connection.
async fn read(client: &mut BufReader<TcpStream>) -> io::Result<Option<RelayerCall>> {
    let mut line = String::new();
    if client.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let (mut length, mut key) = (0, None);
    loop {
        line.clear();
        client.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "idempotency-key" => key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    if length > LARGEST_BODY {
        return Err(io::Error::other("the body is too large"));
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).await?;
    let body = String::from_utf8(body).map_err(io::Error::other)?;
    Ok(Some(RelayerCall { at: Instant::now(), path, key, body, answer: RelayerAnswer::Accept }))
}
