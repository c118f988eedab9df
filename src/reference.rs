//! Renders the reference pages from tables. `make docs` writes them, and a test asserts that the files in the repository are in
//! step. A new page is one line in [`pages`].

mod commands;
mod datasets;
mod endpoints;
mod errors;
mod exit_codes;
mod failure_points;
mod keys;
mod markdown;
mod metrics;
mod retries;
mod settings;

use crate::config::defaults_toml;

/// A generated file.
pub struct Page {
    /// Its path in the repository.
    pub path: &'static str,
    /// Its content.
    pub text: String,
}

/// Every generated file.
#[must_use]
pub fn pages() -> Vec<Page> {
    let page = |path, text| Page { path, text };
    vec![
        page("config/default.toml", defaults_toml()),
        page("docs/reference/settings.md", settings::page()),
        page("docs/reference/commands.md", commands::page()),
        page("docs/reference/exit-codes.md", exit_codes::page()),
        page("docs/reference/endpoints.md", endpoints::page()),
        page("docs/reference/errors.md", errors::page()),
        page("docs/reference/metrics.md", metrics::page()),
        page("docs/reference/datasets.md", datasets::page()),
        page("docs/reference/keys.md", keys::page()),
        page("docs/reference/failure-points.md", failure_points::page()),
        page("docs/reference/retries.md", retries::page()),
    ]
}
