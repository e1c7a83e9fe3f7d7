//! What the orchestrations of the conformance suite and their activity have in common.

use std::time::Duration;

use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "ConformanceStep")]
    pub fn step(plan: Plan) -> Result<u32>;

    #[event(name = "Tick")]
    pub fn tick(number: u32);
}

/// What the attempts of a step do, one after the other. The last act is repeated.
#[payload]
pub struct Plan {
    pub acts: Vec<Act>,
}

/// What one attempt does.
#[payload]
pub enum Act {
    /// Gives back its number.
    Succeed,
    /// Fails with that type.
    Fail(String),
    /// Fails with that type, and says that another attempt is pointless.
    FailForGood(String),
    /// Takes half a minute.
    Hang,
}

impl Plan {
    /// What that attempt does, from 1.
    pub fn act(&self, attempt: u32) -> &Act {
        let last = self.acts.len() - 1;
        &self.acts[last.min(attempt as usize - 1)]
    }
}

impl Act {
    /// How long it takes.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Hang => secs(30),
            Self::Succeed | Self::Fail(_) | Self::FailForGood(_) => Duration::ZERO,
        }
    }

    /// What comes of it.
    pub fn outcome(&self, attempt: u32) -> Result<u32> {
        let failure = |error_type| Failure::new(error_type, format!("attempt {attempt}")).details(&attempt);
        match self {
            Self::Succeed | Self::Hang => Ok(attempt),
            Self::Fail(error_type) => Err(failure(error_type)),
            Self::FailForGood(error_type) => Err(failure(error_type).non_retryable()),
        }
    }
}
