//! The rights that a program needs on a server, and the check whether its user has them.
//!
//! The check changes no key. Redis checks rights before arguments, so a command is sent with arguments that the server
//! must refuse, or for a key, a field or a member that does not exist. A command without such a form (`SADD`, `LPUSH`) is
//! not sent: a script asks the server whether the user may run it, which Redis supports from version 7 on.

use std::collections::{BTreeSet, HashMap};

use redis::{RedisResult, Value, from_redis_value};

use crate::{
    answers::kind_of, batch::Batch, connect::Session, error::StoreError, kind::ErrorKind, operations,
};

/// The argument of probes. It is no number, so that numeric commands refuse it, and names no key, field or member that exists.
pub const PROBE_ARGUMENT: &str = "state-tracker-doctor";

/// Returns 1 if the user may run a command, or if the server is too old to say. ARGV: the command's words.
const ACL_CHECK: &str =
    "if not redis.acl_check_cmd or redis.acl_check_cmd(unpack(ARGV)) then return 1 end return 0";

/// The commands that are granted by their subcommands.
const CONTAINERS: [&str; 3] = ["MEMORY", "PUBSUB", "SCRIPT"];

/// Returns 1 only if the server says that the user may run a command. ARGV: the command's words.
const ACL_ASK: &str =
    "if redis.acl_check_cmd and redis.acl_check_cmd(unpack(ARGV)) then return 1 end return 0";

/// Commands that change no key, those that this program sends among them. All others are taken to change keys, so that one that is missing here
/// is granted for its own keys alone. Scripts are among those: the server can't know what they do.
const READING: [&str; 49] = [
    "dbsize",
    "discard",
    "exec",
    "exists",
    "get",
    "getrange",
    "hexists",
    "hget",
    "hgetall",
    "hkeys",
    "hlen",
    "hmget",
    "hscan",
    "llen",
    "lrange",
    "memory",
    "mget",
    "multi",
    "ping",
    "pttl",
    "publish",
    "pubsub",
    "scan",
    "scard",
    "script",
    "sismember",
    "smembers",
    "smismember",
    "srandmember",
    "sscan",
    "strlen",
    "subscribe",
    "time",
    "ttl",
    "type",
    "unsubscribe",
    "unwatch",
    "watch",
    "xlen",
    "xrange",
    "xrevrange",
    "zcard",
    "zcount",
    "zmscore",
    "zrange",
    "zrangebyscore",
    "zrevrange",
    "zrevrangebyscore",
    "zscore",
];

/// Whether a command, as a word of an access list, changes keys.
#[must_use]
pub fn changes_keys(command: &str) -> bool {
    let name = command.split('|').next().unwrap_or_default();
    !READING.contains(&name)
}

/// Keys that a program uses, and a probe for each command that it uses them with.
#[derive(Clone, Debug)]
pub struct Need {
    pattern: String,
    is_for_operators: bool,
    probes: Vec<Probe>,
}

#[derive(Clone, Debug)]
struct Probe {
    command: &'static str,
    form: Form,
    key: String,
    arguments: &'static [&'static str],
}

/// How a right is probed.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Send the command in a form without effect.
    Sent,
    /// Rename the key to itself. It does not exist, so the server must refuse.
    Renamed,
    /// Run [`ACL_CHECK`] instead of the command.
    Asked,
    /// Send a command that names no key, or one that follows its other words.
    Keyless,
    /// Call a script without effect, or one that the server does not know.
    Script,
}

/// The subject of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command, whatever its keys are.
    Command,
    /// The keys of the pattern.
    Keys,
    /// The channel.
    Channel,
}

/// A right that the user lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// The command.
    pub command: &'static str,
    /// The pattern of the keys, or the channels.
    pub pattern: String,
    /// Whether the server refuses the command, the keys or the channel.
    pub denied: Denied,
    /// The server's message.
    pub detail: String,
    /// Whether only commands of operators need it, and the service does not.
    pub is_for_operators: bool,
}

impl MissingRight {
    /// A missing right from the server's message, which names the subject.
    #[must_use]
    pub fn new(command: &'static str, pattern: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pattern, detail) = (pattern.into(), detail.into());
        // The code is NOPERM for all three; only the words differ, and they are the same in all versions: "… no permissions to
        // run the 'zadd' command", "… to access a key", "… a channel".
        let denied = match () {
            () if detail.contains("to run the") => Denied::Command,
            () if detail.contains("channel") => Denied::Channel,
            () => Denied::Keys,
        };
        Self { command, pattern, denied, detail, is_for_operators: false }
    }
}

impl Need {
    /// A need of keys of this pattern, without probes.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self { pattern: pattern.into(), is_for_operators: false, probes: Vec::new() }
    }

    /// The same need, which only commands of operators have: without it the service runs.
    #[must_use]
    pub fn for_operators(self) -> Self {
        Self { is_for_operators: true, ..self }
    }

    /// The commands that every program needs whatever its keys are: those of transactions and scripts.
    #[must_use]
    pub fn of_any_key() -> Self {
        let mut need = Self::new("");
        // MULTI with EXEC right behind it: probes queued between them would run outside a transaction where MULTI is denied.
        for (command, arguments) in [
            ("MULTI", &[][..]),
            ("EXEC", &[]),
            ("SCRIPT", &["LOAD", "return 1"]),
            ("PING", &[]),
            // The pool sends it with each connection that it reuses.
            ("UNWATCH", &[]),
            // A script without keys asks the server about rights.
            ("EVAL", &["return 1", "0"]),
        ] {
            need.probe_keyless(command, arguments);
        }
        need
    }

    /// The pattern; empty where the commands name no key.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The commands, as words of an access list: `get`, `script|load`.
    #[must_use]
    pub fn commands(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for Probe { command, arguments, .. } in &self.probes {
            let subcommand = arguments.first().filter(|_| CONTAINERS.contains(command));
            let words = subcommand.map_or_else(|| (*command).to_owned(), |word| format!("{command}|{word}"));
            all.insert(words.to_lowercase());
        }
        all
    }

    /// Adds a probe that sends the command. The server must refuse the arguments, or they must name nothing that exists.
    pub fn probe(
        &mut self,
        command: &'static str,
        key: &str,
        arguments: &'static [&'static str],
    ) -> &mut Self {
        self.push(command, Form::Sent, key, arguments)
    }

    /// Adds a probe for a command that changes the key whatever its arguments are: the server is asked, and the command not sent.
    pub fn probe_without_sending(&mut self, command: &'static str, key: &str) -> &mut Self {
        self.push(
            command,
            Form::Asked,
            key,
            if command == "DEL" || command == "UNLINK" { &[] } else { &["1"] },
        )
    }

    /// Adds a probe that sends a command without a key.
    pub fn probe_keyless(&mut self, command: &'static str, arguments: &'static [&'static str]) -> &mut Self {
        self.push(command, Form::Keyless, "", arguments)
    }

    /// Adds a probe of `RENAME`, for a key that does not exist.
    pub fn probe_rename(&mut self, key: &str) -> &mut Self {
        self.push("RENAME", Form::Renamed, key, &[])
    }

    /// Adds a probe of `MEMORY USAGE`.
    pub fn probe_memory(&mut self, key: &str) -> &mut Self {
        self.push("MEMORY", Form::Keyless, key, &["USAGE"])
    }

    /// Adds probes for scripts with this key: they are called by hash, and a server that lacks one is sent its text.
    pub fn probe_script(&mut self, key: &str) -> &mut Self {
        self.push("EVALSHA", Form::Script, key, &[]).push("EVAL", Form::Script, key, &[])
    }

    /// What the doctor asks about any key of this pattern. The service needs none of it.
    #[must_use]
    pub fn examination(&self) -> Self {
        let mut need = Self::new(&self.pattern).for_operators();
        let key = self.probes.first().map_or("", |probe| probe.key.as_str());
        need.probe("TYPE", key, &[]).probe("PTTL", key, &[]).probe_memory(key);
        need
    }

    fn push(
        &mut self,
        command: &'static str,
        form: Form,
        key: &str,
        arguments: &'static [&'static str],
    ) -> &mut Self {
        self.probes.push(Probe { command, form, key: key.to_owned(), arguments });
        self
    }
}

/// A pattern of an access list that matches this text. Blanks separate the words of an access list, so `?` stands for a blank.
#[must_use]
pub fn escape_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '*' | '?' | '[' | ']' | '\\' => pattern.extend(['\\', character]),
            character if character.is_whitespace() || character.is_control() => pattern.push('?'),
            character => pattern.push(character),
        }
    }
    pattern
}

/// Whether a pattern of an access list matches every key that another one matches. `false` where that takes more than a look at
/// their beginnings.
#[must_use]
pub fn covers(pattern: &str, other: &str) -> bool {
    pattern.strip_suffix('*').is_some_and(|prefix| {
        // `\\*` at the end is a star of the name.
        !prefix.ends_with('\\') && pattern != other && other.starts_with(prefix)
    })
}

/// The rights that the user lacks, found in one round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn missing_rights(session: &mut Session, needs: &[Need]) -> Result<Vec<MissingRight>, StoreError> {
    let mut batch = Batch::new();
    let probes: Vec<(&Need, &Probe)> =
        needs.iter().flat_map(|need| need.probes.iter().map(move |probe| (need, probe))).collect();
    for (_, Probe { command, form, key, arguments }) in &probes {
        match form {
            Form::Sent => batch.cmd(command, key).arg(arguments),
            Form::Renamed => batch.cmd(command, key).arg(key),
            Form::Keyless if key.is_empty() => batch.keyless(command).arg(arguments),
            Form::Keyless => batch.keyless(command).arg(arguments).arg(key),
            // By EVAL, with its text: SCRIPT LOAD would need another right, for a script that runs once. Without a key, since the right
            // to pass this key to scripts is another one.
            Form::Asked => batch.keyless("EVAL").arg(ACL_CHECK).arg(0).arg(command).arg(key).arg(arguments),
            Form::Script if *command == "EVAL" => batch.script("EVAL", "return 1", &[key]),
            // No script has this hash: with the right to run it, the answer is NOSCRIPT.
            Form::Script => batch.script("EVALSHA", &"0".repeat(40), &[key]),
        };
    }
    // Without a transaction, so that one refusal does not discard the other answers.
    let answers = session.run(operations::READ_RIGHTS, "access list", batch).await?;
    let all = probes.into_iter().zip(answers);
    Ok(all.filter_map(|((need, probe), answer)| refusal(need, probe, answer)).collect())
}

/// Whether the user may run each of these commands, by what the server says of it; `false` where it does not say, as before Redis 7.
/// None of them is run.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn may_run(session: &mut Session, commands: &[&[&str]]) -> Result<Vec<bool>, StoreError> {
    let mut batch = Batch::new();
    for words in commands {
        batch.keyless("EVAL").arg(ACL_ASK).arg(0).arg(*words);
    }
    let answers = session.run(operations::READ_RIGHTS, "access list", batch).await?;
    Ok(answers.into_iter().map(|answer| matches!(answer, Ok(Value::Int(1)))).collect())
}

/// The version of the server, such as `7.0.15`; `None` where it does not say. Every user may ask.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn server_version(session: &mut Session) -> Result<Option<String>, StoreError> {
    let mut batch = Batch::new();
    // Without words it changes nothing. `INFO` is another right.
    batch.keyless("HELLO");
    let answers = session.run(operations::READ_RIGHTS, "access list", batch).await?;
    let facts =
        answers.into_iter().next().and_then(Result::ok).map(from_redis_value::<HashMap<String, Value>>);
    let version = facts.and_then(Result::ok).and_then(|mut facts| facts.remove("version"));
    Ok(version.and_then(|version| from_redis_value(version).ok()))
}

fn refusal(need: &Need, probe: &Probe, answer: RedisResult<Value>) -> Option<MissingRight> {
    let refused = refused(need, probe, answer)?;
    Some(MissingRight { is_for_operators: need.is_for_operators, ..refused })
}

fn refused(need: &Need, probe: &Probe, answer: RedisResult<Value>) -> Option<MissingRight> {
    let Probe { command, form, .. } = probe;
    let error = match answer {
        Ok(Value::Int(0)) if matches!(form, Form::Asked) => {
            let detail =
                format!("the user has no permissions to run the '{}' command", command.to_lowercase());
            return Some(MissingRight::new(command, &need.pattern, detail));
        }
        // Errors of other kinds are expected: the probes' arguments are wrong on purpose.
        Ok(_) => return None,
        Err(error) => error,
    };
    // A denied EXEC has the code EXECABORT, and NOPERM in its text only.
    let is_denied = kind_of(&error) == ErrorKind::Denied || error.to_string().contains("NOPERM");
    is_denied.then(|| {
        let refusal = MissingRight::new(command, &need.pattern, errors::sanitise(&error));
        // The user may not run the script that asks, so the missing right is that of EVAL.
        let command =
            if matches!(form, Form::Asked) && refusal.denied == Denied::Command { "EVAL" } else { command };
        MissingRight { command, ..refusal }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_pattern_matches_its_text_alone() {
        assert_eq!(escape_pattern("P:0xAB"), "P:0xAB");
        assert_eq!(escape_pattern(r"a*b?[c]\ d"), r"a\*b\?\[c\]\\?d");
    }

    #[test]
    fn a_pattern_covers_those_that_begin_like_it() {
        assert!(covers("P:M:*", "P:M:epochs:active") && covers("P:M:*", "P:M:epoch:*:state"));
        for (pattern, other) in
            [("P:M:*", "P:M:*"), ("P:M:*", "P:N:a"), (r"a\*", r"a\*b"), ("*:b", "a:b"), ("a", "ab")]
        {
            assert!(!covers(pattern, other), "{pattern} {other}");
        }
    }

    #[test]
    fn a_refusal_says_whether_the_command_or_the_keys_are_denied() {
        for (detail, denied) in [
            ("this user has no permissions to run the 'zadd' command or its subcommand", Denied::Command),
            ("User t has no permissions to run the 'zadd' command", Denied::Command),
            ("this user has no permissions to access one of the keys used as arguments", Denied::Keys),
            ("No permissions to access a key", Denied::Keys),
            ("this user has no permissions to access one of the channels used as arguments", Denied::Channel),
        ] {
            assert_eq!(MissingRight::new("ZADD", "p", detail).denied, denied, "{detail}");
        }
    }
}
