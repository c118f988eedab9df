//! A client that polls tries a WebSocket: a probe and its answer over the new way, then the last poll, then the change.

use std::{future::poll_fn, mem::MaybeUninit, pin::Pin, sync::Arc, task::ready};

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use crate::{
    application::Application,
    connection::Connection,
    ending::Ending,
    frame::{Reader, Received, pong},
    message::Message,
    packet::Frame,
    server::Server,
    stream::Stream,
};

/// A try that ends as a failure unless it is told otherwise, also where its task is aborted.
struct Try<'a, C> {
    connection: &'a Connection<C>,
    is_over: bool,
}

impl<C> Try<'_, C> {
    fn succeed(mut self) {
        self.is_over = true;
        if !self.connection.probed(true) {
            // It must not poll any more.
            self.connection.end(Ending::Protocol);
        }
    }
}

impl<C> Drop for Try<'_, C> {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.probed(false);
        }
    }
}

/// Lets a client try the WebSocket; returns what is left to be read, once the client uses it. `None` where it does not: then it may go on
/// polling.
pub(crate) async fn probe<A: Application>(
    server: &Server<A>,
    connection: &Arc<Connection<A::Client>>,
    stream: &mut Stream,
    mut reader: Reader,
) -> Option<Reader> {
    let most = server.settings().max_payload;
    if receive(stream, &mut reader, most).await?.as_str() != "2probe" {
        return None;
    }
    stream.write_all(Message::text("3probe").frame()).await.ok()?;
    if !connection.probe() {
        return None;
    }
    let attempt = Try { connection, is_over: false };
    let text = receive(stream, &mut reader, most).await?;
    if Frame::parse(&text) != Ok(Frame::Upgrade) {
        return None;
    }
    attempt.succeed();
    server.counts().upgraded();
    Some(reader)
}

/// The next text.
async fn receive(stream: &mut Stream, reader: &mut Reader, most: usize) -> Option<String> {
    loop {
        match reader.next(most).ok()? {
            Some(Received::Text(text)) => return Some(text),
            Some(Received::Ping(content)) => stream.write_all(&pong(&content)).await.ok()?,
            Some(Received::Close) => return None,
            None => {
                let is_open = poll_fn(|cx| {
                    let mut place = [MaybeUninit::uninit(); 512];
                    let mut buffer = ReadBuf::uninit(&mut place);
                    let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
                    reader.add(buffer.filled());
                    (read.is_ok() && !buffer.filled().is_empty()).into()
                });
                if !is_open.await {
                    return None;
                }
            }
        }
    }
}
