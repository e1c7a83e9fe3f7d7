//! Drives whatever reads bytes of strangers with bytes near to real ones: seeds, changed at random.
//!
//! A driver stands beside each parser, as a test named `fuzz_<target>_…`, and says what must hold of every input. Here is
//! what drivers share. The seeds of a target are the files in `tests/corpus/<target>/`; each is tried as it is, too, so
//! an input that was wrong once is kept there and never forgotten. A seed must be accepted by its parser, or it would
//! test nothing behind it; one whose name begins with `refused-` must not be, and one that begins with `found-` may be
//! either. No parser may panic, take long, or take memory out of proportion to its input; the rest is the driver's
//! business.
//!
//! `make test` tries the same inputs each time, for a moment; `make fuzz` tries others, for as long as is wanted.

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

/// Longest time for one input. Parsers take milliseconds; machines that build several things at a time are slow.
const MOST_TIME: Duration = Duration::from_secs(20);

/// How many inputs of a target are tried unless it says otherwise: a second or less.
const CASES: u32 = 3_000;

/// An input that others are near to.
struct Seed {
    /// The name of its file.
    name: String,
    bytes: Vec<u8>,
    /// Whether its parser must accept it; none if that is not known.
    accepted: Option<bool>,
}

/// What is driven, and by which inputs.
pub(crate) struct Target {
    name: &'static str,
    seeds: Vec<Seed>,
    words: Vec<Vec<u8>>,
    cases: u32,
    fixed_bytes: usize,
    bytes_per_byte: usize,
}

impl Target {
    /// A target with the seeds of its folder.
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

    /// Further seeds, such as files that are built.
    pub(crate) fn seeds(mut self, more: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.seeds.extend(more.into_iter().map(|bytes| Seed {
            name: "built".into(),
            bytes,
            accepted: None,
        }));
        self
    }

    /// Words that mean something to the parser, put in here and there.
    pub(crate) fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        self
    }

    /// How many inputs `make test` tries, where a parser is slow.
    pub(crate) fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// How much memory an input may take at a time: so many bytes, and so many for each byte of the input.
    pub(crate) fn memory(mut self, fixed_bytes: usize, bytes_per_byte: usize) -> Self {
        (self.fixed_bytes, self.bytes_per_byte) = (fixed_bytes, bytes_per_byte);
        self
    }

    /// Drives the target; `check` says whether an input was accepted, and panics when it is not dealt with as it should be.
    ///
    /// # Panics
    /// When that happens, or when a seed is refused that should be accepted or the other way round. The smallest input
    /// found that went wrong is kept in the folder of the seeds.
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
                    "refused: what it is a seed of changed, or it is no seed"
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
        let begun = Instant::now();
        let mut accepted = false;
        let taken = most_taken(|| accepted = check(input));
        let most = self.fixed_bytes + self.bytes_per_byte * input.len();
        assert!(taken <= most, "{taken} bytes of memory for {} of input", input.len());
        let time = begun.elapsed();
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
            "{}\n{reason}\n{shown:?}\nIt is tried by every test from now on.",
            path.display()
        );
    }
}

/// Tries inputs, at least that many, and hands the smallest that `check` panics at to `found`, which panics too.
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
        let input = inputs.new_tree(&mut runner).expect("there are inputs without end");
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
    // The order of a folder is not the same everywhere; that of the seeds is part of what a random number chooses.
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

/// How long a target is driven; by default as long as its cases take.
fn wanted() -> Duration {
    let seconds = std::env::var("WINDLASS_FUZZ_SECONDS").ok();
    Duration::from_secs(seconds.map_or(0, |text| text.parse().expect("a number of seconds")))
}

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "tests", "corpus", target]
        .iter()
        .collect()
}
