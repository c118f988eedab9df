//! The collector's metrics, as a service exports them, compared with what has happened.

use std::net::SocketAddr;

use redis::aio::MultiplexedConnection;
use testkit::{
    Emission, FaultProxy, RedisServer, RpcFault, RpcProxy,
    contents::query,
    wait_until,
    world::{WINDOW, World},
};

use crate::{
    common::{SOON, following, service},
    metric,
};

/// The epoch that is released too long ago, and those in time: two of the first market, one of the other.
const EXPIRED: u64 = 1;
const FIRST: u64 = 20;
const SECOND: u64 = 21;
const THIRD: u64 = 9;

/// The exported metrics of a service.
struct Exported(SocketAddr);

impl Exported {
    async fn value(&self, name: &str) -> u64 {
        metric(self.0, name).await.expect("the metric is there")
    }

    /// Waits until each metric has its value.
    async fn shows(&self, expected: &[(&str, u64)]) {
        for (name, value) in expected {
            wait_until(
                &format!("{name} is {value}, not {:?}", metric(self.0, name).await),
                SOON,
                async || metric(self.0, name).await == Some(*value),
            )
            .await;
        }
    }

    /// The numbers of waiting, open and closed windows of a market.
    async fn shows_windows(&self, market: &str, counts: [u64; 3]) {
        for (state, many) in ["waiting", "open", "closed"].into_iter().zip(counts) {
            self.shows(&[(&format!("windows{{market=\"{market}\",state=\"{state}\"}}"), many)]).await;
        }
    }
}

async fn release(world: &mut World, market: usize, epoch: u64) {
    let market = world.contracts.markets[market].clone();
    world.emit(&market, &Emission::EpochReleased { epoch, begin: 0, end: 1 }).await;
}

async fn mine(world: &mut World, blocks: u64) {
    for _ in 0..blocks {
        world.mine().await;
    }
}

/// Writes one submission of each of this many projects at the newest block, as a collector does.
async fn submit(world: &World, connection: &mut MultiplexedConnection, market: usize, epoch: u64, many: u64) {
    let market = &world.contracts.markets[market];
    let (hash, ..) = world.anvil.block(world.height().await).await.expect("asked").expect("the head");
    let key = format!("SnapshotCollector.{market}.{epoch}.{hash}");
    for project in 0..many {
        let _: u64 =
            query(connection, &["SADD", &key, &format!("{market}.{epoch}.project-{project}.7")]).await;
    }
}

/// Another block takes the place of the newest one, at the same time.
async fn replace_the_head(world: &World) {
    let height = world.height().await;
    let (_, _, time) = world.anvil.block(height).await.expect("asked").expect("the head");
    world.anvil.roll_back(1).await.expect("rolled back");
    world.emit(&world.contracts.markets[0], &Emission::Unknown { epoch: 1 }).await;
    world.anvil.mine_at(time).await.expect("mined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_metric_of_the_chain_tells_what_happened() {
    let mut world = World::new(16).await;
    release(&mut world, 0, EXPIRED).await;
    mine(&mut world, WINDOW + 100).await;
    let head = world.height().await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    submit(&world, &mut connection, 0, EXPIRED, 1).await;
    let to_redis = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(RpcProxy::start(world.anvil.addr()).await.expect("a proxy"));
    }
    nodes[2].set(RpcFault::Frozen(1));
    // The third part of what is read in large ones.
    nodes[0].hold("\"fromBlock\":\"0x23\"");
    let mut environment = following(redis.addr(), &world);
    let urls: Vec<String> = nodes.iter().map(RpcProxy::url).collect();
    for (name, value) in [
        ("REDIS_PORT", to_redis.port().to_string()),
        ("RPC_NODES", urls.join(",")),
        ("STATE_TRACKER__COLLECTOR__SUBMISSIONS_TTL", "1m".to_owned()),
        ("STATE_TRACKER__COLLECTOR__MAX_WINDOWS", "1".to_owned()),
        ("STATE_TRACKER__COLLECTOR__WORKERS", "1".to_owned()),
        ("STATE_TRACKER__COLLECTOR__WORKER_TIMEOUT", "100ms".to_owned()),
        ("STATE_TRACKER__COLLECTOR__CLEANUP_INTERVAL", "100ms".to_owned()),
        ("STATE_TRACKER__COLLECTOR__EVENTS_TIMEOUT", "2s".to_owned()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    let service = service(&environment).await;
    let exported = Exported(service.http().metrics_address());
    let market =
        |index: usize| domain::Address::new(&world.contracts.markets[index]).checksummed().to_owned();
    let [one, other] = [market(0), market(1)];
    let of = |name: &str, market: &str| format!("{name}{{market=\"{market}\"}}");
    let epochs = |market: &str, outcome: &str| {
        format!("epochs_prepared_total{{market=\"{market}\",outcome=\"{outcome}\"}}")
    };

    // In the middle of what is read in large parts.
    exported.shows(&[("block_height", 34), ("block_lag", head - 34), ("blocks_total", 34)]).await;
    exported.shows(&[("backfill_remaining_blocks", head - 34)]).await;
    let estimate = exported.value("backfill_estimate_seconds").await;
    assert!(estimate < 60, "{estimate} s");
    nodes[0].release();
    exported.shows(&[("block_height", head), ("block_lag", 0), ("blocks_total", head)]).await;
    exported.shows(&[("backfill_remaining_blocks", 0), (&epochs(&one, "expired"), 1)]).await;
    exported.shows_windows(&one, [0, 0, 0]).await;
    let marked = format!("EpochMarkerSetKey.{}", world.contracts.markets[0]);
    assert_eq!(query::<u64>(&mut connection, &["SADD", &marked, &EXPIRED.to_string()]).await, 1);
    exported.shows(&[("chain_cleaned_total{kind=\"markers\"}", 1)]).await;
    exported.shows(&[("chain_cleaned_total{kind=\"submissions\"}", 0)]).await;

    // Windows wait, are open, and are closed; the only turn is taken by a hand-over that does not come about.
    for (index, epoch) in [(0, FIRST), (0, SECOND), (1, THIRD)] {
        release(&mut world, index, epoch).await;
    }
    world.mine().await;
    submit(&world, &mut connection, 0, FIRST, 7).await;
    submit(&world, &mut connection, 1, THIRD, 3).await;
    let (hash, ..) = world.anvil.block(world.height().await).await.expect("asked").expect("the head");
    let collected = format!("SnapshotCollector.{}.{FIRST}.{hash}", world.contracts.markets[0]);
    let _: u64 = query(&mut connection, &["SADD", &collected, "no submission"]).await;
    exported.shows_windows(&one, [1, 1, 0]).await;
    exported.shows_windows(&other, [0, 1, 0]).await;
    mine(&mut world, WINDOW - 1).await;
    exported.shows(&[("block_height", world.height().await)]).await;
    let gone = format!("BlockHashByNumberKey.{}", world.height().await - 5);
    assert_eq!(query::<u64>(&mut connection, &["DEL", &gone]).await, 1);
    // Another program has handed over the second epoch.
    let counted = format!("BatchCountKey.{}.{SECOND}", world.contracts.markets[0]);
    query::<()>(&mut connection, &["SET", &counted, "0"]).await;
    to_redis.hold_requests("BatchCountKey");
    world.mine().await;
    exported.shows_windows(&one, [0, 0, 2]).await;
    exported.shows_windows(&other, [0, 0, 1]).await;
    wait_until("a hand-over is on its way", SOON, async || to_redis.held() == 1).await;
    exported.shows(&[("workers_busy", 1)]).await;
    wait_until("a turn does not come", SOON, async || exported.value("worker_timeouts_total").await > 0)
        .await;
    assert!(exported.value("worker_wait_seconds_count").await > 1);
    // A reorganisation takes away what it stands on.
    let blocks = exported.value("blocks_total").await;
    replace_the_head(&world).await;
    exported.shows(&[("reorganisations_total", 1), ("blocks_total", blocks + 1)]).await;
    exported.shows(&[("chain_conflicts_total", 0), (&of("batches_total", &one), 0)]).await;
    to_redis.release();
    exported.shows(&[("chain_conflicts_total", 1)]).await;
    exported.shows(&[("workers_busy", 0)]).await;
    for (market, [handed_over, expired, elsewhere], [batches, submissions, set_aside, missing]) in
        [(&one, [1, 1, 1], [2, 7, 1, 1]), (&other, [1, 0, 0], [1, 3, 0, 1])]
    {
        exported.shows_windows(market, [0, 0, 0]).await;
        exported
            .shows(&[
                (&epochs(market, "handed_over"), handed_over),
                (&epochs(market, "expired"), expired),
                (&epochs(market, "elsewhere"), elsewhere),
                (&of("batches_total", market), batches),
                (&of("batched_submissions_total", market), submissions),
                (&of("submissions_set_aside_total", market), set_aside),
                (&of("missing_block_hashes_total", market), missing),
            ])
            .await;
    }
    assert_eq!(query::<u64>(&mut connection, &["LLEN", "finalizerQueue"]).await, 3);
    exported.shows(&[("chain_cleaned_total{kind=\"submissions\"}", 0)]).await;
    release(&mut world, 0, FIRST + 11).await;
    world.mine().await;
    exported.shows(&[("chain_cleaned_total{kind=\"submissions\"}", 1)]).await;

    // One node lags, one answers nonsense, one works.
    let faults = |kind: &str| format!("chain_faults_total{{kind=\"{kind}\"}}");
    exported.shows(&[("rpc_nodes{state=\"lagging\"}", 1), ("rpc_nodes{state=\"up\"}", 2)]).await;
    nodes[0].set_times(RpcFault::MalformedJson, 1);
    exported.shows(&[("rpc_nodes{state=\"set_aside\"}", 1), ("rpc_nodes{state=\"up\"}", 1)]).await;
    exported.shows(&[("rpc_nodes{state=\"unknown\"}", 0), (&faults("malformed"), 1)]).await;
    exported.shows(&[(&faults("lagging"), 1), (&faults("wrong_chain"), 0), (&faults("short_data"), 0)]).await;
    let contracts = &world.contracts;
    let topic = "0xf7d2257d4a1c445138ab52bd3c22425bfed29da81d0173961c697dc14fcba60c";
    let market = format!("0x{:0>64}", contracts.markets[0].trim_start_matches("0x"));
    world
        .anvil
        .emit_raw(contracts, &[topic, &market, &format!("0x{:064x}", 5)], &[0; 7])
        .await
        .expect("emitted");
    world.mine().await;
    exported.shows(&[("block_height", world.height().await), (&faults("short_data"), 1)]).await;
    wait_until("all requests are counted", SOON, async || {
        let asked = || nodes.iter().map(RpcProxy::requests).sum::<u64>();
        let before = asked();
        exported.value("chain_requests_total").await == before && asked() == before
    })
    .await;

    // What can't be read yet is behind.
    nodes.iter().for_each(|node| node.hold("eth_getLogs"));
    let height = world.height().await;
    mine(&mut world, 3).await;
    exported.shows(&[("block_lag", 3), ("block_height", height)]).await;
    nodes.iter().for_each(RpcProxy::release);
    exported.shows(&[("block_lag", 0), ("block_height", height + 3), ("block_lead", 0)]).await;

    // The chain gets shorter than what was accepted.
    world.anvil.roll_back(1).await.expect("rolled back");
    exported.shows(&[("block_lead", 1), ("block_lag", 0), ("block_height", height + 3)]).await;
    service.stop().await;
}
