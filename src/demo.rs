//! `demo`: the service at work, on a machine with nothing configured.
//!
//! It starts a Redis server and an EVM node of its own on free ports, producers for two markets, a chain that releases their
//! epochs and sometimes reorganises, a collector that writes submissions for its blocks, and the whole tree. It shows what
//! readers find in Redis, crashes an actor every few seconds, and with `--check` compares what it reads with what was written.
//! It leaves nothing behind: no process, no file, no key.

mod collector;
mod frame;
mod judge;
mod screen;
mod seen;
mod servers;
mod victims;
mod world;

use std::{process::ExitCode, time::Duration};

use color_eyre::eyre::Result;
use redis::aio::MultiplexedConnection;
use supervision::WatchSettings;
use testkit::{LiveHandle, SharedTruth};
use tokio::time::{Instant, MissedTickBehavior};

use self::{
    collector::Collector,
    judge::Judge,
    screen::{Look, Screen},
    seen::{Datasets, Handed, Tally},
    servers::Servers,
    victims::Victims,
    world::World,
};
use crate::{
    app::signals::Signals,
    cli::DemoArgs,
    exit::{FAILURE, SUCCESS},
    service::Service,
};

/// Between two looks: the datasets are read and shown.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two crashes.
const CRASH_EVERY: Duration = Duration::from_secs(3);
/// How long `--check` runs without `--for`.
const CHECK_FOR: Duration = Duration::from_secs(30);
/// How long datasets and queue have to become complete after the end of producers and chain.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);

/// Shows the service at work with servers and load of its own.
///
/// # Errors
/// Anything that keeps the demo from running, such as a missing `redis-server` or `anvil`. Findings of `--check` are printed,
/// and are exit code 1.
pub async fn demo(args: DemoArgs) -> Result<ExitCode> {
    let signals = Signals::catch(None)?;
    let servers = tokio::select! {
        servers = Servers::start() => servers?,
        // Dropping the unfinished start ends the servers that it has started.
        _ = signals.told_to_stop() => return Ok(SUCCESS.into()),
    };
    let producers = servers.produce()?;
    let truths: Vec<SharedTruth> = producers.iter().map(LiveHandle::shared_truth).collect();
    let collector = Collector::new(servers.redis.connection().await?);
    let mut world = World::new(&servers, truths.clone(), collector, args.calm).await?;
    let service = Service::start(&servers.config()?, WatchSettings::default()).await?;
    let markets = &servers.contracts.markets;
    let mut demo = Demo {
        servers: &servers,
        connection: servers.redis.connection().await?,
        screen: Screen::new(&servers, service.http()),
        tally: Tally::default(),
        judge: Judge::new(markets.clone(), truths),
    };
    demo.play(&args, &signals, &mut world, &service).await?;

    for producer in producers {
        producer.stop().await?;
    }
    if args.check {
        world.finish().await?;
        demo.conclude(&world, &service).await?;
    }
    let restarts: u64 = service.tree().health().iter().map(|actor| actor.restarts()).sum();
    let stopped = service.stop().await;
    let Demo { screen, judge, .. } = demo;
    screen.conclude(&format!("stopped in {:.1?}, {restarts} restarts in all", stopped.took));
    if !args.check {
        return Ok(SUCCESS.into());
    }
    screen.conclude(&judge.verdict());
    Ok(if judge.found_nothing() { SUCCESS } else { FAILURE }.into())
}

/// The observer.
struct Demo<'a> {
    servers: &'a Servers,
    connection: MultiplexedConnection,
    screen: Screen<'a>,
    tally: Tally,
    judge: Judge,
}

impl Demo<'_> {
    /// Runs until the time is over or a signal comes.
    async fn play(
        &mut self,
        args: &DemoArgs,
        signals: &Signals,
        world: &mut World<'_>,
        service: &Service,
    ) -> Result<()> {
        let duration = args.duration.or(args.check.then_some(CHECK_FOR));
        let end = duration.map(|duration| Instant::now() + duration);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut blocks = world.ticks();
        let mut next_crash = Instant::now() + CRASH_EVERY;
        let mut victims = Victims::new(&self.servers.contracts.markets);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = blocks.tick() => {
                    if let Some(news) = world.next_block().await? {
                        self.screen.say(&news);
                    }
                    continue;
                }
                name = signals.told_to_stop() => {
                    self.screen.conclude(&format!("{name}: ending"));
                    return Ok(());
                }
            }
            let datasets = self.datasets().await?;
            self.tally.go_on(&mut self.connection).await?;
            self.judge.look(&datasets);
            let look = Look { datasets: &datasets, tally: &self.tally, judge: &self.judge };
            self.screen.show(&look, service);
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(());
            }
            if !args.calm && Instant::now() >= next_crash {
                next_crash = Instant::now() + CRASH_EVERY;
                self.screen.say(&victims.crash_next(service));
            }
        }
    }

    /// Waits until datasets and queue are complete, now that nothing more is written; judges and shows them.
    async fn conclude(&mut self, world: &World<'_>, service: &Service) -> Result<()> {
        let standing = world.standing().await?;
        let until = Instant::now() + SETTLE_WITHIN;
        loop {
            let (datasets, handed) = (self.datasets().await?, Handed::read(&mut self.connection).await?);
            // The fetcher counts the windows with its next step.
            let is_over =
                service.following().is_none_or(|now| now.windows.values().all(|all| *all == [0; 3]));
            let is_settled = is_over && self.judge.is_settled(&datasets, &standing, &handed);
            if is_settled || Instant::now() >= until {
                self.judge.conclude(&datasets, &standing, &handed);
                self.tally.go_on(&mut self.connection).await?;
                let look = Look { datasets: &datasets, tally: &self.tally, judge: &self.judge };
                self.screen.show_now(&look, service);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn datasets(&mut self) -> Result<Vec<Datasets>> {
        Datasets::read(&mut self.connection, &self.servers.contracts).await
    }
}
