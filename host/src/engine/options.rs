//! The options of the engine.

use std::time::Duration;

use super::left_out;
use super::mailbox::MAILBOX_BYTES;
use super::owner::KNOWN_EVENT_BYTES;
use crate::entity::StepLimits;
use crate::model::ObservableLimits;
use crate::replay::TurnLimits;
use crate::sandbox::DEFAULT_CANCELLATION_GRACE;

/// Options that an operator or a test may set.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The maximum number of guests in memory between turns; 0 means that every turn replays.
    pub hot_guests: usize,
    /// How long an idle guest stays in memory.
    pub hot_idle: Duration,
    /// The maximum number of activity attempts that run at once.
    pub activity_slots: usize,
    /// When this many activity calls are running or waiting, starts are refused to tenants with at least an even share
    /// of them.
    pub max_queued: usize,
    /// An attempt that ran by itself at this many unclean ends of the host in a row counts as failed. Capped at
    /// [`ATTEMPTS_KEPT`](crate::store::ATTEMPTS_KEPT).
    pub max_cut_offs: u32,
    /// An instance whose turn ran by itself at this many unclean ends of the host in a row becomes stuck.
    pub max_unclean_ends: u32,
    /// The size limit of waiting events in memory per active instance, in bytes; the others stay in the store.
    pub known_event_bytes: usize,
    /// With more results than that, in bytes, that it has not taken, an instance gets no slots for its activity calls;
    /// fewer if the memory budget is small.
    pub untaken_bytes: u64,
    /// The size limit of the mailbox of one active instance, in bytes; messages beyond it stay in the store.
    pub mailbox_bytes: usize,
    /// How many instances of a tenant that wait for memory are known in memory; others are read from the store.
    pub left_out: usize,
    /// Limits on new turns.
    pub turn_limits: TurnLimits,
    /// Limits on one step of an entity; those on payloads and the state are set for each tenant.
    pub step_limits: StepLimits,
    /// The maximum length of an entity's state, in bytes, unless a quota says otherwise.
    pub max_entity_state: u64,
    /// Limits that new executions can observe.
    pub observable: ObservableLimits,
    /// The number of threads for guests, besides those of HTTP and the store.
    pub guest_threads: usize,
    /// How long a cancelled attempt may clean up before it is stopped.
    pub cancellation_grace: Duration,
    /// The address of the host for others; completion tokens have a URL that starts with it.
    pub public_url: Option<String>,
    /// How long a shutdown waits for running turns and attempts.
    pub stop_timeout: Duration,
}

impl EngineOptions {
    /// The limits on turns while a payload may have this many bytes: the decisions of a turn may have a few of them.
    pub fn turn_limits_with(payload_bytes: u64) -> TurnLimits {
        let limits = TurnLimits::default();
        let largest = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
        TurnLimits {
            decision_bytes: limits.decision_bytes.max(largest.saturating_mul(2)),
            ..limits
        }
    }
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
            untaken_bytes: 16 << 20,
            mailbox_bytes: MAILBOX_BYTES,
            left_out: left_out::MAX_OF_TENANT,
            turn_limits: TurnLimits::default(),
            step_limits: StepLimits::default(),
            max_entity_state: 256 << 10,
            observable: ObservableLimits {
                memory_bytes: 64 << 20,
                payload_bytes: 1 << 20,
            },
            guest_threads: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            cancellation_grace: DEFAULT_CANCELLATION_GRACE,
            public_url: None,
            stop_timeout: Duration::from_secs(5),
        }
    }
}
