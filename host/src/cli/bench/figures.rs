//! The results of one row, for programs and for people.

use serde::Serialize;
use serde_json::{Map, Value};

use super::target::Reading;

/// Results of a row; fields that do not apply to it are `None`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) workload: &'static str,
    /// Wall-clock time of the measured work, in seconds.
    pub(super) wall_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instances: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) activities: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instances_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completions_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) activities_per_s: Option<f64>,
    /// Entities that the operations were sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entities: Option<u64>,
    /// Orchestrations that called entities at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) callers: Option<u64>,
    /// Operations of entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operations: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operations_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99_ms: Option<f64>,
    /// Percentiles of durations on a quiet host and on a noisy one; `ratio` compares the medians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quiet_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quiet_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) noisy_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) noisy_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
    /// Milliseconds per step over the first and the last thousand steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ms_per_step_first: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ms_per_step_last: Option<f64>,
    /// CPU time of the host, user and system, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_cpu_ms_per_activity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_cpu_ms_per_operation: Option<f64>,
    /// CPU time of the idle host, in milliseconds per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_cpu_ms_per_s: Option<f64>,
    /// Resident memory of the host at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_rss_bytes: Option<u64>,
    /// Growth of the resident memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rss_growth_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rss_bytes_per_instance: Option<f64>,
    /// Bytes on disk per instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_per_instance: Option<f64>,
    /// Bytes on disk per entity, with its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_per_entity: Option<f64>,
    /// Time from the start of the process until the host is ready, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ready_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows_per_commit: Option<f64>,
}

impl Figures {
    pub(super) fn new(workload: &'static str, wall_s: f64) -> Self {
        Self {
            workload,
            wall_s,
            ..Self::default()
        }
    }

    /// Sets the number of instances that completed in the row's time.
    pub(super) fn instances(mut self, count: u32) -> Self {
        self.instances = Some(count.into());
        self.instances_per_s = Some(f64::from(count) / self.wall_s);
        self
    }

    /// Sets the number of activities that were called in the row's time.
    pub(super) fn activities(mut self, count: u32) -> Self {
        self.activities = Some(count.into());
        self.activities_per_s = Some(f64::from(count) / self.wall_s);
        self
    }

    /// Sets the number of operations that entities applied in the row's time.
    pub(super) fn operations(mut self, count: u64) -> Self {
        self.operations = Some(count);
        self.operations_per_s = Some(count as f64 / self.wall_s);
        self
    }

    /// Sets the percentiles of single durations.
    pub(super) fn times_ms(mut self, mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        self.p50_ms = percentile(&times, 50);
        self.p99_ms = percentile(&times, 99);
        self
    }

    /// Sets the percentiles of durations on a quiet host and on a noisy one.
    pub(super) fn beside(mut self, mut quiet: Vec<f64>, mut noisy: Vec<f64>) -> Self {
        quiet.sort_by(f64::total_cmp);
        noisy.sort_by(f64::total_cmp);
        self.quiet_p50_ms = percentile(&quiet, 50);
        self.quiet_p99_ms = percentile(&quiet, 99);
        self.noisy_p50_ms = percentile(&noisy, 50);
        self.noisy_p99_ms = percentile(&noisy, 99);
        let both = self.noisy_p50_ms.zip(self.quiet_p50_ms);
        self.ratio = both.map(|(noisy, quiet)| noisy / quiet);
        self
    }

    /// Sets what the host used and wrote between two readings. Set the activities and operations first.
    pub(super) fn used(mut self, before: &Reading, after: &Reading) -> Self {
        let cpu_s = after.cpu_s - before.cpu_s;
        let commits = after.commits - before.commits;
        self.host_cpu_s = Some(cpu_s);
        self.host_cpu_ms_per_activity = self.activities.map(|count| cpu_s * 1_000.0 / count.max(1) as f64);
        self.host_cpu_ms_per_operation = self.operations.map(|count| cpu_s * 1_000.0 / count.max(1) as f64);
        self.host_rss_bytes = Some(after.rss_bytes);
        self.commits = Some(commits);
        self.rows_per_commit = (commits > 0).then(|| (after.rows - before.rows) as f64 / commits as f64);
        self
    }

    /// The results as JSON, rounded to significant digits.
    pub(super) fn to_json(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("figures are JSON");
        for member in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(number) = member.as_f64().filter(|_| member.is_f64()) {
                *member = rounded(number).into();
            }
        }
        value
    }

    /// The results as a line for people.
    pub(super) fn line(&self) -> String {
        let value = self.to_json();
        let shown = value.as_object().into_iter().flatten().filter_map(|(name, value)| {
            let text = match value {
                Value::Number(number) if name.contains("bytes") && !name.contains("_per_") => {
                    format!("{:.1} MiB", number.as_f64()? / f64::from(1 << 20))
                }
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some(format!("{}: {text}", name.replace("_bytes", "").replace('_', " ")))
        });
        format!("{:<9} {}", self.workload, shown.collect::<Vec<_>>().join(", "))
    }
}

/// Rounds to four significant digits, but keeps all digits before the decimal point.
fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    let digits = 4 - number.abs().log10().ceil().clamp(-6.0, 4.0) as i32;
    let factor = 10_f64.powi(digits);
    (number * factor).round() / factor
}

/// The smallest of the sorted values that at least `percent` percent of them do not exceed (nearest rank).
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            (percentile(&values, 50), percentile(&values, 99)),
            (Some(100.0), Some(198.0))
        );
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (Some(7.0), None));
    }

    #[test]
    fn numbers_keep_four_digits() {
        let numbers = [12_345.678, 1.234_56, 0.012_345_6, 0.0, 1_000.0];
        assert_eq!(numbers.map(rounded), [12_346.0, 1.235, 0.01235, 0.0, 1_000.0]);
    }

    #[test]
    fn results_that_were_not_measured_are_absent() {
        let figures = Figures::new("chain", 2.0).instances(10).activities(50);
        let json = figures.to_json().to_string();
        assert_eq!(
            json,
            r#"{"activities":50,"activities_per_s":25.0,"instances":10,"instances_per_s":5.0,"wall_s":2.0,"workload":"chain"}"#
        );
        assert!(figures.line().starts_with("chain     "), "{}", figures.line());
    }
}
