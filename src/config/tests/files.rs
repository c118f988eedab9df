//! The files that a configuration names: of every kind, and of any size.

use std::io::Write;
use std::process::Command;
use std::time::Instant;

use super::*;

/// A certificate as PEM.
pub(super) fn certificate() -> String {
    testkit::Authority::new("ours").unwrap().certificate()
}

/// The variables that name files, each with a setting.
const NAMING: [&str; 4] =
    ["STATE_TRACKER_CONFIG", "REDIS_PASSWORD_FILE", "REDIS_HOST_FILE", "STATE_TRACKER__REDIS__CA_FILE"];

fn pipe(folder: &Path) -> PathBuf {
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    pipe
}

#[test]
fn a_file_without_an_end_and_what_is_no_file_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    // Without blocks on the disk.
    std::fs::File::create(&large).unwrap().set_len(8 << 30).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let socket = folder.path().join("socket");
    for (path, why) in [
        (Path::new("/dev/zero"), "a device"),
        (folder.path(), "a directory"),
        (&socket, "a socket"),
        (&large, "larger than 1024 KiB"),
    ] {
        for variable in NAMING {
            let began = Instant::now();
            let problem = only_problem(from_env(&[(variable, path.to_str().unwrap())]));
            assert_contains(&problem, &[why, path.to_str().unwrap()]);
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    }
}

#[test]
fn a_pipe_is_read_to_its_end_and_not_waited_for_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(folder.path());
    let named = pipe.to_str().unwrap();
    // A writer that comes later, and writes in parts.
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
            for part in ["hun", "ter2\n"] {
                pipe.write_all(part.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let loaded = from_env(&[("REDIS_PASSWORD_FILE", named)]).unwrap();
    assert_eq!(loaded.config.redis.password.reveal(), "hunter2");
    writer.join().unwrap();

    // Nobody writes, and somebody writes for ever.
    let problem = only_problem(from_env(&[("STATE_TRACKER_CONFIG", named)]));
    assert_contains(&problem, &["it is a pipe, and did not end within 5"]);
    let open = pipe.clone();
    let endless = std::thread::spawn(move || {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(open).unwrap();
        while pipe.write_all(&[b'#'; 4096]).is_ok() {}
    });
    let problem = only_problem(from_env(&[("STATE_TRACKER_CONFIG", named)]));
    assert_contains(&problem, &["larger than 1024 KiB"]);
    endless.join().unwrap();

    // Certificates are read again at the start.
    let problem = only_problem(from_env(&[("STATE_TRACKER__REDIS__CA_FILE", named)]));
    assert_contains(&problem, &["a pipe, which can be read only once"]);
}

#[test]
fn a_file_that_is_no_text_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (bytes, why) in [
        (&b"p\xffw"[..], "is no UTF-8 text"),
        (&b"\xff\xfep\0w\0"[..], "byte-order mark of UTF-16, save it as UTF-8"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        for variable in ["STATE_TRACKER_CONFIG", "REDIS_PASSWORD_FILE"] {
            let problem = only_problem(from_env(&[(variable, path.to_str().unwrap())]));
            assert_contains(&problem, &[why, path.to_str().unwrap()]);
        }
    }
    assert!(from_env(&[("STATE_TRACKER_CONFIG", "/dev/null")]).is_ok());
}

#[test]
fn a_file_of_certificates_without_one_is_refused() {
    let (_certificate, certificate) = file(&certificate());
    let (_other, other) = file("-----BEGIN NONSENSE-----\nAAAA\n-----END NONSENSE-----\n");
    let certificate = certificate.to_str().unwrap();
    for (key, path, what) in [
        ("CA_FILE", other.to_str().unwrap(), "it contains no certificate"),
        ("CERT_FILE", other.to_str().unwrap(), "it contains no certificate"),
        ("KEY_FILE", certificate, "it contains no private key without a passphrase"),
    ] {
        let problem = only_problem(from_env(&[(&format!("STATE_TRACKER__REDIS__{key}"), path)]));
        assert_contains(&problem, &[&format!("redis.{}", key.to_lowercase()), path, what]);
    }
    assert!(from_env(&[("STATE_TRACKER__REDIS__CA_FILE", certificate)]).is_ok());
}
