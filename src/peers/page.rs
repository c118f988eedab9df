//! The page that shows the peers: who is connected now, and charts of what was measured. `scripts/assets` brings the library that draws
//! the charts, whose version and hash it has.

use axum::response::Response;

use crate::pages;

/// The page.
pub(super) async fn page() -> Response {
    pages::html(include_str!("page/page.html"))
}

/// Its script.
pub(super) async fn script() -> Response {
    pages::script(include_str!("page/page.js"))
}

/// Its style.
pub(super) async fn style() -> Response {
    pages::style(include_str!("page/page.css"))
}

/// The library of charts.
pub(super) async fn charts() -> Response {
    pages::script(include_str!("page/uplot.js"))
}

/// Its style.
pub(super) async fn style_of_charts() -> Response {
    pages::style(include_str!("page/uplot.css"))
}
