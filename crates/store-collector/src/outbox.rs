//! The outbox: what the relayer is told, in a lane of its own for each market, until it has accepted it.
//!
//! A call joins its lane in the very step that makes it true, such as the hand-over of an epoch, so what is written is told and what is
//! not is not. The relayer takes calls from the front. A call is always at one stage: each move is one step.
//!
//! Nothing but an operator throws a call away, and each action of an operator is in the audit log.

mod actions;

use std::{collections::BTreeMap, sync::LazyLock};

use domain::{chain::ContractAddress, collector::RelayCall};
use serde::{Deserialize, Serialize};
use store_redis::{Batch, ErrorKind, Family, Lua, Operation, Replies, Session, StoreError};

use crate::{
    keys::{AGAIN, ChainKeys, DEAD, MOST_ASIDE, MOST_AUDITED, MOST_SENT, SENT, WAITING},
    operations::{CHANGE_OUTBOX, READ_OUTBOX},
    values::{take_time, text},
};

pub use actions::{Action, ActionError, Audited, Selection};

static MOVE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("outbox.lua")));

/// The field of a call's idempotency key.
pub(crate) const KEY_FIELD: &str = "key";
/// The field of a call.
pub(crate) const CALL_FIELD: &str = "call";
/// The field of the reason why a call is dead.
const WHY_FIELD: &str = "why";
/// The fields of the hold.
const PAUSED: &str = "paused";
const DENIED: &str = "denied";

/// The stage of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It waits for the relayer, behind those before it.
    Waiting,
    /// The relayer has accepted it.
    Sent,
    /// The relayer refused it for good.
    Dead,
    /// An operator sends it again.
    Again,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Sent, Self::Dead, Self::Again];

    fn family(self) -> &'static Family {
        match self {
            Self::Waiting => &WAITING,
            Self::Sent => &SENT,
            Self::Dead => &DEAD,
            Self::Again => &AGAIN,
        }
    }

    /// The key of the calls of a market at this stage.
    pub(crate) fn key(self, keys: &ChainKeys, market: &ContractAddress) -> String {
        keys.of_market(self.family(), market)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Again => "again",
        }
    }

    /// The most calls of this stage; none for the lane itself, whose calls are not thrown away.
    fn most(self) -> Option<usize> {
        match self {
            Self::Waiting => None,
            Self::Sent => Some(MOST_SENT),
            Self::Dead | Self::Again => Some(MOST_ASIDE),
        }
    }
}

/// A call in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place at its stage: the moment in Unix milliseconds at which it came there, a `-`, and a number.
    pub id: String,
    /// Its idempotency key.
    pub key: String,
    /// The call, as JSON.
    pub call: String,
    /// Why it is dead, if it is.
    pub why: Option<String>,
}

/// Whether a text has the form of an id.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let (millis, number) = text.split_once('-').unwrap_or((text, "0"));
    [millis, number].iter().all(|part| part.parse::<u64>().is_ok())
}

impl Entry {
    /// The call.
    ///
    /// # Errors
    /// The error of the parser, if another program or another version has written it.
    pub fn parsed(&self) -> Result<RelayCall, serde_json::Error> {
        serde_json::from_str(&self.call)
    }

    /// When it came to its stage, by the clock of Redis, in Unix milliseconds.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.id.split('-').next().and_then(|millis| millis.parse().ok()).unwrap_or_default()
    }
}

/// Who holds a lane, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The operator, or the relayer.
    pub by: String,
    /// Since when, in Unix seconds; `None` where it can't be read.
    pub at: Option<u64>,
    /// Why.
    pub why: String,
}

/// What keeps a lane from sending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// An operator has paused it.
    pub paused: Option<Hold>,
    /// The relayer denied access.
    pub denied: Option<Hold>,
}

impl Holds {
    /// Whether it sends.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.paused.is_none() && self.denied.is_none()
    }
}

/// What is there after a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// What keeps the lane from sending.
    pub holds: Holds,
    /// The first call of the stage, by its id: an operator may have thrown away the one that was the second before.
    pub first: Option<String>,
}

/// The lane of a market, as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// When it was read, by the clock of Redis, in Unix milliseconds.
    pub now: u64,
    /// What keeps it from sending.
    pub holds: Holds,
    /// The first calls that wait.
    pub waiting: Vec<Entry>,
    /// The first call that is sent again.
    pub again: Option<Entry>,
    /// How many calls there are at each stage.
    pub depths: BTreeMap<Stage, u64>,
    /// The last action of an operator on any lane, by its id in the audit log.
    pub last_order: Option<String>,
}

impl Lane {
    /// How many calls there are at a stage.
    #[must_use]
    pub fn depth(&self, stage: Stage) -> u64 {
        self.depths.get(&stage).copied().unwrap_or_default()
    }

    /// How long the first call has waited, in milliseconds.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.waiting.first().map(|entry| self.now.saturating_sub(entry.since()))
    }
}

/// A move of calls from a stage.
struct Move<'a> {
    from: Stage,
    to: Option<Stage>,
    /// Whether they stay at their stage as well.
    keeps: bool,
    /// What is written into the audit log.
    audit: Option<String>,
    /// Fields of the hold, with their values or without one.
    holds: Vec<(&'static str, Option<String>)>,
    /// What is noted with each call.
    notes: Vec<(&'static str, &'a str)>,
    ids: &'a [String],
}

impl Move<'_> {
    fn between(from: Stage, to: Option<Stage>) -> Self {
        Self { from, to, keeps: false, audit: None, holds: Vec::new(), notes: Vec::new(), ids: &[] }
    }
}

/// The outbox under the keys of a chain.
#[derive(Clone, Debug)]
pub struct Outbox {
    keys: ChainKeys,
}

impl Outbox {
    /// The outbox under these keys.
    #[must_use]
    pub fn new(keys: ChainKeys) -> Self {
        Self { keys }
    }

    /// The markets that have a lane: those of which the relayer was ever to be told something, and that can be read. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn markets(&self, session: &mut Session) -> Result<Vec<ContractAddress>, StoreError> {
        let key = self.keys.lanes();
        let mut batch = Batch::new();
        batch.cmd("SMEMBERS", &key);
        let mut replies = Replies::new(READ_OUTBOX, session.run(READ_OUTBOX, &key, batch).await?);
        let mut markets: Vec<ContractAddress> =
            replies.required::<Vec<String>>(&key)?.iter().filter_map(|market| market.parse().ok()).collect();
        markets.sort_unstable();
        Ok(markets)
    }

    /// The lane of a market with at most `most` of the calls that wait. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or a key holds another type.
    pub async fn lane(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        most: usize,
    ) -> Result<Lane, StoreError> {
        let hold = self.keys.hold(market);
        let [waiting, again] = [Stage::Waiting, Stage::Again].map(|stage| stage.key(&self.keys, market));
        let mut batch = Batch::new();
        batch.keyless("TIME");
        batch.cmd("HMGET", &hold).arg(&[PAUSED, DENIED]);
        batch.cmd("XRANGE", &waiting).arg(&["-", "+", "COUNT"]).arg(most);
        batch.cmd("XRANGE", &again).arg(&["-", "+", "COUNT"]).arg(1);
        for stage in Stage::ALL {
            batch.cmd("XLEN", stage.key(&self.keys, market));
        }
        let audit = self.keys.audit();
        batch.cmd("XREVRANGE", &audit).arg(&["+", "-", "COUNT", "1"]);
        let mut replies = Replies::new(READ_OUTBOX, session.run(READ_OUTBOX, &waiting, batch).await?);
        let (seconds, micros): (u64, u64) = replies.required(&waiting)?;
        let [paused, denied] = replies.required::<[Option<String>; 2]>(&hold)?;
        let mut lane = Lane {
            now: seconds.saturating_mul(1_000).saturating_add(micros / 1_000),
            holds: Holds { paused: take_hold(paused), denied: take_hold(denied) },
            waiting: take_entries(&mut replies, &waiting)?,
            again: take_entries(&mut replies, &again)?.pop(),
            depths: BTreeMap::new(),
            last_order: None,
        };
        for stage in Stage::ALL {
            lane.depths.insert(stage, replies.required(&stage.key(&self.keys, market))?);
        }
        let orders: Vec<(String, Vec<String>)> = replies.required(&audit)?;
        lane.last_order = orders.into_iter().next().map(|(id, _)| id);
        Ok(lane)
    }

    /// At most `most` calls of a stage from `first` on, an id or `-`. One round trip.
    ///
    /// # Errors
    /// As [`Self::lane`].
    pub async fn entries(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        stage: Stage,
        first: &str,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let key = stage.key(&self.keys, market);
        let mut batch = Batch::new();
        batch.cmd("XRANGE", &key).arg(&[first, "+", "COUNT"]).arg(most);
        let mut replies = Replies::new(READ_OUTBOX, session.run(READ_OUTBOX, &key, batch).await?);
        take_entries(&mut replies, &key)
    }

    /// The relayer has accepted this call of a stage. Returns what is there then. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether this was written: then the call may be sent again, with the same key.
    pub async fn delivered(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        stage: Stage,
        id: &str,
    ) -> Result<After, StoreError> {
        // One that was sent again is among the sent ones already.
        let to = (stage == Stage::Waiting).then_some(Stage::Sent);
        let ids = [id.to_owned()];
        // Access is granted again, or was not denied.
        let step = Move { ids: &ids, holds: vec![(DENIED, None)], ..Move::between(stage, to) };
        Ok(self.run(session, market, step).await?.1)
    }

    /// The relayer has refused this call of a stage for good: it goes to the dead ones with the reason. Returns what is there then. One
    /// round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether this was written.
    pub async fn bury(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        stage: Stage,
        id: &str,
        why: &str,
    ) -> Result<After, StoreError> {
        let ids = [id.to_owned()];
        let notes = vec![(WHY_FIELD, why)];
        let step = Move { ids: &ids, notes, ..Move::between(stage, Some(Stage::Dead)) };
        Ok(self.run(session, market, step).await?.1)
    }

    /// The relayer denies access, or grants it: the lane is held for that, or freed. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether this was written.
    pub async fn set_denied(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        hold: Option<&Hold>,
    ) -> Result<(), StoreError> {
        let step = Move { holds: vec![(DENIED, hold.map(text))], ..Move::between(Stage::Waiting, None) };
        self.run(session, market, step).await.map(|_| ())
    }

    /// Makes a move. Returns how many calls were moved, and what is there then.
    async fn run(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        step: Move<'_>,
    ) -> Result<(u64, After), StoreError> {
        let (key, operation) = (self.keys.hold(market), CHANGE_OUTBOX);
        let of = |stage: Stage| stage.key(&self.keys, market);
        // As good as no limit: a lane is shorter than that, since Redis could not hold it.
        let most = step.to.and_then(Stage::most).unwrap_or(usize::MAX >> 1);
        let answers = session
            .run_scripts(operation, &key, |batch| {
                let command = MOVE.run(batch, &[&key]);
                command.arg(of(step.from)).arg(step.to.map_or_else(String::new, of)).arg(most);
                command.arg(u8::from(step.keeps));
                let audit = step.audit.as_deref();
                command.arg(audit.map_or_else(String::new, |_| self.keys.audit()));
                command.arg(MOST_AUDITED).arg(audit.unwrap_or_default());
                command.arg(step.holds.len());
                for (field, value) in &step.holds {
                    command.arg(*field).arg(value.as_deref().unwrap_or_default());
                }
                command.arg(step.notes.len());
                for (field, value) in &step.notes {
                    command.arg(*field).arg(*value);
                }
                command.arg(step.ids);
            })
            .await?;
        let mut replies = Replies::new(operation, answers);
        let (moved, paused, denied, first): (u64, String, String, String) = replies.required(&key)?;
        let holds = Holds { paused: take_hold(Some(paused)), denied: take_hold(Some(denied)) };
        Ok((moved, After { holds, first: Some(first).filter(|first| !first.is_empty()) }))
    }
}

/// The calls of the next answer.
fn take_entries(replies: &mut Replies, key: &str) -> Result<Vec<Entry>, StoreError> {
    let found: Vec<(String, BTreeMap<String, String>)> = replies.required(key)?;
    let entry = |(id, mut fields): (String, BTreeMap<String, String>)| Entry {
        key: fields.remove(KEY_FIELD).unwrap_or_default(),
        call: fields.remove(CALL_FIELD).unwrap_or_default(),
        why: fields.remove(WHY_FIELD),
        id,
    };
    Ok(found.into_iter().map(entry).collect())
}

fn malformed(operation: Operation, key: &str, detail: impl std::fmt::Display) -> StoreError {
    StoreError::new(operation, key, ErrorKind::Malformed, detail)
}

/// A hold, if there is one. One that can't be read holds its lane all the same, until an operator resumes it: to send what somebody
/// wanted to hold back can't be undone.
fn take_hold(text: Option<String>) -> Option<Hold> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| Hold {
        by: "unknown".to_owned(),
        at: None,
        why: format!("the hold can't be read ({error}): resume the lane if nobody needs it"),
    }))
}

/// The time of Redis, in Unix seconds. One round trip.
async fn take_time_of(session: &mut Session, route: &str) -> Result<u64, StoreError> {
    let mut batch = Batch::new();
    batch.keyless("TIME");
    let mut replies = Replies::new(READ_OUTBOX, session.run(READ_OUTBOX, route, batch).await?);
    take_time(&mut replies, route)
}
