//! The pages of the port: each request is answered here, within the limits that the gateway sets for its body.

use std::sync::Arc;

use actors::campaigns::Campaigns;
use axum::{
    body::Bytes,
    http::{HeaderValue, Method, Response, StatusCode, header, request::Parts},
};
use campaign_gateway::Pages;
use domain::campaigns::CampaignId;
use http_server::{Role, Tokens};
use serde_json::{Value, json};

use super::{
    answers::{allow, answer, preflight, refusal, unavailable},
    requests::{Asked, BadPath, asked, bearer},
};

const NO_TOKEN: &str = "Authentication required";
const BAD_ID: &str = "Invalid campaign ID";

/// The limits and secrets of the pages.
pub struct PagesSettings {
    /// The token of services that may have a status sent again; empty for none.
    pub service_token: String,
    /// The origins of pages that may read the answers; `None` for all.
    pub origins: Option<Vec<String>>,
}

/// The pages. A clone is the same.
#[derive(Clone)]
pub struct CampaignPages(Arc<Shared>);

struct Shared {
    campaigns: Campaigns,
    service: Tokens,
    origins: Option<Vec<String>>,
}

impl CampaignPages {
    /// The pages of these campaigns.
    #[must_use]
    pub fn new(campaigns: Campaigns, settings: PagesSettings) -> Self {
        let PagesSettings { service_token, origins } = settings;
        let service = Tokens::default();
        service.replace_foreign(Role::Operator, &service_token);
        Self(Arc::new(Shared { campaigns, service, origins }))
    }

    async fn respond(&self, head: &Parts) -> Response<Bytes> {
        match asked(head) {
            Asked::Live => answer(StatusCode::OK, &json!({ "status": "ok" })),
            Asked::Ready => self.ready(),
            Asked::Broadcast(campaign) => self.broadcast(head, campaign).await,
            Asked::Preflight => preflight(),
            Asked::WrongMethod(allowed) => {
                let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                response
            }
            Asked::Nothing => refusal(StatusCode::NOT_FOUND, "Not found"),
        }
    }

    /// The conditions of campaigns alone: that a market's dataset is stale is no reason to send clients away.
    fn ready(&self) -> Response<Bytes> {
        let conditions = self.0.campaigns.conditions();
        let is_ready = conditions.iter().all(|condition| condition.ok);
        let shown: Vec<Value> = conditions
            .iter()
            .map(
                |condition| json!({ "name": condition.name, "ok": condition.ok, "detail": condition.detail }),
            )
            .collect();
        let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer(
            status,
            &json!({ "status": if is_ready { "ready" } else { "not ready" }, "conditions": shown }),
        )
    }

    async fn broadcast(&self, head: &Parts, campaign: Result<CampaignId, BadPath>) -> Response<Bytes> {
        let service = &self.0.service;
        if service.is_empty() {
            return refusal(StatusCode::NOT_FOUND, "Not found");
        }
        let presented = bearer(&head.headers);
        if presented.is_none_or(|token| service.role_of(&token).is_none()) {
            return refusal(StatusCode::UNAUTHORIZED, NO_TOKEN);
        }
        let Ok(campaign) = campaign else { return refusal(StatusCode::BAD_REQUEST, BAD_ID) };
        match self.0.campaigns.broadcast(campaign).await {
            Ok(sent) if sent.is_empty() => {
                refusal(StatusCode::NOT_FOUND, "The campaign has no run with a summary")
            }
            Ok(sent) => {
                answer(StatusCode::OK, &json!({ "success": true, "campaignId": campaign, "events": sent }))
            }
            Err(error) => {
                self.0.campaigns.note(&error);
                unavailable("The database or Redis does not answer")
            }
        }
    }
}

impl Pages for CampaignPages {
    async fn answer(&self, head: Parts, _: Bytes) -> Response<Bytes> {
        let mut response = self.respond(&head).await;
        allow(&mut response, head.headers.get(header::ORIGIN), self.0.origins.as_deref());
        if head.method == Method::HEAD {
            *response.body_mut() = Bytes::new();
        }
        response
    }
}
