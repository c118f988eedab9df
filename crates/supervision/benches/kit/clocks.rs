//! The clocks of the bench, and how much of the machine other processes used meanwhile.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Wall time.
pub(crate) fn wall() -> Duration {
    ORIGIN.elapsed()
}

/// The time for which this thread ran.
pub(crate) fn thread_cpu() -> Duration {
    time(ClockId::ThreadCPUTime)
}

fn time(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().expect("these clocks begin at 0")
}

/// The load by other processes since its creation.
pub(crate) struct OtherLoad {
    machine: Option<[f64; 2]>,
    own: Duration,
}

impl OtherLoad {
    pub(crate) fn from_now() -> Self {
        Self { machine: machine(), own: time(ClockId::ProcessCPUTime) }
    }

    /// The share of the machine's cores in percent; `None` where the system does not tell.
    pub(crate) fn percent(&self) -> Option<f64> {
        let ([busy, all], [busy_before, all_before]) = (machine()?, self.machine?);
        let own = (time(ClockId::ProcessCPUTime) - self.own).as_secs_f64();
        let others = (busy - busy_before - own) / (all - all_before);
        Some(100.0 * others.max(0.0))
    }
}

/// Seconds in which the machine's cores worked, and all their seconds.
fn machine() -> Option<[f64; 2]> {
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    // user, nice, system, idle, iowait, …, as `man proc_stat` lists them.
    let fields = text.lines().next()?.split_whitespace().skip(1).take(8);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    let all: f64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some([(all - idle) / TICKS_A_SECOND, all / TICKS_A_SECOND])
}
