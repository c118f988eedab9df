use super::*;

const START: f64 = 1_700_000_000.0;
const RULES: Rules = Rules { stale_after: 45.0, forget_after: 600.0, most_sources: 3 };

/// So many seconds after the start, by both clocks.
fn at(seconds: f64) -> Now {
    Now { unix: START + seconds, steady: 100.0 + seconds }
}

fn from(source: &str, connection: u64) -> Origin<'_> {
    Origin { source, connection }
}

/// Takes a picture whose sender has our clock.
fn take(
    pictures: &mut Pictures<String>,
    from: Origin<'_>,
    kind: PictureKind,
    content: &str,
    seconds: f64,
) -> Result<Arrival, Refused> {
    let timestamp = (START + seconds) as u64;
    pictures.accept(from, kind, timestamp, content.to_owned(), at(seconds))
}

/// The contents of a list.
fn list(pictures: &Pictures<String>, list: List, seconds: f64) -> Vec<String> {
    pictures.list(list, at(seconds)).map(|view| format!("{}:{}", view.source, view.content)).collect()
}

fn empty() -> Pictures<String> {
    Pictures::new(RULES)
}

#[test]
fn a_picture_replaces_the_one_before_of_its_source_and_kind_as_a_whole() {
    let mut pictures = empty();
    let miners = PictureKind::Miners;
    assert_eq!(take(&mut pictures, from("a", 1), miners, "one", 0.0), Ok(Arrival::First));
    assert_eq!(take(&mut pictures, from("a", 1), miners, "two", 5.0), Ok(Arrival::Newer));
    assert_eq!(take(&mut pictures, from("b", 2), miners, "three", 5.0), Ok(Arrival::First));
    assert_eq!(
        take(&mut pictures, from("a", 1), PictureKind::ProxyMetrics, "metrics", 6.0),
        Ok(Arrival::First)
    );
    assert_eq!(list(&pictures, List::Miners, 6.0), ["a:two", "b:three"]);
    let newest = pictures.newest(miners, None, at(6.0)).unwrap();
    assert_eq!((newest.source, newest.kind), ("b", miners));
    assert_eq!(**pictures.newest(miners, Some("a"), at(6.0)).unwrap().content, *"two");
    assert_eq!(pictures.of_source("a", at(6.0)).count(), 2);
}

#[test]
fn of_two_forms_of_one_list_the_newest_counts_and_services_add_up() {
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), PictureKind::Miners, "old form", 0.0).unwrap();
    take(&mut pictures, from("a", 1), PictureKind::ProxyStatus, "new form", 1.0).unwrap();
    assert_eq!(list(&pictures, List::Miners, 1.0), ["a:new form"]);
    take(&mut pictures, from("p", 2), PictureKind::PoolStatus, "pool", 1.0).unwrap();
    take(&mut pictures, from("p", 3), PictureKind::Heartbeat, "declarator", 1.0).unwrap();
    assert_eq!(list(&pictures, List::Services, 1.0), ["p:pool", "p:declarator"]);
    assert_eq!(list(&pictures, List::Connections, 1.0), ["p:pool"]);
}

#[test]
fn an_older_picture_is_dropped_and_a_new_connection_begins_a_new_order() {
    let mut pictures = empty();
    let kind = PictureKind::ProxyStatus;
    take(&mut pictures, from("a", 1), kind, "newer", 10.0).unwrap();
    let older = |pictures: &mut Pictures<String>, connection| {
        pictures.accept(from("a", connection), kind, START as u64 + 5, "older".to_owned(), at(11.0))
    };
    assert_eq!(older(&mut pictures, 1), Err(Refused::Older));
    assert_eq!(list(&pictures, List::Miners, 11.0), ["a:newer"]);
    assert_eq!(older(&mut pictures, 2), Ok(Arrival::Newer));
    assert_eq!(list(&pictures, List::Miners, 11.0), ["a:older"]);
    // Another kind has an order of its own.
    assert_eq!(take(&mut pictures, from("a", 2), PictureKind::ProxyMetrics, "", 0.0), Ok(Arrival::First));
    // The same second is no older.
    assert_eq!(older(&mut pictures, 2), Ok(Arrival::Newer));
}

#[test]
fn a_picture_ahead_of_our_clock_gives_way_to_what_arrives_later() {
    let kind = PictureKind::ProxyStatus;
    for (ahead, expected) in
        [(60.0, Err(Refused::Older)), (62.0, Ok(Arrival::Clock)), (1e9, Ok(Arrival::Clock))]
    {
        let mut pictures = empty();
        let timestamp = (START + ahead) as u64;
        pictures.accept(from("a", 1), kind, timestamp, "ahead".to_owned(), at(0.0)).unwrap();
        assert_eq!(take(&mut pictures, from("a", 1), kind, "right", 1.0), expected, "{ahead}");
    }
}

#[test]
fn a_silent_source_is_stale_after_45_seconds_or_three_of_its_own_intervals() {
    let kind = PictureKind::ProxyStatus;
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), kind, "", 0.0).unwrap();
    assert_eq!((pictures.stale(at(45.0)).len(), pictures.stale(at(45.1))), (0, vec!["a"]));
    // It sends every 5 s.
    for seconds in [5.0, 10.0, 15.0] {
        take(&mut pictures, from("a", 1), kind, "", seconds).unwrap();
    }
    assert_eq!((pictures.stale(at(30.0)).len(), pictures.stale(at(30.1))), (0, vec!["a"]));
    // It is shown all the same.
    let view = pictures.newest(kind, None, at(30.1)).unwrap();
    assert!(view.is_stale && !view.is_emptied && (view.age - 15.1).abs() < 1e-9);
    assert_eq!(list(&pictures, List::Miners, 30.1).len(), 1);
    take(&mut pictures, from("a", 1), kind, "", 31.0).unwrap();
    assert!(pictures.stale(at(31.0)).is_empty());
}

#[test]
fn metrics_keep_no_status_fresh_and_a_balance_is_no_duty() {
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), PictureKind::Balance, "", 0.0).unwrap();
    assert!(pictures.stale(at(599.0)).is_empty());
    take(&mut pictures, from("a", 1), PictureKind::ProxyStatus, "", 0.0).unwrap();
    for step in 0..20 {
        take(&mut pictures, from("a", 2), PictureKind::ProxyMetrics, "", f64::from(step) * 5.0).unwrap();
    }
    assert_eq!(pictures.stale(at(95.0)), ["a"]);
    // A sender that was upgraded sends the other form.
    take(&mut pictures, from("a", 1), PictureKind::Miners, "", 95.0).unwrap();
    assert!(pictures.stale(at(95.0)).is_empty());
}

#[test]
fn an_ended_connection_empties_its_lists_after_one_interval() {
    let kind = PictureKind::ProxyStatus;
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), kind, "", 0.0).unwrap();
    pictures.note_ends(|open| open != 1, at(1.0));
    // Its interval is not known.
    assert_eq!(
        (list(&pictures, List::Miners, 10.9).len(), list(&pictures, List::Miners, 11.0).len()),
        (1, 0)
    );
    let view = pictures.newest(kind, None, at(11.0)).unwrap();
    assert!(view.is_stale && view.is_emptied);
    assert_eq!(pictures.stale(at(11.0)), ["a"]);
    // Again, with an interval of 5 s.
    take(&mut pictures, from("a", 2), kind, "", 20.0).unwrap();
    assert_eq!(list(&pictures, List::Miners, 20.0).len(), 1);
    take(&mut pictures, from("a", 2), kind, "", 25.0).unwrap();
    pictures.note_ends(|open| open != 2, at(26.0));
    assert_eq!(
        (list(&pictures, List::Miners, 30.9).len(), list(&pictures, List::Miners, 31.0).len()),
        (1, 0)
    );
    // The end of an older connection changes nothing.
    take(&mut pictures, from("a", 3), kind, "", 40.0).unwrap();
    pictures.note_ends(|open| open != 2, at(40.0));
    assert_eq!(list(&pictures, List::Miners, 50.0).len(), 1);
}

#[test]
fn a_source_that_comes_back_has_one_more_interval_for_its_picture_and_no_second() {
    let kind = PictureKind::ProxyStatus;
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), kind, "", 0.0).unwrap();
    pictures.note_ends(|open| open != 1, at(0.0));
    pictures.connected("a", at(9.0));
    assert_eq!(list(&pictures, List::Miners, 18.9).len(), 1);
    pictures.connected("a", at(18.0));
    assert_eq!(list(&pictures, List::Miners, 19.0).len(), 0);
    take(&mut pictures, from("a", 4), kind, "back", 21.0).unwrap();
    assert_eq!(list(&pictures, List::Miners, 60.0), ["a:back"]);
    // Too late to be given one: what is empty stays empty.
    pictures.note_ends(|open| open != 4, at(60.0));
    assert!(list(&pictures, List::Miners, 70.0).is_empty());
    pictures.connected("a", at(71.0));
    assert!(list(&pictures, List::Miners, 71.0).is_empty());
}

#[test]
fn the_end_of_one_connection_empties_only_what_came_by_it() {
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), PictureKind::ProxyStatus, "status", 0.0).unwrap();
    take(&mut pictures, from("a", 2), PictureKind::ProxyMetrics, "metrics", 0.0).unwrap();
    pictures.note_ends(|open| open != 2, at(0.0));
    assert_eq!(list(&pictures, List::Miners, 20.0), ["a:status"]);
    assert!(pictures.newest(PictureKind::ProxyMetrics, None, at(20.0)).unwrap().is_emptied);
}

#[test]
fn a_silent_source_is_forgotten_and_yet_known_to_have_been_there() {
    let mut pictures = empty();
    assert!(!pictures.has_seen(List::Miners));
    take(&mut pictures, from("a", 1), PictureKind::ProxyStatus, "", 0.0).unwrap();
    take(&mut pictures, from("b", 2), PictureKind::ProxyStatus, "", 500.0).unwrap();
    assert!(pictures.forget(at(600.0)).is_empty());
    assert_eq!(pictures.forget(at(600.1)), [Arc::from("a")]);
    assert_eq!(pictures.sources().collect::<Vec<_>>(), ["b"]);
    pictures.forget(at(5_000.0));
    assert_eq!((pictures.sources().len(), pictures.stale(at(5_000.0)).len()), (0, 0));
    assert!(pictures.has_seen(List::Miners) && pictures.has_seen_kind(PictureKind::ProxyStatus));
    assert!(!pictures.has_seen(List::Services));
}

#[test]
fn a_leap_of_our_clock_makes_nobody_stale_and_keeps_nobody_alive() {
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), PictureKind::ProxyStatus, "", 0.0).unwrap();
    for leap in [-1e6, 1e6] {
        let now = |seconds: f64| Now { unix: START + seconds + leap, steady: 100.0 + seconds };
        assert!(pictures.stale(now(44.0)).is_empty());
        assert_eq!(pictures.stale(now(46.0)), ["a"]);
        assert_eq!(pictures.clone().forget(now(601.0)).len(), 1);
    }
}

#[test]
fn sources_have_a_limit() {
    let mut pictures = empty();
    for source in ["a", "b", "c"] {
        take(&mut pictures, from(source, 1), PictureKind::ProxyMetrics, "", 0.0).unwrap();
    }
    assert_eq!(
        take(&mut pictures, from("d", 1), PictureKind::ProxyMetrics, "", 0.0),
        Err(Refused::TooManySources)
    );
    assert_eq!(take(&mut pictures, from("c", 1), PictureKind::Heartbeat, "", 0.0), Ok(Arrival::First));
}

#[test]
fn a_copy_is_not_changed_by_what_comes_later() {
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), PictureKind::Miners, "before", 0.0).unwrap();
    let copy = pictures.clone();
    take(&mut pictures, from("a", 1), PictureKind::Miners, "after", 1.0).unwrap();
    assert_eq!(
        (list(&copy, List::Miners, 1.0), list(&pictures, List::Miners, 1.0)),
        (vec!["a:before".to_owned()], vec!["a:after".to_owned()])
    );
}

#[test]
fn a_miner_that_moves_counts_once_as_soon_as_its_former_proxy_tells_again() {
    let mut pictures = empty();
    let kind = PictureKind::ProxyStatus;
    take(&mut pictures, from("a", 1), kind, "rig", 0.0).unwrap();
    take(&mut pictures, from("b", 2), kind, "rig", 3.0).unwrap();
    assert_eq!(list(&pictures, List::Miners, 3.0), ["a:rig", "b:rig"]);
    take(&mut pictures, from("a", 1), kind, "nobody", 5.0).unwrap();
    assert_eq!(list(&pictures, List::Miners, 5.0), ["a:nobody", "b:rig"]);
}

#[test]
fn time_alone_changes_what_is_seen_at_a_time_that_is_known_before() {
    let mut pictures = empty();
    assert_eq!(pictures.same_until(at(0.0)), f64::INFINITY);
    take(&mut pictures, from("a", 1), PictureKind::ProxyStatus, "", 0.0).unwrap();
    take(&mut pictures, from("b", 2), PictureKind::ProxyStatus, "", 1.0).unwrap();
    pictures.note_ends(|open| open != 2, at(2.0));
    let seen =
        |seconds: f64| (list(&pictures, List::Miners, seconds).len(), pictures.stale(at(seconds)).len());
    // The end of `b`, then the silence of `a`: no time before each of them shows anything else.
    let mut now = 0.0;
    for (until, after) in [(12.0, (1, 1)), (45.0, (1, 2))] {
        assert_eq!(pictures.same_until(at(now)), at(until).steady);
        assert_eq!(seen(now), seen(until - 1e-6));
        now = until + 1e-6;
        assert_eq!(seen(now), after);
    }
    // `b` would have been silent for too long now, had it not ended.
    assert_eq!(pictures.same_until(at(46.5)), f64::INFINITY);
}

#[test]
fn a_copy_is_the_same_until_one_of_them_is_changed() {
    let kind = PictureKind::ProxyStatus;
    let mut pictures = empty();
    take(&mut pictures, from("a", 1), kind, "", 0.0).unwrap();
    let mut before = pictures.clone();
    let mut unchanged = |pictures: &Pictures<String>, wanted: bool| {
        assert_eq!(pictures.is_still(&before), wanted);
        before = pictures.clone();
    };
    pictures.connected("a", at(1.0));
    pictures.note_ends(|_| true, at(1.0));
    pictures.forget(at(1.0));
    unchanged(&pictures, true);
    take(&mut pictures, from("a", 1), kind, "", 1.0).unwrap();
    unchanged(&pictures, false);
    take(&mut pictures, from("b", 2), kind, "", 1.0).unwrap();
    unchanged(&pictures, false);
    pictures.note_ends(|open| open != 2, at(2.0));
    unchanged(&pictures, false);
    pictures.connected("b", at(3.0));
    unchanged(&pictures, false);
    pictures.forget(at(5_000.0));
    unchanged(&pictures, false);
}
