//! A valid configuration with the source of each value, and its reports. Secrets are hidden before they get here.

use std::collections::{BTreeMap, hash_map::RandomState};
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use figment::value::Value;

use super::schema;
use super::settings::Config;
use super::value::toml_text;
use super::variables::VARIABLE_ORIGIN;

/// The source of a value that is not set.
pub(crate) const DEFAULT_ORIGIN: &str = "default";

/// A valid configuration, with the source of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each setting came from: `redis.port` → `environment variable REDIS_PORT`, or `default`.
    pub origins: BTreeMap<&'static str, String>,
    /// Valid values that are probably mistakes, one sentence each.
    pub notes: Vec<String>,
    /// Every setting, in the order of the table; the tables of markets follow.
    pub(crate) shown: Vec<Shown>,
}

/// A setting as it is shown, secrets hidden.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) key: String,
    pub(crate) text: String,
    pub(crate) json: serde_json::Value,
    pub(crate) origin: String,
    /// Equal for equal values, so that a changed secret is noticed without being kept.
    pub(crate) fingerprint: u64,
}

impl Shown {
    fn is_changed(&self) -> bool {
        self.origin != DEFAULT_ORIGIN
    }
}

/// A hash of a value, with a key that is random for each process: it can't be used to guess a secret.
pub(crate) fn fingerprint(value: &Value) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(toml_text(value))
}

impl Loaded {
    /// The keys whose values differ from those of `earlier` and that only a restart applies.
    pub fn differs_from(&self, earlier: &Self) -> Vec<&'static str> {
        let fingerprint = |loaded: &Self, key: &str| {
            loaded.shown.iter().find(|shown| shown.key == key).map(|shown| shown.fingerprint)
        };
        // Settings that a SIGHUP applies are in effect already.
        let keys = schema::settings().filter(|setting| !setting.reloads).map(|setting| setting.key);
        keys.filter(|key| fingerprint(self, key) != fingerprint(earlier, key)).collect()
    }

    /// The environment variable that lists the markets, if a variable does. Its value can't change while the process runs.
    pub fn markets_variable(&self) -> Option<&str> {
        self.origins.get("tracker.markets")?.strip_prefix(VARIABLE_ORIGIN)
    }

    /// The settings that are set, one line each: key, value (secrets hidden), source.
    pub fn describe_changes(&self) -> String {
        self.lines(Shown::is_changed)
    }

    /// The same for the settings that have their defaults.
    pub fn describe_defaults(&self) -> String {
        self.lines(|shown| !shown.is_changed())
    }

    fn lines(&self, which: impl Fn(&Shown) -> bool) -> String {
        // Longer keys and values don't widen their column: a list of markets would push every source out of sight.
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

    /// All settings and notes as `{"settings": {key: {"value", "from"}}, "notes": [...]}`, secrets hidden.
    pub fn to_json(&self) -> serde_json::Value {
        let setting = |shown: &Shown| {
            (shown.key.clone(), serde_json::json!({ "value": shown.json, "from": shown.origin }))
        };
        let settings: serde_json::Map<_, _> = self.shown.iter().map(setting).collect();
        serde_json::json!({ "settings": settings, "notes": self.notes })
    }
}
