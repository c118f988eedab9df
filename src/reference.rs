//! The reference pages that are made from the tables: `docs/reference/*.md`.

mod datasets;
mod failure_points;
mod keys;
mod metrics;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name, without the directory and `.md`.
    pub name: &'static str,
    /// Its text, as Markdown.
    pub markdown: String,
}

/// The pages of metrics, datasets, keys and failure points.
#[must_use]
pub fn pages() -> Vec<Page> {
    let page = |name, markdown| Page { name, markdown };
    vec![
        page("metrics", metrics::page()),
        page("datasets", datasets::page()),
        page("keys", keys::page()),
        page("failure-points", failure_points::page()),
    ]
}

/// A table.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let rows: String = rows.into_iter().map(|row| line(&row)).collect();
    line(&head) + &rule + &rows
}

/// A name as code.
fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A number of seconds in the largest unit that fits.
fn duration(seconds: u64) -> String {
    match seconds {
        0 => "0 s".to_owned(),
        _ if seconds.is_multiple_of(86_400) && seconds > 86_400 => format!("{} days", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) && seconds > 60 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The variable that has the pages written instead of compared.
    const WRITE: &str = "WRITE_REFERENCE";

    #[test]
    fn the_pages_in_docs_are_those_of_the_tables() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
        for Page { name, markdown } in pages() {
            let path = directory.join(name).with_extension("md");
            if std::env::var_os(WRITE).is_some() {
                fs::create_dir_all(&directory).expect("a directory");
                fs::write(&path, &markdown).expect("written");
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(found == markdown, "{} is out of date: run this test with {WRITE}=1", path.display());
        }
    }

    #[test]
    fn durations_are_short() {
        let all = [0, 60, 90, 300, 3_600, 176_400, 86_400, 604_800].map(duration);
        assert_eq!(all, ["0 s", "60 s", "90 s", "5 min", "1 h", "49 h", "24 h", "7 days"]);
    }
}
