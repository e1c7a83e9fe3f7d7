//! Scripted functions: what a test says an activity or sub-orchestration does.

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
use crate::retry::ActivityOptions;
use crate::settings::Settings;
use crate::time::Timestamp;

/// One attempt of a scripted function, as the script sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt<I> {
    /// What the caller gave.
    pub input: I,
    /// From 1.
    pub attempt: u32,
    /// The same for all attempts of one call.
    pub idempotency_key: String,
    /// The virtual time.
    pub now: Timestamp,
    duration: Rc<Cell<Duration>>,
}

impl<I> Attempt<I> {
    /// Lets the attempt take that much virtual time. Without it, it takes none.
    pub fn takes(&self, duration: Duration) {
        self.duration.set(duration);
    }
}

/// What a script is run with.
pub(super) struct Run {
    pub(super) info: AttemptInfo,
    pub(super) input: String,
    pub(super) now: Timestamp,
    pub(super) settings: Rc<Settings>,
    pub(super) sink: Rc<dyn Sink>,
}

/// What came of it, and after how long.
pub(super) struct Ran {
    pub(super) outcome: Result<String>,
    pub(super) duration: Duration,
}

/// A scripted activity or sub-orchestration.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) defaults: ActivityOptions,
    /// Whether the input is one that the function takes.
    pub(super) check_input: fn(&str) -> Result<()>,
    body: Rc<RefCell<dyn FnMut(Run) -> Ran>>,
}

impl Script {
    /// A closure over typed input and output.
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
            let outcome = decode("the input is not what the script takes", &run.input).and_then(|input| {
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

    /// The activity itself.
    pub(super) fn of_function<A: ActivityFunction>() -> Self {
        let body = |run: Run| {
            let outcome = run_activity::<A>(Activity::new(run.info, run.settings, run.sink), &run.input);
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
