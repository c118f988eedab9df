//! The first block to read, as configurations name it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The first block to read without a checkpoint: `latest`, `latest - N`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StartBlock {
    /// A number of blocks before the newest one.
    Latest {
        /// The number of blocks.
        back: u64,
    },
    /// The block of this number.
    Number(u64),
}

/// A text that is no start block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no block to begin with: give `latest`, `latest - 1000`, or a block's number")]
pub struct BadStartBlock {
    text: String,
}

impl FromStr for StartBlock {
    type Err = BadStartBlock;
    fn from_str(text: &str) -> Result<Self, BadStartBlock> {
        // `parse` would accept a leading `+`.
        let number = |text: &str| {
            let digits = text.trim();
            digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let found = match text.trim().strip_prefix("latest") {
            Some("") => Some(Self::Latest { back: 0 }),
            Some(rest) => rest.trim().strip_prefix('-').and_then(number).map(|back| Self::Latest { back }),
            None => number(text).map(Self::Number),
        };
        // Cut, since a wrong value may be of any length.
        found.ok_or_else(|| BadStartBlock { text: text.chars().take(100).collect() })
    }
}

impl TryFrom<String> for StartBlock {
    type Error = BadStartBlock;
    fn try_from(text: String) -> Result<Self, BadStartBlock> {
        text.parse()
    }
}

impl StartBlock {
    /// The number of the start block, given that of the newest block.
    #[must_use]
    pub fn number(self, head: u64) -> u64 {
        match self {
            Self::Latest { back } => head.saturating_sub(back),
            Self::Number(number) => number,
        }
    }
}

impl fmt::Display for StartBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest { back: 0 } => f.write_str("latest"),
            Self::Latest { back } => write!(f, "latest - {back}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl From<StartBlock> for String {
    fn from(start: StartBlock) -> Self {
        start.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_block_is_latest_some_blocks_before_it_or_a_number() {
        for (text, start) in [
            ("latest", StartBlock::Latest { back: 0 }),
            (" latest - 1000 ", StartBlock::Latest { back: 1_000 }),
            ("latest-7", StartBlock::Latest { back: 7 }),
            ("0", StartBlock::Number(0)),
            ("18446744073709551615", StartBlock::Number(u64::MAX)),
        ] {
            assert_eq!(text.parse(), Ok(start), "{text}");
            assert_eq!(start.to_string().parse(), Ok(start), "{text}");
        }
        for text in
            ["", "newest", "latest + 3", "latest -", "latest - -3", "-1", "+1", "0x10", "1.5", "latest3"]
        {
            assert!(text.parse::<StartBlock>().is_err(), "{text}");
        }
    }
}
