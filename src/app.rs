//! The commands, one file each, and what they share: log, signals, output, reports of errors.

mod backfill;
mod bar;
mod campaigns;
mod check;
mod connect;
mod consent;
mod detached;
mod diff;
mod doctor;
#[cfg(feature = "failure-points")]
mod failure_points;
mod failures;
mod healthcheck;
mod known;
mod last_resort;
mod ledger;
mod log_writer;
mod logging;
mod migrate_markets;
#[cfg(not(feature = "failure-points"))]
mod no_failure_points;
mod outbox;
mod output;
mod peers;
mod run;
pub(crate) mod signals;

#[cfg(not(feature = "failure-points"))]
use no_failure_points as failure_points;

pub use backfill::backfill;
pub use campaigns::campaigns;
pub use check::{check, defaults};
pub use diff::diff;
pub use doctor::{access_list, doctor};
#[cfg(feature = "failure-points")]
pub use failure_points::armed_by;
pub use failures::{exit_code, install_reports, print_usage_error};
pub use healthcheck::healthcheck;
pub use known::known;
pub use ledger::ledger;
pub use migrate_markets::migrate_markets;
pub use outbox::outbox;
pub use output::{ignoring_closed_pipe, print, print_to_stderr};
pub use peers::peers;
pub use run::run;
