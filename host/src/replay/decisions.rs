//! Decisions compared, described and measured.

use crate::model::{Decision, Failure, ModuleNumber, RetryPolicy, TaskId};

/// About what a decision takes in its row beside what the guest wrote, in bytes.
const BYTES_BESIDE: usize = 64;

/// A call of an import that leads to a decision, also if it is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The import.
    pub(super) import: &'static str,
    /// What the guest calls, as it wrote it.
    pub(super) name: &'a str,
    /// The task that is to have its outcome, if it has one.
    pub(super) task: Option<TaskId>,
}

impl Call<'_> {
    /// The decision that it is refused.
    pub(super) fn refused(&self, failure: Failure) -> Decision {
        Decision::Refused {
            task: self.task,
            call: self.import.to_owned(),
            name: cut(self.name, crate::model::ids::MAX_NAME_BYTES).to_owned(),
            failure,
        }
    }
}

/// The version that was called, of a decision that calls a function.
pub(super) fn called_module(decision: &Decision) -> Option<ModuleNumber> {
    match decision {
        Decision::CallActivity { module, .. }
        | Decision::CallSubOrchestration { module, .. }
        | Decision::StartOrchestration { module, .. } => Some(*module),
        _ => None,
    }
}

/// The longest prefix of at most that many bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Whether a decision repeats a recorded one: kind, name and task, nothing that may change harmlessly.
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
        (D::Complete { .. }, D::Complete { .. })
        | (D::Fail { .. }, D::Fail { .. })
        | (D::ContinueAsNew { .. }, D::ContinueAsNew { .. }) => true,
        _ => false,
    }
}

/// A decision in words, for the message of a divergence.
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
    }
}

/// About the bytes that a decision takes in its row, as far as the guest's own code bounds them.
pub(super) fn size(decision: &Decision) -> usize {
    use Decision as D;
    let written = match decision {
        D::CallActivity { options, .. } => payload_bytes(decision) + size_of_retry(options.retry.as_ref()),
        D::CallSubOrchestration { options, .. } => payload_bytes(decision) + size_of_retry(options.retry.as_ref()),
        D::Fail { failure } | D::Refused { failure, .. } => failure.message.len(),
        // The events of a continuation came from outside: whoever wrote the code bounds neither their size nor, in
        // histories of older hosts, their number.
        D::StartOrchestration { .. }
        | D::SendEvent { .. }
        | D::Complete { .. }
        | D::ContinueAsNew { .. }
        | D::CreateTimer { .. }
        | D::WaitForEvent { .. }
        | D::CancelTask { .. } => payload_bytes(decision),
    };
    written + BYTES_BESIDE
}

fn payload_bytes(decision: &Decision) -> usize {
    usize::try_from(decision.payload_bytes()).unwrap_or(usize::MAX)
}

/// The names in a policy are the guest's, of any length.
fn size_of_retry(policy: Option<&RetryPolicy>) -> usize {
    let names = policy.map_or(&[][..], |policy| &policy.non_retryable_error_types);
    names.iter().map(String::len).sum()
}
