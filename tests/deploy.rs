//! The files that deploy the service agree with the program: the composition passes every variable and opens no port to
//! others, the image asks the service itself for its health, and its compiler is one that the workspace can be built with.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use state_tracker::config::OTHER_VARIABLES;

/// Variables that the composition does not pass on: it names its own Redis, and Prometheus knows the port.
const DECIDED: [&str; 9] = [
    "REDIS_PORT",
    "REDIS_USERNAME",
    "REDIS_URL",
    "REDIS_TLS",
    "REDIS_SENTINELS",
    "REDIS_SENTINEL_MASTER",
    "REDIS_SENTINEL_PASSWORD",
    "REDIS_CLUSTER",
    "STATE_TRACKER_METRICS_PORT",
];

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).expect("a file")
}

/// The lines of a service of the composition.
fn service(name: &str) -> Vec<String> {
    let text = read("docker-compose.monitoring.yml");
    let lines = text.lines().skip_while(|line| *line != format!("  {name}:")).skip(1);
    lines.take_while(|line| line.is_empty() || line.starts_with("    ")).map(str::to_owned).collect()
}

#[test]
fn the_composition_passes_every_variable_that_it_does_not_decide() {
    let settings = read("docs/reference/settings.md");
    let rows = settings.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").nth(1));
    let variables = rows.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
    let known: BTreeSet<&str> =
        variables.filter(|name| !OTHER_VARIABLES.iter().any(|(other, _)| other == name)).collect();
    assert!(known.len() > 20, "{known:?}");
    let lines = service("state-tracker");
    let environment = lines.iter().skip_while(|line| *line != "    environment:").skip(1);
    let environment = environment.take_while(|line| line.starts_with("      "));
    let passed: BTreeSet<&str> =
        environment.filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name).collect();
    let passed: BTreeSet<&str> = passed.into_iter().filter(|name| !name.starts_with('#')).collect();
    let expected: BTreeSet<&str> = known.into_iter().filter(|name| !DECIDED.contains(name)).collect();
    assert_eq!(passed, expected);
}

#[test]
fn the_composition_publishes_on_this_machine_alone_and_gives_the_service_no_rights() {
    let text = read("docker-compose.monitoring.yml");
    let ports: Vec<&str> = text.lines().filter(|line| line.trim().starts_with("ports:")).collect();
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert!(ports.iter().all(|line| line.contains("[\"127.0.0.1:") && !line.contains(',')), "{ports:?}");
    assert!(!service("redis").iter().any(|line| line.contains("ports:")), "Redis is published");
    let own = service("state-tracker");
    for line in
        ["    read_only: true", "    cap_drop: [\"ALL\"]", "    security_opt: [\"no-new-privileges:true\"]"]
    {
        assert!(own.iter().any(|known| known == line), "{line} is missing");
    }
}

#[test]
fn the_image_runs_as_nobody_asks_for_its_health_and_is_built_by_a_known_compiler() {
    let file = read("Dockerfile");
    let line = |begin: &str| file.lines().rev().find_map(|line| line.strip_prefix(begin)).expect("a line");
    assert_eq!((line("USER "), line("EXPOSE "), line("STOPSIGNAL ")), ("10001", "9094", "SIGTERM"));
    assert!(line("HEALTHCHECK ").ends_with("CMD [\"state-tracker\", \"healthcheck\"]"));
    let built =
        file.lines().find_map(|line| line.strip_prefix("FROM docker.io/library/rust:1.")).expect("rust");
    let least = read("Cargo.toml");
    let least = least.lines().find_map(|line| line.strip_prefix("rust-version = \"1.")).expect("a version");
    let number = |text: &str| text.split(['-', '"', '.']).next().and_then(|text| text.parse::<u32>().ok());
    assert!(number(built) >= number(least), "1.{built} is older than 1.{least}");
}

/// The image is built by whichever engine is there: these stand in for them and note how they were called.
#[test]
fn the_image_is_built_by_the_first_engine_that_works() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let build = |engines: &[(&str, bool)]| {
        let bin = folder
            .path()
            .join(engines.iter().map(|(name, works)| format!("{name}{works}")).collect::<String>());
        fs::create_dir_all(&bin).expect("made");
        for (name, works) in engines {
            let code = i32::from(!works);
            let script = format!("#!/bin/sh\n[ \"$1\" = info ] && exit {code}\necho \"{name} $*\"\n");
            fs::write(bin.join(name), script).expect("written");
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("set");
        }
        for tool in ["sh", "dirname"] {
            let found = ["/bin", "/usr/bin"]
                .map(|at| Path::new(at).join(tool))
                .into_iter()
                .find(|path| path.exists());
            std::os::unix::fs::symlink(found.expect("a tool"), bin.join(tool)).expect("linked");
        }
        let output =
            Command::new(path("scripts/image")).env_clear().env("PATH", &bin).output().expect("it runs");
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        (output.status.code(), said.concat())
    };
    let done = |said: &str| (Some(0), said.to_owned());
    let (docker, podman, buildah) = (
        "docker build --tag state-tracker .",
        "podman build --format docker --tag state-tracker .",
        "buildah build --format docker --tag state-tracker .",
    );
    assert_eq!(build(&[("docker", true), ("podman", true)]), done(docker));
    // A client without its daemon.
    assert_eq!(build(&[("docker", false), ("podman", true)]), done(podman));
    assert_eq!(build(&[("docker", false), ("buildah", true)]), done(buildah));
    let (code, said) = build(&[]);
    assert!(code == Some(1) && said.contains("install one of them"), "{said}");
}
