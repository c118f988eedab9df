//! The row types of the tables of operations and kinds, and the macros that define such tables.
//!
//! Each crate has one table of its operations. Metrics and logs use the labels as values of `operation` and `kind`; the reference
//! page of errors is generated from the same rows.

use std::fmt;

/// An operation that can fail, such as reading the timelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// The value of the label `operation`, such as `read_timelines`.
    pub label: &'static str,
    /// A verb with its object, as error messages begin: `read the timelines`.
    pub sentence: &'static str,
}

/// A kind of failure, such as a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The value of the label `kind`, such as `timeout`.
    pub label: &'static str,
    /// A sentence about the kind, without its full stop.
    pub meaning: &'static str,
}

impl Operation {
    /// A row of a table of operations.
    #[must_use]
    pub const fn new(label: &'static str, sentence: &'static str) -> Self {
        Self { label, sentence }
    }
}

impl Kind {
    /// A row of a table of kinds.
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

/// Defines a table of operations or kinds: one constant for each row, and one with all rows.
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
            // The lint for missing documentation applies to generated items too; the row's text serves.
            #[doc = $text]
            pub const $name: $crate::$row = $crate::$row::new($label, $text);
        )+
        $(#[$about])*
        pub const $all: &[$crate::$row] = &[$($name),+];
    };
}

/// Defines an enum of kinds, with the row of each.
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
            // Generated beside the variants, so that a list or a page of all kinds can't miss one.
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The row of the kind.
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
