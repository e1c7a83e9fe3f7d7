//! Starts the owners of instances for which there was no memory, as memory becomes free.
//!
//! What an instance has to do is in the store, so an instance that was left out only has to be woken. Instances of a
//! tenant are woken in the order in which they were left out. While they wait, idle instances give way: they are dropped
//! from memory as soon as they are idle, and those that are idle already are evicted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::left_out::LeftOutNext;
use super::owners::{OWNER_BYTES, Owners};
use super::shared::Shared;
use crate::memory::{Held, Part};
use crate::model::{InstanceNumber, TenantId};
use crate::store::Error;

/// How long an evicted instance may take to give its memory back before another one is evicted.
const EVICTION: Duration = Duration::from_millis(10);

/// The pause before the store is read again after it failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// Notes that there is no memory for the owner of an instance. It is woken when there is.
pub(super) fn leave_out(shared: &Arc<Shared>, owners: &Owners, tenant: TenantId, instance: InstanceNumber) {
    if shared.left_out.note(tenant, instance) {
        let work = wake_those_left_out(shared.clone(), owners.clone(), tenant);
        shared.tracker.spawn_on(work, &shared.runtime);
    }
}

async fn wake_those_left_out(shared: Arc<Shared>, owners: Owners, tenant: TenantId) {
    let work = async {
        loop {
            let memory = memory_of_instance(&shared, &owners, tenant, OWNER_BYTES).await;
            match shared.left_out.next(&shared.environment, tenant).await {
                Ok(LeftOutNext::Resume(instance)) => owners.wake_with(tenant, instance, memory),
                Ok(LeftOutNext::None { were_known }) => {
                    if !were_known {
                        // Some may have been new, with a first turn that is not due yet.
                        shared.timers.read_again();
                    }
                    return;
                }
                Err(Error::Closed | Error::NotOwner) => return,
                Err(error) => {
                    tracing::warn!(%error, "instances that wait for memory could not be read; trying again");
                    drop(memory);
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    };
    shared.shutdown.run_until_cancelled(work).await;
}

/// Takes memory for an instance. Evicts idle instances meanwhile.
pub(super) async fn memory_of_instance(shared: &Shared, owners: &Owners, tenant: TenantId, bytes: u64) -> Held {
    let pool = shared.memory.part(Part::Instances);
    let mut taken = pin!(pool.take(tenant, bytes));
    loop {
        tokio::select! {
            biased;
            held = &mut taken => return held,
            () = tokio::time::sleep(EVICTION) => {
                if let Some(idle) = shared.hot_instances.oldest_of(pool.gives_way(tenant, bytes)) {
                    owners.cool(idle);
                }
            }
        }
    }
}
