//! Judges a server by its `INFO`, its settings and its clock. A value that the server did not give has no finding. Pure.

use store_redis::ServerFacts;

use super::finding::Finding;

/// The oldest version of Redis that has every command that this program uses.
const LEAST_VERSION: (u64, u64) = (6, 2);
/// The largest harmless difference of clocks, in seconds. A larger one falsifies counts of a minute; above `WIDE_SKEW`, those of
/// an hour.
const SKEW: f64 = 2.0;
const WIDE_SKEW: f64 = 60.0;
/// The share of `maxmemory` above which a server is about to refuse writes.
const NEARLY_FULL: f64 = 0.9;
/// The smallest output buffer for subscribers, in bytes, that survives ordinary bursts of events.
const LEAST_BUFFER: u64 = 1 << 20;

/// The findings about a master.
#[must_use]
pub(super) fn judge(facts: &ServerFacts) -> Vec<Finding> {
    role(facts).into_iter().chain(judge_settings(facts)).collect()
}

/// The findings that a master and a replica can have in common.
pub(super) fn judge_settings(facts: &ServerFacts) -> Vec<Finding> {
    let checks = [version, loading, memory, evicted, persistence, last_save, pubsub, idle, clock];
    let mut findings: Vec<Finding> = checks.iter().filter_map(|check| check(facts)).collect();
    findings.extend(unanswered(facts));
    findings
}

fn version(facts: &ServerFacts) -> Option<Finding> {
    let version = facts.info("redis_version")?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    // Numbers and not texts: 10.0 is later than 6.2.
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let (major, minor) = LEAST_VERSION;
    (number < LEAST_VERSION).then(|| {
        let problem = format!("Redis {version} lacks commands: {major}.{minor} is the oldest that has all");
        Finding::error("version", &facts.server, problem, format!("run Redis {major}.{minor} or later"))
    })
}

fn role(facts: &ServerFacts) -> Option<Finding> {
    // INFO still says "slave", although commands and settings say "replica".
    (facts.info("role")? == "slave").then(|| {
        let host = facts.info("master_host").unwrap_or("?");
        let problem =
            format!("it is a read-only replica of {host}:{}", facts.info("master_port").unwrap_or("?"));
        Finding::error("role", &facts.server, problem, "point redis.host at the master")
    })
}

fn loading(facts: &ServerFacts) -> Option<Finding> {
    // While it loads, Redis refuses nearly every command, so the other findings would mislead.
    (facts.info("loading")? != "0").then(|| {
        let remedy = "wait until it has loaded its data, then run the doctor again";
        Finding::error("loading", &facts.server, "it is still loading its data", remedy)
    })
}

fn memory(facts: &ServerFacts) -> Option<Finding> {
    // 0 means no limit: without a limit Redis evicts nothing, whatever the policy.
    let most = facts.count("maxmemory").filter(|&most| most > 0)?;
    // INFO first: managed servers often refuse CONFIG GET.
    let policy = facts.info("maxmemory_policy").or(facts.setting("maxmemory-policy"))?;
    let remedy = "CONFIG SET maxmemory-policy noeviction, and set it in redis.conf";
    let object = format!("{}: maxmemory-policy", facts.server);
    if policy.starts_with("allkeys") {
        let problem =
            format!("it is {policy}: at {most} bytes Redis evicts the ledger, and the totals are lost");
        return Some(Finding::error("eviction", object, problem, remedy));
    }
    // The volatile policies evict keys with a TTL: the inputs have one, the ledger has none.
    if policy != "noeviction" {
        let problem = format!("it is {policy}: at {most} bytes Redis evicts inputs before they are counted");
        return Some(Finding::warning("eviction", object, problem, remedy));
    }
    let used = facts.count("used_memory")?;
    (used as f64 > NEARLY_FULL * most as f64).then(|| {
        let problem = format!("{used} of {most} bytes are used; Redis refuses writes when all are");
        let remedy = "raise maxmemory, or find out what fills it: see the table of families below";
        Finding::warning("memory", format!("{}: maxmemory", facts.server), problem, remedy)
    })
}

fn evicted(facts: &ServerFacts) -> Option<Finding> {
    // The counter starts at 0 with each start of Redis: an eviction before that can't be seen.
    let evicted = facts.count("evicted_keys").filter(|&evicted| evicted > 0)?;
    let problem = format!("it has evicted {evicted} keys since its start: the totals may lack their content");
    let remedy = "set maxmemory-policy to noeviction, and a maxmemory that is large enough";
    Some(Finding::warning("evicted", &facts.server, problem, remedy))
}

fn persistence(facts: &ServerFacts) -> Option<Finding> {
    if facts.info("aof_enabled")? != "0" {
        return None;
    }
    let object = format!("{}: appendonly", facts.server);
    let remedy = "set appendonly yes and appendfsync everysec in redis.conf";
    match facts.setting("save") {
        Some("") => {
            let problem = "nothing is persisted: a restart of Redis loses the ledger and its totals";
            Some(Finding::warning("persistence", object, problem, remedy))
        }
        // Without the right to CONFIG GET, `save` is unknown: nothing is concluded from that.
        saves => {
            let when =
                saves.map_or_else(|| "perhaps snapshots".to_owned(), |saves| format!("snapshots ({saves})"));
            let problem = format!(
                "no append-only file, {when}: a crash of Redis loses all writes since the last snapshot"
            );
            Some(Finding::note("persistence", object, problem, remedy))
        }
    }
}

fn last_save(facts: &ServerFacts) -> Option<Finding> {
    // By default (stop-writes-on-bgsave-error) Redis refuses all writes after a failed snapshot.
    let failed = |name: &str| facts.info(name).is_some_and(|status| status != "ok");
    let what = match (failed("aof_last_write_status"), failed("rdb_last_bgsave_status")) {
        (true, _) => "writing its append-only file",
        (false, true) => "saving a snapshot",
        (false, false) => return None,
    };
    let problem = format!("{what} failed last time; Redis refuses writes until it succeeds");
    Some(Finding::error(
        "last_save",
        &facts.server,
        problem,
        "see the log of Redis: a full disk, or a directory without permission to write",
    ))
}

fn pubsub(facts: &ServerFacts) -> Option<Finding> {
    let limits = facts.setting("client-output-buffer-limit")?;
    // One setting holds the limits of all classes: `normal 0 0 0 slave … pubsub HARD SOFT SECONDS`.
    let mut words = limits.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
    let [hard, soft] = [words.next()?, words.next()?].map(|word| word.parse::<u64>().unwrap_or(0));
    let object = format!("{}: client-output-buffer-limit pubsub", facts.server);
    let remedy = "CONFIG SET client-output-buffer-limit \"pubsub 32mb 8mb 60\", and set it in redis.conf";
    if hard == 0 && soft == 0 {
        let problem = "it is 0 0: a hanging subscriber fills the memory of Redis";
        return Some(Finding::warning("output_buffer", object, problem, remedy));
    }
    // 0 means no limit for that half.
    let least = [hard, soft].into_iter().filter(|&limit| limit > 0).min()?;
    (least < LEAST_BUFFER).then(|| {
        let problem = format!(
            "it is {hard} {soft}: Redis disconnects a subscriber in ordinary bursts, and it misses events"
        );
        Finding::warning("output_buffer", object, problem, remedy)
    })
}

fn idle(facts: &ServerFacts) -> Option<Finding> {
    // Redis applies it to normal clients only: the subscription stays.
    let seconds: u64 = facts.setting("timeout")?.parse().ok().filter(|&seconds| seconds > 0)?;
    let problem =
        format!("Redis closes connections that are idle for {seconds} s; the next pass opens them again");
    let remedy = "CONFIG SET timeout 0, or more than the longest of the intervals";
    Some(Finding::note("timeout", format!("{}: timeout", facts.server), problem, remedy))
}

fn clock(facts: &ServerFacts) -> Option<Finding> {
    let clock = facts.clock?;
    // The least that the clocks differ: the error of the measurement is half of a round trip.
    let least = clock.ahead.abs() - clock.uncertainty;
    if least <= SKEW {
        return None;
    }
    let word = if clock.ahead > 0.0 { "ahead of" } else { "behind" };
    let problem = format!(
        "its clock is {:.1} s {word} that of this machine (±{:.1} s)",
        clock.ahead.abs(),
        clock.uncertainty
    );
    let remedy = "synchronise the clocks of Redis, producers and trackers (chrony, systemd-timesyncd)";
    let make = if least > WIDE_SKEW { Finding::error } else { Finding::warning };
    Some(make("clock", facts.server.clone(), problem, remedy.to_owned()))
}

fn unanswered(facts: &ServerFacts) -> Vec<Finding> {
    let note = |(what, why): &(&'static str, String)| {
        let hidden = match *what {
            "INFO" => "version, role, memory and persistence were not checked",
            "CONFIG GET" => "output buffers, snapshots and timeout were not checked",
            "TIME" => "the clock was not checked",
            _ => "the number of keys is unknown",
        };
        let problem = format!("Redis refused {what} ({why}): {hidden}");
        let remedy = format!("run the doctor once as a user with {what}; the tracker itself doesn't need it");
        Finding::note("unanswered", &facts.server, problem, remedy)
    };
    facts.unanswered.iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use store_redis::ServerClock;

    use super::*;
    use crate::doctor::finding::Severity;

    const WELL: &str = "redis_version:7.0.15\r\nrole:master\r\nloading:0\r\nmaxmemory:0\r\nused_memory:900\r\n\
        maxmemory_policy:noeviction\r\nevicted_keys:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n\
        rdb_last_bgsave_status:ok\r\n";
    const SETTINGS: [(&str, &str); 3] = [
        ("save", ""),
        ("timeout", "0"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
    ];

    /// The findings when one line of `INFO`, or one setting, is different.
    fn with(line: &str) -> Vec<(&'static str, Severity)> {
        let (name, value) = line.split_once(':').expect("a line");
        let changed = WELL.lines().filter(|known| known.split(':').next() != Some(name));
        let info: Vec<&str> = changed.chain([line]).collect();
        let settings = SETTINGS.map(|(known, setting)| (known, if known == name { value } else { setting }));
        let facts = ServerFacts::new("redis", &info.join("\n"), &settings);
        judge(&facts).into_iter().map(|finding| (finding.check, finding.severity)).collect()
    }

    #[test]
    fn a_server_with_the_recommended_settings_has_no_finding() {
        assert_eq!(judge(&ServerFacts::new("redis", WELL, &SETTINGS)), []);
    }

    #[test]
    fn each_harmful_setting_is_found_with_its_severity() {
        use Severity::{Error, Note, Warning};
        for (line, check, severity) in [
            ("redis_version:6.0.16", "version", Error),
            ("redis_version:5.0.1", "version", Error),
            ("role:slave", "role", Error),
            ("loading:1", "loading", Error),
            ("evicted_keys:7", "evicted", Warning),
            ("aof_enabled:0", "persistence", Warning),
            ("aof_last_write_status:err", "last_save", Error),
            ("rdb_last_bgsave_status:err", "last_save", Error),
            ("client-output-buffer-limit:pubsub 0 0 0", "output_buffer", Warning),
            ("client-output-buffer-limit:normal 0 0 0 pubsub 4096 0 0", "output_buffer", Warning),
            ("timeout:300", "timeout", Note),
        ] {
            assert_eq!(with(line), [(check, severity)], "{line}");
        }
        assert_eq!(with("redis_version:10.0.0"), []);
    }

    #[test]
    fn the_eviction_policy_matters_only_with_a_limit_of_memory() {
        let full = |policy: &str, most: u64| {
            let info =
                WELL.replace("noeviction", policy).replace("maxmemory:0", &format!("maxmemory:{most}"));
            let found = judge(&ServerFacts::new("redis", &info, &SETTINGS));
            found.into_iter().map(|finding| (finding.check, finding.severity)).collect::<Vec<_>>()
        };
        assert_eq!(full("allkeys-lru", 0), []);
        assert_eq!(full("allkeys-lru", 10_000), [("eviction", Severity::Error)]);
        assert_eq!(full("volatile-ttl", 10_000), [("eviction", Severity::Warning)]);
        assert_eq!(full("noeviction", 10_000), []);
        assert_eq!(full("noeviction", 950), [("memory", Severity::Warning)]);
    }

    #[test]
    fn a_clock_is_wrong_only_by_more_than_the_measurement_error() {
        for (ahead, within, severity) in [
            (1.9, 0.0, None),
            (-2.5, 0.1, Some(Severity::Warning)),
            (5.0, 4.0, None),
            (-70.0, 0.1, Some(Severity::Error)),
        ] {
            let clock = Some(ServerClock { ahead, uncertainty: within });
            let facts = ServerFacts { clock, ..ServerFacts::new("redis", WELL, &SETTINGS) };
            let found = judge(&facts).first().map(|finding| finding.severity);
            assert_eq!(found, severity, "{ahead} ± {within}");
        }
    }

    #[test]
    fn refused_questions_are_noted_and_nothing_is_concluded_from_them() {
        let unanswered = vec![("INFO", "NOPERM".to_owned()), ("CONFIG GET", "NOPERM".to_owned())];
        let facts = ServerFacts { unanswered, ..ServerFacts::new("redis", "", &[]) };
        let found = judge(&facts);
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|finding| finding.severity == Severity::Note && finding.check == "unanswered")
        );
    }
}
