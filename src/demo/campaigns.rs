//! The campaigns of the demo: a PostgreSQL server of its own, campaigns whose jobs change in it, a client that follows them, and the
//! example page. Where PostgreSQL is not installed, they are left out and the demo goes on.

mod client;
mod page;
mod polling;
mod seen;
mod shown;
mod token;

use std::net::SocketAddr;

use color_eyre::eyre::{OptionExt, Result, WrapErr};
use store_campaigns::{Database, DatabaseSettings};
use testkit::{
    Postgres, PostgresError, RoleRights,
    campaigns::{CampaignWorld, RunTruth},
};
use tokio::task::JoinSet;

pub(super) use seen::SeenCampaigns;
#[cfg(test)]
pub(super) use seen::SeenStatus;

use crate::service::Service;
use client::follow;
use seen::SharedSeen;

const DATABASE: &str = "campaigns";
/// The role of the service, which is no superuser.
const ROLE: &str = "state_tracker";
/// The tables for an empty database, as an operator makes them.
const TABLES: &str = include_str!("../../config/campaigns.sql");

/// Settings that differ from the defaults: each second a run is counted, and few workers are enough.
const SETTINGS: [(&str, &str); 4] = [
    ("STATUS_AGGREGATOR_INTERVAL_SECONDS", "1"),
    ("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", "127.0.0.1:0"),
    ("STATE_TRACKER__CAMPAIGNS__WORKERS", "2"),
    ("STATE_TRACKER__CAMPAIGNS__JWT_SECRET", token::SECRET),
];

/// The server of the campaigns, or why there is none.
pub(super) enum CampaignServer {
    There(Box<Postgres>),
    LeftOut(String),
}

impl CampaignServer {
    /// Starts PostgreSQL, makes the tables, the role of the service and what counts by changes.
    ///
    /// # Errors
    /// A PostgreSQL that is installed and does not start.
    pub(super) async fn start() -> Result<Self> {
        let postgres = match Postgres::builder().shares_nothing().start().await {
            Ok(postgres) => postgres,
            Err(why @ (PostgresError::NotInstalled { .. } | PostgresError::NoUser)) => {
                return Ok(Self::LeftOut(why.to_string()));
            }
            Err(error) => return Err(error).wrap_err("the demo needs a PostgreSQL server of its own"),
        };
        postgres.execute("postgres", &format!("CREATE DATABASE {DATABASE}")).await?;
        postgres.execute(DATABASE, TABLES).await?;
        postgres.create_role(ROLE, DATABASE, RoleRights::Service).await?;
        let owner = Database::new(DatabaseSettings::new(postgres.admin_url(DATABASE)))?;
        owner.migrate(Some(ROLE)).await.wrap_err("the database of campaigns could not be migrated")?;
        Ok(Self::There(Box::new(postgres)))
    }

    /// The part of the service's environment.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let Self::There(postgres) = self else { return Vec::new() };
        let settings = SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned()));
        settings.chain([("DATABASE_URL", postgres.url(DATABASE, ROLE))]).collect()
    }

    /// Whether there are campaigns.
    pub(super) fn is_there(&self) -> bool {
        matches!(self, Self::There(_))
    }
}

/// What a look finds of the campaigns: the rows, and what the client got.
pub(super) type Looked = (Vec<RunTruth>, SeenCampaigns);

/// The campaigns, their client and their page. Both end when this is dropped.
pub(super) struct Campaigns {
    world: CampaignWorld,
    seen: SharedSeen,
    page: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Campaigns {
    /// Makes campaigns, follows them at this service, and opens the page; `None` where they are left out.
    ///
    /// # Errors
    /// A database that does not answer, and a port that can't be opened.
    pub(super) async fn start(server: &CampaignServer, service: &Service, seed: u64) -> Result<Option<Self>> {
        let CampaignServer::There(postgres) = server else { return Ok(None) };
        let gateway = service.campaigns().and_then(|port| port.address());
        let gateway = gateway.ok_or_eyre("the service has no gateway of campaigns")?;
        let world = CampaignWorld::new(postgres, DATABASE, seed).await?;
        let (seen, mut tasks) = (SharedSeen::default(), JoinSet::new());
        tasks.spawn(follow(gateway, seen.clone()));
        let page = page::open(gateway, &mut tasks).await?;
        Ok(Some(Self { world, seen, page, _tasks: tasks }))
    }

    /// A round of changes; returns what is worth telling.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) async fn round(&mut self) -> Result<Vec<String>> {
        self.world.round().await.wrap_err("the campaigns can't be changed")
    }

    /// From now on no row changes: only then can counts be compared exactly.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) async fn stand_still(&mut self) -> Result<()> {
        self.world.stand_still().await.wrap_err("the campaigns can't be changed")
    }

    /// The rows as they are now, and what the client got until now.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) async fn look(&self) -> Result<Looked> {
        let truth = self.world.truth().await.wrap_err("the campaigns can't be read")?;
        Ok((truth, self.seen.get()))
    }

    /// The row of the screen.
    pub(super) fn shown(&self) -> String {
        format!("{}   http://{}/", shown::row(&self.seen.get()), self.page)
    }
}

/// The row of the screen, also where there are none.
pub(super) fn row(campaigns: Option<&Campaigns>, server: &CampaignServer) -> String {
    match (campaigns, server) {
        (Some(campaigns), _) => campaigns.shown(),
        (None, CampaignServer::LeftOut(why)) => format!("left out: {why}"),
        (None, CampaignServer::There(_)) => "none".to_owned(),
    }
}
