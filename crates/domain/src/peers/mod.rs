//! The rules of connected peers: which picture counts and for how long, and what was measured.
//!
//! [`Pictures`] holds the newest picture of each source and kind, whatever its content is. [`WindowMeter`] and [`SumMeter`]
//! turn what senders claim into [`Sample`]s.
//! [`Pseudonyms`] names a source without its address.
//!
//! Declared rates and measured work never meet: a sample has one or the other.

mod address;
mod interval;
mod kind;
mod pictures;
mod pseudonym;
mod sample;
mod sum_meter;
#[cfg(test)]
mod tests;
mod window_meter;

pub use kind::{List, PictureKind};
pub use pictures::{Arrival, Now, Origin, PictureView, Pictures, Refused, Rules};
pub use pseudonym::Pseudonyms;
pub use sample::{DeclaredPeer, HASHES_PER_WORK, Measured, PeerKind, Sample, Total, declared};
pub use sum_meter::{Poll, SumMeter, WorkSum};
pub use window_meter::{LONGEST_WINDOW, Window, WindowMeter};
