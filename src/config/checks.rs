//! What is allowed: the checks of single values, and the sentences that describe them. Pure.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evm::NodeUrl;
use evm::StartBlock;
use figment::value::Value;
use redis::{ConnectionInfo, IntoConnectionInfo};
use tracing_subscriber::EnvFilter;

use super::schema::{Kind, Setting};
use super::secret::HIDDEN;

pub(crate) const HOST: &str = "a host name or an IP address, without scheme and port";
pub(crate) const IP: &str = "an IP address such as \"0.0.0.0\" or \"::\"";
pub(crate) const SOCKET_ADDRESS: &str = "an IP address and a port such as \"127.0.0.1:9095\"";
pub(crate) const REDIS_URL: &str = "redis://[user:password@]host[:port][/db], the same with rediss:// for TLS, or unix:///path?db=0&user=…&pass=…";
pub(crate) const FILE_OR_NONE: &str = "empty, or the path of a PEM file";
const SERVER: &str = "host:port, such as \"10.0.0.1:26379\" or \"[::1]:6379\"";
const NODE: &str = "the URL of a node, http(s)://host:port/path or ws(s)://host:port/path";
const NODES: &str = "a list of URLs, each http(s)://host:port/path or ws(s)://host:port/path";
pub(crate) const START_BLOCK: &str =
    "\"latest\", a block's number such as \"1200300\", or \"latest - 1000\" for so many blocks before";
pub(crate) const ADDRESS: &str = "an address, 0x and 40 hex digits";
pub(crate) const ADDRESS_OR_NONE: &str = "empty, or an address (0x and 40 hex digits)";
const SERVERS: &str = "a list of servers, each host:port";
pub(crate) const NAME: &str =
    "an address (0x and 40 hex digits) or a name without spaces and without any of : , { } [ ] and quotes";
pub(crate) const NAME_OR_NONE: &str = "empty, or an address (0x and 40 hex digits) or a name without spaces and without any of : , { } [ ] and quotes";
pub(crate) const COMPAT: &str = "\"ledger\" or \"go\"";
pub(crate) const PREFIX: &str =
    "empty, or a name such as \"shadow\", without spaces and without any of { } [ ] * ? and quotes";
pub(crate) const SPELLING: &str = "\"checksum\", \"configured\" or \"both\"";
pub(crate) const ID: &str = "an id without spaces";
pub(crate) const LOG_LEVEL: &str =
    "error, warn, info, debug, trace or off, or a filter such as \"info,store_redis=debug\"";
pub(crate) const LOG_FORMAT: &str = "\"text\" or \"json\"";

const FLAG: &str = "true or false, without quotes";
const NAMES: &str = "a list of names";

pub(crate) fn is_anything(_: &str) -> bool {
    true
}

pub(crate) fn is_host(text: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.chars().all(of_a_name))
}

pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

pub(crate) fn is_socket_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

/// Empty, or what the Redis client itself can read.
pub(crate) fn is_redis_url(text: &str) -> bool {
    let usable = |info: ConnectionInfo| info.redis_settings().db() >= 0;
    let schemes = ["redis://", "rediss://", "unix://", "redis+unix://"];
    // Behind a `#` the client would be told to trust anybody.
    let known = schemes.iter().any(|scheme| text.starts_with(scheme)) && !text.contains('#');
    text.is_empty() || (known && text.into_connection_info().is_ok_and(usable))
}

/// A name that can stand between colons in a key, and in a hash tag.
pub(crate) fn is_name(text: &str) -> bool {
    let forbidden = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '{' | '}' | '[' | ']' | '"' | '\'')
    };
    !text.is_empty() && !text.contains(forbidden)
}

pub(crate) fn is_name_or_none(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Whether both are one market: upper and lower case of an address are the same.
#[must_use]
pub(crate) fn is_same_name(one: &str, other: &str) -> bool {
    one == other || (is_address(one) && one.eq_ignore_ascii_case(other))
}

pub(crate) fn is_compat(text: &str) -> bool {
    matches!(text, "ledger" | "go")
}

pub(crate) fn is_spelling(text: &str) -> bool {
    matches!(text, "checksum" | "configured" | "both")
}

/// What can stand before a key: it must not move a hash tag, nor be a pattern.
pub(crate) fn is_prefix(text: &str) -> bool {
    let forbidden = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '{' | '}' | '[' | ']' | '*' | '?' | '\\' | '"' | '\'')
    };
    !text.contains(forbidden) && !text.starts_with(':')
}

pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

pub(crate) fn is_log_level(text: &str) -> bool {
    log_filter(text).is_some()
}

pub(crate) fn is_log_format(text: &str) -> bool {
    matches!(text, "text" | "json")
}

/// The filter that a level or directive means. A bare word that is no level is refused, though the
/// filter's own parser would take it for the name of a module.
pub(crate) fn log_filter(text: &str) -> Option<String> {
    let text = text.trim();
    let one = |part: &str| match part.trim().to_ascii_lowercase().as_str() {
        level @ ("error" | "warn" | "info" | "debug" | "trace" | "off") => Some(level.to_owned()),
        // Levels of the original's logger.
        "warning" => Some("warn".to_owned()),
        "fatal" | "panic" => Some("error".to_owned()),
        _ if part.contains(['=', '[']) => Some(part.trim().to_owned()),
        _ => None,
    };
    let parts: Option<Vec<String>> = text.split(',').map(one).collect();
    parts.map(|parts| parts.join(",")).filter(|filter| EnvFilter::builder().parse(filter).is_ok())
}

/// Whether this is a well-formed contract address.
pub(crate) fn is_address(name: &str) -> bool {
    hex_digits(name).is_some_and(|hex| hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

pub(crate) fn is_address_or_none(text: &str) -> bool {
    text.is_empty() || is_address(text)
}

pub(crate) fn is_start_block(text: &str) -> bool {
    text.parse::<StartBlock>().is_ok()
}

/// Begins like an address without being one: allowed, but worth a note.
pub(crate) fn is_broken_address(name: &str) -> bool {
    hex_digits(name).is_some() && !is_address(name)
}

fn hex_digits(name: &str) -> Option<&str> {
    name.strip_prefix("0x").or_else(|| name.strip_prefix("0X"))
}

/// The value that isn't allowed, as it is shown, and what is allowed instead.
pub(crate) type Refusal = (String, String);

/// Everything that is wrong with a value.
pub(crate) fn refusals(setting: &Setting, value: &Value) -> Vec<Refusal> {
    let refuse = |allowed: String| vec![(shown(setting, value), allowed)];
    match (&setting.kind, value) {
        (Kind::Integer { what, range }, _) => match value.to_i128() {
            Some(n) if (i128::from(*range.start())..=i128::from(*range.end())).contains(&n) => Vec::new(),
            _ => {
                let limits = between(what, range.start(), range.end());
                refuse(limits + integer_hint(value))
            }
        },
        (Kind::Duration(range), _) => {
            let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
            match duration {
                Some(duration) if range.contains(&duration) => Vec::new(),
                _ => refuse(between(
                    "a duration with its unit such as \"30s\"",
                    &humantime::format_duration(*range.start()),
                    &humantime::format_duration(*range.end()),
                )),
            }
        }
        (Kind::Text { what, accepts }, _) => match value.as_str() {
            Some(text) if accepts(text) => Vec::new(),
            Some(_) => refuse((*what).to_owned()),
            None => refuse(format!("{what}, in quotes")),
        },
        (Kind::Flag, Value::Bool(..)) => Vec::new(),
        (Kind::Flag, _) => refuse(FLAG.to_owned()),
        (Kind::Names, Value::Array(_, items)) => refused_names(items),
        (Kind::Names, _) => refuse(NAMES.to_owned()),
        (Kind::Servers, Value::Array(_, items)) => refused_servers(items),
        (Kind::Servers, _) => refuse(SERVERS.to_owned()),
        (Kind::Nodes, Value::Array(_, items)) => refused_nodes(items),
        (Kind::Nodes, _) => refuse(NODES.to_owned()),
    }
}

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

/// Host and port of `host:port`; an IPv6 address stands in brackets.
pub(crate) fn server(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let port = port.parse().ok().filter(|&port| port > 0)?;
    (is_host(host) && (bare.is_some() || !host.contains(':'))).then_some((host, port))
}

fn refused_servers(items: &[Value]) -> Vec<Refusal> {
    let bad = items.iter().filter(|item| item.as_str().and_then(server).is_none());
    bad.map(|item| (plain(item), SERVER.to_owned())).collect()
}

/// URLs hold credentials: none is repeated, its place is told.
fn refused_nodes(items: &[Value]) -> Vec<Refusal> {
    let is_node = |item: &Value| item.as_str().is_some_and(|text| text.parse::<NodeUrl>().is_ok());
    let bad = items.iter().enumerate().filter(|(_, item)| !is_node(item));
    bad.map(|(at, _)| (format!("{HIDDEN} (item {})", at + 1), NODE.to_owned())).collect()
}

fn refused_names(items: &[Value]) -> Vec<Refusal> {
    let mut seen: Vec<&str> = Vec::new();
    let mut refusals = Vec::new();
    for item in items {
        match item.as_str() {
            Some(name) if is_name(name) => {
                if seen.iter().any(|other| is_same_name(other, name)) {
                    let once = "each market once (upper and lower case of an address are the same)";
                    refusals.push((plain(item), once.to_owned()));
                }
                seen.push(name);
            }
            Some(_) => refusals.push((plain(item), NAME.to_owned())),
            None => refusals.push((plain(item), format!("{NAME}, in quotes"))),
        }
    }
    refusals
}

fn between(what: &str, least: &impl Display, most: &impl Display) -> String {
    format!("{what}, {least} to {most}")
}

fn integer_hint(value: &Value) -> &'static str {
    match value.as_str() {
        Some(text) if text.trim().parse::<i64>().is_ok() => ", without quotes",
        _ => "",
    }
}

/// A duration setting's value, for comparisons between settings.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    humantime::parse_duration(value.as_str()?).ok()
}
