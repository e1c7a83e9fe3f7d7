//! The rows that a batch is going to write, table by table.

use std::collections::{HashMap, HashSet};

use crate::{
    model::InstanceNumber,
    store::{
        attempts::{AttemptKey, NewAttempt, TaskToPrune},
        events::{NewEvent, OldEvent},
        garbage::Garbage,
        history::NewTurn,
        idempotency::NewKey,
        inbox::{ConsumedMessage, NewMessage},
        instances::{ByNumber, ChangedInstance, CreatedInstance},
        logs::NewLine,
        sizes::{Growth, SizedInstance},
        usage::UsageRows,
    },
};

/// Rows collected from many operations, to be written table by table.
///
/// The order matters in three places: an id is freed before it is taken again, a message is written before it can be
/// consumed, and what is left in an inbox is noted as garbage when the inbox is as it will be.
#[derive(Default)]
pub(in crate::store) struct Rows<'a> {
    pub(in crate::store) created: Vec<CreatedInstance<'a>>,
    created_numbers: HashSet<InstanceNumber>,
    pub(in crate::store) changed: Vec<ChangedInstance<'a>>,
    changed_at: HashMap<InstanceNumber, usize>,
    pub(in crate::store) deleted: Vec<ByNumber>,
    pub(in crate::store) turns: Vec<NewTurn<'a>>,
    pub(in crate::store) messages: Vec<NewMessage<'a>>,
    pub(in crate::store) consumed: Vec<ConsumedMessage>,
    pub(in crate::store) events: Vec<NewEvent<'a>>,
    pub(in crate::store) taken_events: Vec<OldEvent<'a>>,
    pub(in crate::store) attempts: Vec<NewAttempt<'a>>,
    /// Attempts that are not kept any longer.
    pub(in crate::store) pruned: Vec<AttemptKey>,
    /// Tasks that have no more attempts than are kept any more.
    pub(in crate::store) pruned_tasks: Vec<TaskToPrune>,
    pub(in crate::store) lines: Vec<NewLine<'a>>,
    pub(in crate::store) garbage: Vec<Garbage>,
    pub(in crate::store) keys: Vec<NewKey<'a>>,
    pub(in crate::store) usage: UsageRows<'a>,
    /// How much is stored of instances whose own rows are not written for another reason.
    pub(in crate::store) sized: Vec<SizedInstance>,
    pub(in crate::store) growth: Growth,
}

impl<'a> Rows<'a> {
    /// Creates an instance.
    pub(super) fn create(&mut self, instance: CreatedInstance<'a>) {
        self.created_numbers.insert(instance.state.number);
        self.created.push(instance);
    }

    /// Whether the instance is created by these very rows. They must be written before it can be changed.
    pub(super) fn creates(&self, instance: InstanceNumber) -> bool {
        self.created_numbers.contains(&instance)
    }

    /// Whether the instance's own row is written by these rows anyway.
    pub(super) fn writes(&self, instance: InstanceNumber) -> bool {
        self.creates(instance) || self.changed_at.contains_key(&instance)
    }

    /// Changes an instance, on top of an earlier change in the same rows: one statement changes each row only once.
    pub(super) fn change(&mut self, change: ChangedInstance<'a>) {
        let Some(at) = self.changed_at.get(&change.number) else {
            self.changed_at.insert(change.number, self.changed.len());
            self.changed.push(change);
            return;
        };
        let earlier = &mut self.changed[*at];
        *earlier = ChangedInstance {
            fuel: earlier.fuel.saturating_add(change.fuel),
            custom_status: change.custom_status.or(earlier.custom_status),
            took_a_turn: earlier.took_a_turn || change.took_a_turn,
            ..change
        };
    }

    /// Deletes an instance with all that belongs to it. The row of one that these very rows create is not written at all:
    /// what is deleted comes before what is created.
    pub(super) fn delete(&mut self, instance: InstanceNumber) {
        if self.created_numbers.remove(&instance) {
            self.created.retain(|created| created.state.number != instance);
        } else {
            self.deleted.push(ByNumber(instance));
        }
        self.garbage.push(Garbage::Instance(instance));
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        let pruned = self.pruned.len() + self.pruned_tasks.len();
        let variable = self.deleted.len()
            + self.consumed.len()
            + self.taken_events.len()
            + self.garbage.len()
            + self.keys.len()
            + pruned;
        self.certain() == 0 && variable == 0
    }

    /// How many rows will change at least, if everything that is to be changed exists.
    pub(in crate::store) fn certain(&self) -> u64 {
        let rows = self.changed.len()
            + self.created.len()
            + self.turns.len()
            + self.messages.len()
            + self.events.len()
            + self.attempts.len()
            + self.lines.len()
            + self.usage.len()
            + self.sized.len();
        rows as u64
    }
}
