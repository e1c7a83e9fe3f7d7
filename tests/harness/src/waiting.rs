//! Waiting for conditions by polling, so that tests do not sleep for a fixed time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for anything. Long, because machines that also build are slow.
pub const PATIENCE: Duration = Duration::from_secs(90);

const ASK_EVERY: Duration = Duration::from_millis(10);

/// Polls until `ask` returns a value; `what` describes it in the error message.
///
/// # Panics
/// If there is no value after [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "timed out waiting for: {what}");
        sleep(ASK_EVERY).await;
    }
}
