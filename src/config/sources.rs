//! Where values come from: the embedded defaults, a TOML file, environment variables and the files they
//! name. Each becomes a [`Layer`] that knows its own name. Reads files, and nothing of the process
//! environment: that is handed in.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::checks;
use super::markets;
use super::problem::Problem;
use super::schema::{self, Kind, SETTINGS, Setting};
use super::secret::HIDDEN;
use super::service_links::{Environment, is_link_url, service_of};
use super::suggest;

/// The beginning of a variable that can set any key.
pub(crate) const GENERIC: &str = "STATE_TRACKER__";
pub(crate) const OURS: &str = "STATE_TRACKER_";
const FILE: &str = "_FILE";

/// The variable that names the file of `--config`: read by the command line.
pub const CONFIG_VARIABLE: &str = "STATE_TRACKER_CONFIG";
/// The variable that arms failure points, in a build that has them. In one that has none it is an unknown variable.
#[cfg(feature = "failure-points")]
pub const FAILURES_VARIABLE: &str = "STATE_TRACKER_FAILURE_POINTS";
const RETENTION: &str = "STATE_TRACKER_RETENTION_DAYS";

/// Values of known settings that came from one place.
pub(crate) struct Layer {
    /// Where from, as it stands behind "from": `environment variable REDIS_PORT`.
    origin: String,
    values: Vec<(&'static Setting, Value)>,
    /// The tables of single markets.
    markets: Vec<markets::Table>,
}

impl Layer {
    pub(crate) fn new(origin: String, values: Vec<(&'static Setting, Value)>) -> Self {
        Self { origin, values, markets: Vec::new() }
    }

    /// Takes the tables of single markets out; they are no settings of sections.
    pub(crate) fn take_markets(&mut self) -> Vec<markets::Table> {
        std::mem::take(&mut self.markets)
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut sections: BTreeMap<&str, Dict> = BTreeMap::new();
        for (setting, value) in &self.values {
            let (section, key) = setting.parts();
            let section = sections.entry(section).or_default();
            section.insert(key.to_owned(), value.clone());
        }
        let dict: Dict =
            sections.into_iter().map(|(name, dict)| (name.to_owned(), Value::from(dict))).collect();
        Ok(Profile::Default.collect(dict))
    }
}

/// A TOML file: its layer, or nothing when it can't be read at all.
pub(crate) fn file(path: &Path, problems: &mut Vec<Problem>) -> Option<Layer> {
    let name = format!("file {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => toml(name, &text, problems),
        Err(error) => {
            problems.push(Problem::general(format!("{name} can't be read: {error}")));
            None
        }
    }
}

/// A TOML text by the name `origin`, or nothing when it is no TOML.
pub(crate) fn toml(origin: String, text: &str, problems: &mut Vec<Problem>) -> Option<Layer> {
    let tables = match <Toml as Format>::from_str::<Dict>(text) {
        Ok(tables) => tables,
        Err(error) => {
            // The error's own display quotes the line, and the line may hold a password.
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
            let message = error.message().replace('\n', "; ");
            let text = format!("{origin}, line {line}: not TOML: {message}");
            problems.push(Problem::general(text));
            return None;
        }
    };
    let (mut values, mut of_markets) = (Vec::new(), Vec::new());
    for (section, content) in tables {
        match content {
            content if section == markets::SECTION => {
                of_markets = markets::read(content, &origin, problems);
            }
            Value::Dict(_, keys) if suggest::is_section(&section) => {
                for (key, value) in keys {
                    let path = format!("{section}.{key}");
                    match schema::find(&path) {
                        Some(setting) => values.push((setting, value)),
                        None => problems.push(suggest::unknown_key(&path, &value, &origin)),
                    }
                }
            }
            Value::Dict(..) => problems.push(suggest::unknown_section(&section, &origin)),
            value if suggest::is_section(&section) => {
                problems.push(suggest::no_section(&section, &value, &origin));
            }
            value => problems.push(suggest::unknown_key(&section, &value, &origin)),
        }
    }
    Some(Layer { origin, values, markets: of_markets })
}

/// The environment: one layer a variable, and notes about variables that do nothing.
pub(crate) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> Vec<Layer> {
    let mut found: BTreeMap<&'static str, Vec<Source>> = BTreeMap::new();
    // Sorted, so that the same environment always gives the same report.
    let variables: BTreeMap<OsString, OsString> = variables.collect();
    for (name, value) in &variables {
        let Some(name) = name.to_str().map(str::to_owned) else {
            continue;
        };
        match meaning(&name, value, &Environment(&variables)) {
            Meaning::None => {}
            _ if value.is_empty() => {}
            Meaning::Setting(setting, by) => match value.to_str().map(str::to_owned) {
                Some(value) => {
                    found.entry(setting.key).or_default().push(Source { setting, by, name, value })
                }
                None => problems.push(Problem::of(
                    setting.key,
                    format!("{}: the value (from environment variable {name}) is not UTF-8", setting.key),
                )),
            },
            Meaning::Retention => {
                notes.push(format!("{name} is accepted and ignored: the original never read it either"))
            }
            Meaning::Unknown => problems.push(suggest::unknown_variable(&name)),
        }
    }
    let mut layers = Vec::new();
    for setting in SETTINGS {
        match found.remove(setting.key).unwrap_or_default().as_slice() {
            [] => {}
            [source] => match source.read() {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            },
            several => {
                let names: BTreeSet<&str> = several.iter().map(|s| s.name.as_str()).collect();
                let names: Vec<&str> = names.into_iter().collect();
                problems.push(Problem::of(
                    setting.key,
                    format!(
                        "{} is set more than once: by {}; set only one of them",
                        setting.key,
                        names.join(" and by ")
                    ),
                ));
            }
        }
    }
    layers
}

/// How a variable gives a value.
#[derive(Clone, Copy)]
enum By {
    Value,
    /// The variable names a file.
    File,
}

enum Meaning {
    /// Not ours.
    None,
    Setting(&'static Setting, By),
    Retention,
    Unknown,
}

fn meaning(name: &str, value: &OsStr, environment: &Environment<'_>) -> Meaning {
    if let Some(setting) = lookup(name) {
        return Meaning::Setting(setting, By::Value);
    }
    if let Some(setting) = name.strip_suffix(FILE).and_then(lookup)
        && setting.from_file
    {
        return Meaning::Setting(setting, By::File);
    }
    match name {
        RETENTION => Meaning::Retention,
        CONFIG_VARIABLE => Meaning::None,
        #[cfg(feature = "failure-points")]
        FAILURES_VARIABLE => Meaning::None,
        _ if name.starts_with(OURS) && !is_service_link(name, value, environment) => Meaning::Unknown,
        _ => Meaning::None,
    }
}

fn lookup(name: &str) -> Option<&'static Setting> {
    match name.strip_prefix(GENERIC) {
        Some(path) => schema::find(&path.to_ascii_lowercase().replace("__", ".")),
        None => SETTINGS.iter().find(|s| s.variable == Some(name)),
    }
}

/// Whether an orchestrator has set it, for a service named `state-tracker` or `state-tracker-…`. What begins like any of our
/// keys counts only where the service is announced by another variable.
fn is_service_link(name: &str, value: &OsStr, environment: &Environment<'_>) -> bool {
    let service = value.to_str().and_then(|value| service_of(name, value));
    service.is_some_and(|service| !name.starts_with(GENERIC) || environment.announces(service))
        || environment.repeats(name)
}

/// A variable that sets a setting.
struct Source {
    setting: &'static Setting,
    by: By,
    name: String,
    value: String,
}

impl Source {
    fn read(&self) -> Result<Layer, Problem> {
        let key = self.setting.key;
        let mut origin = format!("environment variable {}", self.name);
        let value = match self.by {
            By::Value => self.parsed(&self.value, &origin)?,
            By::File => {
                origin = format!("file {}, named by {origin}", self.value);
                let refused = |why: &str| Problem::of(key, format!("{key}: {origin}, {why}"));
                let text = std::fs::read_to_string(&self.value)
                    .map_err(|error| refused(&format!("can't be read: {error}")))?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() {
                    return Err(refused("is empty"));
                }
                self.parsed(text, &origin)?
            }
        };
        Ok(Layer::new(origin, vec![(self.setting, value)]))
    }

    fn parsed(&self, text: &str, origin: &str) -> Result<Value, Problem> {
        let text = match self.setting.seconds && self.setting.variable == Some(&self.name) {
            true => in_seconds(text),
            false => Cow::Borrowed(text),
        };
        let refused = |allowed: &str| {
            let shown = if self.setting.secret { HIDDEN.to_owned() } else { format!("{text:?}") };
            Problem::bad_value(self.setting.key, &shown, origin, allowed)
        };
        let value = value(self.setting, &text).map_err(refused)?;
        match (checks::refusals(self.setting, &value).pop(), self.collision()) {
            (Some((_, allowed)), Some(explained)) => Err(refused(&format!("{allowed} ({explained})"))),
            _ => Ok(value),
        }
    }

    /// Why the value is that of a link, where the variable has the name of one.
    fn collision(&self) -> Option<String> {
        const REMEDY: &str = "set enableServiceLinks: false in the pod, or rename the service";
        if let Some(service) = service_of(&self.name, &self.value) {
            let service = service.to_ascii_lowercase().replace('_', "-");
            return Some(format!("Kubernetes sets this variable for a service named {service}: {REMEDY}"));
        }
        let is_copied = is_link_url(&self.value);
        is_copied.then(|| format!("Kubernetes sets such a value for the port of a service: {REMEDY}"))
    }
}

/// A number without a unit, as a duration has it. Anything else is left as it is: a duration with its unit will do.
fn in_seconds(text: &str) -> Cow<'_, str> {
    match text.trim().parse::<u64>() {
        Ok(seconds) => Cow::Owned(format!("{seconds}s")),
        Err(_) => Cow::Borrowed(text),
    }
}

/// What the text of a variable means for a setting. Texts stay texts, digits or not; what is no number
/// stays a text too, to be refused with the other values.
fn value(setting: &Setting, text: &str) -> Result<Value, &'static str> {
    Ok(match setting.kind {
        Kind::Integer { .. } => match text.trim().parse::<i64>() {
            Ok(n) => Value::from(n),
            Err(_) => Value::from(text),
        },
        Kind::Duration(_) => Value::from(text.trim()),
        Kind::Text { .. } => Value::from(text),
        Kind::Flag => match text.trim() {
            "true" => Value::from(true),
            "false" => Value::from(false),
            _ => Value::from(text),
        },
        Kind::Names | Kind::Servers | Kind::Nodes => Value::Array(Tag::Default, names(text)?),
    })
}

/// A comma list or a JSON array. `docker run --env-file` hands quotes on as they stand in the file, so
/// one pair around the whole is left out.
fn names(text: &str) -> Result<Vec<Value>, &'static str> {
    let text = unquoted(text.trim());
    if text.starts_with('[') {
        let names: Vec<String> = serde_json::from_str(text)
            .map_err(|_| "a comma list or a JSON array of names in double quotes")?;
        return Ok(names.into_iter().map(Value::from).collect());
    }
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(text.split(',').map(|name| Value::from(name.trim())).collect())
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .map_or(text, str::trim)
}
