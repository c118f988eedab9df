//! Decoding of each event. Topics and data are literals from the contract page, and not made by the code under test.

use super::*;

const STATE: &str = "0x00000000000000000000000000000000000000aa";
const PRIORITIES: &str = "0x00000000000000000000000000000000000000bb";
const MARKET: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const MARKET_TOPIC: &str = "0x000000000000000000000000fb6916095ca1df60bb79ce92ce3ea74c37c5d359";
const EPOCH_7: &str = "0x0000000000000000000000000000000000000000000000000000000000000007";

/// keccak256("EpochReleased(address,uint256,uint256,uint256,uint256)")
const RELEASED: &str = "0xf7d2257d4a1c445138ab52bd3c22425bfed29da81d0173961c697dc14fcba60c";
/// keccak256("SnapshotBatchSubmitted(address,string,uint256,uint256)")
const SUBMITTED: &str = "0xcbd08c0021940d15cc732c670afbb27d5170795ee3a4ba0e47368452fae58c5d";
/// keccak256("SnapshotBatchFinalized(address,uint256,string,uint256)")
const FINALIZED: &str = "0x5ce21fc72041bd91ef828e11b07f6d1107a20642ea918f190e1e2029d85fedfe";
/// keccak256("BatchSubmissionsCompleted(address,uint256,uint256)")
const COMPLETED: &str = "0x5ed90e6a0e12831302fecf13a2cc6f7e9439fed821340d0bddc4ae305dbf9c30";
/// keccak256("DayStartedEvent(address,uint256,uint256)")
const DAY: &str = "0x9bf380fe36617cd5d995968abb4ae6d3657a763c126535d590b4503ff2542426";
/// keccak256("PrioritiesAssigned(address,uint256,uint256,uint256,uint256)")
const ASSIGNED: &str = "0x70b2b606d43f8ee9be128a33fe6c3c9d86a289295f63208ce59ed16ae50c8100";
/// keccak256("bafybatch")
const CID_HASH: &str = "0x12d08b8342ad5d1052de0a9f59230a192aa05a626735f733aa24756d2fdaaa52";

fn decoder() -> Decoder {
    Decoder::new(&Contracts {
        protocol_state: STATE.parse().unwrap(),
        priorities: Some(PRIORITIES.parse().unwrap()),
    })
}

fn log(contract: &str, topics: &[&str], words: &[&str]) -> RawLog {
    let log = serde_json::json!({
        "address": contract, "topics": topics, "data": format!("0x{}", words.concat()),
        "blockNumber": "0x10", "blockHash": EPOCH_7, "logIndex": "0x3", "transactionHash": EPOCH_7,
    });
    serde_json::from_value(log).unwrap()
}

fn word(number: u64) -> String {
    format!("{number:064x}")
}

fn event_of(log: &RawLog) -> ChainEvent {
    let found = decoder().decode(log).unwrap().unwrap();
    assert_eq!(found.market.to_string(), MARKET);
    assert_eq!(found.log_index, 3);
    found.event
}

fn fault_of(log: &RawLog) -> LogFaultKind {
    decoder().decode(log).unwrap_err().kind
}

#[test]
fn each_event_of_the_contract_page_is_decoded() {
    let time = word(1_700_000_000);
    assert_eq!(
        event_of(&log(STATE, &[RELEASED, MARKET_TOPIC, EPOCH_7], &[&word(100), &word(109), &time])),
        ChainEvent::EpochReleased { epoch: 7, begin: 100, end: 109, time: 1_700_000_000 }
    );
    let cid = "6261667962617463680000000000000000000000000000000000000000000000"; // "bafybatch"
    assert_eq!(
        event_of(&log(STATE, &[SUBMITTED, MARKET_TOPIC, EPOCH_7], &[&word(64), &time, &word(9), cid])),
        ChainEvent::SnapshotBatchSubmitted {
            epoch: 7,
            batch_cid: "bafybatch".to_owned(),
            time: 1_700_000_000
        }
    );
    assert_eq!(
        event_of(&log(STATE, &[FINALIZED, MARKET_TOPIC, EPOCH_7, CID_HASH], &[&time])),
        ChainEvent::SnapshotBatchFinalized {
            epoch: 7,
            batch_cid_hash: CID_HASH.parse().unwrap(),
            time: 1_700_000_000
        }
    );
    assert_eq!(
        event_of(&log(STATE, &[COMPLETED, MARKET_TOPIC, EPOCH_7], &[&time])),
        ChainEvent::BatchSubmissionsCompleted { epoch: 7, time: 1_700_000_000 }
    );
    assert_eq!(
        event_of(&log(STATE, &[DAY, MARKET_TOPIC], &[&word(12), &time])),
        ChainEvent::DayStarted { day: 12, time: 1_700_000_000 }
    );
    let seed = "ff00000000000000000000000000000000000000000000000000000000000001";
    assert_eq!(
        event_of(&log(PRIORITIES, &[ASSIGNED, MARKET_TOPIC, EPOCH_7], &[seed, &time, &word(5)])),
        ChainEvent::PrioritiesAssigned {
            epoch: 7,
            seed: format!("0x{seed}").parse().unwrap(),
            time: 1_700_000_000,
            validators: 5
        }
    );
}

#[test]
fn events_of_every_market_are_read() {
    let words = [word(1), word(2), word(3)];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let other_market = "0x000000000000000000000000fb6916095ca1df60bb79ce92ce3ea74c37c5d358";
    let event = decoder().decode(&log(STATE, &[RELEASED, other_market, EPOCH_7], &words)).unwrap().unwrap();
    assert_eq!(event.market.lower(), "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d358");
}

#[test]
fn logs_of_other_contracts_and_events_are_no_faults() {
    let words = [word(1), word(2), word(3)];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for log in [
        log("0x00000000000000000000000000000000000000cc", &[RELEASED, MARKET_TOPIC, EPOCH_7], &words),
        log(STATE, &[EPOCH_7, MARKET_TOPIC], &[]),
        log(STATE, &[], &[]),
        // Each event is accepted from its own contract only.
        log(STATE, &[ASSIGNED, MARKET_TOPIC, EPOCH_7], &words),
        log(PRIORITIES, &[RELEASED, MARKET_TOPIC, EPOCH_7], &words),
    ] {
        assert_eq!(decoder().decode(&log), Ok(None));
    }
}

#[test]
fn a_log_that_cannot_be_decoded_is_reported_by_kind() {
    let one = word(1);
    let released = |topics: &[&str], words: &[&str]| log(STATE, &[&[RELEASED], topics].concat(), words);
    assert_eq!(fault_of(&released(&[], &[&one, &one, &one])), LogFaultKind::TooFewTopics);
    assert_eq!(fault_of(&released(&[MARKET_TOPIC], &[&one, &one, &one])), LogFaultKind::TooFewTopics);
    let four = [MARKET_TOPIC, EPOCH_7, EPOCH_7];
    assert_eq!(fault_of(&released(&four, &[&one, &one, &one])), LogFaultKind::TooManyTopics);
    let topics = [MARKET_TOPIC, EPOCH_7];
    assert_eq!(fault_of(&released(&topics, &[])), LogFaultKind::ShortData);
    assert_eq!(fault_of(&released(&topics, &[&one, &one])), LogFaultKind::ShortData);
    assert_eq!(fault_of(&released(&topics, &[&one, &one, "00"])), LogFaultKind::ShortData);
    assert_eq!(fault_of(&released(&topics, &[&one, &one, &one, "00"])), LogFaultKind::OversizedData);
    assert_eq!(fault_of(&released(&topics, &[&one, &one, &"f".repeat(64)])), LogFaultKind::OutOfRange);
    let no_address = format!("0x{}", "f".repeat(64));
    assert_eq!(fault_of(&released(&[&no_address, EPOCH_7], &[&one, &one, &one])), LogFaultKind::Invalid);
}

#[test]
fn a_text_that_exceeds_its_data_or_skips_some_is_reported() {
    let submitted = |words: &[&str]| fault_of(&log(STATE, &[SUBMITTED, MARKET_TOPIC, EPOCH_7], words));
    let (one, offset) = (word(1), word(64));
    let text = "61".to_owned() + &"00".repeat(31);
    assert_eq!(submitted(&[&offset, &one]), LogFaultKind::ShortData);
    assert_eq!(submitted(&[&offset, &one, &word(33), &text]), LogFaultKind::ShortData);
    assert_eq!(submitted(&[&word(1 << 40), &one, &one, &text]), LogFaultKind::ShortData);
    assert_eq!(submitted(&[&offset, &one, &one, &text, &text]), LogFaultKind::OversizedData);
    let long = "61".repeat(2048);
    assert_eq!(submitted(&[&offset, &one, &word(2048), &long]), LogFaultKind::OversizedData);
    let no_text = "ff".to_owned() + &"00".repeat(31);
    assert_eq!(submitted(&[&offset, &one, &one, &no_text]), LogFaultKind::Invalid);
}

#[test]
fn a_bad_log_names_its_place_and_its_fault() {
    let error =
        decoder().decode(&log(STATE, &[RELEASED, MARKET_TOPIC, EPOCH_7], &[])).unwrap_err().to_string();
    for part in ["log 3 of block 16", "EpochReleased", "3 topics and 0 bytes", "short_data", "has no effect"]
    {
        assert!(error.contains(part), "{error}");
    }
}
