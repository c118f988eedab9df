//! `check --connect`: tries every server.

use std::process::ExitCode;

use color_eyre::eyre::Result;

use crate::{config::Config, service};

/// Asks every server of the configuration for a sign of life, and says how each answered.
///
/// # Errors
/// Settings that make no connection. A server that does not answer is told, and is exit code 1.
pub async fn connect(config: &Config) -> Result<ExitCode> {
    let store = service::connect(config)?;
    match tokio::try_join!(store.ping(), async { store.subscribe(&[]).await.map(drop) }) {
        Ok(_) => {
            println!("redis {store:?}: answers, and lets us subscribe");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("redis {store:?}: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}
