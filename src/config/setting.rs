//! The row type of the table of settings: name, default, limits, variables and sentences. The rows are in `settings/`, one file
//! a subsystem; help, `config/default.toml`, `check` and the reference are rendered from them. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The prefix of the variable that every setting has: `STATE_TRACKER__SECTION__KEY`.
pub(crate) const GENERIC_PREFIX: &str = "STATE_TRACKER__";

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const WEEK: Duration = Duration::from_hours(7 * 24);
pub(crate) const YEAR: Duration = Duration::from_hours(365 * 24);

/// One setting.
pub(crate) struct Setting {
    /// `section.key`
    pub(crate) key: &'static str,
    /// The lines of its doc comment. Lists show the part before the first full stop, colon or semicolon.
    pub(crate) text: &'static [&'static str],
    pub(crate) kind: Kind,
    pub(crate) default: DefaultValue,
    /// Its short variable, besides `STATE_TRACKER__SECTION__KEY`.
    pub(crate) variable: Option<&'static str>,
    /// Its short variable also takes whole seconds, without a unit.
    pub(crate) seconds: bool,
    /// Its value is never shown.
    pub(crate) secret: bool,
    /// What it must be set to, if it has no default.
    pub(crate) required: Option<&'static str>,
    pub(crate) bound: Option<Bound>,
    /// Its former key. It is refused, and the error suggests the present key.
    pub(crate) former: Option<&'static str>,
    /// A SIGHUP applies a new value; any other setting needs a restart.
    pub(crate) reloads: bool,
}

/// The kind of a setting's value, with its limits.
pub(crate) enum Kind {
    Integer {
        what: &'static str,
        range: RangeInclusive<i64>,
    },
    Duration(RangeInclusive<Duration>),
    Text(Text),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Yes or no.
    Flag,
    /// The path of a file, or nothing.
    File(Content),
    /// A list of market names.
    Names,
    /// A list of servers, `host:port` each.
    Servers,
    /// A list of URLs of a chain's nodes.
    Nodes,
    /// A list of applications that are polled.
    Applications,
}

/// The content of a file.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// One certificate or several, as PEM.
    Certificates,
    /// A private key, as PEM.
    Key,
    /// Tokens, one a line.
    Tokens,
    /// Public keys of tokens, as a JSON Web Key Set.
    Jwks,
}

/// A form of text: its description and its check.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) what: &'static str,
    pub(crate) accepts: fn(&str) -> bool,
}

/// The default of a setting.
pub(crate) enum DefaultValue {
    Integer(i64),
    Text(&'static str),
    Flag(bool),
    EmptyList,
}

/// A limit that is the value of another setting.
pub(crate) enum Bound {
    AtMost(&'static str),
    LessThan(&'static str),
}

pub(crate) const fn integer(default: i64, what: &'static str, range: RangeInclusive<i64>) -> Setting {
    Setting::new(Kind::Integer { what, range }, DefaultValue::Integer(default))
}

pub(crate) const fn duration(default: &'static str, range: RangeInclusive<Duration>) -> Setting {
    Setting::new(Kind::Duration(range), DefaultValue::Text(default))
}

pub(crate) const fn text(default: &'static str, form: Text) -> Setting {
    Setting::new(Kind::Text(form), DefaultValue::Text(default))
}

pub(crate) const fn choice(default: &'static str, words: &'static [&'static str]) -> Setting {
    Setting::new(Kind::Choice(words), DefaultValue::Text(default))
}

pub(crate) const fn flag(default: bool) -> Setting {
    Setting::new(Kind::Flag, DefaultValue::Flag(default))
}

pub(crate) const fn file(content: Content) -> Setting {
    Setting::new(Kind::File(content), DefaultValue::Text(""))
}

/// A list of names, servers or nodes: empty unless set.
pub(crate) const fn list(kind: Kind) -> Setting {
    Setting::new(kind, DefaultValue::EmptyList)
}

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Setting {
    const fn new(kind: Kind, default: DefaultValue) -> Self {
        Self {
            // `section!` sets key and text from the name and the doc comment of the row.
            key: "",
            text: &[],
            kind,
            default,
            variable: None,
            seconds: false,
            secret: false,
            required: None,
            bound: None,
            former: None,
            reloads: false,
        }
    }

    // `const`, since the table is a static: a mistake in it is an error of the compiler.
    pub(crate) const fn at(mut self, key: &'static str, text: &'static [&'static str]) -> Self {
        (self.key, self.text) = (key, text);
        self
    }

    pub(crate) const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    /// A duration whose variable also takes whole seconds, as that of the original does.
    pub(crate) const fn seconds_variable(mut self, name: &'static str) -> Self {
        self.seconds = true;
        self.variable(name)
    }

    pub(crate) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(crate) const fn required(mut self, what: &'static str) -> Self {
        self.required = Some(what);
        self
    }

    pub(crate) const fn at_most(mut self, key: &'static str) -> Self {
        self.bound = Some(Bound::AtMost(key));
        self
    }

    pub(crate) const fn less_than(mut self, key: &'static str) -> Self {
        self.bound = Some(Bound::LessThan(key));
        self
    }

    pub(crate) const fn formerly(mut self, key: &'static str) -> Self {
        self.former = Some(key);
        self
    }

    pub(crate) const fn reloads(mut self) -> Self {
        self.reloads = true;
        self
    }

    /// The section and the key in it.
    pub(crate) fn parts(&self) -> (&'static str, &'static str) {
        // `section!` joins every key from two names with a dot.
        self.key.split_once('.').unwrap_or((self.key, ""))
    }

    /// `STATE_TRACKER__SECTION__KEY`
    pub(crate) fn generic_variable(&self) -> String {
        format!("{GENERIC_PREFIX}{}", self.key.replace('.', "__").to_ascii_uppercase())
    }

    /// Its default without quotes; empty if there is none.
    pub(crate) fn shown_default(&self) -> String {
        match self.default {
            DefaultValue::Integer(n) => n.to_string(),
            DefaultValue::Text(text) => text.to_owned(),
            DefaultValue::Flag(yes) => yes.to_string(),
            DefaultValue::EmptyList => String::new(),
        }
    }

    /// Its sentences in one line.
    pub(crate) fn sentences(&self) -> String {
        joined(self.text)
    }

    /// The beginning of its sentences, up to the first full stop, colon or semicolon.
    pub(crate) fn brief(&self) -> String {
        let all = self.sentences();
        let end = [". ", "; ", ": "].into_iter().filter_map(|stop| all.find(stop)).min();
        all[..end.unwrap_or(all.len())].trim_end_matches('.').to_owned()
    }
}

/// A section: a table of the file, and the settings in it.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    /// Former names, which still work.
    pub(crate) former: &'static [&'static str],
    /// The lines of its doc comment.
    pub(crate) text: &'static [&'static str],
    pub(crate) settings: &'static [Setting],
}

impl Section {
    /// Its sentences in one line.
    pub(crate) fn sentences(&self) -> String {
        joined(self.text)
    }
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A type whose fields are the settings of a section.
pub(crate) trait Table {
    const SECTION: Section;
}

/// Declares a section: the typed struct, and the rows of its settings. A row is a doc comment, the field with its type, and the
/// setting: `port: u16 = integer(6379, "a TCP port", 1..=65_535).variable("REDIS_PORT"),`.
///
/// The second form is for a struct of another crate, whose fields must have the names of the rows.
macro_rules! section {
    (
        $(#[doc = $head:literal])+
        pub struct $Type:ident in $name:literal $(formerly $former:literal)? {
            $($(#[doc = $text:literal])+ $key:ident: $of:ty = $setting:expr,)+
        }
    ) => {
        $(#[doc = $head])+
        #[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $Type {
            $($(#[doc = $text])+ pub $key: $of,)+
        }

        $crate::config::setting::section! {
            $(#[doc = $head])+
            // The doc comments serve twice: as documentation of the fields, and as the sentences of help and reference.
            impl $name $(formerly $former)? for $Type {
                $($(#[doc = $text])+ $key = $setting,)+
            }
        }
    };
    (
        $(#[doc = $head:literal])+
        impl $name:literal $(formerly $former:literal)? for $Type:ty {
            $($(#[doc = $text:literal])+ $key:ident = $setting:expr,)+
        }
    ) => {
        impl $crate::config::setting::Table for $Type {
            const SECTION: $crate::config::setting::Section = $crate::config::setting::Section {
                name: $name,
                former: &[$($former)?],
                text: &[$($head),+],
                settings: &[$($setting.at(concat!($name, ".", stringify!($key)), &[$($text),+])),+],
            };
        }
    };
}
pub(crate) use section;
