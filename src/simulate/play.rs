//! Lets a simulated sender play its rounds, one an interval, by the system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::performer::{Performed, Performer};
use crate::app::signals::Signals;

/// What senders are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Live.
    Play,
    /// Send the same picture again and again; those that misbehave are gone.
    Still,
    /// End.
    Stop,
}

/// The time, in Unix seconds.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A seed that differs from run to run, short enough to be typed.
pub(crate) fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_micros())
}

/// Waits until the time is over, if there is one, or a signal comes.
pub(super) async fn ended(after: Option<Duration>, signals: &Signals) {
    let over = async {
        match after {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        _ = signals.stop_requested() => {}
    }
}

/// Plays a round every `every`, the first one after `offset`, until the mode is to stop or its sender can't be started. `note` sees
/// each round. Returns the sender with its counts.
pub(crate) async fn play(
    mut performer: Performer,
    every: Duration,
    offset: Duration,
    mut modes: watch::Receiver<Mode>,
    mut note: impl FnMut(&Performer, &Performed),
) -> Performer {
    let mut rounds = interval_at(Instant::now() + offset, every);
    // Missed rounds are skipped: several at once would have the same time.
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_still = false;
    loop {
        let mode = tokio::select! {
            biased;
            // An error means that nobody asks for it any more.
            mode = changed(&mut modes, if is_still { Mode::Still } else { Mode::Play }) => mode,
            _ = rounds.tick() => Mode::Play,
        };
        match mode {
            Mode::Stop => return performer,
            Mode::Still => {
                performer.stand_still();
                is_still = true;
                continue;
            }
            Mode::Play => {}
        }
        let performed = tokio::select! {
            biased;
            _ = modes.wait_for(|mode| *mode == Mode::Stop) => return performer,
            performed = performer.perform(unix_now()) => performed,
        };
        match performed {
            Ok(performed) => note(&performer, &performed),
            Err(error) => {
                crate::app::print_to_stderr(&format!("{error:#}"));
                return performer;
            }
        }
    }
}

/// Waits for a mode beyond this one.
async fn changed(modes: &mut watch::Receiver<Mode>, now: Mode) -> Mode {
    modes.wait_for(|mode| *mode > now).await.map_or(Mode::Stop, |mode| *mode)
}
