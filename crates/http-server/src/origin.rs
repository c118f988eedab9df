//! Whether a request may come from a page of another site. A browser sends it with the page's origin, or with the name under which
//! the page was loaded: that name may have been made to point to this machine (DNS rebinding). Pure.

use axum::http::{
    HeaderMap, Uri,
    header::{HOST, HeaderName, ORIGIN},
};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// The name in `Host` is not ours.
    Host,
    /// A page of another site asks.
    Origin,
}

/// Checks a request: its host has to be an IP address or `localhost`, unless `any_host`, and its origin, where it has one, the same.
///
/// # Errors
/// [`Foreign`].
pub(crate) fn check(uri: &Uri, headers: &HeaderMap, any_host: bool) -> Result<(), Foreign> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| host.to_str().map_err(|_| Foreign::Host)).transpose()?;
    if hosts.next().is_some() {
        return Err(Foreign::Host);
    }
    // Without any, as in HTTP/1.0, it is no browser.
    for authority in [host, uri.authority().map(|authority| authority.as_str())].into_iter().flatten() {
        if !any_host && !is_ours(authority) {
            return Err(Foreign::Host);
        }
    }
    let site = headers.get(FETCH_SITE).map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(Foreign::Origin);
    }
    for origin in headers.get_all(ORIGIN) {
        let of = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if of.map(|(_, authority)| authority) != host {
            return Err(Foreign::Origin);
        }
    }
    Ok(())
}

/// Whether an authority (`host` or `host:port`) is an IP address or `localhost`: a page can't be loaded under an address that is not its
/// server's.
fn is_ours(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => {
            return rest.split_once(']').is_some_and(|(ip, _)| ip.parse::<std::net::Ipv6Addr>().is_ok());
        }
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.parse::<std::net::Ipv4Addr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn checked(uri: &str, all: &[(&'static str, &'static str)]) -> Result<(), Foreign> {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check(&uri.parse().unwrap(), &headers, false)
    }

    #[test]
    fn only_our_hosts_are_served() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9095",
            "10.1.2.3:80",
            "[::1]:9095",
            "localhost",
            "LOCALHOST:9095",
            "localhost.:1",
        ] {
            assert_eq!(checked("/health", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(checked("/health", &[]), Ok(()));
        for host in [
            "evil.example",
            "evil.example:9095",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "[::1",
            "[evil]:1",
            "tracker.example",
        ] {
            assert_eq!(checked("/health", &[("host", host)]), Err(Foreign::Host), "{host}");
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(checked("/health", &two), Err(Foreign::Host));
        assert_eq!(checked("http://evil.example/health", &[("host", "localhost")]), Err(Foreign::Host));
    }

    #[test]
    fn only_our_own_pages_are_served() {
        let with = |name, value| checked("/health", &[("host", "127.0.0.1:9095"), (name, value)]);
        assert_eq!(with("origin", "http://127.0.0.1:9095"), Ok(()));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8000", "http://localhost:9095", ""] {
            assert_eq!(with("origin", origin), Err(Foreign::Origin), "{origin}");
        }
        assert_eq!((with("sec-fetch-site", "same-origin"), with("sec-fetch-site", "none")), (Ok(()), Ok(())));
        for site in ["cross-site", "same-site", ""] {
            assert_eq!(with("sec-fetch-site", site), Err(Foreign::Origin), "{site}");
        }
    }
}
