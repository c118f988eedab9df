//! The kept corpus of hostile lines: each is refused for its reason, with the path of its field.

#![allow(clippy::unwrap_used, missing_docs)] // A test may panic.

use std::{collections::BTreeSet, fs, path::PathBuf};

use peer_snapshots::{Reason, read};

/// File, reason, and path of the field.
#[rustfmt::skip]
const HOSTILE: &[(&str, Reason, &str)] = &[
    ("empty", Reason::Syntax, ""),
    ("blanks", Reason::Syntax, ""),
    ("number", Reason::WrongType, ""),
    ("list", Reason::WrongType, ""),
    ("null", Reason::WrongType, ""),
    ("text", Reason::WrongType, ""),
    ("two-objects", Reason::Syntax, ""),
    ("cut-off", Reason::Syntax, "downstream_miners[1]"),
    ("cut-in-name", Reason::Syntax, "downstream_miners[0].name"),
    ("cut-in-key", Reason::Syntax, "downstream_miners[0]"),
    ("byte-order-mark", Reason::Syntax, ""),
    ("single-quotes", Reason::Syntax, ""),
    ("http", Reason::Syntax, ""),
    ("tls", Reason::NotUtf8, ""),
    ("nan", Reason::OutOfRange, "downstream_miners[0].hashrate"),
    ("infinity", Reason::OutOfRange, "downstream_miners[0].hashrate"),
    ("null-rate", Reason::OutOfRange, "downstream_miners[0].hashrate"),
    ("huge-rate", Reason::OutOfRange, "downstream_miners[0].hashrate"),
    ("large-rate", Reason::OutOfRange, "downstream_miners[0].hashrate"),
    ("negative-rate", Reason::OutOfRange, "downstream_miners[0].hashrate"),
    ("text-rate", Reason::WrongType, "downstream_miners[0].hashrate"),
    ("no-value", Reason::Syntax, "downstream_miners[0].hashrate"),
    ("id-negative", Reason::OutOfRange, "downstream_miners[0].id"),
    ("id-too-large", Reason::OutOfRange, "downstream_miners[0].id"),
    ("id-of-30-digits", Reason::OutOfRange, "downstream_miners[0].id"),
    ("id-fraction", Reason::WrongType, "downstream_miners[0].id"),
    ("id-text", Reason::WrongType, "downstream_miners[0].id"),
    ("id-null", Reason::WrongType, "downstream_miners[0].id"),
    ("id-missing", Reason::MissingField, "downstream_miners[0].id"),
    ("id-twice", Reason::RepeatedField, "downstream_miners[0].id"),
    ("ids-repeated", Reason::RepeatedId, "downstream_miners[1].id"),
    ("name-null", Reason::WrongType, "downstream_miners[0].name"),
    ("name-not-utf8", Reason::NotUtf8, "downstream_miners[0].name"),
    ("name-surrogate", Reason::Syntax, "downstream_miners[0].name"),
    ("name-control", Reason::Syntax, "downstream_miners[0].name"),
    ("miner-number", Reason::WrongType, "downstream_miners[0]"),
    ("miner-list", Reason::WrongType, "downstream_miners[0]"),
    ("miners-object", Reason::WrongType, "downstream_miners"),
    ("shares-fraction", Reason::WrongType, "downstream_miners[0].shares_submitted"),
    ("timestamp-negative", Reason::OutOfRange, "timestamp"),
    ("timestamp-too-large", Reason::OutOfRange, "timestamp"),
    ("timestamp-missing", Reason::MissingField, "timestamp"),
    ("timestamp-twice", Reason::RepeatedField, "timestamp"),
    ("network-missing", Reason::MissingField, "blockchain_network"),
    ("balance-missing", Reason::MissingField, "ehash_balance"),
    ("miners-missing", Reason::MissingField, "downstream_miners"),
    ("pool-unknown-service", Reason::UnknownType, "services[1].service_type"),
    ("pool-service-number", Reason::WrongType, "services[0].service_type"),
    ("pool-proxies-missing", Reason::MissingField, "downstream_proxies"),
    ("pool-services-missing", Reason::MissingField, "services"),
    ("pool-ids-repeated", Reason::RepeatedId, "downstream_proxies[1].id"),
    ("pool-selection-number", Reason::WrongType, "downstream_proxies[0].work_selection"),
    ("pool-channel", Reason::OutOfRange, "downstream_proxies[0].channels[1]"),
    ("heartbeat-without-time", Reason::MissingField, "timestamp"),
    ("metrics-unknown-service", Reason::UnknownType, "service_type"),
    ("metrics-window-missing", Reason::MissingField, "downstreams[0].window_seconds"),
    ("metrics-sum-nan", Reason::OutOfRange, "downstreams[0].sum_difficulty_in_window"),
    ("metrics-downstreams-missing", Reason::MissingField, "downstreams"),
    ("metrics-type-missing", Reason::MissingField, "service_type"),
    ("enum-ids-repeated", Reason::RepeatedId, "miners[1].downstream_id"),
    ("enum-field-missing", Reason::MissingField, "MinerSnapshot.miners[0].shares_submitted"),
    ("enum-unknown", Reason::Shape, ""),
    ("enum-two", Reason::Shape, ""),
    ("enum-unknown-type", Reason::UnknownType, "type"),
    ("enum-inner-missing", Reason::MissingField, "miners"),
    ("enum-connection-type", Reason::UnknownType, "ConnectionSnapshot.connections[0].connection_type"),
    ("nothing-known", Reason::Shape, ""),
    ("empty-object", Reason::Shape, ""),
    ("deep", Reason::Syntax, ""),
    ("deep-miners", Reason::WrongType, "downstream_miners[0]"),
    ("escaped-key-twice", Reason::RepeatedField, "timestamp"),
];

fn corpus() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus"].iter().collect()
}

#[test]
fn a_hostile_line_is_refused_for_its_reason_and_the_error_names_the_field() {
    let mut wrong = Vec::new();
    for (file, reason, field) in HOSTILE {
        let error = read(&fs::read(corpus().join(file)).unwrap()).unwrap_err();
        if (error.reason, error.field.as_str()) != (*reason, *field) || !error.to_string().contains(field) {
            wrong.push(format!("{file}: {:?}, {error}", error.reason));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_of_the_corpus_is_listed_and_every_reason_occurs() {
    let files: BTreeSet<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, HOSTILE.iter().map(|(file, ..)| (*file).to_owned()).collect());
    let reasons: BTreeSet<Reason> = HOSTILE.iter().map(|(_, reason, _)| *reason).collect();
    assert_eq!(reasons, BTreeSet::from(Reason::ALL));
}

#[test]
fn an_error_is_short_and_shows_nothing_of_the_sender() {
    for (file, ..) in HOSTILE {
        let error = read(&fs::read(corpus().join(file)).unwrap()).unwrap_err().to_string();
        assert!(error.len() < 200, "{file}: {error}");
        for text in ["192.0.2", "rig", "Wallet", "MinersSnapshot"] {
            assert!(!error.contains(text), "{file}: {error}");
        }
    }
}
