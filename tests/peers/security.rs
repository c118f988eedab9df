//! Who may send, and what those that may not can do: TLS with certificates of senders, rates of connections, connections that are held.

use std::{net::SocketAddr, path::Path};

use peer_snapshots::{ClientTls, Destination, Message, MinerInfo, MinerSnapshot, Secret, Sender as ByCrate};
use serde_json::Value;
use testkit::{Authority, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    common::{SOON, get},
    scene::{Scene, Sender, now, proxy_status},
};

fn closed(reason: &str) -> String {
    format!("state_tracker_peers_closed_total{{reason=\"{reason}\"}}")
}

/// The settings of TLS with certificates of senders, whose files are in this folder.
struct Files<'a>(&'a Path);

const CERTIFICATE: &str = "STATE_TRACKER__PEERS__CERT_FILE";
const KEY: &str = "STATE_TRACKER__PEERS__KEY_FILE";
const AUTHORITIES: &str = "STATE_TRACKER__PEERS__CLIENT_CA_FILE";

impl Files<'_> {
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_owned()
    }

    /// Writes a certificate of this authority for the ports, and trusts senders of another one.
    fn write(&self, of_ports: &Authority, of_senders: &Authority) {
        let identity = of_ports.server().expect("a certificate");
        self.replace(CERTIFICATE, &identity.certificate);
        self.replace(KEY, &identity.key);
        self.replace(AUTHORITIES, &of_senders.certificate());
    }

    /// Replaces a file as a whole.
    fn replace(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).expect("written");
        std::fs::rename(self.path("new"), self.path(name)).expect("renamed");
    }

    fn paths(&self) -> [(&'static str, String); 3] {
        [CERTIFICATE, KEY, AUTHORITIES].map(|name| (name, self.path(name)))
    }
}

const SECRET: (&str, &str) = ("STATE_TRACKER__PEERS__SECRET", "open sesame");

fn settings<'a>(
    paths: &'a [(&'static str, String); 3],
    more: (&'static str, &'static str),
) -> Vec<(&'a str, &'a str)> {
    paths.iter().map(|(name, path)| (*name, path.as_str())).chain([more]).collect()
}

/// A sender's TLS that trusts this authority, and shows a certificate of this name.
fn shows(trusted: &Authority, (signer, name): (&Authority, &str)) -> ClientTls {
    let shown = signer.server_of(&[name], (4096, 1, 1)).expect("a certificate");
    let trusted = trusted.certificate();
    let tls = ClientTls::with_certificate(
        "localhost",
        trusted.as_bytes(),
        shown.certificate.as_bytes(),
        shown.key.as_bytes(),
    );
    tls.expect("certificates")
}

/// A sender as authors of pools have it, with a picture of one miner.
fn sender(to: SocketAddr, tls: ClientTls, miner: &str) -> ByCrate {
    let mut destination = Destination::new(to.to_string());
    (destination.tls, destination.secret) = (Some(tls), Secret::new("open sesame"));
    let sender = ByCrate::start(destination).expect("a thread");
    sender.send(picture(miner));
    sender
}

fn picture(miner: &str) -> Message {
    let miner = MinerInfo {
        downstream_id: 1,
        name: miner.to_owned(),
        address: None,
        hashrate: 1.0,
        shares_submitted: 1,
        connected_at: 1,
    };
    Message::Miners(MinerSnapshot { miners: vec![miner], timestamp: now() })
}

async fn miner_is_shown(scene: &Scene, name: &str) {
    let has = |read: &Value| {
        read["miners"].as_array().is_some_and(|all| all.iter().any(|miner| miner["name"] == name))
    };
    scene.until(scene.proxy_http(), "/api/miners", |_, read| has(read)).await;
}

async fn reaches(scene: &Scene, reason: &str, value: f64) {
    wait_until(reason, SOON, async || scene.metric(&closed(reason)).await >= value).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_senders_with_a_certificate_of_the_authority_are_let_in_and_it_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, of_senders, other] =
        ["ours", "senders", "other"].map(|name| Authority::new(name).expect("made"));
    let files = Files(folder.path());
    files.write(&ours, &of_senders);
    let paths = files.paths();
    let settings = settings(&paths, SECRET);
    let scene = Scene::start(&settings).await;
    let proxy = sender(scene.proxy_port(), shows(&ours, (&of_senders, "north.example")), "rig-n");
    miner_is_shown(&scene, "rig-n").await;
    let pool = sender(scene.pool_port(), shows(&ours, (&of_senders, "10.0.0.9")), "rig-p");
    miner_is_shown(&scene, "rig-p").await;
    // The first has a name in its certificate; the other one has an address there, and is called by its own one.
    let (_, read) = scene.json(scene.proxy_http(), "/api/sources").await;
    let names: Vec<&str> =
        read["sources"].as_array().expect("a list").iter().filter_map(|it| it["source"].as_str()).collect();
    assert!(names.len() == 2 && names.contains(&"north.example"), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("peer-")), "{names:?}");
    for port in [scene.proxy_port(), scene.pool_port()] {
        let before = scene.metric(&closed("no_tls")).await;
        let mut plain = Sender::connect(port).await;
        plain.send("open sesame").await;
        plain.send(&proxy_status(&[(1, "plain", 1.0)], "192.0.2.1:1")).await;
        assert!(plain.is_closed().await);
        reaches(&scene, "no_tls", before + 1.0).await;
    }
    let ours_pem = ours.certificate();
    let without = ClientTls::new("localhost", ours_pem.as_bytes()).expect("an authority");
    for (tls, reason) in [
        (without, "no_certificate"),
        (shows(&ours, (&other, "north.example")), "untrusted"),
        // It does not trust the certificate of the port.
        (shows(&other, (&of_senders, "north.example")), "handshake"),
    ] {
        let refused = sender(scene.proxy_port(), tls, "refused");
        reaches(&scene, reason, 1.0).await;
        wait_until("it notices", SOON, async || {
            refused.send(picture("refused"));
            refused.counts().failures > 0
        })
        .await;
    }
    let (_, read) = scene.json(scene.proxy_http(), "/api/miners").await;
    assert!(!read.to_string().contains("refused") && !read.to_string().contains("plain"), "{read}");
    // Those that were let in are connected all the time.
    for sender in [proxy, pool] {
        assert_eq!((sender.is_connected(), sender.counts().connections), (true, 1));
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_the_senders_ports_are_read_again_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, of_senders, other] =
        ["ours", "senders", "other"].map(|name| Authority::new(name).expect("made"));
    let files = Files(folder.path());
    files.write(&ours, &of_senders);
    let paths = files.paths();
    let settings = settings(&paths, SECRET);
    let scene = Scene::start(&settings).await;
    let first = sender(scene.proxy_port(), shows(&ours, (&of_senders, "first.example")), "rig-1");
    miner_is_shown(&scene, "rig-1").await;
    // A configuration that is loaded with such a file is refused; this one was loaded before.
    let config = scene.config(&settings);
    files.replace(AUTHORITIES, "no PEM");
    scene.service.reload(&config).await.expect("the rest is reloaded");
    let second = sender(scene.proxy_port(), shows(&ours, (&of_senders, "second.example")), "rig-2");
    miner_is_shown(&scene, "rig-2").await;
    // Another authority of senders, and a new certificate of another authority.
    files.write(&other, &other);
    let third = sender(scene.proxy_port(), shows(&other, (&other, "third.example")), "rig-3");
    miner_is_shown(&scene, "rig-3").await;
    let former = sender(scene.proxy_port(), shows(&other, (&of_senders, "former.example")), "refused");
    reaches(&scene, "untrusted", 1.0).await;
    // Connections from before go on.
    first.send(picture("rig-4"));
    miner_is_shown(&scene, "rig-4").await;
    assert_eq!(first.counts().connections, 1);
    drop((second, third, former));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_does_not_end_costs_its_own_connection_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::new("ours").expect("made");
    let files = Files(folder.path());
    files.write(&ours, &ours);
    let paths = files.paths();
    let more = ("STATE_TRACKER__PEERS__CONNECTIONS_PER_ADDRESS", "30");
    let scene = Scene::start(&settings(&paths, more)).await;
    let mut held = Vec::new();
    for number in 0..20 {
        let mut slow = Sender::connect(scene.proxy_port()).await;
        // The head of a record, and then nothing.
        slow.raw(if number % 2 == 0 { b"" } else { b"\x16\x03\x01\x02\x00" }).await;
        held.push(slow);
    }
    wait_until("they are held", SOON, async || scene.metric("state_tracker_peers_connections").await >= 20.0)
        .await;
    let mut destination = Destination::new(scene.proxy_port().to_string());
    destination.tls = Some(shows(&ours, (&ours, "north.example")));
    let good = ByCrate::start(destination).expect("a thread");
    good.send(picture("rig"));
    miner_is_shown(&scene, "rig").await;
    // A byte now and then gives no more time.
    wait_until("all are closed", SOON, async || {
        for slow in held.iter_mut().skip(1).step_by(2) {
            slow.raw(b"\x00").await;
        }
        scene.metric(&closed("slow_handshake")).await >= 20.0
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_connects_too_often_is_refused_for_a_while() {
    let scene = Scene::start(&[
        ("STATE_TRACKER__PEERS__CONNECTIONS_PER_SECOND", "1"),
        ("STATE_TRACKER__PEERS__CONNECTIONS_PER_ADDRESS", "64"),
    ])
    .await;
    // Over both ports.
    for port in [scene.proxy_port(), scene.pool_port()].into_iter().cycle().take(60) {
        drop(Sender::connect(port).await);
    }
    // Two at once, and one a second: a machine that takes half a minute for these would be too slow for everything.
    reaches(&scene, "too_often", 28.0).await;
    wait_until("it may connect again", SOON, async || {
        let mut good = Sender::connect(scene.proxy_port()).await;
        good.send(&proxy_status(&[(1, "rig", 1.0)], "192.0.2.1:1")).await;
        scene.json(scene.proxy_http(), "/api/miners").await.1["miners"][0]["name"] == "rig"
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_hold_connections_keep_no_other_from_its_answer_and_are_closed() {
    let scene = Scene::start(&[]).await;
    for port in [scene.proxy_http(), scene.pool_http()] {
        let mut held = Vec::new();
        for _ in 0..300 {
            let mut slow = TcpStream::connect(port).await.expect("connected");
            // The beginning of a request.
            let _ = slow.write_all(b"GET /api/miners HTTP/1.1\r\nX-Slow: ").await;
            held.push(slow);
        }
        assert_eq!(get(port, "/api/miners").await.0, 200);
        let closed = timeout(SOON, held[0].read(&mut [0; 16])).await.expect("the oldest made room");
        assert!(matches!(closed, Ok(0) | Err(_)));
        // One more letter now and then gives no more time: the whole head has ten seconds.
        let mut last = held.pop().expect("the newest");
        wait_until("it is closed", SOON, async || {
            // A read that is due takes the end, or the answer 408.
            let mut byte = [0];
            last.write_all(b"x").await.is_err() || last.try_read(&mut byte).is_ok()
        })
        .await;
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_can_only_read() {
    let scene = Scene::start(&[]).await;
    for port in [scene.proxy_http(), scene.pool_http()] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            for path in ["/", "/api/stats", "/api/miners", "/api/downstream/1/hashrate", "/health"] {
                let mut stream = TcpStream::connect(port).await.expect("a connection");
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
                );
                stream.write_all(request.as_bytes()).await.expect("sent");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.expect("answered");
                assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            }
        }
    }
    scene.stop().await;
}
