//! Polls of an application over real sockets: every page of every list, and answers that can't be right.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::time::Duration;

use peer_snapshots::polled::{ChannelKind, Polled};
use sri_client::{Limits, PollError, PollFault, SriClient, Trust};
use testkit::{Authority, SriAnswer, SriApp, SriChannel, SriClient as Peer, SriMiner, TlsFront};

/// An application, and a client with these limits.
async fn scene(limits: Limits) -> (SriApp, SriClient) {
    let app = SriApp::start().await.expect("a port");
    let client = client(&app.url(), limits);
    (app, client)
}

fn client(url: &str, limits: Limits) -> SriClient {
    SriClient::new(&url.parse().expect("a URL"), Trust::default(), limits).expect("a URL of HTTP")
}

fn miners(number: u32) -> Vec<Peer> {
    let miner =
        |id: u32| Peer::new(id, "miner", vec![SriChannel::extended(id, &format!("rig-{id}"), 1.5e12)]);
    (0..number).map(miner).collect()
}

fn ids(polled: &Polled) -> Vec<u32> {
    polled.clients.iter().flatten().map(|client| client.info.client_id).collect()
}

fn fault(polled: Result<Polled, PollError>) -> (PollFault, String) {
    let error = polled.expect_err("no picture");
    (error.fault(), error.to_string())
}

#[tokio::test]
async fn all_pages_of_all_lists_make_one_picture() {
    let (app, client) = scene(Limits::default()).await;
    app.change(|state| {
        let mut all = miners(250);
        all[7].channels = (0..130).map(|id| SriChannel::standard(id, "farm", 1e9)).collect();
        all[7].channels.push(SriChannel::extended(3, "farm", 2e9));
        all[7].client_kind = "translator_proxy".to_owned();
        all[9].channels.clear();
        state.clients = Some(all);
        state.miners =
            Some((0..101).map(|id| SriMiner::new(id, &format!("w{id}"), "192.0.2.1", 5e12)).collect());
        state.server_channels = Some(vec![SriChannel::extended(1, "us", 1e15)]);
        state.channel("us").expect("a channel").mine(3, 12.5);
    });
    let polled = client.poll().await.expect("a picture");
    assert!(!polled.is_uncertain && polled.uptime_secs >= 1_000);
    assert_eq!(ids(&polled), (0..250).collect::<Vec<_>>());
    let clients = polled.clients.expect("monitored");
    assert_eq!((clients[7].channels.len(), clients[7].is_proxy(), clients[7].name()), (131, true, "farm"));
    assert!(clients[9].channels.is_empty() && !clients[9].is_proxy());
    assert_eq!(clients[249].channels[0].1.nominal_hashrate.0, Some(f64::from(1.5e12_f32)));
    assert_eq!(polled.sv1_clients.as_ref().map(|all| (all.len(), all[100].name())), Some((101, "w100")));
    let (kind, server) = &polled.server_channels.expect("monitored")[0];
    assert_eq!((*kind, server.validated_work_sum.0), (ChannelKind::Extended, Some(12.5)));
    // No page is asked for twice, and none of a client without channels.
    let asked = app.requests();
    assert!(asked.contains(&"/api/v1/clients?offset=200&limit=100".to_owned()), "{asked:?}");
    assert!(asked.iter().all(|path| !path.contains("/9/channels")));
    // Twice the start and the end, 3 pages of clients, 249 + 1 of channels, 2 of miners, 1 of the server.
    assert_eq!(asked.len(), 2 + 3 + 250 + 2 + 1);
}

#[tokio::test]
async fn a_kind_that_is_not_monitored_is_not_a_kind_without_entries() {
    let (app, client) = scene(Limits::default()).await;
    let polled = client.poll().await.expect("a picture");
    assert_eq!((polled.clients, polled.sv1_clients, polled.server_channels), (Some(vec![]), None, None));
    assert!(app.requests().iter().all(|path| !path.contains("sv1") && !path.contains("server")));
    // The summary says that it is, and the list that it is not.
    app.answer(|_, target, _| match target.starts_with("/api/v1/clients") {
        true => SriAnswer::Say(404, "gone".to_owned()),
        false => SriAnswer::Right,
    });
    assert_eq!(client.poll().await.expect("a picture").clients, None);
}

#[tokio::test]
async fn a_list_that_changes_while_it_is_read_is_read_again_and_at_most_three_times() {
    for (changes, readings, is_uncertain) in [(1, 2, false), (2, 3, false), (9, 3, true)] {
        let (app, client) = scene(Limits::default()).await;
        app.change(|state| state.clients = Some(miners(150)));
        let mut left = changes;
        app.answer(move |state, target, _| {
            if target.starts_with("/api/v1/clients?offset=100") && left > 0 {
                left -= 1;
                state.clients.iter_mut().for_each(|all| {
                    all.pop();
                });
            }
            SriAnswer::Right
        });
        let polled = client.poll().await.expect("a picture");
        let first_pages = |path: &&String| path.starts_with("/api/v1/clients?offset=0&");
        assert_eq!(app.requests().iter().filter(first_pages).count(), readings, "{changes}");
        assert_eq!(polled.is_uncertain, is_uncertain, "{changes}");
        assert_eq!(ids(&polled).len(), 150 - changes.min(3), "{changes}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_the_poll_is_gone() {
    let (app, client) = scene(Limits::default()).await;
    app.change(|state| state.clients = Some(miners(3)));
    app.answer(|state, target, _| {
        if target.contains("/channels") {
            state.clients.iter_mut().for_each(|all| all.retain(|client| client.client_id != 1));
        }
        SriAnswer::Right
    });
    assert_eq!(ids(&client.poll().await.expect("a picture")), [0, 2]);
}

#[tokio::test]
async fn the_lists_of_two_lives_make_no_picture() {
    let (app, client) = scene(Limits::default()).await;
    app.change(|state| state.clients = Some(miners(1)));
    app.answer(|state, target, _| {
        if target.contains("/channels") {
            state.restart();
        }
        SriAnswer::Right
    });
    assert_eq!(fault(client.poll().await).0, PollFault::Restarted);
    app.always(SriAnswer::Right);
    assert_eq!(ids(&client.poll().await.expect("a picture")), [0]);
}

/// Answers requests of this beginning with this text.
fn say(app: &SriApp, beginning: &'static str, text: &str) {
    let text = text.to_owned();
    app.answer(move |_, target, _| match target.starts_with(beginning) {
        true => SriAnswer::Body(text.clone()),
        false => SriAnswer::Right,
    });
}

#[tokio::test]
async fn an_answer_that_can_not_be_right_is_refused_with_its_field_and_shows_nothing_of_the_application() {
    let (app, client) = scene(Limits::default()).await;
    app.change(|state| state.clients = Some(miners(1)));
    let entry = r#""client_kind": "miner", "total_hashrate": 1.0"#;
    for (beginning, text, told) in [
        ("/api/v1/global", "<html>secret</html>", "is not JSON"),
        ("/api/v1/global", "[]", "it has another type"),
        ("/api/v1/global", r#"{"uptime_secs": "secret"}"#, "`uptime_secs` has another type"),
        ("/api/v1/global", r#"{"uptime_secs": -1}"#, "`uptime_secs` is out of range"),
        ("/api/v1/clients?", r#"{"total": 1}"#, "`items` is missing"),
        ("/api/v1/clients?", r#"{"items": []}"#, "`total` is missing"),
        (
            "/api/v1/clients?",
            r#"{"total": 1, "items": [{"client_id": 1}]}"#,
            "`items[0].client_kind` is missing",
        ),
        (
            "/api/v1/clients?",
            &format!(r#"{{"total": 1, "items": [{{"client_id": 4294967296, {entry}}}]}}"#),
            "`items[0].client_id` is out of range",
        ),
        (
            "/api/v1/clients?",
            &format!(
                r#"{{"total": 1, "items": [{{"client_id": 1, {}}}]}}"#,
                entry.replace("1.0", "\"secret\"")
            ),
            "`items[0].total_hashrate` has another type, expected a number or null",
        ),
        // The page of another offset, or of another client.
        ("/api/v1/clients?", r#"{"offset": 25, "total": 0, "items": []}"#, "`offset` is not the one"),
        (
            "/api/v1/clients/0/channels",
            r#"{"client_id": 9, "total_extended": 0, "total_standard": 0, "extended_channels": [], "standard_channels": []}"#,
            "`client_id` is not the one",
        ),
    ] {
        say(&app, beginning, text);
        let (fault, error) = fault(client.poll().await);
        assert_eq!(fault, PollFault::Unreadable, "{error}");
        assert!(error.contains(told) && error.starts_with("/api/v1/"), "{error}");
        assert!(!error.contains("secret") && !error.contains("127.0.0.1") && error.len() < 200, "{error}");
    }
}

#[tokio::test]
async fn an_odd_rate_costs_no_more_than_itself() {
    let (app, client) = scene(Limits::default()).await;
    for (written, known) in [
        ("null", None),
        ("-5.0", None),
        ("1e31", None),
        ("3e38", None),
        ("0", Some(0.0)),
        ("7.5e14", Some(7.5e14)),
    ] {
        let none = r#""extended_channels_count": 0, "standard_channels_count": 0"#;
        let item = format!(
            r#"{{"client_id": 1, "client_kind": "new kind", "total_hashrate": {written}, {none}, "more": [null]}}"#
        );
        say(&app, "/api/v1/clients?", &format!(r#"{{"total": 1, "items": [{item}], "more": {{}}}}"#));
        let clients = client.poll().await.expect("a picture").clients.expect("monitored");
        assert_eq!(clients[0].info.total_hashrate.0, known, "{written}");
    }
}

#[tokio::test]
async fn what_an_application_announces_costs_nothing_and_what_it_sends_has_limits() {
    let limits = Limits { requests: 20, items: 120, answer: 200_000, bytes: 300_000, ..Limits::default() };
    let (app, client) = scene(limits).await;
    // A total of any size.
    say(&app, "/api/v1/clients?", r#"{"total": 18446744073709551615, "items": []}"#);
    let polled = client.poll().await.expect("a picture");
    assert!(polled.is_uncertain && app.count() == 5, "{}", app.count());
    // One entry a page, for ever.
    let endless = r#"{"client_id": 1, "client_kind": "miner", "total_hashrate": 1.0}"#;
    say(&app, "/api/v1/clients?", &format!(r#"{{"total": 1000, "items": [{endless}]}}"#));
    let (kind, error) = fault(client.poll().await);
    assert_eq!((kind, error.contains("20 requests")), (PollFault::TooLarge, true), "{error}");
    // More entries than the limit.
    app.always(SriAnswer::Right);
    app.change(|state| state.clients = Some((0..150).map(|id| Peer::new(id, "miner", vec![])).collect()));
    let (kind, error) = fault(client.poll().await);
    assert_eq!((kind, error.contains("120 entries")), (PollFault::TooLarge, true), "{error}");
    // More bytes: of one answer, and of all.
    app.always(SriAnswer::Huge(250_000));
    assert_eq!(fault(client.poll().await).0, PollFault::TooLarge);
    app.change(|state| state.clients = Some(vec![]));
    let padded =
        format!(r#"{{"uptime_secs": 1, "sv2_clients": {{}}, "padding": "{}"}}"#, "x".repeat(180_000));
    say(&app, "/api/v1/global", &padded);
    let (kind, error) = fault(client.poll().await);
    assert_eq!((kind, error.contains("300000 bytes")), (PollFault::TooLarge, true), "{error}");
}

#[tokio::test]
async fn channels_are_asked_for_with_bounded_requests_a_few_at_once() {
    let (app, client) = scene(Limits { clients: 40, at_once: 4, ..Limits::default() }).await;
    app.change(|state| state.clients = Some(miners(60)));
    app.answer(|_, target, _| match target.contains("/channels") {
        true => SriAnswer::After(Duration::from_millis(10)),
        false => SriAnswer::Right,
    });
    let polled = client.poll().await.expect("a picture");
    assert_eq!((ids(&polled).len(), polled.is_uncertain), (60, true));
    let asked = app.requests().iter().filter(|path| path.contains("/channels")).count();
    assert_eq!((asked, app.most_at_once()), (40, 4));
}

#[tokio::test]
async fn an_application_that_is_slow_broken_or_elsewhere_is_told_apart() {
    let (mut app, client) = scene(Limits { request: Duration::from_millis(200), ..Limits::default() }).await;
    let other = SriApp::start().await.expect("a port");
    for (answer, kind) in [
        (SriAnswer::Hang, PollFault::Late),
        (SriAnswer::Cut, PollFault::Connection),
        (SriAnswer::Say(500, String::new()), PollFault::Status),
        (SriAnswer::Say(404, String::new()), PollFault::Status),
        (SriAnswer::Redirect(other.url()), PollFault::Status),
    ] {
        app.always(answer.clone());
        let (fault, error) = fault(client.poll().await);
        assert_eq!(fault, kind, "{answer:?}: {error}");
        assert!(!error.contains("127.0.0.1"), "{error}");
    }
    assert_eq!(other.count(), 0, "a redirect is not followed");
    app.go_away();
    assert_eq!(fault(client.poll().await).0, PollFault::Connection);
    app.always(SriAnswer::Right);
    app.come_back().await.expect("the same port");
    assert!(client.poll().await.is_ok());
}

#[tokio::test]
async fn the_certificate_of_an_application_is_verified_and_a_path_and_a_password_are_sent() {
    let app = SriApp::start().await.expect("a port");
    let authority = Authority::new("miners").expect("an authority");
    let front = TlsFront::start(&authority.server().expect("an identity"), app.addr()).await.expect("a port");
    let url = format!("https://me:hunter2@127.0.0.1:{}/proxy/", front.addr().port());
    let poll = async |trust| {
        let client = SriClient::new(&url.parse().expect("a URL"), trust, Limits::default());
        client.expect("a URL of HTTP").poll().await
    };
    let trust = Trust::only(authority.certificate().as_bytes()).expect("a certificate");
    assert!(poll(trust).await.is_ok());
    assert_eq!(app.requests()[0], "/proxy/api/v1/global");
    let stranger = Authority::new("others").expect("an authority");
    let (kind, error) =
        fault(poll(Trust::only(stranger.certificate().as_bytes()).expect("a certificate")).await);
    assert_eq!(kind, PollFault::Connection);
    assert!(!error.contains("hunter2") && !error.contains("127.0.0.1"), "{error}");
    for bad in ["ftp://host", "data:text", "unix:/socket"] {
        assert!(SriClient::new(&bad.parse().expect("a URL"), Trust::default(), Limits::default()).is_err());
    }
}
