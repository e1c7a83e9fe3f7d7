//! The rows of the benchmark, a file each for those that belong together.

pub(super) mod chain;
pub(super) mod cold;
pub(super) mod noisy;
pub(super) mod parked;
pub(super) mod recovery;
pub(super) mod single;
pub(super) mod sleepers;

use std::time::Instant;

/// What goes into a workload and comes out again, as JSON.
const TEXT: &str = "\"bench\"";

fn ms_since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1_000.0
}
