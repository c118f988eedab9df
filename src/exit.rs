//! The table of exit codes, from which help and reference are rendered.

use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The number that the parent process receives.
    pub code: u8,
    /// A short name.
    pub name: &'static str,
    /// What the code means.
    pub meaning: &'static str,
    /// The commands that may end with it; empty if every command may.
    pub commands: &'static [&'static str],
    /// Whether systemd or another supervisor should start the process again; `None` for codes with which the service never ends.
    pub restart: Option<bool>,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code)
    }
}

/// Declares the codes and joins them in [`EXITS`].
macro_rules! exits {
    ($($NAME:ident = $code:literal, $name:literal, $commands:expr, $restart:expr, $meaning:literal;)+) => {
        $(
            #[doc = $meaning]
            pub const $NAME: Exit = Exit {
                code: $code,
                name: $name,
                meaning: $meaning,
                commands: &$commands,
                restart: $restart,
            };
        )+

        /// Every exit code.
        pub static EXITS: &[Exit] = &[$($NAME),+];
    };
}

// 70 and 78 are EX_SOFTWARE and EX_CONFIG of sysexits.h; 130 is 128 + SIGINT, as shells report it; 2 is clap's own.
exits! {
    SUCCESS = 0, "success", [], Some(false), "The command succeeded, or the service stopped as asked";
    // A restart may help: a port becomes free, a server answers again.
    FAILURE = 1, "failure", [], Some(true),
        "Something failed, such as a port that is taken, a server that does not answer or a comparison; the message says what";
    // The same arguments and the same file fail again: a restart would loop.
    USAGE = 2, "usage", [], Some(false), "The command line has an error";
    WARNINGS = 3, "warnings", ["doctor"], None, "There are warnings";
    ERRORS = 4, "errors", ["doctor"], None, "There are errors";
    GAVE_UP = 70, "gave up", ["run"], Some(true),
        "A mandatory actor stayed down, or an actor did not yield its thread";
    CONFIGURATION = 78, "configuration", ["run", "check", "backfill", "diff", "doctor", "ledger", "healthcheck"], Some(false),
        "The configuration has errors; all are listed, and nothing was started";
    STOPPED_TWICE = 130, "stopped twice", ["run"], Some(false),
        "A second SIGTERM or SIGINT came before the stop had ended";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique_and_in_order() {
        assert!(EXITS.is_sorted_by(|one, next| one.code < next.code));
        for (at, exit) in EXITS.iter().enumerate() {
            assert!(EXITS[..at].iter().all(|other| other.name != exit.name), "{exit:?}");
        }
    }
}
