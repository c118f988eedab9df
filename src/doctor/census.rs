//! A census of keys: which families they belong to, whether they are of the right type and live as long as they
//! should, whether they stand under a market's name in another spelling, and what each family takes in memory.
//! Pure, and of bounded size whatever keys there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use store_redis::{Family, KeyFacts, KeyType, Ttl, Writer};
use store_tracker::MarketKeys;

use super::finding::Finding;
use crate::key_families;

/// How many families are told apart; further ones are counted together.
const MOST_FAMILIES: usize = 500;
/// The size of that many keys of a family is asked for, and then of every `EVERY`th.
const SIZED: u64 = 50;
const EVERY: u64 = 20;
/// Keys of other programs beyond this many families.
const OTHERS: &str = "(others)";

/// What is to be asked about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Nothing: its name says enough.
    Nothing,
    /// Type and life.
    Kind,
    /// Type, life and size.
    Size,
}

/// What a family takes in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The family; `P:M` stands for any market, `*` for ids.
    pub family: String,
    /// How many keys were met.
    pub keys: u64,
    /// What they take, in bytes, reckoned from those that were measured.
    pub bytes: u64,
    /// How many were measured.
    pub measured: u64,
}

#[derive(Default)]
struct Size {
    keys: u64,
    measured: u64,
    bytes: u64,
}

/// What a key can be found to be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    WrongType,
    NoTtl,
    Ttl,
    Spelling,
    Brackets,
}

/// Keys of one family and market with the same fault.
struct Group {
    keys: u64,
    example: String,
    kind: KeyType,
    /// The family of the example.
    family: &'static Family,
}

/// Where a key belongs.
struct Place {
    /// The market; none where it is a key of the chain's side.
    market: Option<usize>,
    family: &'static Family,
    /// Under a name that is not looked for.
    astray: Option<Fault>,
}

/// The census.
pub(super) struct Census {
    /// What stands before a family's name, and whose it is.
    spaces: HashMap<String, usize>,
    /// How many segments those have.
    depths: BTreeSet<usize>,
    /// The same for `P:M` without regard to upper and lower case.
    folded: HashMap<String, usize>,
    /// The names of the markets, in lower case.
    names: Vec<String>,
    /// What stands before the keys of the chain's side.
    prefix: String,
    looked_for: Vec<String>,
    sizes: BTreeMap<String, Size>,
    faults: BTreeMap<(Option<usize>, Fault, &'static str), Group>,
    keys: u64,
    unseen: u64,
}

impl Census {
    /// A census for these markets, where what the tracker writes has a prefix (empty for none).
    #[must_use]
    pub(super) fn new(markets: &[MarketKeys], prefix: &str) -> Self {
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
        let names = markets.iter().map(|keys| keys.market().configured().to_lowercase()).collect();
        let looked_for = markets.iter().map(|keys| keys.spaces().join(", ")).collect();
        let (sizes, faults) = Default::default();
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}:") };
        Self { spaces, depths, folded, names, prefix, looked_for, sizes, faults, keys: 0, unseen: 0 }
    }

    /// How many keys were met.
    #[must_use]
    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    /// Meets a key; what is to be asked about it.
    pub(super) fn meet(&mut self, key: &[u8]) -> Question {
        self.keys += 1;
        let name = std::str::from_utf8(key).unwrap_or_default();
        let place = self.place(name);
        let family = family_name(name, place.as_ref());
        let is_new = !self.sizes.contains_key(&family);
        let family = if is_new && self.sizes.len() >= MOST_FAMILIES { OTHERS.to_owned() } else { family };
        let size = self.sizes.entry(family).or_default();
        size.keys += 1;
        if size.measured < SIZED || size.keys.is_multiple_of(EVERY) {
            return Question::Size;
        }
        if place.is_some() { Question::Kind } else { Question::Nothing }
    }

    /// How many keys nothing is known of but their names.
    #[must_use]
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// Takes note of what a key is that was met before; `None`: that may not be asked.
    pub(super) fn note(&mut self, key: &[u8], facts: Option<KeyFacts>) {
        let Some(facts) = facts else {
            self.unseen += 1;
            return;
        };
        // It expired meanwhile.
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
        let Some(Place { market, family, astray }) = place else { return };
        let life = match facts.expires_in {
            None if family.ttl.is_required() => Some(Fault::NoTtl),
            Some(_) if family.ttl == Ttl::Forbidden => Some(Fault::Ttl),
            _ => None,
        };
        let kind = (facts.kind != family.kind).then_some(Fault::WrongType);
        // Who finds the right name finds the right type and life too.
        let faults = if astray.is_some() { [astray, None] } else { [kind, life] };
        for fault in faults.into_iter().flatten() {
            let group = || Group { keys: 0, example: name.to_owned(), kind: facts.kind, family };
            let name = if astray.is_some() { "" } else { family.name };
            self.faults.entry((market, fault, name)).or_insert_with(group).keys += 1;
        }
    }

    fn place(&self, key: &str) -> Option<Place> {
        let ends: Vec<usize> = key.match_indices(':').map(|(at, _)| at).collect();
        for depth in &self.depths {
            let Some(&end) = ends.get(depth - 1) else { continue };
            let (space, rest) = (&key[..end], &key[end + 1..]);
            if let (Some(&market), Some(family)) = (self.spaces.get(space), key_families::of_market(rest)) {
                return Some(Place { market: Some(market), family, astray: None });
            }
        }
        if let Some(family) = key_families::of_collector(key, &self.prefix) {
            return Some(Place { market: None, family, astray: None });
        }
        // Not a name that is looked for, but perhaps one that means a market of ours.
        for &end in ends.get(1).into_iter().chain(ends.get(2)) {
            let (space, rest) = (&key[..end], &key[end + 1..]);
            let family = key_families::of_market(rest).filter(|family| family.writer != Writer::State);
            let Some(family) = family else { continue };
            let lower = space.to_lowercase();
            if let Some(&market) = self.folded.get(&lower) {
                return Some(Place { market: Some(market), family, astray: Some(Fault::Spelling) });
            }
            if space.contains('[')
                && let Some(market) = self.names.iter().position(|name| lower.contains(name.as_str()))
            {
                return Some(Place { market: Some(market), family, astray: Some(Fault::Brackets) });
            }
        }
        None
    }

    /// What each family takes, the largest first.
    #[must_use]
    pub(super) fn memory(&self) -> Vec<Memory> {
        let reckoned = |(family, size): (&String, &Size)| Memory {
            family: family.clone(),
            keys: size.keys,
            bytes: (size.bytes as f64 * size.keys as f64 / size.measured.max(1) as f64) as u64,
            measured: size.measured,
        };
        let mut all: Vec<Memory> = self.sizes.iter().map(reckoned).collect();
        all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.family.cmp(&b.family)));
        all
    }

    /// What is the matter with the keys. `is_empty` tells of a market whether the tracker finds no epoch in it.
    #[must_use]
    pub(super) fn findings(&self, is_empty: impl Fn(usize) -> bool) -> Vec<Finding> {
        let finding = |(&(market, fault, _), group): (&(Option<usize>, Fault, &str), &Group)| {
            self.finding(market, fault, group, &is_empty)
        };
        self.faults.iter().map(finding).collect()
    }

    fn finding(
        &self,
        market: Option<usize>,
        fault: Fault,
        group: &Group,
        is_empty: impl Fn(usize) -> bool,
    ) -> Finding {
        let (key, kind) = (group.example.clone(), group.kind.as_str());
        let more = match group.keys {
            1 => String::new(),
            keys => format!(" (one of {keys} keys)"),
        };
        let is_ours = group.family.writer != Writer::Producers;
        match fault {
            Fault::WrongType => {
                let right = group.family.kind.as_str();
                let problem = format!("it is a {kind}, and should be a {right}{more}");
                let remedy = "find out which program wrote it; then delete or rename it, it is made anew";
                Finding::error("wrong_type", key, problem, remedy)
            }
            Fault::NoTtl => {
                let problem = format!("it has no TTL, and would stay for ever{more}");
                let remedy = if is_ours {
                    "the tracker gives it one when it writes it next; without a tracker, delete it"
                } else {
                    "EXPIRE it, and look for a producer that forgets to (or for a restore that dropped TTLs)"
                };
                Finding::warning("no_ttl", key, problem, remedy)
            }
            Fault::Ttl => {
                let problem =
                    format!("it has a TTL, and what the tracker knows is lost when it expires{more}");
                Finding::error(
                    "ledger_ttl",
                    key,
                    problem,
                    "PERSIST it, and find out which program gave it one",
                )
            }
            Fault::Spelling => {
                let problem =
                    format!("it is a key of a market of ours under a spelling that nobody looks for{more}");
                let looked_for = market.map_or("", |market| self.looked_for[market].as_str());
                let remedy = format!(
                    "set tracker.protocol and tracker.markets to that spelling (in addition, {looked_for} are read)"
                );
                // Then that is where its epochs are.
                let make = if market.is_some_and(is_empty) { Finding::error } else { Finding::warning };
                make("spelling", key, problem, remedy)
            }
            Fault::Brackets => {
                let problem = format!(
                    "its market has brackets in its name{more}: a program took a JSON array for one address"
                );
                let remedy =
                    "give that program DATA_MARKET_ADDRESSES as a comma list (the Monitor API needs it so)";
                Finding::warning("brackets", key, problem, remedy)
            }
        }
    }
}

/// How a key's family is called in the list of memory.
fn family_name(key: &str, place: Option<&Place>) -> String {
    match place {
        Some(Place { market: None, family, .. }) => family.name.to_owned(),
        Some(Place { family, astray: None, .. }) if family.writer == Writer::State => {
            format!("{{P:M}}:{}", family.name)
        }
        Some(Place { family, .. }) => format!("P:M:{}", family.name),
        None if key.is_empty() => OTHERS.to_owned(),
        None => shape(key),
    }
}

/// A key of another program with what looks like an id taken out.
fn shape(key: &str) -> String {
    let is_id = |part: &str| {
        part.starts_with("0x") || part.len() > 24 || part.bytes().any(|byte| byte.is_ascii_digit())
    };
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
        Census::new(&[MarketKeys::new(&Address::new("P"), &Address::new("other")), keys], "s")
    }

    fn facts(kind: KeyType, seconds: Option<u64>) -> Option<KeyFacts> {
        Some(KeyFacts { kind, expires_in: seconds.map(Duration::from_secs), bytes: Some(100) })
    }

    /// What is found when there is just this key.
    fn found(key: &str, kind: KeyType, seconds: Option<u64>) -> Vec<(&'static str, String)> {
        let mut census = census();
        census.meet(key.as_bytes());
        census.note(key.as_bytes(), facts(kind, seconds));
        census.findings(|_| false).into_iter().map(|finding| (finding.check, finding.object)).collect()
    }

    #[test]
    fn keys_as_they_should_be_give_no_finding_and_neither_do_those_of_other_programs() {
        for (key, kind, seconds) in [
            (format!("P:{CHECKSUM}:epochs:active"), KeyType::Set, Some(60)),
            (format!("P:{CHECKSUM}:metrics:epochs:timeline"), KeyType::Zset, None),
            (format!("P:{CHECKSUM}:dashboard:summary"), KeyType::String, Some(60)),
            (format!("{{P:{CHECKSUM}}}:tracker:sums"), KeyType::Hash, None),
            ("s:BlockHashByNumberKey.7".to_owned(), KeyType::String, Some(60)),
            (format!("s:EpochMarkerDetailsKey.{MARKET}.7"), KeyType::String, None),
            (format!("SnapshotCollector.{MARKET}.7.0xab"), KeyType::Set, None),
            ("s:tracker:chain:deeds".to_owned(), KeyType::Hash, None),
            // Behind another prefix, it is nobody of ours.
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
    fn many_keys_with_the_same_fault_are_one_finding_with_their_number() {
        let mut census = census();
        for epoch in 0..1_000 {
            let key = format!("P:{CHECKSUM}:epoch:{epoch}:processed");
            census.meet(key.as_bytes());
            census.note(key.as_bytes(), facts(KeyType::Set, None));
        }
        let findings = census.findings(|_| false);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].problem.contains("one of 1000 keys"), "{}", findings[0].problem);
    }

    #[test]
    fn memory_is_reckoned_from_those_that_were_measured() {
        let mut census = census();
        let mut measured = 0;
        for epoch in 0..1_000 {
            let key = format!("P:{CHECKSUM}:epoch:{epoch}:processed");
            if census.meet(key.as_bytes()) == Question::Size {
                census.note(key.as_bytes(), facts(KeyType::Set, Some(60)));
                measured += 1;
            }
        }
        census.meet(b"sessions:12:user");
        census.note(b"sessions:12:user", facts(KeyType::Set, None));
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
            census.meet(letters.as_bytes());
            census.note(letters.as_bytes(), facts(KeyType::Hash, None));
        }
        assert!(census.memory().len() <= MOST_FAMILIES + 1);
        assert_eq!(census.memory().iter().map(|family| family.keys).sum::<u64>(), 5_000);
    }

    proptest! {
        #[test]
        fn no_key_makes_the_census_panic(key in proptest::collection::vec(any::<u8>(), 0..80), text in "\\PC{0,60}") {
            let mut census = census();
            for key in [&key[..], text.as_bytes(), format!("P:{CHECKSUM}:{text}").as_bytes()] {
                census.meet(key);
                census.note(key, facts(KeyType::Hash, None));
            }
            let _ = (census.findings(|_| true), census.memory());
        }
    }
}
