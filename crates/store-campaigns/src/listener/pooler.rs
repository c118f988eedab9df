//! Whether a pooler, such as PgBouncer, stands between us and the database, and whether it gives each transaction another
//! connection. Behind such a one LISTEN succeeds and nothing is ever heard, and the connection that it reached goes on listening
//! for other clients. So it must be known before.
//!
//! The server names its process at start-up. A pooler names none of the server's, since it has not chosen a connection yet.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::connect::Dedicated;
use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::LISTEN;

/// The request for TLS and the request to cancel, in bytes.
const TLS_REQUEST: usize = 8;
const CANCEL_REQUEST: usize = 16;
/// How long the exchange within this process may take.
const WITHIN_PROCESS: Duration = Duration::from_secs(1);

/// What stands between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Nothing, as far as start-up tells.
    #[default]
    None,
    /// A pooler that keeps a connection for a client, or whose mode could not be told.
    Pooled,
    /// A pooler that gives each transaction another connection.
    Transactions,
}

/// Finds out what stands between.
pub(super) async fn find(database: &Database, dedicated: &Dedicated) -> Result<Pooling, DatabaseError> {
    let failed = |error| DatabaseError::postgres(LISTEN, database.object(), error);
    let rows = dedicated.query_typed("SELECT pg_backend_pid()", &[]).await.map_err(failed)?;
    let process: Option<i32> = rows.first().map(|row| row.get(0));
    if process.is_some() && process == named_at_startup(dedicated).await {
        return Ok(Pooling::None);
    }
    Ok(if database.is_pooled().await? { Pooling::Transactions } else { Pooling::Pooled })
}

/// The process that the server named at start-up. The client keeps it for requests to cancel and shows it nowhere: so it writes
/// such a request into a pipe.
async fn named_at_startup(client: &Client) -> Option<i32> {
    let (ours, theirs) = duplex(256);
    let read = timeout(WITHIN_PROCESS, async {
        let token = client.cancel_token();
        let (written, request) = tokio::join!(token.cancel_query_raw(theirs, Plain), answer(ours));
        written.ok().and(request)
    });
    read.await.ok().flatten()
}

/// Reads a request to cancel as a server would, and agrees to TLS where it is asked for first.
async fn answer(mut stream: DuplexStream) -> Option<i32> {
    let mut request = [0_u8; CANCEL_REQUEST];
    stream.read_exact(&mut request[..TLS_REQUEST]).await.ok()?;
    if request[3] == TLS_REQUEST as u8 {
        stream.write_all(b"S").await.ok()?;
        stream.read_exact(&mut request[..TLS_REQUEST]).await.ok()?;
    }
    stream.read_exact(&mut request[TLS_REQUEST..]).await.ok()?;
    Some(i32::from_be_bytes([request[8], request[9], request[10], request[11]]))
}

/// No encryption, within this process.
struct Plain;

impl TlsConnect<DuplexStream> for Plain {
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<PlainStream, std::io::Error>>;
    type Stream = PlainStream;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        std::future::ready(Ok(PlainStream(stream)))
    }
}

struct PlainStream(DuplexStream);

impl TlsStream for PlainStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
