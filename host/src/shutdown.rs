//! Shutdown on signals: the first one requests a graceful shutdown, the second exits immediately.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal: 128 plus the number of SIGINT, as in shells.
const FORCED: i32 = 130;

/// Returns a token that is cancelled by the first SIGTERM or SIGINT. The second one exits the process, which loses
/// nothing: whatever was acknowledged is on disk.
///
/// # Errors
/// If the process cannot listen for signals.
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
