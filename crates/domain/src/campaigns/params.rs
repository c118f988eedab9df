//! What a campaign's own parameters say about its status.

use std::ops::RangeInclusive;

use serde_json::Value;

/// The shortest and the longest interval of a campaign, in seconds.
pub const INTERVAL_SECONDS: RangeInclusive<f64> = 1.0..=3600.0;

/// The settings of one campaign, from its `params`; what is missing or no number has the service's default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CampaignParams {
    /// `status_interval_seconds`: how often its runs are counted, within [`INTERVAL_SECONDS`].
    pub interval_ms: Option<u64>,
    /// `alert_threshold`: the success rate below which clients get an alert, within 0 and 1. 0 means no alert.
    pub alert_threshold: Option<f64>,
}

impl CampaignParams {
    /// Reads them. Numbers in texts count, since forms often store them so.
    #[must_use]
    pub fn read(params: &Value) -> Self {
        let number = |name: &str| {
            let value = params.get(name)?;
            let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
            number.is_finite().then_some(number)
        };
        let interval = number("status_interval_seconds").map(|seconds| {
            let seconds = seconds.clamp(*INTERVAL_SECONDS.start(), *INTERVAL_SECONDS.end());
            // In range by the line above.
            (seconds * 1000.0) as u64
        });
        let threshold = number("alert_threshold").map(|threshold| threshold.clamp(0.0, 1.0));
        Self { interval_ms: interval, alert_threshold: threshold }
    }
}
