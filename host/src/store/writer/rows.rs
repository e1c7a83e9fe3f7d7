//! The rows that a batch writes, table by table.

use std::collections::{HashMap, HashSet};

use crate::{
    model::{InstanceNumber, InstanceStatus},
    store::{
        attempts::{AttemptKey, NewAttempt, TaskToPrune},
        completions::NewCompletion,
        events::{NewEvent, OldEvent},
        garbage::Garbage,
        heartbeats::NewHeartbeat,
        history::NewTurn,
        idempotency::{NewAnswer, NewKey},
        inbox::{ConsumedMessage, NewMessage},
        instances::{ByNumber, ChangedInstance, CreatedInstance},
        logs::NewLine,
        sizes::{Growth, SizedInstance},
        tags::NewTag,
        usage::UsageRows,
    },
};

/// Rows collected from many operations, written table by table.
///
/// The order of the tables matters in three places: an id is freed before it is used again, a message is written before
/// it is consumed, and the rest of an inbox becomes garbage after all changes to the inbox.
#[derive(Default)]
pub(in crate::store) struct Rows<'a> {
    pub(in crate::store) created: Vec<CreatedInstance<'a>>,
    created_numbers: HashSet<InstanceNumber>,
    pub(in crate::store) changed: Vec<ChangedInstance<'a>>,
    changed_at: HashMap<InstanceNumber, usize>,
    /// Failed instances that run again.
    pub(in crate::store) revived: Vec<ByNumber>,
    pub(in crate::store) deleted: Vec<ByNumber>,
    pub(in crate::store) turns: Vec<NewTurn<'a>>,
    pub(in crate::store) messages: Vec<NewMessage<'a>>,
    pub(in crate::store) consumed: Vec<ConsumedMessage>,
    pub(in crate::store) events: Vec<NewEvent<'a>>,
    pub(in crate::store) taken_events: Vec<OldEvent<'a>>,
    pub(in crate::store) attempts: Vec<NewAttempt<'a>>,
    /// Attempts to delete.
    pub(in crate::store) pruned: Vec<AttemptKey>,
    /// Tasks that no longer have surplus attempts.
    pub(in crate::store) pruned_tasks: Vec<TaskToPrune>,
    pub(in crate::store) completions: Vec<NewCompletion>,
    pub(in crate::store) heartbeats: Vec<NewHeartbeat<'a>>,
    pub(in crate::store) lines: Vec<NewLine<'a>>,
    pub(in crate::store) tags: Vec<NewTag<'a>>,
    pub(in crate::store) garbage: Vec<Garbage>,
    pub(in crate::store) keys: Vec<NewKey<'a>>,
    /// Answers for keys that were stored by an earlier batch.
    pub(in crate::store) answers: Vec<NewAnswer<'a>>,
    pub(in crate::store) usage: UsageRows<'a>,
    /// The sizes of instances whose rows are not written for another reason.
    pub(in crate::store) sized: Vec<SizedInstance>,
    pub(in crate::store) growth: Growth,
}

impl<'a> Rows<'a> {
    /// Creates an instance.
    pub(super) fn create(&mut self, instance: CreatedInstance<'a>) {
        self.created_numbers.insert(instance.state.number);
        self.created.push(instance);
    }

    /// Whether these rows create the instance. They must be written before it can be changed.
    pub(super) fn creates(&self, instance: InstanceNumber) -> bool {
        self.created_numbers.contains(&instance)
    }

    /// Whether the instance's row is written anyway, because it is created or changed.
    pub(super) fn writes(&self, instance: InstanceNumber) -> bool {
        self.creates(instance) || self.changed_at.contains_key(&instance)
    }

    /// Changes an instance. Merges the change with an earlier one, because one statement can change each row only once.
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
            entity: change.entity.or(earlier.entity),
            rewinds: change.rewinds.or_else(|| earlier.rewinds.take()),
            ..change
        };
    }

    /// Ends an instance that these rows change, before it is deleted: only what has ended is deleted.
    pub(super) fn end(&mut self, instance: InstanceNumber) {
        if let Some(at) = self.changed_at.get(&instance) {
            let changed = &mut self.changed[*at];
            changed.status = InstanceStatus::Completed;
            (changed.wake_at, changed.in_flight, changed.stuck) = (None, 0, None);
        }
    }

    /// Deletes an instance and all its rows. If these rows create the instance, its row is not written at all, because
    /// deletions are written before creations.
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
        self.certain() == 0 && variable == 0 && self.growth.is_empty()
    }

    /// The minimum number of rows that change, provided that all rows to change exist.
    pub(in crate::store) fn certain(&self) -> u64 {
        let rows = self.changed.len()
            + self.revived.len()
            + self.created.len()
            + self.turns.len()
            + self.messages.len()
            + self.events.len()
            + self.attempts.len()
            + self.completions.len()
            + self.heartbeats.len()
            + self.lines.len()
            + self.tags.len()
            + self.usage.len()
            + self.answers.len()
            + self.sized.len();
        rows as u64
    }
}
