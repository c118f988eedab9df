//! The table of endpoints, and the handler of each. Only reads [`Vitals`](super::vitals::Vitals).

use std::fmt::Write as _;

use axum::{
    Json, Router,
    extract::{Query, RawQuery, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use errors::sanitise;
use http_server::{Access, ApiError, Role};
use serde::{Deserialize, Serialize};
use supervision::{ActorHealth, Crash};

use super::outbox;
use super::server::Server;
use super::state::EndpointState;
use super::vitals::Condition;
use crate::escape::escaped;

const TEXT: &str = "text/plain; charset=utf-8";
// Prometheus 3 refuses a scrape whose content type it does not know.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A row of the table of endpoints, from which both routers, the help and the reference are built.
pub struct Endpoint {
    /// The server that has it.
    pub server: Server,
    /// The path, without a query.
    pub path: &'static str,
    /// The query that it takes, with its question mark; empty for none.
    pub query: &'static str,
    /// What it answers.
    pub answer: &'static str,
    /// What it asks of a client, where there are tokens.
    pub access: Access,
    route: fn() -> MethodRouter<EndpointState>,
}

const READ: Access = Access::Needs(Role::Read);

/// Every endpoint.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        server: Server::Metrics,
        path: "/metrics",
        query: "",
        answer: "Metrics in Prometheus' text format",
        access: Access::Open,
        route: || get(metrics),
    },
    Endpoint {
        server: Server::Metrics,
        path: "/livez",
        query: "",
        answer: "200 while the process runs; checks nothing else",
        access: Access::Open,
        route: || get(livez),
    },
    Endpoint {
        server: Server::Metrics,
        path: "/readyz",
        query: "?verbose",
        answer: "200, or 503 with a line for each condition that fails; `verbose` shows all conditions, and notes",
        access: Access::Open,
        route: || get(readyz),
    },
    Endpoint {
        server: Server::Operator,
        path: "/health",
        query: "",
        answer: "The tree of actors as JSON, always with 200; `status` is `ready`, `waiting` or `degraded`",
        access: READ,
        route: || get(health),
    },
    Endpoint {
        server: Server::Operator,
        path: "/dead-letters",
        query: "",
        answer: "The dead letters that are kept, as JSON",
        access: READ,
        route: || get(dead_letters),
    },
    Endpoint {
        server: Server::Operator,
        // The actor is a query parameter, since its path contains slashes.
        path: "/crashes",
        query: "?actor=PATH",
        answer: "The last crashes of an actor, with backtraces, as JSON",
        access: READ,
        route: || get(crashes),
    },
    Endpoint {
        server: Server::Operator,
        path: "/audit",
        query: "",
        answer: "The last actions of operators and the last refusals, the newest first, as JSON",
        access: Access::Needs(Role::Operator),
        route: || get(audit),
    },
    Endpoint {
        server: Server::Operator,
        path: "/outbox",
        query: "",
        answer: "The lanes of the relayer in short, as JSON",
        access: READ,
        route: || get(outbox::lanes),
    },
    Endpoint {
        server: Server::Operator,
        path: "/outbox/calls",
        query: "?market=ADDRESS&stage=waiting&from=ID&count=20",
        answer: "The calls of a lane at a stage (waiting, sent, dead, again), as JSON",
        access: READ,
        route: || get(outbox::calls),
    },
    Endpoint {
        server: Server::Operator,
        path: "/outbox/audit",
        query: "?count=20",
        answer: "The last actions of operators on the outbox, the latest first, as JSON",
        access: READ,
        route: || get(outbox::audit),
    },
    Endpoint {
        server: Server::Operator,
        path: "/outbox/orders",
        query: "",
        answer: "`POST` of an order as JSON: `market`; `action`, which is pause, resume, retry, drop or replay; `why`; `stage`; the calls by \
                 `all`, `ids`, or `from_epoch` and `to_epoch`; `preview` to be told only",
        access: Access::Acts,
        route: || post(outbox::order),
    },
    Endpoint {
        server: Server::Operator,
        path: "/livez",
        query: "",
        answer: "200 while the process runs; checks nothing else, and asks for no token",
        access: Access::Open,
        route: || get(livez),
    },
];

/// What the paths of a server ask of a client.
pub(super) fn access(server: Server) -> impl Iterator<Item = (&'static str, Access)> {
    ENDPOINTS
        .iter()
        .filter(move |endpoint| endpoint.server == server)
        .map(|endpoint| (endpoint.path, endpoint.access))
}

/// The router of one server.
pub(super) fn router(server: Server, shown: EndpointState) -> Router {
    let own = ENDPOINTS.iter().filter(|endpoint| endpoint.server == server);
    let paths: Vec<String> =
        own.clone().map(|endpoint| format!("{}{}", endpoint.path, endpoint.query)).collect();
    own.fold(Router::new(), |router, endpoint| router.route(endpoint.path, (endpoint.route)()))
        .with_state(shown)
        // An operator who asks the wrong one of two ports learns from the answer which paths it has.
        .fallback(async move || {
            let message = "this server has no such path; choices has those of it";
            ApiError::new(StatusCode::NOT_FOUND, "not_found", message).choices(paths)
        })
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "only GET and HEAD are allowed, and POST for orders",
            )
        })
}

async fn livez() -> Response {
    text(StatusCode::OK, "ok\n")
}

async fn metrics(State(EndpointState { vitals, .. }): State<EndpointState>) -> Response {
    match vitals.metrics() {
        Ok(metrics) => respond(StatusCode::OK, PROMETHEUS_TEXT, metrics),
        Err(error) => {
            tracing::error!("the metrics could not be collected: {error}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics_failed", sanitise(error))
                .into_response()
        }
    }
}

/// 200 if every condition holds, else 503 with a line for each one that doesn't.
async fn readyz(
    State(EndpointState { vitals, .. }): State<EndpointState>,
    RawQuery(query): RawQuery,
) -> Response {
    let conditions = vitals.conditions();
    let ready = conditions.iter().all(|condition| condition.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = String::new();
    for Condition { name, ok, detail } in
        conditions.iter().filter(|condition| !condition.ok || verbose(&query))
    {
        let word = if *ok { "ok" } else { "not ok" };
        let separator = if detail.is_empty() { "" } else { ": " };
        // A detail may contain the message of a server, with line breaks and escape sequences. Writing to a String can't fail.
        let detail = detail.replace('\n', " ");
        let _ = writeln!(body, "{word}: {name}{separator}{}", escaped(&detail));
    }
    for note in vitals.notes().iter().filter(|_| verbose(&query)) {
        let _ = writeln!(body, "note: {}", escaped(note));
    }
    body.push_str(if ready { "ready\n" } else { "not ready\n" });
    text(status, body)
}

/// Whether the query contains `verbose`, with or without a value.
fn verbose(query: &Option<String>) -> bool {
    query.iter().flat_map(|query| query.split('&')).any(|pair| pair.split('=').next() == Some("verbose"))
}

/// The state of the process in one word.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Every condition holds, and no actor is degraded, wedged or abandoned.
    Ready,
    /// An actor exceeded its restart limit, never yields, or could not be stopped.
    Degraded,
    /// A condition does not hold, and no actor is the reason.
    Waiting,
}

impl Status {
    fn of(conditions: &[Condition], actors: &[ActorHealth]) -> Self {
        // `degraded` and `wedged` stay set while the actor is in another state, such as a slow retry.
        let in_trouble = |actor: &ActorHealth| {
            let state = matches!(actor.state, supervision::State::Degraded | supervision::State::Abandoned);
            state || actor.degraded || actor.wedged
        };
        // Actors before conditions: a degraded actor is the reason why its conditions fail.
        if actors.iter().any(in_trouble) {
            Self::Degraded
        } else if conditions.iter().all(|condition| condition.ok) {
            Self::Ready
        } else {
            Self::Waiting
        }
    }
}

#[derive(Serialize)]
struct Health {
    status: Status,
    version: &'static str,
    uptime_seconds: f64,
    conditions: Vec<Condition>,
    notes: Vec<String>,
    actors: Vec<ActorHealth>,
}

/// Always 200, since clients such as curl -f hide the body of an error, and operators need it most when something is wrong.
async fn health(State(EndpointState { vitals, began, .. }): State<EndpointState>) -> Response {
    let (conditions, actors) = (vitals.conditions(), vitals.actors());
    json(&Health {
        status: Status::of(&conditions, &actors),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: began.elapsed().as_secs_f64(),
        conditions,
        notes: vitals.notes(),
        actors,
    })
}

async fn dead_letters(State(EndpointState { vitals, .. }): State<EndpointState>) -> Response {
    json(&vitals.dead_letters())
}

#[derive(Deserialize)]
struct CrashesOf {
    actor: Option<String>,
}

/// A crash with its backtrace, which health records omit.
#[derive(Serialize)]
struct FullCrash<'a> {
    #[serde(flatten)]
    crash: &'a Crash,
    backtrace: Option<&'a str>,
}

async fn crashes(
    State(EndpointState { vitals, .. }): State<EndpointState>,
    of: Result<Query<CrashesOf>, QueryRejection>,
) -> Response {
    let refuse = |status, code, message| {
        let paths = vitals.actors().into_iter().map(|actor| actor.path).collect();
        ApiError::new(status, code, message).choices(paths).into_response()
    };
    let Ok(Query(CrashesOf { actor: Some(actor) })) = of else {
        let message = "name one actor: /crashes?actor=PATH; choices has the paths";
        return refuse(StatusCode::BAD_REQUEST, "actor_missing", message);
    };
    let crashes = vitals.crashes(&actor);
    // An actor without crashes is an empty list; a path without an actor is probably a typing mistake.
    if crashes.is_empty() && !vitals.actors().iter().any(|known| known.path == actor) {
        let message = "there is no actor of that path; choices has the paths";
        return refuse(StatusCode::NOT_FOUND, "unknown_actor", message);
    }
    let full = |crash| FullCrash { crash, backtrace: crash.backtrace.as_deref() };
    json(&crashes.iter().map(full).collect::<Vec<_>>())
}

async fn audit(State(EndpointState { audit, .. }): State<EndpointState>) -> Response {
    json(&audit.entries())
}

fn json(value: &impl Serialize) -> Response {
    Json(value).into_response()
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    respond(status, TEXT, body.into())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, content_type)], body).into_response()
}
