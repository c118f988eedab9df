//! Rewards in Redis: the plans that ends of epochs have made, the numbers that the finalizers count, and the calls that become of them.
//!
//! A plan leaves in the step in which its calls join the lane of its market. So a crash between any two steps, or a second tracker,
//! neither skips nor doubles a call; until then the numbers are read anew.

use std::{collections::BTreeMap, ops::RangeInclusive};

use domain::{
    chain::ContractAddress,
    collector::{RelayCall, RewardPlan, Rollover},
};
use store_redis::{Batch, ErrorKind, Fault, KeyType, Replies, Session, StoreError};

use crate::{
    ChainKeys, ChainStore,
    compare_and_set::{CompareAndSet, Written},
    keys::ZERO_TTL,
    operations::{FIND_REWARDS, FREEZE_REWARDS, PLAN_REWARDS, READ_REWARDS},
    values::{parse, text},
};

/// The most slots of a market. Other programs write their number too: one that is wrong must not fill the memory.
pub const MOST_SLOTS: u64 = 100_000;
/// The most slots whose counters are asked for in one command.
pub const SLICE: u64 = 1_000;

/// A plan, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlan {
    /// The plan.
    pub plan: RewardPlan,
    /// Its text in Redis, by which it is removed.
    text: String,
}

/// What is due of a market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The plans, in the order of their epochs.
    pub plans: Vec<StoredPlan>,
    /// The changes of day whose rewards are not due yet.
    pub rollovers: BTreeMap<u64, Rollover>,
    /// The epoch that was released last, and its day.
    pub last: Option<(u64, u64)>,
    /// Plans and changes of day that can't be read. They are left where they are, and hold up no other.
    pub faults: Vec<Fault>,
}

/// What the finalizers have counted of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EligibleNodes {
    /// How many nodes are eligible.
    pub nodes: u64,
    /// Whether it is marked that there were none.
    pub is_marked: bool,
}

/// What becomes of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// The calls, in their order.
    pub calls: Vec<RelayCall>,
    /// The days that had no eligible node.
    pub zero_days: Vec<u64>,
}

impl ChainStore {
    /// What is due of a market: one round trip, at one moment.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or when the chain state can't be read or belongs to another chain or contract.
    pub async fn due_rewards(
        &self,
        session: &mut Session,
        market: &ContractAddress,
    ) -> Result<Due, StoreError> {
        let (operation, keys) = (FIND_REWARDS, &self.keys);
        let (plans, rollovers, fields) =
            (keys.reward_plans(market), keys.rollovers(market), keys.market(market));
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.cmd("GET", keys.identity());
            batch.cmd("HGETALL", &plans);
            batch.cmd("HGETALL", &rollovers);
            batch.cmd("HMGET", &fields).arg(&["current", "last_day"]);
        });
        let mut replies = Replies::new(operation, session.run(operation, &plans, batch).await?);
        self.check_identity(operation, replies.required::<Option<String>>(&keys.identity())?.as_deref())?;
        let mut due = Due::default();
        for (id, text) in replies.required::<Vec<(String, String)>>(&plans)? {
            match serde_json::from_str(&text) {
                Ok(plan) => due.plans.push(StoredPlan { plan, text }),
                Err(error) => {
                    due.faults.push(Fault::new(&plans, ErrorKind::Malformed, format!("plan {id}: {error}")))
                }
            }
        }
        due.plans.sort_by(|one, other| (one.plan.epoch(), &one.plan).cmp(&(other.plan.epoch(), &other.plan)));
        for (epoch, text) in replies.required::<Vec<(String, String)>>(&rollovers)? {
            match epoch.parse().ok().zip(serde_json::from_str(&text).ok()) {
                Some((epoch, rollover)) => drop(due.rollovers.insert(epoch, rollover)),
                None => {
                    due.faults.push(Fault::new(&rollovers, ErrorKind::Malformed, format!("epoch {epoch}")))
                }
            }
        }
        let [current, day] = replies.required::<[Option<String>; 2]>(&fields)?;
        due.last = parse(&fields, current.as_deref())?.zip(parse(&fields, day.as_deref())?);
        Ok(due)
    }

    /// Adds a plan that no end of an epoch makes, unless it is there. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether it was written.
    pub async fn plan_rewards(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        plan: &RewardPlan,
    ) -> Result<(), StoreError> {
        let key = self.keys.reward_plans(market);
        let mut all = CompareAndSet::new(None);
        all.expect(&self.keys.identity(), Some(&self.identity));
        all.expect_field(&key, &plan.id(), None);
        all.write("HSET", &key, KeyType::Hash, &[&plan.id(), &text(plan)]);
        all.run(session, PLAN_REWARDS, &key).await.map(|_| ())
    }

    /// The number of nodes, as it was written last; `None` where nobody has, where it is 0, which no market can have, and with a fault
    /// where it is no number. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn node_count(&self, session: &mut Session) -> Result<(Option<u64>, Vec<Fault>), StoreError> {
        let (operation, key) = (READ_REWARDS, self.keys.nodes());
        let mut batch = Batch::new();
        batch.cmd("GET", &key);
        let mut replies = Replies::new(operation, session.run(operation, &key, batch).await?);
        let text = replies.take::<Option<Vec<u8>>>(&key)?.flatten();
        let mut count = None;
        if let Some(text) = text {
            count = node_count_of(&text);
            if count.is_none() {
                replies.fault(&key, ErrorKind::Malformed, "it is no number");
            }
        }
        Ok((count.filter(|count| *count > 0), replies.into_faults()))
    }

    /// The slots of this range that have a counter of eligible submissions in a day, each with its number, and the counters that are no
    /// number: one command for all of them. The range has at most [`SLICE`] slots. A key of another type counts as missing.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn eligible_submissions(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        day: u64,
        slots: RangeInclusive<u64>,
    ) -> Result<(Vec<(u64, u64)>, Vec<Fault>), StoreError> {
        let operation = READ_REWARDS;
        let keys: Vec<(u64, String)> =
            slots.map(|slot| (slot, ChainKeys::eligible_slot(market, day, slot))).collect();
        let Some((_, route)) = keys.first() else { return Ok(Default::default()) };
        let mut batch = Batch::new();
        let command = batch.cmd("MGET", route);
        keys.iter().skip(1).for_each(|(_, key)| {
            command.arg(key);
        });
        let mut replies = Replies::new(operation, session.run(operation, route, batch).await?);
        // As bytes: one that is not text must not hold up the others.
        let found: Vec<Option<Vec<u8>>> = replies.required(route)?;
        let (mut counters, mut faults) = (Vec::new(), Vec::new());
        for ((slot, key), count) in keys.iter().zip(found) {
            let Some(count) = count else { continue };
            match std::str::from_utf8(&count).ok().and_then(|count| count.parse().ok()) {
                Some(many) => counters.push((*slot, many)),
                None => faults.push(Fault::new(key, ErrorKind::Malformed, "it is no number")),
            }
        }
        Ok((counters, faults))
    }

    /// What the finalizers have counted of these days. A day whose set has another type is left out, with a fault. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn eligible_nodes(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        days: &[u64],
    ) -> Result<(BTreeMap<u64, EligibleNodes>, Vec<Fault>), StoreError> {
        let Some(first) = days.first() else { return Ok(Default::default()) };
        let (operation, route) = (READ_REWARDS, ChainKeys::eligible_nodes(market, *first));
        let mut batch = Batch::new();
        for day in days {
            batch.cmd("SCARD", ChainKeys::eligible_nodes(market, *day));
            batch.cmd("EXISTS", self.keys.zero_count(market, *day));
        }
        let mut replies = Replies::new(operation, session.run(operation, &route, batch).await?);
        let mut all = BTreeMap::new();
        for day in days {
            let nodes = replies.take(&ChainKeys::eligible_nodes(market, *day))?;
            let is_marked = replies.take(&self.keys.zero_count(market, *day))?;
            if let (Some(nodes), Some(is_marked)) = (nodes, is_marked) {
                all.insert(*day, EligibleNodes { nodes, is_marked });
            }
        }
        Ok((all, replies.into_faults()))
    }

    /// Puts what becomes of a plan into the outbox, and removes the plan: all in one step, or nothing. Returns whether it was written; if
    /// not, another tracker was ahead. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether it was written, or when a key holds another type than it should: then it was not.
    pub async fn freeze_rewards(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        of: &StoredPlan,
        frozen: &Frozen,
    ) -> Result<bool, StoreError> {
        let (keys, plans) = (&self.keys, self.keys.reward_plans(market));
        let mut all = CompareAndSet::new(None);
        all.expect(&keys.identity(), Some(&self.identity));
        all.expect_field(&plans, &of.plan.id(), Some(&of.text));
        // First: where the server takes no writes at all, it says so here.
        all.write("HDEL", &plans, KeyType::Hash, &[&of.plan.id()]);
        frozen.calls.iter().for_each(|call| self.add_call(&mut all, market, call));
        for day in &frozen.zero_days {
            all.write("SET", &keys.zero_count(market, *day), KeyType::String, &[&"true", &"EX", &ZERO_TTL]);
        }
        Ok(matches!(all.run(session, FREEZE_REWARDS, &plans).await?, Written::All { .. }))
    }
}

/// The number of nodes in a text that other programs write too. One beyond 64 bits is a very large one.
pub(crate) fn node_count_of(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}
