//! A Redis server whose clock is the test's: it stands still, and jumps when the test says so. Keys expire by it, and `TIME` and
//! scripts tell it. The server is given another `gettimeofday` by the dynamic linker, since it has no setting for that.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use testkit::RedisServer;

/// The time in microseconds is read from the file that the environment names.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *micros;

__attribute__((constructor)) static void begin(void) {
  int file = open(getenv("TEST_CLOCK"), O_RDONLY);
  void *there = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (there == MAP_FAILED) abort();
  micros = there;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
  long long now = *micros;
  to->tv_sec = now / 1000000;
  to->tv_usec = now % 1000000;
  return 0;
}

time_t time(time_t *to) {
  time_t now = *micros / 1000000;
  if (to) *to = now;
  return now;
}

int clock_gettime(clockid_t id, struct timespec *to) {
  if (id != CLOCK_REALTIME) return syscall(SYS_clock_gettime, id, to);
  long long now = *micros;
  to->tv_sec = now / 1000000;
  to->tv_nsec = now % 1000000 * 1000;
  return 0;
}
"#;

/// The library, compiled once a process.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let name =
            |suffix: &str| std::env::temp_dir().join(format!("test-clock-{}.{suffix}", std::process::id()));
        let (source, library) = (name("c"), name("so"));
        fs::write(&source, SOURCE).expect("written");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
        let status = compile.status().expect("a C compiler, which Rust needs too");
        assert!(status.success(), "the clock compiles");
        fs::remove_file(source).expect("removed");
        library
    })
}

/// A server, and its clock.
pub struct TimedRedis {
    pub server: RedisServer,
    clock: File,
    files: [PathBuf; 2],
}

impl Drop for TimedRedis {
    fn drop(&mut self) {
        for file in &self.files {
            drop(fs::remove_file(file));
        }
    }
}

impl TimedRedis {
    /// A server at this time, in Unix milliseconds.
    pub async fn start(now: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let one = format!("test-clock-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [time, program] =
            ["now", "sh"].map(|suffix| std::env::temp_dir().join(format!("{one}.{suffix}")));
        let clock = File::create(&time).expect("a file");
        set(&clock, now);
        let text = format!(
            "#!/bin/sh\nTEST_CLOCK={} LD_PRELOAD={} exec redis-server \"$@\"\n",
            time.display(),
            library().display()
        );
        fs::write(&program, text).expect("written");
        fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("executable");
        let name = program.display().to_string();
        let server = RedisServer::builder().program(name).arg("enable-debug-command", "yes");
        let server = server.start().await.expect("a Redis server");
        Self { server, clock, files: [time, program] }
    }

    pub fn set(&self, now: u64) {
        set(&self.clock, now);
    }
}

fn set(clock: &File, now: u64) {
    clock.write_all_at(&(now * 1_000).to_ne_bytes(), 0).expect("written");
}
