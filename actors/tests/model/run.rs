//! One history: producers, a tracker with faults, and the comparison.
//!
//! Nothing here waits for a duration. The clock is moved only when nothing is under way, so everything due at a moment
//! was done at that moment, or failed at it; then the datasets are right at once, or never.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use supervision::{
    Clock,
    fail::{Fault, When},
};
use testkit::{FaultProxy, RedisServer};

use super::{
    history::History,
    reference::{Reference, Sight},
    shown::{Compared, Shown, difference},
    tracker::{NEVER, POLL, Tracker},
};

/// Ten minutes before an hour.
const BEGIN: i64 = 1_795_341_600 - 600;
/// Steps of a history.
const STEPS: usize = 40;
/// How many passes in a row may fail.
const ATTEMPTS: usize = 10;

/// The most possible states at a time.
const MOST_REFERENCES: usize = 200;

/// An address without a server.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Redis' clients beside the tracker: the producers, which also read the datasets.
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

/// One history with its tracker.
pub struct Run {
    seed: u64,
    history: History,
    /// The possible states: several, while it is not known whether a failed pass had an effect.
    references: Vec<Reference>,
    clock: Clock,
    redis: RedisServer,
    proxy: FaultProxy,
    connection: MultiplexedConnection,
    tracker: Option<Tracker>,
    /// What passes may have seen since all spellings were read.
    sights: Vec<Sight>,
}

/// The number of Redis clients.
async fn clients(connection: &mut MultiplexedConnection) -> u64 {
    let mut command = redis::cmd("INFO");
    let info: redis::InfoDict = command.arg("clients").query_async(connection).await.expect("answered");
    info.get("connected_clients").expect("a number of clients")
}

impl Run {
    pub async fn new(seed: u64) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
        let connection = redis.connection().await.expect("a connection");
        let history = History::new(seed, BEGIN);
        let clock = Clock::manual(Duration::from_secs(BEGIN as u64));
        let references = vec![Reference::default()];
        Self { seed, history, references, clock, redis, proxy, connection, tracker: None, sights: Vec::new() }
    }

    fn fail(&self, why: &str) -> ! {
        let told = &self.history.told;
        let last = told[told.len().saturating_sub(400)..].join("\n  ");
        panic!(
            "the history of MODEL_SEED={} (spelled {:?}) at {}: {why}\nwhat was done:\n  {last}",
            self.seed, self.history.spelled, self.history.now
        )
    }

    fn tell(&mut self, what: &str) {
        self.history.told.push(format!("{}: -- {what}", self.history.now));
    }

    async fn start(&mut self) {
        self.tell("the tracker starts");
        let url = self.redis.url_at(self.proxy.addr());
        let spelling = usize::from(!self.history.has_one_spelling());
        self.tracker = Some(Tracker::start(url, &self.clock, spelling).await);
    }

    async fn stop(&mut self) {
        if let Some(tracker) = self.tracker.take() {
            tracker.stop().await;
            self.tell("the tracker is stopped");
        }
    }

    /// Moves the clock.
    async fn pass(&mut self, seconds: i64) {
        self.history.pass(seconds, &mut self.connection).await;
        self.clock.advance(Duration::from_secs(seconds as u64));
    }

    pub async fn run(mut self) {
        for step in 0..STEPS {
            let is_down = step == 0 || self.history.rng.chance(12);
            let mut cut = false;
            if is_down {
                // The tracker is away, or cut off, for some steps.
                cut = step > 0 && self.history.rng.chance(50);
                if cut {
                    self.cut();
                    self.tell("the tracker is cut off");
                } else {
                    self.stop().await;
                }
                for _ in 0..self.history.rng.within(0, 5) {
                    self.produce().await;
                    let seconds = self.seconds();
                    self.pass(seconds).await;
                    self.rest().await;
                }
            }
            self.produce().await;
            let seconds = self.seconds();
            let broken = if is_down { None } else { self.disturb().await };
            self.history.pass(seconds, &mut self.connection).await;
            if cut {
                self.proxy.set_upstream(self.redis.addr());
            }
            self.clock.advance(Duration::from_secs(seconds as u64));
            if self.tracker.is_none() {
                self.start().await;
            }
            if let Some((after, how)) = broken {
                // In the middle of a pass or not: both outcomes have to be right.
                tokio::time::sleep(after).await;
                self.break_off(how).await;
            }
            self.check().await;
            if self.history.rng.chance(10) {
                let tracker = self.tracker.as_ref().expect("it runs");
                self.history.pruned = tracker.prune(self.history.now as u64).await as i64;
                self.tell("pruned");
            }
        }
        self.stop().await;
    }

    /// Cuts all connections; new ones reach no server. The proxy keeps its port, which another process might take.
    fn cut(&self) {
        self.proxy.set_upstream(NOWHERE);
        self.proxy.cut();
    }

    /// Injects a fault, then cuts all connections, so that everything on its way has reached Redis or is lost before
    /// the next step.
    async fn break_off(&mut self, how: Break) {
        match how {
            Break::Connections => {}
            Break::Actor(path) => self.tracker.as_ref().expect("it runs").kill(path).await,
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
        if self.tracker.is_none() {
            let shown = Shown::read(&self.history, &mut self.connection).await;
            self.doubt(&shown);
            self.start().await;
        }
    }

    async fn produce(&mut self) {
        for _ in 0..self.history.rng.within(0, 6) {
            self.history.act(&mut self.connection).await;
        }
    }

    fn seconds(&mut self) -> i64 {
        match self.history.rng.within(0, 99) {
            0..=59 => self.history.rng.within(1, 20),
            60..=84 => self.history.rng.within(30, 200),
            85..=96 => self.history.rng.within(600, 3000),
            97..=98 => self.history.rng.within(3600, 3 * 3600),
            _ => self.history.rng.within(4 * 3600, 9 * 3600),
        }
    }

    /// Injects a fault into the next pass; with a time, that long after its beginning.
    async fn disturb(&mut self) -> Option<(Duration, Break)> {
        let what = self.history.rng.within(0, 99);
        match what {
            0..=24 => {
                let point = *self.history.rng.pick(&POINTS);
                let fault = *self.history.rng.pick(&[Fault::Panic, Fault::Error]);
                let tracker = self.tracker.as_ref().expect("it runs");
                tracker.tree.failure_points().arm(point, "", fault, When::Nth(1));
                self.tell(&format!("{point} fails"));
            }
            25..=39 | 50..=59 => {
                let after = Duration::from_micros(self.history.rng.within(0, 6000) as u64);
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
                redis::cmd("SCRIPT")
                    .arg("FLUSH")
                    .query_async::<()>(&mut self.connection)
                    .await
                    .expect("flushed");
                self.tell("the server forgets its scripts");
            }
            45..=49 => {
                self.stop().await;
            }
            _ => {}
        }
        None
    }

    /// Compares the datasets with the references once all of them can be right.
    async fn check(&mut self) {
        let unheard = self.history.epochs.values().any(|made| !made.in_timeline && made.closed.is_none());
        if !self.history.has_one_spelling() {
            // Spellings that are not in use are read once a minute.
            self.settle(Compared::Nothing).await;
            self.pass_quietly(61);
        } else if unheard {
            // The epoch tracker knows an epoch that is in no timeline from the ledger, and may have passed before the
            // aggregator.
            self.settle(Compared::ButCurrent).await;
            self.pass_quietly(1);
        }
        self.settle(Compared::Everything).await;
        self.sights = self.references.iter().flat_map(|reference| reference.sights(&self.history)).collect();
    }

    /// Lets some seconds pass without a step of the producers.
    fn pass_quietly(&mut self, seconds: u64) {
        self.history.now += seconds as i64;
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Waits until all actors have passed without a failure at one moment, and compares what they wrote. A failed pass
    /// is made again with the next second.
    async fn settle(&mut self, compared: Compared) {
        for _ in 0..ATTEMPTS {
            self.rest().await;
            let tracker = self.tracker.as_ref().expect("it runs");
            let passed = tracker.passed();
            let shown = Shown::read(&self.history, &mut self.connection).await;
            if passed.totals {
                let compared = if passed.current { compared } else { compared.without_current() };
                match self.judge(&shown, compared) {
                    Ok(references) => self.believe(references),
                    Err(why) => self.fail(&why),
                }
                if passed.current {
                    return;
                }
            } else {
                self.doubt(&shown);
            }
            self.pass_quietly(1);
        }
        let health = self.tracker.as_ref().map(|tracker| tracker.tree.health());
        self.fail(&format!("no pass of {ATTEMPTS} ends well: {health:#?}"));
    }

    /// Waits until nothing is under way at this moment.
    async fn rest(&self) {
        if let Some(tracker) = &self.tracker
            && let Err(why) = tracker.rest().await
        {
            self.fail(&format!("the actors do not come to rest: {why}"));
        }
    }

    /// A pass at this moment was interrupted.
    fn doubt(&mut self, shown: &Shown) {
        let after = |reference: &Reference| reference.after_broken(&self.history, shown, &self.sights);
        let references: Vec<_> = self.references.iter().flat_map(after).collect();
        if references.is_empty() {
            self.fail(&format!("no pass that broke off leaves this: {shown:#?}"));
        }
        self.believe(references);
    }

    /// One of these states is the true one.
    fn believe(&mut self, references: Vec<Reference>) {
        self.references.clear();
        for reference in references {
            if !self.references.iter().any(|known| known.is_like(&reference)) {
                self.references.push(reference);
            }
        }
        // Each later pass excludes some of them: this many are a fault of the model.
        if self.references.len() > MOST_REFERENCES {
            self.fail(&format!("{} things may be true", self.references.len()));
        }
    }

    /// The references that agree with the datasets, or why none does.
    fn judge(&self, shown: &Shown, compared: Compared) -> Result<Vec<Reference>, String> {
        if let Some(name) = shown.stale(self.history.now) {
            return Err(format!("{name}: not written by a pass that ended well: {shown:#?}"));
        }
        let (mut agreed, mut why) = (Vec::new(), String::new());
        for reference in &self.references {
            if compared == Compared::Nothing {
                agreed.extend(reference.after_narrow(&self.history, shown, &self.sights));
            }
            for after in [[false; 2], [true; 2], [true, false], [false, true]] {
                let mut reference = reference.clone();
                match reference.shown(&self.history, &shown.sealed, shown.began(), after) {
                    Ok(_) if compared == Compared::Nothing => {
                        agreed.push(reference);
                        break;
                    }
                    Ok(expected) => {
                        let fading = reference.fading(self.history.now);
                        let difference = difference(&expected, shown, &fading, compared);
                        if difference.is_empty() {
                            // A second pass at one moment shows more, but excludes no state.
                            agreed.push(reference);
                            break;
                        }
                        if why.is_empty() {
                            why = difference;
                        }
                    }
                    Err(error) => why = error,
                }
            }
        }
        if agreed.is_empty() { Err(why) } else { Ok(agreed) }
    }
}
