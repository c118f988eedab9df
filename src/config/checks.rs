//! The forms of text that settings take: the description of each, and its check. Pure.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use actors::peers::{Network, is_source_name};
use domain::{Address, chain::ContractAddress};
use evm::{NodeUrl, StartBlock};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::oddity::is_invisible;
use super::setting::{MINUTE, SECOND, Text};
use super::value::duration_of;

pub(crate) const ANY: Text = Text { what: "a text", accepts: is_anything };
pub(crate) const HOST: Text =
    Text { what: "a host name or an IP address, without scheme and port", accepts: is_host };
pub(crate) const IP: Text = Text { what: "an IP address such as \"0.0.0.0\" or \"::\"", accepts: is_ip };
pub(crate) const SOCKET_ADDRESS: Text =
    Text { what: "an IP address and a port such as \"127.0.0.1:9095\"", accepts: is_socket_address };
pub(crate) const REDIS_URL: Text = Text {
    what: "redis://[user:password@]host[:port][/db], the same with rediss:// for TLS, or \
           unix:///path?db=0&user=…&pass=…",
    accepts: is_redis_url,
};
pub(crate) const HTTP_URL_OR_NONE: Text = Text {
    what: "empty, or http://HOST or https://HOST with a path or without",
    accepts: is_http_url_or_none,
};
pub(crate) const HTTP_HOOK_OR_NONE: Text =
    Text { what: "empty, or a URL that begins with http:// or https://", accepts: is_http_hook_or_none };
pub(crate) const POSTGRES_URL_OR_NONE: Text = Text {
    what: "empty, or postgres://[user:password@]host[:port]/database, with parameters such as ?sslmode=require or without",
    accepts: is_postgres_url_or_none,
};
pub(crate) const SIGNING_SECRET: Text = Text {
    what: "empty, or a text of at least 32 bytes",
    accepts: |text| text.is_empty() || text.len() >= 32,
};
pub(crate) const JSON_PATH: Text = Text {
    what: "names of fields with dots between them, such as \"costs.tip_lamports\"",
    accepts: is_json_path,
};
pub(crate) const ORIGINS: Text = Text {
    what: "\"*\", or origins such as \"https://app.example.org\", separated by commas",
    accepts: |text| origins(text).all(is_origin) && origins(text).next().is_some(),
};
pub(crate) const NAME: Text = Text {
    what: "an address (0x and 40 hex digits) or a name without spaces and without any of : , { } [ ] and quotes",
    accepts: is_name,
};
pub(crate) const NAME_OR_NONE: Text = Text {
    what: "empty, or an address (0x and 40 hex digits) or a name without spaces and without any of : , { } [ ] and \
           quotes",
    accepts: is_name_or_none,
};
pub(crate) const ADDRESS_OR_NONE: Text =
    Text { what: "empty, or an address (0x and 40 hex digits)", accepts: is_address_or_none };
pub(crate) const MIGRATIONS: Text = Text {
    what: "empty, or pairs of addresses such as \"0x…:0x…\", the old market first, separated by commas; no address twice",
    accepts: is_migrations,
};
pub(crate) const NETWORKS: Text = Text {
    what: "empty, or addresses and networks such as \"10.0.0.0/8\", separated by commas",
    accepts: |text| networks(text).all(|network| network.is_some()),
};
pub(crate) const PEER_NAMES: Text = Text {
    what: "empty, or addresses with names such as \"10.0.0.7=proxy-a\", separated by commas; a name has letters, digits, `.`, `-` and `_`",
    accepts: |text| peer_names(text).all(|name| name.is_some()),
};
pub(crate) const PUBLIC_HOST: Text = Text {
    what: "empty, or a host such as api.example.org, with its port or as a URL if need be",
    accepts: is_public_host,
};
pub(crate) const ID: Text = Text { what: "an id without spaces and quotes", accepts: is_id };
pub(crate) const ID_OR_NONE: Text =
    Text { what: "empty, or a name without spaces and quotes", accepts: is_id_or_none };
pub(crate) const PREFIX: Text = Text {
    what: "empty, or a name such as \"shadow\", without spaces and without any of { } [ ] * ? and quotes",
    accepts: is_prefix,
};
pub(crate) const START_BLOCK: Text = Text {
    what: "\"latest\", a block's number such as \"1200300\", or \"latest - 1000\" for so many blocks before",
    accepts: is_start_block,
};
pub(crate) const LOG_LEVEL: Text = Text {
    what: "error, warn, info, debug, trace or off, or a filter such as \"info,store_redis=debug\"",
    accepts: is_log_level,
};

/// The pairs of a text; `None` for one that can't be read, or whose addresses are the same.
pub(crate) fn migrations(text: &str) -> impl Iterator<Item = Option<(ContractAddress, ContractAddress)>> {
    items(text).map(|pair| {
        let (from, to) = pair.split_once(':')?;
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (from != to).then_some((from, to))
    })
}

fn is_migrations(text: &str) -> bool {
    let mut known = std::collections::BTreeSet::new();
    // A market that stands twice would get the counts of two, or pass them on.
    migrations(text).all(|pair| pair.is_some_and(|(from, to)| known.insert(from) && known.insert(to)))
}

/// The items of a list that commas separate.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The origins of a text.
pub(crate) fn origins(text: &str) -> impl Iterator<Item = &str> {
    items(text)
}

/// What a browser sends as an origin, or all.
fn is_origin(text: &str) -> bool {
    let is_whole = |url: Url| url.origin().ascii_serialization() == text.trim_end_matches('/');
    text == "*" || (!text.contains(is_odd) && text.parse::<Url>().is_ok_and(is_whole))
}

/// The networks of a text; `None` for one that can't be read.
pub(crate) fn networks(text: &str) -> impl Iterator<Item = Option<Network>> {
    items(text).map(|item| item.parse().ok())
}

/// The names of addresses in a text; `None` for a pair that can't be read.
pub(crate) fn peer_names(text: &str) -> impl Iterator<Item = Option<(IpAddr, &str)>> {
    items(text).map(|pair| {
        let (address, name) = pair.split_once('=')?;
        let (address, name) = (address.trim().parse().ok()?, name.trim());
        is_source_name(name).then_some((address, name))
    })
}

/// An application that is polled, as its text names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Application<'a> {
    /// The name of its source.
    pub(crate) name: &'a str,
    /// Where it answers, before `/api/v1`.
    pub(crate) url: Url,
    /// The time from one poll to the next.
    pub(crate) interval: Duration,
    /// The certificate authorities that are trusted for it; empty for those of the system.
    pub(crate) ca_file: &'a str,
}

/// How often an application is polled, unless its text says otherwise.
const POLL_INTERVAL: Duration = SECOND.saturating_mul(5);

/// Reads `NAME=URL;interval=5s;ca_file=PATH`.
///
/// # Errors
/// What is wrong, without any part of the text: the URL may hold a password.
pub(crate) fn application(text: &str) -> Result<Application<'_>, &'static str> {
    let mut parts = text.split(';').map(str::trim);
    let named = parts.next().and_then(|part| part.split_once('='));
    let (name, url) = named.ok_or("it has no name with a `=` before its URL")?;
    if !is_source_name(name) {
        return Err("its name has other characters than letters, digits, `.`, `-` and `_`, or more than 64");
    }
    let is_url = !url.is_empty() && is_http_url_or_none(url);
    let url = Some(url).filter(|_| is_url).and_then(|url| url.parse().ok());
    let url = url.ok_or("its URL does not begin with http:// or https://, or has a query")?;
    let (mut interval, mut ca_file) = (None, None);
    for part in parts.filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("interval", value)) if interval.is_none() => {
                let given = duration_of(value).filter(|given| (SECOND..=MINUTE).contains(given));
                interval = Some(given.ok_or("its interval is no duration of 1s to 1m")?);
            }
            Some(("ca_file", path)) if ca_file.is_none() && !path.is_empty() => ca_file = Some(path),
            _ => return Err("behind its URL stands something else than one interval=… and one ca_file=…"),
        }
    }
    let (interval, ca_file) = (interval.unwrap_or(POLL_INTERVAL), ca_file.unwrap_or_default());
    Ok(Application { name, url, interval, ca_file })
}

fn is_anything(_: &str) -> bool {
    true
}

fn is_public_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/[]".contains(&byte);
    text.len() <= 255 && text.bytes().all(fits)
}

fn is_host(text: &str) -> bool {
    // Underscores are not allowed in host names, but Docker Compose makes such names for its services.
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    // A link-local address has its interface behind it: `fe80::1%eth0`.
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let is_v6 = address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(of_a_name);
    is_v6 || text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.chars().all(of_a_name))
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_socket_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

/// Empty, or a URL that the Redis client can parse.
fn is_redis_url(text: &str) -> bool {
    // The client parses a negative database and would fail only when it connects.
    let usable = |info: ConnectionInfo| {
        info.redis_settings().db() >= 0
            && match info.addr() {
                ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => is_host(host),
                // An escaped `?` belongs to the path, and with it the password that follows: logs show the path.
                ConnectionAddr::Unix(path) => {
                    path.to_str().is_some_and(|path| !path.contains(['?', '@', '&']))
                }
                _ => true,
            }
    };
    let schemes = ["redis://", "rediss://", "unix://", "redis+unix://"];
    // The client reads `#insecure` as: accept any certificate.
    let known = schemes.iter().any(|scheme| text.starts_with(scheme)) && !text.contains('#');
    // The parser drops line breaks and tabs, and escapes blanks.
    let clean = !text.contains(is_odd);
    text.is_empty() || (known && clean && text.into_connection_info().is_ok_and(usable))
}

fn is_postgres_url_or_none(text: &str) -> bool {
    let is_known = |url: Url| matches!(url.scheme(), "postgres" | "postgresql") && url.path().len() > 1;
    text.is_empty()
        || (!text.contains(is_odd) && !text.contains('#') && text.parse::<Url>().is_ok_and(is_known))
}

fn is_json_path(text: &str) -> bool {
    let is_field = |field: &str| {
        !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    text.len() <= 200 && text.split('.').all(is_field)
}

fn is_http_url_or_none(text: &str) -> bool {
    // Behind a `?` or a `#` there is no room for the name of a call.
    !text.contains(['?', '#']) && is_http_hook_or_none(text)
}

fn is_http_hook_or_none(text: &str) -> bool {
    let is_http = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    // The parser drops line breaks and tabs, and escapes blanks.
    text.is_empty() || (!text.contains(is_odd) && text.parse::<Url>().is_ok_and(is_http))
}

/// A name that is safe between colons in a key, and in a hash tag.
pub(crate) fn is_name(text: &str) -> bool {
    let forbidden = |c: char| {
        // Colons separate the parts of a key, braces mark a hash tag, commas, brackets and quotes are those of lists.
        is_odd(c) || matches!(c, ':' | ',' | '{' | '}' | '[' | ']' | '"' | '\'')
    };
    !text.is_empty() && !text.contains(forbidden)
}

fn is_name_or_none(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Whether both names are the same market. The case of an address does not matter.
#[must_use]
pub(crate) fn is_same_name(one: &str, other: &str) -> bool {
    one == other || (is_address(one) && one.eq_ignore_ascii_case(other))
}

/// A name in the form in which the same market has the same text, for sets.
pub(crate) fn one_spelling(name: &str) -> Cow<'_, str> {
    if is_address(name) { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

/// A prefix of keys. Braces would move the hash tag of a cluster, and glob characters would match other keys in SCAN and ACLs.
fn is_prefix(text: &str) -> bool {
    let forbidden = |c: char| is_odd(c) || matches!(c, '{' | '}' | '[' | ']' | '*' | '?' | '\\' | '"' | '\'');
    !text.contains(forbidden) && !text.starts_with(':')
}

fn is_id(text: &str) -> bool {
    // `docker run --env-file` passes quotes on as they are in the file: the id in the keys would contain them.
    let forbidden = |c: char| is_odd(c) || matches!(c, '"' | '\'');
    // A URL is in the wrong place, and `check` would show its password.
    !text.is_empty() && !text.contains(forbidden) && !text.contains("://")
}

fn is_id_or_none(text: &str) -> bool {
    text.is_empty() || is_id(text)
}

/// Whether no name has this character: names that look the same must be the same.
fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_invisible(c)
}

fn is_log_level(text: &str) -> bool {
    log_filter(text).is_some()
}

/// The filter of a level or of directives. A bare word that is not a level is refused: the parser of the filter would take it
/// for the name of a module, and a misspelt level would log nothing.
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
    // `EnvFilter::new` would drop directives that it can't parse; `parse` reports them.
    parts.map(|parts| parts.join(",")).filter(|filter| EnvFilter::builder().parse(filter).is_ok())
}

/// Whether `name` is a well-formed contract address. Its checksum is not checked.
pub(crate) fn is_address(name: &str) -> bool {
    hex_digits(name).is_some_and(|hex| hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_address_or_none(text: &str) -> bool {
    text.is_empty() || is_address(text)
}

fn is_start_block(text: &str) -> bool {
    text.parse::<StartBlock>().is_ok()
}

/// What is wrong with a name that is nearly an address: a digit is missing, too many or none, or the `0x` is not there.
pub(crate) fn nearly_an_address(name: &str) -> Option<String> {
    /// How many digits may be missing or too many. A name of hex letters, such as `facade`, has fewer.
    const SLIPS: usize = 8;
    let digits = hex_digits(name);
    // `Ox`, as some fonts invite to write it.
    let digits = digits.or_else(|| name.strip_prefix("Ox").or_else(|| name.strip_prefix("ox")));
    let rest = digits.unwrap_or(name);
    let length = rest.chars().count();
    let mut wrong = rest.chars().filter(|c| !c.is_ascii_hexdigit());
    let (first, others) = (wrong.next(), wrong.count());
    let fits = length.abs_diff(40) <= SLIPS && others < 4;
    let what = match (digits, first) {
        _ if !fits => return None,
        (_, Some(wrong)) => format!("{wrong:?} is no hex digit"),
        (_, None) if length != 40 => format!("it has {length} digits"),
        (None, None) => "its 0x is missing".to_owned(),
        (Some(_), None) if name.starts_with("0X") => "it begins with 0X, where the keys have 0x".to_owned(),
        (Some(_), None) if !name.starts_with("0x") => {
            "its first character is a letter and not a zero".to_owned()
        }
        (Some(_), None) => return None,
    };
    Some(what)
}

/// The address with its right checksum, if its checksum is wrong. An address in one case only has no checksum (EIP-55).
pub(crate) fn right_checksum(address: &str) -> Option<String> {
    let digits = hex_digits(address)?;
    let mixed = digits.contains(|c: char| c.is_ascii_lowercase())
        && digits.contains(|c: char| c.is_ascii_uppercase());
    let right = Address::new(address).checksummed().to_owned();
    (mixed && is_address(address) && hex_digits(&right) != Some(digits)).then_some(right)
}

fn hex_digits(name: &str) -> Option<&str> {
    name.strip_prefix("0x").or_else(|| name.strip_prefix("0X"))
}

/// Whether the text is the URL of a node.
pub(crate) fn is_node(text: &str) -> bool {
    // The URL parser drops line breaks and escapes blanks: it would make one URL of two.
    !text.contains(char::is_whitespace) && text.parse::<NodeUrl>().is_ok()
}

/// Host and port of `host:port`. An IPv6 address must be in brackets.
pub(crate) fn server(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let port = port.parse().ok().filter(|&port| port > 0)?;
    // In an IPv6 address without brackets, the last group would be taken for the port.
    (is_host(host) && (bare.is_some() || !host.contains(':'))).then_some((host, port))
}
