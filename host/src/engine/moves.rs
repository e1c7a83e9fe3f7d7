//! Moves of instances: from the module version on which they began to the current one.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Engine;
use super::api::{MoveError, MoveRequest, Moved};
use super::mail::{Mail, MoveMail, MoveOutcome};
use super::owner::MoveTo;
use crate::model::{EntityId, ModuleDigest, ModuleNumber};
use crate::store::{Addressee, Error as StoreError};

/// How long a client waits for the owner of the instance, which replays the history.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a move is tried whose owner ended in between, for example because a commit failed.
const TRIES: u32 = 5;

/// The delay before the next try.
const PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Moves an instance to the current version of its function's module, if its history fits. The move is durable when
    /// this returns. A stuck instance that moves runs again.
    ///
    /// # Errors
    /// If the instance is not moved; then it stays on its version. After [`MoveError::Busy`] it may have been moved.
    pub async fn move_instance(&self, request: MoveRequest) -> Result<Moved, MoveError> {
        let MoveRequest { tenant, id, dry_run } = request;
        if EntityId::of(&id).is_some() {
            return Err(MoveError::Entity);
        }
        let shared = &self.0.shared;
        for _ in 0..TRIES {
            let addressee = shared.store.tenant(tenant).addressee(&id).await?;
            let Addressee {
                number,
                module,
                function,
                status,
                ..
            } = addressee.ok_or(MoveError::Unknown)?;
            if status.has_ended() {
                return Err(MoveError::Ended(status));
            }
            let Some(current) = shared.guests.current(tenant, &function) else {
                return Err(MoveError::NoFunction(function));
            };
            let (from, to) = (self.digest_of(module).await?, self.digest_of(current).await?);
            if module == current {
                return Ok(Moved { from, to, moved: false });
            }
            let (reply, outcome) = oneshot::channel();
            let to_module = MoveTo {
                module: current,
                dry_run,
                note: format!("moved to version {to} of its module, from {from}"),
            };
            let mail = MoveMail { to: to_module, reply };
            self.0.owners.deliver(tenant, number, Mail::Move(Box::new(mail)));
            match tokio::time::timeout(PATIENCE, outcome).await {
                Ok(Ok(MoveOutcome::Moved)) => return Ok(Moved { from, to, moved: true }),
                Ok(Ok(MoveOutcome::Fits)) => return Ok(Moved { from, to, moved: false }),
                Ok(Ok(MoveOutcome::Misfit(reason))) => return Err(MoveError::Misfit { from, to, reason }),
                // The owner has ended: the instance may have, too.
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Err(_) => return Err(MoveError::Busy),
            }
        }
        Err(MoveError::Busy)
    }

    async fn digest_of(&self, module: ModuleNumber) -> Result<ModuleDigest, StoreError> {
        let version = self.0.shared.store.module(module).await?;
        let version = version.ok_or_else(|| StoreError::Damaged(format!("module version {module} is not stored")))?;
        Ok(version.digest)
    }
}
