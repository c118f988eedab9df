//! Variables that orchestrators set, and misspelt ones that must not be taken for such.

use super::*;

/// What Kubernetes sets for a service, by the rules of its `envvars` package.
fn kubernetes(service: &str, ip: &str, ports: &[(&str, u16, &str)]) -> Vec<(String, String)> {
    let service = service.to_ascii_uppercase().replace('-', "_");
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut variables = vec![(format!("{service}_SERVICE_HOST"), ip.to_owned())];
    for (at, (name, port, protocol)) in ports.iter().enumerate() {
        let url = format!("{protocol}://{host}:{port}");
        if at == 0 {
            variables.push((format!("{service}_SERVICE_PORT"), port.to_string()));
            variables.push((format!("{service}_PORT"), url.clone()));
        }
        if !name.is_empty() {
            let name = name.to_ascii_uppercase().replace('-', "_");
            variables.push((format!("{service}_SERVICE_PORT_{name}"), port.to_string()));
        }
        let prefix = format!("{service}_PORT_{port}_{}", protocol.to_ascii_uppercase());
        variables.push((prefix.clone(), url));
        variables.push((format!("{prefix}_PROTO"), (*protocol).to_owned()));
        variables.push((format!("{prefix}_PORT"), port.to_string()));
        variables.push((format!("{prefix}_ADDR"), ip.to_owned()));
    }
    variables
}

/// What Docker sets for a container that is linked by this alias, with a range of two ports.
fn docker(alias: &str) -> Vec<(String, String)> {
    let variable = |ending: &str, value: &str| (format!("{alias}_{ending}"), value.to_owned());
    let mut variables = vec![
        variable("NAME", "/tracker/redis"),
        variable("PORT", "tcp://172.17.0.5:6379"),
        variable("PORT_6379_TCP_START", "tcp://172.17.0.5:6379"),
        variable("PORT_6379_TCP_PORT_START", "6379"),
        variable("PORT_6379_TCP_END", "tcp://172.17.0.5:6380"),
        variable("PORT_6379_TCP_PORT_END", "6380"),
        variable("ENV_REDIS_VERSION", "7.2"),
        variable("ENV_STATE_TRACKER_ANYTHING", "at all"),
    ];
    for port in ["6379", "6380"] {
        variables.push(variable(&format!("PORT_{port}_TCP"), &format!("tcp://172.17.0.5:{port}")));
        variables.push(variable(&format!("PORT_{port}_TCP_ADDR"), "172.17.0.5"));
        variables.push(variable(&format!("PORT_{port}_TCP_PORT"), port));
        variables.push(variable(&format!("PORT_{port}_TCP_PROTO"), "tcp"));
    }
    variables
}

fn from_all(variables: &[(String, String)]) -> Result<Loaded, ConfigErrors> {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    from_env(&variables)
}

#[test]
fn the_variables_of_services_whose_names_begin_like_ours_are_passed_over() {
    let http = [("http", 80, "tcp"), ("web-admin", 8080, "tcp")];
    for service in [
        "state-tracker",
        "state-tracker-redis-master",
        "state-tracker-grafana",
        "state-tracker-redis-service-port-x",
        "state-tracker--index--enabled",
    ] {
        for ip in ["10.96.0.7", "fd00::7"] {
            let variables = kubernetes(service, ip, &http);
            assert_eq!(from_all(&variables).err(), None, "{service} {ip}");
        }
    }
    for ports in [[("", 53, "udp")], [("sip", 5060, "sctp")]] {
        assert_eq!(from_all(&kubernetes("state-tracker-dns", "10.0.0.2", &ports)).err(), None);
    }
    for alias in ["STATE_TRACKER", "STATE_TRACKER_REDIS", "STATE_TRACKER_REDIS_1", "STATE_TRACKER__DB"] {
        assert_eq!(from_all(&docker(alias)).err(), None, "{alias}");
    }
}

#[test]
fn each_variable_of_a_service_is_known_by_itself() {
    let variables = kubernetes("state-tracker-redis-master", "10.0.0.7", &[("http", 80, "tcp")]);
    assert_eq!(variables.len(), 8);
    for variable in variables {
        assert_eq!(from_all(std::slice::from_ref(&variable)).err(), None, "{variable:?}");
    }
}

#[test]
fn a_link_with_the_name_of_a_setting_is_refused_and_explained() {
    for (service, key) in [
        ("redis", "redis.port"),
        ("state-tracker-metrics", "http.metrics_port"),
        ("state-tracker--http--metrics", "http.metrics_port"),
    ] {
        let problem = only_problem(from_all(&kubernetes(service, "10.0.0.1", &[("", 6379, "tcp")])));
        let named = format!("a service named {service}:");
        assert_contains(
            &problem,
            &[key, "tcp://10.0.0.1:6379", "Kubernetes", &named, "enableServiceLinks: false"],
        );
    }
    // Passed on by a manifest.
    let problem = only_problem(from_env(&[("STATE_TRACKER__REDIS__PORT", "tcp://10.0.0.1:6379")]));
    assert_contains(&problem, &["redis.port", "Kubernetes", "enableServiceLinks"]);
}

#[test]
fn services_that_are_named_like_the_beginning_of_a_setting_change_nothing() {
    for service in ["redis-sentinels", "redis-cluster", "redis-url", "rpc-nodes", "log-level"] {
        let loaded = from_all(&kubernetes(service, "10.0.0.1", &[("http", 80, "tcp")])).unwrap();
        let is_default = |key: &str| loaded.origins[key] == "default";
        assert!(
            ["redis.sentinels", "redis.cluster", "redis.url", "collector.nodes"].into_iter().all(is_default)
        );
    }
}

#[test]
fn a_misspelt_setting_is_no_link_whatever_its_value() {
    for (name, value) in [
        ("STATE_TRACKER_PORT", "9100"),
        ("STATE_TRACKER_METRIC_PORT", "9094"),
        ("STATE_TRACKER_REDIS_PORT", "6379"),
        ("STATE_TRACKER_REDIS_HOST", "10.0.0.1"),
        ("STATE_TRACKER_REDIS_POOL_SIZE", "4"),
        ("STATE_TRACKER_SERVICE_NAME", "tracker"),
        ("STATE_TRACKER_SERVICE_HOST", "redis.local"),
        ("STATE_TRACKER_SERVICE_PORT", "many"),
        ("STATE_TRACKER_SERVICE_PORT_", "80"),
        ("STATE_TRACKER_PORT_FILE", "/run/secrets/port"),
        ("STATE_TRACKER_PORT_9094", "9094"),
        ("STATE_TRACKER_PORT_9094_TCP", "9094"),
        ("STATE_TRACKER_PORT_9094_TCP", "tcp://10.0.0.1:9095"),
        ("STATE_TRACKER_PORT_9094_TCP", "udp://10.0.0.1:9094"),
        ("STATE_TRACKER_PORT_9094_TCP_PORT", "9095"),
        ("STATE_TRACKER_PORT_9094_TCP_PROTO", "udp"),
        ("STATE_TRACKER_PORT_9094_TCP_SIZE", "9094"),
        ("STATE_TRACKER_REDIS_NAME", "main"),
        ("STATE_TRACKER_REDIS_NAME", "/main"),
        ("STATE_TRACKER_REDIS_ENV_PASSWORD", "secret"),
        ("STATE_TRACKER__HTTP_PORT", "tcp://10.0.0.1:9094"),
        ("STATE_TRACKER__REDIS__SERVICE_PORT", "6379"),
    ] {
        let problem = only_problem(from_env(&[(name, value)]));
        assert_contains(&problem, &[name, "is not a known setting"]);
        assert!(!problem.contains("secret"), "{problem}");
    }
}

#[test]
fn a_setting_with_single_underscores_is_refused_with_its_right_name() {
    let values = ["4", "true", "30s", "10.0.0.1", "tracker", "/run/secrets/one"];
    for setting in schema::settings() {
        let right = format!("STATE_TRACKER__{}", setting.key.replace('.', "__").to_ascii_uppercase());
        let wrong = right.replace("__", "_");
        if setting.variable == Some(&wrong) {
            continue;
        }
        for value in values {
            let problem = only_problem(from_env(&[(&wrong, value)]));
            assert_contains(&problem, &[&wrong, "is not a known setting", &format!("did you mean {right}?")]);
        }
    }
    let problem = only_problem(from_env(&[("STATE_TRACKER_POOL_SIZE", "4")]));
    assert_contains(&problem, &["did you mean STATE_TRACKER__REDIS__POOL_SIZE?"]);
}
