//! What is allowed for each kind of setting: the words for it, and the refusals of values that are not allowed. Looks at values
//! only, and reads the files that they name.

use figment::value::Value;

use super::checks;
use super::secret::HIDDEN;
use super::setting::{Kind, Setting, millis};
use super::value::{duration, is_unset, plain, readable, shown};

const FLAG: &str = "true or false";
const NAMES: &str = "a list of names";
const SERVERS: &str = "a list of servers, each host:port";
const SERVER: &str = "host:port, such as \"10.0.0.1:26379\" or \"[::1]:6379\"";
const NODES: &str = "a list of URLs, each http(s)://host:port/path or ws(s)://host:port/path";
const NODE: &str = "the URL of a node, http(s)://host:port/path or ws(s)://host:port/path";
const PEM_FILE: &str = "empty, or the path of a PEM file";

/// The value that isn't allowed, as it is shown, and what it must be.
pub(crate) type Refusal = (String, String);

/// What is allowed, in short, for lists of settings; `None` where any text is.
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

/// Everything that is wrong with a value.
pub(crate) fn refusals(setting: &Setting, value: &Value) -> Vec<Refusal> {
    let refuse = |allowed: &str| vec![(shown(setting, value), format!("must be {allowed}"))];
    match (&setting.kind, value) {
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
            None => refuse(&format!("{}, in quotes", form.what)),
        },
        (Kind::Choice(words), _) => match value.as_str() {
            Some(text) if words.contains(&text) => Vec::new(),
            _ => refuse(&choice(words)),
        },
        (Kind::Flag, Value::Bool(..)) => Vec::new(),
        // Only a file can hold these in quotes.
        (Kind::Flag, Value::String(_, text)) if ["true", "false"].contains(&text.as_str()) => {
            refuse("true or false, without quotes")
        }
        (Kind::Flag, _) => refuse(FLAG),
        (Kind::PemFile, Value::String(..)) if is_unset(value) => Vec::new(),
        // A service that can't read it would fail at each start: better refuse it before.
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

/// From the largest number of 32 bits on, the end is only that of the type.
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

/// The duration that a number without a unit probably means, if that is allowed.
fn duration_hint(setting: &Setting, value: &Value) -> String {
    let number = match value {
        Value::String(_, text) => text.trim().parse().ok(),
        Value::Num(_, n) => n.to_f64().or_else(|| n.to_i128().map(|n| n as f64)),
        _ => None,
    };
    let Kind::Duration(range) = &setting.kind else { return String::new() };
    // Any longer one is out of every range.
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
    bad.map(|item| (plain(item), format!("must be {SERVER}"))).collect()
}

/// URLs hold credentials: an error shows the place of a bad one, and not its text.
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
                if seen.iter().any(|other| checks::is_same_name(other, name)) {
                    let once = "must name each market once (upper and lower case of an address are the same)";
                    refusals.push((plain(item), once.to_owned()));
                }
                seen.push(name);
            }
            Some(_) => refusals.push((plain(item), format!("must be {what}"))),
            None => refusals.push((plain(item), format!("must be {what}, in quotes"))),
        }
    }
    refusals
}
