//! How a sender misbehaves, by name. Pure: what it does in a round follows from the number of the round and the dice.

use super::lie::{LIES, leaps, years_off};
use crate::Dice;

/// A sender that dies lives for so many rounds.
const LIVES: u64 = 6;
/// It is dead for so many.
const DEAD: u64 = 4;
/// The bytes of a flood in a round, at most; a picture that is larger is sent once.
const FLOOD: usize = 1 << 20;
/// The lines of a flood in a round, at most.
const FLOOD_LINES: usize = 1_000;
/// The bytes of a line without an end in a round.
const ENDLESS: usize = 1 << 20;
/// The most lies of a round.
const MOST_LIES: u64 = 4;

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderFault {
    /// It dies and comes back, again and again.
    Dies,
    /// It sends no true picture, only garbage and clocks that leap.
    Lies,
    /// It sends its picture a thousand times.
    Floods,
    /// It sends garbage between its pictures.
    Garbage,
    /// It sends a line without an end.
    Endless,
    /// It sends numbers that are none.
    NotANumber,
    /// It sends pictures in which an id occurs twice.
    RepeatedIds,
    /// Its clock is years behind.
    OldClock,
    /// Its clock is years ahead.
    FutureClock,
    /// It sends a byte a round.
    Slow,
}

/// What it does in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It sends its picture as it should.
    Send,
    /// It sends its picture, with this time in Unix seconds.
    SendAt(u64),
    /// It writes these bytes to its connection.
    Write {
        /// The bytes.
        bytes: Vec<u8>,
        /// The reasons of the lines in them that a receiver should drop.
        reasons: Vec<&'static str>,
    },
    /// It has no connection.
    Die,
}

impl SenderFault {
    /// All.
    pub const ALL: [Self; 10] = [
        Self::Dies,
        Self::Lies,
        Self::Floods,
        Self::Garbage,
        Self::Endless,
        Self::NotANumber,
        Self::RepeatedIds,
        Self::OldClock,
        Self::FutureClock,
        Self::Slow,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dies => "dies",
            Self::Lies => "lies",
            Self::Floods => "floods",
            Self::Garbage => "garbage",
            Self::Endless => "endless",
            Self::NotANumber => "nan",
            Self::RepeatedIds => "repeated-ids",
            Self::OldClock => "old-clock",
            Self::FutureClock => "future-clock",
            Self::Slow => "slow",
        }
    }

    /// What it does, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Dies => "dies and comes back, again and again",
            Self::Lies => "sends garbage and clocks that leap, and no true picture",
            Self::Floods => "sends its picture a thousand times",
            Self::Garbage => "sends garbage between its pictures",
            Self::Endless => "sends a line without an end",
            Self::NotANumber => "sends numbers that are none",
            Self::RepeatedIds => "sends pictures in which an id occurs twice",
            Self::OldClock => "has a clock that is years behind",
            Self::FutureClock => "has a clock that is years ahead",
            Self::Slow => "sends a byte an interval",
        }
    }

    /// Whether its connection is there in a round, counted from 0.
    #[must_use]
    pub fn is_alive(self, round: u64) -> bool {
        self != Self::Dies || round % (LIVES + DEAD) < LIVES
    }

    /// What it does in a round. `picture` is its own picture as a line, without the end; `now` is the time in Unix seconds.
    #[must_use]
    pub fn conduct(self, round: u64, picture: &[u8], dice: &mut Dice, now: u64) -> Conduct {
        match self {
            Self::Dies if self.is_alive(round) => Conduct::Send,
            Self::Dies => Conduct::Die,
            Self::OldClock => Conduct::SendAt(years_off(now, false)),
            Self::FutureClock => Conduct::SendAt(years_off(now, true)),
            Self::Lies => lies(dice, now),
            Self::Garbage => {
                let Conduct::Write { bytes, reasons } = garbage(dice, now) else { return Conduct::Send };
                Conduct::Write { bytes: [picture, b"\n", &bytes].concat(), reasons }
            }
            Self::Floods => {
                let times = (FLOOD / (picture.len() + 1)).clamp(1, FLOOD_LINES);
                written([picture, b"\n"].concat().repeat(times))
            }
            Self::Endless => written(vec![b'x'; ENDLESS]),
            Self::NotANumber => of_reason("out_of_range", now),
            Self::RepeatedIds => of_reason("repeated_id", now),
            Self::Slow => {
                written(picture.get(round as usize % picture.len().max(1)).copied().into_iter().collect())
            }
        }
    }
}

fn written(bytes: Vec<u8>) -> Conduct {
    Conduct::Write { bytes, reasons: Vec::new() }
}

/// The last lie of a reason: of `out_of_range`, that is the one with a number that is none.
fn of_reason(reason: &str, now: u64) -> Conduct {
    let all = LIES.iter().rev().filter(|lie| lie.reason == reason).take(1);
    let lies: Vec<_> = all.map(|lie| lie.tell(now)).collect();
    Conduct::Write {
        bytes: lies.iter().flat_map(|lie| [&lie.line[..], b"\n"].concat()).collect(),
        reasons: lies.iter().map(|lie| lie.reason).collect(),
    }
}

/// Some lines of garbage.
fn garbage(dice: &mut Dice, now: u64) -> Conduct {
    let (mut bytes, mut reasons) = (Vec::new(), Vec::new());
    for _ in 0..=dice.roll(MOST_LIES) {
        let lie = LIES[dice.roll(LIES.len() as u64) as usize].tell(now);
        bytes.extend_from_slice(&lie.line);
        // Some senders end their lines so.
        bytes.extend_from_slice(if dice.roll(2) == 0 { b"\n" } else { b"\r\n" });
        reasons.push(lie.reason);
    }
    Conduct::Write { bytes, reasons }
}

/// Garbage, and clocks that leap.
fn lies(dice: &mut Dice, now: u64) -> Conduct {
    let Conduct::Write { mut bytes, mut reasons } = garbage(dice, now) else { return Conduct::Die };
    for line in leaps(now) {
        bytes.extend_from_slice(&line);
        bytes.push(b'\n');
    }
    reasons.push("older");
    Conduct::Write { bytes, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::GHOST;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn each_fault_has_a_name_and_bounded_bytes() {
        let picture = br#"{"listen_address":"a","timestamp":1}"#;
        let mut dice = Dice::new(1);
        for (at, fault) in SenderFault::ALL.into_iter().enumerate() {
            assert!(SenderFault::ALL[..at].iter().all(|other| other.name() != fault.name()));
            for round in 0..50 {
                let conduct = fault.conduct(round, picture, &mut dice, NOW);
                if let Conduct::Write { bytes, reasons } = conduct {
                    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                    assert!(bytes.len() <= 1 << 20 && lines >= reasons.len(), "{fault:?}");
                }
            }
        }
        let large = vec![b'x'; 4 << 20];
        let flood = SenderFault::Floods.conduct(0, &large, &mut dice, NOW);
        assert!(matches!(flood, Conduct::Write { bytes, .. } if bytes.len() == large.len() + 1));
    }

    #[test]
    fn one_that_dies_is_dead_for_a_while_and_one_that_lies_tells_of_ghosts_alone() {
        let mut dice = Dice::new(1);
        let lives: String = (0..20)
            .map(|round| match SenderFault::Dies.conduct(round, b"{}", &mut dice, NOW) {
                Conduct::Send => '+',
                _ => '-',
            })
            .collect();
        assert_eq!(lives, "++++++----++++++----");
        for round in 0..200 {
            let Conduct::Write { bytes, reasons } = SenderFault::Lies.conduct(round, b"{}", &mut dice, NOW)
            else {
                panic!("it writes")
            };
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), reasons.len() + 3);
            assert!(lines[..reasons.len() - 1].iter().all(|line| line.contains(GHOST)), "{text}");
            assert!(lines[reasons.len() - 1..].iter().all(|line| line.contains("ConnectionSnapshot")));
        }
    }
}
