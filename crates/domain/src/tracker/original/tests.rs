//! The numbers of the original, written out.

use super::*;

#[test]
fn numbers_and_texts_are_written_as_the_original_wrote_them() {
    for (value, text) in [
        (json!(1e21), "1e+21"),
        (json!(2.5e-7), "2.5e-7"),
        (json!(0.000_325_649), "0.000325649"),
        (json!(20.5), "20.5"),
        (json!(7), "7"),
        (json!(-1e21), "-1e+21"),
        (json!(1e-6), "0.000001"),
        (json!(0.0), "0"),
        (json!(9.5e20), "950000000000000000000"),
        (
            json!({ "b": "<&>\u{2028}é\"\\", "a": [true, null] }),
            "{\"a\":[true,null],\"b\":\"\\u003c\\u0026\\u003e\\u2028é\\\"\\\\\"}",
        ),
    ] {
        assert_eq!(go_json(&value), text);
    }
}

#[test]
fn an_epoch_is_taken_for_closed_by_the_close_of_one_that_begins_alike() {
    let entry = |member: &str| (member.to_owned(), 1.0);
    assert_eq!(original_open(&[entry("open:230"), entry("close:2301")]), None);
    assert_eq!(original_open(&[entry("open:2301"), entry("close:230")]), Some(("2301".to_owned(), 1.0)));
}

#[test]
fn durations_are_read_in_all_forms_of_the_original() {
    assert_eq!((go_float("0x1p5"), go_float("0x1.8p1"), go_float("20")), (Some(32.0), Some(3.0), Some(20.0)));
    assert_eq!((go_float("inf"), go_float("1m"), go_float("0x1")), (None, None, None));
    assert_eq!((go_float("0X1P-1"), go_float("0x.8p1"), go_float("0x1p5000")), (Some(0.5), Some(1.0), None));
}

/// Ten minutes past an hour, and half a second.
const NOW: f64 = 1_795_342_200.5;
const SECOND: u64 = 1_795_342_200;

fn seen() -> OriginalSeen {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    OriginalSeen {
        now: NOW,
        queue: 3,
        processed: 11,
        epochs: Entries { one: 1, five: 4, day: 90, hours: [7, 2] },
        epochs_by_hour: std::array::from_fn(|hour| hour as u64),
        batches: Entries { one: 5, five: 6, day: 40, hours: [8, 9] },
        submissions: (12, 13),
        level1: 20,
        aggregated: vec![(NOW - 200.0, named(&["v", "w", ""])), (NOW - 400.0, named(&["x", "v"]))],
        priorities: (14, 15),
        priority_sums: [Some(16), None, Some(3), Some(1)],
        gaps: 2,
        ..OriginalSeen::default()
    }
}

fn summary(seen: &OriginalSeen, began: f64) -> Value {
    let events = EventsSinceStart { began, submissions: 50, epochs: 20, batches: 10 };
    let fields = seen.summary(&events).into_iter();
    Value::Object(fields.map(|(name, number)| (name.to_owned(), number.to_json())).collect())
}

#[test]
fn the_summary_has_the_numbers_of_the_original() {
    let expected = json!({
        "active_validators": 2, "batch_rate": 0.1, "batches_1m": 5, "batches_5m": 6, "batches_total": 10,
        "epoch_gaps_count": 2, "epoch_gaps_rate": 0.4, "epoch_rate": 0.2, "epochs_1m": 1, "epochs_5m": 4,
        "epochs_total": 20, "measurement_duration": 100, "processed_submissions": 11, "submission_rate": 0.5,
        "submissions_1m": 12, "submissions_5m": 13, "submissions_queue": 3, "submissions_total": 61,
        "updated_at": SECOND, "vpa_priority_assignments_24h": 14, "vpa_submissions_24h": 15,
        "vpa_priority_assignments_total": 16, "vpa_submissions_success": 3, "vpa_submissions_failed": 1,
        "vpa_submission_success_rate": 75,
    });
    assert_eq!(summary(&seen(), NOW - 100.0), expected);
    for began in [NOW, NOW + 5.0] {
        let fresh = summary(&seen(), began);
        assert_eq!((&fresh["epoch_rate"], &fresh["measurement_duration"]), (&json!(0), &json!(0)));
    }
    for sums in [[None, None, Some(0), Some(0)], [None, None, Some(3), None], [None; 4]] {
        let without = summary(&OriginalSeen { priority_sums: sums, ..seen() }, NOW);
        assert!(without.get("vpa_submission_success_rate").is_none(), "{sums:?}");
    }
}

#[test]
fn participation_is_a_share_of_all_entries_and_at_most_the_whole() {
    let expected = json!({
        "epochs_participated_24h": 20, "epochs_total_24h": 90, "participation_rate": 5,
        "level1_batches_24h": 20, "level2_inclusions_24h": 2, "inclusion_rate": 10, "timestamp": SECOND,
    });
    assert_eq!(seen().participation("v"), expected);
    let none = OriginalSeen { level1: 0, batches: Entries { day: 1, ..Entries::default() }, ..seen() };
    let (own, nobody) = (none.participation("v"), none.participation("nobody"));
    assert_eq!((&own["inclusion_rate"], &own["participation_rate"]), (&json!(0), &json!(100)));
    assert_eq!((&nobody["level2_inclusions_24h"], &nobody["participation_rate"]), (&json!(0), &json!(0)));
}

#[test]
fn an_hour_and_the_day_have_the_numbers_of_the_original() {
    let running = SECOND - 600;
    let hour = |start: &str, end: &str, epochs: u64, batches: u64, validators: u64| {
        json!({
            "hour_start": start, "hour_end": end, "epochs": epochs, "batches": batches, "submissions": 11,
            "unique_validators": validators, "updated_at": SECOND,
        })
    };
    let before = hour("2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z", 7, 8, 0);
    assert_eq!(seen().hour(0), (running - HOUR, before));
    let now = hour("2026-11-22T10:00:00Z", "2026-11-22T10:10:00Z", 2, 9, 3);
    assert_eq!(seen().hour(1), (running, now));
    let active = OriginalSeen { validators: ["a", ""].map(str::to_owned).into(), ..seen() };
    assert_eq!(active.hour(1).1["unique_validators"], 1, "those of active epochs come first");
    // Both ends of a period belong to it.
    let edges = [running as f64, SECOND as f64, SECOND as f64 + 0.1, running as f64 - 0.1];
    let aggregated = edges.iter().zip(["a", "b", "c", "d"]).map(|(at, name)| (*at, vec![name.to_owned()]));
    let edges = OriginalSeen { aggregated: aggregated.collect(), ..seen() };
    assert_eq!(edges.hour(1).1["unique_validators"], 2);
    let day = seen().day();
    let (first, last) = (&day["hourly_breakdown"][0], &day["hourly_breakdown"][23]);
    assert_eq!(
        (first, last),
        (&json!({ "hour": "10:10", "epochs": 0 }), &json!({ "hour": "09:10", "epochs": 23 }))
    );
    let rest =
        ["period_start", "period_end", "epochs_total", "batches_total", "submissions_total", "updated_at"];
    assert_eq!(
        rest.map(|name| day[name].clone()),
        [
            json!("2026-11-21T10:10:00Z"),
            json!("2026-11-22T10:10:00Z"),
            json!(90),
            json!(40),
            json!(11),
            json!(SECOND)
        ]
    );
}

#[test]
fn the_current_epoch_is_shown_as_the_original_showed_it() {
    let shown = |epoch: OriginalEpoch| {
        let json = epoch.to_json(NOW);
        assert_eq!(
            (&json["epoch_id"], &json["timestamp"], &json["submissions_received"]),
            (&json!("7"), &json!(SECOND), &json!(4))
        );
        (
            json["phase"].as_str().unwrap_or_default().to_owned(),
            json["time_remaining_seconds"].as_u64(),
            json["window_duration"].clone(),
        )
    };
    let epoch = || OriginalEpoch { id: "7".to_owned(), submissions: 4, ..OriginalEpoch::default() };
    let text = |text: &str| Some(text.to_owned());
    let opened = |ago: u64| Some((SECOND - ago) as f64);
    let open = || OriginalEpoch { status: text("open"), opened: opened(10), duration: text("40"), ..epoch() };
    assert_eq!(shown(open()), ("submission".to_owned(), Some(30), json!(40)));
    let dated = OriginalEpoch { timestamp: Some((SECOND - 25).to_string()), ..open() };
    assert_eq!(shown(dated).1, Some(15), "the time of its info comes first");
    assert_eq!(shown(OriginalEpoch { opened: opened(100), ..open() }).1, Some(0));
    assert_eq!(
        shown(OriginalEpoch { opened: None, ..open() }).1,
        Some(40),
        "the whole window without a start"
    );
    assert_eq!(shown(OriginalEpoch { duration: None, ..open() }).2, json!(60));
    assert_eq!(shown(OriginalEpoch { duration: text("1e300"), ..open() }).1, Some(0));
    // Without a status it is open while time remains.
    let unsaid = |ago| OriginalEpoch { status: None, opened: opened(ago), ..open() };
    assert_eq!(
        (shown(unsaid(10)).0, shown(unsaid(40)).0),
        ("submission".to_owned(), "finalization".to_owned())
    );
    for (local, aggregated, phase) in [
        (false, false, "finalization"),
        (false, true, "finalization"),
        (true, false, "aggregation"),
        (true, true, "complete"),
    ] {
        let closed = OriginalEpoch { status: text("closed"), local, aggregated, ..open() };
        assert_eq!(shown(closed), (phase.to_owned(), Some(0), json!(40)));
    }
    let market = |market| {
        OriginalEpoch { data_market: text(market), ..open() }.to_json(NOW).get("data_market").cloned()
    };
    assert_eq!((market("M"), market("")), (Some(json!("M")), None));
}
