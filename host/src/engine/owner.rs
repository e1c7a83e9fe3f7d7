//! The owner of one instance: takes what arrived, runs the guest, and says what to make durable.
//!
//! Synchronous and pure apart from its guest: time, randomness and functions are handed in, and what it wants done
//! comes out as a value. The async loop around it ([`super::owner_loop`]) reads history, writes commits and passes messages;
//! tests and a simulation call [`Owner::next`] themselves and choose what happens in between.

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
    instance::{Identity, Position, Shown},
    orchestration::{FeedError, Orchestration},
    sizes::Sizes,
    stage::Stage,
};

/// Why an instance is stuck whose history is damaged or incomplete.
pub(super) const UNREADABLE: &str = "history-unreadable";

/// The state of an instance in memory, while somebody works on it.
pub struct Owner<G> {
    identity: Identity,
    /// The version that the execution runs on.
    module: ModuleNumber,
    status: InstanceStatus,
    /// Why it is stuck, if it is.
    stuck: Option<StuckReason>,
    position: Position,
    shown: Shown,
    sizes: Sizes,
    stage: Stage,
    orchestration: Orchestration<G>,
    inbox: Inbox,
    results: VecDeque<ActivityResult>,
    events: KnownEvents,
    /// A reason to become stuck, to be written.
    breakdown: Option<StuckReason>,
    /// Changes to activity calls that follow from what is durable.
    activities: ActivityChanges,
    in_commit: Option<CommitInFlight>,
}

/// The kinds of steps, in the order of their urgency.
enum Step {
    /// End the instance for that reason.
    Terminate(String),
    /// Suspend or resume it.
    Control,
    /// Note that it is stuck.
    BreakDown,
    /// Take no turn for now; keep what comes.
    Hold,
    /// Run a turn, if there is anything for one.
    Run,
}

impl<G: Guest> Owner<G> {
    /// Takes over an instance. `inbox_from` is the newest inbox row of the store just before the record was read.
    pub fn new(record: InstanceRecord, inbox_from: InboxSeq) -> Self {
        let (events, messages): (Vec<_>, Vec<_>) = record
            .inbox
            .into_iter()
            .partition(|row| matches!(row.item, InboxItem::Event(_)));
        Self {
            identity: Identity {
                number: record.number,
                tenant: record.tenant,
                id: record.id,
                function: record.function,
                parent: record.parent,
                created_at: record.created_at,
            },
            module: record.module,
            status: record.status,
            stuck: record.stuck,
            position: Position {
                execution: record.execution,
                last_turn: record.last_turn,
            },
            shown: Shown {
                updated_at: record.created_at,
                custom_status: record.custom_status,
                fuel: record.fuel,
                outcome: None,
            },
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
        }
    }

    /// Begins with an instance that is not stored yet: its first commit creates it, together with its first turn, or
    /// without it if that is to run later.
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

    /// At most that many bytes of events are kept in memory.
    pub fn know_events_of(&mut self, bytes: usize) {
        self.events.keep_at_most(bytes);
    }

    // ---- what it is asked ----

    /// The instance's number.
    pub fn number(&self) -> InstanceNumber {
        self.identity.number
    }

    /// The instance's id.
    pub fn id(&self) -> &InstanceId {
        &self.identity.id
    }

    /// The instance's tenant.
    pub fn tenant(&self) -> TenantId {
        self.identity.tenant
    }

    /// The version it runs on.
    pub fn module(&self) -> ModuleNumber {
        self.module
    }

    /// The current execution and its last durable turn.
    pub fn position(&self) -> (ExecutionNumber, TurnNumber) {
        (self.position.execution, self.position.last_turn)
    }

    /// Whether the instance is not stored yet.
    pub fn is_not_stored(&self) -> bool {
        matches!(self.stage, Stage::NotStored { .. })
    }

    /// Whether a guest is in memory.
    pub fn is_hot(&self) -> bool {
        self.orchestration.player.is_some()
    }

    /// Whether the [next](Self::next) step may well be to run the guest: it is there, and something has come or will be due.
    pub fn is_about_to_run(&self) -> bool {
        let has_arrivals = self.has_messages() || self.events.may_be_wanted();
        self.orchestration.has_guest_at(self.position.last_turn)
            && (has_arrivals || self.orchestration.ledger.next_due().is_some())
    }

    /// Whether a durable turn was its last.
    pub fn has_ended(&self) -> bool {
        self.in_commit.is_none() && self.status.has_ended()
    }

    /// What a query would find now, if the guest has ended by itself.
    pub fn ended(&self, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        let Identity {
            number,
            id,
            function,
            parent,
            created_at,
            ..
        } = &self.identity;
        Some(InstanceDetails {
            summary: InstanceSummary {
                number: *number,
                id: id.clone(),
                function: function.clone(),
                module_digest,
                status: self.status,
                execution: self.position.execution,
                last_turn: self.position.last_turn,
                created_at: *created_at,
                updated_at: self.shown.updated_at,
                custom_status: self.shown.custom_status.clone(),
                stuck: None,
                parent_id: parent.as_ref().map(|parent| parent.instance_id.clone()),
                fuel: self.shown.fuel,
            },
            input: Some(self.orchestration.started()?.input.clone()),
            outcome: Some(self.shown.outcome.clone()?),
            terminated: None,
        })
    }

    // ---- inputs ----

    /// Takes in a durable message.
    pub fn receive(&mut self, row: InboxRow) {
        match row.item {
            InboxItem::Event(event) => {
                self.sizes.add_events(events::stored_bytes(&event));
                let waits = self.orchestration.waits(self.position.last_turn);
                self.events.receive(row.seq, event, waits);
            }
            item => self.inbox.receive(InboxRow { seq: row.seq, item }),
        }
    }

    /// Takes in the outcome of an activity call.
    pub fn receive_result(&mut self, result: ActivityResult) {
        self.results.push_back(result);
    }

    /// Whether an event can be [received directly](Self::receive_event), to be stored by the commit of the turn that
    /// takes it. Otherwise its sender stores it, or is refused if it does not fit: `max_bytes` limits the bytes of the
    /// history and of the waiting events of an execution.
    pub fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp) -> bool {
        let name = event.name.folded();
        let may_be_wanted = match self.orchestration.waits(self.position.last_turn) {
            // The first turn has yet to say what it waits for.
            _ if self.position.is_first_turn() => self.not_before().is_none_or(|time| time <= now),
            Some(waits) => waits.contains_key(&name),
            None => true,
        };
        may_be_wanted
            && !self.is_suspended_or_stuck()
            && !self.inbox.has_more()
            && self.events.takes_directly(&name)
            && self.sizes.all() < max_bytes
    }

    /// Takes in an event that is durable once a commit [took](Self::committed) it or the loop stored it.
    pub fn receive_event(&mut self, event: Event) {
        self.events.receive_directly(event);
    }

    /// Hands over what [`Next::Events`] asked for. `newest` is the newest message that was on disk before.
    pub fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>) {
        let waits = self.orchestration.waits(self.position.last_turn);
        self.events.read(newest, pages, waits);
    }

    /// Hands over the guest that [`Next::Guest`] asked for.
    pub fn install(&mut self, player: Player<G>) {
        self.orchestration.player = Some(player);
    }

    /// Forgets the guest; the next turn replays.
    pub fn cool(&mut self) {
        self.orchestration.player = None;
    }

    /// Hands over rows that [`Next::History`] asked for: the next ones, in order.
    ///
    /// # Errors
    /// When the host cannot run the guest now. A guest that does not repeat its history is no error: the instance
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

    /// Hands over what [`Next::Attempts`] asked for.
    pub fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        self.stage.attempts_read();
        let Orchestration { ledger, attempts, .. } = &mut self.orchestration;
        attempts.take_in(noted, ledger);
    }

    /// Notes that the instance cannot go on, for a reason outside its guest.
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

    /// The first turn of an instance that is not stored cannot run now: the instance is created without it, and takes it
    /// when it can.
    pub fn turn_later(&mut self) {
        if let Stage::NotStored { turn_later, .. } = &mut self.stage {
            *turn_later = true;
        }
    }

    /// Results that are nowhere durable yet, for the next owner after a failed commit.
    pub fn into_results(self) -> Vec<ActivityResult> {
        let taken = self.in_commit.map(|taken| taken.results).unwrap_or_default();
        taken.into_iter().chain(self.results).collect()
    }

    /// The activity calls to start and to stop that follow from what is durable, instead of [`Next::Activities`].
    pub fn take_activity_changes(&mut self) -> ActivityChanges {
        std::mem::take(&mut self.activities)
    }

    // ---- what it wants ----

    /// What to do next. Call it again after doing it.
    ///
    /// # Errors
    /// When the host cannot run the guest now; the guest is gone, what arrived is kept.
    pub fn next(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        assert!(self.in_commit.is_none(), "one commit at a time");
        if !self.activities.is_empty() {
            return Ok(Next::Activities(self.take_activity_changes()));
        }
        if self.status.has_ended() {
            return Ok(Next::Ended);
        }
        if self.is_created_without_turn(context) {
            // It comes back as a row.
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
        } else if self.is_suspended_or_stuck() || context.is_held() {
            Step::Hold
        } else {
            Step::Run
        }
    }

    /// What has to be read of a stored instance before a step, if anything. What is written when an instance goes on or
    /// breaks down must tell when to wake it and what is in flight; what cannot be read does not hinder it.
    fn unread_before(&self, step: &Step) -> Option<Next> {
        if matches!(step, Step::Hold) || matches!(self.stage, Stage::Unreadable) {
            return None;
        }
        let runs = matches!(step, Step::Run);
        if self
            .orchestration
            .unread_after(self.position.last_turn, false)
            .is_some()
        {
            return match self.orchestration.started() {
                // The guest will be needed, so it is brought along: a long history is read once.
                Some(started) if runs && !self.is_hot() && (self.has_messages() || self.events.has_direct()) => {
                    Some(Next::Guest(self.module, started.clone()))
                }
                _ => self.unread_history(runs),
            };
        }
        let needs_attempts = runs || matches!(step, Step::Terminate(_));
        (needs_attempts && self.stage.has_unread_attempts())
            .then(|| Next::Attempts(self.orchestration.tasks_with_attempts()))
    }

    /// The rows of the history that are to be read next: the one place that asks for them.
    fn unread_history(&self, for_guest: bool) -> Option<Next> {
        let after = self.orchestration.unread_after(self.position.last_turn, for_guest);
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
        self.status = InstanceStatus::Stuck;
        self.stuck = self.breakdown.take();
        self.commit(context, context.now(), None, Gathered::default())
    }

    /// Takes no turn. What is nowhere durable is stored, since it may have to wait for long.
    fn hold(&mut self) -> Next {
        if !self.results.is_empty() || self.events.has_direct() {
            return self.store_all();
        }
        self.shed_events();
        Next::Idle(None)
    }

    /// Everything that is outstanding is known.
    fn run(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        // Messages that are not known yet may bring outcomes of activities. Once they are read, the next owner resumes.
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
                return Ok(Next::Guest(self.module, started));
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
        let execution = self.position.execution;
        let at_hand = self.results.iter().filter(|result| result.execution == execution);
        let ended = at_hand.map(|result| result.task);
        let ended = ended.chain(self.inbox.tasks_that_ended(execution)).collect();
        self.orchestration.calls_to_resume(execution, &ended)
    }

    /// Idles. First stores the events that are not durable yet, so that their senders need not wait until the
    /// orchestration wants them.
    fn rest(&mut self, context: &dyn OwnerContext) -> Next {
        if self.events.has_direct() {
            return self.commit(context, context.now(), None, Gathered::default());
        }
        self.shed_events();
        Next::Idle(self.wake_at())
    }

    /// Stores what is nowhere durable yet, because the instance takes none of it now.
    fn store_all(&mut self) -> Next {
        let results = self.results.drain(..).map(ActivityResult::into_inbox);
        // Nothing was used up for an event.
        let events = self.events.take_direct().into_iter();
        let events = events.map(|event| (InboxItem::Event(event), None));
        Next::Store(results.chain(events).collect())
    }

    // ---- what it knows ----

    fn is_suspended_or_stuck(&self) -> bool {
        matches!(self.status, InstanceStatus::Suspended | InstanceStatus::Stuck)
    }

    /// What the execution began or is to begin with.
    fn beginning(&self) -> Option<Arc<Started>> {
        let begun = self.orchestration.started().cloned();
        begun.or_else(|| self.inbox.start().map(|started| Arc::new(started.clone())))
    }

    /// Before the first turn: when it may run at the earliest.
    fn not_before(&self) -> Option<Timestamp> {
        match self.position.is_first_turn() {
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

    /// Whether something other than an event has arrived that will probably cause a turn.
    fn has_messages(&self) -> bool {
        !self.inbox.is_empty() || !self.results.is_empty()
    }

    /// Whether an event is known that is waited for and came before that place.
    fn wants_events(&mut self, before: Place) -> bool {
        let waits = self.orchestration.waits(self.position.last_turn);
        self.events.has_wanted(before, waits)
    }

    /// The names of events to be read before the next turn, if any.
    fn unread_events(&self) -> Option<Vec<String>> {
        let waits = self.orchestration.waits(self.position.last_turn);
        self.events.unread(waits)
    }

    fn shed_events(&mut self) {
        let waits = self.orchestration.waits(self.position.last_turn);
        self.events.shed(waits);
    }
}
