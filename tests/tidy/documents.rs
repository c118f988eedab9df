//! Documents and manifests of the repository, as far as the rules need them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::source::root;

/// Files with words for people, by their endings.
const TEXTS: [&str; 6] = ["rs", "md", "toml", "yml", "lua", "sh"];
/// Folders and files that are not ours to word, or that name the banned words themselves.
const LEFT_OUT: [&str; 6] = ["target", ".git", "docs/STYLE.md", "Cargo.lock", "tests/tidy.rs", "tests/tidy"];

/// Every member of the workspace: its name, and its manifest.
pub(crate) fn manifests() -> Vec<(String, String)> {
    let mut files = vec![root().join("Cargo.toml"), root().join("actors/Cargo.toml")];
    let folders = fs::read_dir(root().join("crates")).expect("the folder of crates");
    files.extend(folders.map(|entry| entry.expect("an entry").path().join("Cargo.toml")));
    let name = |text: &str| {
        let package = text.split("[package]").nth(1).expect("a package");
        let line = package.lines().find(|line| line.starts_with("name = ")).expect("a name");
        line.trim_start_matches("name = ").trim_matches('"').to_owned()
    };
    let read = |file: PathBuf| {
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.into_iter().map(read).map(|text| (name(&text), text)).collect()
}

/// The names under `[dependencies]`.
pub(crate) fn dependencies(manifest: &str) -> impl Iterator<Item = String> + '_ {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| {
        let name: String =
            line.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        (!name.is_empty()).then_some(name)
    })
}

/// Tests that a page names as `path/to/file.rs::name_of_test`.
pub(crate) fn test_references(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('`').skip(1).step_by(2).filter_map(|code| {
        let (file, test) = code.split_once(".rs::")?;
        let test = test.rsplit("::").next()?;
        Some((format!("{file}.rs"), test.to_owned()))
    })
}

/// The sections of a page that are promises: headings of the third level, each with its text.
pub(crate) fn sections(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            all.push((line.to_owned(), String::new()));
        } else if let Some((_, body)) = all.last_mut() {
            *body += line;
            body.push('\n');
        }
    }
    all.retain(|(heading, _)| heading.starts_with("### "));
    all
}

/// The banned words of the style guide, in lower case, each with what is better.
pub(crate) fn banned_words() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs/STYLE.md")).expect("docs/STYLE.md");
    let section =
        text.split("\n## Banned words").nth(1).expect("the section `## Banned words` of docs/STYLE.md");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.splitn(2, '|');
        let word = cells.next()?.trim().trim_end_matches('`');
        let better = cells.next()?.trim().trim_end_matches('|').trim();
        // Three columns: words that a part may keep until its own redesign.
        (!better.contains('|')).then(|| (word.to_lowercase(), better.to_owned()))
    });
    rows.collect()
}

/// Whether a line has this word, and not as a part of a longer one.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    })
}

/// Every file with words for people.
pub(crate) fn text_files() -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    collect(Path::new(""), &mut all);
    assert!(all.len() > 300, "only {} files were found", all.len());
    all
}

fn collect(folder: &Path, all: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = folder.join(entry.file_name());
        if LEFT_OUT.iter().any(|out| path == Path::new(out)) || entry.file_name() == "target" {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            collect(&path, all);
        } else if path
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| TEXTS.contains(&ending))
        {
            all.push((path.clone(), fs::read_to_string(root().join(&path)).expect("text")));
        }
    }
}
