//! Simulated senders of pictures of connected peers: translator proxies with their miners, and a pool with its proxies. Pure: the
//! time is an argument, all else follows from a seed, so a run can be repeated.
//!
//! [`ProxyModel`] and [`PoolModel`] make pictures, which tests, the demo and `simulate` send. [`Measured`] is what a receiver that
//! misses nothing makes of a proxy's pictures, by the rule of the contract and not by the code under test. [`SenderFault`] says how
//! a sender misbehaves. [`lines`] has the pictures as they are on the wire.
//!
//! Promises: a model of so many miners never has more, no two miners of a picture have the same id, and its memory is bounded however
//! long it runs.

mod fault;
mod lie;
pub mod lines;
mod measured;
mod pool;
mod proxy;

pub use fault::{Conduct, SenderFault};
pub use lie::{GHOST, LIES, Lie, LieKind, leaps};
pub use measured::Measured;
pub use pool::{Balance, FIRST_QUOTE, PoolModel, PoolPicture, PoolPlan, ProxyEntry, Quote};
pub use proxy::{HASHES_PER_WORK, MOST_MINERS, MinerPicture, ProxyModel, ProxyPicture, ProxyPlan, WINDOW};
