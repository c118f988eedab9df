//! The table of the paths, and the router that is built from it.

use axum::{
    Router,
    http::StatusCode,
    routing::{MethodRouter, get},
};
use http_server::{Access, ApiError};

use super::{PeerPort, handlers as h, page};

/// A path of the peers' ports.
pub struct PeerEndpoint {
    /// The path.
    pub path: &'static str,
    /// The query that it takes; empty for none.
    pub query: &'static str,
    /// What it answers.
    pub answer: &'static str,
    route: fn() -> MethodRouter<PeerPort>,
}

const fn row(
    path: &'static str,
    query: &'static str,
    answer: &'static str,
    route: fn() -> MethodRouter<PeerPort>,
) -> PeerEndpoint {
    PeerEndpoint { path, query, answer, route }
}

const RANGE: &str = "from=UNIX&to=UNIX";
const RANGE_OF: &str = "from=UNIX&to=UNIX[&source=NAME]";

/// Every path.
pub static ENDPOINTS: &[PeerEndpoint] = &[
    row("/", "", "A page that shows all of this", || get(page::page)),
    row("/page.js", "", "Its script", || get(page::script)),
    row("/page.css", "", "Its style", || get(page::style)),
    row("/uplot.js", "", "The library that draws its charts", || get(page::charts)),
    row("/uplot.css", "", "Its style", || get(page::style_of_charts)),
    row(
        "/api/stats",
        "[source=NAME]",
        "The newest status of a proxy, or of a pool, in the form of its message",
        || get(h::stats),
    ),
    row("/api/miners", "", "The miners of all sources", || get(h::miners)),
    row("/api/services", "", "The services of all pools", || get(h::services)),
    row("/api/connections", "", "The connections of all pools", || get(h::connections)),
    row("/api/hashrate", RANGE_OF, "The measured hashrate of all sources or of one", || get(h::hashrate)),
    row("/api/downstream/{id}/hashrate", RANGE_OF, "The measured hashrate of one peer", || {
        get(h::downstream)
    }),
    row(
        "/api/downstream/{id}/declared-hashrate",
        RANGE_OF,
        "The hashrate that is declared for one peer",
        || get(h::downstream_declared),
    ),
    row(
        "/api/history",
        "from=UNIX&to=UNIX[&source=NAME][&id=ID]",
        "What was measured and declared of all sources, of one, or of a peer: mean, lowest and highest, with the gaps",
        || get(h::history),
    ),
    row("/api/sources", "", "The age of each source's newest picture", || get(h::sources)),
    row("/api/quotes", RANGE, "The newest quotes of a range, at most 1,000", || get(h::quotes)),
    row("/api/balance", "", "The balance of each source's wallet", || get(h::balance)),
    row("/health", "", "200 while every source is fresh, else 503, with those that are not", || {
        get(h::health)
    }),
];

/// What each path asks of a client.
pub(super) fn access() -> impl Iterator<Item = (&'static str, Access)> {
    ENDPOINTS.iter().map(|endpoint| (endpoint.path, Access::Public))
}

/// The router of all paths.
pub(super) fn router(port: PeerPort) -> Router {
    ENDPOINTS
        .iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, (endpoint.route)()))
        .with_state(port)
        .fallback(async || {
            ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such path at this port")
        })
        .method_not_allowed_fallback(async || {
            let text = "only GET and HEAD are allowed here";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
        })
}
