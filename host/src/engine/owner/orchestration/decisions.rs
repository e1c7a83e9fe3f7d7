//! Converts the decisions of a turn into the effects that its commit contains besides the row.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::owner::effects::{Child, Effects, NextExecution};
use crate::engine::owner::instance::Instance;
use crate::engine::owner::{OwnerContext, StartActivity};
use crate::model::{
    Arrival, Decision, Event, FunctionName, InstanceId, ModuleNumber, Parent, ParentClose, Payload, Started, TaskId,
    Turn, failure::types,
};
use crate::replay::ledger::{ActivityCall, Origin};
use crate::replay::{Guest, Ledger, Outstanding};
use crate::store::{AttemptsSoFar, RewoundChild};

use super::Orchestration;

impl<G: Guest> Orchestration<G> {
    /// Adds the effects of a turn's decisions. Call it before the ledger applies the turn: a cancellation refers to an
    /// old task or to a new one of the same turn.
    pub(super) fn decide(&self, turn: &Turn, effects: &mut Effects, instance: &Instance, context: &dyn OwnerContext) {
        use Decision as D;
        let (started, tenant) = (self.started_by(turn), instance.identity.tenant);
        let cancelled = Cancelled::of(turn, &self.execution.ledger);
        let recalled = self.execution.ledger.recall(turn);
        for decision in &turn.decisions {
            match decision {
                D::CallActivity { task, .. } | D::CallSubOrchestration { task, .. } if cancelled.never_start(*task) => {
                }
                // A superseded turn has its result.
                D::CallActivity { task, .. } | D::CallSubOrchestration { task, .. } | D::CallEntity { task, .. }
                    if recalled.results.contains(task) => {}
                // A superseded turn has sent it.
                D::CallEntity { task, .. } if recalled.sent.contains(task) => {}
                D::CallActivity {
                    task,
                    function,
                    input,
                    options,
                    module,
                } => {
                    effects.activities.start.push(StartActivity {
                        execution: instance.position.execution,
                        task: *task,
                        call: ActivityCall {
                            function: function.clone(),
                            input: input.clone(),
                            options: options.clone(),
                            module: *module,
                            scheduled_at: turn.clock_at(),
                        },
                        origin: recalled.origins.get(task).map_or(*task, |origin| origin.task),
                        seed: started.seed,
                        so_far: AttemptsSoFar::default(),
                    });
                }
                D::CallSubOrchestration {
                    task,
                    function,
                    input,
                    instance_id,
                    module,
                    ..
                } => {
                    let as_parent = |task| Some(instance.identity.as_parent(instance.position.execution, task, 1));
                    // One of a superseded turn goes on, if there is one.
                    if let Some(Origin {
                        task,
                        instance_id: Some(id),
                    }) = recalled.origins.get(task)
                    {
                        let child = child(id, *module, function, input, as_parent(*task));
                        effects.rewound.push(RewoundChild {
                            instance: Effects::new_instance(context, tenant, child),
                            reason: "its parent was rewound".into(),
                        });
                        continue;
                    }
                    let parent = as_parent(*task);
                    effects.start(context, tenant, child(instance_id, *module, function, input, parent));
                }
                D::StartOrchestration {
                    function,
                    input,
                    instance_id,
                    module,
                } => effects.start(context, tenant, child(instance_id, *module, function, input, None)),
                D::SendEvent { instance_id, event } => effects.send_event(instance_id, event),
                D::CancelTask { task } => self.cancel(*task, &cancelled, effects, instance),
                D::Complete { output } => effects.end(instance.identity.parent.as_ref(), Ok(output.clone())),
                D::Fail { failure } => {
                    // Cancel all activities: an execution that exceeds a limit would otherwise occupy slots and the
                    // queue long after its end, when it can no longer be terminated.
                    effects.activities.cancel_all |= failure.error_type == types::LIMIT;
                    effects.is_cancelled = failure.error_type == types::CANCELLED && self.cancel_reason(turn).is_some();
                    effects.end(instance.identity.parent.as_ref(), Err(failure.clone()));
                }
                D::ContinueAsNew { input, events } => {
                    let next = continued(&started, input, events, instance, context, &mut effects.fuel);
                    effects.next_execution = Some(next);
                    if let Some(reason) = self.cancel_reason(turn) {
                        effects.carry_cancellation(instance.identity.number, reason.to_owned());
                    }
                }
                D::CallEntity { .. } | D::SignalEntity { .. } | D::LockEntities { .. } | D::UnlockEntities { .. } => {
                    self.to_entities(decision, turn, effects, instance);
                }
                D::CreateTimer { .. }
                | D::WaitForEvent { .. }
                | D::WaitForCancellation { .. }
                | D::SetParentClose { .. }
                | D::Patched { .. }
                | D::Refused { .. } => {}
            }
        }
        if turn.is_last() {
            self.leave_section(turn, effects, instance);
        }
    }

    /// The start of the execution that this turn belongs to.
    fn started_by(&self, turn: &Turn) -> Arc<Started> {
        match (self.execution.started(), turn.arrivals.first()) {
            (Some(started), _) => started.clone(),
            (None, Some(Arrival::Started(started))) => Arc::new((**started).clone()),
            (None, _) => unreachable!("the first turn begins with the start"),
        }
    }

    fn cancel(&self, task: TaskId, cancelled: &Cancelled, effects: &mut Effects, instance: &Instance) {
        match self.execution.ledger.task(task) {
            Some(Outstanding::Activity(_)) => effects.activities.cancel.push((instance.position.execution, task)),
            Some(Outstanding::SubOrchestration(call)) => {
                // The child may have ended in this very turn; its id may belong to another instance by now.
                if !cancelled.has_ended(task) {
                    let child = call.child_id(self.execution.attempts.of_child(task));
                    let reason = format!("cancelled by its parent {}", instance.identity.id);
                    match call.on_parent_close {
                        Some(ParentClose::Cancel) => effects.cancel_child(child, reason),
                        _ => effects.terminate_child(child, reason),
                    }
                }
            }
            Some(Outstanding::Entity(_) | Outstanding::Lock | Outstanding::Timer { .. }) | None => {}
        }
    }
}

/// What a turn cancels. Collected at once, because a turn may schedule and cancel tens of thousands of tasks.
struct Cancelled {
    /// Tasks that the turn schedules and cancels.
    new: BTreeSet<TaskId>,
    /// Tasks whose outcomes the turn takes; empty if the turn cancels nothing.
    ended: BTreeSet<TaskId>,
}

impl Cancelled {
    fn of(turn: &Turn, ledger: &Ledger) -> Self {
        let cancelled = turn.decisions.iter().filter_map(|decision| match decision {
            Decision::CancelTask { task } => Some(*task),
            _ => None,
        });
        let mut cancelled = cancelled.peekable();
        let ended = turn.arrivals.iter().filter_map(|arrival| match arrival {
            Arrival::TaskEnded { task, .. } => Some(*task),
            _ => None,
        });
        Self {
            ended: match cancelled.peek() {
                Some(_) => ended.collect(),
                None => BTreeSet::new(),
            },
            new: cancelled.filter(|task| ledger.task(*task).is_none()).collect(),
        }
    }

    /// Whether the task is scheduled and cancelled in the same turn.
    fn never_start(&self, task: TaskId) -> bool {
        self.new.contains(&task)
    }

    fn has_ended(&self, task: TaskId) -> bool {
        self.ended.contains(&task)
    }
}

/// The next execution. It runs on the current version of the function, or on the same module version as before if
/// the function does not exist any more. Adds the cost of checking the input to `fuel`.
fn continued(
    before: &Started,
    input: &Payload,
    events: &[Event],
    instance: &Instance,
    context: &dyn OwnerContext,
    fuel: &mut u64,
) -> NextExecution {
    let today = context.directory().orchestration(&before.function, input, fuel);
    NextExecution {
        module: today.map_or(instance.module, |found| found.module),
        started: Started {
            execution: instance.position.execution.next(),
            function: before.function.clone(),
            input: input.clone(),
            seed: context.seed(),
            limits: context.limits(),
            parent: instance.identity.parent.clone(),
            events: events.to_vec(),
            not_before: None,
        },
    }
}

/// A child that may start at once.
fn child<'a>(
    id: &'a InstanceId,
    module: ModuleNumber,
    function: &'a FunctionName,
    input: &'a Payload,
    parent: Option<Parent>,
) -> Child<'a> {
    Child {
        id,
        module,
        function,
        input,
        parent,
        not_before: None,
    }
}
