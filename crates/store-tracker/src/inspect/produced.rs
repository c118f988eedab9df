//! Under which spellings of a market's name its producers have written.
//!
//! It asks for the keys of the market as a whole by their names, also in spellings that the tracker does not read. The keys of
//! single epochs are not asked for: their names are unknown without a scan.

use redis::{RedisResult, Value};
use store_redis::{Batch, Family, Inspector, Session, StoreError, kind_of};

use crate::{
    keys::{INPUTS, MarketKeys, PRIORITIES},
    operations::EXAMINE_MARKET,
};

/// What is asked about, as errors name it.
const OBJECT: &str = "producers' keys";
/// How many markets one round trip asks about; each has some 70 names at most.
const MARKETS_A_BATCH: usize = 20;

/// The producers' keys under one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// `P:M` in this spelling.
    pub space: String,
    /// How many keys of the market as a whole exist.
    pub keys: u64,
    /// Whether the tracker reads this spelling.
    pub is_read: bool,
}

/// The producers' keys of one market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    /// The spellings with keys, those that the tracker reads first.
    pub found: Vec<Produced>,
    /// Whether the server refused to say for a spelling that the tracker reads.
    pub is_unknown: bool,
    /// Whether it refused for one that the tracker does not read. An access list need not grant those.
    pub hides_spellings: bool,
}

/// The producers' keys of each market in the database of the session, in the order of `markets`.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn produced(session: &mut Session, markets: &[MarketKeys]) -> Result<Vec<Producers>, StoreError> {
    let mut all = Vec::with_capacity(markets.len());
    for markets in markets.chunks(MARKETS_A_BATCH) {
        let answers = session.run(EXAMINE_MARKET, OBJECT, ask(markets, true)).await?;
        let mut found = take(markets, true, answers)?;
        let (absent, others) = others(markets, &found);
        if !others.is_empty() {
            let answers = session.run(EXAMINE_MARKET, OBJECT, others).await?;
            add(&mut found, take(&absent, false, answers)?);
        }
        all.extend(found);
    }
    Ok(all)
}

/// The same in the database that the inspector has selected.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn produced_at(
    inspector: &mut Inspector,
    markets: &[MarketKeys],
) -> Result<Vec<Producers>, StoreError> {
    let mut all = Vec::with_capacity(markets.len());
    for markets in markets.chunks(MARKETS_A_BATCH) {
        let answers = inspector.run(EXAMINE_MARKET, ask(markets, true)).await?;
        let mut found = take(markets, true, answers)?;
        let (absent, others) = others(markets, &found);
        if !others.is_empty() {
            let answers = inspector.run(EXAMINE_MARKET, others).await?;
            add(&mut found, take(&absent, false, answers)?);
        }
        all.extend(found);
    }
    Ok(all)
}

/// The markets without keys where the tracker reads, and the questions about their other spellings; none if it reads all. The other
/// markets are not asked about: a user with the least rights would be refused in vain.
fn others(markets: &[MarketKeys], found: &[Producers]) -> (Vec<MarketKeys>, Batch) {
    let absent = markets.iter().zip(found).filter(|(_, producers)| producers.is_absent());
    let absent: Vec<MarketKeys> = absent.map(|(keys, _)| keys.clone()).collect();
    let others = ask(&absent, false);
    (absent, others)
}

/// Adds what was found of the absent markets, in their order.
fn add(found: &mut [Producers], more: Vec<Producers>) {
    let absent: Vec<&mut Producers> = found.iter_mut().filter(|producers| producers.is_absent()).collect();
    absent.into_iter().zip(more).for_each(|(producers, more)| *producers = more);
}

impl Producers {
    /// Whether the tracker reads no spelling with keys.
    fn is_absent(&self) -> bool {
        self.found.is_empty() && !self.is_unknown
    }
}

/// The families of keys that belong to a market as a whole.
fn families() -> impl Iterator<Item = &'static Family> {
    INPUTS.iter().chain(PRIORITIES).filter(|family| family.ids() == 0)
}

/// One command a key: in a cluster the keys of a market are on different nodes.
fn ask(markets: &[MarketKeys], read: bool) -> Batch {
    let mut batch = Batch::new();
    let spellings = markets.iter().flat_map(MarketKeys::every_spelling);
    for (space, _) in spellings.filter(|(_, is_read)| *is_read == read) {
        for family in families() {
            batch.cmd("EXISTS", family.key(&space, &[]));
        }
    }
    batch
}

fn take(
    markets: &[MarketKeys],
    read: bool,
    answers: Vec<RedisResult<Value>>,
) -> Result<Vec<Producers>, StoreError> {
    let mut answers = answers.into_iter();
    let mut all = Vec::with_capacity(markets.len());
    for keys in markets {
        let mut market = Producers::default();
        for (space, is_read) in keys.every_spelling().into_iter().filter(|(_, is_read)| *is_read == read) {
            let mut found = 0;
            for _ in families() {
                match answers.next() {
                    Some(Ok(Value::Int(one))) => found += u64::from(one > 0),
                    Some(Err(error)) if kind_of(&error).is_outage() => {
                        return Err(StoreError::redis(EXAMINE_MARKET, &space, &error));
                    }
                    _ if is_read => market.is_unknown = true,
                    _ => market.hides_spellings = true,
                }
            }
            if found > 0 {
                market.found.push(Produced { space, keys: found, is_read });
            }
        }
        all.push(market);
    }
    Ok(all)
}
