//! How fast the history is written and read, and how large it is, each figure beside its goal.
//!
//! `cargo bench -p store-peers --bench history` measures everything in about ten minutes and takes 8 GB of the disk for that time;
//! `-- write size` only these sections. Alternatives run in turns (A B A B…), so that noise of the machine hits all of them. The
//! exit code is 0 whether the goals are met or not.
#![allow(clippy::expect_used, missing_docs)] // A failed measurement ends the run.

mod latency;
mod read;
mod samples;
mod size;
mod write;

type Section = fn();

const SECTIONS: [(&str, Section); 4] = [
    ("write", write::measure),
    ("size", size::measure),
    ("latency", latency::measure),
    ("read", read::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, and needs no measurement.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, measure) in SECTIONS {
        if chosen.is_empty() || chosen.iter().any(|section| *section == name) {
            println!("## {name}");
            measure();
        }
    }
}
