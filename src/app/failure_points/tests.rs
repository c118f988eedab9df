//! What is armed, what is refused, and the words for both.

use super::*;

const MARKETS: [&str; 2] =
    ["0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c", "0x21cb57C1f2352ad215a463DD867b838749CD3b8f"];

fn actors(more: &[(&str, &str)]) -> Vec<ListedActor> {
    let environment = [
        ("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF".to_owned()),
        ("DATA_MARKET_ADDRESSES", MARKETS.join(",")),
    ];
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    actor_list(&Config::load(None, environment.into_iter().chain(more)).expect("allowed").config)
}

fn shown(text: &str) -> Vec<String> {
    parse(text, &actors(&[])).expect("allowed").iter().map(ToString::to_string).collect()
}

fn refused(text: &str) -> Vec<String> {
    let problems = parse(text, &actors(&[])).expect_err("refused").problems().to_vec();
    assert!(problems.iter().all(|text| text.starts_with(FAILURES_VARIABLE)), "{problems:?}");
    problems.iter().map(|text| text.replacen(&format!("{FAILURES_VARIABLE}: "), "", 1)).collect()
}

#[test]
fn an_armed_point_is_shown_with_its_actors_its_fault_and_its_times() {
    let [one, two] = MARKETS.map(|market| format!("markets/{market}/aggregator"));
    assert_eq!(
        shown("aggregator::before_commit=panic*3, pruner::before_pause=hang"),
        [
            format!(
                "aggregator::before_commit: panics at the next 3 passages, counted over 2 actors: {one}, {two}"
            ),
            "pruner::before_pause: hangs until it is killed, at every passage of pruner".to_owned(),
        ]
    );
    assert_eq!(
        shown(&format!("aggregator::after_read@{}/aggregator=error*1", MARKETS[1])),
        [format!("aggregator::after_read: fails with an error at the next passage of {two}")]
    );
    assert_eq!(
        shown("supervisor::after_exit@markets=spin"),
        ["supervisor::after_exit: spins and never yields its thread, at every passage of markets"]
    );
}

#[test]
fn a_long_list_of_actors_is_cut_and_counted() {
    let paths: Vec<String> = (1..=NAMED + 3).map(|n| format!("a{n}")).collect();
    assert!(listed(&paths).ends_with(&format!("a{NAMED}, and 3 more")), "{}", listed(&paths));
    assert!(listed(&paths[..NAMED]).ends_with(&format!(", a{NAMED}")), "{}", listed(&paths[..NAMED]));
}

#[test]
fn all_points_that_would_never_act_are_refused_at_once_and_none_is_armed() {
    let problems =
        refused("aggregator::before_comit=panic,pruner::before_pause=hang,pruner::before_pause=hang*0");
    assert_eq!(
        problems[0],
        "aggregator::before_comit is no failure point: did you mean aggregator::before_commit?"
    );
    assert!(problems[1].contains("TIMES at least 1"), "{problems:?}");
    assert_eq!(problems.len(), 2);
}

#[test]
fn a_list_without_a_point_is_refused() {
    assert_eq!(refused(" , "), ["it names no failure point"]);
}

#[test]
fn an_unknown_actor_is_refused_with_the_nearest_path_or_with_all_of_them() {
    let said = |ending: &str| refused(&format!("aggregator::before_commit@{ending}=panic")).remove(0);
    assert_eq!(said("agregator"), "no actor has a path that ends with agregator: did you mean aggregator?");
    let lower = format!("{}/aggregator", MARKETS[0].to_lowercase());
    assert!(said(&lower).ends_with(&format!("did you mean {}/aggregator?", MARKETS[0])), "{}", said(&lower));
    let none = said("somewhere-else-entirely");
    assert!(none.contains("the actors are root, listener, markets, "), "{none}");
}

#[test]
fn an_actor_that_never_passes_the_point_is_refused() {
    assert_eq!(
        refused("aggregator::before_commit@pruner=panic"),
        [
            "aggregator::before_commit: only an actor of kind aggregator passes it, and none has a path that ends with pruner"
        ]
    );
    assert_eq!(
        refused("cleaner::before_pause=panic"),
        ["cleaner::before_pause: this configuration runs no cleaner, which would pass it"]
    );
    let with_nodes = actors(&[("RPC_NODES", "http://127.0.0.1:2")]);
    assert!(parse("cleaner::before_pause=panic", &with_nodes).is_ok());
}

#[test]
fn every_failure_point_is_passed_by_an_actor_of_the_full_configuration() {
    let all = actors(&[
        ("RPC_NODES", "http://127.0.0.1:2"),
        ("TX_RELAYER_URL", "http://127.0.0.1:2"),
        ("STATE_TRACKER__INDEX__ENABLED", "true"),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true"),
        ("STATE_TRACKER__PEERS__HISTORY", "peers.db"),
        ("STATE_TRACKER__PEERS__SOURCES", "pool=http://127.0.0.1:2"),
        ("DATABASE_URL", "postgres://127.0.0.1:2/campaigns"),
        ("STATE_TRACKER__CAMPAIGNS__JWT_SECRET", "a-secret-of-tokens-of-32-bytes-or-more"),
    ]);
    for point in tables::failure_points() {
        assert!(passing(point, "", &all).is_ok_and(|actors| !actors.is_empty()), "{}", point.name);
    }
}
