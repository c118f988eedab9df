//! The configuration: defaults from `config/default.toml` (embedded), above them the file of `--config`,
//! above that environment variables. All that is wrong is reported at once, before anything starts, and
//! each sentence names key, value, where it came from and what is allowed.
//!
//! This module reads the files it is pointed at; the environment is handed in. It starts nothing.

mod checks;
mod markets;
mod notes;
mod problem;
mod relations;
mod schema;
mod secret;
mod service_links;
mod settings;
mod sources;
mod suggest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, hash_map::RandomState};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::LazyLock;

use figment::Figment;
use figment::value::Value;

pub use markets::UnknownMarket;
pub use problem::{ConfigErrors, EX_CONFIG};
pub use secret::Secret;
pub use settings::{
    Chain, Compat, Config, Http, Index, Intervals, Ledger, Log, LogFormat, Mailbox, MarketSettings, Priority,
    Redis, Retention, Supervision, Tracker,
};
pub use sources::CONFIG_VARIABLE;
#[cfg(feature = "failure-points")]
pub use sources::FAILURES_VARIABLE;

use problem::Problem;
use schema::{SETTINGS, Setting};

/// The commented defaults, as they are compiled in.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

const DEFAULT_ORIGIN: &str = "default";

/// A configuration that is allowed, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each setting came from: `redis.port` → `environment variable REDIS_PORT`, or `default`.
    pub origins: BTreeMap<&'static str, String>,
    /// What is allowed and yet worth a word.
    pub notes: Vec<String>,
    /// In the order of `config/default.toml`, the tables of markets last.
    shown: Vec<Shown>,
}

/// A setting as it is shown, secrets hidden.
#[derive(Clone, Debug)]
struct Shown {
    key: String,
    text: String,
    json: serde_json::Value,
    origin: String,
    /// Differs where the values differ, secret ones too, and tells nothing of them.
    mark: u64,
}

impl Config {
    /// Puts the layers together and checks them. `environment` is `std::env::vars_os()` in the program.
    ///
    /// # Errors
    ///
    /// Everything that is not allowed, in one error.
    pub fn load<K, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Loaded, ConfigErrors>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut problems = Vec::new();
        let mut notes = Vec::new();

        let defaults = sources::toml(DEFAULT_ORIGIN.to_owned(), DEFAULTS, &mut problems);
        let mut from_file = file.map(|path| sources::file(path, &mut problems));
        let tables = from_file.iter_mut().flatten().flat_map(|layer| layer.take_markets());
        let tables: Vec<markets::Table> = tables.collect();
        let file_is_unreadable = matches!(from_file, Some(None));
        let variables = environment.into_iter().map(|(k, v)| (k.into(), v.into()));
        let figment = defaults
            .into_iter()
            .chain(from_file.flatten())
            .chain(sources::environment(variables, &mut problems, &mut notes))
            .fold(Figment::new(), Figment::merge);

        let entries: Vec<Entry> =
            SETTINGS.iter().filter_map(|setting| Entry::of(setting, &figment)).collect();
        for entry in &entries {
            let key_is_known_bad = problems.iter().any(|p| p.key == Some(entry.setting.key));
            if entry.is_missing() && (file_is_unreadable || key_is_known_bad) {
                continue;
            }
            problems.extend(entry.problems());
        }
        let usable = |key: &str| {
            let entry = entries.iter().find(|entry| entry.setting.key == key)?;
            let bad = problems.iter().any(|p| p.key == Some(entry.setting.key));
            (!bad).then_some(entry)
        };
        let tables_fit = |entry: &Entry| markets::misfits(&tables, &entry.names());
        let of_tables = usable("tracker.markets").map(tables_fit).unwrap_or_default();
        let misfits = [relations::problems(usable), of_tables].concat();
        problems.extend(misfits);
        if !problems.is_empty() {
            return Err(ConfigErrors::new(problems));
        }

        let mut config: Config = figment.extract().map_err(unforeseen)?;
        if let Some(filter) = checks::log_filter(&config.log.level) {
            config.log.level = filter;
        }
        config.output.prefix.truncate(config.output.prefix.trim_end_matches(':').len());
        config.markets = markets::resolve(&config.tracker, &tables);
        let origins = entries.iter().map(|e| (e.setting.key, e.origin.clone()));
        let origins = origins.collect();
        notes.extend(notes::of(&config, &origins));
        let shown = entries.into_iter().map(Entry::into_shown).chain(markets::shown(&tables)).collect();
        Ok(Loaded { config, origins, notes, shown })
    }
}

impl Loaded {
    /// The keys whose values are others than those of `earlier`, without those that say which markets there are and how
    /// each is treated.
    pub fn differs_from(&self, earlier: &Self) -> Vec<&'static str> {
        let mark = |loaded: &Self, key: &str| {
            loaded.shown.iter().find(|shown| shown.key == key).map(|shown| shown.mark)
        };
        let keys = SETTINGS.iter().map(|setting| setting.key).filter(|key| !markets::is_of_markets(key));
        keys.filter(|key| mark(self, key) != mark(earlier, key)).collect()
    }

    /// One line a setting: key, value (secrets hidden), where it came from.
    pub fn describe(&self) -> String {
        // A long list of markets, or a market's name, must not push all the others to the right.
        const WIDEST: usize = 44;
        let lengths = self.shown.iter().map(|shown| shown.key.len());
        let keys = lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
        let lengths = self.shown.iter().map(|shown| shown.text.chars().count());
        let values = lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
        let mut lines = String::new();
        for Shown { key, text, origin, .. } in &self.shown {
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

/// A setting's effective value.
struct Entry {
    setting: &'static Setting,
    value: Value,
    shown: String,
    origin: String,
}

impl Entry {
    fn of(setting: &'static Setting, figment: &Figment) -> Option<Self> {
        let value = figment.find_value(setting.key).ok()?;
        let origin = figment.get_metadata(value.tag())?.name.to_string();
        Some(Self { setting, shown: checks::shown(setting, &value), value, origin })
    }

    fn into_shown(self) -> Shown {
        let shown_as_it_is = !self.setting.secret || checks::is_unset(&self.value);
        let json = shown_as_it_is.then(|| serde_json::to_value(&self.value).ok()).flatten();
        let json = json.unwrap_or_else(|| secret::HIDDEN.into());
        let mark = mark(&self.value);
        Shown { key: self.setting.key.to_owned(), text: self.shown, json, origin: self.origin, mark }
    }

    /// The items of a list of names.
    fn names(&self) -> Vec<&str> {
        let items = self.value.as_array().unwrap_or_default();
        items.iter().filter_map(Value::as_str).collect()
    }

    fn is_missing(&self) -> bool {
        self.setting.required.is_some() && checks::is_unset(&self.value)
    }

    fn problems(&self) -> Vec<Problem> {
        let key = self.setting.key;
        match (self.setting.required, self.setting.variable) {
            (Some(what), Some(variable)) if self.is_missing() => vec![Problem::of(
                key,
                format!("{key} is not set: set {variable} to {what}, or {key} in the file of --config"),
            )],
            _ => checks::refusals(self.setting, &self.value)
                .into_iter()
                .map(|(shown, allowed)| Problem::bad_value(key, &shown, &self.origin, &allowed))
                .collect(),
        }
    }
}

/// A number that differs where values differ, and is another one in each process.
fn mark(value: &Value) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(checks::plain(value))
}

/// What the checks let pass and the types refuse. A test keeps the two in step, so this is not expected;
/// it never shows a value, which could be a secret.
fn unforeseen(error: figment::Error) -> ConfigErrors {
    let problem = |e: figment::Error| {
        let origin = e.metadata.as_ref().map_or("unknown", |m| m.name.as_ref());
        Problem::general(format!("{}: the value (from {origin}) does not fit", e.path.join(".")))
    };
    ConfigErrors::new(error.into_iter().map(problem).collect())
}
