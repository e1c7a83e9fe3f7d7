//! Fuzzing of everything that parses untrusted bytes: inputs are seeds with random changes.
//!
//! Each parser has a fuzz test beside it, named `fuzz_<target>_…`, which checks what must hold for every input. This
//! module has what these tests share. The seeds of a target are the files in `tests/corpus/<target>/`. They are also
//! tried unchanged, so an input that once failed is kept there as a regression test. A seed must be accepted by its
//! parser, or it would test nothing behind the parser; a seed whose name begins with `refused-` must be rejected, and
//! one that begins with `found-` may be either. No parser may panic, take long, or use memory out of proportion to its
//! input; each fuzz test checks what else must hold.
//!
//! `make test` tries the same inputs each time, for a moment; `make fuzz` tries new ones, for as long as requested.

mod edits;
mod memory;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use sha2::{Digest, Sha256};

pub(crate) use edits::near;
pub(crate) use memory::most_taken;

/// Time limit for one input. Parsers take milliseconds, but a machine that also builds may be slow.
const MOST_TIME: Duration = Duration::from_secs(20);

/// The default number of inputs per target, for a second or less.
const CASES: u32 = 3_000;

/// A seed of similar inputs.
struct Seed {
    /// The name of its file.
    name: String,
    bytes: Vec<u8>,
    /// Whether the parser must accept it; `None` if unknown.
    accepted: Option<bool>,
}

/// A parser to be fuzzed, and its inputs.
pub(crate) struct Target {
    name: &'static str,
    seeds: Vec<Seed>,
    words: Vec<Vec<u8>>,
    cases: u32,
    fixed_bytes: usize,
    bytes_per_byte: usize,
}

impl Target {
    /// Creates a target with the seeds of its folder.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            seeds: seeds(name),
            words: Vec::new(),
            cases: CASES,
            fixed_bytes: 1 << 20,
            bytes_per_byte: 100,
        }
    }

    /// Adds seeds, such as files that are built.
    pub(crate) fn seeds(mut self, more: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.seeds.extend(more.into_iter().map(|bytes| Seed {
            name: "built".into(),
            bytes,
            accepted: None,
        }));
        self
    }

    /// Adds tokens of the format, to be inserted at random.
    pub(crate) fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        self
    }

    /// Sets how many inputs `make test` tries, for slow parsers.
    pub(crate) fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// Sets the memory that an input may use at a time: a fixed number of bytes, plus a number for each byte of the
    /// input.
    pub(crate) fn memory(mut self, fixed_bytes: usize, bytes_per_byte: usize) -> Self {
        (self.fixed_bytes, self.bytes_per_byte) = (fixed_bytes, bytes_per_byte);
        self
    }

    /// Fuzzes the target; `check` returns whether an input was accepted, and panics if it was handled incorrectly.
    ///
    /// # Panics
    /// If `check` panics, or if a seed is rejected that must be accepted or the other way round. The smallest failing
    /// input found is stored in the folder of the seeds.
    pub(crate) fn run(self, check: impl Fn(&[u8]) -> bool) {
        for seed in &self.seeds {
            let accepted = self.check(&seed.bytes, &check);
            assert!(
                seed.accepted.is_none_or(|expected| expected == accepted),
                "tests/corpus/{}/{} is {}",
                self.name,
                seed.name,
                if accepted {
                    "accepted"
                } else {
                    "rejected: the format has changed, or the seed is invalid"
                }
            );
        }
        let inputs = near(
            self.seeds.iter().map(|seed| seed.bytes.clone()).collect(),
            self.words.clone(),
        );
        let check = |input: Vec<u8>| {
            self.check(&input, &check);
        };
        drive(self.name, self.cases, &inputs, check, |reason, input| {
            self.found(reason, &input)
        });
    }

    fn check(&self, input: &[u8], check: impl Fn(&[u8]) -> bool) -> bool {
        let started_at = Instant::now();
        let mut accepted = false;
        let taken = most_taken(|| accepted = check(input));
        let most = self.fixed_bytes + self.bytes_per_byte * input.len();
        assert!(taken <= most, "{taken} bytes of memory for {} of input", input.len());
        let time = started_at.elapsed();
        assert!(time < MOST_TIME, "{time:?} for {} bytes of input", input.len());
        accepted
    }

    fn found(&self, reason: &str, input: &[u8]) -> ! {
        let digest = Sha256::digest(input);
        let name = digest.iter().take(4).map(|byte| format!("{byte:02x}"));
        let path = folder(self.name).join(format!("found-{}", name.collect::<String>()));
        fs::write(&path, input).expect("the repository can be written to");
        let shown = String::from_utf8_lossy(&input[..input.len().min(500)]);
        panic!(
            "{}\n{reason}\n{shown:?}\nFrom now on, every test run tries it.",
            path.display()
        );
    }
}

/// Tries at least that many inputs, and passes the smallest one on which `check` panics to `found`, which panics too.
pub(crate) fn drive<S: Strategy>(
    name: &str,
    cases: u32,
    inputs: &S,
    check: impl Fn(S::Value),
    found: impl Fn(&str, S::Value),
) {
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let (until, mut tried) = (Instant::now() + wanted(), 0);
    while tried < cases || Instant::now() < until {
        let input = inputs
            .new_tree(&mut runner)
            .expect("the strategy always generates an input");
        let held = runner.run_one(input, |input| {
            check(input);
            Ok(())
        });
        match held {
            Ok(_) => tried += 1,
            Err(TestError::Fail(reason, input)) => found(reason.message(), input),
            Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
        }
    }
    println!("{name}: {tried} inputs");
}

/// The bytes of the seeds of a target.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    seeds(target).into_iter().map(|seed| seed.bytes).collect()
}

fn seeds(target: &str) -> Vec<Seed> {
    let files = fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("tests/corpus/{target}: {error}"));
    let mut files: Vec<PathBuf> = files
        .map(|entry| entry.expect("a file of the repository").path())
        .collect();
    // The order of directory entries differs between machines, and the choice of a seed depends on it.
    files.sort();
    let read = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Seed {
            accepted: (!name.starts_with("found-")).then(|| !name.starts_with("refused-")),
            bytes: fs::read(file).expect("a file of the repository"),
            name,
        }
    };
    files.iter().map(read).collect()
}

/// How long to fuzz a target; zero means as long as its cases take.
fn wanted() -> Duration {
    let seconds = std::env::var("WINDLASS_FUZZ_SECONDS").ok();
    Duration::from_secs(seconds.map_or(0, |text| text.parse().expect("a number of seconds")))
}

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "tests", "corpus", target]
        .iter()
        .collect()
}
