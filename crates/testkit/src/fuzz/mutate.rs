//! Makes new inputs of old ones: of bytes, and of the words, numbers and brackets that texts and JSON consist of. Pure.

use super::LARGEST;
use crate::Dice;

/// Bytes and texts at which parsers differ from what their authors had in mind.
const ODD: &[&[u8]] = &[
    b"",
    b"0",
    b"-1",
    b"-0",
    b"1e308",
    b"1e-400",
    b"1e400",
    b"0.1",
    b"4294967296",
    b"9007199254740993",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"340282366920938463463374607431768211456",
    b"+1",
    b"01",
    b"0x",
    b"0xffffffffffffffff",
    b"0x10000000000000000",
    b"NaN",
    b"inf",
    b"null",
    b"true",
    b"\"\"",
    b"[]",
    b"{}",
    b"[[",
    b"{\"\":",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\xff",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "\u{2028}".as_bytes(),
    "é".as_bytes(),
    "😀".as_bytes(),
    b",",
    b":",
    b"'",
    b"\"",
    b"://",
    b"@",
    b"%",
    b"%00",
];

/// Bytes that are repeated to nest an input.
const NESTING: &[u8] = b"[{(\"\\,: -0";

/// Makes inputs of a corpus.
#[derive(Debug)]
pub(super) struct Mutator {
    inputs: Vec<Vec<u8>>,
    /// The words of all inputs of the kept corpus.
    words: Vec<Vec<u8>>,
}

impl Mutator {
    pub(super) fn new(inputs: &[(String, Vec<u8>)]) -> Self {
        let inputs: Vec<Vec<u8>> = inputs.iter().map(|(_, input)| input.clone()).collect();
        let mut words: Vec<Vec<u8>> =
            inputs.iter().flat_map(|input| tokens(input)).map(<[u8]>::to_vec).collect();
        words.sort();
        words.dedup();
        Self { inputs, words }
    }

    /// Adds an input to those that new ones are made of.
    pub(super) fn keep(&mut self, input: Vec<u8>) {
        self.inputs.push(input);
    }

    pub(super) fn next(&self, dice: &mut Dice) -> Vec<u8> {
        let input = pick(dice, &self.inputs).cloned().unwrap_or_default();
        self.changed(&input, dice)
    }

    /// An input that is made of this one.
    pub(super) fn changed(&self, input: &[u8], dice: &mut Dice) -> Vec<u8> {
        let mut input = input.to_vec();
        // Mostly one step: many steps leave nothing that the parser accepts.
        for _ in 0..=[0, 0, 0, 1, 3, 8][index(dice, 6)] {
            self.step(&mut input, dice);
        }
        input.truncate(LARGEST);
        input
    }

    fn step(&self, input: &mut Vec<u8>, dice: &mut Dice) {
        let (begin, end) = range(input, dice);
        match dice.roll(11) {
            0 => {
                if let Some(byte) = input.get_mut(begin) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            1 => {
                input.drain(begin..end);
            }
            2 => input.truncate(begin),
            3 => {
                let part = input[begin..end].to_vec();
                input.splice(begin..begin, part);
            }
            4 => {
                let word = self.word(dice);
                input.splice(begin..begin, word);
            }
            // A whole word or number for another one.
            5..=7 => {
                let Some((begin, end)) = token(input, dice) else { return };
                let word = self.word(dice);
                input.splice(begin..end, word);
            }
            8 => {
                let other = pick(dice, &self.inputs).cloned().unwrap_or_default();
                let (from, to) = range(&other, dice);
                input.splice(begin..end, other[from..to].iter().copied());
            }
            9 => {
                let (byte, times) = (NESTING[index(dice, NESTING.len())], 1 << dice.roll(16));
                input.splice(begin..begin, std::iter::repeat_n(byte, times));
            }
            // The same part again and again: a list with many items, a long name.
            _ => {
                let part = input[begin..end].to_vec();
                let times = 1 << dice.roll(10);
                let times = times.min(LARGEST / part.len().max(1));
                input.splice(begin..begin, part.repeat(times));
            }
        }
    }

    fn word(&self, dice: &mut Dice) -> Vec<u8> {
        match dice.roll(3) {
            0 => pick(dice, &self.words).cloned().unwrap_or_default(),
            1 => ODD[index(dice, ODD.len())].to_vec(),
            _ => (dice.roll(u64::MAX) >> dice.roll(64)).to_string().into_bytes(),
        }
    }
}

/// The words, numbers and quoted texts of an input.
fn tokens(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let joins =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') || *byte >= 0x80;
    input
        .chunk_by(move |one, next| joins(one) == joins(next))
        .filter(move |part| part.first().is_some_and(joins))
}

/// The place of one of the words of an input.
fn token(input: &[u8], dice: &mut Dice) -> Option<(usize, usize)> {
    let count = tokens(input).count();
    let token = tokens(input).nth(index(dice, count))?;
    let begin = token.as_ptr().addr() - input.as_ptr().addr();
    Some((begin, begin + token.len()))
}

/// Two places of an input, in order. Mostly near each other.
fn range(input: &[u8], dice: &mut Dice) -> (usize, usize) {
    let begin = index(dice, input.len() + 1);
    let most = if dice.roll(4) == 0 { input.len() } else { 16 };
    (begin, input.len().min(begin + index(dice, most + 1)))
}

fn pick<'a, T>(dice: &mut Dice, all: &'a [T]) -> Option<&'a T> {
    all.get(index(dice, all.len()))
}

/// A number below `sides`, or 0.
fn index(dice: &mut Dice, sides: usize) -> usize {
    usize::try_from(dice.roll(u64::try_from(sides.max(1)).unwrap_or(1))).unwrap_or_default()
}
