//! Who owns which campaign, remembered for a while: a flood of joins asks the database once a campaign. Pure but for its lock.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use domain::campaigns::CampaignId;

use crate::env::lock::lock;

/// How long an answer is taken as it is.
const FRESH: Duration = Duration::from_secs(30);
/// How long an answer is used while the database does not answer.
const USABLE: Duration = Duration::from_secs(600);
/// The most campaigns that are remembered.
const MOST: usize = 20_000;

/// The owners of campaigns; no owner for a campaign that does not exist.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<HashMap<CampaignId, (Instant, Option<String>)>>);

/// What is remembered of a campaign.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    /// It is as good as asked now.
    Fresh(Option<String>),
    /// It may be used if the database does not answer.
    Old(Option<String>),
    /// Nothing.
    Unknown,
}

impl Owners {
    pub(super) fn get(&self, campaign: CampaignId, now: Instant) -> Remembered {
        match lock(&self.0).get(&campaign) {
            Some((at, owner)) if now.saturating_duration_since(*at) < FRESH => {
                Remembered::Fresh(owner.clone())
            }
            Some((at, owner)) if now.saturating_duration_since(*at) < USABLE => {
                Remembered::Old(owner.clone())
            }
            _ => Remembered::Unknown,
        }
    }

    pub(super) fn put(&self, campaign: CampaignId, owner: Option<String>, now: Instant) {
        let mut all = lock(&self.0);
        if all.len() >= MOST {
            all.retain(|_, (at, _)| now.saturating_duration_since(*at) < FRESH);
        }
        // Full of fresh ones: this one is asked again.
        if all.len() < MOST {
            all.insert(campaign, (now, owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(number: u128) -> CampaignId {
        let text = format!("{number:032x}");
        text.parse().expect("an id")
    }

    #[test]
    fn an_answer_is_fresh_then_usable_then_forgotten() {
        let (owners, now) = (Owners::default(), Instant::now());
        owners.put(campaign(1), Some("u".to_owned()), now);
        assert_eq!(owners.get(campaign(1), now), Remembered::Fresh(Some("u".to_owned())));
        assert_eq!(owners.get(campaign(1), now + FRESH), Remembered::Old(Some("u".to_owned())));
        assert_eq!(owners.get(campaign(1), now + USABLE), Remembered::Unknown);
        assert_eq!(owners.get(campaign(2), now), Remembered::Unknown);
    }

    #[test]
    fn any_number_of_campaigns_takes_bounded_memory() {
        let (owners, now) = (Owners::default(), Instant::now());
        for number in 0..2 * MOST {
            owners.put(campaign(number as u128), None, now);
        }
        assert_eq!(lock(&owners.0).len(), MOST);
        owners.put(campaign(u128::MAX), None, now + FRESH);
        assert_eq!(lock(&owners.0).len(), 1, "old ones make place");
    }
}
