//! The finalizers of the demo: what they have counted of the first day, for the rewards. It stays as it is, so that it is known what each
//! call of the relayer has to say.

use color_eyre::eyre::{Result, WrapErr};
use redis::aio::MultiplexedConnection;

/// The number of nodes, and so of slots.
pub(super) const NODES: u64 = 40;
/// Every how many epochs the relayer is told of rewards.
pub(super) const EVERY: u64 = 2;
/// The most slots of a call.
pub(super) const PIECE: usize = 12;

/// The counters of a market: slots with their eligible submissions. Every third slot has none.
pub(super) fn counters(market: &str) -> Vec<(u64, u64)> {
    let of_market = market.bytes().map(u64::from).sum::<u64>() % 7;
    (1..=NODES).filter(|slot| slot % 3 != 0).map(|slot| (slot, slot + of_market)).collect()
}

/// Writes the counters of all markets for a day.
///
/// # Errors
/// When Redis does not confirm.
pub(super) async fn count(
    connection: &mut MultiplexedConnection,
    markets: &[String],
    day: u64,
) -> Result<()> {
    let mut pipe = redis::pipe();
    for market in markets.iter().map(|market| market.to_lowercase()) {
        for (slot, many) in counters(&market) {
            pipe.set(format!("EligibleSlotSubmissionsKey.{market}.{day}.{slot}"), many).ignore();
            pipe.sadd(format!("EligibleNodeByDayKey.{market}.{day}"), slot).ignore();
        }
    }
    let confirmed: redis::RedisResult<()> = pipe.query_async(connection).await;
    confirmed.wrap_err("the finalizers can't write")
}
