//! The client of the demo: it joins the owner's campaigns, asks for one of somebody else, notes what comes, and connects again
//! whenever the connection ends.

use std::{net::SocketAddr, time::Duration};

use color_eyre::eyre::{Result, bail};
use serde_json::json;
use testkit::campaigns::CampaignWorld;

use super::{
    polling::{Packet, SEPARATOR, Session, connect, request},
    seen::{SeenCampaigns, SharedSeen},
    token::token,
};
use crate::simulate::unix_now;

/// The pause before it connects again: a user may connect a few times a second.
const PAUSE: Duration = Duration::from_millis(500);
/// The number of the request for a campaign of somebody else; the others count from 1.
const FOREIGN: u64 = 0;

/// Follows the campaigns for ever.
pub(super) async fn follow(gateway: SocketAddr, seen: SharedSeen) {
    loop {
        // The gateway is crashed on purpose: the end of a connection is no finding.
        let _ = session(gateway, &seen).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// A connection until its end, which is always an error.
async fn session(gateway: SocketAddr, seen: &SharedSeen) -> Result<()> {
    let session = Session::open(gateway).await?;
    session.send(&connect(&token(unix_now()))).await?;
    loop {
        for packet in session.poll().await? {
            match packet {
                Packet::Ping => session.send("3").await?,
                Packet::Connected => {
                    seen.change(SeenCampaigns::connected);
                    session.send(&joins()).await?;
                }
                Packet::Answer(number, answer) => {
                    seen.change(|seen| seen.joined(number != FOREIGN, &answer));
                    if number != FOREIGN && answer["success"] != true {
                        bail!("it can't join: {answer}");
                    }
                }
                Packet::Event(name, payload) => seen.change(|seen| seen.take(&name, payload)),
                Packet::End(text) => bail!("the gateway ends the connection: {text}"),
            }
        }
    }
}

/// The requests for all rooms.
fn joins() -> String {
    let all = std::iter::once(CampaignWorld::of_another()).chain(CampaignWorld::campaigns());
    let join = |(number, campaign): (usize, &str)| {
        request(number as u64, "join_campaign", &json!({ "campaignId": campaign }))
    };
    all.enumerate().map(join).collect::<Vec<_>>().join(&SEPARATOR.to_string())
}
