//! How the names of protocol and markets are read.

use super::*;

fn markets(text: &str) -> Vec<String> {
    let loaded = from_env(&[("DATA_MARKET_ADDRESSES", text)]).unwrap();
    loaded.config.tracker.markets
}

#[test]
fn markets_are_read_from_every_form_of_a_list() {
    for text in [
        "a,b",
        " a , b ",
        "a,b,",
        "a\nb",
        "a,\n  b\r\n",
        "a\n\nb\n",
        "[\"a\",\"b\"]",
        "[ \"a\" , \"b\" ]",
        "\"a,b\"",
        "'[\"a\",\"b\"]'",
        "a b",
        "a\tb\n",
        "a , b,, ,",
        "\"a\",\"b\"",
        "'a' 'b'",
        "\u{feff}a,b",
    ] {
        assert_eq!(markets(text), ["a", "b"], "{text}");
    }
}

#[test]
fn a_broken_list_is_refused_with_its_text() {
    for text in ["[\"a\",", "[1, 2]", "[a,b]"] {
        let problem = only_problem(from_env(&[("DATA_MARKET_ADDRESSES", text)]));
        assert_contains(&problem, &["tracker.markets", "DATA_MARKET_ADDRESSES", "JSON array"]);
    }
    let problem = only_problem(from_env(&[("DATA_MARKET_ADDRESSES", "a,,b")]));
    assert_contains(&problem, &["tracker.markets: \"\" (from", "nothing stands between two commas"]);
}

#[test]
fn an_address_can_not_be_served_twice_whatever_its_case() {
    let twice = format!("{MARKET},{}", MARKET.to_lowercase());
    let problem = only_problem(from_env(&[("DATA_MARKET_ADDRESSES", &twice)]));
    assert_contains(&problem, &[&MARKET.to_lowercase(), "each market once"]);
    assert_eq!(markets("name,NAME"), ["name", "NAME"]);
}

#[test]
fn names_that_would_break_a_key_are_refused() {
    for name in ["a:b", "{a}", "a\u{200b}b", "a\u{202e}b", "a\u{1}b"] {
        let problem = only_problem(from_env(&[("DATA_MARKET_ADDRESSES", name)]));
        assert_contains(&problem, &["tracker.markets", "DATA_MARKET_ADDRESSES", "without spaces"]);
        let problem = only_problem(from_env(&[("PROTOCOL_STATE_CONTRACT", name)]));
        assert_contains(&problem, &["tracker.protocol", "PROTOCOL_STATE_CONTRACT"]);
    }
}

#[test]
fn what_is_no_address_is_used_with_a_note() {
    let loaded =
        from_env(&[("PROTOCOL_STATE_CONTRACT", "hello"), ("DATA_MARKET_ADDRESSES", "0xMARKET1,0x12,plain")])
            .unwrap();
    assert_eq!(loaded.config.tracker.markets.len(), 3);
    assert_eq!(loaded.notes.len(), 4, "{:?}", loaded.notes);
    assert_contains(&loaded.notes[0], &["tracker.protocol: \"hello\" is not an address"]);
    assert_contains(&loaded.notes[1], &["tracker.markets", "0xMARKET1"]);
}

#[test]
fn a_name_that_is_nearly_an_address_is_told_with_what_is_wrong() {
    let digits = &MARKET[2..];
    for (name, wrong) in [
        (format!("0x{}", &digits[1..]), "it has 39 digits"),
        (format!("{MARKET}0"), "it has 41 digits"),
        (digits.to_owned(), "its 0x is missing"),
        (format!("0X{digits}"), "it begins with 0X"),
        (format!("Ox{digits}"), "a letter and not a zero"),
        (MARKET.replacen("C2", "C\u{417}", 1), "'\u{417}' is no hex digit"),
        (format!("{}O", &MARKET[..41]), "'O' is no hex digit"),
    ] {
        for variable in ["DATA_MARKET_ADDRESSES", "PROTOCOL_STATE_CONTRACT"] {
            let loaded = from_env(&[(variable, &name)]).unwrap();
            let [note] = &loaded.notes[..] else { panic!("{name}: {:?}", loaded.notes) };
            assert_contains(note, &[&name, "is nearly an address", wrong]);
        }
    }
    for name in ["facade", "0x12", "UNISWAPV2", "0xMARKET1", "a-name-that-is-as-long-as-an-address-is-ab"] {
        let notes = from_env(&[("DATA_MARKET_ADDRESSES", name)]).unwrap().notes;
        assert!(notes.len() == 1 && !notes[0].contains("nearly"), "{notes:?}");
    }
}

#[test]
fn an_address_with_a_wrong_checksum_is_used_with_a_note() {
    let mistyped = MARKET.replacen('E', "e", 1);
    for right in [MARKET, &MARKET.to_lowercase(), &format!("0x{}", MARKET[2..].to_uppercase())] {
        assert_eq!(from_env(&[("DATA_MARKET_ADDRESSES", right)]).unwrap().notes, [""; 0], "{right}");
    }
    let loaded = from_env(&[("DATA_MARKET_ADDRESSES", &mistyped)]).unwrap();
    assert_eq!(loaded.config.tracker.markets, [mistyped.as_str()]);
    assert_contains(&loaded.notes[0], &["tracker.markets", &mistyped, "wrong checksum", MARKET]);
}

#[test]
fn missing_addresses_say_how_to_set_them() {
    let errors = Config::load(None, [("DATA_MARKET_ADDRESSES", "[]")]).unwrap_err();
    let [protocol, markets] = errors.problems() else {
        panic!("{errors}");
    };
    assert_contains(protocol, &["tracker.protocol is not set", "PROTOCOL_STATE_CONTRACT"]);
    assert_contains(
        markets,
        &["tracker.markets is not set", "DATA_MARKET_ADDRESSES", "comma list or JSON array", "--config"],
    );
}

#[test]
fn a_state_index_of_several_markets_needs_their_names() {
    let load = |markets: &'static str, enabled: &'static str, namespaced: &'static str| {
        from_env(&[
            ("DATA_MARKET_ADDRESSES", markets),
            ("STATE_TRACKER__INDEX__ENABLED", enabled),
            ("STATE_TRACKER__INDEX__NAMESPACED", namespaced),
        ])
    };
    for (markets, enabled, namespaced) in
        [("a,b", "false", "false"), ("a", "true", "false"), ("a,b", "true", "true")]
    {
        let index = load(markets, enabled, namespaced).unwrap().config.index;
        assert_eq!((index.enabled, index.namespaced), (enabled == "true", namespaced == "true"));
    }
    let problem = only_problem(load("a,b", "true", "false"));
    assert_contains(&problem, &["index.namespaced: false", "tracker.markets has 2"]);
    let problem = only_problem(load("a", "yes", "false"));
    assert_contains(&problem, &["index.enabled: \"yes\"", "STATE_TRACKER__INDEX__ENABLED", "true or false"]);
}
