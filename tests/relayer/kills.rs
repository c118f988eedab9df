//! SIGKILL again and again, while a relayer takes calls slowly, takes them without saying so, breaks off, and is away.

use std::{
    env,
    time::{Duration, Instant},
};

use testkit::{Dice, RedisServer, RelayerAnswer, RelayerServer, contents::query, wait_until, world::World};

use super::{
    common::{Process, SOON},
    handed_over, judge, telling,
};

/// How long the relayer takes for an answer: long enough to be killed meanwhile.
const SLOW: Duration = Duration::from_millis(60);

/// An answer of a relayer on a bad day.
fn any_answer(dice: &mut Dice) -> RelayerAnswer {
    match dice.roll(12) {
        0 => RelayerAnswer::TakeAndSay(500),
        1 => RelayerAnswer::Cut,
        2 => RelayerAnswer::Close,
        3 => RelayerAnswer::Say(503, None),
        4 => RelayerAnswer::Say(429, Some(0)),
        _ => RelayerAnswer::Accept,
    }
}

/// Kills the service this often. Returns how many kills met a call whose answer was under way.
async fn kill_again_and_again(kills: u64, seed: u64) -> u64 {
    eprintln!("seed {seed}");
    let (mut world, mut dice) = (World::new(seed).await, Dice::new(seed));
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut relayer = RelayerServer::start().await.expect("a relayer");
    let environment = telling(redis.addr(), &world, &relayer);
    let mut within = 0;
    for round in 0..kills {
        world.grow_collected(6, &mut connection).await;
        // What a call gets follows from its number and the seed.
        relayer.answer(move |_, number| {
            (any_answer(&mut Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(number as u64))), SLOW)
        });
        let known = relayer.calls().len();
        let mut process = Process::start(&environment).await;
        // Away for a while, as it were for an hour.
        let is_away = dice.roll(8) == 0;
        if is_away {
            relayer.go_away();
        }
        if !is_away && dice.roll(3) > 0 {
            // In the middle of a call, if one comes: an epoch may be open still.
            let moment = Instant::now() + Duration::from_secs(2);
            wait_until("a call comes, or none", SOON, async || {
                relayer.calls().len() > known || Instant::now() > moment
            })
            .await;
            tokio::time::sleep(SLOW / 4).await;
        } else {
            tokio::time::sleep(Duration::from_millis(dice.roll(400))).await;
        }
        process.signal("KILL").await;
        let killed = Instant::now();
        process.exit_code().await;
        within +=
            u64::from(relayer.calls().last().is_some_and(|call| call.at < killed && killed < call.at + SLOW));
        if is_away {
            relayer.come_back().await.expect("it comes back");
        }
        if round % 50 == 49 {
            eprintln!("{} kills, {within} within a call", round + 1);
        }
    }
    // Then all is well again.
    relayer.always(RelayerAnswer::Accept);
    world.grow_collected(30, &mut connection).await;
    let height = world.height().await;
    let mut process = Process::start(&environment).await;
    for market in &world.contracts.markets {
        let lane = format!("tracker:relayer:{}:waiting", market.to_lowercase());
        let windows = format!("tracker:chain:{}:windows", market.to_lowercase());
        wait_until("the lane is empty, and no window waits for its batches", 4 * SOON, async || {
            let mut connection = connection.clone();
            let windows: Vec<String> = query(&mut connection, &["HVALS", &windows]).await;
            let is_accepted =
                super::common::checkpoint(&mut connection).await.is_some_and(|(number, _)| number == height);
            is_accepted
                && !windows.iter().any(|window| window.contains("Closed"))
                && query::<u64>(&mut connection, &["XLEN", &lane]).await == 0
        })
        .await;
    }
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0), "{}", *process.log.borrow());
    for market in &world.contracts.markets {
        let expected = handed_over(&mut connection, market).await;
        assert!(expected.len() as u64 > kills / 2, "{} epochs", expected.len());
        judge(&relayer.calls(), market, &expected);
    }
    within
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_over_is_told_in_order_whenever_the_process_is_killed() {
    let within = kill_again_and_again(30, 21).await;
    assert!(within >= 10, "only {within} kills met a call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn what_is_handed_over_is_told_in_order_over_a_thousand_kills() {
    let kills = env::var("RELAYER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(1_000);
    let seed = env::var("RELAYER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(22);
    let within = kill_again_and_again(kills, seed).await;
    assert!(within >= kills / 3, "only {within} of {kills} kills met a call");
}
