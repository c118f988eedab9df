//! Figures: how fast events are indexed, and how long indexing and pruning delay other clients.
//! `--ignored --nocapture` shows them.

use std::time::{Duration, Instant};

use domain::tracker::index::{Changes, IndexEvent};
use redis::aio::MultiplexedConnection;
use store_tracker::IndexPart;

use crate::scene::{Indexing, NOW};

/// The number of submissions that are indexed and pruned.
const SUBMISSIONS: u64 = 100_000;
/// The most events that the indexer takes at once.
const AT_ONCE: u64 = 8 * 128;
/// How many members the pruner removes at once, and its pause after that.
const SLICE: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Does the work while another client sends requests; returns the result, how long it took, and the 99th percentile of
/// the other client's latency.
async fn beside<T>(
    mut other: MultiplexedConnection,
    work: impl Future<Output = T> + Send,
) -> (T, Duration, Duration) {
    let (mut waits, began) = (Vec::new(), Instant::now());
    let asking = async {
        loop {
            let asked = Instant::now();
            redis::cmd("PING").query_async::<()>(&mut other).await.expect("served");
            waits.push(asked.elapsed());
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = asking => unreachable!("it asks for ever"),
    };
    waits.sort();
    assert!(waits.len() > 100, "it was served {} times", waits.len());
    (done, began.elapsed(), waits[waits.len() * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: figures of 100,000 submissions"]
async fn another_client_is_served_while_a_large_index_is_written_and_pruned() {
    let mut scene = Indexing::plain().await;
    let (mut session, index) = (scene.session().await, scene.index.clone());
    let indexing = tokio::spawn(async move {
        for first in (0..SUBMISSIONS).step_by(AT_ONCE as usize) {
            let mut changes = Changes::default();
            for number in first..(first + AT_ONCE).min(SUBMISSIONS) {
                let (epoch, slot) = (number / 1000, number % 5000);
                let event =
                    format!("submission:received:{epoch}:{slot}:pair{}:UNI:1763900000:peer", number % 50);
                changes.add(NOW, &IndexEvent::parse(event.as_bytes()).expect("an event"));
            }
            index.apply(&mut session, &changes, NOW).await.expect("indexed");
        }
        session
    });
    let (session, took, waited) = beside(scene.scene.connection.clone(), indexing).await;
    let a_second = SUBMISSIONS as f64 / took.as_secs_f64();
    println!("indexed {a_second:.0} submissions a second; another client waited {waited:?} at p99");
    assert!(waited < Duration::from_millis(50), "{waited:?} at p99");

    let (mut session, index) = (session.expect("indexed"), scene.index.clone());
    let pruning = tokio::spawn(async move {
        let mut removed = 0;
        for part in IndexPart::ALL {
            loop {
                let (more, faults) =
                    index.forget(&mut session, part, NOW + 1, SLICE).await.expect("forgotten");
                assert_eq!(faults, Vec::new());
                if more == 0 {
                    break;
                }
                removed += more;
                tokio::time::sleep(PAUSE).await;
            }
        }
        removed
    });
    let (removed, took, waited) = beside(scene.scene.connection.clone(), pruning).await;
    println!("pruned it in {took:.1?}; another client waited {waited:?} at p99");
    assert_eq!(removed.expect("pruned"), SUBMISSIONS + SUBMISSIONS / 1000);
    assert!(waited < Duration::from_millis(50), "{waited:?} at p99");
    assert_eq!(scene.keys().await, Vec::<String>::new());
}
