//! The page of exit codes.

use crate::exit::{EXITS, Exit};

use super::markdown::{code, head, table};

pub(super) fn page() -> String {
    head("Exit codes", "src/exit.rs")
        + &table(["code", "name", "commands", "meaning", "restart the process"], EXITS.iter().map(row))
        + "\nThe last column is for the supervisor of the process. systemd: `Restart=on-failure` with \
           `RestartPreventExitStatus="
        + &not_to_restart()
        + "`.\n"
}

fn row(exit: &Exit) -> [String; 5] {
    let commands: Vec<String> = exit.commands.iter().map(|command| code(command)).collect();
    let commands = if commands.is_empty() { "all".to_owned() } else { commands.join(", ") };
    let restart = match exit.restart {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    [exit.code.to_string(), exit.name.to_owned(), commands, exit.meaning.to_owned(), restart.to_owned()]
}

/// The exit codes of failures after which a restart does not help.
fn not_to_restart() -> String {
    let codes = EXITS.iter().filter(|exit| exit.restart == Some(false) && exit.code != 0);
    codes.map(|exit| exit.code.to_string()).collect::<Vec<_>>().join(" ")
}
