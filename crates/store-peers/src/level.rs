//! The levels of detail: raw samples, minutes, hours.
//!
//! The key of a row is (chunk, series, time within the chunk). A chunk is a length of time in which the rows of a series
//! are neighbours: a range of one series is read in a few places, and what is too old is one place, whatever the number of
//! series.

/// A level of detail, the finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Each sample.
    Raw,
    /// One row a series and minute.
    Minutes,
    /// One row a series and hour.
    Hours,
}

impl Level {
    /// All levels, the finest first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Minutes, Self::Hours];

    /// The name of its table.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        }
    }

    /// The seconds of the shortest step that it can answer with.
    #[must_use]
    pub const fn bucket(self) -> i64 {
        match self {
            Self::Raw => 1,
            Self::Minutes => 60,
            Self::Hours => 3_600,
        }
    }

    /// The seconds whose samples one row has: those of a raw row are listed in it.
    #[must_use]
    pub const fn row(self) -> i64 {
        match self {
            Self::Raw => 60,
            Self::Minutes | Self::Hours => self.bucket(),
        }
    }

    /// The seconds of a chunk.
    #[must_use]
    pub const fn chunk(self) -> i64 {
        match self {
            Self::Raw => 600,
            Self::Minutes => 6 * 3_600,
            Self::Hours => 30 * 86_400,
        }
    }

    /// The name under which the start of what is still kept is noted.
    pub(crate) const fn kept(self) -> &'static str {
        match self {
            Self::Raw => "kept_raw",
            Self::Minutes => "kept_minutes",
            Self::Hours => "kept_hours",
        }
    }

    /// Chunk and row within it of a time.
    pub(crate) const fn place(self, timestamp: i64) -> (i64, i64) {
        let chunk = timestamp.div_euclid(self.chunk());
        (chunk, timestamp.rem_euclid(self.chunk()) / self.row())
    }

    /// The time at which a row starts.
    pub(crate) const fn time(self, chunk: i64, at: i64) -> i64 {
        chunk * self.chunk() + at * self.row()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_and_its_time_agree() {
        for level in Level::ALL {
            assert_eq!(level.chunk() % level.row(), 0);
            for timestamp in [0, 59, 60, 1_700_000_123, crate::LATEST] {
                let (chunk, at) = level.place(timestamp);
                assert_eq!(level.time(chunk, at), timestamp - timestamp % level.row());
            }
        }
    }
}
