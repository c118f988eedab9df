//! Texts of producers, of the ledger, of the chain, and the addresses of nodes.

use domain::chain::{ContractAddress, EpochSet, Hash};
use domain::collector::Submission;
use domain::tracker::index::IndexEvent;
use domain::tracker::{BatchMember, EarlyCounts, Entity, Entry, EpochMember, Sealed};
use domain::{Address, EpochId, Number, parse_seconds};
use evm::config::{Contracts, NodeUrl};
use evm::events::Decoder;
use evm::{RawLog, StartBlock};
use store_tracker::Archive;
use testkit::fuzz::label;

use crate::refused::refused;

/// How much an event may weigh beyond its own bytes.
const MOST_OVERHEAD: usize = 256;

/// A payload of `state:change`.
pub(crate) fn event(input: &[u8]) -> String {
    let entity = Entity::of(input).as_str();
    match IndexEvent::parse(input) {
        Ok(event) => {
            assert!(event.weight() <= input.len() + MOST_OVERHEAD, "{event:?}");
            assert_ne!(entity, Entity::Malformed.as_str(), "{event:?}");
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<IndexEvent>(&json).unwrap(), event);
            format!("{entity} {}", label(&format!("{event:?}")))
        }
        Err(reason) => format!("{entity} {reason:?}"),
    }
}

/// A member of a timeline, a key, an epoch, an address, a number.
pub(crate) fn name(input: &[u8]) -> String {
    let text = &*String::from_utf8_lossy(input);
    let mut labels = Vec::new();
    match EpochId::parse(text) {
        Ok(epoch) => {
            assert_eq!(EpochId::parse(epoch.as_str()).as_ref(), Ok(&epoch), "one epoch has one id");
            assert_eq!(EpochId::parse(&epoch.scientific()).map_or(epoch.clone(), |read| read), epoch);
            labels.push("epoch".to_owned());
        }
        Err(error) => labels.push(refused(&error)),
    }
    match EpochMember::parse(text) {
        Ok(member) => labels.push(label(&format!("{member:?}"))),
        Err(error) => labels.push(refused(&error)),
    }
    match BatchMember::parse(text) {
        Ok(member) => labels.push(label(&format!("{member:?}"))),
        Err(error) => labels.push(refused(&error)),
    }
    for (market, epoch) in [("0xmarket", 7), ("a", 0)] {
        match Submission::parse(text, market, epoch) {
            Ok(submission) => {
                // No other key is the same submission, but one with another case of the market.
                let again = format!("{market}.{epoch}.{}.{}", submission.project, submission.slot);
                assert_eq!(Submission::parse(&again, market, epoch), Ok(submission), "{text}");
                labels.push("submission".to_owned());
            }
            Err(error) => labels.push(refused(&error)),
        }
    }
    match text.parse::<Hash>() {
        Ok(hash) => assert_eq!(hash.to_string().parse(), Ok(hash)),
        Err(error) => labels.push(refused(&error)),
    }
    match text.parse::<ContractAddress>() {
        Ok(address) => assert_eq!(address.to_string().parse(), Ok(address)),
        Err(error) => labels.push(refused(&error)),
    }
    let address = Address::new(text);
    assert_eq!(Address::new(address.checksummed()).checksummed(), address.checksummed());
    if let Some(seconds) = parse_seconds(text) {
        assert!(seconds.is_finite() && seconds >= 0.0, "{text}");
        labels.push("seconds".to_owned());
    }
    if let Ok(Some(number)) = serde_json::from_str(text).map(|value| Number::from_json(&value)) {
        let again = Number::from_json(&number.to_json()).map(Number::to_text);
        assert_eq!(again, Some(number.to_text()), "{text}");
        labels.push("number".to_owned());
    }
    if let Ok(block) = text.parse::<StartBlock>() {
        labels.push(label(&format!("{block:?}")));
    }
    labels.join("|")
}

/// A value of the ledger or of the chain's state.
pub(crate) fn ledger(input: &[u8]) -> String {
    let text = &*String::from_utf8_lossy(input);
    let mut labels = Vec::new();
    match Entry::decode(text) {
        Ok(entry) => {
            assert_eq!(Entry::decode(&entry.encode()), Ok(entry.clone()));
            // Sums of any times, those of the end of the world included.
            let (_, _, _) = (entry.hours(), entry.sums(), entry.last_time());
            assert_eq!(entry.merge(&entry), entry, "an entry adds nothing to itself");
            labels.push(label(&format!("{entry:?}")));
        }
        Err(error) => labels.push(refused(&error)),
    }
    match Sealed::decode(text) {
        Ok(sealed) => {
            assert_eq!(Sealed::decode(&sealed.encode()), Ok(sealed));
            labels.push("sealed".to_owned());
        }
        Err(error) => labels.push(refused(&error)),
    }
    match text.parse::<EpochSet>() {
        Ok(set) => {
            assert_eq!(set.to_string().parse(), Ok(set.clone()));
            labels.push(format!("set {}", set.ranges().min(3)));
        }
        Err(error) => labels.push(refused(&error)),
    }
    if let Some(counts) = EarlyCounts::parse(text) {
        assert_eq!(EarlyCounts::parse(&counts.to_string()), Some(counts));
        labels.push("counts".to_owned());
    }
    labels.join("|")
}

/// An export of a ledger.
pub(crate) fn archive(input: &[u8]) -> String {
    match Archive::read(input) {
        Ok(archive) => {
            let text = archive.to_text();
            let again = Archive::read(text.as_bytes()).expect("what was written is read");
            assert_eq!(again.to_text(), text);
            format!("{} elements", archive.elements().min(5))
        }
        Err(error) => {
            assert!(error.to_string().starts_with("line "), "{error}");
            refused(&error)
        }
    }
}

/// A list of logs of a node.
pub(crate) fn logs(input: &[u8]) -> String {
    let logs: Vec<RawLog> = match serde_json::from_slice(input) {
        Ok(logs) => logs,
        // The client shortens it where it tells it.
        Err(error) => return label(&error.to_string()),
    };
    let contract = |text: &str| text.parse::<ContractAddress>().unwrap();
    let decoder = Decoder::new(&Contracts {
        protocol_state: contract("0x00000000000000000000000000000000000000aa"),
        priorities: Some(contract("0x00000000000000000000000000000000000000bb")),
    });
    let read = |log: &RawLog| match decoder.decode(log) {
        Ok(Some(event)) => {
            let json = serde_json::to_string(&event.event).unwrap();
            assert_eq!(serde_json::from_str::<domain::chain::ChainEvent>(&json).unwrap(), event.event);
            event.event.name().to_owned()
        }
        Ok(None) => "ignored".to_owned(),
        Err(bad) => {
            // It names the place: the log, the block and the contract.
            let text = bad.to_string();
            assert!(text.contains(&format!("log {} of block {}", bad.log_index, bad.block)), "{text}");
            refused(&bad)
        }
    };
    logs.iter().take(3).map(read).collect::<Vec<_>>().join("|")
}

/// The URL of a node.
pub(crate) fn url(input: &[u8]) -> String {
    let text = &*String::from_utf8_lossy(input);
    match text.parse::<NodeUrl>() {
        Ok(node) => {
            let (shown, url) = (node.to_string(), node.with_credentials());
            assert_eq!(format!("{node:?}"), shown);
            // Scheme, host and port are all that is shown.
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            assert_eq!(shown, format!("{}://{host}{port}", url.scheme()));
            format!("{} {} {}", url.scheme(), url.username().is_empty(), url.password().is_some())
        }
        Err(error) => refused(&error),
    }
}
