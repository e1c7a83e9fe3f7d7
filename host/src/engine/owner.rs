//! The owner of one instance: collects what arrived, runs the guest, and returns what must become durable.
//!
//! Synchronous and pure apart from its guest: the caller passes in time, randomness and functions, and the owner
//! returns its effects as a value. The async loop around it ([`super::owner_loop`]) reads history, writes commits and
//! passes messages; tests and the simulation call [`Owner::next`] themselves and choose what happens in between.

mod interface;

mod inbox;
mod instance;
mod stage;

mod arrivals;
mod attempts;
mod commit;
mod controls;
mod decisions;
mod effects;
mod events;
mod orchestration;
mod sizes;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::model::{
    Event, EventPage, ExecutionNumber, InboxItem, InboxRow, InboxSeq, InstanceId, InstanceNumber, InstanceStatus,
    ModuleDigest, ModuleNumber, Started, StuckReason, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};
use crate::replay::{Guest, HostUnavailable, Place, Player};
use crate::store::{AttemptsSoFar, Creation, InstanceDetails, InstanceRecord, InstanceSummary};

pub(super) use self::events::KNOWN_EVENT_BYTES;
pub use self::interface::{ActivityChanges, ActivityResult, Next, OwnerContext, StartActivity};
use self::{
    arrivals::Gathered,
    commit::CommitInFlight,
    events::KnownEvents,
    inbox::Inbox,
    instance::{Identity, Instance},
    orchestration::{FeedError, Orchestration},
    sizes::Sizes,
    stage::Stage,
};

/// The code of the stuck reason of an instance whose history is damaged or incomplete.
pub(super) const UNREADABLE: &str = "history-unreadable";

/// The state of an active instance in memory.
pub struct Owner<G> {
    instance: Instance,
    sizes: Sizes,
    stage: Stage,
    orchestration: Orchestration<G>,
    inbox: Inbox,
    results: VecDeque<ActivityResult>,
    events: KnownEvents,
    /// Why the instance becomes stuck with the next commit.
    breakdown: Option<StuckReason>,
    /// Changes to activity calls that are due now that their cause is durable.
    activities: ActivityChanges,
    in_commit: Option<CommitInFlight>,
}

/// The kinds of steps, most urgent first.
enum Step {
    /// Terminate the instance for this reason.
    Terminate(String),
    /// Suspend or resume it.
    Control,
    /// Mark it as stuck.
    BreakDown,
    /// Run no turn for now, but keep what arrives.
    Hold,
    /// Run a turn if there is a reason to.
    Run,
}

impl<G: Guest> Owner<G> {
    /// Creates the owner of a stored instance. `inbox_from` is the newest inbox row in the store just before the record
    /// was read.
    pub fn new(mut record: InstanceRecord, inbox_from: InboxSeq) -> Self {
        let (events, messages): (Vec<_>, Vec<_>) = std::mem::take(&mut record.inbox)
            .into_iter()
            .partition(|row| matches!(row.item, InboxItem::Event(_)));
        Self {
            sizes: Sizes {
                history: record.history_bytes,
                events: record.event_bytes,
            },
            stage: Stage::TakingOver {
                attempts_unread: record.has_attempts,
            },
            orchestration: Orchestration::default(),
            inbox: Inbox::new(inbox_from, messages, record.more_inbox),
            results: VecDeque::new(),
            events: KnownEvents::new(events, inbox_from, record.more_events),
            breakdown: None,
            activities: ActivityChanges::default(),
            in_commit: None,
            instance: Instance::new(record),
        }
    }

    /// Creates the owner of an instance that is not stored yet. Its first commit creates the instance together with its
    /// first turn, or without that turn if `turn_later` is set.
    pub fn not_stored(number: InstanceNumber, creation: Creation, turn_later: bool) -> Self {
        let new = &creation.instance;
        let started = new.started.clone();
        let record = InstanceRecord {
            number,
            tenant: new.tenant,
            id: new.id.clone(),
            function: started.function.clone(),
            module: new.module,
            parent: started.parent.clone(),
            status: InstanceStatus::Pending,
            stuck: None,
            execution: started.execution,
            last_turn: TurnNumber::NONE,
            unclean_ends: 0,
            created_at: new.created_at,
            custom_status: None,
            fuel: 0,
            history_bytes: 0,
            event_bytes: 0,
            inbox: Vec::new(),
            more_inbox: false,
            more_events: false,
            has_attempts: false,
            first_turns: Vec::new(),
        };
        Self {
            stage: Stage::NotStored {
                creation: Box::new(creation),
                turn_later,
            },
            inbox: Inbox::of_new(started),
            ..Self::new(record, InboxSeq(0))
        }
    }

    /// Limits the bytes of events in memory.
    pub fn know_events_of(&mut self, bytes: usize) {
        self.events.keep_at_most(bytes);
    }

    // ---- accessors ----

    /// The instance's number.
    pub fn number(&self) -> InstanceNumber {
        self.instance.identity.number
    }

    /// The instance's id.
    pub fn id(&self) -> &InstanceId {
        &self.instance.identity.id
    }

    /// The instance's tenant.
    pub fn tenant(&self) -> TenantId {
        self.instance.identity.tenant
    }

    /// The module version it runs on.
    pub fn module(&self) -> ModuleNumber {
        self.instance.module
    }

    /// The current execution and its last durable turn.
    pub fn position(&self) -> (ExecutionNumber, TurnNumber) {
        (self.instance.position.execution, self.instance.position.last_turn)
    }

    /// Whether the instance is not stored yet.
    pub fn is_not_stored(&self) -> bool {
        matches!(self.stage, Stage::NotStored { .. })
    }

    /// Whether a guest is in memory.
    pub fn is_hot(&self) -> bool {
        self.orchestration.player.is_some()
    }

    /// Whether the [next](Self::next) step probably runs the guest: the guest is in memory, and something has arrived
    /// or a timer is set.
    pub fn is_about_to_run(&self) -> bool {
        let has_arrivals = self.has_messages() || self.events.may_be_wanted();
        self.orchestration.has_guest_at(self.instance.position.last_turn)
            && (has_arrivals || self.orchestration.ledger.next_due().is_some())
    }

    /// Whether the last turn of the instance is durable.
    pub fn has_ended(&self) -> bool {
        self.in_commit.is_none() && self.instance.status.has_ended()
    }

    /// What a query would return now; `None` unless the guest has completed or failed.
    pub fn ended(&self, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        let Identity {
            number,
            id,
            function,
            parent,
            created_at,
            ..
        } = &self.instance.identity;
        Some(InstanceDetails {
            summary: InstanceSummary {
                number: *number,
                id: id.clone(),
                function: function.clone(),
                module_digest,
                status: self.instance.status,
                execution: self.instance.position.execution,
                last_turn: self.instance.position.last_turn,
                created_at: *created_at,
                updated_at: self.instance.shown.updated_at,
                custom_status: self.instance.shown.custom_status.clone(),
                stuck: None,
                parent_id: parent.as_ref().map(|parent| parent.instance_id.clone()),
                fuel: self.instance.shown.fuel,
            },
            input: Some(self.orchestration.started()?.input.clone()),
            outcome: Some(self.instance.shown.outcome.clone()?),
            terminated: None,
        })
    }

    // ---- inputs ----

    /// Receives a durable message.
    pub fn receive(&mut self, row: InboxRow) {
        match row.item {
            InboxItem::Event(event) => {
                self.sizes.add_events(events::stored_bytes(&event));
                let waits = self.orchestration.waits(self.instance.position.last_turn);
                self.events.receive(row.seq, event, waits);
            }
            item => self.inbox.receive(InboxRow { seq: row.seq, item }),
        }
    }

    /// Receives the outcome of an activity call.
    pub fn receive_result(&mut self, result: ActivityResult) {
        self.results.push_back(result);
    }

    /// Whether the owner accepts an event [directly](Self::receive_event); the commit of the turn that takes the event
    /// then stores it. Otherwise the sender stores the event, or is refused if it does not fit: `max_bytes` limits the
    /// sum of an execution's history and its waiting events.
    pub fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp) -> bool {
        let name = event.name.folded();
        let may_be_wanted = match self.orchestration.waits(self.instance.position.last_turn) {
            // Before the first turn, nobody knows which events the guest waits for.
            _ if self.instance.position.is_first_turn() => self.not_before().is_none_or(|time| time <= now),
            Some(waits) => waits.contains_key(&name),
            None => true,
        };
        may_be_wanted
            && !self.instance.is_suspended_or_stuck()
            && !self.inbox.has_more()
            && self.events.takes_directly(&name)
            && self.sizes.all() < max_bytes
    }

    /// Receives an event that is not durable yet. It becomes durable when a commit [includes](Self::committed) it or
    /// when the loop stores it.
    pub fn receive_event(&mut self, event: Event) {
        self.events.receive_directly(event);
    }

    /// Receives the events that [`Next::Events`] asked for. `newest` is the newest message that was in the store before
    /// the read.
    pub fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>) {
        let waits = self.orchestration.waits(self.instance.position.last_turn);
        self.events.read(newest, pages, waits);
    }

    /// Receives the guest that [`Next::Guest`] asked for.
    pub fn install(&mut self, player: Player<G>) {
        self.orchestration.player = Some(player);
    }

    /// Drops the guest; the next turn replays the history.
    pub fn cool(&mut self) {
        self.orchestration.player = None;
    }

    /// Receives the next rows that [`Next::History`] asked for, in order.
    ///
    /// # Errors
    /// If the host cannot run the guest now. A guest that deviates from its history is not an error: the instance
    /// becomes stuck.
    pub fn feed(&mut self, rows: &[Turn]) -> Result<(), HostUnavailable> {
        match self.orchestration.feed(rows) {
            Ok(()) => {}
            Err(FeedError::Unreadable(error)) => self.break_down(UNREADABLE, error.to_string()),
            Err(FeedError::Stuck(reason)) => self.breakdown = Some(reason),
            Err(FeedError::Host(trouble)) => return Err(trouble),
        }
        Ok(())
    }

    /// Receives the attempts that [`Next::Attempts`] asked for.
    pub fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        self.stage.attempts_read();
        let Orchestration { ledger, attempts, .. } = &mut self.orchestration;
        attempts.take_in(noted, ledger);
    }

    /// Makes the instance stuck with the next commit, for a reason outside its guest.
    pub fn break_down(&mut self, code: &str, message: String) {
        self.cool();
        if code == UNREADABLE {
            self.stage.cannot_be_read();
        }
        self.breakdown = Some(StuckReason {
            code: code.to_owned(),
            message,
        });
    }

    /// Postpones the first turn of an instance that is not stored yet: the next commit creates the instance without it.
    pub fn turn_later(&mut self) {
        if let Stage::NotStored { turn_later, .. } = &mut self.stage {
            *turn_later = true;
        }
    }

    /// Returns the results that are not durable yet, for the next owner after a failed commit.
    pub fn into_results(self) -> Vec<ActivityResult> {
        let taken = self.in_commit.map(|taken| taken.results).unwrap_or_default();
        taken.into_iter().chain(self.results).collect()
    }

    /// Takes the activity calls to start and to stop now that their cause is durable; [`Next::Activities`] will not
    /// return them again.
    pub fn take_activity_changes(&mut self) -> ActivityChanges {
        std::mem::take(&mut self.activities)
    }

    // ---- steps ----

    /// Returns what the loop has to do next. Call it again afterwards.
    ///
    /// # Errors
    /// If the host cannot run the guest now. The guest is dropped; everything that arrived is kept.
    pub fn next(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        assert!(self.in_commit.is_none(), "one commit at a time");
        if !self.activities.is_empty() {
            return Ok(Next::Activities(self.take_activity_changes()));
        }
        if self.instance.status.has_ended() {
            return Ok(Next::Ended);
        }
        if self.is_created_without_turn(context) {
            // The stored start comes back with the receipt.
            self.inbox.take_start();
            return Ok(self.commit(context, context.now(), None, Gathered::default()));
        }
        let step = self.step(context);
        if let Some(next) = self.unread_before(&step) {
            return Ok(next);
        }
        match step {
            Step::Terminate(reason) => Ok(self.terminate(reason, context)),
            Step::Control => Ok(self.control(context)),
            Step::BreakDown => Ok(self.become_stuck(context)),
            Step::Hold => Ok(self.hold()),
            Step::Run => self.run(context),
        }
    }

    fn step(&self, context: &dyn OwnerContext) -> Step {
        if let Some(reason) = self.inbox.terminate_reason() {
            Step::Terminate(reason.to_owned())
        } else if self.inbox.has_control() {
            Step::Control
        } else if self.breakdown.is_some() {
            Step::BreakDown
        } else if self.instance.is_suspended_or_stuck() || context.is_held() {
            Step::Hold
        } else {
            Step::Run
        }
    }

    /// What the loop has to read before a step on a stored instance, if anything. A commit that resumes an instance or
    /// marks it as stuck records the next wake-up time and the activities in flight, so it needs the history. An
    /// unreadable history blocks no step.
    fn unread_before(&self, step: &Step) -> Option<Next> {
        if matches!(step, Step::Hold) || matches!(self.stage, Stage::Unreadable) {
            return None;
        }
        let runs = matches!(step, Step::Run);
        if self
            .orchestration
            .unread_after(self.instance.position.last_turn, false)
            .is_some()
        {
            return match self.orchestration.started() {
                // The guest will be needed: load it now, so that a long history is read only once.
                Some(started) if runs && !self.is_hot() && (self.has_messages() || self.events.has_direct()) => {
                    Some(Next::Guest(self.instance.module, started.clone()))
                }
                _ => self.unread_history(runs),
            };
        }
        let needs_attempts = runs || matches!(step, Step::Terminate(_));
        (needs_attempts && self.stage.has_unread_attempts())
            .then(|| Next::Attempts(self.orchestration.tasks_with_attempts()))
    }

    /// The rows of the history to read next. All requests for rows come from here.
    fn unread_history(&self, for_guest: bool) -> Option<Next> {
        let after = self
            .orchestration
            .unread_after(self.instance.position.last_turn, for_guest);
        after.map(Next::History)
    }

    /// Whether the instance is not stored and its first turn cannot run now.
    fn is_created_without_turn(&self, context: &dyn OwnerContext) -> bool {
        match self.stage {
            Stage::NotStored { turn_later, .. } => turn_later || self.breakdown.is_some() || context.is_held(),
            Stage::TakingOver { .. } | Stage::Ready | Stage::Unreadable => false,
        }
    }

    fn become_stuck(&mut self, context: &dyn OwnerContext) -> Next {
        self.instance.status = InstanceStatus::Stuck;
        self.instance.stuck = self.breakdown.take();
        self.commit(context, context.now(), None, Gathered::default())
    }

    /// Runs no turn. Stores what is not durable yet, because it may wait for long.
    fn hold(&mut self) -> Next {
        if !self.results.is_empty() || self.events.has_direct() {
            return self.store_all();
        }
        self.shed_events();
        Next::Idle(None)
    }

    /// Runs a turn, or asks for what the turn needs. All outstanding tasks are known.
    fn run(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        // Unread messages may contain outcomes of activities. In that case the owner that reads them resumes the calls.
        if matches!(self.stage, Stage::TakingOver { .. }) && !self.inbox.has_more() {
            self.stage = Stage::Ready;
            self.activities.start = self.calls_to_resume();
            if !self.activities.is_empty() {
                return Ok(Next::Activities(self.take_activity_changes()));
            }
        }
        if self.inbox.is_to_be_read() {
            return Ok(self.store_all());
        }
        if let Some(names) = self.unread_events() {
            return Ok(Next::Events(names));
        }
        if !self.has_work(context.now()) {
            return Ok(self.rest(context));
        }
        if !self.is_hot() {
            if let Some(started) = self.beginning() {
                return Ok(Next::Guest(self.instance.module, started));
            }
            self.break_down(UNREADABLE, "the instance has neither a first turn nor a start".into());
            return Ok(self.become_stuck(context));
        }
        match self.unread_history(true) {
            Some(history) => Ok(history),
            None => self.turn(context),
        }
    }

    /// The outstanding activity calls whose outcomes have not arrived.
    fn calls_to_resume(&mut self) -> Vec<StartActivity> {
        let execution = self.instance.position.execution;
        let at_hand = self.results.iter().filter(|result| result.execution == execution);
        let ended = at_hand.map(|result| result.task);
        let ended = ended.chain(self.inbox.tasks_that_ended(execution)).collect();
        self.orchestration.calls_to_resume(execution, &ended)
    }

    /// Idles, but first stores the events that are not durable yet: their senders should not have to wait until the
    /// orchestration takes them.
    fn rest(&mut self, context: &dyn OwnerContext) -> Next {
        if self.events.has_direct() {
            return self.commit(context, context.now(), None, Gathered::default());
        }
        self.shed_events();
        Next::Idle(self.wake_at())
    }

    /// Stores all results and events that are not durable yet, because the instance does not take them now.
    fn store_all(&mut self) -> Next {
        let results = self.results.drain(..).map(ActivityResult::into_inbox);
        // Events carry no usage.
        let events = self.events.take_direct().into_iter();
        let events = events.map(|event| (InboxItem::Event(event), None));
        Next::Store(results.chain(events).collect())
    }

    // ---- state ----

    /// The start of the execution, from its history or its inbox.
    fn beginning(&self) -> Option<Arc<Started>> {
        let begun = self.orchestration.started().cloned();
        begun.or_else(|| self.inbox.start().map(|started| Arc::new(started.clone())))
    }

    /// The earliest time of the first turn; `None` afterwards.
    fn not_before(&self) -> Option<Timestamp> {
        match self.instance.position.is_first_turn() {
            true => self.inbox.start()?.not_before,
            false => None,
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.not_before().or(self.orchestration.ledger.next_due())
    }

    fn has_work(&mut self, now: Timestamp) -> bool {
        if self.not_before().is_some_and(|time| time > now) {
            return false;
        }
        let is_due = self.orchestration.ledger.next_due().is_some_and(|due| due <= now);
        self.has_messages() || is_due || self.wants_events(Place::Own)
    }

    /// Whether a message or result has arrived that will probably cause a turn.
    fn has_messages(&self) -> bool {
        !self.inbox.is_empty() || !self.results.is_empty()
    }

    /// Whether an event is in memory that a task waits for and that arrived before this place.
    fn wants_events(&mut self, before: Place) -> bool {
        let waits = self.orchestration.waits(self.instance.position.last_turn);
        self.events.has_wanted(before, waits)
    }

    /// The names of events to read before the next turn, if any.
    fn unread_events(&self) -> Option<Vec<String>> {
        let waits = self.orchestration.waits(self.instance.position.last_turn);
        self.events.unread(waits)
    }

    fn shed_events(&mut self) {
        let waits = self.orchestration.waits(self.instance.position.last_turn);
        self.events.shed(waits);
    }
}
