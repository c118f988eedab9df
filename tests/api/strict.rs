//! Readers with strict types, written from the contract: no field more, none less, none of another type.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use crate::client::{Scene, body, seed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(non_snake_case)]
struct Envelope<T> {
    info: Info<T>,
    requestID: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info<T> {
    success: bool,
    response: T,
}

macro_rules! strict {
    ($($Type:ident { $($field:ident: $of:ty,)+ })+) => {
        $(#[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(non_snake_case, dead_code)]
        struct $Type { $($field: $of,)+ })+
    };
}

strict! {
    Daily { day: i64, eligibleSubmissions: i64, totalSubmissions: i64, }
    Nodes { day: i64, eligibleNodesCount: i64, slotIDs: Vec<String>, }
    Batches { totalBatches: i64, }
    Submissions { submissions: Vec<Submission>, }
    Submission { submissionID: String, submissionData: Data, }
    Counts { eligibleSubmissionCounts: Vec<Count>, }
    Count { slotID: i64, count: i64, }
    Epoch { projects: Vec<EpochProject>, }
    EpochProject { projectID: String, details: EpochDetails, }
    EpochDetails {
        mostFrequentSnapshotCID: String,
        discardedSubmissionCount: i64,
        discardedSubmissions: BTreeMap<String, Vec<String>>,
    }
    Day { slotID: i64, discardedSubmissions: Vec<DayProject>, totalPages: i64, currentPage: i64, }
    DayProject { projectID: String, details: DayDetails, }
    DayDetails { finalizedCID: String, discardedSubmissionCount: i64, discardedSubmissions: Vec<String>, }
    Last { timestamp: String, nodeVersion: String, }
}

/// Fields that the original leaves out while they are empty.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Data {
    request: Option<Request>,
    signature: Option<String>,
    header: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(non_snake_case, dead_code)]
struct Request {
    slotID: Option<u64>,
    deadline: Option<u64>,
    snapshotCID: Option<String>,
    epochID: Option<u64>,
    projectID: Option<String>,
}

async fn read<T: DeserializeOwned>(scene: &Scene, path: &str, request: &[(&str, i64)]) -> T {
    let answer = scene.post(path, &body(request)).await;
    let envelope: Envelope<T> = serde_json::from_str(&answer.body).expect(path);
    assert!(envelope.info.success && envelope.requestID == "r-1");
    envelope.info.response
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_readers_take_every_answer() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let scene = &scene;
    let (slot, epoch) = ([("slotID", 42)], [("epochID", 7)]);
    let epoch_of_day = [("day", 20), ("epochID", 7)];
    let days: Vec<Daily> = read(scene, "/totalSubmissions", &[("slotID", 42), ("pastDays", 2)]).await;
    assert_eq!(days.iter().map(|day| day.totalSubmissions).sum::<i64>(), 46);
    let nodes: Vec<Nodes> =
        read(scene, "/eligibleNodesCountPastDays?includeSlotDetails=true", &[("pastDays", 2)]).await;
    assert!(nodes.iter().all(|day| day.eligibleNodesCount as usize == day.slotIDs.len()));
    let _: Nodes = read(scene, "/eligibleNodesCount", &[("day", 20)]).await;
    let _: Batches = read(scene, "/batchCount", &epoch).await;
    let all: Submissions = read(scene, "/epochSubmissionDetails", &epoch).await;
    assert_eq!(all.submissions.len(), 1);
    let _: Counts = read(scene, "/eligibleSlotSubmissionCount", &epoch_of_day).await;
    let _: i64 = read(scene, "/activeNodesCountByEpoch", &epoch).await;
    let _: Epoch = read(scene, "/discardedSubmissionsByEpoch", &epoch_of_day).await;
    let page: Day =
        read(scene, "/discardedSubmissionsByDay", &[("day", 20), ("slotID", 42), ("page", 1)]).await;
    assert_eq!(page.discardedSubmissions.len(), 2);
    for path in ["/lastSimulatedSubmission", "/lastSnapshotSubmission"] {
        let last: Last = read(scene, path, &slot).await;
        assert!(humantime::parse_rfc3339(&last.timestamp).is_ok(), "{}", last.timestamp);
    }
    let _: String = read(scene, "/snapshotterNodeVersion", &slot).await;
}
