//! Which level answers a range, and with which step: pure.

use crate::{level::Level, state::Kept};

/// The most points of an answer. A range has at least about 60, unless its level or the shortest step is coarser than that.
pub const MOST_POINTS: i64 = 300;

/// Steps that people can read from an axis, in seconds. Longer ones are whole days.
const STEPS: [i64; 24] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600,
    28_800, 43_200, 86_400, 129_600, 172_800,
];

/// How a range is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) level: Level,
    /// The start of the first point.
    pub(crate) start: i64,
    /// The end of the last point.
    pub(crate) end: i64,
    /// The seconds of a point: a multiple of the level's bucket.
    pub(crate) step: i64,
}

/// The finest step with at most [`MOST_POINTS`], at least `shortest`, from the coarsest level that has it: it reads the fewest
/// rows. Where that level has lost the start of the range, a coarser one answers. `from` is before `to`, neither is below 0.
pub(crate) fn plan(from: i64, to: i64, shortest: i64, kept: &Kept) -> Plan {
    let mut plan = at_least(from, to, shortest);
    for level in Level::ALL {
        plan = at_least(from, to, plan.step.max(level.bucket()));
        // Not a multiple of the bucket: the next step that is one.
        if plan.step % level.bucket() != 0 {
            continue;
        }
        plan.level = level;
        let next = Level::ALL.get(level as usize + 1);
        let may_be_coarser = next.is_some_and(|next| plan.step % next.bucket() == 0);
        if !may_be_coarser && plan.start >= kept[level as usize] {
            return plan;
        }
    }
    // Hours are the last resort: what they have lost is a gap.
    let step = (plan.step + 3_599) / 3_600 * 3_600;
    aligned(from, to, step, Level::Hours)
}

fn at_least(from: i64, to: i64, least: i64) -> Plan {
    let days = (1..).map(|days| days * 86_400).skip(2);
    for step in STEPS.into_iter().chain(days).filter(|step| *step >= least) {
        let plan = aligned(from, to, step, Level::Raw);
        if (plan.end - plan.start) / step <= MOST_POINTS {
            return plan;
        }
    }
    aligned(from, to, to - from, Level::Raw)
}

fn aligned(from: i64, to: i64, step: i64, level: Level) -> Plan {
    let start = from - from % step;
    let end = (to + step - 1) / step * step;
    Plan { level, start, end, step }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_700_000_000;

    fn of(length: i64, kept: Kept) -> (Level, i64, i64) {
        let plan = plan(NOW - length, NOW, 1, &kept);
        assert!(plan.start <= NOW - length && plan.end >= NOW && plan.start % plan.step == 0, "{plan:?}");
        assert_eq!(plan.step % plan.level.bucket(), 0, "{plan:?}");
        let points = (plan.end - plan.start) / plan.step;
        assert!(points <= MOST_POINTS, "{plan:?}");
        (plan.level, plan.step, points)
    }

    #[test]
    fn ranges_have_60_to_300_points_from_the_level_that_reads_the_fewest_rows() {
        let all = [
            (3_600, Level::Raw, 15),
            (DAY, Level::Minutes, 300),
            (7 * DAY, Level::Hours, 3_600),
            (30 * DAY, Level::Hours, 10_800),
            (365 * DAY, Level::Hours, 129_600),
            (730 * DAY, Level::Hours, 3 * DAY),
            (7_300 * DAY, Level::Hours, 25 * DAY),
        ];
        for (length, level, step) in all {
            let (of_level, of_step, points) = of(length, [0; 3]);
            assert_eq!((of_level, of_step), (level, step), "{length}");
            assert!(points >= 60, "{length}: {points}");
        }
    }

    #[test]
    fn what_a_level_has_lost_comes_from_a_coarser_one() {
        assert_eq!(of(3_600, [NOW, 0, 0]).0, Level::Minutes);
        assert_eq!(of(3_600, [NOW, 0, 0]).1, 60);
        assert_eq!(of(3_600, [NOW, NOW, 0]).0, Level::Hours);
        assert_eq!(of(3_600, [NOW, NOW, NOW]).0, Level::Hours);
        assert_eq!(of(DAY, [0, NOW, 0]), (Level::Hours, 3_600, 25));
        assert_eq!(of(3_600, [NOW - 4_000, 0, 0]).0, Level::Raw);
    }

    #[test]
    fn a_step_is_not_shorter_than_the_shortest() {
        assert_eq!(plan(NOW - 60, NOW, 15, &[0; 3]).step, 15);
        assert_eq!(plan(NOW, NOW + 1, 1, &[0; 3]).step, 1);
        assert_eq!(plan(0, crate::LATEST, 1, &[0; 3]).level, Level::Hours);
    }
}
