//! The inputs that are far larger than usual.

use redis::aio::MultiplexedConnection;

const SPACE: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF:0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
/// The entries that one run of a script adds.
const AT_ONCE: u64 = 100_000;

/// An input.
pub(crate) struct Input {
    /// Its name in the arguments.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) says: &'static str,
    /// The settings of the program.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    entries: u64,
    /// Adds the entries from ARGV[1] to ARGV[2]; the time is ARGV[3].
    script: &'static str,
    /// The key that is empty, or nearly, once the work is done; without one the work is the first summary.
    emptied: Option<&'static str>,
}

const TIMELINE: &str = "metrics:batches:timeline";
const SHORT: &[(&str, &str)] = &[("STATE_TRACKER__INTERVALS__SUMMARY", "1s")];
const PRUNED: &[(&str, &str)] = &[
    ("STATE_TRACKER__INTERVALS__SUMMARY", "1s"),
    ("STATE_TRACKER__INTERVALS__PRUNE", "1s"),
    ("STATE_TRACKER__RETENTION__ACTIVE", "8days"),
];

pub(crate) const INPUTS: [Input; 4] = [
    Input {
        name: "timeline",
        says: "a day's timeline of batches",
        settings: SHORT,
        entries: 8_000_000,
        script: "for i = ARGV[1], ARGV[2] do redis.call('ZADD', KEYS[1] .. 'metrics:batches:timeline', ARGV[3] - i % 86000, \
                 'validator:v' .. (i % 1000) .. ':' .. math.floor(i / 1000)) end",
        emptied: None,
    },
    Input {
        name: "validators",
        says: "an epoch of many validators",
        settings: SHORT,
        entries: 1_000_000,
        script: "local k, t = KEYS[1], ARGV[3]
                 redis.call('SADD', k .. 'epochs:active', 23000000)
                 redis.call('ZADD', k .. 'metrics:epochs:timeline', t, 'open:23000000')
                 redis.call('HSET', k .. 'metrics:epoch:23000000:info', 'status', 'open', 'start', t, 'timestamp', t, 'duration', 20)
                 for i = ARGV[1], ARGV[2] do redis.call('SADD', k .. 'epoch:23000000:validators', 'validator' .. i) end",
        emptied: None,
    },
    Input {
        name: "stale",
        says: "stale ids in `epochs:active`",
        settings: PRUNED,
        entries: 1_000_000,
        script: "for i = ARGV[1], ARGV[2] do redis.call('SADD', KEYS[1] .. 'epochs:active', 20000000 + i) end",
        emptied: None,
    },
    Input {
        name: "pruning",
        says: "a timeline that is older than its retention",
        settings: PRUNED,
        entries: 8_000_000,
        script: "for i = ARGV[1], ARGV[2] do redis.call('ZADD', KEYS[1] .. 'metrics:batches:timeline', ARGV[3] - 200000 - i % 86000, \
                 'validator:v' .. (i % 1000) .. ':' .. math.floor(i / 1000)) end",
        emptied: Some(TIMELINE),
    },
];

impl Input {
    /// Writes it; returns the number of entries.
    pub(crate) async fn seed(&self, connection: &mut MultiplexedConnection, share: u64) -> u64 {
        let (entries, now) = (self.entries / share, testkit::producers::unix_now());
        let mut first = 0;
        while first < entries {
            let last = (first + AT_ONCE).min(entries) - 1;
            let mut script = redis::cmd("EVAL");
            script.arg(self.script).arg(1).arg(format!("{SPACE}:")).arg(first).arg(last).arg(now);
            script.query_async::<()>(connection).await.expect("written");
            first = last + 1;
        }
        entries
    }

    /// Whether the program has done its work, by its metrics and by the server.
    pub(crate) async fn is_done(&self, connection: &mut MultiplexedConnection, metrics: &str) -> bool {
        match self.emptied {
            None => of_summary(metrics) >= 3.0,
            Some(key) => {
                let left: u64 = redis::cmd("ZCARD")
                    .arg(format!("{SPACE}:{key}"))
                    .query_async(connection)
                    .await
                    .expect("counted");
                left == 0
            }
        }
    }
}

/// How many summaries were written.
fn of_summary(metrics: &str) -> f64 {
    let is_of = |line: &&str| {
        line.starts_with("state_tracker_datasets_generated_total") && line.contains("\"dashboard_summary\"")
    };
    metrics.lines().filter(is_of).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
