//! A real browser without a window, for the tests of pages: Chromium, driven over the WebDriver protocol. May start `chromedriver`, which
//! starts the browser, and writes into a temporary directory.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{anvil::post_to, process::OwnedProcess};

const LOG_FILE: &str = "chromedriver.log";
const POLL: Duration = Duration::from_millis(20);
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the browser could not be started or driven.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// A process can't be started, or its directory can't be written.
    #[error("starting `chromedriver` failed: if it is missing, run `scripts/needs chromedriver`")]
    Process(#[from] std::io::Error),
    /// It never said its port.
    #[error("chromedriver was not ready after {START_TIMEOUT:?}; it says:\n{0}")]
    NotReady(String),
    /// It refused a command, or a script failed.
    #[error("the browser refused {command}: {problem}")]
    Refused {
        /// The path of the command.
        command: String,
        /// What it answered.
        problem: String,
    },
}

/// A browser with one window. Dropping it ends all its processes.
#[derive(Debug)]
pub struct Browser {
    // Dropped in this order: first the processes, then their directory.
    _driver: OwnedProcess,
    _dir: TempDir,
    driver: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts one, with a profile of its own.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn start() -> Result<Self, BrowserError> {
        let dir = tempfile::Builder::new().prefix("browser-").tempdir()?;
        let log = std::fs::File::create(dir.path().join(LOG_FILE))?;
        let mut command = Command::new("chromedriver");
        // Its own folder for everything: the browser writes into the home of its user otherwise.
        command.arg("--port=0").env("HOME", dir.path()).env("TMPDIR", dir.path()).current_dir(dir.path());
        command.stdout(log.try_clone()?).stderr(log);
        let process = OwnedProcess::spawn(&mut command, dir.path())?;
        let driver = port_of(dir.path()).await?;
        // The sandbox needs rights that containers and the user root do not give; the pages are our own.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,1600",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer = ask(driver, "/session", &wanted).await?;
        let session = answer["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(Self { _driver: process, _dir: dir, driver, session })
    }

    async fn command(&self, name: &str, body: &Value) -> Result<Value, BrowserError> {
        ask(self.driver, &format!("/session/{}/{name}", self.session), body).await
    }

    /// Opens a page, and waits until it is loaded.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn open(&self, url: &str) -> Result<(), BrowserError> {
        self.command("url", &json!({ "url": url })).await.map(drop)
    }

    /// What a script in the page returns.
    ///
    /// # Errors
    /// [`BrowserError`], also when the script throws.
    pub async fn run(&self, script: &str) -> Result<Value, BrowserError> {
        self.command("execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// What the browser has complained of since the last call: errors of scripts, refusals by the page's policy, failed requests.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn complaints(&self) -> Result<Vec<String>, BrowserError> {
        let all = self.command("se/log", &json!({ "type": "browser" })).await?;
        let all = all.as_array().cloned().unwrap_or_default();
        let grave = all.iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        Ok(grave.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

/// The port that chromedriver chose, from its output.
async fn port_of(dir: &Path) -> Result<SocketAddr, BrowserError> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let text = std::fs::read_to_string(dir.join(LOG_FILE))?;
        let port = text.split("started successfully on port ").nth(1).and_then(|rest| rest.split_once('.'));
        if let Some(port) = port.and_then(|(port, _)| port.parse::<u16>().ok()) {
            return Ok(([127, 0, 0, 1], port).into());
        }
        if Instant::now() > deadline {
            return Err(BrowserError::NotReady(text));
        }
        sleep(POLL).await;
    }
}

async fn ask(driver: SocketAddr, command: &str, body: &Value) -> Result<Value, BrowserError> {
    let refused = |problem: String| BrowserError::Refused { command: command.to_owned(), problem };
    let answer =
        post_to(driver, command, &body.to_string()).await.map_err(|error| refused(error.to_string()))?;
    let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| refused(error.to_string()))?;
    let value = answer["value"].take();
    if value["error"].is_string() {
        return Err(refused(value.to_string()));
    }
    Ok(value)
}
