//! The owner of one instance: takes what arrived, runs the guest, and says what to make durable.
//!
//! Synchronous and pure apart from its guest: time, randomness and functions are handed in, and what it wants done
//! comes out as a value. The async loop around it ([`super::task`]) reads history, writes commits and passes messages;
//! tests and a simulation call [`Owner::next`] themselves and choose what happens in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{
    Arrival, Decision, Event, ExecutionNumber, Failure, InboxItem, InboxRow, InboxSeq, InstanceId, InstanceNumber,
    InstanceStatus, LogLine, ModuleNumber, ObservableLimits, Outcome, Parent, Payload, Started, StuckReason, TaskId,
    TenantId, Timestamp, Turn, TurnNumber, failure::types,
};
use crate::replay::ledger::{ActivityCall, SubOrchestrationCall};
use crate::replay::{Directory, Guest, HostTrouble, Ledger, Outstanding, Player, ReplayError};
use crate::store::{InstanceRecord, Summary, TurnCommit, TurnReceipt};

use super::outbox::{Child, Outbox};

/// Most arrivals of one turn. Bounds the row; what is left comes with the next turn.
const MAX_ARRIVALS: usize = 10_000;

/// Most payload bytes of one turn's arrivals, the last one excepted. Bounds the row.
const MAX_ARRIVAL_BYTES: usize = 16 << 20;

/// What an owner needs from outside to decide.
pub trait World {
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
}

/// What the loop is to do for its owner.
#[derive(Debug)]
pub enum Next {
    /// Wait for a message or that time.
    Idle(Option<Timestamp>),
    /// Read rows after that turn and [feed](Owner::feed) them.
    History(TurnNumber),
    /// [Install](Owner::install) a guest of that module, before its first turn.
    Guest(ModuleNumber, Arc<Started>),
    /// Write this, then call [`Owner::committed`]; if it fails, throw the owner away but keep its
    /// [results](Owner::into_results).
    Commit(Box<TurnCommit>),
    /// Append these results to the inbox, because the instance takes none now.
    Store(Vec<InboxItem>),
    /// Start these attempts, unless they run already, and stop those.
    Activities(ActivityChanges),
    /// The instance has ended; nothing will happen any more.
    Ended,
}

/// Activity calls to start and to stop.
#[derive(Debug, Default)]
pub struct ActivityChanges {
    /// To start, unless known.
    pub start: Vec<StartActivity>,
    /// To stop.
    pub cancel: Vec<TaskId>,
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
}

/// The state of an instance in memory, while somebody works on it.
pub struct Owner<G> {
    number: InstanceNumber,
    tenant: TenantId,
    id: InstanceId,
    parent: Option<Parent>,
    module: ModuleNumber,
    status: InstanceStatus,
    stuck: Option<StuckReason>,
    execution: ExecutionNumber,
    last_turn: TurnNumber,
    ledger: Ledger,
    player: Option<Player<G>>,
    inbox: BTreeMap<InboxSeq, InboxItem>,
    /// Rows up to here were read from the store or consumed; a message about one of them is stale.
    inbox_from: InboxSeq,
    /// Rows past `inbox_from` that were read from the store; a message about one of them is a repeat.
    inbox_seen: BTreeSet<InboxSeq>,
    results: VecDeque<ActivityResult>,
    /// Failed attempts of outstanding sub-orchestrations.
    child_attempts: BTreeMap<TaskId, u32>,
    /// A reason to become stuck, to be written.
    new_stuck: Option<StuckReason>,
    /// Changes to activity calls that follow from what is durable.
    activities: ActivityChanges,
    announced: bool,
    in_commit: Option<Taken>,
}

/// What the commit in flight took, to be put back if it fails.
struct Taken {
    results: Vec<ActivityResult>,
    ended: bool,
    next_execution: bool,
    activities: ActivityChanges,
}

/// What was gathered for the next turn.
#[derive(Default)]
struct Gathered {
    arrivals: Vec<Arrival>,
    consumed: Vec<InboxSeq>,
    results: Vec<ActivityResult>,
    bytes: usize,
    outbox: Outbox,
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.arrivals.len() >= MAX_ARRIVALS || self.bytes >= MAX_ARRIVAL_BYTES
    }

    fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.consumed.is_empty()
    }

    fn arrive(&mut self, arrival: Arrival) {
        self.bytes += size(&arrival);
        self.arrivals.push(arrival);
    }
}

impl<G: Guest> Owner<G> {
    /// Takes over an instance. `inbox_from` is the newest inbox row of the store just before the record was read.
    pub fn new(record: InstanceRecord, inbox_from: InboxSeq) -> Self {
        let mut child_attempts = BTreeMap::new();
        for attempt in &record.attempts {
            *child_attempts.entry(attempt.task).or_default() += 1;
        }
        Self {
            number: record.number,
            tenant: record.tenant,
            id: record.id,
            parent: record.parent,
            module: record.module,
            status: record.status,
            stuck: record.stuck,
            execution: record.execution,
            last_turn: record.last_turn,
            ledger: Ledger::default(),
            player: None,
            inbox_seen: record
                .inbox
                .iter()
                .map(|row| row.seq)
                .filter(|seq| *seq > inbox_from)
                .collect(),
            inbox: record.inbox.into_iter().map(|row| (row.seq, row.item)).collect(),
            inbox_from,
            results: VecDeque::new(),
            child_attempts,
            new_stuck: None,
            activities: ActivityChanges::default(),
            announced: false,
            in_commit: None,
        }
    }

    /// Takes in a durable message.
    pub fn receive(&mut self, row: InboxRow) {
        if row.seq > self.inbox_from && !self.inbox_seen.contains(&row.seq) {
            self.inbox.insert(row.seq, row.item);
        }
    }

    /// Takes in the outcome of an activity call.
    pub fn receive_result(&mut self, result: ActivityResult) {
        self.results.push_back(result);
    }

    /// Whether a guest is in memory.
    pub fn is_hot(&self) -> bool {
        self.player.is_some()
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
    pub fn feed(&mut self, rows: &[Turn]) -> Result<(), HostTrouble> {
        for row in rows {
            if row.number == self.ledger.last_turn().next()
                && let Err(error) = self.ledger.apply(row)
            {
                self.break_down("history-unreadable", error.to_string());
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

    /// Notes that the instance cannot go on, for a reason outside its guest.
    pub fn break_down(&mut self, code: &str, message: String) {
        self.player = None;
        self.new_stuck = Some(StuckReason {
            code: code.to_owned(),
            message,
        });
    }

    /// What to do next. Call it again after doing it.
    ///
    /// # Errors
    /// When the host cannot run the guest now; the guest is gone, what arrived is kept.
    pub fn next(&mut self, world: &dyn World) -> Result<Next, HostTrouble> {
        assert!(self.in_commit.is_none(), "one commit at a time");
        if !self.activities.is_empty() {
            return Ok(Next::Activities(std::mem::take(&mut self.activities)));
        }
        if self.status.has_ended() {
            return Ok(Next::Ended);
        }
        if let Some(reason) = self.terminate_reason() {
            if self.needs_ledger() && self.new_stuck.is_none() {
                return Ok(Next::History(self.ledger.last_turn()));
            }
            return Ok(self.terminate(reason, world));
        }
        if self.has_control() {
            // What is written when an instance goes on must tell when to wake it and what is in flight.
            if self.needs_ledger() && self.new_stuck.is_none() {
                return Ok(Next::History(self.ledger.last_turn()));
            }
            return Ok(self.control(world));
        }
        if let Some(reason) = self.new_stuck.take() {
            self.status = InstanceStatus::Stuck;
            self.stuck = Some(reason);
            return Ok(self.commit(world.now(), None, Gathered::default()));
        }
        if matches!(self.status, InstanceStatus::Suspended | InstanceStatus::Stuck) {
            let results: Vec<InboxItem> = self.results.drain(..).map(ActivityResult::into_inbox).collect();
            return Ok(if results.is_empty() {
                Next::Idle(None)
            } else {
                Next::Store(results)
            });
        }
        if self.needs_ledger() {
            return Ok(Next::History(self.ledger.last_turn()));
        }
        if !self.announced {
            self.announce();
            return self.next(world);
        }
        if !self.has_work(world.now()) {
            return Ok(Next::Idle(self.wake_at()));
        }
        match &self.player {
            None => match self.beginning() {
                Some(started) => return Ok(Next::Guest(self.module, started)),
                None => {
                    self.break_down(
                        "history-unreadable",
                        "the instance has neither a first turn nor a start".into(),
                    );
                    return self.next(world);
                }
            },
            Some(player) if player.last_turn() < self.last_turn => return Ok(Next::History(player.last_turn())),
            Some(_) => {}
        }
        self.turn(world)
    }

    /// The commit that [`Next::Commit`] asked for is durable.
    pub fn committed(&mut self, receipt: &TurnReceipt) {
        let taken = self.in_commit.take().expect("a commit was in flight");
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
        }
        if receipt.instance_gone {
            self.status = InstanceStatus::Terminated;
            self.activities = ActivityChanges {
                cancel_all: true,
                ..ActivityChanges::default()
            };
        }
        if taken.ended {
            self.player = None;
        }
    }

    // ---- controls ----

    fn terminate_reason(&self) -> Option<String> {
        self.inbox.values().find_map(|item| match item {
            InboxItem::Terminate { reason } => Some(reason.clone()),
            _ => None,
        })
    }

    /// Ends the instance without its guest: works when the module is gone and when the history does not replay.
    fn terminate(&mut self, reason: String, world: &dyn World) -> Next {
        let now = world.now().max(self.ledger.last_at());
        let mut gathered = Gathered::default();
        if self.last_turn == TurnNumber::NONE
            && let Some(InboxItem::Start(started)) =
                self.inbox.values().find(|item| matches!(item, InboxItem::Start(_)))
        {
            gathered.arrive(Arrival::Started(started.clone()));
        }
        for (task, outstanding) in self.ledger.tasks() {
            let answered = self.inbox.values().any(
                |item| matches!(item, InboxItem::TaskEnded { execution, task: t, .. } if *execution == self.execution && *t == task),
            );
            if let Outstanding::SubOrchestration(call) = outstanding
                && !answered
            {
                let child = call.child_id(self.child_attempt(task));
                gathered
                    .outbox
                    .terminate(child, format!("its parent {} was terminated: {reason}", self.id));
            }
        }
        gathered.consumed = self.inbox.keys().copied().collect();
        self.inbox.clear();
        let message = if reason.is_empty() {
            "terminated".to_owned()
        } else {
            reason.clone()
        };
        let failure = Failure::new(types::TERMINATED, message).permanent();
        gathered.outbox.tell_parent(self.parent.as_ref(), Err(failure));
        gathered.arrive(Arrival::Terminated { reason });
        self.status = InstanceStatus::Terminated;
        self.stuck = None;
        self.activities.cancel_all = true;
        let arrivals = std::mem::take(&mut gathered.arrivals);
        let turn = Turn {
            number: self.last_turn.next(),
            at: now,
            arrivals,
            decisions: Vec::new(),
            fuel: 0,
        };
        self.last_turn = turn.number;
        self.commit(now, Some(turn), gathered)
    }

    fn has_control(&self) -> bool {
        self.inbox
            .values()
            .any(|item| matches!(item, InboxItem::Suspend { .. } | InboxItem::Resume { .. }))
    }

    /// Takes suspensions and resumptions out of the inbox.
    fn control(&mut self, world: &dyn World) -> Next {
        let mut gathered = Gathered::default();
        let mut status = self.status;
        for (seq, item) in &self.inbox {
            match item {
                InboxItem::Suspend { .. } if status != InstanceStatus::Stuck => status = InstanceStatus::Suspended,
                InboxItem::Resume { .. } if self.last_turn == TurnNumber::NONE => status = InstanceStatus::Pending,
                InboxItem::Resume { .. } => status = InstanceStatus::Running,
                InboxItem::Suspend { .. } => {}
                _ => continue,
            }
            gathered.consumed.push(*seq);
        }
        for seq in &gathered.consumed {
            self.inbox.remove(seq);
        }
        if self.status == InstanceStatus::Stuck && status != InstanceStatus::Stuck {
            self.stuck = None;
            self.new_stuck = None;
            self.player = None;
        }
        self.status = status;
        self.commit(world.now(), None, gathered)
    }

    // ---- turns ----

    fn needs_ledger(&self) -> bool {
        self.ledger.last_turn() < self.last_turn
    }

    fn child_attempt(&self, task: TaskId) -> u32 {
        self.child_attempts.get(&task).copied().unwrap_or(0) + 1
    }

    /// After taking over: attempts that are outstanding have to run somewhere.
    fn announce(&mut self) {
        self.announced = true;
        let Some(started) = self.ledger.started() else { return };
        let known: BTreeSet<TaskId> = self.results.iter().map(|result| result.task).collect();
        let start = self.ledger.tasks().filter_map(|(task, outstanding)| match outstanding {
            Outstanding::Activity(call) if !known.contains(&task) => Some(StartActivity {
                execution: self.execution,
                task,
                call: call.clone(),
                seed: started.seed,
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

    fn has_work(&self, now: Timestamp) -> bool {
        if self.not_before().is_some_and(|time| time > now) {
            return false;
        }
        !self.inbox.is_empty() || !self.results.is_empty() || self.ledger.next_due().is_some_and(|due| due <= now)
    }

    /// Gathers what arrived and runs a turn with it, or commits without one where nothing is left for the guest.
    fn turn(&mut self, world: &dyn World) -> Result<Next, HostTrouble> {
        let now = world.now();
        let mut gathered = self.gather(now, world);
        if gathered.arrivals.is_empty() {
            // Rows that concern nobody any more, or a child to be tried again.
            if gathered.is_empty() && gathered.outbox.is_empty() {
                self.results.clear();
                return Ok(Next::Idle(self.wake_at()));
            }
            return Ok(self.commit(now, None, gathered));
        }
        let arrivals = std::mem::take(&mut gathered.arrivals);
        let player = self.player.as_mut().expect("the guest was asked for");
        let new_turn = match player.advance(now, arrivals) {
            Ok(new_turn) => new_turn,
            Err(trouble) => {
                // Nothing happened: put back what was gathered, which is all still durable or in memory.
                self.player = None;
                self.put_back(gathered);
                return Err(trouble);
            }
        };
        let mut turn = new_turn.turn;
        gathered.outbox.logs.extend(new_turn.logs);
        gathered.outbox.custom_status = new_turn.custom_status;
        if turn.number.0 >= world.max_turns() && !turn.is_last() {
            let message = format!(
                "an execution may have {} turns; continue as new before",
                world.max_turns()
            );
            turn.decisions = vec![Decision::Fail {
                failure: Failure::new(types::LIMIT, message).permanent(),
            }];
        }
        self.last_turn = turn.number;
        self.status = InstanceStatus::Running;
        // Before the ledger knows the new tasks: cancellations concern old ones or new ones of this very turn.
        self.decide(&turn, &mut gathered.outbox, world);
        if let Err(error) = self.ledger.apply(&turn) {
            unreachable!("a new turn follows the last: {error}");
        }
        Ok(self.commit(turn.at, Some(turn), gathered))
    }

    fn put_back(&mut self, gathered: Gathered) {
        for result in gathered.results.into_iter().rev() {
            self.results.push_front(result);
        }
        for (seq, item) in gathered.outbox.taken {
            self.inbox.insert(seq, item);
        }
        for task in gathered.outbox.retried {
            if let Some(count) = self.child_attempts.get_mut(&task) {
                *count -= 1;
            }
        }
    }

    /// Takes what arrived, in order: the inbox, results, then timers that are due.
    fn gather(&mut self, now: Timestamp, world: &dyn World) -> Gathered {
        let mut gathered = Gathered::default();
        let mut settled = BTreeSet::new();
        // After continue-as-new the start is younger than events that wait already, and still comes first.
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
            self.take_message(&item, &mut gathered, &mut settled, world);
            gathered.outbox.taken.push((seq, item));
        }
        while !gathered.is_full()
            && let Some(result) = self.results.pop_front()
        {
            let wanted = result.execution == self.execution
                && matches!(self.ledger.task(result.task), Some(Outstanding::Activity(_)))
                && settled.insert(result.task);
            if wanted {
                gathered.outbox.fuel += result.fuel;
                gathered.outbox.logs.extend(result.logs.iter().cloned());
                gathered.arrive(Arrival::TaskEnded {
                    task: result.task,
                    outcome: result.outcome.clone(),
                });
                gathered.results.push(result);
            }
        }
        let due: Vec<TaskId> = self.ledger.due_at(now).map(|(_, task)| task).collect();
        for task in due {
            if gathered.is_full() || !settled.insert(task) {
                continue;
            }
            match self.ledger.task(task) {
                Some(Outstanding::Timer { .. }) => gathered.arrive(Arrival::TimerFired { task }),
                Some(Outstanding::SubOrchestration(call)) => {
                    let allowed = call.options.timeout_ms.unwrap_or_default();
                    let message = format!("sub-orchestration {} did not end within {allowed} ms", call.function);
                    let child = call.child_id(self.child_attempt(task));
                    gathered
                        .outbox
                        .terminate(child, format!("its parent {} waited {allowed} ms", self.id));
                    gathered.arrive(Arrival::TaskEnded {
                        task,
                        outcome: Err(Failure::new(types::TIMEOUT, message)),
                    });
                }
                Some(Outstanding::Activity(_)) | None => {}
            }
        }
        gathered
    }

    fn take_message(
        &mut self,
        item: &InboxItem,
        gathered: &mut Gathered,
        settled: &mut BTreeSet<TaskId>,
        world: &dyn World,
    ) {
        match item {
            InboxItem::Start(started) if self.last_turn == TurnNumber::NONE => {
                gathered.arrive(Arrival::Started(started.clone()));
            }
            InboxItem::Event(event) => gathered.arrive(Arrival::EventRaised(event.clone())),
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
                            && let Some(start_at) = next_child_at(call, *attempt, failure, world.now())
                        {
                            let parent = self.as_parent(*task, attempt + 1);
                            gathered
                                .outbox
                                .retry_child(world, self.tenant, call, parent, start_at, failure);
                            *self.child_attempts.entry(*task).or_default() += 1;
                            return;
                        }
                    }
                    Some(Outstanding::Timer { .. }) | None => return,
                }
                settled.insert(*task);
                gathered.arrive(Arrival::TaskEnded {
                    task: *task,
                    outcome: outcome.clone(),
                });
            }
            InboxItem::Start(_)
            | InboxItem::Terminate { .. }
            | InboxItem::Suspend { .. }
            | InboxItem::Resume { .. } => {}
        }
    }

    fn as_parent(&self, task: TaskId, attempt: u32) -> Parent {
        Parent {
            instance: self.number,
            instance_id: self.id.clone(),
            execution: self.execution,
            task,
            attempt,
        }
    }

    /// Turns decisions into what the commit carries besides the row.
    fn decide(&mut self, turn: &Turn, outbox: &mut Outbox, world: &dyn World) {
        use Decision as D;
        let started = self.started_by(turn);
        for decision in &turn.decisions {
            match decision {
                D::CallActivity {
                    task,
                    function,
                    input,
                    options,
                    module,
                } => {
                    self.activities.start.push(StartActivity {
                        execution: self.execution,
                        task: *task,
                        call: ActivityCall {
                            function: function.clone(),
                            input: input.clone(),
                            options: options.clone(),
                            module: *module,
                            scheduled_at: turn.at,
                        },
                        seed: started.seed,
                    });
                }
                D::CallSubOrchestration {
                    task,
                    function,
                    input,
                    instance_id: id,
                    module,
                    ..
                } => {
                    let (module, parent) = (*module, Some(self.as_parent(*task, 1)));
                    outbox.start(
                        world,
                        self.tenant,
                        Child {
                            id,
                            module,
                            function,
                            input,
                            parent,
                            not_before: None,
                        },
                    );
                }
                D::StartOrchestration {
                    function,
                    input,
                    instance_id: id,
                    module,
                } => {
                    let (module, parent) = (*module, None);
                    outbox.start(
                        world,
                        self.tenant,
                        Child {
                            id,
                            module,
                            function,
                            input,
                            parent,
                            not_before: None,
                        },
                    );
                }
                D::SendEvent { instance_id, event } => outbox.send_event(instance_id, event),
                D::CancelTask { task } => self.cancel(*task, turn, outbox),
                D::Complete { output } => {
                    self.status = InstanceStatus::Completed;
                    outbox.tell_parent(self.parent.as_ref(), Ok(output.clone()));
                }
                D::Fail { failure } => {
                    self.status = InstanceStatus::Failed;
                    outbox.tell_parent(self.parent.as_ref(), Err(failure.clone()));
                }
                D::ContinueAsNew { input, events } => {
                    outbox.next_execution = Some(self.continued(&started, input, events, world));
                }
                D::CreateTimer { .. } | D::WaitForEvent { .. } | D::Refused { .. } => {}
            }
        }
    }

    /// What the execution of that turn began with.
    fn started_by(&self, turn: &Turn) -> Arc<Started> {
        match (self.ledger.started(), turn.arrivals.first()) {
            (Some(started), _) => started.clone(),
            (None, Some(Arrival::Started(started))) => Arc::new((**started).clone()),
            (None, _) => unreachable!("the first turn begins with the start"),
        }
    }

    fn cancel(&mut self, task: TaskId, turn: &Turn, outbox: &mut Outbox) {
        match self.ledger.task(task) {
            Some(Outstanding::Activity(_)) => self.activities.cancel.push(task),
            Some(Outstanding::SubOrchestration(call)) => {
                // Its end may have come with this very turn; the id may belong to somebody else by now.
                let over = turn
                    .arrivals
                    .iter()
                    .any(|arrival| matches!(arrival, Arrival::TaskEnded { task: t, .. } if *t == task));
                if !over {
                    let child = call.child_id(self.child_attempt(task));
                    outbox.terminate(child, format!("cancelled by its parent {}", self.id));
                }
            }
            Some(Outstanding::Timer { .. }) => {}
            None => {
                // Scheduled and cancelled in the same turn: it never starts.
                self.activities.start.retain(|start| start.task != task);
                outbox.unstart(self.number, task);
            }
        }
    }

    /// What the next execution is given. It runs on today's version of the function; if there is none any more, on the
    /// same bytes as before.
    fn continued(&mut self, before: &Started, input: &Payload, events: &[Event], world: &dyn World) -> Started {
        if let Ok(found) = world.directory().orchestration(&before.function, input) {
            self.module = found.module;
        }
        Started {
            execution: self.execution.next(),
            function: before.function.clone(),
            input: input.clone(),
            seed: world.seed(),
            limits: world.limits(),
            parent: self.parent.clone(),
            events: events.to_vec(),
            not_before: None,
        }
    }

    // ---- commits ----

    /// Wraps up a step. From here on the owner waits for [`Self::committed`].
    fn commit(&mut self, now: Timestamp, turn: Option<Turn>, gathered: Gathered) -> Next {
        let Gathered {
            consumed,
            results,
            outbox,
            ..
        } = gathered;
        let ended = self.status.has_ended();
        let execution = self.execution;
        let next_execution = outbox.next_execution;
        if next_execution.is_some() {
            self.execution = execution.next();
            self.last_turn = TurnNumber::NONE;
        }
        let open = !ended && next_execution.is_none();
        let awake = matches!(self.status, InstanceStatus::Pending | InstanceStatus::Running);
        let wake_at = if open && awake { self.wake_at() } else { None };
        let in_flight = if open { self.ledger.activities_outstanding() } else { 0 };
        let fuel = turn.as_ref().map_or(0, |turn| turn.fuel) + outbox.fuel;
        let commit = TurnCommit {
            instance: self.number,
            tenant: self.tenant,
            execution,
            turn,
            consumed,
            children: outbox.children,
            messages: outbox.messages,
            attempts: outbox.attempts,
            logs: outbox.logs,
            summary: Summary {
                status: self.status,
                execution: self.execution,
                last_turn: self.last_turn,
                wake_at,
                in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
                custom_status: outbox.custom_status.map(Some),
                stuck: self.stuck.clone(),
                module: self.module,
                fuel,
                updated_at: now,
            },
            next_execution,
        };
        self.in_commit = Some(Taken {
            results,
            ended,
            next_execution: commit.next_execution.is_some(),
            activities: std::mem::take(&mut self.activities),
        });
        Next::Commit(Box::new(commit))
    }
}

impl ActivityResult {
    /// As a message, for an instance that takes none now.
    fn into_inbox(self) -> InboxItem {
        InboxItem::TaskEnded {
            execution: self.execution,
            task: self.task,
            attempt: 0,
            outcome: self.outcome,
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
    let payload = match arrival {
        Arrival::Started(started) => started.input.as_str().len(),
        Arrival::TaskEnded {
            outcome: Ok(output), ..
        } => output.as_str().len(),
        Arrival::TaskEnded {
            outcome: Err(failure), ..
        } => failure.message.len() + failure.details.as_ref().map_or(0, |details| details.as_str().len()),
        Arrival::EventRaised(event) => event.payload.as_str().len(),
        Arrival::TimerFired { .. } | Arrival::Terminated { .. } => 0,
    };
    payload + 32
}
