//! Accepts connections, and lets each speak HTTP until it becomes a WebSocket.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use errors::sanitise;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ports::Tls;
use retry::{Attempts, table::HTTP_ACCEPT};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    application::{Application, Pages},
    counts::Full,
    ending::Ending,
    frame::Reader,
    http::{Answer, Opened, handle, hello},
    probe::probe,
    server::{Server, network},
    stream::Stream,
    websocket::Driver,
};

/// How long connections may take to end after `stop`.
const FINISH_WITHIN: Duration = Duration::from_millis(500);
/// The lifetime of a connection that becomes no WebSocket.
const LIFE: Duration = Duration::from_secs(600);
/// The longest time between two looks at the sessions.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// The shortest.
const SHORTEST_TICK: Duration = Duration::from_millis(10);
/// The least time between two lines about connections that can't be accepted.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// What each connection needs.
struct Shared<A: Application, P> {
    server: Arc<Server<A>>,
    pages: Arc<P>,
    tls: Option<Tls>,
    stop: CancellationToken,
    /// The TCP connections of each address.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A TCP connection that counts for its address as long as this exists.
struct Place<A: Application, P> {
    shared: Arc<Shared<A, P>>,
    address: IpAddr,
}

impl<A: Application, P> Place<A, P> {
    /// `None` where the address has its most.
    fn take(shared: &Arc<Shared<A, P>>, address: IpAddr) -> Option<Self> {
        let address = network(address);
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&address).copied().unwrap_or(0);
        if count >= shared.server.settings().most_per_address {
            return None;
        }
        open.insert(address, count + 1);
        Some(Self { shared: shared.clone(), address })
    }
}

impl<A: Application, P> Drop for Place<A, P> {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Serves clients until `stop`, then lets them go within half a second: they may come back. Dropping the future ends all connections.
pub async fn serve<A: Application, P: Pages>(
    server: Arc<Server<A>>,
    listener: TcpListener,
    tls: Option<Tls>,
    pages: Arc<P>,
    stop: CancellationToken,
) {
    let shared =
        Arc::new(Shared { server: server.clone(), pages, tls, stop: stop.clone(), open: Mutex::default() });
    let mut tasks = JoinSet::new();
    tokio::select! {
        () = accept(&shared, &listener, &mut tasks) => {}
        () = tick(&server) => {}
        () = stop.cancelled() => {}
    }
    // Before the wait, so that clients are refused at once instead of waiting in the backlog.
    drop(listener);
    server.end_all();
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout(FINISH_WITHIN, all).await;
}

async fn tick<A: Application>(server: &Server<A>) {
    let settings = server.settings();
    let shortest = settings.ping_interval.min(settings.ping_timeout).min(settings.connect_timeout);
    let every = (shortest / 10).clamp(SHORTEST_TICK, LONGEST_TICK);
    loop {
        sleep(every).await;
        server.tick(Instant::now());
    }
}

async fn accept<A: Application, P: Pages>(
    shared: &Arc<Shared<A, P>>,
    listener: &TcpListener,
    tasks: &mut JoinSet<()>,
) {
    let mut attempts = Attempts::new(HTTP_ACCEPT);
    let mut logged: Option<Instant> = None;
    loop {
        let accepted = listener.accept().await;
        // A JoinSet keeps the results of ended tasks until they are joined.
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                attempts.succeeded();
                let counts = shared.server.counts();
                if tasks.len() >= shared.server.settings().most_connections {
                    counts.refuse(Full::Server);
                    continue;
                }
                match Place::take(shared, peer.ip()) {
                    Some(place) => drop(tasks.spawn(connection(place, stream, peer))),
                    None => counts.refuse(Full::Address),
                }
            }
            Err(error) => {
                // Such as EMFILE, no free file descriptor: the connection stays in the backlog.
                if logged.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
                    logged = Some(Instant::now());
                    tracing::warn!("a client's connection could not be accepted: {}", sanitise(error));
                }
                sleep(attempts.failed()).await;
            }
        }
    }
}

/// One connection from its first byte to its last. What is large and passes is in a box, so that a WebSocket's task stays small.
async fn connection<A: Application, P: Pages>(place: Place<A, P>, stream: TcpStream, peer: SocketAddr) {
    // Fails only if the connection is already closed, which is found below.
    let _ = stream.set_nodelay(true);
    let begun = Box::pin(begin(&place.shared, stream, peer)).await;
    if let Some(driver) = begun {
        driver.await;
    }
}

/// Speaks HTTP; returns the WebSocket that the connection becomes, if it does.
async fn begin<A: Application, P: Pages>(
    shared: &Arc<Shared<A, P>>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Driver<A>> {
    let settings = shared.server.settings();
    let stream = match &shared.tls {
        None => Stream::Plain(stream),
        // A client that does not finish the handshake, or that speaks no TLS, is no event for an operator.
        Some(tls) => {
            let accepted = timeout(settings.head_within, tls.accept(stream));
            let accepted = shared.stop.run_until_cancelled(accepted).await?;
            Stream::Tls(Box::new(accepted.ok()?.ok()?))
        }
    };
    let Opened { connection, is_probe, upgrade } = speak(shared, stream, peer).await?;
    let upgraded = match upgrade.await.map(|upgraded| upgraded.downcast::<TokioIo<Stream>>()) {
        Ok(Ok(parts)) => parts,
        _ => {
            if !is_probe {
                shared.server.close(&connection, Ending::Broken);
            }
            return None;
        }
    };
    let mut stream = upgraded.io.into_inner();
    let mut reader = Reader::default();
    reader.add(&upgraded.read_buf);
    if is_probe {
        let tried = probe(&shared.server, &connection, &mut stream, reader);
        reader = timeout(settings.connect_timeout, tried).await.ok()??;
    } else {
        connection.send_first(hello(&shared.server, &connection, false));
    }
    Some(Driver::new(shared.server.clone(), connection, stream, reader))
}

/// Answers requests until the connection ends or becomes a WebSocket.
async fn speak<A: Application, P: Pages>(
    shared: &Arc<Shared<A, P>>,
    stream: Stream,
    peer: SocketAddr,
) -> Option<Opened<A::Client>> {
    let (sender, mut receiver) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let service = service_fn(|request: Request<Incoming>| {
        // Only a request that opens a WebSocket needs it, and it is the last one.
        let is_upgrade = request.headers().contains_key(hyper::header::UPGRADE);
        let mut place = sender.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = if is_upgrade { place.take() } else { None };
        let answer = handle(shared.server.clone(), shared.pages.clone(), peer, request, opened);
        async { Ok::<Answer, Infallible>(answer.await) }
    });
    let settings = shared.server.settings();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Hyper applies it also to the wait for the next request on an idle connection.
        .header_read_timeout(settings.head_within)
        .max_buf_size(settings.head_bytes.max(8 << 10))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    tokio::select! {
        // A client that resets its connection is no event for an operator.
        _ = connection.as_mut() => {}
        () = shared.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(FINISH_WITHIN, connection.as_mut()).await;
        }
        // A client that does not read an answer would keep its connection for ever. One that polls opens another.
        () = sleep(LIFE) => {
            connection.as_mut().graceful_shutdown();
            let last = settings.ping_interval + settings.ping_timeout;
            let _ = timeout(last, connection.as_mut()).await;
        }
    }
    receiver.try_recv().ok()
}
