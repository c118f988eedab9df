//! `demo`: shows the service at work, on a machine without any configuration.
//!
//! It starts a Redis server and an EVM node of its own on free ports, producers for two markets, a chain that releases their
//! epochs and sometimes reorganises, a collector that writes submissions for its blocks, counters of finalizers, senders of pictures of
//! connected peers, of which one dies now and then and one lies, campaigns whose jobs change in a PostgreSQL server of its own where
//! that is installed, and the whole tree. It shows the datasets in Redis, crashes an actor every few seconds, lets one of the chain's two nodes lie and its relayer fail now and then, and with `--check` compares the results with the inputs.
//! It leaves no process, file or key behind.

mod campaigns;
mod collector;
mod finalizers;
mod frame;
mod judge;
mod liar;
mod peers;
mod relayer;
mod screen;
mod seen;
mod servers;
mod victims;
mod world;

use std::{process::ExitCode, time::Duration};

use color_eyre::eyre::Result;
use redis::aio::MultiplexedConnection;
use supervision::TreeOptions;
use testkit::{LiveHandle, SharedTruth};
use tokio::time::{Instant, MissedTickBehavior};

use self::{
    campaigns::Campaigns,
    collector::Collector,
    judge::Judge,
    liar::Liar,
    peers::{PeerReader, PeerSenders},
    screen::{Look, Screen},
    seen::{Datasets, Deliveries, Tally},
    servers::Servers,
    victims::Victims,
    world::World,
};
use crate::{
    app::signals::Signals,
    cli::DemoArgs,
    exit::{FAILURE, SUCCESS},
    service::{PeerPorts, Service},
    simulate::any_seed,
};

/// Time between two looks, each of which reads and shows the datasets.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two rounds of changes of the campaigns.
const CAMPAIGNS_EVERY: Duration = Duration::from_millis(500);
/// Time between two crashes.
const CRASH_EVERY: Duration = Duration::from_secs(3);
/// Duration of a demo with `--check` and without `--for`.
const CHECK_FOR: Duration = Duration::from_secs(30);
/// Time limit for datasets and queue to become complete after producers and chain have ended.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);

/// Shows the service at work with servers and load of its own.
///
/// # Errors
/// Anything that prevents the demo, such as a missing `redis-server` or `anvil`. Findings of `--check` are printed,
/// and are exit code 1.
pub async fn demo(args: DemoArgs) -> Result<ExitCode> {
    let signals = Signals::catch(None)?;
    let servers = tokio::select! {
        servers = Servers::start() => servers?,
        // Dropping the unfinished future kills the servers that it has started.
        _ = signals.stop_requested() => return Ok(SUCCESS.into()),
    };
    let producers = servers.produce()?;
    let truths: Vec<SharedTruth> = producers.iter().map(LiveHandle::shared_truth).collect();
    let collector = Collector::new(servers.redis.connection().await?);
    finalizers::count(&mut servers.redis.connection().await?, &servers.contracts.markets, servers::DAY)
        .await?;
    let mut world = World::new(&servers, truths.clone(), collector, args.calm).await?;
    relayer::start_to_fail(&servers.relayer, args.calm);
    let service = Service::start(&servers.config()?, TreeOptions::default()).await?;
    let (markets, seed) = (&servers.contracts.markets, args.seed.unwrap_or_else(any_seed));
    let ports = service.peers().map(PeerPorts::senders).unwrap_or_default();
    let mut demo = Demo {
        servers: &servers,
        connection: servers.redis.connection().await?,
        screen: Screen::new(&servers, &service),
        tally: Tally::default(),
        judge: Judge::new(markets.clone(), truths),
        liar: Liar::new(&servers.liar, seed, args.calm),
        senders: PeerSenders::start(&ports, seed, args.calm)?,
        reader: PeerReader::new(&service, servers.history())?,
        campaigns: Campaigns::start(&servers.campaigns, &service, seed).await?,
    };
    demo.play(&args, &signals, &mut world, &service).await?;

    // Producers first, chain second: only when nothing is written any more can the final state be compared exactly.
    for producer in producers {
        producer.stop().await?;
    }
    demo.liar.end();
    demo.senders.stand_still();
    relayer::start_to_fail(&servers.relayer, true);
    if args.check {
        world.finish().await?;
        if let Some(campaigns) = &mut demo.campaigns {
            campaigns.stand_still().await?;
        }
        demo.conclude(&world, &service).await?;
    }
    // Counted before the stop, which ends the actors and their records.
    let restarts: u64 = service.tree().health().iter().map(|actor| actor.restarts()).sum();
    demo.judge.reported(&servers.receiver.calls(), restarts > 0);
    let stopped = service.stop().await;
    let Demo { screen, judge, liar, .. } = demo;
    screen.conclude(&format!("stopped in {:.1?}, {restarts} restarts in all", stopped.took));
    if let Some(summary) = liar.summary() {
        screen.conclude(&summary);
    }
    if !args.check {
        return Ok(SUCCESS.into());
    }
    screen.conclude(&judge.verdict());
    Ok(if judge.found_nothing() { SUCCESS } else { FAILURE }.into())
}

/// The part of the demo that observes: it reads, judges and shows.
struct Demo<'a> {
    servers: &'a Servers,
    connection: MultiplexedConnection,
    screen: Screen<'a>,
    tally: Tally,
    judge: Judge,
    liar: Liar<'a>,
    senders: PeerSenders,
    reader: PeerReader,
    /// None where they are left out.
    campaigns: Option<Campaigns>,
}

impl Demo<'_> {
    /// Runs until the duration has passed or a signal arrives.
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
        // A look that took long must not be followed by several at once: their judgements assume one second between them.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut blocks = world.ticks();
        let mut next_crash = Instant::now() + CRASH_EVERY;
        let mut rounds = tokio::time::interval(CAMPAIGNS_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut victims = Victims::new(&self.servers.contracts.markets, self.servers.campaigns.is_there());
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = blocks.tick() => {
                    if let Some(news) = world.next_block().await? {
                        self.screen.say(&news);
                    }
                    self.liar.next(world.height());
                    // A block is no look: the screen keeps its own interval.
                    continue;
                }
                _ = rounds.tick() => {
                    self.change_campaigns().await?;
                    continue;
                }
                name = signals.stop_requested() => {
                    self.screen.conclude(&format!("{name}: ending"));
                    return Ok(());
                }
            }
            let datasets = self.datasets().await?;
            self.tally.count_new(&mut self.connection).await?;
            self.judge.look(&datasets);
            self.show(&datasets, service, false).await;
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(());
            }
            if !args.calm && Instant::now() >= next_crash {
                next_crash = Instant::now() + CRASH_EVERY;
                self.screen.say(&victims.crash_next(service));
            }
        }
    }

    /// After the last write: waits until datasets and queue are complete, then judges and shows them.
    async fn conclude(&mut self, world: &World<'_>, service: &Service) -> Result<()> {
        let expected = world.expected().await?;
        let until = Instant::now() + SETTLE_WITHIN;
        loop {
            let (datasets, deliveries) =
                (self.datasets().await?, Deliveries::read(&mut self.connection).await?);
            let calls = self.servers.relayer.calls();
            // The queue may be complete before the windows on the screen are 0: the fetcher counts them with its next step.
            let is_over =
                service.chain_progress().is_none_or(|now| now.windows.values().all(|all| *all == [0; 4]));
            let is_settled = is_over && self.judge.is_settled(&datasets, &expected, &deliveries, &calls);
            let is_settled = self.peers_are_settled(service).await && is_settled;
            let is_settled = self.campaigns_are_settled().await? && is_settled;
            // After the time limit the judge decides too: its findings say what is missing.
            if is_settled || Instant::now() >= until {
                self.judge.conclude(&datasets, &expected, &deliveries, &calls);
                self.tally.count_new(&mut self.connection).await?;
                self.show(&datasets, service, true).await;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Shows a look, and judges what it shows of the peers.
    async fn show(&mut self, datasets: &[Datasets], service: &Service, is_last: bool) {
        // An answer that does not come is on the screen; at the end it is a finding.
        let seen = self.reader.seen().await.ok();
        seen.iter().for_each(|seen| self.judge.look_at_peers(seen));
        let (nodes, relayer, peers) = (self.liar.shown(), self.relayer(), peers::row(seen.as_ref()));
        let campaigns = campaigns::row(self.campaigns.as_ref(), &self.servers.campaigns);
        let (tally, judge) = (&self.tally, &self.judge);
        let look = Look {
            datasets,
            tally,
            judge,
            nodes: &nodes,
            relayer: &relayer,
            peers: &peers,
            campaigns: &campaigns,
        };
        if is_last {
            self.screen.show_now(&look, service);
        } else {
            self.screen.show(&look, service);
        }
    }

    /// Judges the peers, whose senders repeat their pictures by now.
    async fn peers_are_settled(&mut self, service: &Service) -> bool {
        let truth = self.senders.truth();
        let read = async {
            Ok::<_, color_eyre::Report>((self.reader.seen().await?, self.reader.kept(&truth, service).await?))
        };
        match read.await {
            Ok((seen, kept)) => self.judge.conclude_peers(&truth, &seen, &kept),
            Err(error) => {
                self.judge.peers_are_unreadable(&format!("{error:#}"));
                false
            }
        }
    }

    /// A round of changes of the campaigns, and what is worth telling of it.
    async fn change_campaigns(&mut self) -> Result<()> {
        let Some(campaigns) = &mut self.campaigns else { return Ok(()) };
        campaigns.round().await?.iter().for_each(|news| self.screen.say(news));
        Ok(())
    }

    /// Judges the campaigns, whose rows change no more.
    async fn campaigns_are_settled(&mut self) -> Result<bool> {
        let Some(campaigns) = &self.campaigns else { return Ok(true) };
        Ok(self.judge.conclude_campaigns(&campaigns.look().await?))
    }

    /// The row of the relayer and of the alerts.
    fn relayer(&self) -> String {
        let alerts = self.servers.receiver.count();
        format!("{}; {alerts} alerts", relayer::shown(&self.servers.relayer.calls()))
    }

    async fn datasets(&mut self) -> Result<Vec<Datasets>> {
        Datasets::read(&mut self.connection, &self.servers.contracts).await
    }
}
