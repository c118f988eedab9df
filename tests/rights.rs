//! The rights of the tracker's user in a real Redis: the printed access list is enough, and each part of it is needed.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use common::{SOON, following, have_settled, run, with};
use domain::Address;
use redis::{Value, aio::MultiplexedConnection, cmd};
use state_tracker::{
    config::Config,
    rights::{Missing, missing},
    service::{Service, connect},
};
use testkit::{
    MarketProducer, ProducerConfig, RedisCluster, RedisServer, RelayerServer, Sentinels, contents::query,
    wait_until, world::World,
};

type Environment = BTreeMap<String, String>;

/// The words of the command that `doctor --acl` prints.
async fn printed(environment: &Environment) -> Vec<String> {
    let (code, command, notes) = run(environment, &["doctor", "--acl"]).await;
    assert_eq!((code, command.lines().count()), (Some(0), 1), "{command}{notes}");
    assert!(notes.contains("note: the user keeps its passwords"), "{notes}");
    command.split_whitespace().map(str::to_owned).collect()
}

/// Makes the user what these words say, and nothing else.
async fn set_user(connection: &mut MultiplexedConnection, words: &[String]) {
    let (head, rules) = words.split_at(3);
    let mut command = cmd(&head[0]);
    command.arg(&head[1..]).arg("reset").arg(rules).arg(">secret");
    command.exec_async(connection).await.expect("the server takes the list");
}

/// The words but for the one at this place.
fn without(words: &[String], at: usize) -> Vec<String> {
    [&words[..at], &words[at + 1..]].concat()
}

fn config(environment: &Environment) -> Config {
    Config::load(None, environment.clone()).expect("an allowed configuration").config
}

/// A world whose addresses are configured in lower case, and a user in its Redis.
fn settings(redis: &RedisServer, world: &World) -> Environment {
    let environment = following(redis.addr(), world);
    with(
        &environment,
        &[
            ("DATA_MARKET_ADDRESSES", &world.contracts.markets[0]),
            ("REDIS_USERNAME", "tracker"),
            ("REDIS_PASSWORD", "secret"),
            ("ATTESTOR_QUEUE_PUSH_ENABLED", "true"),
            ("STATE_TRACKER__INTERVALS__PRUNE", "100ms"),
            ("STATE_TRACKER__COLLECTOR__CLEANUP_INTERVAL", "100ms"),
            ("STATE_TRACKER__INDEX__ENABLED", "true"),
            ("STATE_TRACKER__RETENTION__ACTIVE", "8days"),
        ],
    )
}

const PREFIX: &str = "STATE_TRACKER__OUTPUT__PREFIX";

const RELAYER: &str = "TX_RELAYER_URL";
/// A relayer that nobody calls.
const NO_RELAYER: &str = "http://127.0.0.1:1";
/// A market that another one replaces.
const OLD: &str = "0x3333333333333333333333333333333333333333";

/// One market with an index of its own names; two markets with indexes, a second namespace and two spellings, of which a relayer is told and
/// one replaces another one; a shadow.
fn variants(redis: &RedisServer, world: &World, relayer: &str) -> [Environment; 3] {
    let one = settings(redis, world);
    let two = [
        (RELAYER, relayer.to_owned()),
        ("REWARDS_UPDATE_EPOCH_INTERVAL", "1".to_owned()),
        ("ENABLE_MARKET_MIGRATION", "true".to_owned()),
        ("MARKET_MIGRATION_MAPPINGS", format!("{OLD}:{}", world.contracts.markets[0])),
        ("DATA_MARKET_ADDRESSES", world.contracts.markets.join(",")),
        (
            "STATE_TRACKER__TRACKER__PRIORITY_PROTOCOL",
            "0x21cb57c1f2352ad215a463dd867b838749cd3b8f".to_owned(),
        ),
        ("STATE_TRACKER__OUTPUT__SPELLING", "both".to_owned()),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true".to_owned()),
    ];
    let two = with(&one, &two.each_ref().map(|(name, value)| (*name, value.as_str())));
    let shadow = with(&one, &[(PREFIX, "shadow")]);
    [one, two, shadow]
}

/// Whether Redis has denied something.
async fn is_denied(connection: &MultiplexedConnection) -> bool {
    !query::<Vec<Value>>(&mut connection.clone(), &["ACL", "LOG"]).await.is_empty()
}

/// Lets the whole service do everything that it does: passes, prunes, cleans, hands over, keeps an index.
async fn work(environment: &Environment, world: &mut World, redis: &RedisServer) {
    let mut connection = redis.connection().await.expect("a connection");
    let service: Service = common::service(environment).await;
    let [protocol, market] = [&world.contracts.protocol_state, &world.contracts.markets[0]];
    // One address in checksum form and the other as it is configured.
    let (protocol, market) = (Address::new(protocol).checksummed().to_owned(), market.clone());
    // Events of the common channel name no market.
    let config = ProducerConfig { market_channel: true, ..ProducerConfig::new(&protocol, &market) };
    let mut producer = MarketProducer::new(config, &redis.url()).expect("producers");
    let points = service.tree().failure_points();
    let passages = |point: &str| points.passages(point).0;
    let before = ["pruner::after_round", "cleaner::after_round", "indexer::after_commit"]
        .map(|point| (point, passages(point)));
    wait_until("the subscription stands", SOON, async || passages("listener::after_subscribe") > 0).await;
    producer.finish_epoch(23_000_001, 3).await.expect("produced");
    producer.open_epoch(23_000_002, testkit::producers::unix_now()).await.expect("opened");
    world.grow_collected(60, &mut connection).await;
    let height = world.height().await;
    let prefix = environment.get(PREFIX).map_or_else(String::new, |prefix| format!("{prefix}:"));
    wait_until("the chain's head is accepted", SOON, async || {
        let key = format!("{prefix}tracker:chain:checkpoint");
        let text: Option<String> = query(&mut connection.clone(), &["GET", &key]).await;
        text.is_some_and(|text| text.contains(&format!("\"number\":{height},")))
    })
    .await;
    wait_until("batches are handed over", SOON, async || {
        query::<u64>(&mut connection.clone(), &["EXISTS", &format!("{prefix}finalizerQueue")]).await == 1
    })
    .await;
    have_settled(&service, Address::new(&market).checksummed()).await;
    if environment.contains_key(RELAYER) && prefix.is_empty() {
        for kind in ["submitBatchSize", "submitUpdateRewards"] {
            wait_until(kind, SOON, async || {
                let sent = format!("tracker:relayer:{market}:sent");
                let calls: Vec<Value> = query(&mut connection.clone(), &["XRANGE", &sent, "-", "+"]).await;
                let is_told = |word: &str| format!("{calls:?}").contains(word);
                is_told(if kind == "submitBatchSize" { "batch_size" } else { "rewards" })
                    || is_denied(&connection).await
            })
            .await;
        }
    }
    for (point, before) in before {
        wait_until(point, SOON, async || passages(point) > before || is_denied(&connection).await).await;
    }
    service.stop().await;
}

/// What finalizers have counted, also of the market that is replaced.
async fn count_for_rewards(world: &World, admin: &mut MultiplexedConnection) {
    world.anvil.set_total_nodes(&world.contracts, 3).await.expect("set");
    for day in 1..=10 {
        for market in [&world.contracts.markets[0], OLD] {
            let slot = |kind: &str| format!("{kind}.{market}.{day}.2");
            query::<()>(admin, &["SET", &slot("EligibleSlotSubmissionsKey"), "4"]).await;
            query::<()>(admin, &["SET", &slot("SlotSubmissionsKey"), "5"]).await;
            query::<()>(admin, &["SADD", &format!("EligibleNodeByDayKey.{market}.{day}"), "2"]).await;
        }
    }
    for (key, value) in [
        ("TotalNodesCount".to_owned(), "3"),
        (format!("LastKnownDayKey.{OLD}"), "7"),
        (
            format!("DayRolloverEpochMarkerDetailsKey.{OLD}.3"),
            r#"{"LastKnownDay":"6","CurrentEpoch":3,"BufferEpoch":8}"#,
        ),
    ] {
        query::<()>(admin, &["SET", &key, value]).await;
    }
    query::<()>(admin, &["SETEX", &format!("CurrentDayKey.{OLD}"), "1000", "7"]).await;
    query::<()>(admin, &["SADD", &format!("DayRolloverEpochMarkerSetKey.{OLD}"), "3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_access_list_is_enough_for_the_whole_service() {
    let mut world = World::new(51).await;
    for variant in 0..3 {
        let redis = RedisServer::start().await.expect("a Redis server");
        let relayer = RelayerServer::start().await.expect("a relayer");
        let mut admin = redis.connection().await.expect("a connection");
        let environment = variants(&redis, &world, &relayer.url())[variant].clone();
        set_user(&mut admin, &printed(&environment).await).await;
        // The user did not exist when the list was printed, and was tested in vain.
        query::<()>(&mut admin, &["ACL", "LOG", "RESET"]).await;
        if variant == 1 {
            count_for_rewards(&world, &mut admin).await;
        }
        work(&environment, &mut world, &redis).await;
        assert!(variant != 1 || relayer.calls().len() > 2, "{:?}", relayer.calls());
        let denied: Vec<Value> = query(&mut admin, &["ACL", "LOG"]).await;
        assert!(denied.is_empty(), "{variant}: {denied:#?}");
        let (_, report, error) = run(&environment, &["doctor", "--json"]).await;
        assert!(!report.contains("\"acl\"") && report.contains("\"findings\""), "{variant}: {report}{error}");
        let (code, shown, error) = run(&environment, &["check", "--connect"]).await;
        assert!(code == Some(0) && shown.contains("grants all rights"), "{variant}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_pattern_or_channel_that_is_taken_away_is_found() {
    let (world, redis) = (World::new(52).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    for environment in variants(&redis, &world, NO_RELAYER) {
        let (words, config) = (printed(&environment).await, config(&environment));
        let store = connect(&config).expect("a connection");
        let markets = &config.tracker.markets;
        set_user(&mut admin, &words).await;
        assert_eq!(missing(&config, &store, markets).await.expect("asked"), [], "{words:?}");
        let is_pattern = |word: &String| word.starts_with(['~', '%', '&']);
        let patterns: Vec<usize> = (0..words.len()).filter(|at| is_pattern(&words[*at])).collect();
        assert!(patterns.len() > 50, "{words:?}");
        for at in patterns {
            let taken = &words[at];
            set_user(&mut admin, &without(&words, at)).await;
            let found = missing(&config, &store, markets).await.expect("asked");
            let name = taken.trim_start_matches("%R").trim_start_matches(['~', '&']);
            let names = |missing: &Missing| missing.object.contains(name) || missing.problem.contains(name);
            let told = found.iter().any(names);
            assert!(told, "{taken}: {found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_granted_command_is_needed_and_its_loss_is_found() {
    let (world, redis) = (World::new(53).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    for environment in variants(&redis, &world, NO_RELAYER) {
        let (words, config) = (printed(&environment).await, config(&environment));
        let store = connect(&config).expect("a connection");
        let granted: Vec<usize> = (0..words.len()).filter(|at| words[*at].starts_with('+')).collect();
        let categories = words.iter().filter(|word| word.starts_with("+@"));
        assert!(granted.len() > 50 && categories.eq(["+@connection"]), "{words:?}");
        for at in granted {
            let taken = &words[at];
            set_user(&mut admin, &without(&words, at)).await;
            let name = match taken.trim_start_matches('+') {
                "@connection" => "PING".to_owned(),
                command => command.split('|').next().unwrap_or_default().to_uppercase(),
            };
            let found = missing(&config, &store, &config.tracker.markets).await.expect("asked");
            // Where a selector lost it and another has it, its keys are missing.
            let told = found.iter().any(|missing| {
                missing.object == format!("command {name}")
                    || missing.object.starts_with("keys ") && missing.problem.contains(&name)
            });
            assert!(told, "{taken} at {at}: {found:?}");
        }
    }
}

/// Every command that the stores send, by themselves or in a script, is in the list or named here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_of_the_stores_is_missing_in_the_list() {
    let (world, redis) = (World::new(55).await, RedisServer::start().await.expect("a Redis server"));
    let environment = variants(&redis, &world, NO_RELAYER)[1].clone();
    let words = printed(&environment).await;
    let granted: BTreeSet<String> =
        words.iter().filter_map(|word| Some(word.strip_prefix('+')?.to_uppercase())).collect();
    // By the rights of connections; by lines for sentinels and clusters; asked of a server by the doctor, which says what it could not ask;
    // to sentinels, which have users of their own.
    let others = ["PING", "SELECT", "ROLE", "CLUSTER", "ASKING", "INFO", "CONFIG", "SENTINEL", "HELLO"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let (mut commands, mut folders) = (BTreeSet::new(), vec![]);
    for store in ["store-campaign-log", "store-collector", "store-redis", "store-tracker"] {
        folders.push(root.join(store).join("src"));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.extension().and_then(|extension| extension.to_str()) {
                None => folders.push(path),
                Some("rs" | "lua") => commands.extend(sent(&fs::read_to_string(path).expect("text"))),
                Some(_) => {}
            }
        }
    }
    assert!(
        commands.len() > 45 && commands.contains("ZMSCORE") && commands.contains("RENAME"),
        "{commands:?}"
    );
    let is_known = |command: &&String| {
        let is_container = granted.iter().any(|word| word.starts_with(&format!("{command}|")));
        granted.contains(*command) || is_container || others.contains(&command.as_str())
    };
    let missing: Vec<&String> = commands.iter().filter(|command| !is_known(command)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The commands in a source file: words in capitals behind the calls that send one.
fn sent(text: &str) -> BTreeSet<String> {
    // Tests may send anything.
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let calls = [
        ".cmd(\"",
        ".keyless(\"",
        ".write(\"",
        "cmd(\"",
        ".query_as(&[\"",
        ".query(&[\"",
        "script(\"",
        "redis.call('",
        "redis.pcall('",
    ];
    let behind = calls.iter().flat_map(|call| text.split(call).skip(1));
    let words = behind.map(|rest| rest.split(['"', '\'']).next().unwrap_or_default());
    words
        .filter(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_enough_for_the_commands_of_operators() {
    let (world, redis) = (World::new(56).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    let folder = tempfile::tempdir().expect("a folder");
    for (number, environment) in variants(&redis, &world, NO_RELAYER).into_iter().enumerate() {
        query::<()>(&mut admin, &["FLUSHALL"]).await;
        set_user(&mut admin, &printed(&environment).await).await;
        let market = world.contracts.markets[0].as_str();
        let service: Service = common::service(&environment).await;
        let config = ProducerConfig::new(&world.contracts.protocol_state, market);
        let mut producer = MarketProducer::new(config, &redis.url()).expect("producers");
        producer.finish_epoch(23_000_001, 3).await.expect("produced");
        have_settled(&service, Address::new(market).checksummed()).await;
        service.stop().await;
        query::<()>(&mut admin, &["ACL", "LOG", "RESET"]).await;
        let file = folder.path().join(number.to_string());
        let file = file.to_str().expect("a path");
        for arguments in [
            &["diff", market][..],
            &["ledger", "export", market, "--to", file],
            &["ledger", "import", market, "--from", file, "--replace"],
            &["ledger", "reset", market, "--yes"],
            &["ledger", "import", market, "--from", file],
            &["ledger", "remove", market, "--yes"],
            &["check", "--connect"],
            &["doctor"],
            &["backfill", "--from", "1", "--to", "3"],
            &["migrate-markets"],
            &["outbox", "list"],
            &["outbox", "pause", market],
            &["outbox", "resume", market],
        ] {
            if arguments[0] == "outbox" && number != 1 {
                continue;
            }
            let (code, said, error) = run(&environment, arguments).await;
            assert!(code.is_some_and(|code| code != 78 && code != 2), "{arguments:?}: {said}{error}");
            if arguments[0] == "ledger" {
                assert_eq!(code, Some(0), "{number} {arguments:?}: {said}{error}");
            }
            let log: Vec<BTreeMap<String, Value>> = query(&mut admin, &["ACL", "LOG"]).await;
            let denied: BTreeSet<String> = log
                .iter()
                .map(|entry| match entry.get("object") {
                    Some(Value::BulkString(object)) => String::from_utf8_lossy(object).into_owned(),
                    other => panic!("{other:?}"),
                })
                .collect();
            // What these two say that they could not ask: the settings of the server, and which databases have keys.
            let asked: BTreeSet<String> = match arguments[0] {
                "doctor" => ["config|get", "info", "time"].map(str::to_owned).into(),
                "check" => ["info".to_owned()].into(),
                _ => BTreeSet::new(),
            };
            assert!(denied.is_subset(&asked), "{number} {arguments:?}: {denied:?}");
            query::<()>(&mut admin, &["ACL", "LOG", "RESET"]).await;
        }
    }
}

/// With the list nothing can be done to keys that the tracker only reads, or to those of others, and nothing else to those that it
/// changes than what it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_changes_no_key_of_producers_but_those_that_the_tracker_changes() {
    let (world, redis) = (World::new(58).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    let environment = settings(&redis, &world);
    let words = printed(&environment).await;
    set_user(&mut admin, &words).await;
    let space = format!("{}:{}", world.contracts.protocol_state, world.contracts.markets[0]);
    // Families that the tracker only reads, and what would spoil each.
    let spoils: [(&str, &[&str]); 9] = [
        ("submissionQueue", &["DEL"]),
        ("submissionQueue", &["RENAME", "KEY", "elsewhere"]),
        ("metrics:batch:local:7", &["SET", "KEY", "x"]),
        ("metrics:batch:aggregated:7", &["UNLINK"]),
        ("metrics:batch:7:validators", &["EXPIRE", "KEY", "1"]),
        ("metrics:epoch:7:info", &["HSET", "KEY", "status", "x"]),
        ("epoch:7:validators", &["SADD", "KEY", "x"]),
        ("epoch:7:submissions:ids", &["ZADD", "KEY", "1", "x"]),
        ("epoch:7:processed", &["EVAL", "return 1", "1", "KEY"]),
    ];
    // Those that it changes, in another way than it does.
    let others: [(&str, &[&str]); 7] = [
        ("metrics:epochs:timeline", &["SET", "KEY", "x"]),
        ("metrics:epochs:timeline", &["ZADD", "KEY", "1", "x"]),
        ("metrics:validator:v:batches", &["DEL"]),
        ("epoch:7:state", &["DEL"]),
        ("epochs:active", &["SADD", "KEY", "x"]),
        ("vpa:stats", &["HSET", "KEY", "a", "b"]),
        ("vpa:stats", &["EXPIRE", "KEY", "1"]),
    ];
    let mut client = redis.connection().await.expect("a connection");
    query::<()>(&mut client, &["AUTH", "tracker", "secret"]).await;
    for (name, command) in spoils.into_iter().chain(others) {
        let key = format!("{space}:{name}");
        let with_key = |word: &&str| if *word == "KEY" { key.clone() } else { (*word).to_owned() };
        let mut words: Vec<String> = command.iter().map(with_key).collect();
        if words.len() == 1 {
            words.push(key.clone());
        }
        let mut sent = cmd(&words[0]);
        sent.arg(&words[1..]);
        let answer = sent.query_async::<Value>(&mut client).await;
        let is_own = name == "vpa:stats" && command[0] == "EXPIRE";
        let denied = answer.as_ref().err().is_some_and(|error| error.to_string().contains("NoPerm"));
        assert_eq!(denied, !is_own, "{words:?}: {answer:?}");
    }
    // Keys of other programs, and those of another market.
    for key in ["foreign", "0xother:0xmarket:metrics:epochs:timeline", "SnapshotCollector.0xother.7.a"] {
        for words in [vec!["SET", key, "x"], vec!["GET", key], vec!["UNLINK", key]] {
            let answer = cmd(words[0]).arg(&words[1..]).query_async::<Value>(&mut client).await;
            assert!(answer.is_err_and(|error| error.to_string().contains("NoPerm")), "{words:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_for_redis_6_is_enough_too_and_is_printed_where_it_is_asked_for() {
    let (mut world, redis) = (World::new(59).await, start_old().await);
    let mut admin = redis.connection().await.expect("a connection");
    let environment = settings(&redis, &world);
    let (code, command, notes) = run(&environment, &["doctor", "--acl", "--redis", "6"]).await;
    assert!(code == Some(0) && notes.contains("it is written for Redis 6"), "{notes}");
    assert!(!command.contains('(') && !command.contains('%'), "{command}");
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    set_user(&mut admin, &words).await;
    query::<()>(&mut admin, &["ACL", "LOG", "RESET"]).await;
    work(&environment, &mut world, &redis).await;
    let log: Vec<BTreeMap<String, Value>> = query(&mut admin, &["ACL", "LOG"]).await;
    // Redis 6 has one right for all of `CLIENT`, which can do harm. The client library goes on without telling its name.
    let is_other = |entry: &&BTreeMap<String, Value>| entry["object"] != Value::BulkString(b"client".into());
    let denied: Vec<_> = log.iter().filter(is_other).collect();
    assert!(denied.is_empty(), "{denied:#?}");
    let (code, shown, error) = run(&environment, &["check", "--connect"]).await;
    assert!(code == Some(0) && shown.contains("grants all rights"), "{shown}{error}");
    // Without being asked, it is written for the server.
    let (_, again, notes) = run(&environment, &["doctor", "--acl"]).await;
    let info: String = query(&mut admin, &["INFO", "server"]).await;
    let is_old = info.contains("redis_version:6.");
    assert_eq!(again == command, is_old, "{again}{notes}");
    assert_eq!(notes.contains("change keys that producers write"), !is_old, "{notes}");
}

/// The server that `REDIS_6` names, a `redis-server` of that version; else the one of the other tests.
async fn start_old() -> RedisServer {
    let started = match std::env::var("REDIS_6") {
        Ok(program) => RedisServer::builder().program(program).start().await,
        Err(_) => RedisServer::start().await,
    };
    started.expect("a Redis server")
}

/// Runs the service and the commands that read, as the user of the printed list on all these servers, until its summary is written.
async fn serves_without_a_denial(environment: &Environment, servers: &[&RedisServer]) {
    let words = printed(environment).await;
    let mut admins = Vec::new();
    for server in servers {
        let mut admin = server.connection().await.expect("a connection");
        set_user(&mut admin, &words).await;
        query::<()>(&mut admin, &["ACL", "LOG", "RESET"]).await;
        admins.push(admin);
    }
    let service: Service = common::service(environment).await;
    have_settled(&service, common::MARKETS[0]).await;
    service.stop().await;
    for admin in &mut admins {
        let denied: Vec<Value> = query(admin, &["ACL", "LOG"]).await;
        assert!(denied.is_empty(), "{words:?}: {denied:#?}");
    }
    let (code, said, error) = run(environment, &["check", "--connect"]).await;
    assert!(code == Some(0) && said.contains("grants all rights"), "{said}{error}");
    let (code, _, notes) = run(environment, &["doctor", "--acl"]).await;
    assert!(code == Some(0) && notes.contains("has every right of the list"), "{notes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_enough_on_a_cluster_and_behind_sentinels() {
    let cluster = RedisCluster::start(3).await.expect("a cluster");
    let user = [("REDIS_USERNAME", "tracker"), ("REDIS_PASSWORD", "secret")];
    let without_server = |environment: Environment| -> Environment {
        let is_other = |name: &String| name != "REDIS_HOST" && name != "REDIS_PORT";
        environment.into_iter().filter(|(name, _)| is_other(name)).collect()
    };
    let nodes: Vec<String> = cluster.addrs().iter().map(ToString::to_string).collect();
    let environment = with(&common::environment(cluster.addrs()[0]), &user);
    let environment = with(&without_server(environment), &[("REDIS_CLUSTER", &nodes.join(","))]);
    serves_without_a_denial(&environment, &[cluster.node(0), cluster.node(1), cluster.node(2)]).await;

    let sentinels = Sentinels::start(None, None).await.expect("sentinels");
    let named: Vec<String> = sentinels.addrs().iter().map(ToString::to_string).collect();
    let environment = with(&common::environment(sentinels.addrs()[0]), &user);
    let settings =
        [("REDIS_SENTINELS", named.join(",")), ("REDIS_SENTINEL_MASTER", Sentinels::MASTER.to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let environment = with(&without_server(environment), &settings);
    serves_without_a_denial(&environment, &[sentinels.master(), sentinels.replica()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_present_user_is_tested_against_the_printed_list() {
    let (world, redis) = (World::new(57).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    let environment = settings(&redis, &world);
    let notes = async |environment: &Environment| {
        let (code, list, notes) = run(environment, &["doctor", "--acl"]).await;
        assert!(
            code == Some(0) && list.lines().count() == 1,
            "the list is printed in any case: {list}{notes}"
        );
        notes
    };
    let before = notes(&environment).await;
    assert!(
        before.contains("the present user was not tested: ") && before.contains("redis.password"),
        "{before}"
    );
    let words = printed(&environment).await;
    set_user(&mut admin, &words).await;
    let well = notes(&environment).await;
    assert!(well.contains("note: the present user tracker has every right of the list"), "{well}");
    assert!(!well.contains("may do more"), "{well}");
    for (taken, lacks) in [
        ("+zadd", "the present user tracker lacks command ZADD: the user may not run it"),
        (
            "~tracker:chain:*",
            "the present user tracker lacks keys tracker:chain:*: the user may not access it by",
        ),
        ("&state-tracker:echo:*", "the present user tracker lacks channel state-tracker:echo:*"),
        ("+rename", "the present user tracker lacks command RENAME"),
    ] {
        let rest: Vec<String> = words.iter().filter(|word| *word != taken).cloned().collect();
        assert!(rest.len() < words.len(), "{taken} is in {words:?}");
        set_user(&mut admin, &rest).await;
        let ill = notes(&environment).await;
        assert!(ill.contains(lacks) && !ill.contains("has every right"), "{taken}: {ill}");
        assert_eq!(ill.contains("the service runs without"), taken == "+rename", "{ill}");
    }
    // The default user may do anything.
    let default: Environment = environment
        .into_iter()
        .filter(|(name, _)| !["REDIS_USERNAME", "REDIS_PASSWORD"].contains(&name.as_str()))
        .collect();
    let more = notes(&default).await;
    assert!(more.contains("the present user default may do more than the list grants: delete everything (FLUSHALL), write keys of other programs"), "{more}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_check_fail_for_a_user_that_may_only_read_or_not_reach_the_collectors_keys() {
    let (world, redis) = (World::new(54).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    let environment = settings(&redis, &world);
    let words = printed(&environment).await;
    let own = |word: &&String| !word.contains("tracker:chain");
    let read_only =
        "ACL SETUSER tracker on ~* &* +@read +@connection +@pubsub -@dangerous".split(' ').map(str::to_owned);
    for (words, lacks) in [
        (words.iter().filter(own).cloned().collect(), "keys tracker:chain:*"),
        (read_only.collect::<Vec<_>>(), "command SET"),
    ] {
        set_user(&mut admin, &words).await;
        let (code, report, _) = run(&environment, &["doctor"]).await;
        assert!(code == Some(4) && report.contains(&format!("error   {lacks}\n")), "{code:?}: {report}");
        assert!(report.contains("state-tracker doctor --acl"), "{report}");
        let (code, said, _) = run(&environment, &["check", "--connect"]).await;
        assert!(code == Some(1) && said.contains(&format!(" {lacks}: the user may not")), "{code:?}: {said}");
    }
}
