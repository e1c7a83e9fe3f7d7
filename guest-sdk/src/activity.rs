//! [`Activity`]: the context of a running attempt.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::activity::windlass::durable::activity_context as imports;
use crate::failure::{Failure, Result};
use crate::failure_types;
use crate::instance_id::InstanceId;
use crate::logging::{Level, Sink};
use crate::payload::{decode, encode};
use crate::progress::Progress;
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
    progress: Progress,
    sink: Rc<dyn Sink>,
}

/// The permission to complete a call from outside, once. Keep it out of logs.
#[derive(Clone)]
pub struct CompletionToken {
    token: String,
    url: Option<String>,
}

impl CompletionToken {
    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The URL that takes the outcome with a POST; none if the host does not know its public address
    /// (`serve --public-url`).
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

/// Omits the token.
impl fmt::Debug for CompletionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompletionToken(***)")
    }
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
    pub(crate) fn new(attempt: Attempt, settings: Rc<Settings>, progress: Progress, sink: Rc<dyn Sink>) -> Self {
        Self {
            attempt: Rc::new(attempt),
            settings,
            progress,
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
        Self::new(attempt, Rc::new(Settings::Host), Progress::Host, Rc::new(HostLog))
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

    /// Tells the host that this attempt is alive and how far it is. The next attempt of the call gets the details of the
    /// last heartbeat from [`heartbeat_details`](Self::heartbeat_details).
    ///
    /// The host stores the details at most once a second, and when the attempt fails; a crash of the host loses those that
    /// were not stored. Details are at most 64 KiB of JSON. They are displayed, so keep secrets out of them.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::testing;
    /// # fn import(row: u64) -> Result<()> { if row == 3 { Err(Failure::new("Down", "")) } else { Ok(()) } }
    /// #[activity]
    /// fn import_rows(ctx: Activity, rows: u64) -> Result<u64> {
    ///     let done = ctx.heartbeat_details::<u64>()?.unwrap_or(0);
    ///     for row in done..rows {
    ///         import(row)?;
    ///         ctx.heartbeat(&(row + 1))?;
    ///     }
    ///     Ok(rows)
    /// }
    ///
    /// let first = testing::activity(1);
    /// assert!(import_rows(first.clone(), 10).unwrap_err().is("Down"));
    /// assert_eq!(first.heartbeats(), ["1", "2", "3"]);
    /// let second = testing::activity(2).with_heartbeat_details(&4);
    /// assert_eq!(import_rows(second, 10).unwrap(), 10);
    /// ```
    ///
    /// # Errors
    /// `windlass.cancelled` if the attempt [is cancelled](Self::is_cancelled): then clean up and return.
    /// `windlass.invalid-payload`, which is not retried, if the details are too long.
    pub fn heartbeat<T: Serialize + ?Sized>(&self, details: &T) -> Result<()> {
        let details = encode("the details of the heartbeat", details)?;
        match self.progress.heartbeat(&details)? {
            true => Err(cancelled()),
            false => Ok(()),
        }
    }

    /// The details of the last [`heartbeat`](Self::heartbeat) of an earlier attempt of this call, as far as the host
    /// stored them; none in the first attempt.
    ///
    /// # Errors
    /// `InvalidPayload`, which is not retried, if the details are of another type.
    pub fn heartbeat_details<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let details = self.progress.heartbeat_details();
        details
            .map(|details| decode("the details of the last heartbeat", &details))
            .transpose()
    }

    /// Leaves the outcome of the call to somebody outside, who completes it with the token that `pass_on` gets:
    /// `POST /v1/completions/{token}`, or `windlass complete`. Return what this returns: then the attempt ends, and the
    /// call waits without memory and without a slot, also when the host restarts.
    ///
    /// The timeouts of the attempt and of the call bound the wait; without them it has no end. After the timeout of the
    /// attempt, and after a failure from outside, the retry policy applies: the next attempt gets another token, and the
    /// old one is void. The token may be used while `pass_on` still runs.
    ///
    /// In a test the token is `wc_test`.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::{http, testing};
    /// #[activity]
    /// fn ask(ctx: Activity, question: String) -> Result<bool> {
    ///     ctx.complete_later(|completion| {
    ///         let form = format!("{question}\n{}", completion.token());
    ///         http::post("https://forms.example/new").body(form).send()?.ok()?;
    ///         Ok(())
    ///     })
    /// }
    ///
    /// let handler = |request: &http::Request| {
    ///     assert!(request.body_bytes().ends_with(b"wc_test"));
    ///     Ok(http::Response::new(200, ""))
    /// };
    /// let asked = testing::with_http(handler, || ask(testing::activity(1), "Ship it?".into()));
    /// assert!(asked.unwrap_err().is(failure_types::COMPLETES_LATER));
    /// ```
    ///
    /// # Errors
    /// Always: `windlass.completes-later`, which the host understands; the failure of `pass_on`; `windlass.cancelled` if
    /// nobody waits for the call; `windlass.unavailable` if the token cannot be stored now.
    pub fn complete_later<T>(&self, pass_on: impl FnOnce(&CompletionToken) -> Result<()>) -> Result<T> {
        let (token, url) = self.progress.complete_later()?;
        pass_on(&CompletionToken { token, url })?;
        let message = "the call is completed from outside";
        Err(Failure::new(failure_types::COMPLETES_LATER, message).non_retryable())
    }

    /// Whether this attempt is cancelled: the orchestration no longer waits for its result (it cancelled the call, or
    /// ended), or the time of the attempt is over. What the activity returns from then on is dropped.
    ///
    /// An attempt that has called this, [`heartbeat`](Self::heartbeat) or [`sleep`](Self::sleep) before it is cancelled may
    /// clean up for a while: 10 seconds, unless the operator of the host chose another time. Then the host stops it. Any
    /// other attempt is stopped at once.
    pub fn is_cancelled(&self) -> bool {
        self.progress.is_cancelled()
    }

    /// Sleeps, but not longer than until the attempt [is cancelled](Self::is_cancelled). In a test it returns at once.
    ///
    /// # Errors
    /// `windlass.cancelled` if the attempt is cancelled.
    pub fn sleep(&self, duration: Duration) -> Result<()> {
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        let began = Instant::now();
        loop {
            if self.is_cancelled() {
                return Err(cancelled());
            }
            let left = duration.saturating_sub(began.elapsed());
            if left.is_zero() || !self.progress.is_of_host() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_AGAIN));
        }
    }

    /// Sets the details of the last heartbeat of an earlier attempt, for tests.
    ///
    /// # Panics
    /// If the details cannot be written as JSON.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn with_heartbeat_details<T: Serialize + ?Sized>(self, details: &T) -> Self {
        let details = encode("the details", details).expect("the details can be written as JSON");
        self.progress.give_details(details);
        self
    }

    /// Cancels the attempt after it has asked this many times whether it is cancelled (each heartbeat asks, too), for
    /// tests.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn cancelled_after(self, times: u32) -> Self {
        self.progress.cancel_after(times);
        self
    }

    /// The details of all heartbeats of this attempt as JSON, for tests.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn heartbeats(&self) -> Vec<String> {
        self.progress.heartbeats()
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

fn cancelled() -> Failure {
    Failure::new(failure_types::CANCELLED, "the attempt is cancelled").non_retryable()
}

struct HostLog;

impl Sink for HostLog {
    fn log(&self, level: Level, message: &str) {
        imports::log(level.into(), message);
    }
}
