//! The commands of one round trip.
//!
//! A [`Batch`] knows of some commands that they belong together, as one transaction. Who reads the answers sees one
//! answer a command, in the order of the commands, however they were sent: to one server as one pipeline, to a
//! cluster in [`Unit`]s that go to the nodes of their keys. There a transaction is one for the keys of each slot, and
//! what concerns no key goes to every node.

use std::collections::BTreeMap;

use redis::{
    Arg, Cmd, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    make_extension_error,
};

/// Commands in the order in which their answers are read.
#[derive(Default)]
pub struct Batch {
    commands: Vec<Command>,
    /// How many transactions there are.
    transactions: u16,
}

struct Command {
    cmd: Cmd,
    keys: Keys,
    /// Its transaction, counted from 1.
    transaction: Option<u16>,
    /// The script that it names by a hash.
    source: Option<&'static str>,
}

/// Where the keys of a command stand.
#[derive(Clone, Copy)]
enum Keys {
    None,
    /// One, behind the name.
    One,
    /// Several of one slot, behind a script and their number.
    Script,
    /// Everything behind the name, of any slots: the union of what they hold is asked for.
    Union,
}

/// Room for a command with a key of a market and a few short arguments, so that most commands are one allocation.
const BYTES: usize = 192;
const ARGUMENTS: usize = 4;

impl Batch {
    /// A batch without commands.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many answers there will be.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is no command in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// A command about one key, which is its first argument.
    pub fn cmd(&mut self, name: &str, key: impl AsRef<str>) -> &mut Cmd {
        self.push(Keys::One).arg(name).arg(key.as_ref())
    }

    /// A command about no key.
    pub fn keyless(&mut self, name: &str) -> &mut Cmd {
        self.push(Keys::None).arg(name)
    }

    /// The members of all these sets; one answer. Where the keys lie on several servers, it may name a member twice.
    pub fn union(&mut self, keys: &[String]) {
        self.push(Keys::Union).arg("SUNION").arg(keys);
    }

    /// A run of a script (`EVAL` with its text, `EVALSHA` with its hash) over keys of one hash slot.
    pub fn script(&mut self, name: &str, script: &str, keys: &[&str]) -> &mut Cmd {
        self.push(Keys::Script).arg(name).arg(script).arg(keys.len()).arg(keys)
    }

    /// A run of a script by its hash, which can be sent again with its text.
    pub(crate) fn known_script(&mut self, source: &'static str, hash: &str, keys: &[&str]) -> &mut Cmd {
        self.script("EVALSHA", hash, keys);
        let last = self.commands.len() - 1;
        let command = &mut self.commands[last];
        command.source = Some(source);
        &mut command.cmd
    }

    /// The runs of scripts at the places that are wanted, each with the text of its script; and their places.
    pub(crate) fn into_whole(self, wanted: impl Fn(usize) -> bool) -> (Vec<usize>, Self) {
        let (mut places, mut batch) = (Vec::new(), Self::new());
        for (at, Command { cmd, source, .. }) in self.commands.into_iter().enumerate() {
            let Some(source) = source.filter(|_| wanted(at)) else { continue };
            places.push(at);
            let whole = batch.push(Keys::Script).arg("EVAL").arg(source);
            words(&cmd).skip(2).for_each(|word| {
                whole.arg(word);
            });
        }
        (places, batch)
    }

    fn push(&mut self, keys: Keys) -> &mut Cmd {
        let cmd = Cmd::with_capacity(ARGUMENTS, BYTES);
        self.commands.push(Command { cmd, keys, transaction: None, source: None });
        let last = self.commands.len() - 1;
        &mut self.commands[last].cmd
    }

    /// What `fill` adds is seen by others at once or not at all.
    pub fn transaction(&mut self, fill: impl FnOnce(&mut Self)) {
        let began = self.len();
        fill(self);
        self.transactions += 1;
        for command in &mut self.commands[began..] {
            command.transaction = Some(self.transactions);
        }
    }

    /// Sends it to a single server, as one round trip; one answer a command.
    ///
    /// # Errors
    /// What keeps all of it from being answered.
    pub(crate) async fn send(
        self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let (pipeline, shape) = self.into_pipeline();
        let sent = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await?;
        Ok(shape.answers(sent))
    }

    /// As it is sent to a single server, and how to find the answers in what comes back.
    fn into_pipeline(self) -> (Pipeline, Shape) {
        let extra = 2 * usize::from(self.transactions);
        let mut pipeline = Pipeline::with_capacity(self.commands.len() + extra);
        let mut shape = Vec::with_capacity(usize::from(self.transactions) * 2 + 1);
        let mut present = None;
        for Command { cmd, transaction, .. } in self.commands {
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

    /// As it is sent to a cluster: what goes to one node as a whole, in the order of the commands.
    pub(crate) fn into_units(self, slot_of: impl Fn(&[u8]) -> u16) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::with_capacity(self.commands.len());
        let mut parts: BTreeMap<(u16, u16), usize> = BTreeMap::new();
        for (at, Command { cmd, keys, transaction, .. }) in self.commands.into_iter().enumerate() {
            if let Keys::Union = keys {
                units.extend(words(&cmd).skip(1).map(|key| {
                    let mut members = Cmd::with_capacity(ARGUMENTS, BYTES);
                    members.arg("SMEMBERS").arg(key);
                    Unit { slot: Some(slot_of(key)), commands: vec![(at, members)] }
                }));
                continue;
            }
            let key = match keys {
                Keys::One => words(&cmd).nth(1),
                Keys::Script => words(&cmd).nth(3),
                Keys::None | Keys::Union => None,
            };
            let slot = key.map(&slot_of);
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
        // There are no cursors in our commands.
        _ => &[],
    })
}

/// What goes to one node of a cluster as a whole: a command, or a transaction over keys of one slot.
#[derive(Clone)]
pub(crate) struct Unit {
    /// The slot of its keys; `None` where it goes to every node.
    pub(crate) slot: Option<u16>,
    /// Each with its place among the answers.
    commands: Vec<(usize, Cmd)>,
}

impl Unit {
    pub(crate) fn write(&self, pipeline: &mut Pipeline) {
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

    /// One answer a command from what a node sent.
    pub(crate) fn read(&self, sent: &mut impl Iterator<Item = Value>) -> Vec<RedisResult<Value>> {
        let mut answers = Vec::with_capacity(self.commands.len());
        match &self.commands[..] {
            [_] => answers.extend(sent.next().map(plain)),
            several => exec(sent, several.len(), &mut answers),
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

    /// Where a command was sent to several nodes, lists are joined and an error counts for all; else they say the same.
    pub(crate) fn add(&mut self, unit: &Unit, answers: Vec<RedisResult<Value>>) {
        for ((at, _), answer) in unit.commands.iter().zip(answers) {
            let Some(known) = self.0.get_mut(*at) else { continue };
            match (known.as_mut(), answer) {
                (Some(Ok(Value::Array(members))), Ok(Value::Array(more))) => members.extend(more),
                (Some(Err(_)), _) | (Some(Ok(_)), Ok(_)) => {}
                (_, answer) => *known = Some(answer),
            }
        }
    }

    /// One answer a command.
    pub(crate) fn finish(self) -> Vec<RedisResult<Value>> {
        // A union of no keys is sent nowhere, and empty.
        self.0.into_iter().map(|answer| answer.unwrap_or_else(|| Ok(Value::Array(Vec::new())))).collect()
    }
}

/// Stretches of commands that were sent, one by one or as a transaction, and how many each has.
struct Shape(Vec<(bool, usize)>);

impl Shape {
    /// One answer a command from what a server sent.
    fn answers(&self, sent: Vec<Value>) -> Vec<RedisResult<Value>> {
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
            // Why a command was refused is also why the others were discarded: a missing right must not look like another refusal.
            let error = refused.iter().flatten().next().cloned().unwrap_or(error);
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

    /// The first letter of a key is its slot.
    fn slot(key: &[u8]) -> u16 {
        key.first().copied().map_or(0, u16::from)
    }

    fn sent(unit: &Unit) -> String {
        let mut pipeline = Pipeline::new();
        unit.write(&mut pipeline);
        let line = |cmd: &Cmd| {
            words(cmd).map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
        };
        pipeline.cmd_iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn in_a_cluster_a_transaction_is_one_for_the_keys_of_each_slot() {
        let mut batch = Batch::new();
        batch.keyless("PING");
        batch.transaction(|batch| {
            batch.cmd("HSET", "m").arg("window").arg(1);
            batch.cmd("DEL", "s");
            batch.cmd("HSET", "s").arg("a").arg(1);
        });
        batch.transaction(|batch| {
            batch.cmd("DEL", "s");
        });
        batch.script("EVALSHA", "hash", &["k1", "k2"]).arg("x");
        let units = batch.into_units(slot);
        let shown: Vec<_> = units.iter().map(|unit| (unit.slot, sent(unit))).collect();
        let of = |key: char, commands: &str| (Some(key as u16), commands.to_owned());
        let expected = [
            (None, "PING".to_owned()),
            of('m', "HSET m window 1"),
            of('s', "MULTI; DEL s; HSET s a 1; EXEC"),
            of('s', "DEL s"),
            of('k', "EVALSHA hash 2 k1 k2 x"),
        ];
        assert_eq!(shown, expected);
        let mut answers = Answers::new(6);
        let both = Value::Array(vec![Value::Int(2), Value::Int(3)]);
        let transaction = [Value::Okay, text("QUEUED"), text("QUEUED"), both];
        for (unit, sent) in units.iter().zip([
            vec![text("PONG")],
            vec![Value::Int(1)],
            transaction.to_vec(),
            vec![Value::Int(4)],
            vec![Value::Int(5)],
        ]) {
            let read = unit.read(&mut sent.into_iter());
            answers.add(unit, read);
        }
        let expected = [text("PONG")].into_iter().chain((1..=5).map(Value::Int)).collect::<Vec<_>>();
        assert_eq!(
            answers.finish().into_iter().collect::<RedisResult<Vec<_>>>().expect("no errors"),
            expected
        );
    }

    #[test]
    fn runs_of_scripts_that_a_server_did_not_know_are_made_again_with_their_text_and_nothing_else_is() {
        let mut batch = Batch::new();
        batch.cmd("GET", "a");
        batch.known_script("return 1", "hash1", &["k1", "k2"]).arg("x").arg(7);
        batch.known_script("return 2", "hash2", &["k3"]);
        batch.script("EVAL", "return 3", &["k4"]);
        let (places, batch) = batch.into_whole(|at| at != 2);
        assert_eq!(places, [1]);
        let units = batch.into_units(slot);
        let shown: Vec<_> = units.iter().map(|unit| (unit.slot, sent(unit))).collect();
        assert_eq!(shown, [(Some('k' as u16), "EVAL return 1 2 k1 k2 x 7".to_owned())]);
    }

    #[test]
    fn in_a_cluster_a_union_is_asked_for_key_by_key_and_one_error_is_its_answer() {
        let mut batch = Batch::new();
        batch.union(&["a".to_owned(), "b".to_owned()]);
        batch.union(&[]);
        let units = batch.into_units(slot);
        assert_eq!(units.iter().map(sent).collect::<Vec<_>>(), ["SMEMBERS a", "SMEMBERS b"]);
        let members = |names: &[&str]| Value::Array(names.iter().map(|name| text(name)).collect());
        let answer = |sent: [Value; 2]| {
            let mut answers = Answers::new(2);
            for (unit, value) in units.iter().zip(sent) {
                let read = unit.read(&mut std::iter::once(value));
                answers.add(unit, read);
            }
            answers.finish()
        };
        let both = answer([members(&["x", "y"]), members(&["y"])]);
        assert_eq!(both, [Ok(members(&["x", "y", "y"])), Ok(members(&[]))]);
        for sent in [[error("WRONGTYPE"), members(&["y"])], [members(&["x"]), error("WRONGTYPE")]] {
            assert_eq!(answer(sent)[0].as_ref().err().and_then(|error| error.code()), Some("WRONGTYPE"));
        }
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
        assert_eq!(failed, [None, Some("NOPERM"), Some("NOPERM"), None, None]);
        assert_eq!(answers[2].as_ref().map_err(crate::kind_of), Err(crate::ErrorKind::Denied));
    }
}
