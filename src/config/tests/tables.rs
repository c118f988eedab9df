//! Tables of single markets, and where outputs go.

use super::*;

const SECOND: &str = "0x3333333333333333333333333333333333333333";

/// Loads a file for the markets `MARKET` and `SECOND`.
fn two(text: &str) -> Result<Loaded, ConfigErrors> {
    let (_dir, path) = file(text);
    load(Some(&path), &[("DATA_MARKET_ADDRESSES", &format!("{MARKET},{SECOND}"))])
}

fn priority(protocol: &str, market: &str) -> Option<Priority> {
    Some(Priority { protocol: protocol.to_owned(), market: market.to_owned() })
}

#[test]
fn a_market_has_what_its_table_says_and_else_what_all_markets_have() {
    let text = "[tracker]\ncompat = 'go'\npriority_protocol = 'Q'\n[markets.'0x3333333333333333333333333333333333333333']\ncompat = 'ledger'\npriority = { protocol = 'R', market = 'N' }\n";
    let config = two(text).unwrap().config;
    assert_eq!(
        config.market(MARKET),
        MarketSettings { compat: Compat::Go, priority: priority("Q", MARKET) },
        "the half that is not named is the market's own"
    );
    assert_eq!(
        config.market(SECOND),
        MarketSettings { compat: Compat::Ledger, priority: priority("R", "N") }
    );
    assert_eq!(two("").unwrap().config.market(SECOND), MarketSettings::default());
}

#[test]
fn the_halves_of_a_second_namespace_may_be_written_with_dots_and_one_is_enough() {
    let config =
        two(&format!("[markets.'{MARKET}']\npriority.market = 'N'\n[markets.'{SECOND}']\n")).unwrap().config;
    assert_eq!(config.market(MARKET).priority, priority(PROTOCOL, "N"));
    assert_eq!(config.market(SECOND), MarketSettings::default());
}

#[test]
fn the_environment_sets_what_all_markets_have() {
    let loaded = from_env(&[
        ("STATE_TRACKER__TRACKER__COMPAT", "go"),
        ("STATE_TRACKER__TRACKER__PRIORITY_PROTOCOL", "Q"),
        ("STATE_TRACKER__TRACKER__PRIORITY_MARKET", "N"),
    ])
    .unwrap();
    let expected = MarketSettings { compat: Compat::Go, priority: priority("Q", "N") };
    assert_eq!(loaded.config.market(MARKET), expected);
}

#[test]
fn a_table_belongs_to_its_address_in_any_case_and_to_a_name_as_it_is() {
    let lower = MARKET.to_lowercase();
    let config = two(&format!("[markets.'{lower}']\ncompat = 'go'\n")).unwrap().config;
    assert_eq!(config.market(MARKET).compat, Compat::Go);
    let (_dir, path) = file("[markets.NAME]\ncompat = 'go'\n");
    let problem = only_problem(load(Some(&path), &[("DATA_MARKET_ADDRESSES", "name,other")]));
    assert_contains(&problem, &["[markets.\"NAME\"]", "tracker.markets", "the nearest of them is \"name\""]);
}

#[test]
fn a_table_of_another_market_is_refused_with_the_nearest_one() {
    let typo = MARKET.replacen('d', "e", 1);
    let problem = only_problem(two(&format!("[markets.'{typo}']\ncompat = 'go'\n")));
    let nearest = format!("the nearest of them is {MARKET:?}");
    assert_contains(&problem, &[&format!("[markets.{typo:?}]"), "test.toml", "tracker.markets", &nearest]);
}

#[test]
fn a_market_can_not_have_two_tables() {
    let lower = MARKET.to_lowercase();
    let problem = only_problem(two(&format!("[markets.'{MARKET}']\n[markets.'{lower}']\n")));
    assert_contains(&problem, &[MARKET, &lower, "the only table of its market"]);
}

#[test]
fn an_unknown_key_of_a_table_is_refused_with_the_nearest_known_one() {
    for (line, parts) in [
        ("compatt = 'go'", [".compatt: \"go\"", "did you mean compat?"]),
        ("priority = { protokol = 'Q' }", [".priority.protokol: \"Q\"", "did you mean priority.protocol?"]),
        ("absolutely_else = 1", [".absolutely_else: 1", "compat, priority.protocol, priority.market"]),
        ("secret_token = 'x'", [".secret_token: ***", "is not a known setting"]),
        ("compat = 'golang'", [".compat: \"golang\"", "\"ledger\" or \"go\""]),
        ("priority = { market = 'a:b' }", [".priority.market: \"a:b\"", "without spaces"]),
        ("priority = { market = '' }", [".priority.market: \"\"", "without spaces"]),
        ("priority = 'Q'", [".priority: \"Q\"", "priority.protocol, priority.market"]),
    ] {
        let problem = only_problem(two(&format!("[markets.'{MARKET}']\n{line}\n")));
        assert_contains(&problem, &[&format!("markets.{MARKET:?}"), "test.toml", parts[0], parts[1]]);
    }
}

#[test]
fn what_is_no_table_of_a_market_is_refused_with_what_is_one() {
    for (text, shown) in [("markets = 5", "markets: 5"), ("[markets]\ncompat = 'go'", "markets.\"compat\"")] {
        assert_contains(&only_problem(two(text)), &[shown, "test.toml", "[markets.\"0x…\"] for each market"]);
    }
    let problem = only_problem(two(&format!("[market.'{MARKET}']\ncompat = 'go'\n")));
    assert_contains(&problem, &["[market]", "did you mean [markets]?"]);
}

#[test]
fn several_markets_can_not_have_one_second_market_between_them() {
    let problem = only_problem(two("[tracker]\npriority_market = 'N'\n"));
    assert_contains(&problem, &["tracker.priority_market: \"N\"", "test.toml", "tracker.markets has 2"]);
}

#[test]
fn tables_are_shown_with_their_origin() {
    let loaded = two(&format!("[markets.'{SECOND}']\ncompat = 'go'\npriority.protocol = 'Q'\n")).unwrap();
    let described = described(&loaded);
    let line = described.lines().find(|line| line.contains(".compat") && line.contains("markets."));
    assert_contains(line.unwrap(), &[&format!("markets.{SECOND:?}.compat"), "\"go\"", "file ", "test.toml"]);
    let json = loaded.to_json();
    let shown = &json["settings"][format!("markets.{SECOND:?}.priority.protocol")];
    assert_eq!(shown["value"], "Q");
    assert_contains(shown["from"].as_str().unwrap(), &["test.toml"]);
    assert_eq!(json["settings"]["tracker.compat"]["value"], "ledger");
}

#[test]
fn a_prefix_is_taken_with_and_without_its_colon_and_noted() {
    for text in ["shadow", "shadow:"] {
        let loaded = from_env(&[("STATE_TRACKER__OUTPUT__PREFIX", text)]).unwrap();
        assert_eq!(loaded.config.output.prefix, "shadow");
        assert_contains(&loaded.notes[0], &["output.prefix", "shadow", "no key of the producers"]);
    }
    for text in ["{a}", "a b", "a*", ":a", ":"] {
        let problem = only_problem(from_env(&[("STATE_TRACKER__OUTPUT__PREFIX", text)]));
        assert_contains(&problem, &["output.prefix", "without spaces"]);
    }
    let problem = only_problem(from_env(&[("STATE_TRACKER__OUTPUT__SPELLING", "lower")]));
    assert_contains(&problem, &["output.spelling", "\"checksum\", \"configured\" or \"both\""]);
}
