//! What each command does.

mod backfill;
mod bar;
mod check;
mod diff;
mod doctor;
mod healthcheck;
mod logging;
mod run;
pub(crate) mod signals;

pub use backfill::backfill;
pub use check::connect;
pub use diff::diff;
pub use doctor::doctor;
pub use healthcheck::healthcheck;
pub use run::run;

/// Exit code when the service gave up: an actor that it can't do without stayed down, or hung. (`EX_SOFTWARE`
/// of sysexits.h.)
pub const EX_GAVE_UP: u8 = 70;
