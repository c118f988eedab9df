//! The texts and shapes of acknowledgements and refusals, as the front ends know them. Pure.

use serde::Serialize;
use serde_json::{Value, json};
use socket_io::Refusal;

use crate::{campaign::CampaignId, encode, event::Page};

/// The acknowledgement of a request about a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) campaign_id: Option<String>,
    /// When a limited request may be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
}

impl Answer {
    pub(crate) fn joined(campaign: CampaignId) -> Self {
        Self::done(campaign, "joined")
    }

    pub(crate) fn left(campaign: CampaignId) -> Self {
        Self::done(campaign, "left")
    }

    fn done(campaign: CampaignId, what: &str) -> Self {
        let message = format!("Successfully {what} campaign {campaign}");
        let campaign_id = Some(campaign.to_string());
        Self { success: true, message, campaign_id, retry_after_ms: None }
    }

    pub(crate) fn refused(why: Refused) -> Self {
        let message = why.text().to_owned();
        Self { success: false, message, campaign_id: None, retry_after_ms: why.retry_after_ms() }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The campaign's id is no UUID.
    Id,
    /// There is no such campaign, or another user owns it: a stranger does not learn which.
    Access,
    /// The token has expired.
    Expired,
    /// A join failed.
    Join,
    /// A leave failed.
    Leave,
    /// Missed events could not be read.
    Missed,
    /// The client has its most campaigns.
    Rooms,
    /// The user asks too often; after this many milliseconds it may again.
    Rate(u64),
}

impl Refused {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Id => "Invalid campaign ID",
            Self::Access => "Campaign not found or access denied",
            Self::Expired => "Authentication required",
            Self::Join => "Failed to join campaign",
            Self::Leave => "Failed to leave campaign",
            Self::Missed => "Failed to read missed events",
            Self::Rooms => "Too many campaigns",
            Self::Rate(_) => "Too many requests",
        }
    }

    fn retry_after_ms(self) -> Option<u64> {
        if let Self::Rate(after) = self { Some(after) } else { None }
    }
}

/// The acknowledgement of `get_missed_events`.
pub(crate) fn missed(campaign: CampaignId, page: &Page) -> Value {
    let events: Vec<Value> = page
        .events
        .iter()
        // The payload was an object when it was appended; what is none any more is left out.
        .filter_map(|event| {
            let payload: Value = serde_json::from_str(&encode::payload(event)).ok()?;
            Some(json!({ "type": event.kind.name(), "payload": payload }))
        })
        .collect();
    json!({ "success": true, "campaignId": campaign, "events": events, "truncated": page.truncated })
}

/// The acknowledgement of a `get_missed_events` that is refused.
pub(crate) fn not_missed(why: Refused) -> Value {
    let mut answer = json!({ "success": false, "message": why.text(), "events": [], "truncated": false });
    if let (Some(after), Some(answer)) = (why.retry_after_ms(), answer.as_object_mut()) {
        answer.insert("retryAfterMs".to_owned(), after.into());
    }
    answer
}

/// The `connect_error` of a client, with a code for programs.
pub(crate) fn refusal(message: &str, code: &str, retry_after_ms: Option<u64>) -> Refusal {
    let mut data = json!({ "code": code });
    if let (Some(after), Some(data)) = (retry_after_ms, data.as_object_mut()) {
        data.insert("retryAfterMs".to_owned(), after.into());
    }
    Refusal { message: message.to_owned(), data: Some(data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_have_the_texts_that_front_ends_know() {
        let id = CampaignId::new(1);
        let joined = serde_json::to_string(&Answer::joined(id)).unwrap();
        assert_eq!(
            joined,
            r#"{"success":true,"message":"Successfully joined campaign 00000000-0000-0000-0000-000000000001","campaignId":"00000000-0000-0000-0000-000000000001"}"#
        );
        let refused = serde_json::to_string(&Answer::refused(Refused::Access)).unwrap();
        assert_eq!(refused, r#"{"success":false,"message":"Campaign not found or access denied"}"#);
        let limited = serde_json::to_string(&Answer::refused(Refused::Rate(50))).unwrap();
        assert_eq!(limited, r#"{"success":false,"message":"Too many requests","retryAfterMs":50}"#);
    }
}
