//! `check --connect`: tries every server.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use color_eyre::eyre::Result;
use evm::views::Moment;
use store_tracker::channels;
use supervision::Clock;
use tokio::time::Instant;

use crate::{
    config::{Config, Secret},
    service,
};

/// How long a node of the chain has to answer.
const WITHIN: Duration = Duration::from_secs(10);

/// Asks every server of the configuration for a sign of life, and says how each answered.
///
/// # Errors
/// Settings that make no connection. A server that does not answer is told, and is exit code 1.
pub async fn connect(config: &Config) -> Result<ExitCode> {
    let (mut all_answer, mut ids) = (redis(config).await?, BTreeSet::new());
    for node in config.chain.nodes.iter().chain(&config.chain.archive_nodes) {
        all_answer &= node_of_chain(config, node, &mut ids).await?;
    }
    if ids.len() > 1 {
        eprintln!(
            "the nodes are of several chains, {ids:?}: name those of one in chain.nodes, or set chain.chain_id"
        );
        all_answer = false;
    }
    Ok(if all_answer { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn redis(config: &Config) -> Result<bool> {
    let store = service::connect(config)?;
    match tokio::try_join!(store.ping(), async { store.subscribe(channels(&[])).await.map(drop) }) {
        Ok(_) => {
            println!("redis {store:?}: answers, and lets us subscribe");
            Ok(true)
        }
        Err(error) => {
            eprintln!("redis {store:?}: {error}");
            Ok(false)
        }
    }
}

/// Asks a node by itself how far it is, and the contract there how long windows are.
async fn node_of_chain(config: &Config, node: &Secret, ids: &mut BTreeSet<u64>) -> Result<bool> {
    let mut alone = config.clone();
    (alone.chain.nodes, alone.chain.archive_nodes) = (vec![node.clone()], Vec::new());
    let chain = service::following(&alone, &Clock::system())?;
    let (source, deadline) = (&chain.source, Instant::now() + WITHIN);
    let shown = source.status().first().map_or_else(String::new, |status| status.node.to_string());
    let head = match source.head(deadline).await {
        Ok(head) => head,
        Err(error) => {
            eprintln!("node {shown}: {error}");
            return Ok(false);
        }
    };
    ids.extend(source.chain_id());
    let id = source.chain_id().map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    println!("node {shown}: is at block {}, chain id {id}", head.number);
    for (market, _) in &chain.settings.markets {
        match source.views(Moment::Latest, deadline).submission_window(*market).await {
            Ok(window) => println!("  market {market}: submissions are taken for {window:?}"),
            Err(error) => {
                eprintln!("  market {market}: {error}; see tracker.protocol ({})", config.tracker.protocol);
                return Ok(false);
            }
        }
    }
    Ok(true)
}
