//! Lets the writer sleep until its script has ended.
//!
//! sqlx runs each connection on a thread. It sends the result of each statement to the task that waits for the script, and
//! wakes the task each time. A script has about a dozen statements, so the two threads would switch a dozen times for one
//! commit. That takes as long as the rest of a small commit, and longer while other threads want the processors.
//!
//! So the writer sends its script without asking to be woken. The last statement of the script wakes it. If a statement
//! fails, the last one does not run; the writer notices this at a timer.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::FutureExt;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep},
};

/// How long the writer does not notice that a script has failed, unless the threads that look after timers are busy.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The results of this many statements and rows wait for the writer; SQLite's thread waits before it adds further ones.
const RESULTS_AHEAD: usize = 128;

/// A condition that is true, and wakes the writer. (Of all that SQLite calls during a statement, sqlx lets us provide
/// collations.)
macro_rules! end_signal {
    () => {
        "'a' < 'b' COLLATE end_signal"
    };
}
pub(super) use end_signal;

/// Signals that scripts of one connection have ended.
pub(super) struct EndSignal {
    /// Notified by [`end_signal!`].
    ended: Arc<Notify>,
    /// When the writer looks at the results in any case. It is not set anew for each script: a timer that is due sooner
    /// than all others wakes the thread that waits for them.
    look: Pin<Box<Sleep>>,
}

impl EndSignal {
    /// A signal, and the options of a connection that gives it.
    pub(super) fn of(options: SqliteConnectOptions) -> (Self, SqliteConnectOptions) {
        let ended = Arc::new(Notify::new());
        let signal = Arc::clone(&ended);
        let options = options
            .row_buffer_size(RESULTS_AHEAD)
            .collation("end_signal", move |one, other| {
                signal.notify_one();
                one.cmp(other)
            });
        let look = Box::pin(sleep(LOOK_EVERY));
        (Self { ended, look }, options)
    }

    /// Runs a script on the connection whose last statement contains [`end_signal!`].
    pub(super) async fn run<F: Future>(&mut self, script: F) -> F::Output {
        let mut script = pin!(script);
        // The end of an earlier script that was noticed in another way.
        let _ = self.ended.notified().now_or_never();
        // Sends the script.
        if let Poll::Ready(output) = script.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        if self.look.is_elapsed() {
            self.look.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
        tokio::select! {
            biased;
            () = self.ended.notified() => {}
            () = &mut self.look => {}
        }
        script.await
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnection};

    use super::*;

    const SCRIPT: &str = concat!("SELECT 1; SELECT 2; SELECT 3 WHERE ", end_signal!());

    async fn connect() -> (EndSignal, SqliteConnection) {
        let options = SqliteConnectOptions::new().in_memory(true).disable_statement_logging();
        let (end, options) = EndSignal::of(options);
        (end, options.connect().await.unwrap())
    }

    #[tokio::test]
    async fn the_last_statement_gives_the_signal() {
        let (end, mut connection) = connect().await;
        connection.fetch_all("SELECT 1; SELECT 2").await.unwrap();
        assert!(end.ended.notified().now_or_never().is_none());
        assert_eq!(connection.fetch_all(SCRIPT).await.unwrap().len(), 3);
        assert!(end.ended.notified().now_or_never().is_some());
    }

    #[tokio::test]
    async fn each_script_ends_however_the_one_before_it_was_noticed() {
        let (mut end, mut connection) = connect().await;
        for _ in 0..100 {
            // Without waiting for the signal.
            connection.fetch_all(SCRIPT).await.unwrap();
            let rows = end.run(connection.fetch_all(SCRIPT)).await.unwrap();
            assert_eq!(rows.len(), 3);
        }
    }

    #[tokio::test]
    async fn a_script_that_fails_or_has_many_results_is_noticed() {
        let (mut end, mut connection) = connect().await;
        let failing = concat!(
            "SELECT 1; SELECT abs(-9223372036854775808); SELECT 3 WHERE ",
            end_signal!()
        );
        assert!(end.run(connection.fetch_all(failing)).await.is_err());
        let many = sqlx::AssertSqlSafe(["SELECT 1;"; 3 * RESULTS_AHEAD].concat() + SCRIPT);
        let rows = end.run(connection.fetch_all(many)).await.unwrap();
        assert_eq!(rows.len(), 3 * RESULTS_AHEAD + 3);
    }
}
