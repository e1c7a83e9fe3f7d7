//! The owner of one instance: takes what arrived, runs the guest, and says what to make durable.
//!
//! Synchronous and pure apart from its guest: time, randomness and functions are handed in, and what it wants done
//! comes out as a value. The async loop around it ([`super::owner_loop`]) reads history, writes commits and passes messages;
//! tests and a simulation call [`Owner::next`] themselves and choose what happens in between.

mod arrivals;
mod controls;
mod decisions;
pub(super) mod events;
mod growth;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Arrival, Decision, Event, ExecutionNumber, FunctionKind, FunctionName, InboxItem, InboxRow, InboxSeq, InstanceId,
    InstanceNumber, InstanceStatus, LogLine, ModuleDigest, ModuleNumber, ObservableLimits, Outcome, Parent, Payload,
    Started, StuckReason, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};
use crate::replay::ledger::ActivityCall;
use crate::replay::{
    Delivery, Directory, Guest, HostUnavailable, Ledger, Outstanding, PendingEvent, PendingEvents, Place, Player,
    ReplayError,
};
use crate::store::{
    Amount, AttemptsSoFar, Creation, InstanceDetails, InstanceRecord, InstanceSummary, Summary, TakenEvent, TurnCommit,
    TurnReceipt, Used,
};

use self::arrivals::{EVENT_ROOM, Gathered};
use crate::model::inbox::event_bytes;

/// In place of the position of a message that is in no inbox: the start of an instance that is not stored yet.
const NOT_STORED: InboxSeq = InboxSeq(0);

/// Why an instance is stuck whose history is damaged or incomplete.
pub(super) const UNREADABLE: &str = "history-unreadable";

/// A turn that is no more than this ahead of the clock says nothing of it: its timers are late by as much at most.
const TOLERATED_BEHIND: Duration = Duration::from_secs(1);

/// What an owner needs from outside to decide.
pub trait OwnerContext {
    /// The time.
    fn now(&self) -> Timestamp;
    /// 32 new random bytes for an execution that starts.
    fn seed(&self) -> [u8; 32];
    /// The functions of the tenant.
    fn directory(&self) -> &dyn Directory;
    /// What executions that start now may observe.
    fn limits(&self) -> ObservableLimits;
    /// Most turns of one execution.
    fn max_turns(&self) -> u32;
    /// Most bytes of the history of one execution.
    fn max_history_bytes(&self) -> u64;
    /// Most bytes of the log of one execution.
    fn max_log_bytes(&self) -> u64;
    /// Whether no instance of the tenant takes a turn for now. What arrives meanwhile is kept for later.
    fn is_held(&self) -> bool;
}

/// What the loop is to do for its owner.
#[derive(Debug)]
pub enum Next {
    /// Wait for a message or that time.
    Idle(Option<Timestamp>),
    /// Read rows after that turn and [feed](Owner::feed) them.
    History(TurnNumber),
    /// Read what is noted of the attempts of these tasks and [hand it over](Owner::take_attempts).
    Attempts(Vec<TaskId>),
    /// Read the oldest events of these names, and [hand them over](Owner::read_events).
    Events(Vec<String>),
    /// [Install](Owner::install) a guest of that module, before its first turn.
    Guest(ModuleNumber, Arc<Started>),
    /// Write this, then call [`Owner::committed`]; if it fails, throw the owner away but keep its
    /// [results](Owner::into_results).
    Commit(Box<TurnCommit>),
    /// Append these results and events to the inbox, because the instance takes none now, and read anew what waits for it.
    /// The last ones are all the events that it [received directly](Owner::receive_event).
    Store(Vec<(InboxItem, Option<Used>)>),
    /// Start these attempts, unless they run already, and stop those.
    Activities(ActivityChanges),
    /// The instance has ended; nothing will happen any more.
    Ended,
}

impl Next {
    /// Fuel that the guest used for it.
    pub fn fuel(&self) -> u64 {
        match self {
            Self::Commit(commit) => commit.turn.as_ref().map_or(0, |turn| turn.fuel),
            _ => 0,
        }
    }
}

/// Activity calls to start and to stop.
#[derive(Debug, Default)]
pub struct ActivityChanges {
    /// To start, unless known.
    pub start: Vec<StartActivity>,
    /// To stop, each with the execution that called it.
    pub cancel: Vec<(ExecutionNumber, TaskId)>,
    /// Stop all that are left, in whichever execution.
    pub cancel_all: bool,
}

impl ActivityChanges {
    fn is_empty(&self) -> bool {
        self.start.is_empty() && self.cancel.is_empty() && !self.cancel_all
    }
}

/// An activity call to carry out.
#[derive(Debug)]
pub struct StartActivity {
    /// The execution that waits.
    pub execution: ExecutionNumber,
    /// The task in it.
    pub task: TaskId,
    /// What to call and how.
    pub call: ActivityCall,
    /// The seed of the execution, for the idempotency key.
    pub seed: [u8; 32],
    /// What is noted of its attempts.
    pub so_far: AttemptsSoFar,
}

/// The final outcome of an activity call, as it comes from the slots. Durable once a turn or the inbox holds it.
#[derive(Debug, Clone)]
pub struct ActivityResult {
    /// The execution that waits.
    pub execution: ExecutionNumber,
    /// The task in it.
    pub task: TaskId,
    /// How it ended.
    pub outcome: Outcome,
    /// What the last attempt logged.
    pub logs: Vec<LogLine>,
    /// Fuel of the last attempt.
    pub fuel: u64,
    /// What the last attempt used; none if there was no attempt that ended.
    pub used: Option<Used>,
}

/// The state of an instance in memory, while somebody works on it.
pub struct Owner<G> {
    number: InstanceNumber,
    tenant: TenantId,
    id: InstanceId,
    function: FunctionName,
    parent: Option<Parent>,
    module: ModuleNumber,
    created_at: Timestamp,
    updated_at: Timestamp,
    custom_status: Option<Payload>,
    fuel: u64,
    /// Bytes of the execution's history: what was stored when the instance was taken over, and about as much as came
    /// since.
    history_bytes: u64,
    /// About how many bytes of events are stored that nobody has taken, likewise.
    event_bytes: u64,
    /// How the guest ended, once it has.
    outcome: Option<Outcome>,
    status: InstanceStatus,
    stuck: Option<StuckReason>,
    execution: ExecutionNumber,
    last_turn: TurnNumber,
    ledger: Ledger,
    player: Option<Player<G>>,
    /// Messages that are no events.
    inbox: BTreeMap<InboxSeq, InboxItem>,
    /// Rows up to here were read from the store or consumed; a message about one of them is stale.
    inbox_from: InboxSeq,
    /// Rows past `inbox_from` that were read from the store; a message about one of them is a repeat.
    inbox_seen: BTreeSet<InboxSeq>,
    results: VecDeque<ActivityResult>,
    /// Events that nobody has taken.
    pending: PendingEvents,
    /// Most bytes of them in memory.
    known_event_bytes: usize,
    /// None of them is waited for, and none of those that are is unread.
    quiet: bool,
    /// Events were read since the last turn.
    looked: bool,
    /// More messages wait in the store than are known here, apart from events. They are read when those that are known
    /// were taken.
    more_inbox: bool,
    /// Set until the commit that creates the instance.
    creation: Option<Box<Creation>>,
    /// The instance is to be created before its first turn.
    turn_later: bool,
    /// Attempts of outstanding tasks are noted and not known here.
    attempts_unread: bool,
    /// What is noted of the attempts of activity calls that are to be resumed.
    so_far: BTreeMap<TaskId, AttemptsSoFar>,
    /// Failed attempts of outstanding sub-orchestrations.
    child_attempts: BTreeMap<TaskId, u32>,
    /// A reason to become stuck, to be written.
    new_stuck: Option<StuckReason>,
    /// The history cannot be read to its end; what is outstanding is not known.
    unreadable: bool,
    /// Changes to activity calls that follow from what is durable.
    activities: ActivityChanges,
    announced: bool,
    in_commit: Option<CommitInFlight>,
}

/// What the commit in flight took, to be put back if it fails.
struct CommitInFlight {
    results: Vec<ActivityResult>,
    /// Of each event that was received directly, in their order, whether it is durable with the commit.
    direct: Vec<bool>,
    ended: bool,
    next_execution: bool,
    activities: ActivityChanges,
}

impl<G: Guest> Owner<G> {
    /// Takes over an instance. `inbox_from` is the newest inbox row of the store just before the record was read.
    pub fn new(record: InstanceRecord, inbox_from: InboxSeq) -> Self {
        let (events, inbox): (Vec<_>, Vec<_>) = record
            .inbox
            .into_iter()
            .partition(|row| matches!(row.item, InboxItem::Event(_)));
        // Whatever is older than an event that was read was read with it.
        let read_to = events
            .iter()
            .map(|row| row.seq)
            .max()
            .unwrap_or(NOT_STORED)
            .max(inbox_from);
        let mut pending = PendingEvents::new(read_to, record.more_events);
        let known = events.into_iter().filter_map(|InboxRow { seq, item }| match item {
            InboxItem::Event(event) => Some(PendingEvent {
                place: Place::Stored(seq),
                event,
            }),
            _ => None,
        });
        pending.put_back(known.collect());
        Self {
            number: record.number,
            tenant: record.tenant,
            id: record.id,
            function: record.function,
            parent: record.parent,
            module: record.module,
            created_at: record.created_at,
            updated_at: record.created_at,
            custom_status: record.custom_status,
            fuel: record.fuel,
            history_bytes: record.history_bytes,
            event_bytes: record.event_bytes,
            outcome: None,
            status: record.status,
            stuck: record.stuck,
            execution: record.execution,
            last_turn: record.last_turn,
            ledger: Ledger::default(),
            player: None,
            inbox_seen: inbox
                .iter()
                .map(|row| row.seq)
                .filter(|seq| *seq > inbox_from)
                .collect(),
            inbox: inbox.into_iter().map(|row| (row.seq, row.item)).collect(),
            inbox_from,
            results: VecDeque::new(),
            pending,
            known_event_bytes: events::KNOWN_EVENT_BYTES,
            quiet: false,
            looked: false,
            more_inbox: record.more_inbox,
            creation: None,
            turn_later: false,
            attempts_unread: record.has_attempts,
            so_far: BTreeMap::new(),
            child_attempts: BTreeMap::new(),
            new_stuck: None,
            unreadable: false,
            activities: ActivityChanges::default(),
            announced: false,
            in_commit: None,
        }
    }

    /// Begins with an instance that is not stored yet: its first commit creates it, together with its first turn.
    pub fn not_stored(number: InstanceNumber, creation: Creation) -> Self {
        let new = &creation.instance;
        let start = InboxRow {
            seq: NOT_STORED,
            item: InboxItem::Start(Box::new(new.started.clone())),
        };
        let record = InstanceRecord {
            number,
            tenant: new.tenant,
            id: new.id.clone(),
            function: new.started.function.clone(),
            module: new.module,
            parent: new.started.parent.clone(),
            status: InstanceStatus::Pending,
            stuck: None,
            execution: new.started.execution,
            last_turn: TurnNumber::NONE,
            unclean_ends: 0,
            created_at: new.created_at,
            custom_status: None,
            fuel: 0,
            history_bytes: 0,
            event_bytes: 0,
            inbox: vec![start],
            more_inbox: false,
            more_events: false,
            has_attempts: false,
            first_turns: Vec::new(),
        };
        Self {
            creation: Some(Box::new(creation)),
            ..Self::new(record, NOT_STORED)
        }
    }

    /// Whether the instance is not stored yet.
    pub fn is_not_stored(&self) -> bool {
        self.creation.is_some()
    }

    /// The first turn cannot run now: the instance is created without it, and takes it when it can.
    pub fn turn_later(&mut self) {
        self.turn_later = self.is_not_stored();
    }

    /// Takes in a durable message.
    pub fn receive(&mut self, row: InboxRow) {
        let row = match row {
            InboxRow {
                seq,
                item: InboxItem::Event(event),
            } => return self.receive_stored_event(seq, event),
            other => other,
        };
        if self.more_inbox && !row.item.is_control() {
            // It comes after those that are not known here.
            return;
        }
        if row.seq > self.inbox_from && !self.inbox_seen.contains(&row.seq) {
            self.inbox.insert(row.seq, row.item);
        }
    }

    /// Takes in the outcome of an activity call.
    pub fn receive_result(&mut self, result: ActivityResult) {
        self.results.push_back(result);
    }

    fn is_suspended_or_stuck(&self) -> bool {
        matches!(self.status, InstanceStatus::Suspended | InstanceStatus::Stuck)
    }

    /// Whether a guest is in memory.
    pub fn is_hot(&self) -> bool {
        self.player.is_some()
    }

    /// Whether the [next](Self::next) step may well be to run the guest: it is there, and something has come or will be due.
    pub fn is_about_to_run(&self) -> bool {
        let guest_is_ready = |player: &Player<G>| player.last_turn() == self.last_turn;
        self.player.as_ref().is_some_and(guest_is_ready) && (self.has_arrivals() || self.ledger.next_due().is_some())
    }

    /// Forgets the guest; the next turn replays.
    pub fn cool(&mut self) {
        self.player = None;
    }

    /// The instance's number.
    pub fn number(&self) -> InstanceNumber {
        self.number
    }

    /// The instance's id.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The instance's tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The current execution and its last durable turn.
    pub fn position(&self) -> (ExecutionNumber, TurnNumber) {
        (self.execution, self.last_turn)
    }

    /// The activity calls to start and to stop that follow from what is durable, instead of [`Next::Activities`].
    pub fn take_activity_changes(&mut self) -> ActivityChanges {
        std::mem::take(&mut self.activities)
    }

    /// Whether a durable turn was its last.
    pub fn has_ended(&self) -> bool {
        self.in_commit.is_none() && self.status.has_ended()
    }

    /// The version it runs on.
    pub fn module(&self) -> ModuleNumber {
        self.module
    }

    /// What a query would find now, if the guest has ended by itself.
    pub fn ended(&self, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        Some(InstanceDetails {
            summary: InstanceSummary {
                number: self.number,
                id: self.id.clone(),
                function: self.function.clone(),
                module_digest,
                status: self.status,
                execution: self.execution,
                last_turn: self.last_turn,
                created_at: self.created_at,
                updated_at: self.updated_at,
                custom_status: self.custom_status.clone(),
                stuck: None,
                parent_id: self.parent.as_ref().map(|parent| parent.instance_id.clone()),
                fuel: self.fuel,
            },
            input: Some(self.ledger.started()?.input.clone()),
            outcome: Some(self.outcome.clone()?),
            terminated: None,
        })
    }

    /// Results that are nowhere durable yet, for the next owner after a failed commit.
    pub fn into_results(self) -> Vec<ActivityResult> {
        let taken = self.in_commit.map(|taken| taken.results).unwrap_or_default();
        taken.into_iter().chain(self.results).collect()
    }

    /// Hands over the guest that [`Next::Guest`] asked for.
    pub fn install(&mut self, player: Player<G>) {
        self.player = Some(player);
    }

    /// Hands over rows that [`Next::History`] asked for: the next ones, in order.
    ///
    /// # Errors
    /// When the host cannot run the guest now. A guest that does not repeat its history is no error: the instance
    /// becomes stuck.
    pub fn feed(&mut self, rows: &[Turn]) -> Result<(), HostUnavailable> {
        for row in rows {
            if row.number == self.ledger.last_turn().next()
                && let Err(error) = self.ledger.apply(row)
            {
                self.break_down(UNREADABLE, error.to_string());
                return Ok(());
            }
            let Some(player) = &mut self.player else { continue };
            if row.number != player.last_turn().next() {
                continue;
            }
            match player.replay(row) {
                Ok(()) => {}
                Err(ReplayError::Host(trouble)) => {
                    self.player = None;
                    return Err(trouble);
                }
                Err(ReplayError::Stuck(reason)) => {
                    self.player = None;
                    self.new_stuck = Some(reason);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Hands over what [`Next::Attempts`] asked for.
    pub fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        self.attempts_unread = false;
        for (task, so_far) in noted {
            match self.ledger.task(task) {
                Some(Outstanding::Activity(_)) => drop(self.so_far.insert(task, so_far)),
                Some(Outstanding::SubOrchestration(_)) => drop(self.child_attempts.insert(task, so_far.failed)),
                Some(Outstanding::Timer { .. }) | None => {}
            }
        }
    }

    /// Notes that the instance cannot go on, for a reason outside its guest.
    pub fn break_down(&mut self, code: &str, message: String) {
        self.player = None;
        if code == UNREADABLE {
            self.unreadable = true;
            self.attempts_unread = false;
        }
        self.new_stuck = Some(StuckReason {
            code: code.to_owned(),
            message,
        });
    }

    /// What to do next. Call it again after doing it.
    ///
    /// # Errors
    /// When the host cannot run the guest now; the guest is gone, what arrived is kept.
    pub fn next(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        assert!(self.in_commit.is_none(), "one commit at a time");
        if !self.activities.is_empty() {
            return Ok(Next::Activities(std::mem::take(&mut self.activities)));
        }
        if self.status.has_ended() {
            return Ok(Next::Ended);
        }
        if self.is_not_stored() && (self.turn_later || self.new_stuck.is_some() || context.is_held()) {
            self.inbox.remove(&NOT_STORED);
            return Ok(self.commit(context, context.now(), None, Gathered::default()));
        }
        if let Some(reason) = self.terminate_reason() {
            if self.needs_ledger() && !self.unreadable {
                return Ok(Next::History(self.ledger.last_turn()));
            }
            if self.attempts_unread {
                return Ok(self.unread_attempts());
            }
            return Ok(self.terminate(reason, context));
        }
        if self.has_control() {
            // What is written when an instance goes on must tell when to wake it and what is in flight.
            if self.needs_ledger() && !self.unreadable {
                return Ok(Next::History(self.ledger.last_turn()));
            }
            return Ok(self.control(context));
        }
        if let Some(reason) = self.new_stuck.take() {
            if self.needs_ledger() && !self.unreadable {
                self.new_stuck = Some(reason);
                return Ok(Next::History(self.ledger.last_turn()));
            }
            self.status = InstanceStatus::Stuck;
            self.stuck = Some(reason);
            return Ok(self.commit(context, context.now(), None, Gathered::default()));
        }
        if self.is_suspended_or_stuck() || context.is_held() {
            if self.results.is_empty() && !self.pending.has_direct() {
                self.shed_events();
                return Ok(Next::Idle(None));
            }
            return Ok(self.store_all());
        }
        if self.needs_ledger() {
            return Ok(match (&self.player, self.ledger.started()) {
                // The guest will be needed, so it is brought along: a long history is read once.
                (None, Some(started)) if self.has_sure_arrivals() => Next::Guest(self.module, started.clone()),
                (Some(player), _) => Next::History(player.last_turn().min(self.ledger.last_turn())),
                (None, _) => Next::History(self.ledger.last_turn()),
            });
        }
        if self.attempts_unread {
            return Ok(self.unread_attempts());
        }
        if !self.announced {
            self.announce();
            return self.next(context);
        }
        if self.more_inbox && self.inbox.is_empty() {
            return Ok(self.store_all());
        }
        if let Some(names) = self.unread() {
            return Ok(Next::Events(names));
        }
        if !self.has_work(context.now()) {
            return Ok(self.rest(context));
        }
        match &self.player {
            None => match self.beginning() {
                Some(started) => return Ok(Next::Guest(self.module, started)),
                None => {
                    self.break_down(UNREADABLE, "the instance has neither a first turn nor a start".into());
                    return self.next(context);
                }
            },
            Some(player) if player.last_turn() < self.last_turn => return Ok(Next::History(player.last_turn())),
            Some(_) => {}
        }
        self.turn(context)
    }

    /// The commit that [`Next::Commit`] asked for is durable. Returns of each event that was received directly, in their
    /// order, whether it is.
    pub fn committed(&mut self, receipt: &TurnReceipt) -> Vec<bool> {
        let mut taken = self.in_commit.take().expect("a commit was in flight");
        let kept = self.pending.direct();
        let kept = kept
            .iter()
            .take(receipt.kept.len())
            .map(|(_, event)| events::stored_bytes(event));
        self.event_bytes = self.event_bytes.saturating_add(kept.sum());
        self.pending.stored(&receipt.kept);
        for (number, row) in &receipt.delivered {
            if *number == self.number {
                self.receive(row.clone());
            }
        }
        self.activities = taken.activities;
        if taken.next_execution {
            self.player = None;
            self.ledger = Ledger::default();
            self.child_attempts.clear();
            self.so_far.clear();
        }
        if receipt.instance_gone {
            taken.direct.fill(false);
            self.status = InstanceStatus::Terminated;
            self.activities = ActivityChanges {
                cancel_all: true,
                ..ActivityChanges::default()
            };
        }
        if taken.ended {
            self.player = None;
        }
        taken.direct
    }

    /// Idles. First stores the events that are not durable yet, so that their senders need not wait until the
    /// orchestration wants them.
    fn rest(&mut self, context: &dyn OwnerContext) -> Next {
        if self.pending.has_direct() {
            return self.commit(context, context.now(), None, Gathered::default());
        }
        self.shed_events();
        Next::Idle(self.wake_at())
    }

    /// Stores what is nowhere durable yet, because the instance takes none of it now.
    fn store_all(&mut self) -> Next {
        let results = self.results.drain(..).map(ActivityResult::into_inbox);
        Next::Store(
            results
                .chain(self.pending.take_direct().into_iter().map(free))
                .collect(),
        )
    }

    fn needs_ledger(&self) -> bool {
        self.ledger.last_turn() < self.last_turn
    }

    /// Attempts of tasks that are over concern nobody but people.
    fn unread_attempts(&self) -> Next {
        let calls = self.ledger.tasks().filter(|(_, outstanding)| match outstanding {
            Outstanding::Activity(_) | Outstanding::SubOrchestration(_) => true,
            Outstanding::Timer { .. } => false,
        });
        Next::Attempts(calls.map(|(task, _)| task).collect())
    }

    fn child_attempt(&self, task: TaskId) -> u32 {
        self.child_attempts.get(&task).copied().unwrap_or(0) + 1
    }

    /// After taking over: attempts that are outstanding have to run somewhere.
    fn announce(&mut self) {
        self.announced = true;
        let Some(started) = self.ledger.started() else { return };
        let of_this = self.results.iter().filter(|result| result.execution == self.execution);
        let known: BTreeSet<TaskId> = of_this.map(|result| result.task).collect();
        let mut so_far = std::mem::take(&mut self.so_far);
        let start = self.ledger.tasks().filter_map(|(task, outstanding)| match outstanding {
            Outstanding::Activity(call) if !known.contains(&task) => Some(StartActivity {
                execution: self.execution,
                task,
                call: call.clone(),
                seed: started.seed,
                so_far: so_far.remove(&task).unwrap_or_default(),
            }),
            Outstanding::Activity(_) | Outstanding::SubOrchestration(_) | Outstanding::Timer { .. } => None,
        });
        self.activities.start = start.collect();
    }

    /// What the execution began or is to begin with.
    fn beginning(&self) -> Option<Arc<Started>> {
        if let Some(started) = self.ledger.started() {
            return Some(started.clone());
        }
        self.inbox.values().find_map(|item| match item {
            InboxItem::Start(started) => Some(Arc::new((**started).clone())),
            _ => None,
        })
    }

    /// Before the first turn: when it may run at the earliest.
    fn not_before(&self) -> Option<Timestamp> {
        if self.last_turn > TurnNumber::NONE {
            None
        } else {
            self.beginning()?.not_before
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.not_before().or(self.ledger.next_due())
    }

    fn has_work(&mut self, now: Timestamp) -> bool {
        if self.not_before().is_some_and(|time| time > now) {
            return false;
        }
        let has_messages = !self.inbox.is_empty() || !self.results.is_empty();
        has_messages || self.ledger.next_due().is_some_and(|due| due <= now) || self.wants_events(Place::Own)
    }

    /// Whether something has come that a turn may take.
    fn has_arrivals(&self) -> bool {
        !self.inbox.is_empty() || !self.results.is_empty() || !(self.quiet || self.pending.is_empty())
    }

    /// Whether something has come for which, as far as can be told without the history, a turn will run.
    fn has_sure_arrivals(&self) -> bool {
        !self.inbox.is_empty() || !self.results.is_empty() || self.pending.has_direct()
    }

    /// Gathers what arrived and runs a turn with it, or commits without one where nothing is left for the guest.
    fn turn(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        let now = context.now();
        let mut gathered = self.gather(now, context);
        if gathered.arrivals.is_empty() && !self.wants_events(gathered.until) {
            // Rows that concern nobody any more, or a child to be tried again.
            if gathered.is_empty() && gathered.effects.is_empty() {
                self.results.clear();
                // A history may name more waits than the guest has. What was read for those says nothing about the others.
                return Ok(match self.unread() {
                    Some(names) => Next::Events(names),
                    None => self.rest(context),
                });
            }
            return Ok(self.commit(context, now, None, gathered));
        }
        let at = self.time_of_turn(now, &gathered.arrivals);
        let behind = at.since(now);
        if behind >= TOLERATED_BEHIND {
            gathered.arrive(Place::Own, Arrival::ClockBehind { by_ms: millis(behind) });
        }
        let delivery = Delivery {
            arrivals: std::mem::take(&mut gathered.arrivals),
            pending: &mut self.pending,
            until: gathered.until,
            room: EVENT_ROOM,
        };
        let player = self.player.as_mut().expect("the guest was asked for");
        // What it waits for afterwards is another matter.
        (self.quiet, self.looked) = (false, false);
        let new_turn = match player.deliver(at, delivery) {
            Ok(new_turn) => new_turn,
            Err(trouble) => {
                // Nothing happened: put back what was gathered, which is all still durable or in memory.
                self.player = None;
                self.put_back(gathered);
                return Err(trouble);
            }
        };
        let mut turn = new_turn.turn;
        gathered.events = new_turn.taken;
        gathered.effects.logs.extend(new_turn.logs);
        gathered.effects.custom_status = new_turn.custom_status;
        if let Some(failure) = self.outgrown(&turn, &mut gathered.effects, context) {
            turn.decisions = vec![Decision::Fail { failure }];
        }
        self.last_turn = turn.number;
        self.status = InstanceStatus::Running;
        // Before the ledger knows the new tasks: cancellations concern old ones or new ones of this very turn.
        self.decide(&turn, &mut gathered.effects, context);
        if let Err(error) = self.ledger.apply(&turn) {
            unreachable!("a new turn follows the last: {error}");
        }
        Ok(self.commit(context, turn.at, Some(turn), gathered))
    }

    /// The time of a turn that begins now: not before the last one, nor before the time for which a fired timer was set.
    fn time_of_turn(&self, now: Timestamp, arrivals: &[(Place, Arrival)]) -> Timestamp {
        let fired = arrivals.iter().filter_map(|(_, arrival)| match arrival {
            Arrival::TimerFired { task } => self.ledger.task(*task),
            _ => None,
        });
        let set_for = fired.filter_map(|outstanding| match outstanding {
            Outstanding::Timer { fire_at, .. } => Some(*fire_at),
            Outstanding::Activity(_) | Outstanding::SubOrchestration(_) => None,
        });
        set_for.chain([now, self.ledger.last_at()]).max().unwrap_or(now)
    }

    /// What a turn used, for the books.
    fn used_by(&self, turn: &Turn) -> Used {
        let failed = turn
            .decisions
            .iter()
            .any(|decision| matches!(decision, Decision::Fail { .. }));
        Used {
            tenant: self.tenant,
            kind: FunctionKind::Orchestration,
            function: self.function.clone(),
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

    /// Wraps up a step. From here on the owner waits for [`Self::committed`].
    fn commit(&mut self, context: &dyn OwnerContext, now: Timestamp, turn: Option<Turn>, gathered: Gathered) -> Next {
        let Gathered {
            mut consumed,
            results,
            events,
            effects,
            ..
        } = gathered;
        consumed.retain(|seq| *seq != NOT_STORED);
        let ended = self.status.has_ended();
        let (taken_events, kept, direct) = self.settle_events(events, ended);
        let execution = self.execution;
        let next_execution = effects.next_execution;
        if next_execution.is_some() {
            self.execution = execution.next();
            self.last_turn = TurnNumber::NONE;
            self.history_bytes = 0;
        }
        let open = !ended && next_execution.is_none();
        let awake = matches!(self.status, InstanceStatus::Pending | InstanceStatus::Running);
        let wake_at = if open && awake { self.wake_at() } else { None };
        let in_flight = if open { self.ledger.activities_outstanding() } else { 0 };
        let fuel = turn.as_ref().map_or(0, |turn| turn.fuel) + effects.fuel;
        self.fuel = self.fuel.saturating_add(fuel);
        self.updated_at = now;
        if let Some(status) = &effects.custom_status {
            self.custom_status = Some(status.clone());
        }
        let mut usage = effects.usage;
        usage.extend(turn.as_ref().map(|turn| self.used_by(turn)));
        let commit = TurnCommit {
            instance: self.number,
            creation: self.creation.take(),
            tenant: self.tenant,
            execution,
            turn,
            consumed,
            taken_events,
            kept,
            children: effects.children,
            messages: effects.messages,
            attempts: effects.attempts,
            logs: effects.logs,
            max_log_bytes: context.max_log_bytes(),
            usage,
            summary: Summary {
                status: self.status,
                execution: self.execution,
                last_turn: self.last_turn,
                wake_at,
                in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
                custom_status: effects.custom_status.map(Some),
                stuck: self.stuck.clone(),
                module: self.module,
                fuel,
                updated_at: now,
            },
            next_execution,
        };
        self.in_commit = Some(CommitInFlight {
            results,
            direct,
            ended,
            next_execution: commit.next_execution.is_some(),
            activities: std::mem::take(&mut self.activities),
        });
        Next::Commit(Box::new(commit))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a step does with events: the stored ones that it took, the others that it stores, and of each that was received
/// directly, in their order, whether it is durable then.
type SettledEvents = (Vec<TakenEvent>, Vec<Event>, Vec<bool>);

impl<G: Guest> Owner<G> {
    fn settle_events(&mut self, taken: Vec<PendingEvent>, ended: bool) -> SettledEvents {
        let (mut stored, mut direct) = (Vec::new(), BTreeMap::new());
        for PendingEvent { place, event } in taken {
            match place {
                Place::Stored(seq) => {
                    let bytes = event_bytes(&event);
                    self.event_bytes = self.event_bytes.saturating_sub(events::stored_bytes(&event));
                    stored.push(TakenEvent {
                        seq,
                        name: event.name.folded(),
                        bytes,
                    });
                }
                Place::Direct(number) => drop(direct.insert(number, true)),
                Place::Own => {}
            }
        }
        let left = self.pending.direct();
        direct.extend(left.iter().map(|(number, _)| (*number, !ended)));
        // Of an instance that has ended, nobody will take them: those who raised them are told.
        let kept = if ended {
            Vec::new()
        } else {
            left.into_iter().map(|(_, event)| event).collect()
        };
        (stored, kept, direct.into_values().collect())
    }
}

/// An event as a message; nothing was used up for it.
fn free(event: Event) -> (InboxItem, Option<Used>) {
    (InboxItem::Event(event), None)
}

impl ActivityResult {
    /// As a message, for an instance that takes none now, and what it used.
    fn into_inbox(self) -> (InboxItem, Option<Used>) {
        let item = InboxItem::TaskEnded {
            execution: self.execution,
            task: self.task,
            attempt: 0,
            outcome: self.outcome,
        };
        (item, self.used)
    }
}
