//! Markets that have keys of producers but are not configured. If a configured market has none, the most similar of them shows
//! what was mistyped. Pure, and of bounded size.

use std::collections::BTreeMap;

use store_tracker::MarketKeys;
use strsim::damerau_levenshtein;

use super::finding::Finding;

/// How many markets are kept, and how long their names may be. Names come from the database and may be anything.
const MOST: usize = 100;
const LONGEST: usize = 200;
/// The largest edit distance at which a name counts as mistyped. Different addresses differ in nearly all of their digits.
const TYPO: usize = 4;

/// The number of keys for each unconfigured `P:M`.
#[derive(Default)]
pub(super) struct Neighbours {
    /// Those that share the protocol or the market with a configured one.
    related: BTreeMap<String, u64>,
    others: BTreeMap<String, u64>,
}

impl Neighbours {
    /// Adds a producers' key of a market that is not configured. The related ones have room of their own: with many markets in the
    /// database a mistyped protocol must be found too.
    pub(super) fn add(&mut self, space: &str, is_related: bool) {
        let known = if is_related { &mut self.related } else { &mut self.others };
        if space.len() <= LONGEST && (known.len() < MOST || known.contains_key(space)) {
            *known.entry(space.to_owned()).or_default() += 1;
        }
    }

    /// The finding for a configured market without keys of producers, with the nearest market that has some.
    pub(super) fn judge(&self, keys: &MarketKeys, protocol: &str) -> Option<Finding> {
        let market = keys.market().configured();
        let distance = |space: &String| {
            let (p, m) = space.split_once(':')?;
            // Case makes no difference: checksum form and lower case of one address differ in many characters.
            let one =
                |here: &str, there: &str| damerau_levenshtein(&here.to_lowercase(), &there.to_lowercase());
            Some((one(protocol, p), one(market, m)))
        };
        let all = self.related.iter().chain(&self.others);
        let all = all.filter_map(|(space, keys)| Some((distance(space)?, space, keys)));
        let ((p, m), space, keys) =
            // Among equally near ones the market with the most keys: it is the one in use.
            all.min_by_key(|((p, m), space, keys)| (p + m, std::cmp::Reverse(**keys), *space))?;
        let (other_protocol, other_market) = space.split_once(':')?;
        let object = format!("market {market}");
        let problem = format!(
            "the database has no producers' key of {protocol}:{market}; the nearest market is {space} ({keys} keys)"
        );
        let protocol = format!("tracker.protocol (PROTOCOL_STATE_CONTRACT) to {other_protocol}");
        let market = format!("tracker.markets (DATA_MARKET_ADDRESSES) to {other_market}");
        // The same market under another protocol is always a mistake, since a market has one protocol. Another market under the same
        // protocol is one only if the names are similar, since a protocol has many markets.
        Some(match (p, m) {
            (_, 0) => Finding::error("unknown_market", object, problem, format!("set {protocol}")),
            (0, m) if m <= TYPO => Finding::error("unknown_market", object, problem, format!("set {market}")),
            (p, m) if p + m <= TYPO => {
                Finding::error("unknown_market", object, problem, format!("set {protocol}, {market}"))
            }
            _ => {
                let remedy = "check tracker.protocol, tracker.markets and redis.db; nothing, if no producer serves it yet";
                Finding::warning("unknown_market", object, problem, remedy)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::Address;

    use super::*;
    use crate::doctor::finding::Severity;

    const P: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
    const M: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
    const OTHER: &str = "0x21cb57C1f2352ad215a463DD867b838749CD3b8f";

    fn judged(spaces: &[String]) -> Option<(Severity, String)> {
        let mut neighbours = Neighbours::default();
        spaces.iter().for_each(|space| neighbours.add(space, false));
        let keys = MarketKeys::new(&Address::new(P), &Address::new(M));
        neighbours.judge(&keys, P).map(|finding| (finding.severity, finding.remedy))
    }

    #[test]
    fn a_mistyped_name_is_found_by_its_nearest_neighbour() {
        let typo = |name: &str| name.replace("0x", "0x1").replace("FA", "AF");
        for (spaces, severity, remedy) in [
            (vec![format!("{OTHER}:{M}")], Severity::Error, format!("PROTOCOL_STATE_CONTRACT) to {OTHER}")),
            (
                vec![format!("{OTHER}:{OTHER}"), format!("{}:{M}", typo(P))],
                Severity::Error,
                format!("PROTOCOL_STATE_CONTRACT) to {}", typo(P)),
            ),
            (vec![format!("{P}:{}", typo(M))], Severity::Error, format!("ADDRESSES) to {}", typo(M))),
            (vec![format!("{}:{}", typo(P), typo(M))], Severity::Error, format!("ADDRESSES) to {}", typo(M))),
            (vec![format!("{P}:{OTHER}")], Severity::Warning, "redis.db".to_owned()),
        ] {
            let (found, text) = judged(&spaces).expect("a finding");
            assert!(found == severity && text.contains(&remedy), "{spaces:?}: {text}");
        }
        assert_eq!(judged(&[]), None);
    }

    #[test]
    fn any_number_of_markets_takes_bounded_room() {
        let mut neighbours = Neighbours::default();
        for is_related in [false, true] {
            (0..10_000).for_each(|number| neighbours.add(&format!("p:{number}"), is_related));
            neighbours.add(&format!("p:{}", "x".repeat(1_000)), is_related);
        }
        assert_eq!((neighbours.others.len(), neighbours.related.len()), (MOST, MOST));
    }
}
