//! A progress bar for old blocks, where standard error is a terminal. Elsewhere the log reports the progress.

use std::{
    convert::Infallible,
    io::{self, IsTerminal},
    time::Duration,
};

use actors::collector::FollowState;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Between two redraws.
const EVERY: Duration = Duration::from_millis(200);
/// The content.
const TEMPLATE: &str = "{wide_bar} block {pos} of {len}  {speed} blocks/s  {left} left";

/// The bar. Clones share it.
#[derive(Clone)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A hidden bar.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        Self(bar)
    }

    /// Shows the progress, while there are old blocks to read.
    pub(super) fn show(&self, state: &FollowState) {
        let Some((checkpoint, to)) = state.checkpoint.zip(state.backfill) else { return self.clear() };
        if self.0.is_hidden() {
            self.0.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        let (speed, left) = (format!("{:.0}", state.speed), state.estimate());
        let left = left.map_or("?".to_owned(), |left| {
            humantime::format_duration(Duration::from_secs(left.as_secs() + 1)).to_string()
        });
        let write = |text: String| {
            move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                // A terminal that refuses text shows less.
                let _ = out.write_str(&text);
            }
        };
        // The template is a constant, and a test proves that it is valid.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            self.0.set_style(style.with_key("speed", write(speed)).with_key("left", write(left)));
        }
        self.0.set_length(to);
        self.0.set_position(checkpoint.number);
    }

    /// Shows the progress as long as it is polled; without a terminal it never wakes.
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

    /// Removes the bar.
    pub(super) fn clear(&self) {
        if !self.0.is_hidden() {
            self.0.finish_and_clear();
            self.0.set_draw_target(indicatif::ProgressDrawTarget::hidden());
            self.0.reset();
        }
    }

    /// A writer for lines of the log on standard error, which hides the bar while it writes.
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
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
