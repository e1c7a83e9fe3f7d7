//! Limits on one attempt of an activity.

use std::time::Duration;

/// Limits on one attempt of an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivityLimits {
    /// Fuel, in Wasmtime fuel units.
    pub fuel: u64,
    /// Maximum wall-clock time of an attempt; the call may set a shorter one.
    pub timeout: Duration,
    /// Maximum bytes of all memories and tables together.
    pub memory_bytes: u64,
    /// Maximum bytes of log lines. Further lines are dropped and counted.
    pub log_bytes: usize,
    /// Maximum outgoing HTTP requests that are open at the same time.
    pub open_requests: usize,
    /// Maximum bytes of all HTTP responses together.
    pub response_bytes: u64,
    /// Maximum bytes of the result, and of the data that one host call may copy out of the guest.
    pub payload_bytes: usize,
}

impl ActivityLimits {
    /// No limits, for grants that do not narrow the host's limits.
    pub const UNLIMITED: Self = Self {
        fuel: u64::MAX,
        timeout: Duration::MAX,
        memory_bytes: u64::MAX,
        log_bytes: usize::MAX,
        open_requests: usize::MAX,
        response_bytes: u64::MAX,
        payload_bytes: usize::MAX,
    };

    /// Returns the smaller of each pair of limits.
    #[must_use]
    pub fn within(&self, outer: &Self) -> Self {
        Self {
            fuel: self.fuel.min(outer.fuel),
            timeout: self.timeout.min(outer.timeout),
            memory_bytes: self.memory_bytes.min(outer.memory_bytes),
            log_bytes: self.log_bytes.min(outer.log_bytes),
            open_requests: self.open_requests.min(outer.open_requests),
            response_bytes: self.response_bytes.min(outer.response_bytes),
            payload_bytes: self.payload_bytes.min(outer.payload_bytes),
        }
    }
}

impl Default for ActivityLimits {
    /// Enough to extract the text of a large PDF.
    fn default() -> Self {
        Self {
            fuel: 50_000_000_000,
            timeout: Duration::from_secs(60),
            memory_bytes: 256 << 20,
            log_bytes: 64 << 10,
            open_requests: 16,
            response_bytes: 64 << 20,
            payload_bytes: 1 << 20,
        }
    }
}
