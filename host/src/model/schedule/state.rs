//! What became of the times of a schedule, and what is to be done next: a state machine without I/O and clock.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Overlap, Schedule, ScheduleName};
use crate::model::{InstanceId, InstanceNumber, TenantId, Timestamp};

/// How many of the last occasions are kept.
pub const RECENT_KEPT: usize = 10;

/// Maximum length of the note of a pause, in bytes.
pub const MAX_NOTE_BYTES: usize = 500;

/// Maximum length of the reason of a failed or refused start, in bytes; a longer one is cut.
pub const MAX_REASON_BYTES: usize = 500;

/// How many times are decided at once if each must be computed. The rest follow in the next step.
const MAX_AT_ONCE: u64 = 10_000;

/// The pauses between two tries of a refused start.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The pauses between two looks at the running instance that a buffered start waits for. In between, a quarter of the
/// time it has waited.
const LOOK_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a schedule remembers. All times up to [`decided`](Self::decided) were decided; no time is decided twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleState {
    /// The last selected time that was decided, or the time of the creation.
    pub decided: Timestamp,
    /// The selected time whose start waits for the end of the running instance, and since when.
    pub buffered: Option<(Timestamp, Timestamp)>,
    /// The instance that was started last.
    pub last: Option<LastStart>,
    /// The note of the pause, if it is paused.
    pub paused: Option<String>,
    /// A start that was refused and will be tried again.
    pub refused: Option<Refused>,
    /// The last occasions, the newest last.
    pub recent: VecDeque<Occasion>,
    /// What became of all times.
    pub counts: Counts,
}

/// The instance that was started last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStart {
    /// Its id.
    pub id: InstanceId,
    /// Its number. Another instance may get the id later.
    pub number: InstanceNumber,
}

/// A start that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The selected time.
    pub nominal: Timestamp,
    /// When it was first refused.
    pub since: Timestamp,
    /// How often it was refused.
    pub attempts: u32,
    /// When it is tried again.
    pub retry_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What became of a time, or of consecutive times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occasion {
    /// The selected time, or the last of several. For a start by hand, when that was.
    pub nominal: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
    /// How many times it stands for.
    pub times: u64,
    /// What became of it.
    pub outcome: OccasionOutcome,
}

/// What became of a time; only appended to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OccasionOutcome {
    /// An instance was started.
    Started {
        /// Its id.
        instance: InstanceId,
        /// Whether a client triggered it.
        by_hand: bool,
    },
    /// The last instance had not ended.
    Skipped,
    /// The catch-up window had passed.
    Missed,
    /// The start was refused until the catch-up window had passed, or can never succeed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How many times had which outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Started, including those by hand.
    pub started: u64,
    /// Skipped, because the last instance had not ended.
    pub skipped: u64,
    /// Missed, because the catch-up window had passed.
    pub missed: u64,
    /// Failed.
    pub failed: u64,
}

/// A selected time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The time by the rule. It identifies the occasion.
    pub nominal: Timestamp,
    /// When it is started: later by the jitter.
    pub at: Timestamp,
}

/// Whether the instance that the schedule started last has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It has not.
    Yes,
    /// It has, or there is none.
    No,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing; look again at this time. `None`: not before somebody changes the schedule.
    Wait(Option<Timestamp>),
    /// Store this state, and decide again.
    Record(Box<ScheduleState>),
    /// Start the instance of this time, then store the state that [`ScheduleState::started`] returns.
    Start {
        /// The selected time.
        nominal: Timestamp,
        /// Whether the running instance must end before.
        ends_running: bool,
    },
}

impl ScheduleState {
    /// The state of a schedule that is created now. Times before are not selected.
    pub fn new(now: Timestamp) -> Self {
        Self {
            decided: now,
            buffered: None,
            last: None,
            paused: None,
            refused: None,
            recent: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// The state when the definition was replaced. What became of earlier times is kept; a start that waits is dropped.
    #[must_use]
    pub fn replaced(mut self, now: Timestamp) -> Self {
        if let Some((nominal, _)) = self.buffered.take() {
            self.note(nominal, now, 1, OccasionOutcome::Skipped);
        }
        self.refused = None;
        self.decided = self.decided.max(now);
        self
    }

    /// Decides what to do now. `running` tells whether the last started instance has ended.
    pub fn decide(
        &self,
        schedule: &Schedule,
        (tenant, name): (TenantId, &ScheduleName),
        now: Timestamp,
        running: Running,
    ) -> Step {
        if self.paused.is_some() {
            return Step::Wait(None);
        }
        if let Some(state) = self.without_missed(schedule, now) {
            return Step::Record(Box::new(state));
        }
        if let Some(refused) = self.refused.as_ref().filter(|refused| refused.retry_at > now) {
            return Step::Wait(Some(refused.retry_at));
        }
        if let Some((nominal, _)) = self.buffered
            && (running == Running::No || schedule.overlap != Overlap::QueueOne)
        {
            return Step::Start {
                nominal,
                ends_running: running == Running::Yes && schedule.overlap.ends_running(),
            };
        }
        let due = schedule.next_due(tenant, name, self.decided);
        match due.filter(|due| due.at <= now) {
            Some(due) => self.decide_due(schedule, (tenant, name), now, running, due),
            None => Step::Wait(earliest(due.map(|due| due.at), self.look_at(now))),
        }
    }

    /// Decides about the first due time.
    fn decide_due(
        &self,
        schedule: &Schedule,
        owner: (TenantId, &ScheduleName),
        now: Timestamp,
        running: Running,
        due: Due,
    ) -> Step {
        let start = |ends_running| Step::Start {
            nominal: due.nominal,
            ends_running,
        };
        match (schedule.overlap, running) {
            (Overlap::Allow, _) | (Overlap::Skip | Overlap::QueueOne, Running::No) => start(false),
            (Overlap::Skip, Running::Yes) => self.skipping(self.due_until(schedule, owner, now), now),
            (Overlap::QueueOne, Running::Yes) if self.buffered.is_some() => {
                self.skipping(self.due_until(schedule, owner, now), now)
            }
            (Overlap::QueueOne, Running::Yes) => {
                let mut state = self.clone();
                state.decided = due.nominal;
                state.buffered = Some((due.nominal, now));
                Step::Record(Box::new(state))
            }
            // Each start would end the one before at once, so only the last one is of use.
            (Overlap::Terminate | Overlap::Cancel, running) => match self.due_before_last(schedule, owner, now) {
                Some(useless) => self.skipping(Some(useless), now),
                None => start(running == Running::Yes),
            },
        }
    }

    /// Skips times.
    fn skipping(&self, times: Option<(u64, Timestamp)>, now: Timestamp) -> Step {
        let mut state = self.clone();
        if let Some((times, last)) = times {
            state.decided = last;
            state.forget_refused();
            state.note(last, now, times, OccasionOutcome::Skipped);
        }
        Step::Record(Box::new(state))
    }

    /// The due times: how many, and the last. Those that are due only by their jitter are left for later.
    fn due_until(
        &self,
        schedule: &Schedule,
        (tenant, name): (TenantId, &ScheduleName),
        now: Timestamp,
    ) -> Option<(u64, Timestamp)> {
        let (times, last) = schedule.spec.count(self.decided, now, MAX_AT_ONCE)?;
        // Of the times until now, at most the last one is not due, because a jitter ends before the next time.
        let before = Timestamp(last.0 - 1);
        let is_due = schedule.next_due(tenant, name, before).is_some_and(|due| due.at <= now);
        if is_due {
            return Some((times, last));
        }
        schedule.spec.count(self.decided, before, MAX_AT_ONCE)
    }

    /// The due times except the last one; `None` if there is only one.
    fn due_before_last(
        &self,
        schedule: &Schedule,
        owner: (TenantId, &ScheduleName),
        now: Timestamp,
    ) -> Option<(u64, Timestamp)> {
        let (_, last) = self.due_until(schedule, owner, now)?;
        schedule.spec.count(self.decided, Timestamp(last.0 - 1), MAX_AT_ONCE)
    }

    /// The state without times that are too old to start; `None` if there are none.
    fn without_missed(&self, schedule: &Schedule, now: Timestamp) -> Option<Self> {
        let mut state = self.clone();
        let window_of = |refused: &Refused| match self.buffered {
            // A start that waited for another instance may be much later than its time.
            Some((buffered, _)) if buffered == refused.nominal => refused.since,
            _ => refused.nominal,
        };
        if let Some(refused) = &self.refused
            && window_of(refused).after(schedule.catch_up) < now
        {
            let reason = refused.reason.clone();
            state.refused = None;
            state.settle(refused.nominal);
            state.note(refused.nominal, now, 1, OccasionOutcome::Failed { reason });
            return Some(state);
        }
        let too_old = Timestamp(now.before(schedule.catch_up).0.saturating_sub(1));
        // What is tried again has its own time.
        if self.refused.is_some() {
            return None;
        }
        let (times, last) = schedule.spec.count(self.decided, too_old, MAX_AT_ONCE)?;
        state.decided = last;
        state.note(last, now, times, OccasionOutcome::Missed);
        Some(state)
    }

    /// The state after the instance of a selected time was started.
    #[must_use]
    pub fn started(&self, nominal: Timestamp, last: LastStart, now: Timestamp) -> Self {
        let mut state = self.clone();
        state.settle(nominal);
        state.note_start(nominal, last, now, false);
        state
    }

    /// The state after a start by hand.
    #[must_use]
    pub fn started_by_hand(&self, last: LastStart, now: Timestamp) -> Self {
        let mut state = self.clone();
        state.note_start(now, last, now, true);
        state
    }

    fn note_start(&mut self, nominal: Timestamp, last: LastStart, now: Timestamp, by_hand: bool) {
        let instance = last.id.clone();
        self.last = Some(last);
        self.note(nominal, now, 1, OccasionOutcome::Started { instance, by_hand });
    }

    /// The state after a start that can never succeed.
    #[must_use]
    pub fn failed(&self, nominal: Timestamp, reason: &str, now: Timestamp) -> Self {
        let mut state = self.clone();
        state.settle(nominal);
        let reason = cut(reason).to_owned();
        state.note(nominal, now, 1, OccasionOutcome::Failed { reason });
        state
    }

    /// The state after a refused start, which is tried again after a growing pause, at least `wait`.
    #[must_use]
    pub fn refused(&self, nominal: Timestamp, reason: &str, wait: Duration, now: Timestamp) -> Self {
        let earlier = self.refused.as_ref().filter(|refused| refused.nominal == nominal);
        let attempts = earlier.map_or(0, |refused| refused.attempts).saturating_add(1);
        let pause = RETRY_PAUSES.0 * 2_u32.pow(attempts.min(10) - 1);
        let mut state = self.clone();
        state.refused = Some(Refused {
            nominal,
            since: earlier.map_or(now, |refused| refused.since),
            attempts,
            retry_at: now.after(pause.max(wait).min(RETRY_PAUSES.1)),
            reason: cut(reason).to_owned(),
        });
        state
    }

    /// The state of a schedule that is paused, with a note.
    #[must_use]
    pub fn paused(&self, note: &str) -> Self {
        Self {
            paused: Some(note.to_owned()),
            ..self.clone()
        }
    }

    /// The state of a schedule that goes on. What came due meanwhile follows the catch-up window.
    #[must_use]
    pub fn resumed(&self) -> Self {
        Self {
            paused: None,
            ..self.clone()
        }
    }

    /// When to decide next, for the index of due schedules; `None` if not before somebody changes the schedule.
    pub fn next_look(
        &self,
        schedule: &Schedule,
        (tenant, name): (TenantId, &ScheduleName),
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.paused.is_some() {
            return None;
        }
        if let Some(refused) = self.refused.as_ref().filter(|refused| refused.retry_at > now) {
            return Some(refused.retry_at);
        }
        let due = schedule.next_due(tenant, name, self.decided).map(|due| due.at);
        earliest(due, self.look_at(now))
    }

    /// When to look whether the instance that a buffered start waits for has ended.
    fn look_at(&self, now: Timestamp) -> Option<Timestamp> {
        let (_, since) = self.buffered?;
        let pause = (now.since(since) / 4).clamp(LOOK_PAUSES.0, LOOK_PAUSES.1);
        Some(now.after(pause))
    }

    /// Marks a time as decided.
    fn settle(&mut self, nominal: Timestamp) {
        if self.buffered.is_some_and(|(buffered, _)| buffered == nominal) {
            self.buffered = None;
        }
        self.decided = self.decided.max(nominal);
        self.forget_refused();
    }

    fn forget_refused(&mut self) {
        self.refused = None;
    }

    /// Counts what became of times. Joins it with the last occasion if that was the same.
    fn note(&mut self, nominal: Timestamp, at: Timestamp, times: u64, outcome: OccasionOutcome) {
        let count = match &outcome {
            OccasionOutcome::Started { .. } => &mut self.counts.started,
            OccasionOutcome::Skipped => &mut self.counts.skipped,
            OccasionOutcome::Missed => &mut self.counts.missed,
            OccasionOutcome::Failed { .. } => &mut self.counts.failed,
        };
        *count = count.saturating_add(times);
        if matches!(outcome, OccasionOutcome::Skipped | OccasionOutcome::Missed)
            && let Some(last) = self.recent.back_mut().filter(|last| last.outcome == outcome)
        {
            last.times = last.times.saturating_add(times);
            (last.nominal, last.at) = (nominal, at);
            return;
        }
        if self.recent.len() >= RECENT_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Occasion {
            nominal,
            at,
            times,
            outcome,
        });
    }
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The beginning of a reason.
fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}
