//! `simulate`: senders of pictures of connected peers, as real ones behave and as they must not, for demos and tests of a receiver.
//!
//! The models of `testkit` make the pictures; here they are sent. A well-behaved sender is the one of `peer-snapshots`, which authors of
//! pools and proxies use too; one that misbehaves writes to a connection of its own. It opens connections to the receiver that it is
//! given and writes no file. Senders, pictures and waits are bounded.

mod addresses;
mod model;
mod performer;
mod play;
mod raw;
mod sri;
mod summary;
mod target;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use color_eyre::eyre::{Result, WrapErr, ensure};
use testkit::peers::{PoolModel, PoolPlan, ProxyModel, ProxyPlan, SenderFault};
use tokio::{sync::watch, task::JoinSet};

pub(crate) use model::Simulated;
pub(crate) use performer::{Performed, Performer};
pub(crate) use play::{Mode, any_seed, play, unix_now};
pub(crate) use target::Target;

use crate::{
    app::{print, signals::Signals},
    cli::{SenderArgs, SimulateArgs, Simulation},
    config::read_text,
    exit::SUCCESS,
};
use play::ended;
use summary::Summary;

/// The most miners of all senders together.
const MOST_MINERS: usize = 500_000;
/// How long the last pictures may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Simulates senders until the time is over or a signal comes.
///
/// # Errors
/// A receiver without an address, a secret that can't be read, numbers that are too large together.
pub async fn simulate(args: &SimulateArgs) -> Result<ExitCode> {
    match &args.what {
        Simulation::Miners(args) => {
            let (senders, miners) = (usize::from(args.sender.senders), usize::from(args.miners));
            ensure!(
                senders * miners <= MOST_MINERS,
                "{senders} senders of {miners} miners are more than {MOST_MINERS} miners; ask for fewer"
            );
            let what = format!("{senders} proxies of {miners} miners");
            run(&args.sender, &what, |number, seed, now| {
                let (name, stays) = (format!("proxy-{}", number + 1), args.sender.stays.as_secs());
                let plan = ProxyPlan { name, miners, seed, stays };
                Simulated::Proxy(ProxyModel::new(plan, now))
            })
            .await
        }
        Simulation::Pool(args) => {
            let what = format!("{} pools of {} proxies", args.sender.senders, args.proxies);
            run(&args.sender, &what, |_, seed, now| {
                let (proxies, stays) = (usize::from(args.proxies), args.sender.stays.as_secs());
                Simulated::Pool(PoolModel::new(PoolPlan { proxies, seed, stays }, now))
            })
            .await
        }
        Simulation::Sri(args) => sri::run(args).await,
    }
}

/// Plays so many senders of what `make` makes of their numbers, seeds, and the time.
async fn run(args: &SenderArgs, what: &str, make: impl Fn(usize, u64, u64) -> Simulated) -> Result<ExitCode> {
    let signals = Signals::catch(None)?;
    let seed = args.seed.unwrap_or_else(any_seed);
    let many = usize::from(args.senders);
    let addresses = addresses::of_senders(&args.to, args.from, many).await?;
    let secret = secret(args)?;
    let faulty = if args.fault.is_some() { usize::from(args.faulty).min(many) } else { 0 };
    print(&start_line(args, what, seed, faulty, addresses.note))?;
    let (mode, modes) = watch::channel(Mode::Play);
    let mut playing = JoinSet::new();
    let began = Instant::now();
    for (number, from) in addresses.all.into_iter().enumerate() {
        let own_seed = seed.wrapping_add(number as u64);
        let target = Target::new(&args.to, from, secret.as_deref())?;
        // The last ones misbehave.
        let fault = args.fault.filter(|_| number >= many - faulty);
        let performer = Performer::new(make(number, own_seed, unix_now()), fault, target, own_seed);
        // Spread over an interval, as real senders are.
        let offset = args.every.mul_f64(number as f64 / many as f64);
        playing.spawn(play(performer, args.every, offset, modes.clone(), |_, _| {}));
    }
    ended(args.duration, &signals).await;
    mode.send_replace(Mode::Stop);
    let mut summary = Summary::default();
    let until = tokio::time::Instant::now() + LEAVE_WITHIN;
    while let Some(performer) = playing.join_next().await {
        let performer = performer.wrap_err("a simulated sender ended by a panic")?;
        performer.drain(until).await;
        summary.add(&performer);
    }
    print(&format!("{}\n", summary.line(began.elapsed())))?;
    Ok(SUCCESS.into())
}

/// What is said at the start.
fn start_line(args: &SenderArgs, what: &str, seed: u64, faulty: usize, note: &str) -> String {
    let every = errors::rounded(args.every);
    let fault = args.fault.filter(|_| faulty > 0).map(SenderFault::words);
    let fault = fault.map(|words| format!("; each of the last {faulty} {words}")).unwrap_or_default();
    format!("simulating {what} to {}, a picture each every {every} (--seed {seed}){fault}{note}\n", args.to)
}

/// The secret of the file, if one is named.
fn secret(args: &SenderArgs) -> Result<Option<String>> {
    let Some(path) = &args.secret_file else { return Ok(None) };
    let text = read_text(path).wrap_err_with(|| format!("the file of the secret, {}", path.display()))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}
