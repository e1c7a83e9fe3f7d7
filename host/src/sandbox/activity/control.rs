//! What the host and the guest of one attempt tell each other while it runs: heartbeats, and that the attempt is
//! cancelled.
//!
//! A guest that has asked about its attempt has a grace after the cancellation. A guest that never asked would not notice,
//! so it is dropped at once.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{Failure, Payload, failure::types};

/// Maximum length of the details of a heartbeat, in bytes. The last details of each running attempt are in memory.
pub const MAX_HEARTBEAT_BYTES: usize = 64 << 10;

/// How long a cancelled attempt may clean up, unless the operator chooses another time.
pub const DEFAULT_CANCELLATION_GRACE: Duration = Duration::from_secs(10);

/// Receives the heartbeats of an attempt.
pub trait Heartbeats: Send + Sync {
    /// Takes the details of a heartbeat. Only the last ones matter.
    fn beat(&self, details: Payload);
}

/// A token with which somebody completes the call of an attempt later.
#[derive(Debug, Clone)]
pub struct GivenToken {
    /// The token.
    pub token: String,
    /// Where to send the outcome, if the host knows its public address.
    pub url: Option<String>,
}

/// Gives out the token of an attempt.
pub trait Completions: Send + Sync {
    /// The token of the attempt; the same each time. It is durable when this returns.
    ///
    /// # Errors
    /// For the guest: if nobody waits for the call any more, or the token cannot be stored now.
    fn open(&self) -> BoxFuture<'static, Result<GivenToken, Failure>>;
}

/// The control of one attempt. Clones share it.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    options: ControlOptions,
    /// Tells the guest to end.
    cancelled: CancellationToken,
    /// Whether nobody waits for the call any more.
    is_call_cancelled: AtomicBool,
    /// Whether the guest has asked whether it is cancelled.
    has_asked: AtomicBool,
    last_beat: Mutex<Instant>,
}

/// What the host decides about the control of an attempt.
pub struct ControlOptions {
    /// The attempt fails when it has sent no heartbeat for this long.
    pub heartbeat_timeout: Option<Duration>,
    /// How long the guest may run after it was cancelled.
    pub grace: Duration,
    /// The details of the last heartbeat of an earlier attempt.
    pub previous: Option<Payload>,
    /// Receives the heartbeats.
    pub heartbeats: Option<Arc<dyn Heartbeats>>,
    /// Gives out the completion token.
    pub completions: Option<Arc<dyn Completions>>,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self {
            heartbeat_timeout: None,
            grace: DEFAULT_CANCELLATION_GRACE,
            previous: None,
            heartbeats: None,
            completions: None,
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new(ControlOptions::default())
    }
}

/// Without the payloads.
impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Why the host stopped an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Timeout,
    NoHeartbeat,
    Cancelled,
}

impl Control {
    /// Creates the control of an attempt. The first heartbeat is due `heartbeat_timeout` from now.
    pub fn new(options: ControlOptions) -> Self {
        Self(Arc::new(Inner {
            options,
            cancelled: CancellationToken::new(),
            is_call_cancelled: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
            last_beat: Mutex::new(Instant::now()),
        }))
    }

    /// Asks the guest to end. Returns false, and does nothing, if the guest has not asked whether it is cancelled.
    pub fn cancel(&self) -> bool {
        let has_asked = self.0.has_asked.load(Ordering::Relaxed);
        if has_asked {
            self.0.is_call_cancelled.store(true, Ordering::Relaxed);
            self.0.cancelled.cancel();
        }
        has_asked
    }

    /// Whether [`cancel`](Self::cancel) has asked the guest to end.
    pub fn is_call_cancelled(&self) -> bool {
        self.0.is_call_cancelled.load(Ordering::Relaxed)
    }

    /// Whether the guest should end: it was cancelled, or its time is over.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.is_cancelled()
    }

    /// The guest asks whether it is cancelled.
    pub fn ask(&self) -> bool {
        self.0.has_asked.store(true, Ordering::Relaxed);
        self.is_cancelled()
    }

    /// The guest sends a heartbeat. Returns whether it is cancelled.
    ///
    /// # Errors
    /// If the details are not JSON or too long; the heartbeat counts nevertheless.
    pub fn beat(&self, details: Option<&str>, max_bytes: usize) -> Result<bool, Failure> {
        *self.0.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let is_cancelled = self.ask();
        if let Some(text) = details {
            let details = Payload::parse(text, max_bytes.min(MAX_HEARTBEAT_BYTES)).map_err(|error| {
                Failure::new(types::PAYLOAD, format!("the details of the heartbeat: it {error}")).permanent()
            })?;
            if let Some(heartbeats) = &self.0.options.heartbeats {
                heartbeats.beat(details);
            }
        }
        Ok(is_cancelled)
    }

    /// The token with which somebody completes the call later.
    ///
    /// # Errors
    /// See [`Completions::open`].
    pub async fn complete_later(&self) -> Result<GivenToken, Failure> {
        match &self.0.options.completions {
            Some(completions) => completions.open().await,
            None => Err(Failure::new(types::UNAVAILABLE, "this call cannot be completed later")),
        }
    }

    /// The details of the last heartbeat of an earlier attempt.
    pub fn previous(&self) -> Option<&Payload> {
        self.0.options.previous.as_ref()
    }

    /// Runs a guest until it returns, or is stopped: at the timeout, when its heartbeat is late, or when it is cancelled.
    /// A guest that is stopped has a grace if it has asked whether it is cancelled; what it returns then is dropped.
    ///
    /// # Errors
    /// The failure of an attempt that was stopped.
    pub async fn supervise<T>(&self, timeout: Duration, guest: impl Future<Output = T>) -> Result<T, Failure> {
        let mut guest = std::pin::pin!(guest);
        let stop = tokio::select! {
            biased;
            () = self.0.cancelled.cancelled() => Stop::Cancelled,
            returned = &mut guest => return Ok(returned),
            stop = self.until_late(timeout) => stop,
        };
        if stop != Stop::NoHeartbeat && self.0.has_asked.load(Ordering::Relaxed) {
            self.0.cancelled.cancel();
            let _ = tokio::time::timeout(self.0.options.grace, guest).await;
        }
        Err(self.failure(stop, timeout))
    }

    /// Waits for the timeout or until a heartbeat is late.
    async fn until_late(&self, timeout: Duration) -> Stop {
        let started = Instant::now();
        let end = started.checked_add(timeout);
        loop {
            let beat_due = self
                .0
                .options
                .heartbeat_timeout
                .and_then(|allowed| self.last_beat().checked_add(allowed));
            let Some(next) = beat_due.into_iter().chain(end).min() else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(next).await;
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                return Stop::Timeout;
            }
            let allowed = self.0.options.heartbeat_timeout;
            if allowed.is_some_and(|allowed| now.duration_since(self.last_beat()) >= allowed) {
                return Stop::NoHeartbeat;
            }
        }
    }

    fn last_beat(&self) -> Instant {
        *self.0.last_beat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, stop: Stop, timeout: Duration) -> Failure {
        let written = |time: Duration| humantime::format_duration(time).to_string();
        match stop {
            Stop::Timeout => Failure::new(
                types::TIMEOUT,
                format!("the attempt took longer than {}", written(timeout)),
            ),
            Stop::NoHeartbeat => {
                let allowed = self.0.options.heartbeat_timeout.unwrap_or_default();
                let message = format!("the attempt sent no heartbeat for {}", written(allowed));
                Failure::new(types::HEARTBEAT_TIMEOUT, message)
            }
            Stop::Cancelled => Failure::new(types::CANCELLED, "the attempt was cancelled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Duration = Duration::from_secs(1);

    fn control(heartbeat_timeout: Option<Duration>) -> Control {
        Control::new(ControlOptions {
            heartbeat_timeout,
            grace: 3 * ONE,
            ..ControlOptions::default()
        })
    }

    /// Runs a guest, and returns the type of the failure and the seconds that have passed.
    async fn stopped(control: &Control, timeout: Duration, guest: impl Future<Output = ()>) -> (String, u64) {
        let began = Instant::now();
        let result = control.supervise(timeout, guest).await;
        let error_type = result.map_or_else(|failure| failure.error_type, |()| "returned".into());
        (error_type, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_never_asked_is_stopped_at_once() {
        let control = control(None);
        let found = stopped(&control, 5 * ONE, std::future::pending()).await;
        assert_eq!(found, (types::TIMEOUT.to_owned(), 5));
        assert!(!control.cancel());
        assert!(!control.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_asked_has_a_grace_and_its_result_is_dropped() {
        let ignores = control(None);
        assert!(!ignores.ask());
        let found = stopped(&ignores, 5 * ONE, std::future::pending()).await;
        assert_eq!(found, (types::TIMEOUT.to_owned(), 8));
        let cleans_up = control(None);
        let guest = async {
            while !cleans_up.ask() {
                tokio::time::sleep(ONE / 2).await;
            }
            tokio::time::sleep(ONE).await;
        };
        let found = stopped(&cleans_up, 5 * ONE, guest).await;
        assert_eq!(found, (types::TIMEOUT.to_owned(), 6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_guest_learns_it_from_its_heartbeat() {
        let control = control(None);
        let guest = async {
            while !control.beat(None, 0).unwrap() {
                tokio::time::sleep(ONE).await;
            }
        };
        let cancel = async {
            tokio::time::sleep(2 * ONE + ONE / 2).await;
            assert!(control.cancel());
        };
        let (found, ()) = tokio::join!(stopped(&control, 60 * ONE, guest), cancel);
        assert_eq!(found, (types::CANCELLED.to_owned(), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_keep_an_attempt_alive_until_one_is_late() {
        let control = control(Some(2 * ONE));
        let guest = async {
            for _ in 0..5 {
                tokio::time::sleep(ONE).await;
                control.beat(None, 0).unwrap();
            }
            std::future::pending().await
        };
        let found = stopped(&control, 60 * ONE, guest).await;
        assert_eq!(found, (types::HEARTBEAT_TIMEOUT.to_owned(), 7));
    }

    #[test]
    fn details_are_bounded_and_json() {
        let control = Control::default();
        let long = "1".repeat(MAX_HEARTBEAT_BYTES + 1);
        for (details, max_bytes) in [("nul", 100), ("[1,2,3]", 6), (&*long, usize::MAX)] {
            let failure = control.beat(Some(details), max_bytes).unwrap_err();
            assert_eq!(failure.error_type, types::PAYLOAD);
            assert!(failure.non_retryable);
        }
        assert!(!control.beat(Some("[1,2,3]"), 7).unwrap());
    }
}
