//! What the error of a node means for a question. The words are those of known clients and providers. They only save attempts:
//! an error without a known word is handled by what was asked. Pure.

use crate::counters::FaultKind;
use crate::fault::Hint;
use crate::json_rpc::ErrorBody;

/// What was asked with the call that has an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum About {
    /// One thing, which can't be asked for in a smaller form.
    #[default]
    Single,
    /// A view function, which can revert.
    View,
    /// A view function at the block of a hash (EIP-1898), which not every node serves.
    ViewByHash,
    /// Receipts, which not every node serves.
    Receipts,
    /// The logs of a range of this many blocks.
    Range(u64),
    /// Several things at once.
    Batch,
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This node can't answer, in this form or at all.
    Fault(FaultKind, Hint),
    /// The contract reverted, on every node.
    Reverted,
}

impl ErrorBody {
    /// The meaning, mostly by the words: providers agree on few codes.
    pub(crate) fn meaning(&self, about: About) -> Meaning {
        let text = format!("{} {}", self.message, self.data).to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let fault = |kind| Meaning::Fault(kind, Hint::None);
        let range = || match about {
            About::Range(blocks) => Hint::Range(suggested(&text, blocks)),
            _ => Hint::Range(None),
        };
        let is_view = matches!(about, About::View | About::ViewByHash);
        // The order matters: "requested block range is pruned" is about history, "block range limit exceeded" is not about the
        // rate, and -32005 is the code of limits of both.
        if is_view && says(&REVERTED) {
            return Meaning::Reverted;
        }
        if says(&AHEAD) || is_ahead(&text) {
            return fault(FaultKind::Lagging);
        }
        if says(&PRUNED) || self.code == 4_444 {
            return Meaning::Fault(FaultKind::Pruned, Hint::Discarded);
        }
        if matches!(about, About::Range(_) | About::Batch) {
            // A node can refuse a range by one error for the batch that contains it.
            if text.contains("batch") {
                return Meaning::Fault(FaultKind::Server, Hint::Batch(None));
            }
            if says(&TOO_LARGE) {
                return Meaning::Fault(FaultKind::Server, range());
            }
        }
        if matches!(self.code, 15 | 429 | -32_005 | -32_007 | -32_012 | -32_016 | -32_029) || says(&RATE) {
            return Meaning::Fault(FaultKind::RateLimited, Hint::Doubt);
        }
        if says(&RIGHTS) {
            return fault(FaultKind::Refused);
        }
        if says(&LACKING) || lacks_named_block(&text) || self.code == -32_001 {
            return fault(FaultKind::Pruned);
        }
        match about {
            // 3 is geth's code of a revert.
            About::View | About::ViewByHash if self.code == 3 => Meaning::Reverted,
            About::Receipts | About::ViewByHash => Meaning::Fault(FaultKind::Server, Hint::Unserved),
            About::Range(_) if self.code == -32_601 => fault(FaultKind::Server),
            About::Range(_) => Meaning::Fault(FaultKind::Server, range()),
            About::Batch => Meaning::Fault(FaultKind::Server, Hint::Batch(None)),
            About::Single | About::View => fault(FaultKind::Server),
        }
    }
}

/// Whether a text of anvil's says that a block is above its head: it has the same words for blocks that it has discarded.
fn is_ahead(text: &str) -> bool {
    let Some((_, text)) = text.split_once("block height is ") else { return false };
    matches!(&numbers(text)[..], [height, requested, ..] if requested.value > height.value)
}

/// Whether a text of Erigon's says that it lacks the block that it names: `block 1f… not found`.
fn lacks_named_block(text: &str) -> bool {
    let named = text.split_once(" not found").and_then(|(before, _)| before.rsplit_once("block "));
    named.is_some_and(|(_, name)| {
        let digits = name.strip_prefix("0x").unwrap_or(name);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The number of blocks of the range that a text suggests: the first range in it that is smaller than the refused one.
fn suggested(text: &str, blocks: u64) -> Option<u64> {
    let numbers = numbers(text);
    let mut ranges = numbers.windows(2).filter_map(|pair| {
        let (from, to) = (&pair[0], &pair[1]);
        // `0x1-0x2`, `[0x1, 0x2]`, `1 to 2`, `0x1..-0x2`; without the blank a comma separates the digits of one number.
        let between = &text[from.end..to.start];
        let is_range = between == ", " || matches!(between.trim_matches([' ', '.']), "-" | "–" | "to");
        let found = to.value.checked_sub(from.value)?.checked_add(1)?;
        (is_range && found > 1 && found < blocks).then_some(found)
    });
    ranges.next()
}

/// A number in a text, and the place of its first and behind its last character.
struct Number {
    value: u64,
    start: usize,
    end: usize,
}

/// The numbers of a text, decimal or `0x` hexadecimal.
fn numbers(text: &str) -> Vec<Number> {
    let bytes = text.as_bytes();
    let (mut found, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        if !bytes[start].is_ascii_digit() {
            start += 1;
            continue;
        }
        let is_hex = bytes[start..].starts_with(b"0x");
        let digits = if is_hex { start + 2 } else { start };
        let is_digit = |byte: &u8| if is_hex { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
        let end = digits + bytes[digits..].iter().take_while(|byte| is_digit(byte)).count();
        // Digits are ASCII, so both places are boundaries of characters.
        if let Ok(value) = u64::from_str_radix(&text[digits..end], if is_hex { 16 } else { 10 }) {
            found.push(Number { value, start, end });
        }
        start = end;
    }
    found
}

// Parts of messages, in lower case.
const REVERTED: [&str; 7] = [
    "revert",
    "invalid opcode",
    "vm execution error",
    "vm exception",
    "out of gas",
    "stack underflow",
    "invalid jump",
];
const AHEAD: [&str; 11] = [
    "beyond current head",
    "beyond head",
    "beyond the head",
    "exceeds head",
    "exceeds the head",
    "invalid block range params",
    "after last accepted block",
    "unfinalized data",
    "future block",
    "greater than latest",
    "greater than the latest",
];
const PRUNED: [&str; 13] = [
    "prun",
    "missing trie node",
    "state not available",
    "state is not available",
    "state unavailable",
    "historical state",
    "historical backend",
    "history unavailable",
    "old data not available",
    "but data before",
    "no state available",
    "archive",
    // anvil's, for a block whose state it does not have.
    "blockoutofrange",
];
const TOO_LARGE: [&str; 16] = [
    "range",
    "result",
    "too large",
    "too big",
    "too many blocks",
    "too many logs",
    "blocks distance",
    "returned more than",
    "logs returned",
    "logs matched",
    "limit the query",
    "requested blocks",
    "response size",
    "smaller than size",
    "timed out",
    "timeout",
];
const RATE: [&str; 16] = [
    "rate limit",
    "rate-limit",
    "rate exceeded",
    "too many request",
    "request limit",
    "request count exceeded",
    "requests per second",
    "calls per second",
    "compute units",
    "capacity",
    "throughput",
    "throttl",
    "credits limited",
    "quota",
    "limit exceeded",
    "too much load",
];
const RIGHTS: [&str; 12] = [
    "unauthorized",
    "unauthorised",
    "forbidden",
    "authenticat",
    "api key",
    "apikey",
    "access key",
    "project id",
    "token is invalid",
    "not whitelisted",
    "payment required",
    "not allowed to access",
];
const LACKING: [&str; 10] = [
    "unknown block",
    "header not found",
    "header for hash not found",
    "block not found",
    "block does not exist",
    "blocknotfound",
    "could not find block",
    "cannot find block",
    "no such block",
    "not available on your current plan",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(code: i64, message: &str, about: About) -> Meaning {
        ErrorBody { code, message: message.to_owned(), data: String::new() }.meaning(about)
    }

    #[test]
    fn a_range_is_refused_by_any_error_that_is_about_nothing_else() {
        for (code, message) in [
            (-32_005, "query returned more than 10000 results"),
            (-32_005, "Requested range exceeds maximum RPC range limit"),
            (-32_602, "invalid params"),
            (-32_000, "ranges over 10000 blocks are not supported on freetier"),
            (77, "entirely unknown"),
        ] {
            let found = meaning(code, message, About::Range(2_000));
            assert_eq!(found, Meaning::Fault(FaultKind::Server, Hint::Range(None)), "{message}");
        }
        for (code, message, kind) in [
            (-32_602, "block range extends beyond current head block", FaultKind::Lagging),
            (-32_602, "invalid block range params", FaultKind::Lagging),
            (-32_000, "Unauthorized: You must authenticate", FaultKind::Refused),
            (-32_000, "header not found", FaultKind::Pruned),
            (-32_602, "BlockOutOfRangeError: block height is 42 but requested was 43", FaultKind::Lagging),
        ] {
            let found = meaning(code, message, About::Range(2_000));
            assert_eq!(found, Meaning::Fault(kind, Hint::None), "{message}");
        }
        let pruned = Meaning::Fault(FaultKind::Pruned, Hint::Discarded);
        for message in
            ["pruned history unavailable", "BlockOutOfRangeError: block height is 9000 but requested was 43"]
        {
            assert_eq!(meaning(4_444, message, About::Range(2_000)), pruned, "{message}");
        }
        let limited = Meaning::Fault(FaultKind::RateLimited, Hint::Doubt);
        for (code, message) in [(-32_005, "limit exceeded"), (-32_012, "credits limited to 6000/sec")] {
            assert_eq!(meaning(code, message, About::Range(2_000)), limited, "{message}");
        }
    }

    #[test]
    fn only_a_revert_ends_a_question() {
        assert_eq!(meaning(3, "execution reverted", About::View), Meaning::Reverted);
        assert_eq!(meaning(-32_015, "VM execution error.", About::View), Meaning::Reverted);
        for about in [About::Single, About::View] {
            for (code, message) in [
                (-32_600, "invalid request"),
                (-32_601, "the method eth_call does not exist/is not available"),
                (-32_602, "invalid params"),
                (-32_603, "internal error"),
            ] {
                let found = meaning(code, message, about);
                assert_eq!(found, Meaning::Fault(FaultKind::Server, Hint::None), "{message}");
            }
        }
        assert_eq!(meaning(3, "revert", About::Single), Meaning::Fault(FaultKind::Server, Hint::None));
        let unknown = meaning(3, "Unknown block", About::View);
        assert_eq!(unknown, Meaning::Fault(FaultKind::Pruned, Hint::None));
    }

    #[test]
    fn a_node_that_lacks_a_block_serves_other_blocks_by_their_hashes() {
        for (code, message) in [
            (-32_000, "header not found"),
            (-32_000, "header for hash not found"),
            (-32_001, "Resource not found"),
            (-32_000, "block 7e9b85d2c0 not found"),
            (-32_000, "block 0x7e9b85d2c0 not found"),
        ] {
            let found = meaning(code, message, About::ViewByHash);
            assert_eq!(found, Meaning::Fault(FaultKind::Pruned, Hint::None), "{message}");
        }
        for (code, message) in
            [(-32_601, "method eth_call not found"), (-32_602, "block parameter not found")]
        {
            let found = meaning(code, message, About::ViewByHash);
            assert_eq!(found, Meaning::Fault(FaultKind::Server, Hint::Unserved), "{message}");
        }
    }

    #[test]
    fn a_suggested_range_is_found_in_its_forms() {
        for (text, blocks) in [
            ("this block range should work: [0x7e9b85, 0x7e9d78]", Some(500)),
            ("retry with the range 6000000-6000509", Some(510)),
            ("retry with the range 0x10-0x1f", Some(16)),
            ("retry with the range 100 to 199", Some(100)),
            // The refused range itself, a plan's limits, and other numbers suggest nothing.
            ("retry with the range 25766988-25775072", None),
            ("exceeds the range allowed for your plan (49999 > 2000)", None),
            ("range 1000000 exceeds limit of 10000", None),
            ("eth_getLogs is limited to a 1,024 block range", None),
            ("is limited to 0 - 0 blocks", None),
            ("99999999999999999999-1, 0x-0x", None),
            ("€ 5 … 0x", None),
        ] {
            assert_eq!(suggested(text, 2_000), blocks, "{text}");
        }
    }
}
