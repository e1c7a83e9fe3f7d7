//! Results that an instance has not taken yet. While they pile up, because its turns take long, its calls get no slot: their
//! results would only wait as well, in memory or in the store, and the slots are for instances that go on. The calls of an
//! instance that is suspended or stuck do get slots. It may stay so for long, and what its calls return waits in the store.
//!
//! The calls that wait here line up. When the instance has taken results, as many go on as there are slots, and each that
//! has used its slot lets the next one go on. So a turn of an instance with 100,000 waiting calls wakes few of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The limits of all instances.
#[derive(Debug, Clone, Copy)]
pub(super) struct UntakenLimits {
    /// With results of more than this many bytes that it has not taken, an instance gets no slots.
    pub(super) bytes: u64,
    /// How many calls go on at once when results were taken.
    pub(super) at_once: usize,
}

/// The results that one instance has not taken yet, and its calls that wait until it has. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Untaken {
    limits: UntakenLimits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    bytes: u64,
    /// The instance takes no results now.
    is_at_rest: bool,
    waiting: VecDeque<oneshot::Sender<Passage>>,
    /// The number of waiting calls at which those that have stopped waiting are removed.
    cleaned_at: usize,
}

/// The permission to wait for a slot and to use it. When it is dropped, the next call may go on.
#[derive(Debug)]
pub(super) struct Passage(Untaken);

/// A result on its way to its instance. If it is dropped before, the instance will not see the result.
#[derive(Debug)]
pub(super) struct OnItsWay {
    untaken: Untaken,
    bytes: u64,
}

impl Untaken {
    pub(super) fn new(limits: UntakenLimits) -> Self {
        Self {
            limits,
            state: Arc::default(),
        }
    }

    /// Counts a result. Call it before the instance can see the result, because the instance [sets](Self::set) the sum of
    /// what it sees.
    pub(super) fn add(&self, bytes: u64) -> OnItsWay {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_add(bytes);
        drop(state);
        OnItsWay {
            untaken: self.clone(),
            bytes,
        }
    }

    /// Sets the size of all results that the instance has not taken; `None` if it takes none now.
    pub(super) fn set(&self, bytes: Option<u64>) {
        let mut state = self.lock();
        state.is_at_rest = bytes.is_none();
        state.bytes = bytes.unwrap_or(0);
        drop(state);
        self.go_on(self.limits.at_once);
    }

    /// Whether calls may have slots.
    pub(super) fn is_low(&self) -> bool {
        self.lock().is_low(self.limits)
    }

    /// The passage of a call that does not wait.
    pub(super) fn pass(&self) -> Passage {
        Passage(self.clone())
    }

    /// Waits until the call may have a slot.
    ///
    /// Cancel safe: a call that stops waiting lets the next one go on.
    pub(super) async fn until_low(&self) -> Passage {
        let allowed = {
            let mut state = self.lock();
            if state.is_low(self.limits) {
                return Passage(self.clone());
            }
            let (allow, allowed) = oneshot::channel();
            state.line_up(allow);
            allowed
        };
        allowed.await.expect("who waits stays in the line until it may go on")
    }

    /// Lets that many calls go on, if the instance has taken enough.
    fn go_on(&self, calls: usize) {
        let first: Vec<_> = {
            let mut state = self.lock();
            // Calls that do not wait any more take nobody's turn.
            while state.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                state.waiting.pop_front();
            }
            match state.is_low(self.limits) {
                true => {
                    let calls = calls.min(state.waiting.len());
                    state.waiting.drain(..calls).collect()
                }
                false => Vec::new(),
            }
        };
        for allow in first {
            // Dropped if the call does not wait any more; then the next one goes on.
            let _ = allow.send(Passage(self.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_low(&self, limits: UntakenLimits) -> bool {
        self.is_at_rest || self.bytes <= limits.bytes
    }

    fn line_up(&mut self, allow: oneshot::Sender<Passage>) {
        if self.waiting.len() >= self.cleaned_at {
            self.waiting.retain(|allow| !allow.is_closed());
            self.cleaned_at = 2 * self.waiting.len() + 32;
        }
        self.waiting.push_back(allow);
    }
}

impl OnItsWay {
    /// The instance sees the result from now on.
    pub(super) fn arrived(mut self) {
        self.bytes = 0;
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut state = self.untaken.lock();
            state.bytes = state.bytes.saturating_sub(self.bytes);
            drop(state);
            self.untaken.go_on(self.untaken.limits.at_once);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.0.go_on(1);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;

    fn untaken(bytes: u64, at_once: usize) -> Untaken {
        Untaken::new(UntakenLimits { bytes, at_once })
    }

    fn wait(untaken: &Untaken) -> BoxFuture<'static, Passage> {
        let untaken = untaken.clone();
        let mut waiting = async move { untaken.until_low().await }.boxed();
        assert!((&mut waiting).now_or_never().is_none());
        waiting
    }

    #[test]
    fn calls_wait_while_results_pile_up_and_go_on_one_after_the_other() {
        let untaken = untaken(10, 2);
        untaken.add(10).arrived();
        let passed = untaken.until_low().now_or_never().expect("at the limit, calls go on");
        untaken.add(1).arrived();
        let mut waiting: Vec<_> = (0..4).map(|_| wait(&untaken)).collect();
        drop(passed);
        assert!(waiting.iter_mut().all(|call| call.now_or_never().is_none()));
        untaken.set(Some(11));
        assert!(waiting.iter_mut().all(|call| call.now_or_never().is_none()));
        untaken.set(Some(3));
        let mut passed: Vec<_> = waiting.drain(..2).map(|call| call.now_or_never().unwrap()).collect();
        assert!(waiting.iter_mut().all(|call| call.now_or_never().is_none()));
        passed.pop();
        assert!(waiting.remove(0).now_or_never().is_some());
    }

    #[test]
    fn a_call_that_stops_waiting_takes_nobodys_turn() {
        let untaken = untaken(0, 1);
        untaken.add(1).arrived();
        let (first, second, third) = (wait(&untaken), wait(&untaken), wait(&untaken));
        drop(first);
        untaken.set(Some(0));
        // The second one may go on, but does not wait any more.
        drop(second);
        assert!(third.now_or_never().is_some());
    }

    #[test]
    fn calls_of_an_instance_at_rest_do_not_wait() {
        let untaken = untaken(0, 2);
        untaken.add(1).arrived();
        let waiting = wait(&untaken);
        untaken.set(None);
        untaken.add(1).arrived();
        assert!(waiting.now_or_never().is_some());
        assert!(untaken.is_low());
        untaken.set(Some(1));
        assert!(!untaken.is_low());
    }

    #[test]
    fn calls_that_stopped_waiting_are_forgotten() {
        let untaken = untaken(0, 2);
        untaken.add(1).arrived();
        let _first = wait(&untaken);
        (0..1_000).for_each(|_| drop(wait(&untaken)));
        assert!(untaken.lock().waiting.len() < 100);
    }

    proptest! {
        /// Whatever calls and the instance do, all calls go on once the results are taken.
        #[test]
        fn nobody_waits_for_ever(
            at_once in 1_usize..4,
            steps in prop::collection::vec((0_u8..7, 0_u64..20), 0..60),
        ) {
            let untaken = untaken(10, at_once);
            let (mut waiting, mut passed) = (Vec::new(), Vec::new());
            for (step, number) in steps {
                match step {
                    0 => untaken.add(number).arrived(),
                    5 => drop(untaken.add(number)),
                    6 => untaken.set(None),
                    1 => untaken.set(Some(number)),
                    2 => waiting.push({
                        let untaken = untaken.clone();
                        async move { untaken.until_low().await }.boxed()
                    }),
                    3 if !waiting.is_empty() => drop(waiting.remove(number as usize % waiting.len())),
                    4 if !passed.is_empty() => drop(passed.remove(number as usize % passed.len())),
                    _ => {}
                }
                waiting.retain_mut(|call| match call.now_or_never() {
                    Some(passage) => {
                        passed.push(passage);
                        false
                    }
                    None => true,
                });
            }
            untaken.set(Some(0));
            while !waiting.is_empty() {
                let before = waiting.len() + passed.len();
                waiting.retain_mut(|call| call.now_or_never().map(|passage| passed.push(passage)).is_none());
                prop_assert!(!passed.is_empty(), "{} calls wait for ever", waiting.len());
                passed.pop();
                prop_assert!(waiting.len() + passed.len() < before);
            }
        }
    }
}
