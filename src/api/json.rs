//! Answers as JSON, up to a limit of size.

use std::{
    io::{self, Write},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::outcome::Refusal;

/// The largest answer, in bytes.
pub(super) const LARGEST: usize = 16 << 20;
/// How many answers of whole hashes are made at once, each in up to [`LARGEST`] bytes.
pub(super) const MOST_LARGE: usize = 4;
/// What clients may leave unread of all large answers together, in KiB.
pub(super) const MOST_UNREAD: usize = 64 << 10;
/// Answers up to this size, in bytes, are not counted: connections limit them.
const SMALL: usize = 64 << 10;
/// The first allocation for an answer, in bytes.
const USUAL: usize = 512;

/// The text of an answer, up to the limit.
pub(super) struct Text(Vec<u8>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    // Most pieces are of a few bytes: without the loop over what was not written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of an answer in its envelope.
///
/// # Errors
/// 422 for one that is too large.
pub(super) fn text(request_id: &str, response: impl Serialize) -> Result<Vec<u8>, Refusal> {
    text_of(request_id, USUAL, |text| Ok(serde_json::to_writer(text, &response)?))
}

/// The text of an answer whose response is written by `response`, in about `size` bytes.
///
/// # Errors
/// 422 for one that is too large.
pub(super) fn text_of(
    request_id: &str,
    size: usize,
    response: impl FnOnce(&mut Text) -> io::Result<()>,
) -> Result<Vec<u8>, Refusal> {
    let mut text = Text(Vec::with_capacity(size.min(LARGEST)));
    let write = || {
        text.write_all(b"{\"info\":{\"success\":true,\"response\":")?;
        response(&mut text)?;
        text.write_all(b"},\"requestID\":")?;
        serde_json::to_writer(&mut text, request_id)?;
        // The original ends its answers with a line break.
        text.write_all(b"}\n")
    };
    // Plain data has a JSON form: only the limit fails.
    write().map_err(|_| Refusal::too_large())?;
    Ok(text.0)
}

/// A text that is sent. A large one waits until clients have read enough of others.
pub(super) async fn sent(text: Vec<u8>, unread: &Arc<Semaphore>) -> Response {
    let text = match u32::try_from(text.len() >> 10) {
        Ok(size) if text.len() > SMALL => {
            // The semaphore is never closed. A permit ends with the last byte that is sent.
            let permit = unread.clone().acquire_many_owned(size).await.ok();
            Bytes::from_owner(Unread { text, _permit: permit })
        }
        _ => text.into(),
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that its client has not read to its end.
struct Unread {
    text: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}
