//! A child process that can't outlive its owner: it is killed with its group when the value is dropped, and by a guard
//! process when the owner itself is killed. May start, signal and reap processes, and delete the given directory.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Reads until the owner is gone (end of its standard input), then kills the group and deletes the directory, with a
/// second attempt if the first one fails.
const GUARD_SCRIPT: &str =
    r#"read -r _; kill -s KILL -- "-$1" 2>/dev/null; rm -rf -- "$2" || rm -rf -- "$2""#;

/// A child in a process group of its own, so that a terminal's Ctrl-C does not reach it before its owner.
#[derive(Debug)]
pub(crate) struct OwnedProcess {
    guard: Option<Child>,
    child: Child,
    exited: Option<ExitStatus>,
}

impl OwnedProcess {
    /// Starts `command`. `owned_dir` is deleted by the guard if this process dies without dropping the value.
    pub(crate) fn spawn(command: &mut Command, owned_dir: &Path) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let guard = Command::new("sh")
            .args(["-c", GUARD_SCRIPT, "guard"])
            .arg(child.id().to_string())
            .arg(owned_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        // Without a shell the guard is missing; dropping the value still cleans up.
        Ok(Self { guard: guard.ok(), child, exited: None })
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
        // An error means that the child is gone: the kernel refuses SIGKILL to an own child in no other case.
        let _ = self.kill();
    }
}
