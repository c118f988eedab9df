//! The campaigns' part of the tree, if they have a database: the scheduler, status workers, the monitor, the gateway with its port.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use access_tokens::{Keys, Verifier};
use actors::{
    campaigns::{
        CampaignGateway, CampaignMetrics, Campaigns, CampaignsSettings, Counter, GatewayLog, GatewayWorker,
        JobFeed, Monitor, RunListener, Scheduler, StatusWorker,
    },
    collector::Notice,
    env::{Services, stale_after},
};
use campaign_gateway::Gateway;
use color_eyre::eyre::{Result, WrapErr};
use http_client::{HttpClient, Trust};
use ports::{Pem, Tls};
use socket_io::{Bounds, Origins};
use store_campaign_log::CampaignKeys;
use store_campaigns::{Database, DatabaseSettings, JobRows};
use supervision::{Address, Child, Clock};

use super::policy::policy;
use crate::{
    campaigns::{CampaignPages, PagesSettings},
    config::{self, Config, TokenKeys},
    http::Server,
};

/// The name of the supervisor.
pub(super) const NAME: &str = "campaigns";
/// What the clock of a token's issuer may differ from ours.
const LEEWAY: Duration = Duration::from_secs(30);
/// How long a worker that says nothing keeps a job row. Workers extend it every 10 s.
const LEASE: Duration = Duration::from_secs(30);
/// How long what is known of the database's rights is believed: it is asked every 5 minutes.
const EXAMINED_WITHIN: Duration = Duration::from_mins(16);

/// The bound port and what is behind it.
pub struct CampaignPort {
    campaigns: Campaigns,
    gateway: Option<Arc<Bound>>,
}

struct Bound {
    gateway: Arc<CampaignGateway>,
    listener: Arc<std::net::TcpListener>,
    tls: Option<Tls>,
    pages: CampaignPages,
}

impl CampaignPort {
    /// The address for clients, where the gateway runs here.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref()?.listener.local_addr().ok()
    }

    /// The campaigns.
    #[must_use]
    pub fn campaigns(&self) -> &Campaigns {
        &self.campaigns
    }
}

/// The settings of the database.
///
/// # Errors
/// A file of certificates that can't be read or used.
pub(crate) fn database_settings(settings: &config::Campaigns) -> Result<DatabaseSettings> {
    let authorities = settings.database_authorities()?;
    let trust = trust(authorities.as_deref()).wrap_err("campaigns.database_ca_file can't be used")?;
    let path = |text: &str| text.split('.').map(str::to_owned).collect();
    Ok(DatabaseSettings {
        trust,
        connections: settings.connections,
        connect_timeout: settings.connect_timeout,
        statement_timeout: settings.statement_timeout,
        compute_timeout: settings.computation_timeout,
        lease: LEASE,
        retries: settings.job_retries,
        job_rows: if settings.job_rows == "each" { JobRows::Each } else { JobRows::Once },
        tip_path: path(&settings.tip_path),
        fee_path: path(&settings.fee_path),
        ..DatabaseSettings::new(settings.database_url.reveal())
    })
}

fn trust(authorities: Option<&[u8]>) -> Result<Trust> {
    Ok(match authorities {
        Some(pem) => Trust::only(pem)?,
        None => Trust::default(),
    })
}

/// Checks tokens as the configuration says.
///
/// # Errors
/// Keys or URLs that can't be used.
fn verifier(settings: &config::Campaigns, clock: &Clock) -> Result<Option<Verifier>> {
    let authorities = settings.auth_authorities()?;
    let client = || -> Result<HttpClient> {
        Ok(HttpClient::new(trust(authorities.as_deref()).wrap_err("campaigns.auth_ca_file can't be used")?))
    };
    let url = |text: &str| text.parse::<url::Url>().wrap_err("a URL of campaigns can't be used");
    let keys = match settings.token_keys() {
        None => return Ok(None),
        Some(TokenKeys::Secret(secret)) => Keys::Secret(secret.reveal().as_bytes().to_vec()),
        Some(TokenKeys::File(path)) => Keys::JwksFile(path.into()),
        Some(TokenKeys::Url(text)) => Keys::JwksUrl(url(text)?, client()?),
        Some(TokenKeys::Provider(text)) => {
            let key = settings.auth_key.reveal();
            let headers = if key.is_empty() { vec![] } else { vec![("apikey".to_owned(), key.to_owned())] };
            Keys::Provider { url: url(text)?, headers, client: client()? }
        }
    };
    let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (issuer, audience) = (named(&settings.issuer), named(&settings.audience));
    let settings = access_tokens::Settings { keys, issuer, audience, leeway: LEEWAY };
    Ok(Some(Verifier::new(settings, clock.clone()).wrap_err("tokens of clients can't be checked")?))
}

/// Sets up the campaigns without connecting, and binds their port; `None` without a database.
///
/// # Errors
/// A port that is taken, a URL, a certificate or keys that can't be used.
pub(super) fn bind(
    config: &Config,
    services: &Services,
    alerts: Option<&Address<Notice>>,
    clock: &Clock,
) -> Result<Option<CampaignPort>> {
    let settings = &config.campaigns;
    if !settings.is_enabled() {
        return Ok(None);
    }
    let database =
        Database::new(database_settings(settings)?).wrap_err("campaigns.database_url can't be used")?;
    let keys = CampaignKeys::new(&config.output.prefix);
    let own = CampaignsSettings {
        interval: settings.interval,
        job_retention: settings.status_jobs_retention,
        history_retention: settings.history_retention,
        alert_below: f64::from(settings.alert_below_percent) / 100.0,
        writes: settings.schedules(),
    };
    let alerts = alerts.cloned();
    let campaigns = Campaigns::new(services.clone(), database, keys.clone(), own, alerts, clock);
    let metrics = CampaignMetrics::register(services.telemetry.meter(), settings.old_metrics);
    metrics.observe(campaigns.clone());
    services.readiness.expect_of(NAME, "database", EXAMINED_WITHIN);
    if settings.schedules() {
        services.readiness.expect_of(NAME, "scheduler", stale_after(settings.interval));
    }
    let mut port = CampaignPort { campaigns, gateway: None };
    if settings.serves() {
        services.readiness.expect_of(NAME, "monitor", stale_after(settings.interval));
        let gateway = Arc::new(gateway(config, services, &port.campaigns, keys, clock)?);
        metrics.observe_gateway(gateway.gateway.clone());
        port.gateway = Some(gateway);
    }
    Ok(Some(port))
}

fn gateway(
    config: &Config,
    services: &Services,
    campaigns: &Campaigns,
    keys: CampaignKeys,
    clock: &Clock,
) -> Result<Bound> {
    let settings = &config.campaigns;
    // The configuration refuses a gateway without keys.
    let judge = verifier(settings, clock)?;
    let judge = judge.ok_or_else(|| color_eyre::eyre::eyre!("campaigns have no keys of tokens"))?;
    let certificate = settings.certificate()?;
    let tls = certificate.map(|(pem, key)| Tls::http(Pem::new(&pem, &key))).transpose();
    let tls = tls.wrap_err("campaigns.cert_file and campaigns.key_file can't be used")?;
    let origins = settings.allowed_origins();
    let defaults = socket_io::Settings::default();
    let connections = socket_io::Settings {
        origins: origins.clone().map_or(Origins::Any, Origins::List),
        max_payload: settings.max_message_bytes,
        most_connections: settings.clients,
        most_per_address: settings.clients,
        per_second_per_address: settings.connects_per_second_per_address,
        client_buffer: Bounds { bytes: settings.client_buffer_bytes, ..defaults.client_buffer },
        ..defaults
    };
    let limits = campaign_gateway::Settings {
        connections,
        connections_per_user: settings.connections_per_user,
        connects_per_second: settings.connects_per_second,
        requests_per_second: settings.joins_per_second,
        rooms_per_client: settings.rooms_per_client,
        ..campaign_gateway::Settings::default()
    };
    let (listener, _) = Server::Campaigns.listen(settings.gateway_address)?;
    let log = GatewayLog::new(services.store.clone(), keys, clock);
    let gateway = Gateway::new(campaigns.clone(), log, judge, limits, clock.clone());
    let service_token = settings.service_token.reveal().to_owned();
    let pages = PagesSettings { service_token, origins };
    let pages = CampaignPages::new(campaigns.clone(), gateway.clone(), pages);
    Ok(Bound { gateway, listener: Arc::new(listener), tls, pages })
}

/// The part of the tree. Children stop in reverse: the port first, so that clients are told; the scheduler last.
pub(super) fn child(config: &Config, port: &CampaignPort) -> Child {
    let policy = policy(&config.supervision);
    let mut members = Vec::new();
    if config.campaigns.schedules() {
        let campaigns = port.campaigns.clone();
        members.push(Child::worker("scheduler", move || Scheduler::new(campaigns.clone())).policy(policy));
        let worker = |number: usize| {
            let campaigns = port.campaigns.clone();
            Child::worker(format!("worker-{number}"), move || StatusWorker::new(campaigns.clone(), number))
        };
        let workers = (1..=config.campaigns.workers).map(|number| worker(number).policy(policy)).collect();
        let campaigns = port.campaigns.clone();
        members.push(Child::supervisor("workers", workers).policy(policy));
        members.push(Child::worker("counter", move || Counter::new(campaigns.clone())).policy(policy));
    }
    if let Some(bound) = &port.gateway {
        let campaigns = port.campaigns.clone();
        members.push(Child::worker("monitor", move || Monitor::new(campaigns.clone())).policy(policy));
        let campaigns = port.campaigns.clone();
        members.push(Child::worker("listener", move || RunListener::new(campaigns.clone())).policy(policy));
        let campaigns = port.campaigns.clone();
        members.push(Child::worker("jobs", move || JobFeed::new(campaigns.clone())).policy(policy));
        let bound = bound.clone();
        let serve = move || {
            GatewayWorker::new(
                bound.gateway.clone(),
                bound.listener.clone(),
                bound.tls.clone(),
                bound.pages.clone(),
            )
        };
        members.push(Child::worker("gateway", serve).policy(policy));
    }
    Child::supervisor(NAME, members).policy(policy)
}
