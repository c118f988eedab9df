//! Errors about unknown sections, keys and variables, each with the nearest known name. Pure.

use figment::value::Value;
use strsim::damerau_levenshtein;

use super::problem::Problem;
use super::schema::{self, MARKETS};
use super::secret::HIDDEN;
use super::setting::{GENERIC_PREFIX, Setting};
use super::settings::{MARKET, SECTIONS};
use super::value::{cut, may_be_secret, toml_text};
use super::variables::{CONFIG_VARIABLE, FAILURES_VARIABLE, OWN_PREFIX};

/// Parts of names that may be a misspelt secret: the values of such names are not shown.
const SUSPECT: [&str; 8] = ["pass", "pw", "secret", "token", "auth", "url", "cred", "key"];

pub(crate) fn unknown_section(name: &str, origin: &str) -> Problem {
    let name = &*cut(name.to_owned());
    let nearest = nearest([sections(), vec![MARKETS]].concat(), name)
        .map(|section| format!("did you mean [{section}]? "))
        .unwrap_or_default();
    Problem::general(format!(
        "[{name}] (from {origin}) is not a known section: {nearest}The sections are {}, and {MARKETS} with a table \
         for each market",
        sections().join(", ")
    ))
}

/// A section's name is set to a value that is not a table.
pub(crate) fn section_without_table(name: &str, value: &Value, origin: &str) -> Problem {
    let shown = hidden_or_plain(name, None, value);
    Problem::general(format!(
        "{name}: {shown} (from {origin}) is not allowed: must be a table [{name}] with the keys {}",
        keys_of(name).join(", ")
    ))
}

pub(crate) fn unknown_key(path: &str, value: &Value, origin: &str) -> Problem {
    let path = &*cut(path.to_owned());
    let near = nearest_setting(path);
    let shown = hidden_or_plain(path, near, value);
    let section = path.split_once('.').map_or("", |(section, _)| section);
    let allowed = match near {
        Some(setting) => format!("did you mean {}?", setting.key),
        None if schema::section(section).is_some() => {
            format!("the keys of [{section}] are {}", keys_of(section).join(", "))
        }
        None => format!("the sections are {}", sections().join(", ")),
    };
    Problem::general(format!("{path}: {shown} (from {origin}) is not a known setting: {allowed}"))
}

/// An unknown key in the table of a market.
pub(crate) fn unknown_market_key(path: &str, key: &str, value: &Value, origin: &str) -> Problem {
    let key = &*cut(key.to_owned());
    let keys: Vec<&str> = MARKET.iter().map(|setting| setting.key).collect();
    let allowed = match nearest(keys.clone(), key) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the keys of a market's table are {}", keys.join(", ")),
    };
    let shown = hidden_or_plain(&format!("{MARKETS}.{key}"), None, value);
    Problem::general(format!("{path}.{key}: {shown} (from {origin}) is not a known setting: {allowed}"))
}

/// Variables of the original collector in whose place there are others.
const REPLACED: [(&str, &str); 2] =
    [("PROST_RPC_URL", "RPC_NODES"), ("RPC_REQUEST_TIMEOUT_S", "HTTP_TIMEOUT")];

/// The note about a variable of another program whose name is nearly that of a setting. It is no error: an environment contains the
/// variables of many programs. Its value is not shown.
pub(crate) fn nearly_variable(name: &str, is_set: impl Fn(&str) -> bool) -> Option<String> {
    /// Shorter names are near to many.
    const SHORTEST: usize = 8;
    let known = schema::settings().filter_map(|setting| setting.variable);
    let most = if name.len() < 12 { 1 } else { 2 };
    // Also the beginning of one: `REDIS_PASS`, `REDIS_USER`.
    let is_near = |known: &&str| known.starts_with(name) || distance(known, name) <= most;
    let near = known.filter(is_near).min_by_key(|known| distance(known, name));
    if let Some((_, instead)) = REPLACED.iter().find(|(old, instead)| *old == name && !is_set(instead)) {
        return Some(format!("environment variable {name} has no effect here: set {instead}"));
    }
    // Where the right one is set too, the other one is that of another program.
    let near = near.filter(|known| name.len() >= SHORTEST && !is_set(known))?;
    Some(format!("environment variable {name} has no effect: did you mean {near}?"))
}

/// Whether a name is that of our own variables, but not in capitals.
pub(crate) fn is_own_in_small_letters(name: &str) -> bool {
    !name.starts_with(OWN_PREFIX) && name.to_ascii_uppercase().starts_with(OWN_PREFIX)
}

/// An unknown variable. Its value is not shown, since it may be a secret under a misspelt name.
pub(crate) fn unknown_variable(name: &str) -> Problem {
    let name = &*cut(name.to_owned());
    let known = |name: &str| schema::settings().any(|setting| setting.generic_variable() == name);
    let (what, near) = match name.strip_prefix(GENERIC_PREFIX) {
        None if known(&name.to_ascii_uppercase()) => {
            (format!("environment variable {name}"), Some(name.to_ascii_uppercase()))
        }
        Some(path) => {
            let path = path.to_ascii_lowercase().replace("__", ".");
            let near = nearest_setting(&path).map(Setting::generic_variable);
            (format!("{path} (from environment variable {name})"), near)
        }
        None => (format!("environment variable {name}"), nearest_variable(&name.to_ascii_uppercase())),
    };
    let allowed = match near {
        Some(near) => format!("did you mean {near}?"),
        None => {
            format!(
                "any key can be set as {GENERIC_PREFIX}SECTION__KEY; the sections are {}",
                sections().join(", ")
            )
        }
    };
    Problem::general(format!("{what} is not a known setting: {allowed}"))
}

/// The value as TOML, or `***` if it may be a secret.
pub(crate) fn hidden_or_plain(path: &str, near: Option<&Setting>, value: &Value) -> String {
    let path = path.to_ascii_lowercase();
    let (section, key) = path.split_once('.').unwrap_or((&path, ""));
    let is_text = matches!(value, Value::String(..) | Value::Array(..));
    let in_section = match schema::section(section) {
        // In a section with secrets, any unknown key may be one of them: `phrase`, `login`, `provider`.
        Some(section) => {
            section.settings.iter().any(|setting| setting.secret) && (is_text || !key.is_empty())
        }
        None => is_text && section != MARKETS,
    };
    let suspect = near.is_some_and(|setting| setting.secret)
        || in_section
        || SUSPECT.iter().any(|word| path.contains(word))
        // A URL may contain a password, whatever its key is called.
        || may_be_secret(value, false);
    if suspect { HIDDEN.to_owned() } else { cut(toml_text(value)) }
}

fn sections() -> Vec<&'static str> {
    SECTIONS.iter().map(|section| section.name).collect()
}

fn keys_of(section: &str) -> Vec<&'static str> {
    let settings = schema::section(section).map_or(&[][..], |section| section.settings);
    settings.iter().map(|setting| setting.parts().1).collect()
}

/// The setting that was probably meant: the one with this former key, else the only one with this key in any section, else the
/// one with the most similar name.
fn nearest_setting(path: &str) -> Option<&'static Setting> {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut renamed = schema::section(section).into_iter().flat_map(|section| section.settings);
    if let Some(renamed) = renamed.find(|setting| setting.former == Some(key)) {
        return Some(renamed);
    }
    let mut namesakes = schema::settings().filter(|setting| setting.parts().1 == key);
    // With two candidates neither is suggested: a wrong suggestion is worse than none.
    if let (Some(only), None) = (namesakes.next(), namesakes.next()) {
        return Some(only);
    }
    schema::find(nearest(schema::settings().map(|setting| setting.key).collect(), path)?)
}

/// The variable that was probably meant. Double underscores count as single ones, since forgetting one is the most common mistake.
fn nearest_variable(name: &str) -> Option<String> {
    let own =
        schema::settings().filter_map(|setting| setting.variable).chain([CONFIG_VARIABLE, FAILURES_VARIABLE]);
    let known: Vec<String> =
        own.map(str::to_owned).chain(schema::settings().map(Setting::generic_variable)).collect();
    let single = |name: &str| name.replace("__", "_");
    let distance = |known: &&String| distance(&single(known), &single(name));
    let near = known.iter().min_by_key(distance).filter(|known| distance(known) <= allowed_distance(name));
    let of_key = || {
        nearest_setting(&name.strip_prefix(OWN_PREFIX)?.to_ascii_lowercase()).map(Setting::generic_variable)
    };
    near.cloned().or_else(of_key)
}

/// The candidate that a name was probably meant to be.
pub(crate) fn nearest<'a>(candidates: Vec<&'a str>, name: &str) -> Option<&'a str> {
    let distance = |candidate: &&'a str| distance(candidate, name);
    candidates.into_iter().min_by_key(distance).filter(|found| distance(found) <= allowed_distance(name))
}

/// How many edits make one name the other. Without counting where that is more than any suggestion may have: the names in a file may be
/// of any length.
fn distance(one: &str, other: &str) -> usize {
    let difference = one.len().abs_diff(other.len());
    if difference > MOST_EDITS { difference } else { damerau_levenshtein(one, other) }
}

/// The most edits of a suggestion.
const MOST_EDITS: usize = 4;

/// The largest edit distance at which a name is suggested. Short names are all similar, long ones may have several mistakes.
fn allowed_distance(name: &str) -> usize {
    (name.len() / 4).clamp(2, MOST_EDITS)
}
