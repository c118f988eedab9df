//! Pages that the program serves itself: their files are within the program, and they ask nobody but their own port for anything.

use axum::{
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Response},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn file(kind: &'static str, text: &'static str) -> Response {
    // The next version of the program has other files under the same names.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response()
}

/// A page.
pub(crate) fn html(text: &'static str) -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], file("text/html; charset=utf-8", text)).into_response()
}

/// A script.
pub(crate) fn script(text: &'static str) -> Response {
    file("text/javascript; charset=utf-8", text)
}

/// A style.
pub(crate) fn style(text: &'static str) -> Response {
    file("text/css; charset=utf-8", text)
}
