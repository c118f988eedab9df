//! Reads an archive, and checks all of it before anything is written: each line by itself, then the ledger as a whole. A file may be
//! cut off, damaged or made by somebody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, Read},
};

use domain::{
    EpochId,
    tracker::{BadEntry, Entry, HOUR, Sealed, Sums},
};
use errors::sanitise;
use serde::de::DeserializeOwned;
use store_redis::KeyType;

use super::archive::{
    Archive, Checksum, Content, End, FORMAT, Head, Line, MOST_ELEMENTS, is_known_schema, schema_of,
};
use crate::{
    keys::{HOURS, LedgerPart, META, OPEN, SEALED, SUMS, hours_with_keys},
    ledger::SCHEMA,
};

/// The most bytes of a line.
const LONGEST_LINE: usize = 64 << 10;

/// Why a text is no archive.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ArchiveError {
    /// The line at fault, or the last one when the whole is.
    pub line: usize,
    /// What is wrong there.
    #[source]
    problem: Problem,
}

/// What is wrong with a line, or with the whole.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it can't be read")]
    Unreadable(#[source] io::Error),
    #[error("it has more than {LONGEST_LINE} bytes")]
    TooLong,
    #[error("the text ends here, without its last line `{{\"end\":…}}`: it was cut off")]
    CutOff,
    #[error("it is no {expected}: {}", reason(.error))]
    OtherForm { expected: &'static str, error: serde_json::Error },
    #[error("the format has version {0}, this program reads version {FORMAT}")]
    Format(u32),
    #[error("the ledger has version `{}`, this program knows versions up to {SCHEMA}", sanitise(.0))]
    Schema(String),
    #[error("it has more than {MOST_ELEMENTS} elements")]
    TooMany,
    #[error("`{}` is no part of a ledger", sanitise(.0))]
    UnknownPart(String),
    #[error("an element of `{part}` needs {needed}, and nothing else")]
    WrongFields { part: String, needed: &'static str },
    #[error("`{}` is in `{part}` twice", sanitise(.name))]
    Twice { part: String, name: String },
    #[error("`{}` is no epoch id", sanitise(.0))]
    NoEpoch(String),
    #[error("{0}")]
    Entry(#[from] BadEntry),
    #[error("`{part}` has no number `{}`", sanitise(.name))]
    UnknownNumber { part: String, name: String },
    #[error("`{}` is `{}`, which is no number that Redis counts with", sanitise(.name), sanitise(.value))]
    NoNumber { name: String, value: String },
    #[error("the score {0} is no time")]
    NoTime(f64),
    #[error("an empty text names no validator")]
    NoValidator,
    #[error("members of `{0}` expire at different times")]
    SeveralTimes(String),
    #[error("it has more hours of validators than a ledger can have")]
    TooManyHours,
    #[error("there is something behind the end")]
    BehindTheEnd,
    #[error("the end says {said} lines, there are {found}: some were lost or added")]
    OtherLength { said: usize, found: usize },
    #[error("the text was changed since it was exported: its checksum differs")]
    Changed,
    #[error("`meta` has no `{0}`, without which no tracker reads the ledger")]
    Lacks(&'static str),
    #[error("the head says version `{}`, the ledger itself another one", sanitise(.0))]
    TwoSchemas(String),
    #[error("`sealed` has {found} entries, and `sums` says {said}: the ledger was torn when it was exported")]
    Torn { found: usize, said: u64 },
    #[error("epoch {} is both unsealed and sealed", sanitise(.0))]
    Both(String),
}

/// Without its own position, which counts lines from the one at fault.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    sanitise(text.split(" at line ").next().unwrap_or_default())
}

impl Archive {
    /// Reads the text of an archive, within limits.
    ///
    /// # Errors
    /// [`ArchiveError`] for any text that is not a whole archive of a consistent ledger.
    pub fn read(text: impl BufRead) -> Result<Self, ArchiveError> {
        let mut lines = Lines { text, number: 0, checksum: Checksum::new(), checked: Checksum::new().text() };
        let archive = read(&mut lines);
        archive.map_err(|problem| ArchiveError { line: lines.number.max(1), problem })
    }
}

fn read(lines: &mut Lines<impl BufRead>) -> Result<Archive, Problem> {
    let Some(first) = lines.take()? else { return Err(Problem::CutOff) };
    let head: Head = parse(&first, "head of a ledger's archive")?;
    if head.format != FORMAT {
        return Err(Problem::Format(head.format));
    }
    if !is_known_schema(&head.schema) {
        return Err(Problem::Schema(head.schema));
    }
    let mut archive = Archive { head, parts: BTreeMap::new() };
    let mut elements = 0;
    loop {
        let Some(text) = lines.take()? else { return Err(Problem::CutOff) };
        if text.starts_with(b"{\"end\"") {
            let end: End = parse(&text, "end of an archive")?;
            let found = lines.number - 1;
            if end.end != found {
                return Err(Problem::OtherLength { said: end.end, found });
            }
            if end.checksum != lines.checked {
                return Err(Problem::Changed);
            }
            break;
        }
        elements += 1;
        if elements > MOST_ELEMENTS {
            return Err(Problem::TooMany);
        }
        add(&mut archive.parts, parse(&text, "element of a ledger")?)?;
    }
    if lines.take()?.is_some() {
        return Err(Problem::BehindTheEnd);
    }
    check_whole(&archive)?;
    Ok(archive)
}

/// The lines of a text, none of which is longer than the limit.
struct Lines<R> {
    text: R,
    /// That of the last line.
    number: usize,
    checksum: Checksum,
    /// That of the lines before the last one.
    checked: String,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end; `None` behind the last one.
    fn take(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut line = Vec::new();
        let mut limited = self.text.by_ref().take(LONGEST_LINE as u64 + 1);
        limited.read_until(b'\n', &mut line).map_err(Problem::Unreadable)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.checked = self.checksum.text();
        self.checksum.add(&line);
        match line.pop_if(|last| *last == b'\n') {
            Some(_) => Ok(Some(line)),
            None if line.len() > LONGEST_LINE => Err(Problem::TooLong),
            // Every line ends with a line break, the last one too.
            None => Err(Problem::CutOff),
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8], expected: &'static str) -> Result<T, Problem> {
    serde_json::from_slice(line).map_err(|error| Problem::OtherForm { expected, error })
}

/// Checks an element by the rules of its part, and adds it.
fn add(parts: &mut BTreeMap<String, Content>, line: Line) -> Result<(), Problem> {
    let name = line.part.clone();
    let Some(part) = LedgerPart::named(&name) else { return Err(Problem::UnknownPart(name)) };
    let wrong = |needed| Problem::WrongFields { part: name.clone(), needed };
    let twice = |element: String| Problem::Twice { part: name.clone(), name: element };
    let is_new = match (part.family().kind, line) {
        (
            KeyType::Hash,
            Line { field: Some(field), value: Some(value), member: None, score: None, expires: None, .. },
        ) => {
            check_field(&part, &field, &value)?;
            let content = parts.entry(name.clone()).or_insert_with(|| Content::Hash(BTreeMap::new()));
            let Content::Hash(fields) = content else { return Err(Problem::UnknownPart(name)) };
            fields.insert(field.clone(), value).is_none().then_some(()).ok_or(field)
        }
        (KeyType::Hash, _) => return Err(wrong("`field` and `value`")),
        (
            KeyType::Zset,
            Line {
                member: Some(member), score: Some(score), field: None, value: None, expires: None, ..
            },
        ) => {
            check_epoch(&member)?;
            if !(0.0..=u64::MAX as f64).contains(&score) {
                return Err(Problem::NoTime(score));
            }
            let content = parts.entry(name.clone()).or_insert_with(|| Content::Zset(BTreeMap::new()));
            let Content::Zset(members) = content else { return Err(Problem::UnknownPart(name)) };
            members.insert(member.clone(), score).is_none().then_some(()).ok_or(member)
        }
        (KeyType::Zset, _) => return Err(wrong("`member` and `score`")),
        (
            _,
            Line {
                member: Some(member), expires: Some(expires), field: None, value: None, score: None, ..
            },
        ) => {
            if member.is_empty() {
                return Err(Problem::NoValidator);
            }
            let content = parts.entry(name.clone());
            let content = content.or_insert_with(|| Content::Set { members: BTreeSet::new(), expires });
            let Content::Set { members, expires: other } = content else {
                return Err(Problem::UnknownPart(name));
            };
            if *other != expires {
                return Err(Problem::SeveralTimes(name));
            }
            members.insert(member.clone()).then_some(()).ok_or(member)
        }
        (_, _) => return Err(wrong("`member` and `expires`")),
    };
    is_new.map_err(twice)
}

fn check_epoch(text: &str) -> Result<(), Problem> {
    // In its one form: an epoch must not be counted under two ids.
    match EpochId::parse(text) {
        Ok(epoch) if epoch.as_str() == text => Ok(()),
        _ => Err(Problem::NoEpoch(text.to_owned())),
    }
}

fn check_field(part: &LedgerPart, field: &str, value: &str) -> Result<(), Problem> {
    let unknown = || Problem::UnknownNumber { part: part.name(), name: field.to_owned() };
    match *part.family() {
        OPEN => check_epoch(field).and(Entry::decode(value).map(drop).map_err(Problem::Entry)),
        SEALED => check_epoch(field).and(Sealed::decode(value).map(drop).map_err(Problem::Entry)),
        SUMS => {
            let is_known = Sums::default().fields().iter().any(|(name, _)| *name == field);
            if !is_known && field != ENTRIES {
                return Err(unknown());
            }
            check_number(field, value)
        }
        HOURS => {
            let Some((hour, name)) = field.split_once(':') else { return Err(unknown()) };
            check_number(field, hour)?;
            let is_hour = hour.parse().is_ok_and(|hour: u64| hour.is_multiple_of(HOUR));
            if !is_hour || !["epochs", "batches", "submissions"].contains(&name) {
                return Err(unknown());
            }
            check_number(field, value)
        }
        // Versions may add marks to `meta`, which are not counted with.
        META if field == "floor" || field == "latest" => check_epoch(value),
        META if field == "latest_entry" => Ok(Entry::decode(value).map(drop)?),
        META if field == BORN && !value.parse().is_ok_and(f64::is_finite) => {
            Err(Problem::NoNumber { name: field.to_owned(), value: value.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The number of sealed entries, among the sums.
const ENTRIES: &str = "entries";
/// When the ledger was made, in `meta`.
const BORN: &str = "born";

/// Redis counts with signed numbers, in their one form.
fn check_number(name: &str, value: &str) -> Result<(), Problem> {
    match value.parse::<i64>() {
        Ok(number) if number >= 0 && number.to_string() == value => Ok(()),
        _ => Err(Problem::NoNumber { name: name.to_owned(), value: value.to_owned() }),
    }
}

/// What no single line shows.
fn check_whole(archive: &Archive) -> Result<(), Problem> {
    let none = BTreeMap::new();
    let hash = |part: LedgerPart| match archive.parts.get(&part.name()) {
        Some(Content::Hash(fields)) => fields,
        _ => &none,
    };
    let [open, sealed, sums, meta] =
        [&OPEN, &SEALED, &SUMS, &META].map(|family| hash(LedgerPart::of_family(family)));
    match schema_of(&archive.parts) {
        None => return Err(Problem::Lacks("schema")),
        Some(schema) if schema != archive.head.schema => {
            return Err(Problem::TwoSchemas(archive.head.schema.clone()));
        }
        Some(_) => {}
    }
    if !meta.contains_key(BORN) {
        return Err(Problem::Lacks(BORN));
    }
    let said = sums.get(ENTRIES).and_then(|entries| entries.parse().ok()).unwrap_or(0);
    if said != sealed.len() as u64 {
        return Err(Problem::Torn { found: sealed.len(), said });
    }
    if let Some(both) = open.keys().find(|epoch| sealed.contains_key(*epoch)) {
        return Err(Problem::Both(both.clone()));
    }
    let hours = archive.parts.values().filter(|content| matches!(content, Content::Set { .. })).count();
    if hours > hours_with_keys(archive.head.exported_at).count() {
        return Err(Problem::TooManyHours);
    }
    Ok(())
}
