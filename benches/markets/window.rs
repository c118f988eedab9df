//! What the time between two readings cost: processors, commands, round trips.

use std::{collections::BTreeMap, time::Instant};

use redis::aio::MultiplexedConnection;
use testkit::RedisServer;

use crate::{
    figures::Figures,
    process::procfs::cpu,
    service::{Scrape, Service},
    wire::{Counts, Tally},
};

/// The most cores of the service, and of Redis.
const CORES: f64 = 1.0;
/// Commands a second with events on the common channel.
const COMMON_COMMANDS: f64 = 50_000.0;
/// Commands and round trips of a pass of an idle market.
pub(crate) const IDLE_COMMANDS: f64 = 25.0;
const IDLE_TRIPS: f64 = 1.0 / 50.0;
/// The passes, by the label of how long they took and by that of their round trips.
const PASSES: [(&str, &str); 2] = [("current_metrics", "summary"), ("current_epoch", "current_epoch")];
/// How many kinds of commands are shown.
const SHOWN: usize = 14;

/// The counters of all at one moment.
pub(crate) struct Reading {
    at: Instant,
    ours: f64,
    redis: f64,
    /// All commands that Redis has run, those inside of scripts too; and those of this program.
    commands: Counts,
    own: Counts,
    metrics: Scrape,
}

/// Which figures have a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Own,
    Common,
    Idle,
}

/// How many commands Redis has run, by their names.
pub(crate) async fn commands(connection: &mut MultiplexedConnection, tally: &Tally) -> Counts {
    let info: String =
        redis::cmd("INFO").arg("commandstats").query_async(connection).await.expect("its counts");
    tally.add("info", 1);
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split_once(',')?.0.parse().ok()?))
    };
    info.lines().filter_map(count).collect()
}

/// The passes of one kind until this scrape.
fn passes(scrape: &Scrape, label: &str) -> f64 {
    let name = "state_tracker_aggregation_duration_seconds_count";
    scrape.sum(name, &format!("aggregation_type=\"{label}\""))
}

/// All passes until this scrape.
pub(crate) fn all_passes(scrape: &Scrape) -> f64 {
    PASSES.iter().map(|(label, _)| passes(scrape, label)).sum()
}

impl Reading {
    pub(crate) async fn now(
        service: &Service,
        redis: &RedisServer,
        connection: &mut MultiplexedConnection,
        tally: &Tally,
    ) -> Self {
        let metrics = service.scrape().await;
        let commands = commands(connection, tally).await;
        Self {
            at: Instant::now(),
            ours: cpu(service.pid()),
            redis: cpu(redis.pid().expect("it runs")),
            commands,
            own: tally.now(),
            metrics,
        }
    }

    fn passes(&self, label: &str) -> f64 {
        passes(&self.metrics, label)
    }

    fn trips(&self, operation: &str) -> f64 {
        self.metrics.sum("state_tracker_round_trips_total", &format!("operation=\"{operation}\""))
    }

    /// Prints what the time since `before` cost.
    pub(crate) fn show(&self, before: &Self, mode: Mode, figures: &mut Figures) {
        let seconds = (self.at - before.at).as_secs_f64();
        let (ours, redis) = ((self.ours - before.ours) / seconds, (self.redis - before.redis) / seconds);
        println!("what {seconds:.0} s cost");
        figures.figure(&format!("cores of the service {ours:.2} (at most {CORES})"), ours <= CORES);
        figures.figure(&format!("cores of Redis {redis:.2} (at most {CORES})"), redis <= CORES);

        let ours = self.commands_since(before);
        let all: f64 = ours.values().sum();
        let what =
            format!("commands of the service, those inside of scripts too: {:.0} a second", all / seconds);
        match mode {
            Mode::Common => figures
                .figure(&format!("{what} (at most {COMMON_COMMANDS:.0})"), all / seconds <= COMMON_COMMANDS),
            _ => println!("  {what}"),
        }
        let mut kinds: Vec<_> = ours.iter().collect();
        kinds.sort_by(|one, other| other.1.total_cmp(one.1));
        let kinds: Vec<String> =
            kinds.iter().take(SHOWN).map(|(name, many)| format!("{name} {:.0}", **many / seconds)).collect();
        println!("  a second: {}", kinds.join(", "));

        let (mut passes, mut trips) = (0.0, 0.0);
        for (label, operation) in PASSES {
            let of_label = self.passes(label) - before.passes(label);
            let of_operation = self.trips(operation) - before.trips(operation);
            println!(
                "  {label}: {:.0} passes and {:.0} round trips a second, {:.3} a pass",
                of_label / seconds,
                of_operation / seconds,
                of_operation / of_label
            );
            (passes, trips) = (passes + of_label, trips + of_operation);
        }
        // The finder's search is no part of a pass.
        let of_passes = all - ours.get("scan").copied().unwrap_or(0.0);
        println!("  commands a pass, those inside of scripts too: {:.1}", of_passes / passes);
        let what = format!("round trips a pass: {:.3}", trips / passes);
        match mode {
            Mode::Idle => {
                figures.figure(&format!("{what} (at most {IDLE_TRIPS})"), trips / passes <= IDLE_TRIPS);
            }
            _ => println!("  {what}"),
        }
    }

    /// The commands that this program has not sent.
    fn commands_since(&self, before: &Self) -> BTreeMap<&str, f64> {
        let since = |now: &Counts, before: &Counts, name: &str| {
            let of = |counts: &Counts| counts.get(name).copied().unwrap_or(0) as f64;
            of(now) - of(before)
        };
        let all = self.commands.keys().map(|name| {
            let all = since(&self.commands, &before.commands, name);
            (name.as_str(), (all - since(&self.own, &before.own, name)).max(0.0))
        });
        all.collect()
    }

    /// Prints what went wrong since the service was started.
    pub(crate) fn show_errors(&self, figures: &mut Figures) {
        let exhausted = self.metrics.sum("state_tracker_errors_total", "kind=\"pool_exhausted\"");
        figures.figure(&format!("exhausted pools {exhausted:.0} (0)"), exhausted == 0.0);
        for line in self.metrics.lines("state_tracker_errors_total{") {
            println!("  {line}");
        }
    }
}
