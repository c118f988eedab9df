//! The rights in Redis that the configuration needs: the access list that grants them, and the check which of them the configured
//! user lacks.
//!
//! Both use one list, the needs of the subsystems that the configuration runs. A need that is missing in the list is missing in
//! both, and the test that runs the service under the printed access list finds it.

mod present;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

use color_eyre::eyre::Result;
use store_campaign_log::CampaignKeys;
use store_collector::needs_of_migration;
use store_redis::{
    Denied, ErrorKind, MissingRight, Need, PROBE_ARGUMENT, Servers, Store, StoreError, covers,
    escape_pattern, missing_rights, operations::READ_RIGHTS,
};
use store_tracker::{
    IndexKeys, MarketKeys, Output, channels, echo_channel,
    inspect::{need_of_doctor, need_of_finder},
};

use crate::{
    config::Config,
    service::{api_markets, api_reader, collector_store, market_keys},
};

pub use present::{Present, present_user};
pub use rule::Dialect;

/// The remedy for a missing right.
pub(crate) const REMEDY: &str = "grant what `state-tracker doctor --acl` prints: `state-tracker doctor --acl | redis-cli`, as an administrator";

/// The name of the user to create, if the configuration names none.
const NEW_USER: &str = "state-tracker";
/// The user of a client that names none.
const DEFAULT_USER: &str = "default";
/// How many commands one sentence names.
const COMMANDS_SHOWN: usize = 5;

/// The needs of these configured markets, and of everything else that the configuration runs.
///
/// # Errors
/// Invalid addresses, which a loaded configuration does not have.
pub(crate) fn needs(config: &Config, markets: &[String]) -> Result<Vec<Need>> {
    let keys: Vec<MarketKeys> = markets.iter().map(|market| market_keys(config, market)).collect();
    let mut all = vec![Need::of_any_key()];
    all.extend(keys.iter().flat_map(MarketKeys::needs));
    if !config.retention.active.is_zero() {
        all.extend(keys.iter().flat_map(MarketKeys::needs_of_active));
    }
    if !config.intervals.find.is_zero() {
        all.push(need_of_finder());
    }
    match (config.index.enabled, config.index.namespaced) {
        // Without the index none of its keys is granted: least privilege.
        (false, _) => {}
        (true, false) => all.extend(IndexKeys::plain(&config.output).needs()),
        (true, true) => all.extend(keys.iter().flat_map(|keys| IndexKeys::of_market(keys).needs())),
    }
    if config.collector.is_enabled() {
        all.extend(collector_store(config)?.needs(&config.tracker.markets, config.relays()));
    }
    if config.campaigns.serves() {
        all.push(CampaignKeys::new(&config.output.prefix).need());
    }
    if config.output.prefix.is_empty() {
        all.extend(config.migration.all().iter().flat_map(needs_of_migration));
    }
    if config.api.is_enabled() {
        all.extend(api_reader(config).needs(&api_markets(config)));
    }
    let examined = examinations(&all);
    all.extend(examined);
    all.push(need_of_doctor());
    Ok(all)
}

/// What the doctor asks about the keys of these needs.
fn examinations(needs: &[Need]) -> Vec<Need> {
    let mut all: BTreeMap<&str, &Need> = BTreeMap::new();
    for need in needs.iter().filter(|need| !need.pattern().is_empty()) {
        all.entry(need.pattern()).or_insert(need);
    }
    let is_covered = |pattern: &str| all.keys().any(|other| covers(other, pattern));
    all.iter().filter(|(pattern, _)| !is_covered(pattern)).map(|(_, need)| need.examination()).collect()
}

/// The command that grants a user exactly the rights that the configuration needs.
pub struct AccessList {
    /// One line for `redis-cli`.
    pub command: String,
    /// Notes for the administrator.
    pub notes: Vec<String>,
}

impl AccessList {
    /// The access list for this configuration, as servers of this dialect understand it. It does not connect to Redis.
    ///
    /// # Errors
    /// Invalid settings of Redis, or invalid addresses.
    pub fn of(config: &Config, dialect: Dialect) -> Result<Self> {
        let servers = config.redis.servers()?;
        // Restricting the default user would lock out every client without a login, producers included.
        let configured = configured_user(&servers).filter(|user| *user != DEFAULT_USER);
        let user = configured.unwrap_or(NEW_USER);
        let needs = needs(config, &config.tracker.markets)?;
        // Patterns of channels are globs too: a name with a star would grant other channels.
        let mut channels: Vec<String> = subscribed_channels(config, &config.tracker.markets)
            .iter()
            .map(|channel| escape_pattern(channel))
            .collect();
        channels.push(echo_pattern(&config.output));
        let of_servers = match &servers {
            Servers::Single(_) => "",
            // The client finds masters by these, and follows a slot that moves.
            Servers::Sentinel { .. } => "+role",
            Servers::Cluster(_) => "+asking +cluster|info +cluster|slots",
        };
        let head = ["ACL", "SETUSER", user].map(str::to_owned);
        let words = head.into_iter().chain(dialect.words(&needs, channels, of_servers));
        let command = words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ");
        Ok(Self { command, notes: notes(user, configured.is_some(), &servers, dialect) })
    }
}

/// The user with which the configuration logs in, if it names one.
fn configured_user(servers: &Servers) -> Option<&str> {
    let server = match servers {
        Servers::Sentinel { node, .. } => Some(node),
        Servers::Cluster(nodes) => nodes.first(),
        Servers::Single(server) => Some(server),
    };
    server.and_then(|server| server.redis_settings().username())
}

fn notes(user: &str, is_configured: bool, servers: &Servers, dialect: Dialect) -> Vec<String> {
    let mut notes = vec![format!(
        "the user keeps its passwords; a new user needs one: ACL SETUSER {} \">PASSWORD\"",
        quoted(user)
    )];
    if !is_configured {
        notes.push(format!(
            "the configuration names no user: set redis.username to {user} (REDIS_USERNAME) and its password, once it exists"
        ));
    }
    notes.push(match dialect {
        Dialect::Redis7 => {
            "it is written for Redis 7, and grants each family of keys its own commands; `doctor --acl --redis 6` prints one for an older \
             server, which knows neither %R~ nor selectors"
        }
        Dialect::Redis6 => {
            "it is written for Redis 6, which knows neither %R~ nor selectors: with it each of these commands may be used on each of these \
             keys, those of the producers included; from Redis 7 on print it again"
        }
    }.to_owned());
    match servers {
        Servers::Single(_) => {}
        Servers::Sentinel { .. } => {
            notes.push("run it on the replicas too: one of them may become the master".to_owned())
        }
        Servers::Cluster(_) => notes.push("run it on every node of the cluster".to_owned()),
    }
    notes.push("to keep it over a restart of Redis: ACL SAVE or CONFIG REWRITE".to_owned());
    notes
}

/// A word in the quotes that `redis-cli` needs.
fn quoted(word: &str) -> String {
    // redis-cli splits its input at blanks, and reads quotes and backslashes like a shell.
    if word.chars().all(|character| character.is_ascii_graphic() && !matches!(character, '"' | '\'')) {
        return word.to_owned();
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// The channels to which the listener subscribes for these markets, and the gateway of campaigns for its events.
fn subscribed_channels(config: &Config, markets: &[String]) -> Vec<String> {
    let keys: Vec<MarketKeys> = markets.iter().map(|market| market_keys(config, market)).collect();
    let of_campaigns = config.campaigns.serves().then(|| CampaignKeys::new(&config.output.prefix).channel());
    channels(&keys).into_iter().chain(of_campaigns).collect()
}

/// The pattern of the channels on which trackers receive their own messages.
fn echo_pattern(output: &Output) -> String {
    format!("{}*", escape_pattern(&echo_channel(output, "")))
}

/// A right that the user lacks, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The command, the keys or the channels.
    pub object: String,
    /// What the user may not do.
    pub problem: String,
    /// Whether only commands of operators need it, and the service does not.
    pub is_for_operators: bool,
}

/// Asks Redis which rights the configured user lacks for these configured markets. No key is changed.
///
/// # Errors
/// Invalid settings, or a [`StoreError`] if Redis does not answer.
pub async fn missing(config: &Config, store: &Store, markets: &[String]) -> Result<Vec<Missing>> {
    Ok(ask(store, &needs(config, markets)?, subscribed_channels(config, markets), &config.output).await?)
}

/// The same for given needs and channels, and for the channel of own messages.
pub(crate) async fn ask(
    store: &Store,
    needs: &[Need],
    channels: Vec<String>,
    output: &Output,
) -> Result<Vec<Missing>, StoreError> {
    let mut session = store.session(READ_RIGHTS).await?;
    let mut all = missing_rights(&mut session, needs).await?;
    drop(session);
    let (shown, echo) = (channels.join(", "), echo_channel(output, PROBE_ARGUMENT));
    // Channels can only be tested by a subscription, which changes nothing.
    all.extend(denied("SUBSCRIBE", &shown, store.subscribe(channels).await.map(drop))?);
    let subscribed = store.subscribe(vec![echo.clone()]).await.map(drop);
    all.extend(denied("SUBSCRIBE", &echo_pattern(output), subscribed)?);
    // No tracker has this channel.
    let published = store.publish(&echo, PROBE_ARGUMENT).await;
    all.extend(denied("PUBLISH", &echo_pattern(output), published)?);
    let (of_operators, of_service): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|refusal| refusal.is_for_operators);
    let mut all = sentences(&of_service);
    // What both need is told once.
    let of_operators = sentences(&of_operators).into_iter();
    let more = of_operators.filter(|one| all.iter().all(|known| known.object != one.object));
    let more = more.map(|one| Missing { is_for_operators: true, ..one }).collect::<Vec<_>>();
    all.extend(more);
    Ok(all)
}

/// The missing right in an answer. Only a denial is one; any other error ends the check.
fn denied(
    command: &'static str,
    pattern: &str,
    answer: Result<(), StoreError>,
) -> Result<Option<MissingRight>, StoreError> {
    match answer {
        Ok(()) => Ok(None),
        Err(error) if error.kind == ErrorKind::Denied => {
            Ok(Some(MissingRight::new(command, pattern, error.detail())))
        }
        Err(error) => Err(error),
    }
}

/// One sentence for each command that is denied as such, and for each pattern of keys or channels that is denied.
fn sentences(refusals: &[MissingRight]) -> Vec<Missing> {
    let mut commands: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut keys: BTreeMap<(Denied, &str), BTreeSet<&str>> = BTreeMap::new();
    for MissingRight { command, pattern, denied, .. } in refusals {
        match denied {
            Denied::Command => commands.entry(command).or_default().insert(pattern),
            Denied::Keys | Denied::Channel => keys.entry((*denied, pattern)).or_default().insert(command),
        };
    }
    let of_command = commands.into_iter().map(|(command, patterns)| {
        let on = listed(patterns.into_iter().filter(|pattern| !pattern.is_empty()));
        let on = if on.is_empty() { String::new() } else { format!(" (needed for {on})") };
        let (object, problem) = (format!("command {command}"), format!("the user may not run it{on}"));
        Missing { object, problem, is_for_operators: false }
    });
    let of_keys = keys.into_iter().map(|((denied, pattern), commands)| {
        let what = if denied == Denied::Channel { "channel" } else { "keys" };
        let object = format!("{what} {pattern}");
        let problem = format!("the user may not access it by {}", listed(commands.into_iter()));
        Missing { object, problem, is_for_operators: false }
    });
    of_command.chain(of_keys).collect()
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = words.collect();
    let shown = all[..all.len().min(COMMANDS_SHOWN)].join(", ");
    match all.len().saturating_sub(COMMANDS_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use domain::Address;

    use super::*;

    const P: &str = "0xe88e5f64aeb483d7057645326addfa24a3b312df";
    const M: &str = "0x0c2e22fe7526faef28e7a58c84f8723defce200c";

    fn list(more: &[(&str, &str)]) -> AccessList {
        let required = [("PROTOCOL_STATE_CONTRACT", P), ("DATA_MARKET_ADDRESSES", M)];
        let config =
            Config::load(None, required.into_iter().chain(more.iter().copied())).expect("allowed").config;
        AccessList::of(&config, Dialect::Redis7).expect("a list")
    }

    #[test]
    fn the_list_names_every_spelling_of_an_address_and_the_ledger() {
        let [p, m] = [P, M].map(|address| Address::new(address).checksummed().to_owned());
        let AccessList { command, notes } = list(&[("REDIS_USERNAME", "tracker")]);
        assert!(command.starts_with("ACL SETUSER tracker on clearselectors resetkeys %R~"), "{command}");
        for space in [format!("{P}:{M}"), format!("{p}:{m}"), format!("{P}:{m}"), format!("{p}:{M}")] {
            assert!(command.contains(&format!(" %R~{space}:* ")), "{space}: {command}");
            assert!(command.contains(&format!(" ~{space}:metrics:epochs:timeline ")), "{space}: {command}");
            assert!(!command.contains(&format!(" ~{space}:* ")), "{space}: {command}");
            assert!(command.contains(&format!(" &{space}:state:change ")), "{space}: {command}");
        }
        assert!(command.contains(&format!(" ~{{{p}:{m}}}:tracker:* ")), "{command}");
        assert!(command.contains(" &state-tracker:echo:* "), "{command}");
        assert!(command.contains(" -@all +@connection -@dangerous +dbsize "), "{command}");
        assert!(command.contains(" +script|load ") && !command.contains(" +time"), "{command}");
        assert!(
            !command.contains("finalizerQueue") && notes.iter().all(|note| !note.contains("names no user"))
        );
    }

    #[test]
    fn the_collectors_keys_are_in_the_list_when_it_is_configured() {
        let nodes = ("RPC_NODES", "http://127.0.0.1:1");
        let command = list(&[nodes]).command;
        for pattern in [
            "finalizerQueue",
            &format!("SnapshotCollector.{M}.*"),
            "tracker:chain:*",
            // Of every market: trackers with different markets share the chain state.
            "*.CurrentEpochID",
            &format!("BatchCountKey.{M}.*"),
        ] {
            assert!(command.contains(&format!(" ~{pattern} ")), "{pattern}: {command}");
        }
        assert!(!command.contains("attestorQueue"));
        assert!(list(&[nodes, ("ATTESTOR_QUEUE_PUSH_ENABLED", "true")]).command.contains(" ~attestorQueue "));
    }

    /// The words behind the first parenthesis: what is granted to change keys.
    fn changing(command: &str) -> &str {
        command.split_once(" ( ").expect("a selector").1
    }

    #[test]
    fn a_shadow_may_write_under_its_prefix_alone() {
        let prefix = [("STATE_TRACKER__OUTPUT__PREFIX", "shadow"), ("RPC_NODES", "http://127.0.0.1:1")];
        let AccessList { command, notes } = list(&prefix);
        let writable: Vec<&str> = command.split(' ').filter(|word| word.starts_with('~')).collect();
        assert!(
            writable.len() > 20 && writable.iter().all(|word| word.starts_with("~shadow:")),
            "{writable:?}"
        );
        assert!(command.contains(" &shadow:state-tracker:echo:* "), "{command}");
        assert!(command.contains(&format!(" %R~{P}:{M}:* ")) && command.contains("%R~SnapshotCollector."));
        assert!(notes.iter().any(|note| note.contains("Redis 7")));
    }

    #[test]
    fn only_the_families_that_the_tracker_changes_are_granted_for_that() {
        let command = list(&[("STATE_TRACKER__RETENTION__ACTIVE", "8days")]).command;
        let granted: BTreeSet<&str> = changing(&command).split(' ').collect();
        for family in [
            "epoch:*:state",
            "epochs:active",
            "metrics:batches:timeline",
            "metrics:epochs:timeline",
            "metrics:parts:timeline",
            "metrics:submissions:timeline",
            "metrics:validations:timeline",
            "metrics:validator:*:batches",
            "vpa:priority:timeline",
            "vpa:stats",
            "vpa:submission:timeline",
        ] {
            assert!(granted.contains(&*format!("~{P}:{M}:{family}")), "{family}: {command}");
        }
        let of_producers = granted.iter().filter(|word| word.starts_with(&format!("~{P}:{M}:")));
        assert_eq!(of_producers.count(), 11, "{command}");
        assert!(!changing(&list(&[]).command).contains("epochs:active"), "only where it is pruned");
    }

    #[test]
    fn a_list_for_redis_6_has_each_key_and_command_once_and_no_word_of_redis_7() {
        let words =
            [("PROTOCOL_STATE_CONTRACT", P), ("DATA_MARKET_ADDRESSES", M), ("RPC_NODES", "http://h:1")];
        let config = Config::load(None, words).expect("allowed").config;
        let AccessList { command, notes } = AccessList::of(&config, Dialect::Redis6).expect("a list");
        let words: Vec<&str> = command.split(' ').collect();
        assert!(
            !words.iter().any(|word| ["(", ")", "clearselectors"].contains(word) || word.starts_with('%'))
        );
        let different: BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(different.len(), words.len(), "{command}");
        assert!(words.contains(&&*format!("~{P}:{M}:*")) && !command.contains(":metrics:"), "{command}");
        assert!(notes.iter().any(|note| note.contains("written for Redis 6")), "{notes:?}");
    }

    #[test]
    fn a_secret_is_no_part_of_the_list() {
        let AccessList { command, notes } = list(&[("REDIS_URL", "redis://someone:hunter2@h/0")]);
        assert!(command.contains("SETUSER someone ") && !format!("{command}{notes:?}").contains("hunter2"));
    }

    #[test]
    fn words_are_quoted_as_redis_cli_reads_them() {
        for (word, expected) in [("~a:*", "~a:*"), ("a b", "\"a b\""), ("a\"b\\", "\"a\\\"b\\\\\"")] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_denied_command_and_denied_keys_are_one_sentence_each() {
        let command =
            |command, pattern| MissingRight::new(command, pattern, "no permissions to run the 'x' command");
        let keys = |command, pattern| MissingRight::new(command, pattern, "No permissions to access a key");
        let all = [command("ZADD", "a"), command("ZADD", "b"), keys("GET", "c"), keys("SET", "c")];
        let all = sentences(&all);
        let texts: Vec<_> =
            all.iter().map(|missing| format!("{}: {}", missing.object, missing.problem)).collect();
        assert_eq!(
            texts,
            [
                "command ZADD: the user may not run it (needed for a, b)",
                "keys c: the user may not access it by GET, SET"
            ]
        );
    }
}
