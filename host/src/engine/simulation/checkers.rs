//! Checks the invariants after every commit, at every attempt, and at the end.
//!
//! The checkers keep their own records and share no code with what they check: a copy of every turn that was ever
//! committed, and the outstanding tasks of each execution according to these turns.

mod at_the_end;
mod broadcasts;
pub(super) mod entities;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use self::tasks::Tasks;
use super::rng;
use crate::model::{
    Arrival, Decision, EntityId, Event, ExecutionNumber, FunctionName, InboxItem, InstanceId, InstanceNumber,
    InstanceStatus, Payload, TaskId, Timestamp, Turn, TurnNumber, codec, failure::types,
};
use crate::sandbox::Attempt;
use crate::store::ATTEMPTS_KEPT;
use crate::store::simulated::{Content, InstanceRow, InstanceRows, Message};

/// How often an attempt must have ended the host by itself to be blamed.
pub(super) const MAX_CUT_OFFS: u32 = 3;

/// An execution of an instance.
pub(super) type Run = (InstanceNumber, ExecutionNumber);

/// Observes a world and collects violations.
pub(super) struct Watch(Mutex<Records>);

#[derive(Default)]
struct Records {
    /// Every turn that was ever committed, encoded.
    turns: BTreeMap<(InstanceNumber, ExecutionNumber, TurnNumber), Arc<[u8]>>,
    ids: BTreeMap<InstanceNumber, InstanceId>,
    runs: BTreeMap<Run, Tasks>,
    /// Every activity call in a committed decision, by its idempotency key.
    calls: BTreeMap<String, Call>,
    /// The running attempts, by idempotency key.
    running: BTreeSet<String>,
    /// How often each event of a client has arrived.
    arrived: BTreeMap<String, u32>,
    /// Events of clients that were in an inbox at some time.
    waiting: BTreeSet<String>,
    /// The instances started by each order of a client.
    started: BTreeMap<u64, Vec<InstanceNumber>>,
    /// The events that executions handed over to the next one.
    carried: BTreeMap<Run, Vec<Event>>,
    /// The events of clients in superseded turns of each execution.
    superseded: BTreeMap<Run, Vec<String>>,
    /// The broadcasts, by the payloads of their events.
    broadcasts: BTreeMap<String, broadcasts::Observed>,
    /// A hash of everything that was committed: equal for equal runs.
    trace: u64,
    attempts: u64,
    /// At how many ends of a host a call had the only running attempt.
    alone_at_end: BTreeMap<(Run, TaskId), u32>,
    /// How many attempts were blamed for the ends of hosts.
    blamed: u64,
    violations: Vec<String>,
}

/// An activity call in a committed decision.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) run: Run,
    pub(super) task: TaskId,
    function: FunctionName,
    input: Payload,
    max_attempts: u32,
}

/// Marks an attempt as running until it is dropped.
pub(super) struct Running {
    watch: Arc<Watch>,
    key: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watch.lock().running.remove(&self.key);
    }
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports a violation.
    pub(super) fn violation(&self, what: impl Into<String>) {
        self.lock().violations.push(what.into());
    }

    /// Whether there were no violations.
    pub(super) fn is_content(&self) -> bool {
        self.lock().violations.is_empty()
    }

    /// All violations, in order.
    pub(super) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// A hash of everything that was committed: equal for equal runs.
    pub(super) fn trace(&self) -> u64 {
        self.lock().trace
    }

    /// Whether attempts are running.
    pub(super) fn is_working(&self) -> bool {
        !self.lock().running.is_empty()
    }

    /// Checks that an active instance has nothing to do. Call it after nothing has happened for a while.
    pub(super) fn not_stalled(&self, number: InstanceNumber, row: &InstanceRow, rows: &InstanceRows, now: Timestamp) {
        // What is due right now may be in progress.
        let now = Timestamp(now.0 - 1_000);
        let runs = matches!(row.status, InstanceStatus::Pending | InstanceStatus::Running);
        if EntityId::of(&row.id).is_some() {
            if let Some(why) = entities::forgotten(row, rows, now) {
                self.lock()
                    .report(number, format!("the entity {why}, and nothing happens: {row:?}"));
            }
            return;
        }
        let waits_for_its_time = row.status == InstanceStatus::Pending && row.wake_at.is_some_and(|at| at > now);
        let has_messages = {
            let records = self.lock();
            let tasks = records.runs.get(&(number, row.execution));
            rows.inbox.values().any(|message| {
                let item: InboxItem = codec::decode(&message.item).expect("a message was encoded");
                match &item {
                    // An event may wait for ever until a task wants it.
                    InboxItem::Event(event) => runs && tasks.is_some_and(|tasks| tasks.waits_for(&event.name.folded())),
                    // A request for cancellation waits until a suspended instance is resumed.
                    InboxItem::Cancel { .. } => runs,
                    item => runs || (item.is_control() && !matches!(item, InboxItem::Start(_))),
                }
            })
        };
        let backs_off = rows
            .attempts
            .values()
            .any(|attempt| attempt.next_at.is_some_and(|at| at > now));
        let forgotten = if waits_for_its_time {
            None
        } else if has_messages {
            Some("has messages")
        } else if runs && row.wake_at.is_some_and(|at| at <= now) {
            Some("has a due timer")
        } else if runs && row.in_flight > 0 && !backs_off {
            Some("waits for an activity that does not run")
        } else {
            None
        };
        if let Some(why) = forgotten {
            self.lock().report(
                number,
                format!(
                    "it {why}, and nothing happens: {row:?} {:?} {:?}",
                    rows.inbox, rows.attempts
                ),
            );
        }
    }

    /// How many executions, turns and attempts there were.
    pub(super) fn counts(&self) -> [u64; 3] {
        let records = self.lock();
        [records.runs.len() as u64, records.turns.len() as u64, records.attempts]
    }

    /// How many attempts were blamed for the ends of hosts.
    pub(super) fn blamed(&self) -> u64 {
        self.lock().blamed
    }

    /// All turns, encoded.
    pub(super) fn turns(&self) -> BTreeMap<(InstanceNumber, ExecutionNumber, TurnNumber), Arc<[u8]>> {
        self.lock().turns.clone()
    }

    /// Checks a commit.
    pub(super) fn committed(&self, before: &Content, after: &Content) {
        let mut records = self.lock();
        for (number, rows) in &after.instances {
            let old = before.instances.get(number);
            if old.is_some_and(|old| Arc::ptr_eq(old, rows)) {
                continue;
            }
            records.instance_changed(*number, old.map(|rows| &**rows), rows);
        }
        // After all turns of the batch are recorded: check their effects on other instances.
        for (number, rows) in &after.instances {
            let old = before.instances.get(number);
            if !old.is_some_and(|old| Arc::ptr_eq(old, rows)) {
                records.messages_appeared(*number, old.map(|rows| &**rows), rows, before);
            }
        }
        records.broadcasts_changed(before, after);
    }

    /// Checks an attempt that starts: its call must be durable, and no other attempt of the call may be running.
    pub(super) fn attempt_starts(self: &Arc<Self>, attempt: &Attempt, content: &Content) -> (Option<Call>, Running) {
        let mut records = self.lock();
        records.attempts += 1;
        let key = attempt.idempotency_key.clone();
        let call = records.calls.get(&key).cloned();
        let name = format!(
            "attempt {} of task {} of {}",
            attempt.number, attempt.task, attempt.instance_id
        );
        match &call {
            None => records
                .violations
                .push(format!("{name} starts without a committed decision, or with a new key")),
            Some(call) => {
                let same = call.run.1 == attempt.execution
                    && (call.task == attempt.task || records.runs_in_place_of(call, attempt))
                    && call.function == attempt.function
                    && call.input == attempt.input
                    && records.ids.get(&call.run.0).is_none_or(|id| *id == attempt.instance_id);
                if !same {
                    records
                        .violations
                        .push(format!("{name} is not what was decided: {call:?}"));
                }
                let rows = content.instances.get(&call.run.0);
                let attempts = rows.into_iter().flat_map(|rows| rows.attempts.values());
                let attempts = attempts.filter(|row| row.execution == call.run.1 && row.task == attempt.task);
                // A rewind begins a new series with a note that has the number 0.
                let mut series: Vec<_> = attempts.collect();
                if let Some(note) = series.iter().rposition(|row| row.number == 0) {
                    series.drain(..=note);
                }
                // Of many attempts, the store keeps only the last ones.
                let failed = series
                    .iter()
                    .filter(|row| !row.cut_off)
                    .map(|row| row.number)
                    .max()
                    .unwrap_or(0);
                let known = rows.is_some_and(|rows| rows.row.as_ref().is_some_and(|row| row.execution == call.run.1));
                if known && (attempt.number != failed + 1 || attempt.number > call.max_attempts) {
                    let max = call.max_attempts;
                    records
                        .violations
                        .push(format!("{name} starts after {failed} failures of at most {max}"));
                }
            }
        }
        if !records.running.insert(key.clone()) {
            records.violations.push(format!("{name} starts beside another one"));
        }
        let watch = self.clone();
        (call, Running { watch, key })
    }

    /// Checks what an attempt knows of the heartbeats of earlier ones: they are of the same call. An attempt that was cut
    /// off has the same number as the next one.
    pub(super) fn attempt_reports(&self, attempt: &Attempt) {
        let Some(previous) = attempt.control.previous() else {
            return;
        };
        let (key, number) = (&attempt.idempotency_key, attempt.number);
        let is_of_call = (1..=number).any(|number| previous.as_str() == format!("\"{key}/{number}\""));
        if !is_of_call {
            let message = format!("attempt {number} of the call {key} got the heartbeat {previous}");
            self.lock().violations.push(message);
        }
    }

    /// Notes what was running when a host ended. Call it before what was running is dropped.
    pub(super) fn host_ended(&self) {
        let mut records = self.lock();
        let records = &mut *records;
        if records.running.len() == 1
            && let Some(call) = records.running.first().and_then(|key| records.calls.get(key))
        {
            *records.alone_at_end.entry((call.run, call.task)).or_default() += 1;
        }
    }

    /// Checks that an event which a client was told is durable really is.
    pub(super) fn event_accepted(&self, payload: &Payload) {
        let mut records = self.lock();
        let payload = payload.to_string();
        if !records.waiting.contains(&payload) && !records.arrived.contains_key(&payload) {
            records
                .violations
                .push(format!("{payload} was accepted and is nowhere"));
        }
    }

    /// Checks that an event which a client was told was refused is not stored.
    pub(super) fn event_refused(&self, payload: &Payload) {
        let mut records = self.lock();
        let payload = payload.to_string();
        if records.waiting.contains(&payload) || records.arrived.contains_key(&payload) {
            records.violations.push(format!("{payload} was refused and is there"));
        }
    }

    /// The ids of all instances that ever existed and whose ids begin like this.
    pub(super) fn ids_beginning_with(&self, prefix: &str) -> Vec<InstanceId> {
        let records = self.lock();
        let ids = records.ids.values().filter(|id| id.as_str().starts_with(prefix));
        ids.cloned().collect()
    }

    /// The instances that an order started.
    pub(super) fn started(&self, order: u64) -> Vec<InstanceNumber> {
        self.lock().started.get(&order).cloned().unwrap_or_default()
    }
}

impl Records {
    fn report(&mut self, instance: InstanceNumber, what: impl std::fmt::Display) {
        let id = self.ids.get(&instance).map_or("?", |id| id.as_str());
        self.violations.push(format!("instance {instance} ({id}): {what}"));
    }

    fn instance_changed(&mut self, number: InstanceNumber, old: Option<&InstanceRows>, new: &InstanceRows) {
        if let (None, Some(row)) = (old.and_then(|old| old.row.as_ref()), &new.row)
            && self.ids.insert(number, row.id.clone()).is_some()
        {
            self.report(number, "its number was used before");
        }
        self.nothing_rewritten(number, old, new);
        let appended = new
            .history
            .iter()
            .filter(|(key, _)| old.is_none_or(|old| !old.history.contains_key(key)));
        let mut raised = Vec::new();
        for ((execution, turn), body) in appended {
            self.appended(number, *execution, *turn, body, &mut raised);
        }
        if let Some(row) = &new.row {
            self.row_fits(number, row, new);
        }
        if let Some(old) = old {
            self.nothing_lost(number, old, new, &raised);
        }
    }

    /// Checks that the history is append-only, until it is deleted.
    fn nothing_rewritten(&mut self, number: InstanceNumber, old: Option<&InstanceRows>, new: &InstanceRows) {
        let current = new.row.as_ref().map(|row| row.execution);
        for ((execution, turn), body) in old.into_iter().flat_map(|old| &old.history) {
            match new.history.get(&(*execution, *turn)) {
                Some(same) if Arc::ptr_eq(same, body) || same == body => {}
                Some(_) => self.report(number, format!("turn {turn} of execution {execution} was rewritten")),
                None if current.is_none_or(|current| *execution < current) => {}
                None => self.report(number, format!("turn {turn} of execution {execution} is gone")),
            }
        }
    }

    fn appended(
        &mut self,
        number: InstanceNumber,
        execution: ExecutionNumber,
        turn_number: TurnNumber,
        body: &Arc<[u8]>,
        raised: &mut Vec<Event>,
    ) {
        self.trace = rng::hash(self.trace ^ number.0, body);
        let turn: Turn = match codec::decode(body) {
            Ok(turn) => turn,
            Err(error) => return self.report(number, error),
        };
        let key = (number, execution, turn_number);
        let gap = turn_number.0 > 1
            && !self
                .turns
                .contains_key(&(number, execution, TurnNumber(turn_number.0 - 1)));
        if gap || turn.number != turn_number || self.turns.contains_key(&key) {
            self.report(
                number,
                format!("turn {turn_number} of execution {execution} does not follow"),
            );
        }
        self.turns.insert(key, body.clone());
        self.rewound((number, execution), &turn);
        let tasks = self.runs.entry((number, execution)).or_default();
        if let Err(what) = tasks.apply(&turn) {
            self.report(number, format!("turn {turn_number} of execution {execution}: {what}"));
        }
        for arrival in &turn.arrivals {
            match arrival {
                Arrival::EventRaised(event) => {
                    let payload = event.payload.to_string();
                    if payload.starts_with("\"event") {
                        let times = self.arrived.entry(payload.clone()).or_default();
                        *times += 1;
                        let times = *times;
                        if times > 1 {
                            self.report(number, format!("{payload} arrived {times} times"));
                        }
                    }
                    raised.push(event.clone());
                }
                Arrival::Started(started) => {
                    if started.execution != execution {
                        self.report(number, "it was started as another execution");
                    }
                    let order = order_of(&started.input).filter(|_| execution == ExecutionNumber::FIRST);
                    self.was_started(number, order);
                    let handed = self.carried.remove(&(number, execution)).unwrap_or_default();
                    if handed != started.events {
                        let found = &started.events;
                        self.report(
                            number,
                            format!("execution {execution} was handed {handed:?} and has {found:?}"),
                        );
                    }
                }
                _ => {}
            }
        }
        if let Some(Decision::ContinueAsNew { events, .. }) = turn.decisions.last() {
            self.carried.insert((number, execution.next()), events.clone());
        }
        if matches!(turn.decisions.last(), Some(Decision::Complete { .. })) {
            self.nothing_lost_by_rewinds((number, execution));
        }
        self.calls_decided((number, execution), &turn);
    }

    /// What superseded turns received must arrive again.
    fn rewound(&mut self, run: Run, row: &Turn) {
        let Some(Arrival::Rewound { from, .. }) = row.arrivals.first() else {
            return;
        };
        let turns = self.runs.get(&run).map_or(&[][..], |tasks| &tasks.effective);
        let superseded = turns.iter().filter(|turn| turn.number >= *from);
        for arrival in superseded.flat_map(|turn| &turn.arrivals) {
            match arrival {
                Arrival::EventRaised(event) => {
                    let payload = event.payload.to_string();
                    if let Some(times) = self.arrived.get_mut(&payload) {
                        *times -= 1;
                        self.superseded.entry(run).or_default().push(payload);
                    }
                }
                Arrival::Started(started) => drop(self.carried.insert(run, started.events.clone())),
                _ => {}
            }
        }
    }

    /// Checks that an execution which has completed has received all events of its superseded turns again.
    fn nothing_lost_by_rewinds(&mut self, run: Run) {
        for payload in self.superseded.remove(&run).unwrap_or_default() {
            if self.arrived.get(&payload) == Some(&0) {
                self.report(run.0, format!("{payload} arrived in a superseded turn and is lost"));
            }
        }
    }

    /// Whether the attempt belongs to a later call of the same function with the same input, after a rewind.
    fn runs_in_place_of(&self, call: &Call, attempt: &Attempt) -> bool {
        self.calls.values().any(|other| {
            other.run == call.run
                && other.task == attempt.task
                && other.task > call.task
                && other.function == call.function
                && other.input == call.input
        })
    }

    fn was_started(&mut self, number: InstanceNumber, order: Option<u64>) {
        if let Some(order) = order {
            let started = self.started.entry(order).or_default();
            if !started.contains(&number) {
                started.push(number);
            }
        }
    }

    fn calls_decided(&mut self, run: Run, turn: &Turn) {
        let Some(seed) = self.runs.get(&run).and_then(|tasks| tasks.seed) else {
            return;
        };
        for decision in &turn.decisions {
            if let Decision::CallActivity {
                task,
                function,
                input,
                options,
                ..
            } = decision
            {
                let key = crate::replay::randomness::idempotency_key(seed, *task).to_string();
                let call = Call {
                    run,
                    task: *task,
                    function: function.clone(),
                    input: input.clone(),
                    max_attempts: options.retry.as_ref().map_or(1, |retry| retry.max_attempts),
                };
                if self.calls.insert(key, call).is_some() {
                    self.report(run.0, format!("task {task} has the idempotency key of another call"));
                }
            }
        }
    }

    /// Checks that the row of an instance agrees with its history.
    fn row_fits(&mut self, number: InstanceNumber, row: &InstanceRow, rows: &InstanceRows) {
        if EntityId::of(&row.id).is_some() {
            if !matches!(row.status, InstanceStatus::Running | InstanceStatus::Stuck) || !rows.history.is_empty() {
                self.report(number, format!("it is an entity, and its row is {row:?}"));
            }
            return;
        }
        let last = rows.history.range((row.execution, TurnNumber(0))..).next_back();
        let last = last.map_or(TurnNumber::NONE, |((_, turn), _)| *turn);
        if row.last_turn != last {
            let said = row.last_turn;
            self.report(
                number,
                format!("its row says turn {said}, its history ends with turn {last}"),
            );
        }
        let none = Tasks::default();
        let tasks = self.runs.get(&(number, row.execution)).unwrap_or(&none);
        let (in_flight, wake_at, end) = (tasks.activities(), tasks.wake_at(), tasks.end);
        let is_rewind = |message: &Message| matches!(codec::decode(&message.item), Ok(InboxItem::Rewind { .. }));
        if end == Some(InstanceStatus::Failed) && !row.status.has_ended() && rows.inbox.values().any(is_rewind) {
            // Its owner has not rewound it yet.
            return;
        }
        let wrong = match row.status {
            InstanceStatus::Running => {
                row.in_flight != in_flight || row.wake_at != wake_at || end.is_some() || last == TurnNumber::NONE
            }
            InstanceStatus::Suspended => row.in_flight != in_flight || row.wake_at.is_some() || end.is_some(),
            InstanceStatus::Pending => last > TurnNumber::NONE || row.in_flight > 0,
            InstanceStatus::Stuck => row.wake_at.is_some() || end.is_some(),
            ended => row.in_flight > 0 || row.wake_at.is_some() || end != Some(ended),
        };
        // Between continue-as-new and the first turn, the status is still running.
        let between = row.status == InstanceStatus::Running
            && last == TurnNumber::NONE
            && row.execution > ExecutionNumber::FIRST
            && row.in_flight == 0
            && row.wake_at.is_none();
        if wrong && !between {
            self.report(
                number,
                format!("its row {row:?} does not fit: in flight {in_flight}, wake at {wake_at:?}, end {end:?}"),
            );
        }
    }

    /// Checks that events leave the inbox of an active instance only through its history, and those of one name in
    /// order.
    fn nothing_lost(&mut self, number: InstanceNumber, old: &InstanceRows, new: &InstanceRows, raised: &[Event]) {
        let over = new.row.as_ref().is_none_or(|row| row.status.has_ended());
        if over {
            return;
        }
        let mut left = raised.to_vec();
        for (seq, message) in old.inbox.iter().filter(|(seq, _)| !new.inbox.contains_key(seq)) {
            let Ok(InboxItem::Event(event)) = codec::decode(&message.item) else {
                continue;
            };
            let name = event.name.folded();
            let passed = new
                .inbox
                .range(..seq)
                .any(|(_, other)| other.event.as_ref() == Some(&name));
            if passed {
                self.report(
                    number,
                    format!("message {seq} was taken before an older one: {event:?}"),
                );
            }
            // Drop this event and all before it of the same name, so that later ones must follow it in the history.
            match left.iter().position(|other| *other == event) {
                Some(at) => {
                    let mut position = 0..;
                    left.retain(|other| position.next() > Some(at) || other.name.folded() != name);
                }
                None => self.report(number, format!("message {seq} was taken and did not arrive: {event:?}")),
            }
        }
    }

    /// Checks that messages and children come from committed decisions.
    fn messages_appeared(
        &mut self,
        number: InstanceNumber,
        old: Option<&InstanceRows>,
        new: &InstanceRows,
        before: &Content,
    ) {
        let fresh = new
            .inbox
            .iter()
            .filter(|(seq, _)| old.is_none_or(|old| !old.inbox.contains_key(seq)));
        for (seq, message) in fresh {
            match codec::decode::<InboxItem>(&message.item) {
                Ok(InboxItem::TaskEnded { execution, task, .. }) => {
                    let known = self
                        .runs
                        .get(&(number, execution))
                        .is_some_and(|tasks| tasks.knows(task));
                    if !known {
                        self.report(
                            number,
                            format!("message {seq} ends task {task}, which was never scheduled"),
                        );
                    }
                }
                Ok(InboxItem::Event(event)) => {
                    self.broadcast_raised(number, &event, before);
                    self.waiting.insert(event.payload.to_string());
                }
                Ok(InboxItem::Start(started)) => {
                    let order = order_of(&started.input).filter(|_| started.execution == ExecutionNumber::FIRST);
                    self.was_started(number, order);
                }
                Ok(_) => {}
                Err(error) => self.report(number, error),
            }
        }
        let parent = new.row.as_ref().and_then(|row| row.parent.as_ref());
        if let (Some(parent), None) = (parent, old.and_then(|old| old.row.as_ref())) {
            let run = (parent.instance, parent.execution);
            if !self.runs.get(&run).is_some_and(|tasks| tasks.knows(parent.task)) {
                self.report(number, format!("its parent {parent:?} never called it"));
            }
        }
        let attempts = new
            .attempts
            .keys()
            .filter(|key| old.is_none_or(|old| !old.attempts.contains_key(key)));
        for (execution, task, ordinal) in attempts {
            if !self
                .runs
                .get(&(number, *execution))
                .is_some_and(|tasks| tasks.knows(*task))
            {
                self.report(
                    number,
                    format!("attempt {ordinal} of task {task} was recorded, which was never scheduled"),
                );
            }
            if *ordinal > 1 && !new.attempts.contains_key(&(*execution, *task, ordinal - 1)) {
                self.report(number, format!("attempt {ordinal} of task {task} leaves a gap"));
            }
            let row = &new.attempts[&(*execution, *task, *ordinal)];
            if row.failure.error_type == types::POISONOUS {
                self.blamed += 1;
                let alone = self.alone_at_end.get(&((number, *execution), *task));
                let alone = alone.copied().unwrap_or(0);
                if alone < MAX_CUT_OFFS {
                    self.report(
                        number,
                        format!("task {task} is blamed, and its attempt was alone at {alone} ends"),
                    );
                }
            }
            let first_kept = ordinal.saturating_sub(ATTEMPTS_KEPT - 1).max(1);
            let kept = new
                .attempts
                .range((*execution, *task, 0)..=(*execution, *task, *ordinal));
            if !kept.map(|(key, _)| key.2).eq(first_kept..=*ordinal) {
                self.report(
                    number,
                    format!("of the attempts of task {task} up to {ordinal}, not the last ones are kept"),
                );
            }
        }
    }
}

/// The order of a client that an input came from.
pub(super) fn order_of(input: &Payload) -> Option<u64> {
    input.as_str().strip_prefix("[")?.strip_suffix("]")?.parse().ok()
}
