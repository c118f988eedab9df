//! Key families: the pattern of a key's name, the type of the key, its TTL, its writer and reader, and what removes it.
//!
//! Each subsystem has tables of these rows. The stores build the names of keys from them; the doctor, the pruner and
//! the reference page read them.
//!
//! **Invariant:** a name is in one row. Code that needs a key builds it from its row.

use std::fmt::{Display, Write as _};

/// The types of keys that Redis knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A string.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// A type of a module.
    Other,
    /// The key does not exist.
    None,
}

impl KeyType {
    /// The name in Redis.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Other => "other type",
            Self::None => "none",
        }
    }

    /// The type that `TYPE` names.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "string" => Self::String,
            "list" => Self::List,
            "set" => Self::Set,
            "zset" => Self::Zset,
            "hash" => Self::Hash,
            "stream" => Self::Stream,
            "none" => Self::None,
            _ => Self::Other,
        }
    }
}

/// Whether keys of a family have a TTL, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// A TTL is mandatory, since nothing else removes the keys. A setting or another program decides its length.
    Required,
    /// A TTL of this many seconds.
    Fixed(u64),
    /// A TTL of a number of the writer's intervals, and of at least `least` seconds.
    Intervals {
        /// How many intervals.
        times: u32,
        /// In seconds.
        least: u64,
    },
    /// Keys with and without a TTL are both right.
    Optional,
    /// A TTL is a fault: totals or progress would be lost when it ends.
    Forbidden,
}

impl Ttl {
    /// Whether a key without a TTL is a fault.
    #[must_use]
    pub fn is_required(self) -> bool {
        matches!(self, Self::Required | Self::Fixed(_) | Self::Intervals { .. })
    }
}

/// The writer of a family's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The producers, which are other programs.
    Producers,
    /// This program; other programs read the keys.
    Outputs,
    /// This program; no other program reads the keys.
    State,
}

/// How a family's keys and their contents stay bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The keys expire.
    Expiry,
    /// The pruner removes members of the zset whose score is older than this.
    Pruned(Age),
    /// An actor removes what is finished, by rules of its own.
    Actor {
        /// The actor.
        name: &'static str,
        /// The age from which it removes, if age is the rule.
        age: Option<Age>,
    },
    /// Programs that write or consume the keys remove them.
    OtherPrograms,
    /// The keys hold a bounded number of values by their nature.
    Bounded,
}

/// An age limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Set by the configuration.
    Configured(Retention),
    /// A fixed number of seconds.
    Seconds(u64),
    /// A number of epochs before the market's current one.
    Epochs(u64),
}

/// The age limits that the configuration sets. Only the edge knows the names of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Of the timelines that producers write.
    Timelines,
    /// Of the timelines of priorities.
    Priorities,
    /// Of sealed epochs in the ledger.
    Ledger,
    /// Of sealed epochs in the producers' set of active ones.
    Active,
    /// Of the state index.
    Index,
    /// Of the undo log: the deepest reorganisation, in blocks.
    Undo,
}

/// A family of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name after the space (such as `P:M:`), with a `*` for each id.
    pub name: &'static str,
    /// The type of the keys.
    pub kind: KeyType,
    /// The rule for their TTL.
    pub ttl: Ttl,
    /// Their writer.
    pub writer: Writer,
    /// Their readers.
    pub reader: &'static str,
    /// What removes them.
    pub removal: Removal,
    /// A sentence about their contents.
    pub sentence: &'static str,
}

impl Family {
    /// The name of the key with these ids, in a space or in none (`""`). Each `*` takes one id.
    #[must_use]
    pub fn key(&self, space: &str, ids: &[&dyn Display]) -> String {
        // Only in debug builds: a pass builds thousands of names. A missing id would join the parts without it.
        debug_assert_eq!(self.ids(), ids.len(), "{}: an id for each *", self.name);
        // 24 bytes for ids fit an epoch or two numbers without another allocation.
        let mut key = String::with_capacity(space.len() + self.name.len() + 24);
        key.push_str(space);
        if !space.is_empty() {
            key.push(':');
        }
        let mut parts = self.name.split('*');
        // `split` yields at least one part.
        key.push_str(parts.next().unwrap_or_default());
        for (part, id) in parts.zip(ids) {
            // Writing into a string can't fail.
            let _ = write!(key, "{id}{part}");
        }
        key
    }

    /// The number of ids in a key's name.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.name.matches('*').count()
    }

    /// Whether the part of a key after its space is a name of this family. In a name with dots, or with several ids between colons, an id
    /// is one segment; in any other name it is any text.
    #[must_use]
    pub fn matches(&self, rest: &str) -> bool {
        let separator = match (self.name.contains('.'), self.ids()) {
            (true, _) => Some('.'),
            (false, 2..) => Some(':'),
            _ => None,
        };
        if let Some(separator) = separator {
            let (mut segments, mut names) = (rest.split(separator), self.name.split(separator));
            let segment_matches =
                |segment: &str, name: &str| if name == "*" { !segment.is_empty() } else { segment == name };
            return loop {
                match (segments.next(), names.next()) {
                    (None, None) => break true,
                    (Some(segment), Some(name)) if segment_matches(segment, name) => {}
                    _ => break false,
                }
            };
        }
        match self.name.split_once('*') {
            None => self.name == rest,
            Some((before, after)) => {
                // An id may have colons itself, so only the text around it is compared.
                let id = rest.strip_prefix(before).and_then(|id| id.strip_suffix(after));
                id.is_some_and(|id| !id.is_empty())
            }
        }
    }
}

/// The families of keys in spaces of one kind.
#[derive(Clone, Debug)]
pub struct FamilyTable {
    /// The title on the reference page.
    pub title: &'static str,
    /// The prefix of their names, such as `P:M:`; may be empty.
    pub space: &'static str,
    /// The families.
    pub rows: Vec<&'static Family>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn named(name: &'static str) -> Family {
        let (kind, ttl, writer) = (KeyType::Hash, Ttl::Optional, Writer::State);
        Family { name, kind, ttl, writer, reader: "", removal: Removal::Bounded, sentence: "" }
    }

    #[test]
    fn a_key_is_built_from_the_space_the_name_and_an_id_for_each_star() {
        assert_eq!(named("epoch:*:state").key("P:M", &[&7]), "P:M:epoch:7:state");
        assert_eq!(named("finalizerQueue").key("", &[]), "finalizerQueue");
        assert_eq!(named("A.*.*").key("s", &[&"m", &7]), "s:A.m.7");
        assert_eq!(named("*.CurrentEpochID").key("", &[&"m"]), "m.CurrentEpochID");
    }

    #[test]
    fn an_id_is_any_text_after_a_colon_and_one_segment_between_dots_but_never_empty() {
        for (name, fitting, others) in [
            (
                "epoch:*:state",
                &["epoch:7:state", "epoch:a:b:state"][..],
                &["epoch::state", "epoch:7:states"][..],
            ),
            ("stats:daily", &["stats:daily"], &["stats:daily:7", "stats", ""]),
            ("A.*.*", &["A.m.7"], &["A.m", "A.m.", "A.m.7.8", "A..7", "B.m.7", "A"]),
            ("*.Current", &["m.Current"], &[".Current", "a.m.Current", "m.Current."]),
            ("s:*:*:v", &["s:m:7:v"], &["s:m:v", "s:m:7:8:v", "s::7:v", "s:m:7:w"]),
            ("t:*:windows", &["t:m:windows"], &["t::windows", "t:windows"]),
        ] {
            let family = named(name);
            assert!(fitting.iter().all(|key| family.matches(key)), "{name}");
            assert!(!others.iter().any(|key| family.matches(key)), "{name}");
        }
    }
}
