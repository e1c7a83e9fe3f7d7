//! What an instance waits for, as of its last commit: folded from its history, without its guest and without its owner.
//! So the answer is the same for hot, cold, suspended and stuck instances. A history that is too long for a query is not
//! read; the answer says so.

use std::collections::BTreeMap;

use super::Engine;
use super::activities::CallState;
use crate::model::{
    Decision, EntityId, EventName, ExecutionNumber, Failure, FunctionName, InstanceId, InstanceNumber, InstanceStatus,
    Payload, Rewinds, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};
use crate::replay::{Ledger, Outstanding};
use crate::store::{AttemptRow, Error as StoreError, Folded, HistoryFold, InstanceDetails};

/// How many tasks of each kind are described. The others are only counted.
pub const MAX_DESCRIBED: usize = 100;

/// What an instance waits for.
#[derive(Debug, Default)]
pub struct WaitingFor {
    /// The last turn that is taken into account.
    pub turn: TurnNumber,
    /// Whether the history was too long to be read, so that nothing is described.
    pub is_too_long: bool,
    /// Activity calls, in the order in which they were scheduled.
    pub activities: Described<WaitingActivity>,
    /// Sub-orchestrations, in the order in which they were scheduled.
    pub children: Described<WaitingChild>,
    /// Timers, soonest first.
    pub timers: Described<WaitingTimer>,
    /// Waits for events, in the order in which they began.
    pub events: Described<WaitingEvent>,
    /// Waits for a request to cancel the instance, in the order in which they began.
    pub cancellation: Described<WaitingCancellation>,
    /// Calls of entities, in the order in which they were sent.
    pub entity_calls: Described<WaitingEntityCall>,
    /// The critical section that the instance is in, or waits for.
    pub section: Option<Section>,
}

/// Some tasks of one kind.
#[derive(Debug)]
pub struct Described<T> {
    /// How many there are.
    pub total: usize,
    /// The first ones, at most [`MAX_DESCRIBED`].
    pub first: Vec<T>,
}

/// An outstanding activity call.
#[derive(Debug)]
pub struct WaitingActivity {
    /// Its task.
    pub task: TaskId,
    /// The name of the activity.
    pub function: FunctionName,
    /// What it does now.
    pub state: ActivityState,
    /// When it was scheduled.
    pub since: Timestamp,
    /// When the whole call times out.
    pub times_out_at: Option<Timestamp>,
    /// Its attempts.
    pub attempts: Attempts,
}

/// What an outstanding activity call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityState {
    /// An attempt is running.
    Running,
    /// It waits for a slot, for memory, or for its instance to be loaded after a restart of the host.
    Queued,
    /// It waits for the time of the next attempt.
    BackingOff,
    /// Its attempt has ended, and somebody outside completes it.
    WaitingForCompletion,
}

/// The attempts of a task.
#[derive(Debug)]
pub struct Attempts {
    /// The number of the current or next attempt, from 1.
    pub number: u32,
    /// Why the last attempt failed, brief.
    pub last_failure: Option<Failure>,
    /// When the next attempt starts, if it waits for that.
    pub next_at: Option<Timestamp>,
}

/// An outstanding sub-orchestration.
#[derive(Debug)]
pub struct WaitingChild {
    /// Its task.
    pub task: TaskId,
    /// The name of the orchestration.
    pub function: FunctionName,
    /// The id of the current attempt's instance.
    pub id: InstanceId,
    /// The status of that instance; `None` if it does not exist, for example because it was purged.
    pub status: Option<InstanceStatus>,
    /// When it was scheduled.
    pub since: Timestamp,
    /// When the whole call times out.
    pub times_out_at: Option<Timestamp>,
    /// Its attempts.
    pub attempts: Attempts,
}

/// An outstanding timer.
#[derive(Debug)]
pub struct WaitingTimer {
    /// Its task.
    pub task: TaskId,
    /// When it fires, by the host's clock.
    pub fires_at: Timestamp,
}

/// A wait for an event.
#[derive(Debug)]
pub struct WaitingEvent {
    /// Its task.
    pub task: TaskId,
    /// The name of the event.
    pub name: EventName,
    /// When the wait began.
    pub since: Timestamp,
}

/// A wait for a request to cancel the instance.
#[derive(Debug)]
pub struct WaitingCancellation {
    /// Its task.
    pub task: TaskId,
    /// When the wait began.
    pub since: Timestamp,
}

/// An outstanding call of an entity.
#[derive(Debug)]
pub struct WaitingEntityCall {
    /// Its task.
    pub task: TaskId,
    /// The entity.
    pub entity: EntityId,
    /// The name of the operation.
    pub operation: String,
    /// When it was sent.
    pub since: Timestamp,
}

/// A critical section.
#[derive(Debug)]
pub struct Section {
    /// Its lock task.
    pub task: TaskId,
    /// Whether all entities are locked. Otherwise the instance waits for some of them.
    pub is_held: bool,
    /// When the locks were requested.
    pub since: Timestamp,
    /// The entities.
    pub entities: Described<EntityId>,
}

impl<T> Default for Described<T> {
    fn default() -> Self {
        Self {
            total: 0,
            first: Vec::new(),
        }
    }
}

impl<T> Described<T> {
    fn add(&mut self, one: impl FnOnce() -> T) {
        self.total += 1;
        if self.first.len() < MAX_DESCRIBED {
            self.first.push(one());
        }
    }
}

impl Engine {
    /// An instance, with what it waits for; `None` if it does not exist. An instance that has ended waits for nothing.
    ///
    /// # Errors
    /// If the query fails, or rows of the instance cannot be read.
    pub async fn waiting_for(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<(InstanceDetails, WaitingFor)>, StoreError> {
        let shared = &self.0.shared;
        let folded = shared.store.tenant(tenant).folded(id, Fold::default()).await?;
        let Some(folded) = folded else { return Ok(None) };
        let state = |instance, execution, task| shared.activities.state(instance, execution, task);
        let waiting = described(&folded, shared.clock.now(), state);
        Ok(Some((folded.details, waiting)))
    }
}

/// Folds a history, without the payloads in it if they do not matter.
#[derive(Debug, Default)]
struct Fold {
    ledger: Ledger,
    /// Whether the execution was rewound: then calls are recognized by their inputs.
    keeps_inputs: bool,
    /// The names of waits for events, as the guest wrote them, with the time of the wait. Contains some that are over.
    waits: BTreeMap<TaskId, (EventName, Timestamp)>,
    /// The number of `waits` at which those that are over are removed.
    tidy_at: usize,
    /// When the last critical section was requested.
    section_since: Timestamp,
    /// The waits for a request to cancel the instance, with their times.
    cancellation: BTreeMap<TaskId, Timestamp>,
}

impl Fold {
    /// The outstanding tasks that are described and may have attempts.
    fn attempted(&self) -> impl Iterator<Item = (TaskId, &Outstanding)> {
        let calls = |of: fn(&Outstanding) -> bool| {
            self.ledger
                .tasks()
                .filter(move |(_, task)| of(task))
                .take(MAX_DESCRIBED)
        };
        calls(|task| matches!(task, Outstanding::Activity(_)))
            .chain(calls(|task| matches!(task, Outstanding::SubOrchestration(_))))
    }
}

impl HistoryFold for Fold {
    fn begin(&mut self, rewinds: &Rewinds) {
        self.keeps_inputs = !rewinds.points.is_empty();
        self.ledger = Ledger::new(rewinds.clone());
    }

    fn add(&mut self, mut turn: Turn) -> Result<(), String> {
        /// How many waits that are over may stay in memory.
        const MAX_OVER: usize = 1_000;
        for decision in &mut turn.decisions {
            match decision {
                Decision::CallActivity { input, .. } | Decision::CallSubOrchestration { input, .. }
                    if !self.keeps_inputs =>
                {
                    *input = Payload::null();
                }
                _ => {}
            }
        }
        self.ledger.apply(&turn).map_err(|error| error.to_string())?;
        let since = turn.clock_at();
        if self.ledger.rewinds().supersede(turn.number) {
            return Ok(());
        }
        for decision in turn.decisions {
            match decision {
                Decision::WaitForCancellation { task } => drop(self.cancellation.insert(task, since)),
                Decision::CancelTask { task } => drop(self.cancellation.remove(&task)),
                Decision::WaitForEvent { task, name } => drop(self.waits.insert(task, (name, since))),
                Decision::LockEntities { .. } => self.section_since = since,
                _ => {}
            }
        }
        if self.ledger.cancel_reason().is_some() {
            // A request completes every wait.
            self.cancellation.clear();
        }
        if self.waits.len() > self.tidy_at {
            let ledger = &self.ledger;
            self.waits.retain(|task, _| ledger.is_waiting(*task));
            self.tidy_at = 2 * self.waits.len() + MAX_OVER;
        }
        Ok(())
    }

    fn tasks(&self) -> Vec<TaskId> {
        self.attempted().map(|(task, _)| task).collect()
    }

    fn instances(&self, attempts: &BTreeMap<TaskId, AttemptRow>) -> Vec<InstanceId> {
        let id = |(task, outstanding): (TaskId, &Outstanding)| match outstanding {
            Outstanding::SubOrchestration(call) => Some(call.child_id(next_attempt(attempts.get(&task)))),
            _ => None,
        };
        self.attempted().filter_map(id).collect()
    }
}

/// The number of the current or next attempt, given the last one that failed.
fn next_attempt(last: Option<&AttemptRow>) -> u32 {
    // An attempt that was cut off runs again under the same number.
    last.map_or(1, |row| row.number + u32::from(!row.cut_off))
}

impl Attempts {
    fn of(last: Option<&AttemptRow>, now: Timestamp) -> Self {
        Self {
            number: next_attempt(last),
            last_failure: last.map(|row| row.failure.clone()),
            next_at: last.and_then(|row| row.next_at).filter(|at| *at > now),
        }
    }
}

fn described(
    folded: &Folded<Fold>,
    now: Timestamp,
    state: impl Fn(InstanceNumber, ExecutionNumber, TaskId) -> Option<CallState>,
) -> WaitingFor {
    let (summary, fold) = (&folded.details.summary, &folded.fold);
    let mut waiting = WaitingFor {
        turn: summary.last_turn,
        is_too_long: folded.is_too_long,
        ..WaitingFor::default()
    };
    if summary.status.has_ended() || folded.is_too_long {
        return waiting;
    }
    let mut timers = Vec::new();
    for (task, outstanding) in fold.ledger.tasks() {
        let last = folded.attempts.get(&task);
        match outstanding {
            Outstanding::Activity(call) => waiting.activities.add(|| {
                let attempts = Attempts::of(last, now);
                let state = match state(summary.number, summary.execution, task) {
                    Some(CallState::Running) => ActivityState::Running,
                    _ if folded.completed_outside.contains(&task) => ActivityState::WaitingForCompletion,
                    _ if attempts.next_at.is_some() => ActivityState::BackingOff,
                    Some(CallState::Waiting) | None => ActivityState::Queued,
                };
                WaitingActivity {
                    task,
                    function: call.function.clone(),
                    state,
                    since: call.scheduled_at,
                    times_out_at: call.deadline(),
                    attempts,
                }
            }),
            Outstanding::SubOrchestration(call) => waiting.children.add(|| {
                let id = call.child_id(next_attempt(last));
                let (status, start_at) = folded.instances.get(&id).copied().unzip();
                WaitingChild {
                    task,
                    function: call.function.clone(),
                    status,
                    since: call.scheduled_at,
                    times_out_at: call.deadline(),
                    attempts: Attempts {
                        next_at: start_at.flatten(),
                        ..Attempts::of(last, now)
                    },
                    id,
                }
            }),
            Outstanding::Timer { due_at, .. } => timers.push((*due_at, task)),
            Outstanding::Entity(call) => waiting.entity_calls.add(|| WaitingEntityCall {
                task,
                entity: call.entity.clone(),
                operation: call.operation.clone(),
                since: call.sent_at,
            }),
            // The section describes it.
            Outstanding::Lock => {}
        }
    }
    timers.sort_unstable();
    for (fires_at, task) in timers {
        waiting.timers.add(|| WaitingTimer { task, fires_at });
    }
    let waits = fold.waits.iter().filter(|(task, _)| fold.ledger.is_waiting(**task));
    for (task, (name, since)) in waits {
        waiting.events.add(|| WaitingEvent {
            task: *task,
            name: name.clone(),
            since: *since,
        });
    }
    for (task, since) in &fold.cancellation {
        waiting.cancellation.add(|| WaitingCancellation {
            task: *task,
            since: *since,
        });
    }
    waiting.section = fold.ledger.section().map(|(task, entities)| {
        let mut described = Described::default();
        for (entity, _) in entities {
            described.add(|| entity.clone());
        }
        Section {
            task,
            is_held: fold.ledger.task(task).is_none(),
            since: fold.section_since,
            entities: described,
        }
    });
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActivityOptions, Arrival, Event, ModuleNumber, SubOrchestrationOptions};
    use crate::replay::tests::script::started;

    const NOW: Timestamp = Timestamp(10_000);

    fn turn(number: u32, arrivals: Vec<Arrival>, decisions: Vec<Decision>) -> Turn {
        Turn {
            number: TurnNumber(number),
            at: Timestamp(u64::from(number) * 1_000),
            arrivals,
            decisions,
            fuel: 0,
        }
    }

    fn call(task: u32) -> Decision {
        Decision::CallActivity {
            task: TaskId(task),
            function: "charge".parse().unwrap(),
            input: Payload::of(&"x".repeat(1_000)),
            options: ActivityOptions::default(),
            module: ModuleNumber(1),
        }
    }

    fn wait(task: u32, name: &str) -> Decision {
        Decision::WaitForEvent {
            task: TaskId(task),
            name: name.parse().unwrap(),
        }
    }

    fn attempt(task: u32, number: u32, cut_off: bool, next_at: u64) -> (TaskId, AttemptRow) {
        let row = AttemptRow {
            execution: ExecutionNumber::FIRST,
            task: TaskId(task),
            ordinal: number,
            number,
            cut_off,
            failure: Failure::new("Busy", "later"),
            fuel: 0,
            started_at: Timestamp(0),
            ended_at: Timestamp(0),
            next_at: Some(Timestamp(next_at)),
        };
        (TaskId(task), row)
    }

    fn check(
        status: InstanceStatus,
        turns: Vec<Turn>,
        attempts: Vec<(TaskId, AttemptRow)>,
        running: &[u32],
    ) -> WaitingFor {
        let mut fold = Fold::default();
        for turn in turns {
            fold.add(turn).unwrap();
        }
        let attempts: BTreeMap<_, _> = attempts.into_iter().collect();
        let children = fold.instances(&attempts).into_iter();
        let instances = children.map(|id| (id, (InstanceStatus::Pending, Some(Timestamp(12_000)))));
        let folded = Folded {
            details: InstanceDetails::of_status(status),
            instances: instances.collect(),
            fold,
            is_too_long: false,
            attempts,
            completed_outside: [TaskId(4)].into(),
        };
        described(&folded, NOW, |_, _, task| {
            running.contains(&task.0).then_some(CallState::Running)
        })
    }

    fn first(decisions: Vec<Decision>) -> Turn {
        turn(1, vec![Arrival::Started(Box::new(started(vec![])))], decisions)
    }

    #[test]
    fn a_call_runs_waits_for_its_next_attempt_or_for_its_completion_or_is_queued() {
        let attempts = vec![attempt(2, 3, false, 11_000), attempt(3, 1, true, 9_000)];
        let calls = vec![call(1), call(2), call(3), call(4)];
        let waiting = check(InstanceStatus::Suspended, vec![first(calls)], attempts, &[1]);
        let seen: Vec<_> = waiting
            .activities
            .first
            .iter()
            .map(|call| (call.state, call.attempts.number))
            .collect();
        use ActivityState::{BackingOff, Queued, Running, WaitingForCompletion};
        assert_eq!(
            seen,
            [(Running, 1), (BackingOff, 4), (Queued, 1), (WaitingForCompletion, 1)]
        );
        assert_eq!(waiting.activities.first[1].attempts.next_at, Some(Timestamp(11_000)));
    }

    #[test]
    fn only_waits_that_are_not_over_are_shown_with_the_names_of_the_guest() {
        let event = Event {
            name: "APPROVAL".parse().unwrap(),
            payload: Payload::null(),
        };
        let turns = vec![
            first(vec![wait(1, "Approval"), wait(2, "Approval"), wait(3, "Cancel")]),
            turn(
                2,
                vec![Arrival::EventRaised(event)],
                vec![Decision::CancelTask { task: TaskId(3) }],
            ),
        ];
        let waiting = check(InstanceStatus::Running, turns, vec![], &[]);
        let names: Vec<_> = waiting
            .events
            .first
            .iter()
            .map(|wait| (wait.task.0, wait.name.to_string()))
            .collect();
        assert_eq!(names, [(2, "Approval".to_owned())]);
        assert_eq!((waiting.turn, waiting.events.total), (TurnNumber(2), 1));
    }

    #[test]
    fn at_most_a_hundred_of_a_kind_are_described_and_all_are_counted() {
        let timers = (1..=150).map(|task| Decision::CreateTimer {
            task: TaskId(task),
            fire_at: Timestamp(100_000 - u64::from(task)),
        });
        let waiting = check(InstanceStatus::Running, vec![first(timers.collect())], vec![], &[]);
        assert_eq!((waiting.timers.total, waiting.timers.first.len()), (150, MAX_DESCRIBED));
        assert_eq!(waiting.timers.first[0].task, TaskId(150), "the soonest is first");
    }

    #[test]
    fn a_child_is_that_of_the_current_attempt() {
        let child = Decision::CallSubOrchestration {
            task: TaskId(1),
            function: "ship".parse().unwrap(),
            input: Payload::null(),
            instance_id: "child".parse().unwrap(),
            fixed_id: false,
            options: SubOrchestrationOptions::default(),
            module: ModuleNumber(1),
        };
        let waiting = check(
            InstanceStatus::Running,
            vec![first(vec![child])],
            vec![attempt(1, 1, false, 9_000)],
            &[],
        );
        let child = &waiting.children.first[0];
        assert_eq!((child.id.as_str(), child.attempts.number), ("child-2", 2));
        assert_eq!(child.attempts.next_at, Some(Timestamp(12_000)));
    }

    #[test]
    fn locks_are_waited_for_then_held_then_left() {
        let lock = Decision::LockEntities {
            task: TaskId(1),
            entities: vec![(EntityId::new("account", "a").unwrap(), ModuleNumber(1))],
        };
        let granted = Arrival::TaskEnded {
            task: TaskId(1),
            outcome: Ok(Payload::null()),
        };
        let mut turns = vec![first(vec![lock])];
        let is_held = |turns: &Vec<Turn>| {
            let waiting = check(InstanceStatus::Running, turns.clone(), vec![], &[]);
            waiting.section.map(|section| section.is_held)
        };
        assert_eq!(is_held(&turns), Some(false));
        turns.push(turn(2, vec![granted], vec![]));
        assert_eq!(is_held(&turns), Some(true));
        turns.push(turn(3, vec![], vec![Decision::UnlockEntities { task: TaskId(1) }]));
        assert_eq!(is_held(&turns), None);
    }

    #[test]
    fn waits_for_cancellation_are_over_when_they_are_withdrawn_or_it_is_requested() {
        let wait = |task| Decision::WaitForCancellation { task: TaskId(task) };
        let mut turns = vec![
            first(vec![wait(1), wait(2)]),
            turn(2, vec![], vec![Decision::CancelTask { task: TaskId(1) }]),
        ];
        let seen = |turns: &Vec<Turn>| {
            let waiting = check(InstanceStatus::Running, turns.clone(), vec![], &[]).cancellation;
            let first = waiting.first.iter().map(|wait| (wait.task.0, wait.since.0));
            (waiting.total, first.collect::<Vec<_>>())
        };
        assert_eq!(seen(&turns), (1, vec![(2, 1_000)]));
        let reason = String::new();
        turns.push(turn(3, vec![Arrival::CancelRequested { reason }], vec![wait(3)]));
        assert_eq!(seen(&turns), (0, vec![]));
    }

    #[test]
    fn an_instance_that_has_ended_waits_for_nothing() {
        let waiting = check(InstanceStatus::Terminated, vec![first(vec![call(1)])], vec![], &[1]);
        assert_eq!(waiting.activities.total, 0);
    }
}
