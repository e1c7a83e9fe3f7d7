//! An operator in a simulated world, who replaces states of entities by what is stored, while operations are applied. No
//! operation may be lost by that: [`checkers`](super::checkers) count them.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::rng::Rng;
use crate::engine::{Engine, SetStateRequest};
use crate::model::{EntityId, EntityState, Replaces, codec};
use crate::store::simulated::Disk;

/// The longest pause between two requests, in milliseconds.
const MAX_PAUSE_MS: u64 = 400;

/// Starts an operator, who works until the task is aborted or the host ends.
pub(super) fn begin(seed: u64, disk: &Disk, engine: &Engine) -> JoinHandle<()> {
    let mut rng = Rng::new(seed, "operators");
    let (disk, engine) = (disk.clone(), engine.clone());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(rng.between(1, MAX_PAUSE_MS))).await;
            let requests = requests(&disk);
            if !requests.is_empty() {
                // Whether it is refused does not matter: the entity may have changed, or the host may end.
                let _ = engine.set_entity_state(rng.pick(&requests).clone()).await;
            }
        }
    })
}

/// What an operator may ask: for each entity, its state as it is stored.
fn requests(disk: &Disk) -> Vec<SetStateRequest> {
    let content = disk.content();
    let entities = content.existing().filter_map(|(number, row, _)| {
        let entity = EntityId::of(&row.id)?;
        let stored: EntityState = codec::decode(row.entity.as_ref()?).ok()?;
        Some(SetStateRequest {
            tenant: row.tenant,
            entity,
            state: Some(stored.state?),
            replaces: Replaces::Version {
                instance: number,
                version: stored.version,
            },
            key: None,
            idempotency: None,
        })
    });
    entities.collect()
}
