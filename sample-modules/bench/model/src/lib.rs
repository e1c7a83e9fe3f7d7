//! The entity of `windlass bench`, and its code, so that the tests of the orchestrations run it.

use windlass_sdk::prelude::*;

/// Counts the operations that it applied.
#[entity(name = "BenchCounter")]
#[payload]
#[derive(Default)]
pub struct BenchCounter {
    pub count: u64,
}

#[operations]
impl BenchCounter {
    /// Adds one and returns the sum.
    fn add(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}
