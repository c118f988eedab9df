//! What the producers of a market write and publish, step by step (docs/producers.md).

use std::time::{SystemTime, UNIX_EPOCH};

use domain::Address;

use crate::wire::Batch;

pub(crate) const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
/// The length of a window, and from the opening of an epoch to that of the next one, in seconds.
pub(crate) const WINDOW: u64 = 60;
/// The channel of all markets.
pub(crate) const COMMON: &str = "state:change";
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const OWN: &str = "validator1";
const OTHER: &str = "validator2";

/// Unix seconds.
pub(crate) fn unix() -> u64 {
    unix_exact() as u64
}

pub(crate) fn unix_exact() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// A market.
pub(crate) struct Market {
    /// Its address, as in the keys of newer producers.
    pub(crate) address: String,
    /// What its keys begin with.
    space: String,
    /// When within a minute its epochs are opened: the markets are spread over it.
    pub(crate) phase: u64,
}

impl Market {
    /// This many markets.
    pub(crate) fn all(count: usize) -> Vec<Self> {
        (0..count as u64).map(Self::new).collect()
    }

    fn new(number: u64) -> Self {
        // Spread like real addresses, and the same in each run.
        let part = |salt: u64| (number * 3 + salt + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hex = format!("0x{:016x}{:016x}{:08x}", part(0), part(1), part(2) >> 32);
        let address = Address::new(&hex).checksummed().to_owned();
        let space = format!("{PROTOCOL}:{address}:");
        Self { address, space, phase: number * 37 % WINDOW }
    }

    pub(crate) fn key(&self, rest: &str) -> String {
        [&self.space, rest].concat()
    }
}

/// Adds the writes of one market's producers to a batch.
pub(crate) struct Producers<'a> {
    pub(crate) market: &'a Market,
    pub(crate) batch: &'a mut Batch,
}

impl Producers<'_> {
    fn add(&mut self, name: &'static str, key: &str, words: &[&str]) {
        let key = self.market.key(key);
        self.batch.command(name, &[&[key.as_str()][..], words].concat());
    }

    fn expire(&mut self, key: &str, seconds: u64) {
        self.add("EXPIRE", key, &[&seconds.to_string()]);
    }

    fn state(&mut self, epoch: u64, now: u64, fields: &[&str]) {
        let (key, now) = (format!("epoch:{epoch}:state"), now.to_string());
        self.add("HSET", &key, &[fields, &["last_updated", &now]].concat());
        self.expire(&key, 7 * DAY);
    }

    /// The event monitor: the window of the epoch opens.
    pub(crate) fn open(&mut self, epoch: u64, at: u64) {
        let (id, at_text, window) = (epoch.to_string(), at.to_string(), WINDOW.to_string());
        self.add("SADD", "epochs:active", &[&id]);
        self.expire("epochs:active", DAY);
        self.add("ZADD", "metrics:epochs:timeline", &[&at_text, &format!("open:{epoch}")]);
        let info = format!("metrics:epoch:{epoch}:info");
        let (address, block) = (self.market.address.clone(), (epoch + 1_000_000).to_string());
        let fields = ["status", "open", "start", &at_text, "duration", &window];
        self.add("HSET", &info, &[&fields[..], &["data_market", &address, "start_block", &block]].concat());
        self.expire(&info, 2 * HOUR);
        let closes = (at + WINDOW).to_string();
        let window = ["window_status", "open", "window_opened_at", &at_text, "window_closes_at", &closes];
        let levels = ["level1_status", "pending", "level2_status", "pending", "onchain_status", "pending"];
        self.state(epoch, at, &[&window[..], &["phase", "submission"], &levels].concat());
    }

    /// The gateway: a submission of the epoch has arrived.
    pub(crate) fn receive(&mut self, epoch: u64, number: u64, at: u64) -> String {
        let id = format!("{epoch}-project{}:uniswap-{at}{number:09}", number % 7);
        let (at_text, peer) = (at.to_string(), format!("peer{}", number % 3));
        let long =
            format!("received:{epoch}:{}:project{}:uniswap:{at}:{peer}", number % 10_000 + 1, number % 7);
        let short = format!("received:{id}:{at}");
        self.add("ZADD", "metrics:submissions:timeline", &[&at_text, &long, &at_text, &short]);
        id
    }

    /// The dequeuer: a submission of the epoch is processed.
    pub(crate) fn process(&mut self, epoch: u64, number: u64, at: u64) -> String {
        let (slot, at) = (number % 10_000 + 1, at.to_string());
        let id = format!("{epoch}-project{}:uniswap-{slot}-bafkrei{number:052}", number % 7);
        self.add("ZADD", "metrics:validations:timeline", &[&at, &id]);
        let ids = format!("epoch:{epoch}:submissions:ids");
        self.add("ZADD", &ids, &[&at, &id]);
        self.expire(&ids, 2 * HOUR);
        id
    }

    /// The gateway: another validator has sent its batch. Returns the rest of the event.
    pub(crate) fn validator(&mut self, epoch: u64, at: u64) -> String {
        let (validators, at) = (format!("epoch:{epoch}:validators"), at.to_string());
        self.add("SADD", &validators, &[OTHER]);
        self.expire(&validators, 2 * HOUR);
        self.add("ZADD", "metrics:batches:timeline", &[&at, &format!("validator:{OTHER}:{epoch}")]);
        self.add("ZADD", &format!("metrics:validator:{OTHER}:batches"), &[&at, &epoch.to_string()]);
        format!("{OTHER}:{epoch}")
    }

    /// The event monitor: the window of the epoch is closed.
    pub(crate) fn close(&mut self, epoch: u64, at: u64) {
        let at_text = at.to_string();
        self.add("ZADD", "metrics:epochs:timeline", &[&at_text, &format!("close:{epoch}")]);
        self.add("HSET", &format!("metrics:epoch:{epoch}:info"), &["status", "closed", "end", &at_text]);
        self.state(epoch, at, &["window_status", "closed", "phase", "level1_finalization"]);
    }

    /// The finalizer: level 1 of the epoch is done.
    pub(crate) fn local(&mut self, epoch: u64, at: u64) {
        let (id, at_text, day) = (epoch.to_string(), at.to_string(), DAY.to_string());
        let metadata =
            format!(r#"{{"epoch_id":"{epoch}","type":"local","validator_id":"{OWN}","timestamp":{at}}}"#);
        self.add("SET", &format!("metrics:batch:local:{epoch}"), &[&metadata, "EX", &day]);
        self.add("ZADD", "metrics:batches:timeline", &[&at_text, &format!("local:{epoch}")]);
        self.add("ZADD", &format!("metrics:validator:{OWN}:batches"), &[&at_text, &id]);
        let levels =
            ["level1_status", "completed", "level1_completed_at", &at_text, "level2_status", "collecting"];
        self.state(epoch, at, &[&["phase", "level2_aggregation"][..], &levels].concat());
    }

    /// The aggregator: level 2 of the epoch is done.
    pub(crate) fn aggregated(&mut self, epoch: u64, at: u64) {
        let (at_text, day) = (at.to_string(), DAY.to_string());
        let metadata =
            format!(r#"{{"epoch_id":"{epoch}","type":"aggregated","validator_count":2,"timestamp":{at}}}"#);
        self.add("SET", &format!("metrics:batch:aggregated:{epoch}"), &[&metadata, "EX", &day]);
        let validators = format!(r#"["{OWN}","{OTHER}"]"#);
        self.add("SET", &format!("metrics:batch:{epoch}:validators"), &[&validators, "EX", &day]);
        self.add("ZADD", "metrics:batches:timeline", &[&at_text, &format!("aggregated:{epoch}")]);
        let levels =
            ["level2_status", "completed", "level2_completed_at", &at_text, "onchain_status", "queued"];
        self.state(epoch, at, &[&["phase", "onchain_submission"][..], &levels].concat());
    }

    /// An event, on the channel of the market or on the common one.
    pub(crate) fn publish(&mut self, is_common: bool, event: &str) {
        let own = self.market.key(COMMON);
        self.batch.command("PUBLISH", &[if is_common { COMMON } else { own.as_str() }, event]);
    }
}
