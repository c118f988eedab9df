//! Families of keys: what a name stands for, of which type its keys are, whether they expire, who writes them.
//!
//! Each subsystem has one table of these rows; whoever looks at keys without reading them asks the tables.

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

/// Whether keys of a family have a TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// They do: without one they would stay for ever.
    Expires,
    /// They must not: totals would be lost with them.
    Stays,
    /// As it comes.
    Either,
}

/// Who writes the keys of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The producers.
    Producers,
    /// The tracker, for readers.
    Datasets,
    /// The tracker, for itself.
    Ledger,
}

/// A family of keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// What stands behind `P:M:`, with a `*` where ids stand.
    pub name: &'static str,
    /// Of which type they are.
    pub kind: KeyType,
    /// Whether they have a TTL.
    pub life: Life,
    /// Who writes them.
    pub writer: Writer,
}

/// A row of a table of families.
#[must_use]
pub const fn family(name: &'static str, kind: KeyType, life: Life, writer: Writer) -> Family {
    Family { name, kind, life, writer }
}
