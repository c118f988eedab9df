//! The page of settings.

use crate::config::{OTHER_VARIABLES, SECTIONS, allowed, schema::MARKET_TABLE, setting::Setting};

use super::markdown::{code, head, table};

const INTRODUCTION: &str = "\
Precedence, lowest first: the defaults, the TOML file of `--config` (or of `STATE_TRACKER_CONFIG`), environment variables.

- Every setting has the variable `STATE_TRACKER__SECTION__KEY`, for example `STATE_TRACKER__REDIS__POOL_SIZE=4`.
- A variable with `_FILE` after its name names a file that holds the value, for example
  `REDIS_PASSWORD_FILE=/run/secrets/redis`; one newline at its end is removed.
- Lists in variables are comma lists, lists with one item a line, or JSON arrays. An empty variable counts as not set.
- Durations are written with their unit: `250ms`, `30s`, `1m 30s`, `24h`, `7 days`.
- An unknown key, an unknown variable that begins with `STATE_TRACKER_` and a value that is not allowed are errors; all of them are
  listed at once.
- A SIGHUP applies changes of the settings that say so; every other change needs a restart.

[config/default.toml](../../config/default.toml) has the same as a file, which `state-tracker check --defaults` prints;
[config/example.toml](../../config/example.toml) is a start. `state-tracker check` prints the configuration in effect, with the
source of each value.
";

pub(super) fn page() -> String {
    let mut page = head("Settings", "src/config/settings") + INTRODUCTION;
    for section in SECTIONS {
        page += &format!("\n## `[{}]`\n\n{}\n", section.name, section.sentences());
        for former in section.former {
            page += &format!("`[{former}]` is its former name, which works until 1.0.\n");
        }
        page.push('\n');
        page += &table(
            ["setting", "variable", "default", "allowed", "meaning"],
            section.settings.iter().map(row),
        );
    }
    page += &format!(
        "\n## Tables of markets\n\nA market may have a table of its own in the file; its keys override those of \
         `[tracker]`:\n\n```toml\n{MARKET_TABLE}```\n\n## Other variables\n\n"
    );
    page +=
        &table(["variable", "meaning"], OTHER_VARIABLES.map(|(name, text)| [code(name), text.to_owned()]));
    page
}

fn row(setting: &Setting) -> [String; 5] {
    let (_, key) = setting.parts();
    let default = match setting.required {
        Some(_) => "must be set".to_owned(),
        None => code(&setting.shown_default()),
    };
    let mut meaning = setting.sentences();
    if setting.seconds {
        meaning += " The variable also takes whole seconds.";
    }
    if setting.reloads {
        meaning += " A SIGHUP applies it.";
    }
    let variable = setting.variable.map(code).unwrap_or_default();
    [code(key), variable, default, allowed(setting).unwrap_or_default(), meaning]
}
