//! Timelines, active sets and ledgers of any size: a pass reads them in pages, no command holds up Redis, and what is kept of them in
//! memory is bounded.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::{Duration, Instant};

use common::{NOW, Scene, Shown, Tracker, finished_epoch, key, ledger};
use store_redis::ErrorKind;
use store_tracker::Reach;

/// Entries of each long key.
const ENTRIES: u32 = 1_000_000;
/// How often a pass is measured; the quickest one counts, since the machine is shared.
const PASSES: usize = 15;
/// How much longer a pass may take, within the error of the measurement.
const TIMES: u32 = 3;
const NOISE: Duration = Duration::from_millis(5);
/// The longest that a command may hold up Redis, in microseconds, and how many passes are tried: a command may wait for the processor.
const LONGEST: u64 = 100_000;
const ATTEMPTS: usize = 10;
/// By how many kilobytes the process may grow in a pass.
const GROWTH: u64 = 100_000;

/// One test at a time: they measure the memory of the process, and the time of commands.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Older than what every pass reads.
const OLDER: i64 = NOW - 1_000;
/// How many entries one call of a script adds: the test's own connection has a time limit too.
const ENTRIES_A_CALL: u32 = 50_000;

/// Adds entries to a timeline on the server's side, their scores from the first argument downwards: `before NUMBER after`.
const FILL: &str = "for number = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  local at = ARGV[1] - math.floor(number / ARGV[4])
  redis.call('ZADD', KEYS[1], at, ARGV[5] .. number .. ARGV[6])
end";

/// The numbers up to this one as the arguments of calls: first and last.
fn calls(entries: u32) -> impl Iterator<Item = [String; 2]> {
    let firsts = (1..=entries).step_by(ENTRIES_A_CALL as usize);
    firsts
        .map(move |first| [first, (first + ENTRIES_A_CALL - 1).min(entries)].map(|number| number.to_string()))
}

/// Entries up to the moment `newest`, `equal` of each second.
async fn fill(
    scene: &mut Scene,
    timeline: &str,
    newest: i64,
    [before, after]: [&str; 2],
    entries: u32,
    equal: u32,
) {
    let (newest, equal) = (newest.to_string(), equal.to_string());
    for [first, last] in calls(entries) {
        let arguments = [FILL, "1", &key(timeline), &newest, &first, &last, &equal, before, after];
        scene.run::<()>("EVAL", &arguments).await;
    }
}

async fn quickest(tracker: &Tracker, reach: Reach) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..PASSES {
        let began = Instant::now();
        let shown = tracker.try_pass(NOW as f64, reach).await.expect("a pass");
        quickest = quickest.min(began.elapsed());
        assert_eq!(shown.totals(), [Some(4), Some(1), Some(2)], "{reach:?}");
        assert_eq!((&shown.summary["epochs_5m"], &shown.summary["batches_5m"]), (&1.into(), &2.into()));
    }
    quickest
}

/// Makes passes over everything until one had no command that held up Redis for long.
async fn unnoticed_pass(scene: &mut Scene, tracker: &Tracker) -> Shown {
    scene.run::<()>("CONFIG", &["SET", "slowlog-log-slower-than", &LONGEST.to_string()]).await;
    let mut slow = Vec::new();
    for _ in 0..ATTEMPTS {
        scene.run::<()>("SLOWLOG", "RESET").await;
        let shown = tracker.full(NOW).await;
        slow = scene.run::<Vec<redis::Value>>("SLOWLOG", "GET").await;
        if slow.is_empty() {
            return shown;
        }
    }
    panic!("these commands took more than {LONGEST} us: {slow:?}");
}

/// The most memory that this process has used, in kilobytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn a_pass_that_reads_on_is_as_quick_after_a_day_of_a_million_entries_as_after_a_short_one() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 23_000_000, 4, NOW - 20).await;
    tracker.full(NOW).await;
    let short = quickest(&tracker, Reach::New).await;
    fill(&mut scene, "metrics:epochs:timeline", OLDER, ["open:", ""], ENTRIES, 12).await;
    fill(&mut scene, "metrics:batches:timeline", OLDER, ["aggregated:", ""], ENTRIES, 12).await;
    for timeline in ["metrics:epochs:timeline", "metrics:batches:timeline"] {
        let (day, recent) = ((NOW - 86_400).to_string(), (NOW - 600).to_string());
        let found: u32 = scene.run("ZCOUNT", &[key(timeline), day, recent]).await;
        assert_eq!(found, ENTRIES, "all of them are of this day");
    }
    // All of these epochs are sealed, and one pass has counted their entries.
    scene.run::<()>("HSET", &[ledger("meta"), "floor".to_owned(), "22999999".to_owned()]).await;
    assert!(!tracker.full(NOW).await.pass.is_incomplete());
    let long = quickest(&tracker, Reach::New).await;
    println!("{short:?} without, {long:?} with {ENTRIES} entries of the day in each of two timelines");
    assert!(long <= TIMES * short + NOISE, "{long:?} with, {short:?} without them");
}

#[tokio::test]
async fn a_full_pass_reads_a_day_of_a_million_batches_of_validators_without_holding_up_redis() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    // Older than all of them, so that it is in the last page.
    finished_epoch(&mut market, 23_000_000, 4, NOW - 86_000).await;
    finished_epoch(&mut market, 23_000_001, 2, NOW - 20).await;
    fill(&mut scene, "metrics:batches:timeline", OLDER, ["validator:v", ":22999999"], ENTRIES, 12).await;
    fill(&mut scene, "metrics:batches:timeline", OLDER, ["peer_discovery:", ":1"], 30_000, 30_000).await;
    let before = peak();
    let shown = unnoticed_pass(&mut scene, &tracker).await;
    let growth = peak() - before;
    assert!(growth < GROWTH, "{growth} kB");
    assert_eq!(shown.totals(), [Some(6), Some(2), Some(4)]);
    assert_eq!((shown.pass.partial, shown.pass.faults), (false, Vec::new()));
    let kept = shown.pass.seen.batches_timeline.expect("read").len();
    assert!(kept < 10, "{kept} entries are kept");
}

#[tokio::test]
async fn a_full_pass_asks_a_million_sealed_epochs_in_the_active_set_page_by_page() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 23_000_000, 4, NOW - 20).await;
    tracker.full(NOW).await;
    let fill = "for id = ARGV[1], ARGV[2] do
      redis.call('SADD', KEYS[1], string.format('%d', id))
      redis.call('HSET', KEYS[2], string.format('%d', id), 'sealed by another version')
      redis.call('HINCRBY', KEYS[3], 'entries', 1)
    end";
    let keys = [key("epochs:active"), ledger("sealed"), ledger("sums")];
    for [first, last] in calls(ENTRIES) {
        scene.run::<()>("EVAL", &[fill, "3", &keys[0], &keys[1], &keys[2], &first, &last]).await;
    }
    let before = peak();
    let shown = unnoticed_pass(&mut scene, &tracker).await;
    let growth = peak() - before;
    assert!(growth < GROWTH, "{growth} kB");
    assert_eq!((shown.totals(), shown.pass.partial), ([Some(4), Some(1), Some(2)], false));
    assert!(!tracker.recent(NOW + 1).await.pass.is_incomplete(), "all members are known");
}

#[tokio::test]
async fn an_epoch_with_a_million_validators_holds_up_nothing_and_is_set_aside() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 23_000_000, 4, NOW - 20).await;
    market.open_epoch(23_000_001, NOW - 10).await.expect("opened");
    let fill =
        "for id = ARGV[1], ARGV[2] do redis.call('SADD', KEYS[1], 'validator-of-some-length-' .. id) end";
    let (remote, listed) = (key("epoch:23000001:validators"), key("metrics:batch:23000000:validators"));
    for [first, last] in calls(ENTRIES) {
        scene.run::<()>("EVAL", &[fill, "1", &remote, &first, &last]).await;
    }
    let names: Vec<String> = (0..ENTRIES).map(|id| format!("validator-of-some-length-{id}")).collect();
    scene.run::<()>("SET", &[&listed, &serde_json::json!(names).to_string()]).await;
    let before = peak();
    let shown = unnoticed_pass(&mut scene, &tracker).await;
    let growth = peak() - before;
    assert!(growth < GROWTH, "{growth} kB");
    // Its numbers count; only who took part is not known.
    assert_eq!(
        (shown.totals(), &shown.summary["active_validators"]),
        ([Some(4), Some(2), Some(2)], &serde_json::Value::Null)
    );
    for name in [&remote, &listed] {
        assert!(shown.has_fault(name, ErrorKind::Malformed), "{name}: {:?}", shown.pass.faults);
    }
}

/// What the server was asked since its log of slow commands was reset, with all commands in it.
async fn asked(scene: &mut Scene) -> Vec<Vec<String>> {
    let entries: Vec<redis::Value> = scene.run("SLOWLOG", &["GET", "-1"]).await;
    let words = |entry: redis::Value| match entry {
        redis::Value::Array(fields) => redis::from_redis_value(fields[3].clone()).expect("words"),
        other => panic!("{other:?}"),
    };
    entries.into_iter().map(words).collect()
}

#[tokio::test]
async fn no_command_asks_for_more_than_a_page_and_sets_of_several_pages_are_counted_whole() {
    let _alone = ALONE.lock().await;
    const PAGE: usize = 2_000;
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 23_000_000, 4, NOW - 20).await;
    fill(&mut scene, "metrics:batches:timeline", OLDER, ["validator:v", ":22999999"], 3_500, 12).await;
    // Two epochs with some validators in common.
    for (epoch, first, last) in [(23_000_001, 1, 3_500), (23_000_002, 3_001, 4_500)] {
        market.open_epoch(epoch, NOW - 10).await.expect("opened");
        let set = key(&format!("epoch:{epoch}:validators"));
        for first in (first..=last).step_by(500) {
            let names: Vec<String> = (first..first + 500).map(|id| format!("remote{id}")).collect();
            scene.run::<()>("SADD", [vec![set.clone()], names].concat()).await;
        }
    }
    scene.run::<()>("CONFIG", &["SET", "slowlog-max-len", "100000"]).await;
    scene.run::<()>("CONFIG", &["SET", "slowlog-log-slower-than", "0"]).await;
    scene.run::<()>("SLOWLOG", &["RESET"]).await;
    let shown = tracker.full(NOW).await;
    let asked = asked(&mut scene).await;
    assert_eq!(shown.pass.faults, Vec::new());
    // And two of the finished epoch.
    assert_eq!(shown.pass.seen.validators.expect("read").len(), 4_502);
    let mut pages = 0;
    for words in &asked {
        let at = |word: &str| words.iter().position(|other| other == word);
        let most = at("COUNT").map(|at| at + 1).or(at("LIMIT").map(|at| at + 2));
        let Some(most) = most.and_then(|at| words.get(at)) else { continue };
        let most: usize = most.parse().expect("a number");
        assert!(most <= PAGE, "{words:?}");
        pages += 1;
    }
    assert!(pages >= 6, "{pages} pages");
}

#[tokio::test]
async fn any_number_of_new_epochs_is_taken_up_in_portions_and_the_ledger_has_a_limit() {
    let _alone = ALONE.lock().await;
    const EPOCHS: u64 = 30_000;
    const MOST: u64 = 20_000;
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let count = u32::try_from(EPOCHS).expect("small");
    fill(&mut scene, "metrics:epochs:timeline", NOW - 20, ["open:", ""], count, 2 * count).await;
    let mut shown = tracker.recent(NOW).await;
    let mut unsealed = 0;
    while shown.pass.partial {
        unsealed += 10_000;
        assert_eq!(shown.totals()[1], Some(unsealed), "a portion of each pass");
        shown = tracker.recent(NOW).await;
    }
    let refuses = |shown: &Shown| {
        let all = shown.pass.faults.iter();
        all.filter(|fault| fault.detail.contains("20000 are the limit")).count() == 1
    };
    assert_eq!((shown.totals()[1], refuses(&shown), shown.pass.is_incomplete()), (Some(MOST), true, false));
    // A pass over what is new adds none either, however few they are.
    scene.zadd(&key("metrics:epochs:timeline"), NOW + 700, "open:40000").await;
    let shown = tracker.recent(NOW + 701).await;
    assert_eq!((shown.totals()[1], refuses(&shown)), (Some(MOST), true));
    assert_eq!(scene.run::<u64>("HLEN", ledger("open")).await, MOST);
    // When they are sealed the others follow, and each counts once.
    let later = NOW + 7_200;
    let mut shown = tracker.recent(later).await;
    assert_eq!((shown.written.sealed, refuses(&shown)), (MOST, true));
    for _ in 0..2 {
        shown = tracker.recent(later).await;
    }
    assert_eq!((shown.totals()[1], shown.pass.partial, refuses(&shown)), (Some(EPOCHS + 1), false, false));
}

#[tokio::test]
async fn an_id_in_a_form_of_any_length_is_set_aside_and_written_nowhere() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 23_000_000, 4, NOW - 20).await;
    let form = format!("{}30000000", "0".repeat(1_000_000));
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 10, format!("open:{form}")).await;
    scene.run::<()>("SADD", &[&key("epochs:active"), &form]).await;
    for reach in [Reach::Everything, Reach::New] {
        let shown = tracker.try_pass(NOW as f64, reach).await.expect("a pass");
        assert_eq!(shown.totals(), [Some(4), Some(1), Some(2)], "{reach:?}");
        assert!(shown.has_fault(&key("metrics:epochs:timeline"), ErrorKind::Malformed), "{reach:?}");
        assert!(shown.pass.faults.iter().all(|fault| fault.detail.len() < 300));
    }
    assert_eq!(scene.run::<Option<String>>("HGET", &[ledger("meta"), "forms".to_owned()]).await, None);
}

#[tokio::test]
async fn any_number_of_sealed_epochs_whose_entries_are_written_again_ends_in_a_whole_pass() {
    let _alone = ALONE.lock().await;
    const EPOCHS: u32 = 12_000;
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 20, "open:23000000").await;
    tracker.recent(NOW).await;
    let fill = "for id = 1, tonumber(ARGV[1]) do
      redis.call('HSET', KEYS[1], string.format('%d', 30000000 + id), '1,1,1,1,0,1,1,a')
      redis.call('HINCRBY', KEYS[2], 'entries', 1)
      redis.call('ZADD', KEYS[3], ARGV[2], string.format('close:%d', 30000000 + id))
    end";
    let keys = [ledger("sealed"), ledger("sums"), key("metrics:epochs:timeline")];
    let (epochs, at) = (EPOCHS.to_string(), (NOW - 10).to_string());
    scene.run::<()>("EVAL", &[fill, "3", &keys[0], &keys[1], &keys[2], &epochs, &at]).await;
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 5, "open:23000001").await;
    let mut passes = 1;
    let mut shown = tracker.recent(NOW).await;
    while shown.pass.is_incomplete() {
        passes += 1;
        assert!(passes < 5, "{:?}", shown.totals());
        shown = tracker.recent(NOW).await;
    }
    assert_eq!(shown.totals.unsealed.len(), 2);
}
