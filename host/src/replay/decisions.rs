//! Comparison, description and size of decisions.

use crate::model::{Decision, ENTRY_BYTES, Failure, ModuleNumber, RetryPolicy, TaskId};

/// A call of an import that leads to a decision, even if it is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The name of the import.
    pub(super) import: &'static str,
    /// The name of the function or event, as the guest passed it.
    pub(super) name: &'a str,
    /// The task that receives the outcome, if any.
    pub(super) task: Option<TaskId>,
}

impl Call<'_> {
    /// The decision for a refused call.
    pub(super) fn refused(&self, failure: Failure) -> Decision {
        Decision::Refused {
            task: self.task,
            call: self.import.to_owned(),
            name: cut(self.name, crate::model::ids::MAX_NAME_BYTES).to_owned(),
            failure,
        }
    }
}

/// The module version of a decision that calls or starts a function.
pub(super) fn called_module(decision: &Decision) -> Option<ModuleNumber> {
    match decision {
        Decision::CallActivity { module, .. }
        | Decision::CallSubOrchestration { module, .. }
        | Decision::StartOrchestration { module, .. }
        | Decision::CallEntity { module, .. }
        | Decision::SignalEntity { module, .. } => Some(*module),
        Decision::LockEntities { entities, .. } => entities.first().map(|(_, module)| *module),
        _ => None,
    }
}

/// The longest valid prefix of at most that many bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Whether a decision repeats a recorded one. Compares kind, name and task only: the rest, such as inputs, may change.
pub(super) fn same(recorded: &Decision, now: &Decision) -> bool {
    use Decision as D;
    match (recorded, now) {
        (
            D::CallActivity {
                task: a, function: f, ..
            },
            D::CallActivity {
                task: b, function: g, ..
            },
        )
        | (
            D::CallSubOrchestration {
                task: a, function: f, ..
            },
            D::CallSubOrchestration {
                task: b, function: g, ..
            },
        ) => a == b && f == g,
        (D::StartOrchestration { function: f, .. }, D::StartOrchestration { function: g, .. }) => f == g,
        (D::SendEvent { event: e, .. }, D::SendEvent { event: f, .. }) => e.name.folded() == f.name.folded(),
        (D::CreateTimer { task: a, .. }, D::CreateTimer { task: b, .. })
        | (D::CancelTask { task: a }, D::CancelTask { task: b }) => a == b,
        (D::WaitForEvent { task: a, name: n }, D::WaitForEvent { task: b, name: m }) => {
            a == b && n.folded() == m.folded()
        }
        (
            D::Refused {
                task: a,
                call: c,
                name: n,
                ..
            },
            D::Refused {
                task: b,
                call: d,
                name: m,
                ..
            },
        ) => a == b && c == d && n == m,
        (
            D::CallEntity {
                task: a,
                entity: e,
                operation: o,
                ..
            },
            D::CallEntity {
                task: b,
                entity: f,
                operation: p,
                ..
            },
        ) => a == b && e.name() == f.name() && o == p,
        (
            D::SignalEntity {
                entity: e,
                operation: o,
                ..
            },
            D::SignalEntity {
                entity: f,
                operation: p,
                ..
            },
        ) => e.name() == f.name() && o == p,
        (D::LockEntities { task: a, .. }, D::LockEntities { task: b, .. })
        | (D::UnlockEntities { task: a }, D::UnlockEntities { task: b })
        | (D::WaitForCancellation { task: a }, D::WaitForCancellation { task: b }) => a == b,
        (D::Complete { .. }, D::Complete { .. })
        | (D::Fail { .. }, D::Fail { .. })
        | (D::ContinueAsNew { .. }, D::ContinueAsNew { .. }) => true,
        _ => false,
    }
}

/// Describes a decision for the message of a divergence.
pub(super) fn describe(decision: &Decision) -> String {
    use Decision as D;
    match decision {
        D::CallActivity { task, function, .. } => format!("calls activity {:?} as task {task}", function.as_str()),
        D::CallSubOrchestration { task, function, .. } => {
            format!("calls sub-orchestration {:?} as task {task}", function.as_str())
        }
        D::StartOrchestration { function, .. } => format!("starts orchestration {:?}", function.as_str()),
        D::SendEvent { event, .. } => format!("sends event {:?}", event.name.as_str()),
        D::CreateTimer { task, .. } => format!("sets a timer as task {task}"),
        D::WaitForEvent { task, name } => format!("waits for event {:?} as task {task}", name.as_str()),
        D::CancelTask { task } => format!("cancels task {task}"),
        D::Refused { call, name, .. } => format!("asks for {call} of {name:?}, which was refused"),
        D::Complete { .. } => "completes".into(),
        D::Fail { .. } => "fails".into(),
        D::ContinueAsNew { .. } => "continues as new".into(),
        D::CallEntity {
            task,
            entity,
            operation,
            ..
        } => format!(
            "calls operation {operation:?} of entity {:?} as task {task}",
            entity.name().as_str()
        ),
        D::SignalEntity { entity, operation, .. } => {
            format!("signals operation {operation:?} to entity {:?}", entity.name().as_str())
        }
        D::LockEntities { task, .. } => format!("locks entities as task {task}"),
        D::UnlockEntities { task } => format!("leaves the critical section of task {task}"),
        D::SetParentClose { task, policy } => format!("sets {} for task {task} on its end", policy.name()),
        D::WaitForCancellation { task } => format!("waits for cancellation as task {task}"),
        D::Patched { name, .. } => format!("has the patch {name:?}"),
    }
}

/// The approximate size of a decision in its row in bytes, counting only what the guest's own code controls.
pub(super) fn size(decision: &Decision) -> usize {
    use Decision as D;
    let written = match decision {
        D::CallActivity { options, .. } => payload_bytes(decision) + size_of_retry(options.retry.as_ref()),
        D::CallSubOrchestration { options, .. } => payload_bytes(decision) + size_of_retry(options.retry.as_ref()),
        D::Fail { failure } | D::Refused { failure, .. } => failure.message.len(),
        // The events of a continuation are not counted. They come from outside, so the guest's code controls neither
        // their size nor, in histories of older hosts, their number.
        D::CallEntity { operation, .. } | D::SignalEntity { operation, .. } => {
            payload_bytes(decision) + operation.len()
        }
        D::LockEntities { .. }
        | D::UnlockEntities { .. }
        | D::StartOrchestration { .. }
        | D::SendEvent { .. }
        | D::Complete { .. }
        | D::ContinueAsNew { .. }
        | D::CreateTimer { .. }
        | D::WaitForEvent { .. }
        | D::WaitForCancellation { .. }
        | D::SetParentClose { .. }
        | D::Patched { .. }
        | D::CancelTask { .. } => payload_bytes(decision),
    };
    written + ENTRY_BYTES as usize
}

/// What a task takes in memory besides its input, in bytes: its names and options, and its entries in the ledger and in
/// the execution of a guest.
pub(super) const TASK_BYTES: u64 = 1_000;

/// The approximate size in bytes of the task that a decision schedules, while it is outstanding.
pub(super) fn task_size(decision: &Decision) -> usize {
    use Decision as D;
    match decision {
        D::CallActivity { .. }
        | D::CallSubOrchestration { .. }
        | D::CallEntity { .. }
        | D::LockEntities { .. }
        | D::CreateTimer { .. }
        | D::WaitForEvent { .. }
        | D::WaitForCancellation { .. } => payload_bytes(decision).saturating_add(TASK_BYTES as usize),
        D::SignalEntity { .. }
        | D::Fail { .. }
        | D::Refused { .. }
        | D::UnlockEntities { .. }
        | D::StartOrchestration { .. }
        | D::SendEvent { .. }
        | D::Complete { .. }
        | D::ContinueAsNew { .. }
        | D::SetParentClose { .. }
        | D::Patched { .. }
        | D::CancelTask { .. } => 0,
    }
}

fn payload_bytes(decision: &Decision) -> usize {
    usize::try_from(decision.payload_bytes()).unwrap_or(usize::MAX)
}

/// The bytes of the names in a policy, which the guest chooses with any length.
fn size_of_retry(policy: Option<&RetryPolicy>) -> usize {
    let names = policy.map_or(&[][..], |policy| &policy.non_retryable_error_types);
    names.iter().map(String::len).sum()
}
