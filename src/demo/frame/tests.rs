//! The screen with the most and longest rows, at two fixed sizes and at random ones.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use serde_json::json;
use supervision::{Activity, Crash, ExitKind};

use super::*;

const MARKETS: [&str; 2] =
    ["0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512", "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"];

fn health(path: &str, generation: u64) -> ActorHealth {
    let crash = Crash {
        id: 1,
        at: 0.0,
        generation,
        kind: ExitKind::Panicked,
        message: format!("failure point {}\x1b[2J", "block_fetcher::after_checkpoint ".repeat(20)),
        location: None,
        backtrace: None,
    };
    ActorHealth {
        path: path.to_owned(),
        supervisor: false,
        state: if path.ends_with("listener") { State::BackingOff } else { State::Running },
        degraded: false,
        generation,
        exits: [0; ExitKind::ALL.len()],
        last_crash: (generation > 1).then_some(crash),
        activity: Activity::Idle,
        wedged: false,
        quiet: Duration::ZERO,
        mailbox: None,
    }
}

/// Large numbers, all actors, the most findings and news, all of them long.
struct Worst {
    addresses: [String; 3],
    following: ProgressSnapshot,
    seen: Datasets,
    actors: Vec<ActorHealth>,
    findings: Vec<String>,
    news: Vec<String>,
}

impl Worst {
    fn new(findings: usize) -> Self {
        let mut paths = vec!["root".to_owned(), "listener".to_owned(), "markets".to_owned()];
        for market in MARKETS {
            paths.extend(["", "/aggregator", "/epoch-tracker"].map(|rest| format!("markets/{market}{rest}")));
            paths.push(format!("collector/batch-preparer/{market}"));
        }
        // As many as the demo has; only one of them was restarted.
        paths.extend((1..=8).map(|number| format!("peers/connections/connection-{number}")));
        paths.extend(
            ["notifier", "collector", "collector/block-fetcher", "collector/cleaner", "pruner"]
                .map(str::to_owned),
        );
        let total = 987_654;
        let summary = json!({
            "submissions_total": total, "submission_rate": 1234.5, "epochs_total": total, "batches_total": total,
            "active_validators": total, "submissions_1m": total,
        });
        let current = json!({
            "epoch_id": "23000001", "phase": "submission", "time_remaining_seconds": 8, "window_duration": 8,
            "submissions_received": total,
        });
        Self {
            addresses: [
                "redis 127.0.0.1:65535   anvil 127.0.0.1:65535".to_owned(),
                "http://127.0.0.1:65535/metrics   http://127.0.0.1:65535/health".to_owned(),
                "http://127.0.0.1:65535/   senders 127.0.0.1:65535".to_owned(),
            ],
            following: ProgressSnapshot {
                blocks: total,
                reorganisations: total,
                ..ProgressSnapshot::default()
            },
            seen: Datasets { summary: Some(summary), current_epoch: Some(current), ..Datasets::default() },
            actors: paths
                .iter()
                .enumerate()
                .map(|(at, path)| {
                    let generation = match path.rsplit_once("/connection-") {
                        Some((_, number)) => 1 + u64::from(number == "3"),
                        None => at as u64 % 3,
                    };
                    health(path, generation)
                })
                .collect(),
            findings: (0..findings)
                .map(|at| format!("market {}: {at} differs {}", MARKETS[0], "x".repeat(300)))
                .collect(),
            news: (0..5)
                .map(|at| format!("  99.9 s  crashing markets/{}/aggregator at {at}", MARKETS[1]))
                .collect(),
        }
    }

    fn view(&self) -> View<'_> {
        let queued = Queued { epochs: BTreeSet::from([7]), batches: 987_654, submissions: 987_654 };
        let market = |name| MarketView { name, seen: &self.seen, queued: queued.clone() };
        View {
            elapsed: 3_600.0,
            addresses: &self.addresses,
            following: &self.following,
            nodes: "one of the two nodes lies now and then (seed 987654): 4711 lies, now it reports an old block as the newest",
            relayer: "the relayer has taken 41 calls; 12 of 60 attempts failed",
            peers: "20 miners, 5 connections, measured 1.98 PH/s, stale proxy-c liar",
            campaigns: "4 running runs, 4711 jobs, 97 % succeeded, statuses 98765, alerts 41   http://127.0.0.1:65535/",
            markets: MARKETS.map(market).into(),
            actors: &self.actors,
            findings: self.findings.iter().map(String::as_str).collect(),
            news: &self.news,
        }
    }
}

fn assert_fits(lines: &[String], width: usize, height: usize) {
    assert!(lines.len() <= height, "{} lines: {lines:#?}", lines.len());
    for line in lines {
        assert!(line.chars().count() <= width && !line.chars().any(char::is_control), "{line}");
    }
}

#[test]
fn a_terminal_of_80_by_24_shows_the_totals_without_a_wrapped_line() {
    for findings in [0, 3, 20] {
        let lines = fitted(&Worst::new(findings).view(), 80, 23);
        assert_fits(&lines, 80, 23);
        let text = lines.join("\n");
        for market in ["0xe7f172…0512", "0x9fE467…a6e0"] {
            let totals = format!("market {market}  submissions 987654  epochs 987654  batches 987654\n");
            assert!(text.contains(&totals), "{text}");
        }
        let handed = "  handed over: epochs 1  batches 987654  submissions 987654";
        assert_eq!(text.matches(handed).count(), 2, "{text}");
        if findings == 0 {
            assert!(
                text.contains("peers  20 miners, 5 connections, measured 1.98 PH/s, stale proxy-c"),
                "{text}"
            );
            assert!(text.contains("chain  head none") && text.contains("current epoch: 23000001"), "{text}");
            assert!(text.contains("crashing markets/0x9fE467…a6e0/aggregator at 4"), "{text}");
            assert!(text.contains("\nlistener                     backingoff"), "{text}");
            assert!(text.contains(" of 17)  ") && text.contains("actor ("), "{text}");
        }
    }
}

#[test]
fn a_terminal_of_200_by_60_shows_everything() {
    let worst = Worst::new(17);
    let lines = fitted(&worst.view(), 200, 59);
    assert_fits(&lines, 200, 59);
    assert_eq!(lines.len(), rows(&worst.view(), true).len());
    let text = lines.join("\n");
    for part in [
        "nodes                    one of the two nodes lies",
        "dashboard:summary      submissions 987654",
        "stats:current",
        "handed over: epochs 1",
        "pruner",
        "peers                    20 miners, 5 connections",
        "senders 127.0.0.1:65535",
        "campaigns                4 running runs, 4711 jobs",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains(&format!("market {}", MARKETS[0])) && !text.contains(" of 16)"), "{text}");
}

#[test]
fn a_verdict_is_broken_between_words() {
    assert_eq!(
        wrapped("check passed: 12 comparisons\n  and more", 14),
        "check passed:\n12 comparisons\n  and more"
    );
}

proptest! {
    #[test]
    fn every_terminal_gets_what_fits(width in 1_usize..250, height in 1_usize..80, findings in 0_usize..20) {
        let lines = fitted(&Worst::new(findings).view(), width, height);
        assert_fits(&lines, width, height);
        prop_assert!(!lines.is_empty());
    }
}
