//! The settings of campaigns.

use super::*;

const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://me:hunter2@db.example:5432/app?sslmode=require");
const SECRET: (&str, &str) =
    ("STATE_TRACKER__CAMPAIGNS__JWT_SECRET", "a-secret-of-tokens-of-32-bytes-or-more");

#[test]
fn campaigns_run_if_there_is_a_database_and_the_variables_of_the_original_work() {
    assert!(!from_env(&[]).unwrap().config.campaigns.is_enabled());
    let loaded = from_env(&[DATABASE, SECRET, ("STATUS_AGGREGATOR_INTERVAL_SECONDS", "20")]).unwrap();
    let campaigns = &loaded.config.campaigns;
    assert!(campaigns.schedules() && campaigns.serves());
    assert_eq!(campaigns.interval.as_secs(), 20);
    assert_eq!(campaigns.gateway_address.to_string(), "127.0.0.1:3000");
    assert_eq!(campaigns.allowed_origins(), None);
    assert!(matches!(campaigns.token_keys(), Some(TokenKeys::Secret(_))));
}

#[test]
fn scheduler_and_gateway_run_apart_and_one_of_them_must_run() {
    let off = |role: &'static str| (role, "false");
    let [scheduler, gateway] =
        ["STATE_TRACKER__CAMPAIGNS__SCHEDULER", "STATE_TRACKER__CAMPAIGNS__GATEWAY"].map(off);
    let campaigns = from_env(&[DATABASE, gateway]).unwrap().config.campaigns;
    assert!(campaigns.schedules() && !campaigns.serves(), "without a gateway no keys of tokens are needed");
    let campaigns = from_env(&[DATABASE, SECRET, scheduler]).unwrap().config.campaigns;
    assert!(!campaigns.schedules() && campaigns.serves());
    let problem = only_problem(from_env(&[DATABASE, scheduler, gateway]));
    assert_contains(&problem, &["campaigns.scheduler", "nothing of the campaigns would run"]);
}

#[test]
fn one_setting_says_whose_tokens_are_right() {
    let problem = only_problem(from_env(&[DATABASE]));
    assert_contains(
        &problem,
        &["campaigns.jwt_secret", "campaigns.jwks_url", "no client could show who it is"],
    );
    let url = ("STATE_TRACKER__CAMPAIGNS__AUTH_URL", "https://auth.example/auth/v1/user");
    let problem = only_problem(from_env(&[DATABASE, SECRET, url]));
    assert_contains(&problem, &["campaigns.auth_url", "must be empty where campaigns.jwt_secret is set"]);
    let config = from_env(&[DATABASE, url]).unwrap().config;
    assert_eq!(config.campaigns.token_keys(), Some(TokenKeys::Provider(url.1)));
}

#[test]
fn the_url_of_the_database_and_the_secrets_are_never_shown() {
    let token = ("STATE_TRACKER__CAMPAIGNS__SERVICE_TOKEN", "token-of-service");
    let loaded = from_env(&[DATABASE, SECRET, token]).unwrap();
    for told in [described(&loaded), loaded.to_json().to_string(), format!("{loaded:?}")] {
        for secret in ["hunter2", "db.example", SECRET.1, token.1] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
    let secrets = loaded.config.secrets();
    for secret in ["hunter2", SECRET.1, token.1] {
        assert!(secrets.iter().any(|known| known == secret), "{secret}");
    }
    for bad in
        ["hunter2", "mysql://me:hunter2@host/db", "postgres://me:hunter2@host", "postgres://me:hunter2@h/d b"]
    {
        let told = only_problem(from_env(&[("DATABASE_URL", bad), SECRET]));
        assert!(!told.contains("hunter2"), "{told}");
        assert_contains(&told, &["campaigns.database_url", "DATABASE_URL", "postgres://"]);
    }
}

#[test]
fn origins_paths_and_ports_are_checked() {
    let origins = "STATE_TRACKER__CAMPAIGNS__ORIGINS";
    let loaded = from_env(&[(origins, "https://a.example, http://localhost:5173")]).unwrap();
    let allowed = loaded.config.campaigns.allowed_origins();
    assert_eq!(allowed, Some(vec!["https://a.example".to_owned(), "http://localhost:5173".to_owned()]));
    for bad in ["a.example", "https://a.example/path", "https://a example", ","] {
        assert_contains(&only_problem(from_env(&[(origins, bad)])), &["campaigns.origins"]);
    }
    for bad in ["", "a..b", "a b", "a'b"] {
        let problem = from_env(&[("STATE_TRACKER__CAMPAIGNS__TIP_PATH", bad)]);
        if !bad.is_empty() {
            assert_contains(&only_problem(problem), &["campaigns.tip_path"]);
        }
    }
    let port = ("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", "127.0.0.1:9095");
    let problem = only_problem(from_env(&[DATABASE, SECRET, port]));
    assert_contains(&problem, &["campaigns.gateway_address", "http.operator_address"]);
    assert!(from_env(&[port]).is_ok(), "without campaigns the port is not opened");
}

#[test]
fn a_file_of_keys_must_have_keys() {
    const VARIABLE: &str = "STATE_TRACKER__CAMPAIGNS__JWKS_FILE";
    let (_dir, path) = file("{\"keys\":[]}");
    let problem = only_problem(from_env(&[DATABASE, (VARIABLE, path.to_str().unwrap())]));
    assert_contains(&problem, &["campaigns.jwks_file", "contains no key"]);
    let (_dir, path) = file("{\"keys\":[{\"kty\":\"EC\"}]}");
    assert!(from_env(&[DATABASE, (VARIABLE, path.to_str().unwrap())]).is_ok());
}
