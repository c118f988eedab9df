//! Fuzzing on the stable compiler: a kept corpus, and what a seed makes of it. No I/O but the corpus and what fails.
//!
//! A target reads one input, panics where a promise is broken, and returns a label of what it made of it. An input whose label is new
//! joins the corpus for the rest of the run, so that the search goes on from what has reached a new place. A panic ends the run with the
//! seed and with a file that holds the input: copied into the folder of the corpus, it is replayed by every later run.
//!
//! `SEED` repeats a run, `FUZZ_INPUTS` sets how many inputs it has.

pub mod cells;
mod mutate;

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Dice;
use mutate::Mutator;

/// The largest input, in bytes.
pub const LARGEST: usize = 64 << 10;
/// How much of the processor's time one input may take. Inputs are small, so that whatever takes longer grows with their square.
const LONGEST: Duration = Duration::from_secs(1);
/// By how much the memory of the process may grow while a target runs, in KiB.
const MOST_GROWTH: u64 = 256 << 10;
/// The largest input that a run keeps, in bytes.
const MOST_KEPT_BYTES: usize = 4 << 10;
/// How many inputs with new labels a run keeps.
const MOST_KEPT: usize = 2_000;

/// Inputs that are kept in the files of a folder.
#[derive(Clone, Debug)]
pub struct Corpus {
    folder: PathBuf,
    inputs: Vec<(String, Vec<u8>)>,
}

impl Corpus {
    /// Reads a folder.
    ///
    /// # Errors
    /// The folder or a file in it can't be read, or there is none.
    pub fn read(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        let mut inputs = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            inputs.push((name, std::fs::read(&path)?));
        }
        if inputs.is_empty() {
            return Err(io::Error::other(format!("{} is empty", folder.display())));
        }
        // The order of a folder differs between machines, and a seed would repeat nothing.
        inputs.sort();
        Ok(Self { folder, inputs })
    }

    /// The inputs, with the names of their files.
    #[must_use]
    pub fn inputs(&self) -> &[(String, Vec<u8>)] {
        &self.inputs
    }

    /// Inputs that a seed makes of these, without an end.
    pub fn mutants(&self, seed: u64) -> impl Iterator<Item = Vec<u8>> {
        let mutator = Mutator::new(&self.inputs);
        let mut dice = Dice::new(seed);
        std::iter::repeat_with(move || mutator.next(&mut dice))
    }

    /// Feeds each kept input to the target, and then `count` of those that a seed makes of them.
    ///
    /// # Panics
    /// At an input that breaks a promise, takes too long or takes too much memory.
    pub fn explore(&self, count: u64, target: impl Fn(&[u8]) -> String) {
        let before = peak_memory();
        let mut labels = BTreeSet::new();
        for (name, input) in &self.inputs {
            labels.insert(self.fed(&target, input, &format!("the kept input {name}")));
        }
        let seed = seed();
        let count = inputs_or(count);
        // On standard output, which a test that fails shows.
        let told = format!("SEED={seed} FUZZ_INPUTS={count} of {}", self.folder.display());
        let mut mutator = Mutator::new(&self.inputs);
        let mut dice = Dice::new(seed);
        let mut kept = 0;
        for at in 0..count {
            let input = mutator.next(&mut dice);
            let label = self.fed(&target, &input, &format!("{told}, input {at}"));
            // Small ones only: the time of a run grows with those that it goes on from.
            if kept < MOST_KEPT && input.len() <= MOST_KEPT_BYTES && labels.insert(label) {
                kept += 1;
                mutator.keep(input);
            }
        }
        let grown = peak_memory().saturating_sub(before);
        assert!(grown < MOST_GROWTH, "the memory grew by {grown} KiB: {told}");
    }

    fn fed(&self, target: &impl Fn(&[u8]) -> String, input: &[u8], what: &str) -> String {
        let began = processor_time();
        let label = catch_unwind(AssertUnwindSafe(|| target(input)));
        let took = processor_time().saturating_sub(began);
        match label {
            Ok(label) if took <= LONGEST => label,
            failed => {
                let why = failed.map_or_else(|_| "panics".to_owned(), |_| format!("takes {took:?}"));
                panic!("the target {why} at {what}; {}", self.set_aside(input))
            }
        }
    }

    /// Writes an input that failed to a file, and says where.
    fn set_aside(&self, input: &[u8]) -> String {
        let name = format!("found-{:016x}", fingerprint(input));
        let path = std::env::temp_dir().join(&name);
        let shown = fed_name(input);
        let place = match std::fs::write(&path, input) {
            Ok(()) => format!("it is in {}; keep it as {}", path.display(), self.folder.join(name).display()),
            Err(error) => format!("it can't be written: {error}"),
        };
        format!("{place}: {shown}")
    }
}

/// An input as it is shown.
fn fed_name(input: &[u8]) -> String {
    String::from_utf8_lossy(input).escape_debug().take(1_000).collect()
}

/// A label of a text: without digits and without what is quoted, so that two errors of one place have one label.
#[must_use]
pub fn label(text: &str) -> String {
    let mut label = String::new();
    let mut quoted = false;
    for character in text.chars().take(400) {
        match character {
            '"' | '`' => quoted = !quoted,
            '0'..='9' => {}
            _ if !quoted => label.push(character),
            _ => {}
        }
    }
    label
}

/// How many inputs a run has: those of `FUZZ_INPUTS`, else these.
#[must_use]
pub fn inputs_or(count: u64) -> u64 {
    variable("FUZZ_INPUTS").unwrap_or(count)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed of a run: that of `SEED`, else one of the clock.
#[must_use]
pub fn seed() -> u64 {
    variable("SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or_default()
    })
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The time that this thread has had of a processor: other programs don't count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
}

/// The largest memory that this process has had, in KiB; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(inputs: &[&str]) -> (tempfile::TempDir, Corpus) {
        let folder = tempfile::tempdir().unwrap();
        for (at, input) in inputs.iter().enumerate() {
            std::fs::write(folder.path().join(at.to_string()), input).unwrap();
        }
        let corpus = Corpus::read(folder.path()).unwrap();
        (folder, corpus)
    }

    #[test]
    fn a_seed_repeats_its_inputs_and_no_other_does() {
        let (_folder, corpus) = corpus(&["{\"a\": 1, \"b\": [2, 3]}", "epoch:open:7"]);
        let inputs = |seed| corpus.mutants(seed).take(300).collect::<Vec<_>>();
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= LARGEST));
        let different: BTreeSet<_> = inputs(4).into_iter().collect();
        assert!(different.len() > 200, "{}", different.len());
    }

    #[test]
    fn an_input_that_breaks_a_promise_is_found_and_kept() {
        let (_folder, corpus) = corpus(&["{\"a\": 1, \"b\": [2, 3]}"]);
        // Only after two steps: an odd `a` is a new label, and the search goes on from it.
        let found = catch_unwind(AssertUnwindSafe(|| {
            corpus.explore(200_000, |input| {
                let text = String::from_utf8_lossy(input);
                let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else {
                    return String::new();
                };
                let odd = value["a"].is_null();
                assert!(!(odd && value["b"].is_u64()), "the promise");
                format!("{odd}")
            });
        }));
        let said = *found.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains("panics at SEED=") && said.contains("keep it as "), "{said}");
    }

    #[test]
    fn an_input_that_takes_too_long_is_found() {
        let (_folder, corpus) = corpus(&["x"]);
        let slow = |_: &[u8]| {
            let began = processor_time();
            while processor_time() - began < LONGEST + Duration::from_millis(50) {}
            String::new()
        };
        let found = catch_unwind(AssertUnwindSafe(|| corpus.explore(0, slow)));
        assert!(found.unwrap_err().downcast::<String>().unwrap().contains("the kept input 0"));
    }
}
