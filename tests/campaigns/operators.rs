//! What operators find when no status arrives: the lines of the log, as the page lists them, and the steps that `doctor` goes.

use serde_json::{Value, json};
use testkit::wait_until;

use crate::{
    common::{Process, SOON, free_port, run, with},
    official::Official,
    scene::{CAMPAIGN, RUN, Scene, USER, token},
};

const PAGE: &str = include_str!("../../docs/campaigns.md");

/// The messages of the table of log lines, each with its fields. One that the table only describes is empty.
fn lines_of_the_page() -> Vec<(String, Vec<String>)> {
    let section =
        PAGE.split("## Log lines").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| `["));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<String>>();
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        (names(cells[1]).into_iter().next().unwrap_or_default(), names(cells[2]))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_log_line_of_the_original_has_its_counterpart_with_its_fields() {
    let mut scene = Scene::new().await;
    let address = format!("127.0.0.1:{}", free_port().await);
    let gateway = ("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", address.as_str());
    let mut process = Process::start(&with(&scene.environment, &[gateway])).await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &format!("http://{address}/campaigns"), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    clients.event("a", "campaign:status").await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    clients.event("a", "campaign:status").await;
    // The last two rows of the original tell of errors.
    scene.postgres.kill_hard().expect("killed");
    let expected = lines_of_the_page();
    assert_eq!(expected.len(), 12, "the original has twelve lines: {expected:#?}");
    for (message, fields) in expected {
        let is_it = |line: &Value| {
            let is_named = match message.is_empty() {
                true => line["level"] == "WARN" || line["level"] == "ERROR",
                false => line["message"] == message.as_str() && line["level"] == "INFO",
            };
            is_named && fields.iter().all(|field| !line[field.as_str()].is_null())
        };
        wait_until(&format!("`{message}` with {fields:?}"), SOON, async || {
            let log = process.log.borrow().clone();
            log.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|line: Value| is_it(&line))
        })
        .await;
    }
    process.signal_until_it_ends("TERM").await;
}

/// What `doctor` finds of campaigns, as one text.
async fn doctor(scene: &Scene, settings: &[(&str, &str)]) -> String {
    let (_, report, errors) = run(&with(&scene.environment, settings), &["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report}{errors}"));
    let all = report["findings"].as_array().expect("a list").iter();
    let of_campaigns = all.filter(|finding| finding["check"] == "campaigns");
    of_campaigns.map(|finding| format!("{}; {}\n", finding["problem"], finding["remedy"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_goes_the_steps_of_who_looks_why_no_status_arrives() {
    let scene = Scene::new().await;
    let address = format!("127.0.0.1:{}", free_port().await);
    let settings = [
        ("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", address.as_str()),
        ("STATUS_AGGREGATOR_INTERVAL_SECONDS", "15"),
    ];
    // No scheduler runs, nothing listens, nothing was migrated.
    let told = doctor(&scene, &settings).await;
    for part in [
        "1 runs are to be counted, and no status job has ended yet",
        "`campaigns: scheduler` in its /readyz?verbose",
        "nothing listens where clients of campaigns connect",
        "the migration was not run",
    ] {
        assert!(told.contains(part), "`{part}` is missing in\n{told}");
    }
    // With a service, no step finds anything but the migration.
    let process = Process::start(&with(&scene.environment, &settings)).await;
    scene.counted(RUN, 1).await;
    let told = wait_until("all is well", SOON, async || {
        Some(doctor(&scene, &settings).await).filter(|told| told.lines().count() <= 2)
    })
    .await;
    assert!(told.contains("the migration was not run") && !told.contains("counted"), "{told}");
    scene.sql("UPDATE campaigns SET status = 'paused'").await;
    let told = doctor(&scene, &settings).await;
    assert!(told.contains("no campaign is active with a running run"), "{told}");
    // A part of the migration that somebody has removed, and an interval that is too short.
    let owner = scene.postgres.admin_url(crate::scene::DATABASE);
    let migrate = with(&scene.environment, &[("DATABASE_URL", owner.as_str())]);
    let role = crate::scene::ROLE;
    let (code, _, errors) = run(&migrate, &["campaigns", "migrate", "--service", role]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(!doctor(&scene, &settings).await.contains("migration"));
    scene.sql("ALTER TABLE jobs DISABLE TRIGGER USER").await;
    let told = doctor(&scene, &[settings[0], ("STATUS_AGGREGATOR_INTERVAL_SECONDS", "2")]).await;
    assert!(
        told.contains("parts of the migration are missing") && told.contains("counted every 2s"),
        "{told}"
    );
    drop(process);
}
