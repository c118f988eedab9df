//! A model test: random producers, and a tracker with its real actors that crashes, is cut off and is restarted in
//! between, on a clock of the test's own. Every dataset is compared with a slow, obvious reference.
//!
//! A run that fails prints its seed. `MODEL_SEED=… cargo test --test model` runs that history again (or several,
//! with commas between them);
//! `MODEL_HISTORIES=…` says how many the long form runs.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub)] // A test that can not go on panics.

mod history;
mod reference;
mod tracker;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use history::{History, MARKET, PROTOCOL};
use redis::aio::MultiplexedConnection;
use reference::{Reference, Shown};
use serde_json::Value;
use supervision::{
    Clock,
    fail::{Fault, When},
};
use testkit::{FaultProxy, RedisServer};
use tracker::{ACTORS, Tracker};

/// Ten minutes before an hour.
const BEGIN: i64 = 1_795_341_600 - 600;
/// Histories of the quick form, how many run at once, and steps of each.
const HISTORIES: u64 = 32;
const AT_ONCE: u64 = 4;
const STEPS: usize = 40;
/// How long a pass may take before the clock goes on.
const PASS: Duration = Duration::from_millis(60);
/// How long the datasets may take to be right at a moment at which they were written.
const SETTLED: Duration = Duration::from_secs(2);

const POINTS: [&str; 7] = [
    "aggregator::before_read",
    "aggregator::after_read",
    "aggregator::before_commit",
    "aggregator::after_commit",
    "epoch_tracker::before_read",
    "epoch_tracker::before_commit",
    "epoch_tracker::after_commit",
];

/// One history with its tracker.
struct Run {
    seed: u64,
    history: History,
    /// What may be true: more than one, where it is not known whether a pass that failed had an effect.
    references: Vec<Reference>,
    clock: Clock,
    redis: RedisServer,
    proxy: FaultProxy,
    connection: MultiplexedConnection,
    tracker: Option<Tracker>,
    /// Something may go wrong in the next passes: what they wrote may be a part only.
    disturbed: bool,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
        let connection = redis.connection().await.expect("a connection");
        let history = History::new(seed, BEGIN);
        let clock = Clock::manual(Duration::from_secs(BEGIN as u64));
        let references = vec![Reference::default()];
        Self { seed, history, references, clock, redis, proxy, connection, tracker: None, disturbed: false }
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

    /// Lets time go by.
    async fn pass(&mut self, seconds: i64) {
        self.history.pass(seconds, &mut self.connection).await;
        self.clock.advance(Duration::from_secs(seconds as u64));
    }

    async fn run(mut self) {
        for step in 0..STEPS {
            let is_down = step == 0 || self.history.rng.chance(12);
            let mut cut = false;
            if is_down {
                // The tracker is away, or cut off, for some steps.
                cut = step > 0 && self.history.rng.chance(50);
                if cut {
                    self.proxy.refuse(true).await.expect("refused");
                    self.proxy.cut();
                    self.tell("the tracker is cut off");
                } else {
                    self.stop().await;
                }
                for _ in 0..self.history.rng.within(0, 5) {
                    self.produce().await;
                    let seconds = self.seconds();
                    self.pass(seconds).await;
                }
            }
            self.produce().await;
            let seconds = self.seconds();
            self.disturbed = is_down;
            let cut_in = if is_down { None } else { self.disturb().await };
            self.history.pass(seconds, &mut self.connection).await;
            if cut {
                self.proxy.refuse(false).await.expect("accepting");
            }
            self.clock.advance(Duration::from_secs(seconds as u64));
            if self.tracker.is_none() {
                self.start().await;
            }
            if let Some(after) = cut_in {
                tokio::time::sleep(after).await;
                self.proxy.cut();
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

    /// Something goes wrong during the next pass; with a time, the connection breaks that long after its beginning.
    async fn disturb(&mut self) -> Option<Duration> {
        self.disturbed = true;
        match self.history.rng.within(0, 99) {
            0..=24 => {
                let point = *self.history.rng.pick(&POINTS);
                let fault = *self.history.rng.pick(&[Fault::Panic, Fault::Error]);
                let tracker = self.tracker.as_ref().expect("it runs");
                tracker.tree.failure_points().arm(point, "", fault, When::Nth(1));
                self.tell(&format!("{point} fails"));
            }
            25..=39 => {
                let after = Duration::from_micros(self.history.rng.within(0, 6000) as u64);
                self.tell(&format!("the connection is cut after {after:?}"));
                return Some(after);
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
            _ => self.disturbed = false,
        }
        None
    }

    /// Waits until all datasets were written at one moment, and compares them.
    async fn check(&mut self) {
        let unheard = self.history.epochs.values().any(|made| !made.in_timeline && made.closed.is_none());
        let one_spelling = self.history.has_one_spelling();
        if !one_spelling || unheard {
            // Spellings that are not in use are looked at once a minute; the epoch tracker knows an epoch that is in
            // no timeline from the ledger, and may have passed before the aggregator.
            self.settle(false).await;
            self.pass_quietly(if one_spelling { 1 } else { 61 });
        }
        self.settle(true).await;
    }

    /// Nothing happens for some seconds.
    fn pass_quietly(&mut self, seconds: u64) {
        self.history.now += seconds as i64;
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn settle(&mut self, compare: bool) {
        let (began, mut moved, mut retries, mut looks) = (Instant::now(), Instant::now(), 0, 0);
        loop {
            let shown = self.read().await;
            let is_fresh = self.is_fresh(&shown);
            if is_fresh {
                let judged = self.judge(&shown);
                let rests = judged.is_ok() || !compare;
                if rests && !self.rest().await {
                    self.fail("the actors do not come to rest");
                }
                match judged {
                    Ok(references) => {
                        self.references = references;
                        return;
                    }
                    Err(_) if !compare => {
                        let sealed = self.read().await.sealed;
                        let began = self.began(&shown);
                        for reference in &mut self.references {
                            // What is wrong now is so for good, and found in the end.
                            let _ = reference.shown(&self.history, &sealed, began, [false; 2]);
                        }
                        return;
                    }
                    // A failed look at all spellings is made up for by the next one, a minute later.
                    Err(_) if self.history.is_mixed() && looks < 2 && moved.elapsed() > SETTLED / 4 => {
                        let began = self.began(&shown);
                        for reference in &mut self.references {
                            let _ = reference.shown(&self.history, &shown.sealed, began, [false; 2]);
                        }
                        self.pass_quietly(61);
                        (moved, looks) = (Instant::now(), looks + 1);
                    }
                    Err(why) if moved.elapsed() > SETTLED => self.fail(&why),
                    Err(_) => {}
                }
            }
            if moved.elapsed() > PASS && (!is_fresh || self.disturbed && retries < 4) {
                // A pass failed, before or while it wrote: the next one is due with the next second.
                self.doubt();
                self.pass_quietly(1);
                (moved, retries) = (Instant::now(), retries + 1);
            }
            if began.elapsed() > Duration::from_secs(20) {
                self.fail(&format!("the datasets are not written: {shown:#?}"));
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// Waits until no pass is under way: the actors sleep, and nothing is asked any more.
    async fn rest(&self) -> bool {
        let (began, mut quiet, mut asked) = (Instant::now(), 0, 0);
        while quiet < 3 {
            let now = self.proxy.counts().round_trips;
            quiet = if asked == now && self.clock.sleepers() >= ACTORS { quiet + 1 } else { 0 };
            asked = now;
            if began.elapsed() > SETTLED {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        true
    }

    /// A pass at this moment may have happened.
    fn doubt(&mut self) {
        if self.references.len() < 8 {
            let mut looked = self.references.clone();
            looked.iter_mut().for_each(|reference| reference.doubt(&self.history));
            self.references.extend(looked);
        }
    }

    fn is_fresh(&self, shown: &Shown) -> bool {
        let now = Value::from(self.history.now);
        let is_now = |value: &Value, field: &str| value[field] == now;
        is_now(&shown.summary, "updated_at")
            && is_now(&shown.participation, "timestamp")
            && shown.hours.iter().chain([&shown.day]).all(|hour| is_now(hour, "updated_at"))
            && (is_now(&shown.current, "timestamp") || self.expects_no_current())
    }

    fn expects_no_current(&self) -> bool {
        self.history.epochs.values().all(|made| made.opened < self.history.now - 86_400)
    }

    /// When the measurement window began, by what is shown.
    fn began(&self, shown: &Shown) -> i64 {
        self.history.now - shown.summary["measurement_duration"].as_i64().unwrap_or(i64::MAX / 2)
    }

    /// The references that agree with what is shown, or why none does.
    fn judge(&self, shown: &Shown) -> Result<Vec<Reference>, String> {
        let began = self.began(shown);
        let (mut agreed, mut why) = (Vec::new(), String::new());
        for reference in &self.references {
            for after in [[false; 2], [true; 2], [true, false], [false, true]] {
                let mut reference = reference.clone();
                match reference.shown(&self.history, &shown.sealed, began, after) {
                    Ok(expected) => {
                        let fading = reference.fading(self.history.now);
                        let difference = difference(&expected, shown, &fading);
                        if difference.is_empty() {
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

    async fn read(&mut self) -> Shown {
        let key = |rest: &str| format!("{}:{}:{rest}", PROTOCOL[0], MARKET[0]);
        let start = self.history.now - self.history.now % 3600;
        let mut pipe = redis::pipe();
        pipe.atomic();
        for name in [
            "dashboard:summary".to_owned(),
            "metrics:participation".to_owned(),
            "metrics:current_epoch".to_owned(),
            format!("stats:hourly:{start}"),
            format!("stats:hourly:{}", start - 3600),
            "stats:daily".to_owned(),
        ] {
            pipe.get(key(&name));
        }
        let (json, stats, gaps, sealed): (Vec<Option<String>>, BTreeMap<String, String>, _, _) = {
            let mut all: Vec<redis::Value> = pipe
                .hgetall(key("stats:current"))
                .zrange(key("epochs:gaps"), 0, -1)
                .hkeys(format!("{{{}:{}}}:tracker:sealed", PROTOCOL[0], MARKET[0]))
                .query_async(&mut self.connection)
                .await
                .expect("read");
            let sealed = redis::from_redis_value(all.pop().expect("answered")).expect("epochs");
            let gaps = redis::from_redis_value(all.pop().expect("answered")).expect("members");
            let stats = redis::from_redis_value(all.pop().expect("answered")).expect("fields");
            let json = all.into_iter().map(|text| redis::from_redis_value(text).expect("a text"));
            (json.collect(), stats, gaps, sealed)
        };
        let json = json.into_iter().map(|text| {
            text.map_or(Value::Null, |text| serde_json::from_str(&text).expect("a dataset is JSON"))
        });
        let [summary, participation, current, this, before, day] =
            json.collect::<Vec<_>>().try_into().expect("six of them");
        let mut counts = BTreeMap::new();
        for (epoch, made) in &self.history.epochs {
            if made.has_state {
                let state = self.history.of_epoch(&format!("epoch:{epoch}:state"));
                let mut command = redis::cmd("HGET");
                let count =
                    command.arg(state).arg("submissions_count").query_async(&mut self.connection).await;
                counts.insert(*epoch, count.expect("read"));
            }
        }
        let number = |text: String| serde_json::from_str(&text).expect("a number");
        let stats = stats.into_iter().map(|(name, text)| (name, number(text))).collect();
        Shown { summary, stats, participation, current, hours: [this, before], day, gaps, counts, sealed }
    }
}

/// Whether two values are the same, but for the last bit of a fraction.
fn same(expected: &Value, shown: &Value) -> bool {
    match (expected, shown) {
        (Value::Object(fields), Value::Object(others)) => {
            fields.len() == others.len()
                && fields.iter().all(|(name, value)| others.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Number(number), Value::Number(other)) if number.is_f64() && other.is_f64() => {
            let (number, other) = (number.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
            (number - other).abs() <= 1e-12 * number.abs()
        }
        _ => expected == shown,
    }
}

/// Field by field; empty where there is none.
fn difference(expected: &Shown, shown: &Shown, fading: &BTreeSet<String>) -> String {
    let mut text = String::new();
    let mut note = |name: &str, expected: &Value, shown: &Value| {
        if !same(expected, shown) {
            let (Some(fields), Some(others)) = (expected.as_object(), shown.as_object()) else {
                let _ = writeln!(text, "{name}: expected {expected}, shown {shown}");
                return;
            };
            for (field, value) in fields {
                if !others.get(field).is_some_and(|other| same(value, other)) {
                    let _ = writeln!(text, "{name}.{field}: expected {value}, shown {:?}", others.get(field));
                }
            }
            for field in others.keys().filter(|field| !fields.contains_key(*field)) {
                let _ = writeln!(text, "{name}.{field}: not expected");
            }
        }
    };
    let object = |fields: &BTreeMap<String, Value>| Value::Object(fields.clone().into_iter().collect());
    note("summary", &expected.summary, &shown.summary);
    note("stats", &object(&expected.stats), &object(&shown.stats));
    note("participation", &expected.participation, &shown.participation);
    note("current epoch", &expected.current, &shown.current);
    note("this hour", &expected.hours[0], &shown.hours[0]);
    note("the hour before", &expected.hours[1], &shown.hours[1]);
    note("day", &expected.day, &shown.day);
    let gaps = |shown: &Shown| shown.gaps.difference(fading).cloned().collect::<Vec<_>>().into();
    note("gaps", &gaps(expected), &gaps(shown));
    for (epoch, count) in &expected.counts {
        note(&format!("submissions_count of {epoch}"), &(*count).into(), &shown.counts[epoch].into());
    }
    text
}

/// Runs these histories, some at once.
async fn run(seeds: Vec<u64>) {
    let workers = (0..AT_ONCE).map(|worker| {
        let own: Vec<u64> = seeds.iter().copied().skip(worker as usize).step_by(AT_ONCE as usize).collect();
        tokio::spawn(async move {
            let mut failed = Vec::new();
            for seed in own {
                // What went wrong was printed where it happened.
                if tokio::spawn(async move { Run::new(seed).await.run().await }).await.is_err() {
                    failed.push(seed);
                }
            }
            failed
        })
    });
    let mut failed = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        failed.extend(worker.await.expect("a worker does not fail"));
    }
    assert!(failed.is_empty(), "these histories failed, see above: MODEL_SEED={failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dataset_is_what_the_producers_did_whatever_happens_to_the_tracker() {
    let seeds = std::env::var("MODEL_SEED").ok();
    let seeds =
        seeds.map(|seeds| seeds.split(',').map(|seed| seed.trim().parse().expect("a number")).collect());
    run(seeds.unwrap_or_else(|| (1..=HISTORIES).collect())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: new histories at each run, MODEL_HISTORIES of them (1000)"]
async fn every_dataset_is_what_the_producers_did_in_any_number_of_histories() {
    let first =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64 % 1_000_000_000;
    println!("histories from seed {first} on");
    let histories = std::env::var("MODEL_HISTORIES").map_or(1000, |number| number.parse().expect("a number"));
    run((first..first + histories).collect()).await;
}
