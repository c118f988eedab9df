//! Numbers of datasets in the forms that readers expect, and seconds as producers write them.

use serde_json::Value;

/// A number in a dataset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Count(u64),
    /// A rate, a share or a duration.
    Real(f64),
}

impl Number {
    /// As JSON. A real number without a fraction is written as an integer, as the original did; one that is
    /// not finite can't be written and is null.
    #[must_use]
    pub fn to_json(self) -> Value {
        match self {
            Self::Count(count) => Value::from(count),
            // By way of the text: Rust writes 30.0 as `30`, serde_json alone would write `30.0`, and readers expect
            // integers without a fraction.
            Self::Real(real) => serde_json::from_str(&self.to_text()).unwrap_or_else(|_| Value::from(real)),
        }
    }

    /// Reads what [`Number::to_json`] wrote; `None` for null and for anything else.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        // A rate of 30 was written as `30` and comes back as a count; its text is the same.
        value.as_u64().map(Self::Count).or_else(|| value.as_f64().map(Self::Real))
    }

    /// As the text of a hash field.
    #[must_use]
    pub fn to_text(self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Real(real) => real.to_string(),
        }
    }
}

/// Seconds as a producer wrote them: a decimal number, not negative. `None` for anything else, NaN and
/// infinity included.
#[must_use]
pub fn parse_seconds(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_readers_want_them() {
        for (number, json) in [
            (Number::Count(u64::MAX), "18446744073709551615"),
            (Number::Real(0.0), "0"),
            (Number::Real(30.0), "30"),
            (Number::Real(0.066_664_119_108), "0.066664119108"),
            (Number::Real(f64::NAN), "null"),
            (Number::Real(f64::INFINITY), "null"),
        ] {
            assert_eq!(number.to_json().to_string(), json);
            let read = Number::from_json(&number.to_json());
            assert_eq!(read.map(|read| read.to_text()), (json != "null").then(|| json.to_owned()));
        }
    }

    #[test]
    fn the_text_of_a_number_is_that_of_its_json() {
        for number in [Number::Count(7), Number::Real(30.0), Number::Real(0.5)] {
            assert_eq!(number.to_text(), number.to_json().to_string());
        }
    }

    #[test]
    fn odd_durations_are_no_numbers() {
        assert_eq!(parse_seconds("20"), Some(20.0));
        assert_eq!(parse_seconds("20.5"), Some(20.5));
        for text in ["NaN", "inf", "-inf", "-1", "", "1m", "0x1p5"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
    }
}
