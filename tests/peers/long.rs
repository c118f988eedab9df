//! Pictures that are longer than a packet: they are read while they arrive, and are shown as a whole or not at all.

use serde_json::Value;
use testkit::wait_until;

use super::{
    common::SOON,
    scene::{Scene, Sender, proxy_status},
};

const MINERS: u32 = 3_000;

/// A picture of many miners, each with an address in its name.
fn picture(worker: &str) -> String {
    let names: Vec<String> =
        (0..MINERS).map(|number| format!("{worker}{number}@192.0.2.{}", number % 250)).collect();
    let miners: Vec<(u32, &str, f64)> = (0..).zip(&names).map(|(id, name)| (id, &**name, 1e14)).collect();
    proxy_status(&miners, "192.0.2.1:1")
}

fn all(read: &Value) -> &[Value] {
    read["miners"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Waits until exactly the miners of a picture are shown, each once and without an address.
async fn shows(scene: &Scene, worker: &str) {
    let is_hidden = |entry: &Value| {
        let name = entry["name"].as_str().unwrap_or_default();
        let start = format!("{worker}{}@peer-", entry["id"]);
        name.starts_with(&start) && name.len() == start.len() + 16
    };
    let shown = |_, read: &Value| all(read).len() == MINERS as usize && all(read).iter().all(is_hidden);
    scene.until(scene.proxy_http(), "/api/miners", shown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_picture_is_shown_as_a_whole_or_not_at_all() {
    let scene = Scene::start(&[]).await;
    let dropped = |reason: &str| format!("state_tracker_peers_dropped_lines_total{{reason=\"{reason}\"}}");
    let first = picture("a");
    assert!(first.len() > 300_000);

    // One that is cut in its middle leaves nothing.
    let mut cut = Sender::connect(scene.proxy_port()).await;
    cut.raw(&first.as_bytes()[..first.len() - 1_000]).await;
    let connections = async || scene.metric("state_tracker_peers_connections").await;
    wait_until("it is served", SOON, async || connections().await == 1.0).await;
    drop(cut);
    wait_until("its end is seen", SOON, async || connections().await == 0.0).await;
    assert_eq!(
        (all(&scene.json(scene.proxy_http(), "/api/miners").await.1).len(), scene.messages().await),
        (0, 0)
    );

    let mut sender = Sender::connect(scene.proxy_port()).await;
    sender.send_in_pieces(&first, 40_000).await;
    shows(&scene, "a").await;

    // What is wrong with the last miner is wrong with the picture.
    let last = format!("\"id\":{}", MINERS - 1);
    let second = picture("b");
    for (with, reason) in
        [("\"x\":1", "missing_field"), ("\"id\":7", "repeated_id"), ("\"id\":-1", "out_of_range")]
    {
        let wrong = second.replace(&last, with);
        assert_ne!(wrong, second);
        sender.send_in_pieces(&wrong, 40_000).await;
        wait_until(reason, SOON, async || scene.metric(&dropped(reason)).await >= 1.0).await;
        shows(&scene, "a").await;
    }
    // Two in one packet, of which the second one begins in the middle of it.
    sender.send(&format!("{second}\r\n{}", picture("c"))).await;
    shows(&scene, "c").await;
    assert_eq!(scene.messages().await, 3);
    scene.stop().await;
}
