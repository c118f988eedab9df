//! The handlers of the outbox, at the operators' port.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use domain::chain::ContractAddress;
use errors::{one_line, sanitise};
use http_server::{ApiError, Caller};
use serde::{Deserialize, Serialize};
use store_collector::outbox::{Stage, is_id};
use store_redis::StoreError;

use super::state::EndpointState;
use crate::outbox::{Order, OrderError, OutboxDesk};

/// How many calls are shown unless it is said.
const SHOWN: usize = 20;

/// What a request asks to be shown.
#[derive(Deserialize)]
pub(super) struct Shown {
    market: Option<ContractAddress>,
    stage: Option<Stage>,
    from: Option<String>,
    count: Option<usize>,
}

type Asked = Result<Query<Shown>, QueryRejection>;

fn desk(state: &EndpointState) -> Result<OutboxDesk, Box<Response>> {
    let message = "this service has no outbox: it follows no chain, or writes under output.prefix";
    state
        .vitals
        .outbox()
        .ok_or_else(|| Box::new(ApiError::new(StatusCode::NOT_FOUND, "no_outbox", message).into_response()))
}

/// The answer of a store. What Redis can't do now is no fault of the request.
fn answer<T: Serialize>(result: Result<T, StoreError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &StoreError) -> Response {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "redis", one_line(error)).retry_after(1).into_response()
}

fn bad_request(code: &'static str, message: String) -> Response {
    ApiError::new(StatusCode::BAD_REQUEST, code, message).into_response()
}

pub(super) async fn lanes(State(state): State<EndpointState>) -> Response {
    match desk(&state) {
        Ok(desk) => answer(desk.lanes().await),
        Err(refused) => *refused,
    }
}

pub(super) async fn calls(State(state): State<EndpointState>, asked: Asked) -> Response {
    let desk = match desk(&state) {
        Ok(desk) => desk,
        Err(refused) => return *refused,
    };
    match asked {
        Ok(Query(Shown { market: Some(market), stage, from, count })) => {
            let stage = stage.unwrap_or(Stage::Waiting);
            if from.as_deref().is_some_and(|from| !is_id(from)) {
                return bad_request(
                    "bad_id",
                    "`from` must be the id of a call, such as 1700000000000-0".to_owned(),
                );
            }
            answer(desk.calls(market, stage, from.as_deref(), count.unwrap_or(SHOWN)).await)
        }
        Ok(_) => bad_request("market_missing", "name a market: ?market=ADDRESS".to_owned()),
        Err(error) => bad_request("bad_query", sanitise(error)),
    }
}

pub(super) async fn audit(State(state): State<EndpointState>, asked: Asked) -> Response {
    let desk = match desk(&state) {
        Ok(desk) => desk,
        Err(refused) => return *refused,
    };
    match asked {
        Ok(Query(Shown { count, .. })) => answer(desk.audit(count.unwrap_or(SHOWN)).await),
        Err(error) => bad_request("bad_query", sanitise(error)),
    }
}

pub(super) async fn order(
    State(state): State<EndpointState>,
    Extension(Caller { who, from }): Extension<Caller>,
    body: Bytes,
) -> Response {
    let desk = match desk(&state) {
        Ok(desk) => desk,
        Err(refused) => return *refused,
    };
    let order: Order = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return bad_request("bad_order", format!("the body is no order: {}", sanitise(error))),
    };
    match desk.follow(&order, &format!("{who} at {from}")).await {
        Ok(done) => Json(done).into_response(),
        Err(OrderError::Action(store_collector::outbox::ActionError::Store(error))) => unavailable(&error),
        Err(OrderError::NoLane(market)) => {
            let message = OrderError::NoLane(market).to_string();
            ApiError::new(StatusCode::NOT_FOUND, "no_lane", message).into_response()
        }
        Err(error) => bad_request("bad_order", one_line(&error)),
    }
}
