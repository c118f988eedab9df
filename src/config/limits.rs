//! The limits of each kind of setting, in words, and the check of a value against them. Reads only the certificate files that
//! values name.

use figment::value::Value;

use super::checks;
use super::secret::HIDDEN;
use super::setting::{Kind, Setting, millis};
use super::value::{duration, is_unset, readable, shown, toml_text};

const FLAG: &str = "true or false";
const NAMES: &str = "a list of names";
const SERVERS: &str = "a list of servers, each host:port";
const SERVER: &str = "host:port, such as \"10.0.0.1:26379\" or \"[::1]:6379\"";
const NODES: &str = "a list of URLs, each http(s)://host:port/path or ws(s)://host:port/path";
const NODE: &str = "the URL of a node, http(s)://host:port/path or ws(s)://host:port/path";
const PEM_FILE: &str = "empty, or the path of a PEM file";

/// A refused value as it is shown, and the sentence that says what it must be.
pub(crate) type Refusal = (String, String);

/// The limits in short, for lists of settings. `None` if any text is allowed.
pub(crate) fn limits(setting: &Setting) -> Option<String> {
    Some(match &setting.kind {
        Kind::Integer { range, .. } => integers(*range.start(), *range.end()),
        Kind::Duration(range) => format!("{} to {}", readable(*range.start()), readable(*range.end())),
        Kind::Text(form) if form.what == checks::ANY.what => return None,
        Kind::Text(form) => form.what.to_owned(),
        Kind::Choice(words) => choice(words),
        Kind::Flag => FLAG.to_owned(),
        Kind::PemFile => PEM_FILE.to_owned(),
        Kind::Names => format!("{NAMES}, each {}", checks::NAME.what),
        Kind::Servers => SERVERS.to_owned(),
        Kind::Nodes => NODES.to_owned(),
    })
}

/// Every reason for which a value is refused.
pub(crate) fn refusals(setting: &Setting, value: &Value) -> Vec<Refusal> {
    let refuse = |allowed: &str| vec![(shown(setting, value), format!("must be {allowed}"))];
    match (&setting.kind, value) {
        // Compared as i128: a TOML integer or an unsigned one beyond i64 must be refused, and not wrap around.
        (Kind::Integer { what, range }, _) => match value.to_i128() {
            Some(n) if (i128::from(*range.start())..=i128::from(*range.end())).contains(&n) => Vec::new(),
            _ => {
                let limits = integers(*range.start(), *range.end());
                refuse(&format!("{what}, {limits}{}", integer_hint(value)))
            }
        },
        (Kind::Duration(range), _) => match duration(value) {
            Some(duration) if range.contains(&duration) => Vec::new(),
            _ => refuse(&(a_duration(setting) + &duration_hint(setting, value))),
        },
        (Kind::Text(form), _) => match value.as_str() {
            Some(text) if (form.accepts)(text) => Vec::new(),
            Some(_) => refuse(form.what),
            // In TOML, `password = 5` is a number: the quotes are what is missing.
            None => refuse(&format!("{}, in quotes", form.what)),
        },
        (Kind::Choice(words), _) => match value.as_str() {
            Some(text) if words.contains(&text) => Vec::new(),
            _ => refuse(&choice(words)),
        },
        (Kind::Flag, Value::Bool(..)) => Vec::new(),
        // Only a TOML file can contain a quoted flag: from variables, `true` is parsed before it gets here.
        (Kind::Flag, Value::String(_, text)) if ["true", "false"].contains(&text.as_str()) => {
            refuse("true or false, without quotes")
        }
        (Kind::Flag, _) => refuse(FLAG),
        (Kind::PemFile, Value::String(..)) if is_unset(value) => Vec::new(),
        // Refused with exit code 78, which no supervisor restarts. The service would exit with 1 and be restarted in a loop.
        (Kind::PemFile, Value::String(_, path)) => match std::fs::read(path) {
            Ok(_) => Vec::new(),
            Err(error) => refuse(&format!("the path of a PEM file that this user may read: {error}")),
        },
        (Kind::PemFile, _) => refuse(&format!("{PEM_FILE}, in quotes")),
        (Kind::Names, Value::Array(_, items)) => refused_names(items),
        (Kind::Names, _) => refuse(NAMES),
        (Kind::Servers, Value::Array(_, items)) => refused_servers(items),
        (Kind::Servers, _) => refuse(SERVERS),
        (Kind::Nodes, Value::Array(_, items)) => refused_nodes(items),
        (Kind::Nodes, _) => refuse(NODES),
    }
}

/// An upper limit of `i32::MAX` or more is only that of the type, and is not worth naming.
fn integers(least: i64, most: i64) -> String {
    if most >= i64::from(i32::MAX) { format!("{least} or more") } else { format!("{least} to {most}") }
}

fn choice(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

fn a_duration(setting: &Setting) -> String {
    let limits = limits(setting).unwrap_or_default();
    let seconds = match setting.variable {
        Some(variable) if setting.seconds => format!(" ({variable} also takes whole seconds)"),
        _ => String::new(),
    };
    format!("a duration with its unit such as \"30s\", {limits}{seconds}")
}

/// The duration in seconds that a number without a unit probably means, if that duration is allowed.
fn duration_hint(setting: &Setting, value: &Value) -> String {
    let number = match value {
        Value::String(_, text) => text.trim().parse().ok(),
        Value::Num(_, n) => n.to_f64().or_else(|| n.to_i128().map(|n| n as f64)),
        _ => None,
    };
    let Kind::Duration(range) = &setting.kind else { return String::new() };
    // No range goes further, and a larger number would overflow the conversion.
    let number = number.filter(|seconds: &f64| (0.0..1e9).contains(seconds));
    let meant = number.map(|seconds| millis((seconds * 1_000.0).round() as u64));
    let meant = meant.filter(|meant| range.contains(meant));
    meant.map_or_else(String::new, |meant| format!("; did you mean {:?}?", readable(meant)))
}

fn integer_hint(value: &Value) -> &'static str {
    match value.as_str() {
        Some(text) if text.trim().parse::<i64>().is_ok() => ", without quotes",
        _ => "",
    }
}

fn refused_servers(items: &[Value]) -> Vec<Refusal> {
    let bad = items.iter().filter(|item| item.as_str().and_then(checks::server).is_none());
    bad.map(|item| (toml_text(item), format!("must be {SERVER}"))).collect()
}

/// An error names the position of a bad URL and not its text, which may hold credentials.
fn refused_nodes(items: &[Value]) -> Vec<Refusal> {
    let bad = items.iter().enumerate().filter(|(_, item)| !item.as_str().is_some_and(checks::is_node));
    bad.map(|(at, _)| (format!("{HIDDEN} (item {})", at + 1), format!("must be {NODE}"))).collect()
}

fn refused_names(items: &[Value]) -> Vec<Refusal> {
    let mut seen: Vec<&str> = Vec::new();
    let mut refusals = Vec::new();
    for item in items {
        let what = checks::NAME.what;
        match item.as_str() {
            Some(name) if checks::is_name(name) => {
                // Two actors for one market would write the same keys, each from its own memory.
                if seen.iter().any(|other| checks::is_same_name(other, name)) {
                    let once = "must name each market once (upper and lower case of an address are the same)";
                    refusals.push((toml_text(item), once.to_owned()));
                }
                seen.push(name);
            }
            Some(_) => refusals.push((toml_text(item), format!("must be {what}"))),
            None => refusals.push((toml_text(item), format!("must be {what}, in quotes"))),
        }
    }
    refusals
}
