//! `healthcheck`: asks a running instance whether it is ready, for containers that have no other client.

use std::{process::ExitCode, time::Duration};

use color_eyre::eyre::{Result, WrapErr, bail, eyre};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::output::complain;
use crate::exit::{FAILURE, SUCCESS};

/// How long the answer may take.
const WITHIN: Duration = Duration::from_secs(3);
/// How much of the answer is read.
const MOST: u64 = 64 << 10;

/// Asks `url` (`http://HOST:PORT/PATH`); ready means exit code 0, anything else 1 with what was answered.
///
/// # Errors
/// A URL of another form, or an instance that can't be reached.
pub async fn healthcheck(url: &str) -> Result<ExitCode> {
    let asked = timeout(WITHIN, ask(url)).await;
    let answer = asked.map_err(|_| {
        eyre!("{url} did not answer within {}; find out whether the process hangs", errors::rounded(WITHIN))
    })??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or("no status");
    if status == "200" {
        return Ok(SUCCESS.into());
    }
    complain(&format!("{url} answered {status}\n{}", body.trim_end()));
    Ok(FAILURE.into())
}

async fn ask(url: &str) -> Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("`{url}` can't be asked; give a URL of the form http://HOST:PORT/PATH");
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let connected = TcpStream::connect(&address).await;
    let mut stream = connected
        .wrap_err_with(|| format!("{address} can't be reached; check that the service runs there"))?;
    let path = if path.is_empty() { "/" } else { path };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(MOST)
        .read_to_end(&mut answer)
        .await
        .wrap_err_with(|| format!("{address} broke off its answer"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
