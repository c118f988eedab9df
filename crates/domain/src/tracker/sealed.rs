//! Sealed epochs: the entry as it was counted, and beside it what became known later.

use crate::tracker::{BadEntry, Entry};

/// Separates the two parts of the stored form.
const BESIDE: char = ';';

/// An epoch that was sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// The entry as it was counted. It never changes, so that the numbers of a past hour don't either.
    pub counted: Entry,
    /// All that is known of it, if that is more than what was counted.
    pub late: Option<Entry>,
}

impl Sealed {
    /// All that is known of it.
    #[must_use]
    pub fn known(&self) -> &Entry {
        self.late.as_ref().unwrap_or(&self.counted)
    }

    /// The stored form: the counted entry, and behind a `;` what became known later.
    #[must_use]
    pub fn encode(&self) -> String {
        let late = self.late.as_ref().map_or_else(String::new, |late| format!("{BESIDE}{}", late.encode()));
        self.counted.encode() + &late
    }

    /// Reads what [`Sealed::encode`] wrote.
    ///
    /// # Errors
    /// [`BadEntry`] for any other text.
    pub fn decode(text: &str) -> Result<Self, BadEntry> {
        let (counted, late) = match text.split_once(BESIDE) {
            // An entry contains no `;`, so a third part is an error of the second one.
            Some((counted, late)) => (counted, Some(Entry::decode(late)?)),
            None => (text, None),
        };
        Ok(Self { counted: Entry::decode(counted)?, late })
    }
}

impl From<Entry> for Sealed {
    fn from(counted: Entry) -> Self {
        Self { counted, late: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Moment;

    #[test]
    fn what_was_counted_and_what_was_late_are_read_back_as_they_were_written() {
        let counted = Entry { seen: 900, opened: Moment::At(900), submissions: 3, ..Entry::default() };
        let late = Entry { submissions: 5, local: Moment::At(950), ..counted.clone() };
        for late in [None, Some(late)] {
            let sealed = Sealed { counted: counted.clone(), late };
            assert_eq!(Sealed::decode(&sealed.encode()), Ok(sealed));
        }
        assert_eq!(Sealed::decode(&counted.encode()), Ok(counted.clone().into()));
        let entry = counted.encode();
        for text in [format!("{entry};"), format!(";{entry}"), format!("{entry};{entry};{entry}")] {
            assert!(Sealed::decode(&text).is_err(), "{text}");
        }
    }
}
