//! Sealed epochs: what was counted of them stays as it was, what became known later is kept beside it.

use crate::tracker::{BadEntry, Entry};

/// What stands between the two parts of the stored form.
const BESIDE: char = ';';

/// An epoch that was sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// What was counted. It never changes again, so that an hour shows the same for ever.
    pub counted: Entry,
    /// All that is known of it, where more than that became known.
    pub late: Option<Entry>,
}

impl Sealed {
    /// All that is known of it.
    #[must_use]
    pub fn known(&self) -> &Entry {
        self.late.as_ref().unwrap_or(&self.counted)
    }

    /// As it is stored: that of an epoch that nothing was late for is the entry itself.
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

    #[test]
    fn what_was_counted_and_what_was_late_are_read_back_as_they_were_written() {
        let counted = Entry { seen: 900, opened: Some(900), submissions: 3, ..Entry::default() };
        let late = Entry { submissions: 5, local: Some(950), ..counted.clone() };
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
