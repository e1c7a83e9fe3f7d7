//! The replay core: what an orchestration does next, given its history and what has arrived.
//!
//! Pure: no wasmtime, no sqlx, no tokio, no clock and no async. Rows and arrivals go in, decisions come out; the guest
//! sits behind the small trait [`Guest`], so that a property test drives it with thousands of scripts and production
//! drives it with a component. The same input always gives the same output.
//!
//! * [`execution`] is what a guest sees: tasks, events, time, randomness. Imports are thin translations to it.
//! * [`turn`] runs a guest through one turn, old (and compares) or new (and collects).
//! * [`ledger`] folds a history into what is still outstanding, without any guest.
//! * [`pending`] holds the events that nobody has taken yet; a turn takes what its guest waits for.

mod decisions;
pub mod events;
pub mod execution;
pub mod guest;
pub mod ledger;
pub mod limits;
pub mod pending;
pub mod polled;
pub mod randomness;
pub mod turn;

pub use events::Waits;
pub use execution::{Applied, Completion, Execution, Interrupt, PollTimer, Waited};
pub use guest::{Budget, Directory, Guest, HostUnavailable, Progress, Ran, ResolvedActivity, ResolvedOrchestration};
pub use ledger::{Ledger, Outstanding};
pub use limits::TurnLimits;
pub use pending::{PendingEvent, PendingEvents, Place};
pub use polled::Polled;
pub use turn::{Delivery, NewTurn, Player, ReplayError, Room};

#[cfg(test)]
pub(crate) mod tests;
