//! The types and signatures that the orchestrations of the conformance suite and their activity share.

use std::time::Duration;

use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "ConformanceStep")]
    pub fn step(plan: Plan) -> Result<u32>;

    #[event(name = "Tick")]
    pub fn tick(number: u32);
}

/// The acts of the attempts of a step, in order. The last act is repeated.
#[payload]
pub struct Plan {
    pub acts: Vec<Act>,
}

/// What one attempt does.
#[payload]
pub enum Act {
    /// Returns the number of the attempt.
    Succeed,
    /// Fails with this type.
    Fail(String),
    /// Fails with this type, and is not retryable.
    FailForGood(String),
    /// Takes half a minute.
    Hang,
}

impl Plan {
    /// The act of an attempt, counted from 1.
    pub fn act(&self, attempt: u32) -> &Act {
        let last = self.acts.len() - 1;
        &self.acts[last.min(attempt as usize - 1)]
    }
}

impl Act {
    /// The duration of the act.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Hang => secs(30),
            Self::Succeed | Self::Fail(_) | Self::FailForGood(_) => Duration::ZERO,
        }
    }

    /// The outcome of the act.
    pub fn outcome(&self, attempt: u32) -> Result<u32> {
        let failure = |error_type| Failure::new(error_type, format!("attempt {attempt}")).details(&attempt);
        match self {
            Self::Succeed | Self::Hang => Ok(attempt),
            Self::Fail(error_type) => Err(failure(error_type)),
            Self::FailForGood(error_type) => Err(failure(error_type).non_retryable()),
        }
    }
}
