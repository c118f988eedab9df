//! The answers, as JSON. Pure.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde_json::{Value, json};

/// An answer with this body.
pub(super) fn answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Each answer is of this moment, and of one user.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal, in the form of the gateway's acknowledgements.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response<Bytes> {
    answer(status, &json!({ "success": false, "message": message }))
}

/// The same for a server that can't answer now.
pub(super) fn unavailable(message: &str) -> Response<Bytes> {
    retry_after(refusal(StatusCode::SERVICE_UNAVAILABLE, message), Duration::from_secs(5))
}

/// An answer that says when to ask again.
pub(super) fn retry_after(mut response: Response<Bytes>, after: Duration) -> Response<Bytes> {
    let seconds = HeaderValue::from(after.as_secs_f64().ceil() as u64);
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

/// Lets a page of an allowed origin read the answer.
pub(super) fn allow(
    response: &mut Response<Bytes>,
    origin: Option<&HeaderValue>,
    allowed: Option<&[String]>,
) {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let Some(origin) = origin else { return };
    let is_allowed = match allowed {
        None => true,
        Some(list) => list.iter().any(|one| origin.as_bytes() == one.trim_end_matches('/').as_bytes()),
    };
    if is_allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// The answer to a page's question whether it may ask.
pub(super) fn preflight() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_may_not_read_the_answer() {
        let origin = HeaderValue::from_static("https://a.example");
        let list = ["https://a.example/".to_owned()];
        let other = ["https://b.example".to_owned()];
        for (allowed, is_allowed) in [(None, true), (Some(&list[..]), true), (Some(&other[..]), false)] {
            let mut response = refusal(StatusCode::NOT_FOUND, "x");
            allow(&mut response, Some(&origin), allowed);
            let header = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(header.is_some(), is_allowed, "{allowed:?}");
        }
    }
}
