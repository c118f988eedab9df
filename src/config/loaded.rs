//! A configuration that is allowed, with the source of each value, and how it is shown. Secrets are hidden here already.

use std::collections::{BTreeMap, hash_map::RandomState};
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use figment::value::Value;

use super::schema;
use super::settings::Config;
use super::value::plain;
use super::variables::VARIABLE;

/// The source of a value that nobody has set.
pub(crate) const DEFAULT_ORIGIN: &str = "default";

/// A configuration that is allowed, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each setting came from: `redis.port` → `environment variable REDIS_PORT`, or `default`.
    pub origins: BTreeMap<&'static str, String>,
    /// What is allowed and yet worth a word.
    pub notes: Vec<String>,
    /// In the order of the table of settings, the tables of markets last.
    pub(crate) shown: Vec<Shown>,
}

/// A setting as it is shown, secrets hidden.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) key: String,
    pub(crate) text: String,
    pub(crate) json: serde_json::Value,
    pub(crate) origin: String,
    /// Differs where the values differ, secret ones too, and tells nothing of them.
    pub(crate) mark: u64,
}

impl Shown {
    fn is_changed(&self) -> bool {
        self.origin != DEFAULT_ORIGIN
    }
}

/// A number that differs where values differ, and is another one in each process.
pub(crate) fn mark(value: &Value) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(plain(value))
}

impl Loaded {
    /// The keys whose values differ from those of `earlier` and that only a restart applies.
    pub fn differs_from(&self, earlier: &Self) -> Vec<&'static str> {
        let mark = |loaded: &Self, key: &str| {
            loaded.shown.iter().find(|shown| shown.key == key).map(|shown| shown.mark)
        };
        let keys = schema::settings().filter(|setting| !setting.reloads).map(|setting| setting.key);
        keys.filter(|key| mark(self, key) != mark(earlier, key)).collect()
    }

    /// The environment variable that lists the markets, unless a file does. It can't change while the process runs.
    pub fn markets_variable(&self) -> Option<&str> {
        self.origins.get("tracker.markets")?.strip_prefix(VARIABLE)
    }

    /// One line a setting: key, value (secrets hidden), where it came from. Those that somebody set.
    pub fn describe_changes(&self) -> String {
        self.lines(Shown::is_changed)
    }

    /// The same for settings that nobody set.
    pub fn describe_defaults(&self) -> String {
        self.lines(|shown| !shown.is_changed())
    }

    fn lines(&self, which: impl Fn(&Shown) -> bool) -> String {
        // A long list of markets, or a market's name, must not push all the others to the right.
        const WIDEST: usize = 44;
        let shown: Vec<&Shown> = self.shown.iter().filter(|shown| which(shown)).collect();
        let lengths = shown.iter().map(|shown| shown.key.len());
        let keys = lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
        let lengths = shown.iter().map(|shown| shown.text.chars().count());
        let values = lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
        let mut lines = String::new();
        for Shown { key, text, origin, .. } in shown {
            // Writing to a String can't fail.
            let _ = writeln!(lines, "{key:keys$}  {text:values$}  {origin}");
        }
        lines
    }

    /// The same for programs: `{"settings": {key: {"value", "from"}}, "notes": [...]}`, secrets hidden.
    pub fn to_json(&self) -> serde_json::Value {
        let setting = |shown: &Shown| {
            (shown.key.clone(), serde_json::json!({ "value": shown.json, "from": shown.origin }))
        };
        let settings: serde_json::Map<_, _> = self.shown.iter().map(setting).collect();
        serde_json::json!({ "settings": settings, "notes": self.notes })
    }
}
