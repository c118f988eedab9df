//! `demo`: the service at work on a machine with nothing configured.
//!
//! Starts a Redis server of its own on a free port, producers that write what the real ones write for two
//! markets, and the whole tree. Shows the datasets as read back from Redis, crashes an actor every few seconds,
//! and, with `--check`, judges what it reads against what the producers wrote. It leaves nothing behind: no
//! process, no file, no key.

mod judge;
mod screen;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use color_eyre::eyre::{Result, WrapErr};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use supervision::WatchSettings;
use testkit::{LiveHandle, LiveRate, ProducerConfig, RedisServer, SharedTruth, run_live};
use tokio::time::{Instant, MissedTickBehavior};

use self::{judge::Judge, screen::Screen};
use super::signals::Signals;
use crate::{cli::DemoArgs, config::Config, service::Service};

const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
const MARKETS: [&str; 2] =
    ["0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c", "0x21cb57C1f2352ad215a463DD867b838749CD3b8f"];

/// How often the datasets are read and shown.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often an actor is crashed.
const CRASH_EVERY: Duration = Duration::from_secs(4);
/// How long `--check` watches when `--for` does not say.
const CHECK_FOR: Duration = Duration::from_secs(30);
/// How long the datasets may take to reach the truth when the producers have ended.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);

/// What is different from the defaults: everything happens faster than in a day's work.
const SETTINGS: [(&str, &str); 8] = [
    ("STATE_TRACKER__INTERVALS__SUMMARY", "1s"),
    ("STATE_TRACKER__INTERVALS__CURRENT_EPOCH", "2s"),
    ("STATE_TRACKER__SUPERVISION__BACKOFF_MAX", "1s"),
    ("STATE_TRACKER__SUPERVISION__BACKOFF_RESET_AFTER", "10s"),
    ("STATE_TRACKER__SUPERVISION__MAX_RESTARTS", "20"),
    ("STATE_TRACKER__HTTP__HOST", "127.0.0.1"),
    ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0"),
    ("STATE_TRACKER_METRICS_PORT", "0"),
];

/// One market's datasets as they stand in Redis.
#[derive(Clone, Debug, Default)]
pub(super) struct Datasets {
    summary: Option<Value>,
    stats: BTreeMap<String, String>,
    current_epoch: Option<Value>,
}

/// Shows the service at work with servers and load of its own.
///
/// # Errors
/// Anything that keeps the demo from running, a missing `redis-server` above all. What `--check` finds is told,
/// and is exit code 1.
pub async fn demo(args: DemoArgs) -> Result<ExitCode> {
    let signals = Signals::catch(None)?;
    let redis = RedisServer::start().await.wrap_err("the demo needs a Redis server of its own")?;
    let config = config(&redis)?;
    let producers: Vec<LiveHandle> =
        MARKETS.iter().map(|market| produce(market, &redis)).collect::<Result<_>>()?;
    let truths: Vec<SharedTruth> = producers.iter().map(LiveHandle::shared_truth).collect();
    let service = Service::start(&config, WatchSettings::default()).await?;
    let mut connection = redis.connection().await?;
    let (mut screen, mut judge) = (Screen::new(&redis, service.http()), Judge::new(truths));
    let mut victims = Victims::default();

    let duration = args.duration.or(args.check.then_some(CHECK_FOR));
    let end = duration.map(|duration| Instant::now() + duration);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_crash = Instant::now() + CRASH_EVERY;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            name = signals.told_to_stop() => {
                screen.say(&format!("{name}: ending"));
                break;
            }
        }
        let datasets = read(&mut connection).await?;
        judge.look(&datasets);
        screen.show(&datasets, &service.tree().health(), &judge);
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        if !args.calm && Instant::now() >= next_crash {
            next_crash = Instant::now() + CRASH_EVERY;
            screen.say(&victims.crash_next(&service));
        }
    }

    for producer in producers {
        producer.stop().await?;
    }
    if args.check {
        let settled = tokio::time::timeout(SETTLE_WITHIN, async {
            while !judge.is_settled(&read(&mut connection).await?) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok::<_, color_eyre::Report>(())
        });
        if let Ok(settled) = settled.await {
            settled?;
        }
        judge.conclude(&read(&mut connection).await?);
    }
    let restarts: u64 = service.tree().health().iter().map(|actor| actor.restarts()).sum();
    let stopped = service.stop().await;
    screen.say(&format!("stopped in {:.1?}, {restarts} restarts in all", stopped.took));
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    screen.say(&judge.verdict());
    Ok(if judge.is_content() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn config(redis: &RedisServer) -> Result<Config> {
    let mut environment: Vec<(String, String)> =
        SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    environment.push(("REDIS_HOST".to_owned(), redis.addr().ip().to_string()));
    environment.push(("REDIS_PORT".to_owned(), redis.port().to_string()));
    environment.push(("PROTOCOL_STATE_CONTRACT".to_owned(), PROTOCOL.to_owned()));
    environment.push(("DATA_MARKET_ADDRESSES".to_owned(), MARKETS.join(",")));
    Ok(Config::load(None, environment)?.config)
}

fn produce(market: &str, redis: &RedisServer) -> Result<LiveHandle> {
    let mut config = ProducerConfig::new(PROTOCOL, market);
    config.window = Duration::from_secs(8);
    let rate = LiveRate {
        epoch_every: Duration::from_secs(5),
        submissions_per_epoch: 40,
        batch_delay: Duration::from_secs(1),
        ..LiveRate::default()
    };
    Ok(run_live(config, &redis.url(), rate)?)
}

/// Reads everything that the tracker has written for the two markets.
async fn read(connection: &mut MultiplexedConnection) -> Result<Vec<Datasets>> {
    let mut all = Vec::new();
    for market in MARKETS {
        let key = |rest: &str| format!("{PROTOCOL}:{market}:{rest}");
        let (summary, stats, current_epoch): (Option<String>, BTreeMap<String, String>, Option<String>) =
            redis::pipe()
                .get(key("dashboard:summary"))
                .hgetall(key("stats:current"))
                .get(key("metrics:current_epoch"))
                .query_async(connection)
                .await
                .wrap_err("the datasets could not be read back")?;
        let json = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
        all.push(Datasets { summary: json(summary)?, stats, current_epoch: json(current_epoch)? });
    }
    Ok(all)
}

/// Who is crashed next, and where.
#[derive(Default)]
struct Victims(usize);

impl Victims {
    const PLACES: [(&str, &str); 5] = [
        ("listener", "listener::before_hand_over"),
        ("aggregator", "aggregator::before_commit"),
        ("epoch-tracker", "epoch_tracker::before_commit"),
        ("aggregator", "aggregator::after_commit"),
        ("epoch-tracker", "epoch_tracker::before_read"),
    ];

    fn crash_next(&mut self, service: &Service) -> String {
        let (actor, place) = Self::PLACES[self.0 % Self::PLACES.len()];
        let path = match actor {
            "listener" => actor.to_owned(),
            _ => format!("markets/{}/{actor}", MARKETS[self.0 / 2 % MARKETS.len()]),
        };
        self.0 += 1;
        crash(service, &path, place);
        format!("crashing {path} at {place}")
    }
}

#[cfg(feature = "failure-points")]
fn crash(service: &Service, path: &str, place: &str) {
    use supervision::fail::{Fault, When};
    service.tree().failure_points().arm(place, path, Fault::Panic, When::Nth(1));
}

/// A build without failure points can't crash an actor at a chosen place: it is killed where it stands.
#[cfg(not(feature = "failure-points"))]
fn crash(service: &Service, path: &str, _place: &str) {
    // One that is just being restarted is left alone.
    let _ = service.tree().kill(path);
}
