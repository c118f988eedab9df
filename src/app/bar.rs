//! A bar that shows how far old blocks are read, where standard error is a terminal; elsewhere the log tells of it.

use std::{
    convert::Infallible,
    io::{self, IsTerminal},
    time::Duration,
};

use actors::collector::FollowState;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// How often it is drawn anew.
const EVERY: Duration = Duration::from_millis(200);
/// What is shown.
const TEMPLATE: &str = "{wide_bar} block {pos} of {len}  {speed} blocks/s  {left} left";

/// The bar. Clones share it.
#[derive(Clone)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Shows nothing yet.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        Self(bar)
    }

    /// Shows how far it is, while there are old blocks to read.
    pub(super) fn show(&self, state: &FollowState) {
        let Some((checkpoint, to)) = state.checkpoint.zip(state.backfill) else { return self.clear() };
        if self.0.is_hidden() {
            self.0.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        let (speed, left) = (format!("{:.0}", state.speed), state.estimate());
        let left = left.map_or("?".to_owned(), |left| {
            humantime::format_duration(Duration::from_secs(left.as_secs() + 1)).to_string()
        });
        let tell = |text: String| {
            move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                // A terminal that takes no more shows less.
                let _ = out.write_str(&text);
            }
        };
        // The template is a constant; a test reads it.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            self.0.set_style(style.with_key("speed", tell(speed)).with_key("left", tell(left)));
        }
        self.0.set_length(to);
        self.0.set_position(checkpoint.number);
    }

    /// Shows it as long as it is polled; where there is no terminal, that costs nothing.
    pub(super) async fn keep_showing(&self, now: impl Fn() -> Option<FollowState>) -> Infallible {
        if !io::stderr().is_terminal() {
            return std::future::pending().await;
        }
        loop {
            if let Some(state) = now() {
                self.show(&state);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Leaves the line to others.
    pub(super) fn clear(&self) {
        if !self.0.is_hidden() {
            self.0.finish_and_clear();
            self.0.set_draw_target(indicatif::ProgressDrawTarget::hidden());
            self.0.reset();
        }
    }

    /// Writes to standard error, a whole line of the log at a time, with the bar out of its way.
    pub(super) fn writer(&self) -> impl Fn() -> Line + Send + Sync + 'static {
        let bar = self.clone();
        move || Line { bar: bar.clone() }
    }
}

/// A line of the log.
pub(super) struct Line {
    bar: Bar,
}

impl io::Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.bar.0.suspend(|| io::stderr().write(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
