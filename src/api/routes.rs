//! The table of the paths, and the router that is built from it.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    middleware::map_response_with_state,
    response::Response,
    routing::{MethodRouter, any, get},
};
use http_server::{Access, ApiError, Role};
use store_redis::StoreError;

use super::{Api, handlers as h, page};

/// A path of the read API.
pub struct ApiEndpoint {
    /// The path, without a query.
    pub path: &'static str,
    /// The query that it takes, with its question mark; empty for none.
    pub query: &'static str,
    /// The fields of its request beside `token` and `dataMarketAddress`; empty for a page that takes none.
    pub request: &'static str,
    /// What it answers.
    pub answer: &'static str,
    /// What it asks of a client.
    pub access: Access,
    route: fn() -> MethodRouter<Api>,
}

const fn row(
    path: &'static str,
    request: &'static str,
    answer: &'static str,
    route: fn() -> MethodRouter<Api>,
) -> ApiEndpoint {
    ApiEndpoint { path, query: "", request, answer, access: Access::InBody(Role::Read), route }
}

const fn page(path: &'static str, answer: &'static str, route: fn() -> MethodRouter<Api>) -> ApiEndpoint {
    ApiEndpoint { path, query: "", request: "", answer, access: Access::Public, route }
}

const fn with_details(endpoint: ApiEndpoint) -> ApiEndpoint {
    ApiEndpoint { query: "?includeSlotDetails=true", ..endpoint }
}

/// Every path.
pub static ENDPOINTS: &[ApiEndpoint] = &[
    row(
        "/totalSubmissions",
        "`slotID`, `pastDays`",
        "Eligible and all submissions of a slot, by days",
        || any(h::total_submissions),
    ),
    with_details(row("/eligibleNodesCountPastDays", "`pastDays`", "The eligible nodes, by days", || {
        any(h::eligible_nodes_past_days)
    })),
    with_details(row("/eligibleNodesCount", "`day`", "The eligible nodes of a day", || {
        any(h::eligible_nodes)
    })),
    row("/batchCount", "`epochID`", "The number of batches of an epoch", || any(h::batch_count)),
    row("/epochSubmissionDetails", "`epochID`", "The submissions of an epoch", || any(h::epoch_submissions)),
    row(
        "/eligibleSlotSubmissionCount",
        "`day`, `epochID`",
        "The eligible submissions of each slot in an epoch",
        || any(h::eligible_of_epoch),
    ),
    row("/activeNodesCountByEpoch", "`epochID`", "How many nodes submitted for an epoch", || {
        any(h::active_nodes)
    }),
    row(
        "/discardedSubmissionsByEpoch",
        "`day`, `epochID`",
        "The discarded submissions of an epoch, for at most 50 projects",
        || any(h::discarded_of_epoch),
    ),
    row(
        "/discardedSubmissionsByDay",
        "`day`, `slotID`, `page`",
        "The discarded submissions of a slot in a day, 50 projects a page",
        || any(h::discarded_of_day),
    ),
    row("/lastSimulatedSubmission", "`slotID`", "When the last simulated submission of a slot came", || {
        any(h::last_simulated)
    }),
    row(
        "/lastSnapshotSubmission",
        "`slotID`",
        "When the last submission of a slot for a released epoch came",
        || any(h::last_snapshot),
    ),
    row("/snapshotterNodeVersion", "`slotID`", "The version of the node of a slot", || any(h::node_version)),
    page("/openapi.json", "The description of all paths, as OpenAPI", || get(page::description)),
    page("/swagger/doc.json", "The same", || get(page::description)),
    page("/swagger/", "A page that shows the description", || get(page::page)),
    page("/swagger/index.html", "The same, where the original has it", || get(page::page)),
    page("/swagger/page.js", "Its script", || get(page::script)),
    page("/swagger/page.css", "Its style", || get(page::style)),
];

/// What each path asks of a client.
pub(super) fn access() -> impl Iterator<Item = (&'static str, Access)> {
    ENDPOINTS.iter().map(|endpoint| (endpoint.path, endpoint.access))
}

/// The router of all paths.
pub(super) fn router(api: Api) -> Router {
    ENDPOINTS
        .iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, (endpoint.route)()))
        .layer(map_response_with_state(api.clone(), note))
        .with_state(api)
        .fallback(async || {
            let text = "The read API has no such path: /openapi.json describes those that there are";
            ApiError::new(StatusCode::NOT_FOUND, "not_found", text)
        })
        .method_not_allowed_fallback(async || {
            let text = "Only GET and HEAD are allowed here";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
        })
}

/// Counts and logs what Redis refused.
async fn note(State(api): State<Api>, response: Response) -> Response {
    if let Some(error) = response.extensions().get::<StoreError>() {
        api.parts.services.note_client_error(error);
    }
    response
}
