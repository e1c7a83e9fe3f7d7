//! Limits the size of an execution: warns while it can still continue as new, and fails it at the limit.

use crate::engine::owner::OwnerContext;
use crate::model::inbox::event_bytes;
use crate::model::{Arrival, Decision, ENTRY_BYTES, ExecutionNumber, Failure, LogLevel, LogLine, Turn, failure::types};

/// The percentage of a limit at which a warning is logged.
const WARN_AT_PERCENT: u64 = 80;

/// How much is stored of an execution: exact as of the takeover, estimated for what was added since.
#[derive(Debug)]
pub(super) struct Sizes {
    /// Bytes of its history.
    pub(super) history: u64,
    /// Bytes of events that were not taken.
    pub(super) events: u64,
}

impl Sizes {
    /// History and events together, in bytes.
    pub(super) fn all(&self) -> u64 {
        self.history.saturating_add(self.events)
    }

    /// Adds this many bytes of stored events.
    pub(super) fn add_events(&mut self, bytes: u64) {
        self.events = self.events.saturating_add(bytes);
    }

    /// Subtracts this many bytes of taken events.
    pub(super) fn remove_events(&mut self, bytes: u64) {
        self.events = self.events.saturating_sub(bytes);
    }

    /// Counts a row without a turn of the guest.
    pub(super) fn add_row(&mut self, row: &Turn) {
        self.history = self.history.saturating_add(size(row));
    }

    /// Counts a new turn. Returns a failure if the execution reached a limit, and adds a warning to `logs` if it comes
    /// close to one.
    pub(super) fn add_turn(
        &mut self,
        turn: &Turn,
        execution: ExecutionNumber,
        logs: &mut Vec<LogLine>,
        context: &dyn OwnerContext,
    ) -> Option<Failure> {
        let before = self.history;
        self.history = before.saturating_add(size(turn));
        if turn.is_last() {
            return None;
        }
        let turns = u64::from(turn.number.0);
        let measures = [
            ("turns", turns - 1, turns, context.max_turns().into()),
            ("bytes of history", before, self.history, context.max_history_bytes()),
        ];
        for (what, before, now, limit) in measures {
            if now >= limit {
                let message = format!("an execution may have {limit} {what}; continue as new before");
                return Some(Failure::new(types::LIMIT, message).permanent());
            }
            let warn_at = limit.saturating_mul(WARN_AT_PERCENT) / 100;
            if before < warn_at && now >= warn_at {
                logs.push(LogLine {
                    at: turn.at,
                    execution,
                    task: None,
                    attempt: None,
                    level: LogLevel::Warn,
                    message: format!("this execution has {now} of at most {limit} {what}; it should continue as new"),
                });
            }
        }
        None
    }
}

/// The approximate size of a turn in the history, in bytes.
fn size(turn: &Turn) -> u64 {
    let arrived: u64 = turn.arrivals.iter().map(arrived).sum();
    let decided: u64 = turn.decisions.iter().map(Decision::payload_bytes).sum();
    let entries = (turn.arrivals.len() + turn.decisions.len()) as u64;
    arrived + decided + entries * ENTRY_BYTES
}

/// The events handed over by the previous execution count as well: otherwise an execution could hand them all on and
/// add more each time.
fn arrived(arrival: &Arrival) -> u64 {
    let carried = match arrival {
        Arrival::Started(started) => &started.events[..],
        _ => &[],
    };
    let carried = carried.iter().map(|event| event_bytes(event) + ENTRY_BYTES);
    arrival.payload_bytes() + carried.sum::<u64>()
}
