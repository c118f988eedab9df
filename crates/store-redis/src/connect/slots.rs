//! Hash slots: the slot of a key, and the node of a slot.

use std::collections::BTreeSet;

use redis::{RedisResult, Value, from_redis_value};

/// The number of slots of every cluster.
const SLOTS: usize = 16_384;

/// The address of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Node {
    /// Parses the address in a redirection of `sender`: `host:port`, with an IPv6 address without brackets.
    pub(super) fn parse(text: &str, sender: &Self) -> Option<Self> {
        // From the right: an IPv6 address has colons too.
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // A node that does not know its own address leaves the host out.
        let host = if host.is_empty() { &sender.host } else { host };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// The slot of a key. If the key has a hash tag (text between the first braces), only that is hashed.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        // Empty braces are no tag: the whole key is hashed then.
        let close = rest.iter().position(|&byte| byte == b'}').filter(|&close| close > 0)?;
        Some(&rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS as u16
}

/// The CRC-16 of XMODEM, which Redis uses.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| TABLE[usize::from((crc >> 8) as u8 ^ byte)] ^ (crc << 8))
}

static TABLE: [u16; 256] = {
    let mut table = [0_u16; 256];
    let mut at = 0;
    while at < table.len() {
        let (mut crc, mut bit) = ((at as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

/// The node of each slot.
#[derive(Clone, Debug)]
pub(super) struct SlotMap {
    nodes: Vec<Node>,
    /// By slot, the index into `nodes`; `None` for a slot without a node.
    slots: Vec<Option<u16>>,
}

impl SlotMap {
    /// Parses an answer to `CLUSTER SLOTS`. There are as many ranges as slots at most: what is more is not read, since the work grows
    /// with the square of them.
    pub(super) fn read(answer: Value, sender: &Node) -> RedisResult<Self> {
        let ranges: Vec<(usize, usize, Vec<Value>)> = from_redis_value::<Vec<Vec<Value>>>(answer)?
            .into_iter()
            .take(SLOTS)
            .filter_map(|range| {
                let mut parts = range.into_iter();
                let first = from_redis_value(parts.next()?).ok()?;
                let last = from_redis_value(parts.next()?).ok()?;
                // The master is the first of a range's nodes; replicas follow.
                // A range that can't be parsed is left out: commands for its slots fail, and the others work.
                Some((first, last, from_redis_value(parts.next()?).ok()?))
            })
            .collect();
        let mut map = Self { nodes: Vec::new(), slots: vec![None; SLOTS] };
        for (first, last, node) in ranges {
            let mut parts = node.into_iter();
            let host: Option<String> = parts.next().and_then(|host| from_redis_value(host).ok()).flatten();
            let host = match host.as_deref() {
                // By the protocol, a missing host means the host that was asked.
                None | Some("") => sender.host.clone(),
                // Redis writes `?` if names are to be announced and this node has none.
                Some("?") => continue,
                Some(host) => host.to_owned(),
            };
            let Some(port) = parts.next().and_then(|port| from_redis_value(port).ok()) else { continue };
            let number = map.number(Node { host, port });
            // By iterators and not by index: a wrong range in an answer must not panic.
            for slot in map.slots.iter_mut().take(last.saturating_add(1)).skip(first) {
                *slot = Some(number);
            }
        }
        Ok(map)
    }

    /// The node of a slot.
    pub(super) fn node(&self, slot: u16) -> Option<&Node> {
        let number = self.slots.get(usize::from(slot)).copied().flatten()?;
        self.nodes.get(usize::from(number))
    }

    /// Notes that a slot has moved.
    pub(super) fn assign(&mut self, slot: u16, node: Node) {
        let number = self.number(node);
        if let Some(known) = self.slots.get_mut(usize::from(slot)) {
            *known = Some(number);
        }
    }

    /// All nodes that have slots.
    pub(super) fn masters(&self) -> Vec<Node> {
        let numbers: BTreeSet<u16> = self.slots.iter().copied().flatten().collect();
        numbers.into_iter().filter_map(|number| self.nodes.get(usize::from(number)).cloned()).collect()
    }

    /// The index of a node, which is added if it is new. Nodes are never removed: a new map replaces all.
    fn number(&mut self, node: Node) -> u16 {
        let known = self.nodes.iter().position(|known| *known == node);
        let number = known.unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.to_owned(), port }
    }

    #[test]
    fn a_key_with_a_hash_tag_has_the_slot_of_the_tag() {
        // The check value of the CRC, and examples of Redis' own specification.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16_384);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
    }

    #[test]
    fn a_map_has_the_master_of_each_slot_and_applies_moves() {
        let host = |host: &str| Value::BulkString(host.as_bytes().to_vec());
        let range = |first, last, master: Value, port| {
            let master = Value::Array(vec![master, Value::Int(port), host("id")]);
            let replica = Value::Array(vec![host("replica"), Value::Int(9)]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
        };
        let answer = Value::Array(vec![
            range(0, 99, host("a"), 1),
            range(100, 199, host(""), 2),
            range(200, 299, Value::Nil, 3),
            range(300, 399, host("?"), 4),
            range(400, 16_383, host("a"), 1),
        ]);
        let mut map = SlotMap::read(answer, &node("asked", 7)).expect("an answer");
        let at = |map: &SlotMap, slot| map.node(slot).map(|node| (node.host.clone(), node.port));
        assert_eq!(at(&map, 99), Some(("a".to_owned(), 1)));
        assert_eq!(at(&map, 100), Some(("asked".to_owned(), 2)));
        assert_eq!(at(&map, 299), Some(("asked".to_owned(), 3)));
        assert_eq!(at(&map, 300), None);
        assert_eq!(at(&map, 16_383), Some(("a".to_owned(), 1)));
        assert_eq!(map.masters().len(), 3);
        map.assign(300, node("b", 5));
        assert_eq!(at(&map, 300), Some(("b".to_owned(), 5)));
        (100..200).for_each(|slot| map.assign(slot, node("b", 5)));
        assert_eq!(map.masters(), [node("a", 1), node("asked", 3), node("b", 5)]);
    }

    #[test]
    fn a_map_of_more_ranges_than_slots_is_read_up_to_their_number() {
        let range = |port| {
            let master = Value::Array(vec![Value::BulkString(b"a".to_vec()), Value::Int(port)]);
            Value::Array(vec![Value::Int(0), Value::Int(16_383), master])
        };
        let answer = Value::Array((0..60_000).map(range).collect());
        let map = SlotMap::read(answer, &node("asked", 7)).expect("an answer");
        assert_eq!((map.nodes.len(), map.masters()), (SLOTS, vec![node("a", 16_383)]));
    }

    fn maps_of(count: u64) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/slots");
        let asked = node("asked", 7);
        testkit::fuzz::Corpus::read(folder).expect("a corpus").explore(count, |input| {
            let Ok(answer) = redis::parse_redis_value(input) else { return "no answer".to_owned() };
            match SlotMap::read(answer, &asked) {
                Ok(map) => {
                    let masters = map.masters();
                    assert!((0..16_384).filter_map(|slot| map.node(slot)).all(|node| masters.contains(node)));
                    format!("{} masters", masters.len().min(4))
                }
                Err(error) => testkit::fuzz::label(&error.to_string()),
            }
        });
    }

    #[test]
    fn no_answer_makes_the_reader_of_slots_panic() {
        maps_of(5_000);
    }

    #[test]
    #[ignore = "minutes"]
    fn no_answer_makes_the_reader_of_slots_panic_for_long() {
        maps_of(200_000);
    }

    #[test]
    fn the_address_in_a_redirection_is_parsed_in_every_form() {
        let asked = node("asked", 7);
        assert_eq!(Node::parse("10.0.0.1:6379", &asked), Some(node("10.0.0.1", 6379)));
        assert_eq!(Node::parse("[fe80::1]:6379", &asked), Some(node("fe80::1", 6379)));
        assert_eq!(Node::parse("fe80::1:6379", &asked), Some(node("fe80::1", 6379)));
        assert_eq!(Node::parse(":6379", &asked), Some(node("asked", 6379)));
        assert_eq!(Node::parse("nowhere", &asked), None);
    }
}
