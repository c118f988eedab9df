//! The remedies of errors. Only this module turns an error of a library into settings, keys and documents.
//!
//! A library names operation, object and cause. It does not know which setting it was given, so the remedy is found here, by type
//! and kind of the error or of one of its causes. Log, readiness page, doctor and commands use the same functions. Pure.

mod campaigns;
mod history;
pub(crate) mod keys;

use std::error::Error;

use actors::{
    collector::{CollectorProblem, NoWorker, steps},
    operations,
    tracker::LedgerLost,
};
use domain::collector::TooDeep;
use errors::{Kind, without_causes};
use evm::{BadLog, ChainError, FaultKind, NodeFault};
use http_client::{HttpError, TrustError};
use store_campaigns::{DatabaseError, DatabaseErrorKind};
use store_peers::{HistoryError, HistoryErrorKind};
use store_redis::{
    ErrorKind, Family, Fault, StoreError, Writer,
    operations::{PROVE_SUBSCRIPTION, SET_UP_POOL},
};
use supervision::DeadlineExceeded;

use crate::{contracts::ContractError, key_families, rights};

/// How many causes of an error are examined, so that the search ends for any error.
const DEEPEST: usize = 16;

const RESET_LEDGER: &str = "restore Redis from a backup, or reset the market's ledger (`state-tracker ledger reset`, docs/operations.md, \"The ledger\"): \
     a reset counts again what the timelines of the last 24 hours prove";
const RESET_CHAIN: &str = "restore Redis from a backup, or delete the keys tracker:chain:* (docs/operations.md, \"The chain state\")";
const TOO_DEEP: &str = "check that collector.nodes are on the right chain; if they are, raise collector.max_reorg_depth for the next \
     time, and delete the keys tracker:chain:* (docs/operations.md, \"The chain state\"): the collector then starts as without a checkpoint";
const LOST: &str = "check the persistence of Redis (appendonly) and its replicas";
const AHEAD: &str = "lower collector.start_block, or wait until the chain has that block";
const CONTRACTS: &str = "check that tracker.protocol, tracker.markets and collector.priorities_contract are contracts of this chain";

/// The remedy of an error or of one of its causes; `None` if none is known.
#[must_use]
pub fn of(error: &(dyn Error + 'static)) -> Option<String> {
    causes(error).find_map(of_link)
}

/// An error in one line: operation, object, causes, remedies. An error of this crate has its remedy after its last semicolon; that
/// remedy follows those of the causes. A cause that the line already contains is not repeated.
#[must_use]
pub fn line(error: &(dyn Error + 'static)) -> String {
    let (mut line, mut remedies) = (String::new(), Vec::from_iter(of(error)));
    for error in causes(error) {
        // Many errors print their cause and return it as `source` too.
        if errors::repeats(&line, error) {
            continue;
        }
        let text = without_causes(error);
        // A library writes no remedy: a semicolon in its message is part of the message.
        let is_of_library = of_link(error).is_some();
        let (what, remedy) = match text.rsplit_once("; ") {
            Some((what, remedy)) if error.source().is_some() && !is_of_library => (what, Some(remedy)),
            _ => (text.as_str(), None),
        };
        if !line.is_empty() {
            line += ": ";
        }
        line += what;
        remedies.extend(remedy.map(str::to_owned));
    }
    remedies.iter().for_each(|remedy| line += &format!("; {remedy}"));
    line
}

/// An error and its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source()).take(DEEPEST)
}

/// The remedy of this error itself, without its causes.
fn of_link(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some(of_store(error));
    }
    if let Some(Fault { key, kind, .. }) = error.downcast_ref() {
        return Some(of_key(*kind, key));
    }
    if let Some(error) = error.downcast_ref::<HistoryError>() {
        return Some(history::of_kind(error.kind).to_owned());
    }
    if let Some(error) = error.downcast_ref::<DatabaseError>() {
        return Some(of_database(error).to_owned());
    }
    if let Some(error) = error.downcast_ref::<CollectorProblem>() {
        return of_collector(error).map(str::to_owned);
    }
    if let Some(error) = error.downcast_ref::<ChainError>() {
        return of_chain(error).map(str::to_owned);
    }
    if let Some(error) = error.downcast_ref::<NodeFault>() {
        return Some(of_node(error).to_owned());
    }
    if let Some(error) = error.downcast_ref::<ContractError>() {
        return of_contract(error).map(str::to_owned);
    }
    if let Some(error) = error.downcast_ref::<DeadlineExceeded>() {
        return of_step(error.operation).map(str::to_owned);
    }
    // Errors without a kind of their own: the type alone decides.
    let known = [
        (error.is::<TooDeep>(), TOO_DEEP),
        (error.is::<LedgerLost>(), LOST),
        (error.is::<NoWorker>(), "raise collector.workers, or collector.worker_timeout"),
        (error.is::<BadLog>(), "check that the contracts are of the version that this program knows"),
    ];
    known.into_iter().find_map(|(is_it, remedy)| is_it.then(|| remedy.to_owned()))
}

/// The remedy of an error of Redis.
#[must_use]
pub fn of_store(error: &StoreError) -> String {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<redis::RedisError>());
    // The kind is too coarse for these: the code of the server decides between a full memory and a full disk.
    let remedy = match (error.kind, cause.and_then(redis::RedisError::code)) {
        (ErrorKind::Denied, Some("NOPERM")) => rights::REMEDY,
        (ErrorKind::WritesRefused, Some("OOM")) => {
            "raise maxmemory of Redis, or find out what fills it: `state-tracker doctor` lists the memory by family"
        }
        (ErrorKind::WritesRefused, Some("MISCONF")) => {
            "see the log of Redis, which can't save its data: a full disk, or no permission"
        }
        _ if error.operation == SET_UP_POOL => {
            "check redis.ca_file, and that redis.cert_file and redis.key_file belong together"
        }
        // As the server words it; it has no code of its own.
        (ErrorKind::Unavailable, _) if error.detail().contains("max number of clients") => {
            "raise maxclients of Redis, or find out who holds its connections (CLIENT LIST)"
        }
        (ErrorKind::Unavailable, _) if error.operation == PROVE_SUBSCRIPTION => {
            "check that every new connection to the address of Redis reaches the same master"
        }
        (ErrorKind::WritesRefused, Some("NOREPLICAS")) => {
            "check the replicas of Redis, or lower min-replicas-to-write"
        }
        // An answer that is none of Redis; a value that can't be read has a cause of another kind.
        (ErrorKind::Malformed, _) if cause.is_some_and(|cause| cause.kind() == redis::ErrorKind::Parse) => {
            "check that a Redis server is at this address (redis.host and redis.port, or redis.url): `state-tracker doctor` says what is"
        }
        (ErrorKind::Refused, _) if error.detail().contains("Sentinel instances") => {
            "name the sentinel in redis.sentinels (REDIS_SENTINELS), and the name of its master in redis.sentinel_master"
        }
        // The tracker may use a cluster, the collector may not: only for its operations is this the remedy.
        (ErrorKind::Topology, _) if store_collector::operations::ALL.contains(&error.operation) => {
            "follow the chain with a single Redis server, or with sentinels"
        }
        _ => return of_key(error.kind, &error.object),
    };
    remedy.to_owned()
}

/// The remedy of an error of this kind that concerns this key, or another object.
#[must_use]
pub fn of_key(kind: ErrorKind, key: &str) -> String {
    let Some((family, is_of_collector)) = family(key) else { return of_kind(kind).to_owned() };
    match (kind, family.writer) {
        // A pass is told that the type is wrong, and not which one is there.
        (ErrorKind::WrongType, _) => {
            format!("{}; `state-tracker doctor` says of which type it is", keys::wrong_type(family, is_of_collector))
        }
        (ErrorKind::Malformed, Writer::Producers | Writer::Outputs) => keys::malformed(Some(family)),
        (ErrorKind::Malformed, Writer::State) if key_families::is_of_campaigns(family) => {
            format!("{}; what is kept of campaigns expires within a day", keys::malformed(Some(family)))
        }
        (ErrorKind::Malformed, Writer::State) => {
            let reset = if is_of_collector { RESET_CHAIN } else { RESET_LEDGER };
            format!("{}; {reset}", keys::malformed(Some(family)))
        }
        (ErrorKind::Foreign, _) if is_of_collector => {
            "correct tracker.protocol or collector.nodes; or, if another tracker follows that chain, use another redis.db or \
             output.prefix for this one. Only if no tracker follows it any more, delete the keys tracker:chain:* \
             (docs/operations.md, \"The chain state\")"
                .to_owned()
        }
        _ => of_kind(kind).to_owned(),
    }
}

/// The family of a key with any prefix, and whether it is one of the collector.
fn family(key: &str) -> Option<(&'static Family, bool)> {
    // One fault may stand for several keys, with a star in place of the id.
    let key = key.replace('*', "0");
    // The prefix and `P:M` are unknown here: every part after a colon may be the name of the family.
    let behind = key.match_indices(':').map(|(at, _)| &key[at + 1..]);
    let names = std::iter::once(key.as_str()).chain(behind);
    names.into_iter().find_map(|name| {
        let of_tracker = store_tracker::family_of(name).map(|family| (family, false));
        let of_campaigns = || store_campaign_log::family_of(name).map(|family| (family, false));
        let of_collector = || store_collector::family_of(name).map(|family| (family, true));
        of_tracker.or_else(of_collector).or_else(of_campaigns)
    })
}

/// The remedy of an error of this kind, for any object.
#[must_use]
pub fn of_kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => {
            "check that Redis runs at this address (redis.host and redis.port, or redis.url), and whether it wants TLS (redis.tls)"
        }
        ErrorKind::Timeout => "find out what keeps Redis busy, or raise redis.command_timeout",
        ErrorKind::PoolExhausted => "raise redis.pool_size",
        ErrorKind::Loading => "wait until Redis has loaded its data and a cluster is complete",
        ErrorKind::Denied => {
            "check redis.username and redis.password (or those in redis.url), and the user's access list"
        }
        ErrorKind::SentinelDenied => "check redis.sentinel_username and redis.sentinel_password",
        ErrorKind::UnknownMaster => {
            "set redis.sentinel_master to the name in the line `sentinel monitor NAME …` of the sentinels' configuration"
        }
        ErrorKind::Tls => {
            "set redis.ca_file to the certificate of the authority that signed the server's (the default is the system's authorities, from \
             the package ca-certificates); the server's certificate must name its host; if the server requires a client certificate, set \
             redis.cert_file and redis.key_file"
        }
        ErrorKind::Topology => {
            "name the nodes of a cluster in redis.cluster, and a single server in redis.host"
        }
        ErrorKind::ReadOnly => "point redis.host at the master, or name the sentinels in redis.sentinels",
        ErrorKind::WritesRefused => {
            "see the message of Redis: raise maxmemory, free the disk, or check its replicas"
        }
        ErrorKind::WrongType => "find out which program writes it, and stop or fix that program",
        ErrorKind::Torn => RESET_LEDGER,
        ErrorKind::Foreign => {
            "run the version that wrote it, or reset the market's ledger (`state-tracker ledger reset`, docs/operations.md, \"The ledger\"): \
             a reset counts again what the timelines of the last 24 hours prove"
        }
        ErrorKind::TooLarge => {
            "check that the address is that of Redis and not of another server; if it is, find the key that has grown, by `state-tracker \
             doctor` or `redis-cli --bigkeys`"
        }
        ErrorKind::Malformed => "find out which program writes it, and stop or fix that program",
        ErrorKind::Refused => "see the message of Redis",
    }
}

/// The remedy of an error of the database of campaigns.
pub(crate) fn of_database(error: &DatabaseError) -> &'static str {
    campaigns::of_kind(error.kind)
}

/// The remedy of any kind in the tables, those of the actors included.
pub(crate) fn of_label(kind: Kind) -> &'static str {
    if let Some(kind) = ErrorKind::ALL.iter().find(|known| known.row() == kind) {
        return of_kind(*kind);
    }
    if let Some(kind) = HistoryErrorKind::ALL.iter().find(|known| known.row() == kind) {
        return history::of_kind(*kind);
    }
    if let Some(kind) = DatabaseErrorKind::ALL.iter().find(|known| known.row() == kind) {
        return campaigns::of_kind(*kind);
    }
    match kind {
        operations::LOST => LOST,
        operations::NODE => "check the nodes of collector.nodes, or add others",
        operations::REORGANISED => "nothing, if it does not last",
        operations::TOO_DEEP => TOO_DEEP,
        operations::AHEAD => AHEAD,
        operations::RELAYER => {
            "check relayer.url, relayer.token and the relayer; `state-tracker outbox list` shows what waits"
        }
        operations::WEBHOOK_FAILED => "check alerts.url and its receiver",
        operations::VIEW => CONTRACTS,
        operations::INJECTED => "run a build without failure points",
        _ => "see the message",
    }
}

fn of_collector(error: &CollectorProblem) -> Option<&'static str> {
    match error {
        CollectorProblem::StartBlockAhead { .. } => Some(AHEAD),
        CollectorProblem::DayUnknown { cause: None, .. } => {
            Some("set collector.archive_nodes, or a later collector.start_block")
        }
        CollectorProblem::ReleaseMissing { .. } => {
            Some("set collector.archive_nodes if the epochs are recent; stale markers need nothing")
        }
        CollectorProblem::BadLogs { .. } => Some(
            "check that the contracts are of the version that this program knows; state_tracker_chain_faults_total counts the faults",
        ),
        // Their causes have the remedy.
        CollectorProblem::View(_)
        | CollectorProblem::DayUnknown { .. }
        | CollectorProblem::LengthUnknown { .. } => None,
    }
}

fn of_contract(error: &ContractError) -> Option<&'static str> {
    match error {
        ContractError::NoContract { .. } => Some(
            "set tracker.protocol (PROTOCOL_STATE_CONTRACT) to the protocol-state contract, or collector.nodes (RPC_NODES) to nodes of \
             its chain",
        ),
        ContractError::OtherContract { .. } => Some(
            "set tracker.protocol (PROTOCOL_STATE_CONTRACT) to the protocol-state contract, and tracker.markets \
             (DATA_MARKET_ADDRESSES) to its markets",
        ),
        // The cause has the remedy.
        ContractError::Nodes(_) => None,
    }
}

fn of_chain(error: &ChainError) -> Option<&'static str> {
    match error {
        ChainError::NoNode => Some("set collector.nodes (RPC_NODES)"),
        ChainError::BadUrl { .. } => Some("correct the URL in collector.nodes or collector.archive_nodes"),
        ChainError::NoAnswer { last: None, .. } => Some("add nodes to collector.nodes, or wait"),
        ChainError::Rejected { .. } | ChainError::View { .. } => Some(CONTRACTS),
        ChainError::ReorganisedTooDeep { .. } => Some(TOO_DEEP),
        // The cause of the first one has the remedy; after the second one the fetcher reads the chain again.
        ChainError::NoAnswer { .. } | ChainError::BlockGone { .. } => None,
    }
}

fn of_node(fault: &NodeFault) -> &'static str {
    // A system without authorities fails at every node: to check the nodes would be wrong advice.
    let cause = fault.source().and_then(|cause| cause.downcast_ref::<HttpError>());
    if let Some(HttpError::Trust(TrustError::NoAuthorities(_))) = cause {
        return "install ca-certificates, or set SSL_CERT_FILE";
    }
    match fault.kind {
        FaultKind::Unreachable => "check that the nodes of collector.nodes run, and the network between",
        FaultKind::Timeout => "find out why the node is slow, or raise collector.request_timeout",
        FaultKind::Refused => "check the credentials in the URLs of collector.nodes",
        FaultKind::RateLimited => "lower collector.rate_limit, or add nodes to collector.nodes",
        FaultKind::Oversized => "raise collector.max_answer_bytes, or lower collector.max_log_range",
        FaultKind::WrongChain => "name nodes of one chain in collector.nodes, or set collector.chain_id",
        FaultKind::Pruned => "name nodes that keep old blocks in collector.archive_nodes",
        FaultKind::Server
        | FaultKind::Malformed
        | FaultKind::Lagging
        | FaultKind::MissingLogs
        | FaultKind::Inconsistent => "check the node, or add others to collector.nodes",
    }
}

/// The remedy of a step that exceeded its time.
fn of_step(step: &str) -> Option<&'static str> {
    let remedies = [
        (steps::ACCEPT_BLOCKS, "raise collector.block_timeout, or check how fast the nodes and Redis answer"),
        (steps::READ_EVENTS, "raise collector.events_timeout, or check how fast the nodes answer"),
        (
            steps::QUERY_CONTRACTS,
            "raise collector.contract_values_timeout, or check how fast the nodes answer",
        ),
        (steps::PREPARE_MARKET, "raise collector.preparation_timeout, or check how fast Redis answers"),
        (steps::PREPARE_EPOCH, "raise collector.market_timeout, or check how fast Redis answers"),
        (steps::DELIVER_BATCHES, "raise collector.batch_timeout, or check how fast Redis answers"),
    ];
    remedies.into_iter().find_map(|(known, remedy)| (known == step).then_some(remedy))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use color_eyre::eyre::{Report, WrapErr};
    use store_redis::Operation;

    use super::*;
    use crate::config::defaults_toml;

    const TEST: Operation = Operation::new("test", "test");

    fn error(kind: ErrorKind, object: &str) -> StoreError {
        StoreError::new(TEST, object, kind, "why")
    }

    fn said(answer: &str) -> StoreError {
        match redis::parse_redis_value(format!("-{answer}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(said)) => StoreError::redis(TEST, "redis:6379", &said.into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_error_has_its_remedy() {
        let remedies: Vec<&str> = ErrorKind::ALL.iter().map(|kind| of_kind(*kind)).collect();
        assert!(remedies.iter().all(|remedy| !remedy.is_empty() && !remedy.ends_with('.')), "{remedies:?}");
        for kind in FaultKind::ALL {
            let last = NodeFault::new("http://a:1".parse().expect("a URL"), *kind, "why");
            let remedy = of_node(&last);
            let (method, block, waited, attempts) = ("eth_call", None, Duration::ZERO, 1);
            let error = ChainError::NoAnswer { method, block, waited, attempts, last: Some(last) };
            assert_eq!(of(&error).as_deref(), Some(remedy));
        }
        for step in steps::ALL {
            let late = DeadlineExceeded { operation: step, allowed: Duration::from_secs(1) };
            assert!(of(&late).is_some_and(|remedy| remedy.starts_with("raise collector.")), "{step}");
        }
    }

    #[test]
    fn every_kind_of_the_tables_has_its_remedy() {
        for kind in operations::kinds() {
            assert_ne!(of_label(kind), "see the message", "{kind}");
        }
    }

    #[test]
    fn every_setting_that_a_remedy_names_exists() {
        let (mut section, mut settings) = ("", Vec::new());
        let defaults = defaults_toml();
        for line in defaults.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                settings.push(format!("{section}.{key}"));
            }
        }
        let is_section = |word: &str| settings.iter().any(|known| known.split('.').next() == Some(word));
        let mut named = 0;
        for word in [include_str!("remedy.rs"), include_str!("remedy/history.rs")]
            .join(" ")
            .split(|c: char| !c.is_ascii_lowercase() && !"_.".contains(c))
        {
            let word = word.trim_end_matches('.');
            if word.split_once('.').is_some_and(|(section, _)| is_section(section)) {
                assert!(settings.iter().any(|known| known == word), "{word}");
                named += 1;
            }
        }
        assert!(named > 40, "only {named} settings were found");
    }

    #[test]
    fn a_remedy_is_found_through_any_number_of_causes() {
        let report: Report = Err::<(), _>(error(ErrorKind::PoolExhausted, "redis:6379"))
            .wrap_err("examining")
            .wrap_err("the doctor")
            .expect_err("an error");
        assert_eq!(
            line(report.as_ref()),
            "the doctor: examining: test: redis:6379: pool_exhausted: why; raise redis.pool_size"
        );
        assert_eq!(of(&std::io::Error::other("no idea")), None);
    }

    #[test]
    fn the_code_of_the_server_tells_a_wrong_password_from_a_missing_right() {
        assert!(of(&said("NOPERM no")).is_some_and(|remedy| remedy.contains("doctor --acl")));
        assert!(of(&said("WRONGPASS no")).is_some_and(|remedy| remedy.contains("redis.password")));
        assert!(of(&said("OOM full")).is_some_and(|remedy| remedy.contains("maxmemory")));
        assert_eq!(of(&said("ODD thing")).as_deref(), Some("see the message of Redis"));
    }

    #[test]
    fn a_fault_of_a_producers_key_names_the_producer_and_what_it_must_write() {
        for (key, right, program) in [
            ("P:M:epochs:active", "set", "event monitor"),
            ("s:P:M:epoch:*:validators", "set", "gateway"),
            ("SnapshotCollector.0xab.7.0xcd", "set", "collectors"),
        ] {
            let remedy = of(&Fault::new(key, ErrorKind::WrongType, "why")).expect("a remedy");
            assert!(remedy.starts_with("fix the producer"), "{key}: {remedy}");
            assert!(
                remedy.contains(&format!("must be a {right}")) && remedy.contains(program),
                "{key}: {remedy}"
            );
            let remedy = of(&Fault::new(key, ErrorKind::Malformed, "why")).expect("a remedy");
            assert!(remedy.starts_with("fix the producer") && remedy.contains(program), "{key}: {remedy}");
        }
    }

    #[test]
    fn keys_of_this_program_are_restored_or_computed_again() {
        let remedy = |kind, key| of(&error(kind, key)).expect("a remedy");
        assert!(remedy(ErrorKind::WrongType, "{P:M}:tracker:sealed").contains("restore the market's ledger"));
        assert!(remedy(ErrorKind::Torn, "{P:M}:tracker:sealed").contains("reset the market's ledger"));
        assert!(remedy(ErrorKind::Foreign, "{P:M}:tracker:meta").contains("run the version that wrote it"));
        assert!(remedy(ErrorKind::Foreign, "s:tracker:chain:identity").contains("output.prefix"));
        assert!(remedy(ErrorKind::Malformed, "s:tracker:chain:checkpoint").ends_with(RESET_CHAIN));
        assert!(remedy(ErrorKind::WrongType, "s:P:M:stats:current").contains("computes the dataset again"));
    }
}
