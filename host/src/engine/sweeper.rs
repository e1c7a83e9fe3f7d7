//! Deletes what nobody needs any more, in small pieces, so that turns do not wait for it.

use std::sync::Arc;
use std::time::Duration;

use super::environment::Environment;
use super::old_versions::OldVersions;
use crate::model::Timestamp;
use crate::store::{Error, Store};

/// How often to look for garbage when there was none.
const PAUSE: Duration = Duration::from_secs(10);

/// Rows deleted at once: about the work of one batch of turns.
const ROWS: u64 = 500;

/// Between two pieces, the writer is left to those who wait for it.
const BREATH: Duration = Duration::from_millis(20);

/// Sweeps until the shutdown.
pub(super) async fn run(environment: Arc<Environment>) {
    let Environment { store, clock, .. } = &*environment;
    let mut versions = OldVersions::new(store.clone());
    let work = async {
        loop {
            let more = sweep(store, &mut versions, clock.now()).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "old rows could not be deleted; trying again later");
                false
            });
            tokio::time::sleep(if more { BREATH } else { PAUSE }).await;
        }
    };
    environment.shutdown.run_until_cancelled(work).await;
}

/// Deletes a piece; says whether there may be more.
async fn sweep(store: &Store, versions: &mut OldVersions, now: Timestamp) -> Result<bool, Error> {
    Ok(store.sweep(now, ROWS).await? || versions.step(now).await?)
}
