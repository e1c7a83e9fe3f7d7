//! Collects the arrivals of the next turn, and puts them back if the turn cannot run.

use std::collections::BTreeSet;

use crate::engine::owner::behaviour::StepChanges;
use crate::engine::owner::effects::Effects;
use crate::engine::owner::inbox::{Inbox, TakenMessage};
use crate::engine::owner::instance::Instance;
use crate::engine::owner::{ActivityResult, OwnerContext};
use crate::model::{Arrival, ENTRY_BYTES, Failure, InboxItem, InboxSeq, TaskId, Timestamp, failure::types};
use crate::replay::{EventBudget, Guest, Outstanding, Place};

use super::Orchestration;
use super::children::next_child_at;

/// The maximum number of arrivals of one turn, without events. Bounds the row; the rest follows in the next turn.
const MAX_ARRIVALS: usize = 10_000;

/// The maximum payload bytes of one turn's arrivals, without events and the last arrival. Bounds the row.
const MAX_ARRIVAL_BYTES: usize = 16 << 20;

/// The place before all messages.
const BEFORE_ALL: Place = Place::Stored(InboxSeq(0));

/// How many events one turn takes at most. Bounds the row as well.
pub(super) const EVENT_BUDGET: EventBudget = EventBudget {
    events: MAX_ARRIVALS,
    bytes: MAX_ARRIVAL_BYTES,
};

/// What a step takes and causes.
pub(super) struct Gathered {
    /// Arrivals for the guest, ordered by place.
    pub(super) arrivals: Vec<(Place, Arrival)>,
    /// Events at or after this place follow messages that were left for the next turn.
    pub(super) until: Place,
    /// Messages that were taken, including those that no task waits for any more.
    pub(super) messages: Vec<TakenMessage>,
    /// Results that were taken, including those that no task waits for any more.
    pub(super) results: Vec<ActivityResult>,
    /// Sub-orchestrations that get another attempt.
    retried: Vec<TaskId>,
    /// Whether a request for cancellation is among the arrivals.
    cancels: bool,
    bytes: usize,
    pub(super) effects: Effects,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            arrivals: Vec::new(),
            until: Place::Own,
            messages: Vec::new(),
            results: Vec::new(),
            retried: Vec::new(),
            cancels: false,
            bytes: 0,
            effects: Effects::default(),
        }
    }
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.arrivals.len() >= MAX_ARRIVALS || self.bytes >= MAX_ARRIVAL_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.messages.is_empty()
    }

    /// The changes of a step that takes this, without a turn, and the results that it takes.
    pub(super) fn into_changes(self, at: Timestamp) -> (StepChanges, Vec<ActivityResult>) {
        let changes = StepChanges {
            at,
            messages: self.messages,
            turn: None,
            effects: self.effects,
        };
        (changes, self.results)
    }

    pub(super) fn arrive(&mut self, place: Place, arrival: Arrival) {
        self.bytes += size(&arrival);
        self.arrivals.push((place, arrival));
    }
}

/// Outstanding tasks that got their outcome in this step. The first outcome of a task counts.
type Settled = BTreeSet<TaskId>;

impl<G: Guest> Orchestration<G> {
    /// Puts back what a turn gathered that did not happen.
    pub(super) fn put_back(&mut self, gathered: Gathered, inbox: &mut Inbox) {
        for result in gathered.results.into_iter().rev() {
            self.results.put_back(result);
        }
        inbox.put_back(gathered.messages);
        for task in gathered.retried {
            self.execution.attempts.child_did_not_fail(task);
        }
    }

    /// Takes all arrivals except events, in order: the inbox, results, then due timers.
    pub(super) fn gather(
        &mut self,
        now: Timestamp,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Gathered {
        let (mut gathered, mut settled) = (Gathered::default(), Settled::new());
        if !self.take_kept(&mut gathered, &mut settled) {
            gathered.until = BEFORE_ALL;
            return gathered;
        }
        while !gathered.is_full()
            && let Some(message) = inbox.take()
        {
            self.take_message(&message, &mut gathered, &mut settled, instance, context);
            gathered.messages.push(message);
        }
        let last = gathered.messages.iter().filter_map(|message| message.seq).max();
        gathered.until = inbox.known_until(last);
        while !gathered.is_full()
            && let Some(result) = self.results.take()
        {
            self.take_result(&result, &mut gathered, &mut settled, instance);
            gathered.results.push(result);
        }
        self.take_due(now, &mut gathered, &mut settled, instance);
        gathered
    }

    /// Takes what arrived in superseded turns, before everything else. Returns whether that is all.
    fn take_kept(&self, gathered: &mut Gathered, settled: &mut Settled) -> bool {
        for arrival in self.execution.ledger.kept_arrivals() {
            if gathered.is_full() {
                return false;
            }
            if let Arrival::TaskEnded { task, .. } | Arrival::TimerFired { task } = arrival {
                settled.insert(*task);
            }
            gathered.arrive(BEFORE_ALL, arrival.clone());
        }
        true
    }

    fn take_message(
        &mut self,
        TakenMessage { seq, item }: &TakenMessage,
        gathered: &mut Gathered,
        settled: &mut Settled,
        instance: &Instance,
        context: &dyn OwnerContext,
    ) {
        match item {
            InboxItem::Start(started) if instance.position.is_first_turn() => {
                gathered.arrive(BEFORE_ALL, Arrival::Started(started.clone()));
            }
            InboxItem::TaskEnded {
                execution,
                task,
                attempt,
                outcome,
            } => {
                // A sub-orchestration or an operation of a superseded turn knows the task of that turn.
                let task = &self.execution.ledger.successor(*task);
                if *execution != instance.position.execution || settled.contains(task) {
                    return;
                }
                match self.execution.ledger.task(*task) {
                    Some(Outstanding::Activity(_) | Outstanding::Entity(_) | Outstanding::Lock) => {}
                    Some(Outstanding::SubOrchestration(call)) => {
                        let attempts = &mut self.execution.attempts;
                        // After a rewind, an earlier attempt may run again beside one that succeeds.
                        if outcome.is_err() && *attempt != attempts.of_child(*task) {
                            return;
                        }
                        if let Err(failure) = outcome
                            && let Some(start_at) = next_child_at(call, *attempt, failure, context.now())
                        {
                            let parent = instance.identity.as_parent(*execution, *task, attempt + 1);
                            let tenant = instance.identity.tenant;
                            gathered
                                .effects
                                .retry_child(context, tenant, call, parent, start_at, failure);
                            gathered.retried.push(*task);
                            attempts.child_failed(*task);
                            return;
                        }
                    }
                    // Recorded, although the guest does not see it.
                    None if self.execution.ledger.expects(*task, outcome) => {}
                    Some(Outstanding::Timer { .. }) | None => return,
                }
                settled.insert(*task);
                let arrival = Arrival::TaskEnded {
                    task: *task,
                    outcome: outcome.clone(),
                };
                gathered.arrive(seq.map_or(Place::Own, Place::Stored), arrival);
            }
            InboxItem::Cancel { reason } => {
                // The first reason stays.
                if !gathered.cancels && self.execution.ledger.cancel_reason().is_none() {
                    gathered.cancels = true;
                    let reason = reason.clone();
                    gathered.arrive(seq.map_or(Place::Own, Place::Stored), Arrival::CancelRequested { reason });
                }
            }
            // Events stay pending until the guest waits for them.
            InboxItem::Event(_)
            | InboxItem::Start(_)
            | InboxItem::Terminate { .. }
            | InboxItem::Suspend { .. }
            | InboxItem::Resume { .. }
            | InboxItem::Rewind { .. }
            // Only entities get these.
            | InboxItem::Operation(_)
            | InboxItem::Lock(_)
            | InboxItem::Unlock { .. }
            | InboxItem::SetState(_) => {}
        }
    }

    fn take_result(
        &self,
        result: &ActivityResult,
        gathered: &mut Gathered,
        settled: &mut Settled,
        instance: &Instance,
    ) {
        let is_wanted = result.execution == instance.position.execution
            && matches!(self.execution.ledger.task(result.task), Some(Outstanding::Activity(_)))
            && settled.insert(result.task);
        // An attempt counts as usage even if no task waits for its result any more.
        gathered.effects.usage.extend(result.used.clone());
        if is_wanted {
            gathered.effects.fuel += result.fuel;
            gathered.effects.logs.extend(result.logs.iter().cloned());
            let arrival = Arrival::TaskEnded {
                task: result.task,
                outcome: result.outcome.clone(),
            };
            gathered.arrive(Place::Own, arrival);
        }
    }

    /// Fires due timers, and ends sub-orchestrations that timed out.
    fn take_due(&self, now: Timestamp, gathered: &mut Gathered, settled: &mut Settled, instance: &Instance) {
        let ledger = &self.execution.ledger;
        let due: Vec<TaskId> = ledger.due_at(now).map(|(_, task)| task).collect();
        for task in due {
            if gathered.is_full() || !settled.insert(task) {
                continue;
            }
            match ledger.task(task) {
                Some(Outstanding::Timer { .. }) => gathered.arrive(Place::Own, Arrival::TimerFired { task }),
                Some(Outstanding::SubOrchestration(call)) => {
                    let allowed = call.options.timeout_ms.unwrap_or_default();
                    let message = format!("sub-orchestration {} did not end within {allowed} ms", call.function);
                    let child = call.child_id(self.execution.attempts.of_child(task));
                    let reason = format!("its parent {} waited {allowed} ms", instance.identity.id);
                    gathered.effects.terminate_child(child, reason);
                    let outcome = Err(Failure::new(types::TIMEOUT, message));
                    gathered.arrive(Place::Own, Arrival::TaskEnded { task, outcome });
                }
                Some(Outstanding::Activity(_) | Outstanding::Entity(_) | Outstanding::Lock) | None => {}
            }
        }
    }
}

/// The approximate size of an arrival in its row, in bytes.
fn size(arrival: &Arrival) -> usize {
    usize::try_from(arrival.payload_bytes() + ENTRY_BYTES).unwrap_or(usize::MAX)
}
