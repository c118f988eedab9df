//! One connection to one server: the client library's multiplexed connection over a stream whose answers are bounded.

use std::{io, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

use super::limit::{AnswerLimit, Limited};

/// A connection. Clones share the socket, which is closed with the last of them.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    limit: Arc<AnswerLimit>,
    _reader: Arc<Reader>,
}

/// The task that reads and writes the socket.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        // The library's own task ends only after the last answer, which may never come.
        self.0.abort();
    }
}

impl Connection {
    /// Logs in over a stream.
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
        limit: Arc<AnswerLimit>,
    ) -> RedisResult<Self> {
        let stream = Limited::new(stream, limit.clone());
        let connected = MultiplexedConnection::new_with_config(login, stream, config).await;
        let (inner, reader) = connected.map_err(|error| limit.explain(error))?;
        let reader = Arc::new(Reader(tokio::spawn(reader)));
        Ok(Self { inner, limit, _reader: reader })
    }

    /// The connection of the client library, for a request of another library.
    pub(super) fn library(&mut self) -> &mut MultiplexedConnection {
        self.limit.reset();
        &mut self.inner
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.limit.reset();
        let Self { inner, limit, .. } = self;
        Box::pin(async move { inner.req_packed_command(cmd).await.map_err(|error| limit.explain(error)) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.limit.reset();
        let Self { inner, limit, .. } = self;
        Box::pin(async move {
            let sent = inner.req_packed_commands(pipeline, offset, count).await;
            sent.map_err(|error| limit.explain(error))
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}

/// Waits for a connection for at most `within`. Then the error says `why`, and is not that of a timeout: a server that does not answer
/// the first message may speak another protocol, and is no slow one.
pub(super) async fn in_time<T>(
    within: Duration,
    connecting: impl Future<Output = RedisResult<T>>,
    why: impl FnOnce() -> String,
) -> RedisResult<T> {
    let none = |_| io::Error::new(io::ErrorKind::NotConnected, why());
    tokio::time::timeout(within, connecting).await.map_err(none)?
}
