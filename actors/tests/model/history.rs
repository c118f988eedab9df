//! Random producers of one market: what they write, in all forms that producers use, and what has not expired yet.
//!
//! Times are whole Unix seconds of the test's own clock. The test deletes keys when they would expire.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Pipeline, aio::MultiplexedConnection};
use serde_json::json;

/// The same numbers for the same seed: SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Of `[least, most]`.
    pub fn within(&mut self, least: i64, most: i64) -> i64 {
        least + (self.next() % (most - least + 1) as u64) as i64
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.next() as usize % of.len()]
    }
}

/// In lower case, as some configure them; the checksum forms follow.
pub const PROTOCOL: [&str; 2] =
    ["0xE88E5f64AEB483d7057645326AdDFA24A3B312DF", "0xe88e5f64aeb483d7057645326addfa24a3b312df"];
pub const MARKET: [&str; 2] =
    ["0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c", "0x0c2e22fe7526faef28e7a58c84f8723defce200c"];
pub const OWN: &str = "validator1";
const VALIDATORS: [&str; 5] = [OWN, "validator2", "validator:3", "validator-4", "12D3KooW5"];
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// What the producers did for one epoch, and which of its keys still exist.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// When its window opened.
    pub opened: i64,
    /// Whether the timeline has its `open:E`.
    pub in_timeline: bool,
    pub window: i64,
    pub closed: Option<i64>,
    /// Submissions in the ordered set, with their times.
    pub ids: BTreeMap<u64, i64>,
    /// Submissions in the plain set.
    pub processed: BTreeSet<u64>,
    submitted: u64,
    /// Whether its submissions go into the ordered set, and into the plain one.
    forms: [bool; 2],
    pub remote: BTreeSet<String>,
    pub local: Option<i64>,
    pub aggregated: Option<i64>,
    pub named: Option<Vec<String>>,
    /// Whether the hashes of its info and its state, and the metadata of its batches, exist.
    pub has_info: bool,
    pub has_state: bool,
    pub has_local: bool,
    pub has_aggregated: bool,
    /// Statuses of level 1, level 2, on the chain.
    pub steps: [&'static str; 3],
}

impl Made {
    /// Whether a key of the epoch exists.
    pub fn has_key(&self) -> bool {
        let has_submissions = !self.ids.is_empty() || !self.processed.is_empty();
        let has_batch = self.has_local || self.has_aggregated || self.named.is_some();
        self.has_info || self.has_state || has_submissions || has_batch || !self.remote.is_empty()
    }

    /// What a pass sees that reads only some of the keys: those of the market, or those of the epoch.
    pub fn seen(&self, of_market: bool, of_epoch: bool) -> Self {
        let mut seen = self.clone();
        if !of_market {
            // The epoch's own keys say that it is closed, but not always when, and give no time for batches.
            let by_plan = self.has_state.then_some(self.opened + self.window);
            seen.closed = self.closed.and_then(|at| if self.has_info { Some(at) } else { by_plan });
            seen.in_timeline = false;
            seen.local = self.has_local.then_some(0);
            seen.aggregated = self.has_aggregated.then_some(0);
        }
        if !of_epoch {
            (seen.has_info, seen.has_state, seen.named) = (false, false, None);
            (seen.ids, seen.processed) = Default::default();
        }
        seen
    }
}

/// The producers.
pub struct History {
    pub rng: Rng,
    pub now: i64,
    pub epochs: BTreeMap<u64, Made>,
    /// Own batches: epoch → time.
    pub own: BTreeMap<u64, i64>,
    pub queue: u64,
    /// Entries of timelines before this are pruned.
    pub pruned: i64,
    /// The steps taken, for the report of a failure.
    pub told: Vec<String>,
    /// The spelling of the market's keys, and that of the keys of its epochs.
    pub spelled: [usize; 2],
    /// Whether the producers are older ones, which write no state.
    states: bool,
    expiries: BTreeMap<String, i64>,
    next: u64,
}

impl History {
    pub fn new(seed: u64, now: i64) -> Self {
        let mut rng = Rng(seed);
        let spelled = *rng.pick(&[[0, 0], [0, 0], [1, 1], [0, 1], [1, 0]]);
        let states = rng.chance(80);
        let next = 22_999_990 + rng.next() % 20;
        Self {
            rng,
            now,
            epochs: BTreeMap::new(),
            own: BTreeMap::new(),
            queue: 0,
            pruned: 0,
            told: Vec::new(),
            spelled,
            states,
            expiries: BTreeMap::new(),
            next,
        }
    }

    /// Whether keys exist under both spellings.
    pub fn is_mixed(&self) -> bool {
        self.spelled[0] != self.spelled[1]
    }

    /// Whether the market has its set of active epochs.
    pub fn has_active(&self) -> bool {
        self.expiries.contains_key(&self.of_market("epochs:active"))
    }

    /// Whether the tracker is configured with the checksum form, and reads no other.
    pub fn has_one_spelling(&self) -> bool {
        self.spelled == [0, 0]
    }

    fn of_market(&self, rest: &str) -> String {
        format!("{}:{}:{rest}", PROTOCOL[self.spelled[0]], MARKET[self.spelled[0]])
    }

    /// A key of an epoch.
    pub fn of_epoch(&self, rest: &str) -> String {
        format!("{}:{}:{rest}", PROTOCOL[self.spelled[1]], MARKET[self.spelled[1]])
    }

    fn tell(&mut self, what: String) {
        self.told.push(format!("{}: {what}", self.now));
    }

    fn expires(&mut self, key: &str, after: i64) {
        self.expiries.insert(key.to_owned(), self.now + after);
    }

    /// An id as some producer writes it in members.
    fn spell(&mut self, epoch: u64) -> String {
        if self.rng.chance(15) {
            format!("{:e}", epoch as f64).replace('e', "e+0")
        } else {
            epoch.to_string()
        }
    }

    /// A random step of some producers.
    pub async fn act(&mut self, redis: &mut MultiplexedConnection) {
        let mut pipe = redis::pipe();
        pipe.atomic();
        let known: Vec<u64> = self.epochs.keys().copied().collect();
        let recent = known.iter().rev().take(4).copied().collect::<Vec<_>>();
        let any = |rng: &mut Rng| {
            // Mostly one of the newest, sometimes any: producers can be late.
            let late = rng.chance(15);
            if recent.is_empty() { None } else { Some(*rng.pick(if late { &known } else { &recent })) }
        };
        let epoch = any(&mut self.rng);
        match (self.rng.within(0, 99), epoch) {
            (0..=19, _) | (_, None) if self.epochs.len() < 28 => self.open(&mut pipe),
            (20..=44, Some(epoch)) => self.submit(&mut pipe, epoch),
            (45..=54, Some(epoch)) => self.close(&mut pipe, epoch),
            (55..=64, Some(epoch)) => self.local(&mut pipe, epoch),
            (65..=76, Some(epoch)) => self.aggregate(&mut pipe, epoch),
            (77..=84, Some(epoch)) => self.hear(&mut pipe, epoch),
            (85..=89, Some(epoch)) => self.chain(&mut pipe, epoch),
            (90..=94, Some(epoch)) => self.foreign(&mut pipe, epoch),
            _ => {
                let key = self.of_market("submissionQueue");
                let more = self.rng.chance(60) || self.queue == 0;
                if more {
                    pipe.lpush(key, "waiting")
                } else {
                    pipe.rpop(key, None)
                };
                self.queue = if more { self.queue + 1 } else { self.queue - 1 };
            }
        }
        pipe.query_async::<()>(redis).await.expect("the producers' commands are right");
    }

    fn open(&mut self, pipe: &mut Pipeline) {
        let epoch = self.next;
        self.next += self.rng.within(1, 3) as u64;
        let forms = *self.rng.pick(&[[true, false], [false, true], [true, true]]);
        let mut made = Made {
            opened: self.now - self.late(),
            window: self.rng.within(20, 120),
            forms,
            ..Made::default()
        };
        made.has_info = true;
        made.has_state = self.states;
        made.steps = ["pending"; 3];
        // With mixed spellings the tracker would find it only after minutes. And some key must keep the time of its opening for
        // long: without it, the batches of a sealed epoch belong to no hour.
        made.in_timeline = self.is_mixed() || !made.has_state || self.rng.chance(90);
        let active = self.of_market("epochs:active");
        let member = self.spell(epoch);
        pipe.sadd(&active, &member);
        self.expires(&active, DAY);
        if made.in_timeline {
            self.put_open(pipe, epoch, made.opened);
        }
        let info = self.of_epoch(&format!("metrics:epoch:{epoch}:info"));
        let start = if self.rng.chance(80) { "start" } else { "timestamp" };
        pipe.hset_multiple(&info, &[("status", "open"), ("data_market", MARKET[0])]);
        pipe.hset(&info, start, made.opened).hset(&info, "duration", made.window);
        self.expires(&info, 2 * HOUR);
        if made.has_state {
            let key = self.of_epoch(&format!("epoch:{epoch}:state"));
            pipe.hset_multiple(&key, &[("window_status", "open"), ("phase", "submission")]);
            pipe.hset(&key, "window_opened_at", made.opened);
            pipe.hset(&key, "window_closes_at", made.opened + made.window);
            self.expires(&key, 7 * DAY);
        }
        self.tell(format!("open {epoch} {made:?}"));
        self.epochs.insert(epoch, made);
    }

    fn put_open(&mut self, pipe: &mut Pipeline, epoch: u64, at: i64) {
        let timeline = self.of_market("metrics:epochs:timeline");
        let member = format!("open:{}", self.spell(epoch));
        pipe.zadd(&timeline, member, at);
    }

    /// The delay of the present write, in seconds.
    fn late(&mut self) -> i64 {
        if self.rng.chance(20) { self.rng.within(1, 120) } else { 0 }
    }

    fn submit(&mut self, pipe: &mut Pipeline, epoch: u64) {
        let count = self.rng.within(1, 6);
        let ids = self.of_epoch(&format!("epoch:{epoch}:submissions:ids"));
        let processed = self.of_epoch(&format!("epoch:{epoch}:processed"));
        let (now, again, late) = (self.now, self.rng.chance(15), self.late());
        let made = self.epochs.get_mut(&epoch).expect("it is known");
        // Again: the same ones, written a second time.
        let first = if again { made.submitted.saturating_sub(count as u64) } else { made.submitted };
        let (numbers, forms) = (first..first + count as u64, made.forms);
        made.submitted = made.submitted.max(numbers.end);
        for number in numbers.clone() {
            let id = format!("{epoch}-project:{number}-{}", number * 7);
            if forms[0] {
                made.ids.insert(number, now - late);
                pipe.zadd(&ids, &id, now - late);
            }
            if forms[1] {
                made.processed.insert(number);
                pipe.sadd(&processed, &id);
            }
        }
        if forms[0] {
            self.expires(&ids, 2 * HOUR);
        }
        if forms[1] {
            self.expires(&processed, HOUR);
        }
        self.tell(format!("submit {epoch} {numbers:?} {late} s late"));
    }

    fn close(&mut self, pipe: &mut Pipeline, epoch: u64) {
        let late = self.late();
        let (now, made) = (self.now, self.epochs[&epoch].clone());
        // Again: the same entry, written a second time.
        let at = made.closed.unwrap_or((now - late).max(made.opened));
        let timeline = self.of_market("metrics:epochs:timeline");
        let member = format!("close:{}", self.spell(epoch));
        pipe.zadd(&timeline, member, at);
        if !made.in_timeline {
            self.put_open(pipe, epoch, made.opened);
        }
        let info = self.of_epoch(&format!("metrics:epoch:{epoch}:info"));
        if made.has_info {
            pipe.hset(&info, "status", "closed").hset(&info, "end", at);
        }
        if made.has_state {
            pipe.hset(self.of_epoch(&format!("epoch:{epoch}:state")), "window_status", "closed");
        }
        let made = self.epochs.get_mut(&epoch).expect("it is known");
        (made.closed, made.in_timeline) = (Some(at), true);
        self.tell(format!("close {epoch} at {at}"));
    }

    fn local(&mut self, pipe: &mut Pipeline, epoch: u64) {
        let late = self.late();
        let at = self.epochs[&epoch].local.unwrap_or(self.now - late);
        let member = format!("local:{}", self.spell(epoch));
        pipe.zadd(self.of_market("metrics:batches:timeline"), member, at);
        pipe.zadd(self.of_market(&format!("metrics:validator:{OWN}:batches")), epoch, at);
        self.own.insert(epoch, at);
        let metadata = self.of_epoch(&format!("metrics:batch:local:{epoch}"));
        pipe.set(&metadata, "{}");
        self.expires(&metadata, DAY);
        self.steps(pipe, epoch, &[("level1_status", 0, "completed"), ("level2_status", 1, "collecting")]);
        let made = self.epochs.get_mut(&epoch).expect("it is known");
        (made.local, made.has_local) = (Some(at), true);
        self.tell(format!("local {epoch} at {at}"));
    }

    fn aggregate(&mut self, pipe: &mut Pipeline, epoch: u64) {
        let late = self.late();
        let made = self.epochs[&epoch].clone();
        let at = made.aggregated.unwrap_or(self.now - late);
        let member = format!("aggregated:{}", self.spell(epoch));
        pipe.zadd(self.of_market("metrics:batches:timeline"), member, at);
        let metadata = self.of_epoch(&format!("metrics:batch:aggregated:{epoch}"));
        pipe.set(&metadata, "{}");
        self.expires(&metadata, DAY);
        let named = if self.rng.chance(85) && made.named.is_none() {
            let named: Vec<String> =
                VALIDATORS.iter().filter(|_| self.rng.chance(55)).map(ToString::to_string).collect();
            let key = self.of_epoch(&format!("metrics:batch:{epoch}:validators"));
            pipe.set(&key, json!(named).to_string());
            self.expires(&key, DAY);
            Some(named)
        } else {
            made.named
        };
        self.steps(pipe, epoch, &[("level2_status", 1, "completed")]);
        self.tell(format!("aggregated {epoch} at {at}, {named:?}"));
        let made = self.epochs.get_mut(&epoch).expect("it is known");
        (made.aggregated, made.has_aggregated, made.named) = (Some(at), true, named);
    }

    fn chain(&mut self, pipe: &mut Pipeline, epoch: u64) {
        let status = *self.rng.pick(&["queued", "submitted", "confirmed", "failed"]);
        self.steps(pipe, epoch, &[("onchain_status", 2, status)]);
    }

    fn steps(&mut self, pipe: &mut Pipeline, epoch: u64, steps: &[(&str, usize, &'static str)]) {
        let key = self.of_epoch(&format!("epoch:{epoch}:state"));
        let made = self.epochs.get_mut(&epoch).expect("it is known");
        if made.has_state {
            for &(field, at, status) in steps {
                pipe.hset(&key, field, status);
                made.steps[at] = status;
            }
        }
        self.tell(format!("{epoch} continues {steps:?}"));
    }

    fn hear(&mut self, pipe: &mut Pipeline, epoch: u64) {
        let key = self.of_epoch(&format!("epoch:{epoch}:validators"));
        let heard: Vec<&str> = VALIDATORS.iter().copied().filter(|_| self.rng.chance(40)).collect();
        for validator in &heard {
            pipe.sadd(&key, *validator);
            self.expires(&key, 2 * HOUR);
        }
        self.tell(format!("{epoch} names validators {heard:?}"));
        let made = self.epochs.get_mut(&epoch).expect("it is known");
        made.remote.extend(heard.into_iter().map(str::to_owned));
    }

    fn foreign(&mut self, pipe: &mut Pipeline, epoch: u64) {
        let timeline = self.of_market("metrics:batches:timeline");
        pipe.zadd(&timeline, format!("validator:validator2:{epoch}"), self.now);
        pipe.zadd(&timeline, format!("peer_discovery:4:{}", self.now), self.now);
        pipe.zadd(self.of_market("metrics:validator:validator2:batches"), epoch, self.now);
        let other = format!("{}:{}other:metrics:epochs:timeline", PROTOCOL[0], MARKET[0]);
        pipe.zadd(other, format!("open:{}", epoch + 1), self.now);
    }

    /// Moves the clock, and deletes what expires.
    pub async fn pass(&mut self, seconds: i64, redis: &mut MultiplexedConnection) {
        self.now += seconds;
        let now = self.now;
        let gone: Vec<String> =
            self.expiries.iter().filter(|(_, until)| **until <= now).map(|(key, _)| key.clone()).collect();
        if gone.is_empty() {
            return;
        }
        redis::cmd("DEL").arg(&gone).query_async::<()>(redis).await.expect("deleted");
        for key in gone {
            self.expiries.remove(&key);
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &str) {
        let rest = key.splitn(3, ':').nth(2).expect("P:M:rest");
        for (epoch, made) in &mut self.epochs {
            match rest.replace(&epoch.to_string(), "E").as_str() {
                "epoch:E:submissions:ids" => made.ids.clear(),
                "epoch:E:processed" => made.processed.clear(),
                "epoch:E:validators" => made.remote.clear(),
                "epoch:E:state" => made.has_state = false,
                "metrics:epoch:E:info" => made.has_info = false,
                "metrics:batch:local:E" => made.has_local = false,
                "metrics:batch:aggregated:E" => made.has_aggregated = false,
                "metrics:batch:E:validators" => made.named = None,
                _ => {}
            }
        }
        self.told.push(format!("{}: {rest} is gone", self.now));
    }
}
