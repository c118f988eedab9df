//! What is not a setting.

use super::*;

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let problem = only_problem(from_file("[redis]\nprot = 6380\n"));
    assert_contains(&problem, &["redis.prot: ***", "test.toml", "did you mean redis.port?"]);
    let problem = only_problem(from_file("port = 6380\n"));
    assert_contains(&problem, &["port: 6380", "did you mean redis.port?"]);
    let problem = only_problem(from_file("[ledger]\npool_size = 6\n"));
    assert_contains(&problem, &["ledger.pool_size", "did you mean redis.pool_size?"]);
    let problem = only_problem(from_file("[ledger]\nabsolutely_else = 6\n"));
    assert_contains(&problem, &["the keys of [ledger] are seal_delay, measurement_window"]);
}

#[test]
fn a_key_that_was_renamed_is_refused_with_its_new_name() {
    for (line, now) in [
        ("redis.reconnect_within = '1s'", "redis.reconnect_max_interval"),
        ("collector.silence = '1s'", "collector.close_grace"),
        ("chain.inputs_live = '1h'", "collector.submissions_ttl"),
        ("supervision.stop_within = '1s'", "supervision.stop_timeout"),
    ] {
        let key = line.split(' ').next().unwrap();
        assert_contains(&only_problem(from_file(line)), &[key, &format!("did you mean {now}?")]);
    }
    let problem = only_problem(from_env(&[("STATE_TRACKER__COLLECTOR__CLEAN", "1s")]));
    assert_contains(&problem, &["did you mean STATE_TRACKER__COLLECTOR__CLEANUP_INTERVAL?"]);
}

#[test]
fn an_unknown_section_is_refused_with_the_nearest_known_one() {
    let problem = only_problem(from_file("[supervison]\nwithin = '1s'\n"));
    assert_contains(&problem, &["[supervison]", "test.toml", "did you mean [supervision]?", "mailbox"]);
    let problem = only_problem(from_file("mailbox = 5\n"));
    assert_contains(&problem, &["mailbox: 5", "a table [mailbox] with the keys capacity"]);
}

#[test]
fn an_unknown_variable_of_ours_is_refused_with_the_nearest_known_one() {
    let problem = only_problem(from_env(&[("STATE_TRACKER__REDIS__PROT", "1")]));
    assert_contains(&problem, &["redis.prot", "did you mean STATE_TRACKER__REDIS__PORT?"]);
    let problem = only_problem(from_env(&[("STATE_TRACKER_METRIC_PORT", "1")]));
    assert_contains(&problem, &["STATE_TRACKER_METRIC_PORT", "did you mean STATE_TRACKER_METRICS_PORT?"]);
    let problem = only_problem(from_env(&[("STATE_TRACKER__LOG__LEVEL_FILES", "/x")]));
    assert_contains(&problem, &["log.level_files"]);
}

#[test]
fn a_variable_of_ours_in_small_letters_is_refused_with_the_right_one() {
    for name in [
        "state_tracker__redis__pool_size",
        "State_Tracker__Redis__Pool_Size",
        "state_tracker_redis_pool_size",
    ] {
        let problem = only_problem(from_env(&[(name, "4")]));
        assert_contains(&problem, &[name, "did you mean STATE_TRACKER__REDIS__POOL_SIZE?"]);
    }
}

#[test]
fn a_variable_that_is_nearly_one_of_ours_is_told() {
    for (name, meant) in [
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("REDIS_HSOT", "REDIS_HOST"),
        ("REDIS_PASS", "REDIS_PASSWORD"),
        ("REDIS_USER", "REDIS_USERNAME"),
        ("SEQUENCERID", "SEQUENCER_ID"),
        ("RPC_NODE", "RPC_NODES"),
    ] {
        let notes = from_env(&[(name, "hunter2")]).unwrap().notes;
        assert_eq!(notes, [format!("environment variable {name} has no effect: did you mean {meant}?")]);
    }
    let errors =
        Config::load(None, [("DATA_MARKET_ADDRESS", "a"), ("PROTOCOL_STATE_CONTRAT", "b")]).unwrap_err();
    assert_contains(
        &errors.to_string(),
        &["did you mean DATA_MARKET_ADDRESSES?", "note: ", "did you mean PROTOCOL_STATE_CONTRACT?"],
    );
    // Beside the right one it belongs to another program.
    assert_eq!(from_env(&[("REDIS_PASS", "a"), ("REDIS_PASSWORD", "hunter2")]).unwrap().notes, [""; 0]);
    for (name, value) in [
        ("PATH", "/bin"),
        ("HOME", "/"),
        ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("HOSTNAME", "a"),
        ("LOG_LEVE", ""),
    ] {
        assert_eq!(from_env(&[(name, value)]).unwrap().notes, [""; 0], "{name}");
    }
}

#[test]
fn the_retention_of_the_old_compose_file_is_accepted_with_a_note() {
    let loaded = from_env(&[("STATE_TRACKER_RETENTION_DAYS", "7"), ("PATH", "/bin")]).unwrap();
    assert_eq!(loaded.notes.len(), 1);
    assert_contains(&loaded.notes[0], &["STATE_TRACKER_RETENTION_DAYS", "ignored"]);
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_the_only_complaint() {
    let missing = Config::load(Some(Path::new("/nowhere/x.toml")), [("", ""); 0]);
    assert_contains(&only_problem(missing), &["/nowhere/x.toml", "can't be read", "No such file"]);
    let (_dir, path) = file("[redis]\nport = 1\nhost = = 'x'\n");
    let broken = Config::load(Some(&path), [("", ""); 0]);
    assert_contains(&only_problem(broken), &["test.toml, line 3", "not TOML"]);
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_refused_only_where_it_matters() {
    use std::os::unix::ffi::OsStringExt;
    let broken = || OsString::from_vec(vec![0xff]);
    let result = Config::load(
        None,
        [(OsString::from("REDIS_HOST"), broken()), (OsString::from("OTHER"), broken()), (broken(), broken())],
    );
    let errors = result.unwrap_err();
    assert_contains(&errors.problems()[0], &["redis.host", "REDIS_HOST", "not UTF-8"]);
    assert_eq!(errors.problems().len(), 3, "{errors}");
}
