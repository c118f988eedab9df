//! From a commit in the users' database until the clients have it.

use std::time::{Duration, Instant};

use testkit::wait_until;
use tokio::time::interval;
use tokio_postgres::Client;

use crate::{
    clients::{Arrival, Clients, micros, official_room},
    load,
    scene::{Scene, id},
    server::{Server, fetch_driver},
    setting,
};

const P50: Duration = Duration::from_millis(2);
const P99: Duration = Duration::from_millis(10);
const KILOBYTES: f64 = 10.0;
const PER_SECOND: u64 = 50;

#[derive(Clone, Copy, Debug)]
struct Size {
    clients: usize,
    official: usize,
    rooms: u64,
    events: u64,
}

impl Size {
    /// The bare and the official clients of a room.
    fn members(self, room: u64) -> [usize; 2] {
        let bare = (self.clients - self.official) as u64;
        let official =
            (0..self.official).filter(|number| official_room(*number, self.official, self.rooms) == room);
        [(bare / self.rooms + u64::from(room < bare % self.rooms)) as usize, official.count()]
    }
}

/// One measured turn of a server.
struct Turn {
    /// From the answer of the commit, and from its request, sorted.
    after: Vec<u64>,
    since: Vec<u64>,
    official: Vec<u64>,
    missing: usize,
    kilobytes: f64,
    /// Milliseconds of the server's CPU an event.
    cpu: f64,
}

pub(crate) async fn measure() -> bool {
    let clients = setting("FEED_CLIENTS", 5_000) as usize;
    let size = Size {
        clients,
        official: clients / 100,
        rooms: (clients as u64 / 10).max(1),
        events: setting("FEED_SECONDS", 20) * PER_SECOND,
    };
    let turns = setting("FEED_TURNS", 3);
    let folder = tempfile::tempdir().expect("a folder");
    fetch_driver(folder.path()).await;
    let scene = Scene::new(size.rooms, 1).await;
    let users = scene.users().await;
    let mut commits = Commits { client: users, all: Vec::new() };
    println!(
        "feed: {} clients ({} official) in {} rooms, {PER_SECOND} commits a second, {} a turn, {turns} turns each",
        size.clients, size.official, size.rooms, size.events
    );
    println!(
        "{:<10} {:>9} {:>9} {:>9} {:>19} {:>19} {:>9} {:>9} {:>8} {:>6}",
        "server",
        "p50",
        "p99",
        "max",
        "since COMMIT p50,99",
        "official p50,99",
        "KB each",
        "CPU",
        "missing",
        "load"
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        // In changing order, so that neither always follows the other.
        for is_ours in if turn % 2 == 0 { [true, false] } else { [false, true] } {
            let server = if is_ours {
                Server::ours(&scene, &[("STATE_TRACKER__CAMPAIGNS__SCHEDULER", "false")]).await
            } else {
                Server::node(&scene, folder.path()).await
            };
            let result = one_turn(server, size, &mut commits).await;
            show(if is_ours { "gateway" } else { "socket.io" }, &result);
            if is_ours { &mut ours } else { &mut theirs }.push(result);
        }
    }
    judge(&ours, &theirs)
}

async fn one_turn(mut server: Server, size: Size, commits: &mut Commits) -> Turn {
    let mut clients = Clients::new(server.port, size.rooms);
    // One client, so that what is set up once is not counted for the clients.
    clients.fill(1).await;
    let before = server.memory().await;
    clients.fill(size.clients - size.official).await;
    clients.add_official(size.official).await;
    // Warm, and not measured: each room once.
    let first = commits.all.len();
    commits.publish(size.rooms, size.rooms, 500).await;
    settle(&clients, size.clients - size.official).await;
    clients.report().await;
    let (cpu, begun) = (server.cpu(), commits.all.len());
    commits.publish(size.events, size.rooms, PER_SECOND).await;
    let rooms = (begun as u64..begun as u64 + size.events).map(|number| number % size.rooms);
    let expected: [usize; 2] = rooms
        .map(|room| size.members(room))
        .fold([0; 2], |all, here| [0, 1].map(|kind| all[kind] + here[kind]));
    settle(&clients, expected[0]).await;
    let cpu = (server.cpu() - cpu) * 1e3 / size.events as f64;
    let kilobytes = (server.memory().await - before) / 1_024.0 / (size.clients - 1) as f64;
    let [bare, official] = clients.report().await;
    assert!(first < begun);
    let is_measured = |arrival: &&Arrival| arrival.0 >= begun;
    let after = |arrival: &Arrival| arrival.1.saturating_sub(commits.all[arrival.0].done);
    let since = |arrival: &Arrival| arrival.1.saturating_sub(commits.all[arrival.0].sent);
    let all: Vec<Arrival> = bare.iter().chain(&official).filter(is_measured).copied().collect();
    let turn = Turn {
        after: sorted(all.iter().map(after)),
        since: sorted(all.iter().map(since)),
        official: sorted(official.iter().filter(is_measured).map(after)),
        missing: expected.iter().sum::<usize>().saturating_sub(all.len()),
        kilobytes,
        cpu,
    };
    drop(clients);
    server.stop().await;
    turn
}

/// Waits until so many events have come, or a while.
async fn settle(clients: &Clients, events: usize) {
    let have_come =
        testkit::wait_until("all have come", Duration::from_mins(1), async || clients.arrived() >= events);
    let _ = tokio::time::timeout(Duration::from_secs(5), have_come).await;
    // Those of the official clients too.
    let begun = Instant::now();
    wait_until("a moment", Duration::from_mins(1), async || begun.elapsed() > Duration::from_millis(300))
        .await;
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

fn place(sorted: &[u64], part: f64) -> Duration {
    let place = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    Duration::from_micros(sorted.get(place).copied().unwrap_or(u64::MAX / 2))
}

fn millis(sorted: &[u64], part: f64) -> String {
    format!("{:.2} ms", place(sorted, part).as_secs_f64() * 1e3)
}

fn both(sorted: &[u64]) -> String {
    format!("{}, {}", millis(sorted, 0.5), millis(sorted, 0.99))
}

fn show(name: &str, turn: &Turn) {
    let Turn { after, since, official, missing, kilobytes, cpu } = turn;
    println!(
        "{name:<10} {:>9} {:>9} {:>9} {:>19} {:>19} {kilobytes:>9.1} {cpu:>6.2} ms {missing:>8} {:>6}",
        millis(after, 0.5),
        millis(after, 0.99),
        millis(after, 1.0),
        both(since),
        both(official),
        load()
    );
}

/// The medians of the turns, beside the limits.
fn judge(ours: &[Turn], theirs: &[Turn]) -> bool {
    let median = |turns: &[Turn], figure: &dyn Fn(&Turn) -> f64| {
        let mut figures: Vec<f64> = turns.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let mut is_kept = true;
    let mut compare = |what: &str, unit: &str, most: f64, figure: &dyn Fn(&Turn) -> f64| {
        let (own, other) = (median(ours, figure), median(theirs, figure));
        is_kept &= own < most;
        println!(
            "  {what}: {own:.2} {unit} (under {most}), socket.io {other:.2} {unit}, ratio {:.2}: {}",
            own / other,
            if own < most { "kept" } else { "MISSED" }
        );
    };
    compare("p50", "ms", P50.as_secs_f64() * 1e3, &|turn| place(&turn.after, 0.5).as_secs_f64() * 1e3);
    compare("p99", "ms", P99.as_secs_f64() * 1e3, &|turn| place(&turn.after, 0.99).as_secs_f64() * 1e3);
    compare("memory a client", "KB", KILOBYTES, &|turn| turn.kilobytes);
    let missing: usize = ours.iter().map(|turn| turn.missing).sum();
    println!("  missing: {missing} (none): {}", if missing == 0 { "kept" } else { "MISSED" });
    is_kept && missing == 0
}

/// When a commit was asked for, and when it was answered.
#[derive(Clone, Copy, Debug)]
struct Commit {
    sent: u64,
    done: u64,
}

/// The users' program that changes runs.
struct Commits {
    client: Client,
    all: Vec<Commit>,
}

impl Commits {
    /// Changes the runs one after the other, each in a transaction.
    async fn publish(&mut self, events: u64, rooms: u64, per_second: u64) {
        let statement = self
            .client
            .prepare("UPDATE campaign_runs SET summary = $2::text::jsonb WHERE id = $1::text::uuid")
            .await
            .expect("a statement");
        let mut ticks = interval(Duration::from_micros(1_000_000 / per_second));
        for _ in 0..events {
            ticks.tick().await;
            let number = self.all.len() as u64;
            let (run, summary) = (id(number % rooms), summary(number));
            self.client.batch_execute("BEGIN").await.expect("it begins");
            self.client.execute(&statement, &[&run, &summary]).await.expect("it is changed");
            let sent = micros();
            self.client.batch_execute("COMMIT").await.expect("it is committed");
            self.all.push(Commit { sent, done: micros() });
        }
    }
}

/// A summary with this number; its event has 500 B to 2 KB.
fn summary(number: u64) -> String {
    let queue = |queue: u64| {
        format!(
            r#""queue-{queue}":{{"total":{number},"succeeded":{number},"failed":0,"queued":0,"running":0}}"#
        )
    };
    let queues: Vec<String> = (0..1 + number * 7 % 17).map(queue).collect();
    format!(
        r#"{{"totalJobs":{number},"succeededJobs":{number},"failedJobs":0,"queuedJobs":0,"runningJobs":0,"cancelledJobs":0,
        "successRate":1,"byQueue":{{{}}},"totalExecutions":{number},"avgLatencyMs":5,"minLatencyMs":5,"maxLatencyMs":5,
        "p95LatencyMs":5,"p99LatencyMs":5,"tipLamports":5,"feeLamports":5,"totalCostLamports":10,"version":{number},
        "updatedAt":"2026-01-01T00:00:00.000Z"}}"#,
        queues.join(",")
    )
}
