//! The bytes of every answer.

use crate::{
    client::{Fields, Scene, ask, body, seed},
    common::MARKETS,
};

/// Path, request beside token and market, and the response in the envelope.
const ANSWERS: &[(&str, Fields, &str)] = &[
    (
        "/totalSubmissions",
        &[("slotID", 42), ("pastDays", 2)],
        r#"[{"day":20,"eligibleSubmissions":11,"totalSubmissions":12},{"day":19,"eligibleSubmissions":33,"totalSubmissions":34}]"#,
    ),
    (
        "/eligibleNodesCountPastDays",
        &[("pastDays", 3)],
        r#"[{"day":20,"eligibleNodesCount":3,"slotIDs":[]},{"day":19,"eligibleNodesCount":1,"slotIDs":[]},{"day":18,"eligibleNodesCount":0,"slotIDs":[]}]"#,
    ),
    (
        "/eligibleNodesCountPastDays?includeSlotDetails=true",
        &[("pastDays", 3)],
        r#"[{"day":20,"eligibleNodesCount":3,"slotIDs":["9","10","42"]},{"day":19,"eligibleNodesCount":1,"slotIDs":["7"]},{"day":18,"eligibleNodesCount":0,"slotIDs":[]}]"#,
    ),
    ("/eligibleNodesCount", &[("day", 20)], r#"{"day":20,"eligibleNodesCount":3,"slotIDs":[]}"#),
    (
        "/eligibleNodesCount?includeSlotDetails=true",
        &[("day", 20)],
        r#"{"day":20,"eligibleNodesCount":3,"slotIDs":["9","10","42"]}"#,
    ),
    (
        "/eligibleNodesCount?includeSlotDetails=yes",
        &[("day", 1)],
        r#"{"day":1,"eligibleNodesCount":0,"slotIDs":[]}"#,
    ),
    ("/batchCount", &[("epochID", 7)], r#"{"totalBatches":3}"#),
    (
        "/epochSubmissionDetails",
        &[("epochID", 7)],
        r#"{"submissions":[{"submissionID":"b","submissionData":{"request":{"slotID":42,"deadline":99,"snapshotCID":"Qm1","epochID":7,"projectID":"p:1"},"signature":"0xab","header":"0xcd"}}]}"#,
    ),
    (
        "/epochSubmissionDetails",
        &[("epochID", 6)],
        r#"{"submissions":[{"submissionID":"a","submissionData":{"request":{},"signature":"0x1"}}]}"#,
    ),
    (
        "/eligibleSlotSubmissionCount",
        &[("day", 20), ("epochID", 7)],
        r#"{"eligibleSubmissionCounts":[{"slotID":9,"count":6},{"slotID":42,"count":5}]}"#,
    ),
    ("/activeNodesCountByEpoch", &[("epochID", 7)], "2"),
    ("/activeNodesCountByEpoch", &[("epochID", 8)], "0"),
    (
        "/discardedSubmissionsByEpoch",
        &[("day", 20), ("epochID", 7)],
        r#"{"projects":[{"projectID":"p:1","details":{"mostFrequentSnapshotCID":"Qm1","discardedSubmissionCount":2,"discardedSubmissions":{"42":["Qm2"],"9":["Qm3"]}}}]}"#,
    ),
    (
        "/discardedSubmissionsByDay",
        &[("day", 20), ("slotID", 42), ("page", 1)],
        r#"{"slotID":42,"discardedSubmissions":[{"projectID":"p:1","details":{"finalizedCID":"Qm1","discardedSubmissionCount":0,"discardedSubmissions":[]}},{"projectID":"p:2","details":{"finalizedCID":"Qm5","discardedSubmissionCount":1,"discardedSubmissions":["Qm6"]}}],"totalPages":1,"currentPage":1}"#,
    ),
    (
        "/discardedSubmissionsByDay",
        &[("day", 20), ("slotID", 42), ("page", 2)],
        r#"{"slotID":42,"discardedSubmissions":[],"totalPages":1,"currentPage":2}"#,
    ),
    (
        "/lastSimulatedSubmission",
        &[("slotID", 42)],
        r#"{"timestamp":"2023-11-14T22:13:20Z","nodeVersion":"v1.2.3"}"#,
    ),
    (
        "/lastSnapshotSubmission",
        &[("slotID", 42)],
        r#"{"timestamp":"2023-11-14T22:14:20Z","nodeVersion":"v1.2.3"}"#,
    ),
    (
        "/lastSnapshotSubmission",
        &[("slotID", 43)],
        r#"{"timestamp":"1970-01-01T00:00:00Z","nodeVersion":"v0.0.0"}"#,
    ),
    ("/snapshotterNodeVersion", &[("slotID", 42)], r#""v1.2.3""#),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_answers_these_bytes() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    for (path, request, response) in ANSWERS {
        let answer = scene.post(path, &body(request)).await;
        let expected =
            format!("{{\"info\":{{\"success\":true,\"response\":{response}}},\"requestID\":\"r-1\"}}\n");
        assert_eq!((answer.status, &*answer.body), (200, &*expected), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-request-id"), Some("r-1"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("x-eligible-unknown"), None);
    }
    let paths = state_tracker::api::ENDPOINTS.iter().filter(|endpoint| !endpoint.request.is_empty());
    for endpoint in paths {
        let is_known = ANSWERS.iter().any(|(path, ..)| path.split('?').next() == Some(endpoint.path));
        assert!(is_known, "no answer of {} is tested", endpoint.path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_method_and_any_spelling_of_the_market_do_and_other_fields_are_ignored() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let mut request = body(&[("epochID", 7)]);
    request["snapshotterAddress"] = "0x1".into();
    for market in [MARKETS[0].to_lowercase(), MARKETS[0].replace('x', "X"), MARKETS[0].to_uppercase()] {
        request["dataMarketAddress"] = market.clone().into();
        assert_eq!(scene.post("/batchCount", &request).await.status, 200, "{market}");
    }
    request["epochID"] = 7.0.into();
    assert_eq!(
        scene.post("/batchCount", &request).await.status,
        200,
        "a whole number, as some languages write it"
    );
    request["dataMarketAddress"] = MARKETS[0].into();
    let text = request.to_string();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let answer = ask(scene.port, method, "/batchCount", &["X-Request-ID: r-1"], &text).await;
        let expected =
            "{\"info\":{\"success\":true,\"response\":{\"totalBatches\":3}},\"requestID\":\"r-1\"}\n";
        assert_eq!((answer.status, &*answer.body), (200, expected), "{method}");
    }
    let head = ask(scene.port, "HEAD", "/batchCount", &[], &text).await;
    assert_eq!((head.status, &*head.body), (200, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_current_day_is_the_one_until_whose_end_the_key_lives_or_the_last_one_that_is_known() {
    let mut scene = Scene::new().await;
    let market = crate::client::MARKET;
    let days = body(&[("pastDays", 1)]);
    let unknown = scene.post("/eligibleNodesCountPastDays", &days).await.refusal();
    assert_eq!(unknown, (404, "The current day of this market is not known yet".to_owned()));
    for (command, day) in [
        (["HSET", &format!("tracker:chain:{market}:market"), "day", "17"].as_slice(), 17),
        (&["SET", &format!("LastKnownDayKey.{market}"), "18"], 18),
        (&["SET", &format!("CurrentDayKey.{market}"), "19"], 19),
    ] {
        scene.run(command).await;
        let shown = scene.post("/eligibleNodesCountPastDays", &days).await.response();
        assert_eq!(shown[0]["day"], day);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_come_in_pages_of_fifty_and_of_an_epoch_at_most_fifty() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let market = crate::client::MARKET;
    let details = r#"{"finalizedCID":"Qm","discardedSubmissionCount":1,"discardedSubmissions":[]}"#;
    let projects: Vec<String> = (0..120).map(|number| format!("\"p{number:03}\":{details}")).collect();
    let value = format!("{{{}}}", projects.join(","));
    scene.run(&["HSET", &format!("DiscardedSubmissionKey.{market}.20"), "9", &value]).await;
    for (page, shown, first) in
        [(-1, 1, Some("p000")), (1, 1, Some("p000")), (3, 3, Some("p100")), (4, 4, None)]
    {
        let request = body(&[("day", 20), ("slotID", 9), ("page", page)]);
        let answer = scene.post("/discardedSubmissionsByDay", &request).await.response();
        assert_eq!((&answer["totalPages"], &answer["currentPage"]), (&3.into(), &shown.into()));
        assert_eq!(answer["discardedSubmissions"][0]["projectID"].as_str(), first);
        let count = answer["discardedSubmissions"].as_array().expect("a list").len();
        assert_eq!(
            count,
            if page == 3 {
                20
            } else if page == 4 {
                0
            } else {
                50
            }
        );
    }
    for number in (0..60).rev() {
        let field = format!("p{number:03}");
        scene.run(&["HSET", &format!("DiscardedSubmissionKey.{market}.20.8"), &field, "{}"]).await;
    }
    let request = body(&[("day", 20), ("epochID", 8)]);
    let answer = scene.post("/discardedSubmissionsByEpoch", &request).await.response();
    let projects = answer["projects"].as_array().expect("a list");
    assert_eq!((projects.len(), &projects[49]["projectID"]), (50, &"p049".into()));
}
