//! Which source wins, and that table, types and files agree.

use super::*;

#[test]
fn environment_is_above_file_and_file_above_defaults() {
    let (_dir, path) = file("[redis]\nhost = 'file'\nport = 1111\n");
    let loaded = load(Some(&path), &[("REDIS_PORT", "2222")]).unwrap();
    let redis = &loaded.config.redis;
    assert_eq!((redis.host.as_str(), redis.port, redis.db), ("file", 2222, 0));
    assert_eq!(loaded.origins["redis.host"], format!("file {}", path.display()));
    assert_eq!(loaded.origins["redis.port"], "environment variable REDIS_PORT");
    assert_eq!(loaded.origins["redis.db"], "default");
}

#[test]
fn every_variable_of_the_original_works_as_it_is() {
    let loaded = from_env(&[
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6380"),
        ("REDIS_PASSWORD", "geheim"),
        ("REDIS_DB", "3"),
        ("STATE_TRACKER_METRICS_PORT", "9099"),
        ("PROTOCOL_STATE_CONTRACT", "your_contract_address"),
        ("DATA_MARKET_ADDRESSES", "market1_address"),
        ("LOG_LEVEL", "debug"),
        ("SEQUENCER_ID", "validator7"),
    ])
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.redis.address(), "redis:6380/3");
    assert_eq!(config.redis.password.reveal(), "geheim");
    assert_eq!(config.http.metrics_address().to_string(), "0.0.0.0:9099");
    assert_eq!(config.tracker.protocol, "your_contract_address");
    assert_eq!(config.tracker.markets, ["market1_address"]);
    assert_eq!(config.tracker.sequencer_id, "validator7");
    assert_eq!(config.log.level, "debug");
}

#[test]
fn any_setting_has_a_variable_of_its_own() {
    let loaded =
        from_env(&[("STATE_TRACKER__REDIS__POOL_SIZE", "4"), ("STATE_TRACKER__INTERVALS__SUMMARY", "5s")])
            .unwrap();
    assert_eq!(loaded.config.redis.pool_size, 4);
    assert_eq!(loaded.config.intervals.summary, Duration::from_secs(5));
    for setting in schema::settings() {
        let name = setting.generic_variable();
        let result = Config::load(None, [(name.clone(), "\u{1}".to_owned())]);
        let told = result.map_or_else(|e| e.to_string(), |loaded| described(&loaded));
        assert!(!told.contains("not a known setting"), "{name}: {told}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let loaded =
        from_env(&[("REDIS_PASSWORD", ""), ("REDIS_PORT", ""), ("STATE_TRACKER__REDIS__NONSENSE", "")])
            .unwrap();
    assert!(loaded.config.redis.password.is_empty());
    assert_eq!(loaded.origins["redis.port"], "default");
}

#[test]
fn each_setting_is_in_the_table_once_with_a_default_that_is_allowed() {
    let keys: Vec<&str> = schema::settings().map(|setting| setting.key).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    let loaded = from_env(&[]).unwrap();
    let shown: Vec<&str> = loaded.shown.iter().map(|shown| shown.key.as_str()).collect();
    assert_eq!(shown, keys);
    let own: Vec<&str> = schema::settings().filter_map(|setting| setting.variable).collect();
    assert_eq!(own.iter().collect::<BTreeSet<_>>().len(), own.len());
    for setting in schema::settings() {
        // Else a variable that names a file could be that of another setting.
        assert!(schema::find(&format!("{}_file", setting.key)).is_none(), "{}", setting.key);
        assert!(setting.sentences().ends_with('.'), "{}: {}", setting.key, setting.sentences());
    }
}

#[test]
fn the_file_of_defaults_is_allowed_and_changes_nothing() {
    let (_dir, path) = file(&defaults_toml());
    let loaded = load(Some(&path), &[]).unwrap();
    assert_eq!(loaded.config, from_env(&[]).unwrap().config);
    let from_file = |key: &&&str| loaded.origins[**key].starts_with("file ");
    let keys: Vec<&str> = schema::settings().map(|setting| setting.key).collect();
    let required = ["tracker.protocol", "tracker.markets"];
    assert_eq!(keys.iter().filter(from_file).count(), keys.len() - required.len());
}

#[test]
fn every_limit_fits_the_type_behind_it() {
    for setting in schema::settings() {
        let ends = match &setting.kind {
            Kind::Integer { range, .. } => [range.start().to_string(), range.end().to_string()],
            Kind::Duration(range) => [range.start(), range.end()].map(|end| value::readable(*end)),
            _ => continue,
        };
        for end in ends {
            let name = setting.generic_variable();
            if let Err(errors) = from_env(&[(&name, &end)]) {
                // Only what another setting forbids.
                assert_contains(&errors.to_string(), &["which is"]);
            }
        }
    }
}

#[test]
fn the_file_of_defaults_names_every_variable() {
    for variable in schema::settings().filter_map(|setting| setting.variable) {
        assert_contains(&defaults_toml(), &[&format!("Env: {variable}")]);
    }
}

#[test]
fn the_file_may_be_named_by_a_variable_unless_the_command_line_names_one() {
    let (_dir, named) = file("redis.port = 1");
    let (_other, flag) = file("redis.port = 2");
    let variable = (CONFIG_VARIABLE, named.to_str().unwrap());
    assert_eq!(from_env(&[variable]).unwrap().config.redis.port, 1);
    assert_eq!(load(Some(&flag), &[variable]).unwrap().config.redis.port, 2);
    assert_eq!(from_env(&[(CONFIG_VARIABLE, "")]).unwrap().config.redis.port, 6379);
    let problem = only_problem(Config::load(None, [(CONFIG_VARIABLE, "/nowhere/x.toml")]));
    assert_contains(
        &problem,
        &["/nowhere/x.toml, named by environment variable STATE_TRACKER_CONFIG, can't be read"],
    );
}

#[test]
fn the_example_file_is_allowed() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.toml");
    let loaded = Config::load(Some(&example), [("", ""); 0]).unwrap();
    assert_eq!(loaded.config.tracker.markets.len(), 2);
    assert_eq!(loaded.notes, [""; 0]);
}

#[test]
fn the_report_for_programs_keeps_the_types() {
    let json = from_env(&[("REDIS_PASSWORD", "x")]).unwrap().to_json();
    let value = |key: &str| json["settings"][key]["value"].clone();
    assert_eq!(value("redis.port"), 6379);
    assert_eq!(value("intervals.summary"), "30s");
    assert_eq!(value("tracker.markets"), serde_json::json!([MARKET]));
    assert_eq!((value("redis.password"), value("redis.url")), ("***".into(), "".into()));
    assert_eq!(json["settings"]["redis.password"]["from"], "environment variable REDIS_PASSWORD");
}
