//! Retries of sub-orchestrations.

use crate::engine::owner::OwnerContext;
use crate::engine::owner::effects::{Child, Effects};
use crate::model::{Failure, Parent, TenantId, Timestamp};
use crate::replay::ledger::SubOrchestrationCall;
use crate::store::AttemptRow;

impl Effects {
    /// Starts the next attempt of a failed sub-orchestration, after its backoff.
    pub(super) fn retry_child(
        &mut self,
        context: &dyn OwnerContext,
        tenant: TenantId,
        call: &SubOrchestrationCall,
        parent: Parent,
        start_at: Timestamp,
        failure: &Failure,
    ) {
        let (task, attempt) = (parent.task, parent.attempt);
        self.attempts.push(AttemptRow {
            execution: parent.execution,
            task,
            ordinal: attempt - 1,
            number: attempt - 1,
            cut_off: false,
            failure: failure.abridged(),
            fuel: 0,
            started_at: call.scheduled_at,
            ended_at: context.now(),
            next_at: Some(start_at),
        });
        let today = context
            .directory()
            .orchestration(&call.function, &call.input, &mut self.fuel);
        let child = Child {
            id: &call.child_id(attempt),
            module: today.map_or(call.module, |found| found.module),
            function: &call.function,
            input: &call.input,
            parent: Some(parent),
            not_before: Some(start_at),
        };
        self.start(context, tenant, child);
    }
}

/// When the next attempt of a failed sub-orchestration starts; `None` if the failure is final.
pub(super) fn next_child_at(
    call: &SubOrchestrationCall,
    attempt: u32,
    failure: &Failure,
    now: Timestamp,
) -> Option<Timestamp> {
    let start_at = now.after(call.options.retry.as_ref()?.wait_after(attempt, failure)?);
    // A child that starts after the timeout would be terminated at once.
    call.deadline()
        .is_none_or(|deadline| start_at < deadline)
        .then_some(start_at)
}
