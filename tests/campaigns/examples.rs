//! The examples for authors of clients, as they are: the one for Node with the official library, and the page in a real browser.

use std::{net::SocketAddr, process::Stdio};

use axum::{
    Router,
    http::header::CONTENT_TYPE,
    response::{Html, IntoResponse},
    routing::get,
};
use serde_json::{Value, json};
use testkit::{Browser, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    common::SOON,
    official::packages,
    scene::{CAMPAIGN, OTHER_USER, RUN, Scene, USER, token, url},
};

const CLIENT: &str = include_str!("../../examples/campaigns/client.mjs");
const PAGE: &str = include_str!("../../examples/campaigns/index.html");
const LIBRARY: &str = include_str!("../../examples/campaigns/socket.io.min.js");

/// The example for Node in a folder with the packages that its head asks for.
struct Example {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _folder: tempfile::TempDir,
}

impl Example {
    fn start(url: &str, token: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("client.mjs"), CLIENT).expect("written");
        let modules = packages().join("node_modules");
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
        let mut command = Command::new("node");
        command.args(["client.mjs", CAMPAIGN, url]).env("TOKEN", token).current_dir(folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("node runs: scripts/needs socket.io-client");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, lines, _folder: folder }
    }

    async fn line(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let look = async {
            while let Some(line) = self.lines.next_line().await.expect("read") {
                if is_it(&line) {
                    return line;
                }
            }
            panic!("it ended without such a line")
        };
        timeout(SOON, look).await.expect("the line comes")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_for_node_follows_a_campaign_with_the_official_library() {
    let scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut example = Example::start(&url(&service), &token(USER));
    assert_eq!(example.line(|_| true).await, format!("Successfully joined campaign {CAMPAIGN}"));
    let first = example.line(|_| true).await;
    assert!(first.ends_with(&format!(" run {RUN} running: 0 of 1 jobs succeeded")), "{first}");
    scene.add_jobs(RUN, "trade", "succeeded", 3).await;
    example.line(|line| line.ends_with(&format!(" run {RUN} running: 3 of 4 jobs succeeded"))).await;
    let pid = example.process.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs").success());
    example.line(|line| line == format!("Successfully left campaign {CAMPAIGN}")).await;
    let end = timeout(SOON, example.process.wait()).await.expect("it ends").expect("it ran");
    assert!(end.success(), "{end}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_for_node_says_why_it_may_not_follow_a_campaign() {
    let scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut other = Example::start(&url(&service), &token(OTHER_USER));
    assert_eq!(other.line(|_| true).await, "Campaign not found or access denied");
    let mut nobody = Example::start(&url(&service), "no token");
    let mut errors = nobody.process.stderr.take().expect("piped");
    let mut said = [0; 64];
    let many = timeout(SOON, errors.read(&mut said)).await.expect("it says why").expect("read");
    let said = String::from_utf8_lossy(&said[..many]).into_owned();
    assert!(said.starts_with("Invalid token"), "{said}");
    service.stop().await;
}

/// A port that serves the folder of the example page.
async fn page() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let script = || async { ([(CONTENT_TYPE, "text/javascript")], LIBRARY).into_response() };
    let router = Router::new()
        .route("/index.html", get(|| async { Html(PAGE) }))
        .route("/socket.io.min.js", get(script));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The rows of the page's table, as texts.
async fn rows(browser: &Browser) -> Vec<String> {
    let script = "return [...document.getElementById('runs').rows]\
                  .map((row) => [...row.cells].map((cell) => cell.textContent).join('|'))";
    let all = browser.run(script).await.expect("run");
    all.as_array().expect("rows").iter().map(|row| row.as_str().expect("a text").to_owned()).collect()
}

async fn message(browser: &Browser) -> String {
    let text = browser.run("return document.getElementById('message').textContent").await.expect("run");
    text.as_str().expect("a text").to_owned()
}

/// Waits until the row of the run begins with this status and these numbers of jobs: all, queued, running, succeeded.
async fn shows(browser: &Browser, jobs: &str) {
    let row = format!("{RUN}|running|{jobs}|");
    wait_until(&row, SOON, async || rows(browser).await.iter().any(|shown| shown.starts_with(&row))).await;
}

/// What the original's front end does, word for word but for the URL, the token, the campaign, and where the data goes.
const ORIGINAL: &str = "
    const socket = io(arguments_url, {
      auth: { token: userAuthToken }
    });
    socket.emit('join_campaign', { campaignId: campaign });
    socket.on('campaign:status', (data) => {
      window.received = data;
    });
    window.leave = () => socket.emit('leave_campaign', { campaignId: campaign });
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_page_and_the_front_end_of_the_original_follow_a_campaign_in_a_browser() {
    let mut scene = Scene::new().await;
    let (allowed, foreign) = (page().await, page().await);
    let origin = format!("http://{allowed}");
    scene.environment.insert("STATE_TRACKER__CAMPAIGNS__ORIGINS".to_owned(), origin.clone());
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let browser = Browser::start().await.expect("a browser");
    let (url, token) = (url(&service), token(USER));
    let joining = format!("index.html#url={url}&token={token}&campaign={CAMPAIGN}");
    browser.open(&format!("{origin}/{joining}")).await.expect("opened");
    shows(&browser, "1|1|0|0").await;
    assert_eq!(message(&browser).await, format!("Successfully joined campaign {CAMPAIGN}"));
    scene.add_jobs(RUN, "trade", "succeeded", 3).await;
    shows(&browser, "4|1|0|3").await;
    browser.run("document.getElementById('leave').click()").await.expect("clicked");
    let left = format!("Successfully left campaign {CAMPAIGN}");
    wait_until("it has left", SOON, async || message(&browser).await == left).await;
    scene.add_jobs(RUN, "trade", "processing", 1).await;
    scene.counted(RUN, 5).await;
    // By the form, as somebody who types.
    browser.run("document.querySelector('#form button').click()").await.expect("clicked");
    shows(&browser, "5|1|1|3").await;

    let names = format!(
        "const arguments_url = '{url}', userAuthToken = '{token}', campaign = '{CAMPAIGN}'; {ORIGINAL}"
    );
    browser.run(&names).await.expect("run");
    let received = async || browser.run("return window.received ?? null").await.expect("run");
    let first: Value = wait_until("the latest status", SOON, async || {
        Some(received().await).filter(|status| !status.is_null())
    })
    .await;
    assert_eq!((&first["campaignId"], &first["metrics"]["totalJobs"]), (&json!(CAMPAIGN), &json!(5)));
    scene.add_jobs(RUN, "trade", "failed", 1).await;
    wait_until("the next status", SOON, async || received().await["metrics"]["failedJobs"] == 1).await;
    browser.run("window.leave()").await.expect("run");
    let complaints = browser.complaints().await.expect("the browser's log");
    let grave: Vec<_> = complaints.iter().filter(|text| !text.contains("favicon")).collect();
    assert!(grave.is_empty(), "{grave:?}");

    // A page of an origin that is not allowed gets nothing.
    browser.open(&format!("http://{foreign}/{joining}")).await.expect("opened");
    wait_until("it is refused", SOON, async || message(&browser).await.contains("error")).await;
    assert_eq!(rows(&browser).await, Vec::<String>::new());
    service.stop().await;
}
