//! One history: producers, trackers with faults, and the comparison.
//!
//! Nothing here waits for a duration. The clock is moved only when nothing is under way, so everything due at a moment was done at
//! that moment, or failed at it; then the datasets are right at once, or never.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use reference::{DAY, Effect, HOUR, Producers, Shown, Truth};
use supervision::{
    Clock,
    fail::{Fault, When},
};
use testkit::{FaultProxy, RedisServer};

use super::{
    aging::age,
    reading::read,
    tracker::{self, NEVER, POLL, Passed, Tracker},
};

/// Ten minutes before an hour.
const BEGIN: i64 = 1_795_341_600 - 600;
/// Steps of a history.
const STEPS: usize = 40;
/// How many passes in a row may fail.
const ATTEMPTS: usize = 10;
/// The steps that the report of a failure shows.
const LAST_ACTS: usize = 120;
/// "looks again every minute", and a pass more.
const SPELLINGS: i64 = 63;
/// The datasets are read so many seconds after they were written at most: less than the 10 s by which the checks let a TTL run down.
const PROMPT: i64 = 5;
/// No dataset lapses when the tracker passes so often, in seconds.
const INTERVAL: i64 = 30;

/// An address without a server.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Redis' clients beside the trackers: the producers, which also read the datasets.
const OWN_CLIENTS: u64 = 1;

const POINTS: [&str; 7] = [
    "aggregator::before_read",
    "aggregator::after_read",
    "aggregator::before_commit",
    "aggregator::after_commit",
    "epoch_tracker::before_read",
    "epoch_tracker::before_commit",
    "epoch_tracker::after_commit",
];

/// The fault in the middle of a pass.
#[derive(Clone, Copy, Debug)]
enum Break {
    Connections,
    Actor(&'static str),
    Tracker,
}

/// One history with its trackers.
pub struct Run {
    seed: u64,
    producers: Producers,
    truth: Truth,
    clock: Clock,
    redis: RedisServer,
    proxy: FaultProxy,
    connection: MultiplexedConnection,
    trackers: Vec<Tracker>,
    /// How many trackers serve the market when all are up, and how many pruners run at once.
    number: usize,
    /// How long the ledger keeps an epoch.
    kept: i64,
    /// The history takes days.
    is_long: bool,
    /// All datasets were written at this moment.
    written: Option<i64>,
}

/// The number of Redis clients.
async fn clients(connection: &mut MultiplexedConnection) -> u64 {
    let mut command = redis::cmd("INFO");
    let info: redis::InfoDict = command.arg("clients").query_async(connection).await.expect("answered");
    info.get("connected_clients").expect("a number of clients")
}

/// The clock by which Redis lets keys expire, in seconds.
async fn clock_of(connection: &mut MultiplexedConnection) -> i64 {
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(connection).await.expect("answered");
    seconds
}

impl Run {
    pub async fn new(seed: u64) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
        let connection = redis.connection().await.expect("a connection");
        let mut producers = Producers::new(seed, BEGIN);
        let kept = producers.random.pick(&[28 * HOUR, 3 * DAY, 8 * DAY]);
        let number = if producers.random.chance(30) { 2 } else { 1 };
        let is_long = producers.random.chance(20);
        let clock = Clock::manual(Duration::from_secs(BEGIN as u64));
        Self {
            seed,
            producers,
            truth: Truth::new(kept),
            clock,
            redis,
            proxy,
            connection,
            trackers: Vec::new(),
            number,
            kept,
            is_long,
            written: None,
        }
    }

    fn fail(&self, why: &str) -> ! {
        let acts = &self.producers.acts;
        let last = acts[acts.len().saturating_sub(LAST_ACTS)..].join("\n  ");
        panic!(
            "the history of MODEL_SEED={} ({}, {} trackers, kept {} s) at {}:\n{why}\nthe last steps:\n  {last}\n\
             the history of MODEL_SEED={} at {}:\n{why}",
            self.seed,
            self.producers.describe(),
            self.number,
            self.kept,
            self.producers.now,
            self.seed,
            self.producers.now
        )
    }

    fn tell(&mut self, what: &str) {
        self.producers.tell(&format!("-- {what}"));
    }

    pub async fn run(mut self) {
        for step in 0..STEPS {
            let is_down = step == 0 || self.producers.random.chance(12);
            let cut = is_down && step > 0 && self.producers.random.chance(50);
            if is_down {
                self.be_away(cut).await;
            }
            self.produce().await;
            let seconds = self.seconds();
            let broken = if is_down { None } else { self.disturb().await };
            self.age(seconds).await;
            if cut {
                self.proxy.set_upstream(self.redis.addr());
            }
            self.clock.advance(Duration::from_secs(seconds as u64));
            self.start().await;
            if let Some((after, how)) = broken {
                // In the middle of a pass or not: both outcomes have to be right.
                tokio::time::sleep(after).await;
                self.break_off(how).await;
            }
            self.look().await;
            if self.producers.random.chance(12) {
                let url = self.redis.url();
                let (now, spelling) = (self.producers.now, self.producers.configured);
                tracker::prune(&url, now, spelling, self.kept, self.number).await;
                self.tell("pruned");
            }
        }
        self.stop().await;
    }

    /// The trackers are away, or cut off, for some steps.
    async fn be_away(&mut self, cut: bool) {
        if cut {
            self.cut();
            self.tell("the trackers are cut off");
        } else {
            self.stop().await;
        }
        for _ in 0..self.producers.random.within(0, 5) {
            self.produce().await;
            let seconds = self.seconds();
            self.age(seconds).await;
            self.clock.advance(Duration::from_secs(seconds as u64));
            self.rest().await;
        }
    }

    async fn start(&mut self) {
        while self.trackers.len() < self.number {
            let url = self.redis.url_at(self.proxy.addr());
            self.trackers.push(Tracker::start(url, &self.clock, self.producers.configured).await);
            self.tell("a tracker starts");
        }
    }

    async fn stop(&mut self) {
        while let Some(tracker) = self.trackers.pop() {
            // A pass that is under way may take effect or not.
            tracker.stop(2 * self.trackers.len()).await;
            self.tell("a tracker is stopped");
        }
    }

    /// Cuts all connections; new ones reach no server. The proxy keeps its port, which another process might take.
    fn cut(&self) {
        self.proxy.set_upstream(NOWHERE);
        self.proxy.cut();
    }

    /// Injects a fault, then cuts all connections, so that everything on its way has reached Redis or is lost before the next step.
    async fn break_off(&mut self, how: Break) {
        match how {
            Break::Connections => {}
            Break::Actor(path) => self.trackers[0].kill(path).await,
            Break::Tracker => self.stop().await,
        }
        self.cut();
        self.rest().await;
        let began = Instant::now();
        while clients(&mut self.connection).await > OWN_CLIENTS {
            if began.elapsed() > NEVER {
                self.fail("connections that were cut stay open");
            }
            tokio::time::sleep(POLL).await;
        }
        self.proxy.set_upstream(self.redis.addr());
        self.record(Effect::Perhaps, false);
        self.start().await;
    }

    async fn produce(&mut self) {
        for _ in 0..self.producers.random.within(0, 6) {
            let commands = self.producers.act();
            if commands.is_empty() {
                continue;
            }
            let mut pipe = redis::pipe();
            pipe.atomic();
            for command in commands {
                let (name, args) = command.split_first().expect("a command has a name");
                pipe.cmd(name).arg(args);
            }
            pipe.query_async::<()>(&mut self.connection).await.expect("the producers' commands are right");
        }
    }

    fn seconds(&mut self) -> i64 {
        let random = &mut self.producers.random;
        match random.within(0, 99) {
            _ if self.is_long && random.chance(25) => random.within(2 * HOUR, 30 * HOUR),
            0..=59 => random.within(1, 20),
            60..=84 => random.within(30, 200),
            85..=95 => random.within(600, 3000),
            96..=97 => random.within(HOUR, 3 * HOUR),
            98 => random.within(4 * HOUR, 9 * HOUR),
            _ => random.within(10 * HOUR, 30 * HOUR),
        }
    }

    /// Injects a fault into the next pass; with a time, that long after its beginning.
    async fn disturb(&mut self) -> Option<(Duration, Break)> {
        let what = self.producers.random.within(0, 99);
        match what {
            0..=24 => {
                let point = self.producers.random.pick(&POINTS);
                let fault = self.producers.random.pick(&[Fault::Panic, Fault::Error]);
                self.trackers[0].tree.failure_points().arm(point, "", fault, When::Nth(1));
                self.tell(&format!("{point} fails"));
            }
            25..=39 | 50..=59 => {
                let after = Duration::from_micros(self.producers.random.within(0, 6000) as u64);
                let how = match what {
                    50..=52 => Break::Actor("aggregator"),
                    53..=54 => Break::Actor("epoch-tracker"),
                    55..=59 => Break::Tracker,
                    _ => Break::Connections,
                };
                self.tell(&format!("{how:?} breaks after {after:?}"));
                return Some((after, how));
            }
            40..=44 => {
                let mut command = redis::cmd("SCRIPT");
                command.arg("FLUSH").query_async::<()>(&mut self.connection).await.expect("flushed");
                self.tell("the server forgets its scripts");
            }
            45..=49 => self.stop().await,
            _ => {}
        }
        None
    }

    /// Lets the keys grow older: Redis, and the reference.
    async fn age(&mut self, seconds: i64) {
        self.producers.pass(seconds);
        age(&mut self.connection, seconds).await;
        if self.written.is_some_and(|at| self.producers.now - at <= INTERVAL) {
            let shown = read(&mut self.connection, &[]).await;
            let datasets = [&shown.summary, &shown.participation, &shown.current];
            if datasets.iter().any(|dataset| dataset.is_null()) || shown.stats.is_empty() {
                self.fail(&format!("Lapse: a dataset lapses within {INTERVAL} s: {shown:#?}"));
            }
        }
    }

    /// Lets some seconds pass without an act of the producers.
    async fn pass_quietly(&mut self, seconds: i64) {
        self.age(seconds).await;
        self.clock.advance(Duration::from_secs(seconds as u64));
    }

    /// Waits until all actors have passed without a failure twice in a row, and compares what they wrote. The first of the two passes
    /// may have been made by the epoch tracker before the aggregator found an epoch. A failed pass is made again with the next
    /// second.
    async fn look(&mut self) {
        if self.producers.is_mixed() {
            self.settle().await;
            if self.number > 1 {
                // "looks again every minute": a tracker that learns of an epoch from the ledger, since the finder of another one has found
                // it, may read its keys under the other spelling a minute later.
                self.search().await;
            }
            self.pass_quietly(SPELLINGS).await;
        }
        self.settle().await;
        self.search().await;
        let shown = self.read_promptly().await;
        self.written = (!shown.current.is_null()).then_some(self.producers.now);
        let found = self.truth.look(&shown);
        if !found.is_empty() {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            self.fail(&found.join("\n"));
        }
    }

    /// Reads what another pass has written. Where Redis' own clock went on in between, since the machine stood still or its clock was set,
    /// TTLs have run down by that: then another one is made.
    async fn read_promptly(&mut self) -> Shown {
        for _ in 0..ATTEMPTS {
            self.pass_quietly(1).await;
            let began = clock_of(&mut self.connection).await;
            self.settle().await;
            let states = self.producers.states();
            let shown = read(&mut self.connection, &states).await;
            if clock_of(&mut self.connection).await - began < PROMPT {
                return shown;
            }
        }
        self.fail(&format!("{ATTEMPTS} times what was written could not be read within {PROMPT} s"))
    }

    /// Searches the names of all keys, and waits until a pass has taken up what was found.
    async fn search(&mut self) {
        let (url, now, spelling) = (self.redis.url(), self.producers.now, self.producers.configured);
        self.trackers[0].search(&url, now, spelling).await;
        self.rest().await;
        self.record(Effect::None, true);
    }

    async fn settle(&mut self) {
        for _ in 0..ATTEMPTS {
            self.rest().await;
            let passed = self.record(Effect::None, false);
            if passed.totals && passed.current {
                return;
            }
            self.pass_quietly(1).await;
        }
        let health: Vec<_> = self.trackers.iter().map(|tracker| tracker.tree.health()).collect();
        self.fail(&format!("no pass of {ATTEMPTS} ends well: {health:#?}"));
    }

    /// Records the passes of this moment, of which at least this effect is to be assumed, and whether keys were searched before.
    fn record(&mut self, least: Effect, are_keys_searched: bool) -> Passed {
        let all: Vec<Passed> = self.trackers.iter().map(Tracker::passed).collect();
        let broken = if all.is_empty() { least } else { Effect::Perhaps };
        let effect = |passed: bool| if passed { Effect::Whole } else { broken };
        let any = |which: fn(&Passed) -> bool| effect(all.iter().any(which));
        let (totals, current) = (any(|passed| passed.totals), any(|passed| passed.current));
        let (now, is_mixed) = (self.producers.now, self.producers.is_mixed());
        let (database, how) = (&self.producers.database, [is_mixed, are_keys_searched]);
        self.truth.pass(now, database, how, [totals, current]);
        if totals != Effect::None {
            self.producers.database.renew_vpa(now + 7 * DAY);
        }
        // All of them, so that none overwrites a dataset later.
        Passed {
            totals: all.iter().all(|passed| passed.totals),
            current: all.iter().all(|passed| passed.current),
        }
    }

    /// Waits until nothing is under way at this moment.
    async fn rest(&self) {
        if let Err(why) = tracker::rest(self.trackers.iter().map(|tracker| &tracker.tree), &self.clock).await
        {
            self.fail(&format!("the actors do not come to rest: {why}"));
        }
    }
}
