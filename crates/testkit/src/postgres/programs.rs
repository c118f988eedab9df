//! Where the programs of PostgreSQL and PgBouncer are, the user that runs them, and a new data directory. May run `initdb`
//! and `cp`, and write into the directory for temporary files.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresError;

/// The superuser of each server.
pub(crate) const SUPERUSER: &str = "postgres";
/// The password of each role. The servers listen on the loopback interface only.
pub(crate) const PASSWORD: &str = "secret";

/// The folders of Debian, one a version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Where Debian has PgBouncer, which the `PATH` of users lacks.
const SBIN: &str = "/usr/sbin";

/// The package of PostgreSQL's programs.
pub(crate) const PACKAGE: &str = "postgresql";

/// The path of a program: in the folder that `POSTGRES_BIN` names, in Debian's folder of the newest version, or in `PATH`.
/// Where a folder is named, PostgreSQL's programs are those in it and no others.
pub(crate) fn find(program: &'static str, package: &'static str) -> Result<PathBuf, PostgresError> {
    let named = std::env::var_os("POSTGRES_BIN").map(PathBuf::from);
    if let Some(folder) = named.as_ref().filter(|_| package == PACKAGE) {
        let candidate = folder.join(program);
        return if candidate.is_file() {
            Ok(candidate)
        } else {
            Err(PostgresError::NotInstalled { program, package })
        };
    }
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    debian.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = named.into_iter().chain(debian.into_iter().map(|(_, folder)| folder));
    let folders = folders.chain(std::env::split_paths(&path)).chain([PathBuf::from(SBIN)]);
    folders
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(PostgresError::NotInstalled { program, package })
}

/// The user that runs the servers: ourselves, or somebody else where we are root, whom PostgreSQL refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User(Option<(u32, u32)>);

impl User {
    pub(crate) fn find() -> Result<Self, PostgresError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids_of = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let ids = ids_of(SUPERUSER).or_else(|| ids_of("nobody")).ok_or(PostgresError::NoUser)?;
        Ok(Self(Some(ids)))
    }

    /// A command that this user runs.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes a file or a directory this user's own, which nobody else may read.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        if let Some((user, group)) = self.0 {
            chown(path, Some(user), Some(group))?;
        }
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        set_permissions(path, Permissions::from_mode(mode))
    }

    fn owns(self, path: &Path) -> bool {
        let id = self.0.map_or_else(|| rustix::process::geteuid().as_raw(), |(user, _)| user);
        path.metadata().is_ok_and(|found| found.uid() == id)
    }
}

/// A temporary directory of this user.
pub(crate) fn directory(prefix: &str, user: User) -> Result<tempfile::TempDir, PostgresError> {
    let failed = |source| PostgresError::Directory { path: std::env::temp_dir(), source };
    let dir = tempfile::Builder::new().prefix(prefix).tempdir().map_err(failed)?;
    user.own(dir.path()).map_err(failed)?;
    Ok(dir)
}

/// Makes `data` a new data directory: a copy of one that `initdb` made once for all processes of this machine, since `initdb`
/// takes over a second.
pub(crate) fn new_data(data: &Path, user: User) -> Result<(), PostgresError> {
    let template = template(user)?;
    run("cp", user.command(Path::new("cp")).arg("-a").arg(template).arg(data))
}

/// The command that makes `data` a new data directory; it finds the password in a file in `dir`.
pub(crate) fn initdb(dir: &Path, data: &Path, user: User) -> Result<Command, PostgresError> {
    let program = find("initdb", PACKAGE)?;
    let password = dir.join("password");
    let failed = |source| PostgresError::Directory { path: password.clone(), source };
    std::fs::write(&password, PASSWORD).and_then(|()| user.own(&password)).map_err(failed)?;
    let mut initdb = user.command(&program);
    initdb.current_dir(dir).arg("--pgdata").arg(data).arg("--pwfile").arg(&password);
    initdb.args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"]);
    initdb.arg("--no-sync");
    Ok(initdb)
}

fn template(user: User) -> Result<PathBuf, PostgresError> {
    let program = find("initdb", PACKAGE)?;
    let version = Command::new(&program).arg("--version").output();
    let version = version.map_err(|source| PostgresError::Spawn { program: program.clone(), source })?;
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .filter(|letter| letter.is_ascii_digit() || *letter == '.')
        .collect();
    let own = rustix::process::geteuid().as_raw();
    let template = std::env::temp_dir().join(format!("testkit-postgres-{version}-{own}"));
    // A directory of somebody else under this name is not ours to trust; the copy below then fails to take its place.
    if template.join("PG_VERSION").is_file() && user.owns(&template) {
        return Ok(template);
    }
    let dir = directory("initdb-", user)?;
    let failed = |source| PostgresError::Directory { path: template.clone(), source };
    let new = dir.path().join("data");
    run("initdb", &mut initdb(dir.path(), &new, user)?)?;
    match std::fs::rename(&new, &template) {
        // Another process was faster.
        Err(_) if template.join("PG_VERSION").is_file() && user.owns(&template) => Ok(template),
        result => result.map(|()| template.clone()).map_err(failed),
    }
}

fn run(program: &'static str, command: &mut Command) -> Result<(), PostgresError> {
    let output =
        command.output().map_err(|source| PostgresError::Spawn { program: program.into(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(PostgresError::Failed { program, status: output.status.to_string(), output: text })
}
