//! The bare reader: `reader.c`, built for this run.

use std::process::Stdio;

use testkit::RedisServer;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{CHANNEL, EVENTS, Run, publish::burst};

pub(crate) struct Reader {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _folder: tempfile::TempDir,
}

impl Reader {
    /// Builds it, and waits until it is subscribed.
    pub(crate) async fn start(redis: &RedisServer) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("reader");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/burst/reader.c");
        let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).status().await;
        assert!(built.expect("a C compiler").success());
        let mut child = Command::new(&program)
            .args([&redis.port().to_string(), CHANNEL, &EVENTS.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next_line().await.expect("read").as_deref(), Some("subscribed"));
        Self { child, lines, _folder: folder }
    }

    /// Lets it read the burst.
    pub(crate) async fn run(mut self, redis: &RedisServer) -> Run {
        let took = burst(redis).await;
        let line = self.lines.next_line().await.expect("read").expect("its figures");
        self.child.wait().await.expect("it ends");
        let (events, cpu) = line.split_once(' ').expect("two figures");
        let is_cut = events.parse::<u64>().expect("a number") < EVENTS;
        Run { took, cpu: cpu.parse().expect("a number"), is_cut }
    }
}
