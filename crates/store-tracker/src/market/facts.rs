//! The keys of one epoch: the commands that read them, and the reading of the answers.

use std::fmt;

use domain::{
    EpochId, parse_seconds,
    tracker::{EpochFacts, LONGEST_WINDOW, StateHash, Steps},
};

use crate::keys::InputKeys;
use store_redis::{Batch, ErrorKind, Replies, StoreError};

const INFO_FIELDS: [&str; 6] = ["status", "start", "timestamp", "end", "duration", "data_market"];

/// Fields of the state hash. The last two only help to see whether the hash exists.
const STATE_FIELDS: [&str; 9] = [
    "window_status",
    "window_opened_at",
    "window_closes_at",
    "level1_status",
    "level2_status",
    "onchain_status",
    "submissions_count",
    "phase",
    "last_updated",
];

/// Asks for everything about an epoch. What proves that it is finished is asked for first: then whatever was
/// written before that is in the counts that follow.
pub(super) fn ask(batch: &mut Batch, input: InputKeys<'_>, epoch: &EpochId, now: f64) {
    batch.cmd("HMGET", input.info(epoch)).arg(&INFO_FIELDS);
    batch.cmd("HMGET", input.state(epoch)).arg(&STATE_FIELDS);
    batch.cmd("EXISTS", input.local_batch(epoch));
    batch.cmd("EXISTS", input.aggregated_batch(epoch));
    batch.cmd("GET", input.batch_validators(epoch));
    let ids = input.submission_ids(epoch);
    batch.cmd("ZCARD", &ids);
    for seconds in [60.0, 300.0] {
        batch.cmd("ZCOUNT", &ids).arg(format!("({}", now - seconds)).arg(now);
    }
    batch.cmd("SCARD", input.processed(epoch));
}

/// The name of a key of an epoch, made only when it is shown: a pass takes nine answers for each epoch.
#[derive(Clone, Copy)]
struct KeyOf<'a> {
    input: InputKeys<'a>,
    epoch: &'a EpochId,
    of: fn(InputKeys<'a>, &EpochId) -> String,
}

impl fmt::Display for KeyOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.of)(self.input, self.epoch))
    }
}

/// Reads the answers to [`ask`], in its order.
pub(super) fn take(
    replies: &mut Replies,
    input: InputKeys<'_>,
    epoch: &EpochId,
) -> Result<EpochFacts, StoreError> {
    let key = |of| KeyOf { input, epoch, of };
    let mut facts = EpochFacts::default();
    take_hashes(replies, key(InputKeys::info), key(InputKeys::state), &mut facts)?;
    facts.local_batch = replies.take::<bool>(key(InputKeys::local_batch))?.unwrap_or(false);
    facts.aggregated_batch = replies.take::<bool>(key(InputKeys::aggregated_batch))?.unwrap_or(false);
    take_batch_validators(replies, key(InputKeys::batch_validators), &mut facts)?;
    take_submissions(replies, key(InputKeys::submission_ids), key(InputKeys::processed), &mut facts)?;
    Ok(facts)
}

/// The window and the steps of an epoch, by its info first, then by its state.
fn take_hashes(
    replies: &mut Replies,
    info_key: KeyOf<'_>,
    state_key: KeyOf<'_>,
    facts: &mut EpochFacts,
) -> Result<(), StoreError> {
    let info = take_fields(replies, info_key)?.unwrap_or_else(|| vec![None; INFO_FIELDS.len()]);
    let state = take_fields(replies, state_key)?;
    facts.state_unread = state.is_none();
    let state = state.unwrap_or_else(|| vec![None; STATE_FIELDS.len()]);
    // Redis answers as many fields as were asked for; any other number leaves everything unknown.
    if let ([status, start, timestamp, end, duration, data_market], [window, opened_at, closes_at, ..]) =
        (&info[..], &state[..])
    {
        facts.open = is_open(status).or(is_open(window));
        // Most producers write `start`, some `timestamp`.
        let start =
            seconds(replies, info_key, "start", start).or(seconds(replies, info_key, "timestamp", timestamp));
        facts.start = start.or(seconds(replies, state_key, "window_opened_at", opened_at));
        let end = seconds(replies, info_key, "end", end);
        facts.end = end.or(seconds(replies, state_key, "window_closes_at", closes_at));
        let length = seconds(replies, info_key, "duration", duration).filter(|&duration| duration > 0.0);
        // Some producer counts in milliseconds: reported, and unknown.
        if let Some(length) = length.filter(|&length| length > LONGEST_WINDOW) {
            let detail = format!("duration is {length:e} s, at most {LONGEST_WINDOW} s are accepted");
            replies.fault(info_key, ErrorKind::Malformed, detail);
        }
        facts.duration = length.filter(|&length| length <= LONGEST_WINDOW);
        facts.data_market = data_market.clone().filter(|market| !market.is_empty());
    }
    if let [window, _, _, level1, level2, onchain, count, ..] = &state[..] {
        let window_closed = is_open(window) == Some(false);
        let (level1, level2, onchain) = (level1.clone(), level2.clone(), onchain.clone());
        facts.steps = Steps { window_closed, level1, level2, onchain };
        let count = count.as_deref().and_then(|count| count.parse().ok());
        // HMGET answers nulls for a missing hash: it exists if any field does.
        facts.state = state.iter().any(Option::is_some).then_some(StateHash { submissions_count: count });
    }
    Ok(())
}

/// Fields of a hash as texts; `None` where the hash can't be read. A field that is not UTF-8 leaves the others
/// readable.
fn take_fields(replies: &mut Replies, key: KeyOf<'_>) -> Result<Option<Vec<Option<String>>>, StoreError> {
    let Some(fields) = replies.take::<Vec<Option<Vec<u8>>>>(key)? else { return Ok(None) };
    let mut read = |field: Option<Vec<u8>>| {
        String::from_utf8(field?)
            .map_err(|error| replies.fault(key, ErrorKind::Malformed, format!("a field is no text: {error}")))
            .ok()
    };
    Ok(Some(fields.into_iter().map(&mut read).collect()))
}

fn seconds(replies: &mut Replies, key: KeyOf<'_>, name: &str, field: &Option<String>) -> Option<f64> {
    let text = field.as_deref().filter(|text| !text.is_empty())?;
    let seconds = parse_seconds(text);
    if seconds.is_none() {
        replies.fault(key, ErrorKind::Malformed, format!("{name} is `{text}`, seconds are expected"));
    }
    seconds
}

fn is_open(status: &Option<String>) -> Option<bool> {
    match status.as_deref() {
        Some("open") => Some(true),
        Some("closed") => Some(false),
        _ => None,
    }
}

fn take_batch_validators(
    replies: &mut Replies,
    key: KeyOf<'_>,
    facts: &mut EpochFacts,
) -> Result<(), StoreError> {
    match replies.take::<Option<Vec<u8>>>(key)? {
        Some(Some(json)) => match serde_json::from_slice(&json) {
            Ok(named) => facts.batch_validators = Some(named),
            Err(error) => {
                replies.fault(key, ErrorKind::Malformed, error);
                facts.batch_validators_unread = true;
            }
        },
        Some(None) => {}
        None => facts.batch_validators_unread = true,
    }
    Ok(())
}

/// Processed submissions: the ordered set is preferred; the plain set is used when the ordered one is missing.
fn take_submissions(
    replies: &mut Replies,
    ids: KeyOf<'_>,
    processed: KeyOf<'_>,
    facts: &mut EpochFacts,
) -> Result<(), StoreError> {
    let ordered = replies.take::<u64>(ids)?;
    let one = replies.take::<u64>(ids)?;
    let five = replies.take::<u64>(ids)?;
    let plain = replies.take::<u64>(processed)?;
    // The counts of a missing key are 0, so only a count above 0 proves that the key exists.
    let is_ordered = ordered.is_some_and(|count| count > 0);
    facts.submissions = if is_ordered { ordered } else { plain.filter(|&count| count > 0).or(ordered) };
    facts.has_submissions_key = facts.submissions.is_some_and(|count| count > 0);
    let plain_only = !is_ordered && facts.has_submissions_key;
    facts.submissions_recent = if plain_only { None } else { one.zip(five) };
    Ok(())
}

/// The facts of one epoch under all spellings of its keys. The preferred spelling wins; the others fill in what it does
/// not have.
#[derive(Default)]
pub(super) struct Gathered(Option<EpochFacts>);

impl Gathered {
    pub(super) fn add(&mut self, facts: EpochFacts) {
        let Some(known) = &mut self.0 else {
            self.0 = Some(facts);
            return;
        };
        // An ordered set before a plain one, both before no set. Unread before no set, since it must not become 0.
        let worth = |facts: &EpochFacts| match (
            facts.has_submissions_key,
            facts.submissions_recent,
            facts.submissions,
        ) {
            (true, Some(_), _) => 3,
            (true, None, _) => 2,
            (false, _, None) => 1,
            (false, _, Some(_)) => 0,
        };
        let is_better = worth(&facts) > worth(known);
        known.open = known.open.or(facts.open);
        known.start = known.start.or(facts.start);
        known.end = known.end.or(facts.end);
        known.duration = known.duration.or(facts.duration);
        if known.state.is_none() {
            known.state = facts.state;
            known.steps = facts.steps;
        }
        // One readable state is enough.
        known.state_unread |= facts.state_unread;
        known.state_unread &= known.state.is_none();
        known.data_market = known.data_market.take().or(facts.data_market);
        known.local_batch |= facts.local_batch;
        known.aggregated_batch |= facts.aggregated_batch;
        known.batch_validators = known.batch_validators.take().or(facts.batch_validators);
        // Likewise one readable list.
        known.batch_validators_unread |= facts.batch_validators_unread;
        known.batch_validators_unread &= known.batch_validators.is_none();
        if is_better {
            known.submissions = facts.submissions;
            known.submissions_recent = facts.submissions_recent;
            known.has_submissions_key = facts.has_submissions_key;
        }
    }

    pub(super) fn finish(self) -> EpochFacts {
        self.0.unwrap_or_default()
    }
}
