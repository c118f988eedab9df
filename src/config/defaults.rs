//! `config/default.toml`, rendered from the table of settings.

use std::fmt::Write as _;

use super::limits::limits;
use super::schema::MARKET_TABLE;
use super::setting::{Bound, Section, Setting};
use super::settings::SECTIONS;
use super::sources::default_value;
use super::value::toml_text;
use super::variables::FILE_SUFFIX;

/// The longest line of a comment in the file.
const WIDTH: usize = 110;

const HEAD: &str = "\
# Every setting of state-tracker with its default. `make docs` writes this file from the table of settings in src/config/settings;
# `state-tracker check --defaults` prints it. The service doesn't read it: copy the settings that you want to change into a file of
# your own, and name that file with --config; config/example.toml is a start.
#
# Precedence, lowest first: defaults, the file of --config (or of STATE_TRACKER_CONFIG), environment variables.
#   - \"Env\" names the variable that sets the key below it.
#   - Every key also has the variable STATE_TRACKER__SECTION__KEY, for example STATE_TRACKER__REDIS__POOL_SIZE=4.
#   - A variable with _FILE after its name names a file that holds the value; one newline at its end is removed.
#   - Lists in variables have commas or white space between their items, or are JSON arrays.
#   - An empty variable counts as not set.
# `state-tracker check` prints the configuration in effect, with the source of each value.
#
# Durations are written with their unit: \"250ms\", \"30s\", \"1m 30s\", \"24h\", \"7 days\".
";

const MARKETS: &str =
    "\n# A market may have a table of its own, in a file; its keys override those of [tracker]:\n";

/// The text of the file.
pub fn defaults_toml() -> String {
    let mut toml = HEAD.to_owned();
    for section in SECTIONS {
        write_section(section, &mut toml);
    }
    // As comments: a table of a market that does not exist would be refused.
    toml += MARKETS;
    for line in MARKET_TABLE.lines() {
        // Writing to a String can't fail.
        let _ = writeln!(toml, "#   {line}");
    }
    toml
}

fn write_section(section: &Section, toml: &mut String) {
    // Writing to a String can't fail.
    let _ = writeln!(toml, "\n[{}]", section.name);
    comment(&section.sentences(), toml);
    for setting in section.settings {
        toml.push('\n');
        comment(&setting.sentences(), toml);
        // On one line if both fit: the file has more than 80 settings.
        let (limits, variable) = (limits_of(setting), variable(setting));
        if "# ".len() + limits.chars().count() + 1 + variable.chars().count() <= WIDTH {
            comment(&format!("{limits} {variable}"), toml);
        } else {
            comment(&limits, toml);
            comment(&variable, toml);
        }
        let _ = writeln!(toml, "{} = {}", setting.parts().1, toml_text(&default_value(setting)));
    }
}

fn limits_of(setting: &Setting) -> String {
    let required = setting.required.map(|_| "Must be set.".to_owned());
    let allowed = allowed(setting).map(|allowed| format!("Allowed: {allowed}."));
    required.into_iter().chain(allowed).collect::<Vec<_>>().join(" ")
}

fn variable(setting: &Setting) -> String {
    match setting.variable {
        Some(variable) if setting.secret => format!("Env: {variable}, {variable}{FILE_SUFFIX}"),
        Some(variable) if setting.seconds => format!("Env: {variable}, also in whole seconds"),
        Some(variable) => format!("Env: {variable}"),
        None => String::new(),
    }
}

/// The limits of a setting, and the setting that bounds it.
pub(crate) fn allowed(setting: &Setting) -> Option<String> {
    let bound = setting.bound.as_ref().map(|bound| match bound {
        Bound::AtMost(key) => format!("at most {key}"),
        Bound::LessThan(key) => format!("less than {key}"),
    });
    match (limits(setting), bound) {
        (Some(limits), Some(bound)) => Some(format!("{limits}, {bound}")),
        (limits, bound) => limits.or(bound),
    }
}

/// Appends comment lines, wrapped between words.
fn comment(text: &str, toml: &mut String) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            toml.push_str(&line);
            toml.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.len() > 1 {
        toml.push_str(&line);
        toml.push('\n');
    }
}
