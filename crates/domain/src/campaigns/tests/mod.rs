//! The rules of campaigns, checked against the contract's words.

mod events;
mod figures;
mod rows;
mod turns;

use uuid::Uuid;

use super::{CampaignId, RunId};

fn campaign(number: u128) -> CampaignId {
    CampaignId(Uuid::from_u128(number))
}

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(1000 + number))
}
