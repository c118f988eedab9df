//! What the service makes of a burst.

use std::{
    fs,
    ops::Deref,
    time::{Duration, Instant},
};

use testkit::{RedisServer, wait_until};

use crate::{
    EVENTS, Run,
    process::{self, SOON},
    publish::burst,
};

pub(crate) struct Service(process::Service);

/// What became of the events with the index.
pub(crate) struct Indexed {
    pub(crate) written: f64,
    pub(crate) dropped: f64,
    /// From the end of the burst until the last was written.
    pub(crate) took: Duration,
}

impl Deref for Service {
    type Target = process::Service;

    fn deref(&self) -> &process::Service {
        &self.0
    }
}

impl Service {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(redis: &RedisServer, more: &[(&str, &str)]) -> Self {
        Self(process::Service::start(redis, more).await)
    }

    /// Lets it read the burst.
    pub(crate) async fn run(&self, redis: &RedisServer) -> Run {
        let before = self.cpu();
        let took = burst(redis).await;
        let mut gaps = 0.0;
        wait_until("the events are counted, or there is a gap", SOON, async || {
            let text = self.ask("/metrics").await;
            gaps = process::sum(&text, "state_tracker_subscription_gaps_total", "");
            let counted = process::sum(&text, "state_tracker_events_received_total", "")
                + process::sum(&text, "state_tracker_events_dropped_total", "");
            gaps > 0.0 || counted >= EVENTS as f64
        })
        .await;
        Run { took, cpu: self.cpu() - before, is_cut: gaps > 0.0 }
    }

    /// Waits until the indexer has written all events that were not dropped.
    pub(crate) async fn indexed(&self) -> Indexed {
        let began = Instant::now();
        let (mut written, mut dropped, mut changed) = (-1.0, 0.0, Instant::now());
        // The last of the events may have been dropped, which is counted with the next one: so until nothing changes.
        while changed.elapsed() < Duration::from_secs(1) {
            let text = self.ask("/metrics").await;
            let of = |outcome: &str| {
                process::sum(&text, &format!("state_tracker_index_events_total{{outcome=\"{outcome}\"}}"), "")
            };
            let now = of("indexed") + of("refused") + of("backwards");
            if now > written {
                (written, changed) = (now, Instant::now());
            }
            dropped = of("dropped") + process::sum(&text, "state_tracker_events_dropped_total", "");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Indexed { written, dropped, took: changed - began }
    }

    /// The seconds of CPU that all its threads have used.
    fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("procfs");
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).ok();
        let ran = |text: String| text.split_whitespace().next()?.parse::<f64>().ok();
        tasks.flatten().filter_map(of).filter_map(ran).sum::<f64>() / 1e9
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        self.0.stop().await;
    }
}
