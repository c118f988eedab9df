//! What doctor, diff and check ask about a market without being part of the service: the needed rights, the datasets that
//! readers see, entries ahead of the clock. Nothing here writes, and nothing is concluded here.

mod needs;
mod produced;
mod shown;
mod stands;
mod subscribers;

pub use produced::{Produced, Producers, produced, produced_at};
pub use shown::{Ahead, Shown, ahead, shown};
pub use stands::{entries_since, raw_entries, stands};
pub use subscribers::subscribers;
