//! What the log lines of actors and supervisors say of whose they are.

#![allow(clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use common::{HOUR, MS, attempts, eventually, new_mailbox, policy, start};
use supervision::{Actor, Child, Clock, Context, Failure, Inbox};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes log lines and fails.
struct Works;

impl Actor for Works {
    type Message = common::Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<common::Job>) -> Result<(), Failure> {
        drop(inbox.recv().await);
        tracing::info!("a line of the actor");
        cx.spawn(async { tracing::info!("a line of its sub-task") })?.await;
        Err("a reason".into())
    }
}

#[tokio::test]
async fn a_log_line_names_the_actors_path_and_no_id_of_ractor() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE);
    log.with_writer(move || writer.clone()).init();

    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("worker", attempts(1), &clock);
    let worker = Child::actor(mailbox, || Works);
    let group = Child::supervisor("group", vec![worker.policy(policy((100, HOUR), (MS, MS)))]);
    let tree = start(&clock, vec![group]).await;
    ends.send(1).await;
    eventually("it crashed", || lines.text().contains("the actor crashed: a reason")).await;
    tree.stop(common::MINUTE).await;

    let text = lines.text();
    for own in ["a line of the actor", "a line of its sub-task", "the actor crashed: a reason"] {
        let line = text.lines().find(|line| line.contains(own)).expect("a line");
        assert!(line.contains(r#"actor{path="group/worker"}: "#), "{line}");
        assert!(!line.contains("Actor{"), "{line}");
    }
}
