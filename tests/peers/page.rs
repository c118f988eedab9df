//! The page of the peers in a real browser: what it shows, that it is live, and that a sender can't reach into it.

use serde_json::{Value, json};
use testkit::{Browser, wait_until};

use super::{
    common::{SOON, ask},
    scene::{Scene, Sender, metrics, now, pool_status, proxy_status},
};

/// The rows of a table, as texts.
async fn rows(browser: &Browser, id: &str) -> Vec<String> {
    let script = format!(
        "return [...document.getElementById('{id}').rows].map((row) => [...row.cells].map((cell) => cell.textContent).join('|'))"
    );
    let all = browser.run(&script).await.expect("run");
    all.as_array().expect("rows").iter().map(|row| row.as_str().expect("a text").to_owned()).collect()
}

async fn text(browser: &Browser, id: &str) -> String {
    let text =
        browser.run(&format!("return document.getElementById('{id}').textContent")).await.expect("run");
    text.as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_who_is_connected_and_what_was_measured_and_follows_each_picture() {
    let scene = Scene::start(&[]).await;
    let browser = Browser::start().await.expect("a browser");
    browser.open(&format!("http://{}/", scene.proxy_http())).await.expect("opened");
    wait_until("it says that there is nothing yet", SOON, async || {
        text(&browser, "health").await == "No picture yet" && rows(&browser, "miners").await == ["No miner"]
    })
    .await;

    let (mut proxy, mut pool) =
        (Sender::connect(scene.proxy_port()).await, Sender::connect(scene.pool_port()).await);
    // A name that would run a script where it is taken for HTML.
    let hostile = "<img src=x onerror=document.title=1>";
    let start = now();
    for at in [start - 10, start - 5, start] {
        // A window of 60 s with a work of 60: one unit a second, 2^32 H/s.
        proxy.send(&metrics(&[(7, hostile, 60.0)], at)).await;
    }
    proxy.send(&proxy_status(&[(7, hostile, 5e12), (8, "rig-b", 0.0)], "192.0.2.1:1")).await;
    pool.send(&pool_status(&[3])).await;
    wait_until("the miners are there", SOON, async || rows(&browser, "miners").await.len() == 2).await;
    let miners = rows(&browser, "miners").await;
    let has = |row: &str, parts: &[&str]| parts.iter().all(|part| row.split('|').any(|cell| cell == *part));
    assert!(has(&miners[0], &[hostile, "7", "5 TH/s", "4.295 GH/s", "3"]), "{miners:?}");
    assert!(has(&miners[1], &["rig-b", "8", "0 H/s", ""]), "{miners:?}");
    wait_until("the connections are there", SOON, async || {
        rows(&browser, "connections").await.first().is_some_and(|row| has(row, &["3", "Translator", "1, 2"]))
    })
    .await;
    assert_eq!(rows(&browser, "services").await.len(), 2);
    wait_until("all is well", SOON, async || text(&browser, "health").await.contains("fresh")).await;

    // The chart is of the total, and then of the miner that is chosen.
    scene.flushed().await;
    browser.run("document.querySelector('#miners button').click()").await.expect("clicked");
    wait_until("the history of the miner", SOON, async || {
        let summary = text(&browser, "summary").await;
        summary.contains("Measured: about 4.295 GH/s, lowest 4.295 GH/s, highest 4.295 GH/s")
            && summary.contains(" gaps")
    })
    .await;
    let canvas =
        "const c = document.querySelector('#chart canvas'); return c && c.width > 100 && c.height > 100";
    assert_eq!(browser.run(canvas).await.expect("run"), json!(true));
    for (range, step) in [("24 h", 300), ("1 y", 3_600)] {
        let script = format!(
            "[...document.querySelectorAll('#ranges button')].find((b) => b.textContent === '{range}').click()"
        );
        browser.run(&script).await.expect("clicked");
        wait_until(range, SOON, async || {
            let summary = text(&browser, "summary").await;
            let seconds = summary
                .split(" points of ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
            seconds.is_some_and(|seconds| seconds >= step)
        })
        .await;
    }

    // The next picture, without a reload.
    proxy.send(&proxy_status(&[(9, "rig-c", 1e15)], "192.0.2.1:1")).await;
    wait_until("the next picture", SOON, async || {
        let all = rows(&browser, "miners").await;
        all.len() == 1 && has(&all[0], &["rig-c", "1 PH/s"])
    })
    .await;
    // A sender that ends leaves nothing, and is said to be silent.
    drop(proxy);
    wait_until("the miners are gone", SOON, async || rows(&browser, "miners").await == ["No miner"]).await;
    assert_eq!(browser.run("return document.title").await.expect("run"), "Connected peers");
    let foreign = "return performance.getEntriesByType('resource').map((e) => e.name).filter((name) => !name.startsWith(location.origin))";
    assert_eq!(browser.run(foreign).await.expect("run"), json!([]), "it asks nobody else");
    let complaints = browser.complaints().await.expect("the browser's log");
    // Before the first picture the bare lists are answered with 503, as their readers expect.
    let grave: Vec<_> = complaints.iter().filter(|text| !text.contains("503")).collect();
    assert!(grave.is_empty(), "{grave:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_answered_once_a_change_and_compressed_for_those_that_ask() {
    let scene = Scene::start(&[]).await;
    let mut proxy = Sender::connect(scene.proxy_port()).await;
    proxy.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
    let shows = |read: &Value, many: usize| read["miners"].as_array().is_some_and(|all| all.len() == many);
    scene.until(scene.proxy_http(), "/api/miners", |_, read| shows(read, 1)).await;
    let mark = async || {
        let head = scene.head(scene.proxy_http(), "/api/miners", &[]).await;
        let line = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a mark");
        line.to_owned()
    };
    let first = mark().await;
    let known = format!("If-None-Match: {first}");
    let (code, body) = ask(scene.proxy_http(), "/api/miners", &["Host: localhost", &known]).await;
    assert_eq!((code, body.as_str()), (304, ""));
    // The pictures are looked at again and again; what they tell is the same.
    assert_eq!(mark().await, first);
    let head = scene.head(scene.proxy_http(), "/api/miners", &["Accept-Encoding: gzip"]).await;
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"), "{head}");
    let head = scene.head(scene.proxy_http(), "/api/miners", &["Accept-Encoding: br"]).await;
    assert!(!head.contains("content-encoding"), "{head}");
    proxy.send(&proxy_status(&[(1, "rig", 1.0), (2, "rig-b", 1.0)], "192.0.2.1:1")).await;
    scene.until(scene.proxy_http(), "/api/miners", |_, read| shows(read, 2)).await;
    let (code, _) = ask(scene.proxy_http(), "/api/miners", &["Host: localhost", &known]).await;
    assert_eq!(code, 200, "its picture has changed");
    scene.stop().await;
}

#[test]
fn the_libraries_of_the_page_are_those_that_were_pinned() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/assets");
    let output = std::process::Command::new(script).arg("--check").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
