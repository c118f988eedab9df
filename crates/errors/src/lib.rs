//! What the error types of all crates share: the rows of the tables of operations and kinds, text from outside in a safe form,
//! an error with its causes in one line, rounded durations, the secrets that no text from outside may show.
//!
//! An error names operation, object and cause, and keeps the cause as its `source()`. It names no remedy: a remedy needs the
//! settings, which only the program at the edge knows.
//!
//! **Invariant:** it imports nothing of the workspace, and does no I/O.

mod line;
mod secrets;
mod table;
mod text;

pub use line::{one_line, repeats, without_causes};
pub use secrets::{HIDDEN, SHORTEST_SECRET, SecretsOf, hide, redacted, redacted_line, without_secrets};
pub use table::{Kind, Operation};
pub use text::{MAX_CHARS, controls_terminal, rounded, sanitise};
