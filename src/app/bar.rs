//! A progress bar for old blocks, where standard error is a terminal. Elsewhere the log reports the progress.
//!
//! It shares standard error with the log, so the log's thread draws it: a stuck terminal blocks only that thread.

use std::{
    convert::Infallible,
    io::{self, IsTerminal},
    time::Duration,
};

use actors::collector::ProgressSnapshot;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Between two redraws.
const EVERY: Duration = Duration::from_millis(200);
/// The content.
const TEMPLATE: &str = "{wide_bar} block {pos} of {len}  {speed} blocks/s  {left} left";

/// What the bar shows at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    /// The last accepted block.
    pub(super) position: u64,
    /// The last of the old blocks.
    pub(super) length: u64,
    /// Blocks a second.
    pub(super) speed: f64,
    /// How long the rest takes at that speed.
    pub(super) left: Option<Duration>,
}

impl Frame {
    /// `None` when there are no old blocks to read.
    fn of(state: &ProgressSnapshot) -> Option<Self> {
        let (checkpoint, to) = state.checkpoint.zip(state.backfill)?;
        Some(Self { position: checkpoint.number, length: to, speed: state.speed, left: state.estimate() })
    }
}

/// The bar, on the thread that writes the log.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Shows nothing yet.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        Self(bar)
    }

    /// Shows how far it is.
    pub(super) fn show(&self, frame: &Frame) {
        if self.0.is_hidden() {
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        }
        let speed = format!("{:.0}", frame.speed);
        let left = frame.left.map_or("?".to_owned(), |left| {
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
        self.0.set_length(frame.length);
        self.0.set_position(frame.position);
    }

    /// Leaves the line to others.
    pub(super) fn clear(&self) {
        if !self.0.is_hidden() {
            self.0.finish_and_clear();
            self.0.set_draw_target(ProgressDrawTarget::hidden());
            self.0.reset();
        }
    }

    /// Writes with the bar out of the way.
    pub(super) fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

/// Draws a bar as long as it is polled; where there is no terminal, that costs nothing.
pub(super) async fn keep_showing(
    draw: impl Fn(Option<Frame>),
    now: impl Fn() -> Option<ProgressSnapshot>,
) -> Infallible {
    if !io::stderr().is_terminal() {
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
    fn the_template_is_one() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
