//! A JSON-RPC proxy in front of an EVM node, whose answers fail, lag or are wrong on demand. May listen on one local
//! port and connect to the node; its tasks end when it is dropped.

mod faults;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use faults::RpcFault;

use crate::anvil::post;
use crate::hold::Hold;
use crate::proxy::ProxyError;

/// The proxy. Faults take effect at the next request.
#[derive(Debug)]
pub struct RpcProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    all: CancellationToken,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    node: SocketAddr,
    state: Mutex<State>,
    hold: Hold,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<RpcFault>,
    /// How many requests get it; all without a number.
    times: Option<u64>,
    calls: BTreeMap<String, u64>,
    requests: u64,
}

impl RpcProxy {
    /// Listens on a free port and forwards to `node`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(node: SocketAddr) -> Result<Self, ProxyError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen = |source| ProxyError::Listen { addr: any, source };
        let listener = TcpListener::bind(any).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared { node, state: Mutex::default(), hold: Hold::default() });
        let all = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), all.clone()));
        Ok(Self { addr, shared, all, accepting })
    }

    /// `http://` URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Answers wrongly from now on.
    pub fn set(&self, fault: RpcFault) {
        let mut state = self.shared.state();
        (state.fault, state.times) = (Some(fault), None);
    }

    /// Answers the next `times` requests wrongly.
    pub fn set_times(&self, fault: RpcFault, times: u64) {
        let mut state = self.shared.state();
        (state.fault, state.times) = (Some(fault), Some(times));
    }

    /// Forwards everything again.
    pub fn clear(&self) {
        self.shared.state().fault = None;
    }

    /// From now on, holds back each request that contains this text.
    pub fn hold(&self, text: &str) {
        self.shared.hold.set(text);
    }

    /// Forwards the requests that were held back, and holds nothing more.
    pub fn release(&self) {
        self.shared.hold.release();
    }

    /// How many requests were held back so far.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shared.hold.held()
    }

    /// Requests so far; a batch is one.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.state().requests
    }

    /// Calls of a method so far.
    #[must_use]
    pub fn calls(&self, method: &str) -> u64 {
        self.shared.state().calls.get(method).copied().unwrap_or(0)
    }
}

impl Drop for RpcProxy {
    fn drop(&mut self) {
        self.all.cancel();
        self.accepting.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, and returns the fault for it.
    fn note(&self, request: &Value) -> Option<RpcFault> {
        let mut state = self.state();
        state.requests += 1;
        let calls = request.as_array().map_or(std::slice::from_ref(request), Vec::as_slice);
        for call in calls {
            let method = call["method"].as_str().unwrap_or_default().to_owned();
            *state.calls.entry(method).or_default() += 1;
        }
        match state.times {
            Some(0) => state.fault = None,
            Some(times) => state.times = Some(times - 1),
            None => {}
        }
        state.fault.clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, all: CancellationToken) {
    loop {
        // A failed accept means that the machine is out of resources; the test's own requests then fail.
        let Ok((stream, _)) = listener.accept().await else { return };
        let (shared, all) = (Arc::clone(&shared), all.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = all.cancelled() => {}
                // An error means that the client is gone, and needs no answer.
                _ = serve(stream, &shared) => {}
            }
        });
    }
}

/// Serves one request, then closes the connection.
async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let body = read_request(&mut stream).await?;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let fault = shared.note(&request);
    if shared.hold.concerns(&body) {
        shared.hold.wait().await;
    }
    let answer = match fault {
        None => faults::Answer::ok(post(shared.node, &String::from_utf8_lossy(&body)).await?),
        Some(fault) => fault.answer(shared.node, &request).await?,
    };
    let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        answer.status,
        answer.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer.body).await?;
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        while bytes.len() < end + 4 + length {
            match stream.read(&mut buffer).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
        return Ok(bytes.split_off(end + 4));
    }
}
