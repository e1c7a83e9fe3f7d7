//! Limits concurrent uploads: each may hold its whole body in memory and occupy a compiler.
//!
//! The host's permits are given out in order, but an upload must first hold one of the few permits of its tenant. So at
//! most that many uploads of one tenant are ahead of those of others, however many it starts and however slowly it
//! sends them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::error::Refusal;
use crate::model::TenantId;

/// Maximum number of concurrent uploads of all tenants.
const MAX_UPLOADS: usize = 4;

/// Maximum number of concurrent uploads of one tenant.
const MAX_OF_TENANT: usize = 2;

/// How long an upload waits for its permit. Long enough for a dozen modules that are deployed at once.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The permits for uploads.
#[derive(Debug)]
pub(crate) struct Uploads {
    host: Arc<Semaphore>,
    /// The permits of tenants that are uploading or waiting.
    tenants: Mutex<HashMap<TenantId, Weak<Semaphore>>>,
}

/// The right to hold the bytes of a module in memory and to have them compiled.
#[derive(Debug)]
pub(crate) struct UploadPermit {
    _of_host: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
}

impl Uploads {
    pub(crate) fn new() -> Self {
        Self {
            host: Arc::new(Semaphore::new(MAX_UPLOADS)),
            tenants: Mutex::default(),
        }
    }

    /// Waits for a permit for an upload of that tenant.
    ///
    /// # Errors
    /// If the permits of the tenant or of the host are in use for too long.
    pub(crate) async fn enter(&self, tenant: TenantId) -> Result<UploadPermit, Refusal> {
        let deadline = Instant::now() + MAX_WAIT;
        let of_tenant = timeout_at(deadline, self.of(tenant).acquire_owned())
            .await
            .map_err(|_| Refusal::TooManyUploads { limit: MAX_OF_TENANT })?;
        let of_host = timeout_at(deadline, self.host.clone().acquire_owned())
            .await
            .map_err(|_| Refusal::Overloaded)?;
        Ok(UploadPermit {
            _of_host: of_host.map_err(|_| Refusal::ShuttingDown)?,
            _of_tenant: of_tenant.map_err(|_| Refusal::ShuttingDown)?,
        })
    }

    fn of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, places| places.strong_count() > 0);
        if let Some(places) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return places;
        }
        let places = Arc::new(Semaphore::new(MAX_OF_TENANT));
        tenants.insert(tenant, Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const ONE: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);
    const THIRD: TenantId = TenantId(3);

    fn code(refused: Result<UploadPermit, Refusal>) -> &'static str {
        refused.expect_err("there is no permit").kind().1
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_uses_all_its_permits_waits_and_others_do_not() {
        let uploads = Uploads::new();
        let held = [uploads.enter(ONE).await.unwrap(), uploads.enter(ONE).await.unwrap()];
        let third = uploads.enter(ONE);
        tokio::pin!(third);
        assert!(third.as_mut().now_or_never().is_none(), "it waits");
        drop(uploads.enter(OTHER).now_or_never().expect("at once").unwrap());
        drop(held);
        drop(third.await.unwrap());
        drop(uploads.enter(OTHER).await.unwrap());
        assert_eq!(
            uploads.tenants.lock().unwrap().len(),
            1,
            "a tenant without uploads is forgotten"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_waits_too_long_is_refused_with_the_reason() {
        let uploads = Uploads::new();
        let mut held = vec![uploads.enter(ONE).await.unwrap(), uploads.enter(ONE).await.unwrap()];
        let started_at = Instant::now();
        assert_eq!(code(uploads.enter(ONE).await), "too-many-uploads");
        assert_eq!(started_at.elapsed().as_secs(), MAX_WAIT.as_secs());
        held.extend([uploads.enter(OTHER).await.unwrap(), uploads.enter(OTHER).await.unwrap()]);
        assert_eq!(code(uploads.enter(THIRD).await), "overloaded");
        drop(held);
        uploads.enter(ONE).await.unwrap();
    }
}
