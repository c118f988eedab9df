//! The rights that a program needs on a server, and the question whether its user has them.
//!
//! The question changes no key. Redis checks rights before arguments, so a command is sent with arguments that the server
//! must refuse, or about a key, a field or a member that does not exist. A command without such a form (`SADD`, `LPUSH`) is
//! not sent: a script asks the server whether the user may run it, which Redis can tell from version 7 on.

use redis::{RedisResult, Value};

use crate::{
    batch::Batch,
    connect::Session,
    error::{ErrorKind, StoreError, kind_of},
    operations,
};

/// An argument that is no number, and a key, field or member that does not exist.
pub const NOBODY: &str = "state-tracker-doctor";

/// Whether the user may run a command: 1 where the server can't tell. KEYS: the key. ARGV: the command's words.
const MAY: &str =
    "if not redis.acl_check_cmd or redis.acl_check_cmd(unpack(ARGV)) then return 1 end return 0";

/// What a program does with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It only reads them.
    Read,
    /// It reads and writes them.
    Write,
}

/// Keys that a program uses, with the commands by which it uses them.
#[derive(Clone, Debug)]
pub struct Need {
    pattern: String,
    access: Access,
    probes: Vec<Probe>,
}

#[derive(Clone, Debug)]
struct Probe {
    command: &'static str,
    form: Form,
    key: String,
    arguments: &'static [&'static str],
}

/// How the question is put.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// By sending the command.
    Sent,
    /// By asking the server about it.
    Asked,
    /// By sending the command, which names no key.
    Keyless,
    /// By running a script that the server does not know.
    Script,
}

/// What the server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command, with any key.
    Command,
    /// The keys of the pattern.
    Keys,
    /// The channel.
    Channel,
}

/// A right that the user lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The command.
    pub command: &'static str,
    /// The pattern of the keys, or the channels.
    pub pattern: String,
    /// What of both the server refuses.
    pub denied: Denied,
    /// The server's message.
    pub detail: String,
}

impl Refusal {
    /// A refusal with the server's message, which says what was denied.
    #[must_use]
    pub fn new(command: &'static str, pattern: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pattern, detail) = (pattern.into(), detail.into());
        // All versions word it so: "… no permissions to run the 'zadd' command", "… to access a key", "… a channel".
        let denied = match () {
            () if detail.contains("to run the") => Denied::Command,
            () if detail.contains("channel") => Denied::Channel,
            () => Denied::Keys,
        };
        Self { command, pattern, denied, detail }
    }
}

impl Need {
    /// Keys of this pattern.
    #[must_use]
    pub fn new(pattern: impl Into<String>, access: Access) -> Self {
        Self { pattern: pattern.into(), access, probes: Vec::new() }
    }

    /// What is needed for any keys: transactions and scripts.
    #[must_use]
    pub fn of_any_key() -> Self {
        let mut need = Self::new("", Access::Read);
        for (command, arguments) in
            [("MULTI", &[][..]), ("EXEC", &[]), ("SCRIPT", &["LOAD", "return 1"]), ("PING", &[])]
        {
            need.keyless(command, arguments);
        }
        need
    }

    /// The pattern; empty where the commands name no key.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What the program does with the keys.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// The program sends this command. The server must refuse these arguments, or they must name nothing that exists.
    pub fn sent(
        &mut self,
        command: &'static str,
        key: &str,
        arguments: &'static [&'static str],
    ) -> &mut Self {
        self.push(command, Form::Sent, key, arguments)
    }

    /// The program sends this command, which would change the key whatever its arguments are.
    pub fn asked(&mut self, command: &'static str, key: &str) -> &mut Self {
        let arguments: &[&str] = if command == "HSETNX" { &[NOBODY, "1"] } else { &["1"] };
        self.push(
            command,
            Form::Asked,
            key,
            if command == "DEL" || command == "UNLINK" { &[] } else { arguments },
        )
    }

    /// The program sends this command, which names no key.
    pub fn keyless(&mut self, command: &'static str, arguments: &'static [&'static str]) -> &mut Self {
        self.push(command, Form::Keyless, "", arguments)
    }

    /// The program runs scripts with this key, by their hashes.
    pub fn script(&mut self, key: &str) -> &mut Self {
        self.push("EVALSHA", Form::Script, key, &[])
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

/// Text as a pattern that matches it alone. A pattern of an access list can't have blanks: any character stands for one.
#[must_use]
pub fn literal(text: &str) -> String {
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

/// Which of these rights the user lacks: one round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn refused(session: &mut Session, needs: &[Need]) -> Result<Vec<Refusal>, StoreError> {
    let mut batch = Batch::new();
    let probes: Vec<(&Need, &Probe)> =
        needs.iter().flat_map(|need| need.probes.iter().map(move |probe| (need, probe))).collect();
    for (_, Probe { command, form, key, arguments }) in &probes {
        match form {
            Form::Sent => batch.cmd(command, key).arg(arguments),
            Form::Keyless => batch.keyless(command).arg(arguments),
            Form::Asked => batch.script("EVAL", MAY, &[key]).arg(command).arg(key).arg(arguments),
            // No script has that hash.
            Form::Script => batch.script("EVALSHA", &"0".repeat(40), &[key]),
        };
    }
    let answers = session.run(operations::READ_RIGHTS, "access list", batch).await?;
    let all = probes.into_iter().zip(answers);
    Ok(all.filter_map(|((need, probe), answer)| refusal(need, probe, answer)).collect())
}

fn refusal(need: &Need, probe: &Probe, answer: RedisResult<Value>) -> Option<Refusal> {
    let Probe { command, form, .. } = probe;
    let error = match answer {
        Ok(Value::Int(0)) if matches!(form, Form::Asked) => {
            let detail =
                format!("the user has no permissions to run the '{}' command", command.to_lowercase());
            return Some(Refusal::new(command, &need.pattern, detail));
        }
        Ok(_) => return None,
        Err(error) => error,
    };
    // An `EXEC` that is denied has another code, and the reason in its text.
    let is_denied = kind_of(&error) == ErrorKind::Denied || error.to_string().contains("NOPERM");
    is_denied.then(|| {
        let refusal = Refusal::new(command, &need.pattern, error.to_string());
        // The question itself was denied, and that is another command.
        let command =
            if matches!(form, Form::Asked) && refusal.denied == Denied::Command { "EVAL" } else { command };
        Refusal { command, ..refusal }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_pattern_matches_its_text_alone() {
        assert_eq!(literal("P:0xAB"), "P:0xAB");
        assert_eq!(literal(r"a*b?[c]\ d"), r"a\*b\?\[c\]\\?d");
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
            assert_eq!(Refusal::new("ZADD", "p", detail).denied, denied, "{detail}");
        }
    }
}
