//! Counters, gauges and histograms, and their text format for Prometheus.
//!
//! Hot paths count, so counting is one relaxed atomic addition, without a lock, allocation or lookup by name. Each
//! module owns its counters ([`engine`](crate::engine), [`store`](crate::store)); `http/metrics.rs` adds names and
//! explanations when a client asks. Nothing here is global: two hosts in one process count separately.

mod process;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

pub use self::process::{ProcessUsage, process_usage};
pub use self::text::{Kind, Text};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The current number of something. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Adds one until the returned guard is dropped, so that something that ends early does not stay counted.
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Relaxed);
        Held(self.clone())
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// A guard that counts in a [`Gauge`] until it is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// How many values fell into each range. Values are integers in a unit that the owner chooses.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// The upper bounds of the ranges, ascending and inclusive.
    bounds: [u64; N],
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Creates an empty histogram.
    pub fn new(bounds: [u64; N]) -> Self {
        debug_assert!(bounds.is_sorted(), "ranges are ascending");
        Self {
            bounds,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let range = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(range).unwrap_or(&self.beyond).fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// The current counts.
    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let ranges = self.bounds.iter().zip(&self.counts).map(|(bound, counted)| {
            count += counted.load(Relaxed);
            (*bound, count)
        });
        let ranges = ranges.collect();
        Distribution {
            ranges,
            count: count + self.beyond.load(Relaxed),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// The counts of a [`Histogram`] at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, each with the number of values up to it.
    pub ranges: Vec<(u64, u64)>,
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_counts_what_is_held() {
        let gauge = Gauge::default();
        let (first, second) = (gauge.hold(), gauge.hold());
        drop(first);
        assert_eq!(gauge.get(), 1);
        drop(second);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn upper_bounds_are_inclusive_and_counts_are_cumulative() {
        let histogram = Histogram::new([1, 10, 100]);
        for value in [0, 1, 2, 10, 100, 101, 5_000] {
            histogram.record(value);
        }
        let expected = Distribution {
            ranges: vec![(1, 2), (10, 4), (100, 5)],
            count: 7,
            sum: 5_214,
        };
        assert_eq!(histogram.read(), expected);
    }
}
