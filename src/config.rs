//! The configuration. Precedence, lowest first: the defaults, the file of `--config`, environment variables.
//!
//! All errors are reported at once, before anything starts. Each one names key, value, source and what is allowed.
//!
//! Each setting is one row of a table in `settings/`, from which parsing, checks, help, `config/default.toml`, `check` and the
//! reference are derived. This module reads files that it is given; the environment is an argument. It starts nothing.

mod checks;
mod credentials;
mod defaults;
mod entry;
mod failure_points;
mod files;
mod limits;
mod loaded;
mod markets;
mod notes;
mod oddity;
mod problem;
mod relations;
pub(crate) mod schema;
mod secret;
mod service_links;
pub(crate) mod setting;
mod settings;
mod sources;
mod suggest;
#[cfg(test)]
mod tests;
mod value;
mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use figment::Figment;
use figment::value::{Dict, Value};

pub(crate) use defaults::allowed;
pub use defaults::defaults_toml;
pub use files::UnreadableFile;
#[cfg(feature = "demo")]
pub(crate) use files::read_text;
pub use loaded::Loaded;
pub use markets::UnknownMarket;
pub use problem::ConfigErrors;
pub use secret::Secret;
pub(crate) use settings::SECTIONS;
pub use settings::{
    Alerts, Api, BadRelayer, BadWebhook, Campaigns, Collector, Compat, Config, Http, Index, Intervals,
    Ledger, Log, LogFormat, Mailbox, MarketMigration, MarketSettings, OperatorFiles, PeerFiles, Peers,
    Priority, Redis, Relayer, Retention, Rewards, Supervision, TokenKeys, Tracker,
};
#[cfg(feature = "failure-points")]
pub(crate) use suggest::nearest;
pub use variables::{CONFIG_VARIABLE, FAILURES_VARIABLE, OTHER_VARIABLES};

use entry::Entry;
use problem::Findings;
pub(crate) use problem::Problem;
use setting::Kind;

impl Config {
    /// Merges the layers and checks the result. `environment` is `std::env::vars_os()` in the program, since `vars` panics at a
    /// variable that is not UTF-8. Without `file`, the variable [`CONFIG_VARIABLE`] may name the file.
    ///
    /// # Errors
    /// All errors of the configuration, in one.
    pub fn load<K, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Loaded, ConfigErrors>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = environment.into_iter().map(|(k, v)| (k.into(), v.into()));
        let variables: BTreeMap<OsString, OsString> = variables.collect();
        let mut found = Findings::default();

        let named =
            variables.get::<std::ffi::OsStr>(CONFIG_VARIABLE.as_ref()).filter(|name| !name.is_empty());
        let mut from_file = match (file, named) {
            (Some(path), _) => Some(sources::file(path, None, &mut found)),
            (None, Some(name)) => Some(sources::file(Path::new(name), Some(CONFIG_VARIABLE), &mut found)),
            (None, None) => None,
        };
        let tables = from_file.iter_mut().flatten().flat_map(|layer| layer.take_markets());
        let tables: Vec<markets::Table> = tables.collect();
        // The missing keys are probably in that file: one error about the file is enough.
        let file_is_unreadable = matches!(from_file, Some(None));
        let figment = std::iter::once(sources::defaults())
            .chain(from_file.flatten())
            .chain(sources::environment(&variables, &mut found))
            .fold(Figment::new(), Figment::merge);
        let Findings { mut problems, mut notes } = found;

        let entries: Vec<Entry> =
            schema::settings().filter_map(|setting| Entry::of(setting, &figment)).collect();
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
        // Only among values that are allowed by themselves, so that one mistake is one sentence.
        let misfits = [relations::problems(usable), of_tables].concat();
        problems.extend(misfits);
        if !problems.is_empty() {
            return Err(errors(problems, &notes, &entries));
        }

        let mut config = typed(&entries)?;
        if let Some(filter) = checks::log_filter(&config.log.level) {
            config.log.level = filter;
        }
        config.output.prefix.truncate(config.output.prefix.trim_end_matches(':').len());
        config.markets = markets::resolve(&config.tracker, &tables);
        let origins = entries.iter().map(|e| (e.setting.key, e.origin.clone()));
        let origins = origins.collect();
        notes.extend(notes::mangled(&entries));
        notes.extend(notes::of(&config, &origins));
        let shown = entries.into_iter().map(Entry::into_shown).chain(markets::shown(&tables)).collect();
        Ok(Loaded { config, origins, notes, shown })
    }
}

/// The errors, with what the configuration says of the log as far as it can be read.
fn errors(problems: Vec<Problem>, notes: &[String], entries: &[Entry]) -> ConfigErrors {
    let log_is_json = entries.iter().any(Entry::is_json_log);
    ConfigErrors::new(problems).with_notes(notes).with_json_log(log_is_json)
}

/// Converts the values to the types of the settings. A duration becomes `{secs, nanos}`, the form in which serde reads it.
fn typed(entries: &[Entry]) -> Result<Config, ConfigErrors> {
    let mut sections: BTreeMap<&str, Dict> = BTreeMap::new();
    for Entry { setting, value, .. } in entries {
        let (section, key) = setting.parts();
        let value = match (&setting.kind, value::duration(value)) {
            (Kind::Duration(_), Some(duration)) => {
                let parts =
                    [("secs", Value::from(duration.as_secs())), ("nanos", duration.subsec_nanos().into())];
                parts.map(|(name, part)| (name.to_owned(), part)).into_iter().collect::<Dict>().into()
            }
            _ => value.clone(),
        };
        sections.entry(section).or_default().insert(key.to_owned(), value);
    }
    let sections: Dict =
        sections.into_iter().map(|(name, section)| (name.to_owned(), Value::from(section))).collect();
    Value::from(sections).deserialize().map_err(type_mismatch)
}

/// An error for a value that passed the checks and does not fit its type. A test keeps checks and types in step, so it is not
/// expected. It shows no value, which could be a secret.
fn type_mismatch(error: figment::Error) -> ConfigErrors {
    let problem =
        |e: figment::Error| Problem::general(format!("{}: the value does not fit", e.path.join(".")));
    ConfigErrors::new(error.into_iter().map(problem).collect())
}
