//! Calls of entities, signals, and critical sections.

use std::collections::BTreeSet;

use super::scheduling::argument;
use super::{Execution, Interrupt, Waiting};
use crate::model::{
    Decision, EntityId, Failure, LogLevel, ModuleNumber, Payload, TaskId, Timestamp, failure::types,
    ids::MAX_NAME_BYTES,
};
use crate::replay::decisions::{Call, size};
use crate::replay::guest::ResolvedEntity;

/// A critical section, from the request for the locks until it is left.
#[derive(Debug, Clone)]
pub(super) struct CriticalSection {
    /// The task that completes when all entities are locked.
    task: TaskId,
    entities: BTreeSet<EntityId>,
}

impl Execution {
    /// Calls an operation of an entity.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn call_entity(&mut self, name: &str, key: &str, operation: &str, input: &str) -> Result<TaskId, Interrupt> {
        let task = self.new_task()?;
        let checked = self
            .check_operation(name, key, operation, input)
            .and_then(|(entity, input)| {
                self.check_callable(&entity)?;
                Ok((entity, input))
            });
        let section = self.section.as_ref().map(|section| section.task);
        let decision = self.resolve(
            Call {
                import: "call-entity",
                name,
                task: Some(task),
            },
            checked,
            |directory, (entity, input), fuel| directory.entity(entity.name(), operation, input, fuel),
            |module| ResolvedEntity { module },
            |(entity, input), ResolvedEntity { module }| Decision::CallEntity {
                task,
                entity,
                operation: operation.to_owned(),
                input,
                section,
                module,
            },
        );
        let waiting = match &decision {
            Decision::CallEntity { entity, .. } => Waiting::Entity(entity.clone(), size(&decision)),
            _ => Waiting::Call(size(&decision)),
        };
        self.schedule(task, waiting, decision)
    }

    /// Sends a one-way operation to an entity. One that is refused is logged and has no effect.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn signal_entity(
        &mut self,
        name: &str,
        key: &str,
        operation: &str,
        input: &str,
        due_at: Option<Timestamp>,
    ) -> Result<(), Interrupt> {
        self.turn()?;
        let checked = self
            .check_operation(name, key, operation, input)
            .and_then(|(entity, input)| {
                match self
                    .section
                    .as_ref()
                    .is_some_and(|section| section.entities.contains(&entity))
                {
                    true => Err(Failure::new(
                        types::NOT_LOCKED,
                        format!("{entity} is locked by this critical section: call it instead of signalling it"),
                    )
                    .permanent()),
                    false => Ok((entity, input)),
                }
            });
        let decision = self.resolve(
            Call {
                import: "signal-entity",
                name,
                task: None,
            },
            checked,
            |directory, (entity, input), fuel| directory.entity(entity.name(), operation, input, fuel),
            |module| ResolvedEntity { module },
            |(entity, input), ResolvedEntity { module }| Decision::SignalEntity {
                entity,
                operation: operation.to_owned(),
                input,
                due_at: due_at.map(|at| at.min(Timestamp::LAST_WRITABLE)),
                module,
            },
        );
        if let Decision::Refused { failure, .. } = &decision {
            let line = format!(
                "operation {operation:?} of {name:?} was not signalled: {}",
                failure.message
            );
            self.log(LogLevel::Error, &line);
        }
        self.decide(decision)
    }

    /// Asks for the locks of entities, given by name and key, and so enters a critical section.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn lock_entities<'a>(
        &mut self,
        entities: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<TaskId, Interrupt> {
        let task = self.new_task()?;
        let limit = self.turn()?.locked_entities;
        let checked = (|| {
            let ids: Result<BTreeSet<EntityId>, Failure> = entities
                .into_iter()
                .map(|(name, key)| EntityId::new(name, key).map_err(|error| argument(error.to_string())))
                .collect();
            let ids = ids?;
            if let Some(section) = &self.section {
                let message = format!(
                    "the execution has entered a critical section with task {}",
                    section.task
                );
                return Err(Failure::new(types::LOCKED_ALREADY, message).permanent());
            }
            if ids.is_empty() {
                return Err(argument("a critical section needs at least one entity".into()));
            }
            if ids.len() > limit {
                let message = format!("a critical section may lock {limit} entities, not {}", ids.len());
                return Err(Failure::new(types::LIMIT, message).permanent());
            }
            Ok(ids)
        })();
        let shown = checked.as_ref().ok().and_then(BTreeSet::first);
        let shown = match self.repeated() {
            // The limit of then may have been lower.
            Some(Decision::Refused { call, name, .. }) if call == "lock-entities" => name.clone(),
            _ => shown.map(ToString::to_string).unwrap_or_default(),
        };
        let repeated: Option<Vec<(EntityId, ModuleNumber)>> = match self.repeated() {
            Some(Decision::LockEntities { entities, .. }) => Some(entities.clone()),
            _ => None,
        };
        let decision = self.resolve(
            Call {
                import: "lock-entities",
                name: &shown,
                task: Some(task),
            },
            checked,
            |directory, ids, _| {
                let found = ids.iter().map(|id| {
                    let found = directory.entity_module(id.name())?;
                    Ok((id.clone(), found.module))
                });
                found.collect::<Result<Vec<_>, Failure>>()
            },
            |_| repeated.unwrap_or_default(),
            |_, entities| Decision::LockEntities { task, entities },
        );
        match &decision {
            Decision::LockEntities { entities, .. } => {
                self.section = Some(CriticalSection {
                    task,
                    entities: entities.iter().map(|(id, _)| id.clone()).collect(),
                });
                self.schedule(task, Waiting::Lock, decision)
            }
            _ => self.schedule(task, Waiting::Call(size(&decision)), decision),
        }
    }

    /// Leaves the critical section of this lock task. Does nothing for another task.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn unlock_entities(&mut self, task: TaskId) -> Result<(), Interrupt> {
        self.turn()?;
        if self.section.take_if(|section| section.task == task).is_none() {
            return Ok(());
        }
        self.decide(Decision::UnlockEntities { task })?;
        self.forget(task);
        Ok(())
    }

    /// Fails in a critical section.
    pub(super) fn check_outside_section(&self) -> Result<(), Failure> {
        match &self.section {
            None => Ok(()),
            Some(_) => Err(Failure::new(
                types::IN_CRITICAL_SECTION,
                "a critical section cannot call sub-orchestrations",
            )
            .permanent()),
        }
    }

    fn check_callable(&self, entity: &EntityId) -> Result<(), Failure> {
        let Some(section) = &self.section else {
            return Ok(());
        };
        let failure = |message| Err(Failure::new(types::NOT_LOCKED, message).permanent());
        if !section.entities.contains(entity) {
            return failure(format!("{entity} is not locked by this critical section"));
        }
        if self.waiting.contains_key(&section.task) {
            return failure(format!("{entity} is not locked yet"));
        }
        let is_called = |waiting: &Waiting| matches!(waiting, Waiting::Entity(called, _) if called == entity);
        match self.waiting.values().any(is_called) {
            true => failure(format!(
                "{entity} is called already: a critical section has one call of each at a time"
            )),
            false => Ok(()),
        }
    }

    fn check_operation(
        &self,
        name: &str,
        key: &str,
        operation: &str,
        input: &str,
    ) -> Result<(EntityId, Payload), Failure> {
        let entity = EntityId::new(name, key).map_err(|error| argument(error.to_string()))?;
        if operation.len() > MAX_NAME_BYTES {
            let length = operation.len();
            return Err(argument(format!(
                "the operation name is {length} bytes long, at most {MAX_NAME_BYTES} are allowed"
            )));
        }
        Ok((entity, self.check_payload(input)?))
    }
}
