//! A guest for tests: a program of strands that run concurrently, each a list of operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    ActivityOptions, Arrival, Event, ExecutionNumber, Failure, FunctionName, LogLevel, ModuleNumber, ObservableLimits,
    ParentClose, Payload, Started, SubOrchestrationOptions, TaskId, Timestamp, failure::types,
};
use crate::replay::{
    Budget, Directory, EventBudget, Execution, Guest, HostUnavailable, Interrupt, PendingEvents, Place, Player,
    Progress, Ran, ResolvedActivity, ResolvedEntity, ResolvedOrchestration, TurnLimits, Waited,
    execution::SubOrchestrationRequest,
};

/// One operation of a strand. A strand continues when its operation has completed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Call(String),
    CallWith(String, ActivityOptions),
    Child(String),
    ChildWith(ChildCall),
    Sleep(u64),
    Event(String),
    /// Waits for both and withdraws the one that is not first.
    EventOrSleep(String, u64),
    /// Waits for two calls at once and cancels the one that is not first.
    CallOrCall(String, String),
    /// Waits for both and cancels or withdraws the one that is not first.
    ChildOrSleep(String, u64),
    /// Calls it, chooses what happens to it at the end, and does not wait for it but so long.
    ChildLeft(String, ParentClose, u64),
    /// Calls it, chooses what happens to it at the end, and waits for it.
    ChildClosed(String, ParentClose),
    /// Waits for the event, gives it back, and waits again.
    EventTwice(String),
    Send(String),
    SendTo(String, String),
    Start(String),
    /// Calls this operation of the entity `cell` with this key. The input is a text that no other operation has.
    CallEntity(String, String),
    /// Calls an operation and this activity at once, and gives up the one that is not first.
    CallEntityOrCall(String, String, String),
    /// The same without waiting, and later by these milliseconds.
    SignalEntity(String, String, Option<u64>),
    /// Locks the cells with these keys.
    Lock(Vec<String>),
    /// Leaves the section that the strand entered.
    Unlock,
    /// Waits until cancellation is requested, at most so long, and then does this.
    CancelledOrSleep(u64, Cancelled),
    /// Asks for the patch and notes the answer.
    Patched(String),
    DeprecatePatch(String),
    /// Asks for the patch, and then does the first, or the second without it.
    IfPatched(String, Vec<Op>, Vec<Op>),
    Status(u32),
    Log,
    Random,
    ContinueAsNew(u32),
    Fail,
    /// Fails if a task of any strand has failed.
    FailIfFailed,
    /// The same once that many other operations have completed.
    FailAfter(usize),
    /// Fails with this type.
    FailWith(String),
}

/// What a program does once its cancellation is requested.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cancelled {
    GoesOn,
    /// Fails with the failure of a cancellation.
    Ends,
}

/// A call of a child with an id and options.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChildCall {
    pub(crate) function: String,
    pub(crate) id: Option<String>,
    pub(crate) options: SubOrchestrationOptions,
}

/// What a strand is waiting for.
#[derive(Debug, Clone, PartialEq)]
enum Pause {
    Task(TaskId),
    Event(TaskId),
    EventToGiveBack(TaskId, String),
    Lock(TaskId),
    /// Two tasks. If the flag is set, the first one is an event wait.
    Race(TaskId, TaskId, bool),
    /// The wait for cancellation, and a timer.
    Cancelled(TaskId, TaskId, Cancelled),
}

/// The guest: an interpreter of a program.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    strands: Vec<Vec<Op>>,
    positions: Vec<usize>,
    pauses: BTreeMap<usize, Pause>,
    /// The sections that the strands have entered.
    sections: BTreeMap<usize, TaskId>,
    begun: bool,
    results: Vec<String>,
    /// Some task has failed.
    has_failed: bool,
    /// When it has, the program fails with that many results.
    fails_at: Option<usize>,
}

impl Script {
    pub(crate) fn new(strands: Vec<Vec<Op>>) -> Self {
        let positions = vec![0; strands.len()];
        Self {
            strands,
            positions,
            pauses: BTreeMap::new(),
            sections: BTreeMap::new(),
            begun: false,
            results: Vec::new(),
            has_failed: false,
            fails_at: None,
        }
    }

    fn go(&mut self, x: &mut Execution) -> Result<Progress, Interrupt> {
        if !self.begun {
            self.begun = true;
            for strand in 0..self.strands.len() {
                if let Some(failed) = self.advance(strand, x)? {
                    return Ok(failed);
                }
            }
        }
        loop {
            if self.has_failed && self.fails_at.is_some_and(|results| self.results.len() >= results) {
                return Ok(scripted_failure());
            }
            if self.pauses.is_empty() {
                return Ok(Progress::Returned(Ok(Payload::of(&self.results))));
            }
            let completions = match x.wait()? {
                Waited::Quiescent => return Ok(Progress::Waiting),
                Waited::Ready(completions) => completions,
            };
            for completion in completions {
                let strand = self.pauses.iter().find_map(|(strand, pause)| {
                    let mine = match pause {
                        Pause::Task(task)
                        | Pause::Lock(task)
                        | Pause::Event(task)
                        | Pause::EventToGiveBack(task, _) => *task == completion.task,
                        Pause::Cancelled(a, b, _) | Pause::Race(a, b, _) => [*a, *b].contains(&completion.task),
                    };
                    mine.then_some(*strand)
                });
                let Some(strand) = strand else { continue };
                self.has_failed |= completion.outcome.is_err();
                match self.pauses.remove(&strand).unwrap() {
                    Pause::Task(task) => self.results.push(format!("{task}={:?}", completion.outcome)),
                    Pause::Lock(task) => {
                        if completion.outcome.is_ok() {
                            self.sections.insert(strand, task);
                        }
                        self.results.push(format!("{task}={:?}", completion.outcome));
                    }
                    Pause::Cancelled(cancelled, timer, then) => {
                        let is_cancelled = completion.task == cancelled;
                        x.cancel_task(if is_cancelled { timer } else { cancelled })?;
                        assert_eq!(is_cancelled, is_cancelled && x.cancellation_requested()?.is_some());
                        if is_cancelled && then == Cancelled::Ends {
                            let failure = Failure::new(types::CANCELLED, "as asked").permanent();
                            return Ok(Progress::Returned(Err(failure)));
                        }
                        self.results.push(format!("cancelled: {:?}", completion.outcome));
                    }
                    Pause::Event(task) => self.results.push(format!("{task}={:?}", x.take_event(task)?)),
                    Pause::EventToGiveBack(task, name) => {
                        x.cancel_task(task)?;
                        let again = x.wait_for_event(&name)?;
                        self.pauses.insert(strand, Pause::Event(again));
                        continue;
                    }
                    Pause::Race(a, b, event_first) => {
                        let other = if completion.task == a { b } else { a };
                        x.cancel_task(other)?;
                        let event = if event_first && completion.task == a {
                            x.take_event(a)?
                        } else {
                            None
                        };
                        self.results
                            .push(format!("{} won: {:?} {event:?}", completion.task, completion.outcome));
                    }
                }
                if let Some(failed) = self.advance(strand, x)? {
                    return Ok(failed);
                }
            }
        }
    }

    /// Runs a strand to its next pause. Returns how the program ends if the strand ends it.
    fn advance(&mut self, strand: usize, x: &mut Execution) -> Result<Option<Progress>, Interrupt> {
        while let Some(op) = self.strands[strand].get(self.positions[strand]).cloned() {
            self.positions[strand] += 1;
            let now = x.now()?;
            let pause = match op {
                Op::Call(name) => Pause::Task(x.call_activity(&name, "1", ActivityOptions::default())?),
                Op::CallWith(name, options) => Pause::Task(x.call_activity(&name, "1", options)?),
                Op::Child(name) => Pause::Task(x.call_sub_orchestration(child(name))?),
                Op::ChildWith(ChildCall { function, id, options }) => {
                    Pause::Task(x.call_sub_orchestration(SubOrchestrationRequest {
                        instance_id: id,
                        options,
                        ..child(function)
                    })?)
                }
                Op::ChildOrSleep(name, ms) => Pause::Race(
                    x.call_sub_orchestration(child(name))?,
                    x.create_timer(Timestamp(now.0 + ms))?,
                    false,
                ),
                Op::ChildLeft(name, policy, ms) => {
                    let task = x.call_sub_orchestration(child(name))?;
                    x.set_parent_close(task, policy)?;
                    Pause::Task(x.create_timer(Timestamp(now.0 + ms))?)
                }
                Op::ChildClosed(name, policy) => {
                    let task = x.call_sub_orchestration(child(name))?;
                    x.set_parent_close(task, policy)?;
                    Pause::Task(task)
                }
                Op::Sleep(ms) => Pause::Task(x.create_timer(Timestamp(now.0 + ms))?),
                Op::Event(name) => Pause::Event(x.wait_for_event(&name)?),
                Op::EventTwice(name) => Pause::EventToGiveBack(x.wait_for_event(&name)?, name),
                Op::EventOrSleep(name, ms) => {
                    Pause::Race(x.wait_for_event(&name)?, x.create_timer(Timestamp(now.0 + ms))?, true)
                }
                Op::CancelledOrSleep(ms, then) => {
                    Pause::Cancelled(x.wait_for_cancellation()?, x.create_timer(Timestamp(now.0 + ms))?, then)
                }
                Op::CallOrCall(a, b) => Pause::Race(
                    x.call_activity(&a, "1", ActivityOptions::default())?,
                    x.call_activity(&b, "1", ActivityOptions::default())?,
                    false,
                ),
                Op::Send(name) => {
                    x.send_event("other", &name, "3")?;
                    continue;
                }
                Op::SendTo(id, name) => {
                    x.send_event(&id, &name, "3")?;
                    continue;
                }
                Op::Log => {
                    x.log(LogLevel::Info, "as written");
                    continue;
                }
                Op::Start(name) => {
                    let id = x.start_orchestration(&name, "4", None)?;
                    self.results.push(id.to_string());
                    continue;
                }
                Op::CallEntity(key, operation) => {
                    let token = token(x);
                    Pause::Task(x.call_entity("Cell", &key, &operation, &token)?)
                }
                Op::CallEntityOrCall(key, operation, activity) => {
                    let token = token(x);
                    Pause::Race(
                        x.call_entity("Cell", &key, &operation, &token)?,
                        x.call_activity(&activity, "1", ActivityOptions::default())?,
                        false,
                    )
                }
                Op::SignalEntity(key, operation, later) => {
                    let token = token(x);
                    let due_at = later.map(|ms| Timestamp(now.0 + ms));
                    x.signal_entity("cell", &key, &operation, &token, due_at)?;
                    continue;
                }
                Op::Lock(keys) => Pause::Lock(x.lock_entities(keys.iter().map(|key| ("Cell", key.as_str())))?),
                Op::Unlock => {
                    if let Some(task) = self.sections.remove(&strand) {
                        x.unlock_entities(task)?;
                    }
                    continue;
                }
                Op::Patched(name) => {
                    let answer = x.patched(&name)?;
                    self.results.push(format!("patched {name}={answer}"));
                    continue;
                }
                Op::DeprecatePatch(name) => {
                    x.deprecate_patch(&name)?;
                    continue;
                }
                Op::IfPatched(name, new, old) => {
                    let branch = if x.patched(&name)? { new } else { old };
                    let next = self.positions[strand];
                    self.strands[strand].splice(next..next, branch);
                    continue;
                }
                Op::Status(status) => {
                    x.set_custom_status(&status.to_string())?;
                    continue;
                }
                Op::Random => {
                    let mut bytes = [0; 3];
                    x.fill_random(&mut bytes);
                    self.results.push(format!("{bytes:?} {}", x.new_uuid()));
                    continue;
                }
                Op::ContinueAsNew(input) => {
                    x.continue_as_new(&input.to_string())?;
                    return Ok(Some(Progress::Returned(Ok(Payload::null()))));
                }
                Op::FailWith(error_type) => {
                    return Ok(Some(Progress::Returned(Err(Failure::new(error_type, "as written")))));
                }
                Op::Fail => return Ok(Some(scripted_failure())),
                Op::FailIfFailed if self.has_failed => return Ok(Some(scripted_failure())),
                Op::FailIfFailed => continue,
                Op::FailAfter(others) => {
                    self.fails_at = Some(self.results.len() + others);
                    continue;
                }
            };
            self.pauses.insert(strand, pause);
            return Ok(None);
        }
        Ok(None)
    }
}

fn scripted_failure() -> Progress {
    Progress::Returned(Err(Failure::new("Scripted", "as written")))
}

/// A text that no other operation has, as JSON.
fn token(x: &mut Execution) -> String {
    format!("\"{}\"", x.new_uuid())
}

fn child(function: String) -> SubOrchestrationRequest {
    SubOrchestrationRequest {
        function,
        input: "2".into(),
        instance_id: None,
        options: SubOrchestrationOptions::default(),
    }
}

impl Guest for Script {
    fn resume(&mut self, execution: &mut Execution, _: Budget) -> Result<Ran, HostUnavailable> {
        let progress = self
            .go(execution)
            .unwrap_or_else(|_| Progress::Broke(Failure::new("windlass.trap", "stopped")));
        Ok(Ran { progress, fuel: 7 })
    }
}

/// A directory with every function except those whose names begin with `no`.
pub(crate) struct Functions;

impl Directory for Functions {
    fn activity(&self, name: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedActivity, Failure> {
        if name.as_str().starts_with("no") {
            return Err(Failure::new("windlass.unknown-function", "there is none").permanent());
        }
        Ok(ResolvedActivity {
            module: ModuleNumber(9),
            defaults: ActivityOptions::default(),
        })
    }

    fn orchestration(
        &self,
        name: &FunctionName,
        input: &Payload,
        fuel: &mut u64,
    ) -> Result<ResolvedOrchestration, Failure> {
        self.activity(name, input, fuel)
            .map(|found| ResolvedOrchestration { module: found.module })
    }

    fn entity_module(&self, name: &FunctionName) -> Result<ResolvedEntity, Failure> {
        self.activity(name, &Payload::null(), &mut 0)
            .map(|found| ResolvedEntity { module: found.module })
    }
}

pub(crate) fn started(events: Vec<Event>) -> Started {
    Started {
        execution: ExecutionNumber::FIRST,
        function: "scripted".parse().unwrap(),
        input: Payload::null(),
        seed: [5; 32],
        limits: ObservableLimits {
            memory_bytes: 1 << 20,
            payload_bytes: 1_000,
        },
        parent: None,
        events,
        not_before: None,
    }
}

/// A player of a program, before its first turn.
pub(crate) fn player(strands: &[Vec<Op>]) -> Player<Script> {
    player_with(strands, TurnLimits::default(), Vec::new())
}

pub(crate) fn player_with(strands: &[Vec<Op>], limits: TurnLimits, events: Vec<Event>) -> Player<Script> {
    let id = "test".parse().unwrap();
    let execution = Execution::new(id, Arc::new(started(events)), Arc::new(Functions), limits);
    Player::new(Script::new(strands.to_vec()), execution)
}

/// Begins a new turn with these arrivals and no pending events.
pub(crate) fn begin_turn(execution: &mut Execution, now: Timestamp, arrivals: Vec<Arrival>) {
    let arrivals = arrivals.into_iter().map(|arrival| (Place::Own, arrival)).collect();
    execution.begin_turn(
        now,
        arrivals,
        PendingEvents::default(),
        Place::Own,
        EventBudget::default(),
    );
}

pub(crate) fn begin() -> Arrival {
    Arrival::Started(Box::new(started(Vec::new())))
}

pub(crate) fn done(task: u32) -> Arrival {
    Arrival::TaskEnded {
        task: TaskId(task),
        outcome: Ok(Payload::of(&task)),
    }
}

pub(crate) fn fired(task: u32) -> Arrival {
    Arrival::TimerFired { task: TaskId(task) }
}

pub(crate) fn event(name: &str, payload: u32) -> Event {
    Event {
        name: name.parse().unwrap(),
        payload: Payload::of(&payload),
    }
}

pub(crate) fn raised(name: &str, payload: u32) -> Arrival {
    Arrival::EventRaised(event(name, payload))
}
