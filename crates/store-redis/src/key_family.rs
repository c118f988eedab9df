//! Key families: the pattern of a key's name, the type of the key, its TTL, who writes and reads it, and what removes it.
//!
//! Each subsystem has its tables of these rows. The stores build the names of keys from them; the doctor, the pruner and
//! the reference page read them.
//!
//! **Invariant:** a name stands in one row. Code that needs a key builds it from its row.

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
    /// A stream, or a type of a module.
    Other,
    /// There is no such key.
    None,
}

impl KeyType {
    /// As Redis calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
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
            "none" => Self::None,
            _ => Self::Other,
        }
    }
}

/// Whether keys of a family have a TTL, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// They must have one: without it they would stay for ever. Its length is a setting's or another program's.
    Required,
    /// They have one of so many seconds.
    Fixed(u64),
    /// They have one of so many intervals of their writer, and of at least so many seconds.
    Intervals {
        /// How many intervals.
        times: u32,
        /// In seconds.
        least: u64,
    },
    /// With or without.
    Optional,
    /// They must not have one: totals or progress would be lost with them.
    Forbidden,
}

impl Ttl {
    /// Whether a key without a TTL is a fault.
    #[must_use]
    pub fn is_required(self) -> bool {
        matches!(self, Self::Required | Self::Fixed(_) | Self::Intervals { .. })
    }
}

/// Who writes the keys of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Other programs: the producers.
    Producers,
    /// This program, for other programs.
    Outputs,
    /// This program, for itself.
    State,
}

/// What keeps the keys of a family, and what they hold, from growing for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The keys expire.
    Expiry,
    /// The pruner removes members of the zset whose score is older.
    Pruned(Age),
    /// An actor removes what is over, by rules of its own.
    Actor {
        /// Which one.
        name: &'static str,
        /// What is older than this, where that is the rule.
        age: Option<Age>,
    },
    /// The programs that write or consume them do.
    Others,
    /// They hold a bounded number of values.
    Bounded,
}

/// How old something may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// As the configuration says.
    Configured(Retention),
    /// So many seconds.
    Seconds(u64),
    /// So many epochs before the market's current one.
    Epochs(u64),
}

/// The ages that the configuration sets. Which setting it is, only the edge knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Of the timelines that producers write.
    Timelines,
    /// Of the timelines of priorities.
    Priorities,
    /// Of sealed epochs in the ledger.
    Ledger,
    /// Of the state index.
    Index,
    /// Of what a block has changed: the deepest reorganisation, in blocks.
    Undo,
}

/// A family of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name behind the space (such as `P:M:`), with a `*` for each id.
    pub name: &'static str,
    /// The type of the keys.
    pub kind: KeyType,
    /// Their TTL.
    pub ttl: Ttl,
    /// Who writes them.
    pub writer: Writer,
    /// Who reads them.
    pub reader: &'static str,
    /// What removes them.
    pub removal: Removal,
    /// What they hold.
    pub sentence: &'static str,
}

impl Family {
    /// The key of these ids in a space, `""` for none. There must be an id for each `*`.
    #[must_use]
    pub fn key(&self, space: &str, ids: &[&dyn Display]) -> String {
        debug_assert_eq!(self.ids(), ids.len(), "{}: an id for each *", self.name);
        let mut key = String::with_capacity(space.len() + self.name.len() + 24);
        key.push_str(space);
        if !space.is_empty() {
            key.push(':');
        }
        let mut parts = self.name.split('*');
        key.push_str(parts.next().unwrap_or_default());
        for (part, id) in parts.zip(ids) {
            // Writing into a string can't fail.
            let _ = write!(key, "{id}{part}");
        }
        key
    }

    /// How many ids its keys have.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.name.matches('*').count()
    }

    /// Whether what stands behind the space of a key is a name of this family. In a name with dots an id is one segment;
    /// in any other name, which has one id at most, it is any text.
    #[must_use]
    pub fn fits(&self, rest: &str) -> bool {
        if self.name.contains('.') {
            let (mut segments, mut names) = (rest.split('.'), self.name.split('.'));
            let fits =
                |segment: &str, name: &str| if name == "*" { !segment.is_empty() } else { segment == name };
            return loop {
                match (segments.next(), names.next()) {
                    (None, None) => break true,
                    (Some(segment), Some(name)) if fits(segment, name) => {}
                    _ => break false,
                }
            };
        }
        match self.name.split_once('*') {
            None => self.name == rest,
            Some((before, after)) => {
                let id = rest.strip_prefix(before).and_then(|id| id.strip_suffix(after));
                id.is_some_and(|id| !id.is_empty())
            }
        }
    }
}

/// The families of keys that stand in spaces of one kind.
#[derive(Clone, Debug)]
pub struct FamilyTable {
    /// What they are.
    pub title: &'static str,
    /// What stands before their names, as in `P:M:`; empty for nothing.
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
    fn an_id_is_any_text_behind_colons_and_a_segment_between_dots_and_never_empty() {
        for (name, fitting, others) in [
            (
                "epoch:*:state",
                &["epoch:7:state", "epoch:a:b:state"][..],
                &["epoch::state", "epoch:7:states"][..],
            ),
            ("stats:daily", &["stats:daily"], &["stats:daily:7", "stats", ""]),
            ("A.*.*", &["A.m.7"], &["A.m", "A.m.", "A.m.7.8", "A..7", "B.m.7", "A"]),
            ("*.Current", &["m.Current"], &[".Current", "a.m.Current", "m.Current."]),
            ("t:*:windows", &["t:m:windows"], &["t::windows", "t:windows"]),
        ] {
            let family = named(name);
            assert!(fitting.iter().all(|key| family.fits(key)), "{name}");
            assert!(!others.iter().any(|key| family.fits(key)), "{name}");
        }
    }
}
