//! Counters, gauges and histograms, and the text in which Prometheus reads them.
//!
//! Hot paths count, so counting is one relaxed atomic addition: no lock, no allocation, no name to look up. Who counts
//! owns its counters ([`engine`](crate::engine), [`store`](crate::store)); names and explanations are given when somebody
//! asks, in `http/metrics.rs`. Nothing here is global: two hosts in one process count apart.

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
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// That many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many of something there are now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// One more, until what is returned is dropped: nothing that ends early is left counted.
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Relaxed);
        Held(self.clone())
    }

    /// How many there are now.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// One of what a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// How often values fell into which range. Values are whole numbers in a unit that the owner chooses.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// The upper ends of the ranges, ascending; each belongs to its range.
    bounds: [u64; N],
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// An empty one.
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

    /// The counts now.
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

/// What a [`Histogram`] has counted by some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Upper ends, each with how many values were not above it.
    pub ranges: Vec<(u64, u64)>,
    /// How many values there were.
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
    fn the_upper_end_of_a_range_belongs_to_it_and_counts_are_cumulative() {
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
