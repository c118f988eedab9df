//! Recognises the variables that Kubernetes and Docker set in every container for the services around it. A variable is one of
//! them only if its name and its value both have the form of a link and agree, so that a misspelt setting is still refused. Pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};

const HOST: &str = "_SERVICE_HOST";
const SERVICE_PORT: &str = "_SERVICE_PORT";
const PORT: &str = "_PORT";
const NAME: &str = "_NAME";
/// Docker repeats the variables of the linked container with this before their names.
const ENV: &str = "_ENV_";

/// The service in the name of a variable, such as `REDIS_MASTER` of `REDIS_MASTER_SERVICE_HOST`, if name and value have the form
/// of a link.
///
/// | orchestrator | name after that of the service | value |
/// |---|---|---|
/// | Kubernetes | `_SERVICE_HOST` | `10.0.0.1` |
/// | Kubernetes | `_SERVICE_PORT`, `_SERVICE_PORT_HTTP` | `80` |
/// | both | `_PORT`, `_PORT_80_TCP` | `tcp://10.0.0.1:80` |
/// | both | `_PORT_80_TCP_PROTO`, `_PORT`, `_ADDR` | `tcp`, `80`, `10.0.0.1` |
/// | Docker | `_PORT_80_TCP_START`, `_END`, `_PORT_START`, `_PORT_END` | the same for a range of ports |
/// | Docker | `_NAME` | `/one/other` |
pub(crate) fn service_of<'a>(name: &'a str, value: &str) -> Option<&'a str> {
    let service =
        by_ending(name, value).or_else(|| by_port_name(name, value)).or_else(|| by_port(name, value))?;
    // Names of services and containers neither begin nor end with a hyphen, and a hyphen becomes an underscore here.
    let is_name = !service.is_empty() && !service.starts_with('_') && !service.ends_with('_');
    is_name.then_some(service)
}

/// A check of the form of a value.
type Form = fn(&str) -> bool;

/// Whether a value has a form that only links have: `tcp://10.0.0.1:80`.
pub(crate) fn is_link_url(value: &str) -> bool {
    url(value).is_some()
}

/// All variables of an environment.
pub(crate) struct Environment<'a>(pub(crate) &'a BTreeMap<OsString, OsString>);

impl Environment<'_> {
    /// Whether another variable announces a service with this name.
    pub(crate) fn announces(&self, service: &str) -> bool {
        self.has(service, HOST, is_ip) || self.links_container(service)
    }

    /// Whether this is a variable of a linked container, which Docker repeats under the name of the link. Its value may be
    /// anything, so the variable of the link itself must exist.
    pub(crate) fn repeats(&self, name: &str) -> bool {
        // The name of the service may contain `_ENV_` itself: every position is tried.
        let mut places = name.match_indices(ENV).map(|(at, _)| at);
        places.any(|at| at + ENV.len() < name.len() && self.links_container(&name[..at]))
    }

    fn links_container(&self, service: &str) -> bool {
        self.has(service, NAME, is_container_path)
    }

    fn has(&self, service: &str, ending: &str, is_form: Form) -> bool {
        let value = self.0.get(OsStr::new(&format!("{service}{ending}")));
        value.and_then(|value| value.to_str()).is_some_and(is_form)
    }
}

fn by_ending<'a>(name: &'a str, value: &str) -> Option<&'a str> {
    let forms: [(&str, Form); 4] =
        [(HOST, is_ip), (SERVICE_PORT, is_port), (PORT, is_link_url), (NAME, is_container_path)];
    forms.into_iter().find_map(|(ending, is_form)| name.strip_suffix(ending).filter(|_| is_form(value)))
}

/// The service of a name such as `SERVICE_SERVICE_PORT_HTTP`.
fn by_port_name<'a>(name: &'a str, value: &str) -> Option<&'a str> {
    let (service, port) = name.split_once("_SERVICE_PORT_")?;
    let is_port_name = !port.is_empty() && port.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (is_port_name && is_port(value)).then_some(service)
}

/// The service of a name such as `SERVICE_PORT_80_TCP`, also with an ending.
fn by_port<'a>(name: &'a str, value: &str) -> Option<&'a str> {
    // A service may be named `a-port-b`: every position is tried.
    let mut places = name.match_indices("_PORT_");
    places.find_map(|(at, before)| {
        let (port, rest) = name[at + before.len()..].split_once('_')?;
        let (protocol, ending) = rest.split_once('_').unwrap_or((rest, ""));
        let protocol = ["tcp", "udp", "sctp"].into_iter().find(|known| known.to_uppercase() == protocol)?;
        let is_port_itself = |value: &str| is_port(value) && value == port;
        let agrees = is_port(port)
            && match ending {
                "" | "START" => {
                    // The value repeats protocol and port of the name. A misspelt setting
                    // with an address as its value does not.
                    url(value).is_some_and(|(of, at)| of == protocol && at.port().to_string() == port)
                }
                "END" => url(value).is_some_and(|(of, _)| of == protocol),
                "PROTO" => value == protocol,
                "PORT" | "PORT_START" => is_port_itself(value),
                "PORT_END" => is_port(value),
                "ADDR" => is_ip(value),
                _ => false,
            };
        agrees.then_some(&name[..at])
    })
}

fn url(value: &str) -> Option<(&str, SocketAddr)> {
    let (protocol, address) = value.split_once("://")?;
    let address = address.parse().ok()?;
    matches!(protocol, "tcp" | "udp" | "sctp").then_some((protocol, address))
}

fn is_ip(value: &str) -> bool {
    value.parse::<IpAddr>().is_ok()
}

fn is_port(value: &str) -> bool {
    // `parse` accepts a leading plus, which no orchestrator writes.
    value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether the value is `/CONTAINER/ALIAS`, as Docker names a link.
fn is_container_path(value: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    };
    let names = value.strip_prefix('/').and_then(|names| names.split_once('/'));
    names.is_some_and(|(one, other)| is_name(one) && is_name(other))
}
