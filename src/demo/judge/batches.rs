//! Compares, epoch by epoch, the batches for the finalizers with the collector's submissions at the blocks of the final chain.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        collector::{Epoch, Projects},
        seen::{Deliveries, Job},
        servers::{BATCH_SIZE, DAY},
        world::Expected,
    },
    findings::Findings,
};

/// A comparison: its counts and its differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) findings: Findings,
    pub(super) compared: u64,
    /// The number of the newest block.
    pub(super) head: u64,
    pub(super) epochs: usize,
    pub(super) batches: usize,
    pub(super) submissions: usize,
    /// Malformed keys that the collector wrote at blocks of the final chain.
    pub(super) left_out: u64,
}

impl Comparison {
    /// Compares the expected results with the deliveries.
    pub(super) fn of(expected: &Expected, deliveries: &Deliveries) -> Self {
        let mut all = Self {
            head: expected.head.0,
            epochs: expected.epochs.len(),
            left_out: expected.malformed,
            ..Self::default()
        };
        if expected.epochs.is_empty() {
            all.findings.add("no epoch was released on the chain: the demo ran too short".to_owned());
        }
        let at = deliveries.checkpoint.as_ref();
        all.check(at == Some(&expected.head), || {
            format!("the checkpoint is {}, the newest block is {}", block(at), block(Some(&expected.head)))
        });
        let mut jobs: BTreeMap<Epoch, Vec<&Job>> = BTreeMap::new();
        for job in &deliveries.jobs {
            jobs.entry(job.epoch()).or_default().push(job);
        }
        for (epoch, projects) in &expected.epochs {
            let of_epoch = jobs.remove(epoch).unwrap_or_default();
            all.epoch(epoch, projects, &of_epoch, deliveries.counts.get(epoch).copied());
        }
        // The rest: each expected epoch has removed its batches from the map.
        for ((market, epoch), jobs) in jobs {
            let many = jobs.len();
            all.check(false, || {
                format!("{many} batches of epoch {epoch} of market {market}, which was never released")
            });
        }
        for (market, epoch) in deliveries.counts.keys().filter(|epoch| !expected.epochs.contains_key(*epoch))
        {
            all.check(false, || {
                format!("BatchCountKey of epoch {epoch} of market {market}, which was never released")
            });
        }
        let slots = slots(expected);
        let keys: BTreeSet<&String> = slots.keys().chain(deliveries.slots.keys()).collect();
        for key in keys {
            let (counted, written) = (deliveries.slots.get(key), slots.get(key));
            all.check(counted == written, || {
                format!("{key} is {}, the collector wrote {}", shown(counted), shown(written))
            });
        }
        all
    }

    /// Compares one epoch whose window is closed.
    fn epoch(&mut self, epoch: &Epoch, written: &Projects, jobs: &[&Job], count: Option<u64>) {
        let named = format!("epoch {} of market {}", epoch.1, epoch.0);
        let due = written.len().div_ceil(BATCH_SIZE);
        self.batches += jobs.len();
        self.submissions += jobs.iter().map(|job| job.submissions()).sum::<usize>();
        self.check(count == Some(due as u64), || {
            format!("{named}: BatchCountKey is {}, {due} batches are due", shown(count.as_ref()))
        });
        // The queue has no order between batches of an epoch; a number that occurs twice is a delivery that was made twice.
        let mut numbers: Vec<u64> = jobs.iter().map(|job| job.number).collect();
        numbers.sort_unstable();
        self.check(numbers.iter().copied().eq(1..=due as u64), || {
            format!("{named}: the queue holds batches {numbers:?}, {due} are due, each once")
        });
        let sizes: Vec<usize> = jobs.iter().map(|job| job.projects.len()).collect();
        self.check(sizes.iter().all(|size| (1..=BATCH_SIZE).contains(size)), || {
            format!("{named}: its batches have {sizes:?} projects, {BATCH_SIZE} is the most")
        });
        // Lists and not sets, so that a duplicate is a difference.
        let mut found: Vec<(&str, &str)> = jobs
            .iter()
            .flat_map(|job| &job.projects)
            .flat_map(|(project, keys)| keys.iter().map(move |key| (project.as_str(), key.as_str())))
            .collect();
        found.sort_unstable();
        let written: Vec<(&str, &str)> = written
            .iter()
            .flat_map(|(project, keys)| keys.iter().map(move |key| (project.as_str(), key.as_str())))
            .collect();
        self.check(found == written, || {
            let lacks = written.iter().find(|member| !found.contains(member));
            let beyond = found.iter().find(|member| !written.contains(member));
            format!(
                "{named}: its batches hold {} submissions, the collector wrote {} for the final chain; missing {}, too many {}",
                found.len(),
                written.len(),
                lacks.map_or("none", |(_, key)| key),
                beyond.map_or("none", |(_, key)| key),
            )
        });
    }

    fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        self.compared += 1;
        if !holds {
            self.findings.add(finding());
        }
    }
}

/// The expected counters of the slots.
fn slots(expected: &Expected) -> BTreeMap<String, u64> {
    let mut slots = BTreeMap::new();
    for ((market, _), projects) in &expected.epochs {
        for key in projects.values().flatten() {
            // Only well-formed keys are expected, and their last part is the slot.
            let slot = key.rsplit('.').next().unwrap_or_default();
            *slots.entry(format!("SlotSubmissionsKey.{market}.{DAY}.{slot}")).or_default() += 1;
        }
    }
    slots
}

fn block(at: Option<&(u64, String)>) -> String {
    at.map_or("none".to_owned(), |(number, hash)| format!("{number} ({hash})"))
}

fn shown(number: Option<&u64>) -> String {
    number.map_or("missing".to_owned(), u64::to_string)
}

#[cfg(test)]
mod tests {
    use redis::{aio::MultiplexedConnection, cmd};
    use serde_json::json;
    use testkit::RedisServer;

    use super::*;

    const MARKET: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
    /// The same market as batches spell it.
    const SPELLED: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

    fn key(epoch: u64, project: usize, slot: u64) -> String {
        format!("{MARKET}.{epoch}.project-{project}.{slot}")
    }

    /// Epoch 7 with seven projects, of which the first has two submissions, and epoch 8 with none.
    fn expected() -> Expected {
        let mut projects = Projects::new();
        for project in 0..7 {
            projects.entry(format!("project-{project}")).or_default().insert(key(7, project, 3));
        }
        projects.entry("project-0".to_owned()).or_default().insert(key(7, 0, 4));
        let epochs = [((MARKET.to_owned(), 7), projects), ((MARKET.to_owned(), 8), Projects::new())];
        Expected { head: (30, "0xcafe".to_owned()), epochs: epochs.into(), malformed: 1 }
    }

    async fn run(connection: &mut MultiplexedConnection, words: &[&str]) {
        let (name, rest) = words.split_first().expect("a command");
        cmd(name).arg(rest).exec_async(connection).await.expect("done");
    }

    fn job(number: u64, projects: &[usize]) -> String {
        let batch: BTreeMap<String, Vec<String>> = projects
            .iter()
            .map(|project| {
                let mut keys = vec![key(7, *project, 3)];
                if *project == 0 {
                    keys.push(key(7, 0, 4));
                }
                (format!("project-{project}"), keys)
            })
            .collect();
        json!({ "DataMarketAddress": SPELLED, "EpochID": 7, "BatchID": number, "Batch": batch }).to_string()
    }

    /// Writes all that must stand.
    async fn write(connection: &mut MultiplexedConnection) {
        run(connection, &["FLUSHALL"]).await;
        run(connection, &["SET", "tracker:chain:checkpoint", r#"{"number":30,"hash":"0xcafe"}"#]).await;
        for (number, projects) in [(1, &[0, 1, 2, 3, 4][..]), (2, &[5, 6])] {
            run(connection, &["LPUSH", "finalizerQueue", &job(number, projects)]).await;
        }
        run(connection, &["SET", &format!("BatchCountKey.{MARKET}.7"), "2"]).await;
        run(connection, &["SET", &format!("BatchCountKey.{MARKET}.8"), "0"]).await;
        run(connection, &["SET", &format!("SlotSubmissionsKey.{MARKET}.1.3"), "7"]).await;
        run(connection, &["SET", &format!("SlotSubmissionsKey.{MARKET}.1.4"), "1"]).await;
    }

    async fn compared(connection: &mut MultiplexedConnection) -> Comparison {
        Comparison::of(&expected(), &Deliveries::read(connection).await.expect("read"))
    }

    #[tokio::test]
    async fn what_was_handed_over_once_and_whole_is_content() {
        let redis = RedisServer::start().await.expect("a Redis server");
        let mut connection = redis.connection().await.expect("a connection");
        write(&mut connection).await;
        let expected = Comparison {
            findings: Findings::default(),
            // The checkpoint, four of each epoch, two slots.
            compared: 1 + 2 * 4 + 2,
            head: 30,
            epochs: 2,
            batches: 2,
            submissions: 8,
            left_out: 1,
        };
        assert_eq!(compared(&mut connection).await, expected);
    }

    #[tokio::test]
    async fn whatever_is_tampered_with_is_found() {
        let redis = RedisServer::start().await.expect("a Redis server");
        let mut connection = redis.connection().await.expect("a connection");
        let (second, seven) = (job(2, &[5, 6]), format!("BatchCountKey.{MARKET}.7"));
        let in_place_of_second = |other: String| ["LSET", "finalizerQueue", "0", &other].join("\n");
        let with = |word: &str, other: &str| in_place_of_second(second.replace(word, other));
        let cases: Vec<(String, &str)> = vec![
            ("LPOP\nfinalizerQueue".to_owned(), "the queue holds batches [1], 2 are due"),
            (format!("LPUSH\nfinalizerQueue\n{second}"), "the queue holds batches [1, 2, 2], 2 are due"),
            (in_place_of_second(job(3, &[5, 6])), "the queue holds batches [1, 3]"),
            (
                in_place_of_second(job(2, &[5])),
                "missing 0x5fbdb2315678afecb367f032d93f642f64180aa3.7.project-6.3",
            ),
            (
                in_place_of_second(job(2, &[5, 6, 9])),
                "too many 0x5fbdb2315678afecb367f032d93f642f64180aa3.7.project-9.3",
            ),
            (in_place_of_second(job(2, &[4, 5, 6])), "hold 9 submissions, the collector wrote 8"),
            (in_place_of_second(job(2, &[])), "have [5, 0] projects"),
            (in_place_of_second(job(2, &[5, 6, 0, 1, 2, 3])), "have [5, 6] projects"),
            (with("\"project-5\"", "\"project-6b\""), "missing"),
            (with(&key(7, 5, 3), &format!("{MARKET}.7.broken")), "7.broken"),
            (with("\"EpochID\":7", "\"EpochID\":9"), "1 batches of epoch 9"),
            (with("0x5FbDB", "0x6FbDB"), "1 batches of epoch 7 of market 0x6fbdb"),
            (format!("SET\n{seven}\n3"), "BatchCountKey is 3, 2 batches are due"),
            (format!("DEL\n{seven}"), "BatchCountKey is missing, 2 batches are due"),
            (
                format!("DEL\nBatchCountKey.{MARKET}.8"),
                "epoch 8 of market 0x5fbdb2315678afecb367f032d93f642f64180aa3: BatchCountKey is missing",
            ),
            (format!("SET\nBatchCountKey.{MARKET}.9\n0"), "BatchCountKey of epoch 9 of market 0x5fb"),
            (format!("INCR\nSlotSubmissionsKey.{MARKET}.1.4"), "1.4 is 2, the collector wrote 1"),
            (format!("SET\nSlotSubmissionsKey.{MARKET}.1.9\n1"), "1.9 is 1, the collector wrote missing"),
            (
                r#"SET
tracker:chain:checkpoint
{"number":30,"hash":"0xbeef"}"#
                    .to_owned(),
                "the checkpoint is 30 (0xbeef)",
            ),
            ("DEL\ntracker:chain:checkpoint".to_owned(), "the checkpoint is none"),
        ];
        for (command, finding) in cases {
            write(&mut connection).await;
            let words: Vec<&str> = command.split('\n').collect();
            run(&mut connection, &words).await;
            let found = compared(&mut connection).await.findings.all().join("\n");
            assert!(found.contains(finding), "{command}\nfound: {found}");
        }
        assert!(!Comparison::of(&Expected::default(), &Deliveries::default()).findings.all().is_empty());
    }
}
