//! The producers' keys: names, TTLs, and the forms in which addresses and ids are written.

/// The protocol-state contract: in EIP-55 checksum form, in lower case, and without `0x`.
pub const PROTOCOL: [&str; 3] = [
    "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF",
    "0xe88e5f64aeb483d7057645326addfa24a3b312df",
    "e88e5f64aeb483d7057645326addfa24a3b312df",
];
/// The data market, in the same forms.
pub const MARKET: [&str; 3] = [
    "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c",
    "0x0c2e22fe7526faef28e7a58c84f8723defce200c",
    "0c2e22fe7526faef28e7a58c84f8723defce200c",
];
/// The form of outputs.
pub const CHECKSUM: usize = 0;
/// The id of this validator.
pub const OWN: &str = "validator1";
/// All validators; some ids contain separators.
pub const VALIDATORS: [&str; 5] = [OWN, "validator2", "validator:3", "validator-4", "12D3KooW5"];

/// Seconds of an hour.
pub const HOUR: i64 = 3600;
/// Seconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// A key of the market's producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `submissionQueue`
    Queue,
    /// `epochs:active`
    Active,
    /// `metrics:epochs:timeline`
    Epochs,
    /// `metrics:batches:timeline`
    Batches,
    /// `metrics:submissions:timeline`
    Submissions,
    /// `metrics:validations:timeline`
    Validations,
    /// `metrics:validator:V:batches`
    BatchesOf(&'static str),
    /// `vpa:stats`
    VpaStats,
    /// `vpa:priority:timeline`
    VpaPriority,
    /// `vpa:submission:timeline`
    VpaSubmission,
    /// `epoch:E:validators`
    Validators(u64),
    /// `epoch:E:submissions:ids`
    Ids(u64),
    /// `epoch:E:processed`
    Processed(u64),
    /// `epoch:E:state`
    State(u64),
    /// `metrics:epoch:E:info`
    Info(u64),
    /// `metrics:batch:local:E`
    Local(u64),
    /// `metrics:batch:aggregated:E`
    Aggregated(u64),
    /// `metrics:batch:E:validators`
    Named(u64),
}

/// How many kinds of keys there are.
pub(crate) const KINDS: usize = 18;

impl Key {
    /// Its kind: a producer spells all keys of one kind in the same way.
    #[must_use]
    pub fn kind(self) -> usize {
        match self {
            Self::Queue => 0,
            Self::Active => 1,
            Self::Epochs => 2,
            Self::Batches => 3,
            Self::Submissions => 4,
            Self::Validations => 5,
            Self::BatchesOf(_) => 6,
            Self::VpaStats => 7,
            Self::VpaPriority => 8,
            Self::VpaSubmission => 9,
            Self::Validators(_) => 10,
            Self::Ids(_) => 11,
            Self::Processed(_) => 12,
            Self::State(_) => 13,
            Self::Info(_) => 14,
            Self::Local(_) => 15,
            Self::Aggregated(_) => 16,
            Self::Named(_) => 17,
        }
    }

    /// Its name behind `P:M:`, with the epoch's id in this form.
    #[must_use]
    pub fn rest(self, id: &str) -> String {
        match self {
            Self::Queue => "submissionQueue".to_owned(),
            Self::Active => "epochs:active".to_owned(),
            Self::Epochs => "metrics:epochs:timeline".to_owned(),
            Self::Batches => "metrics:batches:timeline".to_owned(),
            Self::Submissions => "metrics:submissions:timeline".to_owned(),
            Self::Validations => "metrics:validations:timeline".to_owned(),
            Self::BatchesOf(validator) => format!("metrics:validator:{validator}:batches"),
            Self::VpaStats => "vpa:stats".to_owned(),
            Self::VpaPriority => "vpa:priority:timeline".to_owned(),
            Self::VpaSubmission => "vpa:submission:timeline".to_owned(),
            Self::Validators(_) => format!("epoch:{id}:validators"),
            Self::Ids(_) => format!("epoch:{id}:submissions:ids"),
            Self::Processed(_) => format!("epoch:{id}:processed"),
            Self::State(_) => format!("epoch:{id}:state"),
            Self::Info(_) => format!("metrics:epoch:{id}:info"),
            Self::Local(_) => format!("metrics:batch:local:{id}"),
            Self::Aggregated(_) => format!("metrics:batch:aggregated:{id}"),
            Self::Named(_) => format!("metrics:batch:{id}:validators"),
        }
    }

    /// The TTL that its producers set with each write, in seconds.
    #[must_use]
    pub fn ttl(self) -> Option<i64> {
        match self {
            Self::Processed(_) => Some(HOUR),
            Self::Validators(_) | Self::Ids(_) | Self::Info(_) => Some(2 * HOUR),
            Self::Active | Self::Local(_) | Self::Aggregated(_) | Self::Named(_) => Some(DAY),
            Self::State(_) | Self::VpaStats => Some(7 * DAY),
            _ => None,
        }
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(self) -> Option<u64> {
        match self {
            Self::Validators(epoch)
            | Self::Ids(epoch)
            | Self::Processed(epoch)
            | Self::State(epoch)
            | Self::Info(epoch)
            | Self::Local(epoch)
            | Self::Aggregated(epoch)
            | Self::Named(epoch) => Some(epoch),
            _ => None,
        }
    }
}

/// The full name of a key in one spelling of the addresses.
#[must_use]
pub fn full(spelling: usize, rest: &str) -> String {
    format!("{}:{}:{rest}", PROTOCOL[spelling], MARKET[spelling])
}

/// An id in scientific notation, as a producer writes it that keeps ids in floating-point numbers.
#[must_use]
pub(crate) fn scientific(epoch: u64) -> String {
    let text = format!("{:e}", epoch as f64);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{mantissa}e+{exponent:0>2}")
}

/// The integer that an id stands for; `None` when the text is no id.
#[must_use]
pub(crate) fn id(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (mantissa, exponent) = text.split_once("e+")?;
    if mantissa.is_empty() || !mantissa.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = exponent.parse::<usize>().ok()?.checked_sub(fraction.len())?;
    format!("{whole}{fraction}{}", "0".repeat(zeros)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_scientific_notation_is_the_same_integer() {
        for epoch in [1, 10, 7_300_000, 22_999_990, 23_000_000, 23_000_001] {
            assert_eq!(id(&scientific(epoch)), Some(epoch), "{}", scientific(epoch));
            assert_eq!(id(&epoch.to_string()), Some(epoch));
        }
        for text in ["", "abc", "-1", "1.5", "e+07", "2.35e+01"] {
            assert_eq!(id(text), None, "{text}");
        }
    }
}
