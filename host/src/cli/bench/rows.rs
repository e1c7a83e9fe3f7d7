//! The rows of the benchmark; related rows share a file.

pub(super) mod chain;
pub(super) mod cold;
pub(super) mod entities;
pub(super) mod noisy;
pub(super) mod parked;
pub(super) mod recovery;
pub(super) mod single;
pub(super) mod sleepers;

use std::time::Instant;

/// The input of a workload, which it returns, as JSON.
const TEXT: &str = "\"bench\"";

fn ms_since(started_at: Instant) -> f64 {
    started_at.elapsed().as_secs_f64() * 1_000.0
}
