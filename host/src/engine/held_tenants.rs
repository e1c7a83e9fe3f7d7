//! Tenants whose instances take no turns for now, and what happens when they may again.
//!
//! A tenant is held while it is disabled, or while far more is stored of it than its quota allows. Nothing is lost: what
//! arrives meanwhile is kept, as for a suspended instance, and timers that come due fire afterwards. Who finds a tenant
//! held notes it here; when it is held no more, all of its instances that have something to do are woken.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::environment::Environment;
use super::mail::Mail;
use super::owners::Owners;
use crate::model::{InstanceNumber, TenantId};
use crate::store::Error;
use crate::tenancy::Tenancy;

/// How often it is looked whether a tenant is still held.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Instances woken per query.
const PAGE: u32 = 1_000;

/// The tenants that are held. Cheap to clone.
#[derive(Clone)]
pub(super) struct HeldTenants(Arc<Inner>);

struct Inner {
    tenancy: Tenancy,
    /// Those that were found held, and whose instances have not been woken since.
    noted: Mutex<BTreeSet<TenantId>>,
    /// The first was noted.
    first: Notify,
}

impl HeldTenants {
    pub(super) fn new(tenancy: Tenancy) -> Self {
        Self(Arc::new(Inner {
            tenancy,
            noted: Mutex::default(),
            first: Notify::new(),
        }))
    }

    /// Whether a tenant is held. Who is told so will be woken.
    pub(super) fn is_held(&self, tenant: TenantId) -> bool {
        if self.0.tenancy.hold(tenant).is_none() {
            return false;
        }
        if self.noted().insert(tenant) {
            self.0.first.notify_one();
        }
        // It may have ended before it was noted; who looks for noted ones comes after this.
        self.0.tenancy.hold(tenant).is_some()
    }

    /// The tenants that were found held.
    pub(super) fn held(&self) -> Vec<TenantId> {
        self.noted().iter().copied().collect()
    }

    /// Wakes instances when their tenants are held no more, until the shutdown. Before each time, `released` is called.
    pub(super) async fn run(self, environment: Arc<Environment>, owners: Owners, released: impl Fn()) {
        let work = async {
            loop {
                if self.noted().is_empty() {
                    self.0.first.notified().await;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                let tenants = self.release();
                if tenants.is_empty() {
                    continue;
                }
                released();
                for tenant in tenants {
                    match wake(&environment, &owners, tenant).await {
                        Ok(woken) => tracing::info!(%tenant, instances = woken, "resumed the instances of a tenant"),
                        Err(error) => {
                            tracing::error!(%tenant, %error, "the instances of a tenant could not be resumed; trying again");
                            self.noted().insert(tenant);
                        }
                    }
                }
            }
        };
        environment.shutdown.run_until_cancelled(work).await;
    }

    /// Forgets those that are held no more, and says which.
    fn release(&self) -> Vec<TenantId> {
        let mut noted = self.noted();
        noted
            .extract_if(.., |tenant| self.0.tenancy.hold(*tenant).is_none())
            .collect()
    }

    fn noted(&self) -> MutexGuard<'_, BTreeSet<TenantId>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the instances of a tenant that have messages, activities in flight, or something due.
async fn wake(environment: &Environment, owners: &Owners, tenant: TenantId) -> Result<u64, Error> {
    let (mut woken, mut after) = (0, None::<InstanceNumber>);
    loop {
        let now = environment.clock.now();
        let page = environment.store.to_wake_of(tenant, now, after, PAGE).await?;
        for instance in &page {
            owners.deliver(*instance, Mail::Wake);
        }
        woken += page.len() as u64;
        after = page.last().copied();
        if page.len() < PAGE as usize {
            return Ok(woken);
        }
    }
}
