//! When to end: the first signal asks for a graceful end, the second ends at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a host that was ended by a second signal: 128 and the number of SIGINT, as shells count.
const FORCED: i32 = 130;

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process, which loses nothing: what
/// was answered is on disk.
///
/// # Errors
/// When the process cannot listen for signals.
pub fn on_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = stop.clone();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("shutting down; a second signal exits immediately");
        asked.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("a second signal arrived; exiting immediately");
        std::process::exit(FORCED);
    });
    Ok(stop)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        biased;
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
