//! Combines a step into one commit, and continues once that is durable.

use crate::model::{Arrival, Decision, FunctionKind, InstanceStatus, Timestamp, Turn};
use crate::replay::Guest;
use crate::store::{Amount, Summary, TurnCommit, TurnReceipt, Used};

use super::arrivals::Gathered;
use super::effects::{Effects, NextExecution};
use super::events::SettledEvents;
use super::inbox::TakenMessage;
use super::orchestration::Orchestration;
use super::{ActivityChanges, ActivityResult, Next, Owner, OwnerContext};

/// What follows when the commit in flight is durable, and the results to keep if it fails.
pub(super) struct CommitInFlight {
    pub(super) results: Vec<ActivityResult>,
    /// For each event that was received directly, in order: whether it becomes durable with the commit.
    direct: Vec<bool>,
    continues_as_new: bool,
    activities: ActivityChanges,
}

impl<G: Guest> Owner<G> {
    /// Turns a step into a commit. The owner then waits for [`Self::committed`].
    pub(super) fn commit(
        &mut self,
        context: &dyn OwnerContext,
        now: Timestamp,
        turn: Option<Turn>,
        gathered: Gathered,
    ) -> Next {
        let Gathered {
            messages,
            results,
            events,
            effects,
            ..
        } = gathered;
        let Effects {
            children,
            messages: sent,
            attempts,
            logs,
            custom_status,
            outcome,
            next_execution,
            activities,
            fuel: activity_fuel,
            mut usage,
        } = effects;
        if let Some(outcome) = outcome {
            self.instance.status = match outcome {
                Ok(_) => InstanceStatus::Completed,
                Err(_) => InstanceStatus::Failed,
            };
            self.instance.shown.outcome = Some(outcome);
        }
        let SettledEvents {
            taken: taken_events,
            freed,
            kept,
            direct,
        } = self.events.settle(events, self.instance.status.has_ended());
        self.sizes.remove_events(freed);
        let execution = self.instance.position.execution;
        let next_execution = next_execution.map(|NextExecution { started, module }| {
            self.instance.position = self.instance.position.next_execution();
            self.sizes.history = 0;
            self.instance.module = module;
            started
        });
        let fuel = turn.as_ref().map_or(0, |turn| turn.fuel) + activity_fuel;
        self.instance.shown.fuel = self.instance.shown.fuel.saturating_add(fuel);
        self.instance.shown.updated_at = now;
        if let Some(status) = &custom_status {
            self.instance.shown.custom_status = Some(status.clone());
        }
        usage.extend(turn.as_ref().map(|turn| self.used_by(turn)));
        let continues_as_new = next_execution.is_some();
        let commit = TurnCommit {
            instance: self.instance.identity.number,
            creation: self.stage.create(),
            tenant: self.instance.identity.tenant,
            execution,
            turn,
            consumed: messages.iter().filter_map(|TakenMessage { seq, .. }| *seq).collect(),
            taken_events,
            kept,
            children,
            messages: sent,
            attempts,
            logs,
            max_log_bytes: context.max_log_bytes(),
            usage,
            summary: Summary {
                custom_status: custom_status.map(Some),
                fuel,
                ..self.summary(now, continues_as_new)
            },
            next_execution,
        };
        self.in_commit = Some(CommitInFlight {
            results,
            direct,
            continues_as_new,
            activities,
        });
        Next::Commit(Box::new(commit))
    }

    /// The instance's row after a step, without the parts that only this step sets.
    fn summary(&self, now: Timestamp, continues_as_new: bool) -> Summary {
        let is_open = !self.instance.status.has_ended() && !continues_as_new;
        let is_awake = matches!(self.instance.status, InstanceStatus::Pending | InstanceStatus::Running);
        let in_flight = match is_open {
            true => self.orchestration.ledger.activities_outstanding(),
            false => 0,
        };
        Summary {
            status: self.instance.status,
            execution: self.instance.position.execution,
            last_turn: self.instance.position.last_turn,
            wake_at: if is_open && is_awake { self.wake_at() } else { None },
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            custom_status: None,
            stuck: self.instance.stuck.clone(),
            module: self.instance.module,
            fuel: 0,
            updated_at: now,
        }
    }

    /// The usage of a turn, for the accounting.
    fn used_by(&self, turn: &Turn) -> Used {
        let failed = turn
            .decisions
            .iter()
            .any(|decision| matches!(decision, Decision::Fail { .. }));
        Used {
            tenant: self.instance.identity.tenant,
            kind: FunctionKind::Orchestration,
            function: self.instance.identity.function.clone(),
            at: turn.at,
            amount: Amount {
                count: 1,
                failed: failed.into(),
                fuel: turn.fuel,
                wall_ms: 0,
                bytes_in: turn.arrivals.iter().map(Arrival::payload_bytes).sum(),
                bytes_out: turn.decisions.iter().map(Decision::payload_bytes).sum(),
                http_sent: 0,
                http_received: 0,
            },
        }
    }

    /// Notes that the commit of [`Next::Commit`] is durable. Returns for each event that was received directly, in
    /// order, whether it is durable.
    pub fn committed(&mut self, receipt: &TurnReceipt) -> Vec<bool> {
        let mut done = self.in_commit.take().expect("a commit was in flight");
        self.sizes.add_events(self.events.stored(&receipt.kept));
        for (number, row) in &receipt.delivered {
            if *number == self.instance.identity.number {
                self.receive(row.clone());
            }
        }
        self.activities = done.activities;
        let was_its_last = self.instance.status.has_ended();
        if done.continues_as_new {
            self.orchestration = Orchestration::default();
        }
        if receipt.instance_gone {
            done.direct.fill(false);
            self.instance.status = InstanceStatus::Terminated;
            self.activities = ActivityChanges {
                cancel_all: true,
                ..ActivityChanges::default()
            };
        }
        if was_its_last {
            self.cool();
        }
        done.direct
    }
}
