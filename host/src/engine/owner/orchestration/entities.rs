//! Messages to entities: calls, signals, and the locks of critical sections.

use crate::engine::owner::effects::Effects;
use crate::engine::owner::instance::Instance;
use crate::model::{
    Decision, EntityId, InboxItem, LockRequest, ModuleNumber, Operation, ReplyTo, SectionId, TaskId, Turn,
};
use crate::replay::Guest;

use super::Orchestration;

impl<G: Guest> Orchestration<G> {
    /// Sends what a decision has for entities. Call it before the ledger applies the turn.
    pub(super) fn to_entities(&self, decision: &Decision, turn: &Turn, effects: &mut Effects, instance: &Instance) {
        let section = |task: TaskId| SectionId {
            instance: instance.identity.number,
            execution: instance.position.execution,
            task,
        };
        match decision {
            Decision::CallEntity {
                task,
                entity,
                operation,
                input,
                section: of_section,
                module,
            } => {
                let operation = Operation {
                    name: operation.clone(),
                    input: input.clone(),
                    reply_to: Some(ReplyTo::Task {
                        instance: instance.identity.number,
                        execution: instance.position.execution,
                        task: *task,
                    }),
                    section: of_section.map(section),
                    due_at: None,
                };
                effects.operate(entity, *module, operation);
            }
            Decision::SignalEntity {
                entity,
                operation,
                input,
                due_at,
                module,
            } => {
                let operation = Operation {
                    name: operation.clone(),
                    input: input.clone(),
                    reply_to: None,
                    section: None,
                    due_at: *due_at,
                };
                effects.operate(entity, *module, operation);
            }
            Decision::LockEntities { task, entities } => {
                let Some(((first, module), then)) = entities.split_first() else {
                    return;
                };
                let request = LockRequest {
                    section: section(*task),
                    holder: instance.identity.id.clone(),
                    then: then.to_vec(),
                    withdrawn: false,
                };
                effects.send_to_entity(first, *module, InboxItem::Lock(Box::new(request)));
            }
            Decision::UnlockEntities { task } => {
                if let Some(entities) = self.locked_by(*task, turn) {
                    effects.unlock(section(*task), &entities);
                }
            }
            _ => {}
        }
    }

    /// Releases the locks of the critical section that the last turn of an execution leaves open.
    pub(super) fn leave_section(&self, turn: &Turn, effects: &mut Effects, instance: &Instance) {
        let mut open = self.execution.ledger.section().map(|(task, _)| task);
        for decision in &turn.decisions {
            match decision {
                Decision::LockEntities { task, .. } => open = Some(*task),
                Decision::UnlockEntities { task } if open == Some(*task) => open = None,
                _ => {}
            }
        }
        let Some(task) = open else { return };
        let section = SectionId {
            instance: instance.identity.number,
            execution: instance.position.execution,
            task,
        };
        if let Some(entities) = self.locked_by(task, turn) {
            effects.unlock(section, &entities);
        }
    }

    /// The entities of a critical section that was entered before or in this turn, with module versions.
    fn locked_by(&self, task: TaskId, turn: &Turn) -> Option<Vec<(EntityId, ModuleNumber)>> {
        let of_turn = turn.decisions.iter().find_map(|decision| match decision {
            Decision::LockEntities { task: lock, entities } if *lock == task => Some(entities.clone()),
            _ => None,
        });
        of_turn.or_else(|| {
            let (open, entities) = self.execution.ledger.section()?;
            (open == task).then(|| entities.to_vec())
        })
    }
}
