//! A TCP proxy in front of one server, for tests: counts traffic, and breaks connections on demand. May listen on one
//! local port and connect to the upstream; its tasks end when it is dropped.

mod counts;
mod refusal;
mod resp;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use counts::{ConnectionCounts, ProxyCounts};

use crate::hold::Hold;
use crate::local_port::free_port;
use counts::Meter;
use refusal::Refusal;

const PORT_ATTEMPTS: usize = 20;
const BACKLOG: u32 = 1024;
/// Large, so that most pipelines pass in one piece.
const CHUNK: usize = 256 * 1024;
/// After a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Why the proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Its port is taken.
    #[error("listening on {addr} for the fault proxy failed; stop the program that holds the port")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// No port was free.
    #[error("starting the fault proxy: found no free port on 127.0.0.1; stop other servers")]
    NoFreePort,
}

/// A TCP proxy that counts and breaks connections. All methods take effect at once, for existing and new connections.
/// Dropping it ends all its tasks and connections.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    faults: watch::Sender<Faults>,
    holds: Arc<Holds>,
    all: CancellationToken,
    state: Mutex<State>,
}

/// What is held back, requests or the answers to them, and what is refused.
#[derive(Debug, Default)]
struct Holds {
    requests: Hold,
    answers: Hold,
    refusal: Refusal,
}

#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    blackhole: bool,
    delay: Duration,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    /// Cancels the existing connections; replaced after each cut.
    current: CancellationToken,
    accepted: u64,
    accepted_before_reset: u64,
    meters: Vec<Arc<Mutex<Meter>>>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards each connection to `upstream`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(upstream: SocketAddr) -> Result<Self, ProxyError> {
        let listener = listen_anywhere()?;
        let addr = listener.local_addr().map_err(|source| ProxyError::Listen { addr: upstream, source })?;
        let all = CancellationToken::new();
        let state = State {
            upstream,
            current: all.child_token(),
            accepted: 0,
            accepted_before_reset: 0,
            meters: Vec::new(),
        };
        let (faults, holds) = (watch::Sender::default(), Arc::default());
        let shared = Arc::new(Shared { faults, holds, all, state: Mutex::new(state) });
        let accepting = tokio::spawn(Arc::clone(&shared).accept(listener));
        Ok(Self { addr, shared, accepting: tokio::sync::Mutex::new(Some(accepting)) })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// What passed since the start or the last reset, over all connections.
    #[must_use]
    pub fn counts(&self) -> ProxyCounts {
        let state = self.shared.state();
        let mut counts = ProxyCounts {
            connections: state.accepted - state.accepted_before_reset,
            ..ProxyCounts::default()
        };
        state.meters.iter().for_each(|meter| counts.add(&lock(meter).counts));
        counts
    }

    /// The same for each connection, in the order of acceptance; closed ones until the next reset.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionCounts> {
        self.shared.state().meters.iter().map(|meter| lock(meter).counts.clone()).collect()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.state().meters.iter().filter(|meter| lock(meter).counts.open).count()
    }

    /// Starts all counts at zero; a command under way is not counted again.
    pub fn reset_counts(&self) {
        let mut state = self.shared.state();
        state.accepted_before_reset = state.accepted;
        state.meters.retain(|meter| {
            let mut meter = lock(meter);
            meter.reset();
            meter.counts.open
        });
    }

    /// Closes the existing connections; new ones are accepted.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        let next = self.shared.all.child_token();
        std::mem::replace(&mut state.current, next).cancel();
    }

    /// With `true`, stops listening: new connections are refused, existing ones go on (see [`Self::cut`]).
    /// With `false`, listens on the same port again. Effective when it returns.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub async fn refuse(&self, refuse: bool) -> Result<(), ProxyError> {
        let mut accepting = self.accepting.lock().await;
        if refuse {
            if let Some(task) = accepting.take() {
                task.abort();
                // The listener is closed once the task has ended; its result is always "aborted".
                let _ = task.await;
            }
        } else if accepting.is_none() {
            let listener = listen(self.addr)?;
            *accepting = Some(tokio::spawn(Arc::clone(&self.shared).accept(listener)));
        }
        Ok(())
    }

    /// With `true`, nothing is forwarded in either direction and nothing is closed: connections, also new ones, look
    /// alive and are silent. With `false`, everything held back is delivered.
    pub fn blackhole(&self, on: bool) {
        self.shared.faults.send_modify(|faults| faults.blackhole = on);
    }

    /// Delays each chunk (up to 256 KiB, each direction by itself) by this long; zero ends it.
    pub fn delay(&self, delay: Duration) {
        self.shared.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Holds back each request that contains this word, and what follows it on its connection: the server does not
    /// receive it before [`Self::release`].
    pub fn hold_requests(&self, word: &str) {
        self.shared.holds.requests.set(word);
    }

    /// Holds back the answer to each request that contains this word, and what follows it on its connection: the server
    /// has executed the request by then.
    pub fn hold_answers(&self, word: &str) {
        self.shared.holds.answers.set(word);
    }

    /// Delivers everything held back, also from clients that are gone, and holds nothing more.
    pub fn release(&self) {
        self.shared.holds.requests.release();
        self.shared.holds.answers.release();
    }

    /// Answers one command with this error line (without `-`), and does not forward it: the next one of this name, or of any for
    /// `None`, after `skip` others. In a transaction the server then aborts it, as for a command that it refuses to queue. Call it
    /// while no command is under way.
    pub fn refuse_command(&self, command: Option<&str>, skip: u64, answer: &str) {
        self.shared.holds.refusal.arm(command, skip, answer);
    }

    /// Refuses no further command.
    pub fn stop_refusing_commands(&self) {
        self.shared.holds.refusal.disarm();
    }

    /// How many commands were refused so far.
    #[must_use]
    pub fn refused_commands(&self) -> u64 {
        self.shared.holds.refusal.refused()
    }

    /// How many requests and answers were held back so far.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shared.holds.requests.held() + self.shared.holds.answers.held()
    }

    /// Sends new connections to another server; existing ones stay (see [`Self::cut`]).
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.shared.state().upstream = upstream;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.all.cancel();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.all.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, _)) => self.take_on(client),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn take_on(&self, client: TcpStream) {
        let mut state = self.state();
        let meter = Arc::new(Mutex::new(Meter::new(state.accepted)));
        state.accepted += 1;
        state.meters.push(Arc::clone(&meter));
        let (upstream, cut) = (state.upstream, state.current.clone());
        let (faults, holds) = (self.faults.subscribe(), Arc::clone(&self.holds));
        tokio::spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                // The result does not matter: both sides are closed now, and a peer sees no more than that.
                _ = forward(client, upstream, &meter, faults, &holds) => {}
            }
            lock(&meter).counts.open = false;
        });
    }
}

/// Forwards until the server is done, or one side fails.
async fn forward(
    client: TcpStream,
    upstream: SocketAddr,
    meter: &Mutex<Meter>,
    mut faults: watch::Receiver<Faults>,
    holds: &Holds,
) -> io::Result<()> {
    // A black hole also swallows the connection attempt: the client is connected to the proxy, and hears nothing.
    pass(&mut faults).await;
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let answer_is_held = AtomicBool::new(false);
    let passage = Passage { meter, holds, answer_is_held: &answer_is_held };
    let requests = pump(client_read, server_write, faults.clone(), passage, Direction::Requests);
    let responses = pump(server_read, client_write, faults, passage, Direction::Answers);
    tokio::pin!(responses);
    tokio::select! {
        ended = &mut responses => return ended,
        ended = requests => ended?,
    }
    // The client has closed its side; what the server still answers is delivered.
    responses.await
}

/// Counts and holds chunks before they are forwarded.
#[derive(Clone, Copy)]
struct Passage<'a> {
    meter: &'a Mutex<Meter>,
    holds: &'a Holds,
    answer_is_held: &'a AtomicBool,
}

#[derive(Clone, Copy)]
enum Direction {
    Requests,
    Answers,
}

impl Passage<'_> {
    async fn see(self, bytes: &[u8], direction: Direction) {
        let Self { meter, holds, answer_is_held } = self;
        match direction {
            Direction::Requests => {
                lock(meter).client_sent(bytes);
                if holds.requests.concerns(bytes) {
                    holds.requests.wait().await;
                }
                answer_is_held.fetch_or(holds.answers.concerns(bytes), Relaxed);
            }
            Direction::Answers => {
                lock(meter).server_sent(bytes);
                if answer_is_held.swap(false, Relaxed) {
                    holds.answers.wait().await;
                }
            }
        }
    }
}

/// Copies one direction to its end.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Faults>,
    passage: Passage<'_>,
    direction: Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut pending = Vec::new();
    loop {
        pass(&mut faults).await;
        let length = from.read(&mut buffer).await?;
        let delay = faults.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // Again: the black hole may have begun during the read or the delay.
        pass(&mut faults).await;
        if length == 0 {
            to.write_all(&pending).await?;
            return to.shutdown().await;
        }
        passage.see(&buffer[..length], direction).await;
        pending.extend_from_slice(&buffer[..length]);
        let bytes = match direction {
            Direction::Requests => passage.holds.refusal.requests(&mut pending),
            Direction::Answers => passage.holds.refusal.answers(&mut pending),
        };
        to.write_all(&bytes).await?;
    }
}

/// Waits while the black hole is on.
async fn pass(faults: &mut watch::Receiver<Faults>) {
    if faults.wait_for(|faults| !faults.blackhole).await.is_err() {
        // The proxy was dropped; this connection is cancelled in a moment.
        std::future::pending::<()>().await;
    }
}

fn listen_anywhere() -> Result<TcpListener, ProxyError> {
    let mut last = ProxyError::NoFreePort;
    for _ in 0..PORT_ATTEMPTS {
        let port = free_port().ok_or(ProxyError::NoFreePort)?;
        match listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(addr: SocketAddr) -> Result<TcpListener, ProxyError> {
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    });
    bound.map_err(|source| ProxyError::Listen { addr, source })
}

/// Locks, also after a panic: no code panics under these locks, and the numbers would still be readable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
