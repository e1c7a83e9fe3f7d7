//! What the host does for an orchestration or an entity costs fuel as well, so that the fuel of a turn or an operation
//! bounds its time, and the fuel per minute of a tenant bounds the work of the host.
//!
//! Wasmtime counts only the instructions of the guest. Every import adds what it costs, in proportion to what the host
//! does: one unit for about a nanosecond, which is also about what an instruction of the guest takes. Imports have no
//! access to the store, so their fuel is counted here. It is added to that of the guest whenever the guest waits and when
//! it ends; until then, both together may use twice what a turn may use.
//!
//! Replay is not charged: a host of an older version may have recorded the turn without these costs.

use wasmtime::Trap;

/// Any call of an import: it crosses the boundary and converts a few small values.
pub(super) const CALL: u64 = 100;
/// A decision: it is checked, recorded, written and carried out.
pub(super) const DECISION: u64 = 1_000;
/// A log line.
pub(super) const LOG_LINE: u64 = 200;
/// A pollable in a list of `poll`: it is looked up and sorted.
pub(super) const POLLABLE: u64 = 200;
/// An outcome that `wait` returns.
pub(super) const COMPLETION: u64 = 500;

/// An operation that an entity gets.
pub(super) const OPERATION: u64 = 500;

/// A text that the host parses or stores, by its length in bytes.
pub(super) const fn payload(bytes: usize) -> u64 {
    2 * bytes as u64
}

/// Bytes that the host copies or generates.
pub(super) const fn copied(bytes: usize) -> u64 {
    bytes as u64
}

/// The fuel of the host's work in the running turn.
#[derive(Debug, Default)]
pub(super) struct HostFuel {
    used: u64,
    /// The fuel of the turn; `None` if the host's work is not charged.
    limit: Option<u64>,
}

impl HostFuel {
    /// Begins a turn or an operation.
    pub(super) fn begin(&mut self, limit: Option<u64>) {
        *self = Self { used: 0, limit };
    }

    /// Counts work.
    pub(super) fn add(&mut self, fuel: u64) {
        self.used = self.used.saturating_add(fuel);
    }

    /// The fuel of the turn so far, if the guest itself has used this much.
    pub(super) fn with(&self, guest: u64) -> u64 {
        match self.limit {
            Some(_) => guest.saturating_add(self.used),
            None => guest,
        }
    }

    /// Checks that the host and the guest, if it has used this much, are within the fuel of the turn.
    ///
    /// # Errors
    /// If they are not. The guest must be stopped.
    pub(super) fn check_with(&self, guest: u64) -> Result<(), Trap> {
        match self.limit {
            Some(limit) if self.with(guest) > limit => Err(Trap::OutOfFuel),
            _ => Ok(()),
        }
    }

    /// Checks that the host alone is within the fuel of the turn.
    ///
    /// # Errors
    /// If it is not. The guest must be stopped.
    pub(super) fn check(&self) -> Result<(), Trap> {
        self.check_with(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_the_host_and_that_of_the_guest_share_the_fuel_of_a_turn() {
        let mut fuel = HostFuel::default();
        fuel.begin(Some(1_000));
        fuel.add(400);
        assert_eq!(fuel.with(600), 1_000);
        assert_eq!(fuel.check_with(600), Ok(()));
        assert_eq!(fuel.check_with(601), Err(Trap::OutOfFuel));
        assert_eq!(fuel.check(), Ok(()));
        fuel.add(u64::MAX);
        assert_eq!(fuel.check(), Err(Trap::OutOfFuel));
        fuel.begin(Some(1_000));
        assert_eq!(fuel.check_with(1_000), Ok(()), "each turn begins anew");
    }

    #[test]
    fn replay_is_not_charged() {
        let mut fuel = HostFuel::default();
        fuel.begin(None);
        fuel.add(u64::MAX);
        assert_eq!(fuel.with(5), 5);
        assert_eq!(fuel.check_with(5), Ok(()));
    }
}
