//! Decodes logs to events. Pure. A log that can't be decoded is reported with its kind and never interpreted in part; a log of
//! another contract or event is no fault and is ignored. Events of every market are read: which of them count changes while blocks
//! are read ahead, so the caller that applies them decides.

use alloy_core::primitives::{B256, U256};
use alloy_core::sol;
use alloy_core::sol_types::{Error as SolError, SolEvent};
use domain::chain::{ChainEvent, ContractAddress, Hash, MarketEvent};

use crate::config::Contracts;
use crate::counters::LogFaultKind;
use crate::wire::{Header, RawLog};

// Only the types and `indexed` enter a signature and its decoding; the names of arguments are ours.
sol! {
    event EpochReleased(
        address indexed dataMarketAddress, uint256 indexed epochId, uint256 begin, uint256 end, uint256 timestamp
    );
    event SnapshotBatchSubmitted(
        address indexed dataMarketAddress, string batchCid, uint256 indexed epochId, uint256 timestamp
    );
    event SnapshotBatchFinalized(
        address indexed dataMarketAddress, uint256 indexed epochId, string indexed batchCid, uint256 timestamp
    );
    event BatchSubmissionsCompleted(address indexed dataMarketAddress, uint256 indexed epochId, uint256 timestamp);
    event DayStartedEvent(address indexed dataMarketAddress, uint256 dayId, uint256 timestamp);
    event PrioritiesAssigned(
        address indexed dataMarket, uint256 indexed epochId, uint256 seed, uint256 timestamp, uint256 validatorCount
    );
}

/// The limit of a content id, in bytes. Real ones have 46 to 62.
const LONGEST_CID: usize = 1024;

/// A log of a known event that can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "log {log_index} of block {block} from contract {contract}: {event} with {topics} topics and {bytes} bytes of data \
     can't be read ({}), and has no effect",
    kind.label()
)]
pub struct BadLog {
    /// The kind of fault.
    pub kind: LogFaultKind,
    /// The event's name.
    pub event: &'static str,
    /// The contract.
    pub contract: ContractAddress,
    /// The block.
    pub block: u64,
    /// The log's index in its block.
    pub log_index: u64,
    /// The number of its topics.
    pub topics: usize,
    /// The size of its data, in bytes.
    pub bytes: usize,
}

/// Decodes the logs of the configured contracts.
#[derive(Clone, Debug)]
pub struct Decoder {
    protocol_state: ContractAddress,
    priorities: Option<ContractAddress>,
}

impl Decoder {
    /// A decoder for these contracts.
    #[must_use]
    pub fn new(contracts: &Contracts) -> Self {
        Self { protocol_state: contracts.protocol_state, priorities: contracts.priorities }
    }

    /// Decodes a log; `None` for an unknown event, and for contracts that are not configured.
    ///
    /// # Errors
    /// [`BadLog`] for a known event that can't be decoded.
    pub fn decode(&self, log: &RawLog) -> Result<Option<MarketEvent>, BadLog> {
        // An anonymous event has no topic with its signature.
        let Some(topic) = log.topics.first() else { return Ok(None) };
        let contract = log.contract();
        let of_state = contract == self.protocol_state;
        let of_priorities = self.priorities == Some(contract);
        // An event counts from its own contract only: any contract can emit an event with the same signature.
        let known = EVENTS.iter().find(|known| known.topic == *topic);
        let Some(known) = known.filter(|known| if known.of_priorities { of_priorities } else { of_state })
        else {
            return Ok(None);
        };
        let bad = |kind| BadLog {
            kind,
            event: known.name,
            contract,
            block: log.block_number.to(),
            log_index: log.log_index.to(),
            topics: log.topics.len(),
            bytes: log.data.len(),
        };
        let market = log.topics.get(1).ok_or_else(|| bad(LogFaultKind::TooFewTopics))?;
        let market = address(market).ok_or_else(|| bad(LogFaultKind::Invalid))?;
        let event = (known.read)(log).map_err(bad)?;
        Ok(Some(MarketEvent { market, log_index: log.log_index.to(), event }))
    }

    /// The contracts for queries for logs.
    pub(crate) fn contracts(&self) -> Vec<ContractAddress> {
        let mut contracts = vec![self.protocol_state];
        // Both may be one contract, which a filter names once.
        contracts.extend(self.priorities.filter(|priorities| *priorities != self.protocol_state));
        contracts
    }

    /// Whether the block's bloom filter allows an event that is read. `true` may be wrong, `false` is certain.
    pub(crate) fn may_have_events_in(&self, header: &Header) -> bool {
        let has_event_of = |contract: ContractAddress, of_priorities: bool| {
            let mut own = EVENTS.iter().filter(|known| known.of_priorities == of_priorities);
            header.may_hold(&contract.0) && own.any(|known| header.may_hold(known.topic.as_slice()))
        };
        has_event_of(self.protocol_state, false)
            || self.priorities.is_some_and(|contract| has_event_of(contract, true))
    }
}

/// An event that is read.
struct KnownEvent {
    /// The first topic of its logs.
    topic: B256,
    /// Its name in the contract.
    name: &'static str,
    /// Whether the contract of priorities emits it; the others are emitted by the protocol state.
    of_priorities: bool,
    read: fn(&RawLog) -> Result<ChainEvent, LogFaultKind>,
}

const fn known<E: SolEvent>(
    of_priorities: bool,
    read: fn(&RawLog) -> Result<ChainEvent, LogFaultKind>,
) -> KnownEvent {
    KnownEvent { topic: E::SIGNATURE_HASH, name: name(E::SIGNATURE), of_priorities, read }
}

/// What stands before the parenthesis of a signature.
const fn name(signature: &'static str) -> &'static str {
    let mut end = 0;
    while end < signature.len() && signature.as_bytes()[end] != b'(' {
        end += 1;
    }
    signature.split_at(end).0
}

/// Every event that is read: one row each, beside its declaration above.
static EVENTS: [KnownEvent; 6] = [
    known::<EpochReleased>(false, epoch_released),
    known::<SnapshotBatchSubmitted>(false, batch_submitted),
    known::<SnapshotBatchFinalized>(false, batch_finalized),
    known::<BatchSubmissionsCompleted>(false, submissions_completed),
    known::<DayStartedEvent>(false, day_started),
    known::<PrioritiesAssigned>(true, priorities_assigned),
];

/// Whether logs with this first topic are read.
pub(crate) fn is_read(topic: &B256) -> bool {
    EVENTS.iter().any(|known| known.topic == *topic)
}

/// The first topics of all events that are read.
pub(crate) fn topics_of_events() -> [B256; EVENTS.len()] {
    EVENTS.each_ref().map(|known| known.topic)
}

fn epoch_released(log: &RawLog) -> Result<ChainEvent, LogFaultKind> {
    let event: EpochReleased = checked(log, 3, 3)?;
    Ok(ChainEvent::EpochReleased {
        epoch: to_u64(event.epochId)?,
        begin: to_u64(event.begin)?,
        end: to_u64(event.end)?,
        time: to_u64(event.timestamp)?,
    })
}

fn batch_submitted(log: &RawLog) -> Result<ChainEvent, LogFaultKind> {
    // Not `checked`: the data end with a text, so they have no fixed size.
    topics(log, 3)?;
    let event: SnapshotBatchSubmitted = decoded(log)?;
    // The ABI encodes a text by its offset. An offset that is not the canonical one leaves bytes that no argument covers.
    if log.data.len() > event.encode_data().len() || event.batchCid.len() > LONGEST_CID {
        return Err(LogFaultKind::OversizedData);
    }
    // alloy decodes bytes that are not UTF-8 to this character.
    if event.batchCid.contains(char::REPLACEMENT_CHARACTER) {
        return Err(LogFaultKind::Invalid);
    }
    Ok(ChainEvent::SnapshotBatchSubmitted {
        epoch: to_u64(event.epochId)?,
        batch_cid: event.batchCid,
        time: to_u64(event.timestamp)?,
    })
}

fn batch_finalized(log: &RawLog) -> Result<ChainEvent, LogFaultKind> {
    let event: SnapshotBatchFinalized = checked(log, 4, 1)?;
    Ok(ChainEvent::SnapshotBatchFinalized {
        epoch: to_u64(event.epochId)?,
        // The topic of an indexed text is the text's hash, so the text itself is not in the log.
        batch_cid_hash: Hash(event.batchCid.0),
        time: to_u64(event.timestamp)?,
    })
}

fn submissions_completed(log: &RawLog) -> Result<ChainEvent, LogFaultKind> {
    let event: BatchSubmissionsCompleted = checked(log, 3, 1)?;
    Ok(ChainEvent::BatchSubmissionsCompleted {
        epoch: to_u64(event.epochId)?,
        time: to_u64(event.timestamp)?,
    })
}

fn day_started(log: &RawLog) -> Result<ChainEvent, LogFaultKind> {
    let event: DayStartedEvent = checked(log, 2, 2)?;
    Ok(ChainEvent::DayStarted { day: to_u64(event.dayId)?, time: to_u64(event.timestamp)? })
}

fn priorities_assigned(log: &RawLog) -> Result<ChainEvent, LogFaultKind> {
    let event: PrioritiesAssigned = checked(log, 3, 3)?;
    Ok(ChainEvent::PrioritiesAssigned {
        epoch: to_u64(event.epochId)?,
        // A seed uses all 256 bits, so it is no u64.
        seed: Hash(event.seed.to_be_bytes()),
        time: to_u64(event.timestamp)?,
        validators: to_u64(event.validatorCount)?,
    })
}

/// Decodes an event whose data are `words` words of 32 bytes.
fn checked<E: SolEvent>(log: &RawLog, topic_count: usize, words: usize) -> Result<E, LogFaultKind> {
    topics(log, topic_count)?;
    // The length must be exact, since the decoder ignores bytes after the last argument.
    match log.data.len() {
        short if short < 32 * words => Err(LogFaultKind::ShortData),
        long if long > 32 * words => Err(LogFaultKind::OversizedData),
        _ => decoded(log),
    }
}

fn topics(log: &RawLog, expected: usize) -> Result<(), LogFaultKind> {
    match log.topics.len() {
        few if few < expected => Err(LogFaultKind::TooFewTopics),
        many if many > expected => Err(LogFaultKind::TooManyTopics),
        _ => Ok(()),
    }
}

fn decoded<E: SolEvent>(log: &RawLog) -> Result<E, LogFaultKind> {
    E::decode_raw_log(log.topics.iter().copied(), &log.data).map_err(|error| match error {
        SolError::Overrun => LogFaultKind::ShortData,
        _ => LogFaultKind::Invalid,
    })
}

/// A number of the contract as 64 bits, which hold every real epoch, day, block number and time.
fn to_u64(number: U256) -> Result<u64, LogFaultKind> {
    u64::try_from(number).map_err(|_| LogFaultKind::OutOfRange)
}

fn address(topic: &B256) -> Option<ContractAddress> {
    let (zeros, bytes) = topic.split_at(12);
    // A topic has 32 bytes and an address 20; other leading bytes mean that the topic is none.
    zeros.iter().all(|byte| *byte == 0).then(|| bytes.try_into().ok().map(ContractAddress))?
}

#[cfg(test)]
mod tests;
