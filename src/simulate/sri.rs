//! An application that is polled: a server of its HTTP API, whose clients are the miners of a proxy's model.

use std::{process::ExitCode, time::Duration};

use color_eyre::eyre::{Result, WrapErr};
use testkit::{
    SriApp, SriChannel, SriClient,
    peers::{MinerPicture, ProxyModel, ProxyPicture, ProxyPlan},
};
use tokio::time::{MissedTickBehavior, interval};

use super::play::{any_seed, ended, unix_now};
use crate::{
    app::{print, signals::Signals},
    cli::SriArgs,
    exit::SUCCESS,
};

/// Time between two states.
const EVERY: Duration = Duration::from_secs(1);

/// Serves until the time is over or a signal comes.
///
/// # Errors
/// An address that is taken.
pub(super) async fn run(args: &SriArgs) -> Result<ExitCode> {
    let signals = Signals::catch(None)?;
    let (seed, listen) = (args.seed.unwrap_or_else(any_seed), args.listen);
    let app = SriApp::start_at(listen).await;
    let app = app.wrap_err_with(|| format!("{listen} can't be listened at; name another address"))?;
    let (name, miners, stays) = ("sri".to_owned(), usize::from(args.clients), args.stays.as_secs());
    let mut model = ProxyModel::new(ProxyPlan { name, miners, seed, stays }, unix_now());
    app.change(|state| state.clients = Some(clients(&model.picture())));
    print(&format!(
        "simulating an application of {miners} clients at {}, which is polled (--seed {seed})\n",
        app.url()
    ))?;
    let over = ended(args.duration, &signals);
    tokio::pin!(over);
    let mut seconds = interval(EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut over => break,
            _ = seconds.tick() => {
                model.advance(unix_now());
                app.change(|state| state.clients = Some(clients(&model.picture())));
            }
        }
    }
    print(&format!("{} requests came\n", app.count()))?;
    Ok(SUCCESS.into())
}

/// A client with one channel for each miner.
fn clients(picture: &ProxyPicture) -> Vec<SriClient> {
    let client = |miner: &MinerPicture| {
        let mut channel = SriChannel::extended(miner.id, &miner.name, miner.declared_hs as f32);
        channel.mine(miner.shares, miner.work);
        SriClient::new(miner.id, "miner", vec![channel])
    };
    picture.miners.iter().map(client).collect()
}
