//! Epoch ids.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

/// The most digits that an epoch id may have. Chains use at most 78 (256 bits).
const MAX_DIGITS: usize = 96;

/// The most bytes of a text that names an epoch. Leading zeros would allow any length, and the text becomes a part of key names.
const MAX_TEXT: usize = 128;

/// An epoch id: a non-negative integer of any size as a decimal string, ordered as a number. An id that some
/// producer wrote in scientific notation is normalised.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EpochId(Box<str>);

/// A text that is not an epoch id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an epoch id: expected a whole number of at most {MAX_DIGITS} digits, in at most {MAX_TEXT} bytes; \
     2.3e+07 is allowed"
)]
pub struct BadEpoch(pub String);

impl EpochId {
    /// Reads an id, in decimal or in any scientific form that is a whole number.
    ///
    /// # Errors
    /// [`BadEpoch`], with at most the first 100 characters of the text.
    pub fn parse(text: &str) -> Result<Self, BadEpoch> {
        let bad = || BadEpoch(text.chars().take(100).collect());
        if text.len() > MAX_TEXT {
            return Err(bad());
        }
        // Not `str::parse`, which accepts `+1`, and not `char::is_numeric`, which accepts digits of other scripts: an
        // epoch must not have two ids.
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let digits =
            if is_digits(text) { text.to_owned() } else { expand(text, is_digits).ok_or_else(bad)? };
        // `007` and `7` must be one id; the order below relies on it too.
        let digits = digits.trim_start_matches('0');
        match digits.len() {
            0 => Ok(Self("0".into())),
            1..=MAX_DIGITS => Ok(Self(digits.into())),
            _ => Err(bad()),
        }
    }

    /// The decimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which producers write ids that they hold as floating-point numbers: `2.3000001e+07` for 23000001.
    #[must_use]
    pub fn scientific(&self) -> String {
        let exponent = self.0.len().saturating_sub(1);
        let (first, rest) = self.0.split_at(1.min(self.0.len()));
        let rest = rest.trim_end_matches('0');
        let point = if rest.is_empty() { "" } else { "." };
        format!("{first}{point}{rest}e+{exponent:02}")
    }
}

/// `2.3e+07` → `23000000`; `None` for another form, and for a number that is not whole.
fn expand(text: &str, is_digits: impl Fn(&str) -> bool) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
    if !is_digits(exponent) || exponent.len() > 4 {
        return None;
    }
    let exponent: usize = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let zeros = exponent.checked_sub(fraction.len())?;
    // The exponent comes from outside: `1e9999` must not allocate that many zeros.
    if zeros > MAX_DIGITS {
        return None;
    }
    Some(format!("{whole}{fraction}{}", "0".repeat(zeros)))
}

impl AsRef<str> for EpochId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EpochId {
    type Error = BadEpoch;

    fn try_from(text: String) -> Result<Self, BadEpoch> {
        Self::parse(&text)
    }
}

impl From<EpochId> for String {
    fn from(epoch: EpochId) -> Self {
        epoch.0.into()
    }
}

impl Ord for EpochId {
    fn cmp(&self, other: &Self) -> Ordering {
        // Ids have no leading zeros, so the longer one is larger.
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for EpochId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_one_scientific_form_which_is_read_as_the_same_id() {
        for (id, form) in [
            ("0", "0e+00"),
            ("7", "7e+00"),
            ("10", "1e+01"),
            ("23000000", "2.3e+07"),
            ("23000001", "2.3000001e+07"),
            ("10000000000000000000000", "1e+22"),
        ] {
            let epoch = EpochId::parse(id).expect(id);
            assert_eq!((epoch.scientific(), EpochId::parse(form)), (form.to_owned(), Ok(epoch)));
        }
    }

    #[test]
    fn scientific_notation_is_normalised() {
        for (text, id) in [
            ("2.3e+07", "23000000"),
            ("2.3000001e+07", "23000001"),
            ("2.3E7", "23000000"),
            ("1e0", "1"),
            ("5.0e00", "5"),
            ("007", "7"),
            ("0", "0"),
            ("1e0001", "10"),
            ("0e96", "0"),
        ] {
            let epoch = EpochId::parse(text).expect(text);
            assert_eq!((epoch.as_str(), epoch.as_ref()), (id, id));
            assert_eq!(
                (epoch.to_string(), format!("{epoch:?}"), String::from(epoch)),
                (id.into(), id.into(), id.into())
            );
        }
    }

    #[test]
    fn what_names_no_whole_number_is_refused() {
        for text in [
            "", "-1", "+1", "1.5", "2.35e1", "123e", "e5", "1e-3", ".5e1", "1e99999", "<1&2>", "٣", " 1",
            "1e+", "1e++5", "1e00001", "0e97",
        ] {
            assert!(EpochId::parse(text).is_err(), "{text}");
        }
        assert!(EpochId::parse(&"9".repeat(97)).is_err());
        assert!(EpochId::parse(&"9".repeat(80)).is_ok());
        assert!(EpochId::parse(&format!("{:0>128}", 7)).is_ok());
        assert!(EpochId::parse(&format!("{:0>129}", 7)).is_err(), "longer than any form of an id");
    }

    proptest! {
        #[test]
        fn ids_are_ordered_as_numbers(a: u128, b: u128) {
            let id = |number: u128| EpochId::parse(&number.to_string()).expect("a number");
            prop_assert_eq!(id(a).cmp(&id(b)), a.cmp(&b));
        }

        #[test]
        fn an_id_written_in_scientific_notation_is_the_same_id(number in 1_u64..=9_007_199_254_740_991) {
            let id = EpochId::parse(&format!("{:e}", number)).expect("Rust's own form");
            prop_assert_eq!(id.as_str(), number.to_string());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = EpochId::parse(&text);
        }
    }
}
