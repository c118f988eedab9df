//! Limits of the port: bodies, times, connections, rates, sizes of answers; and pages of other sites, which may read it.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{MARKET, Scene, TOKEN, ask, body, read, seed},
    common::SOON,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_or_too_slow_is_refused_and_disturbs_nobody() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let mut large = body(&[("epochID", 7)]);
    large["padding"] = "x".repeat(70 << 10).into();
    assert_eq!(scene.post("/batchCount", &large).await.refusal().0, 413);
    let mut slow = TcpStream::connect(scene.port).await.expect("connected");
    let head =
        b"POST /batchCount HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head).await.expect("sent");
    assert_eq!(scene.post("/batchCount", &body(&[("epochID", 7)])).await.status, 200);
    let refused = timeout(SOON, read(slow)).await.expect("answered in time").refusal();
    assert_eq!(refused, (408, "the body did not arrive in time".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hold_connections_keep_no_other_from_its_answer() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(scene.port).await.expect("connected"));
    }
    assert_eq!(scene.post("/batchCount", &body(&[("epochID", 7)])).await.status, 200);
    let closed = timeout(SOON, held[0].read(&mut [0; 16])).await.expect("the oldest made room");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_asks_too_often_is_slowed_down() {
    let scene = Scene::with(&[("STATE_TRACKER__API__RATE_LIMIT", "5")]).await;
    let mut refused = Vec::new();
    for _ in 0..40 {
        let answer = scene.post("/batchCount", &body(&[("epochID", 7)])).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            refused.push(answer.refusal());
        }
    }
    assert!(refused.len() > 10, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_submissions_come_whole_and_more_than_16_mib_do_not() {
    let mut scene = Scene::new().await;
    let key = format!("EpochSubmissionsKey.{MARKET}.7");
    let mut add = redis::pipe();
    for number in (0..10_000).rev() {
        let value = format!(r#"{{"request":{{"slotId":"{number}"}},"signature":"{}"}}"#, "s".repeat(130));
        add.cmd("HSET").arg(&key).arg(format!("{number:05}")).arg(value).ignore();
    }
    let _: () = add.query_async(&mut scene.connection).await.expect("written");
    let all = scene.post("/epochSubmissionDetails", &body(&[("epochID", 7)])).await.response();
    let all = all["submissions"].as_array().expect("a list");
    assert_eq!(all.len(), 10_000);
    let shown: BTreeSet<_> = all.iter().map(|one| one["submissionID"].to_string()).collect();
    assert!(shown.into_iter().eq((0..10_000).map(|number| format!("\"{number:05}\""))), "each once");
    let huge = format!(r#"{{"signature":"{}"}}"#, "s".repeat(6 << 20));
    for field in ["a", "b", "c"] {
        scene.run(&["HSET", &key, field, &huge]).await;
    }
    let refused = scene.post("/epochSubmissionDetails", &body(&[("epochID", 7)])).await.refusal();
    assert_eq!(refused, (422, "the answer would be larger than 16 MiB: ask for less".to_owned()));
    // What Redis itself may send is limited too.
    for field in ["d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        scene.run(&["HSET", &key, field, &huge]).await;
    }
    assert_eq!(scene.post("/epochSubmissionDetails", &body(&[("epochID", 7)])).await.refusal().0, 422);
    assert_eq!(scene.post("/activeNodesCountByEpoch", &body(&[("epochID", 7)])).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_every_site_may_ask_and_the_token_is_still_needed() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let lines = [
        "Origin: https://dash.example",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type",
    ];
    let asked = ask(scene.port, "OPTIONS", "/batchCount", &lines, "").await;
    assert_eq!((asked.status, &*asked.body), (204, ""));
    assert_eq!(asked.header("access-control-allow-origin"), Some("*"));
    assert!(asked.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    assert!(
        asked.header("access-control-allow-headers").is_some_and(|headers| headers.contains("Content-Type"))
    );
    assert_eq!(asked.header("access-control-allow-credentials"), None);
    let origin = ["Origin: https://dash.example"];
    let text = body(&[("epochID", 7)]).to_string();
    let answer = ask(scene.port, "POST", "/batchCount", &origin, &text).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    let refused = ask(scene.port, "POST", "/batchCount", &origin, &text.replace(TOKEN, "other")).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_are_in_the_audit_log_without_the_token() {
    let scene = Scene::new().await;
    let text = body(&[("epochID", 7)]).to_string();
    let guess = text.replace(TOKEN, "a-guess-a-guess-a-guess");
    ask(scene.port, "POST", "/batchCount", &["X-Request-ID: guess-1"], &guess).await;
    ask(scene.port, "POST", "/batchCount", &["X-Request-ID: right-1"], &text).await;
    let (_, audit) = crate::common::get(scene.service.http().operator_address(), "/audit").await;
    assert!(audit.contains("guess-1") && !audit.contains("right-1"), "{audit}");
    assert!(!audit.contains("a-guess") && !audit.contains(TOKEN), "{audit}");
}
