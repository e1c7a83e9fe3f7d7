//! Scripted activities and sub-orchestrations.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::{Activity, Attempt as AttemptInfo};
use crate::failure::{Failure, Result};
use crate::failure_types;
use crate::function::{ActivityFunction, read_input, run_activity};
use crate::logging::{self, Sink};
use crate::payload::{decode, encode};
use crate::progress::Progress;
use crate::retry::ActivityOptions;
use crate::settings::Settings;
use crate::time::Timestamp;

/// One attempt of a scripted function, passed to the script.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt<I> {
    /// The input of the call.
    pub input: I,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// A key that is the same for all attempts of one call.
    pub idempotency_key: String,
    /// The current virtual time.
    pub now: Timestamp,
    duration: Rc<Cell<Duration>>,
    heartbeats: Rc<RefCell<Vec<Heartbeat>>>,
    previous: Option<String>,
}

/// The time of a heartbeat after the start of its attempt, and its details as JSON.
pub(super) type Heartbeat = (Duration, String);

impl<I> Attempt<I> {
    /// Sets the virtual duration of the attempt. Zero unless set.
    pub fn takes(&self, duration: Duration) {
        self.duration.set(duration);
    }

    /// Sends a heartbeat this long after the start of the attempt, unless the attempt has ended by then. With
    /// [`heartbeat_timeout`](crate::Call::heartbeat_timeout), the attempt fails when it sends none
    /// for longer.
    ///
    /// # Panics
    /// If the details cannot be written as JSON.
    pub fn heartbeat_after<T: Serialize + ?Sized>(&self, time: Duration, details: &T) {
        let details = encode("the details of the heartbeat", details).expect("the details can be written as JSON");
        self.heartbeats.borrow_mut().push((time, details));
    }

    /// The details of the last heartbeat of an earlier attempt of the call.
    ///
    /// # Panics
    /// If they are not of this type.
    pub fn heartbeat_details<T: DeserializeOwned>(&self) -> Option<T> {
        let details = self.previous.as_deref()?;
        Some(decode("the details of the last heartbeat", details).expect("the details are of this type"))
    }
}

/// The arguments of a script.
pub(super) struct Run {
    pub(super) info: AttemptInfo,
    pub(super) input: String,
    pub(super) now: Timestamp,
    pub(super) settings: Rc<Settings>,
    pub(super) sink: Rc<dyn Sink>,
    /// The details of the last heartbeat of an earlier attempt.
    pub(super) previous: Option<String>,
}

/// The outcome of a script, its virtual duration, and its heartbeats.
pub(super) struct Ran {
    pub(super) outcome: Result<String>,
    pub(super) duration: Duration,
    pub(super) heartbeats: Vec<Heartbeat>,
}

impl Ran {
    /// Sorts the heartbeats, and ends the attempt at a time limit if it exceeds one.
    pub(super) fn within(mut self, attempt_timeout: Option<Duration>, heartbeat_timeout: Option<Duration>) -> Self {
        self.heartbeats.sort_by_key(|(time, _)| *time);
        let duration = self.duration;
        self.heartbeats.retain(|(time, _)| *time <= duration);
        if let Some(limit) = attempt_timeout.filter(|limit| self.duration > *limit) {
            let message = format!("the attempt took longer than {limit:?}");
            self.end_at(limit, Failure::new(failure_types::TIMEOUT, message));
        }
        if let Some(limit) = heartbeat_timeout {
            let limit = limit.max(Duration::from_millis(1));
            let mut last = Duration::ZERO;
            let times = self.heartbeats.iter().map(|(time, _)| *time).chain([self.duration]);
            let times: Vec<_> = times.collect();
            for time in times {
                if time - last > limit {
                    let message = format!("the attempt sent no heartbeat for {limit:?}");
                    self.end_at(last + limit, Failure::new(failure_types::HEARTBEAT_TIMEOUT, message));
                    break;
                }
                last = time;
            }
        }
        self
    }

    fn end_at(&mut self, time: Duration, failure: Failure) {
        self.duration = time;
        self.heartbeats.retain(|(at, _)| *at <= time);
        self.outcome = Err(failure);
    }
}

/// A scripted activity or sub-orchestration.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) defaults: ActivityOptions,
    /// Checks that the input is of the function's type.
    pub(super) check_input: fn(&str) -> Result<()>,
    body: Rc<RefCell<dyn FnMut(Run) -> Ran>>,
}

impl Script {
    /// Wraps a closure with typed input and output.
    pub(super) fn of<I, O>(
        defaults: ActivityOptions,
        mut script: impl FnMut(&Attempt<I>) -> Result<O> + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
    {
        let body = move |run: Run| {
            let duration = Rc::new(Cell::new(Duration::ZERO));
            let heartbeats = Rc::new(RefCell::new(Vec::new()));
            let outcome =
                decode("the input does not match the type that the script takes", &run.input).and_then(|input| {
                    let attempt = Attempt {
                        input,
                        attempt: run.info.attempt,
                        idempotency_key: run.info.idempotency_key,
                        now: run.now,
                        duration: duration.clone(),
                        heartbeats: heartbeats.clone(),
                        previous: run.previous,
                    };
                    encode("the output cannot be written", &script(&attempt)?)
                });
            Ran {
                outcome,
                duration: duration.get(),
                heartbeats: heartbeats.take(),
            }
        };
        Self {
            defaults,
            check_input: |input| read_input::<I>(true, input).map(drop),
            body: Rc::new(RefCell::new(body)),
        }
    }

    /// Runs the real activity.
    pub(super) fn of_function<A: ActivityFunction>() -> Self {
        let body = |run: Run| {
            let progress = Progress::for_test();
            if let Some(details) = run.previous {
                progress.give_details(details);
            }
            let outcome = run_activity::<A>(
                Activity::new(run.info, run.settings, progress.clone(), run.sink),
                &run.input,
            );
            let heartbeats = progress.heartbeats().into_iter();
            Ran {
                outcome,
                duration: Duration::ZERO,
                heartbeats: heartbeats.map(|details| (Duration::ZERO, details)).collect(),
            }
        };
        Self {
            defaults: A::default_options(),
            check_input: |input| read_input::<A::Input>(A::TAKES_INPUT, input).map(drop),
            body: Rc::new(RefCell::new(body)),
        }
    }

    pub(super) fn run(&self, run: Run) -> Ran {
        let _logging = logging::enter(run.sink.clone());
        (self.body.borrow_mut())(run)
    }
}
