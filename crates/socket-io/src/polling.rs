//! Long polling: requests that wait for messages, and requests that bring them.

use std::{collections::VecDeque, future::poll_fn, sync::Arc};

use crate::{
    application::Application,
    connection::{Connection, Polled, Request},
    ending::Ending,
    message::Message,
    outbox::Bounds,
    packet::{BadPacket, SEPARATOR, frames},
    server::Server,
};

/// What one answer holds.
const BATCH: Bounds = Bounds { messages: 256, bytes: 64 << 10 };

/// Why a request gets no answer of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// Another one of its kind is in work, or the client has a WebSocket.
    #[error("the session is in use by another request")]
    Busy,
    /// The body is no text.
    #[error("the body is not UTF-8")]
    Text,
    /// A packet can't be read.
    #[error(transparent)]
    Packet(#[from] BadPacket),
}

/// A request in work. It ends also where the client breaks it off: then what it asked for is half done, such as a room that is held, and
/// the session can't be used further.
struct InWork<'a, C> {
    connection: &'a Connection<C>,
    request: Request,
    is_over: bool,
}

impl<'a, C> InWork<'a, C> {
    fn begin(connection: &'a Connection<C>, request: Request) -> Result<Self, BadRequest> {
        if connection.begin(request) {
            // A poll that is broken off has taken nothing.
            return Ok(Self { connection, request, is_over: request == Request::Poll });
        }
        // As the protocol's own server does: of two requests none can know what the other has taken.
        connection.end(Ending::Protocol);
        Err(BadRequest::Busy)
    }
}

impl<C> Drop for InWork<'_, C> {
    fn drop(&mut self) {
        self.connection.finish(self.request);
        if !self.is_over {
            self.connection.end(Ending::Broken);
        }
    }
}

/// Waits for messages and takes them.
///
/// # Errors
/// [`BadRequest::Busy`].
pub(crate) async fn poll<C>(connection: &Connection<C>) -> Result<Vec<u8>, BadRequest> {
    let _in_work = InWork::begin(connection, Request::Poll)?;
    let mut messages = VecDeque::new();
    Ok(match poll_fn(|cx| connection.poll_messages(BATCH, &mut messages, cx)).await {
        Polled::Messages => body(&messages),
        Polled::Nothing => b"6".to_vec(),
        Polled::End => b"1".to_vec(),
    })
}

fn body(messages: &VecDeque<Message>) -> Vec<u8> {
    let mut body = Vec::with_capacity(messages.iter().map(|message| message.frame().len()).sum());
    for message in messages {
        if !body.is_empty() {
            // One byte in UTF-8.
            body.push(SEPARATOR as u8);
        }
        body.extend_from_slice(message.payload());
    }
    body
}

/// Does what the packets of a body ask for, one after the other.
///
/// # Errors
/// [`BadRequest`]; then the connection ends.
pub(crate) async fn post<A: Application>(
    server: &Arc<Server<A>>,
    connection: &Arc<Connection<A::Client>>,
    body: &[u8],
) -> Result<(), BadRequest> {
    let mut in_work = InWork::begin(connection, Request::Post)?;
    let text = std::str::from_utf8(body).map_err(|_| BadRequest::Text);
    let taken = async {
        for frame in frames(text?) {
            if let Some(work) = server.take(connection, frame?)? {
                work.await;
            }
        }
        Ok(())
    };
    let taken = taken.await;
    in_work.is_over = true;
    if taken.is_err() {
        connection.end(Ending::Protocol);
    }
    taken
}
