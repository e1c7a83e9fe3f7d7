//! The metrics of a host.

use crate::answer::Answer;

/// A response of `GET /metrics`.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    pub(crate) fn of(answer: Answer) -> Self {
        let text = answer.expect(200);
        Self(text.as_str().expect("metrics are not JSON").to_owned())
    }

    /// The samples whose names begin with `prefix`, one in each line.
    pub fn starting_with(&self, prefix: &str) -> String {
        let samples = self.0.lines().filter(|line| line.starts_with(prefix));
        samples.collect::<Vec<_>>().join("\n")
    }

    /// The value of a sample. The name includes the labels: `windlass_turns_total`, `…{status="failed"}`.
    #[track_caller]
    pub fn number(&self, sample: &str) -> f64 {
        let line = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {sample} in\n{}", self.0));
        value.parse().expect("samples are numbers")
    }
}
