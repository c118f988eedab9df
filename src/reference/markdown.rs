//! Parts of Markdown pages. Pure.

use std::fmt::Write as _;

/// The head of a page in Markdown, with the note that it is generated from `source`.
pub(super) fn head(title: &str, source: &str) -> String {
    format!("<!-- Generated from {source} by `make docs`. -->\n\n# {title}\n\n")
}

/// A table in Markdown.
pub(super) fn table<const N: usize>(
    columns: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(N));
    for row in rows {
        // A bar would end the cell, also within code.
        let cells = row.map(|cell| cell.replace('|', "\\|"));
        // Writing to a String can't fail.
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}

/// The text as code; empty for an empty text.
pub(super) fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
