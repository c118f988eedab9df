//! Files that can't be opened, and the rights of those that can.
#![allow(clippy::expect_used, missing_docs)] // A test that can not go on panics.

mod support;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use rusqlite::Connection;
use store_peers::{History, HistoryErrorKind as Kind, HistoryReader, Limits, Subject};
use support::{measured, place, small_steps, write};

fn kind_of(file: &Path) -> Kind {
    let error = History::open(file, Limits::default()).expect_err("it must not open");
    let text = error.to_string();
    assert!(text.contains(&error.kind.to_string()) && text.contains("history.sqlite"), "{text}");
    error.kind
}

fn rights(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn every_file_is_for_its_owner_alone() {
    let (folder, file) = place();
    fs::write(&file, "").expect("written");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o664)).expect("set");
    let mut history = History::open(&file, Limits::default()).expect("opened");
    write(&mut history, &[measured(Subject::All, 1, 1.0)]);
    let files: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        assert_eq!(rights(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn what_is_no_history_of_ours_is_refused_and_left_as_it_is() {
    let (folder, file) = place();
    let text = "a letter to a friend, which is longer than the head of a database. ".repeat(20);
    fs::write(&file, &text).expect("written");
    assert_eq!(kind_of(&file), Kind::NotADatabase);
    assert_eq!(fs::read_to_string(&file).expect("text"), text);
    fs::remove_file(&file).expect("removed");

    let other = Connection::open(&file).expect("made");
    other.execute_batch("CREATE TABLE letters(text)").expect("made");
    drop(other);
    let before = fs::read(&file).expect("bytes");
    assert_eq!(kind_of(&file), Kind::Foreign);
    assert_eq!(fs::read(&file).expect("bytes"), before);
    assert_eq!(HistoryReader::open(&file).expect_err("not ours").kind, Kind::Foreign);

    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    assert_eq!(kind_of(&file), Kind::NotADatabase);
    let missing = folder.path().join("missing").join("history.sqlite");
    assert_eq!(kind_of(&missing), Kind::Missing);
    assert_eq!(HistoryReader::open(&missing).expect_err("missing").kind, Kind::Missing);
}

#[test]
fn a_newer_file_is_refused() {
    let (_folder, file) = place();
    drop(History::open(&file, Limits::default()).expect("opened"));
    let connection = Connection::open(&file).expect("opened");
    connection.pragma_update(None, "user_version", 99).expect("set");
    drop(connection);
    assert_eq!(kind_of(&file), Kind::Newer);
}

#[test]
fn a_history_has_one_writer() {
    let (_folder, file) = place();
    let first = History::open(&file, Limits::default()).expect("opened");
    assert_eq!(kind_of(&file), Kind::InUse);
    drop(first);
    History::open(&file, Limits::default()).expect("opened again");
}

#[test]
fn a_damaged_file_is_reported_as_damaged() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    for time in 0..2_000 {
        write(&mut history, &[measured(Subject::All, time * 60, 1.0)]);
    }
    history.compact().expect("compacted");
    drop(history);
    let mut bytes = fs::read(&file).expect("bytes");
    assert!(bytes.len() > 20 * 4_096, "{}", bytes.len());
    bytes[4_096..].fill(0xA5);
    fs::write(&file, bytes).expect("written");
    assert_eq!(kind_of(&file), Kind::Corrupt);
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let (_folder, file) = place();
    let day = Limits::default().raw;
    let bad = [
        Limits { raw: day * 31, ..Limits::default() },
        Limits { minutes: day * 1_000, ..Limits::default() },
        Limits { bytes: 1, ..Limits::default() },
        Limits { tail_rows: 0, ..Limits::default() },
    ];
    for limits in bad {
        assert_eq!(History::open(&file, limits).expect_err("refused").kind, Kind::BadLimits);
    }
    assert!(!file.exists());
}

/// What runs as a user without rights; it does nothing in a usual run.
#[test]
fn child_without_rights() {
    let Some(file) = std::env::var_os("HISTORY_WITHOUT_RIGHTS") else { return };
    let folder = Path::new(&file).parent().expect("a folder");
    assert_eq!(kind_of(&folder.join("closed").join("history.sqlite")), Kind::Denied);
    // The folder takes new files, but this one is of another user.
    assert_eq!(kind_of(Path::new(&file)), Kind::Denied);
    // It can be read by all.
    let own = folder.join("own").join("history.sqlite");
    fs::create_dir(own.parent().expect("a folder")).expect("made");
    drop(History::open(&own, Limits::default()).expect("opened"));
    fs::set_permissions(&own, PermissionsExt::from_mode(0o400)).expect("set");
    assert_eq!(kind_of(&own), Kind::ReadOnlyFile);
}

#[test]
fn a_file_without_the_right_to_write_is_refused() {
    let (folder, file) = place();
    drop(History::open(&file, Limits::default()).expect("opened"));
    fs::remove_file(folder.path().join("history.sqlite-lock")).expect("removed");
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).expect("made");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).expect("set");
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("set");
    // Another user than this one, which only root can become, and who may read the program.
    if rights_of_root(folder.path()) {
        let program = folder.path().join("program");
        fs::copy(std::env::current_exe().expect("a program"), &program).expect("copied");
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("set");
        let mut child = Command::new(&program);
        child.args(["--exact", "child_without_rights"]).env("HISTORY_WITHOUT_RIGHTS", &file);
        let output = child.current_dir("/").uid(65_534).gid(65_534).output().expect("run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}

/// Whether this user may do what its rights forbid.
fn rights_of_root(folder: &Path) -> bool {
    let probe = folder.join("probe");
    fs::write(&probe, "").expect("written");
    fs::set_permissions(&probe, PermissionsExt::from_mode(0o000)).expect("set");
    fs::read(&probe).is_ok()
}
