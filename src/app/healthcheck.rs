//! `healthcheck`: asks a running instance whether it is ready. For containers, whose image has no other HTTP client.

use std::{process::ExitCode, time::Duration};

use color_eyre::eyre::{Result, WrapErr, bail, eyre};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::output::print_to_stderr;
use crate::escape::escaped;
use crate::exit::{FAILURE, SUCCESS};

/// Time limit for the answer. Docker kills a health check after 30 s by default.
const WITHIN: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// Asks `url` (`http://HOST:PORT/PATH`). Exit code 0 if ready; else 1, with the answer on standard error.
///
/// # Errors
/// A URL of another form, or an unreachable instance.
pub async fn healthcheck(url: &str) -> Result<ExitCode> {
    // The endpoints need no credentials, and an error message must not show them.
    let url = without_credentials(url);
    let asked = timeout(WITHIN, ask(&url)).await;
    let answer = asked.map_err(|_| {
        eyre!("{url} did not answer within {}; check whether the process hangs", errors::rounded(WITHIN))
    })??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let Some(status) = head.strip_prefix("HTTP/").and_then(|head| head.split_whitespace().nth(1)) else {
        bail!("{url} did not answer with HTTP; check that this is the port of the service's endpoints");
    };
    // Only 200: a redirection or another 2xx is not from this program.
    if status == "200" {
        return Ok(SUCCESS.into());
    }
    // Line by line: escaping the whole body would also escape its line breaks.
    let body: Vec<String> = body.trim_end().lines().map(|line| escaped(line).to_string()).collect();
    print_to_stderr(&format!("{url} answered {}\n{}", escaped(status), body.join("\n")));
    Ok(FAILURE.into())
}

/// The URL without user name and password.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // The last @ before the path: a password may contain one, and a path or a query may too.
    let at = rest[..host].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[at..])
}

async fn ask(url: &str) -> Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("`{url}` is not supported; give a URL of the form http://HOST:PORT/PATH");
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The port is optional, and 80 if it is missing, as for every URL of HTTP.
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let connected = TcpStream::connect(&address).await;
    let mut stream = connected
        .wrap_err_with(|| format!("{address} can't be reached; check that the service runs there"))?;
    let path = if path.is_empty() { "/" } else { path };
    // `Connection: close` makes the end of the answer the end of the stream, so no length has to be parsed.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(MAX_ANSWER)
        .read_to_end(&mut answer)
        .await
        .wrap_err_with(|| format!("{address} closed the connection before the end of its answer"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_url_are_not_shown() {
        for (url, shown) in [
            ("http://me:p@ss@h:1/readyz?a@b", "http://h:1/readyz?a@b"),
            ("http://h:1/a@b", "http://h:1/a@b"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
