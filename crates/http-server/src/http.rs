//! Serves HTTP/1.1 on a port, with TLS where a certificate is given.

use std::{net::SocketAddr, pin::pin};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ports::Tls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    accept::{FINISH_WITHIN, accept},
    limits::Limits,
};

/// The address of the client, an extension of each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves `router` until `stop`, and finishes running answers for half a second after it.
pub async fn serve_http(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    stop: CancellationToken,
) {
    let ended = stop.clone();
    accept(listener, limits.connections, stop, move |stream, peer| {
        serve(stream, peer, router.clone(), limits, tls.clone(), ended.clone())
    })
    .await;
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    stop: CancellationToken,
) {
    // Fails only if the connection is already closed, which is found below.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_on(stream, peer, router, limits, stop).await };
    let handshake = timeout(limits.head_within, tls.accept(stream));
    // A client that does not finish the handshake, or that speaks no TLS, is no event for an operator. A stop waits for none.
    if let Some(Ok(Ok(stream))) = stop.run_until_cancelled(handshake).await {
        serve_on(stream, peer, router, limits, stop).await;
    }
}

async fn serve_on(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Hyper applies it also to the wait for the next request on an idle connection.
        .header_read_timeout(limits.head_within)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that resets its connection is no event for an operator.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FINISH_WITHIN, connection).await;
}
