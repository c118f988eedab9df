//! Answers and errors in the shapes of the existing readers.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_server::ApiError;
use peer_snapshots::readers::NO_DATA;
use serde::Serialize;
use serde_json::{Value, json};
use store_peers::{HistoryError, HistoryErrorKind};

/// The shape of errors.
pub(super) fn shape(error: &ApiError, request_id: &str) -> Value {
    json!({ "error": error.message(), "requestID": request_id })
}

/// An answer that no cache may keep: it is old with the next picture.
pub(super) fn shown(status: StatusCode, answer: &impl Serialize) -> Response {
    let mut response = (status, Json(answer)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// 503 before the first picture.
pub(super) fn no_data() -> Response {
    shown(StatusCode::SERVICE_UNAVAILABLE, &NO_DATA)
}

/// 400.
pub(super) fn bad(reason: impl Into<std::borrow::Cow<'static, str>>) -> Response {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_request", reason).into_response()
}

/// The history has no answer.
pub(super) fn refused(error: &HistoryError) -> Response {
    tracing::debug!("{error}");
    match error.kind {
        HistoryErrorKind::BadRange => bad("`from` must be before `to`, both in Unix seconds"),
        HistoryErrorKind::TooMuch => {
            let text = "the answer would be too large: ask for a shorter range";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too_large", text).into_response()
        }
        _ => {
            // The file is the operator's business: its name and error are in the log.
            let text = "the history can't be read now: try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_history", text).retry_after(1).into_response()
        }
    }
}
