//! A Stratum V2 application: an HTTP server of what pool, job declarator client and translator proxy answer about who is connected. A test
//! or the demo changes its state and how it answers. Opens one local socket, and ends with its value; it may go away and come back on the
//! same port.

mod answers;
mod state;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

pub use state::{SriChannel, SriClient, SriMiner, SriState};

/// How it answers a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SriAnswer {
    /// As it should.
    #[default]
    Right,
    /// As it should, after this time.
    After(Duration),
    /// With this status and body.
    Say(u16, String),
    /// With this text in place of its body.
    Body(String),
    /// With a body of so many bytes, which is JSON.
    Huge(usize),
    /// With the way to this URL.
    Redirect(String),
    /// The connection breaks in the middle of the answer.
    Cut,
    /// Never.
    Hang,
}

/// Decides upon a request: path and query as they came, and how many came before. It may change the state.
type Decide = dyn FnMut(&mut SriState, &str, usize) -> SriAnswer + Send;

#[derive(Default)]
struct Shared {
    state: Mutex<SriState>,
    requests: Mutex<Vec<String>>,
    decide: Mutex<Option<Box<Decide>>>,
    most: Mutex<(usize, usize)>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Writes a request down and decides upon it: the right answer, and how it is given.
    fn take(&self, target: &str) -> (u16, String, SriAnswer) {
        let before = {
            let mut requests = lock(&self.requests);
            requests.push(target.to_owned());
            requests.len() - 1
        };
        let mut state = lock(&self.state);
        let how = lock(&self.decide).as_mut().map(|decide| decide(&mut state, target, before));
        let (status, body) = answers::answer(&state, target);
        (status, body, how.unwrap_or_default())
    }
}

/// The server.
pub struct SriApp {
    addr: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<AbortOnDropHandle<()>>,
}

impl SriApp {
    /// Starts on a free port of this machine, with nobody connected.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts at this address.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
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

    /// Changes its state.
    pub fn change<T>(&self, change: impl FnOnce(&mut SriState) -> T) -> T {
        change(&mut lock(&self.shared.state))
    }

    /// From now on answers as this says. It gets the state, path and query, and the number of requests before, and may change the state.
    pub fn answer(&self, decide: impl FnMut(&mut SriState, &str, usize) -> SriAnswer + Send + 'static) {
        *lock(&self.shared.decide) = Some(Box::new(decide));
    }

    /// From now on answers each request like this.
    pub fn always(&self, answer: SriAnswer) {
        self.answer(move |_, _, _| answer.clone());
    }

    /// All requests: path and query, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }

    /// How many requests came.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    /// The most requests that were in hand at once.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        lock(&self.shared.most).1
    }

    /// Goes away: the port refuses connections, and those that are open break.
    pub fn go_away(&mut self) {
        self.serving = None;
        lock(&self.shared.most).0 = 0;
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
    while let Some(target) = read(&mut client).await? {
        {
            let mut most = lock(&shared.most);
            most.0 += 1;
            most.1 = most.1.max(most.0);
        }
        let given = give(&mut client, &shared, &target).await;
        {
            let mut most = lock(&shared.most);
            most.0 = most.0.saturating_sub(1);
        }
        given?;
    }
    Ok(())
}

/// Answers one request.
async fn give(client: &mut BufReader<TcpStream>, shared: &Shared, target: &str) -> io::Result<()> {
    let (mut status, mut body, how) = shared.take(target);
    let mut more = String::new();
    match how {
        SriAnswer::Right => {}
        SriAnswer::After(time) => tokio::time::sleep(time).await,
        SriAnswer::Say(other, text) => (status, body) = (other, text),
        SriAnswer::Body(text) => body = text,
        SriAnswer::Huge(bytes) => body = format!("{{\"padding\":\"{}\"}}", " ".repeat(bytes)),
        SriAnswer::Redirect(to) => (status, more) = (307, format!("Location: {to}\r\n")),
        SriAnswer::Cut => {
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n", body.len());
            client.write_all(head.as_bytes()).await?;
            client.write_all(&body.as_bytes()[..body.len() / 2]).await?;
            client.shutdown().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        SriAnswer::Hang => std::future::pending().await,
    }
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(format!("{head}{body}").as_bytes()).await
}

/// Reads the head of one request, which has no body; `None` at the end of the connection.
async fn read(client: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    if client.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let target = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        if client.read_line(&mut line).await? <= 2 {
            return Ok(Some(target));
        }
    }
}
