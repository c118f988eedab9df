//! The page of commands, from the definition of the command line.

use clap::{Arg, Command, CommandFactory};

use crate::{cli::Cli, exit::EXITS};

use super::markdown::{code, head, table};

pub(super) fn page() -> String {
    // `build` adds the global arguments to the commands; without it the page lacks --config.
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let mut page = head("Commands", "src/cli.rs");
    page += "`state-tracker [--config FILE] [COMMAND]`; without a command it runs the service.\n\n";
    page += &table(
        ["command", "does"],
        cli.get_subcommands().map(|command| {
            let name = command.get_name();
            [format!("[`{name}`](#{name})"), about(command)]
        }),
    );
    for command in cli.get_subcommands() {
        page += &section(command, command.get_name(), command.get_name());
        for action in command.get_subcommands() {
            page += &section(
                action,
                &format!("{} {}", command.get_name(), action.get_name()),
                command.get_name(),
            );
        }
    }
    page
}

/// `title` is its whole name, `name` that of the command that it belongs to, by which exit codes are listed.
fn section(command: &Command, title: &str, name: &str) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut section = format!("\n## {title}\n\n{}.\n\n```\n{usage}\n```\n\n", about(command));
    // Every command has --help, which clap adds.
    let arguments: Vec<_> = command.get_arguments().filter(|argument| argument.get_id() != "help").collect();
    section += &table(["argument", "default", "meaning"], arguments.into_iter().map(row));
    if command.has_subcommands() {
        let actions = command.get_subcommands().map(|action| {
            let action_name = action.get_name();
            [format!("[`{title} {action_name}`](#{title}-{action_name})"), about(action)]
        });
        section += &format!("\n{}", table(["command", "does"], actions));
    }
    let codes = EXITS.iter().filter(|exit| exit.commands.is_empty() || exit.commands.contains(&name));
    let codes: Vec<String> = codes.map(|exit| exit.code.to_string()).collect();
    section + &format!("\n[Exit codes](exit-codes.md): {}.\n", codes.join(", "))
}

fn row(argument: &Arg) -> [String; 3] {
    let value = argument.get_value_names().unwrap_or_default().first();
    let takes_value = argument.get_action().takes_values();
    let name = match (argument.get_long(), value) {
        (Some(long), Some(value)) if takes_value => format!("--{long} {value}"),
        (Some(long), _) => format!("--{long}"),
        (None, value) => value.map_or_else(String::new, ToString::to_string),
    };
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults = if takes_value { defaults.collect::<Vec<_>>().join(" ") } else { String::new() };
    // The long help is the whole doc comment, the short one only its first paragraph.
    let help = argument.get_long_help().or(argument.get_help());
    [code(&name), code(&defaults), help.map(ToString::to_string).unwrap_or_default().replace('\n', " ")]
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}
