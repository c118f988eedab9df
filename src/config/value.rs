//! Values as people see them, and what can be read from them. Pure.

use std::time::Duration;

use figment::value::Value;

use super::secret::HIDDEN;
use super::setting::{DAY, HOUR, MINUTE, SECOND, Setting};

/// Whether this value means that nothing was set.
pub(crate) fn is_unset(value: &Value) -> bool {
    match value {
        Value::String(_, text) => text.is_empty(),
        Value::Array(_, items) => items.is_empty(),
        _ => false,
    }
}

/// A value as it is shown to people: as in TOML, or hidden.
pub(crate) fn shown(setting: &Setting, value: &Value) -> String {
    if setting.secret && !is_unset(value) { HIDDEN.to_owned() } else { plain(value) }
}

/// A value as in TOML.
pub(crate) fn plain(value: &Value) -> String {
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
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// The duration that a text with its unit means.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    humantime::parse_duration(value.as_str()?).ok()
}

/// A duration in its largest whole unit, in a form that a setting takes: `365 days`, `24h`, `8900ms`.
pub(crate) fn readable(duration: Duration) -> String {
    let units = [(DAY, 2, " days"), (HOUR, 1, "h"), (MINUTE, 1, "m"), (SECOND, 1, "s")];
    let whole = |(unit, least, name): (Duration, u128, &str)| {
        let (n, rest) = (duration.as_nanos() / unit.as_nanos(), duration.as_nanos() % unit.as_nanos());
        (rest == 0 && n >= least).then(|| format!("{n}{name}"))
    };
    units.into_iter().find_map(whole).unwrap_or_else(|| format!("{}ms", duration.as_millis()))
}
