//! Values as texts, and texts as durations. Pure.

use std::time::Duration;

use figment::value::Value;

use super::secret::HIDDEN;
use super::setting::{DAY, HOUR, MINUTE, SECOND, Setting};

/// Whether the value means that the setting is not set.
pub(crate) fn is_unset(value: &Value) -> bool {
    match value {
        Value::String(_, text) => text.is_empty(),
        Value::Array(_, items) => items.is_empty(),
        _ => false,
    }
}

/// A value as it is shown: as in TOML, or hidden.
pub(crate) fn shown(setting: &Setting, value: &Value) -> String {
    if setting.secret && !is_unset(value) { HIDDEN.to_owned() } else { toml_text(value) }
}

/// A value as in TOML.
pub(crate) fn toml_text(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{c:?}"),
        Value::Bool(_, yes) => yes.to_string(),
        Value::Num(_, n) => match (n.to_i128(), n.to_f64()) {
            (Some(n), _) => n.to_string(),
            (None, Some(n)) => n.to_string(),
            (None, None) => "a number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        // Not its content: a key of it may hold a secret.
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(toml_text).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// The duration of a text with its unit.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    humantime::parse_duration(value.as_str()?).ok()
}

/// A duration in its largest whole unit, in a form that a setting takes: `365 days`, `24h`, `8900ms`.
pub(crate) fn readable(duration: Duration) -> String {
    // From two days on: "24h" is easier to compare with other limits than "1 day".
    let units = [(DAY, 2, " days"), (HOUR, 1, "h"), (MINUTE, 1, "m"), (SECOND, 1, "s")];
    let whole = |(unit, least, name): (Duration, u128, &str)| {
        let (n, rest) = (duration.as_nanos() / unit.as_nanos(), duration.as_nanos() % unit.as_nanos());
        (rest == 0 && n >= least).then(|| format!("{n}{name}"))
    };
    units.into_iter().find_map(whole).unwrap_or_else(|| format!("{}ms", duration.as_millis()))
}
