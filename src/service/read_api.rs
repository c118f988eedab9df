//! The read API, if a token is set: its port, its place in the tree, and what a reload replaces.

use std::time::Duration;

use color_eyre::eyre::{Result, WrapErr};
use domain::chain::ContractAddress;
use http_server::Audit;
use ports::{Pem, Tls};
use store_collector::{ChainKeys, Reader};
use store_redis::{RedisSettings, Store};
use supervision::Child;

use super::{policy::policy, redis_pool};
use crate::{
    api::{ApiParts, ApiSecurity, NodePool, ReadApi, ReadApiWorker},
    config::Config,
};
use actors::env::Services;

/// The name of its actor.
pub(super) const NAME: &str = "read-api";

/// Binds the port; `None` without a token.
///
/// # Errors
/// A port that is taken, a certificate that can't be used, invalid settings of Redis.
pub(super) fn bind(
    config: &Config,
    services: &Services,
    audit: Audit,
    nodes: NodePool,
) -> Result<Option<ReadApi>> {
    let settings = &config.api;
    if !settings.is_enabled() {
        return Ok(None);
    }
    // An actor would repeat its pass after a broken connection; a reader that gets one is told to try again, which costs less than
    // to ask Redis twice for each of its answers.
    let check_after = Duration::from_secs(1);
    let redis = RedisSettings { check_after, ..redis_pool::settings(config, settings.connections)? };
    let parts = ApiParts {
        store: Store::new(redis)?,
        services: services.clone(),
        reader: reader(config),
        nodes,
        public_host: settings.public_host.clone(),
    };
    let security = ApiSecurity {
        tokens: settings.read_token.reveal().to_owned(),
        tls: settings
            .certificate()?
            .map(|(pem, key)| Tls::http(Pem::new(&pem, &key)))
            .transpose()
            .wrap_err("api.cert_file and api.key_file can't be used")?,
        per_second: settings.rate_limit,
    };
    Ok(Some(ReadApi::bind(settings.address, parts, markets(config), security, audit)?))
}

/// Its keys.
pub(crate) fn reader(config: &Config) -> Reader {
    Reader::new(ChainKeys::new(&config.output.prefix))
}

/// Its actor.
pub(super) fn child(config: &Config, api: &ReadApi) -> Child {
    let api = api.clone();
    Child::worker(NAME, move || ReadApiWorker::new(api.clone())).policy(policy(&config.supervision))
}

/// The markets that clients may ask for: those whose names are addresses.
pub(crate) fn markets(config: &Config) -> Vec<ContractAddress> {
    config.tracker.markets.iter().filter_map(|market| market.parse().ok()).collect()
}

/// Applies the tokens and the certificate of another configuration. What can't be used changes nothing, and is logged.
pub(super) fn reload(api: Option<&ReadApi>, new: &Config) {
    let settings = &new.api;
    let Some(api) = api else {
        if settings.is_enabled() {
            tracing::warn!(
                "SIGHUP: the read API does not run: api.read_token was not set at the start; restart the service"
            );
        }
        return;
    };
    if !settings.is_enabled() {
        tracing::warn!("SIGHUP: api.read_token is empty: the read API serves nobody until it is set again");
    }
    api.replace_tokens(settings.read_token.reveal());
    let Some(tls) = api.tls() else { return };
    match settings.certificate() {
        Ok(Some((pem, key))) => {
            if let Err(error) = tls.replace(Pem::new(&pem, &key)) {
                tracing::warn!(
                    "SIGHUP: api.cert_file and api.key_file can't be used: {}",
                    errors::one_line(&error)
                );
            }
        }
        // A restart applies it, as the log says of each such setting.
        Ok(None) => {}
        Err(error) => tracing::warn!("SIGHUP: {error}"),
    }
}
