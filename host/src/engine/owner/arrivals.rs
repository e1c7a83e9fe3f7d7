//! What arrived for the next turn, and what becomes of it if the turn cannot run.

use std::collections::BTreeSet;

use crate::engine::effects::Effects;
use crate::model::{Arrival, Failure, InboxItem, InboxSeq, TaskId, Timestamp, TurnNumber, failure::types};
use crate::replay::ledger::SubOrchestrationCall;
use crate::replay::{Guest, Outstanding, PendingEvent, Place, Room};

use super::{ActivityResult, Owner, OwnerContext};

/// Most arrivals of one turn, events excepted. Bounds the row; what is left comes with the next turn.
const MAX_ARRIVALS: usize = 10_000;

/// Most payload bytes of one turn's arrivals, events and the last one excepted. Bounds the row.
const MAX_ARRIVAL_BYTES: usize = 16 << 20;

/// How many events one turn takes at most. Bounds the row as well.
pub(super) const EVENT_ROOM: Room = Room {
    events: MAX_ARRIVALS,
    bytes: MAX_ARRIVAL_BYTES,
};

/// What was gathered for the next turn.
pub(super) struct Gathered {
    /// In the order of their places.
    pub(super) arrivals: Vec<(Place, Arrival)>,
    /// Events at or after this place come after messages that were left for the next turn.
    pub(super) until: Place,
    pub(super) consumed: Vec<InboxSeq>,
    pub(super) results: Vec<ActivityResult>,
    /// Events that the turn took.
    pub(super) events: Vec<PendingEvent>,
    bytes: usize,
    pub(super) effects: Effects,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            arrivals: Vec::new(),
            until: Place::Own,
            consumed: Vec::new(),
            results: Vec::new(),
            events: Vec::new(),
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
        self.arrivals.is_empty() && self.consumed.is_empty()
    }

    pub(super) fn arrive(&mut self, place: Place, arrival: Arrival) {
        self.bytes += size(&arrival);
        self.arrivals.push((place, arrival));
    }
}

impl<G: Guest> Owner<G> {
    /// Nothing happened: what was gathered waits again.
    pub(super) fn put_back(&mut self, gathered: Gathered) {
        for result in gathered.results.into_iter().rev() {
            self.results.push_front(result);
        }
        for (seq, item) in gathered.effects.taken {
            self.inbox.insert(seq, item);
        }
        for task in gathered.effects.retried {
            if let Some(count) = self.child_attempts.get_mut(&task) {
                *count -= 1;
            }
        }
    }

    /// Takes what arrived and is no event, in order: the inbox, results, then timers that are due.
    pub(super) fn gather(&mut self, now: Timestamp, context: &dyn OwnerContext) -> Gathered {
        let mut gathered = Gathered::default();
        let mut settled = BTreeSet::new();
        // After continue-as-new the start is younger than messages that wait already, and still comes first.
        let start = self
            .inbox
            .iter()
            .find(|(_, item)| matches!(item, InboxItem::Start(_)))
            .map(|(seq, _)| *seq);
        let mut first = start.and_then(|seq| self.inbox.remove_entry(&seq));
        while !gathered.is_full()
            && let Some((seq, item)) = first.take().or_else(|| self.inbox.pop_first())
        {
            gathered.consumed.push(seq);
            self.take_message(seq, &item, &mut gathered, &mut settled, context);
            gathered.effects.taken.push((seq, item));
        }
        if self.more_inbox {
            let last = gathered.consumed.iter().max();
            gathered.until = Place::Stored(last.copied().unwrap_or(InboxSeq(0)));
        } else if let Some(seq) = self.inbox.keys().next() {
            gathered.until = Place::Stored(*seq);
        }
        while !gathered.is_full()
            && let Some(result) = self.results.pop_front()
        {
            let wanted = result.execution == self.execution
                && matches!(self.ledger.task(result.task), Some(Outstanding::Activity(_)))
                && settled.insert(result.task);
            // Nobody may wait for it any more; it was used all the same.
            gathered.effects.usage.extend(result.used.clone());
            if wanted {
                gathered.effects.fuel += result.fuel;
                gathered.effects.logs.extend(result.logs.iter().cloned());
                let arrival = Arrival::TaskEnded {
                    task: result.task,
                    outcome: result.outcome.clone(),
                };
                gathered.arrive(Place::Own, arrival);
            }
            gathered.results.push(result);
        }
        let due: Vec<TaskId> = self.ledger.due_at(now).map(|(_, task)| task).collect();
        for task in due {
            if gathered.is_full() || !settled.insert(task) {
                continue;
            }
            match self.ledger.task(task) {
                Some(Outstanding::Timer { .. }) => gathered.arrive(Place::Own, Arrival::TimerFired { task }),
                Some(Outstanding::SubOrchestration(call)) => {
                    let allowed = call.options.timeout_ms.unwrap_or_default();
                    let message = format!("sub-orchestration {} did not end within {allowed} ms", call.function);
                    let child = call.child_id(self.child_attempt(task));
                    gathered
                        .effects
                        .terminate(child, format!("its parent {} waited {allowed} ms", self.id));
                    let outcome = Err(Failure::new(types::TIMEOUT, message));
                    gathered.arrive(Place::Own, Arrival::TaskEnded { task, outcome });
                }
                Some(Outstanding::Activity(_)) | None => {}
            }
        }
        gathered
    }

    fn take_message(
        &mut self,
        seq: InboxSeq,
        item: &InboxItem,
        gathered: &mut Gathered,
        settled: &mut BTreeSet<TaskId>,
        context: &dyn OwnerContext,
    ) {
        match item {
            InboxItem::Start(started) if self.last_turn == TurnNumber::NONE => {
                gathered.arrive(Place::Stored(InboxSeq(0)), Arrival::Started(started.clone()));
            }
            InboxItem::TaskEnded {
                execution,
                task,
                attempt,
                outcome,
            } => {
                if *execution != self.execution || settled.contains(task) {
                    return;
                }
                match self.ledger.task(*task) {
                    Some(Outstanding::Activity(_)) => {}
                    Some(Outstanding::SubOrchestration(call)) => {
                        if *attempt != self.child_attempt(*task) {
                            return;
                        }
                        if let Err(failure) = outcome
                            && let Some(start_at) = next_child_at(call, *attempt, failure, context.now())
                        {
                            let parent = self.as_parent(*task, attempt + 1);
                            gathered
                                .effects
                                .retry_child(context, self.tenant, call, parent, start_at, failure);
                            *self.child_attempts.entry(*task).or_default() += 1;
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
                gathered.arrive(Place::Stored(seq), arrival);
            }
            // Events are pending until the guest waits for them.
            InboxItem::Event(_)
            | InboxItem::Start(_)
            | InboxItem::Terminate { .. }
            | InboxItem::Suspend { .. }
            | InboxItem::Resume { .. } => {}
        }
    }
}

/// When the next child of a failed sub-orchestration starts; none when its failure is final.
fn next_child_at(call: &SubOrchestrationCall, attempt: u32, failure: &Failure, now: Timestamp) -> Option<Timestamp> {
    let start_at = now.after(call.options.retry.as_ref()?.wait_after(attempt, failure)?);
    // A child that could only start after the time-out would be terminated at once.
    call.deadline()
        .is_none_or(|deadline| start_at < deadline)
        .then_some(start_at)
}

/// Roughly the bytes that an arrival takes in its row.
fn size(arrival: &Arrival) -> usize {
    usize::try_from(arrival.payload_bytes())
        .unwrap_or(usize::MAX)
        .saturating_add(32)
}
