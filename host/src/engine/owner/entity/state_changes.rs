//! Changes of the state that operators ask for. They need no guest, so they repair an entity that is stuck.

use crate::engine::owner::OwnerContext;
use crate::engine::owner::behaviour::StepChanges;
use crate::engine::owner::effects::Effects;
use crate::engine::owner::inbox::{Inbox, TakenMessage};
use crate::engine::owner::instance::Instance;
use crate::entity::EntityGuest;
use crate::model::{
    EntityState, ExecutionNumber, Failure, InboxItem, InstanceNumber, InstanceStatus, LogLevel, LogLine, Payload,
    Replaces, StateChange, codec,
};
use crate::store::EntityChange;

use super::Entity;

impl<E: EntityGuest> Entity<E> {
    /// Applies the changes that wait, in order. Each that is refused is answered, and changes nothing. Returns whether the
    /// state was replaced or deleted.
    pub(super) fn change_state(
        &mut self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> (StepChanges, bool) {
        let now = context.now();
        let mut is_stuck = instance.status == InstanceStatus::Stuck;
        let mut effects = Effects::default();
        let (mut answers, mut consumed, mut messages) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_changed = false;
        for (seq, item) in inbox.take_state_changes() {
            consumed.push(codec::encode(&item).len() as u64);
            if let InboxItem::SetState(change) = &item {
                let before = Size::of(&self.state);
                let changed = change_one(&mut self.state, change, instance.identity.number, is_stuck);
                if changed.is_ok() {
                    is_changed = true;
                    // The following ones find an entity that goes on.
                    is_stuck = false;
                    effects.logs.push(LogLine {
                        at: now,
                        execution: ExecutionNumber::FIRST,
                        task: None,
                        attempt: None,
                        level: LogLevel::Info,
                        message: described(change, before, Size::of(&self.state)),
                    });
                }
                let outcome = changed.map(|()| Payload::of(&self.state.version));
                answers.extend(self.reply(change.reply_to.clone(), outcome, &mut effects));
            }
            messages.push(TakenMessage { seq: Some(seq), item });
        }
        let encoded = codec::encode(&self.state).len() as u64;
        self.in_commit.change = Some(EntityChange {
            replaced: self.stored_bytes,
            consumed,
            answers,
            state: self.state.clone(),
            // Its log says who deleted it.
            ends: false,
        });
        self.stored_bytes = encoded;
        let changes = StepChanges {
            at: now,
            messages,
            turn: None,
            effects,
        };
        (changes, is_changed)
    }
}

/// Changes the state, or says why it does not.
fn change_one(
    entity: &mut EntityState,
    change: &StateChange,
    number: InstanceNumber,
    is_stuck: bool,
) -> Result<(), Failure> {
    let version = entity.version;
    let fits = match change.replaces {
        Replaces::Anything => true,
        Replaces::Version { instance, version } => (instance, version) == (number, entity.version),
        Replaces::Nothing => entity.state.is_none(),
    };
    if !fits {
        let message = match &entity.state {
            Some(_) => format!("the entity's state has version {version}"),
            None => "the entity has no state".to_owned(),
        };
        return Err(Failure::new(StateChange::CHANGED, message));
    }
    if let Some(lock) = entity.lock.as_ref().filter(|_| !is_stuck) {
        // In its critical section, the holder relies on the state that it has read.
        let message = format!("the instance {:?} has locked the entity", lock.holder.as_str());
        return Err(Failure::new(StateChange::LOCKED, message));
    }
    if entity.state.is_some() || change.state.is_some() {
        entity.version += 1;
    }
    entity.state.clone_from(&change.state);
    Ok(())
}

/// What the log says about a state.
#[derive(Clone, Copy)]
struct Size {
    version: u64,
    bytes: Option<u64>,
}

impl Size {
    fn of(entity: &EntityState) -> Self {
        Self {
            version: entity.version,
            bytes: entity.state.as_ref().map(Payload::bytes),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "version {} ({bytes} bytes)", self.version),
            None => write!(f, "version {} (none)", self.version),
        }
    }
}

fn described(change: &StateChange, before: Size, after: Size) -> String {
    let by = match &change.key {
        Some(key) => format!("an operator with the key {key}"),
        None => "an operator".to_owned(),
    };
    match change.state {
        Some(_) => format!("{by} set the state: {before} became {after}"),
        None => format!("{by} deleted the state: {before} became {after}"),
    }
}
