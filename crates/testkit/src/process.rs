//! A child process that can't outlive its owner: it is killed with its group when the value is dropped, and by a guard
//! process when the owner itself is killed. May start, signal and reap processes, list them in `/proc`, and delete the
//! given directory.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Reads until the owner is gone (end of its standard input), then kills the group and deletes the directory, with a
/// second attempt if the first one fails. A process that must clean up itself gets its signal and two seconds before.
const GUARD_SCRIPT: &str = r#"read -r _
if [ -n "$3" ]; then
    kill -s CONT "$1"; kill -s "$3" "$1"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do kill -0 "$1" || break; sleep 0.1; done
fi 2>/dev/null
kill -s KILL -- "-$1" 2>/dev/null; rm -rf -- "$2" || rm -rf -- "$2""#;

/// How long a process may clean up before it is killed, in steps.
const CLEAN_UP: (u32, Duration) = (400, Duration::from_millis(5));

/// A child in a process group of its own, so that a terminal's Ctrl-C does not reach it before its owner.
#[derive(Debug)]
pub(crate) struct OwnedProcess {
    guard: Option<Child>,
    child: Child,
    exited: Option<ExitStatus>,
    cleans_up: bool,
}

impl OwnedProcess {
    /// Starts `command`. `owned_dir` is deleted by the guard if this process dies without dropping the value.
    pub(crate) fn spawn(command: &mut Command, owned_dir: &Path) -> io::Result<Self> {
        Self::spawn_with(command, owned_dir, false)
    }

    /// The same for a process that removes what it shares with its children (memory, semaphores) when it gets SIGQUIT:
    /// it gets that signal, and some time, before it is killed.
    pub(crate) fn spawn_that_cleans_up(command: &mut Command, owned_dir: &Path) -> io::Result<Self> {
        Self::spawn_with(command, owned_dir, true)
    }

    fn spawn_with(command: &mut Command, owned_dir: &Path, cleans_up: bool) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let guard = Command::new("sh")
            .args(["-c", GUARD_SCRIPT, "guard"])
            .arg(child.id().to_string())
            .arg(owned_dir)
            .arg(if cleans_up { "QUIT" } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        // Without a shell the guard is missing; dropping the value still cleans up.
        Ok(Self { guard: guard.ok(), child, exited: None, cleans_up })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status of the child, once it has ended.
    pub(crate) fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait()?;
            if self.exited.is_some() {
                self.dismiss_guard();
            }
        }
        Ok(self.exited)
    }

    /// Sends `signal` to the child alone. Fails once `exit_status` has seen its end.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.exited.is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Kills the child and its group at once (also when stopped by SIGSTOP), and reaps it.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.dismiss_guard();
        if self.exited.is_none() {
            // An error means that the group is gone already; the child's own kill below reports the rest.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            self.child.kill()?;
            self.exited = Some(self.child.wait()?);
        }
        Ok(())
    }

    /// Lets the child clean up, for a limited time.
    fn clean_up(&mut self) {
        let (steps, pause) = CLEAN_UP;
        let signalled = self.signal(Signal::QUIT).and_then(|()| self.signal(Signal::CONT));
        for _ in 0..if signalled.is_ok() { steps } else { 0 } {
            match self.exit_status() {
                Ok(None) => sleep(pause),
                // Whatever went wrong: the kill that follows ends the child.
                _ => return,
            }
        }
    }

    /// The guard must go before the child is reaped, or it might signal a process that reuses the number.
    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // Both fail only when the guard has ended by itself.
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

impl Drop for OwnedProcess {
    fn drop(&mut self) {
        if self.cleans_up {
            self.clean_up();
        }
        // An error means that the child is gone: the kernel refuses SIGKILL to an own child in no other case.
        let _ = self.kill();
    }
}

/// The children of a process, as `/proc` lists them; none where there is no `/proc`.
pub(crate) fn children_of(parent: u32) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let of_parent = |entry: io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        // `pid (name) state parent …`, and a name may contain anything.
        let (pid, rest) = stat.split_once(" (")?;
        let found: u32 = rest.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (found == parent).then(|| Pid::from_raw(pid.parse().ok()?))?
    };
    entries.filter_map(of_parent).collect()
}
