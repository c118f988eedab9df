//! Values that are not allowed.

use super::*;

#[test]
fn a_bad_value_names_key_value_origin_and_what_is_allowed() {
    assert_eq!(
        only_problem(from_env(&[("REDIS_PORT", "abc")])),
        "redis.port: \"abc\" (from environment variable REDIS_PORT) is not allowed: must be a TCP port, 1 to 65535"
    );
    let (_dir, path) = file("[redis]\nport = 70000\n");
    assert_eq!(
        only_problem(load(Some(&path), &[])),
        format!(
            "redis.port: 70000 (from file {}) is not allowed: must be a TCP port, 1 to 65535",
            path.display()
        )
    );
}

#[test]
fn values_of_the_wrong_kind_or_size_are_refused() {
    for (line, expected) in [
        ("redis.port = '6379'", "without quotes"),
        ("redis.port = 0", "1 to 65535"),
        ("redis.port = 63.5", "redis.port: 63.5 (from"),
        ("redis.port = true", "redis.port: true (from"),
        ("redis.db = -1", "redis.db: -1 (from"),
        ("redis.host = 5", "in quotes"),
        ("redis.host = ''", "a host name"),
        ("redis.host = 'redis:6379'", "without scheme and port"),
        ("redis.password = 5", "in quotes"),
        ("redis.port.a = 5", "a table"),
        ("intervals.summary = 30", "with its unit"),
        ("intervals.summary = '30'", "with its unit"),
        ("intervals.summary = '-1s'", "with its unit"),
        ("intervals.summary = '0s'", "100ms to 24h"),
        ("intervals.summary = '25h'", "100ms to 24h"),
        ("supervision.shutdown_timeout = '9s'", "8900ms"),
        ("peers.networks = '10.0.0.0/33'", "networks such as"),
        ("peers.names = '10.0.0.7'", "addresses with names"),
        ("peers.names = '10.0.0.7=two words'", "addresses with names"),
        ("peers.sources = 'pool=http://10.0.0.8'", "a list of applications"),
        ("peers.sources = ['http://10.0.0.8']", "a `=` before its URL"),
        ("peers.sources = ['two words=http://10.0.0.8']", "its name has other characters"),
        ("peers.sources = ['pool=10.0.0.8:3000']", "does not begin with http:// or https://"),
        ("peers.sources = ['pool=http://10.0.0.8/?key=1']", "or has a query"),
        ("peers.sources = ['pool=http://10.0.0.8;interval=5']", "no duration of 1s to 1m"),
        ("peers.sources = ['pool=http://10.0.0.8;interval=2m']", "no duration of 1s to 1m"),
        ("peers.sources = ['pool=http://10.0.0.8;every=5s']", "something else than one interval"),
        (
            "peers.sources = ['pool=http://10.0.0.8;interval=5s;interval=6s']",
            "something else than one interval",
        ),
        ("peers.sources = ['pool=http://10.0.0.8;ca_file=/nowhere']", "its ca_file: No such file"),
        ("peers.sources = ['a=http://10.0.0.8', 'a=http://10.0.0.9']", "another item has its name"),
        ("peers.sources = ['a=http://10.0.0.8']\npeers.names = '10.0.0.8=a'", "other names than peers.names"),
        ("peers.keep_samples = '31d'", "peers.keep_minutes"),
        ("mailbox.capacity = 0", "a number of messages, 1 to"),
        ("mailbox.max_attempts = -3", "1 to 100"),
        ("http.host = 'localhost'", "an IP address"),
        ("http.operator_address = '9095'", "an IP address and a port"),
        ("log.format = 'xml'", "\"text\" or \"json\""),
        ("log.level = 'loud'", "error, warn, info"),
        ("log.level = 'store=loud'", "error, warn, info"),
        ("tracker.sequencer_id = ''", "an id"),
        ("redis.when = 1979-05-27", "redis.when"),
    ] {
        let problem = only_problem(from_file(line));
        let key = line.split([' ', '=']).next().unwrap().trim_end_matches(".a");
        assert_contains(&problem, &[key, "test.toml", expected]);
    }
}

#[test]
fn log_levels_of_the_original_and_filters_are_understood() {
    for (text, level) in [
        ("DEBUG", "debug"),
        ("warning", "warn"),
        ("fatal", "error"),
        ("off", "off"),
        ("info, store_redis=debug", "info,store_redis=debug"),
    ] {
        let loaded = from_env(&[("LOG_LEVEL", text)]).unwrap();
        assert_eq!(loaded.config.log.level, level);
    }
}

#[test]
fn a_url_replaces_the_parts_and_is_checked() {
    let loaded =
        from_env(&[("REDIS_URL", "redis://user:p%40ss@example:7000/4"), ("REDIS_HOST", "ignored")]).unwrap();
    let store_redis::Servers::Single(info) = loaded.config.redis.servers().unwrap() else {
        panic!("one server")
    };
    assert_eq!(loaded.config.redis.address(), "example:7000/4");
    assert_eq!(info.redis_settings().password(), Some("p@ss"));
    assert!(loaded.notes.contains(&"redis.url replaces redis.host".to_owned()));
    for url in [
        "rediss://h/#insecure",
        "valkey://h",
        "redis://",
        "redis://h/x",
        "redis://h/-1",
        "http://a",
        "h:6379",
    ] {
        let problem = only_problem(from_env(&[("REDIS_URL", url)]));
        assert_contains(&problem, &["redis.url", "REDIS_URL", "rediss:// for TLS"]);
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both_values() {
    let problem = only_problem(from_file("supervision.backoff_first = '40s'"));
    assert_contains(
        &problem,
        &["supervision.backoff_first: \"40s\"", "at most supervision.backoff_max", "\"30s\" (from default)"],
    );
    for text in [
        "mailbox.batch = 2000",
        "redis.command_timeout = '30s'",
        "supervision.wedge_timeout = '30s'",
        "supervision.shutdown_timeout = '1s'",
        "http.metrics_port = 9095",
        "intervals.current_epoch = '200ms'",
    ] {
        assert_contains(&only_problem(from_file(text)), &["which is"]);
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let (_dir, path) = file(
        "[redis]\nhots = 'x'\ndb = 'many'\n[intervall]\nsummary = '1s'\n[intervals]\nsummary = 'soon'\n[mailbox]\nbatch = 2000\n",
    );
    let env =
        [("REDIS_PORT", "abc"), ("REDIS_PASSWORD_FILE", "/nowhere"), ("DATA_MARKET_ADDRESSES", "a:b,{c}")];
    let errors = Config::load(Some(&path), env).unwrap_err();
    let text = errors.to_string();
    assert_contains(
        &text,
        &[
            "the configuration has 10 errors",
            "redis.hots",
            "[intervall]",
            "redis.password",
            "redis.port",
            "redis.db",
            "tracker.protocol is not set",
            "\"a:b\"",
            "\"{c}\"",
            "intervals.summary",
            "mailbox.batch",
        ],
    );
    assert_eq!(errors.problems().len(), 10, "{text}");
}

#[test]
fn servers_are_found_in_one_way_and_each_way_has_its_rules() {
    let sentinels = ("REDIS_SENTINELS", "a:26379, [::1]:26380");
    let loaded =
        from_env(&[sentinels, ("REDIS_SENTINEL_MASTER", "main"), ("REDIS_DB", "2"), ("REDIS_TLS", "true")]);
    let redis = loaded.unwrap().config.redis;
    assert_eq!(redis.address(), "main of the sentinels a:26379,[::1]:26380/2");
    let store_redis::Servers::Sentinel { sentinels: named, node, .. } = redis.servers().unwrap() else {
        panic!("sentinels")
    };
    assert_eq!((named.len(), node.redis_settings().db()), (2, 2));
    assert!(
        named.iter().chain([&node]).all(|info| matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }))
    );

    let cluster = ("REDIS_CLUSTER", "[\"a:7000\", \"b:7001\"]");
    let redis = from_env(&[cluster]).unwrap().config.redis;
    assert!(matches!(redis.servers().unwrap(), store_redis::Servers::Cluster(nodes) if nodes.len() == 2));
    let problem = only_problem(from_env(&[cluster, ("REDIS_DB", "2")]));
    assert_contains(&problem, &["redis.db: 2", "REDIS_DB", "must be 0 when redis.cluster is set"]);
    let problem = only_problem(from_env(&[cluster, sentinels]));
    assert_contains(
        &problem,
        &["redis.cluster", "must be empty where redis.sentinels is set", "REDIS_SENTINELS"],
    );
    let (_dir, cert) = file(&files::certificate());
    let problem = only_problem(from_env(&[("STATE_TRACKER__REDIS__CERT_FILE", cert.to_str().unwrap())]));
    assert_contains(&problem, &["redis.key_file", "redis.cert_file"]);
    for bad in ["a", "a:0", "a:99999", "::1:6379", "redis://a:1", "[::1%]:1", "a;b:1"] {
        let problem = only_problem(from_env(&[("REDIS_CLUSTER", bad)]));
        assert_contains(&problem, &["redis.cluster", "host:port"]);
    }
}

#[test]
fn a_file_of_certificates_that_can_not_be_read_is_refused() {
    let missing = "/nowhere/ca.pem";
    for key in ["CA_FILE", "CERT_FILE", "KEY_FILE"] {
        let variable = format!("STATE_TRACKER__REDIS__{key}");
        let errors = from_env(&[(&variable, missing)]).unwrap_err();
        let key = format!("redis.{}", key.to_lowercase());
        assert_contains(
            &errors.problems()[0],
            &[&key, missing, &variable, "PEM file that this user may read: No such"],
        );
    }
}

#[test]
fn a_value_that_lacks_its_unit_is_refused_with_what_was_probably_meant() {
    let refusal = |variable, value| only_problem(from_env(&[(variable, value)]));
    let problem = refusal("BLOCK_TIME", "0.5");
    assert_contains(
        &problem,
        &["(BLOCK_TIME also takes whole seconds); did you mean \"500ms\"?", "10ms to 1h"],
    );
    assert_contains(&refusal("STATE_TRACKER__INTERVALS__SUMMARY", "30"), &["did you mean \"30s\"?"]);
    assert!(!refusal("STATE_TRACKER__INTERVALS__SUMMARY", "1000000").contains("did you mean"));
    assert_contains(&only_problem(from_file("intervals.summary = 90")), &["did you mean \"90s\"?"]);
    for (text, meant) in [("5M", "5m"), ("30S", "30s"), ("1 Min", "1 min"), ("2H", "2h")] {
        assert_contains(
            &refusal("STATE_TRACKER__INTERVALS__SUMMARY", text),
            &[&format!("did you mean {meant:?}?")],
        );
    }
    assert_contains(&only_problem(from_file("intervals.find = 0")), &["did you mean \"0s\"?"]);
}

#[test]
fn a_duration_is_read_in_every_documented_form() {
    for (text, milliseconds) in [
        ("250ms", 250),
        ("30s", 30_000),
        ("90s", 90_000),
        ("1m 30s", 90_000),
        ("1h30m", 5_400_000),
        ("1.5h", 5_400_000),
        ("24h", 86_400_000),
        ("1 day", 86_400_000),
        (" 5 minutes\n", 300_000),
    ] {
        let duration = Duration::from_millis(milliseconds);
        let variable = ("STATE_TRACKER__INTERVALS__SUMMARY", text);
        assert_eq!(from_env(&[variable]).unwrap().config.intervals.summary, duration, "{text:?}");
        let loaded = from_file(&format!("intervals.summary = {text:?}"));
        assert_eq!(loaded.unwrap().config.intervals.summary, duration, "{text:?}");
    }
    for zero in ["0s", "0", "0ms"] {
        let variable = ("STATE_TRACKER__INTERVALS__FIND", zero);
        assert_eq!(from_env(&[variable]).unwrap().config.intervals.find, Duration::ZERO);
    }
}

#[test]
fn quotes_are_asked_for_only_where_they_would_help() {
    let refused = |variable| only_problem(from_env(&[(variable, "yes")]));
    assert!(refused("REDIS_TLS").ends_with("must be true or false"), "{}", refused("REDIS_TLS"));
    assert_contains(&only_problem(from_file("redis.tls = 'true'")), &["true or false, without quotes"]);
}

#[test]
fn ids_that_name_keys_have_no_quotes() {
    for variable in ["SEQUENCER_ID", "REDIS_SENTINEL_MASTER"] {
        for (id, hint) in [
            ("\"main\"", "this one is in quotes"),
            ("'main'", "this one is in quotes"),
            ("main\"", "this one ends with a quotation mark"),
            ("a main", ""),
            ("main\t", "this one ends with a blank"),
            ("main\r", "this one ends with a line break"),
            ("\u{a0}main", "this one begins with a blank"),
            ("\u{feff}main", "this one begins with a byte-order mark"),
            ("ma\u{200d}in", "this one contains a character that can't be seen"),
            ("ma\u{7f}in", "this one contains a control character"),
        ] {
            let problem = only_problem(from_env(&[(variable, id)]));
            assert_contains(&problem, &[variable, "must be an id without spaces and quotes", hint]);
        }
    }
    for (variable, value) in [
        ("REDIS_USERNAME", "\"me\""),
        ("REDIS_HOST", "redis\n"),
        ("REDIS_PORT", "'1'"),
        ("LOG_LEVEL", "\"info\""),
    ] {
        assert_contains(&only_problem(from_env(&[(variable, value)])), &[variable, "; this one "]);
    }
}

#[test]
fn outside_text_begins_no_error_of_its_own() {
    let forged = "x\n  - all is well";
    let variable = format!("STATE_TRACKER_{forged}");
    for errors in [
        from_env(&[(&variable, "1")]),
        from_env(&[("REDIS_HOST", forged)]),
        from_env(&[("REDIS_HOST_FILE", forged)]),
        from_file("[\"x\\n  - all is well\"]"),
        from_file("[redis]\n\"x\\n  - all is well\" = 1"),
    ] {
        assert_eq!(errors.unwrap_err().to_string().lines().count(), 2);
    }
}

#[test]
fn a_refused_value_that_may_hold_a_secret_is_hidden() {
    let variables = [
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_DB",
        "REDIS_TLS",
        "REDIS_SENTINELS",
        "REDIS_CLUSTER",
        "REDIS_SENTINEL_MASTER",
        "PROTOCOL_STATE_CONTRACT",
        "DATA_MARKET_ADDRESSES",
        "SEQUENCER_ID",
        "LOG_LEVEL",
        "STATE_TRACKER__INTERVALS__SUMMARY",
        "STATE_TRACKER__REDIS__CA_FILE",
        "STATE_TRACKER__REDIS__KEY_FILE",
    ];
    for variable in variables {
        for value in [
            "redis://:hunter2@h:1",
            "http://x.io/v3/hunter2",
            "redis://:a,hunter2,b@h",
            "-----BEGIN PRIVATE KEY-----\nhunter2",
        ] {
            let told = from_env(&[(variable, value)]).unwrap_err().to_string();
            assert!(!told.contains("hunter2") && told.contains("***"), "{told}");
            let told = from_env(&[(&format!("{variable}_FILE"), value)]).unwrap_err().to_string();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    for (key, value) in [("host", "me:hunter2@h"), ("port", "x.io/v3/hunter2"), ("sentinels", "hunter2@h")] {
        let told = only_problem(from_file(&format!("[redis]\n{key} = {value:?}")));
        assert!(!told.contains("hunter2"), "{told}");
        let told = only_problem(from_file(&format!("[redis]\n{key} = [{value:?}]")));
        assert!(!told.contains("hunter2"), "{told}");
    }
    // Nor is anything that was put into a path or a host by its escapes.
    for url in [
        "unix:///x%3Fpass=hunter2",
        "redis://x%3Fpass=hunter2",
        "redis://:hunter2@h\t",
        "redis://:hunter2@h ",
    ] {
        assert!(!only_problem(from_env(&[("REDIS_URL", url)])).contains("hunter2"));
    }
    assert_eq!(
        from_env(&[("REDIS_URL", "unix:///run/redis.sock?pass=hunter2")]).unwrap().config.redis.address(),
        "/run/redis.sock/0"
    );
}

#[test]
fn a_list_may_begin_with_an_ipv6_address() {
    let sentinels = from_env(&[("REDIS_SENTINELS", "[::1]:26379,b:26379")]).unwrap().config.redis.sentinels;
    assert_eq!(sentinels, ["[::1]:26379", "b:26379"]);
    let redis = from_env(&[("REDIS_SENTINELS", "[fe80::1%eth0]:26379 [::2]:1")]).unwrap().config.redis;
    assert_eq!(redis.sentinels, ["[fe80::1%eth0]:26379", "[::2]:1"]);
    assert!(
        matches!(redis.servers().unwrap(), store_redis::Servers::Sentinel { sentinels, .. } if sentinels.len() == 2)
    );
}

#[test]
fn an_address_of_the_operator_that_others_reach_needs_a_token_and_tls_or_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "the-token-of-readers").unwrap();
    let file = file.display().to_string();
    let address = |address| ("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", address);
    for local in ["127.0.0.2:9095", "[::1]:9095", "[::ffff:127.0.0.1]:9095"] {
        assert_eq!(from_env(&[address(local)]).unwrap().notes, [""; 0], "{local}");
    }
    for open in ["0.0.0.0:9095", "[::]:9095", "10.1.2.3:9095"] {
        let error = from_env(&[address(open)]).unwrap_err().to_string();
        assert_contains(&error, &["http.operator_address", open, "without http.read_token_file"]);
        for setting in ["READ", "OPERATOR"] {
            let token = format!("STATE_TRACKER__HTTP__{setting}_TOKEN_FILE");
            let notes = from_env(&[address(open), (&token, &file)]).unwrap().notes;
            assert_contains(&notes[0], &["unencrypted", "http.cert_file"]);
        }
    }
    std::fs::write(&file, "too-short").unwrap();
    let error = from_env(&[("STATE_TRACKER__HTTP__READ_TOKEN_FILE", &*file)]).unwrap_err().to_string();
    assert_contains(&error, &["http.read_token_file", "line 1 is no token: 16 to 512"]);
    assert!(!error.contains("too-short"), "{error}");
}

#[test]
fn tls_at_the_metrics_port_needs_a_certificate() {
    let tls = ("STATE_TRACKER__HTTP__METRICS_TLS", "true");
    let error = from_env(&[tls]).unwrap_err().to_string();
    assert_contains(&error, &["http.metrics_tls: true", "without http.cert_file"]);
    let folder = tempfile::tempdir().unwrap();
    let identity = testkit::Authority::new("ours").unwrap().server().unwrap();
    let [cert, key] = [("cert", identity.certificate), ("key", identity.key)].map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    });
    let files = [("STATE_TRACKER__HTTP__CERT_FILE", &*cert), ("STATE_TRACKER__HTTP__KEY_FILE", &*key)];
    let http = from_env(&[&files[..], &[tls]].concat()).unwrap().config.http;
    assert_eq!(http.local_url("/readyz"), "https://127.0.0.1:9094/readyz");
    let http = from_env(&files).unwrap().config.http;
    assert_eq!(http.local_url("/readyz"), "http://127.0.0.1:9094/readyz");
}

#[test]
fn tls_with_senders_needs_certificate_and_key_and_their_certificates_need_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = testkit::Authority::new("ours").unwrap();
    let identity = authority.server().unwrap();
    let setting = |name, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (format!("STATE_TRACKER__PEERS__{name}"), path.display().to_string())
    };
    let cert = setting("CERT_FILE", &identity.certificate);
    let key = setting("KEY_FILE", &identity.key);
    let authorities = setting("CLIENT_CA_FILE", &authority.certificate());
    let error = |set: &[&(String, String)]| {
        let all: Vec<(&str, &str)> = set.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
        from_env(&all).map(|loaded| loaded.config.peers).map_err(|error| error.to_string())
    };
    assert_contains(
        &error(&[&cert]).unwrap_err(),
        &["peers.key_file", "must be set where peers.cert_file is set"],
    );
    assert_contains(
        &error(&[&key]).unwrap_err(),
        &["peers.cert_file", "must be set where peers.key_file is set"],
    );
    let needed = ["peers.client_ca_file", "must be empty without peers.cert_file and peers.key_file"];
    assert_contains(&error(&[&authorities]).unwrap_err(), &needed);
    let files = error(&[&cert, &key, &authorities]).unwrap().files().unwrap();
    assert!(files.certificate.is_some() && files.client_authorities.is_some());
    std::fs::write(&authorities.1, "none").unwrap();
    let error = error(&[&cert, &key, &authorities]).unwrap_err();
    assert_contains(&error, &["peers.client_ca_file", "it contains no certificate"]);
}

#[test]
fn ports_for_senders_that_others_reach_have_a_note_unless_they_speak_tls() {
    let open = [
        ("STATE_TRACKER__PEERS__HISTORY", "peers.db"),
        ("STATE_TRACKER__PEERS__POOL_ADDRESS", "0.0.0.0:9083"),
    ];
    let notes = from_env(&open).unwrap().notes;
    assert_contains(&notes[0], &["peers.pool_address: 0.0.0.0:9083", "unencrypted", "peers.cert_file"]);
    assert_eq!((notes.len(), from_env(&open[..1]).unwrap().notes.len()), (1, 0));
}

#[test]
fn errors_stay_short_and_come_soon_however_much_is_wrong() {
    let began = std::time::Instant::now();
    let commas = "a:b,".repeat(200_000);
    let many: String = (0..60_000).map(|at| format!("k{at} = 1\n")).collect();
    let long = "x".repeat(500_000);
    let tables: String = (0..20_000).map(|at| format!("[markets.m{at}]\ncompat = 'go'\n")).collect();
    for (result, part) in [
        (from_env(&[("REDIS_CLUSTER", &commas)]), "a list of 200000 items"),
        (from_env(&[("DATA_MARKET_ADDRESSES", &commas[..4 * 9_000 - 1])]), "\"a:b\" and 8990 more"),
        (from_file(&many), "59800 more errors are not listed"),
        (from_file(&tables), "19800 more errors are not listed"),
        (from_env(&[("REDIS_HOST", &format!("{long}:1"))]), "…"),
        (from_env(&[(&format!("STATE_TRACKER_{long}"), "1")]), "…"),
        (from_file(&format!("[markets.{long}]\ncompat = 'go'\n")), "…"),
        (from_file(&format!("{long} = '{long}'")), "…"),
    ] {
        let text = result.unwrap_err().to_string();
        assert_contains(&text, &[part]);
        assert!(text.len() < 200_000, "{} bytes", text.len());
    }
    // Each check takes a time that grows with the input, and not with its square.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
