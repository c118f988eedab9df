//! How batches are sent to a single server and to a cluster, and how their answers are read.

use super::*;

fn mixed() -> AnswerLayout {
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
    let (pipeline, layout) = batch.into_pipeline();
    let sent = pipeline.cmd_iter().map(|cmd| String::from_utf8_lossy(&cmd.get_packed_command()).into_owned());
    let names: Vec<String> = sent.filter_map(|cmd| Some(cmd.split("\r\n").nth(2)?.to_owned())).collect();
    assert_eq!(names, ["GET", "MULTI", "SET", "SET", "EXEC", "MULTI", "DEL", "EXEC", "PING"]);
    layout
}

fn text(text: &str) -> Value {
    Value::SimpleString(text.to_owned())
}

fn error(code: &str) -> Value {
    redis::parse_redis_value(format!("-{code} no\r\n").as_bytes()).expect("an answer")
}

/// A stand-in for the hash: the first letter of a key is its slot.
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
fn in_a_cluster_a_transaction_is_split_by_slot() {
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
    assert_eq!(answers.finish().into_iter().collect::<RedisResult<Vec<_>>>().expect("no errors"), expected);
}

#[test]
fn only_calls_of_unknown_scripts_are_repeated_with_their_text() {
    let mut batch = Batch::new();
    batch.cmd("GET", "a");
    batch.known_script("return 1", "hash1", &["k1", "k2"]).arg("x").arg(7);
    batch.known_script("return 2", "hash2", &["k3"]);
    batch.script("EVAL", "return 3", &["k4"]);
    let (places, batch) = batch.into_evals(|at| at != 2);
    assert_eq!(places, [1]);
    let units = batch.into_units(slot);
    let shown: Vec<_> = units.iter().map(|unit| (unit.slot, sent(unit))).collect();
    assert_eq!(shown, [(Some('k' as u16), "EVAL return 1 2 k1 k2 x 7".to_owned())]);
}

#[test]
fn each_command_has_its_own_answer_inside_and_outside_a_transaction() {
    let queued = || text("QUEUED");
    let two = Value::Array(vec![Value::Int(2), error("WRONGTYPE")]);
    let one = Value::Array(vec![Value::Int(3)]);
    let sent =
        vec![Value::Int(1), Value::Okay, queued(), queued(), two, Value::Okay, queued(), one, text("PONG")];
    let answers = mixed().answers(sent);
    let shown: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(|error| error.code())).collect();
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

#[test]
fn a_transaction_that_was_not_begun_voids_the_batch_whatever_the_error() {
    for (word, kind) in [("NOPERM", crate::ErrorKind::Denied), ("ERR", crate::ErrorKind::Refused)] {
        let sent = vec![
            Value::Int(1),
            error(word),
            Value::Int(2),
            Value::Int(3),
            error("ERR"),
            Value::Okay,
            text("QUEUED"),
            Value::Array(vec![Value::Int(3)]),
            text("PONG"),
        ];
        let answers = mixed().answers(sent);
        for answer in &answers[1..3] {
            let error = answer.as_ref().expect_err("not within a transaction");
            assert_eq!(crate::kind_of(error), kind);
            assert!(crate::consequence_of(error).voids_batch(), "{error}");
        }
        assert!(answers[0].is_ok() && answers[3].is_ok() && answers[4].is_ok(), "{answers:?}");
    }
}
