//! Posts JSON-RPC over HTTP, and turns error statuses into faults of the node.

use std::sync::Arc;

use errors::one_line;
use http_client::{Answer, Bytes, HttpClient, HttpError, HttpTarget};

use crate::counters::FaultKind;
use crate::fault::{Fault, Hint};
use crate::json_rpc::has_error;

/// Posts a JSON-RPC text to a node; returns the body of its answer.
pub(crate) async fn post(
    client: &HttpClient,
    target: &HttpTarget,
    text: String,
    max_answer: usize,
) -> Result<Bytes, Fault> {
    let Answer { status, retry_after, body } = client.post(target, text, max_answer).await?;
    let (kind, hint) = match status.as_u16() {
        _ if status.is_success() => return Ok(body),
        // By the status alone: a proxy in front of the node may answer with a page of HTML.
        429 => (FaultKind::RateLimited, Hint::Doubt),
        401 | 402 => (FaultKind::Refused, Hint::None),
        // Some nodes send JSON-RPC errors with an error status; the body says more than the status.
        _ if has_error(&body) => return Ok(body),
        403 => (FaultKind::Refused, Hint::None),
        // 524 is Cloudflare's for a server that is too slow.
        408 | 504 | 524 => (FaultKind::Timeout, Hint::Late),
        400 | 413 | 414 | 422 | 501 => (FaultKind::Server, Hint::Large),
        _ => (FaultKind::Server, Hint::Doubt),
    };
    let detail = match kind {
        FaultKind::RateLimited => "it asked for fewer requests (429)".to_owned(),
        FaultKind::Refused => format!("it refused the credentials ({status})"),
        _ => format!("it answered {status}"),
    };
    // The pauses after a refusal of the credentials are our own.
    let retry_after = retry_after.filter(|_| kind != FaultKind::Refused);
    Err(Fault { retry_after, ..Fault::new(kind, detail).hint(hint) })
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        let (kind, hint) = match error {
            HttpError::Oversized { .. } => (FaultKind::Oversized, Hint::Large),
            // Some nodes drop the connection of a batch or an answer that is too large.
            HttpError::Connection(_) | HttpError::Incomplete(_) => (FaultKind::Unreachable, Hint::Doubt),
            _ => (FaultKind::Unreachable, Hint::None),
        };
        // The whole chain of causes: the outermost text is only "the connection failed".
        let detail = one_line(&error);
        Self { cause: Some(Arc::new(error)), ..Self::new(kind, detail).hint(hint) }
    }
}
