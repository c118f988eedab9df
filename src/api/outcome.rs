//! The outcome of a request: an answer in the envelope of the original, or a refusal in the same envelope.

use std::borrow::Cow;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use http_server::ApiError;
use serde_json::{Value, json};
use store_redis::{ErrorKind, StoreError};

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// By what the client sent, or by what is not there.
    Said(ApiError),
    /// By Redis.
    Store(StoreError),
}

impl Refusal {
    /// 400.
    pub(super) fn bad(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Said(ApiError::new(StatusCode::BAD_REQUEST, "bad_request", reason))
    }

    /// 404.
    pub(super) fn missing(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Said(ApiError::new(StatusCode::NOT_FOUND, "not_found", what))
    }

    /// 422: what was asked for is too much for one answer.
    pub(super) fn too_large() -> Self {
        let text = "the answer would be larger than 16 MiB: ask for less";
        Self::Said(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too_large", text))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Said(error) => return error.into_response(),
            Self::Store(error) => error,
        };
        let mut response = match error.kind {
            ErrorKind::TooLarge => Self::too_large().into_response(),
            // Of one key: other requests are answered. The key is named, and what is in it is not shown.
            ErrorKind::WrongType | ErrorKind::Malformed => {
                let text = format!("{} can't be read: {}", errors::sanitise(&error.object), error.kind);
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", text).into_response()
            }
            _ => {
                let text = "Redis does not answer: try again";
                let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "redis_away", text);
                error.retry_after(1).into_response()
            }
        };
        response.extensions_mut().insert(error);
        response
    }
}

/// An error in the envelope, for the guard of the port.
pub(super) fn shape(error: &ApiError, request_id: &str) -> Value {
    json!({ "info": { "success": false, "response": error.message() }, "requestID": request_id })
}
