//! The service with all its markets, and what is seen of it from outside.

use std::{
    fs,
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};

use testkit::RedisServer;

use crate::{datasets::Reader, pause, process, producers::Market, producers::unix_exact};

/// How long all datasets of a start may take before the bench gives up.
const GIVE_UP: Duration = Duration::from_secs(1_200);
/// With many markets an answer is some work, so not too often.
const READY_EVERY: Duration = Duration::from_millis(500);
const SCRAPE_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Service(process::Service);

/// An answer of `/metrics`.
pub(crate) struct Scrape {
    pub(crate) took: Duration,
    pub(crate) text: String,
}

/// The answers of `/readyz`.
#[derive(Default)]
pub(crate) struct Readiness {
    pub(crate) asked: u64,
    /// How many were no 200, and the first of these.
    pub(crate) failed: u64,
    pub(crate) first: String,
}

/// Writes the configuration with these markets: they are too many for a variable.
pub(crate) fn configuration(folder: &Path, markets: &[Market]) -> String {
    let names: Vec<String> = markets.iter().map(|market| format!("\"{}\"", market.address)).collect();
    let path = folder.join("markets.toml");
    fs::write(&path, format!("[tracker]\nmarkets = [{}]\n", names.join(", "))).expect("written");
    path.to_str().expect("a path").to_owned()
}

/// What an answer begins with, without its head.
fn start_of(answer: &str) -> String {
    answer.split_once("\r\n\r\n").map_or("", |(_, text)| text).chars().take(300).collect()
}

impl Service {
    /// Starts it, and waits until it is ready and all datasets of all markets were written since. Returns how long that took.
    pub(crate) async fn start(redis: &RedisServer, file: &str, reader: &mut Reader) -> (Self, Duration) {
        let (began, since) = (Instant::now(), unix_exact());
        let service = Self(process::Service::launch(redis, &[("STATE_TRACKER_CONFIG", file)]).await);
        while !service.0.is_ready().await {
            assert!(
                began.elapsed() < GIVE_UP,
                "it is not ready: {}",
                start_of(&service.0.ask("/readyz").await)
            );
            tokio::time::sleep(READY_EVERY).await;
        }
        // The first reading begins now: what was ready then counts from here, and not from the end of the reading.
        let mut took = began.elapsed();
        while !reader.are_written_since(since).await {
            assert!(began.elapsed() < GIVE_UP, "the datasets are not all written");
            took = began.elapsed();
        }
        (service, took)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// The most memory that it has had, in MB.
    pub(crate) fn memory(&self) -> f64 {
        self.0.memory()
    }

    /// Stops it by SIGTERM. Returns how long that took.
    pub(crate) async fn stop(self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        (self.0.stop().await, began.elapsed())
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        let began = Instant::now();
        let answer = self.0.ask("/metrics").await;
        let took = began.elapsed();
        let text = answer.split_once("\r\n\r\n").map_or(String::new(), |(_, text)| text.to_owned());
        Scrape { took, text }
    }

    pub(crate) async fn scrapes(&self, until: Instant) -> Vec<Scrape> {
        let mut scrapes = Vec::new();
        while Instant::now() < until {
            scrapes.push(self.scrape().await);
            pause(SCRAPE_EVERY, until).await;
        }
        scrapes
    }

    pub(crate) async fn readiness(&self, until: Instant) -> Readiness {
        let mut readiness = Readiness::default();
        while Instant::now() < until {
            let answer = self.0.ask("/readyz").await;
            readiness.asked += 1;
            if !answer.starts_with("HTTP/1.1 200") {
                readiness.failed += 1;
                if readiness.first.is_empty() {
                    readiness.first = start_of(&answer);
                }
            }
            pause(READY_EVERY, until).await;
        }
        readiness
    }
}

impl Scrape {
    /// The sum of a metric over its labels, of which each series must have this one.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        process::sum(&self.text, name, label)
    }

    /// The series of a metric that are not 0.
    pub(crate) fn lines(&self, name: &str) -> Vec<&str> {
        let lines = self.text.lines().filter(|line| line.starts_with(name));
        lines.filter(|line| line.rsplit_once(' ').is_some_and(|(_, value)| value != "0")).collect()
    }
}
