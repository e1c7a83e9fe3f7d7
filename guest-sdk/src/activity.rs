//! [`Activity`]: what an activity may ask about the attempt that is running.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::bindings::activity::windlass::durable::activity_context as imports;
use crate::failure::Result;
use crate::instance_id::InstanceId;
use crate::logging::{Level, Sink};
use crate::settings::{Secret, Settings};
use crate::time::Timestamp;

/// The context of one attempt. Clones are cheap.
///
/// An activity may do anything its sandbox allows, and runs **at least once**: the host repeats it after a crash.
/// Give [`idempotency_key`](Self::idempotency_key) to services that recognise repeats.
#[derive(Clone)]
pub struct Activity {
    attempt: Rc<Attempt>,
    settings: Rc<Settings>,
    sink: Rc<dyn Sink>,
}

/// What there is to know about an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) instance_id: InstanceId,
    pub(crate) execution: u32,
    pub(crate) function: String,
    pub(crate) attempt: u32,
    pub(crate) idempotency_key: String,
    pub(crate) deadline_ms: u64,
    pub(crate) max_payload_bytes: u64,
}

impl Activity {
    pub(crate) fn new(attempt: Attempt, settings: Rc<Settings>, sink: Rc<dyn Sink>) -> Self {
        Self {
            attempt: Rc::new(attempt),
            settings,
            sink,
        }
    }

    /// The attempt that the sandbox runs.
    pub(crate) fn of_host() -> Self {
        let info = imports::info();
        let attempt = Attempt {
            instance_id: info.instance_id.into(),
            execution: info.execution,
            function: info.function,
            attempt: info.attempt,
            idempotency_key: info.idempotency_key,
            deadline_ms: info.deadline_ms,
            max_payload_bytes: info.max_payload_bytes,
        };
        Self::new(attempt, Rc::new(Settings::Host), Rc::new(HostLog))
    }

    pub(crate) fn sink(&self) -> Rc<dyn Sink> {
        self.sink.clone()
    }

    /// The same for all attempts of one call and for no other call.
    pub fn idempotency_key(&self) -> &str {
        &self.attempt.idempotency_key
    }

    /// From 1; counts attempts that failed. An attempt cut off by the end of the host does not count.
    pub fn attempt(&self) -> u32 {
        self.attempt.attempt
    }

    /// When this attempt is stopped.
    pub fn deadline(&self) -> Timestamp {
        Timestamp::from_host(self.attempt.deadline_ms)
    }

    /// The time until the attempt is stopped.
    pub fn time_left(&self) -> Duration {
        self.deadline() - Timestamp::from(SystemTime::now())
    }

    /// The instance that made the call.
    pub fn instance_id(&self) -> &InstanceId {
        &self.attempt.instance_id
    }

    /// The execution of that instance, from 1.
    pub fn execution(&self) -> u32 {
        self.attempt.execution
    }

    /// The name of the activity function.
    pub fn function(&self) -> &str {
        &self.attempt.function
    }

    /// Results longer than this many bytes are refused.
    pub fn max_payload_bytes(&self) -> u64 {
        self.attempt.max_payload_bytes
    }

    /// The setting of that name, made by whoever runs the module.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::testing;
    /// #[activity]
    /// fn endpoint(ctx: Activity) -> Result<String> {
    ///     let host = ctx.config("payments-host")?;
    ///     let version = ctx.config("payments-version").unwrap_or_else(|_| "v1".into());
    ///     Ok(format!("https://{host}/{version}"))
    /// }
    ///
    /// let ctx = testing::activity(1).with_config("payments-host", "pay.example");
    /// assert_eq!(endpoint(ctx).unwrap(), "https://pay.example/v1");
    /// assert!(endpoint(testing::activity(1)).unwrap_err().is(failure_types::MISSING_CONFIG));
    /// ```
    ///
    /// # Errors
    /// `MissingConfig`, not worth a retry, if there is none.
    pub fn config(&self, name: &str) -> Result<String> {
        self.settings.config(name)
    }

    /// The secret of that name, given to the module by whoever runs it.
    ///
    /// Results, failures and logs are stored and shown: keep secrets out of them. Where one stands in a log line or in
    /// the message of a failure as it is, the host covers it; do not rely on that.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::{http, testing};
    /// #[activity]
    /// fn balance(ctx: Activity) -> Result<u64> {
    ///     let token = ctx.secret("payments-token")?;
    ///     http::get("https://pay.example/balance")
    ///         .header("authorization", format!("Bearer {}", token.expose()))
    ///         .send()?
    ///         .ok()?
    ///         .json()
    /// }
    ///
    /// let ctx = testing::activity(1).with_secret("payments-token", "t0ken");
    /// let answer = |request: &http::Request| match request.header_value("authorization") {
    ///     Some("Bearer t0ken") => Ok(http::Response::of_json(200, &995)),
    ///     _ => Ok(http::Response::new(401, "")),
    /// };
    /// assert_eq!(testing::with_http(answer, || balance(ctx)).unwrap(), 995);
    /// ```
    ///
    /// # Errors
    /// `MissingSecret`, not worth a retry, if there is none.
    pub fn secret(&self, name: &str) -> Result<Secret> {
        self.settings.secret(name)
    }

    /// The same with a setting, for tests.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn with_config(mut self, name: &str, value: impl Into<String>) -> Self {
        Rc::make_mut(&mut self.settings).give_config(name, value.into());
        self
    }

    /// The same with a secret, for tests.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn with_secret(mut self, name: &str, value: impl Into<String>) -> Self {
        Rc::make_mut(&mut self.settings).give_secret(name, value.into());
        self
    }

    /// Writes a line to the log of the calling instance; the macros of `tracing` and `log` do the same.
    pub fn log(&self, level: Level, message: &str) {
        self.sink.log(level, message);
    }
}

/// Without settings and secrets.
impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity")
            .field("function", &self.attempt.function)
            .field("instance_id", &self.attempt.instance_id)
            .field("execution", &self.attempt.execution)
            .field("attempt", &self.attempt.attempt)
            .finish_non_exhaustive()
    }
}

struct HostLog;

impl Sink for HostLog {
    fn log(&self, level: Level, message: &str) {
        imports::log(level.into(), message);
    }
}
