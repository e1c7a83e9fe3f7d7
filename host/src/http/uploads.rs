//! Limits concurrent uploads: each may hold its whole body in memory, and then occupies a compiler.
//!
//! While a body arrives, it takes memory in the share of its tenant. Only then it needs one of the few permits to be
//! compiled. So clients that send slowly keep nobody from uploading: they hold memory of their own share, and no permit.
//! Of the permits, a tenant has two at most, and one is always left for a tenant that has none.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::error::Refusal;
use crate::{
    memory::{Held, Pool},
    model::TenantId,
};

/// The memory for bodies, beside the memory budget, is this fraction (1/4) of it,
const FRACTION: u64 = 4;
/// but at least as much as two bodies of the maximum length have,
const LEAST_BODIES: u64 = 2;
/// and at most as much as four have.
const MOST_BODIES: u64 = 4;

/// The memory that a body takes at once, in bytes.
const STEP_BYTES: usize = 256 << 10;

/// Maximum number of modules of all tenants that are compiled at the same time.
const MAX_COMPILED: u64 = 5;

/// Maximum number of modules of one tenant that are compiled at the same time.
const MAX_OF_TENANT: usize = 2;

/// How long an upload waits for memory, and then for its permit. Long enough for a dozen modules that are deployed at
/// once.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The memory and the permits for uploads.
#[derive(Debug)]
pub(crate) struct Uploads {
    bodies: Pool,
    compiled: Pool,
    /// The permits of tenants that compile or wait.
    tenants: Mutex<HashMap<TenantId, Weak<Semaphore>>>,
}

/// Memory for the body of an upload, which grows as the body arrives.
#[derive(Debug)]
pub(crate) struct BodyRoom {
    bodies: Pool,
    held: Held,
    tenant: TenantId,
}

/// The right to have a module compiled, with the memory of its bytes.
#[derive(Debug)]
pub(crate) struct UploadPermit {
    _room: BodyRoom,
    _of_host: Held,
    _of_tenant: OwnedSemaphorePermit,
}

impl Uploads {
    /// Creates the memory and permits for modules of at most `module_bytes`, on a host with this memory budget, in bytes.
    pub(crate) fn new(module_bytes: usize, budget_bytes: u64) -> Self {
        let [least, most] = [LEAST_BODIES, MOST_BODIES].map(|bodies| bodies.saturating_mul(module_bytes as u64));
        Self {
            bodies: Pool::new((budget_bytes / FRACTION).clamp(least, most)),
            compiled: Pool::new(MAX_COMPILED),
            tenants: Mutex::default(),
        }
    }

    /// Waits for memory for the beginning of a body.
    ///
    /// # Errors
    /// If other bodies take too much memory for too long.
    pub(crate) async fn room(&self, tenant: TenantId) -> Result<BodyRoom, Refusal> {
        Ok(BodyRoom {
            held: take(&self.bodies, tenant, 0).await?,
            bodies: self.bodies.clone(),
            tenant,
        })
    }

    /// Waits for a permit for a body that was received.
    ///
    /// # Errors
    /// If the permits of the tenant or of the host are in use for too long.
    pub(crate) async fn permit(&self, room: BodyRoom) -> Result<UploadPermit, Refusal> {
        let deadline = Instant::now() + MAX_WAIT;
        let of_tenant = timeout_at(deadline, self.of(room.tenant).acquire_owned())
            .await
            .map_err(|_| Refusal::TooManyUploads { limit: MAX_OF_TENANT })?;
        let of_host = timeout_at(deadline, self.compiled.take(room.tenant, 1))
            .await
            .map_err(|_| Refusal::Overloaded)?;
        Ok(UploadPermit {
            _room: room,
            _of_host: of_host,
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

impl BodyRoom {
    /// Waits until there is memory for that many bytes of the body.
    ///
    /// # Errors
    /// If other bodies take too much memory for too long.
    pub(crate) async fn reach(&mut self, bytes: usize) -> Result<(), Refusal> {
        while self.held.bytes() < bytes as u64 {
            let taken = take(&self.bodies, self.tenant, self.held.bytes()).await?;
            self.held.add(taken);
        }
        Ok(())
    }
}

/// Takes memory for the next piece of a body that has taken `own` bytes.
async fn take(bodies: &Pool, tenant: TenantId, own: u64) -> Result<Held, Refusal> {
    match timeout(MAX_WAIT, bodies.take(tenant, STEP_BYTES as u64)).await {
        Ok(held) => Ok(held),
        Err(_) if bodies.usage_of(tenant).used > own => Err(Refusal::TooManyUploads { limit: MAX_OF_TENANT }),
        Err(_) => Err(Refusal::Overloaded),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const ONE: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);
    const THIRD: TenantId = TenantId(3);

    const MODULE_BYTES: usize = 64 << 20;

    /// Uploads a module of a megabyte.
    async fn enter(uploads: &Uploads, tenant: TenantId) -> Result<UploadPermit, Refusal> {
        let mut room = uploads.room(tenant).await?;
        room.reach(1 << 20).await?;
        uploads.permit(room).await
    }

    fn code<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> &'static str {
        refused.expect_err("it is refused").kind().1
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_uses_all_its_permits_waits_and_others_do_not() {
        let uploads = Uploads::new(MODULE_BYTES, u64::MAX);
        let held = [enter(&uploads, ONE).await.unwrap(), enter(&uploads, ONE).await.unwrap()];
        let third = enter(&uploads, ONE);
        tokio::pin!(third);
        assert!(third.as_mut().now_or_never().is_none(), "it waits");
        drop(enter(&uploads, OTHER).now_or_never().expect("at once").unwrap());
        drop(held);
        drop(third.await.unwrap());
        drop(enter(&uploads, OTHER).await.unwrap());
        assert_eq!(
            uploads.tenants.lock().unwrap().len(),
            1,
            "a tenant without uploads is forgotten"
        );
        assert_eq!(uploads.bodies.usage().used, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_waits_too_long_is_refused_with_the_reason() {
        let uploads = Uploads::new(MODULE_BYTES, u64::MAX);
        let mut held = vec![enter(&uploads, ONE).await.unwrap(), enter(&uploads, ONE).await.unwrap()];
        let started_at = Instant::now();
        assert_eq!(code(enter(&uploads, ONE).await), "too-many-uploads");
        assert_eq!(started_at.elapsed().as_secs(), MAX_WAIT.as_secs());
        held.push(enter(&uploads, OTHER).await.unwrap());
        held.push(enter(&uploads, OTHER).await.unwrap());
        held.push(enter(&uploads, THIRD).await.expect("one permit is left"));
        assert_eq!(code(enter(&uploads, TenantId(4)).await), "overloaded");
        drop(held);
        enter(&uploads, ONE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn two_tenants_that_send_slowly_leave_memory_for_a_third() {
        let uploads = Uploads::new(MODULE_BYTES, u64::MAX);
        let mut slow = Vec::new();
        for tenant in [ONE, OTHER] {
            while let Some(room) = uploads.room(tenant).now_or_never() {
                slow.push(room.unwrap());
            }
        }
        assert!(enter(&uploads, THIRD).now_or_never().is_some());
        assert_eq!(code(slow[0].reach(MODULE_BYTES).await), "too-many-uploads");
        slow.clear();
        assert!(enter(&uploads, ONE).now_or_never().is_some());
    }

    #[test]
    fn the_memory_for_bodies_follows_the_budget_and_has_room_for_the_largest() {
        for (budget, expected) in [(128, 128), (640, 160), (8 << 10, 256)] {
            let uploads = Uploads::new(64 << 20, budget << 20);
            assert_eq!(uploads.bodies.limit() >> 20, expected, "{budget} MiB");
            let alone = uploads.bodies.has_room(TenantId(1), 64 << 20);
            assert!(alone, "{budget} MiB");
        }
    }
}
