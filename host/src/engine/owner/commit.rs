//! Combines a step into one commit, and continues once that is durable.

use crate::model::{InstanceStatus, Timestamp};
use crate::store::{Summary, TurnCommit, TurnReceipt};

use super::behaviour::{Behaviour, StepChanges};
use super::effects::{Effects, NextExecution};
use super::inbox::TakenMessage;
use super::{ActivityChanges, Next, Owner, OwnerContext};

impl<B: Behaviour> Owner<B> {
    /// Turns a step into a commit. The owner then waits for [`Self::committed`].
    pub(super) fn commit(&mut self, changes: StepChanges, context: &dyn OwnerContext) -> Next {
        let StepChanges {
            at,
            messages,
            turn,
            effects,
        } = changes;
        let Effects {
            children,
            rewound,
            messages: sent,
            attempts,
            logs,
            custom_status,
            outcome,
            is_cancelled,
            next_execution,
            activities,
            fuel,
            usage,
        } = effects;
        let instance = &mut self.instance;
        if let Some(outcome) = outcome {
            instance.status = match outcome {
                Ok(_) => InstanceStatus::Completed,
                Err(_) if is_cancelled => InstanceStatus::Canceled,
                Err(_) => InstanceStatus::Failed,
            };
            instance.shown.outcome = Some(outcome);
        }
        instance.shown.updated_at = at;
        instance.shown.fuel = instance.shown.fuel.saturating_add(fuel);
        if let Some(status) = &custom_status {
            instance.shown.custom_status = Some(status.clone());
        }
        if let Some(turn) = &turn {
            instance.position.last_turn = turn.number;
        }
        let execution = instance.position.execution;
        let next_execution = next_execution.map(|NextExecution { started, module }| {
            instance.position = instance.position.next_execution();
            instance.module = module;
            started
        });
        let mut commit = TurnCommit {
            instance: instance.identity.number,
            creation: self.stage.create(),
            tenant: instance.identity.tenant,
            execution,
            turn,
            consumed: messages.iter().filter_map(|TakenMessage { seq, .. }| *seq).collect(),
            taken_events: Vec::new(),
            kept: Vec::new(),
            children,
            rewound,
            rewinds: None,
            messages: sent,
            max_waiting_operations: context.max_waiting_operations(),
            entity: None,
            attempts,
            logs,
            max_log_bytes: context.max_log_bytes(),
            usage,
            summary: Summary {
                custom_status: custom_status.map(Some),
                fuel,
                ..self.summary(at, next_execution.is_some())
            },
            next_execution,
        };
        self.behaviour.complete(&mut commit);
        self.in_commit = Some(activities);
        Next::Commit(Box::new(commit))
    }

    /// The instance's row after a step, without the parts that only this step sets.
    fn summary(&self, now: Timestamp, continues_as_new: bool) -> Summary {
        let instance = &self.instance;
        let is_open = !instance.status.has_ended() && !continues_as_new;
        let is_awake = matches!(instance.status, InstanceStatus::Pending | InstanceStatus::Running);
        let in_flight = match is_open {
            true => self.behaviour.activities_outstanding(),
            false => 0,
        };
        let wake_at = match is_open && is_awake {
            true => self.behaviour.wake_at(instance, &self.inbox),
            false => None,
        };
        Summary {
            status: instance.status,
            execution: instance.position.execution,
            last_turn: instance.position.last_turn,
            wake_at,
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            custom_status: None,
            stuck: instance.stuck.clone(),
            module: instance.module,
            fuel: 0,
            updated_at: now,
        }
    }

    /// Notes that the commit of [`Next::Commit`] is durable. Returns for each event that was received directly, in
    /// order, whether it is durable.
    pub fn committed(&mut self, receipt: &TurnReceipt) -> Vec<bool> {
        self.activities = self.in_commit.take().expect("a commit was in flight");
        let mut direct = self.behaviour.committed(receipt);
        for (number, row) in &receipt.delivered {
            if *number == self.instance.identity.number {
                self.receive(row.clone());
            }
        }
        if self.instance.status.has_ended() {
            self.cool();
        }
        if receipt.deleted {
            // The next operation creates another instance.
            self.instance.status = InstanceStatus::Terminated;
        }
        if receipt.instance_gone {
            direct.fill(false);
            self.instance.status = InstanceStatus::Terminated;
            self.activities = ActivityChanges {
                cancel_all: true,
                ..ActivityChanges::default()
            };
        }
        direct
    }
}
