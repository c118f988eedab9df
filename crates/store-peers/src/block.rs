//! How the raw samples of a series are kept: those of a minute in one row, as text that people and SQL can read.
//!
//! A row a sample takes as much room, and longer to write. A row of more than about 1,000 bytes takes a page of its own, so it is
//! no longer than a minute. The text is a list of JSON arrays without its brackets, `[offset, seconds, work, declared]`, so that a
//! later sample is put at its end; `offset` is in seconds from the start of the row, and what is missing is `null` or left out at
//! the end.

use std::fmt::Write;

/// Adds a sample to a block.
pub(crate) fn push(
    block: &mut String,
    offset: i64,
    seconds: f64,
    work: Option<f64>,
    declared_hs: Option<f64>,
) {
    if !block.is_empty() {
        block.push(',');
    }
    // Writing into a text can't fail.
    let _ = write!(block, "[{offset},");
    number(block, Some(seconds));
    block.push(',');
    number(block, work);
    if declared_hs.is_some() {
        block.push(',');
        number(block, declared_hs);
    }
    block.push(']');
}

/// The shortest text that is read as the same number.
fn number(block: &mut String, number: Option<f64>) {
    let Some(number) = number else {
        block.push_str("null");
        return;
    };
    let _ = write!(block, "{number:?}");
    if block.ends_with(".0") {
        block.truncate(block.len() - 2);
    }
}

/// A sample of a block: offset, seconds, work, declared hashrate.
pub(crate) type Read = (i64, f64, Option<f64>, Option<f64>);

/// The samples of a block. One that can't be read, as after a hand was in the file, is left out.
pub(crate) fn samples(block: &str) -> impl Iterator<Item = Read> + '_ {
    let inner = block.strip_prefix('[').and_then(|block| block.strip_suffix(']')).unwrap_or_default();
    inner.split("],[").filter_map(|sample| {
        let mut parts = sample.split(',');
        let offset = parts.next()?.parse().ok()?;
        let mut number = || parts.next().and_then(|part| part.parse::<f64>().ok());
        let seconds = number().filter(|seconds| *seconds > 0.0)?;
        Some((offset, seconds, number(), number()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_reads_as_it_was_written(
            all in prop::collection::vec(
                (0..120_i64, 0.001..86_400.0_f64, prop::option::of(0.0..1e30_f64), prop::option::of(0.0..1e-5_f64)), 0..20)
        ) {
            let mut block = String::new();
            for (offset, seconds, work, declared_hs) in &all {
                push(&mut block, *offset, *seconds, *work, *declared_hs);
            }
            prop_assert_eq!(samples(&block).collect::<Vec<_>>(), all);
        }

        #[test]
        fn a_damaged_block_is_no_panic(block in "[\\[\\],0-9e.nul-]{0,40}") {
            for (_, seconds, ..) in samples(&block) {
                prop_assert!(seconds > 0.0);
            }
        }
    }

    #[test]
    fn a_block_is_short_and_is_json() {
        let mut block = String::new();
        push(&mut block, 115, 5.0, Some(8_192.0), None);
        push(&mut block, 119, 4.5, None, Some(1e29));
        assert_eq!(block, "[115,5,8192],[119,4.5,null,1e29]");
    }
}
