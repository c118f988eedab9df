use std::sync::Arc;

use crate::peers::{
    DeclaredPeer, Measured, PeerKind, Poll, SumMeter, Window, WindowMeter, WorkSum, declared,
};

const START: u64 = 1_700_000_000;

fn windows() -> WindowMeter {
    WindowMeter::new(Arc::from("north"), None)
}

fn window(downstream_id: u32, name: &str, work: f64, timestamp: u64) -> Window<'_> {
    Window { downstream_id, name, work, seconds: 60, timestamp: START + timestamp }
}

/// Work and seconds.
type Amount = (f64, f64);

/// The amounts of the samples, and of the total.
fn amounts(measured: &Measured) -> (Vec<Amount>, Option<Amount>) {
    let samples = measured.samples.iter().map(|sample| (sample.work, sample.seconds)).collect();
    (samples, measured.total.as_ref().map(|total| (total.work, total.seconds)))
}

#[test]
fn overlapping_windows_are_counted_once() {
    let mut meter = windows();
    // A steady miner of 1 a second: every 5 s the last 60 s.
    let mut work = 0.0;
    for step in 0..100 {
        let now = START + 5 * step;
        let measured = meter.measure([window(1, "rig", 60.0, 5 * step)], now, now);
        let expected = if step == 0 { (60.0, 60.0) } else { (5.0, 5.0) };
        assert_eq!(amounts(&measured), (vec![expected], Some(expected)), "{step}");
        work += measured.samples[0].work;
    }
    assert_eq!(work, 60.0 + 99.0 * 5.0);
}

#[test]
fn a_gap_longer_than_a_window_stays_a_gap() {
    let mut meter = windows();
    meter.measure([window(1, "rig", 60.0, 0)], START, START);
    let measured = meter.measure([window(1, "rig", 60.0, 1_000)], START + 1_000, START + 1_000);
    assert_eq!(amounts(&measured), (vec![(60.0, 60.0)], Some((60.0, 60.0))));
}

#[test]
fn after_a_restart_no_time_is_counted_twice() {
    let mut meter = WindowMeter::new(Arc::from("north"), Some(START + 100));
    let measured = meter.measure([window(1, "rig", 60.0, 103)], START + 103, START + 103);
    assert_eq!(amounts(&measured), (vec![(3.0, 3.0)], Some((3.0, 3.0))));
}

#[test]
fn an_id_that_occurs_twice_loses_nothing_and_one_that_is_used_again_joins_nothing() {
    let mut meter = windows();
    let both = [window(1, "rig", 60.0, 0), window(1, "rig", 120.0, 0), window(1, "other", 6.0, 0)];
    let measured = meter.measure(both, START, START);
    assert_eq!(amounts(&measured), (vec![(6.0, 60.0), (180.0, 60.0)], Some((186.0, 60.0))));
    let names: Vec<String> = measured.samples.iter().map(|sample| sample.series().to_string()).collect();
    assert_eq!(names, ["other", "rig"]);
    // Two times in one message: one after the other.
    let later = [window(1, "rig", 60.0, 10), window(1, "rig", 60.0, 5)];
    assert_eq!(amounts(&meter.measure(later, START + 10, START + 10)).0, [(5.0, 5.0), (5.0, 5.0)]);
}

#[test]
fn a_clock_that_leaps_back_begins_anew_and_counts_nothing_twice() {
    let mut meter = windows();
    let mut amounts = |timestamp: u64| {
        let now = START + timestamp;
        amounts(&meter.measure([window(1, "rig", 60.0, timestamp)], now, now)).0
    };
    assert_eq!(amounts(10_000), [(60.0, 60.0)]);
    // A little back: that time has been counted.
    assert_eq!((amounts(9_990), amounts(10_002)), (vec![], vec![(2.0, 2.0)]));
    // Far back.
    assert_eq!((amounts(5_000), amounts(5_005)), (vec![], vec![(5.0, 5.0)]));
}

#[test]
fn a_sender_whose_clock_is_years_off_is_measured_by_ours() {
    for offset in [-1_000_000_000_i64, 1_000_000_000, 61, -601] {
        let mut meter = windows();
        let mut last = Vec::new();
        for step in 0..3 {
            let now = START + 5 * step;
            let sent = now.checked_add_signed(offset).unwrap();
            let window = Window { timestamp: sent, ..window(1, "rig", 60.0, 0) };
            let measured = meter.measure([window], sent, now);
            assert_eq!(measured.samples[0].timestamp, now, "{offset}");
            last = amounts(&measured).0;
        }
        assert_eq!(last, [(5.0, 5.0)], "{offset}");
    }
    // One that is a little late is placed where it was measured.
    let mut meter = windows();
    let measured = meter.measure([window(1, "rig", 60.0, 0)], START, START + 120);
    assert_eq!(measured.samples[0].timestamp, START);
}

#[test]
fn odd_windows_tell_nothing_and_long_ones_little() {
    let odd = |work, seconds| Window { work, seconds, ..window(1, "rig", 0.0, 0) };
    for window in [odd(1.0, 0), odd(f64::NAN, 60), odd(-1.0, 60), odd(f64::INFINITY, 60)] {
        assert_eq!(windows().measure([window], START, START), Measured::default());
    }
    let long = windows().measure([odd(1e30, u64::MAX)], START, START);
    assert_eq!(long.samples[0].seconds, 3_600.0);
}

#[test]
fn a_total_of_nobody_is_a_measured_zero_but_not_at_the_start() {
    let mut meter = windows();
    assert_eq!(meter.measure([], START, START).total, None);
    meter.measure([window(1, "rig", 60.0, 5)], START + 5, START + 5);
    let measured = meter.measure([], START + 10, START + 10);
    assert_eq!(amounts(&measured), (vec![], Some((0.0, 5.0))));
}

#[test]
fn a_flood_of_new_peers_is_bounded_and_counts_no_time_twice() {
    let mut meter = windows();
    for picture in 0..4_u32 {
        let timestamp = u64::from(picture);
        let peers = (0..30_000).map(|peer| window(picture * 30_000 + peer, "", 60.0, timestamp));
        meter.measure(peers, START + timestamp, START + timestamp);
        assert!(meter.remembered() <= 50_000, "{}", meter.remembered());
    }
    // The first ones have been dropped.
    let measured = meter.measure([window(0, "", 60.0, 5)], START + 5, START + 5);
    assert!(measured.samples[0].seconds <= 5.0, "{:?}", measured.samples);
}

fn sum(client_id: u32, name: &str, work: f64) -> WorkSum<'_> {
    WorkSum { client_id, channel_id: 1, kind: PeerKind::Extended, name, work }
}

fn poll(at: f64, uptime: f64) -> Poll {
    Poll { at: START as f64 + at, uptime: Some(uptime) }
}

fn sums() -> SumMeter {
    SumMeter::new(Arc::from("pool"))
}

#[test]
fn the_growth_of_a_sum_is_measured_and_a_fall_begins_anew() {
    let mut meter = sums();
    let mut amounts = |at, work| amounts(&meter.measure([sum(1, "rig", work)], poll(at, 1_000.0 + at)));
    assert_eq!(amounts(0.0, 500.0), (vec![], None));
    assert_eq!(amounts(5.0, 510.0), (vec![(10.0, 5.0)], Some((10.0, 5.0))));
    assert_eq!(amounts(10.5, 510.0), (vec![(0.0, 5.5)], Some((0.0, 5.5))));
    assert_eq!(amounts(15.0, 3.0), (vec![], None));
    assert_eq!(amounts(20.0, 4.0), (vec![(1.0, 5.0)], Some((1.0, 5.0))));
    // Too long ago.
    assert_eq!(amounts(1_000.0, 90.0), (vec![], None));
    // Our clock leapt back.
    assert_eq!(amounts(400.0, 91.0), (vec![], None));
}

#[test]
fn ids_that_are_used_again_after_a_restart_join_no_history() {
    for uptime in [2.0, 1_990.0] {
        let mut meter = sums();
        meter.measure([sum(1, "rig", 10.0)], poll(0.0, 1_990.0));
        // Uptime fell, or is less than the time that has passed since it was told.
        let measured = meter.measure([sum(1, "rig", 4_000.0)], poll(300.0, uptime));
        assert_eq!(measured, Measured::default(), "{uptime}");
    }
    // Without a restart another name or kind at the same id is another peer.
    let mut meter = sums();
    meter.measure([sum(1, "rig", 10.0)], poll(0.0, 100.0));
    assert_eq!(meter.measure([sum(1, "other", 20.0)], poll(5.0, 105.0)), Measured::default());
    let standard = WorkSum { kind: PeerKind::Standard, ..sum(1, "other", 30.0) };
    assert_eq!(meter.measure([standard], poll(10.0, 110.0)), Measured::default());
}

#[test]
fn channels_of_one_name_and_kind_are_one_peer_and_kinds_are_apart() {
    let mut meter = sums();
    let all = |work| {
        let standard = WorkSum { kind: PeerKind::Standard, ..sum(3, "rig", work) };
        [sum(2, "rig", work), sum(1, "rig", 2.0 * work), standard]
    };
    meter.measure(all(0.0), poll(0.0, 100.0));
    let measured = meter.measure(all(10.0), poll(5.0, 105.0));
    assert_eq!(amounts(&measured), (vec![(30.0, 5.0), (10.0, 5.0)], Some((40.0, 5.0))));
    let series: Vec<String> = measured.samples.iter().map(|sample| sample.series().to_string()).collect();
    assert_eq!(series, ["rig (extended)", "rig (standard)"]);
    assert_eq!(measured.samples[0].downstream_id, 1);
    // All have left: that no work is done is known.
    assert_eq!(amounts(&meter.measure([], poll(10.0, 110.0))), (vec![], Some((0.0, 5.0))));
}

#[test]
fn the_rate_of_a_client_is_that_of_all_its_channels_between_the_last_two_polls() {
    let mut meter = sums();
    let all = |work| {
        let second = WorkSum { channel_id: 2, kind: PeerKind::Standard, ..sum(1, "other", work) };
        [sum(1, "rig", work), second, sum(2, "rig", 3.0 * work)]
    };
    let rates = |meter: &SumMeter| meter.rates().iter().map(|(id, rate)| (*id, *rate)).collect::<Vec<_>>();
    meter.measure(all(10.0), poll(0.0, 100.0));
    assert_eq!(rates(&meter), []);
    meter.measure(all(20.0), poll(5.0, 105.0));
    assert_eq!(rates(&meter), [(1, 4.0), (2, 6.0)]);
    // After a restart nothing is known.
    meter.measure(all(30.0), poll(10.0, 1.0));
    assert_eq!(rates(&meter), []);
}

#[test]
fn declared_rates_have_neither_work_nor_time() {
    let peer = |hashrate| DeclaredPeer { downstream_id: 1, name: "rig", kind: PeerKind::Pushed, hashrate };
    let measured = declared(&Arc::from("north"), [peer(5.0), peer(f64::NAN), peer(7.0)], START);
    let rates: Vec<Option<f64>> = measured.samples.iter().map(|sample| sample.declared_hs).collect();
    assert_eq!(rates, [Some(5.0), Some(7.0)]);
    let total = measured.total.unwrap();
    assert_eq!((total.declared_hs, total.work, total.seconds), (Some(12.0), 0.0, 0.0));
}
