//! Posts JSON-RPC over HTTP, and turns error statuses into faults of the node.

use std::sync::Arc;

use errors::one_line;
use http_client::{Answer, Bytes, HttpClient, HttpError, HttpTarget, StatusCode};

use crate::counters::FaultKind;
use crate::json_rpc::Fault;

/// Posts a JSON-RPC text to a node; returns the body of its answer.
pub(crate) async fn post(
    client: &HttpClient,
    target: &HttpTarget,
    text: String,
    max_answer: usize,
) -> Result<Bytes, Fault> {
    let Answer { status, retry_after, body } = client.post(target, text, max_answer).await?;
    match status {
        status if status.is_success() => Ok(body),
        // By the status alone: a proxy in front of the node may answer with a page of HTML.
        StatusCode::TOO_MANY_REQUESTS => {
            let detail = "it asked for fewer requests (429)";
            Err(Fault { retry_after, ..Fault::new(FaultKind::RateLimited, detail) })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Fault::new(FaultKind::Refused, format!("it refused the credentials ({status})")))
        }
        // Some nodes send JSON-RPC errors with an error status; the body says more than the status.
        _ if is_error_answer(&body) => Ok(body),
        status => {
            let detail = format!("it answered {status}");
            Err(Fault { retry_after, ..Fault::new(FaultKind::Server, detail) })
        }
    }
}

fn is_error_answer(body: &[u8]) -> bool {
    matches!(crate::json_rpc::outcomes(body, 1).as_deref(), Ok([Err(_)]))
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        let kind = match error {
            HttpError::Oversized { .. } => FaultKind::Oversized,
            _ => FaultKind::Unreachable,
        };
        // The whole chain of causes: the outermost text is only "the connection failed".
        let detail = one_line(&error);
        Self { cause: Some(Arc::new(error)), ..Self::new(kind, detail) }
    }
}
