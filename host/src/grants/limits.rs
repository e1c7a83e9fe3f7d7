//! Limits on one attempt of an activity.

use std::time::Duration;

/// Limits on one attempt of an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivityLimits {
    /// Fuel, in Wasmtime fuel units.
    pub fuel: u64,
    /// Longest wall-clock time of an attempt whose call asks for no shorter one.
    pub timeout: Duration,
    /// Sum of memories and tables, in bytes.
    pub memory_bytes: u64,
    /// Bytes of log lines kept; what comes after is dropped and counted.
    pub log_bytes: usize,
    /// Outgoing HTTP requests open at the same time.
    pub open_requests: usize,
    /// Bytes of all HTTP responses together.
    pub response_bytes: u64,
    /// Longest result, in bytes; also the most that one host call may copy out of the guest.
    pub payload_bytes: usize,
}

impl ActivityLimits {
    /// No limit at all, for grants that leave the host's limits as they are.
    pub const UNLIMITED: Self = Self {
        fuel: u64::MAX,
        timeout: Duration::MAX,
        memory_bytes: u64::MAX,
        log_bytes: usize::MAX,
        open_requests: usize::MAX,
        response_bytes: u64::MAX,
        payload_bytes: usize::MAX,
    };

    /// The smaller of each pair of limits.
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
    /// Room for extracting the text of a large PDF, not for more.
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
