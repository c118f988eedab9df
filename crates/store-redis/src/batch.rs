//! The commands of one round trip.
//!
//! A [`Batch`] marks which commands belong to one transaction. Its answers are one a command, in the order of the commands,
//! however they were sent: to a single server as one pipeline, to a cluster in [`Unit`]s that go to the nodes of their keys. In a
//! cluster a transaction is split by hash slot, and a command without a key goes to every node.

use std::collections::BTreeMap;

use crate::{answers::consequence_of, connect::Connection};
use redis::{Arg, Cmd, Pipeline, RedisError, RedisResult, Value, aio::ConnectionLike, make_extension_error};

/// Commands in the order in which their answers are read.
#[derive(Default)]
pub struct Batch {
    commands: Vec<Command>,
    /// The number of transactions.
    transactions: u16,
}

struct Command {
    cmd: Cmd,
    keys: Keys,
    /// The number of its transaction, from 1.
    transaction: Option<u16>,
    /// The text of the script that it calls by hash.
    source: Option<&'static str>,
}

/// The positions of the keys among a command's words.
#[derive(Clone, Copy)]
enum Keys {
    None,
    /// One key, after the name.
    One,
    /// Several keys of one slot, after a script and their number.
    Script,
}

/// Fits a command with a market's key and a few short arguments, so that most commands need no further allocation.
const COMMAND_BYTES: usize = 192;
const COMMAND_ARGUMENTS: usize = 4;

impl Batch {
    /// A batch without commands.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of commands, and so of answers.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether the batch has no command.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Adds a command with one key, which is its first argument.
    pub fn cmd(&mut self, name: &str, key: impl AsRef<str>) -> &mut Cmd {
        self.push(Keys::One).arg(name).arg(key.as_ref())
    }

    /// Adds a command without a key.
    pub fn keyless(&mut self, name: &str) -> &mut Cmd {
        self.push(Keys::None).arg(name)
    }

    /// Adds a call of a script (`EVAL` with its text, `EVALSHA` with its hash) over keys of one hash slot.
    pub fn script(&mut self, name: &str, script: &str, keys: &[&str]) -> &mut Cmd {
        // EVAL and EVALSHA take the number of keys before the keys.
        self.push(Keys::Script).arg(name).arg(script).arg(keys.len()).arg(keys)
    }

    /// Adds a call of a script by hash, and keeps the text for [`Batch::into_evals`].
    pub(crate) fn known_script(&mut self, source: &'static str, hash: &str, keys: &[&str]) -> &mut Cmd {
        self.script("EVALSHA", hash, keys);
        let last = self.commands.len() - 1;
        let command = &mut self.commands[last];
        command.source = Some(source);
        &mut command.cmd
    }

    /// The script calls at the wanted places as `EVAL`s with the scripts' text, and their places.
    pub(crate) fn into_evals(self, wanted: impl Fn(usize) -> bool) -> (Vec<usize>, Self) {
        let (mut places, mut batch) = (Vec::new(), Self::new());
        for (at, Command { cmd, source, .. }) in self.commands.into_iter().enumerate() {
            let Some(source) = source.filter(|_| wanted(at)) else { continue };
            places.push(at);
            let whole = batch.push(Keys::Script).arg("EVAL").arg(source);
            // The words after the name and the hash are the same in both forms.
            words(&cmd).skip(2).for_each(|word| {
                whole.arg(word);
            });
        }
        (places, batch)
    }

    fn push(&mut self, keys: Keys) -> &mut Cmd {
        let cmd = Cmd::with_capacity(COMMAND_ARGUMENTS, COMMAND_BYTES);
        self.commands.push(Command { cmd, keys, transaction: None, source: None });
        let last = self.commands.len() - 1;
        &mut self.commands[last].cmd
    }

    /// Adds the commands of `fill` as a transaction. In a cluster it is atomic for each hash slot by itself.
    pub fn transaction(&mut self, fill: impl FnOnce(&mut Self)) {
        let began = self.len();
        fill(self);
        self.transactions += 1;
        for command in &mut self.commands[began..] {
            command.transaction = Some(self.transactions);
        }
    }

    /// Sends the batch to a single server as one round trip; returns one answer a command.
    ///
    /// # Errors
    /// An error of the connection, with which all answers are lost.
    pub(crate) async fn send(self, connection: &mut Connection) -> RedisResult<Vec<RedisResult<Value>>> {
        let (pipeline, layout) = self.into_pipeline();
        // The count includes MULTI and EXEC, which have answers too.
        let sent = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await?;
        Ok(layout.answers(sent))
    }

    /// The pipeline for a single server, and the layout of its answers.
    fn into_pipeline(self) -> (Pipeline, AnswerLayout) {
        // A MULTI and an EXEC for each transaction.
        let extra = 2 * usize::from(self.transactions);
        let mut pipeline = Pipeline::with_capacity(self.commands.len() + extra);
        let mut layout = Vec::with_capacity(usize::from(self.transactions) * 2 + 1);
        let mut present = None;
        for Command { cmd, transaction, .. } in self.commands {
            // A change of the number ends one transaction and begins the next, also without a command between them.
            if transaction != present {
                if present.is_some() {
                    pipeline.cmd("EXEC");
                }
                if transaction.is_some() {
                    pipeline.cmd("MULTI");
                }
                layout.push((transaction.is_some(), 0));
                present = transaction;
            } else if layout.is_empty() {
                layout.push((false, 0));
            }
            pipeline.add_command(cmd);
            if let Some((_, commands)) = layout.last_mut() {
                *commands += 1;
            }
        }
        if present.is_some() {
            pipeline.cmd("EXEC");
        }
        (pipeline, AnswerLayout(layout))
    }

    /// The units for a cluster, in the order of the commands.
    pub(crate) fn into_units(self, slot_of: impl Fn(&[u8]) -> u16) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::with_capacity(self.commands.len());
        // By transaction and slot, the unit that collects the commands, even if commands of other slots stand between them.
        let mut parts: BTreeMap<(u16, u16), usize> = BTreeMap::new();
        for (at, Command { cmd, keys, transaction, .. }) in self.commands.into_iter().enumerate() {
            let key = match keys {
                Keys::One => words(&cmd).nth(1),
                Keys::Script => words(&cmd).nth(3),
                Keys::None => None,
            };
            let slot = key.map(&slot_of);
            // A node refuses a transaction over different slots, so it becomes one transaction for each slot.
            match transaction.zip(slot).map(|part| (part, parts.get(&part).copied())) {
                Some((_, Some(unit))) => units[unit].commands.push((at, cmd)),
                new => {
                    if let Some((part, None)) = new {
                        parts.insert(part, units.len());
                    }
                    units.push(Unit { slot, commands: vec![(at, cmd)] });
                }
            }
        }
        units
    }
}

fn words(cmd: &Cmd) -> impl Iterator<Item = &[u8]> {
    cmd.args_iter().map(|argument| match argument {
        Arg::Simple(word) => word,
        // The other variant is a cursor, which no command here uses.
        _ => &[],
    })
}

/// A command, or a transaction over keys of one slot, which goes to one node of a cluster and is redirected as a whole.
#[derive(Clone)]
pub(crate) struct Unit {
    /// The slot of its keys; `None` for a command without keys, which goes to every node.
    pub(crate) slot: Option<u16>,
    /// The commands with their places among the answers.
    commands: Vec<(usize, Cmd)>,
}

impl Unit {
    pub(crate) fn write(&self, pipeline: &mut Pipeline) {
        // A single command is atomic by itself.
        if let [(_, cmd)] = &self.commands[..] {
            pipeline.add_command(cmd.clone());
            return;
        }
        pipeline.cmd("MULTI");
        for (_, cmd) in &self.commands {
            pipeline.add_command(cmd.clone());
        }
        pipeline.cmd("EXEC");
    }

    /// Takes this unit's answers from a node's; returns one answer a command.
    pub(crate) fn read(&self, sent: &mut impl Iterator<Item = Value>) -> Vec<RedisResult<Value>> {
        let mut answers = Vec::with_capacity(self.commands.len());
        match &self.commands[..] {
            [_] => answers.extend(sent.next().map(into_result)),
            several => read_transaction(sent, several.len(), &mut answers),
        }
        answers
    }
}

/// The answers of a batch that was sent in units.
pub(crate) struct Answers(Vec<Option<RedisResult<Value>>>);

impl Answers {
    pub(crate) fn new(commands: usize) -> Self {
        Self((0..commands).map(|_| None).collect())
    }

    /// Adds a unit's answers. If a command went to several nodes, an error of one node is the answer; other answers (`PONG`, `OK`) are
    /// the same on each node, and the first is kept.
    pub(crate) fn add(&mut self, unit: &Unit, answers: Vec<RedisResult<Value>>) {
        for ((at, _), answer) in unit.commands.iter().zip(answers) {
            let Some(known) = self.0.get_mut(*at) else { continue };
            match (known.as_ref(), answer) {
                (Some(Err(_)), _) | (Some(Ok(_)), Ok(_)) => {}
                (_, answer) => *known = Some(answer),
            }
        }
    }

    /// One answer a command.
    pub(crate) fn finish(self) -> Vec<RedisResult<Value>> {
        let missing =
            || Err(make_extension_error("NOANSWER".to_owned(), Some("no node answered it".to_owned())));
        self.0.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect()
    }
}

/// The runs of commands in a pipeline: whether each run was a transaction, and how many commands it has.
struct AnswerLayout(Vec<(bool, usize)>);

impl AnswerLayout {
    /// One answer a command from a pipeline's answers.
    fn answers(&self, sent: Vec<Value>) -> Vec<RedisResult<Value>> {
        let mut answers = Vec::with_capacity(sent.len());
        let mut sent = sent.into_iter();
        for &(transaction, commands) in &self.0 {
            if transaction {
                read_transaction(&mut sent, commands, &mut answers);
            } else {
                answers.extend(sent.by_ref().take(commands).map(into_result));
            }
        }
        answers
    }
}

/// Reads the answers of a transaction: to `MULTI`, to each command (`QUEUED`, or an error), and to `EXEC`.
fn read_transaction(
    sent: &mut impl Iterator<Item = Value>,
    commands: usize,
    answers: &mut Vec<RedisResult<Value>>,
) {
    let begun = sent.next().map(into_result);
    let refused: Vec<Option<RedisError>> =
        sent.by_ref().take(commands).map(|queued| into_result(queued).err()).collect();
    if let Some(Err(error)) = begun {
        // The commands were run one by one, and EXEC says only that there was no MULTI. An error about the transaction is none
        // about a key, so it must void the batch.
        let error = match consequence_of(&error).voids_batch() {
            true => error,
            false => make_extension_error("MULTI".to_owned(), error.detail().map(str::to_owned)),
        };
        sent.next();
        answers.extend((0..commands).map(|_| Err(error.clone())));
        return;
    }
    // EXEC answers with one array; an error within it is that of a command that failed while it ran.
    match sent.next().map(into_result) {
        Some(Ok(Value::Array(values))) if values.len() == commands => {
            answers.extend(values.into_iter().map(into_result));
        }
        other => {
            let error = match other {
                Some(Err(error)) => error,
                // EXEC answers nil if a watched key has changed, which can't happen without WATCH.
                _ => make_extension_error(
                    "EXEC".to_owned(),
                    Some("the transaction was not executed".to_owned()),
                ),
            };
            // A command that was refused when queued caused the EXECABORT. Its error is given to all, so that a missing right is
            // reported as denied and not as an unspecific refusal.
            let error = refused.iter().flatten().next().cloned().unwrap_or(error);
            answers.extend(refused.into_iter().map(|own| Err(own.unwrap_or_else(|| error.clone()))));
        }
    }
}

// In a pipeline the client library returns a server's error as a value, so that the other answers are not lost.
fn into_result(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) => Err(RedisError::from(error)),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests;
