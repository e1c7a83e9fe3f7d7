//! Deletes rows, module bytes and compiled code that are not needed any more, in small batches, so that turns do not
//! wait.

use std::sync::Arc;
use std::time::Duration;

use super::environment::Environment;
use super::guests::Modules;
use super::old_versions::OldVersions;
use crate::model::Timestamp;
use crate::store::{Error, Store};

/// The pause after a sweep that found nothing more to delete, unless much is left behind in the meantime.
const PAUSE: Duration = Duration::from_secs(10);

/// Rows to delete at once; about as much work as one batch of turns.
const ROWS: u64 = 500;

/// The pause between two batches, in which the writer serves others.
const BREATH: Duration = Duration::from_millis(5);

/// Sweeps until shutdown.
pub(super) async fn run(environment: Arc<Environment>) {
    let Environment {
        store, modules, clock, ..
    } = &*environment;
    let mut versions = OldVersions::new(store.clone());
    let work = async {
        loop {
            let swept = sweep(store, &mut versions, &**modules, clock.now()).await;
            let more = swept.unwrap_or_else(|error| {
                tracing::warn!(%error, "old rows could not be deleted; trying again later");
                false
            });
            if more {
                tokio::time::sleep(BREATH).await;
            } else {
                let _ = tokio::time::timeout(PAUSE, store.much_garbage()).await;
            }
        }
    };
    environment.shutdown.run_until_cancelled(work).await;
}

/// Deletes one batch. Returns whether there may be more.
async fn sweep(
    store: &Store,
    versions: &mut OldVersions,
    modules: &dyn Modules,
    now: Timestamp,
) -> Result<bool, Error> {
    Ok(store.sweep(now, ROWS).await? || versions.step(now).await? || modules.sweep(now).await?)
}
