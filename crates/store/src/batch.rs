//! The commands of one round trip.
//!
//! A [`Batch`] knows of some commands that they belong together, as one transaction. Who reads the answers sees one
//! answer a command, in the order of the commands, however they were sent.

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value, make_extension_error};

/// Commands in the order in which their answers are read.
#[derive(Default)]
pub(crate) struct Batch {
    commands: Vec<Command>,
    /// How many transactions there are.
    transactions: u16,
}

struct Command {
    cmd: Cmd,
    /// Its transaction, counted from 1.
    transaction: Option<u16>,
}

/// Room for a command with a key of a market and a few short arguments, so that most commands are one allocation.
const BYTES: usize = 192;
const ARGUMENTS: usize = 4;

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How many answers there will be.
    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }

    /// A command about one key, which is its first argument.
    pub(crate) fn cmd(&mut self, name: &str, key: impl AsRef<str>) -> &mut Cmd {
        self.push().arg(name).arg(key.as_ref())
    }

    /// A command about no key.
    pub(crate) fn keyless(&mut self, name: &str) -> &mut Cmd {
        self.push().arg(name)
    }

    /// A run of a script (`EVAL` with its text, `EVALSHA` with its hash) over keys of one hash slot.
    pub(crate) fn script(&mut self, name: &str, script: &str, keys: &[&str]) -> &mut Cmd {
        self.push().arg(name).arg(script).arg(keys.len()).arg(keys)
    }

    fn push(&mut self) -> &mut Cmd {
        let cmd = Cmd::with_capacity(ARGUMENTS, BYTES);
        self.commands.push(Command { cmd, transaction: None });
        let last = self.commands.len() - 1;
        &mut self.commands[last].cmd
    }

    /// What `fill` adds is seen by others at once or not at all.
    pub(crate) fn transaction(&mut self, fill: impl FnOnce(&mut Self)) {
        let began = self.len();
        fill(self);
        self.transactions += 1;
        for command in &mut self.commands[began..] {
            command.transaction = Some(self.transactions);
        }
    }

    /// As it is sent to a single server, and how to find the answers in what comes back.
    pub(crate) fn into_pipeline(self) -> (Pipeline, Shape) {
        let extra = 2 * usize::from(self.transactions);
        let mut pipeline = Pipeline::with_capacity(self.commands.len() + extra);
        let mut shape = Vec::with_capacity(usize::from(self.transactions) * 2 + 1);
        let mut present = None;
        for Command { cmd, transaction } in self.commands {
            if transaction != present {
                if present.is_some() {
                    pipeline.cmd("EXEC");
                }
                if transaction.is_some() {
                    pipeline.cmd("MULTI");
                }
                shape.push((transaction.is_some(), 0));
                present = transaction;
            } else if shape.is_empty() {
                shape.push((false, 0));
            }
            pipeline.add_command(cmd);
            if let Some((_, commands)) = shape.last_mut() {
                *commands += 1;
            }
        }
        if present.is_some() {
            pipeline.cmd("EXEC");
        }
        (pipeline, Shape(shape))
    }
}

/// Stretches of commands that were sent, one by one or as a transaction, and how many each has.
pub(crate) struct Shape(Vec<(bool, usize)>);

impl Shape {
    /// One answer a command from what a server sent.
    pub(crate) fn answers(&self, sent: Vec<Value>) -> Vec<RedisResult<Value>> {
        let mut answers = Vec::with_capacity(sent.len());
        let mut sent = sent.into_iter();
        for &(transaction, commands) in &self.0 {
            if transaction {
                exec(&mut sent, commands, &mut answers);
            } else {
                answers.extend(sent.by_ref().take(commands).map(plain));
            }
        }
        answers
    }
}

/// The answers of a transaction: to `MULTI`, to each command (`QUEUED`, or why not), and to `EXEC`.
fn exec(sent: &mut impl Iterator<Item = Value>, commands: usize, answers: &mut Vec<RedisResult<Value>>) {
    let refused: Vec<Option<RedisError>> =
        sent.by_ref().skip(1).take(commands).map(|queued| plain(queued).err()).collect();
    match sent.next().map(plain) {
        Some(Ok(Value::Array(values))) if values.len() == commands => {
            answers.extend(values.into_iter().map(plain));
        }
        other => {
            let error = match other {
                Some(Err(error)) => error,
                _ => make_extension_error(
                    "EXEC".to_owned(),
                    Some("the transaction was not executed".to_owned()),
                ),
            };
            // Who was refused says why; the others were discarded with it.
            answers.extend(refused.into_iter().map(|own| Err(own.unwrap_or_else(|| error.clone()))));
        }
    }
}

fn plain(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) => Err(RedisError::from(error)),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> Shape {
        let mut batch = Batch::new();
        batch.cmd("GET", "a");
        batch.transaction(|batch| {
            batch.cmd("SET", "b").arg(1);
            batch.cmd("SET", "c").arg(1);
        });
        batch.transaction(|batch| {
            batch.cmd("DEL", "d");
        });
        batch.keyless("PING");
        let (pipeline, shape) = batch.into_pipeline();
        let sent =
            pipeline.cmd_iter().map(|cmd| String::from_utf8_lossy(&cmd.get_packed_command()).into_owned());
        let names: Vec<String> = sent.filter_map(|cmd| Some(cmd.split("\r\n").nth(2)?.to_owned())).collect();
        assert_eq!(names, ["GET", "MULTI", "SET", "SET", "EXEC", "MULTI", "DEL", "EXEC", "PING"]);
        shape
    }

    fn text(text: &str) -> Value {
        Value::SimpleString(text.to_owned())
    }

    fn error(code: &str) -> Value {
        redis::parse_redis_value(format!("-{code} no\r\n").as_bytes()).expect("an answer")
    }

    #[test]
    fn each_command_has_its_own_answer_whether_it_was_sent_in_a_transaction_or_not() {
        let queued = || text("QUEUED");
        let two = Value::Array(vec![Value::Int(2), error("WRONGTYPE")]);
        let one = Value::Array(vec![Value::Int(3)]);
        let sent = vec![
            Value::Int(1),
            Value::Okay,
            queued(),
            queued(),
            two,
            Value::Okay,
            queued(),
            one,
            text("PONG"),
        ];
        let answers = mixed().answers(sent);
        let shown: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().map_err(|error| error.code())).collect();
        let expected = [
            Ok(&Value::Int(1)),
            Ok(&Value::Int(2)),
            Err(Some("WRONGTYPE")),
            Ok(&Value::Int(3)),
            Ok(&text("PONG")),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_transaction_that_was_not_executed_fails_each_of_its_commands_and_no_other() {
        let queued = || text("QUEUED");
        let one = Value::Array(vec![Value::Int(3)]);
        let sent = vec![
            Value::Int(1),
            Value::Okay,
            error("NOPERM"),
            queued(),
            error("EXECABORT"),
            Value::Okay,
            queued(),
            one,
            text("PONG"),
        ];
        let answers = mixed().answers(sent);
        let failed: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().err().and_then(|error| error.code())).collect();
        assert_eq!(failed, [None, Some("NOPERM"), Some("EXECABORT"), None, None]);
    }
}
