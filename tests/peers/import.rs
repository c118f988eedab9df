//! `peers import`: the history of the former service, by the command.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde_json::Value;
use testkit::RedisServer;

use super::{
    common::{self, run},
    scene::{now, settings},
};

/// A file in the schema that the former service deploys: a miner with a window of 60 s each 5 s, whose work is 120.
fn former(folder: &Path, start: u64) -> PathBuf {
    let file = folder.join("former.sqlite");
    let connection = Connection::open(&file).expect("made");
    connection
        .execute_batch(
            "CREATE TABLE downstreams(id INTEGER PRIMARY KEY AUTOINCREMENT, downstream_id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL, \
             address TEXT); \
             CREATE TABLE hashrate_samples(timestamp INTEGER NOT NULL, downstream_id INTEGER NOT NULL, shares_in_window INTEGER NOT NULL, \
             sum_difficulty REAL NOT NULL, shares_lifetime INTEGER NOT NULL, window_seconds INTEGER NOT NULL, \
             PRIMARY KEY (timestamp, downstream_id)); \
             INSERT INTO downstreams(downstream_id, name, address) VALUES (7, 'rig', '192.0.2.7:3333');",
        )
        .expect("made");
    for sample in 0..60 {
        let at = i64::try_from(start + 5 * sample).expect("a time");
        connection
            .execute("INSERT INTO hashrate_samples VALUES (?1, 7, 1, 120.0, 1, 60)", params![at])
            .expect("inserted");
    }
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_former_service_is_imported_once_and_not_beside_a_running_service() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let environment = settings(redis.addr(), folder.path(), &[]);
    let start = now() - 3_600;
    let file = former(folder.path(), start);
    let file = file.to_str().expect("a path");
    let import = async |more: &[&str]| {
        let arguments = [&["peers", "import", file, "--source", "proxy-a"], more].concat();
        run(&environment, &arguments).await
    };
    let report = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let (code, text, errors) = import(&["--dry-run", "--json"]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(
        (&report(&text)["samples_are"], &report(&text)["samples"]["rows"]),
        (&"measured".into(), &60.into())
    );
    let (_, text, _) = import(&["--json"]).await;
    let imported = report(&text)["samples"]["imported"].as_u64().expect("a number");
    assert!(imported >= 59, "a dry run imports nothing: {text}");
    let (code, text, _) = import(&[]).await;
    assert!(code == Some(0) && text.contains("measured samples: 0 of 60 imported"), "{text}");

    let service = common::service(&environment).await;
    let address = service.peers().expect("peers").readers()[0];
    let path = format!("/api/downstream/7/hashrate?from={}&to={}&source=proxy-a", start, start + 300);
    let (code, text) = common::get(address, &path).await;
    let points = report(&text);
    let points = points["data"].as_array().expect("points");
    // Two units of work a second, however often the windows cover a second.
    let is_right = |point: &Value| {
        (point["hashrate_hs"].as_f64().expect("a rate") / (2.0 * 4_294_967_296.0) - 1.0).abs() < 1e-9
    };
    assert!(code == 200 && points.len() > 10 && points.iter().all(is_right), "{text}");
    let (code, _, errors) = import(&[]).await;
    assert!(code == Some(1) && errors.contains("stop the other process"), "{code:?} {errors}");
    service.stop().await;
    let without = environment.iter().filter(|(name, _)| *name != "STATE_TRACKER__PEERS__HISTORY");
    let without = without.map(|(name, value)| (name.clone(), value.clone())).collect();
    let (code, _, errors) = run(&without, &["peers", "import", file, "--source", "proxy-a"]).await;
    assert!(code == Some(1) && errors.contains("set peers.history"), "{code:?} {errors}");
}
