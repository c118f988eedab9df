//! What the error types of all crates share: rows of the tables of operations and kinds, bounded text from outside, an error with
//! its causes in one line, a duration as people read it.
//!
//! An error names operation, object and cause, and keeps the cause as its `source()`. It names no remedy: that needs the settings,
//! which only the program at the edge knows.
//!
//! **Invariant:** it imports nothing of the workspace, and does no I/O.

mod line;
mod table;
mod text;

pub use line::{link, one_line};
pub use table::{Kind, Operation};
pub use text::{LONGEST, is_obeyed, outside, rounded};
