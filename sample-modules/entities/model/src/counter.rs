//! The smallest entity: a number.

use windlass_sdk::prelude::*;

/// Counts something, for example the visits of a page.
#[entity(name = "Counter", delete_when_default)]
#[payload]
#[derive(Default, PartialEq)]
pub struct Counter {
    pub count: i64,
}

#[operations]
impl Counter {
    /// Adds a number and returns the sum.
    fn add(&mut self, number: i64) -> Result<i64> {
        let overflow = || Failure::new("CounterOverflow", format!("{} + {number} does not fit", self.count));
        self.count = self.count.checked_add(number).ok_or_else(overflow)?;
        Ok(self.count)
    }

    /// Returns the sum.
    fn get(&self) -> i64 {
        self.count
    }

    /// Sets the counter to zero and returns what it was. A counter at zero takes no space.
    fn reset(&mut self) -> i64 {
        std::mem::take(&mut self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_does_not_fit_is_a_failure() {
        let mut counter = Counter { count: i64::MAX };
        assert!(counter.add(1).unwrap_err().is("CounterOverflow"));
        assert_eq!(counter.add(-1).unwrap(), i64::MAX - 1);
        assert_eq!((counter.reset(), counter.get()), (i64::MAX - 1, 0));
    }
}
