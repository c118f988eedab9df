//! A progress bar for the reading of old blocks, if standard error is a terminal. Without one, the log reports the progress.
//!
//! Bar and log share standard error, so the log's thread draws the bar: a stuck terminal blocks only that thread.

use std::{
    convert::Infallible,
    io::{self, IsTerminal},
    time::Duration,
};

use actors::collector::ProgressSnapshot;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Time between two redraws.
const EVERY: Duration = Duration::from_millis(200);
const TEMPLATE: &str = "{wide_bar} block {pos} of {len}  {speed} blocks/s  {left} left";

/// One state of the bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    /// The last accepted block.
    pub(super) position: u64,
    /// The last of the old blocks.
    pub(super) length: u64,
    /// Blocks a second.
    pub(super) speed: f64,
    /// Estimated time for the rest.
    pub(super) left: Option<Duration>,
}

impl Frame {
    /// `None` if no old blocks are being read.
    fn of(state: &ProgressSnapshot) -> Option<Self> {
        let (checkpoint, to) = state.checkpoint.zip(state.backfill)?;
        Some(Self { position: checkpoint.number, length: to, speed: state.speed, left: state.estimate() })
    }
}

/// The bar. Only the log's thread may use it.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar that is hidden until the first frame.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        Self(bar)
    }

    /// Draws a frame.
    pub(super) fn show(&self, frame: &Frame) {
        // The target is set with the first frame only: indicatif would draw an empty bar at once.
        if self.0.is_hidden() {
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        }
        let speed = format!("{:.0}", frame.speed);
        let left = frame.left.map_or("?".to_owned(), |left| {
            // Rounded up to whole seconds: humantime would print nanoseconds, and an estimate of 0 s while blocks are left.
            humantime::format_duration(Duration::from_secs(left.as_secs() + 1)).to_string()
        });
        let writer = |text: String| {
            move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                // A row that can't be written is drawn again with the next frame.
                let _ = out.write_str(&text);
            }
        };
        // The template is a constant, and a test parses it: this never fails.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            self.0.set_style(style.with_key("speed", writer(speed)).with_key("left", writer(left)));
        }
        self.0.set_length(frame.length);
        self.0.set_position(frame.position);
    }

    /// Removes the bar, and hides it until the next frame.
    pub(super) fn clear(&self) {
        if !self.0.is_hidden() {
            // Cleared before it is hidden: a hidden bar can't erase its line.
            self.0.finish_and_clear();
            self.0.set_draw_target(ProgressDrawTarget::hidden());
            self.0.reset();
        }
    }

    /// Removes the bar, runs `write`, and draws the bar again below what was written.
    pub(super) fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

/// Draws the bar for as long as it is polled. Without a terminal it does nothing.
pub(super) async fn keep_showing(
    draw: impl Fn(Option<Frame>),
    now: impl Fn() -> Option<ProgressSnapshot>,
) -> Infallible {
    // In a file or in `docker logs`, redrawn lines would be noise.
    if !io::stderr().is_terminal() {
        // It is a branch of `select!`: if it returned, it would end the command.
        return std::future::pending().await;
    }
    loop {
        if let Some(state) = now() {
            draw(Frame::of(&state));
        }
        tokio::time::sleep(EVERY).await;
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
