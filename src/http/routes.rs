//! What each path answers. Reads [`Vitals`] and writes responses; nothing else.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Query, RawQuery, State},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use supervision::{ActorHealth, Crash};

use super::{Condition, Vitals};

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const METRICS_PATHS: &str = "/metrics, /livez, /readyz, /readyz?verbose";
const OPERATOR_PATHS: &str = "/health, /dead-letters, /crashes?actor=PATH";

type Shared = Arc<dyn Vitals>;

#[derive(Clone)]
struct Operator {
    vitals: Shared,
    began: Instant,
}

/// The metrics server.
pub(super) fn metrics(vitals: Shared) -> Router {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/readyz", get(readyz))
        .with_state(vitals)
        .route("/livez", get(async || text(StatusCode::OK, "ok\n")));
    with_fallbacks(router, METRICS_PATHS)
}

/// The operator's server; the process counts as up since `began`.
pub(super) fn operator(vitals: Shared, began: Instant) -> Router {
    let router = Router::new()
        .route("/health", get(health))
        .route("/dead-letters", get(dead_letters))
        .route("/crashes", get(crashes))
        .with_state(Operator { vitals, began });
    with_fallbacks(router, OPERATOR_PATHS)
}

fn with_fallbacks(router: Router, paths: &'static str) -> Router {
    router
        .fallback(async move || {
            text(StatusCode::NOT_FOUND, format!("nothing is here; this server has {paths}\n"))
        })
        .method_not_allowed_fallback(async || {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are possible here\n")
        })
}

async fn show_metrics(State(vitals): State<Shared>) -> Response {
    match vitals.metrics() {
        Ok(metrics) => respond(StatusCode::OK, PROMETHEUS_TEXT, metrics),
        Err(error) => {
            tracing::error!("the metrics could not be shown: {error}");
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
        }
    }
}

/// 200 when every condition holds, else 503 with a line for each that does not.
async fn readyz(State(vitals): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let conditions = vitals.conditions();
    let ready = conditions.iter().all(|condition| condition.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = String::new();
    for Condition { name, ok, detail } in
        conditions.iter().filter(|condition| !condition.ok || verbose(&query))
    {
        let word = if *ok { "ok" } else { "not ok" };
        let separator = if detail.is_empty() { "" } else { ": " };
        // Writing into a string does not fail.
        let _ = writeln!(body, "{word}: {name}{separator}{}", detail.replace('\n', " "));
    }
    body.push_str(if ready { "ready\n" } else { "not ready\n" });
    text(status, body)
}

/// `?verbose`, with or without a value.
fn verbose(query: &Option<String>) -> bool {
    query.iter().flat_map(|query| query.split('&')).any(|pair| pair.split('=').next() == Some("verbose"))
}

/// How the process is, in one word.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Every condition holds, and no actor is in trouble.
    Ready,
    /// An actor crashes beyond its intensity, never yields, or could not be stopped.
    Degraded,
    /// A condition does not hold, and no actor is to blame.
    Waiting,
}

impl Status {
    fn of(conditions: &[Condition], actors: &[ActorHealth]) -> Self {
        let in_trouble = |actor: &ActorHealth| {
            let state = matches!(actor.state, supervision::State::Degraded | supervision::State::Abandoned);
            state || actor.degraded || actor.wedged
        };
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
    actors: Vec<ActorHealth>,
}

/// Always 200: the answer is for people, who want it most when something is wrong.
async fn health(State(Operator { vitals, began }): State<Operator>) -> Response {
    let (conditions, actors) = (vitals.conditions(), vitals.actors());
    json(&Health {
        status: Status::of(&conditions, &actors),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: began.elapsed().as_secs_f64(),
        conditions,
        actors,
    })
}

async fn dead_letters(State(Operator { vitals, .. }): State<Operator>) -> Response {
    json(&vitals.dead_letters())
}

#[derive(Deserialize)]
struct CrashesOf {
    actor: Option<String>,
}

/// A crash with the backtrace that health records leave out.
#[derive(Serialize)]
struct FullCrash<'a> {
    #[serde(flatten)]
    crash: &'a Crash,
    backtrace: Option<&'a str>,
}

async fn crashes(State(Operator { vitals, .. }): State<Operator>, Query(of): Query<CrashesOf>) -> Response {
    let known = |vitals: &Shared| {
        let paths: Vec<_> = vitals.actors().into_iter().map(|actor| actor.path).collect();
        paths.join("\n")
    };
    let Some(actor) = of.actor else {
        let hint = format!("name an actor, as in /crashes?actor=PATH; there are:\n{}\n", known(&vitals));
        return text(StatusCode::BAD_REQUEST, hint);
    };
    let crashes = vitals.crashes(&actor);
    if crashes.is_empty() && !vitals.actors().iter().any(|known| known.path == actor) {
        return text(StatusCode::NOT_FOUND, format!("no such actor; there are:\n{}\n", known(&vitals)));
    }
    let full = |crash| FullCrash { crash, backtrace: crash.backtrace.as_deref() };
    json(&crashes.iter().map(full).collect::<Vec<_>>())
}

fn json(value: &impl Serialize) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    respond(status, TEXT, body.into())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")], body).into_response()
}
