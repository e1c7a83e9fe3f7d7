//! Tenants whose instances run no turns for now.
//!
//! A tenant is held while it is disabled, or while it stores far more than its quota allows. Nothing is lost: what
//! arrives is kept, as for a suspended instance, and timers that come due fire afterwards. Owners that find a tenant
//! held register it here; once it is no longer held, all of its instances that have work are woken.

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

/// How often to check whether a tenant is still held.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Instances to wake per query.
const PAGE: u32 = 1_000;

/// The tenants that are held. Cheap to clone.
#[derive(Clone)]
pub(super) struct HeldTenants(Arc<Inner>);

struct Inner {
    tenancy: Tenancy,
    /// Tenants that were found held and whose instances were not woken since.
    noted: Mutex<BTreeSet<TenantId>>,
    /// Notified when a tenant is added.
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

    /// Whether a tenant is held. If so, its instances will be woken afterwards.
    pub(super) fn is_held(&self, tenant: TenantId) -> bool {
        if self.0.tenancy.hold(tenant).is_none() {
            return false;
        }
        if self.noted().insert(tenant) {
            self.0.first.notify_one();
        }
        // The hold may have ended before the tenant was registered; checking again after the registration closes the
        // gap.
        self.0.tenancy.hold(tenant).is_some()
    }

    /// The tenants that were found held.
    pub(super) fn held(&self) -> Vec<TenantId> {
        self.noted().iter().copied().collect()
    }

    /// Wakes the instances of tenants that are no longer held, until shutdown. Calls `released` before.
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

    /// Removes and returns the tenants that are no longer held.
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

/// Wakes the instances of a tenant that have messages, activities in flight, or a due timer.
async fn wake(environment: &Environment, owners: &Owners, tenant: TenantId) -> Result<u64, Error> {
    let (mut woken, mut after) = (0, None::<InstanceNumber>);
    loop {
        let now = environment.clock.now();
        let page = environment.store.to_wake_of(tenant, now, after, PAGE).await?;
        for instance in &page {
            owners.deliver(tenant, *instance, Mail::Wake);
        }
        woken += page.len() as u64;
        after = page.last().copied();
        if page.len() < PAGE as usize {
            return Ok(woken);
        }
    }
}
