//! The rows of the tables of operations and kinds.
//!
//! Each crate has one table of its operations. The labels are the values of the labels `operation` and `kind` of metrics and logs; the
//! reference of errors is made from the same rows.

use std::fmt;

/// What is attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// The value of the label `operation`, such as `read_timelines`.
    pub label: &'static str,
    /// The same for people, as a verb with its object: `read the timelines`.
    pub sentence: &'static str,
}

/// How it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The value of the label `kind`, such as `timeout`.
    pub label: &'static str,
    /// What it means, as a sentence without its full stop.
    pub meaning: &'static str,
}

impl Operation {
    /// A row.
    #[must_use]
    pub const fn new(label: &'static str, sentence: &'static str) -> Self {
        Self { label, sentence }
    }
}

impl Kind {
    /// A row.
    #[must_use]
    pub const fn new(label: &'static str, meaning: &'static str) -> Self {
        Self { label, meaning }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)
    }
}

/// A table of operations or kinds: a constant for each row, and one for all of them.
///
/// ```
/// errors::table! {
///     /// Every operation of this crate.
///     ALL: Operation;
///     READ_TIMELINES: "read_timelines", "read the timelines";
///     WRITE_DATASETS: "write_datasets", "write the datasets";
/// }
/// assert_eq!(ALL, [READ_TIMELINES, WRITE_DATASETS]);
/// ```
#[macro_export]
macro_rules! table {
    ($(#[$about:meta])* $all:ident: $row:ident; $($name:ident: $label:literal, $text:literal;)+) => {
        $(
            #[doc = $text]
            pub const $name: $crate::$row = $crate::$row::new($label, $text);
        )+
        $(#[$about])*
        pub const $all: &[$crate::$row] = &[$($name),+];
    };
}

/// An enumeration of kinds, each with its row.
///
/// ```
/// errors::kinds! {
///     /// How a call fails.
///     pub enum CallError;
///     Busy: "busy", "The line is busy";
///     Unknown: "unknown", "There is no such number";
/// }
/// assert_eq!(CallError::ALL.len(), 2);
/// assert_eq!(CallError::Busy.row().label, "busy");
/// ```
#[macro_export]
macro_rules! kinds {
    ($(#[$about:meta])* pub enum $name:ident; $($variant:ident: $label:literal, $meaning:literal;)+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)+
        }

        impl $name {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its row in the table of kinds.
            #[must_use]
            pub const fn row(self) -> $crate::Kind {
                match self {
                    $(Self::$variant => $crate::Kind::new($label, $meaning),)+
                }
            }

            /// The value of the label `kind`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                self.row().label
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
