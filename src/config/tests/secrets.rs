//! Secrets: as they are, from files, and never shown.

use super::*;

#[test]
fn a_password_of_digits_stays_as_it_is() {
    for password in ["0012345", "1e5", "true", " spaced ", "[1]"] {
        let loaded = from_env(&[("REDIS_PASSWORD", password)]).unwrap();
        assert_eq!(loaded.config.redis.password.reveal(), password);
    }
}

#[test]
fn a_secret_is_read_from_its_file_without_the_newline_at_its_end() {
    for (text, secret) in [("123\n", "123"), ("a b\r\n", "a b"), ("x\n\n", "x\n"), ("y", "y")] {
        let (_dir, path) = file(text);
        let path = path.to_str().unwrap();
        for variable in ["REDIS_PASSWORD_FILE", "STATE_TRACKER__REDIS__PASSWORD_FILE"] {
            let loaded = from_env(&[(variable, path)]).unwrap();
            assert_eq!(loaded.config.redis.password.reveal(), secret);
            assert_contains(&loaded.origins["redis.password"], &[path, variable]);
        }
    }
    let (_dir, path) = file("redis://:pw@other:1/2\n");
    let loaded = from_env(&[("REDIS_URL_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(loaded.config.redis.address(), "other:1/2");
}

#[test]
fn any_other_setting_is_read_from_a_file_too() {
    let (_dir, path) = file("redis.example\n");
    let loaded = from_env(&[("REDIS_HOST_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(loaded.config.redis.host, "redis.example");
    let problem = only_problem(from_env(&[("REDIS_HOST_FILE", "/nowhere/host")]));
    assert_contains(&problem, &["redis.host", "/nowhere/host", "REDIS_HOST_FILE"]);
}

#[test]
fn a_secret_file_that_is_missing_or_empty_is_named() {
    let (_dir, path) = file("\n");
    let missing = path.with_file_name("pw");
    let missing = missing.to_str().unwrap();
    let problem = only_problem(from_env(&[("REDIS_PASSWORD_FILE", missing)]));
    assert_contains(&problem, &["redis.password", missing, "REDIS_PASSWORD_FILE", "No such file"]);
    let problem = only_problem(from_env(&[("REDIS_PASSWORD_FILE", path.to_str().unwrap())]));
    assert_contains(&problem, &["redis.password", "test.toml", "is empty"]);
}

#[test]
fn a_secret_in_place_of_the_name_of_its_file_is_not_shown() {
    for secret in ["hunter2", "/hunter2", "/3fGh/hunter2+a==", "hunter2/x", "redis://:hunter2@h"] {
        for variable in ["REDIS_PASSWORD_FILE", "REDIS_URL_FILE", "RPC_NODES_FILE"] {
            let told = only_problem(from_env(&[(variable, secret)]));
            assert!(!told.contains("hunter2"), "{told}");
            assert_contains(&told, &[variable, "***", "can't be read"]);
        }
    }
    let told = only_problem(from_env(&[("STATE_TRACKER_CONFIG", "redis://:hunter2@h")]));
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_secret_that_looks_mangled_is_used_with_a_note_that_does_not_show_it() {
    for (text, odd) in [
        ("\u{feff}hunter2\n", "begins with a byte-order mark"),
        ("\"hunter2\"\n", "is in quotes"),
        ("'hunter2", "begins with a quotation mark"),
        ("hunter2\n\n", "ends with a line break"),
        ("hunter2\nother\n", "has several lines"),
        (" hunter2", "begins with a blank"),
        ("hunter2 \n", "ends with a blank"),
        ("hunter2\0", "contains a control character"),
        ("hun\u{200b}ter2", "contains a character that can't be seen"),
    ] {
        let (_dir, path) = file(text);
        for (variable, value) in [
            ("REDIS_PASSWORD_FILE", path.to_str().unwrap()),
            ("REDIS_SENTINEL_PASSWORD", text.strip_suffix('\n').unwrap_or(text)),
        ] {
            let loaded = from_env(&[(variable, value)]).unwrap();
            let [note] = &loaded.notes[..] else { panic!("{text:?}: {:?}", loaded.notes) };
            assert_contains(note, &[variable, odd, "password (from "]);
            assert!(!note.contains("hun"), "{note}");
        }
    }
    for fine in ["hunter2", "hunter\"2", "it's mine", "a b c d", "grüner"] {
        assert_eq!(from_env(&[("REDIS_PASSWORD", fine)]).unwrap().notes, [""; 0]);
    }
}

#[test]
fn a_password_that_is_too_short_to_be_hidden_is_told_and_not_shown() {
    for (variable, value, key) in [
        ("REDIS_PASSWORD", "zq9!x", "redis.password"),
        ("REDIS_SENTINEL_PASSWORD", "zq9!x", "redis.sentinel_password"),
        ("REDIS_URL", "redis://me:zq9!x@host", "redis.url"),
        ("RPC_NODES", "https://me:zq9!x@host", "collector.nodes"),
        ("STATE_TRACKER__PEERS__SOURCES", "pool=https://me:zq9!x@host", "peers.sources"),
    ] {
        let loaded = from_env(&[(variable, value)]).unwrap();
        let told: Vec<&String> =
            loaded.notes.iter().filter(|note| note.contains("fewer than 6 bytes")).collect();
        let [note] = &told[..] else { panic!("{variable}: {:?}", loaded.notes) };
        assert!(note.starts_with(&format!("{key}: ")) && !note.contains("zq9"), "{note}");
        let longer = from_env(&[(variable, &value.replace("zq9!x", "zq9!xy"))]).unwrap();
        assert!(!longer.notes.iter().any(|note| note.contains("bytes")), "{:?}", longer.notes);
    }
}

#[test]
fn a_setting_given_by_two_variables_is_refused() {
    let problem = only_problem(from_env(&[("REDIS_PASSWORD", "a"), ("REDIS_PASSWORD_FILE", "/b")]));
    assert_contains(&problem, &["redis.password", "REDIS_PASSWORD and by REDIS_PASSWORD_FILE"]);
    let problem = only_problem(from_env(&[("REDIS_DB", "1"), ("STATE_TRACKER__REDIS__DB", "2")]));
    assert_contains(&problem, &["redis.db", "REDIS_DB and by STATE_TRACKER__REDIS__DB"]);
    assert!(from_env(&[("REDIS_PASSWORD", ""), ("REDIS_URL_FILE", "")]).is_ok());
}

#[test]
fn secrets_are_never_shown() {
    let loaded = from_env(&[("REDIS_PASSWORD", "hunter2"), ("REDIS_URL", "redis://:hunter2@h")]).unwrap();
    assert_eq!(loaded.config.redis.url.reveal(), "redis://:hunter2@h");
    let store_redis::Servers::Single(info) = loaded.config.redis.servers().unwrap() else {
        panic!("one server")
    };
    for told in [
        described(&loaded),
        loaded.to_json().to_string(),
        format!("{loaded:?} {:#?} {info:?}", loaded.config),
        loaded.config.redis.address(),
        loaded.config.redis.password.to_string(),
    ] {
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert_contains(&described(&loaded), &["***"]);
}

#[test]
fn errors_do_not_show_secrets_either() {
    let files = [
        "[redis]\npassword = hunter2\n",
        "[redis]\npassword = ['hunter2']\n",
        "[redis]\npasword = 'hunter2'\n",
        "[redis]\nurl = 'http://:hunter2@host'\n",
        "[redis]\nuri = 'redis://:hunter2@host'\n",
        "[redis]\nphrase = 'hunter2'\n",
        "[redis]\nlogin = ['hunter2']\n",
        "[chain]\nprovider = 'x.io/v3/hunter2'\n",
        "chain = 'x.io/v3/hunter2'\n",
        "rpc = 'x.io/v3/hunter2'\n",
        "redis = 'hunter2'\n",
        "redis = 'redis://:hunter2@host'\n",
        "[redis]\npassword = 'hunter2\n",
        "[redis]\npassword = 'a'\npassword = 'hunter2'\n",
    ];
    for text in files {
        let told = only_problem(from_file(text));
        assert!(!told.contains("hunter2"), "{told}");
    }
    let told = only_problem(from_env(&[("STATE_TRACKER__REDIS__PASWORD", "hunter2")]));
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn applications_that_are_polled_have_a_name_an_interval_and_authorities_and_are_never_shown() {
    const VARIABLE: &str = "STATE_TRACKER__PEERS__SOURCES";
    let text = "pool=https://me:hunter2@pool.example/base,proxy=http://[::1]:3001;interval=1500ms";
    let loaded = from_env(&[(VARIABLE, text)]).unwrap();
    let sources = loaded.config.peers.applications().unwrap();
    let read: Vec<_> = sources.iter().map(|source| (&*source.name, source.interval.as_millis())).collect();
    assert_eq!(read, [("pool", 5_000), ("proxy", 1_500)]);
    assert_eq!(loaded.config.peers.application_names(), ["pool", "proxy"]);
    assert!(loaded.config.secrets().contains(&"hunter2".to_owned()));
    for told in [described(&loaded), loaded.to_json().to_string(), format!("{loaded:?} {sources:?}")] {
        assert!(!told.contains("hunter2") && !told.contains("example"), "{told}");
    }
    for bad in
        ["pool=ftp://hunter2@host", "hunter2", "pool=http://ok.example,hunter2", "hunter2!=http://ok.example"]
    {
        let told = only_problem(from_env(&[(VARIABLE, bad)]));
        assert!(!told.contains("hunter2"), "{told}");
        assert_contains(&told, &["peers.sources", VARIABLE, "***"]);
    }
}
