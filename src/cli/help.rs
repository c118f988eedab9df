//! The end of `--help`: examples, and lists rendered from the tables of settings, endpoints and exit codes.

use std::fmt::Write as _;

use crate::config::{OTHER_VARIABLES, schema};
use crate::exit::{EXITS, Exit};
use crate::http::{ENDPOINTS, Server};

/// Clap wraps its own part by the terminal's width, but this part is fixed: 80 columns fit everywhere.
const WIDTH: usize = 80;

const EXAMPLES: &str = "\
Examples:
  Run with nothing but the environment:
    PROTOCOL_STATE_CONTRACT=0x… DATA_MARKET_ADDRESSES=0x…,0x… state-tracker

  See what is in effect, where it came from, and whether the servers answer:
    state-tracker check --connect --config /etc/state-tracker.toml

  Start a file of your own from every setting with its default and limits:
    state-tracker check --defaults

  Find faults in Redis, each with its remedy:
    state-tracker doctor

  Back up the totals of a market, and restore them:
    state-tracker ledger export 0x… --to ledger.jsonl
    state-tracker ledger import 0x… --from ledger.jsonl --replace

  Count the events in a range of blocks, without writing:
    state-tracker backfill --from 1200300 --to latest --dry-run
";

#[cfg(feature = "demo")]
const DEMO: &str = "
  Watch it at work, crashes included, with servers and load of its own:
    state-tracker demo --for 30s

  Push pictures of simulated miners to a receiver of connected peers:
    state-tracker simulate miners --to 127.0.0.1:8082 --senders 3 --miners 20
";
#[cfg(not(feature = "demo"))]
const DEMO: &str = "";

/// The text of `--help` after the list of commands.
pub(super) fn after_long_help() -> String {
    let mut help = EXAMPLES.to_owned() + DEMO;
    help += "\nEnvironment (above the file of --config; an empty variable is not set):\n";
    table(variables(), &mut help);
    help += "\nEndpoints:\n";
    table(endpoints(), &mut help);
    help += "\nExit codes:\n";
    table(EXITS.iter().map(|exit| (exit.code.to_string(), meaning(exit))).collect(), &mut help);
    help.trim_end().to_owned()
}

/// The meaning of an exit code, with its command if only one command has it.
fn meaning(exit: &Exit) -> String {
    let commands: Vec<String> = exit.commands.iter().map(|command| format!("`{command}`")).collect();
    // A list of most commands would fill lines and tell little: only a single command is named.
    match &commands[..] {
        [command] => format!("{command}: {}", exit.meaning),
        _ => exit.meaning.to_owned(),
    }
}

fn variables() -> Vec<(String, String)> {
    let of_settings = schema::settings().filter_map(|setting| {
        let default = match (setting.required, setting.shown_default()) {
            (Some(_), _) => "; must be set".to_owned(),
            (None, default) if default.is_empty() => String::new(),
            (None, default) => format!(" [{default}]"),
        };
        Some((setting.variable?.to_owned(), setting.brief() + &default))
    });
    let others = OTHER_VARIABLES.map(|(name, text)| (name.to_owned(), text.to_owned()));
    // Two rows stand for hundreds of names: every setting has a generic variable, and every variable a form with _FILE.
    let any = [
        ("STATE_TRACKER__SECTION__KEY", "Any setting of `state-tracker check --defaults`"),
        ("NAME_FILE", "File that holds the value of the variable NAME"),
    ];
    of_settings.chain(others).chain(any.map(|(name, text)| (name.to_owned(), text.to_owned()))).collect()
}

fn endpoints() -> Vec<(String, String)> {
    let default = |key| schema::find(key).map(|setting| setting.shown_default()).unwrap_or_default();
    let address = |server| match server {
        Server::Metrics => format!("{}:{}", default("http.host"), default("http.metrics_port")),
        Server::Operator => default("http.operator_address"),
        Server::Api => default("api.address"),
        Server::Peers => default("peers.proxy_http_address"),
        Server::Senders => default("peers.proxy_address"),
        Server::Campaigns => default("campaigns.gateway_address"),
    };
    let row = |endpoint: &crate::http::Endpoint| {
        (format!("http://{}{}", address(endpoint.server), endpoint.path), endpoint.answer.to_owned())
    };
    let api = "The read API, where it has a token: this page describes it";
    let page = (format!("http://{}/swagger/", address(Server::Api)), api.to_owned());
    ENDPOINTS.iter().map(row).chain([page]).collect()
}

/// Two columns; the second one is wrapped between words.
fn table(rows: Vec<(String, String)>, help: &mut String) {
    const GAP: usize = 2;
    let widest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let indent = GAP + widest + GAP;
    for (name, text) in rows {
        // Writing to a String can't fail.
        let _ = write!(help, "{:GAP$}{name:widest$}", "");
        // Widths are counted in characters: the texts contain `…`, which has three bytes.
        let mut column = indent - 1;
        for (at, word) in text.split(' ').enumerate() {
            // The first word is never wrapped, even if it is too long: an empty line would follow.
            if column + 1 + word.chars().count() > WIDTH && at > 0 {
                let _ = write!(help, "\n{:indent$}{word}", "");
                column = indent + word.chars().count();
            } else {
                let gap = if at == 0 { GAP } else { 1 };
                let _ = write!(help, "{:gap$}{word}", "");
                column += 1 + word.chars().count();
            }
        }
        help.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CONFIG_VARIABLE;

    #[test]
    fn the_help_names_every_variable_exit_code_and_endpoint_and_fits_a_terminal() {
        let help = after_long_help();
        let mut checked = 0;
        for variable in schema::settings().filter_map(|setting| setting.variable).chain([CONFIG_VARIABLE]) {
            assert!(help.contains(&format!("\n  {variable} ")), "{variable} is not in the help");
            checked += 1;
        }
        assert!(checked >= 25, "only {checked} variables found");
        for exit in EXITS {
            assert!(help.contains(&format!("\n  {} ", exit.code)), "{exit:?} is not in the help");
        }
        for endpoint in ENDPOINTS {
            assert!(help.contains(&format!("{} ", endpoint.path)), "{} is not in the help", endpoint.path);
        }
        for line in help.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
