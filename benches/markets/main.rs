//! Ten thousand markets in one service, with producers: a Redis server of its own, the real program, default intervals. It prints each
//! figure beside its limit, and fails beyond one.
//!
//! Each market is seeded with 15 epochs of the last 15 minutes. Then there is one event a market and second on the channel of each market,
//! each after what it tells of was written. `-- common`: all events on the common channel, 100 a second. `-- idle`: none, and all epochs
//! are finished.
//! `MARKETS=1000` markets instead of 10,000; `MARKETS_SECONDS=60` of measuring instead of 330, which is the interval of the hours and a
//! bit.

#![allow(clippy::expect_used)] // A missing figure ends the run.

mod datasets;
mod figures;
mod load;
mod monitor;
#[path = "../service/mod.rs"]
mod process;
mod producers;
mod seed;
mod service;
mod visible;
mod window;
mod wire;

use std::{
    process::{ExitCode, ExitStatus},
    sync::Arc,
    time::{Duration, Instant},
};

use datasets::{Ages, Reader};
use figures::{Figures, Spread};
use load::Load;
use process::procfs::cpu;
use producers::Market;
use service::{Readiness, Scrape, Service, configuration};
use testkit::RedisServer;
use tokio::{sync::mpsc::unbounded_channel, task::JoinHandle};
use visible::Seen;
use window::{IDLE_COMMANDS, Mode, Reading, all_passes};
use wire::Tally;

/// From an event until it is visible, in milliseconds.
const VISIBLE: f64 = 1_000.0;
const MEMORY: f64 = 400.0;
const STOP: Duration = Duration::from_secs(2);
const FRESH: Duration = Duration::from_secs(30);
/// A scrape, in milliseconds and MB.
const SCRAPE: f64 = 200.0;
const SCRAPE_SIZE: f64 = 5.0;
/// The load alone, before the service is started.
const ALONE: Duration = Duration::from_secs(5);
const AGES_EVERY: Duration = Duration::from_secs(20);
/// How long the commands of idle markets are counted one by one.
const MONITORED: Duration = Duration::from_secs(10);

/// What all parts of the bench use.
struct Bench {
    redis: RedisServer,
    tally: Tally,
    markets: Arc<Vec<Market>>,
    mode: Mode,
    length: Duration,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let is_chosen = |name: &str| arguments.iter().any(|argument| argument == name);
    let mode = match (is_chosen("common"), is_chosen("idle")) {
        (true, _) => Mode::Common,
        (_, true) => Mode::Idle,
        _ => Mode::Own,
    };
    let (count, seconds) = (variable("MARKETS", 10_000), variable("MARKETS_SECONDS", 330));
    let bench = Bench {
        redis: RedisServer::start().await.expect("a Redis server"),
        tally: Tally::default(),
        markets: Arc::new(Market::all(count as usize)),
        mode,
        length: Duration::from_secs(seconds),
    };
    let mut figures = Figures { are_kept: true };
    bench.run(&mut figures).await;
    if figures.are_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn variable(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

impl Bench {
    async fn run(&self, figures: &mut Figures) {
        let began = Instant::now();
        let commands =
            seed::seed(self.redis.addr(), self.markets.clone(), self.mode, self.tally.clone()).await;
        println!("{} markets seeded by {commands} commands in {:.1?}", self.markets.len(), began.elapsed());

        let load = if self.mode == Mode::Idle { None } else { Some(self.load().await) };
        let folder = tempfile::tempdir().expect("a folder");
        let file = configuration(folder.path(), &self.markets);
        let mut reader = Reader::new(self.connection().await, &self.markets, &self.tally);
        let (service, took) = Service::start(&self.redis, &file, &mut reader).await;
        println!("first start, without a ledger: all datasets fresh after {took:.1?}");

        let window = self.measure(&service, &mut reader, figures).await;
        let first = service.stop().await;
        let (again, took) = Service::start(&self.redis, &file, &mut reader).await;
        println!("restart");
        let what = format!("all datasets fresh after {took:.1?} (less than {FRESH:?})");
        figures.figure(&what, took < FRESH);
        let second = again.stop().await;
        for (status, took) in [first, second] {
            show_stop(status, took, figures);
        }
        if let Some((load, seen)) = load {
            let sent = load.stop();
            println!("{} events, sent at most {:.0?} too late", sent.events, sent.late);
            show_visible(seen.await.expect("no panic"), window, figures);
        }
    }

    async fn connection(&self) -> redis::aio::MultiplexedConnection {
        self.redis.connection().await.expect("a connection")
    }

    /// Starts the load, and shows what it costs alone.
    async fn load(&self) -> (Load, JoinHandle<Vec<Seen>>) {
        let (sender, receiver) = unbounded_channel();
        let is_common = self.mode == Mode::Common;
        let load = Load::start(self.redis.addr(), self.markets.clone(), is_common, sender, &self.tally);
        let pid = self.redis.pid().expect("it runs");
        let (before, began) = (cpu(pid), Instant::now());
        tokio::time::sleep(ALONE).await;
        let cores = (cpu(pid) - before) / began.elapsed().as_secs_f64();
        println!("cores of Redis under the load alone: {cores:.2}");
        let seen = visible::watch(self.connection().await, receiver, self.tally.clone());
        (load, tokio::spawn(seen))
    }

    /// Measures for the whole time, and shows all but the visible events. Returns when that was.
    async fn measure(&self, service: &Service, reader: &mut Reader, figures: &mut Figures) -> [Instant; 2] {
        let mut connection = self.connection().await;
        let before = Reading::now(service, &self.redis, &mut connection, &self.tally).await;
        let began = Instant::now();
        let until = began + self.length;
        let (readiness, scrapes, ages) =
            tokio::join!(service.readiness(until), service.scrapes(until), ages(reader, until));
        let ended = Instant::now();
        let after = Reading::now(service, &self.redis, &mut connection, &self.tally).await;
        ages.show(figures);
        after.show(&before, self.mode, figures);
        if self.mode == Mode::Idle {
            let before = all_passes(&service.scrape().await);
            let monitored = monitor::monitor(self.redis.addr(), MONITORED).await;
            let passes = all_passes(&service.scrape().await) - before;
            let sent = monitored.sent as f64 / passes;
            figures.figure(
                &format!(
                    "commands that a pass sends: {sent:.1}, and {:.1} in scripts (at most {IDLE_COMMANDS})",
                    monitored.in_scripts as f64 / passes
                ),
                sent <= IDLE_COMMANDS,
            );
        }
        println!("the service");
        let memory = service.memory();
        figures.figure(&format!("memory at most {memory:.0} MB (at most {MEMORY:.0})"), memory <= MEMORY);
        show_answers(&readiness, &scrapes, figures);
        after.show_errors(figures);
        [began, ended]
    }
}

/// Waits so long, but not beyond the end.
pub(crate) async fn pause(length: Duration, until: Instant) {
    tokio::time::sleep_until((Instant::now() + length).min(until).into()).await;
}

/// The ages of all datasets, read again and again.
async fn ages(reader: &mut Reader, until: Instant) -> Ages {
    let mut ages = Ages::default();
    loop {
        reader.add_ages(&mut ages).await;
        if Instant::now() >= until {
            return ages;
        }
        pause(AGES_EVERY, until).await;
    }
}

fn show_answers(readiness: &Readiness, scrapes: &[Scrape], figures: &mut Figures) {
    figures.figure(
        &format!("not ready in {} of {} answers (0)", readiness.failed, readiness.asked),
        readiness.failed == 0,
    );
    if !readiness.first.is_empty() {
        println!("  the first of them: {}", readiness.first);
    }
    let spread = Spread::of_times(scrapes.iter().map(|scrape| scrape.took));
    let most = scrapes.iter().map(|scrape| scrape.text.len()).max().unwrap_or(0) as f64 / 1e6;
    figures.figure(
        &format!(
            "a scrape: p50 {:.0} ms, largest {:.0} ms, {most:.2} MB (less than {SCRAPE:.0} ms and {SCRAPE_SIZE:.0} MB)",
            spread.p50, spread.largest
        ),
        spread.largest < SCRAPE && most < SCRAPE_SIZE,
    );
}

fn show_stop(status: ExitStatus, took: Duration, figures: &mut Figures) {
    let code = status.code().map_or("none".to_owned(), |code| code.to_string());
    figures.figure(
        &format!("SIGTERM: exit code {code} after {took:.0?} (0, less than {STOP:?})"),
        status.success() && took < STOP,
    );
}

/// The events that were published while the service was measured.
fn show_visible(seen: Vec<Seen>, [began, ended]: [Instant; 2], figures: &mut Figures) {
    let took: Vec<Duration> =
        seen.iter().filter(|seen| (began..ended).contains(&seen.at)).map(|seen| seen.took).collect();
    let (many, spread) = (took.len(), Spread::of_times(took));
    figures.figure(
        &format!(
            "from an event to the current epoch that shows it, of {many} events: p50 {:.0} ms, p99 {:.0} ms, largest {:.0} ms (at most \
             {VISIBLE:.0} ms)",
            spread.p50, spread.p99, spread.largest
        ),
        spread.largest <= VISIBLE,
    );
}
