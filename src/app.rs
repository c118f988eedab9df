//! What each command does.

mod backfill;
mod bar;
mod check;
mod connect;
mod diff;
mod doctor;
mod failures;
mod healthcheck;
mod last_resort;
mod log_writer;
mod logging;
mod output;
mod run;
pub(crate) mod signals;

pub use backfill::backfill;
pub use check::{check, defaults};
pub use diff::diff;
pub use doctor::{access_list, doctor};
pub use failures::{conclude, install};
pub use healthcheck::healthcheck;
pub use output::{complain, print, printed};
pub use run::run;
