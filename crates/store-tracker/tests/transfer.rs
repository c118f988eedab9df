//! Export, import and reset of a ledger, and the removal of a market, beside trackers and neighbours.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;
#[path = "transfer/refused.rs"]
mod refused;

use std::collections::{BTreeMap, BTreeSet};

use common::{Dump, MARKET, NOW, PROTOCOL, Scene, Tracker, finished_epoch, key, ledger, settings, written};
use domain::Address;
use redis::IntoConnectionInfo;
use store_redis::{ErrorKind, RedisSettings, Servers, Session};
use store_tracker::{
    Archive, Import, Imported, MarketKeys, Output, Spelling, TransferError, export_ledger, import_ledger,
    remove_datasets, reset_ledger,
};
use testkit::{FaultProxy, MarketProducer, ProducerConfig, RedisCluster};

/// The time of the exports and imports: that of the tests' passes.
const AT: u64 = NOW as u64 + 60;

async fn export(tracker: &Tracker) -> Result<Archive, TransferError> {
    export_ledger(&mut tracker.session().await, tracker.market.keys(), AT).await
}

async fn import(tracker: &Tracker, archive: &Archive, replace: bool) -> Result<Imported, TransferError> {
    let import = Import { archive, replace, now: AT, id: "1" };
    import_ledger(&mut tracker.session().await, tracker.market.keys(), import).await
}

async fn reset(tracker: &Tracker) -> Vec<String> {
    reset_ledger(&mut tracker.session().await, tracker.market.keys(), AT).await.expect("deleted")
}

/// The keys of all ledgers with their contents.
async fn ledgers(scene: &mut Scene) -> Dump {
    let mut all = scene.dump().await;
    all.retain(|key, _| key.contains(":tracker:"));
    all
}

async fn ttls(scene: &mut Scene) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for key in ledgers(scene).await.into_keys() {
        let ttl = scene.run("TTL", &key).await;
        all.insert(key, ttl);
    }
    all
}

/// The lines of an archive but the last one, without the times that pass between two exports: the TTLs of Redis' own clock.
fn lasting(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split(",\"expires\":").next().unwrap_or(line));
    lines.filter(|line| !line.starts_with("{\"end\"")).collect()
}

/// A scene with a ledger of sealed epochs, an unsealed one, and hours with validators.
async fn with_ledger() -> (Scene, Tracker, MarketProducer) {
    let scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    for (epoch, at) in [(7, NOW - 3_700), (8, NOW - 100), (9, NOW - 50)] {
        finished_epoch(&mut market, epoch, epoch, at).await;
    }
    market.open_epoch(10, NOW).await.expect("opened");
    market.submit(10, 3, NOW).await.expect("submitted");
    assert_eq!(tracker.full(NOW).await.totals(), written(&market.truth()));
    (scene, tracker, market)
}

#[tokio::test]
async fn an_export_a_reset_and_an_import_give_the_same_ledger() {
    let (mut scene, tracker, market) = with_ledger().await;
    let (before, lives) = (ledgers(&mut scene).await, ttls(&mut scene).await);
    let text = export(&tracker).await.expect("exported").to_text();
    assert_eq!(
        lasting(&text),
        lasting(&export(&tracker).await.expect("exported").to_text()),
        "the order is fixed"
    );
    let others = scene.dump().await.len() - before.len();
    let removed = reset(&tracker).await;
    assert_eq!((removed.len(), ledgers(&mut scene).await.len()), (before.len(), 0), "{removed:?}");
    assert_eq!(scene.dump().await.len(), others, "nothing else went");
    assert_eq!(reset(&tracker).await, Vec::<String>::new());

    let archive = Archive::read(text.as_bytes()).expect("an archive");
    let imported = import(&tracker, &archive, false).await.expect("imported");
    assert_eq!((imported.keys, imported.elements, imported.expired), (before.len(), archive.elements(), 0));
    assert_eq!(ledgers(&mut scene).await, before);
    for (key, ttl) in ttls(&mut scene).await {
        assert!((lives[&key] - ttl).abs() <= 10, "{key} lived for {} s and now for {ttl} s", lives[&key]);
    }
    let again = export(&tracker).await.expect("exported").to_text();
    assert_eq!(lasting(&again), lasting(&text), "byte for byte");
    // Trackers go on with it.
    assert_eq!(tracker.full(NOW + 120).await.totals(), written(&market.truth()));
}

#[tokio::test]
async fn an_export_reads_all_parts_in_one_transaction() {
    let (mut scene, tracker, _) = with_ledger().await;
    scene.run::<()>("CONFIG", "RESETSTAT").await;
    export(&tracker).await.expect("exported");
    let stats: String = scene.run("INFO", "commandstats").await;
    for line in ["cmdstat_multi:calls=1,", "cmdstat_exec:calls=1,"] {
        assert!(stats.contains(line), "no {line} in {stats}");
    }
}

#[tokio::test]
async fn an_import_replaces_a_ledger_on_demand_alone_and_then_leaves_nothing_of_it() {
    let (mut scene, tracker, mut market) = with_ledger().await;
    let archive = export(&tracker).await.expect("exported");
    let then = ledgers(&mut scene).await;
    // Later there is more of everything, and one key is damaged.
    finished_epoch(&mut market, 11, 4, NOW + 3_600).await;
    tracker.full(NOW + 3_610).await;
    scene.spoil(&ledger("included")).await;
    let before = ledgers(&mut scene).await;
    let refused = import(&tracker, &archive, false).await.expect_err("there is one");
    assert!(matches!(refused, TransferError::Exists(_)), "{refused}");
    assert_eq!(ledgers(&mut scene).await, before);
    import(&tracker, &archive, true).await.expect("replaced");
    assert_eq!(ledgers(&mut scene).await, then);
}

#[tokio::test]
async fn validators_of_hours_that_have_expired_are_left_out_and_others_expire_in_time() {
    let (mut scene, tracker, _) = with_ledger().await;
    let archive = export(&tracker).await.expect("exported");
    let hours = |dump: &Dump| dump.keys().filter(|key| key.contains(":validators:")).count();
    let before = ledgers(&mut scene).await;
    assert_eq!(hours(&before), 2);
    for (later, expired) in [(49 * 3_600, 0), (51 * 3_600, 2)] {
        let import = Import { archive: &archive, replace: true, now: AT + later, id: "1" };
        let keys = tracker.market.keys();
        let imported = import_ledger(&mut tracker.session().await, keys, import).await.expect("imported");
        let now = ledgers(&mut scene).await;
        assert_eq!((imported.expired, before.len() - now.len()), (expired, expired));
        for (key, ttl) in ttls(&mut scene).await {
            assert!(
                if key.contains(":validators:") { ttl <= 3_700 && ttl > 3_000 } else { ttl == -1 },
                "{key}: {ttl}"
            );
        }
    }
}

#[tokio::test]
async fn a_ledger_of_the_first_version_is_exported_and_imported_as_it_is_and_upgraded_later() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.restore(include_str!("ledger_v1.txt")).await;
    let before = ledgers(&mut scene).await;
    let text = export(&tracker).await.expect("exported").to_text();
    reset(&tracker).await;
    let archive = Archive::read(text.as_bytes()).expect("an archive");
    assert_eq!(archive.head().schema, "1");
    import(&tracker, &archive, false).await.expect("imported");
    assert_eq!(ledgers(&mut scene).await, before);
    let now = 1_795_341_550;
    assert!(tracker.market.upgrade(&mut tracker.session().await, now as f64).await.expect("upgraded"));
    assert_eq!(tracker.full(now).await.totals(), [Some(82), Some(14), Some(24)]);
}

#[tokio::test]
async fn a_market_without_a_ledger_or_with_one_of_another_version_is_not_exported() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let absent = export(&tracker).await.expect_err("there is none");
    assert!(matches!(absent, TransferError::Absent(_)) && absent.to_string().contains(MARKET), "{absent}");
    scene.run::<()>("HSET", &[ledger("meta"), "schema".into(), "77".into(), "born".into(), "5".into()]).await;
    let kind = |error: TransferError| match error {
        TransferError::Store(error) => error.kind,
        other => panic!("{other}"),
    };
    assert_eq!(kind(export(&tracker).await.expect_err("another version")), ErrorKind::Foreign);
    scene.run::<()>("HDEL", &[ledger("meta").as_str(), "schema"]).await;
    assert_eq!(kind(export(&tracker).await.expect_err("torn")), ErrorKind::Torn);
    scene.spoil(&ledger("open")).await;
    let error = export(&tracker).await.expect_err("another type");
    assert!(error.to_string().contains(&ledger("open")), "{error}");
    assert_eq!(kind(error), ErrorKind::WrongType);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_during_imports_find_one_of_the_two_ledgers_whole() {
    let (mut scene, tracker, _) = with_ledger().await;
    // All epochs are sealed, and their keys are gone: only the ledger knows totals.
    let mut all = Vec::new();
    for more in [0, 40] {
        let mut market = scene.producer();
        for epoch in 100..100 + more {
            finished_epoch(&mut market, epoch, 2, NOW).await;
        }
        scene.del(&[key("epoch:10:submissions:ids")]).await;
        tracker.full(NOW + 10_000).await;
        assert_eq!(tracker.full(NOW + 10_001).await.totals.unsealed.len(), 0);
        all.push(export(&tracker).await.expect("exported"));
    }
    scene.run::<()>("FLUSHALL", "SYNC").await;
    import(&tracker, &all[0], false).await.expect("imported");
    let mut expected = BTreeSet::new();
    for archive in &all {
        import(&tracker, archive, true).await.expect("imported");
        expected.insert(tracker.full(NOW + 10_060).await.totals());
    }
    assert_eq!(expected.len(), 2, "they differ");
    let passes = {
        let (passing, expected) = (scene.tracker(), expected.clone());
        tokio::spawn(async move {
            let mut met = BTreeSet::new();
            // Until both were met often enough to be met in between.
            for number in 0_u32.. {
                // A part of a ledger would be an error of the kind `torn`.
                let pass = match number % 2 {
                    0 => passing.full(NOW + 10_060).await,
                    _ => passing.recent(NOW + 10_060).await,
                };
                let found = pass.totals();
                assert!(expected.contains(&found), "{found:?} is none of {expected:?}");
                met.insert(found);
                if number >= 150 && met.len() == 2 {
                    break;
                }
            }
        })
    };
    let mut imports = 0;
    while !passes.is_finished() {
        imports += 1;
        import(&tracker, &all[imports % 2], true).await.expect("imported");
    }
    passes.await.expect("every pass was right");
    assert!(imports > 20, "only {imports} imports happened meanwhile");
}

#[tokio::test]
async fn an_import_whose_keys_were_lost_on_the_way_changes_nothing() {
    let (mut scene, tracker, mut market) = with_ledger().await;
    let archive = export(&tracker).await.expect("exported");
    finished_epoch(&mut market, 11, 4, NOW + 10).await;
    tracker.full(NOW + 20).await;
    let before = ledgers(&mut scene).await;
    let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
    let slow = Tracker::new(proxy.addr(), MARKET);
    proxy.hold_requests("EVALSHA");
    let importing = tokio::spawn(async move { import(&slow, &archive, true).await });
    testkit::wait_until("the last step waits", std::time::Duration::from_secs(20), async || proxy.held() > 0)
        .await;
    let staged = format!("{}:import:zset:1:opened", ledger("").trim_end_matches(':'));
    assert!(scene.run::<i64>("TTL", &staged).await > 0, "it goes by itself");
    scene.run::<()>("ZREM", &[staged.as_str(), "7"]).await;
    proxy.release();
    let error = importing.await.expect("it ends").expect_err("one element is missing");
    assert!(matches!(error, TransferError::Incomplete(_)), "{error}");
    assert_eq!(ledgers(&mut scene).await, before, "and its own keys are gone");
}

#[tokio::test]
async fn a_user_without_a_right_that_an_import_needs_changes_nothing() {
    let (mut scene, tracker, _) = with_ledger().await;
    let archive = export(&tracker).await.expect("exported");
    let before = ledgers(&mut scene).await;
    for command in ["rename", "persist", "pexpire", "unlink", "hset", "evalsha"] {
        let rules = ["SETUSER", "limited", "reset", "on", ">secret", "~*", "+@all"];
        let forbidden = format!("-{command}");
        scene.run::<()>("ACL", &[&rules[..], &[forbidden.as_str()]].concat()).await;
        let url = format!("redis://limited:secret@{}/0", scene.redis.addr());
        let info = url.into_connection_info().expect("a URL");
        let limited = RedisSettings { servers: info.into(), ..settings(scene.redis.addr()) };
        let limited = Tracker::with(limited, PROTOCOL, MARKET);
        let error = import(&limited, &archive, true).await.expect_err(command);
        assert!(error.to_string().contains("run th"), "{command}: {error}");
        let mut now = ledgers(&mut scene).await;
        // Without UNLINK its own keys stay until they expire.
        now.retain(|key, _| !key.contains(":import:"));
        assert_eq!(now, before, "{command}");
        for (key, ttl) in ttls(&mut scene).await {
            assert!(!key.contains(":import:") || ttl > 0, "{key} would stay");
        }
    }
}

/// Names that a pattern would take for others, and names that such a pattern would hit.
const HOSTILE: [&str; 7] = ["M*", "M?", "[M]", "M x", "M\nx\"'", "M\\*", "*"];
const NEIGHBOURS: [&str; 5] = ["M", "MA", "M1", "M x y", "x"];

#[tokio::test]
async fn a_reset_and_a_removal_take_a_market_of_any_name_and_no_key_of_a_neighbour_or_a_producer() {
    let mut scene = Scene::new().await;
    for name in HOSTILE.into_iter().chain(NEIGHBOURS) {
        let mut market = scene.producer_with(ProducerConfig::new(PROTOCOL, name));
        finished_epoch(&mut market, 7, 2, NOW - 30).await;
        Tracker::with(settings(scene.redis.addr()), PROTOCOL, name).full(NOW).await;
    }
    for name in HOSTILE {
        let tracker = Tracker::with(settings(scene.redis.addr()), PROTOCOL, name);
        let before = scene.dump().await;
        let archive = export(&tracker).await.expect("exported");
        assert_eq!(
            reset(&tracker).await.len(),
            gone(&before, &scene.dump().await, &format!("{{{PROTOCOL}:{name}}}:tracker:"))
        );
        import(&tracker, &archive, false).await.expect("imported");
        assert_eq!(scene.dump().await, before, "{name:?}");
        let mut session = tracker.session().await;
        let removed = remove_datasets(&mut session, tracker.market.keys(), AT).await.expect("deleted");
        let after = scene.dump().await;
        assert_eq!(removed.len(), before.len() - after.len());
        let datasets = ["dashboard:summary", "stats:", "metrics:participation", "epochs:gaps"];
        let is_dataset = |key: &&String| {
            let rest = key.strip_prefix(&format!("{PROTOCOL}:{name}:"));
            rest.is_some_and(|rest| datasets.iter().any(|dataset| rest.starts_with(dataset)))
        };
        let expected: BTreeSet<&String> = before.keys().filter(is_dataset).collect();
        assert_eq!(removed.iter().collect::<BTreeSet<_>>(), expected, "{name:?}");
        assert!(expected.len() >= 5, "{expected:?}");
    }
}

/// How many keys went, all of which must begin with this.
fn gone(before: &Dump, after: &Dump, with: &str) -> usize {
    assert!(after.iter().all(|(key, content)| before.get(key) == Some(content)));
    let gone: Vec<_> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    assert!(gone.iter().all(|key| key.starts_with(with)), "{gone:?}");
    gone.len()
}

#[tokio::test]
async fn datasets_are_removed_under_every_spelling_of_the_outputs_and_behind_their_prefix_alone() {
    let mut scene = Scene::new().await;
    let address = |text: &str| Address::new(&text.to_lowercase());
    let keys = |prefix: &str| {
        let output = Output { prefix: prefix.to_owned(), spelling: Spelling::Both };
        MarketKeys::new(&address(PROTOCOL), &address(MARKET)).with_output(&output)
    };
    let names = ["dashboard:summary", "stats:current", "metrics:current_epoch", "stats:daily"];
    for prefix in ["", "s:", "t:"] {
        for space in [key(""), common::lower("")] {
            for name in names.into_iter().chain([format!("stats:hourly:{}", NOW - NOW % 3_600).as_str()]) {
                scene.run::<()>("SET", &[format!("{prefix}{space}{name}").as_str(), "{}"]).await;
            }
        }
    }
    let mut session: Session = scene.tracker().session().await;
    let removed = remove_datasets(&mut session, &keys("s"), AT).await.expect("deleted");
    assert!(removed.len() == 10 && removed.iter().all(|key| key.starts_with("s:")), "{removed:?}");
    assert_eq!(scene.dump().await.len(), 20);
}

#[tokio::test]
async fn a_ledger_is_exported_reset_and_imported_on_a_cluster() {
    let cluster = RedisCluster::start(3).await.expect("a cluster");
    let mut market = MarketProducer::to_cluster(ProducerConfig::new(PROTOCOL, MARKET), cluster.client());
    for epoch in 1..=600 {
        finished_epoch(&mut market, epoch, 1, NOW - 60).await;
    }
    let seeds = cluster.addrs().into_iter().map(|addr| format!("redis://{addr}/0"));
    let seeds = seeds.map(|url| url.into_connection_info().expect("a URL")).collect();
    let settings = RedisSettings { servers: Servers::Cluster(seeds), ..settings(cluster.addrs()[0]) };
    let tracker = Tracker::with(settings, PROTOCOL, MARKET);
    tracker.full(NOW).await;
    tracker.full(NOW + 1).await;
    let text = export(&tracker).await.expect("exported").to_text();
    let removed = reset(&tracker).await;
    assert!(removed.len() >= 10 && text.lines().count() > 600, "{removed:?}");
    assert!(matches!(export(&tracker).await, Err(TransferError::Absent(_))));
    // Its slot is on another node meanwhile.
    let slot = cluster.slot(&ledger("open")).await.expect("a slot");
    let owner = cluster.owner(slot).await.expect("an owner");
    cluster.move_slot(slot, (owner + 1) % 3).await.expect("moved");
    let archive = Archive::read(text.as_bytes()).expect("an archive");
    import(&tracker, &archive, false).await.expect("imported");
    assert_eq!(lasting(&export(&tracker).await.expect("exported").to_text()), lasting(&text));
    assert_eq!(tracker.full(NOW + 60).await.totals(), written(&market.truth()));
}
