//! The servers of the demo: Redis, PostgreSQL where it is installed, an EVM node with the contracts, a second one that may lie, a relayer, and the configuration of a service for both. They end when
//! they are dropped or when the process is killed.

use std::{path::PathBuf, time::Duration};

use color_eyre::eyre::{Result, WrapErr};
use domain::Address;
use testkit::{
    Anvil, Contracts, Emission, LiveHandle, LiveRate, ProducerConfig, RedisServer, RelayerServer, RpcProxy,
    run_live,
};

use super::{campaigns::CampaignServer, finalizers, peers, relayer};
use crate::config::Config;

/// The submission window in seconds, for producers and chain.
pub(super) const WINDOW: u64 = 8;
/// The number of markets.
const MARKETS: usize = 2;
/// The day at the start of the chain.
pub(super) const DAY: u64 = 1;
/// The most projects in a batch: so few that most epochs have several batches.
pub(super) const BATCH_SIZE: usize = 5;

/// Settings that differ from the defaults. Everything happens faster than in production, so that a minute shows it.
const SETTINGS: [(&str, &str); 16] = [
    ("STATE_TRACKER__INTERVALS__SUMMARY", "1s"),
    ("STATE_TRACKER__INTERVALS__CURRENT_EPOCH", "2s"),
    ("STATE_TRACKER__SUPERVISION__BACKOFF_MAX", "1s"),
    ("STATE_TRACKER__SUPERVISION__BACKOFF_RESET_DELAY", "10s"),
    // The demo crashes an actor every 3 s on purpose: the default limit would degrade one.
    ("STATE_TRACKER__SUPERVISION__MAX_RESTARTS", "20"),
    ("STATE_TRACKER__HTTP__HOST", "127.0.0.1"),
    ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0"),
    ("STATE_TRACKER_METRICS_PORT", "0"),
    // The contracts are deployed and the first day starts before the service does: it must see those blocks too.
    ("STATE_TRACKER__COLLECTOR__START_BLOCK", "1"),
    ("STATE_TRACKER__COLLECTOR__POLL_INTERVAL", "200ms"),
    ("BLOCK_TIME", "1"),
    ("STATE_TRACKER__PEERS__PROXY_ADDRESS", "127.0.0.1:0"),
    ("STATE_TRACKER__PEERS__POOL_ADDRESS", "127.0.0.1:0"),
    ("STATE_TRACKER__PEERS__PROXY_HTTP_ADDRESS", "127.0.0.1:0"),
    ("STATE_TRACKER__PEERS__POOL_HTTP_ADDRESS", "127.0.0.1:0"),
    // Each has an actor: five are used, and a sender that comes back may find its old connection open.
    ("STATE_TRACKER__PEERS__CONNECTIONS", "8"),
];

pub(super) struct Servers {
    pub(super) redis: RedisServer,
    pub(super) anvil: Anvil,
    /// The second node: a proxy in front of the first.
    pub(super) liar: RpcProxy,
    pub(super) relayer: RelayerServer,
    /// The receiver of the alerts, which takes any post.
    pub(super) receiver: RelayerServer,
    /// In checksum form, the spelling of the configuration and the producers.
    pub(super) contracts: Contracts,
    pub(super) campaigns: CampaignServer,
}

impl Servers {
    /// Starts them, deploys the contracts and starts the first day.
    ///
    /// # Errors
    /// A program that is missing or does not start.
    pub(super) async fn start() -> Result<Self> {
        let redis = async { RedisServer::start().await.wrap_err("the demo needs a Redis server of its own") };
        let anvil = async { Anvil::start().await.wrap_err("the demo needs an EVM node of its own") };
        let (redis, anvil, campaigns) = tokio::try_join!(redis, anvil, CampaignServer::start())?;
        let contracts = anvil.deploy(MARKETS).await?;
        // The service writes its keys in checksum form; producers and readers of the demo use the same spelling.
        let spelled = |address: &String| Address::new(address).checksummed().to_owned();
        let contracts = Contracts {
            protocol_state: spelled(&contracts.protocol_state),
            markets: contracts.markets.iter().map(spelled).collect(),
        };
        for market in &contracts.markets {
            anvil.set_market(&contracts, market, [WINDOW, 86_400_000_000, 10, DAY, 7_200]).await?;
            anvil.emit(&contracts, market, &Emission::DayStarted { day: DAY }).await?;
        }
        anvil.set_total_nodes(&contracts, finalizers::NODES).await?;
        anvil.mine().await?;
        let liar = RpcProxy::start(anvil.addr()).await?;
        let relayer = RelayerServer::start().await.wrap_err("the demo needs a port for its relayer")?;
        let receiver = RelayerServer::start().await.wrap_err("the demo needs a port for its alerts")?;
        Ok(Self { redis, anvil, liar, relayer, receiver, contracts, campaigns })
    }

    /// The file of the peers' history: in the folder of Redis, which is removed whatever ends the demo.
    pub(super) fn history(&self) -> PathBuf {
        self.redis.dir().join("peers.sqlite")
    }

    /// The configuration of a service that uses these servers.
    pub(super) fn config(&self) -> Result<Config> {
        let own = [
            ("REDIS_HOST", self.redis.addr().ip().to_string()),
            ("REDIS_PORT", self.redis.port().to_string()),
            ("PROTOCOL_STATE_CONTRACT", self.contracts.protocol_state.clone()),
            ("DATA_MARKET_ADDRESSES", self.contracts.markets.join(",")),
            // The lying node first: it is asked whenever it is not set aside.
            ("RPC_NODES", format!("{},{}", self.liar.url(), self.anvil.url())),
            ("BATCH_SIZE", BATCH_SIZE.to_string()),
            ("TX_RELAYER_URL", self.relayer.url()),
            ("TX_RELAYER_AUTH_WRITE_TOKEN", relayer::TOKEN.to_owned()),
            ("REWARDS_UPDATE_EPOCH_INTERVAL", finalizers::EVERY.to_string()),
            ("REWARDS_UPDATE_BATCH_SIZE", finalizers::PIECE.to_string()),
            ("SLACK_REPORTING_URL", format!("{}/alerts", self.receiver.url())),
            ("STATE_TRACKER__PEERS__HISTORY", self.history().display().to_string()),
            ("STATE_TRACKER__PEERS__NAMES", peers::names()),
        ];
        let settings = SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let environment = settings.chain(own).chain(self.campaigns.settings());
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        Ok(Config::load(None, environment)?.config)
    }

    /// Starts producers for each market, with an epoch every few seconds.
    pub(super) fn produce(&self) -> Result<Vec<LiveHandle>> {
        let rate = LiveRate {
            epoch_every: Duration::from_secs(5),
            submissions_per_epoch: 40,
            batch_delay: Duration::from_secs(1),
            ..LiveRate::default()
        };
        let produce = |market: &String| {
            let mut config = ProducerConfig::new(&self.contracts.protocol_state, market);
            config.window = Duration::from_secs(WINDOW);
            Ok(run_live(config, &self.redis.url(), rate)?)
        };
        self.contracts.markets.iter().map(produce).collect()
    }
}
