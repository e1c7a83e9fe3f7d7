//! Rewinds an orchestration that has failed. It needs the history but no guest.
//!
//! The history is read twice: first to find where the rewind begins, then without the turns that it supersedes, which
//! leaves what is outstanding again. The row of the rewind says only where it begins; what superseded turns received
//! follows from the history, so that the next owner finds the same.

use crate::engine::owner::OwnerContext;
use crate::engine::owner::behaviour::{RunOutcome, StepChanges};
use crate::engine::owner::effects::{Child, Effects};
use crate::engine::owner::inbox::{Inbox, TakenMessage};
use crate::engine::owner::instance::Instance;
use crate::model::{
    Arrival, InboxItem, MAX_REWINDS, Operation, ReplyTo, RewindPoint, StuckReason, TaskId, Timestamp, Turn,
};
use crate::replay::{Guest, Outstanding};
use crate::store::{AttemptRow, RewoundChild};

use super::execution::CurrentExecution;
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
                if !is_child || *attempt == attempts.of_child(*task) {
                    arrivals.push(Arrival::TaskEnded {
                        task: ledger.successor(*task),
                        outcome: outcome.clone(),
                    });
                }
                true
            }
            _ => false,
        });
        let taken = taken
            .into_iter()
            .map(|(seq, item)| TakenMessage { seq: Some(seq), item });
        (taken.collect(), arrivals)
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
        let execution = instance.position.execution;
        let is_open = |task: &TaskId| !ledger.kept_tasks().contains(task);
        for (task, outstanding) in ledger.tasks().filter(|(task, _)| is_open(task)) {
            match (outstanding, ledger.voided().get(&task)) {
                (Outstanding::Activity(_), Some(failure)) => {
                    effects.attempts.extend(attempts.begin_anew(task, |so_far| AttemptRow {
                        execution,
                        task,
                        ordinal: so_far.noted + 1,
                        number: 0,
                        cut_off: false,
                        failure: failure.abridged(),
                        fuel: 0,
                        started_at: turn.at,
                        ended_at: turn.at,
                        next_at: Some(turn.at),
                    }));
                }
                (Outstanding::SubOrchestration(call), _) => {
                    let attempt = attempts.of_child(task);
                    let today = context
                        .directory()
                        .orchestration(&call.function, &call.input, &mut effects.fuel);
                    let child = Child {
                        id: &call.child_id(attempt),
                        module: today.map_or(call.module, |found| found.module),
                        function: &call.function,
                        input: &call.input,
                        parent: Some(instance.identity.as_parent(execution, task, attempt)),
                        not_before: None,
                    };
                    let child = RewoundChild {
                        instance: Effects::new_instance(context, instance.identity.tenant, child),
                        reason: reason.to_owned(),
                        again: false,
                    };
                    effects.rewound.push(child);
                }
                (Outstanding::Entity(call), Some(_)) => {
                    let operation = Operation {
                        name: call.operation.clone(),
                        input: call.input.clone(),
                        reply_to: Some(ReplyTo::Task {
                            instance: instance.identity.number,
                            execution,
                            task,
                        }),
                        section: None,
                        due_at: None,
                    };
                    effects.operate(&call.entity, call.module, operation);
                }
                (Outstanding::Activity(_) | Outstanding::Entity(_), None)
                | (Outstanding::Lock | Outstanding::Timer { .. }, _) => {}
            }
        }
    }
}
