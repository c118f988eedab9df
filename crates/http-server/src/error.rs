//! Errors of requests, and their usual shape.

use std::borrow::Cow;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// The body of an error for the request of this id, as a port shows it.
pub type Shape = fn(&ApiError, &str) -> Value;

/// An error of a request. The guard of the port makes its body: by default
/// `{"error": CODE, "message": …, "choices": […], "request_id": …}`.
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

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer, in the shape of its port.
    pub(crate) fn answer(&self, request_id: &str, shape: Shape) -> Response {
        let mut response = (self.status, Json(shape(self, request_id))).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// The usual shape: `{"error": CODE, "message": …, "choices": […], "request_id": …}`.
    pub(crate) fn shown(&self, request_id: &str) -> Value {
        let mut shown = json!({ "error": self.code, "message": self.message, "request_id": request_id });
        if !self.choices.is_empty() {
            shown["choices"] = json!(self.choices);
        }
        shown
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
