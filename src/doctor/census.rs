//! A census of all keys: their families, types and TTLs, misspelt names of markets, and the memory of each family.
//! Pure, and of bounded size for any number of keys.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use store_redis::{Family, KeyFacts, KeyType, Ttl, Writer};
use store_tracker::MarketKeys;

use super::{
    faults::{Fault, Faults},
    finding::Finding,
    neighbours::Neighbours,
    others::Others,
};
use crate::key_families;

/// How many families are distinguished; further ones are counted together. Other programs may have any number.
const MOST_FAMILIES: usize = 500;
/// The first keys of a family are all measured, then every `MEASURE_EVERY`th: MEMORY USAGE is the most expensive question.
const MEASURED_FIRST: u64 = 50;
const MEASURE_EVERY: u64 = 20;
/// The name under which further families are counted.
const OTHERS: &str = "(others)";

/// The question about a key to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// None: a key of another program, of whose family enough keys are measured.
    Nothing,
    /// Type and TTL.
    Kind,
    /// Type, TTL and size.
    Size,
}

/// The memory of a family of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The name of the family; `P:M` stands for any market, `*` for ids.
    pub family: String,
    /// The number of keys.
    pub keys: u64,
    /// Their size in bytes, estimated from the measured keys.
    pub bytes: u64,
    /// How many keys were measured.
    pub measured: u64,
}

#[derive(Default)]
struct Size {
    keys: u64,
    measured: u64,
    bytes: u64,
}

/// The market and the family of a key.
struct Place {
    /// The market; `None` for a key of the collector.
    market: Option<usize>,
    family: &'static Family,
    /// The fault of its name, if the tracker does not read this spelling.
    misnamed: Option<Fault>,
}

/// The census.
pub(super) struct Census {
    markets: Vec<MarketKeys>,
    protocol: String,
    /// The market of each `P:M` and `{P:M}`, in every spelling that the tracker reads.
    spaces: HashMap<String, usize>,
    /// How many segments, separated by colons, those names have: two, or more with an output prefix.
    depths: BTreeSet<usize>,
    /// The market of each `P:M` in lower case.
    folded: HashMap<String, usize>,
    /// The names of the markets, in lower case.
    names: Vec<String>,
    /// The same as a set: there may be thousands, and very many keys of others.
    known: HashSet<String>,
    /// The prefix of the collector's keys, with its colon.
    prefix: String,
    /// How many keys of producers each market has.
    produced: Vec<u64>,
    neighbours: Neighbours,
    others: Others,
    sizes: BTreeMap<String, Size>,
    faults: Faults,
    keys: u64,
    denied: u64,
}

impl Census {
    /// A census for these markets of a protocol. `prefix` is `output.prefix`; empty for none.
    #[must_use]
    pub(super) fn new(markets: &[MarketKeys], protocol: &str, prefix: &str) -> Self {
        let mut spaces = HashMap::new();
        let mut folded = HashMap::new();
        for (market, keys) in markets.iter().enumerate() {
            for space in keys.spaces() {
                if !space.contains('{') {
                    folded.entry(space.to_lowercase()).or_insert(market);
                }
                spaces.entry(space).or_insert(market);
            }
        }
        let depths = spaces.keys().map(|space| space.split(':').count()).collect();
        let names: Vec<String> =
            markets.iter().map(|keys| keys.market().configured().to_lowercase()).collect();
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}:") };
        Self {
            markets: markets.to_vec(),
            protocol: protocol.to_owned(),
            spaces,
            depths,
            folded,
            known: names.iter().cloned().collect(),
            names,
            prefix,
            produced: vec![0; markets.len()],
            neighbours: Neighbours::default(),
            others: Others::default(),
            sizes: BTreeMap::new(),
            faults: Faults::default(),
            keys: 0,
            denied: 0,
        }
    }

    /// The number of keys so far.
    #[must_use]
    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    /// Counts a key. Returns the question to ask the server about it.
    pub(super) fn count(&mut self, key: &[u8]) -> Question {
        self.keys += 1;
        let name = std::str::from_utf8(key).unwrap_or_default();
        let place = self.place(name);
        match &place {
            None => {
                self.neighbour(name);
                self.others.add(name);
            }
            Some(Place { market: Some(market), family, misnamed: None })
                if family.writer == Writer::Producers =>
            {
                self.produced[*market] += 1;
            }
            Some(Place { family, .. }) if family.writer == Writer::State => self.others.add_own(),
            Some(Place { market: None, family, .. }) if family.writer == Writer::Outputs => {
                self.others.add_handed_over(name);
            }
            Some(_) => {}
        }
        let family = family_name(name, place.as_ref());
        let is_new = !self.sizes.contains_key(&family);
        // Known families keep counting when the table is full; only new ones share a row.
        let family = if is_new && self.sizes.len() >= MOST_FAMILIES { OTHERS.to_owned() } else { family };
        let size = self.sizes.entry(family).or_default();
        size.keys += 1;
        if size.measured < MEASURED_FIRST || size.keys.is_multiple_of(MEASURE_EVERY) {
            return Question::Size;
        }
        if place.is_some() { Question::Kind } else { Question::Nothing }
    }

    /// The state of other trackers that it has met.
    #[must_use]
    pub(super) fn others(&self) -> &Others {
        &self.others
    }

    /// How many keys the user may not read.
    #[must_use]
    pub(super) fn denied(&self) -> u64 {
        self.denied
    }

    /// Records the answer about a counted key; `None` if the user may not ask.
    pub(super) fn record(&mut self, key: &[u8], facts: Option<KeyFacts>) {
        let Some(facts) = facts else {
            self.denied += 1;
            self.record_denied(key);
            return;
        };
        // The key has expired since SCAN returned it.
        if facts.kind == KeyType::None {
            return;
        }
        let name = std::str::from_utf8(key).unwrap_or_default();
        let place = self.place(name);
        if let Some(bytes) = facts.bytes {
            let family = family_name(name, place.as_ref());
            let family = if self.sizes.contains_key(&family) { &family } else { OTHERS };
            if let Some(size) = self.sizes.get_mut(family) {
                size.measured += 1;
                size.bytes = size.bytes.saturating_add(bytes);
            }
        }
        let Some(Place { market, family, misnamed }) = place else { return };
        let ttl = match facts.expires_in {
            None if family.ttl.is_required() => Some(Fault::NoTtl),
            Some(_) if family.ttl == Ttl::Forbidden => Some(Fault::Ttl),
            _ => None,
        };
        let kind = (facts.kind != family.kind).then_some(Fault::WrongType);
        // A misspelt name explains the faults of type and TTL: another program wrote the whole key.
        let faults = if misnamed.is_some() { [misnamed, None] } else { [kind, ttl] };
        for fault in faults.into_iter().flatten() {
            self.faults.add(market, fault, family, name, facts.kind);
        }
    }

    /// Records the fault of the name of a key whose facts are denied, as they are to a user that may read the configured spelling alone.
    fn record_denied(&mut self, key: &[u8]) {
        let name = std::str::from_utf8(key).unwrap_or_default();
        let Some(Place { market, family, misnamed: Some(fault) }) = self.place(name) else { return };
        self.faults.add(market, fault, family, name, KeyType::None);
    }

    fn place(&self, key: &str) -> Option<Place> {
        let ends: Vec<usize> = key.match_indices(':').map(|(at, _)| at).collect();
        // Known prefixes first, so that a key of a configured market is never judged as a misspelt one.
        for depth in &self.depths {
            let Some(&end) = ends.get(depth - 1) else { continue };
            let (space, rest) = (&key[..end], &key[end + 1..]);
            if let (Some(&market), Some(family)) = (self.spaces.get(space), key_families::of_market(rest)) {
                return Some(Place { market: Some(market), family, misnamed: None });
            }
        }
        if let Some(family) = key_families::of_collector(key, &self.prefix) {
            return Some(Place { market: None, family, misnamed: None });
        }
        // The tracker does not read this name, but it may be a misspelt name of a
        // configured market: two segments, or three with a prefix.
        for &end in ends.get(1).into_iter().chain(ends.get(2)) {
            let (space, rest) = (&key[..end], &key[end + 1..]);
            // The ledger is written by this program alone, always in the right spelling.
            let family = key_families::of_market(rest).filter(|family| family.writer != Writer::State);
            let Some(family) = family else { continue };
            let lower = space.to_lowercase();
            if let Some(&market) = self.folded.get(&lower) {
                return Some(Place { market: Some(market), family, misnamed: Some(Fault::Spelling) });
            }
            if space.contains('[')
                && let Some(market) = self.names.iter().position(|name| lower.contains(name.as_str()))
            {
                return Some(Place { market: Some(market), family, misnamed: Some(Fault::Brackets) });
            }
        }
        None
    }

    /// Whether it has met producers' keys of this market, in any spelling.
    #[must_use]
    pub(super) fn has_keys(&self, market: usize) -> bool {
        self.produced.get(market).is_some_and(|&keys| keys > 0) || self.faults.is_misspelt(market)
    }

    /// Counts a producers' key of an unconfigured market.
    fn neighbour(&mut self, name: &str) {
        let Some((end, _)) = name.match_indices(':').nth(1) else { return };
        if key_families::of_market(&name[end + 1..]).is_some_and(|family| family.writer == Writer::Producers)
        {
            let space = &name[..end];
            let is_related = space.split_once(':').is_some_and(|(protocol, market)| {
                protocol.eq_ignore_ascii_case(&self.protocol) || self.known.contains(&market.to_lowercase())
            });
            self.neighbours.add(space, is_related);
        }
    }

    /// The memory of each family, the largest first.
    #[must_use]
    pub(super) fn memory(&self) -> Vec<Memory> {
        let estimated = |(family, size): (&String, &Size)| Memory {
            family: family.clone(),
            keys: size.keys,
            // The mean of the measured keys stands for all keys of the family.
            bytes: (size.bytes as f64 * size.keys as f64 / size.measured.max(1) as f64) as u64,
            measured: size.measured,
        };
        let mut all: Vec<Memory> = self.sizes.iter().map(estimated).collect();
        // By name among equals, so that two runs print the same order.
        all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.family.cmp(&b.family)));
        all
    }

    /// The findings about keys. `is_empty` says whether the tracker finds no epoch in a market.
    #[must_use]
    pub(super) fn findings(&self, is_empty: impl Fn(usize) -> bool) -> Vec<Finding> {
        let mut all = self.faults.findings(&self.markets, &is_empty);
        for (at, keys) in self.markets.iter().enumerate() {
            // A market with keys, or under another spelling, is not mistyped: its neighbours are simply other markets.
            if self.produced[at] == 0 && is_empty(at) && !self.faults.is_misspelt(at) {
                all.extend(self.neighbours.judge(keys, &self.protocol));
            }
        }
        all
    }
}

/// The name of a key's family in the list of memory.
fn family_name(key: &str, place: Option<&Place>) -> String {
    match place {
        Some(Place { market: None, family, .. }) => family.name.to_owned(),
        Some(Place { family, misnamed: None, .. }) if family.writer == Writer::State => {
            format!("{{P:M}}:{}", family.name)
        }
        Some(Place { family, .. }) => format!("P:M:{}", family.name),
        None if key.is_empty() => OTHERS.to_owned(),
        None => shape(key),
    }
}

/// The family of another program's key: its name with `*` in place of ids. Ids are guessed, since families of other programs
/// are unknown.
fn shape(key: &str) -> String {
    // Addresses, hashes and anything with a digit; a long word is probably an id too.
    let is_id = |part: &str| {
        part.starts_with("0x") || part.len() > 24 || part.bytes().any(|byte| byte.is_ascii_digit())
    };
    // At most six parts: names with any number of colons must not make any number of families.
    let parts = key.splitn(7, ':').take(6);
    parts.map(|part| if is_id(part) { "*" } else { part }).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::Address;
    use proptest::prelude::*;

    use super::*;

    const MARKET: &str = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
    const CHECKSUM: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    fn census() -> Census {
        let keys = MarketKeys::new(&Address::new("P"), &Address::new(CHECKSUM));
        Census::new(&[MarketKeys::new(&Address::new("P"), &Address::new("other")), keys], "P", "s")
    }

    fn facts(kind: KeyType, seconds: Option<u64>) -> Option<KeyFacts> {
        Some(KeyFacts { kind, expires_in: seconds.map(Duration::from_secs), bytes: Some(100) })
    }

    /// What is found when there is just this key.
    fn found(key: &str, kind: KeyType, seconds: Option<u64>) -> Vec<(&'static str, String)> {
        let mut census = census();
        census.count(key.as_bytes());
        census.record(key.as_bytes(), facts(kind, seconds));
        census.findings(|_| false).into_iter().map(|finding| (finding.check, finding.object)).collect()
    }

    #[test]
    fn correct_keys_and_keys_of_other_programs_have_no_finding() {
        for (key, kind, seconds) in [
            (format!("P:{CHECKSUM}:epochs:active"), KeyType::Set, Some(60)),
            (format!("P:{CHECKSUM}:metrics:epochs:timeline"), KeyType::Zset, None),
            (format!("P:{CHECKSUM}:dashboard:summary"), KeyType::String, Some(60)),
            (format!("{{P:{CHECKSUM}}}:tracker:sums"), KeyType::Hash, None),
            ("s:BlockHashByNumberKey.7".to_owned(), KeyType::String, Some(60)),
            (format!("s:EpochMarkerDetailsKey.{MARKET}.7"), KeyType::String, None),
            (format!("SnapshotCollector.{MARKET}.7.0xab"), KeyType::Set, None),
            ("s:tracker:chain:undo".to_owned(), KeyType::Hash, None),
            // Without the prefix it belongs to another program.
            ("BlockHashByNumberKey.7".to_owned(), KeyType::String, None),
            (format!("P:{CHECKSUM}:something:else"), KeyType::Hash, None),
            (format!("Q:{CHECKSUM}:epochs:active"), KeyType::List, None),
            ("P:M".to_owned(), KeyType::List, None),
            ("::::::".to_owned(), KeyType::List, None),
            (String::new(), KeyType::List, None),
        ] {
            assert_eq!(found(&key, kind, seconds), [], "{key}");
        }
    }

    #[test]
    fn each_fault_of_a_key_is_found() {
        for (key, kind, seconds, checks) in [
            (format!("P:{CHECKSUM}:epochs:active"), KeyType::List, Some(60), vec!["wrong_type"]),
            (format!("P:{CHECKSUM}:epoch:7:state"), KeyType::Hash, None, vec!["no_ttl"]),
            (format!("P:{CHECKSUM}:stats:current"), KeyType::String, None, vec!["wrong_type", "no_ttl"]),
            (format!("{{P:{CHECKSUM}}}:tracker:sealed"), KeyType::Hash, Some(9), vec!["ledger_ttl"]),
            ("s:BlockHashByNumberKey.7".to_owned(), KeyType::Set, None, vec!["wrong_type", "no_ttl"]),
            ("s:finalizerQueue".to_owned(), KeyType::Set, None, vec!["wrong_type"]),
            (format!("SnapshotCollector.{MARKET}.7.0xab"), KeyType::List, None, vec!["wrong_type"]),
            (format!("s:tracker:chain:{MARKET}:windows"), KeyType::Hash, Some(9), vec!["ledger_ttl"]),
            (format!("P:{MARKET}:epochs:active"), KeyType::Set, None, vec!["spelling"]),
            (format!("p:{CHECKSUM}:submissionQueue"), KeyType::List, None, vec!["spelling"]),
            (format!("P:[\"{MARKET}\",\"x\"]:epochs:active"), KeyType::Set, None, vec!["brackets"]),
        ] {
            let expected: Vec<_> = checks.into_iter().map(|check| (check, key.clone())).collect();
            assert_eq!(found(&key, kind, seconds), expected);
        }
    }

    #[test]
    fn keys_with_the_same_fault_are_one_finding_with_their_number() {
        let mut census = census();
        for epoch in 0..1_000 {
            let key = format!("P:{CHECKSUM}:epoch:{epoch}:processed");
            census.count(key.as_bytes());
            census.record(key.as_bytes(), facts(KeyType::Set, None));
        }
        let findings = census.findings(|_| false);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].problem.contains("one of 1000 keys"), "{}", findings[0].problem);
    }

    #[test]
    fn keys_of_another_market_are_found_where_a_configured_one_has_none() {
        let mut census = census();
        for key in [format!("P:{MARKET}0:epochs:active"), format!("P:{MARKET}0:submissionQueue")] {
            census.count(key.as_bytes());
            census.record(key.as_bytes(), None);
        }
        let found = |census: &Census, empty: bool| -> Vec<_> {
            census.findings(|market| market == 1 && empty).into_iter().map(|finding| finding.check).collect()
        };
        assert_eq!((found(&census, true), found(&census, false)), (vec!["unknown_market"], vec![]));
        census.count(format!("P:{CHECKSUM}:submissionQueue").as_bytes());
        assert_eq!(found(&census, true), Vec::<&str>::new(), "a market with keys is known");
    }

    #[test]
    fn a_mistyped_protocol_is_found_among_any_number_of_other_markets() {
        let mut census = census();
        for number in 0..1_000 {
            census.count(format!("R{number}:market:epochs:active").as_bytes());
        }
        census.count(format!("Q:{MARKET}:epochs:active").as_bytes());
        let findings = census.findings(|market| market == 1);
        assert!(findings[0].remedy.contains("PROTOCOL_STATE_CONTRACT) to Q"), "{findings:?}");
    }

    #[test]
    fn memory_is_estimated_from_the_measured_keys() {
        let mut census = census();
        let mut measured = 0;
        for epoch in 0..1_000 {
            let key = format!("P:{CHECKSUM}:epoch:{epoch}:processed");
            if census.count(key.as_bytes()) == Question::Size {
                census.record(key.as_bytes(), facts(KeyType::Set, Some(60)));
                measured += 1;
            }
        }
        census.count(b"sessions:12:user");
        census.record(b"sessions:12:user", facts(KeyType::Set, None));
        let memory = census.memory();
        assert_eq!((memory[0].family.as_str(), memory[0].keys), ("P:M:epoch:*:processed", 1_000));
        assert_eq!((memory[0].bytes, memory[0].measured), (100_000, measured));
        assert!((50..150).contains(&measured), "{measured}");
        assert_eq!((memory[1].family.as_str(), memory[1].bytes), ("sessions:*:user", 100));
    }

    #[test]
    fn any_number_of_families_takes_bounded_room() {
        let mut census = census();
        for number in 0..5_000_u32 {
            let letters: String =
                number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            census.count(letters.as_bytes());
            census.record(letters.as_bytes(), facts(KeyType::Hash, None));
        }
        assert!(census.memory().len() <= MOST_FAMILIES + 1);
        assert_eq!(census.memory().iter().map(|family| family.keys).sum::<u64>(), 5_000);
    }

    proptest! {
        #[test]
        fn no_key_makes_the_census_panic(key in proptest::collection::vec(any::<u8>(), 0..80), text in "\\PC{0,60}") {
            let mut census = census();
            for key in [&key[..], text.as_bytes(), format!("P:{CHECKSUM}:{text}").as_bytes()] {
                census.count(key);
                census.record(key, facts(KeyType::Hash, None));
            }
            let _ = (census.findings(|_| true), census.memory());
        }
    }
}
