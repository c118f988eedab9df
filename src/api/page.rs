//! The description and the page that shows it.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{Api, description};
use crate::pages;

/// The description.
pub(super) async fn description(State(api): State<Api>) -> Response {
    axum::Json(description::description(&api.parts.public_host)).into_response()
}

/// The page.
pub(super) async fn page() -> Response {
    pages::html(include_str!("page.html"))
}

/// Its script.
pub(super) async fn script() -> Response {
    pages::script(include_str!("page.js"))
}

/// Its style.
pub(super) async fn style() -> Response {
    pages::style(include_str!("page.css"))
}
