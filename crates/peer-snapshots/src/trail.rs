//! Where and why the reading of a line failed, noted on the way out of the failing value.
//!
//! `serde` reports an error as a text. The trail beside it keeps what a metric and an operator need: the first problem and
//! the path of its field. A line that can be read leaves no trail, so it costs nothing.

use std::{
    cell::{Cell, RefCell},
    fmt::Write,
};

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A required field is absent.
    Missing,
    /// A field is there twice.
    Twice,
    /// The value has another type; with what is expected.
    WrongType(&'static str),
    /// The value is no number of this field; with what is expected.
    OutOfRange(&'static str),
    /// The text names nothing known; with what is expected.
    Unknown(&'static str),
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Segment {
    /// A field of an object.
    Field(&'static str),
    /// An element of a list.
    Element(usize),
}

/// The first problem of a line, and the path to it.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    problem: Cell<Option<Problem>>,
    /// From the innermost step to the outermost.
    segments: RefCell<Vec<Segment>>,
}

impl Trail {
    /// Notes a problem, unless one was noted before: the first is the innermost.
    pub(crate) fn note(&self, problem: Problem) {
        if self.problem.get().is_none() {
            self.problem.set(Some(problem));
        }
    }

    /// Adds a step to the path of a failure.
    pub(crate) fn push(&self, segment: Segment) {
        self.segments.borrow_mut().push(segment);
    }

    /// Passes a result through, and notes the step where it failed.
    pub(crate) fn at<T, E>(&self, segment: Segment, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.push(segment);
        }
        result
    }

    /// The first problem.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.problem.get()
    }

    /// The path, for example `miners[3].hashrate`; empty for the line itself.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.segments.borrow().iter().rev() {
            let dot = if path.is_empty() { "" } else { "." };
            // Writing to a text does not fail.
            let _ = match segment {
                Segment::Field(name) => write!(path, "{dot}{name}"),
                Segment::Element(index) => write!(path, "[{index}]"),
            };
        }
        path
    }
}
