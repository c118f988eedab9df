//! What operators do with the outbox. Each action is written into the audit log in the step that does it.

use std::{collections::BTreeSet, ops::RangeInclusive};

use domain::chain::ContractAddress;
use serde::{Deserialize, Serialize};
use store_redis::{Batch, Replies, Session, StoreError};

use super::{DENIED, Entry, Hold, Move, Outbox, PAUSED, Stage, malformed, take_time_of};
use crate::{
    keys::MOST_ASIDE,
    operations::{CHANGE_OUTBOX, READ_OUTBOX},
    values::{read, text},
};

/// The most calls that one step moves, and that one round trip reads.
const SLICE: usize = 1_000;

/// The calls that an action is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of the stage.
    All,
    /// Those with these ids.
    Ids(BTreeSet<String>),
    /// Those of these epochs.
    Epochs(RangeInclusive<u64>),
}

impl Selection {
    fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(&entry.id),
            // One that can't be read has no epoch.
            Self::Epochs(epochs) => entry.parsed().is_ok_and(|call| epochs.contains(&call.epoch())),
        }
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all calls"),
            Self::Ids(ids) if ids.len() == 1 => f.write_str(&ids.iter().cloned().collect::<String>()),
            Self::Ids(ids) => write!(f, "{} calls by their ids", ids.len()),
            Self::Epochs(epochs) => write!(f, "epochs {} to {}", epochs.start(), epochs.end()),
        }
    }
}

/// An action of an operator on the lane of a market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends nothing until [`Self::Resume`], and keeps everything.
    Pause {
        /// Why.
        why: String,
    },
    /// Sends again, also where the relayer denied access.
    Resume,
    /// Puts dead calls behind those that wait.
    Retry(Selection),
    /// Throws calls away that are not sent yet, or dead.
    Drop(Stage, Selection),
    /// Sends calls again that the relayer has accepted, in their order and with their keys, while no others wait.
    Replay(Selection),
}

impl Action {
    /// The calls that it moves: the stage where they are, that where they go, and which ones.
    fn moves(&self) -> Option<(Stage, Option<Stage>, &Selection)> {
        match self {
            Self::Pause { .. } | Self::Resume => None,
            Self::Retry(selection) => Some((Stage::Dead, Some(Stage::Waiting), selection)),
            Self::Drop(stage, selection) => Some((*stage, None, selection)),
            Self::Replay(selection) => Some((Stage::Sent, Some(Stage::Again), selection)),
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pause { why } => write!(f, "pause: {why}"),
            Self::Resume => f.write_str("resume"),
            Self::Retry(selection) => write!(f, "retry: {selection}"),
            Self::Drop(stage, selection) => write!(f, "drop from {}: {selection}", stage.as_str()),
            Self::Replay(selection) => write!(f, "replay: {selection}"),
        }
    }
}

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Accepted calls are history, which is not dropped.
    #[error("calls that the relayer has accepted can't be dropped: only the last 1,000 are kept")]
    Accepted,
    /// More calls would be sent again than may wait for that.
    #[error(
        "{asked} calls more would be sent again, and {there} wait for that already: at most {most} may; name fewer epochs"
    )]
    TooMany {
        /// How many are asked for.
        asked: usize,
        /// How many wait already.
        there: u64,
        /// How many may wait.
        most: usize,
    },
}

/// An action of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// When, by the clock of Redis, in Unix milliseconds.
    #[serde(default)]
    pub at: u64,
    /// Who did it.
    pub who: String,
    /// The market of the lane.
    pub market: ContractAddress,
    /// What was done.
    pub what: String,
    /// How many calls were moved or dropped.
    #[serde(default)]
    pub calls: u64,
}

impl Outbox {
    /// The calls that an action would move or drop, in their order. A round trip for each thousand calls of the stage.
    ///
    /// # Errors
    /// [`ActionError`], also where the action would not be done.
    pub async fn preview(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        action: &Action,
    ) -> Result<Vec<Entry>, ActionError> {
        let Some((from, to, selection)) = action.moves() else { return Ok(Vec::new()) };
        if from == Stage::Sent && to.is_none() {
            return Err(ActionError::Accepted);
        }
        let mut chosen = Vec::new();
        let mut first = "-".to_owned();
        loop {
            let page = self.entries(session, market, from, &first, SLICE).await?;
            let Some(last) = page.last().filter(|_| page.len() == SLICE) else {
                chosen.extend(page.into_iter().filter(|entry| selection.has(entry)));
                break;
            };
            first = format!("({}", last.id);
            chosen.extend(page.into_iter().filter(|entry| selection.has(entry)));
        }
        if to == Some(Stage::Again) {
            let there = self.lane(session, market, 0).await?.depth(Stage::Again);
            if there.saturating_add(chosen.len() as u64) > MOST_ASIDE as u64 {
                return Err(ActionError::TooMany { asked: chosen.len(), there, most: MOST_ASIDE });
            }
        }
        Ok(chosen)
    }

    /// Does an action in the name of `who`, and returns how many calls it moved or dropped. Calls that are gone meanwhile are left out.
    ///
    /// # Errors
    /// As [`Self::preview`]. After an error of Redis a part of more than a thousand calls may have been moved; the audit log tells.
    pub async fn act(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        action: &Action,
        who: &str,
    ) -> Result<u64, ActionError> {
        let entry =
            Audited { at: 0, who: who.to_owned(), market: *market, what: action.to_string(), calls: 0 };
        let audit = Some(text(&entry));
        let Some((from, to, _)) = action.moves() else {
            let holds = match action {
                Action::Pause { why } => {
                    let at = Some(take_time_of(session, &self.keys.hold(market)).await?);
                    vec![(PAUSED, Some(text(&Hold { by: who.to_owned(), at, why: why.clone() })))]
                }
                _ => vec![(PAUSED, None), (DENIED, None)],
            };
            let step = Move { audit, holds, ..Move::between(Stage::Waiting, None) };
            self.run(session, market, step).await?;
            return Ok(0);
        };
        let ids: Vec<String> =
            self.preview(session, market, action).await?.into_iter().map(|entry| entry.id).collect();
        let mut moved = 0;
        // One step without calls too: that nothing was found belongs into the audit log.
        for ids in ids.chunks(SLICE).chain(ids.is_empty().then_some(&[][..])) {
            let keeps = to == Some(Stage::Again);
            let step = Move { ids, keeps, audit: audit.clone(), ..Move::between(from, to) };
            moved += self.run(session, market, step).await?.0;
        }
        Ok(moved)
    }

    /// The last actions of operators, the latest first. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or the log can't be read.
    pub async fn audit(&self, session: &mut Session, most: usize) -> Result<Vec<Audited>, StoreError> {
        let key = self.keys.audit();
        let mut batch = Batch::new();
        batch.cmd("XREVRANGE", &key).arg(&["+", "-", "COUNT"]).arg(most);
        let mut replies = Replies::new(READ_OUTBOX, session.run(READ_OUTBOX, &key, batch).await?);
        let found: Vec<(String, Vec<(String, String)>)> = replies.required(&key)?;
        let entry = |(id, fields): (String, Vec<(String, String)>)| {
            let field =
                |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
            let missing = || malformed(CHANGE_OUTBOX, &key, format!("the entry {id} has no action"));
            let entry: Audited = read(&key, field("action").ok_or_else(missing)?)?;
            let calls = field("calls").and_then(|calls| calls.parse().ok()).unwrap_or_default();
            let at = id.split('-').next().and_then(|millis| millis.parse().ok()).unwrap_or_default();
            Ok(Audited { at, calls, ..entry })
        };
        found.into_iter().map(entry).collect()
    }
}
