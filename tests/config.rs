//! The configuration as the binary handles it: exit codes, messages and where they go. The environment of each process
//! is cleared; no server is needed.

// Clippy's exception for tests leaves out the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

const ADDRESSES: [(&str, &str); 2] = [
    ("PROTOCOL_STATE_CONTRACT", "0x1111111111111111111111111111111111111111"),
    ("DATA_MARKET_ADDRESSES", "0x2222222222222222222222222222222222222222"),
];

fn state_tracker(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_state-tracker"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn without_addresses_nothing_starts_and_the_exit_code_is_78() {
    for args in [&[][..], &["run"], &["check"], &["healthcheck"]] {
        let output = state_tracker(args, &[]);
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        let said = stderr(&output);
        assert!(said.contains("tracker.protocol is not set: set PROTOCOL_STATE_CONTRACT"), "{said}");
        assert!(said.contains("tracker.markets is not set: set DATA_MARKET_ADDRESSES"), "{said}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn every_bad_value_is_told_at_once() {
    let env = [&ADDRESSES[..], &[("REDIS_PORT", "abc"), ("REDIS_DB", "-1"), ("LOG_LEVEL", "loud")]].concat();
    let output = state_tracker(&["run"], &env);
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    let port = "redis.port: \"abc\" (from environment variable REDIS_PORT) is not allowed: must be a TCP port, 1 to 65535";
    for part in [port, "redis.db: -1", "log.level: \"loud\"", "3 errors"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn check_prints_what_is_in_effect_and_where_it_came_from_without_secrets() {
    let env =
        [&ADDRESSES[..], &[("REDIS_PASSWORD", "123456"), ("STATE_TRACKER_RETENTION_DAYS", "7")]].concat();
    for args in [&["check"][..], &["check", "--json"]] {
        let output = state_tracker(args, &env);
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stdout(&output);
        for part in
            ["redis.password", "***", "environment variable REDIS_PASSWORD", "STATE_TRACKER_RETENTION_DAYS"]
        {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert!(!said.contains("123456"), "{said}");
    }
    let table = stdout(&state_tracker(&["check"], &env));
    let port = table.lines().find(|line| line.starts_with("redis.port ")).unwrap();
    assert_eq!(port.split_whitespace().collect::<Vec<_>>(), ["redis.port", "6379", "default"]);
}

#[test]
fn check_says_first_whether_it_is_valid_what_runs_and_what_was_changed() {
    let env = [&ADDRESSES[..], &[("REDIS_PORT", "6380"), ("STATE_TRACKER__CHAIN__WORKERS", "2")]].concat();
    let said = stdout(&state_tracker(&["check"], &env));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "The configuration is valid.");
    assert_eq!(lines[1].trim(), "tracker    runs: serves 1 market");
    assert_eq!(lines[2].trim(), "collector  does not run: collector.nodes (RPC_NODES) is not set");
    assert_eq!(lines[3].trim(), "read API   does not run: api.read_token (AUTH_READ_TOKEN) is not set");
    assert_eq!(lines[4].trim(), "campaigns  does not run: campaigns.database_url (DATABASE_URL) is not set");
    assert!(lines[5].starts_with("note: ") && lines[5].contains("former name of [collector]"), "{said}");
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(at("Changed:") < at("redis.port ") && at("redis.port ") < at("Defaults:"), "{said}");
    assert!(at("collector.workers ") < at("Defaults:") && at("Defaults:") < at("redis.host "), "{said}");

    let env = [&env[..], &[("RPC_NODES", "http://127.0.0.1:1,http://127.0.0.1:2")]].concat();
    let said = stdout(&state_tracker(&["check"], &env));
    assert!(said.contains("  collector  runs: follows the chain through 2 nodes\n"), "{said}");
}

#[test]
fn check_prints_one_json_object_with_the_connections_in_it() {
    let redis = ("STATE_TRACKER__REDIS__PORT", "1");
    let env = [&ADDRESSES[..], &[redis]].concat();
    let output = state_tracker(&["check", "--json", "--connect"], &env);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["valid"], &json["connected"]), (&true.into(), &false.into()));
    assert_eq!(json["parts"][1]["name"], "collector");
    assert_eq!(json["parts"][1]["runs"], false);
    assert_eq!(json["connections"][0]["ok"], false);
    assert!(json["connections"][0]["detail"].as_str().unwrap().contains("refused"), "{json}");
    assert_eq!(json["settings"]["redis.port"]["value"], 1);

    let output = state_tracker(&["check", "--json"], &env);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json.get("connected").is_none() && json.get("connections").is_none(), "{json}");
}

#[test]
fn the_defaults_are_printed_without_a_configuration() {
    let output = state_tracker(&["check", "--defaults"], &[("REDIS_PORT", "abc")]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), include_str!("../config/default.toml"));
    assert_eq!(state_tracker(&["check", "--defaults", "--json"], &[]).status.code(), Some(2));
}

#[test]
fn check_names_the_unknown_key_of_a_file_and_the_nearest_known_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, "[mailbox]\ncapicity = 5\n").unwrap();
    let path = path.to_str().unwrap();
    for (args, variable) in [(&["check", "--config", path][..], ""), (&["check"], path)] {
        let env = [&ADDRESSES[..], &[("STATE_TRACKER_CONFIG", variable)]].concat();
        let output = state_tracker(args, &env);
        assert_eq!(output.status.code(), Some(78));
        let said = stderr(&output);
        for part in ["mailbox.capicity: 5", path, "did you mean mailbox.capacity?"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}

#[test]
fn a_missing_config_file_is_named() {
    let output = state_tracker(&["--config", "/nowhere/x.toml", "run"], &ADDRESSES);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("file /nowhere/x.toml can't be read"), "{}", stderr(&output));
}

#[test]
fn a_config_file_is_not_looked_for_in_directories_above() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("above.toml"), "").unwrap();
    let below = dir.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
        .args(["check", "--config", "above.toml"])
        .env_clear()
        .envs(ADDRESSES)
        .current_dir(Path::new(&below))
        .output()
        .unwrap()
        .status;
    assert_eq!(status.code(), Some(78));
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    assert_eq!(state_tracker(&["fly"], &[]).status.code(), Some(2));
}

#[test]
fn check_prints_json_also_of_a_configuration_with_errors() {
    let env = [("REDIS_PORT", "abc"), ("DATA_MARKET_ADDRESS", "a")];
    let failing = [&ADDRESSES[..], &[("STATE_TRACKER_FAILURE_POINTS", "nowhere=panic")]].concat();
    for (env, errors) in [(&env[..], 3), (&failing, 1)] {
        for args in [&["check", "--json"][..], &["check", "--json", "--connect"]] {
            let output = state_tracker(args, env);
            assert_eq!(output.status.code(), Some(78));
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(json["valid"], false);
            assert_eq!(json["errors"].as_array().unwrap().len(), errors, "{json}");
            assert_eq!(stderr(&output), "");
        }
    }
    let json: serde_json::Value =
        serde_json::from_slice(&state_tracker(&["check", "--json"], &env).stdout).unwrap();
    assert!(json["notes"][0].as_str().unwrap().contains("did you mean DATA_MARKET_ADDRESSES?"), "{json}");
}

#[test]
fn what_a_restart_can_not_cure_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [one, other] = [1, 2].map(|_| testkit::Authority::new("ours").unwrap());
    let ((cert, _), (_, key)) = (one.client().unwrap(), other.client().unwrap());
    let (ca, cert, key) = (file("ca", &one.certificate()), file("cert", &cert), file("key", &key));
    let nonsense = file("nonsense", "nonsense");
    // Nothing listens at port 1: what works would wait for ever.
    let base = [&ADDRESSES[..], &[("REDIS_TLS", "true"), ("REDIS_PORT", "1")]].concat();
    let [ca_file, cert_file, key_file] =
        ["CA_FILE", "CERT_FILE", "KEY_FILE"].map(|key| format!("STATE_TRACKER__REDIS__{key}"));
    for (more, said) in [
        (vec![(&*ca_file, &*nonsense)], "it contains no certificate"),
        // Only their use shows that they don't belong together.
        (vec![(&*ca_file, &*ca), (&cert_file, &cert), (&key_file, &key)], "redis.key_file belong together"),
        (vec![(&cert_file, &cert), (&key_file, &key)], "redis.key_file belong together"),
        (vec![("STATE_TRACKER_CONFIG", "/dev/zero")], "a device"),
        (vec![("STATE_TRACKER_CONFIG", &nonsense)], "not TOML"),
    ] {
        for command in ["run", "doctor", "diff"] {
            let args = if command == "diff" { vec![command, "--all"] } else { vec![command] };
            let output = state_tracker(&args, &[&base[..], &more].concat());
            assert_eq!(output.status.code(), Some(78), "{command} {more:?}: {}", stderr(&output));
            assert!(stderr(&output).contains(said), "{}", stderr(&output));
        }
    }
}

#[test]
fn a_port_without_the_right_to_it_ends_with_78() {
    const FIRST_FREE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first_free: u16 = std::fs::read_to_string(FIRST_FREE).unwrap().trim().parse().unwrap();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    // Without the right, also as root: it is taken from the process. Containers may give it to everybody; a network of its own does
    // not.
    let without_right = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"];
    let in_own_network = ["unshare", "--map-root-user", "--net"];
    let way: Vec<&str> = match (first_free <= 1, is_root) {
        (true, _) => [&in_own_network[..], &without_right].concat(),
        (false, true) => without_right.to_vec(),
        (false, false) => vec!["env"],
    };
    for (variable, value, remedy) in [
        (
            "STATE_TRACKER_METRICS_PORT",
            "1",
            "set http.metrics_port (STATE_TRACKER_METRICS_PORT) to 1024 or above",
        ),
        (
            "STATE_TRACKER__HTTP__OPERATOR_ADDRESS",
            "127.0.0.1:1",
            "set the port of http.operator_address to 1024 or above",
        ),
    ] {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).arg(env!("CARGO_BIN_EXE_state-tracker")).env_clear();
        command.envs(ADDRESSES).env("STATE_TRACKER_METRICS_PORT", "0").env(variable, value);
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "by {way:?}: {said}");
        assert!(said.contains("Permission denied") && said.contains(remedy), "{said}");
    }
}

#[test]
fn a_key_of_another_certificate_at_the_ports_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = [1, 2].map(|_| testkit::Authority::new("ours").unwrap().server().unwrap());
    let [cert, key] = [("cert", one.certificate), ("key", other.key)].map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let files = [("STATE_TRACKER__HTTP__CERT_FILE", &*cert), ("STATE_TRACKER__HTTP__KEY_FILE", &*key)];
    let output = state_tracker(&["run"], &[&ADDRESSES[..], &files].concat());
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("http.cert_file and http.key_file can't be used"),
        "{}",
        stderr(&output)
    );
}
