//! The behaviour of an orchestration: its history is the truth, and a guest that replays it decides what is next.
//!
//! A turn takes what the inbox has, results of activities, due timers and events, and adds one row to the history. The
//! state here is what the current [execution] has outstanding and what has arrived for it.

mod execution;
mod inputs;
mod take_over;

mod turn;

mod arrivals;
mod attempts;
mod cancellation;
mod children;
mod decisions;
mod entities;
mod events;
mod parent_close;
mod results;
mod rewind;
mod sizes;
mod termination;

use std::sync::Arc;

use crate::model::{InboxItem, InboxRow, InboxSeq, ModuleNumber, Rewinds, Started, StuckReason, Timestamp};
use crate::replay::{Guest, HostUnavailable, PendingEvent, Place};
use crate::store::{InstanceRecord, TurnCommit, TurnReceipt, Used};

pub(in crate::engine) use self::events::KNOWN_EVENT_BYTES;
use self::{
    events::{KnownEvents, SettledEvents},
    execution::CurrentExecution,
    results::Results,
    sizes::Sizes,
    take_over::TakeOver,
};
use super::behaviour::{Behaviour, RunOutcome, StepChanges};
use super::inbox::{Inbox, TakenMessage};
use super::instance::Instance;
use super::{ActivityResult, Next, OwnerContext, Step, UNREADABLE};

/// An orchestration; see the module docs.
pub struct Orchestration<G> {
    execution: CurrentExecution<G>,
    take_over: TakeOver,
    results: Results,
    events: KnownEvents,
    sizes: Sizes,
    in_commit: InCommit,
}

/// What the step whose commit is in flight took, and what follows.
#[derive(Default)]
struct InCommit {
    /// Results that it took, to be kept if the commit fails.
    results: Vec<ActivityResult>,
    /// Events that it took.
    events: Vec<PendingEvent>,
    /// For each event that was received directly, in order: whether it becomes durable with the commit.
    direct: Vec<bool>,
    /// The commit ends the execution, and the next one begins.
    continues_as_new: bool,
    /// The commit rewinds the execution. These are all of its rewinds.
    rewinds: Option<Rewinds>,
}

impl<G: Guest> Behaviour for Orchestration<G> {
    fn new(record: &mut InstanceRecord, inbox_from: InboxSeq) -> Self {
        let is_event = |row: &mut InboxRow| matches!(row.item, InboxItem::Event(_));
        let events = record.inbox.extract_if(.., is_event).collect();
        Self {
            execution: CurrentExecution::new(record.rewinds.clone()),
            take_over: TakeOver::begin(record.has_attempts),
            results: Results::default(),
            events: KnownEvents::new(events, inbox_from, record.more_events),
            sizes: Sizes {
                history: record.history_bytes,
                events: record.event_bytes,
            },
            in_commit: InCommit::default(),
        }
    }

    fn receive(&mut self, row: InboxRow, instance: &Instance) -> Option<InboxRow> {
        match row.item {
            InboxItem::Event(event) => {
                self.sizes.add_events(events::stored_bytes(&event));
                let waits = self.execution.waits(instance.position.last_turn);
                self.events.receive(row.seq, event, waits);
                None
            }
            _ => Some(row),
        }
    }

    fn missed_messages(&mut self) {
        self.events.forget();
    }

    fn read_again(&mut self) {
        self.take_over = TakeOver::begin(true);
    }

    fn cool(&mut self) {
        self.execution.player = None;
    }

    /// A commit that resumes an instance or marks it as stuck records the next wake-up time and the activities in
    /// flight, so it needs the history.
    fn unread_before(&self, step: &Step, instance: &Instance, inbox: &Inbox) -> Option<Next> {
        let last_turn = instance.position.last_turn;
        let runs = matches!(step, Step::Run);
        if self.execution.unread_after(last_turn, false).is_some() {
            let is_cold = self.execution.player.is_none();
            return match self.execution.started() {
                // The guest will be needed: load it now, so that a long history is read only once.
                Some(started) if runs && is_cold && (self.has_messages(inbox) || self.events.has_direct()) => {
                    Some(Next::Guest(instance.module, started.clone()))
                }
                _ => self.unread_history(instance, runs),
            };
        }
        let needs_attempts = match step {
            Step::Run | Step::Terminate(_) => true,
            Step::Rewind(_) => self.is_rewinding(instance),
            Step::Control | Step::Move | Step::SetState | Step::BreakDown | Step::Hold => false,
        };
        (needs_attempts && self.take_over.has_unread_attempts())
            .then(|| Next::Attempts(self.execution.tasks_with_attempts()))
    }

    /// The ledger needs all of the history as well, for the commit.
    fn unjudged(&self, module: ModuleNumber, instance: &Instance) -> Option<Next> {
        match self.execution.started() {
            Some(started) if self.execution.player.is_none() => Some(Next::Guest(module, started.clone())),
            // Before the first turn there is nothing to replay.
            _ => self.unread_history(instance, true),
        }
    }

    fn run(
        &mut self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Result<RunOutcome, HostUnavailable> {
        if let Some(changes) = self.cancelled_before_start(instance, inbox, context) {
            return Ok(RunOutcome::Changed(Box::new(changes)));
        }
        if let Some(changes) = self.void_failures(instance, inbox, context) {
            return Ok(RunOutcome::Changed(Box::new(changes)));
        }
        let calls = self.calls_to_resume(instance, inbox);
        if !calls.is_empty() {
            return Ok(RunOutcome::Next(Next::Activities(calls)));
        }
        if let Some(names) = self.unread_events(instance) {
            return Ok(RunOutcome::Next(Next::Events(names)));
        }
        if !self.has_work(instance, inbox, context.now()) {
            return Ok(self.rest(instance, inbox, context));
        }
        if self.execution.player.is_none() {
            return Ok(match self.beginning(inbox) {
                Some(started) => RunOutcome::Next(Next::Guest(instance.module, started)),
                None => RunOutcome::Stuck(StuckReason {
                    code: UNREADABLE.to_owned(),
                    message: "the instance has neither a first turn nor a start".into(),
                }),
            });
        }
        match self.unread_history(instance, true) {
            Some(history) => Ok(RunOutcome::Next(history)),
            None => self.turn(instance, inbox, context),
        }
    }

    fn terminate(
        &mut self,
        reason: &str,
        instance: &Instance,
        inbox: &Inbox,
        context: &dyn OwnerContext,
    ) -> StepChanges {
        self.terminated(reason, instance, inbox, context.now())
    }

    fn rewind(
        &mut self,
        reason: &str,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> RunOutcome {
        self.rewound(reason, instance, inbox, context)
    }

    /// An orchestration has no state to change; nobody can ask for this.
    fn set_state(&mut self, _: &Instance, inbox: &mut Inbox, context: &dyn OwnerContext) -> (StepChanges, bool) {
        let messages = inbox.take_state_changes().into_iter();
        let changes = StepChanges {
            messages: messages
                .map(|(seq, item)| TakenMessage { seq: Some(seq), item })
                .collect(),
            ..StepChanges::none(context.now())
        };
        (changes, false)
    }

    fn take_undurable(&mut self, instance: &Instance) -> Vec<(InboxItem, Option<Used>)> {
        let results = self.results.take_all().map(ActivityResult::into_inbox);
        // Events carry no usage.
        let events = self.events.take_direct().into_iter();
        let events = events.map(|event| (InboxItem::Event(event), None));
        let undurable: Vec<_> = results.chain(events).collect();
        if undurable.is_empty() {
            self.shed_events(instance);
        }
        undurable
    }

    fn is_pending(&self, instance: &Instance) -> bool {
        instance.position.is_first_turn()
    }

    fn wake_at(&self, instance: &Instance, inbox: &Inbox) -> Option<Timestamp> {
        not_before(instance, inbox).or(self.execution.ledger.next_due())
    }

    fn activities_outstanding(&self) -> usize {
        self.execution.ledger.activities_outstanding()
    }

    fn complete(&mut self, commit: &mut TurnCommit) {
        let in_commit = &mut self.in_commit;
        let SettledEvents {
            taken,
            freed,
            kept,
            direct,
        } = self
            .events
            .settle(std::mem::take(&mut in_commit.events), commit.summary.status.has_ended());
        (commit.taken_events, commit.kept) = (taken, kept);
        commit.rewinds = in_commit.rewinds.take();
        self.sizes.remove_events(freed);
        in_commit.direct = direct;
        in_commit.continues_as_new = commit.next_execution.is_some();
        if in_commit.continues_as_new {
            self.sizes.history = 0;
        }
    }

    fn committed(&mut self, receipt: &TurnReceipt) -> Vec<bool> {
        let done = std::mem::take(&mut self.in_commit);
        if let Some(until) = receipt.rewound_until {
            self.execution.ledger.rewound_until(until);
        }
        self.sizes.add_events(self.events.stored(&receipt.kept));
        if done.continues_as_new {
            self.execution = CurrentExecution::default();
        }
        done.direct
    }
}

impl<G: Guest> Orchestration<G> {
    /// Idles, but first stores the events that are not durable yet: their senders should not have to wait until the
    /// orchestration takes them.
    fn rest(&mut self, instance: &Instance, inbox: &Inbox, context: &dyn OwnerContext) -> RunOutcome {
        if self.events.has_direct() {
            return RunOutcome::Changed(Box::new(StepChanges::none(context.now())));
        }
        self.shed_events(instance);
        RunOutcome::Next(Next::Idle(self.wake_at(instance, inbox)))
    }

    fn has_work(&mut self, instance: &Instance, inbox: &Inbox, now: Timestamp) -> bool {
        if not_before(instance, inbox).is_some_and(|time| time > now) {
            return false;
        }
        let is_due = self.execution.ledger.next_due().is_some_and(|due| due <= now);
        self.has_messages(inbox) || is_due || self.wants_events(Place::Own, instance)
    }

    /// Whether a message or result has arrived that will probably cause a turn.
    fn has_messages(&self, inbox: &Inbox) -> bool {
        !inbox.is_empty() || !self.results.is_empty() || self.execution.ledger.kept_arrivals().next().is_some()
    }

    /// The start of the execution, from its history or its inbox.
    fn beginning(&self, inbox: &Inbox) -> Option<Arc<Started>> {
        let begun = self.execution.started().cloned();
        begun.or_else(|| inbox.start().map(|started| Arc::new(started.clone())))
    }

    /// The rows of the history to read next. All requests for rows come from here.
    fn unread_history(&self, instance: &Instance, for_guest: bool) -> Option<Next> {
        let after = self.execution.unread_after(instance.position.last_turn, for_guest);
        after.map(Next::History)
    }

    /// Whether an event is in memory that a task waits for and that arrived before this place.
    fn wants_events(&mut self, before: Place, instance: &Instance) -> bool {
        let waits = self.execution.waits(instance.position.last_turn);
        self.events.has_wanted(before, waits)
    }

    /// The names of events to read before the next turn, if any.
    fn unread_events(&self, instance: &Instance) -> Option<Vec<String>> {
        let waits = self.execution.waits(instance.position.last_turn);
        self.events.unread(waits)
    }

    fn shed_events(&mut self, instance: &Instance) {
        let waits = self.execution.waits(instance.position.last_turn);
        self.events.shed(waits);
    }
}

/// The earliest time of the first turn; `None` afterwards.
fn not_before(instance: &Instance, inbox: &Inbox) -> Option<Timestamp> {
    match instance.position.is_first_turn() {
        true => inbox.start()?.not_before,
        false => None,
    }
}
