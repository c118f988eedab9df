//! What a request asks for: its path, its token. Pure.

use axum::http::{HeaderMap, Method, header::AUTHORIZATION, request::Parts};
use domain::campaigns::CampaignId;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether the process runs.
    Live,
    /// Whether it can do its work.
    Ready,
    /// To send the status of a campaign to its room again.
    Broadcast(Result<CampaignId, BadPath>),
    /// The summaries that a campaign's runs had.
    History(Result<CampaignId, BadPath>),
    /// A page's question whether it may ask.
    Preflight,
    /// Another method than the path has.
    WrongMethod(&'static str),
    /// No such path.
    Nothing,
}

/// A path whose id is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPath;

/// What a request asks for.
pub(super) fn asked(head: &Parts) -> Asked {
    let path = head.uri.path().trim_end_matches('/');
    // The original's port has its version before the paths of health.
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let is_get = matches!(head.method, Method::GET | Method::HEAD);
    let of_get = |asked: Asked| if is_get { asked } else { Asked::WrongMethod("GET, HEAD") };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let id = |text: &str| text.parse::<CampaignId>().map_err(|_| BadPath);
    match &parts[..] {
        ["health" | "livez"] | ["health", "live"] => of_get(Asked::Live),
        ["readyz"] | ["health", "ready"] => of_get(Asked::Ready),
        ["campaigns", ..] if head.method == Method::OPTIONS => Asked::Preflight,
        ["campaigns", campaign, "broadcast"] if head.method == Method::POST => Asked::Broadcast(id(campaign)),
        ["campaigns", _, "broadcast"] => Asked::WrongMethod("POST"),
        ["campaigns", campaign, "history"] => of_get(Asked::History(id(campaign))),
        _ => Asked::Nothing,
    }
}

/// The token behind `Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, uri: &str, token: Option<&str>) -> Parts {
        let mut request = axum::http::Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(()).expect("a request").into_parts().0
    }

    const ID: &str = "3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f11";

    #[test]
    fn paths_are_those_of_the_original_and_ours() {
        let of = |method, path: &str| asked(&head(method, path, None));
        for path in ["/health", "/health/live", "/v1/health/live"] {
            assert_eq!(of("GET", path), Asked::Live, "{path}");
        }
        assert_eq!(of("HEAD", "/v1/health/ready"), Asked::Ready);
        let id: CampaignId = ID.parse().expect("an id");
        assert_eq!(of("POST", &format!("/campaigns/{ID}/broadcast")), Asked::Broadcast(Ok(id)));
        assert_eq!(of("GET", &format!("/campaigns/{ID}/broadcast")), Asked::WrongMethod("POST"));
        assert_eq!(of("POST", "/campaigns/x/broadcast"), Asked::Broadcast(Err(BadPath)));
        assert_eq!(of("GET", &format!("/campaigns/{ID}/history?from=1")), Asked::History(Ok(id)));
        assert_eq!(of("GET", "/v1/campaigns/x/history"), Asked::History(Err(BadPath)));
        assert_eq!(of("POST", &format!("/campaigns/{ID}/history")), Asked::WrongMethod("GET, HEAD"));
        assert_eq!(of("OPTIONS", &format!("/campaigns/{ID}/broadcast")), Asked::Preflight);
        for path in ["/", "/campaigns", "/campaigns//history/x", "/health/other"] {
            assert_eq!(of("GET", path), Asked::Nothing, "{path}");
        }
    }

    #[test]
    fn a_token_stands_behind_bearer() {
        assert_eq!(bearer(&head("GET", "/", Some("bearer a ")).headers).as_deref(), Some("a"));
        assert_eq!(bearer(&head("GET", "/", Some("Basic a")).headers), None);
        assert_eq!(bearer(&head("GET", "/", None).headers), None);
    }
}
