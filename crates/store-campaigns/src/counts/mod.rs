//! Incremental counts of runs, with the migration: what the triggers append becomes counts on our side.
//!
//! `Database::count_changes` applies what was appended, in bounded steps; `Database::counted` reads a run's counts in
//! milliseconds, whatever its size; `Database::recount` counts a run anew: for a run that does not count yet, for one whose rows
//! were removed, and now and then for what no trigger saw. `Database::changed_jobs` lists jobs whose status changed.
//!
//! **Invariant:** each committed change is applied once: a step removes appended rows and adds them to the counts in one
//! transaction, and the base of a recount belongs to a snapshot, whose changes are told apart by their transaction. What can't be
//! applied exactly (deleted or replaced executions, a crash of the server, a truncated table) makes a run count no longer; no run
//! shows a count that is known to be wrong.

mod changed;
mod figures;
mod read;
mod recount;
mod sketch;
mod statements;
mod step;

pub use changed::{ChangedJob, ChangedJobs};
pub use read::Counted;
pub use recount::{RecountOutcome, Recounted};
pub use step::CountStep;
