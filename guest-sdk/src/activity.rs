//! [`Activity`]: the context of a running attempt.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::bindings::activity::windlass::durable::activity_context as imports;
use crate::failure::Result;
use crate::instance_id::InstanceId;
use crate::logging::{Level, Sink};
use crate::settings::{Secret, Settings};
use crate::time::Timestamp;

/// The context of one attempt. Cheap to clone.
///
/// An activity may do anything that its sandbox allows, and runs **at least once**: the host runs it again after a crash.
/// Pass [`idempotency_key`](Self::idempotency_key) to services that deduplicate requests.
#[derive(Clone)]
pub struct Activity {
    attempt: Rc<Attempt>,
    settings: Rc<Settings>,
    sink: Rc<dyn Sink>,
}

/// The properties of an attempt, as the host reports them.
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

    /// The context of the attempt that runs in this sandbox.
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

    /// A key that is the same for all attempts of one call and different for every other call.
    pub fn idempotency_key(&self) -> &str {
        &self.attempt.idempotency_key
    }

    /// The number of this attempt, from 1. An attempt that was interrupted by the end of the host is not counted.
    pub fn attempt(&self) -> u32 {
        self.attempt.attempt
    }

    /// The time at which the host stops this attempt.
    pub fn deadline(&self) -> Timestamp {
        Timestamp::from_host(self.attempt.deadline_ms)
    }

    /// The time that remains until the host stops this attempt.
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

    /// The maximum size of a result in bytes. The host refuses longer ones.
    pub fn max_payload_bytes(&self) -> u64 {
        self.attempt.max_payload_bytes
    }

    /// The setting of that name, which the operator or the tenant created.
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
    /// `MissingConfig`, which is not retried, if the setting does not exist.
    pub fn config(&self, name: &str) -> Result<String> {
        self.settings.config(name)
    }

    /// The secret of that name, which the operator or the tenant granted to the module.
    ///
    /// Results, failures and logs are stored and displayed: keep secrets out of them. The host masks a secret that
    /// appears verbatim in a log line or in the message of a failure; do not rely on this.
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
    /// let handler = |request: &http::Request| match request.header_value("authorization") {
    ///     Some("Bearer t0ken") => Ok(http::Response::of_json(200, &995)),
    ///     _ => Ok(http::Response::new(401, "")),
    /// };
    /// assert_eq!(testing::with_http(handler, || balance(ctx)).unwrap(), 995);
    /// ```
    ///
    /// # Errors
    /// `MissingSecret`, which is not retried, if the secret does not exist.
    pub fn secret(&self, name: &str) -> Result<Secret> {
        self.settings.secret(name)
    }

    /// Adds a setting, for tests.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn with_config(mut self, name: &str, value: impl Into<String>) -> Self {
        Rc::make_mut(&mut self.settings).give_config(name, value.into());
        self
    }

    /// Adds a secret, for tests.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn with_secret(mut self, name: &str, value: impl Into<String>) -> Self {
        Rc::make_mut(&mut self.settings).give_secret(name, value.into());
        self
    }

    /// Writes a line to the log of the calling instance, like the macros of `tracing` and `log`.
    pub fn log(&self, level: Level, message: &str) {
        self.sink.log(level, message);
    }
}

/// Omits settings and secrets.
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
