//! What doctor, diff and check ask about a market without being part of the service: what the user may do, what readers
//! find, what lies ahead of the clock. Nothing here writes, and nothing is concluded here.

mod rights;
mod shown;
mod stands;
mod subscribers;

pub use rights::{Refusal, rights};
pub use shown::{Ahead, Shown, ahead, shown};
pub use stands::{entries_since, raw_entries, stands};
pub use subscribers::subscribers;
