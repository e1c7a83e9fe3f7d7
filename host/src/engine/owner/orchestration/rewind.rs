//! Rewinds an orchestration that has failed. It needs the history but no guest.
//!
//! The history is read twice: first to find where the rewind begins, then without the turns that it supersedes, which
//! leaves what is outstanding again. The row of the rewind says only where it begins; what superseded turns received
//! follows from the history, so that the next owner finds the same.
//!
//! The row takes the outcomes that are in memory. There may be more of them in the store: those that succeeded are
//! delivered as usual, and failures are void, because they are older than the rewind.

use crate::engine::owner::OwnerContext;
use crate::engine::owner::behaviour::{RunOutcome, StepChanges};
use crate::engine::owner::effects::{Child, Effects};
use crate::engine::owner::inbox::{Inbox, TakenMessage};
use crate::engine::owner::instance::Instance;
use crate::model::{
    Arrival, Failure, InboxItem, InboxSeq, MAX_REWINDS, Operation, ReplyTo, RewindPoint, StuckReason, TaskId,
    Timestamp, Turn, failure::types,
};
use crate::replay::ledger::{EntityCall, SubOrchestrationCall};
use crate::replay::{Guest, Outstanding};
use crate::store::{AttemptRow, RewoundChild};

use super::attempts::Attempts;
use super::execution::CurrentExecution;
use super::parent_close::{HAS_FAILED, reason_to_close};
use super::take_over::TakeOver;
use super::turn::{clock_behind, used_by};
use super::{Orchestration, UNREADABLE};

impl<G: Guest> Orchestration<G> {
    /// Adds the row of a rewind to the history, and lets what failed run again. Call it again after reading what
    /// [`unread_before`](crate::engine::owner::behaviour::Behaviour::unread_before) asks for.
    pub(super) fn rewound(
        &mut self,
        reason: &str,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> RunOutcome {
        let row = instance.position.last_turn.next();
        let ledger = &self.execution.ledger;
        if ledger.rewinds().from(row).is_none() {
            if ledger.rewinds().is_full() {
                return RunOutcome::Stuck(StuckReason {
                    code: "rewound-too-often".into(),
                    message: format!("the execution was rewound {MAX_REWINDS} times before"),
                });
            }
            let from = ledger.rewind_from();
            let rewinds = ledger.rewinds().clone().with(RewindPoint { from, row });
            self.execution = CurrentExecution::new(rewinds);
            self.take_over = TakeOver::begin(true);
            let history = self
                .unread_history(instance, false)
                .expect("a failed instance has turns");
            return RunOutcome::Next(history);
        }
        let (arrived, late) = self.take_outcomes(instance, inbox);
        let turn = self.row_of_rewind(reason, late, instance, context.now());
        if let Err(error) = self.execution.ledger.apply(&turn) {
            return RunOutcome::Stuck(StuckReason {
                code: UNREADABLE.to_owned(),
                message: error.to_string(),
            });
        }
        let mut messages = inbox.take_rewinds();
        messages.extend(arrived);
        let mut effects = Effects::default();
        self.run_again(&turn, reason, &mut effects, instance, context);
        let execution = instance.position.execution;
        let superseded = self.execution.ledger.superseded_activities().iter();
        effects
            .activities
            .cancel
            .extend(superseded.map(|task| (execution, *task)));
        self.sizes.add_row(&turn);
        effects.usage.push(used_by(&turn, instance));
        self.in_commit.rewinds = Some(self.execution.ledger.rewinds().clone());
        RunOutcome::Changed(Box::new(StepChanges {
            at: turn.at,
            messages,
            turn: Some(turn),
            effects,
        }))
    }

    /// Whether the history was read without the turns that the rewind supersedes.
    pub(super) fn is_rewinding(&self, instance: &Instance) -> bool {
        let row = instance.position.last_turn.next();
        self.execution.ledger.rewinds().from(row).is_some()
    }

    fn row_of_rewind(&self, reason: &str, late: Vec<Arrival>, instance: &Instance, now: Timestamp) -> Turn {
        let ledger = &self.execution.ledger;
        let (number, at) = (instance.position.last_turn.next(), now.max(ledger.last_at()));
        let rewound = Arrival::Rewound {
            from: ledger.rewinds().from(number).expect("the ledger has the rewind"),
            next_task: ledger.next_task(),
            reason: reason.to_owned(),
        };
        let arrivals = [rewound].into_iter().chain(clock_behind(at, now)).chain(late);
        Turn {
            number,
            at,
            arrivals: arrivals.collect(),
            decisions: Vec::new(),
            fuel: 0,
        }
    }

    /// Takes the outcomes that arrived after the failure from the inbox, as arrivals of the row.
    fn take_outcomes(&self, instance: &Instance, inbox: &mut Inbox) -> (Vec<TakenMessage>, Vec<Arrival>) {
        let CurrentExecution { ledger, attempts, .. } = &self.execution;
        let of_this = instance.position.execution;
        let mut arrivals = Vec::new();
        let taken = inbox.take_where(|_, item| match item {
            InboxItem::TaskEnded {
                execution,
                task,
                attempt,
                outcome,
            } if *execution == of_this => {
                let is_child = matches!(ledger.task(*task), Some(Outstanding::SubOrchestration(_)));
                if !is_child || outcome.is_ok() || *attempt == attempts.of_child(*task) {
                    arrivals.push(Arrival::TaskEnded {
                        task: ledger.successor(*task),
                        outcome: outcome.clone(),
                    });
                }
                true
            }
            _ => false,
        });
        (taken_messages(taken), arrivals)
    }

    /// Takes failures that are void because the execution was rewound after they had happened, and those of
    /// sub-orchestrations that were closed by a failure which a rewind has made void. What failed runs again. `None` if
    /// there are none in memory.
    pub(super) fn void_failures(
        &mut self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Option<StepChanges> {
        if self.execution.ledger.rewinds().points.is_empty() {
            return None;
        }
        let closed_by = reason_to_close(instance, HAS_FAILED);
        let of_this = instance.position.execution;
        let (ledger, until) = (&self.execution.ledger, self.execution.ledger.rewinds().until);
        let mut failed = Vec::new();
        let taken = inbox.take_where(|seq, item| match item {
            InboxItem::TaskEnded {
                execution,
                task,
                attempt,
                outcome: Err(failure),
            } if *execution == of_this => {
                let task = ledger.successor(*task);
                let is_closed = is_end_of_closed(failure, &closed_by)
                    && matches!(ledger.task(task), Some(Outstanding::SubOrchestration(_)));
                // What an operation of a superseded turn has become is recorded by a turn.
                let is_void = (seq <= until && ledger.task(task).is_some()) || is_closed;
                if is_void {
                    failed.push((task, *attempt, failure.clone(), is_closed));
                }
                is_void
            }
            _ => false,
        });
        if taken.is_empty() {
            return None;
        }
        let now = context.now();
        let mut effects = Effects::default();
        for (task, attempt, failure, is_closed) in failed {
            let CurrentExecution { ledger, attempts, .. } = &mut self.execution;
            if ledger.kept_tasks().contains(&task) {
                continue;
            }
            match ledger.task(task) {
                Some(Outstanding::Activity(_)) => begin_anew(attempts, task, &failure, now, instance, &mut effects),
                Some(Outstanding::Entity(call)) => send_again(task, call, instance, &mut effects),
                // The row has rewound the others.
                Some(Outstanding::SubOrchestration(call)) if is_closed && attempt == attempts.of_child(task) => {
                    let reason = "its parent was rewound";
                    rewind_child(
                        (ledger.origin(task), attempt),
                        call,
                        reason,
                        instance,
                        context,
                        &mut effects,
                    );
                }
                _ => {}
            }
        }
        Some(StepChanges {
            at: now,
            messages: taken_messages(taken),
            turn: None,
            effects,
        })
    }

    /// What runs again: activities start with the owner's next step, as after a crash; sub-orchestrations are rewound,
    /// and operations are sent to their entities.
    fn run_again(
        &mut self,
        turn: &Turn,
        reason: &str,
        effects: &mut Effects,
        instance: &Instance,
        context: &dyn OwnerContext,
    ) {
        let CurrentExecution { ledger, attempts, .. } = &mut self.execution;
        let is_open = |task: &TaskId| !ledger.kept_tasks().contains(task);
        for (task, outstanding) in ledger.tasks().filter(|(task, _)| is_open(task)) {
            match (outstanding, ledger.voided().get(&task)) {
                (Outstanding::Activity(_), Some(failure)) => {
                    begin_anew(attempts, task, failure, turn.at, instance, effects);
                }
                (Outstanding::SubOrchestration(call), _) => {
                    let attempt = attempts.of_child(task);
                    rewind_child((ledger.origin(task), attempt), call, reason, instance, context, effects);
                }
                (Outstanding::Entity(call), Some(_)) => send_again(task, call, instance, effects),
                (Outstanding::Activity(_) | Outstanding::Entity(_), None)
                | (Outstanding::Lock | Outstanding::Timer { .. }, _) => {}
            }
        }
    }
}

/// Notes that the attempts of an activity call begin anew, because this failure is void.
fn begin_anew(
    attempts: &mut Attempts,
    task: TaskId,
    failure: &Failure,
    at: Timestamp,
    instance: &Instance,
    effects: &mut Effects,
) {
    effects.attempts.extend(attempts.begin_anew(task, |so_far| AttemptRow {
        execution: instance.position.execution,
        task,
        ordinal: so_far.noted + 1,
        number: 0,
        cut_off: false,
        failure: failure.abridged(),
        fuel: 0,
        started_at: at,
        ended_at: at,
        next_at: Some(at),
    }));
}

/// Lets an attempt of a sub-orchestration run again. If it is created, its outcome is for the origin of the task, as that
/// of the one which it replaces.
fn rewind_child(
    (origin, attempt): (TaskId, u32),
    call: &SubOrchestrationCall,
    reason: &str,
    instance: &Instance,
    context: &dyn OwnerContext,
    effects: &mut Effects,
) {
    let today = context
        .directory()
        .orchestration(&call.function, &call.input, &mut effects.fuel);
    let parent = instance
        .identity
        .as_parent(instance.position.execution, origin, attempt);
    let child = Child {
        id: &call.child_id(attempt),
        module: today.map_or(call.module, |found| found.module),
        function: &call.function,
        input: &call.input,
        parent: Some(parent),
        not_before: None,
    };
    effects.rewound.push(RewoundChild {
        instance: Effects::new_instance(context, instance.identity.tenant, child),
        reason: reason.to_owned(),
    });
}

/// Sends an operation that failed to its entity again.
fn send_again(task: TaskId, call: &EntityCall, instance: &Instance, effects: &mut Effects) {
    let operation = Operation {
        name: call.operation.clone(),
        input: call.input.clone(),
        reply_to: Some(ReplyTo::Task {
            instance: instance.identity.number,
            execution: instance.position.execution,
            task,
        }),
        section: None,
        due_at: None,
    };
    effects.operate(&call.entity, call.module, operation);
}

/// Whether this is the failure of a sub-orchestration that was terminated or asked to cancel itself for this reason.
fn is_end_of_closed(failure: &Failure, reason: &str) -> bool {
    [types::TERMINATED, types::CANCELLED].contains(&failure.error_type.as_str()) && failure.message == reason
}

fn taken_messages(taken: Vec<(InboxSeq, InboxItem)>) -> Vec<TakenMessage> {
    let taken = taken.into_iter();
    taken.map(|(seq, item)| TakenMessage { seq: Some(seq), item }).collect()
}
