//! The execution of an orchestration: what its history says is outstanding, and the guest that repeats it.
//!
//! The history is read in pages and feeds both. The ledger needs all of it before anything is decided; the guest may be
//! missing or lag behind until a turn is to run.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{ExecutionNumber, Started, StuckReason, TaskId, Timestamp, Turn, TurnNumber};
use crate::replay::ledger::LedgerError;
use crate::replay::{Guest, HostUnavailable, Ledger, Outstanding, Player, ReplayError, Waits};

use super::StartActivity;
use super::attempts::Attempts;

/// See the module.
pub(super) struct Orchestration<G> {
    pub(super) ledger: Ledger,
    pub(super) player: Option<Player<G>>,
    pub(super) attempts: Attempts,
}

/// Why rows of the history led nowhere.
pub(super) enum FeedError {
    /// They are no history.
    Unreadable(LedgerError),
    /// The guest did not repeat them; it is gone.
    Stuck(StuckReason),
    /// The host cannot run the guest now; it is gone.
    Host(HostUnavailable),
}

impl<G> Default for Orchestration<G> {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            player: None,
            attempts: Attempts::default(),
        }
    }
}

impl<G: Guest> Orchestration<G> {
    /// Takes in the next rows of the history. Rows that ledger or guest know already are skipped.
    ///
    /// # Errors
    /// When rows after those that were taken in led nowhere.
    pub(super) fn feed(&mut self, rows: &[Turn]) -> Result<(), FeedError> {
        for row in rows {
            if row.number == self.ledger.last_turn().next() {
                self.ledger.apply(row).map_err(FeedError::Unreadable)?;
            }
            let Some(player) = &mut self.player else { continue };
            if row.number != player.last_turn().next() {
                continue;
            }
            if let Err(error) = player.replay(row) {
                self.player = None;
                return Err(match error {
                    ReplayError::Host(trouble) => FeedError::Host(trouble),
                    ReplayError::Stuck(reason) => FeedError::Stuck(reason),
                });
            }
        }
        Ok(())
    }

    /// The turn after which rows are to be read until `last_turn` is reached, if there are any: for the ledger alone, or for
    /// the guest as well, if there is one.
    pub(super) fn unread_after(&self, last_turn: TurnNumber, for_guest: bool) -> Option<TurnNumber> {
        let ledger = self.ledger.last_turn();
        let known = match &self.player {
            Some(player) if for_guest => player.last_turn().min(ledger),
            _ => ledger,
        };
        (known < last_turn).then_some(known)
    }

    /// Whether a guest is there that has taken that turn, so that it can take the next.
    pub(super) fn has_guest_at(&self, last_turn: TurnNumber) -> bool {
        self.player
            .as_ref()
            .is_some_and(|player| player.last_turn() == last_turn)
    }

    /// The waits for events after that turn, as the guest has them or, if it is cold, as its history says; none if that is
    /// not known yet.
    pub(super) fn waits(&self, last_turn: TurnNumber) -> Option<&Waits> {
        match &self.player {
            Some(player) if player.last_turn() == last_turn => Some(player.waits()),
            _ => (self.ledger.last_turn() == last_turn).then(|| self.ledger.waits()),
        }
    }

    /// The tasks of which attempts may be noted. Those of tasks that are over concern nobody but people.
    pub(super) fn tasks_with_attempts(&self) -> Vec<TaskId> {
        let calls = self.ledger.tasks().filter(|(_, outstanding)| match outstanding {
            Outstanding::Activity(_) | Outstanding::SubOrchestration(_) => true,
            Outstanding::Timer { .. } => false,
        });
        calls.map(|(task, _)| task).collect()
    }

    /// The activity calls that are outstanding and are not among those that `ended`: they have to run somewhere.
    pub(super) fn calls_to_resume(
        &mut self,
        execution: ExecutionNumber,
        ended: &BTreeSet<TaskId>,
    ) -> Vec<StartActivity> {
        let Some(Started { seed, .. }) = self.ledger.started().map(|started| &**started) else {
            return Vec::new();
        };
        let mut so_far = self.attempts.take_calls();
        let calls = self.ledger.tasks().filter_map(|(task, outstanding)| match outstanding {
            Outstanding::Activity(call) if !ended.contains(&task) => Some(StartActivity {
                execution,
                task,
                call: call.clone(),
                seed: *seed,
                so_far: so_far.remove(&task).unwrap_or_default(),
            }),
            Outstanding::Activity(_) | Outstanding::SubOrchestration(_) | Outstanding::Timer { .. } => None,
        });
        calls.collect()
    }

    /// The time for which a timer was set.
    pub(super) fn timer_set_for(&self, task: TaskId) -> Option<Timestamp> {
        match self.ledger.task(task)? {
            Outstanding::Timer { fire_at, .. } => Some(*fire_at),
            Outstanding::Activity(_) | Outstanding::SubOrchestration(_) => None,
        }
    }

    /// What the execution began with, once its first turn is known.
    pub(super) fn started(&self) -> Option<&Arc<Started>> {
        self.ledger.started()
    }
}
