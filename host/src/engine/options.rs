//! How the engine is set up.

use std::time::Duration;

use super::mailbox::MAILBOX_BYTES;
use super::owner::KNOWN_EVENT_BYTES;
use crate::model::ObservableLimits;
use crate::replay::TurnLimits;

/// What an operator or a test may choose.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Most guests kept in memory between turns; 0 replays every turn.
    pub hot_guests: usize,
    /// How long an idle guest is kept.
    pub hot_idle: Duration,
    /// Attempts of activities that run at once.
    pub activity_slots: usize,
    /// New instances are refused while that many activity calls run or wait, to tenants with an even part of them.
    pub max_queued: usize,
    /// An attempt that ran at that many unclean ends of the host in a row counts as failed. More than
    /// [`ATTEMPTS_KEPT`](crate::store::ATTEMPTS_KEPT) count as so many.
    pub max_cut_offs: u32,
    /// At how many unclean ends of the host in a row a turn of an instance may have been running before it is stuck.
    pub max_unclean_ends: u32,
    /// Most bytes of events that nobody has taken, in memory for each active instance; the others stay in the store.
    pub known_event_bytes: usize,
    /// Most bytes of messages that are on their way to one active instance; the others stay in the store.
    pub mailbox_bytes: usize,
    /// Limits on new turns.
    pub turn_limits: TurnLimits,
    /// Limits that executions which start now may observe.
    pub observable: ObservableLimits,
    /// Threads for guests, apart from those that serve HTTP and the store.
    pub guest_threads: usize,
    /// How long a stop waits for turns and attempts.
    pub stop_timeout: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            hot_guests: 1_000,
            hot_idle: Duration::from_secs(10),
            activity_slots: 64,
            max_queued: 20_000,
            max_cut_offs: 3,
            max_unclean_ends: 3,
            known_event_bytes: KNOWN_EVENT_BYTES,
            mailbox_bytes: MAILBOX_BYTES,
            turn_limits: TurnLimits::default(),
            observable: ObservableLimits {
                memory_bytes: 64 << 20,
                payload_bytes: 1 << 20,
            },
            guest_threads: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            stop_timeout: Duration::from_secs(5),
        }
    }
}
