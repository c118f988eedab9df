//! What the read API shows: the outputs of the collector, and what other programs have written about the submissions of a market. Only
//! reads; which numbers a client may ask for, and how they are shown, its callers decide.

use domain::chain::ContractAddress;
use redis::FromRedisValue;
use store_redis::{Batch, ErrorKind, Need, PROBE_ARGUMENT, Replies, Session, StoreError};

use crate::{
    keys::{
        ACTIVE_NODES, BATCH_COUNT, CURRENT_DAY, ChainKeys, DISCARDED_OF_DAY, DISCARDED_OF_EPOCH,
        ELIGIBLE_NODES, ELIGIBLE_OF_EPOCH, ELIGIBLE_SLOT, EPOCH_SUBMISSIONS, LAST_KNOWN_DAY, LAST_SIMULATED,
        LAST_SNAPSHOT, MARKET, NODE_VERSION, SLOT, named,
    },
    operations::READ_API,
};

/// The most bytes of members that one reading returns.
pub const LARGEST_READING: usize = 16 << 20;
/// Days whose members are read in one round trip.
const DAYS_A_TRIP: usize = 8;

/// A hash; without entries there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Its key.
    pub key: String,
    /// Its fields with their values.
    pub all: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The submissions of a slot in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayCounts {
    /// The day.
    pub day: u64,
    /// The eligible ones, if the finalizer has counted them.
    pub eligible: Option<u64>,
    /// All of them.
    pub total: u64,
}

/// Which last submission of a slot is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastSubmission {
    /// A simulated one.
    Simulated,
    /// One for a released epoch.
    Snapshot,
}

/// Reads the keys of markets. The outputs of the collector are those under its own prefix. Each error is a [`StoreError`]: a key of
/// another type or with another content concerns that request alone.
#[derive(Clone, Debug)]
pub struct Reader {
    keys: ChainKeys,
}

impl Reader {
    /// A reader of the outputs under these keys, and of what others write.
    #[must_use]
    pub fn new(keys: ChainKeys) -> Self {
        Self { keys }
    }

    /// The current day of a market: the one until whose end the key lives, or else the last one that is known. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn current_day(
        &self,
        session: &mut Session,
        market: &ContractAddress,
    ) -> Result<Option<u64>, StoreError> {
        let keys = &self.keys;
        let [current, last, state] =
            [keys.current_day(market), keys.last_known_day(market), keys.market(market)];
        let mut batch = Batch::new();
        batch.cmd("GET", &current);
        batch.cmd("GET", &last);
        batch.cmd("HGET", &state).arg("day");
        let mut replies = Replies::new(READ_API, session.run(READ_API, &current, batch).await?);
        let mut day = None;
        for key in [&current, &last, &state] {
            let found = number(key, replies.required(key)?)?;
            day = day.or(found);
        }
        Ok(day)
    }

    /// The submissions of a slot in a day and the days before it. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        slot: u64,
        days: &[u64],
    ) -> Result<Vec<DayCounts>, StoreError> {
        let mut batch = Batch::new();
        let eligible = |day: u64| ELIGIBLE_SLOT.key("", &[&market.lower(), &day, &slot]);
        for day in days {
            batch.cmd("GET", eligible(*day));
            batch.cmd("GET", self.keys.slot(market, *day, slot));
        }
        let mut replies = Replies::new(READ_API, session.run(READ_API, &market.lower(), batch).await?);
        let mut counts = Vec::with_capacity(days.len());
        for day in days {
            let (of_eligible, of_all) = (eligible(*day), self.keys.slot(market, *day, slot));
            let eligible = number(&of_eligible, replies.required(&of_eligible)?)?;
            let total = number(&of_all, replies.required(&of_all)?)?.unwrap_or_default();
            counts.push(DayCounts { day: *day, eligible, total });
        }
        Ok(counts)
    }

    /// How many slots were eligible in each of these days. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn eligible_nodes(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        days: &[u64],
    ) -> Result<Vec<u64>, StoreError> {
        let keys: Vec<String> = days.iter().map(|day| eligible_nodes(market, *day)).collect();
        let mut batch = Batch::new();
        keys.iter().for_each(|key| {
            batch.cmd("SCARD", key);
        });
        let mut replies = Replies::new(READ_API, session.run(READ_API, &market.lower(), batch).await?);
        keys.iter().map(|key| replies.required(key)).collect()
    }

    /// The slots that were eligible in each of these days, as other programs have written them. A round trip for each eight days.
    ///
    /// # Errors
    /// [`StoreError`], of the kind [`ErrorKind::TooLarge`] for more than [`LARGEST_READING`].
    pub async fn eligible_slots(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        days: &[u64],
    ) -> Result<Vec<Vec<String>>, StoreError> {
        let (mut all, mut bytes) = (Vec::with_capacity(days.len()), 0);
        for days in days.chunks(DAYS_A_TRIP) {
            let keys: Vec<String> = days.iter().map(|day| eligible_nodes(market, *day)).collect();
            let mut batch = Batch::new();
            keys.iter().for_each(|key| {
                batch.cmd("SMEMBERS", key);
            });
            let mut replies = Replies::new(READ_API, session.run(READ_API, &market.lower(), batch).await?);
            for key in &keys {
                let members: Vec<Vec<u8>> = replies.required(key)?;
                bytes += members.iter().map(Vec::len).sum::<usize>();
                if bytes > LARGEST_READING {
                    let detail = format!("the members of these days have more than {LARGEST_READING} bytes");
                    return Err(StoreError::new(READ_API, key, ErrorKind::TooLarge, detail));
                }
                let text = |member: Vec<u8>| String::from_utf8_lossy(&member).into_owned();
                all.push(members.into_iter().map(text).collect());
            }
        }
        Ok(all)
    }

    /// The number of batches of an epoch; `None` where it is not known. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn batch_count(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        epoch: u64,
    ) -> Result<Option<u64>, StoreError> {
        let key = self.keys.batch_count(market, epoch);
        let text = one(session, "GET", &key, None).await?;
        number(&key, text)
    }

    /// The number of nodes that submitted for an epoch. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn active_nodes(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        epoch: u64,
    ) -> Result<u64, StoreError> {
        let key = ACTIVE_NODES.key("", &[&market.lower(), &epoch]);
        one(session, "SCARD", &key, None).await
    }

    /// The submissions of an epoch by their ids; empty where there are none. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn epoch_submissions(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        epoch: u64,
    ) -> Result<Entries, StoreError> {
        let key = EPOCH_SUBMISSIONS.key("", &[&market.lower(), &epoch]);
        entries(session, key).await
    }

    /// The eligible submissions of each slot in an epoch; empty where there are none. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn eligible_of_epoch(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        (day, epoch): (u64, u64),
    ) -> Result<Entries, StoreError> {
        let key = ELIGIBLE_OF_EPOCH.key("", &[&market.lower(), &day, &epoch]);
        entries(session, key).await
    }

    /// The discarded submissions of an epoch by projects; empty where there are none. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn discarded_of_epoch(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        (day, epoch): (u64, u64),
    ) -> Result<Entries, StoreError> {
        let key = DISCARDED_OF_EPOCH.key("", &[&market.lower(), &day, &epoch]);
        entries(session, key).await
    }

    /// The discarded submissions of a slot in a day, with the key that holds them; `None` where there are none. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn discarded_of_day(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        day: u64,
        slot: u64,
    ) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        let key = DISCARDED_OF_DAY.key("", &[&market.lower(), &day]);
        let found: Option<Vec<u8>> = one(session, "HGET", &key, Some(slot)).await?;
        Ok(found.map(|value| (key, value)))
    }

    /// When the last submission of a slot came, in Unix seconds, and the version of its node, each if it is known. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_submission(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        which: LastSubmission,
        slot: u64,
    ) -> Result<(Option<u64>, Option<String>), StoreError> {
        let family = match which {
            LastSubmission::Simulated => LAST_SIMULATED,
            LastSubmission::Snapshot => LAST_SNAPSHOT,
        };
        let (at, version) = (family.key("", &[&market.lower(), &slot]), node_version(market, slot));
        let mut batch = Batch::new();
        batch.cmd("GET", &at);
        batch.cmd("GET", &version);
        let mut replies = Replies::new(READ_API, session.run(READ_API, &at, batch).await?);
        let at = number(&at, replies.required(&at)?)?;
        Ok((at, text(replies.required(&version)?)))
    }

    /// The version of the node of a slot; `None` where it is not known. One round trip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn node_version(
        &self,
        session: &mut Session,
        market: &ContractAddress,
        slot: u64,
    ) -> Result<Option<String>, StoreError> {
        Ok(text(one(session, "GET", &node_version(market, slot), None).await?))
    }

    /// The rights that it needs for these markets.
    #[must_use]
    pub fn needs(&self, markets: &[ContractAddress]) -> Vec<Need> {
        let mut all = Vec::new();
        let mut of = |pattern: String, key: String, command, arguments| {
            let mut need = Need::new(pattern);
            need.probe(command, &key, arguments);
            all.push(need);
        };
        for market in markets {
            let market = market.lower();
            for family in [CURRENT_DAY, LAST_KNOWN_DAY, SLOT, BATCH_COUNT] {
                let name = named(&family, &market);
                of(self.keys.pattern(&name), self.keys.probe(&name), "GET", &[][..]);
            }
            let state = named(&MARKET, &market);
            of(self.keys.pattern(&state), self.keys.probe(&state), "HGET", &[PROBE_ARGUMENT]);
            for (family, command, arguments) in [
                (ELIGIBLE_SLOT, "GET", &[][..]),
                (LAST_SIMULATED, "GET", &[]),
                (LAST_SNAPSHOT, "GET", &[]),
                (ELIGIBLE_NODES, "SCARD", &[]),
                (ELIGIBLE_NODES, "SMEMBERS", &[]),
                (ACTIVE_NODES, "SCARD", &[]),
                (EPOCH_SUBMISSIONS, "HGETALL", &[]),
                (ELIGIBLE_OF_EPOCH, "HGETALL", &[]),
                (DISCARDED_OF_EPOCH, "HGETALL", &[]),
                (DISCARDED_OF_DAY, "HGET", &[PROBE_ARGUMENT]),
            ] {
                let name = named(&family, &market);
                of(name.clone(), name.replace('*', PROBE_ARGUMENT), command, arguments);
            }
            let version = |slot: &str| NODE_VERSION.key("", &[&market, &slot]);
            of(version("*"), version(PROBE_ARGUMENT), "GET", &[]);
        }
        all
    }
}

fn eligible_nodes(market: &ContractAddress, day: u64) -> String {
    ELIGIBLE_NODES.key("", &[&market.lower(), &day])
}

fn node_version(market: &ContractAddress, slot: u64) -> String {
    NODE_VERSION.key("", &[&market.lower(), &slot])
}

/// The answer to one command.
async fn one<T: FromRedisValue>(
    session: &mut Session,
    command: &str,
    key: &str,
    argument: Option<u64>,
) -> Result<T, StoreError> {
    let mut batch = Batch::new();
    batch.cmd(command, key).arg(argument);
    Replies::new(READ_API, session.run(READ_API, key, batch).await?).required(key)
}

async fn entries(session: &mut Session, key: String) -> Result<Entries, StoreError> {
    let all = one(session, "HGETALL", &key, None).await?;
    Ok(Entries { key, all })
}

/// A text that others write: an empty one is none, and what is no UTF-8 is shown as far as it is.
fn text(bytes: Option<Vec<u8>>) -> Option<String> {
    let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number that others write: an empty text is none.
fn number(key: &str, bytes: Option<Vec<u8>>) -> Result<Option<u64>, StoreError> {
    let Some(text) = text(bytes) else { return Ok(None) };
    let malformed = |error| StoreError::caused(READ_API, key, ErrorKind::Malformed, error);
    text.trim().parse().map(Some).map_err(malformed)
}
