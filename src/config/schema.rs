//! The one table of settings: the key, the environment variable of the original, and what is allowed.
//! The struct in `settings` says what a value becomes, `config/default.toml` what it is when not set;
//! a test holds the three together.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::checks;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// One setting.
pub(crate) struct Setting {
    /// `section.key`
    pub(crate) key: &'static str,
    /// The variable of its own, besides `STATE_TRACKER__SECTION__KEY`.
    pub(crate) variable: Option<&'static str>,
    /// Never shown.
    pub(crate) secret: bool,
    /// Its variable holds whole seconds, without a unit.
    pub(crate) seconds: bool,
    /// May be read from a file named by its variable with `_FILE` behind it.
    pub(crate) from_file: bool,
    /// What to set it to, where it has no default.
    pub(crate) required: Option<&'static str>,
    pub(crate) kind: Kind,
}

/// What a setting holds, and what is allowed.
pub(crate) enum Kind {
    Integer {
        what: &'static str,
        range: RangeInclusive<i64>,
    },
    Duration(RangeInclusive<Duration>),
    Text {
        what: &'static str,
        accepts: fn(&str) -> bool,
    },
    /// Yes or no.
    Flag,
    /// A list of market names.
    Names,
    /// A list of servers, `host:port` each.
    Servers,
    /// A list of URLs of a chain's nodes.
    Nodes,
}

impl Setting {
    const fn new(key: &'static str, kind: Kind) -> Self {
        Self { key, variable: None, seconds: false, secret: false, from_file: false, required: None, kind }
    }

    const fn integer(key: &'static str, what: &'static str, range: RangeInclusive<i64>) -> Self {
        Self::new(key, Kind::Integer { what, range })
    }

    const fn duration(key: &'static str, range: RangeInclusive<Duration>) -> Self {
        Self::new(key, Kind::Duration(range))
    }

    const fn flag(key: &'static str) -> Self {
        Self::new(key, Kind::Flag)
    }

    const fn text(key: &'static str, what: &'static str, accepts: fn(&str) -> bool) -> Self {
        Self::new(key, Kind::Text { what, accepts })
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    const fn seconds(mut self, variable: &'static str) -> Self {
        self.seconds = true;
        self.variable(variable)
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self.or_file()
    }

    const fn or_file(mut self) -> Self {
        self.from_file = true;
        self
    }

    const fn required(mut self, what: &'static str) -> Self {
        self.required = Some(what);
        self
    }

    /// The section and the key in it.
    pub(crate) fn parts(&self) -> (&'static str, &'static str) {
        // Every key of the table has a dot.
        self.key.split_once('.').unwrap_or((self.key, ""))
    }
}

/// The setting of a key.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Every setting, in the order of `config/default.toml`.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting::text("redis.host", checks::HOST, checks::is_host).variable("REDIS_HOST"),
    Setting::integer("redis.port", "a TCP port", 1..=65_535).variable("REDIS_PORT"),
    Setting::text("redis.username", "a user name", checks::is_anything).variable("REDIS_USERNAME").or_file(),
    Setting::text("redis.password", "a password", checks::is_anything).variable("REDIS_PASSWORD").secret(),
    Setting::integer("redis.db", "a database number", 0..=i32::MAX as i64).variable("REDIS_DB"),
    Setting::text("redis.url", checks::REDIS_URL, checks::is_redis_url).variable("REDIS_URL").secret(),
    Setting::flag("redis.tls").variable("REDIS_TLS"),
    Setting::text("redis.ca_file", checks::FILE_OR_NONE, checks::is_anything),
    Setting::text("redis.cert_file", checks::FILE_OR_NONE, checks::is_anything),
    Setting::text("redis.key_file", checks::FILE_OR_NONE, checks::is_anything),
    Setting::new("redis.sentinels", Kind::Servers).variable("REDIS_SENTINELS"),
    Setting::text("redis.sentinel_master", checks::ID, checks::is_id).variable("REDIS_SENTINEL_MASTER"),
    Setting::text("redis.sentinel_username", "a user name", checks::is_anything),
    Setting::text("redis.sentinel_password", "a password", checks::is_anything)
        .variable("REDIS_SENTINEL_PASSWORD")
        .secret(),
    Setting::new("redis.cluster", Kind::Servers).variable("REDIS_CLUSTER"),
    Setting::integer("redis.pool_size", "a number of connections", 1..=1_024),
    Setting::integer("redis.event_queue_bytes", "a number of bytes", 65_536..=1_073_741_824),
    Setting::duration("redis.connect_timeout", millis(10)..=MINUTE),
    Setting::duration("redis.command_timeout", millis(10)..=MINUTE),
    Setting::duration("redis.reconnect_within", millis(10)..=MINUTE),
    Setting::text("tracker.protocol", checks::NAME, checks::is_name)
        .variable("PROTOCOL_STATE_CONTRACT")
        .required("the address of the protocol-state contract"),
    Setting::new("tracker.markets", Kind::Names)
        .variable("DATA_MARKET_ADDRESSES")
        .required("the data market addresses (comma list or JSON array)"),
    Setting::text("tracker.sequencer_id", checks::ID, checks::is_id).variable("SEQUENCER_ID"),
    Setting::text("tracker.compat", checks::COMPAT, checks::is_compat),
    Setting::text("tracker.priority_protocol", checks::NAME_OR_NONE, checks::is_name_or_none),
    Setting::text("tracker.priority_market", checks::NAME_OR_NONE, checks::is_name_or_none),
    Setting::text("output.prefix", checks::PREFIX, checks::is_prefix),
    Setting::text("output.spelling", checks::SPELLING, checks::is_spelling),
    Setting::duration("intervals.summary", millis(100)..=DAY),
    Setting::duration("intervals.hourly", SECOND..=DAY),
    Setting::duration("intervals.daily", SECOND..=DAY),
    Setting::duration("intervals.prune", millis(100)..=DAY),
    Setting::duration("intervals.current_epoch", millis(100)..=DAY),
    Setting::duration("intervals.wake_debounce", MS..=MINUTE),
    Setting::duration("ledger.seal_after", SECOND..=DAY),
    Setting::duration("ledger.measurement_window", SECOND..=Duration::from_hours(7 * 24)),
    Setting::duration("retention.timelines", DAY..=YEAR),
    Setting::duration("retention.priorities", DAY..=YEAR),
    Setting::duration("retention.ledger", Duration::from_hours(7 * 24)..=YEAR),
    Setting::duration("retention.index", HOUR..=YEAR),
    Setting::flag("index.enabled"),
    Setting::flag("index.namespaced"),
    Setting::new("chain.nodes", Kind::Nodes).variable("RPC_NODES").secret(),
    Setting::new("chain.archive_nodes", Kind::Nodes).variable("ARCHIVE_RPC_NODES").secret(),
    Setting::integer("chain.chain_id", "a chain's id, or 0 for that of the first node", 0..=i64::MAX),
    Setting::text("chain.start_block", checks::START_BLOCK, checks::is_start_block),
    Setting::duration("chain.poll_interval", millis(100)..=MINUTE),
    Setting::integer("chain.max_reorg_depth", "a number of blocks", 1..=1_000),
    Setting::integer("chain.max_windows", "a number of windows", 1..=10_000),
    Setting::integer("chain.batch_size", "a number of projects", 1..=100_000).variable("BATCH_SIZE"),
    Setting::integer("chain.workers", "a number of markets", 1..=1_024),
    Setting::flag("chain.attestor_queue").variable("ATTESTOR_QUEUE_PUSH_ENABLED"),
    Setting::text("chain.priorities", checks::ADDRESS_OR_NONE, checks::is_address_or_none),
    Setting::integer("chain.rate_limit", "a number of requests a second, or 0 for any", 0..=1_000_000),
    Setting::integer("chain.max_answer", "a number of bytes", 65_536..=1_073_741_824),
    Setting::integer("chain.max_chunk", "a number of blocks", 1..=1_000_000),
    Setting::duration("chain.block_time", millis(10)..=HOUR).seconds("BLOCK_TIME"),
    Setting::duration("chain.inputs_live", MINUTE..=DAY),
    Setting::duration("chain.silence", SECOND..=HOUR),
    Setting::duration("chain.refresh", SECOND..=DAY),
    Setting::duration("chain.clean", millis(100)..=DAY),
    Setting::duration("chain.block_timeout", SECOND..=HOUR).seconds("BLOCK_FETCH_TIMEOUT"),
    Setting::duration("chain.events_timeout", SECOND..=HOUR).seconds("EVENT_PROCESSING_TIMEOUT"),
    Setting::duration("chain.views_timeout", SECOND..=HOUR).seconds("CONTRACT_QUERY_TIMEOUT"),
    Setting::duration("chain.preparation_timeout", SECOND..=HOUR),
    Setting::duration("chain.market_timeout", SECOND..=HOUR),
    Setting::duration("chain.batch_timeout", SECOND..=HOUR).seconds("BATCH_PROCESSING_TIMEOUT"),
    Setting::duration("chain.worker_timeout", millis(100)..=HOUR),
    Setting::duration("chain.request_timeout", millis(100)..=HOUR).seconds("HTTP_TIMEOUT"),
    Setting::integer("supervision.max_restarts", "a number", 1..=1_000),
    Setting::duration("supervision.within", SECOND..=DAY),
    Setting::duration("supervision.backoff_first", MS..=HOUR),
    Setting::duration("supervision.backoff_max", MS..=HOUR),
    Setting::duration("supervision.backoff_reset_after", millis(100)..=DAY),
    Setting::duration("supervision.stall_after", millis(100)..=HOUR),
    Setting::duration("supervision.wedged_after", millis(100)..=HOUR),
    Setting::integer("supervision.simultaneous_restarts", "a number", 1..=10_000),
    Setting::duration("supervision.degraded_retry", millis(100)..=HOUR),
    Setting::duration("supervision.give_up_after", SECOND..=DAY),
    Setting::duration("supervision.stop_within", millis(10)..=millis(8_000)),
    Setting::duration("supervision.shutdown_within", millis(100)..=millis(8_900)),
    Setting::integer("mailbox.capacity", "a number of messages", 1..=1_000_000),
    Setting::integer("mailbox.bytes", "a number of bytes", 1_024..=1_073_741_824),
    Setting::integer("mailbox.batch", "a number of messages", 1..=65_536),
    Setting::integer("mailbox.max_attempts", "a number of attempts", 1..=100),
    Setting::text("http.host", checks::IP, checks::is_ip),
    Setting::integer("http.metrics_port", "a TCP port, or 0 for any free one", 0..=65_535)
        .variable("STATE_TRACKER_METRICS_PORT"),
    Setting::text("http.operator_address", checks::SOCKET_ADDRESS, checks::is_socket_address),
    Setting::text("log.level", checks::LOG_LEVEL, checks::is_log_level).variable("LOG_LEVEL"),
    Setting::text("log.format", checks::LOG_FORMAT, checks::is_log_format),
];

/// What the table of a market may hold.
pub(crate) static MARKET_SETTINGS: &[Setting] = &[
    Setting::text("compat", checks::COMPAT, checks::is_compat),
    Setting::text("priority.protocol", checks::NAME, checks::is_name),
    Setting::text("priority.market", checks::NAME, checks::is_name),
];

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
