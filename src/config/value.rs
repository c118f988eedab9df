//! Values as texts, and texts as durations. Pure.

use std::time::Duration;

use figment::value::Value;

use super::secret::HIDDEN;
use super::service_links::is_link_url;
use super::setting::{DAY, HOUR, Kind, MINUTE, SECOND, Setting};

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

/// A refused value as it is shown. A URL, a login or a key under a wrong name would show a password, so each is hidden.
pub(crate) fn refused(setting: &Setting, value: &Value) -> String {
    let is_path = matches!(setting.kind, Kind::File(_));
    let hidden = !is_unset(value) && (setting.secret || may_be_secret(value, is_path));
    if hidden { HIDDEN.to_owned() } else { cut(toml_text(value)) }
}

/// A text of an error, of a length that can be read.
pub(crate) fn cut(text: String) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether a value that was refused may be a secret, or contain one. Not if it is only a path, where paths are expected.
pub(crate) fn may_be_secret(value: &Value, is_path: bool) -> bool {
    match value {
        Value::Array(_, items) => items.iter().any(|item| may_be_secret(item, is_path)),
        // Nothing of a table is shown.
        Value::String(_, text) => {
            // `user:password@host`, `redis://host`, `host/KEY`, a key in place of its file. A link of Kubernetes has no user.
            !is_link_url(text)
                && (text.contains('@')
                    || text.contains("-----")
                    || if is_path { text.contains("://") } else { text.contains('/') })
        }
        _ => false,
    }
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
    duration_of(value.as_str()?)
}

/// The same of a text: every form that the settings and the arguments of commands take.
pub(crate) fn duration_of(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok()
}

/// A duration in its largest whole unit, in a form that a setting takes: `365 days`, `24h`, `8900ms`.
pub(crate) fn readable(duration: Duration) -> String {
    // From two days on: "24h" is easier to compare with other limits than "1 day".
    let units = [(DAY, 2, " days"), (HOUR, 1, "h"), (MINUTE, 1, "m"), (SECOND, 1, "s")];
    let whole = |(unit, least, name): (Duration, u128, &str)| {
        let (n, rest) = (duration.as_nanos() / unit.as_nanos(), duration.as_nanos() % unit.as_nanos());
        (rest == 0 && n >= least).then(|| format!("{n}{name}"))
    };
    // Nothing is whole in each unit.
    if duration.is_zero() {
        return "0s".to_owned();
    }
    units.into_iter().find_map(whole).unwrap_or_else(|| format!("{}ms", duration.as_millis()))
}
