//! The replay core: decides what an orchestration does next, given its history and its arrivals.
//!
//! It is pure: no wasmtime, no sqlx, no tokio, no clock and no async. Rows and arrivals go in, decisions come out, and
//! the same input always gives the same output. The guest implements the small trait [`Guest`], so that property tests
//! run thousands of scripts and production runs components.
//!
//! * [`execution`] is what a guest sees: tasks, events, time, randomness. Imports are thin wrappers of it.
//! * [`turn`] runs a guest through one turn: it compares the decisions of a recorded turn, or collects those of a new one.
//! * [`ledger`] folds a history into the outstanding tasks, without a guest.
//! * [`pending`] holds the events that no turn has taken yet; a turn takes those that its guest waits for.

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
pub use guest::{
    Budget, Directory, Guest, HostUnavailable, Pause, Progress, Ran, ResolvedActivity, ResolvedEntity,
    ResolvedOrchestration,
};
pub use ledger::{Ledger, Outstanding};
pub use limits::{TurnLimits, TurnSize};
pub use pending::{PendingEvent, PendingEvents, Place};
pub use polled::Polled;
pub use turn::{Delivery, EventBudget, NewTurn, Player, ReplayError};

#[cfg(test)]
pub(crate) mod tests;
