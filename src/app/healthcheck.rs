//! `healthcheck`: asks a running instance whether it is ready. For containers, whose image has no other HTTP client.

use std::{process::ExitCode, time::Duration};

use color_eyre::eyre::{Result, WrapErr, bail, eyre};
use http_server::{ConnectError, connect};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::output::print_to_stderr;
use crate::config::{ConfigErrors, Http, Loaded};
use crate::escape::escaped;
use crate::exit::{FAILURE, SUCCESS};

/// Time limit for the answer. Docker kills a health check after 30 s by default, and that of the image after 5 s.
const WITHIN: Duration = Duration::from_secs(3);
/// How long a port may show another certificate than the file has: the service reads a file that was replaced after 2 s.
const ROTATED_WITHIN: Duration = Duration::from_millis(2_500);
/// The wait before the file is read and the port is asked again.
const EVERY: Duration = Duration::from_millis(250);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// The first byte of what a server with TLS sends to a client that speaks none: an alert.
const ALERT: u8 = 21;

/// Asks `url` (`http://HOST:PORT/PATH`), or `/readyz` of the configuration. A port with TLS must show the certificate of the
/// configuration, which is read for it. Exit code 0 if ready; else 1, with the answer on standard error.
///
/// # Errors
/// A URL of another form, an unreachable instance, a port that shows another certificate, and a configuration with errors where one is
/// needed.
pub async fn healthcheck(
    url: Option<&str>,
    load: impl Fn() -> Result<Loaded, ConfigErrors>,
) -> Result<ExitCode> {
    let (url, http) = match url {
        // The endpoints need no credentials, and an error message must not show them.
        Some(url) => (without_credentials(url), None),
        None => {
            let http = load()?.config.http;
            (http.local_url("/readyz"), Some(http))
        }
    };
    let asked = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => timeout(WITHIN, ask(rest)).await,
        (None, Some(rest)) => {
            let http = http.map_or_else(|| load().map(|loaded| loaded.config.http), Ok)?;
            timeout(WITHIN, ask_by_tls(rest, &http)).await
        }
        (None, None) => bail!("`{url}` is not supported; give a URL of the form http(s)://HOST:PORT/PATH"),
    };
    let answer = asked.map_err(|_| {
        eyre!("{url} did not answer within {}; check whether the process hangs", errors::rounded(WITHIN))
    })??;
    if answer.first() == Some(&ALERT) {
        bail!("{url} speaks TLS; ask it by https");
    }
    let answer = String::from_utf8_lossy(&answer);
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

/// Asks `HOST[:PORT][/PATH]`.
async fn ask(rest: &str) -> Result<Vec<u8>> {
    let (host, path) = parts(rest);
    let address = address(host, 80);
    get(reach(&address).await?, host, path).await.wrap_err_with(|| broken(&address))
}

/// The same by TLS. The port must show the configured certificate, and nothing else of it is checked: its name need not be that of this
/// machine, and an authority that signs it could sign others.
async fn ask_by_tls(rest: &str, http: &Http) -> Result<Vec<u8>> {
    let (host, path) = parts(rest);
    let address = address(host, 443);
    let deadline = Instant::now() + ROTATED_WITHIN;
    loop {
        let Some(certificate) = http.certificate()? else {
            bail!("https asks for a certificate to expect; set http.cert_file");
        };
        match connect(reach(&address).await?, &certificate).await {
            Ok(stream) => return get(stream, host, path).await.wrap_err_with(|| broken(&address)),
            // The file has just been replaced, or its parts one after the other.
            Err(ConnectError::OtherCertificate | ConnectError::Certificate(_))
                if Instant::now() < deadline =>
            {
                sleep(EVERY).await;
            }
            Err(error) => {
                let remedy = match error {
                    ConnectError::NoTls => "ask it by http, or set http.metrics_tls and restart the service",
                    ConnectError::OtherCertificate => {
                        "check that the service runs there, and in its log whether it could use http.cert_file and http.key_file"
                    }
                    _ => "check that this is the port of the service's endpoints",
                };
                return Err(error).wrap_err_with(|| format!("{address} can't be asked; {remedy}"));
            }
        }
    }
}

/// Host with port, and path.
fn parts(rest: &str) -> (&str, &str) {
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (host, if path.is_empty() { "/" } else { path })
}

/// The port is optional, as for every URL.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
}

async fn reach(address: &str) -> Result<TcpStream> {
    let connected = TcpStream::connect(address).await;
    connected.wrap_err_with(|| format!("{address} can't be reached; check that the service runs there"))
}

fn broken(address: &str) -> String {
    format!("{address} closed the connection before the end of its answer")
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str, path: &str) -> Result<Vec<u8>> {
    // `Connection: close` makes the end of the answer the end of the stream, so no length has to be parsed.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
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
