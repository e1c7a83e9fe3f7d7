//! Waiting for what must happen, by asking again until it did. A test never sleeps to let something happen.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for what should take a moment. Long, because machines that build are slow.
pub const PATIENCE: Duration = Duration::from_secs(90);

const ASK_EVERY: Duration = Duration::from_millis(10);

/// Asks until the answer is there; `what` names it for people if it never is.
///
/// # Panics
/// When it is not there after [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(ASK_EVERY).await;
    }
}
