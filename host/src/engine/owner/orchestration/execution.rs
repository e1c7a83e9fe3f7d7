//! The current execution: its outstanding tasks, as its history shows them, and the guest that replays it.
//!
//! The history is read in pages for both. The ledger needs all of it before the owner decides anything; the guest may
//! be missing or behind until a turn is due.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::owner::StartActivity;
use crate::engine::owner::inputs::FeedError;
use crate::model::{ExecutionNumber, Rewinds, Started, TaskId, Timestamp, Turn, TurnNumber};
use crate::replay::{Guest, Ledger, Outstanding, Player, ReplayError, Waits};

use super::attempts::Attempts;

/// The current execution; see the module docs.
pub(super) struct CurrentExecution<G> {
    pub(super) ledger: Ledger,
    pub(super) player: Option<Player<G>>,
    pub(super) attempts: Attempts,
}

impl<G> Default for CurrentExecution<G> {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            player: None,
            attempts: Attempts::default(),
        }
    }
}

impl<G> CurrentExecution<G> {
    /// An execution with these rewinds, of which no turn was read.
    pub(super) fn new(rewinds: Rewinds) -> Self {
        Self {
            ledger: Ledger::new(rewinds),
            ..Self::default()
        }
    }
}

impl<G: Guest> CurrentExecution<G> {
    /// Applies the next rows of the history. Ledger and guest skip rows that they have applied already.
    ///
    /// # Errors
    /// If a row cannot be applied; the rows before it are.
    pub(super) fn feed(&mut self, rows: &[Turn]) -> Result<(), FeedError> {
        for row in rows {
            if row.number == self.ledger.last_turn().next() {
                let applied = self.ledger.apply(row);
                applied.map_err(|error| FeedError::Unreadable(error.to_string()))?;
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

    /// The turn after which rows have to be read to reach `last_turn`, if any: for the ledger and, with `for_guest`,
    /// for the guest if there is one.
    pub(super) fn unread_after(&self, last_turn: TurnNumber, for_guest: bool) -> Option<TurnNumber> {
        let ledger = self.ledger.last_turn();
        let known = match &self.player {
            Some(player) if for_guest => player.last_turn().min(ledger),
            _ => ledger,
        };
        (known < last_turn).then_some(known)
    }

    /// Whether a guest is in memory and has applied this turn.
    pub(super) fn has_guest_at(&self, last_turn: TurnNumber) -> bool {
        self.player
            .as_ref()
            .is_some_and(|player| player.last_turn() == last_turn)
    }

    /// The waits for events after this turn, from the guest or, if it is cold, from the ledger; `None` if neither has
    /// applied the turn.
    pub(super) fn waits(&self, last_turn: TurnNumber) -> Option<&Waits> {
        match &self.player {
            Some(player) if player.last_turn() == last_turn => Some(player.waits()),
            _ => (self.ledger.last_turn() == last_turn).then(|| self.ledger.waits()),
        }
    }

    /// The outstanding tasks that may have recorded attempts. Attempts of other tasks are of interest to clients only.
    pub(super) fn tasks_with_attempts(&self) -> Vec<TaskId> {
        let calls = self.ledger.tasks().filter(|(_, outstanding)| match outstanding {
            Outstanding::Activity(_) | Outstanding::SubOrchestration(_) => true,
            Outstanding::Entity(_) | Outstanding::Lock | Outstanding::Timer { .. } => false,
        });
        calls.map(|(task, _)| task).collect()
    }

    /// The first outstanding activity calls after a task that are not in `ended`: they must run.
    pub(super) fn calls_to_resume(
        &mut self,
        execution: ExecutionNumber,
        after: Option<TaskId>,
        ended: &BTreeSet<TaskId>,
        at_most: usize,
    ) -> Vec<StartActivity> {
        let Some(Started { seed, .. }) = self.ledger.started().map(|started| &**started) else {
            return Vec::new();
        };
        let attempts = &mut self.attempts;
        let calls = self
            .ledger
            .tasks_after(after)
            .filter_map(|(task, outstanding)| match outstanding {
                Outstanding::Activity(call) if !ended.contains(&task) => {
                    let so_far = attempts.take_call(task);
                    (!so_far.waits).then(|| StartActivity {
                        execution,
                        task,
                        call: call.clone(),
                        origin: self.ledger.origin(task),
                        seed: *seed,
                        so_far,
                    })
                }
                Outstanding::Activity(_)
                | Outstanding::SubOrchestration(_)
                | Outstanding::Entity(_)
                | Outstanding::Lock
                | Outstanding::Timer { .. } => None,
            });
        calls.take(at_most).collect()
    }

    /// The time for which a timer is set.
    pub(super) fn timer_set_for(&self, task: TaskId) -> Option<Timestamp> {
        match self.ledger.task(task)? {
            Outstanding::Timer { fire_at, .. } => Some(*fire_at),
            Outstanding::Activity(_)
            | Outstanding::SubOrchestration(_)
            | Outstanding::Entity(_)
            | Outstanding::Lock => None,
        }
    }

    /// The start of the execution, once its first turn was read.
    pub(super) fn started(&self) -> Option<&Arc<Started>> {
        self.ledger.started()
    }
}
