//! The pages that are rendered from tables: `make docs` writes them, and a test asserts that the files in the repository are in
//! step. A new page is one line in [`pages`].

mod commands;
mod endpoints;
mod exit_codes;
mod settings;

use std::fmt::Write as _;

use crate::config::defaults_toml;

/// A generated file.
pub struct Page {
    /// Where it is in the repository.
    pub path: &'static str,
    /// What it holds.
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
    ]
}

/// The head of a page in Markdown, with the note that it is generated from `source`.
fn head(title: &str, source: &str) -> String {
    format!("<!-- Generated from {source} by `make docs`. -->\n\n# {title}\n\n")
}

/// A table in Markdown.
fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(N));
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|"));
        // Writing to a String can't fail.
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}

/// In the font of code, unless there is nothing to show.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
