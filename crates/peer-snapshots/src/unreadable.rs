//! Why a line was not read.

use serde_json::error::Category;

use crate::trail::{Problem, Trail};
use crate::wire::is_number;

/// Why a line is no message.
///
/// It holds no text of the sender, so it may be logged as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}", about(*.message), place(.field), says(*.reason, *.expected))]
pub struct Unreadable {
    /// The reason, for a metric.
    pub reason: Reason,
    /// The message that the line seems to be, if that is known.
    pub message: Option<&'static str>,
    /// The path of the field, for example `miners[3].hashrate`; empty for the text itself.
    pub field: String,
    /// What the field may be, if that is known.
    pub expected: Option<&'static str>,
}

fn about(message: Option<&'static str>) -> String {
    message.map(|message| format!("{message}: ")).unwrap_or_default()
}

fn place(field: &str) -> String {
    if field.is_empty() { "it ".to_owned() } else { format!("`{field}` ") }
}

fn says(reason: Reason, expected: Option<&'static str>) -> String {
    let what = reason.about();
    expected.map_or_else(|| what.to_owned(), |expected| format!("{what}, expected {expected}"))
}

/// Why a line is no message, as a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It isn't UTF-8.
    NotUtf8,
    /// It isn't JSON.
    Syntax,
    /// It has the fields of no message, or of several.
    Shape,
    /// A required field is absent.
    MissingField,
    /// A field is there twice.
    RepeatedField,
    /// A value has another type.
    WrongType,
    /// A number is negative, too large, or not finite.
    OutOfRange,
    /// A type of a service, connection or message is not known.
    UnknownType,
    /// Two entries have the same id.
    RepeatedId,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::NotUtf8,
        Self::Syntax,
        Self::Shape,
        Self::MissingField,
        Self::RepeatedField,
        Self::WrongType,
        Self::OutOfRange,
        Self::UnknownType,
        Self::RepeatedId,
    ];

    /// The label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::Syntax => "syntax",
            Self::Shape => "shape",
            Self::MissingField => "missing_field",
            Self::RepeatedField => "repeated_field",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::UnknownType => "unknown_type",
            Self::RepeatedId => "repeated_id",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::NotUtf8 => "is not UTF-8",
            Self::Syntax => "is not JSON",
            Self::Shape => "has the fields of no single message",
            Self::MissingField => "is missing",
            Self::RepeatedField => "is there twice",
            Self::WrongType => "has another type",
            Self::OutOfRange => "is out of range",
            Self::UnknownType => "is of no known type",
            Self::RepeatedId => "repeats the id of another entry",
        }
    }
}

impl Unreadable {
    pub(crate) fn new(reason: Reason, message: Option<&'static str>, field: String) -> Self {
        Self { reason, message, field, expected: None }
    }

    /// What a failed reading of this text means.
    pub(crate) fn of(error: &serde_json::Error, trail: &Trail, text: &[u8]) -> Self {
        let (reason, expected) = match trail.problem() {
            Some(Problem::WrongType(expected)) if error.classify() != Category::Data => {
                // The value is no JSON, except that numbers may be meant.
                let is_meant = is_number(expected) && token_before(text, error).is_some_and(is_some_number);
                if is_meant { (Reason::OutOfRange, Some(expected)) } else { (Reason::Syntax, None) }
            }
            None => (Reason::Syntax, None),
            Some(Problem::Missing) => (Reason::MissingField, None),
            Some(Problem::Twice) => (Reason::RepeatedField, None),
            Some(Problem::WrongType(expected)) => (Reason::WrongType, Some(expected)),
            Some(Problem::OutOfRange(expected)) => (Reason::OutOfRange, Some(expected)),
            Some(Problem::Unknown(expected)) => (Reason::UnknownType, Some(expected)),
        };
        Self { reason, message: None, field: trail.path(), expected }
    }
}

/// The token where an error was found.
fn token_before<'t>(text: &'t [u8], error: &serde_json::Error) -> Option<&'t str> {
    // A line has no line ends but those that count as blanks; then the columns are not known.
    let at = if error.line() == 1 { error.column().min(text.len()) } else { return None };
    let is_end = |byte: &u8| b":,[]{}".contains(byte);
    let start = text[..at.saturating_sub(1)].iter().rposition(is_end).map_or(0, |end| end + 1);
    let end = text[start..].iter().position(is_end).map_or(text.len(), |end| start + end);
    std::str::from_utf8(&text[start..end]).ok().map(str::trim)
}

/// Whether a token means a number, also one that JSON does not have: NaN, an infinity, or 1e999.
fn is_some_number(token: &str) -> bool {
    token.len() < 400 && token.parse::<f64>().is_ok()
}
