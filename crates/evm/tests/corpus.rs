//! Real messages of clients and providers, each found in public, played by a node in front of generated blocks. Following goes
//! on with that node alone, and with a good one beside it. The same holds for messages that nobody knows.
//!
//! A row of `corpus/messages.json` has the client or provider, what its error is about (`range`, `batch`, `rate`, `busy`,
//! `history`, `method`, `ahead`, `auth`), `code`, `message`, `data` and HTTP `status` as far as they are known (a missing code is
//! played as -32000), the `form` of a refused batch, and the place where the message was found.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "support/node.rs"]
mod node;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use domain::chain::{BlockRef, ChainEvent, MarketEvent};
use evm::{ChainError, Next, Source, Step};
use futures_util::future::join_all;
use node::{FIRST_RATE_PAUSE, Generated, Reply, TestNode, blocks_of, config_of, first_block_of};
use serde_json::{Value, json};
use testkit::Dice;
use tokio::time::{Instant, sleep};

/// The height of the chain, and the end of its old blocks.
const HEIGHT: u64 = 60;
const OLD: u64 = 50;
/// The limits of refusing nodes: blocks in a range, the first block with history.
const MOST_BLOCKS: u64 = 7;
const HISTORY: u64 = 20;
/// The pause before the service repeats a call without an answer.
const SERVICE_PAUSE: Duration = Duration::from_millis(100);
/// The time limit of everything that must succeed, long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message, and what a node answers with it.
#[derive(Clone, Debug)]
struct Message {
    about: String,
    error: Value,
    status: u16,
    form: String,
    /// The limit of calls in a batch; 1 means no batches at all.
    most_calls: usize,
    name: String,
}

fn corpus() -> Vec<Value> {
    serde_json::from_str(include_str!("corpus/messages.json")).unwrap()
}

impl Message {
    /// The message of a row, once for each limit that it may be about.
    fn of(row: &Value) -> Vec<Self> {
        let mut error = json!({ "code": row["code"].as_i64().unwrap_or(-32_000) });
        for field in ["message", "data"] {
            if !row[field].is_null() {
                error[field] = row[field].clone();
            }
        }
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let status = row["status"].as_u64().map_or(200, |status| u16::try_from(status).unwrap());
        let message = |most_calls| Self {
            about: text("about"),
            error: error.clone(),
            status,
            form: text("form"),
            most_calls,
            name: format!("{row} {most_calls}"),
        };
        if row["about"] == "batch" { (1..=3).map(message).collect() } else { vec![message(3)] }
    }

    /// Whether a node with this message can serve nothing, or not its old blocks.
    fn is_lasting(&self) -> bool {
        matches!(&*self.about, "history" | "method" | "auth")
    }

    /// The answer to a request of a node that has this limit.
    fn reply(&self, calls: &[Value], before: usize) -> Option<Reply> {
        let refusing = |refuses: &dyn Fn(&Value) -> bool| {
            let errors: Vec<_> = calls.iter().map(|call| refuses(call).then(|| self.error.clone())).collect();
            errors.iter().any(Option::is_some).then_some(Reply::Calls(self.status, errors))
        };
        let of_logs = |call: &Value| call["method"] == "eth_getLogs";
        match &*self.about {
            "range" => {
                let refused = refusing(&|call| blocks_of(call).is_some_and(|blocks| blocks > MOST_BLOCKS))?;
                // Also of the whole batch, and without JSON.
                Some(match &*self.form {
                    "whole" => Reply::Whole(self.status, self.error.clone()),
                    "status" => Reply::Text(self.status, "no".to_owned()),
                    "drop" => Reply::Drop,
                    _ => refused,
                })
            }
            "batch" if calls.len() <= self.most_calls => None,
            "batch" => Some(match &*self.form {
                "each" => Reply::Calls(self.status, vec![Some(self.error.clone()); calls.len()]),
                "whole" => Reply::Whole(self.status, self.error.clone()),
                "first" => Reply::First(self.error.clone()),
                "rest" => {
                    let errors =
                        (0..calls.len()).map(|place| (place >= self.most_calls).then(|| self.error.clone()));
                    Reply::Calls(self.status, errors.collect())
                }
                "status" => Reply::Text(self.status, String::new()),
                "drop" => Reply::Drop,
                other => panic!("{other}"),
            }),
            // About every third request, without a period: a question of three calls would meet it each time.
            "rate" | "busy" if Dice::new(before as u64).roll(3) == 0 => {
                Some(Reply::Whole(self.status, self.error.clone()))
            }
            "rate" | "busy" => None,
            "history" => refusing(&|call| first_block_of(call).is_some_and(|block| block < HISTORY)),
            "method" => refusing(&|call| of_logs(call)),
            // The first requests for logs come too early.
            "ahead" if before < 12 => refusing(&|call| of_logs(call)),
            "ahead" => None,
            "auth" if self.form == "text" => Some(Reply::Text(self.status, "no".to_owned())),
            "auth" => Some(Reply::Whole(self.status, self.error.clone())),
            other => panic!("{other}"),
        }
    }
}

fn epochs(events: &[MarketEvent]) -> impl Iterator<Item = u64> {
    events.iter().map(|event| match event.event {
        ChainEvent::EpochReleased { epoch, .. } => epoch,
        _ => panic!("{event:?}"),
    })
}

/// Reads all blocks: the old ones by their events, again with their headers, the newest one by one. Returns the epochs of each. A
/// call without an answer is repeated until the deadline.
async fn walk(source: &Source, genesis: BlockRef, deadline: Instant) -> Result<[Vec<u64>; 3], ChainError> {
    let mut found: [Vec<u64>; 3] = Default::default();
    let range = source.range(OLD);
    let mut last = genesis;
    while last.number < OLD {
        if let Some(Step::Part(part)) = repeated(range.events(&last, deadline).await, deadline).await? {
            found[0].extend(part.blocks.iter().flat_map(|block| epochs(&block.events)));
            last = part.last;
        }
    }
    let mut last = genesis;
    while last.number < OLD {
        if let Some(Step::Part(blocks)) = repeated(range.blocks(&last, deadline).await, deadline).await? {
            found[1].extend(blocks.iter().flat_map(|block| epochs(&block.events)));
            last = blocks.last().unwrap().at;
        }
    }
    while last.number < HEIGHT {
        match repeated(source.next(&last, deadline).await, deadline).await? {
            Some(Next::Block { block, .. }) => {
                found[2].extend(epochs(&block.events));
                last = block.at;
            }
            Some(Next::NotYet { .. }) => source.wait().await,
            Some(reorganised @ Next::Reorganised { .. }) => panic!("{reorganised:?}"),
            None => {}
        }
    }
    Ok(found)
}

/// `None` for a call that found no answer, after the pause of the service that repeats it.
async fn repeated<T>(answer: Result<T, ChainError>, deadline: Instant) -> Result<Option<T>, ChainError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ChainError::NoAnswer { .. }) if Instant::now() + SERVICE_PAUSE < deadline => {
            sleep(SERVICE_PAUSE).await;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn all_epochs() -> [Vec<u64>; 3] {
    let old = Generated::epochs(1, OLD);
    [old.clone(), old, Generated::epochs(OLD + 1, HEIGHT)]
}

async fn play_alone(message: Message) {
    let chain = Generated::new(HEIGHT);
    let rule = message.clone();
    let node = TestNode::start(&chain, move |calls, before| rule.reply(calls, before)).await;
    let source = Source::new(config_of(&[&node])).unwrap();
    let name = &message.name;
    if message.is_lasting() {
        let soon = Instant::now() + Duration::from_secs(1);
        let error = walk(&source, chain.block(0), soon).await.unwrap_err();
        assert!(matches!(error, ChainError::NoAnswer { .. }), "{name}: {error}");
        // The halved ranges, the retries with growing pauses, and the probe.
        assert!(node.seen().len() <= 70, "{name}: {} requests in a second", node.seen().len());
        node.mend();
    }
    let found = walk(&source, chain.block(0), Instant::now() + PATIENCE).await;
    assert_eq!(found.unwrap_or_else(|error| panic!("{name}: {error}")), all_epochs(), "{name}");
    if message.about == "rate" {
        let seen = node.seen();
        let pause = Duration::from_millis(FIRST_RATE_PAUSE);
        for refused in seen.iter().filter(|request| request.refused) {
            let early = seen.iter().filter(|request| {
                request.at > refused.at + pause / 5 && request.at < refused.at + pause * 4 / 5
            });
            // Requests that were on their way already.
            assert!(early.count() <= 2, "{name}");
        }
    }
    if matches!(&*message.about, "range" | "batch") {
        assert_eq!(source.counters().set_aside(), 0, "{name}: a limit is no wrong answer");
    }
}

async fn play_with_a_good_node(message: Message) {
    let chain = Generated::new(HEIGHT);
    let rule = message.clone();
    let first = TestNode::start(&chain, move |calls, before| rule.reply(calls, before)).await;
    let good = TestNode::good(&chain).await;
    let source = Source::new(config_of(&[&first, &good])).unwrap();
    let name = &message.name;
    let found = walk(&source, chain.block(0), Instant::now() + PATIENCE).await;
    assert_eq!(found.unwrap_or_else(|error| panic!("{name}: {error}")), all_epochs(), "{name}");
    assert!(good.calls().contains_key("eth_getLogs"), "{name}: the second node was asked for no logs");
}

async fn play(messages: &[Message]) {
    for some in messages.chunks(16) {
        join_all(some.iter().cloned().map(play_alone)).await;
        join_all(some.iter().cloned().map(play_with_a_good_node)).await;
    }
}

#[tokio::test]
async fn following_goes_on_with_every_real_message() {
    let messages: Vec<Message> = corpus().iter().flat_map(Message::of).collect();
    play(&messages).await;
}

#[tokio::test]
async fn following_goes_on_with_messages_that_nobody_knows() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap()
    });
    println!("SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut words = || -> String {
        let letters =
            |dice: &mut Dice| (0..=dice.roll(8)).map(|_| char::from(b'a' + dice.roll(26) as u8)).collect();
        (0..=dice.roll(6)).map(|_| letters(&mut dice)).collect::<Vec<String>>().join(" ")
    };
    let texts: Vec<[String; 2]> = (0..40).map(|_| [words(), words()]).collect();
    let abouts = ["range", "batch", "busy", "method", "ahead"];
    let forms = ["each", "whole", "first", "rest", "drop", "status"];
    let statuses = [200, 200, 200, 400, 413, 500, 503];
    let mut pick = |count: usize| dice.roll(count as u64) as usize;
    let messages: Vec<Message> = texts
        .iter()
        .map(|[message, data]| {
            let code = pick(100_000) as i64 - 50_000;
            let error = json!({ "code": code, "message": message, "data": { "reason": data } });
            let (about, form) = (abouts[pick(5)].to_owned(), forms[pick(6)].to_owned());
            let mut status = statuses[pick(7)];
            if form == "status" && status == 200 {
                status = 502;
            }
            let most_calls = 1 + pick(3);
            let name = format!("SEED={seed} {about} {form} {status} {most_calls} {error}");
            Message { about, error, status, form, most_calls, name }
        })
        .collect();
    play(&messages).await;
}

#[test]
fn every_message_names_where_it_was_found() {
    let rows = corpus();
    assert!(rows.len() >= 60, "{}", rows.len());
    let abouts = rows.iter().map(|row| row["about"].as_str().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(
        abouts,
        BTreeSet::from(["ahead", "auth", "batch", "busy", "history", "method", "range", "rate"])
    );
    for row in &rows {
        assert!(row["found"].as_str().is_some_and(|found| found.starts_with("https://github.com/")), "{row}");
        assert!(row["client"].is_string(), "{row}");
    }
}
