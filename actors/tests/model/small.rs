//! Small histories, each with a fault that a random history has found.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use store_tracker::Intervals;
use supervision::Clock;
use testkit::RedisServer;

use reference::{CHECKSUM, full};

use super::tracker::{self, Tracker};

/// Ten minutes before an hour.
pub const BEGIN: u64 = 1_795_341_000;

/// A tracker at rest after its first pass, over an empty server.
pub struct Scene {
    clock: Clock,
    pub connection: MultiplexedConnection,
    tracker: Tracker,
    _redis: RedisServer,
}

impl Scene {
    async fn start() -> Self {
        let second = Duration::from_secs(1);
        let each = Intervals { summary: second, hourly: second, daily: second, current_epoch: second };
        Self::start_with(each).await
    }

    pub async fn start_with(intervals: Intervals) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let connection = redis.connection().await.expect("a connection");
        let clock = Clock::manual(Duration::from_secs(BEGIN));
        let tracker = Tracker::start_with(redis.url(), &clock, 0, intervals).await;
        tracker::rest([&tracker.tree].into_iter(), &clock).await.expect("it comes to rest");
        Self { clock, connection, tracker, _redis: redis }
    }

    /// A second later, when all passes of that moment have ended.
    async fn pass(&mut self) {
        self.advance(1).await;
    }

    /// So many seconds later, second by second, when all passes have ended.
    pub async fn advance(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            tracker::rest([&self.tracker.tree].into_iter(), &self.clock).await.expect("it comes to rest");
        }
    }

    pub async fn end(self) {
        self.tracker.stop(0).await;
    }

    pub async fn run(&mut self, name: &str, rest: &str, args: &[&str]) {
        let mut command = redis::cmd(name);
        command.arg(key(rest)).arg(args);
        command.query_async::<redis::Value>(&mut self.connection).await.expect("the command is right");
    }

    pub async fn dataset(&mut self, name: &str) -> Value {
        let text: String =
            redis::cmd("GET").arg(key(name)).query_async(&mut self.connection).await.expect("it is there");
        serde_json::from_str(&text).expect("a dataset is JSON")
    }
}

pub fn key(rest: &str) -> String {
    full(CHECKSUM, rest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_count_an_epoch_that_only_the_active_list_has() {
    let mut scene = Scene::start().await;
    let start = BEGIN.to_string();
    let info = ["status", "open", "start", &start, "duration", "60"];
    scene.run("HSET", "metrics:epoch:7:info", &info).await;
    scene.run("SADD", "epochs:active", &["7"]).await;
    // A pass with all statistics first sees it as a number of members that it can't explain.
    scene.pass().await;
    assert_eq!(scene.dataset("dashboard:summary").await["epochs_total"], 1);
    assert_eq!(scene.dataset("stats:daily").await["epochs_total"], 1);
    assert_eq!(scene.dataset(&format!("stats:hourly:{}", BEGIN - BEGIN % 3600)).await["epochs"], 1);
    scene.tracker.stop(0).await;
}
