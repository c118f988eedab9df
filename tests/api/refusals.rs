//! Every refusal, with its status and its reason.

use serde_json::json;
use testkit::wait_until;

use crate::{
    client::{Fields, MARKET, Scene, TOKEN, ask, body, post, seed},
    common::{MARKETS, SOON},
};

/// All paths that take a request, each with one that is answered.
pub(crate) const REQUESTS: &[(&str, Fields)] = &[
    ("/totalSubmissions", &[("slotID", 42), ("pastDays", 2)]),
    ("/eligibleNodesCountPastDays", &[("pastDays", 2)]),
    ("/eligibleNodesCount", &[("day", 20)]),
    ("/batchCount", &[("epochID", 7)]),
    ("/epochSubmissionDetails", &[("epochID", 7)]),
    ("/eligibleSlotSubmissionCount", &[("day", 20), ("epochID", 7)]),
    ("/activeNodesCountByEpoch", &[("epochID", 7)]),
    ("/discardedSubmissionsByEpoch", &[("day", 20), ("epochID", 7)]),
    ("/discardedSubmissionsByDay", &[("day", 20), ("slotID", 42), ("page", 1)]),
    ("/lastSimulatedSubmission", &[("slotID", 42)]),
    ("/lastSnapshotSubmission", &[("slotID", 42)]),
    ("/snapshotterNodeVersion", &[("slotID", 42)]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_answers_without_the_token_or_for_another_market() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    for (path, request) in REQUESTS {
        for token in [
            json!("wrong-wrong-wrong-wrong"),
            json!(""),
            json!(TOKEN.to_uppercase()),
            json!(format!("{TOKEN} ")),
        ] {
            let mut body = body(request);
            body["token"] = token;
            let refused = scene.post(path, &body).await;
            assert_eq!(refused.refusal(), (401, "Incorrect Token!".to_owned()), "{path}");
        }
        let mut without = body(request);
        without.as_object_mut().expect("an object").remove("token");
        assert_eq!(scene.post(path, &without).await.refusal().0, 401, "{path}");
        // The token counts in the body alone.
        let header = format!("Authorization: Bearer {TOKEN}");
        assert_eq!(ask(scene.port, "POST", path, &[&header], &without.to_string()).await.refusal().0, 401);
        for market in [json!("0x0000000000000000000000000000000000000001"), json!(""), json!("x")] {
            let mut body = body(request);
            body["dataMarketAddress"] = market;
            let refused = scene.post(path, &body).await;
            assert_eq!(refused.refusal(), (400, "Invalid Data Market Address!".to_owned()), "{path}");
        }
        for text in
            ["", "null", "[]", "7", "{", "{\"token\":7}", "\u{0}", "{\"token\":\"a\",\"token\":\"b\"}"]
        {
            assert_eq!(ask(scene.port, "POST", path, &[], text).await.refusal().0, 400, "{path} {text}");
        }
        let (field, _) = request[0];
        for value in [json!("7"), json!(1.5), json!(null), json!([]), json!(1e30)] {
            let mut body = body(request);
            body[field] = value.clone();
            let (status, reason) = scene.post(path, &body).await.refusal();
            assert_eq!(status, 400, "{path} {field} {value}: {reason}");
            assert!(reason.contains("does not fit"), "{reason}");
        }
    }
    let unknown = scene.post("/nothing", &body(&[])).await;
    assert_eq!(unknown.refusal().0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_out_of_their_range_are_refused_with_the_words_of_the_original() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let past = "Past days should be at least 1";
    let epoch = "EpochID is missing or invalid";
    for (path, request, reason) in [
        ("/totalSubmissions", &[("slotID", 42)][..], past),
        ("/totalSubmissions", &[("slotID", 42), ("pastDays", -1)], past),
        (
            "/totalSubmissions",
            &[("slotID", 42), ("pastDays", 21)],
            "Past days cannot exceed the current day (20)",
        ),
        ("/totalSubmissions", &[("slotID", 42), ("pastDays", 366)], "Past days cannot exceed 365"),
        ("/totalSubmissions", &[("slotID", 42), ("pastDays", i64::MAX)], "Past days cannot exceed 365"),
        ("/totalSubmissions", &[("slotID", 0), ("pastDays", 1)], "Invalid slotID: 0"),
        ("/totalSubmissions", &[("slotID", 10_001), ("pastDays", 1)], "Invalid slotID: 10001"),
        ("/eligibleNodesCountPastDays", &[("pastDays", 0)], past),
        ("/eligibleNodesCountPastDays", &[("pastDays", 21)], "Past days cannot exceed the current day (20)"),
        ("/eligibleNodesCount", &[], "Day must be greater than or equal to 1"),
        ("/eligibleNodesCount", &[("day", i64::MIN)], "Day must be greater than or equal to 1"),
        ("/eligibleNodesCount", &[("day", 21)], "Day must not exceed the current day (20)"),
        ("/batchCount", &[], epoch),
        ("/batchCount", &[("epochID", -7)], epoch),
        ("/epochSubmissionDetails", &[("epochID", 0)], epoch),
        ("/activeNodesCountByEpoch", &[("epochID", 0)], epoch),
        ("/eligibleSlotSubmissionCount", &[("epochID", 7)], "Invalid day!"),
        ("/eligibleSlotSubmissionCount", &[("day", 20)], epoch),
        ("/discardedSubmissionsByEpoch", &[("epochID", 7), ("day", -1)], "Invalid day!"),
        ("/discardedSubmissionsByEpoch", &[("day", 20)], epoch),
        ("/discardedSubmissionsByDay", &[("slotID", 42)], "Day must be greater than or equal to 1"),
        (
            "/discardedSubmissionsByDay",
            &[("slotID", 42), ("day", 21)],
            "Day must not exceed the current day (20)",
        ),
        ("/discardedSubmissionsByDay", &[("slotID", -1), ("day", 20)], "Invalid slotID: -1"),
        ("/lastSimulatedSubmission", &[], "Invalid slotID: 0"),
        ("/lastSnapshotSubmission", &[("slotID", 10_001)], "Invalid slotID: 10001"),
        ("/snapshotterNodeVersion", &[("slotID", i64::MIN)], "Invalid slotID: -9223372036854775808"),
    ] {
        let refused = scene.post(path, &body(request)).await.refusal();
        assert_eq!(refused, (400, reason.to_owned()), "{path} {request:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_404_and_an_empty_set_is_0() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    for (path, request, reason) in [
        ("/batchCount", &[("epochID", 8)][..], "No batch count is known for epoch 8"),
        ("/epochSubmissionDetails", &[("epochID", 8)], "No submissions are known for epoch 8"),
        (
            "/eligibleSlotSubmissionCount",
            &[("day", 20), ("epochID", 8)],
            "No eligible submissions are known for epoch 8 of day 20",
        ),
        (
            "/discardedSubmissionsByEpoch",
            &[("day", 19), ("epochID", 7)],
            "No discarded submissions are known for epoch 7 of day 19",
        ),
        (
            "/discardedSubmissionsByDay",
            &[("day", 20), ("slotID", 9)],
            "No discarded submissions found for slotID 9",
        ),
        (
            "/discardedSubmissionsByDay",
            &[("day", 1), ("slotID", 42)],
            "No discarded submissions found for slotID 42",
        ),
        ("/lastSimulatedSubmission", &[("slotID", 43)], "No such submission is known for slotID 43"),
        ("/lastSnapshotSubmission", &[("slotID", 44)], "No such submission is known for slotID 44"),
        ("/snapshotterNodeVersion", &[("slotID", 43)], "No node version is known for slotID 43"),
    ] {
        let refused = scene.post(path, &body(request)).await.refusal();
        assert_eq!(refused, (404, reason.to_owned()), "{path} {request:?}");
    }
    let mut other = body(&[("epochID", 7)]);
    other["dataMarketAddress"] = MARKETS[1].into();
    assert_eq!(scene.post("/batchCount", &other).await.refusal().0, 404, "each market has its own keys");
    assert_eq!(scene.post("/activeNodesCountByEpoch", &other).await.response(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_or_content_concerns_its_requests_alone() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let keys = [
        (0, format!("SlotSubmissionsKey.{MARKET}.20.42")),
        (0, format!("EligibleSlotSubmissionsKey.{MARKET}.19.42")),
        (1, format!("EligibleNodeByDayKey.{MARKET}.19")),
        (2, format!("EligibleNodeByDayKey.{MARKET}.20")),
        (3, format!("BatchCountKey.{MARKET}.7")),
        (4, format!("EpochSubmissionsKey.{MARKET}.7")),
        (5, format!("EligibleSlotSubmissionByEpochKey.{MARKET}.20.7")),
        (6, format!("ActiveSnapshottersForEpoch.{MARKET}.7")),
        (7, format!("DiscardedSubmissionKey.{MARKET}.20.7")),
        (8, format!("DiscardedSubmissionKey.{MARKET}.20")),
        (9, format!("LastSimulatedSubmissionKey.{MARKET}.42")),
        (10, format!("LastSnapshotSubmissionKey.{MARKET}.42")),
        (11, format!("snapshotter:{MARKET}:42:node_version")),
    ];
    for (at, key) in &keys {
        scene.run(&["RENAME", key, "kept"]).await;
        scene.run(&["RPUSH", key, "a list"]).await;
        let (path, request) = REQUESTS[*at];
        let (status, reason) = scene.post(path, &body(request)).await.refusal();
        assert_eq!((status, &*reason), (500, &*format!("{key} can't be read: wrong_type")), "{path}");
        let (other, request) = REQUESTS[if *at == 3 { 6 } else { 3 }];
        assert_eq!(scene.post(other, &body(request)).await.status, 200, "{other} while {key} is a list");
        scene.run(&["RENAME", "kept", key]).await;
        let (path, request) = REQUESTS[*at];
        assert_eq!(scene.post(path, &body(request)).await.status, 200, "{path}");
    }
    for (at, key) in [&keys[0], &keys[1], &keys[4], &keys[10]] {
        scene.run(&["RENAME", key, "kept"]).await;
        scene.run(&["SET", key, "no number"]).await;
        let (path, request) = REQUESTS[*at];
        let (status, reason) = scene.post(path, &body(request)).await.refusal();
        assert_eq!((status, &*reason), (500, &*format!("{key} can't be read: malformed")), "{path}");
        scene.run(&["RENAME", "kept", key]).await;
    }
    scene.run(&["HSET", &keys[9].1, "42", "no JSON"]).await;
    let (path, request) = REQUESTS[8];
    assert_eq!(scene.post(path, &body(request)).await.refusal().0, 500);
    // The client's questions are counted like other inputs that can't be read.
    let (_, metrics) = crate::common::get(scene.service.http().metrics_address(), "/metrics").await;
    let counted = metrics.lines().any(|line| line.contains("read_api") && line.contains("wrong_type"));
    assert!(counted, "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_can_not_be_read_are_left_out() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let (a, b, c) = (
        format!("EpochSubmissionsKey.{MARKET}.7"),
        format!("EligibleSlotSubmissionByEpochKey.{MARKET}.20.7"),
        format!("DiscardedSubmissionKey.{MARKET}.20.7"),
    );
    for key in [&a, &b, &c] {
        scene.run(&["HSET", key, "spoilt", "no JSON", "odd", "[1,2]", "7", "\"7\""]).await;
    }
    let ids = |list: &serde_json::Value, name: &str| -> Vec<String> {
        list.as_array().expect("a list").iter().map(|entry| entry[name].to_string()).collect()
    };
    let all = scene.post("/epochSubmissionDetails", &body(&[("epochID", 7)])).await.response();
    assert_eq!(ids(&all["submissions"], "submissionID"), ["\"b\""]);
    let request = body(&[("day", 20), ("epochID", 7)]);
    let all = scene.post("/eligibleSlotSubmissionCount", &request).await.response();
    assert_eq!(ids(&all["eligibleSubmissionCounts"], "slotID"), ["9", "42"]);
    let all = scene.post("/discardedSubmissionsByEpoch", &request).await.response();
    assert_eq!(ids(&all["projects"], "projectID"), ["\"p:1\""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_every_path_says_so_and_answers_again_after_it() {
    let mut scene = Scene::with(&[("STATE_TRACKER__REDIS__CONNECT_TIMEOUT", "500ms")]).await;
    seed(&mut scene).await;
    scene.redis.stop().await.expect("stopped");
    for (path, request) in REQUESTS {
        let refused = scene.post(path, &body(request)).await;
        assert_eq!(refused.refusal(), (503, "Redis does not answer: try again".to_owned()), "{path}");
        assert_eq!(refused.header("retry-after"), Some("1"));
        // Who has no token does not learn it.
        assert_eq!(scene.post(path, &json!({})).await.status, 401);
    }
    assert_eq!(ask(scene.port, "GET", "/openapi.json", &[], "").await.status, 200);
    scene.redis.restart().await.expect("started again");
    let port = scene.port;
    for (path, request) in REQUESTS {
        wait_until(&format!("{path} answers again"), SOON, async || {
            let status = post(port, path, &body(request)).await.status;
            assert!([200, 503].contains(&status), "{path}: {status}");
            status == 200
        })
        .await;
    }
}
