//! The result of reading a key.

/// The result of reading a key. A missing key may count as empty; a key that can't be read may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading<T> {
    /// There is no such key.
    #[default]
    Absent,
    /// It can't be read: another type, an error, no JSON.
    Unreadable,
    /// Its value.
    Value(T),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Whether there is a value.
    #[must_use]
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Value(_))
    }

    /// Whether the key can't be read.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable)
    }

    /// The same key under another name: the first value counts, and what can't be read is not taken for absent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Value(_), _) | (Self::Unreadable, Self::Absent) => self,
            _ => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_names_of_a_key_the_first_value_counts_and_the_unreadable_is_not_absent() {
        use Reading::{Absent, Unreadable, Value};
        for (one, other, both) in [
            (Value(1), Value(2), Value(1)),
            (Absent, Value(2), Value(2)),
            (Unreadable, Value(2), Value(2)),
            (Value(1), Unreadable, Value(1)),
            (Unreadable, Absent, Unreadable),
            (Absent, Unreadable, Unreadable),
            (Absent, Absent, Absent),
        ] {
            assert_eq!(one.or(other), both);
        }
        assert_eq!((Value(1).value(), Reading::<u8>::Unreadable.value()), (Some(&1), None));
    }
}
