//! A ledger as text: JSON lines, the head first, then a line an element, then the end with a checksum.
//!
//! ```text
//! {"ledger_archive":1,"schema":"2","exported_at":1795341550,"space":"0x…:0x…"}
//! {"part":"sealed","field":"100","value":"1795334490,…"}
//! {"part":"opened","member":"100","score":1795334460.0}
//! {"part":"validators:1795334400","member":"validator1","expires":1795514400000}
//! {"end":4,"checksum":"af63bd4c8601b7df"}
//! ```
//!
//! The order of elements is fixed, so that two exports of one ledger differ in their heads alone. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    keys::{LedgerPart, META},
    ledger::{SCHEMA, UPGRADABLE},
};

/// The version of the format.
pub(super) const FORMAT: u32 = 1;

/// The most elements that an archive may have; a ledger with an epoch a minute has some ten thousand.
pub const MOST_ELEMENTS: usize = 500_000;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version of the format.
    #[serde(rename = "ledger_archive")]
    pub format: u32,
    /// The version of the ledger.
    pub schema: String,
    /// When it was exported, in Unix seconds.
    pub exported_at: u64,
    /// `P:M` in checksum form. The ledger itself names no market.
    pub space: String,
}

/// The line of an element. Which fields it has depends on the type of its part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// The part of the ledger.
    pub(super) part: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) score: Option<f64>,
    /// When the key expires, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
}

/// The last line. A file without it was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// How many lines are before it.
    pub(super) end: usize,
    /// Of these lines.
    pub(super) checksum: String,
}

/// FNV-1a, which finds damage by chance and none by intent.
pub(super) struct Checksum(u64);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = bytes.iter().fold(self.0, step);
    }

    pub(super) fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// The content of a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Hash(BTreeMap<String, String>),
    Zset(BTreeMap<String, f64>),
    Set {
        members: BTreeSet<String>,
        /// When its key expires, in Unix milliseconds.
        expires: u64,
    },
}

impl Content {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Hash(fields) => fields.len(),
            Self::Zset(members) => members.len(),
            Self::Set { members, .. } => members.len(),
        }
    }

    fn lines(&self, part: &str) -> Vec<Line> {
        let line = || Line { part: part.to_owned(), ..Line::default() };
        match self {
            Self::Hash(fields) => {
                let pairs = fields.iter().map(|(field, value)| (Some(field.clone()), Some(value.clone())));
                pairs.map(|(field, value)| Line { field, value, ..line() }).collect()
            }
            Self::Zset(members) => {
                let pairs = members.iter().map(|(member, score)| (Some(member.clone()), Some(*score)));
                pairs.map(|(member, score)| Line { member, score, ..line() }).collect()
            }
            Self::Set { members, expires } => {
                let members = members.iter().map(|member| Some(member.clone()));
                members.map(|member| Line { member, expires: Some(*expires), ..line() }).collect()
            }
        }
    }
}

/// The ledger of a market, outside of Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    pub(super) head: Head,
    /// By their names; none is empty.
    pub(super) parts: BTreeMap<String, Content>,
}

impl Archive {
    /// What it says of itself.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How many elements all parts have together.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.parts.values().map(Content::len).sum()
    }

    /// The text, which [`Archive::read`] reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = json(&self.head);
        for (part, content) in &self.parts {
            content.lines(part).iter().for_each(|line| text += &json(line));
        }
        let mut checksum = Checksum::new();
        checksum.add(text.as_bytes());
        text += &json(&End { end: 1 + self.elements(), checksum: checksum.text() });
        text
    }
}

/// The version of a ledger in its own words.
pub(super) fn schema_of(parts: &BTreeMap<String, Content>) -> Option<&str> {
    let Content::Hash(fields) = parts.get(&LedgerPart::of_family(&META).name())? else { return None };
    fields.get("schema").map(String::as_str)
}

/// Whether this program reads a ledger of this version, or can upgrade it.
pub(super) fn is_known_schema(schema: &str) -> bool {
    schema == UPGRADABLE || schema == SCHEMA.to_string()
}

fn json(line: &impl Serialize) -> String {
    // Structs of texts and numbers can always be written.
    serde_json::to_string(line).unwrap_or_default() + "\n"
}
