//! The words of an access list: which commands may be used on which keys.
//!
//! Redis 7 has read-only patterns and selectors. A selector grants its own commands on its own keys, beside what the user may do anyway.
//! So all keys may be read by the commands that read, and each family of keys may be changed by the commands that its needs name, and by
//! no other. Redis 6 knows neither: each command may be used on each key.

use std::collections::{BTreeMap, BTreeSet};

use store_redis::{Need, changes_keys, covers};

/// The words before the granted commands. The client library needs some commands of connections, such as `CLIENT SETINFO`, which
/// older servers don't know by name; the dangerous ones among them are taken away.
const CONNECTION: &str = "-@all +@connection -@dangerous";
/// The probed command that [`CONNECTION`] grants.
const OF_CONNECTION: &str = "ping";
/// The commands that are probed by a subscription and a message, and not by a need.
const OF_CHANNELS: [&str; 2] = ["publish", "subscribe"];
/// The commands of scripts. Redis takes the keys that a script is called with for keys that are read and written.
const SCRIPTS: [&str; 2] = ["eval", "evalsha"];

/// What a server understands of access lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Of Redis 6: patterns for reading and writing at once.
    Redis6,
    /// From Redis 7 on: also patterns for reading, and selectors.
    Redis7,
}

impl Dialect {
    /// That of a version, such as `6.2.14`; `None` for a text that is no version.
    #[must_use]
    pub fn of_version(version: &str) -> Option<Self> {
        let major: u64 = version.split('.').next()?.parse().ok()?;
        Some(if major < 7 { Self::Redis6 } else { Self::Redis7 })
    }

    /// The words behind the name of the user, up to those of particular servers, without quotes. `channels` are patterns.
    pub(super) fn words(self, needs: &[Need], channels: Vec<String>, of_servers: &str) -> Vec<String> {
        let mut words = vec!["on".to_owned()];
        // What begins with `reset` and `clear` makes the command repeatable: rights of an earlier configuration are revoked.
        if self == Self::Redis7 {
            words.push("clearselectors".to_owned());
        }
        words.push("resetkeys".to_owned());
        let sign = if self == Self::Redis7 { "%R~" } else { "~" };
        words.extend(patterns(needs).into_iter().map(|pattern| format!("{sign}{pattern}")));
        words.push("resetchannels".to_owned());
        words.extend(channels.into_iter().map(|channel| format!("&{channel}")));
        words.extend(CONNECTION.split(' ').map(str::to_owned));
        // After -@dangerous, since later words win.
        words.extend(self.commands(needs).into_iter().map(|command| format!("+{command}")));
        words.extend(of_servers.split_whitespace().map(str::to_owned));
        if self == Self::Redis7 {
            for (commands, patterns) in selectors(needs) {
                words.push("(".to_owned());
                words.extend(commands.into_iter().map(|command| format!("+{command}")));
                words.extend(patterns.into_iter().map(|pattern| format!("~{pattern}")));
                words.push(")".to_owned());
            }
        }
        words
    }

    /// The commands that may be used outside selectors, in the order of their names.
    fn commands(self, needs: &[Need]) -> BTreeSet<String> {
        let of_needs = needs.iter().flat_map(|need| {
            need.commands().into_iter().filter(move |command| self == Self::Redis6 || !changes_keys(command))
        });
        let all = of_needs.filter(|command| command != OF_CONNECTION);
        all.chain(OF_CHANNELS.map(str::to_owned)).collect()
    }
}

/// Every pattern, but for those that another one covers.
fn patterns(needs: &[Need]) -> BTreeSet<&str> {
    let all: BTreeSet<&str> = needs.iter().map(Need::pattern).filter(|pattern| !pattern.is_empty()).collect();
    all.iter().copied().filter(|pattern| !all.iter().any(|other| covers(other, pattern))).collect()
}

/// The commands that change keys, with the patterns of these; patterns with the same commands stand together. A script may be called
/// with keys of several families, so all keys that scripts take are in one selector. What the script does with each is checked again.
fn selectors(needs: &[Need]) -> Vec<(BTreeSet<String>, BTreeSet<&str>)> {
    let mut by_pattern: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut of_scripts = BTreeSet::new();
    for need in needs {
        for command in need.commands().into_iter().filter(|command| changes_keys(command)) {
            if SCRIPTS.contains(&command.as_str()) {
                // A script without keys is free to anyone who may run scripts.
                of_scripts.extend(Some(need.pattern()).filter(|pattern| !pattern.is_empty()));
            } else {
                by_pattern.entry(need.pattern()).or_default().insert(command);
            }
        }
    }
    let mut by_commands: BTreeMap<BTreeSet<String>, BTreeSet<&str>> = BTreeMap::new();
    for (pattern, commands) in by_pattern {
        by_commands.entry(commands).or_default().insert(pattern);
    }
    let mut all: Vec<_> = by_commands.into_iter().collect();
    all.push((SCRIPTS.map(str::to_owned).into(), of_scripts));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(pattern: &str, commands: &[&'static str]) -> Need {
        let mut need = Need::new(pattern);
        for command in commands {
            need.probe(command, "key", &[]);
        }
        need
    }

    #[test]
    fn each_family_is_changed_by_its_own_commands_and_read_by_all_that_read() {
        let mut keyless = Need::new("");
        keyless.probe_keyless("MULTI", &[]).probe_keyless("EVAL", &[]);
        let needs = [
            keyless,
            need("m:*", &["GET"]),
            need("m:a", &["ZREM", "EVALSHA"]),
            need("m:b", &["SET"]),
            need("m:c", &["ZREM", "TYPE"]),
            need("x", &["SET", "EVAL"]),
        ];
        let words = Dialect::Redis7.words(&needs, vec!["c".to_owned()], "").join(" ");
        assert_eq!(
            words,
            "on clearselectors resetkeys %R~m:* %R~x resetchannels &c -@all +@connection -@dangerous \
             +get +multi +publish +subscribe +type \
             ( +set ~m:b ~x ) ( +zrem ~m:a ~m:c ) ( +eval +evalsha ~m:a ~x )"
        );
        let words = Dialect::Redis6.words(&needs, vec!["c".to_owned()], "+role").join(" ");
        assert_eq!(
            words,
            "on resetkeys ~m:* ~x resetchannels &c -@all +@connection -@dangerous \
             +eval +evalsha +get +multi +publish +set +subscribe +type +zrem +role"
        );
    }

    #[test]
    fn the_dialect_is_that_of_the_first_number() {
        for (version, dialect) in [
            ("6.2.14", Some(Dialect::Redis6)),
            ("7.0.0", Some(Dialect::Redis7)),
            ("255.255.255", Some(Dialect::Redis7)),
            ("unstable", None),
        ] {
            assert_eq!(Dialect::of_version(version), dialect, "{version}");
        }
    }
}
