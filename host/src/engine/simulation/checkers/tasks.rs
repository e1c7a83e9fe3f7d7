//! The outstanding tasks of an execution, computed independently of the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Arrival, Decision, InstanceStatus, TaskId, Timestamp, Turn, TurnNumber, failure::types};

/// The tasks of one execution.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    tasks: BTreeMap<TaskId, Task>,
    /// The folded names of all waits for events.
    event_names: BTreeMap<TaskId, String>,
    /// By folded name: created waits minus cancelled waits minus arrived events, that is, how many waits are open if
    /// positive.
    event_waits: BTreeMap<String, i64>,
    pub(super) seed: Option<[u8; 32]>,
    last_at: Timestamp,
    /// The cancellation of the instance was requested.
    pub(super) is_cancelled: bool,
    /// How far the clock of the host was behind the time of the last turn.
    behind: Duration,
    /// The status with which it ended the instance. Continue-as-new does not end it.
    pub(super) end: Option<InstanceStatus>,
    closed: bool,
    /// The turns that no rewind supersedes, without the rows of rewinds.
    pub(super) effective: Vec<Turn>,
    /// All tasks, including those of superseded turns.
    ever: BTreeSet<TaskId>,
    /// Calls of superseded turns that have no outcome. It is recorded, although no guest waits for it.
    superseded: BTreeSet<TaskId>,
}

#[derive(Debug)]
struct Task {
    kind: Kind,
    open: bool,
    /// It may get a result, although it was cancelled or its time was over: a rewind may need it.
    may_succeed: bool,
    /// Resolved by an arrival of this turn. A guest that has not seen the arrival yet may still cancel the task.
    just_now: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Activity,
    /// With its timeout and its deadline.
    Child(Option<(Duration, Timestamp)>),
    /// With its time for the guest and its time by the host's clock.
    Timer {
        fire_at: Timestamp,
        due_at: Timestamp,
    },
    Event,
    Refused,
    /// A call of an entity, or a request to lock some.
    Entity,
    /// A wait for a request to cancel the instance.
    Cancellation,
}

impl Tasks {
    /// Applies the next turn. Returns an error if the turn is not possible.
    pub(super) fn apply(&mut self, turn: &Turn) -> Result<(), String> {
        if let [Arrival::Rewound { from, .. }, ..] = &turn.arrivals[..] {
            return self.rewind(turn, *from);
        }
        self.take(turn)?;
        self.effective.push(turn.clone());
        Ok(())
    }

    /// Continues after the turn before `from`. Only a failed execution is rewound.
    fn rewind(&mut self, row: &Turn, from: TurnNumber) -> Result<(), String> {
        if self.end != Some(InstanceStatus::Failed) {
            return Err("it is rewound and has not failed".into());
        }
        if row.at < self.last_at {
            return Err(format!("time went back from {} to {}", self.last_at, row.at));
        }
        let before = std::mem::take(self);
        self.ever = before.ever;
        // It is the same, also before the first turn runs again.
        self.seed = before.seed;
        self.superseded = before.superseded;
        let may_end =
            |task: &Task| matches!(task.kind, Kind::Child(_) | Kind::Entity) && (task.open || task.may_succeed);
        let superseded = before.tasks.iter().filter(|(_, task)| may_end(task));
        self.superseded.extend(superseded.map(|(task, _)| *task));
        for turn in before.effective.iter().filter(|turn| turn.number < from) {
            self.take(turn)?;
            self.effective.push(turn.clone());
        }
        self.superseded.retain(|task| !self.tasks.contains_key(task));
        for arrival in &row.arrivals {
            if let Arrival::TaskEnded { task, .. } = arrival {
                self.superseded.remove(task);
            }
        }
        // Outcomes that arrived after the failure are delivered later, like those of superseded turns.
        self.last_at = row.at;
        // The timeouts of calls begin anew.
        let clock = row.clock_at();
        for task in self.tasks.values_mut() {
            if let Kind::Child(Some((timeout, deadline))) = &mut task.kind {
                *deadline = clock.after(*timeout);
            }
        }
        Ok(())
    }

    fn take(&mut self, turn: &Turn) -> Result<(), String> {
        if self.closed {
            return Err("the turn follows the end".into());
        }
        if turn.at < self.last_at {
            return Err(format!("time went back from {} to {}", self.last_at, turn.at));
        }
        self.last_at = turn.at;
        self.tasks.values_mut().for_each(|task| task.just_now = false);
        self.behind = Duration::ZERO;
        for (position, arrival) in turn.arrivals.iter().enumerate() {
            match arrival {
                Arrival::Started(started) if self.effective.is_empty() && position == 0 => {
                    self.seed = Some(started.seed);
                    for event in &started.events {
                        *self.event_waits.entry(event.name.folded()).or_default() -= 1;
                    }
                }
                Arrival::Started(_) => return Err("the execution starts twice".into()),
                Arrival::TaskEnded { task, outcome } => {
                    if self.ends_late(*task) {
                        continue;
                    }
                    match self.close(*task)? {
                        Kind::Activity | Kind::Entity => {}
                        Kind::Child(_) => self.may_succeed(*task, outcome.is_err()),
                        other => return Err(format!("task {task} ended and is {other:?}")),
                    }
                }
                Arrival::TimerFired { task } => match self.close(*task)? {
                    Kind::Timer { fire_at, .. } if fire_at <= turn.at => {}
                    other => return Err(format!("task {task} fired at {} and is {other:?}", turn.at)),
                },
                Arrival::Terminated { .. } => {
                    self.closed = true;
                    self.end = Some(InstanceStatus::Terminated);
                }
                Arrival::EventRaised(event) => *self.event_waits.entry(event.name.folded()).or_default() -= 1,
                Arrival::Rewound { .. } => return Err("a rewind is not the first arrival".into()),
                Arrival::CancelRequested { .. } if self.is_cancelled => return Err("it was cancelled twice".into()),
                Arrival::CancelRequested { .. } => {
                    self.is_cancelled = true;
                    for task in self.tasks.values_mut().filter(|task| task.kind == Kind::Cancellation) {
                        task.just_now = task.open;
                        task.open = false;
                    }
                }
                Arrival::ClockBehind { by_ms } => self.behind += Duration::from_millis(*by_ms),
            }
        }
        // By the clock of the host.
        let at = turn.at.before(self.behind);
        turn.decisions.iter().try_for_each(|decision| self.decide(decision, at))
    }

    fn decide(&mut self, decision: &Decision, at: Timestamp) -> Result<(), String> {
        if self.closed {
            return Err("it makes decisions after the end".into());
        }
        match decision {
            Decision::CallActivity { task, .. } => self.open(*task, Kind::Activity),
            Decision::CallSubOrchestration { task, options, .. } => {
                let timeout = options.timeout_ms.map(Duration::from_millis);
                self.open(*task, Kind::Child(timeout.map(|timeout| (timeout, at.after(timeout)))))
            }
            Decision::CreateTimer { task, fire_at } => {
                let (fire_at, due_at) = (*fire_at, fire_at.before(self.behind));
                self.open(*task, Kind::Timer { fire_at, due_at })
            }
            Decision::WaitForEvent { task, name } => {
                *self.event_waits.entry(name.folded()).or_default() += 1;
                self.event_names.insert(*task, name.folded());
                self.open(*task, Kind::Event)
            }
            Decision::Refused { task: Some(task), .. } => self.open(*task, Kind::Refused),
            Decision::CancelTask { task } => {
                if let Some(name) = self.event_names.get(task) {
                    *self.event_waits.entry(name.clone()).or_default() -= 1;
                }
                // An event does not name the wait that it closes, so a wait may be closed twice.
                match self.tasks.get(task) {
                    Some(known)
                        if known.just_now || matches!(known.kind, Kind::Event | Kind::Refused | Kind::Cancellation) =>
                    {
                        Ok(())
                    }
                    Some(known) => {
                        let is_call = matches!(known.kind, Kind::Child(_) | Kind::Entity);
                        self.may_succeed(*task, is_call);
                        self.close(*task).map(|_| ())
                    }
                    None => Err(format!("task {task} is cancelled and was never scheduled")),
                }
            }
            Decision::Complete { .. } => self.finish(Some(InstanceStatus::Completed)),
            Decision::Fail { failure } if self.is_cancelled && failure.error_type == types::CANCELLED => {
                self.finish(Some(InstanceStatus::Canceled))
            }
            Decision::Fail { .. } => self.finish(Some(InstanceStatus::Failed)),
            Decision::ContinueAsNew { .. } => self.finish(None),
            Decision::CallEntity { task, .. } | Decision::LockEntities { task, .. } => self.open(*task, Kind::Entity),
            Decision::WaitForCancellation { task } => self.open(*task, Kind::Cancellation),
            Decision::UnlockEntities { task } => match self.tasks.get(task) {
                Some(lock) if lock.open => self.close(*task).map(|_| ()),
                Some(_) => Ok(()),
                None => Err(format!("section {task} is left and was never entered")),
            },
            Decision::SetParentClose { task, .. } if !self.knows(*task) => {
                Err(format!("an option of task {task}, which was never scheduled"))
            }
            Decision::StartOrchestration { .. }
            | Decision::SetParentClose { .. }
            | Decision::Patched { .. }
            | Decision::SendEvent { .. }
            | Decision::SignalEntity { .. }
            | Decision::Refused { task: None, .. } => Ok(()),
        }
    }

    fn open(&mut self, task: TaskId, kind: Kind) -> Result<(), String> {
        self.ever.insert(task);
        match self.tasks.insert(
            task,
            Task {
                kind,
                open: true,
                may_succeed: false,
                just_now: false,
            },
        ) {
            None => Ok(()),
            Some(_) => Err(format!("task {task} was scheduled twice")),
        }
    }

    fn may_succeed(&mut self, task: TaskId, whether: bool) {
        if let Some(found) = self.tasks.get_mut(&task) {
            found.may_succeed = whether;
        }
    }

    /// Whether the outcome is the first one of a call for which no guest waits any more.
    fn ends_late(&mut self, task: TaskId) -> bool {
        match self.tasks.get_mut(&task) {
            Some(found) if found.open => false,
            Some(found) => std::mem::take(&mut found.may_succeed),
            None => self.superseded.remove(&task),
        }
    }

    fn close(&mut self, task: TaskId) -> Result<Kind, String> {
        match self.tasks.get_mut(&task) {
            Some(found) if found.open => {
                found.open = false;
                found.just_now = true;
                Ok(found.kind)
            }
            Some(_) => Err(format!("task {task} was resolved twice")),
            None => Err(format!("task {task} was resolved and never scheduled")),
        }
    }

    fn finish(&mut self, end: Option<InstanceStatus>) -> Result<(), String> {
        self.closed = true;
        self.end = end;
        Ok(())
    }

    /// Whether the task was ever scheduled.
    pub(super) fn knows(&self, task: TaskId) -> bool {
        self.ever.contains(&task)
    }

    /// Whether a task waits for events of this folded name.
    pub(super) fn waits_for(&self, name: &str) -> bool {
        self.event_waits.get(name).is_some_and(|waits| *waits > 0)
    }

    /// The number of outstanding activity calls.
    pub(super) fn activities(&self) -> u32 {
        let open = self.open_tasks().filter(|kind| *kind == Kind::Activity);
        u32::try_from(open.count()).expect("few")
    }

    /// The time of the next turn if nothing arrives until then.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.open_tasks()
            .filter_map(|kind| match kind {
                Kind::Timer { due_at, .. } => Some(due_at),
                Kind::Child(timeout) => timeout.map(|(_, deadline)| deadline),
                Kind::Activity | Kind::Event | Kind::Refused | Kind::Entity | Kind::Cancellation => None,
            })
            .min()
    }

    fn open_tasks(&self) -> impl Iterator<Item = Kind> {
        self.tasks.values().filter(|task| task.open).map(|task| task.kind)
    }
}
