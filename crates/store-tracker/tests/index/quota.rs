//! The quota of the index: what it may grow to, whatever is published.

use std::collections::BTreeSet;

use domain::tracker::index::{LONGEST_ID, LONGEST_VALIDATOR, Quota, VALIDATORS_AN_EPOCH};
use store_tracker::{Index, IndexKeys, IndexPart, Output};
use testkit::Dice;

use crate::common::{MARKET, PROTOCOL};
use crate::scene::{Indexing, NOW, WEEK, apply, texts};

const SMALL: Quota = Quota { epochs: 40, submissions: 200, validators: 100 };

async fn with_quota(mut scene: Indexing, quota: Quota) -> Indexing {
    scene.index = scene.index.with_quota(quota);
    scene
}

/// Events with the longest ids that the index takes, each of another entity: the letters are random, so that nothing is shared.
fn hostile(dice: &mut Dice, number: u64) -> String {
    let epoch = 10_000_000_000_000_000_000 + number;
    let letters = |dice: &mut Dice, many: usize| -> String {
        (0..many).map(|_| char::from(b'a' + u8::try_from(dice.roll(26)).expect("a letter"))).collect()
    };
    match dice.roll(4) {
        0 => {
            let step = ["epoch:open", "epoch:closed", "batch:local", "batch:aggregated"];
            format!("{}:{epoch}", step[dice.roll(4) as usize])
        }
        1 => {
            // More validators than the quota, and more of each epoch than it keeps.
            let name = format!("{:a>LONGEST_VALIDATOR$}", dice.roll(120));
            let epoch = 10_000_000_000_000_000_000 + dice.roll(50);
            format!("batch:validator:{name}:{epoch}")
        }
        _ => {
            let state = ["received", "validated", "rejected", "finalized"][dice.roll(4) as usize];
            let (slot, end) = (number, ":1:p");
            let begin = format!("{epoch}:{slot}:");
            let project = letters(dice, LONGEST_ID - begin.len() - end.len());
            format!("submission:{state}:{begin}{project}{end}")
        }
    }
}

async fn used_memory(scene: &mut Indexing) -> u64 {
    let info: String = scene.scene.run("INFO", "memory").await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
    used.and_then(|used| used.trim().parse().ok()).expect("a number of bytes")
}

async fn sizes(scene: &mut Indexing) -> [u64; 4] {
    [
        scene.scene.run("ZCARD", "metrics:epochs:by_time").await,
        scene.scene.run("ZCARD", "metrics:submissions:by_time").await,
        scene.scene.run("HLEN", "validators:last_seen").await,
        scene.scene.run("ZCARD", "metrics:finalizations:by_time").await,
    ]
}

#[tokio::test]
async fn a_full_index_refuses_new_entities_and_moves_the_known_ones() {
    let quota = Quota { epochs: 2, submissions: 2, validators: 1 };
    let mut scene = with_quota(Indexing::plain().await, quota).await;
    let known = ["epoch:open:1", "epoch:open:2", "submission:received:a", "submission:received:b"];
    assert_eq!(scene.hear(NOW, &known).await.refused, 0);
    scene.hear(NOW, &["batch:validator:v:1"]).await;
    let before = scene.dump().await;
    let beyond = [
        "epoch:open:3",
        "epoch:closed:3",
        "submission:received:c",
        "batch:validator:w:1",
        "batch:validator:v:3",
    ];
    assert_eq!(scene.hear(NOW, &beyond).await.refused, 5);
    assert_eq!(scene.dump().await, before);
    // In one batch with known ones, and with an epoch that is only named by a submission of a known id.
    let mixed = ["epoch:open:0", "epoch:closed:2", "submission:validated:b", "submission:received:0"];
    assert_eq!(scene.hear(NOW, &mixed).await.refused, 2);
    assert_eq!(scene.field("state:epoch:2", "state").await.as_deref(), Some("finalizing"));
    assert_eq!(scene.field("state:submission:b", "state").await.as_deref(), Some("validated"));
    assert_eq!(scene.dump().await.len(), before.len());
}

#[tokio::test]
async fn a_submission_of_a_refused_epoch_makes_no_key_of_the_epoch() {
    let quota = Quota { epochs: 1, submissions: 10, validators: 1 };
    let mut scene = with_quota(Indexing::plain().await, quota).await;
    scene.hear(NOW, &["epoch:open:1"]).await;
    scene.hear(NOW, &["submission:received:2:42:pair:17:peer"]).await;
    assert_eq!(scene.members("active:submissions").await, ["2:42:pair:17:peer"]);
    let of_epochs: Vec<_> = scene.keys().await.into_iter().filter(|key| key.contains("epoch:2")).collect();
    assert_eq!(of_epochs, Vec::<String>::new());
}

#[tokio::test]
async fn an_epoch_names_a_limited_number_of_validators() {
    let many = Quota { validators: 1_000, ..SMALL };
    let mut scene = with_quota(Indexing::plain().await, many).await;
    let limit = VALIDATORS_AN_EPOCH as usize;
    let events: Vec<String> = (0..limit + 10).map(|at| format!("batch:validator:v{at:03}:7")).collect();
    let (first, rest) = events.split_at(limit / 2);
    assert_eq!(scene.hear(NOW, &texts(first)).await.refused, 0);
    // The fields of its states take no place of a validator.
    scene.hear(NOW, &["epoch:open:7", "epoch:closed:7", "batch:local:7", "batch:aggregated:7"]).await;
    assert_eq!(scene.hear(NOW, &texts(rest)).await.refused, 10);
    assert_eq!(scene.members("epoch:7:validators").await.len(), limit);
    assert_eq!(scene.hear(NOW, &texts(first)).await.refused, 0, "these are known");
    // The refused ones are validators all the same.
    assert_eq!(scene.members("online:validators").await.len(), limit + 10);
    assert_eq!(scene.field("state:validator:v073", "state").await.as_deref(), Some("active"));
    assert_eq!(scene.members("validator:v073:epochs").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_indexers_that_are_flooded_at_once_stay_within_keys_and_bytes() {
    for mut scene in [Indexing::plain().await, Indexing::of_market().await] {
        // The server's own memory, and that of the scripts and connections.
        apply(&scene.store, &scene.index, NOW, &["epoch:open:1", "batch:validator:v:1"]).await;
        scene.scene.run::<()>("FLUSHALL", "SYNC").await;
        scene = with_quota(scene, SMALL).await;
        let before = used_memory(&mut scene).await;
        let mut tasks = Vec::new();
        for indexer in 0..4 {
            let (store, index) = (scene.store.clone(), scene.index.clone());
            tasks.push(tokio::spawn(async move {
                let mut dice = Dice::new(indexer);
                let mut refused = 0;
                for portion in 0..20 {
                    // Two of them name the same numbers.
                    let first = (indexer / 2 * 20 + portion) * 1_000;
                    let events: Vec<String> =
                        (first..first + 1_000).map(|number| hostile(&mut dice, number)).collect();
                    refused += apply(&store, &index, NOW, &texts(&events)).await.refused;
                }
                refused
            }));
        }
        for task in tasks {
            assert!(task.await.expect("it indexed") > 0);
        }
        let prefix = if scene.keys().await.iter().any(|key| key.starts_with(PROTOCOL)) {
            PROTOCOL.len() + MARKET.len() + 2
        } else {
            assert_eq!(sizes(&mut scene).await[..3], [SMALL.epochs, SMALL.submissions, SMALL.validators]);
            0
        };
        let keys: u64 = scene.scene.run("DBSIZE", &[] as &[&str]).await;
        assert!(keys <= SMALL.most_keys() && keys > SMALL.most_keys() / 2, "{keys}");
        let (bytes, most) = (used_memory(&mut scene).await - before, SMALL.most_bytes(prefix as u64));
        println!("{keys} keys, {bytes} bytes of at most {most}");
        assert!(bytes <= most && bytes > most / 3, "{bytes} of {most}");
    }
}

#[tokio::test]
async fn a_pruned_index_takes_new_entities_again() {
    let quota = Quota { epochs: 3, submissions: 3, validators: 2 };
    let mut scene = with_quota(Indexing::plain().await, quota).await;
    let life = |epoch: u64| -> Vec<String> {
        vec![
            format!("epoch:open:{epoch}"),
            format!("batch:aggregated:{epoch}"),
            format!("batch:validator:v{epoch}:{epoch}"),
            format!("submission:received:{epoch}:42:pair:17:peer"),
        ]
    };
    for epoch in 1..=3 {
        scene.hear(NOW, &texts(&life(epoch))).await;
    }
    assert_eq!(scene.hear(NOW + 100, &texts(&life(4))).await.refused, 4);
    let mut session = scene.session().await;
    for part in IndexPart::ALL {
        scene.index.forget(&mut session, part, NOW + 50, 100).await.expect("forgotten");
    }
    scene.index.forget_validators(&mut session, 0, NOW + 50, 100).await.expect("forgotten");
    assert_eq!(scene.keys().await, Vec::<String>::new());
    assert_eq!(scene.hear(NOW + 100, &texts(&life(4))).await.refused, 0);
    assert_eq!(scene.members("completed:epochs").await, ["4"]);
}

#[tokio::test]
async fn a_smaller_quota_keeps_what_is_known_and_takes_nothing_new() {
    let scene = with_quota(Indexing::plain().await, SMALL).await;
    scene.hear(NOW, &["epoch:open:1", "epoch:open:2", "epoch:open:3"]).await;
    let mut scene = with_quota(scene, Quota { epochs: 1, ..SMALL }).await;
    assert_eq!(scene.hear(NOW, &["epoch:closed:3", "epoch:open:4"]).await.refused, 1);
    assert_eq!(scene.members("active:epochs").await, ["1", "2", "3"]);
    assert_eq!(scene.field("state:epoch:3", "state").await.as_deref(), Some("finalizing"));
}

#[tokio::test]
async fn an_earlier_time_of_a_known_entity_replaces_a_later_one() {
    let mut scene = Indexing::plain().await;
    scene.hear(NOW, &["epoch:open:1"]).await;
    scene.hear(NOW - 10, &["epoch:open:1"]).await;
    scene.hear(NOW + 10, &["epoch:open:1"]).await;
    let first: f64 = scene.scene.run("ZSCORE", &["metrics:epochs:by_time", "1"]).await;
    assert_eq!(first, (NOW - 10) as f64);
}

#[tokio::test]
async fn an_entity_that_is_about_to_be_removed_takes_no_event() {
    let mut scene = Indexing::plain().await;
    let known = ["epoch:open:1", "submission:received:s"];
    scene.hear(NOW, &known).await;
    let moved = ["epoch:closed:1", "submission:validated:s"];
    assert_eq!(scene.hear(NOW + WEEK - 60, &moved).await.refused, 0);
    let late = ["batch:local:1", "submission:finalized:s", "batch:validator:v:1"];
    assert_eq!(scene.hear(NOW + WEEK - 59, &late).await.refused, 3);
    assert_eq!(scene.field("state:epoch:1", "state").await.as_deref(), Some("finalizing"));
    let mut session = scene.session().await;
    for part in IndexPart::ALL {
        scene.index.forget(&mut session, part, NOW + 1, 100).await.expect("forgotten");
    }
    // After the removal it is a new one.
    assert_eq!(scene.hear(NOW + WEEK + 1, &["epoch:open:1"]).await.refused, 0);
    assert_eq!(scene.members("active:epochs").await, ["1"]);
}

#[tokio::test]
async fn each_index_has_a_quota_of_its_own() {
    let quota = Quota { epochs: 1, ..SMALL };
    let scene = with_quota(Indexing::plain().await, quota).await;
    let prefix = Output { prefix: "other".to_owned(), ..Output::default() };
    let other = Index::new(IndexKeys::plain(&prefix), WEEK).with_quota(quota);
    scene.hear(NOW, &["epoch:open:1"]).await;
    assert_eq!(apply(&scene.store, &other, NOW, &["epoch:open:2"]).await.refused, 0);
    assert_eq!(scene.hear(NOW, &["epoch:open:2"]).await.refused, 1);
}

#[tokio::test]
async fn an_event_costs_a_limited_number_of_commands() {
    let mut scene = with_quota(Indexing::plain().await, SMALL).await;
    let mut dice = Dice::new(7);
    let mut most = BTreeSet::new();
    for full in [false, true] {
        for number in 0..200 {
            let event = hostile(&mut dice, number);
            let before = commands(&mut scene).await;
            scene.hear(NOW, &[&event]).await;
            most.insert(commands(&mut scene).await - before);
        }
        if !full {
            let fill: Vec<String> = (1_000..3_000).map(|number| hostile(&mut dice, number)).collect();
            scene.hear(NOW, &texts(&fill)).await;
        }
    }
    println!("commands of one event, those within scripts included: {most:?}");
    assert!(most.last().is_some_and(|&most| most <= 64), "{most:?}");
}

/// How many commands the server has run, those within scripts included.
async fn commands(scene: &mut Indexing) -> u64 {
    let info: String = scene.scene.run("INFO", "commandstats").await;
    let calls =
        info.lines().filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok());
    calls.sum()
}

/// Bytes of one entity of a kind: of many events of that kind alone.
async fn bytes_each(many: u64, event: impl Fn(&mut Dice, u64) -> Vec<String>) -> u64 {
    let quota = Quota { epochs: 100_000, submissions: 100_000, validators: 100_000 };
    let mut scene = with_quota(Indexing::plain().await, quota).await;
    scene.hear(NOW, &["epoch:open:1", "batch:validator:v:1"]).await;
    scene.scene.run::<()>("FLUSHALL", "SYNC").await;
    let (before, mut dice) = (used_memory(&mut scene).await, Dice::new(1));
    for first in (0..many).step_by(500) {
        let events: Vec<String> =
            (first..(first + 500).min(many)).flat_map(|number| event(&mut dice, number)).collect();
        scene.hear(NOW, &texts(&events)).await;
    }
    (used_memory(&mut scene).await - before) / many
}

#[tokio::test]
#[ignore = "figures of the documentation"]
async fn figures_of_one_entity() {
    let long = 10_000_000_000_000_000_000_u64;
    let validator = |number: u64| format!("{number:a>LONGEST_VALIDATOR$}");
    let steps = ["epoch:open", "epoch:closed", "batch:local", "batch:aggregated"];
    let of_epoch = |epoch: u64| steps.map(|step| format!("{step}:{epoch}")).to_vec();
    println!("an epoch with short ids: {}", bytes_each(10_000, |_, at| of_epoch(23_000_000 + at)).await);
    println!("an epoch with long ids: {}", bytes_each(10_000, |_, at| of_epoch(long + at)).await);
    let honest = bytes_each(10_000, |_, at| {
        let id = format!(
            "{}:{}:pairTotalReserves:0xAbCdEf0123456789AbCdEf0123456789AbCdEf01:UNISWAPV2:{NOW}:{}",
            23_000_000 + at / 100,
            at % 5_000,
            crate::scene::PEER
        );
        vec![format!("submission:received:{id}"), format!("submission:validated:{id}")]
    });
    println!("a submission of producers: {}", honest.await);
    let hostile = bytes_each(10_000, |dice, at| {
        let event = loop {
            let event = hostile(dice, at);
            if event.starts_with("submission") {
                break event;
            }
        };
        let id = event.splitn(3, ':').nth(2).expect("an id").to_owned();
        ["received", "validating", "validated", "finalized"]
            .map(|state| format!("submission:{state}:{id}"))
            .to_vec()
    });
    println!("a submission with an epoch, a project and a slot of its own: {}", hostile.await);
    let links = bytes_each(10_000, |_, at| {
        vec![format!("batch:validator:{}:{}", validator(at % 64), long + at / 64)]
    });
    println!("a long validator within an epoch: {}", links.await);
    let links = bytes_each(10_000, |_, at| {
        vec![format!("batch:validator:{}{}:{}", crate::scene::PEER, at % 8, 23_000_000 + at / 8)]
    });
    println!("a peer within an epoch: {}", links.await);
    let validators = bytes_each(10_000, |_, at| vec![format!("batch:validator:{}:7", validator(at))]);
    println!("a validator: {}", validators.await);
}
