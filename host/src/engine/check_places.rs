//! Places for checks with schemas that take long. Such a check runs on a thread of its own, never on one that serves
//! requests or runs guests; the places bound how many do at a time.
//!
//! A tenant gets half of the places, so that one tenant leaves some for the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::model::TenantId;

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct CheckPlaces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Arc<Semaphore>,
    /// The places of the tenants that use some or wait for one.
    of_tenants: Mutex<BTreeMap<TenantId, Weak<Semaphore>>>,
    for_each: usize,
}

/// A place. Dropping it returns it.
#[derive(Debug)]
pub(super) struct CheckPlace {
    _of_tenant: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// No place became free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The tenant uses its half.
    OfTenant,
    /// Several tenants use all of them.
    OfHost,
}

impl CheckPlaces {
    /// As many places as there are processors, and at least two.
    pub(super) fn of_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(processors.max(2))
    }

    fn new(places: usize) -> Self {
        Self(Arc::new(Inner {
            all: Arc::new(Semaphore::new(places)),
            of_tenants: Mutex::default(),
            for_each: (places / 2).max(1),
        }))
    }

    /// Waits for a place. Requests of one tenant get one in the order in which they ask.
    ///
    /// # Errors
    /// If there is none within `patience`; `None` is for ever.
    pub(super) async fn enter(&self, tenant: TenantId, patience: Option<Duration>) -> Result<CheckPlace, NoPlace> {
        let patience = patience.unwrap_or(Duration::MAX);
        let of_tenant = self.of_tenant(tenant).acquire_owned();
        let of_tenant = timeout(patience, of_tenant).await.map_err(|_| NoPlace::OfTenant)?;
        let of_all = timeout(patience, self.0.all.clone().acquire_owned()).await;
        Ok(CheckPlace {
            _of_tenant: of_tenant.expect("places are never closed"),
            _of_all: of_all.map_err(|_| NoPlace::OfHost)?.expect("places are never closed"),
        })
    }

    fn of_tenant(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut of_tenants = self.0.of_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = of_tenants.get(&tenant).and_then(Weak::upgrade) {
            return known;
        }
        of_tenants.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.0.for_each));
        of_tenants.insert(tenant, Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tenant_gets_half_of_the_places_and_others_the_rest() {
        let places = CheckPlaces::new(4);
        let enter = |tenant| places.enter(TenantId(tenant), Some(Duration::from_secs(5)));
        let first = enter(1).await.unwrap();
        let _second = enter(1).await.unwrap();
        assert_eq!(enter(1).await.unwrap_err(), NoPlace::OfTenant);
        let _others = [enter(2).await.unwrap(), enter(2).await.unwrap()];
        assert_eq!(enter(3).await.unwrap_err(), NoPlace::OfHost);
        drop(first);
        let _third = enter(3).await.unwrap();
        assert_eq!(enter(1).await.unwrap_err(), NoPlace::OfHost);
    }

    #[tokio::test]
    async fn tenants_without_checks_are_forgotten() {
        let places = CheckPlaces::new(2);
        for tenant in 1..100 {
            drop(places.enter(TenantId(tenant), None).await);
        }
        assert_eq!(places.0.of_tenants.lock().unwrap().len(), 1);
    }
}
