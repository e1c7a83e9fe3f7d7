//! The behaviour of an entity: its state is the truth, and a step applies the operations that wait for it.
//!
//! A step takes messages in order of arrival, as many as fit, and its commit stores the new state, the answers and what
//! the operations caused. While a critical section has locked the entity, only the operations of its holder are taken;
//! the others wait, and the requests for the lock with them.

mod delayed;
mod queue;
mod state_changes;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::entity::{Applied, Effect, EntityGuest, Step as EntityStep, StepEnd};
use crate::model::{
    EntityId, EntityState, FailedOperation, FunctionKind, InboxItem, InboxRow, InboxSeq, Outcome, Payload, ReplyTo,
    StuckReason, Timestamp, codec,
};
use crate::replay::HostUnavailable;
use crate::store::{Amount, EntityChange, InstanceRecord, KeyedAnswer, TurnCommit, TurnReceipt, Used};

use self::delayed::Delayed;
use self::queue::{Taken, take};
use super::behaviour::{Behaviour, RunOutcome, StepChanges};
use super::effects::{Child, Effects};
use super::inbox::{Inbox, TakenMessage};
use super::inputs::Inputs;
use super::instance::Instance;
use super::{Answer, Next, OwnerContext, Step};

/// The code of the stuck reason of an entity whose module fails before it takes an operation.
const UNREADABLE_STATE: &str = "state-unreadable";

/// An entity; see the module docs.
pub struct Entity<E> {
    state: EntityState,
    /// The length of the stored state in bytes; 0 if none is stored.
    stored_bytes: u64,
    /// When the store wakes the entity.
    stored_wake_at: Option<Timestamp>,
    delayed: Delayed,
    guest: Option<E>,
    /// It has taken a step, so another one may follow soon.
    warm: bool,
    in_commit: InCommit,
    /// Answers for clients that are durable.
    answers: Vec<Answer>,
}

/// What the commit in flight changes.
#[derive(Default)]
struct InCommit {
    change: Option<EntityChange>,
    answers: Vec<Answer>,
}

impl<E: EntityGuest> Behaviour for Entity<E> {
    fn new(record: &mut InstanceRecord, inbox_from: InboxSeq) -> Self {
        let is_delayed = |row: &mut InboxRow| row.item.due_at().is_some();
        let delayed = record.inbox.extract_if(.., is_delayed).collect();
        let state = record.entity.take();
        Self {
            stored_bytes: state.as_ref().map_or(0, |state| codec::encode(state).len() as u64),
            state: state.unwrap_or_default(),
            stored_wake_at: None,
            delayed: Delayed::new(delayed, inbox_from, record.more_delayed),
            guest: None,
            warm: false,
            in_commit: InCommit::default(),
            answers: Vec::new(),
        }
    }

    fn receive(&mut self, row: InboxRow, _: &Instance) -> Option<InboxRow> {
        if row.item.due_at().is_some() {
            self.delayed.receive(row);
            return None;
        }
        Some(row)
    }

    fn missed_messages(&mut self) {
        self.delayed.has_missed_some();
    }

    fn read_again(&mut self) {}

    fn cool(&mut self) {
        self.guest = None;
        self.warm = false;
    }

    fn unread_before(&self, _: &Step, _: &Instance, _: &Inbox) -> Option<Next> {
        None
    }

    fn run(
        &mut self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Result<RunOutcome, HostUnavailable> {
        if self.delayed.is_to_be_read() {
            return Ok(RunOutcome::Next(Next::Store(Vec::new())));
        }
        let now = context.now();
        let taken = take(&self.state, inbox, &mut self.delayed, now);
        if taken.is_empty() {
            return Ok(self.rest(inbox, context));
        }
        if !taken.operations.is_empty() && self.guest.is_none() {
            taken.put_back(inbox, &mut self.delayed);
            let entity = identity(instance);
            let current = context.directory().entity_module(entity.name());
            let module = current.map_or(instance.module, |found| found.module);
            return Ok(RunOutcome::Next(Next::Entity(module)));
        }
        self.step(taken, instance, inbox, context)
    }

    fn terminate(&mut self, _: &str, _: &Instance, _: &Inbox, context: &dyn OwnerContext) -> StepChanges {
        StepChanges::none(context.now())
    }

    /// An entity never fails, so nobody can ask for this.
    fn rewind(&mut self, _: &str, _: &Instance, inbox: &mut Inbox, context: &dyn OwnerContext) -> RunOutcome {
        RunOutcome::Changed(Box::new(StepChanges {
            messages: inbox.take_rewinds(),
            ..StepChanges::none(context.now())
        }))
    }

    fn set_state(&mut self, instance: &Instance, inbox: &mut Inbox, context: &dyn OwnerContext) -> (StepChanges, bool) {
        self.change_state(instance, inbox, context)
    }

    fn take_undurable(&mut self, _: &Instance) -> Vec<(InboxItem, Option<Used>)> {
        Vec::new()
    }

    /// An entity has no first turn.
    fn is_pending(&self, _: &Instance) -> bool {
        false
    }

    fn wake_at(&self, _: &Instance, _: &Inbox) -> Option<Timestamp> {
        self.next_due()
    }

    fn activities_outstanding(&self) -> usize {
        0
    }

    fn complete(&mut self, commit: &mut TurnCommit) {
        commit.entity = self.in_commit.change.take();
        self.stored_wake_at = commit.summary.wake_at;
    }

    fn committed(&mut self, _: &TurnReceipt) -> Vec<bool> {
        self.answers.append(&mut self.in_commit.answers);
        Vec::new()
    }
}

impl<E: EntityGuest> Inputs for Entity<E> {
    /// An entity keeps no guest between two steps, but its state stays in memory for a while.
    fn is_hot(&self) -> bool {
        self.warm
    }

    fn is_about_to_run(&self, _: &Instance, inbox: &Inbox) -> bool {
        self.guest.is_some() && (!inbox.is_empty() || !self.delayed.is_empty())
    }

    fn task_bytes(&self) -> u64 {
        self.state.bytes() + self.delayed.bytes()
    }
}

impl<E: EntityGuest> Entity<E> {
    /// Receives the guest that [`Next::Entity`] asked for.
    pub(super) fn install(&mut self, guest: E) {
        self.guest = Some(guest);
    }

    /// Takes the answers that have become durable.
    pub(super) fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// When the first delayed operation can be applied. While the entity is locked, they wait for the end of the section.
    fn next_due(&self) -> Option<Timestamp> {
        match self.state.lock {
            None => self.delayed.next_due(),
            Some(_) => None,
        }
    }

    /// Idles. Before, stores the time at which the store has to wake the entity.
    fn rest(&mut self, _: &Inbox, context: &dyn OwnerContext) -> RunOutcome {
        let wake_at = self.next_due();
        let is_covered = match (wake_at, self.stored_wake_at) {
            (Some(due), Some(stored)) => stored <= due,
            (Some(_), None) => false,
            (None, _) => true,
        };
        self.guest = None;
        match is_covered {
            true => RunOutcome::Next(Next::Idle(wake_at)),
            false => RunOutcome::Changed(Box::new(StepChanges::none(context.now()))),
        }
    }

    /// Applies what was taken.
    fn step(
        &mut self,
        mut taken: Taken,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Result<RunOutcome, HostUnavailable> {
        let now = context.now();
        let entity = identity(instance);
        let mut effects = Effects::default();
        let mut state = EntityState {
            last_failure: self.state.last_failure.clone(),
            version: self.state.version,
            ..std::mem::take(&mut taken.state)
        };
        let mut end = StepEnd {
            state: state.state.clone(),
            ..StepEnd::default()
        };
        if !taken.operations.is_empty() {
            let operations = taken.operations.iter().map(|(_, operation)| operation.clone());
            let ran = self.apply(&entity, operations.collect(), now, context);
            let (fuel, ended) = match ran {
                Ok(ran) => ran,
                Err(trouble) => {
                    taken.put_back(inbox, &mut self.delayed);
                    return Err(trouble);
                }
            };
            if ended.applied.is_empty()
                && let Some(failure) = ended.unreadable
            {
                taken.put_back(inbox, &mut self.delayed);
                return Ok(RunOutcome::Stuck(StuckReason {
                    code: UNREADABLE_STATE.into(),
                    message: format!("its module cannot read its state: {}", failure.message),
                }));
            }
            end = ended;
            effects.fuel = fuel;
        }
        let left = taken.operations.split_off(end.applied.len());
        let mut consumed = taken.consumed;
        consumed.extend(
            taken
                .operations
                .into_iter()
                .map(|(seq, operation)| (seq, InboxItem::Operation(Box::new(operation)))),
        );
        Taken::put_back_operations(left, inbox, &mut self.delayed);
        for (address, module, request) in taken.forwarded {
            let module = module.unwrap_or_else(|| {
                let found = context.directory().entity_module(address.name());
                found.map_or(instance.module, |found| found.module)
            });
            effects.send_to_entity(&address, module, InboxItem::Lock(Box::new(request)));
        }
        for section in taken.granted {
            effects.answer_task(section.instance, section.execution, section.task, Ok(Payload::null()));
        }
        state.version += end.changes;
        state.state = end.state;
        let has_failed_signal = |applied: &Applied| applied.outcome.is_err() && applied.operation.reply_to.is_none();
        let leaves_trace = end.applied.iter().any(has_failed_signal);
        let usage = used_by(&end.applied, effects.fuel, now, instance);
        let answers = self.answer(end.applied, now, &mut state, &mut effects);
        for effect in end.effects {
            cause(effect, &mut effects, instance, context);
        }
        effects.logs = end.logs;
        effects.usage.extend(usage);
        self.in_commit.change = Some(EntityChange {
            replaced: self.stored_bytes,
            consumed: consumed
                .iter()
                .map(|(_, item)| codec::encode(item).len() as u64)
                .collect(),
            answers,
            // The failure of a signal is only in the log.
            ends: state.is_empty() && !leaves_trace && !inbox.has_any() && !self.delayed.has_any(),
            state: state.clone(),
        });
        self.stored_bytes = codec::encode(&state).len() as u64;
        self.state = state;
        self.warm = true;
        Ok(RunOutcome::Changed(Box::new(StepChanges {
            at: now,
            messages: consumed
                .into_iter()
                .map(|(seq, item)| TakenMessage { seq: Some(seq), item })
                .collect(),
            turn: None,
            effects,
        })))
    }

    /// Runs the guest with operations. Returns the fuel and the result.
    fn apply(
        &mut self,
        entity: &EntityId,
        operations: VecDeque<crate::model::Operation>,
        now: Timestamp,
        context: &dyn OwnerContext,
    ) -> Result<(u64, StepEnd), HostUnavailable> {
        let mut guest = self.guest.take().expect("the guest was asked for");
        let mut step = EntityStep::new(
            entity.clone(),
            self.state.state.clone(),
            operations,
            now,
            context.seed(),
            context.shared_directory(),
            context.step_limits(),
        );
        let ran = guest.run(&mut step)?;
        // What it leaves is for the guest of the next step.
        step.guest_ended(ran.broke);
        Ok((ran.fuel, step.end()))
    }

    /// Sends the outcomes of operations, and notes the last failure. Returns the answers to store with idempotency keys.
    fn answer(
        &mut self,
        applied: Vec<Applied>,
        now: Timestamp,
        state: &mut EntityState,
        effects: &mut Effects,
    ) -> Vec<KeyedAnswer> {
        let mut keyed = Vec::new();
        for Applied { operation, outcome } in applied {
            if let Err(failure) = &outcome {
                state.last_failure = Some(FailedOperation {
                    at: now,
                    operation: operation.name.clone(),
                    failure: failure.abridged(),
                });
            }
            if let Some(reply_to) = operation.reply_to {
                keyed.extend(self.reply(reply_to, outcome, effects));
            }
        }
        keyed
    }

    /// Sends one outcome. Returns the answer to store with an idempotency key, if there is one.
    fn reply(&mut self, to: ReplyTo, outcome: Outcome, effects: &mut Effects) -> Option<KeyedAnswer> {
        match to {
            ReplyTo::Task {
                instance,
                execution,
                task,
            } => {
                effects.answer_task(instance, execution, task, outcome);
                None
            }
            ReplyTo::Client { request } => {
                self.in_commit.answers.push(Answer { request, outcome });
                None
            }
            ReplyTo::KeyedClient {
                request,
                key,
                fingerprint,
            } => {
                let keyed = KeyedAnswer {
                    key,
                    fingerprint,
                    outcome: outcome.clone(),
                };
                self.in_commit.answers.push(Answer { request, outcome });
                Some(keyed)
            }
        }
    }
}

/// The entity that an instance is.
fn identity(instance: &Instance) -> EntityId {
    EntityId::of(&instance.identity.id).expect("an entity has the id of one")
}

/// Adds what an operation caused.
fn cause(effect: Effect, effects: &mut Effects, instance: &Instance, context: &dyn OwnerContext) {
    match effect {
        Effect::Signal {
            entity,
            operation,
            module,
        } => effects.operate(&entity, module, operation),
        Effect::Start {
            function,
            input,
            instance_id,
            module,
        } => effects.start(
            context,
            instance.identity.tenant,
            Child {
                id: &instance_id,
                module,
                function: &function,
                input: &input,
                parent: None,
                not_before: None,
            },
        ),
    }
}

/// The usage of a step, for the accounting; `None` if it applied nothing.
fn used_by(applied: &[Applied], fuel: u64, now: Timestamp, instance: &Instance) -> Option<Used> {
    if applied.is_empty() {
        return None;
    }
    let outputs = applied.iter().filter_map(|applied| applied.outcome.as_ref().ok());
    Some(Used {
        tenant: instance.identity.tenant,
        kind: FunctionKind::Entity,
        function: instance.identity.function.clone(),
        at: now,
        amount: Amount {
            count: applied.len() as u64,
            failed: applied.iter().filter(|applied| applied.outcome.is_err()).count() as u64,
            fuel,
            wall_ms: 0,
            bytes_in: applied.iter().map(|applied| applied.operation.input.bytes()).sum(),
            bytes_out: outputs.map(Payload::bytes).sum(),
            http_sent: 0,
            http_received: 0,
        },
    })
}
