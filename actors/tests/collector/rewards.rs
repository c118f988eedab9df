//! Rewards and days with a real node and a real Redis: what the relayer is told equals what follows from the contract page, the epochs
//! of the chain and the counters of the finalizers, whatever crashes. The reference below shares no code with the product.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use testkit::{Emission, RedisServer, contents::query, wait_until, world::World};

use crate::{
    common, reach_head,
    tracker::{SOON, Setup, Tracker},
};

/// The settings of the tracker of these tests.
const EVERY: u64 = 10;
const PIECE: usize = 7;
const PAST_DAYS: u64 = 5;
/// The contract's "5 epochs after a day change".
const BUFFER: u64 = 5;
const NODES: u64 = 40;
/// The day at the start of the chain.
const FIRST_DAY: u64 = 7;

/// What the finalizers have written, and what the chain shows.
#[derive(Default)]
struct Finalizers {
    /// Eligible submissions by days and slots.
    counters: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// How many nodes were eligible in a day.
    nodes: BTreeMap<u64, u64>,
    /// The same as the contract shows it.
    shown: BTreeMap<u64, u64>,
}

impl Finalizers {
    fn new() -> Self {
        let mut all = Self::default();
        for day in [6, 7, 8] {
            let slots = (1..=NODES).filter(|slot| (slot + day) % 3 != 0);
            all.counters.insert(day, slots.map(|slot| (slot, slot * day)).collect());
        }
        all.nodes = [(3, 2), (4, 9), (6, 11), (7, 12), (8, 13)].into();
        all.shown = [(4, 9)].into();
        all
    }

    async fn write(&self, world: &World, market: &str, connection: &mut MultiplexedConnection) {
        for (day, counters) in &self.counters {
            for (slot, many) in counters {
                let key = format!("EligibleSlotSubmissionsKey.{market}.{day}.{slot}");
                query::<()>(connection, &["SET", &key, &many.to_string()]).await;
            }
        }
        for (day, nodes) in &self.nodes {
            for node in 0..*nodes {
                let key = format!("EligibleNodeByDayKey.{market}.{day}");
                query::<()>(connection, &["SADD", &key, &node.to_string()]).await;
            }
        }
        for (day, nodes) in &self.shown {
            world.anvil.set_eligible_nodes(market, *day, *nodes).await.expect("set");
        }
    }

    /// The pieces of a day: "slots 1 to `TotalNodesCount`", those with a counter.
    fn pieces(&self, name: &str, day: u64, eligible: u64, all: &mut BTreeMap<String, Value>) {
        let counters: Vec<(&u64, &u64)> = self.counters.get(&day).into_iter().flatten().collect();
        for (piece, slots) in counters.chunks(PIECE).enumerate() {
            let (ids, many): (Vec<u64>, Vec<u64>) = slots.iter().map(|(slot, many)| (**slot, **many)).unzip();
            let call = json!({ "day": day, "slots": ids, "submissions": many, "eligible": eligible });
            all.insert(format!("rewards:{name}:{day}:{piece}"), call);
        }
    }

    /// What the relayer has to be told when these epochs, each with its day, were handed over in this order; and the days without any node.
    fn told(&self, epochs: &[(u64, u64)]) -> (BTreeMap<String, Value>, BTreeSet<u64>) {
        let (mut all, mut zero) = (BTreeMap::new(), BTreeSet::new());
        let mut changes: Vec<(u64, u64)> =
            epochs.windows(2).filter(|two| two[0].1 < two[1].1).map(|two| (two[1].0, two[0].1)).collect();
        for (epoch, today) in epochs {
            if epoch % EVERY == 0 {
                self.pieces(&format!("periodic:{epoch}:{today}"), *today, 0, &mut all);
            }
            let Some(at) = changes.iter().position(|(changed, _)| changed + BUFFER <= *epoch) else {
                continue;
            };
            let (_, over) = changes.remove(at);
            let nodes = self.nodes.get(&over).copied().unwrap_or(0);
            self.pieces(&format!("final:{epoch}:{over}"), over, nodes, &mut all);
            for day in today.saturating_sub(PAST_DAYS).max(1)..*today {
                if day == over || self.shown.contains_key(&day) {
                    continue;
                }
                match self.nodes.get(&day) {
                    Some(nodes) => {
                        let call = json!({ "day": day, "slots": [], "submissions": [], "eligible": nodes });
                        all.insert(format!("rewards:again:{epoch}:{day}:0"), call);
                    }
                    None => drop(zero.insert(day)),
                }
            }
        }
        (all, zero)
    }
}

/// The calls about rewards in the lane of a market, by their ids, each with its number of times.
async fn lane(market: &str, connection: &mut MultiplexedConnection) -> BTreeMap<String, (Value, u64)> {
    type Entries = Vec<(String, BTreeMap<String, String>)>;
    let lane = format!("tracker:relayer:{market}:waiting");
    let entries: Entries = query(connection, &["XRANGE", &lane, "-", "+"]).await;
    let mut all = BTreeMap::new();
    for (_, fields) in entries {
        let (_, id) = fields["key"].split_once(&format!(":{market}:")).expect("a key of the market");
        let call: Value = serde_json::from_str(&fields["call"]).expect("JSON");
        if call["call"] != "rewards" {
            continue;
        }
        let fields = ["day", "slots", "submissions", "eligible"];
        let call =
            Value::Object(fields.iter().map(|field| ((*field).to_owned(), call[field].clone())).collect());
        all.entry(id.to_owned()).or_insert((call, 0)).1 += 1;
    }
    all
}

async fn settled(market: &str, connection: &mut MultiplexedConnection) {
    let plans = format!("tracker:chain:{market}:rewards");
    wait_until("the plans have become calls", SOON, async || {
        query::<u64>(&mut connection.clone(), &["HLEN", &plans]).await == 0
    })
    .await;
}

/// The calls that are not those of the start, which is told once more with each process.
fn of_epochs(lane: BTreeMap<String, (Value, u64)>) -> BTreeMap<String, (Value, u64)> {
    lane.into_iter().filter(|(id, _)| !id.starts_with("rewards:start:")).collect()
}

struct Scene {
    world: World,
    redis: RedisServer,
    connection: MultiplexedConnection,
    market: String,
    setup: Setup,
}

impl Scene {
    /// Windows of two seconds, and the counters of the finalizers.
    async fn new(seed: u64, finalizers: &Finalizers) -> Self {
        let mut world = World::new(seed).await;
        world.set_window(2).await;
        world.anvil.set_total_nodes(&world.contracts, NODES).await.expect("set");
        let redis = RedisServer::start().await.expect("a Redis server");
        let mut connection = redis.connection().await.expect("a connection");
        let market = world.contracts.markets[0].clone();
        finalizers.write(&world, &market, &mut connection).await;
        world.mine().await;
        let setup = Setup { told: true, ..Setup::default() };
        Self { world, redis, connection, market, setup }
    }

    async fn start(&self) -> Tracker {
        Tracker::start(&self.redis.url(), &self.world.anvil.url(), &self.world.contracts, self.setup).await
    }

    async fn release(&mut self, epoch: u64) {
        self.world.emit(&self.market, &Emission::EpochReleased { epoch, begin: 0, end: 1 }).await;
        self.world.mine().await;
    }

    async fn begin_day(&mut self, day: u64) {
        self.world.emit(&self.market, &Emission::DayStarted { day }).await;
        self.world.mine().await;
    }

    /// Begins a day, unless it is the one at the start, and releases these epochs in it: each with its day.
    async fn release_in(&mut self, day: u64, epochs: Range<u64>) -> Vec<(u64, u64)> {
        if day > FIRST_DAY {
            self.begin_day(day).await;
        }
        for epoch in epochs.clone() {
            self.release(epoch).await;
        }
        epochs.map(|epoch| (epoch, day)).collect()
    }

    /// The same for one day after the other, each followed up to the end of its windows.
    async fn follow<const DAYS: usize>(
        &mut self,
        tracker: &Tracker,
        days: [(u64, Range<u64>); DAYS],
    ) -> Vec<(u64, u64)> {
        let mut released = Vec::new();
        for (day, epochs) in days {
            released.extend(self.release_in(day, epochs).await);
            self.close().await;
            reach_head(&self.world, tracker).await;
        }
        released
    }

    /// So many blocks that all windows are over.
    async fn close(&mut self) {
        for _ in 0..3 {
            self.world.mine().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relayer_is_told_what_follows_from_epochs_and_counters_once_whatever_crashes() {
    let finalizers = Finalizers::new();
    let mut scene = Scene::new(31, &finalizers).await;
    let tracker = scene.start().await;
    common::arm(&tracker.tree, &common::REWARDS_POINTS, 2);
    common::arm_collector(&tracker.tree, 5);
    let epochs = scene.follow(&tracker, [(7, 95..113), (8, 113..132), (9, 132..141)]).await;
    let market = scene.market.clone();
    settled(&market, &mut scene.connection).await;
    let (expected, mut zero) = finalizers.told(&epochs);
    // At the start, in day 7: the days from 2 on.
    zero.extend((2..7).filter(|day| !finalizers.nodes.contains_key(day)));
    assert!(expected.len() > 20, "{expected:?}");
    let told = of_epochs(lane(&market, &mut scene.connection).await);
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(id, call)| (id, (call, 1))).collect();
    assert_eq!(told, expected);
    for day in 1..12_u64 {
        let key = format!("ZeroCountKey.{market}.{day}");
        let marked: bool = query(&mut scene.connection, &["EXISTS", &key]).await;
        assert_eq!(marked, zero.contains(&day), "{key}");
    }
    let failed = |point: &&str| tracker.tree.failure_points().passages(point).1 > 0;
    let spared: Vec<_> = common::REWARDS_POINTS.into_iter().filter(|point| !failed(point)).collect();
    assert!(spared.is_empty(), "{spared:?} never failed");
    let days = format!("DayRolloverEpochMarkerSetKey.{market}");
    assert!(!query::<bool>(&mut scene.connection, &["EXISTS", &days]).await);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reorganisation_across_a_change_of_day_the_days_are_those_of_the_branch_that_stays() {
    let finalizers = Finalizers::new();
    let mut scene = Scene::new(32, &finalizers).await;
    let tracker = scene.start().await;
    let market = scene.market.clone();
    scene.release(101).await;
    scene.close().await;
    reach_head(&scene.world, &tracker).await;
    scene.begin_day(8).await;
    scene.release(102).await;
    reach_head(&scene.world, &tracker).await;
    let details = |epoch: u64| format!("DayRolloverEpochMarkerDetailsKey.{market}.{epoch}");
    let last = format!("LastKnownDayKey.{market}");
    let text: Option<String> = query(&mut scene.connection, &["GET", &details(102)]).await;
    assert_eq!(text.as_deref(), Some(r#"{"BufferEpoch":107,"CurrentEpoch":102,"LastKnownDay":"7"}"#));
    assert_eq!(query::<u64>(&mut scene.connection, &["GET", &last]).await, 8);
    // On the branch that stays the day ends later: the blocks of day 8 and of epoch 102 are gone.
    scene.world.reorganise(2).await;
    reach_head(&scene.world, &tracker).await;
    assert!(!query::<bool>(&mut scene.connection, &["EXISTS", &details(102)]).await);
    assert_eq!(query::<u64>(&mut scene.connection, &["GET", &last]).await, 7);
    let mut epochs = vec![(101, 7)];
    for (day, released) in [(7, 103..106), (8, 106..113)] {
        epochs.extend(scene.release_in(day, released).await);
    }
    scene.close().await;
    reach_head(&scene.world, &tracker).await;
    settled(&market, &mut scene.connection).await;
    let (expected, _) = finalizers.told(&epochs);
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(id, call)| (id, (call, 1))).collect();
    assert!(expected.keys().any(|id| id.starts_with("rewards:final:111:7")), "{expected:?}");
    // Epochs of the world's own, which the new branch released, are far from these.
    let told = of_epochs(lane(&market, &mut scene.connection).await);
    assert_eq!(told, expected);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_days_that_the_chain_does_not_show_are_told_at_each_start_and_not_at_a_crash() {
    let finalizers = Finalizers::new();
    let mut scene = Scene::new(33, &finalizers).await;
    let market = scene.market.clone();
    scene.release(101).await;
    scene.close().await;
    // After each step that settles a plan, and at every second reading; from the start, since the plans are settled soon after it.
    scene.setup.armed = &["rewards::after_write", "rewards::after_read"];
    let mut starts = BTreeSet::new();
    for many in 1..=2 {
        let tracker = scene.start().await;
        reach_head(&scene.world, &tracker).await;
        wait_until("past days are told", SOON, async || {
            lane(&market, &mut scene.connection.clone()).await.len() == 2 * many
        })
        .await;
        settled(&market, &mut scene.connection).await;
        for (id, (call, times)) in lane(&market, &mut scene.connection).await {
            let [_, _, start, day, _] = id.split(':').collect::<Vec<_>>()[..] else { panic!("{id}") };
            let day: u64 = day.parse().expect("a day");
            // Day 4 is shown, day 5 and day 2 had no node.
            assert!([3, 6].contains(&day), "{id}");
            assert_eq!(
                (&call["eligible"], &call["slots"], times),
                (&json!(finalizers.nodes[&day]), &json!([]), 1)
            );
            starts.insert(start.to_owned());
        }
        assert_eq!(starts.len(), many);
        // What it wrote is seen before its crash is.
        wait_until("an actor is restarted", SOON, async || tracker.restarts() > 0).await;
        tracker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_broken_holds_up_its_own_rewards_alone_until_it_is_mended() {
    let finalizers = Finalizers::new();
    let mut scene = Scene::new(34, &finalizers).await;
    let market = scene.market.clone();
    // Day 7 is over with a set that can't be counted; day 8 is whole.
    let broken = format!("EligibleNodeByDayKey.{market}.7");
    query::<()>(&mut scene.connection, &["DEL", &broken]).await;
    query::<()>(&mut scene.connection, &["SET", &broken, "x"]).await;
    let tracker = scene.start().await;
    let epochs = scene.follow(&tracker, [(7, 98..103), (8, 103..111), (9, 111..117)]).await;
    let (expected, _) = finalizers.told(&epochs);
    let is_held = |id: &str| id.starts_with("rewards:final:108:7");
    let of_day_7 = |id: &String| id.starts_with("rewards:again:") && id.ends_with(":7:0");
    let others: BTreeSet<_> = expected.keys().filter(|id| !is_held(id) && !of_day_7(id)).cloned().collect();
    assert!(others.iter().any(|id| id.starts_with("rewards:final:116:8")), "{others:?}");
    wait_until("all others are told", SOON, async || {
        let told = of_epochs(lane(&market, &mut scene.connection.clone()).await);
        others.iter().all(|id| told.contains_key(id))
    })
    .await;
    let told = of_epochs(lane(&market, &mut scene.connection).await);
    assert!(!told.keys().any(|id| is_held(id)), "{told:?}");
    query::<()>(&mut scene.connection, &["DEL", &broken]).await;
    for node in 0..finalizers.nodes[&7] {
        query::<()>(&mut scene.connection, &["SADD", &broken, &node.to_string()]).await;
    }
    wait_until("the rewards of day 7 are told", SOON, async || {
        let told = of_epochs(lane(&market, &mut scene.connection.clone()).await);
        expected.keys().filter(|id| is_held(id)).all(|id| told.get(id) == Some(&(expected[id].clone(), 1)))
    })
    .await;
    tracker.stop().await;
}
