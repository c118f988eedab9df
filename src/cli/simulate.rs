//! The arguments of `simulate`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{
    Args, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use testkit::peers::SenderFault;

/// The arguments of `simulate`.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// What is simulated.
    #[command(subcommand)]
    pub what: Simulation,
}

/// What is simulated.
#[derive(Clone, Debug, Subcommand)]
pub enum Simulation {
    /// Push the pictures of translator proxies: status, and metrics over a sliding window, of miners that come and go
    Miners(MinersArgs),
    /// Push the pictures of pools: status, sign of life of a job declarator, quotes and balance
    Pool(PoolArgs),
    /// Serve the HTTP API of a Stratum V2 application, which is polled, with clients that come and go
    Sri(SriArgs),
}

/// The arguments of `simulate miners`.
#[derive(Clone, Debug, Args)]
pub struct MinersArgs {
    /// What all senders have.
    #[command(flatten)]
    pub sender: SenderArgs,
    /// How many miners each proxy has
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub miners: u16,
}

/// The arguments of `simulate pool`.
#[derive(Clone, Debug, Args)]
pub struct PoolArgs {
    /// What all senders have.
    #[command(flatten)]
    pub sender: SenderArgs,
    /// How many proxies each pool has
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub proxies: u16,
}

/// The arguments of `simulate sri`.
#[derive(Clone, Debug, Args)]
pub struct SriArgs {
    /// IP address and port to listen at
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// How many clients it has, each with a channel
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub clients: u16,
    /// How long a connection of a client lasts on average; 0s for ever
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub stays: Duration,
    /// Repeat what happens in a run, by the seed that it has shown
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// End after this long, such as 30s or 2m; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
}

/// What all simulated senders have.
#[derive(Clone, Debug, Args)]
pub struct SenderArgs {
    /// The receiver, as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub to: String,
    /// How many senders there are, each with a connection of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub senders: u16,
    /// The time between two pictures of a sender, from 100ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    pub every: Duration,
    /// How long a connection of a miner or proxy lasts on average; 0s for ever
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub stays: Duration,
    /// Repeat what happens in a run, by the seed that it has shown
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// The file with the secret that the receiver expects as the first line
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The address of this machine that the first sender comes from; the others have those that follow it [default: addresses from
    /// 127.1.0.1 on if the receiver is on this machine, else the system's choice]
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// Let senders misbehave
    #[arg(long, value_name = "FAULT", value_parser = fault())]
    pub fault: Option<SenderFault>,
    /// How many of them do, the last ones
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "fault", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub faulty: u16,
    /// End after this long, such as 30s or 2m; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3_600);
    if allowed.contains(&interval) { Ok(interval) } else { Err("it must be from 100ms to 1h".to_owned()) }
}

fn fault() -> impl TypedValueParser<Value = SenderFault> {
    let names = SenderFault::ALL.map(|fault| PossibleValue::new(fault.name()).help(fault.words()));
    PossibleValuesParser::new(names).try_map(|name| {
        // It is one of them.
        SenderFault::ALL.into_iter().find(|fault| fault.name() == name).ok_or("there is no such fault")
    })
}
