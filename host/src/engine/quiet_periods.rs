//! Lets suspects of an unclean end run by themselves before everything else.
//!
//! While a quiet period is on, only the turns and attempts of its group run, and what still runs of the groups before it.
//! The others wait: an attempt before it takes a slot, a turn before it takes memory. An instance without suspects is
//! held like those of a disabled tenant, so it stores what arrives and takes no memory while it waits.
//! [`recovery`](super::recovery) begins and ends the periods.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::flight_recorder::{Flight, FlightRecorder, LeftFlight};
use crate::model::{ExecutionNumber, InstanceNumber};

/// The quiet periods of a run of the host; see the module docs.
pub(super) struct QuietPeriods {
    recorder: FlightRecorder,
    /// Whether everything may run.
    are_over: AtomicBool,
    /// Whether there are suspects that have not ended yet.
    has_suspects: AtomicBool,
    state: Mutex<State>,
    /// Notified when more may run or the last suspect has ended.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Suspects whose period has begun.
    admitted: BTreeSet<Flight>,
    /// Those of the current group that have not ended yet.
    running: BTreeSet<Flight>,
    /// All suspects that have not ended yet, also after the last period.
    suspects: BTreeSet<Flight>,
}

impl State {
    fn admits(&self, instance: InstanceNumber) -> bool {
        Self::of(&self.admitted, instance).next().is_some()
    }

    fn of(flights: &BTreeSet<Flight>, instance: InstanceNumber) -> impl Iterator<Item = Flight> {
        let first = Flight {
            instance,
            execution: ExecutionNumber(0),
            task: None,
        };
        flights
            .range(first..)
            .take_while(move |flight| flight.instance == instance)
            .copied()
    }
}

impl QuietPeriods {
    /// Everything may run.
    pub(super) fn none(recorder: FlightRecorder) -> Self {
        Self {
            recorder,
            are_over: AtomicBool::new(true),
            has_suspects: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Nothing runs until the first period begins. Call it before anything could.
    pub(super) fn prepare<'a>(&self, suspects: impl IntoIterator<Item = &'a LeftFlight>) {
        let mut state = self.lock();
        for LeftFlight { flight, ends, .. } in suspects {
            self.recorder.remember(*flight, *ends);
            state.suspects.insert(flight.subject());
        }
        self.has_suspects.store(!state.suspects.is_empty(), Ordering::Release);
        self.are_over.store(false, Ordering::Release);
    }

    /// Begins the period of a group.
    pub(super) fn begin(&self, group: impl IntoIterator<Item = Flight>) {
        let mut state = self.lock();
        self.recorder.begin_quiet_period();
        state.running = group.into_iter().map(Flight::subject).collect();
        let State { admitted, running, .. } = &mut *state;
        admitted.extend(running.iter());
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until all of the current group have ended.
    pub(super) async fn all_ended(&self) {
        self.wait(|state| state.running.is_empty()).await;
    }

    /// Ends the last period: everything may run.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        self.recorder.end_quiet_periods();
        state.running.clear();
        state.admitted.clear();
        self.are_over.store(true, Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether everything may run.
    pub(super) fn are_over(&self) -> bool {
        self.are_over.load(Ordering::Acquire)
    }

    /// Whether the instance has to wait with everything.
    pub(super) fn hold(&self, instance: InstanceNumber) -> bool {
        !self.are_over() && !self.lock().admits(instance)
    }

    /// Whether this turn or attempt may run now.
    pub(super) fn admit(&self, flight: Flight) -> bool {
        self.are_over() || self.lock().admitted.contains(&flight.subject())
    }

    /// Waits until this turn or attempt may run.
    pub(super) async fn until_admitted(&self, flight: Flight) {
        if !self.are_over() {
            let subject = flight.subject();
            self.wait(|state| self.are_over() || state.admitted.contains(&subject))
                .await;
        }
    }

    /// Notes that a turn is durable, or that an attempt or its call has ended: if it was a suspect, it is none any more.
    pub(super) fn ended(&self, flight: Flight) {
        if !self.has_suspects.load(Ordering::Acquire) {
            return;
        }
        let (mut state, subject) = (self.lock(), flight.subject());
        if state.suspects.remove(&subject) {
            self.recorder.forget(subject);
            self.has_suspects.store(!state.suspects.is_empty(), Ordering::Release);
        }
        if state.running.remove(&subject) && state.running.is_empty() {
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Notes that the owner of an instance has nothing to do: of its suspects, only these attempts still run or wait.
    pub(super) fn idle(&self, instance: InstanceNumber, is_in_progress: impl Fn(Flight) -> bool) {
        if self.are_over() {
            return;
        }
        let running: Vec<_> = State::of(&self.lock().running, instance).collect();
        let ended = running
            .into_iter()
            .filter(|flight| flight.task.is_none() || !is_in_progress(*flight));
        ended.for_each(|flight| self.ended(flight));
    }

    async fn wait(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt as _;

    use super::*;
    use crate::engine::flight_recorder::{EndsInARow, Phase};
    use crate::model::TaskId;

    fn attempt(instance: u64, task: u32) -> Flight {
        Flight {
            instance: InstanceNumber(instance),
            execution: ExecutionNumber::FIRST,
            task: Some(TaskId(task)),
        }
    }

    fn turn(instance: u64, execution: u32) -> Flight {
        Flight {
            instance: InstanceNumber(instance),
            execution: ExecutionNumber(execution),
            task: None,
        }
    }

    fn suspects(flights: &[Flight]) -> Vec<LeftFlight> {
        let left = |flight: &Flight| LeftFlight {
            flight: *flight,
            phase: Phase::Normal,
            ends: EndsInARow::default(),
        };
        flights.iter().map(left).collect()
    }

    fn quiet(flights: &[Flight]) -> QuietPeriods {
        let (recorder, _) = FlightRecorder::in_memory(Arc::default());
        let periods = QuietPeriods::none(recorder);
        periods.prepare(&suspects(flights));
        periods
    }

    #[test]
    fn only_the_suspects_of_a_period_run() {
        let periods = quiet(&[attempt(1, 1), turn(2, 5)]);
        assert!(periods.hold(InstanceNumber(1)) && !periods.admit(attempt(1, 1)));
        periods.begin([attempt(1, 1)]);
        assert!(!periods.hold(InstanceNumber(1)) && periods.hold(InstanceNumber(2)));
        assert!(periods.admit(attempt(1, 1)) && !periods.admit(attempt(1, 2)) && !periods.admit(turn(1, 1)));
        let waiting = periods.until_admitted(turn(2, 6));
        tokio::pin!(waiting);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        periods.begin([turn(2, 5)]);
        assert!(waiting.now_or_never().is_some() && periods.admit(attempt(1, 1)));
        periods.end();
        assert!(!periods.hold(InstanceNumber(3)) && periods.admit(turn(3, 1)));
    }

    #[test]
    fn a_period_is_over_once_its_suspects_have_ended_or_do_not_run() {
        let periods = quiet(&[attempt(1, 1), attempt(1, 2), turn(2, 5)]);
        periods.begin([attempt(1, 1), attempt(1, 2), turn(2, 5)]);
        let all_ended = periods.all_ended();
        tokio::pin!(all_ended);
        periods.ended(turn(2, 6));
        periods.idle(InstanceNumber(1), |flight| flight == attempt(1, 2));
        assert_eq!(all_ended.as_mut().now_or_never(), None);
        periods.ended(attempt(1, 2));
        assert_eq!(all_ended.now_or_never(), Some(()));
    }
}
