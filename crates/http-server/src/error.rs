//! The one shape of an error.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// An error of a request. As JSON: `{"error": CODE, "message": …, "choices": […], "request_id": …}`.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    choices: Vec<String>,
    retry_after: Option<u64>,
}

impl ApiError {
    /// An error with this status, a word for programs, and a sentence for people that says what to do.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), choices: Vec::new(), retry_after: None }
    }

    /// With what would be right instead.
    #[must_use]
    pub fn choices(self, choices: Vec<String>) -> Self {
        Self { choices, ..self }
    }

    /// With the seconds after which it may succeed.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The answer, which names the request.
    pub(crate) fn answer(self, request_id: &str) -> Response {
        #[derive(Serialize)]
        struct Shown<'a> {
            error: &'static str,
            message: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            choices: &'a [String],
            request_id: &'a str,
        }
        let Self { status, code: error, ref message, ref choices, retry_after } = self;
        let mut response = (status, Json(Shown { error, message, choices, request_id })).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    /// Without a body: the guard makes it, which knows the id of the request.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
