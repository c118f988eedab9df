//! The demo as its user runs it: what it shows, what it checks, and that it leaves nothing behind.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{
    ffi::OsStr,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use common::SOON;
use testkit::wait_until;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// The contracts of its two markets: their addresses follow from the deploying account.
const MARKETS: [&str; 2] =
    ["0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512", "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"];

/// With this seed, the node would tell each lie within the first blocks.
const SEED: &str = "41";
/// What the lying node does now and then.
const LIES: [&str; 4] = [
    "refuses to answer",
    "reports an old block as the newest",
    "shows a block of another branch",
    "hides the events",
];

/// Starts the demo with its files in this directory.
fn start(arguments: &[&str], temporary: &Path, variables: &[(&str, &OsStr)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary).envs(variables.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts")
}

/// Its end: exit code, standard output, standard error.
async fn end(demo: Child) -> (Option<i32>, String, String) {
    let output = tokio::time::timeout(Duration::from_secs(60), demo.wait_with_output()).await;
    let Output { status, stdout, stderr } = output.expect("it ends").expect("it ran");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

/// Processes whose command line contains `word`.
fn processes_with(word: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
    })
    .collect()
}

/// Its servers and their guards, which name their directories on their command lines, are gone, and so are the
/// directories.
fn assert_nothing_is_left(temporary: &Path) {
    assert_eq!(std::fs::read_dir(temporary).expect("a directory").count(), 0, "files are left");
    assert_eq!(processes_with(temporary.to_str().expect("a name")), Vec::<u32>::new(), "processes are left");
}

type Shown = Lines<BufReader<ChildStdout>>;

/// Waits for a line.
async fn line_with(lines: &mut Shown, is_it: impl Fn(&str) -> bool) -> String {
    let look = async {
        while let Some(line) = lines.next_line().await.expect("read") {
            if is_it(&line) {
                return line;
            }
        }
        panic!("it ended without such a line")
    };
    tokio::time::timeout(SOON, look).await.expect("the line comes")
}

/// All remaining lines.
async fn rest(lines: &mut Shown) -> String {
    let mut rest = String::new();
    while let Some(line) = lines.next_line().await.expect("read") {
        rest.push_str(&line);
        rest.push('\n');
    }
    rest
}

/// The number before this word, where the word comes last in the text.
fn number_before(text: &str, word: &str) -> u64 {
    let (before, _) = text.rsplit_once(word).unwrap_or_else(|| panic!("`{word}` is missing in\n{text}"));
    before.split_whitespace().next_back().and_then(|number| number.parse().ok()).expect("a number")
}

/// The number behind this word.
fn number_after(text: &str, word: &str) -> u64 {
    let (_, after) = text.rsplit_once(word).unwrap_or_else(|| panic!("`{word}` is missing in\n{text}"));
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_passes_its_own_checks_through_crashes_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let demo = start(&["--check", "--for", "22s", "--seed", SEED], temporary.path(), &[]);
    let (code, text, errors) = end(demo).await;
    assert_eq!(code, Some(0), "{text}\n{errors}");
    for word in [
        "dashboard:summary",
        "metrics:current_epoch",
        &format!("market {}", MARKETS[0]),
        &format!("market {}", MARKETS[1]),
        "crashing collector/block-fetcher at block_fetcher::",
        "crashing collector/batch-preparer/0x",
        ": a reorganisation",
        &format!("one of the two nodes lies now and then (seed {SEED}): "),
        "now it tells the truth",
        "crashing peers/history at peer_history::before_write",
        "crashing peers/connections at peer_connection::after_read",
        "peers                    ",
        "crashing campaigns/monitor at campaign_monitor::after_append",
        "campaigns                ",
        " running runs, ",
        " connections, measured ",
        &format!("--seed {SEED} repeats its lies"),
        "check passed",
    ] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    // The last screen: everything on the chain was followed and handed over.
    let (_, last) = text.rsplit_once("state-tracker demo").expect("a screen");
    let head = number_after(last, "chain                    head ");
    assert!(number_after(last, "  checkpoint ") == head && number_after(last, "  lag ") == 0, "{last}");
    assert!(number_after(last, "  reorganisations ") >= 1, "{last}");
    // An actor that crashes after its write has not counted it.
    assert!(number_after(last, "  blocks accepted ") >= head / 2, "{last}");
    assert_eq!(last.matches("  windows                waiting 0  open 0  closed 0  ").count(), 2, "{last}");
    // Both markets have at least the epochs that opened at the start, 5 s and 10 s later.
    assert!(number_after(last, "handed over: epochs ") >= 3, "{last}");
    // It was asked while it lied; after a lie that was noticed it is not asked for a while.
    let told: u64 = LIES.iter().map(|lie| number_after(&text, &format!("{lie}: "))).sum();
    assert!(told > 0 && told == number_after(last, &format!("(seed {SEED}): ")), "{told} lies\n{text}");
    let verdict = text.lines().last().expect("a verdict");
    assert!(number_before(verdict, " comparisons of totals") >= 10, "{verdict}");
    let epochs = number_before(verdict, " epochs,");
    assert!(epochs >= 6 && number_before(verdict, " of the chain") > 4 * epochs, "{verdict}");
    assert!(number_before(verdict, " batches,") > 0 && number_before(verdict, " submissions,") > 0);
    assert!(number_before(verdict, " malformed ones left out") > 0, "{verdict}");
    // The two proxies that live have 16 miners, of which a few are away; the one that dies is dead at the end, and the other lies.
    let miners = number_before(verdict, " miners and ");
    assert!((8..=16).contains(&miners), "{verdict}");
    assert_eq!(number_before(verdict, " connections of living senders"), 5, "{verdict}");
    assert!(number_before(verdict, " lies were dropped") >= 10, "{verdict}");
    assert!(number_before(verdict, " rates of the history") >= 3, "{verdict}");
    // Of the owner's three campaigns one has two runs; a fourth is somebody else's.
    assert_eq!(number_before(verdict, " running ones, are COUNT(*)"), 4, "{verdict}");
    assert!(number_before(verdict, " runs, and its latest status") >= 5, "{verdict}");
    assert!(number_before(verdict, " statuses of campaigns") >= 20, "{verdict}");
    // Each of the two tells of the minute before its first picture.
    assert!(number_before(verdict, " s of it are whole") >= 2 * (60 + 10), "{verdict}");
    assert_nothing_is_left(temporary.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_calm_demo_has_no_crashes_and_no_reorganisations() {
    let temporary = tempfile::tempdir().expect("a directory");
    let demo = start(&["--calm", "--check", "--for", "8s"], temporary.path(), &[]);
    let (code, text, errors) = end(demo).await;
    assert_eq!(code, Some(0), "{text}\n{errors}");
    assert!(text.contains("check passed") && text.contains(", 0 restarts in all"), "{text}");
    assert_eq!(number_after(&text, "  reorganisations "), 0);
    assert!(!text.contains("crashing") && !text.contains("a reorganisation"), "{text}");
    assert!(text.contains("two nodes, and both tell the truth"), "{text}");
    assert!(text.contains(", 0 lies were dropped") && !text.contains("now and then"), "{text}");
    // All three proxies live, and nobody is silent.
    let miners = number_before(&text, " miners and ");
    assert!((14..=20).contains(&miners) && text.contains(", stale none"), "{text}");
    assert_nothing_is_left(temporary.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_whose_queue_is_tampered_with_finds_it_and_ends_with_1() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = start(&["--calm", "--check", "--for", "2s"], temporary.path(), &[]);
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let title = line_with(&mut lines, |line| line.starts_with("state-tracker demo")).await;
    let redis = title.split_whitespace().skip_while(|word| *word != "redis").nth(1).expect("its Redis");
    let client = redis::Client::open(format!("redis://{redis}/0")).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    // The first batch of the first epoch, before it is handed over.
    let job = serde_json::json!({
        "DataMarketAddress": MARKETS[0], "EpochID": 23_000_001, "BatchID": 1, "Batch": { "p": ["no submission"] },
    });
    let mut command = redis::cmd("LPUSH");
    command.arg("finalizerQueue").arg(job.to_string());
    command.exec_async(&mut connection).await.expect("pushed");
    let text = rest(&mut lines).await;
    let (code, _, errors) = end(demo).await;
    assert_eq!(code, Some(1), "{text}\n{errors}");
    let epoch = format!("epoch 23000001 of market {}: ", MARKETS[0].to_lowercase());
    for finding in [format!("{epoch}the queue holds batches [1, 1"), "too many no submission".to_owned()] {
        assert!(
            text.contains("check failed") && text.contains(&finding),
            "`{finding}` is missing in\n{text}"
        );
    }
    assert_nothing_is_left(temporary.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_shows_a_miner_of_no_sender_finds_it_and_ends_with_1() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = start(&["--calm", "--check", "--for", "2s"], temporary.path(), &[]);
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let row = line_with(&mut lines, |line| line.starts_with("peers  ")).await;
    let port = row.split_whitespace().skip_while(|word| *word != "senders").nth(1).expect("its port");
    let mut stranger = tokio::net::TcpStream::connect(port).await.expect("a connection");
    let miner = serde_json::json!({
        "downstream_id": 4711, "name": "ghost-rig", "address": null, "hashrate": 1.0, "shares_submitted": 1, "connected_at": 1,
    });
    let picture = serde_json::json!({ "MinerSnapshot": { "miners": [miner], "timestamp": 1 } });
    tokio::io::AsyncWriteExt::write_all(&mut stranger, format!("{picture}\n").as_bytes())
        .await
        .expect("sent");
    let text = rest(&mut lines).await;
    let (code, _, errors) = end(demo).await;
    assert_eq!(code, Some(1), "{text}\n{errors}");
    for finding in ["check failed", "miner ghost-rig of ", "/api/miners shows what the lying sender told"] {
        assert!(text.contains(finding), "`{finding}` is missing in\n{text}");
    }
    assert_nothing_is_left(temporary.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_without_postgresql_says_so_in_one_line_and_goes_on_without_campaigns() {
    let temporary = tempfile::tempdir().expect("a directory");
    let nowhere = [("POSTGRES_BIN", OsStr::new("/there/is/none"))];
    let demo = start(&["--check", "--for", "6s"], temporary.path(), &nowhere);
    let (code, text, errors) = end(demo).await;
    assert_eq!(code, Some(0), "{text}\n{errors}");
    let screens = text.matches("state-tracker demo ").count();
    let told = "campaigns                left out: there is no `initdb`";
    assert_eq!(text.matches(told).count(), screens, "{text}");
    assert!(text.contains("apt-get install postgresql") && text.contains("POSTGRES_BIN"), "{text}");
    assert!(text.contains("check passed") && text.contains("; campaigns were left out"), "{text}");
    assert!(!text.contains("crashing campaigns/"), "{text}");
    assert_nothing_is_left(temporary.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_and_a_client_by_hand_see_the_campaigns_of_a_demo() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = start(&["--calm"], temporary.path(), &[]);
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let row =
        line_with(&mut lines, |line| line.starts_with("campaigns  ") && line.contains(" 4 running")).await;
    let page = row.split_whitespace().find(|word| word.starts_with("http://")).expect("its page").to_owned();
    let browser = testkit::Browser::start().await.expect("a browser");
    browser.open(&page).await.expect("opened");
    let shown = "const row = document.getElementById('runs').rows[0]; return row ? Number(row.cells[2].textContent) : 0";
    let jobs = async || browser.run(shown).await.expect("run").as_u64().unwrap_or_default();
    let first =
        wait_until("a run is shown", SOON, async || Some(jobs().await).filter(|jobs| *jobs > 0)).await;
    wait_until("it goes on", SOON, async || jobs().await != first).await;
    // The token for the example for Node.
    let address = page.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address");
    let (status, token) = common::get(address, "/token").await;
    assert_eq!((status, token.split('.').count()), (200, 3), "{token}");
    interrupt(&demo).await;
    let (code, _, errors) = end(demo).await;
    assert_eq!(code, Some(0), "{errors}");
    drop(browser);
    assert_nothing_is_left(temporary.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_demo_leaves_no_server_and_no_file_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = start(&["--calm"], temporary.path(), &[]);
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    line_with(&mut lines, |line| line.starts_with("campaigns  ") && line.contains(" running runs")).await;
    demo.start_kill().expect("killed");
    let (code, ..) = end(demo).await;
    assert_eq!(code, None, "a signal ended it");
    let folder = temporary.path().to_str().expect("a name");
    wait_until("the guards have ended the servers", SOON, async || processes_with(folder).is_empty()).await;
    wait_until("the files are gone", SOON, async || {
        std::fs::read_dir(temporary.path()).expect("a directory").count() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_demo_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = start(&[], temporary.path(), &[]);
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let has_blocks = |line: &str| line.starts_with("chain ") && number_after(line, "  blocks accepted ") > 0;
    line_with(&mut lines, has_blocks).await;
    interrupt(&demo).await;
    let rest = rest(&mut lines).await;
    let (code, _, errors) = end(demo).await;
    assert!(
        code == Some(0) && rest.contains("SIGINT: ending") && rest.contains("stopped in"),
        "{rest}\n{errors}"
    );
    assert_nothing_is_left(temporary.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_is_interrupted_while_its_servers_start_leaves_nothing_behind() {
    let (temporary, elsewhere) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another one"));
    // A node that never answers.
    let node = elsewhere.path().join("anvil");
    std::fs::write(&node, "#!/bin/sh\nsleep 4711.25\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&node, mode).expect("executable");
    let demo = start(&[], temporary.path(), &[("ANVIL", node.as_os_str())]);
    wait_until("the node is started", SOON, async || !processes_with("4711.25").is_empty()).await;
    interrupt(&demo).await;
    let (code, text, errors) = end(demo).await;
    assert_eq!(code, Some(0), "{text}\n{errors}");
    assert_nothing_is_left(temporary.path());
    wait_until("the node is gone", SOON, async || processes_with("4711.25").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_the_demo_says_what_to_do_and_leaves_nothing_behind() {
    for (node, told) in [
        ("/there/is/no/anvil", "there is no such program; run `scripts/needs anvil`, or name it in ANVIL"),
        ("/bin/false", "see whether it starts by itself, or name another one in ANVIL"),
    ] {
        let temporary = tempfile::tempdir().expect("a directory");
        let demo = start(&["--check"], temporary.path(), &[("ANVIL", OsStr::new(node))]);
        let (code, text, errors) = end(demo).await;
        assert_eq!(code, Some(1), "{text}\n{errors}");
        assert!(
            errors.contains("the demo needs an EVM node of its own") && errors.contains(told),
            "{errors}"
        );
        assert_nothing_is_left(temporary.path());
    }
}

async fn interrupt(demo: &Child) {
    let pid = demo.id().expect("it runs").to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status().await;
    assert!(status.expect("kill runs").success());
}

/// Runs the demo on a pseudo-terminal of this size; its screens, each without the sequence that clears the terminal, and its last
/// lines.
async fn on_a_terminal(columns: usize, rows: usize) -> Vec<String> {
    let temporary = tempfile::tempdir().expect("a directory");
    let demo = env!("CARGO_BIN_EXE_state-tracker");
    let line = format!("stty columns {columns} rows {rows}; exec {demo} demo --check --for 6s");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("TMPDIR", temporary.path()).kill_on_drop(true);
    // With a closed input it would end at once.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut script = command.spawn().expect("`script` starts");
    let input = script.stdin.take();
    let (code, text, errors) = end(script).await;
    drop(input);
    assert_eq!(code, Some(0), "{text}{errors}");
    assert_nothing_is_left(temporary.path());
    text.split("\x1b[H\x1b[2J").skip(1).map(|screen| screen.replace('\r', "")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_whole_lines_and_always_the_totals() {
    let (small, large) = tokio::join!(on_a_terminal(80, 24), on_a_terminal(200, 70));
    for (screens, columns, rows) in [(&small, 80, 24), (&large, 200, 70)] {
        assert!(screens.len() >= 4, "{screens:#?}");
        for screen in screens {
            assert!(screen.lines().all(|line| line.chars().count() <= columns), "{screen}");
        }
        // The last one is followed by the verdict, which may scroll.
        for screen in &screens[..screens.len() - 1] {
            assert!(screen.lines().count() < rows, "{} lines: {screen}", screen.lines().count());
        }
        assert!(screens.last().is_some_and(|last| last.contains("check passed")), "{screens:#?}");
    }
    let narrow = small.last().expect("a screen");
    assert!(narrow.contains("\npeers  "), "{narrow}");
    assert_eq!(narrow.matches("  handed over: epochs ").count(), 2, "{narrow}");
    assert_eq!(
        narrow.lines().filter(|line| line.starts_with("market ") && line.contains("  batches ")).count(),
        2
    );
    let wide = large.last().expect("a screen");
    for part in [MARKETS[0], MARKETS[1], "stats:current", "handed over: epochs", "pruner", "/health"] {
        assert!(wide.contains(part), "`{part}` is missing in\n{wide}");
    }
}
