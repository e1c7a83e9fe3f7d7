//! Takes messages from the queue of an entity, in order of arrival and as its lock allows.

use crate::engine::owner::inbox::{Inbox, TakenMessage};
use crate::model::{
    EntityId, EntityLock, EntityState, InboxItem, InboxSeq, LockRequest, ModuleNumber, Operation, SectionId, Timestamp,
};

use super::delayed::Delayed;

/// The maximum number of operations of a step.
const MAX_OPERATIONS: usize = 1_000;

/// The maximum bytes of the inputs of a step, without the last one.
const MAX_INPUT_BYTES: u64 = 4 << 20;

/// How often a step goes back to the beginning of the queue because a lock was released.
const MAX_RELEASES: usize = 16;

/// How many sections that were left before their request arrived an entity remembers. Each of them is forgotten when the
/// request arrives, which has been sent before.
const MAX_LEFT_SECTIONS: usize = 10_000;

/// What a step takes.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The operations to apply, in order.
    pub(super) operations: Vec<(InboxSeq, Operation)>,
    /// Other messages.
    pub(super) consumed: Vec<(InboxSeq, InboxItem)>,
    /// Requests for the locks of other entities.
    pub(super) forwarded: Vec<(EntityId, Option<ModuleNumber>, LockRequest)>,
    /// Sections that have all their locks.
    pub(super) granted: Vec<SectionId>,
    /// The entity with its new lock.
    pub(super) state: EntityState,
}

impl Taken {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.consumed.is_empty()
    }

    /// Puts everything back, because the step does not happen.
    pub(super) fn put_back(self, inbox: &mut Inbox, delayed: &mut Delayed) {
        inbox.put_back(
            self.consumed
                .into_iter()
                .map(|(seq, item)| TakenMessage { seq: Some(seq), item })
                .collect(),
        );
        Self::put_back_operations(self.operations, inbox, delayed);
    }

    /// Puts operations back.
    pub(super) fn put_back_operations(
        operations: Vec<(InboxSeq, Operation)>,
        inbox: &mut Inbox,
        delayed: &mut Delayed,
    ) {
        for (seq, operation) in operations {
            match operation.due_at {
                Some(_) => delayed.put(seq, operation),
                None => inbox.put_back(vec![TakenMessage {
                    seq: Some(seq),
                    item: InboxItem::Operation(Box::new(operation)),
                }]),
            }
        }
    }
}

/// What a step has taken so far of its limits.
#[derive(Debug, Default)]
struct Room {
    operations: usize,
    bytes: u64,
}

impl Room {
    fn take(&mut self, operation: &Operation) {
        self.operations += 1;
        self.bytes += operation.input.bytes();
    }

    fn is_used_up(&self) -> bool {
        self.operations >= MAX_OPERATIONS || self.bytes >= MAX_INPUT_BYTES
    }
}

/// Takes what the entity can do now: changes of the lock, and then operations. A lock does not change after operations of
/// the same step, because the step may leave some of them.
pub(super) fn take(entity: &EntityState, inbox: &mut Inbox, delayed: &mut Delayed, now: Timestamp) -> Taken {
    let mut taken = Taken {
        state: entity.clone(),
        ..Taken::default()
    };
    let mut room = Room::default();
    // A delayed operation waits for the lock like any other.
    while taken.state.lock.is_none()
        && !room.is_used_up()
        && let Some((seq, operation)) = delayed.take_due(now)
    {
        room.take(&operation);
        taken.operations.push((seq, operation));
    }
    for _ in 0..=MAX_RELEASES {
        let mut released = false;
        let mut is_over = false;
        let rows = inbox.take_where(|_, item| {
            // After a release, the queue is looked through from its beginning.
            if released || is_over || room.is_used_up() {
                return false;
            }
            is_over = room.operations > 0 && matches!(item, InboxItem::Lock(_) | InboxItem::Unlock { .. });
            if is_over {
                return false;
            }
            match item {
                InboxItem::Operation(operation) => {
                    let is_free = match &taken.state.lock {
                        None => true,
                        Some(lock) => operation.section == Some(lock.section),
                    };
                    if is_free {
                        room.take(operation);
                    }
                    is_free
                }
                InboxItem::Lock(request) => grant(request, &mut taken, now),
                InboxItem::Unlock { section } => {
                    released = release(*section, &mut taken.state);
                    true
                }
                // Entities ignore everything else.
                _ => true,
            }
        });
        for (seq, item) in rows {
            match item {
                InboxItem::Operation(operation) => taken.operations.push((seq, *operation)),
                other => taken.consumed.push((seq, other)),
            }
        }
        if !released {
            break;
        }
    }
    taken
}

/// Locks the entity for a request, if it is free or the request does not want it any more. Returns whether the request is
/// done.
fn grant(request: &LockRequest, taken: &mut Taken, now: Timestamp) -> bool {
    let entity = &mut taken.state;
    let was_left = entity.left_sections.iter().position(|left| *left == request.section);
    let withdrawn = request.withdrawn || was_left.is_some();
    if let Some(at) = was_left {
        entity.left_sections.swap_remove(at);
    }
    if !withdrawn {
        if entity.lock.is_some() {
            return false;
        }
        entity.lock = Some(EntityLock {
            section: request.section,
            holder: request.holder.clone(),
            since: now,
        });
    }
    match request.then.split_first() {
        // The next one gets a withdrawn request, too: it may remember that the section was left.
        Some(((next, module), then)) => {
            let request = LockRequest {
                then: then.to_vec(),
                withdrawn,
                ..request.clone()
            };
            taken.forwarded.push((next.clone(), Some(*module), request));
        }
        None if withdrawn => {}
        None => taken.granted.push(request.section),
    }
    true
}

/// Leaves a section. Returns whether the entity was locked by it. Otherwise its request has not been handled yet, and is
/// ignored when it is.
fn release(section: SectionId, entity: &mut EntityState) -> bool {
    if entity.lock.take_if(|lock| lock.section == section).is_some() {
        return true;
    }
    if entity.left_sections.len() >= MAX_LEFT_SECTIONS {
        entity.left_sections.remove(0);
    }
    entity.left_sections.push(section);
    false
}
