//! Collects the arrivals of the next turn, and puts them back if the turn cannot run.

use std::collections::BTreeSet;

use crate::model::{Arrival, Failure, InboxItem, InboxSeq, TaskId, Timestamp, failure::types};
use crate::replay::ledger::SubOrchestrationCall;
use crate::replay::{EventBudget, Guest, Outstanding, PendingEvent, Place};

use super::effects::Effects;
use super::inbox::TakenMessage;
use super::{ActivityResult, Owner, OwnerContext};

/// The maximum number of arrivals of one turn, without events. Bounds the row; the rest follows in the next turn.
const MAX_ARRIVALS: usize = 10_000;

/// The maximum payload bytes of one turn's arrivals, without events and the last arrival. Bounds the row.
const MAX_ARRIVAL_BYTES: usize = 16 << 20;

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
    /// Events that the turn took.
    pub(super) events: Vec<PendingEvent>,
    /// Sub-orchestrations that get another attempt.
    retried: Vec<TaskId>,
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
            events: Vec::new(),
            retried: Vec::new(),
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

    pub(super) fn arrive(&mut self, place: Place, arrival: Arrival) {
        self.bytes += size(&arrival);
        self.arrivals.push((place, arrival));
    }
}

/// Outstanding tasks that got their outcome in this step. The first outcome of a task counts.
type Settled = BTreeSet<TaskId>;

impl<G: Guest> Owner<G> {
    /// Puts back what a turn gathered that did not happen.
    pub(super) fn put_back(&mut self, gathered: Gathered) {
        for result in gathered.results.into_iter().rev() {
            self.results.push_front(result);
        }
        self.inbox.put_back(gathered.messages);
        for task in gathered.retried {
            self.orchestration.attempts.child_did_not_fail(task);
        }
    }

    /// Takes all arrivals except events, in order: the inbox, results, then due timers.
    pub(super) fn gather(&mut self, now: Timestamp, context: &dyn OwnerContext) -> Gathered {
        let (mut gathered, mut settled) = (Gathered::default(), Settled::new());
        while !gathered.is_full()
            && let Some(message) = self.inbox.take()
        {
            self.take_message(&message, &mut gathered, &mut settled, context);
            gathered.messages.push(message);
        }
        let last = gathered.messages.iter().filter_map(|message| message.seq).max();
        gathered.until = self.inbox.known_until(last);
        while !gathered.is_full()
            && let Some(result) = self.results.pop_front()
        {
            self.take_result(&result, &mut gathered, &mut settled);
            gathered.results.push(result);
        }
        self.take_due(now, &mut gathered, &mut settled);
        gathered
    }

    fn take_message(
        &mut self,
        TakenMessage { seq, item }: &TakenMessage,
        gathered: &mut Gathered,
        settled: &mut Settled,
        context: &dyn OwnerContext,
    ) {
        match item {
            InboxItem::Start(started) if self.instance.position.is_first_turn() => {
                gathered.arrive(Place::Stored(InboxSeq(0)), Arrival::Started(started.clone()));
            }
            InboxItem::TaskEnded {
                execution,
                task,
                attempt,
                outcome,
            } => {
                if *execution != self.instance.position.execution || settled.contains(task) {
                    return;
                }
                match self.orchestration.ledger.task(*task) {
                    Some(Outstanding::Activity(_)) => {}
                    Some(Outstanding::SubOrchestration(call)) => {
                        let attempts = &mut self.orchestration.attempts;
                        if *attempt != attempts.of_child(*task) {
                            return;
                        }
                        if let Err(failure) = outcome
                            && let Some(start_at) = next_child_at(call, *attempt, failure, context.now())
                        {
                            let parent = self.instance.identity.as_parent(*execution, *task, attempt + 1);
                            let tenant = self.instance.identity.tenant;
                            gathered
                                .effects
                                .retry_child(context, tenant, call, parent, start_at, failure);
                            gathered.retried.push(*task);
                            attempts.child_failed(*task);
                            return;
                        }
                    }
                    Some(Outstanding::Timer { .. }) | None => return,
                }
                settled.insert(*task);
                let arrival = Arrival::TaskEnded {
                    task: *task,
                    outcome: outcome.clone(),
                };
                gathered.arrive(seq.map_or(Place::Own, Place::Stored), arrival);
            }
            // Events stay pending until the guest waits for them.
            InboxItem::Event(_)
            | InboxItem::Start(_)
            | InboxItem::Terminate { .. }
            | InboxItem::Suspend { .. }
            | InboxItem::Resume { .. } => {}
        }
    }

    fn take_result(&self, result: &ActivityResult, gathered: &mut Gathered, settled: &mut Settled) {
        let is_wanted = result.execution == self.instance.position.execution
            && matches!(
                self.orchestration.ledger.task(result.task),
                Some(Outstanding::Activity(_))
            )
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
    fn take_due(&self, now: Timestamp, gathered: &mut Gathered, settled: &mut Settled) {
        let ledger = &self.orchestration.ledger;
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
                    let child = call.child_id(self.orchestration.attempts.of_child(task));
                    let reason = format!("its parent {} waited {allowed} ms", self.instance.identity.id);
                    gathered.effects.terminate(child, reason);
                    let outcome = Err(Failure::new(types::TIMEOUT, message));
                    gathered.arrive(Place::Own, Arrival::TaskEnded { task, outcome });
                }
                Some(Outstanding::Activity(_)) | None => {}
            }
        }
    }
}

/// When the next attempt of a failed sub-orchestration starts; `None` if the failure is final.
fn next_child_at(call: &SubOrchestrationCall, attempt: u32, failure: &Failure, now: Timestamp) -> Option<Timestamp> {
    let start_at = now.after(call.options.retry.as_ref()?.wait_after(attempt, failure)?);
    // A child that starts after the timeout would be terminated at once.
    call.deadline()
        .is_none_or(|deadline| start_at < deadline)
        .then_some(start_at)
}

/// The approximate size of an arrival in its row, in bytes.
fn size(arrival: &Arrival) -> usize {
    usize::try_from(arrival.payload_bytes())
        .unwrap_or(usize::MAX)
        .saturating_add(32)
}
