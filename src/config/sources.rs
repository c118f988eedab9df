//! The sources of values: the defaults of the table, a TOML file, environment variables and the files that they name. Each source
//! becomes a [`Layer`] with a name for error messages. Reads files; the environment is an argument.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::net::Ipv6Addr;
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::failure_points;
use super::files;
use super::loaded::DEFAULT_ORIGIN;
use super::markets;
use super::oddity::PEM;
use super::problem::{Findings, Problem};
use super::schema::{self, MARKETS};
use super::secret::HIDDEN;
use super::service_links::{Environment, is_link_url, service_of};
use super::setting::{DefaultValue, GENERIC_PREFIX, Kind, Section, Setting};
use super::settings::SECTIONS;
use super::suggest;
use super::value::refused;
use super::variables::{
    CONFIG_VARIABLE, FAILURES_VARIABLE, FILE_SUFFIX, OWN_PREFIX, RETENTION_DAYS, VARIABLE_ORIGIN,
};

/// Values of known settings from one source.
pub(crate) struct Layer {
    /// The source, in the words that follow "from" in messages: `environment variable REDIS_PORT`.
    origin: String,
    values: Vec<(&'static Setting, Value)>,
    /// The tables of single markets.
    markets: Vec<markets::Table>,
}

impl Layer {
    pub(crate) fn new(origin: String, values: Vec<(&'static Setting, Value)>) -> Self {
        Self { origin, values, markets: Vec::new() }
    }

    /// Removes and returns the tables of single markets, which are not settings of sections.
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

/// The default of each setting.
pub(crate) fn defaults() -> Layer {
    let values = schema::settings().map(|setting| (setting, default_value(setting))).collect();
    Layer::new(DEFAULT_ORIGIN.to_owned(), values)
}

/// The default of a setting as a value.
pub(crate) fn default_value(setting: &Setting) -> Value {
    match setting.default {
        DefaultValue::Integer(n) => Value::from(n),
        DefaultValue::Text(text) => Value::from(text),
        DefaultValue::Flag(yes) => Value::from(yes),
        DefaultValue::EmptyList => Value::Array(Tag::Default, Vec::new()),
    }
}

/// The layer of a TOML file; `None` if the file can't be read. `named_by` is the variable that names the file.
pub(crate) fn file(path: &Path, named_by: Option<&str>, found: &mut Findings) -> Option<Layer> {
    let name = format!("file {}", shown_path(path));
    match files::read_text(path) {
        Ok(text) => toml(name, &text, found),
        Err(error) => {
            let by = named_by.map(|variable| format!(", named by environment variable {variable},"));
            let problem = format!("{name}{} {error}", by.unwrap_or_default());
            found.problems.push(Problem::general(problem));
            None
        }
    }
}

/// The layer of a TOML text from `origin`; `None` if it is not TOML.
fn toml(origin: String, text: &str, found: &mut Findings) -> Option<Layer> {
    let tables = match <Toml as Format>::from_str::<Dict>(text) {
        Ok(tables) => tables,
        Err(error) => {
            // The error displays the line, and the line may hold a password: only its number and the message are used.
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
            let message = error.message().replace('\n', "; ");
            let text = format!("{origin}, line {line}: not TOML: {message}");
            found.problems.push(Problem::general(text));
            return None;
        }
    };
    found.problems.extend(SECTIONS.iter().filter_map(|section| named_twice(section, &tables, &origin)));
    let (mut values, mut of_markets) = (Vec::new(), Vec::new());
    for (name, content) in tables {
        // An unknown section is one error, and not one for each of its keys.
        match (schema::section(&name), content) {
            (_, content) if name == MARKETS => {
                of_markets = markets::read(content, &origin, &mut found.problems);
            }
            (Some(section), Value::Dict(_, keys)) => {
                found.notes.extend(section.former_name(&name, &origin));
                for (key, value) in keys {
                    match section.setting(&key) {
                        Some(setting) => values.push((setting, value)),
                        None => {
                            let path = format!("{name}.{key}");
                            found.problems.push(suggest::unknown_key(&path, &value, &origin));
                        }
                    }
                }
            }
            (None, Value::Dict(..)) => found.problems.push(suggest::unknown_section(&name, &origin)),
            (Some(_), value) => found.problems.push(suggest::section_without_table(&name, &value, &origin)),
            (None, value) => found.problems.push(suggest::unknown_key(&name, &value, &origin)),
        }
    }
    Some(Layer { origin, values, markets: of_markets })
}

/// A section that a file contains under its name and under a former one.
fn named_twice(section: &Section, tables: &Dict, origin: &str) -> Option<Problem> {
    let (name, former) = (section.name, section.former.iter().find(|former| tables.contains_key(**former))?);
    tables.contains_key(name).then(|| {
        Problem::general(format!(
            "[{former}] (from {origin}) is not allowed beside [{name}]: it is the former name of that section; move \
             its keys there"
        ))
    })
}

impl Section {
    fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.parts().1 == key)
    }

    /// The note about a section under a former name.
    fn former_name(&self, name: &str, origin: &str) -> Option<String> {
        let text =
            format!("[{name}] (from {origin}) is the former name of [{}], and works until 1.0", self.name);
        (name != self.name).then_some(text)
    }
}

/// The layers of the environment, one a variable, and the notes about variables without effect.
pub(crate) fn environment(variables: &BTreeMap<OsString, OsString>, found: &mut Findings) -> Vec<Layer> {
    let mut sources: BTreeMap<&'static str, Vec<Source>> = BTreeMap::new();
    // The map is sorted, so that the same environment always gives the same messages.
    for (name, value) in variables {
        // All names of settings are ASCII: this variable belongs to another program.
        let Some(name) = name.to_str() else {
            continue;
        };
        match meaning(name, value, &Environment(variables)) {
            Meaning::None => {}
            Meaning::Other if value.is_empty() => {}
            Meaning::Other => {
                let is_set = |name: &str| variables.contains_key(OsStr::new(name));
                found.notes.extend(suggest::nearly_variable(name, is_set));
            }
            // Compose files pass variables on as `NAME=${NAME:-}`: empty means not set.
            _ if value.is_empty() => {}
            Meaning::Setting(setting, by) => match value.to_str() {
                Some(value) => {
                    found.notes.extend(former_variable(setting, name));
                    let source = Source { setting, by, name: name.to_owned(), value: value.to_owned() };
                    sources.entry(setting.key).or_default().push(source);
                }
                None => found.problems.push(Problem::of(
                    setting.key,
                    format!("{}: the value (from environment variable {name}) is not UTF-8", setting.key),
                )),
            },
            Meaning::Retention => {
                let note = format!("{name} is accepted and ignored: the original never read it either");
                found.notes.push(note);
            }
            Meaning::FailurePoints => {
                let refusal = failure_points::refusal(value, cfg!(feature = "failure-points"));
                found.problems.extend(refusal);
            }
            Meaning::Unknown => found.problems.push(suggest::unknown_variable(name)),
        }
    }
    // In the order of the table, so that errors appear in the order in which people read the settings.
    let mut layers = Vec::new();
    for setting in schema::settings() {
        match sources.remove(setting.key).unwrap_or_default().as_slice() {
            [] => {}
            [source] => match source.read() {
                Ok(layer) => layers.push(layer),
                Err(problem) => found.problems.push(problem),
            },
            // Which of two variables wins would be a guess: a deployment with both is refused.
            several => {
                let names: BTreeSet<&str> = several.iter().map(|s| s.name.as_str()).collect();
                let names: Vec<&str> = names.into_iter().collect();
                found.problems.push(Problem::of(
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

/// The note about a variable that contains a former name of a section.
fn former_variable(setting: &Setting, name: &str) -> Option<String> {
    let (now, section) = (setting.generic_variable(), setting.parts().0);
    // A prefix and not the whole name, which may end with _FILE.
    (name.starts_with(GENERIC_PREFIX) && !name.starts_with(&now)).then(|| {
        format!(
            "environment variable {name} has the former name of [{section}], and works until 1.0: set {now}"
        )
    })
}

/// How a variable provides a value.
#[derive(Clone, Copy)]
enum By {
    Value,
    /// The variable names a file.
    File,
}

enum Meaning {
    /// A variable that an orchestrator has set, or one that is read elsewhere.
    None,
    /// A variable of another program, probably.
    Other,
    Setting(&'static Setting, By),
    Retention,
    FailurePoints,
    Unknown,
}

fn meaning(name: &str, value: &OsStr, environment: &Environment<'_>) -> Meaning {
    if let Some(setting) = lookup(name) {
        return Meaning::Setting(setting, By::Value);
    }
    // After the exact names: a setting whose key ends with `_file`, such as redis.ca_file, must not be taken for one of these.
    if let Some(setting) = name.strip_suffix(FILE_SUFFIX).and_then(lookup) {
        return Meaning::Setting(setting, By::File);
    }
    match name {
        RETENTION_DAYS => Meaning::Retention,
        CONFIG_VARIABLE => Meaning::None,
        FAILURES_VARIABLE => Meaning::FailurePoints,
        // Other variables are ignored: an environment contains those of many programs.
        _ if is_service_link(name, value, environment) => Meaning::None,
        _ if name.starts_with(OWN_PREFIX) || suggest::is_own_in_small_letters(name) => Meaning::Unknown,
        _ => Meaning::Other,
    }
}

fn lookup(name: &str) -> Option<&'static Setting> {
    match name.strip_prefix(GENERIC_PREFIX) {
        // The double underscore is the separator, since keys contain single ones.
        Some(path) => schema::find(&path.to_ascii_lowercase().replace("__", ".")),
        None => schema::settings().find(|s| s.variable == Some(name)),
    }
}

/// Whether an orchestrator has set the variable, for a service named `state-tracker` or `state-tracker-…`. A name that begins like
/// a setting is a link only if another variable announces the service.
fn is_service_link(name: &str, value: &OsStr, environment: &Environment<'_>) -> bool {
    let service = value.to_str().and_then(|value| service_of(name, value));
    service.is_some_and(|service| !name.starts_with(GENERIC_PREFIX) || environment.announces(service))
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
        let mut origin = format!("{VARIABLE_ORIGIN}{}", self.name);
        let value = match self.by {
            By::Value => self.parsed(&self.value, &origin)?,
            By::File => {
                let path = Path::new(&self.value);
                // A password that was put here by mistake must not be shown.
                let shown = if self.setting.secret { path_of_a_secret(path) } else { shown_path(path) };
                origin = format!("file {shown}, named by {origin}");
                let refused = |why: &str| Problem::of(key, format!("{key}: {origin}, {why}"));
                let text = files::read_text(path).map_err(|error| refused(&error.to_string()))?;
                // Editors end a file with a newline. Only one is removed: a password may end with blanks.
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() {
                    // A secret that is mounted too late is an empty file; to connect without a password would hide that.
                    return Err(refused("is empty"));
                }
                self.parsed(text, &origin)?
            }
        };
        Ok(Layer::new(origin, vec![(self.setting, value)]))
    }

    fn parsed(&self, text: &str, origin: &str) -> Result<Value, Problem> {
        // Only the short variable, which the original has: the generic one is new and always takes a unit.
        let text = match self.setting.seconds && self.setting.variable == Some(&self.name) {
            true => in_seconds(text),
            false => Cow::Borrowed(text),
        };
        let refuse = |allowed: &str| {
            let shown = refused(self.setting, &Value::from(&*text));
            Problem::bad_value(self.setting.key, &shown, origin, allowed)
        };
        let value = value(self.setting, &text).map_err(refuse)?;
        match (super::limits::refusals(self.setting, &value).pop(), self.collision()) {
            (Some((_, allowed)), Some(explained)) => Err(refuse(&format!("{allowed} ({explained})"))),
            _ => Ok(value),
        }
    }

    /// The explanation, if the value is that of a service link.
    fn collision(&self) -> Option<String> {
        // Kubernetes sets REDIS_PORT=tcp://… in every pod of a namespace that has a service named redis.
        const REMEDY: &str = "set enableServiceLinks: false in the pod, or rename the service";
        if let Some(service) = service_of(&self.name, &self.value) {
            let service = service.to_ascii_lowercase().replace('_', "-");
            return Some(format!("Kubernetes sets this variable for a service named {service}: {REMEDY}"));
        }
        let is_copied = is_link_url(&self.value);
        is_copied.then(|| format!("Kubernetes sets such a value for the port of a service: {REMEDY}"))
    }
}

/// A path as it is shown. A URL in its place may hold a password.
fn shown_path(path: &Path) -> String {
    let shown = path.display().to_string();
    if shown.contains("://") || shown.contains("-----") { HIDDEN.to_owned() } else { shown }
}

/// The path of a file with a secret, or [`HIDDEN`] if it may be the secret itself: no such file exists, nor the folder at its
/// beginning.
fn path_of_a_secret(path: &Path) -> String {
    // The first folder of a path, such as `/run`. Folders below it are made when a secret is mounted, and may be missing.
    let folders = || path.ancestors().filter(|folder| folder.file_name().is_some()).skip(1);
    let first = folders().last();
    match path.exists() || first.is_some_and(Path::is_dir) {
        true => shown_path(path),
        false => format!("{HIDDEN} (hidden, since it may be the secret itself)"),
    }
}

/// A whole number with the unit of seconds. Any other text is returned unchanged, since a duration with its unit is valid too.
fn in_seconds(text: &str) -> Cow<'_, str> {
    match text.trim().parse::<u64>() {
        Ok(seconds) => Cow::Owned(format!("{seconds}s")),
        Err(_) => Cow::Borrowed(text),
    }
}

/// Converts the text of a variable to the kind of the setting. A password of digits stays a text. A text that does not fit stays a
/// text too, and is refused later with all other values.
fn value(setting: &Setting, text: &str) -> Result<Value, &'static str> {
    Ok(match setting.kind {
        Kind::Integer { .. } => match text.trim().parse::<i64>() {
            Ok(n) => Value::from(n),
            Err(_) => Value::from(text),
        },
        Kind::Duration(_) => Value::from(text.trim()),
        Kind::Text(_) | Kind::Choice(_) | Kind::File(_) => Value::from(text),
        Kind::Flag => match text.trim() {
            "true" => Value::from(true),
            "false" => Value::from(false),
            _ => Value::from(text),
        },
        Kind::Names | Kind::Servers | Kind::Nodes | Kind::Applications => {
            Value::Array(Tag::Default, names(text)?)
        }
    })
}

/// The items of a list with commas or white space between them, or of a JSON array. `docker run --env-file` passes quotes on as
/// they are in the file, so one pair around the whole or around an item is removed.
fn names(text: &str) -> Result<Vec<Value>, &'static str> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.contains(PEM) {
        return Err("must be a list, and not the content of a PEM file");
    }
    let whole = unquoted(text);
    // Quotes around each item are not quotes around the whole: `"a","b"`.
    let text = if whole.contains(['"', '\'']) && !whole.starts_with('[') { text } else { whole };
    if text.starts_with('[') && !begins_with_ipv6(text) {
        let names: Vec<String> = serde_json::from_str(text)
            .map_err(|_| "must be a list with commas or blanks between the items, or a JSON array of names in double quotes")?;
        return Ok(names.into_iter().map(Value::from).collect());
    }
    // Commas at the end are common where lists are generated.
    let text = text.trim_end_matches(|c: char| c == ',' || c.is_whitespace());
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let items = |part: &str| {
        let items: Vec<Value> = part.split_whitespace().map(|item| Value::from(unquoted(item))).collect();
        // An empty item between two commas stays, so that it is refused with a message.
        if items.is_empty() { vec![Value::from("")] } else { items }
    };
    Ok(text.split(',').flat_map(items).collect())
}

/// Whether the text begins with an IPv6 address in brackets, such as `[::1]:26379`, and is therefore not JSON.
fn begins_with_ipv6(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    // Without the interface of a link-local address: `[fe80::1%eth0]:26379`.
    let address = bracketed.map(|(address, _)| address.split('%').next().unwrap_or_default());
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .map_or(text, str::trim)
}
