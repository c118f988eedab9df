//! What differs between histories, and is the same during one.

use testkit::Dice;

/// The settings of a history.
#[derive(Clone, Debug)]
pub struct Settings {
    pub start: u64,
    /// How many markets are followed.
    pub markets: usize,
    pub window: u64,
    pub batch_size: usize,
    pub max_windows: usize,
    pub max_reorg_depth: u64,
    pub log_range: u64,
    pub trackers: usize,
    pub nodes: usize,
    /// Whether the contracts change the length of windows, or answer nothing for a while. Only where no window waits for another one:
    /// of a window that waits beyond its own end the contract does not say when it closes.
    pub contracts_vary: bool,
    /// Whether the contracts tell the day. Else it is known from the events of days alone.
    pub tells_days: bool,
    /// Whether the trackers get other markets during the history.
    pub markets_vary: bool,
    /// Every how many passages the actors crash at a failure point; 0 for never.
    pub crashes: u64,
}

impl Settings {
    pub fn of(dice: &mut Dice) -> Self {
        let mut one_of = |values: &[u64]| values[dice.roll(values.len() as u64) as usize];
        let max_windows = one_of(&[2, 100, 100]) as usize;
        Self {
            contracts_vary: max_windows > 2 && one_of(&[0, 1]) == 1,
            markets_vary: one_of(&[0, 1]) == 1,
            tells_days: one_of(&[0, 1, 1]) == 1,
            max_windows,
            start: one_of(&[1, 1, 5]),
            markets: one_of(&[1, 2, 3]) as usize,
            window: one_of(&[4, 10, 20, 60]),
            batch_size: one_of(&[1, 2, 3, 5]) as usize,
            max_reorg_depth: 20,
            log_range: one_of(&[1, 3, 13, 100]),
            trackers: one_of(&[1, 1, 2]) as usize,
            nodes: one_of(&[1, 2, 3]) as usize,
            crashes: one_of(&[0, 0, 3, 7]),
        }
    }
}
