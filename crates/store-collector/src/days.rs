//! The days of markets in Redis: the present one, and changes of day, as others see them and as we keep them.

use std::collections::BTreeMap;

use domain::{
    chain::ContractAddress,
    collector::{Effect, Rollover},
};
use serde::Deserialize;
use store_redis::{Batch, ErrorKind, Fault, KeyType, Replies, Session, StoreError};

use crate::{
    ChainStore, Left,
    compare_and_set::CompareAndSet,
    keys::DETAILS_TTL,
    operations,
    values::{rollover_details_of, text},
};

/// The most changes of day that are taken over from a predecessor: it has one at a time.
const MOST_TAKEN_OVER: usize = 100;

/// What a predecessor wrote of a change of day.
#[derive(Deserialize)]
struct Details {
    #[serde(rename = "LastKnownDay")]
    last_day: String,
    #[serde(rename = "BufferEpoch")]
    buffer_epoch: u64,
}

/// The change of day in details that a predecessor wrote; `None` if it can't be read.
pub(crate) fn rollover_of(details: &str) -> Option<Rollover> {
    let details: Details = serde_json::from_str(details).ok()?;
    Some(Rollover { last_day: details.last_day.parse().ok()?, buffer_epoch: details.buffer_epoch })
}

impl ChainStore {
    /// Adds the writes of an effect on days and rewards.
    pub(crate) fn add_of_days(&self, all: &mut CompareAndSet, effect: &Effect) {
        use KeyType::{Hash, Set, String as Text};
        let keys = &self.keys;
        match effect {
            Effect::Day { market, day, last_day, lives } => {
                self.add_field(all, market, "day", day.map(|day| day.number));
                self.add_field(all, market, "since", day.map(|day| day.since));
                self.add_field(all, market, "last_day", *last_day);
                match day.zip(*lives) {
                    Some((day, lives)) => {
                        all.write("SET", &keys.current_day(market), Text, &[&day.number, &"EX", &lives]);
                    }
                    None => all.write("DEL", &keys.current_day(market), Text, &[]),
                }
                match last_day {
                    Some(day) => all.write("SET", &keys.last_known_day(market), Text, &[day]),
                    None => all.write("DEL", &keys.last_known_day(market), Text, &[]),
                }
            }
            Effect::Rollover { market, epoch, rollover } => {
                let (rollovers, set) = (keys.rollovers(market), keys.rolled_over(market));
                let details = keys.rollover_details(market, *epoch);
                match rollover {
                    Some(it) => {
                        all.write("HSET", &rollovers, Hash, &[epoch, &text(it)]);
                        all.write("SADD", &set, Set, &[epoch]);
                        all.write("SET", &details, Text, &[&rollover_details_of(*epoch, it)]);
                    }
                    None => {
                        all.write("HDEL", &rollovers, Hash, &[epoch]);
                        all.write("SREM", &set, Set, &[epoch]);
                        all.write("DEL", &details, Text, &[]);
                    }
                }
            }
            Effect::RolledOver { market, epoch, rollover } => {
                all.write("HDEL", &keys.rollovers(market), Hash, &[epoch]);
                all.write("SREM", &keys.rolled_over(market), Set, &[epoch]);
                let (key, details) =
                    (keys.rollover_details(market, *epoch), rollover_details_of(*epoch, rollover));
                all.write("SET", &key, Text, &[&details, &"EX", &DETAILS_TTL]);
            }
            Effect::Plan { market, plan } => {
                all.write("HSET", &keys.reward_plans(market), Hash, &[&plan.id(), &text(plan)]);
            }
            _ => {}
        }
    }

    /// Adds what a predecessor left of the days of each market: two round trips. What can't be read is reported and left out.
    pub(crate) async fn days_left(
        &self,
        session: &mut Session,
        left: &mut BTreeMap<ContractAddress, Left>,
    ) -> Result<Vec<Fault>, StoreError> {
        let (operation, keys) = (operations::READ_PREDECESSOR, &self.keys);
        let Some(route) = self.markets.first().map(|market| keys.last_known_day(market)) else {
            return Ok(Vec::new());
        };
        let mut batch = Batch::new();
        for market in &self.markets {
            batch.cmd("GET", keys.last_known_day(market));
            batch.cmd("SMEMBERS", keys.rolled_over(market));
        }
        let mut replies = Replies::new(operation, session.run(operation, &route, batch).await?);
        let mut wanted = Vec::new();
        for market in &self.markets {
            let key = keys.last_known_day(market);
            match replies.take::<Option<String>>(&key)?.flatten().map(|day| day.parse()) {
                Some(Ok(day)) => left.entry(*market).or_default().last_day = Some(day),
                Some(Err(_)) => replies.fault(&key, ErrorKind::Malformed, "it is no day"),
                None => {}
            }
            let members: Vec<Vec<u8>> = replies.take(&keys.rolled_over(market))?.unwrap_or_default();
            let epochs = members.iter().filter_map(|member| std::str::from_utf8(member).ok()?.parse().ok());
            wanted.extend(epochs.take(MOST_TAKEN_OVER).map(|epoch: u64| (*market, epoch)));
        }
        let mut faults = replies.into_faults();
        if wanted.is_empty() {
            return Ok(faults);
        }
        let mut batch = Batch::new();
        for (market, epoch) in &wanted {
            batch.cmd("GET", keys.rollover_details(market, *epoch));
        }
        let mut replies = Replies::new(operation, session.run(operation, &route, batch).await?);
        for (market, epoch) in wanted {
            let key = keys.rollover_details(&market, epoch);
            let details = replies.take::<Option<String>>(&key)?.flatten().unwrap_or_default();
            match rollover_of(&details) {
                Some(rollover) => {
                    left.entry(market).or_default().rollovers.insert(epoch, rollover);
                }
                None => {
                    let detail = format!(
                        "epoch {epoch} is marked as the first of a new day, and its details can't be read"
                    );
                    replies.fault(&key, ErrorKind::Malformed, detail);
                }
            }
        }
        faults.extend(replies.into_faults());
        Ok(faults)
    }
}
