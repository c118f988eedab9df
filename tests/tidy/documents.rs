//! Documents and manifests of the repository, as far as the rules need them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::source::root;

/// Files with words for people, by their endings; those without one are scripts and the like.
const TEXTS: [&str; 10] = ["rs", "md", "toml", "yml", "lua", "sh", "js", "svg", "sol", ""];
/// Folders and files that are not ours to word, or that name the banned words themselves.
const LEFT_OUT: [&str; 7] =
    ["target", "bin", ".git", "docs/STYLE.md", "Cargo.lock", "tests/tidy.rs", "tests/tidy"];

/// Every member of the workspace with the names of the crates that it is built with, as Cargo reads its manifest.
pub(crate) fn manifests() -> Vec<(String, Vec<String>)> {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output =
        Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let member = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list");
        // Those of tests and of build scripts have a kind. A name is that of the crate, whatever it is called here.
        let linked = all.iter().filter(|dependency| dependency["kind"].is_null());
        (text(&package["name"]), linked.map(|dependency| text(&dependency["name"])).collect())
    };
    metadata["packages"].as_array().expect("a list").iter().map(member).collect()
}

/// Tests that a page names as `path/to/file.rs::name_of_test`.
pub(crate) fn test_references(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('`').skip(1).step_by(2).filter_map(|code| {
        let (file, test) = code.split_once(".rs::")?;
        let test = test.rsplit("::").next()?;
        Some((format!("{file}.rs"), test.to_owned()))
    })
}

/// Whether a file has a test of this name: a function with an attribute that says so.
pub(crate) fn has_test(code: &str, name: &str) -> bool {
    let Some((before, _)) = code.split_once(&format!("fn {name}(")) else { return false };
    let above = &before[..=before.rfind('\n').unwrap_or_default()];
    let lines = above.lines().rev().take_while(|line| {
        let line = line.trim();
        line.starts_with('#') || line.starts_with("//")
    });
    lines.into_iter().any(|line| line.trim().starts_with("#[") && line.contains("test"))
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
    // The head of the table and the line below it are no rows.
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    let words = rows.map(|line| {
        let mut cells = line.trim_matches('|').splitn(2, '|').map(str::trim);
        let (word, better) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let word = word.strip_prefix('`').and_then(|word| word.strip_suffix('`'));
        let word =
            word.unwrap_or_else(|| panic!("docs/STYLE.md: the banned word of `{line}` needs backticks"));
        (word.to_lowercase(), better.to_owned())
    });
    words.collect()
}

/// The words of a file on one line, in lower case: without the marks of comments and of emphasis, and with one blank
/// between two words, so that a phrase is found wherever lines break. With the line of each byte.
pub(crate) fn words(text: &str) -> (String, Vec<usize>) {
    let (mut all, mut lines) = (String::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches(['/', '!', '#', '*', '-', '>']).trim();
        let line = line.replace('’', "'").replace("**", "").replace(" *", " ").replace("* ", " ");
        for word in line.split_whitespace() {
            all += &word.to_lowercase();
            all.push(' ');
            lines.resize(all.len(), number + 1);
        }
    }
    (all, lines)
}

/// Where a text has this phrase, and not as a part of a longer word.
pub(crate) fn places_of(text: &str, phrase: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let matches = text.match_indices(phrase).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        let behind = text[at + phrase.len()..].chars().next();
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    });
    matches.map(|(at, _)| at).collect()
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
        let is_output =
            entry.file_name() == "target" || entry.file_name().to_string_lossy().starts_with("mutants.out");
        // What programs must be able to read need not be text, nor well worded.
        let is_corpus = entry.file_name() == "corpus";
        if is_output || is_corpus || LEFT_OUT.iter().any(|out| path == Path::new(out)) {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            collect(&path, all);
        } else if TEXTS.contains(&path.extension().and_then(|ending| ending.to_str()).unwrap_or_default()) {
            all.push((path.clone(), fs::read_to_string(root().join(&path)).expect("text")));
        }
    }
}
