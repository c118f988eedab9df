//! The pages of the port: each request is answered here, within the limits that the gateway sets for its body.

use std::sync::Arc;

use actors::campaigns::{CampaignGateway, Campaigns};
use axum::{
    body::Bytes,
    http::{HeaderValue, Method, Response, StatusCode, header, request::Parts},
};
use campaign_gateway::{Denied, Pages};
use domain::campaigns::CampaignId;
use http_server::{Role, Tokens};
use serde_json::{Value, json};
use store_campaigns::DatabaseErrorKind;

use super::{
    answers::{allow, answer, preflight, refusal, retry_after, unavailable},
    history,
    requests::{Asked, BadPath, asked, bearer},
};

const NO_TOKEN: &str = "Authentication required";
const BAD_ID: &str = "Invalid campaign ID";
const NO_HISTORY: &str =
    "There is no history: the database lacks the migration (state-tracker campaigns migrate)";

/// The limits and secrets of the pages.
pub struct PagesSettings {
    /// The token of services that may have a status sent again, and read each history; empty for none.
    pub service_token: String,
    /// The origins of pages that may read the answers; `None` for all.
    pub origins: Option<Vec<String>>,
}

/// The pages. A clone is the same.
#[derive(Clone)]
pub struct CampaignPages(Arc<Shared>);

struct Shared {
    campaigns: Campaigns,
    gateway: Arc<CampaignGateway>,
    service: Tokens,
    origins: Option<Vec<String>>,
}

impl CampaignPages {
    /// The pages of these campaigns; the gateway says who may know of which.
    #[must_use]
    pub fn new(campaigns: Campaigns, gateway: Arc<CampaignGateway>, settings: PagesSettings) -> Self {
        let PagesSettings { service_token, origins } = settings;
        let service = Tokens::default();
        service.replace_foreign(Role::Operator, &service_token);
        Self(Arc::new(Shared { campaigns, gateway, service, origins }))
    }

    async fn respond(&self, head: &Parts) -> Response<Bytes> {
        match asked(head) {
            Asked::Live => answer(StatusCode::OK, &json!({ "status": "ok" })),
            Asked::Ready => self.ready(),
            Asked::Broadcast(campaign) => self.broadcast(head, campaign).await,
            Asked::History(campaign) => self.history(head, campaign).await.unwrap_or_else(|refusal| refusal),
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

    fn is_service(&self, token: &str) -> bool {
        self.0.service.role_of(token).is_some()
    }

    async fn history(
        &self,
        head: &Parts,
        campaign: Result<CampaignId, BadPath>,
    ) -> Result<Response<Bytes>, Response<Bytes>> {
        let token = bearer(&head.headers).ok_or_else(|| refusal(StatusCode::UNAUTHORIZED, NO_TOKEN))?;
        let campaign = campaign.map_err(|BadPath| refusal(StatusCode::BAD_REQUEST, BAD_ID))?;
        let campaigns = &self.0.campaigns;
        let asked = history::read(head.uri.query().unwrap_or_default(), campaigns.now())
            .map_err(|error| refusal(StatusCode::BAD_REQUEST, &error.to_string()))?;
        self.authorise(&token, campaign).await.map_err(denied)?;
        let found = campaigns.history(campaign, asked.between, asked.after, asked.limit).await;
        let page = found.map_err(|error| {
            campaigns.note_database(&error);
            match error.kind {
                DatabaseErrorKind::Missing => refusal(StatusCode::NOT_IMPLEMENTED, NO_HISTORY),
                _ => unavailable("The database does not answer"),
            }
        })?;
        Ok(answer(StatusCode::OK, &history::shown(campaign, &asked, &page)))
    }

    /// Checks that a token may read of a campaign: that of its owner, or of services.
    async fn authorise(&self, token: &str, campaign: CampaignId) -> Result<(), Denied> {
        if !self.is_service(token) {
            return self
                .0
                .gateway
                .authorise(token, campaign_gateway::CampaignId::new(campaign.0.as_u128()))
                .await;
        }
        match self.0.campaigns.owner_of(campaign).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Denied::Access),
            Err(error) => {
                self.0.campaigns.note_database(&error);
                Err(Denied::Unavailable)
            }
        }
    }

    async fn broadcast(&self, head: &Parts, campaign: Result<CampaignId, BadPath>) -> Response<Bytes> {
        if self.0.service.is_empty() {
            return refusal(StatusCode::NOT_FOUND, "Not found");
        }
        if !bearer(&head.headers).is_some_and(|token| self.is_service(&token)) {
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

/// The answer to a request that is denied. A campaign of another user is not found, as one that does not exist.
fn denied(why: Denied) -> Response<Bytes> {
    let message = why.to_string();
    match why {
        Denied::Token => refusal(StatusCode::UNAUTHORIZED, &message),
        Denied::Access => refusal(StatusCode::NOT_FOUND, &message),
        Denied::Rate(after) => retry_after(refusal(StatusCode::TOO_MANY_REQUESTS, &message), after),
        Denied::Unavailable => unavailable(&message),
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
