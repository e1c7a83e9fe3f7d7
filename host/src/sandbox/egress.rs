//! Where activities may connect to: nowhere, unless a rule allows it.

/// Which destinations are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {}

impl EgressPolicy {
    /// Nothing is allowed.
    pub fn deny_all() -> Self {
        Self::default()
    }
}
