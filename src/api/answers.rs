//! The answers, with the names and the order of fields that readers of the original know. Pure.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The outcome of a request.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the description reads its fields, and nobody makes it")]
pub(super) struct Info<T> {
    /// Whether the request was answered.
    pub(super) success: bool,
    /// The answer, or the reason why there is none.
    pub(super) response: T,
}

/// The envelope, as the description has it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the description reads its fields, and nobody makes it")]
pub(super) struct Wrapped<T> {
    /// The outcome.
    #[schema(inline)]
    pub(super) info: Info<T>,
    /// The id of the request, also the header `X-Request-ID`.
    #[schema(rename = "requestID")]
    request_id: String,
}

/// A refusal in its envelope: `success` is false, and `response` gives the reason.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the description reads its fields, and nobody makes it")]
pub(super) struct Refused {
    /// The outcome.
    #[schema(inline)]
    info: Info<String>,
    /// The id of the request, also the header `X-Request-ID`.
    #[schema(rename = "requestID")]
    request_id: String,
}

/// The submissions of a slot in a day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DailySubmissions {
    /// The day.
    pub(super) day: u64,
    /// The eligible ones.
    pub(super) eligible_submissions: u64,
    /// All of them.
    pub(super) total_submissions: u64,
}

/// The eligible nodes of a day.
#[derive(Serialize, ToSchema)]
pub(super) struct EligibleNodes {
    /// The day.
    pub(super) day: u64,
    /// How many nodes were eligible.
    #[serde(rename = "eligibleNodesCount")]
    pub(super) count: u64,
    /// The ids of their slots, if they were asked for.
    #[serde(rename = "slotIDs")]
    pub(super) slots: Vec<String>,
}

/// The batches of an epoch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchCount {
    /// How many there are.
    #[serde(rename = "totalBatches")]
    pub(super) total: u64,
}

/// The submissions of an epoch, as the description has them: the answer is written one by one.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the description reads its fields, and nobody makes it")]
pub(super) struct EpochSubmissions<'a> {
    /// All of them, in no order.
    pub(super) submissions: Vec<Submission<'a>>,
}

/// A submission with its id.
#[derive(Serialize, ToSchema)]
pub(super) struct Submission<'a> {
    /// Its id.
    #[serde(rename = "submissionID")]
    pub(super) id: Cow<'a, str>,
    /// What was submitted.
    #[serde(rename = "submissionData")]
    pub(super) data: SubmissionData<'a>,
}

/// What was submitted. Empty fields are left out.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct SubmissionData<'a> {
    /// The signed request.
    #[serde(borrow, default)]
    pub(super) request: SubmissionRequest<'a>,
    /// The signature.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub(super) signature: Cow<'a, str>,
    /// The hash of a block.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub(super) header: Cow<'a, str>,
}

/// A signed request. In Redis its names end with `Id` and `Cid`, and its numbers may be texts.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub(super) struct SubmissionRequest<'a> {
    /// The id of the slot.
    #[serde(rename(serialize = "slotID", deserialize = "slotId"), alias = "slotID")]
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub(super) slot: u64,
    /// The block until which it is valid.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub(super) deadline: u64,
    /// The content id of the snapshot.
    #[serde(rename(serialize = "snapshotCID", deserialize = "snapshotCid"), alias = "snapshotCID")]
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub(super) snapshot: Cow<'a, str>,
    /// The id of the epoch.
    #[serde(rename(serialize = "epochID", deserialize = "epochId"), alias = "epochID")]
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub(super) epoch: u64,
    /// The id of the project.
    #[serde(rename(serialize = "projectID", deserialize = "projectId"), alias = "projectID")]
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub(super) project: Cow<'a, str>,
}

/// The eligible submissions of an epoch.
#[derive(Serialize, ToSchema)]
pub(super) struct EligibleCounts {
    /// The count of each slot, in the order of their ids.
    #[serde(rename = "eligibleSubmissionCounts")]
    pub(super) counts: Vec<SlotCount>,
}

/// The eligible submissions of a slot.
#[derive(Serialize, ToSchema)]
pub(super) struct SlotCount {
    /// The id of the slot.
    #[serde(rename = "slotID")]
    pub(super) slot: u64,
    /// How many.
    pub(super) count: u64,
}

/// The discarded submissions of an epoch.
#[derive(Serialize, ToSchema)]
pub(super) struct DiscardedOfEpoch {
    /// At most 50 projects, in the order of their ids.
    pub(super) projects: Vec<DiscardedProject>,
}

/// The discarded submissions of a project in an epoch.
#[derive(Serialize, ToSchema)]
pub(super) struct DiscardedProject {
    /// The id of the project.
    #[serde(rename = "projectID")]
    pub(super) project: String,
    /// Its discarded submissions.
    pub(super) details: DiscardedDetails,
}

/// Discarded submissions of a project in an epoch.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct DiscardedDetails {
    /// The content id that most nodes submitted.
    #[serde(rename = "mostFrequentSnapshotCID", default, deserialize_with = "or_default")]
    #[schema(required = true)]
    pub(super) most_frequent: String,
    /// How many were discarded.
    #[serde(rename = "discardedSubmissionCount", default, deserialize_with = "or_default")]
    #[schema(required = true)]
    pub(super) count: i64,
    /// The content ids that were discarded, by the ids of slots.
    #[serde(rename = "discardedSubmissions", default, deserialize_with = "or_default")]
    #[schema(required = true)]
    pub(super) submissions: BTreeMap<String, Vec<String>>,
}

/// The discarded submissions of a slot in a day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiscardedOfDay {
    /// The id of the slot.
    #[serde(rename = "slotID")]
    pub(super) slot: u64,
    /// The projects of this page, in the order of their ids; at most 50.
    pub(super) discarded_submissions: Vec<SlotProject>,
    /// How many pages there are.
    pub(super) total_pages: u64,
    /// This page.
    pub(super) current_page: u64,
}

/// The discarded submissions of a slot for a project.
#[derive(Serialize, ToSchema)]
pub(super) struct SlotProject {
    /// The id of the project.
    #[serde(rename = "projectID")]
    pub(super) project: String,
    /// Its discarded submissions.
    pub(super) details: SlotDetails,
}

/// Discarded submissions of a slot for a project.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct SlotDetails {
    /// The content id that was finalised.
    #[serde(rename = "finalizedCID", default, deserialize_with = "or_default")]
    #[schema(required = true)]
    pub(super) finalized: String,
    /// How many were discarded.
    #[serde(rename = "discardedSubmissionCount", default, deserialize_with = "or_default")]
    #[schema(required = true)]
    pub(super) count: i64,
    /// The content ids that were discarded.
    #[serde(rename = "discardedSubmissions", default, deserialize_with = "or_default")]
    #[schema(required = true)]
    pub(super) submissions: Vec<String>,
}

/// The last submission of a slot.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastSeen {
    /// When it came, as RFC 3339.
    #[schema(format = DateTime)]
    pub(super) timestamp: String,
    /// The version of the node; `v0.0.0` where it is not known.
    pub(super) node_version: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A number, which may be written as a text; `null` is 0.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Number;
    impl serde::de::Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number, or one as a text")
        }

        fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }

        fn visit_unit<E>(self) -> Result<u64, E> {
            Ok(0)
        }
    }
    deserializer.deserialize_any(Number)
}

/// A value whose `null` is nothing, as Go reads it.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
