//! The network between senders and the service: it is interrupted, and connections come and go. Time is a clock of the test's own, so
//! "within one interval" is exact on any machine.

use std::time::Duration;

use serde_json::Value;
use store_peers::{HistoryReader, Level, Subject, Wanted};
use supervision::Clock;
use testkit::{FaultProxy, wait_until};

use super::{
    common::SOON,
    scene::{Scene, Sender, metrics, proxy_status_at},
};

/// How often the sender sends.
const INTERVAL: Duration = Duration::from_secs(5);
/// The state looks at its connections four times a second, once for the end and once for what follows from it.
const LOOKS: Duration = Duration::from_secs(1);
const CONNECTIONS: &str = "state_tracker_peers_connections";

/// A service behind a network that can fail.
struct Net {
    scene: Scene,
    proxy: FaultProxy,
    /// The messages that were sent.
    sent: u64,
}

impl Net {
    async fn start(more: &[(&str, &str)]) -> Self {
        let clock = Clock::manual(Duration::from_secs(super::scene::now()));
        let common = [
            ("STATE_TRACKER__PEERS__NAMES", "127.0.0.1=north"),
            ("STATE_TRACKER__PEERS__SILENT_TIMEOUT", "60s"),
            ("STATE_TRACKER__PEERS__RATE_LIMIT", "100000"),
        ];
        let scene = Scene::start_at(clock, &[&common[..], more].concat()).await;
        let proxy = FaultProxy::start(scene.proxy_port()).await.expect("a proxy");
        Self { scene, proxy, sent: 0 }
    }

    /// Sends who is connected, and what was measured of one and the same peer: a work of 1 a second.
    async fn report(&mut self, sender: &mut Sender, miner: u32) {
        let now = self.scene.now();
        sender.send(&proxy_status_at(&[(miner, "rig", 1e12)], now)).await;
        sender.send(&metrics(&[(7, "rig", 60.0)], now)).await;
        self.sent += 2;
    }

    /// Waits until all that was sent is counted.
    async fn arrived(&self) {
        wait_until("all messages arrive", SOON, async || self.scene.messages().await >= self.sent).await;
        assert_eq!(self.scene.messages().await, self.sent, "no message is counted twice");
    }

    /// Waits until this many senders are connected.
    async fn connected(&self, count: f64) {
        wait_until("connections", SOON, async || self.scene.metric(CONNECTIONS).await == count).await;
    }

    /// Waits until these miners are shown, and no others. The clock stands meanwhile.
    async fn shows(&self, wanted: &[u32]) {
        let are_shown = |read: &Value| {
            read["miners"].as_array().is_some_and(|all| {
                all.iter().map(|miner| miner["id"].as_u64()).eq(wanted.iter().map(|id| Some(u64::from(*id))))
            })
        };
        self.scene
            .until(self.scene.proxy_http(), "/api/miners", |code, read| code == 200 && are_shown(read))
            .await;
    }

    async fn is_healthy(&self) -> bool {
        self.scene.json(self.scene.proxy_http(), "/health").await.0 == 200
    }

    /// A connection that has sent three times, so that its interval is known.
    async fn steady(&mut self, miner: u32) -> Sender {
        let mut sender = Sender::connect(self.proxy.addr()).await;
        for _ in 0..3 {
            self.report(&mut sender, miner).await;
            self.arrived().await;
            self.scene.pass(INTERVAL).await;
        }
        self.shows(&[miner]).await;
        sender
    }

    /// What was measured of the source so far: work and seconds.
    async fn measured(&self) -> (f64, f64) {
        self.scene.pass(LOOKS).await;
        self.scene.flushed().await;
        let reader = HistoryReader::open(&self.scene.folder.path().join("peers.db")).expect("it opens");
        let now = i64::try_from(self.scene.now()).expect("a time");
        let source = Wanted::Subject(Subject::Source("north".into()));
        let range = reader.range_of_level(&source, Level::Raw, now - 3_600, now + 1, 5_000).expect("read");
        let sum = |part: fn(&store_peers::Rollup) -> f64| {
            range.points.iter().map(|point| part(&point.both.measured)).sum()
        };
        (sum(|measured| measured.work), sum(|measured| measured.seconds))
    }

    /// Ends with no connection left anywhere, and no time or work that was counted twice.
    async fn end(self, began: u64) {
        self.connected(0.0).await;
        assert_eq!(self.scene.metric("state_tracker_peers_connections_waiting").await, 0.0);
        wait_until("the network has no connection", SOON, async || self.proxy.open_connections() == 0).await;
        let (work, seconds) = self.measured().await;
        // The first window reaches back before the begin.
        let most = (self.scene.now() - began) as f64 + 60.0;
        assert!(seconds >= 60.0 && seconds <= most, "{seconds} s of at most {most}");
        assert!((work / seconds - 1.0).abs() < 1e-9, "a work of {work} in {seconds} s");
        assert_eq!(self.scene.restarts(), 0);
        self.scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_interruption_a_cut_leaves_no_ghost_after_one_interval_and_costs_nothing_within_it() {
    let mut net = Net::start(&[]).await;
    let began = net.scene.now();
    let _lost = net.steady(1).await;
    net.proxy.refuse(true).await.expect("refused");
    net.proxy.cut();
    net.connected(0.0).await;
    net.scene.pass(INTERVAL + LOOKS).await;
    net.shows(&[]).await;
    assert!(!net.is_healthy().await);
    // The true picture with the first message, while the clock stands.
    net.proxy.refuse(false).await.expect("listens again");
    let mut sender = Sender::connect(net.proxy.addr()).await;
    net.report(&mut sender, 2).await;
    net.arrived().await;
    net.shows(&[2]).await;
    assert!(net.is_healthy().await);
    // A sender that is back within its interval was never away for readers.
    net.scene.pass(INTERVAL).await;
    net.report(&mut sender, 2).await;
    net.arrived().await;
    net.proxy.cut();
    net.connected(0.0).await;
    net.scene.pass(INTERVAL / 2).await;
    net.shows(&[2]).await;
    let mut back = Sender::connect(net.proxy.addr()).await;
    net.connected(1.0).await;
    net.scene.pass(INTERVAL - LOOKS).await;
    net.shows(&[2]).await;
    net.report(&mut back, 3).await;
    net.arrived().await;
    net.shows(&[3]).await;
    drop((back, sender));
    net.end(began).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_interruption_a_stall_is_shown_as_stale_and_what_it_held_back_counts_once() {
    let mut net = Net::start(&[]).await;
    let began = net.scene.now();
    let mut sender = net.steady(1).await;
    net.proxy.blackhole(true);
    let before = net.sent;
    for miner in 2..6 {
        net.report(&mut sender, miner).await;
        net.scene.pass(INTERVAL).await;
    }
    assert_eq!(net.scene.messages().await, before);
    // Three of its intervals are over, and the connection is as it was.
    assert!(!net.is_healthy().await);
    net.connected(1.0).await;
    net.proxy.blackhole(false);
    net.arrived().await;
    net.shows(&[5]).await;
    assert!(net.is_healthy().await);
    drop(sender);
    net.end(began).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_interruption_a_delayed_network_changes_no_order_and_nothing_that_is_counted() {
    let mut net = Net::start(&[]).await;
    let began = net.scene.now();
    net.proxy.delay(Duration::from_millis(30));
    let mut sender = Sender::connect(net.proxy.addr()).await;
    for miner in 1..12 {
        net.report(&mut sender, miner).await;
        if miner % 4 == 0 {
            net.arrived().await;
            net.shows(&[miner]).await;
        }
        net.scene.pass(INTERVAL).await;
    }
    net.arrived().await;
    net.shows(&[11]).await;
    assert!(net.is_healthy().await);
    drop(sender);
    net.end(began).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_interruption_a_half_open_connection_is_closed_as_a_silent_one_and_its_lists_end() {
    let mut net = Net::start(&[]).await;
    let began = net.scene.now();
    let sender = net.steady(1).await;
    // The sender vanishes, and nobody tells the service.
    net.proxy.blackhole(true);
    drop(sender);
    net.scene.pass(INTERVAL * 4).await;
    net.connected(1.0).await;
    assert!(!net.is_healthy().await);
    net.scene.pass(Duration::from_secs(60)).await;
    net.connected(0.0).await;
    assert_eq!(net.scene.metric("state_tracker_peers_closed_total{reason=\"silent\"}").await, 1.0);
    net.scene.pass(INTERVAL + LOOKS).await;
    net.shows(&[]).await;
    net.proxy.blackhole(false);
    let mut sender = Sender::connect(net.proxy.addr()).await;
    net.report(&mut sender, 2).await;
    net.arrived().await;
    net.shows(&[2]).await;
    drop(sender);
    net.end(began).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_connecting_and_disconnecting_loses_no_message_counts_none_twice_and_leaks_no_connection() {
    const ROUNDS: u32 = 200;
    let many = ["CONNECTIONS", "CONNECTIONS_PER_ADDRESS"].map(|name| format!("STATE_TRACKER__PEERS__{name}"));
    let mut net = Net::start(&many.each_ref().map(|name| (name.as_str(), "250"))).await;
    let began = net.scene.now();
    let mut garbage = 0;
    for round in 0..ROUNDS {
        let mut sender = Sender::connect(net.proxy.addr()).await;
        match round % 5 {
            // Gone before it has said anything.
            0 => {}
            // Half a line.
            1 => sender.raw(b"{\"downstream_miners\":[").await,
            2 => {
                sender.send("no message").await;
                garbage += 1;
            }
            _ => net.report(&mut sender, round).await,
        }
        if round % 10 == 9 {
            net.scene.leap(Duration::from_millis(300)).await;
        }
    }
    net.connected(0.0).await;
    net.arrived().await;
    let counted = net.scene.sum("state_tracker_peers_dropped_lines_total").await;
    // Pictures of connections at one time may overtake each other, and the older one is dropped.
    let older = net.scene.metric("state_tracker_peers_dropped_lines_total{reason=\"older\"}").await as u64;
    assert_eq!(counted, garbage + older);
    assert_eq!(net.scene.sum("state_tracker_peers_closed_total").await, 0);
    // The next picture is the truth, whichever was the last one, and its end is an end.
    let mut sender = Sender::connect(net.proxy.addr()).await;
    net.report(&mut sender, 1_000).await;
    net.arrived().await;
    net.shows(&[1_000]).await;
    drop(sender);
    net.connected(0.0).await;
    // Its interval is not known, or that of the rounds.
    net.scene.pass(Duration::from_secs(10) + LOOKS).await;
    net.shows(&[]).await;
    net.end(began).await;
}
