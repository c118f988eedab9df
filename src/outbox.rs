//! The outbox as operators see and change it: by the command line, and at their port. It knows no configuration and no actor.

use std::collections::BTreeSet;

use domain::chain::ContractAddress;
use serde::{Deserialize, Serialize};
use store_collector::outbox::{Action, ActionError, Audited, Entry, Hold, Outbox, Selection, Stage};
use store_redis::{Session, Store, StoreError};

/// The most calls that are shown at once.
pub const MOST_SHOWN: usize = 1_000;

/// A lane in short.
#[derive(Clone, Debug, Serialize)]
pub struct LaneView {
    /// The market.
    pub market: ContractAddress,
    /// How many calls wait.
    pub waiting: u64,
    /// How long the first of them has waited, in seconds.
    pub oldest_seconds: f64,
    /// How many calls are dead.
    pub dead: u64,
    /// How many calls are sent again.
    pub again: u64,
    /// How many accepted calls are kept.
    pub sent: u64,
    /// An operator has paused it.
    pub paused: Option<Hold>,
    /// The relayer denied access.
    pub denied: Option<Hold>,
}

/// A call, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct CallView {
    /// Its id at its stage.
    pub id: String,
    /// Since when it is at its stage, in Unix seconds.
    pub since: u64,
    /// Its idempotency key.
    pub key: String,
    /// The call as it is kept, without the token.
    pub call: serde_json::Value,
    /// Why it is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl From<Entry> for CallView {
    fn from(entry: Entry) -> Self {
        let since = entry.since() / 1_000;
        let Entry { id, key, call, why } = entry;
        // One that can't be read is shown as it stands there.
        let call = serde_json::from_str(&call).unwrap_or(serde_json::Value::String(call));
        Self { id, since, key, call, why }
    }
}

/// What an operator asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The market of the lane.
    pub market: ContractAddress,
    /// What to do.
    pub action: Verb,
    /// Why, for a pause.
    #[serde(default)]
    pub why: String,
    /// Of which stage, for a drop.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// All calls of the stage.
    #[serde(default)]
    pub all: bool,
    /// The calls of these ids.
    #[serde(default)]
    pub ids: BTreeSet<String>,
    /// The calls from this epoch on.
    #[serde(default)]
    pub from_epoch: Option<u64>,
    /// The calls up to this epoch.
    #[serde(default)]
    pub to_epoch: Option<u64>,
    /// Only show the calls, and do nothing.
    #[serde(default)]
    pub preview: bool,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Send nothing until a resume, and keep everything.
    Pause,
    /// Send again.
    Resume,
    /// Put dead calls behind those that wait.
    Retry,
    /// Throw calls away.
    Drop,
    /// Send accepted calls again.
    Replay,
}

/// What came of an order.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// The market.
    pub market: ContractAddress,
    /// What was done, or would be.
    pub action: String,
    /// Whether it was only a preview.
    pub preview: bool,
    /// How many calls were moved or dropped, or would be.
    pub calls: u64,
    /// The first of these calls, in a preview.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<CallView>,
}

/// Why an order is not followed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It does not say which calls.
    #[error("say which calls: all of them, their ids, or a range of epochs; only one of these")]
    NoCalls,
    /// It says calls where none are meant.
    #[error("to pause or resume a lane concerns all of its calls: name none")]
    Calls,
    /// The range is empty.
    #[error("the range of epochs is empty: its first epoch must not be higher than its last one")]
    EmptyRange,
    /// A drop without a stage.
    #[error("say whether waiting calls, dead ones or those that are sent again are dropped")]
    NoStage,
    /// The market has no lane.
    #[error(
        "market {0} has no lane: nothing was ever to be told of it; `state-tracker outbox list` shows the markets that have one"
    )]
    NoLane(ContractAddress),
    /// It can't be done.
    #[error(transparent)]
    Action(#[from] ActionError),
}

impl From<StoreError> for OrderError {
    fn from(error: StoreError) -> Self {
        Self::Action(error.into())
    }
}

impl Order {
    fn selection(&self) -> Result<Selection, OrderError> {
        let has_range = self.from_epoch.is_some() || self.to_epoch.is_some();
        match (self.all, self.ids.is_empty(), has_range) {
            (true, true, false) => Ok(Selection::All),
            (false, false, false) => Ok(Selection::Ids(self.ids.clone())),
            (false, true, true) => {
                let (from, to) = (self.from_epoch.unwrap_or(0), self.to_epoch.unwrap_or(u64::MAX));
                if from > to { Err(OrderError::EmptyRange) } else { Ok(Selection::Epochs(from..=to)) }
            }
            _ => Err(OrderError::NoCalls),
        }
    }

    /// The action that it asks for.
    fn action(&self) -> Result<Action, OrderError> {
        let has_none = |action| match self.selection() {
            Err(OrderError::NoCalls) if !self.all && self.ids.is_empty() => Ok(action),
            _ => Err(OrderError::Calls),
        };
        match self.action {
            Verb::Pause => has_none(Action::Pause { why: errors::sanitise(&self.why) }),
            Verb::Resume => has_none(Action::Resume),
            Verb::Retry => Ok(Action::Retry(self.selection()?)),
            Verb::Drop => Ok(Action::Drop(self.stage.ok_or(OrderError::NoStage)?, self.selection()?)),
            Verb::Replay => Ok(Action::Replay(self.selection()?)),
        }
    }
}

/// The outbox behind a store of Redis.
#[derive(Clone, Debug)]
pub struct OutboxDesk {
    store: Store,
    outbox: Outbox,
}

impl OutboxDesk {
    /// The outbox of this store.
    #[must_use]
    pub fn new(store: Store, outbox: Outbox) -> Self {
        Self { store, outbox }
    }

    async fn session(&self) -> Result<Session, StoreError> {
        self.store.session(store_collector::operations::READ_OUTBOX).await
    }

    /// Every lane. A round trip for each.
    ///
    /// # Errors
    /// [`StoreError`] when Redis does not answer.
    pub async fn lanes(&self) -> Result<Vec<LaneView>, StoreError> {
        let mut session = self.session().await?;
        let mut lanes = Vec::new();
        for market in self.outbox.markets(&mut session).await? {
            let lane = self.outbox.lane(&mut session, &market, 1).await?;
            lanes.push(LaneView {
                market,
                waiting: lane.depth(Stage::Waiting),
                oldest_seconds: lane.oldest().unwrap_or_default() as f64 / 1_000.0,
                dead: lane.depth(Stage::Dead),
                again: lane.depth(Stage::Again),
                sent: lane.depth(Stage::Sent),
                paused: lane.holds.paused,
                denied: lane.holds.denied,
            });
        }
        Ok(lanes)
    }

    /// At most `most` calls of a stage, from this id on; from the first one without an id.
    ///
    /// # Errors
    /// [`StoreError`] when Redis does not answer, or for an id that is none.
    pub async fn calls(
        &self,
        market: ContractAddress,
        stage: Stage,
        from: Option<&str>,
        most: usize,
    ) -> Result<Vec<CallView>, StoreError> {
        let mut session = self.session().await?;
        let most = most.min(MOST_SHOWN);
        let found = self.outbox.entries(&mut session, &market, stage, from.unwrap_or("-"), most).await?;
        Ok(found.into_iter().map(CallView::from).collect())
    }

    /// The last actions, the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when Redis does not answer.
    pub async fn audit(&self, most: usize) -> Result<Vec<Audited>, StoreError> {
        let mut session = self.session().await?;
        self.outbox.audit(&mut session, most.min(MOST_SHOWN)).await
    }

    /// Follows an order in the name of `who`, or shows what it would do.
    ///
    /// # Errors
    /// [`OrderError`]; then nothing was done, unless Redis failed meanwhile.
    pub async fn follow(&self, order: &Order, who: &str) -> Result<Done, OrderError> {
        let action = order.action()?;
        let mut session = self.session().await?;
        if !self.outbox.markets(&mut session).await?.contains(&order.market) {
            return Err(OrderError::NoLane(order.market));
        }
        let (market, preview) = (order.market, order.preview);
        let done = |calls, first| Done { market, action: action.to_string(), preview, calls, first };
        if preview {
            let chosen = self.outbox.preview(&mut session, &market, &action).await?;
            let calls = chosen.len() as u64;
            return Ok(done(calls, chosen.into_iter().take(MOST_SHOWN).map(CallView::from).collect()));
        }
        let calls = self.outbox.act(&mut session, &market, &action, who).await?;
        tracing::info!(target: "audit", %market, who, calls, "outbox: {action}");
        Ok(done(calls, Vec::new()))
    }
}
