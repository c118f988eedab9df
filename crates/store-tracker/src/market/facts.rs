//! The keys of one epoch: the commands that read them, and the reading of the answers.

use std::fmt;

use domain::{
    EpochId, parse_seconds,
    tracker::{EpochFacts, LONGEST_WINDOW, Moments, Reading, StateHash},
};

use crate::keys::InputKeys;
use store_redis::{Batch, ErrorKind, Replies, StoreError};

const INFO_FIELDS: [&str; 6] = ["status", "start", "timestamp", "end", "duration", "data_market"];

/// Fields of the state hash. The last two only help to see whether the hash exists.
const STATE_FIELDS: [&str; 11] = [
    "window_status",
    "window_opened_at",
    "window_closes_at",
    "level1_status",
    "level1_completed_at",
    "level2_status",
    "level2_completed_at",
    "onchain_status",
    "submissions_count",
    "phase",
    "last_updated",
];

/// The most bytes of a list of validators: a longer one counts as unreadable.
const LONGEST_LIST: usize = 256 << 10;
/// The most validators of one epoch or batch: a longer list counts as unreadable.
pub(super) const MOST_VALIDATORS: usize = 5_000;

/// Which optional keys of an epoch are read, beside those that every pass reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Its entries in the timelines.
    pub(super) entries: bool,
    /// The validators in its aggregated batch.
    pub(super) validators: bool,
    /// The plain set of its submissions, which is used where there is no ordered one.
    pub(super) plain: bool,
    /// What counts for the last minutes: the times of its submissions, and its remote validators.
    pub(super) recent: bool,
}

/// Asks for the keys of an epoch under all of these spellings. What proves that it is finished is asked for first, under every
/// spelling: then the counts that follow include all that was written before.
pub(super) fn ask<'a>(
    batch: &mut Batch,
    inputs: impl Iterator<Item = InputKeys<'a>> + Clone,
    epoch: &EpochId,
    now: f64,
    wanted: Wanted,
) {
    inputs.clone().for_each(|input| ask_proof(batch, input, epoch, wanted));
    inputs.for_each(|input| ask_submissions(batch, input, epoch, now, wanted));
}

fn ask_proof(batch: &mut Batch, input: InputKeys<'_>, epoch: &EpochId, wanted: Wanted) {
    batch.cmd("HMGET", input.info(epoch)).arg(&INFO_FIELDS);
    ask_state(batch, input, epoch);
    batch.cmd("EXISTS", input.local_batch(epoch));
    batch.cmd("EXISTS", input.aggregated_batch(epoch));
    if wanted.validators {
        ask_batch_validators(batch, input, epoch);
    }
    if wanted.entries {
        ask_entries(batch, input, epoch);
    }
}

fn ask_submissions(batch: &mut Batch, input: InputKeys<'_>, epoch: &EpochId, now: f64, wanted: Wanted) {
    let ids = input.submission_ids(epoch);
    batch.cmd("ZCARD", &ids);
    for seconds in [60.0, 300.0].into_iter().filter(|_| wanted.recent) {
        batch.cmd("ZCOUNT", &ids).arg(format!("({}", now - seconds)).arg(now);
    }
    // No submission is empty, but a producer may have written one.
    batch.cmd("ZSCORE", &ids).arg("");
    if wanted.plain {
        batch.cmd("SCARD", input.processed(epoch));
        batch.cmd("SISMEMBER", input.processed(epoch)).arg("");
    }
}

/// Asks for the validators in an epoch's aggregated batch, and a byte more than is accepted.
pub(super) fn ask_batch_validators(batch: &mut Batch, input: InputKeys<'_>, epoch: &EpochId) {
    batch.cmd("GETRANGE", input.batch_validators(epoch)).arg(0).arg(LONGEST_LIST);
}

/// Asks for the entries of an epoch in the timelines. Also for those with its scientific form, which no member that was read before
/// need have.
fn ask_entries(batch: &mut Batch, input: InputKeys<'_>, epoch: &EpochId) {
    let scientific = epoch.scientific();
    let forms = [input, input.with_id(&scientific)];
    for (timeline, members) in entries(input) {
        let members = forms.iter().flat_map(|form| members.map(|what| form.member(what, epoch)));
        batch.cmd("ZMSCORE", timeline).arg(members.collect::<Vec<_>>());
    }
}

/// The timelines that name epochs, with what their members begin with.
fn entries(input: InputKeys<'_>) -> [(String, [&'static str; 2]); 2] {
    [(input.epochs_timeline(), ["open", "close"]), (input.batches_timeline(), ["local", "aggregated"])]
}

/// Reads the answers to [`ask_entries`].
fn take_entries(replies: &mut Replies, input: InputKeys<'_>) -> Result<Moments, StoreError> {
    // By form, and then as in `entries`.
    let mut times = [[None; 4]; 2];
    for (at, (timeline, members)) in entries(input).into_iter().enumerate() {
        let found = replies.take::<Vec<Option<f64>>>(&timeline)?.unwrap_or_default();
        for (times, found) in times.iter_mut().zip(found.chunks(members.len())) {
            times.iter_mut().skip(at * members.len()).zip(found).for_each(|(time, found)| *time = *found);
        }
    }
    let [one, other] =
        times.map(|[opened, closed, local, aggregated]| Moments { opened, closed, local, aggregated });
    Ok(one.merge(other))
}

/// Asks for an epoch's state alone.
pub(super) fn ask_state(batch: &mut Batch, input: InputKeys<'_>, epoch: &EpochId) {
    batch.cmd("HMGET", input.state(epoch)).arg(&STATE_FIELDS);
}

/// The name of a key of an epoch. The text is made only for a fault, since a pass takes some ten answers for each epoch.
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
pub(super) fn take<'a>(
    replies: &mut Replies,
    inputs: impl Iterator<Item = InputKeys<'a>> + Clone,
    epoch: &EpochId,
    wanted: Wanted,
) -> Result<EpochFacts, StoreError> {
    let proofs: Result<Vec<EpochFacts>, _> =
        inputs.clone().map(|input| take_proof(replies, input, epoch, wanted)).collect();
    let mut merged = Gathered::default();
    for (input, mut facts) in inputs.zip(proofs?) {
        let key = |of| KeyOf { input, epoch, of };
        let plain = wanted.plain.then(|| key(InputKeys::processed));
        take_submissions(replies, key(InputKeys::submission_ids), plain, wanted.recent, &mut facts)?;
        merged.add(facts);
    }
    Ok(merged.0.unwrap_or_default())
}

fn take_proof(
    replies: &mut Replies,
    input: InputKeys<'_>,
    epoch: &EpochId,
    wanted: Wanted,
) -> Result<EpochFacts, StoreError> {
    let key = |of| KeyOf { input, epoch, of };
    let mut facts = EpochFacts::default();
    take_hashes(replies, key(InputKeys::info), key(InputKeys::state), &mut facts)?;
    facts.local_batch = replies.take::<bool>(key(InputKeys::local_batch))?.unwrap_or(false);
    facts.aggregated_batch = replies.take::<bool>(key(InputKeys::aggregated_batch))?.unwrap_or(false);
    if wanted.validators {
        facts.batch_validators = take_batch_validators(replies, input, epoch)?;
    }
    if wanted.entries {
        facts.timeline = take_entries(replies, input)?;
    }
    Ok(facts)
}

/// The window and the steps of an epoch, by its info first, then by its state.
fn take_hashes(
    replies: &mut Replies,
    info_key: KeyOf<'_>,
    state_key: KeyOf<'_>,
    facts: &mut EpochFacts,
) -> Result<(), StoreError> {
    let info = take_fields(replies, info_key, INFO_FIELDS.len())?;
    let state = take_fields(replies, state_key, STATE_FIELDS.len())?;
    if let Reading::Value(info) = &info
        && let [status, start, timestamp, end, duration, data_market] = &info[..]
    {
        facts.open = is_open(status);
        // Most producers write `start`, some `timestamp`.
        let start_of = |name, field, replies: &mut Replies| seconds(replies, info_key, name, field);
        facts.start = start_of("start", start, replies).or_else(|| start_of("timestamp", timestamp, replies));
        facts.end = seconds(replies, info_key, "end", end);
        let length = seconds(replies, info_key, "duration", duration).filter(|&duration| duration > 0.0);
        // Such as milliseconds: reported, and unknown.
        if let Some(length) = length.filter(|&length| length > LONGEST_WINDOW) {
            let detail = format!("duration is {length:e} s, at most {LONGEST_WINDOW} s are accepted");
            replies.fault(info_key, ErrorKind::Malformed, detail);
        }
        facts.duration = length.filter(|&length| length <= LONGEST_WINDOW);
        facts.data_market = data_market.clone().filter(|market| !market.is_empty());
    }
    if let Reading::Value(state) = &state
        && let [window, opened_at, closes_at, ..] = &state[..]
    {
        facts.open = facts.open.or(is_open(window));
        let [opens, closes] = [("window_opened_at", opened_at), ("window_closes_at", closes_at)]
            .map(|(name, field)| seconds(replies, state_key, name, field));
        facts.start = facts.start.or(opens);
        facts.end = facts.end.or(closes);
        let length = opens.zip(closes).map(|(opens, closes)| closes - opens);
        facts.duration = facts.duration.or(length.filter(|&length| length > 0.0 && length <= LONGEST_WINDOW));
    }
    facts.state = read_state(replies, state_key, state);
    Ok(())
}

/// Whether the window of an epoch is open, and its state, as [`ask_state`] asks for it.
pub(super) fn take_state(
    replies: &mut Replies,
    input: InputKeys<'_>,
    epoch: &EpochId,
) -> Result<(Option<bool>, Reading<StateHash>), StoreError> {
    let key = KeyOf { input, epoch, of: InputKeys::state };
    let fields = take_fields(replies, key, STATE_FIELDS.len())?;
    let open = fields.value().and_then(|fields| is_open(fields.first()?));
    Ok((open, read_state(replies, key, fields)))
}

fn read_state(
    replies: &mut Replies,
    key: KeyOf<'_>,
    fields: Reading<Vec<Option<String>>>,
) -> Reading<StateHash> {
    let fields = match fields {
        Reading::Absent => return Reading::Absent,
        Reading::Unreadable => return Reading::Unreadable,
        Reading::Value(fields) => fields,
    };
    let [_, _, _, level1, level1_at, level2, level2_at, onchain, count, ..] = &fields[..] else {
        return Reading::Unreadable;
    };
    Reading::Value(StateHash {
        submissions_count: count.as_deref().and_then(|count| count.parse().ok()),
        level1: level1.clone(),
        level1_at: seconds(replies, key, "level1_completed_at", level1_at),
        level2: level2.clone(),
        level2_at: seconds(replies, key, "level2_completed_at", level2_at),
        onchain: onchain.clone(),
    })
}

/// Fields of a hash as texts. A field that is not UTF-8 leaves the others readable.
fn take_fields(
    replies: &mut Replies,
    key: KeyOf<'_>,
    expected: usize,
) -> Result<Reading<Vec<Option<String>>>, StoreError> {
    let fields = replies.take::<Vec<Option<Vec<u8>>>>(key)?;
    // Redis answers as many fields as were asked for.
    let Some(fields) = fields.filter(|fields| fields.len() == expected) else {
        return Ok(Reading::Unreadable);
    };
    // HMGET answers nulls for a missing hash: it exists if any field does.
    if fields.iter().all(Option::is_none) {
        return Ok(Reading::Absent);
    }
    let mut read = |field: Option<Vec<u8>>| {
        String::from_utf8(field?)
            .map_err(|error| replies.fault(key, ErrorKind::Malformed, format!("a field is no text: {error}")))
            .ok()
    };
    Ok(Reading::Value(fields.into_iter().map(&mut read).collect()))
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

/// The validators in an epoch's aggregated batch, as [`ask_batch_validators`] asks for them.
pub(super) fn take_batch_validators(
    replies: &mut Replies,
    input: InputKeys<'_>,
    epoch: &EpochId,
) -> Result<Reading<Vec<String>>, StoreError> {
    let key = KeyOf { input, epoch, of: InputKeys::batch_validators };
    let Some(json) = replies.take::<Vec<u8>>(key)? else { return Ok(Reading::Unreadable) };
    // GETRANGE answers nothing for a missing key.
    if json.is_empty() {
        return Ok(Reading::Absent);
    }
    let read = match json.len() > LONGEST_LIST {
        true => Err(format!("it is longer than {LONGEST_LIST} bytes")),
        false => serde_json::from_slice::<Vec<String>>(&json).map_err(|error| error.to_string()),
    };
    let mut named = match read {
        Ok(named) if named.len() <= MOST_VALIDATORS => named,
        Ok(named) => {
            replies.fault(key, ErrorKind::Malformed, format!("{} validators are too many", named.len()));
            return Ok(Reading::Unreadable);
        }
        Err(error) => {
            replies.fault(key, ErrorKind::Malformed, error);
            return Ok(Reading::Unreadable);
        }
    };
    let count = named.len();
    named.retain(|validator| !validator.is_empty());
    if named.len() < count {
        replies.fault(key, ErrorKind::Malformed, "a validator is empty, and left out");
    }
    Ok(Reading::Value(named))
}

/// Processed submissions: the ordered set is preferred; the plain set is used when the ordered one is missing.
fn take_submissions(
    replies: &mut Replies,
    ids: KeyOf<'_>,
    plain: Option<KeyOf<'_>>,
    is_recent: bool,
    facts: &mut EpochFacts,
) -> Result<(), StoreError> {
    let ordered = replies.take::<u64>(ids)?;
    let (mut one, mut five) = (Some(0), Some(0));
    if is_recent {
        (one, five) = (replies.take::<u64>(ids)?, replies.take::<u64>(ids)?);
    }
    let has_empty = replies.take::<Option<f64>>(ids)?.flatten().is_some();
    let ordered = count(replies, ids, ordered, has_empty);
    let plain = match plain {
        None => Reading::Absent,
        Some(key) => {
            let members = replies.take::<u64>(key)?;
            let has_empty = replies.take::<bool>(key)?.unwrap_or(false);
            count(replies, key, members, has_empty)
        }
    };
    facts.submissions = ordered.or(plain);
    facts.submissions_recent = if ordered.is_there() || !plain.is_there() { one.zip(five) } else { None };
    Ok(())
}

/// The number of submissions in a set, without the empty one.
fn count(replies: &mut Replies, key: KeyOf<'_>, members: Option<u64>, has_empty: bool) -> Reading<u64> {
    if has_empty {
        replies.fault(key, ErrorKind::Malformed, "a submission is empty, and left out");
    }
    match members.map(|count| count.saturating_sub(has_empty.into())) {
        None => Reading::Unreadable,
        // Of a missing key, the count is 0.
        Some(0) => Reading::Absent,
        Some(count) => Reading::Value(count),
    }
}

/// The facts of one epoch under all spellings of its keys. The preferred spelling wins; the others fill in what it does
/// not have.
#[derive(Default)]
struct Gathered(Option<EpochFacts>);

impl Gathered {
    fn add(&mut self, facts: EpochFacts) {
        let Some(known) = &mut self.0 else {
            self.0 = Some(facts);
            return;
        };
        // An ordered set is preferred to a plain one, both to no set. An unreadable one is preferred to no set, since it must not count
        // as 0.
        let rank = |facts: &EpochFacts| match (facts.submissions, facts.submissions_recent) {
            (Reading::Value(_), Some(_)) => 3,
            (Reading::Value(_), None) => 2,
            (Reading::Unreadable, _) => 1,
            (Reading::Absent, _) => 0,
        };
        if rank(&facts) > rank(known) {
            known.submissions = facts.submissions;
            known.submissions_recent = facts.submissions_recent;
        }
        known.timeline = known.timeline.merge(facts.timeline);
        known.open = known.open.or(facts.open);
        known.start = known.start.or(facts.start);
        known.end = known.end.or(facts.end);
        known.duration = known.duration.or(facts.duration);
        known.state = std::mem::take(&mut known.state).or(facts.state);
        known.data_market = known.data_market.take().or(facts.data_market);
        known.local_batch |= facts.local_batch;
        known.aggregated_batch |= facts.aggregated_batch;
        known.batch_validators = std::mem::take(&mut known.batch_validators).or(facts.batch_validators);
    }
}
