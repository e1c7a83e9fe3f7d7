//! Scripted activities and sub-orchestrations.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::{Activity, Attempt as AttemptInfo};
use crate::failure::Result;
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
}

impl<I> Attempt<I> {
    /// Sets the virtual duration of the attempt. Zero unless set.
    pub fn takes(&self, duration: Duration) {
        self.duration.set(duration);
    }
}

/// The arguments of a script.
pub(super) struct Run {
    pub(super) info: AttemptInfo,
    pub(super) input: String,
    pub(super) now: Timestamp,
    pub(super) settings: Rc<Settings>,
    pub(super) sink: Rc<dyn Sink>,
}

/// The outcome of a script, and its virtual duration.
pub(super) struct Ran {
    pub(super) outcome: Result<String>,
    pub(super) duration: Duration,
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
            let outcome =
                decode("the input does not match the type that the script takes", &run.input).and_then(|input| {
                    let attempt = Attempt {
                        input,
                        attempt: run.info.attempt,
                        idempotency_key: run.info.idempotency_key,
                        now: run.now,
                        duration: duration.clone(),
                    };
                    encode("the output cannot be written", &script(&attempt)?)
                });
            Ran {
                outcome,
                duration: duration.get(),
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
            let outcome = run_activity::<A>(
                Activity::new(run.info, run.settings, Progress::for_test(), run.sink),
                &run.input,
            );
            Ran {
                outcome,
                duration: Duration::ZERO,
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
