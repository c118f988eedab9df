//! How keys are spelled.

use super::*;

const LOWER: &str = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
const CHECKSUM: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

fn keys() -> MarketKeys {
    MarketKeys::new(&Address::new("P"), &Address::new(LOWER))
}

fn summaries(keys: &MarketKeys) -> Vec<String> {
    keys.outputs().map(|output| output.dataset(&SUMMARY, None)).collect()
}

#[test]
fn inputs_are_looked_for_in_both_spellings_and_outputs_are_in_checksum_form() {
    let queues: Vec<_> = keys().inputs().map(InputKeys::queue).collect();
    assert_eq!(queues, [format!("P:{CHECKSUM}:submissionQueue"), format!("P:{LOWER}:submissionQueue")]);
    assert_eq!(summaries(&keys()), [format!("P:{CHECKSUM}:dashboard:summary")]);
    assert_eq!(keys().open(), format!("{{P:{CHECKSUM}}}:tracker:open"));
    let named = MarketKeys::new(&Address::new("P"), &Address::new("market"));
    assert_eq!(named.inputs().count(), 1);
}

#[test]
fn mixed_forms_are_inputs_where_both_addresses_are_configured_in_another_form_and_never_outputs() {
    let protocol = "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359";
    let keys = MarketKeys::new(&Address::new(protocol), &Address::new(LOWER));
    let spelled: Vec<_> = keys.inputs().map(|input| input.space().to_owned()).collect();
    let checksum = Address::new(protocol).checksummed().to_owned();
    let expected = [(&*checksum, CHECKSUM), (protocol, LOWER), (protocol, CHECKSUM), (&*checksum, LOWER)];
    assert_eq!(spelled, expected.map(|(protocol, market)| format!("{protocol}:{market}")));
    let both = keys.with_output(&Output { spelling: Spelling::Both, prefix: String::new() });
    assert_eq!(both.outputs().count(), 2);
    let one = MarketKeys::new(&Address::new(protocol), &Address::new(CHECKSUM));
    assert_eq!(one.inputs().count(), 2);
}

#[test]
fn outputs_are_spelled_as_asked_for_and_the_ledger_is_one() {
    let spelled = |spelling| keys().with_output(&Output { spelling, prefix: String::new() });
    let (checksum, configured) =
        (format!("P:{CHECKSUM}:dashboard:summary"), format!("P:{LOWER}:dashboard:summary"));
    let both = [checksum, configured];
    assert_eq!(summaries(&spelled(Spelling::Configured)), both[1..]);
    assert_eq!(summaries(&spelled(Spelling::Both)), both);
    assert_eq!(spelled(Spelling::Both).open(), keys().open());
    let named = MarketKeys::new(&Address::new("P"), &Address::new("market"));
    let named = named.with_output(&Output { spelling: Spelling::Both, prefix: String::new() });
    assert_eq!(summaries(&named), ["P:market:dashboard:summary"], "there is one spelling only");
}

#[test]
fn a_prefix_stands_before_outputs_and_ledger_and_not_before_inputs() {
    let output = Output { prefix: "shadow".to_owned(), spelling: Spelling::Checksum };
    let keys = keys().with_output(&output);
    assert!(keys.is_shadow());
    assert_eq!(summaries(&keys), [format!("shadow:P:{CHECKSUM}:dashboard:summary")]);
    assert_eq!(keys.open(), format!("shadow:{{P:{CHECKSUM}}}:tracker:open"));
    assert!(keys.inputs().all(|input| input.queue().starts_with("P:")));
}

#[test]
fn a_second_namespace_is_looked_for_in_both_spellings_before_the_market_and_never_twice() {
    let second = keys().with_priority(&Address::new("Q"), &Address::new(LOWER));
    let spaces: Vec<_> = second.priorities().map(InputKeys::vpa_stats).collect();
    let expected = ["Q:C", "Q:L", "P:C", "P:L"]
        .map(|space| format!("{}:vpa:stats", space.replace('C', CHECKSUM).replace('L', LOWER)));
    assert_eq!(spaces, expected);
    let own = keys().with_priority(&Address::new("P"), &Address::new(CHECKSUM));
    assert_eq!((own.second().count(), own.priorities().count()), (0, 2));
}

#[test]
fn the_spaces_of_a_market_are_those_of_its_inputs_outputs_and_ledger() {
    let keys = MarketKeys::new(&Address::new("P"), &Address::new("M"));
    assert_eq!(keys.spaces(), ["P:M", "{P:M}"]);
    let output = Output { prefix: "s".to_owned(), ..Output::default() };
    let keys = keys.with_output(&output).with_priority(&Address::new("Q"), &Address::new("N"));
    assert_eq!(keys.spaces(), ["P:M", "Q:N", "s:P:M", "s:{P:M}"]);
}
