//! The limits of each kind of setting, in words, and the check of a value against them. Reads only the certificate files that
//! values name.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use figment::value::Value;
use http_server::tokens_of;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::checks;
use super::files::{FileError, read_file};
use super::oddity::oddity;
use super::secret::HIDDEN;
use super::setting::{Content, Kind, Setting, millis};
use super::value::{cut, duration, duration_of, is_unset, may_be_secret, readable, refused, toml_text};

const FLAG: &str = "true or false";
const NAMES: &str = "a list of names";
const SERVERS: &str = "a list of servers, each host:port";
const SERVER: &str = "host:port, such as \"10.0.0.1:26379\" or \"[::1]:6379\"";
const NODES: &str = "a list of URLs, each http(s)://host:port/path or ws(s)://host:port/path";
const APPLICATIONS: &str = "a list of applications, each NAME=http(s)://host:port, with ;interval=5s and ;ca_file=PATH behind it or without";
const NODE: &str = "the URL of a node, http(s)://host:port/path or ws(s)://host:port/path";

/// The most items of a list.
const MOST_ITEMS: usize = 10_000;
/// How many items of a list are refused one by one: a list with a wrong separator may have thousands.
const MOST_REFUSED: usize = 10;

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
        Kind::File(content) => file(*content),
        Kind::Names => format!("{NAMES}, each {}", checks::NAME.what),
        Kind::Servers => SERVERS.to_owned(),
        Kind::Nodes => NODES.to_owned(),
        Kind::Applications => APPLICATIONS.to_owned(),
    })
}

/// Every reason for which a value is refused.
pub(crate) fn refusals(setting: &Setting, value: &Value) -> Vec<Refusal> {
    // The hint on what looks wrong. Quotes and line breaks are easy to miss, also where the value is shown.
    let odd = value.as_str().and_then(oddity);
    let hint = odd.map_or_else(String::new, |odd| format!("; this one {odd}"));
    let refuse = |allowed: &str| vec![(refused(setting, value), format!("must be {allowed}{hint}"))];
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
        (Kind::File(_), Value::String(..)) if is_unset(value) => Vec::new(),
        // Refused with exit code 78, which no supervisor restarts. The service would exit with 1 and be restarted in a loop.
        (Kind::File(content), Value::String(_, path)) => match file_problem(*content, Path::new(path)) {
            None => Vec::new(),
            Some(problem) => {
                refuse(&format!("the path of {} that this user may read: {problem}", kind_of_file(*content)))
            }
        },
        (Kind::File(content), _) => refuse(&format!("{}, in quotes", file(*content))),
        (_, Value::Array(_, items)) if items.len() > MOST_ITEMS => {
            vec![(format!("a list of {} items", items.len()), format!("must have at most {MOST_ITEMS}"))]
        }
        (Kind::Names, Value::Array(_, items)) => first_of(refused_names(items)),
        (Kind::Names, _) => refuse(NAMES),
        (Kind::Servers, Value::Array(_, items)) => first_of(refused_servers(items)),
        (Kind::Servers, _) => refuse(SERVERS),
        (Kind::Nodes, Value::Array(_, items)) => first_of(refused_nodes(items)),
        (Kind::Nodes, _) => refuse(NODES),
        (Kind::Applications, Value::Array(_, items)) => first_of(refused_applications(items)),
        (Kind::Applications, _) => refuse(APPLICATIONS),
    }
}

fn kind_of_file(content: Content) -> &'static str {
    match content {
        Content::Certificates | Content::Key => "a PEM file",
        Content::Tokens => "a file with tokens",
        Content::Jwks => "a file with a JSON Web Key Set",
    }
}

/// The limits of a setting that names a file.
fn file(content: Content) -> String {
    let form = match content {
        Content::Certificates | Content::Key | Content::Jwks => "",
        Content::Tokens => ", one a line",
    };
    format!("empty, or the path of {}{form}", kind_of_file(content))
}

/// Why a file can't serve as that of a setting. Without this, the first connection would fail, with an error about TLS or none.
fn file_problem(content: Content, path: &Path) -> Option<String> {
    let bytes = match read_file(path) {
        Ok(bytes) => bytes,
        Err(FileError::Io(error)) => return Some(error.to_string()),
        Err(error) => return Some(format!("it {error}")),
    };
    let is_certificate = |pem: Result<CertificateDer<'_>, _>| pem.is_ok();
    match content {
        Content::Certificates => {
            let has_one = CertificateDer::pem_slice_iter(&bytes).any(is_certificate);
            (!has_one).then(|| "it contains no certificate".to_owned())
        }
        Content::Key => PrivateKeyDer::from_pem_slice(&bytes)
            .is_err()
            .then(|| "it contains no private key without a passphrase".to_owned()),
        Content::Jwks => {
            let set: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
            let keys = set.as_ref().and_then(|set| set.get("keys")?.as_array());
            let has_one = keys.is_some_and(|keys| keys.iter().any(serde_json::Value::is_object));
            (!has_one).then(|| "it contains no key: it must be JSON with a list `keys`".to_owned())
        }
        Content::Tokens => tokens_of(&String::from_utf8_lossy(&bytes)).err().map(|bad| bad.to_string()),
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
    let Kind::Duration(range) = &setting.kind else { return String::new() };
    let allowed = |duration: Duration| range.contains(&duration);
    let number = match value {
        // `M` are months, and `S` nothing: capitals are mistyped more often than a month is meant.
        Value::String(_, text) if duration_of(&text.to_lowercase()).is_some_and(allowed) => {
            return format!("; did you mean {:?}?", text.to_lowercase());
        }
        Value::String(_, text) => text.trim().parse().ok(),
        Value::Num(_, n) => n.to_f64().or_else(|| n.to_i128().map(|n| n as f64)),
        _ => None,
    };
    // No range goes further, and a larger number would overflow the conversion.
    let number = number.filter(|seconds: &f64| (0.0..1e9).contains(seconds));
    let meant = number.map(|seconds| millis((seconds * 1_000.0).round() as u64));
    let meant = meant.filter(|meant| allowed(*meant));
    meant.map_or_else(String::new, |meant| format!("; did you mean {:?}?", readable(meant)))
}

fn integer_hint(value: &Value) -> &'static str {
    match value.as_str() {
        Some(text) if text.trim().parse::<i64>().is_ok() => ", without quotes",
        _ => "",
    }
}

fn refused_servers(items: &[Value]) -> Vec<Refusal> {
    let hidden = may_be_secrets(items);
    let bad = items.iter().filter(|item| item.as_str().and_then(checks::server).is_none());
    bad.map(|item| (item_text(item, hidden), format!("must be {SERVER}{}", item_hint(item)))).collect()
}

/// An error names the position of a bad URL and not its text, which may hold credentials.
fn refused_nodes(items: &[Value]) -> Vec<Refusal> {
    let bad = items.iter().enumerate().filter(|(_, item)| !item.as_str().is_some_and(checks::is_node));
    bad.map(|(at, item)| {
        (format!("{HIDDEN} (item {})", at + 1), format!("must be {NODE}{}", item_hint(item)))
    })
    .collect()
}

/// Likewise: the reason names no part of the text.
fn refused_applications(items: &[Value]) -> Vec<Refusal> {
    let mut names = BTreeSet::new();
    let problem = |item: &Value| -> Option<String> {
        let application = match item.as_str().map(checks::application) {
            None => return Some("it is no text in quotes".to_owned()),
            Some(Err(problem)) => return Some(problem.to_owned() + &item_hint(item)),
            Some(Ok(application)) => application,
        };
        if !names.insert(application.name.to_owned()) {
            return Some("another item has its name".to_owned());
        }
        let path = Some(application.ca_file).filter(|path| !path.is_empty())?;
        file_problem(Content::Certificates, Path::new(path)).map(|problem| format!("its ca_file: {problem}"))
    };
    let problems = items.iter().map(problem).enumerate().filter_map(|(at, problem)| Some((at, problem?)));
    let refused = |(at, problem)| {
        (format!("{HIDDEN} (item {})", at + 1), format!("must be an item of {APPLICATIONS}: {problem}"))
    };
    problems.map(refused).collect()
}

fn may_be_secrets(items: &[Value]) -> bool {
    items.iter().any(|item| may_be_secret(item, false))
}

/// The first of many refused items; the last one speaks for the others.
fn first_of(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    let more = refusals.len().saturating_sub(MOST_REFUSED);
    refusals.truncate(MOST_REFUSED);
    if let Some((shown, _)) = refusals.last_mut().filter(|_| more > 0) {
        *shown += &format!(" and {more} more");
    }
    refusals
}

/// A refused item of a list as it is shown. A password with a comma in it is several items, so all are hidden with the first.
fn item_text(item: &Value, hidden: bool) -> String {
    if hidden { HIDDEN.to_owned() } else { cut(toml_text(item)) }
}

/// What is wrong with an item, where it is easy to miss.
fn item_hint(item: &Value) -> String {
    match item.as_str() {
        Some("") => "; nothing stands between two commas".to_owned(),
        Some(text) => oddity(text).map_or_else(String::new, |odd| format!("; this one {odd}")),
        None => String::new(),
    }
}

fn refused_names(items: &[Value]) -> Vec<Refusal> {
    let mut seen = BTreeSet::new();
    let (mut refusals, hidden) = (Vec::new(), may_be_secrets(items));
    for item in items {
        let what = checks::NAME.what;
        match item.as_str() {
            Some(name) if checks::is_name(name) => {
                // Two actors for one market would write the same keys, each from its own memory.
                if !seen.insert(checks::one_spelling(name)) {
                    let once = "must name each market once (upper and lower case of an address are the same)";
                    refusals.push((cut(toml_text(item)), once.to_owned()));
                }
            }
            Some(_) => refusals.push((item_text(item, hidden), format!("must be {what}{}", item_hint(item)))),
            None => refusals.push((item_text(item, hidden), format!("must be {what}, in quotes"))),
        }
    }
    refusals
}
