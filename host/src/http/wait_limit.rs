//! Limits the requests that wait for the end of an instance, and selects the wait that ends early.
//!
//! A wait occupies the place of a request (`--max-connections`) for up to a minute and does nothing in it. So that
//! other requests are served meanwhile, waits get only a part of the places. When these are used up, a new wait
//! replaces one whose client may be gone, or one of the tenant that has most for its weight; otherwise it ends at once. A
//! wait that ends early is answered as if its time were up, and the client asks again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::{access::Credentials, connection::Connection};
use crate::{model::TenantId, tenancy::Quotas};

/// The limit on waits.
#[derive(Debug)]
pub(crate) struct WaitLimit {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// The waits, oldest first.
    entries: BTreeMap<u64, Entry>,
    /// The weight of each tenant.
    weights: BTreeMap<TenantId, u32>,
}

#[derive(Debug)]
struct Entry {
    tenant: TenantId,
    connection: Option<Arc<Connection>>,
    end: CancellationToken,
}

/// A wait; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    number: u64,
    end: CancellationToken,
    waits: &'a WaitLimit,
}

impl Wait<'_> {
    /// Returns when the wait must end early.
    pub(crate) async fn must_end(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waits.table().entries.remove(&self.number);
    }
}

/// The client of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    /// Its connection; `None` in tests without one.
    connection: Option<Arc<Connection>>,
    /// What it was authenticated with.
    pub(crate) credentials: Credentials,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self {
            connection: parts.extensions.get().cloned(),
            credentials: Credentials::of(&parts.headers),
        })
    }
}

impl WaitLimit {
    /// Creates the limit of a host with that many places: a quarter of them, at least one, stays free of waits. So one
    /// tenant of the default weight, which may use four fifths of the places, cannot fill its share with waits either.
    pub(crate) fn new(max_requests: usize) -> Self {
        let kept_free = (max_requests / 4).max(1);
        Self {
            most: max_requests.saturating_sub(kept_free),
            table: Mutex::default(),
        }
    }

    /// Begins a wait; `None` if there is no room for it.
    pub(crate) fn begin(&self, tenant: TenantId, Client { connection, .. }: &Client) -> Option<Wait<'_>> {
        // A request that was admitted without a place must be answered soon.
        if connection.as_ref().is_some_and(|connection| !connection.is_seated()) {
            return None;
        }
        let mut table = self.table();
        if table.entries.len() >= self.most {
            let oldest = table.dispensable(tenant)?;
            let entry = table.entries.remove(&oldest)?;
            entry.end.cancel();
        }
        let number = table.next;
        table.next += 1;
        let end = CancellationToken::new();
        let entry = Entry {
            tenant,
            connection: connection.clone(),
            end: end.clone(),
        };
        table.entries.insert(number, entry);
        drop(table);
        Some(Wait {
            number,
            end,
            waits: self,
        })
    }

    /// Ends the oldest wait of a tenant, if it has any, because another request of it needs a place.
    pub(crate) fn end_one_of(&self, tenant: TenantId) {
        let mut table = self.table();
        let oldest = table.entries.iter().find(|(_, entry)| entry.tenant == tenant);
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some(entry) = table.entries.remove(&number)
        {
            entry.end.cancel();
        }
    }

    /// Sets the weight of a tenant.
    pub(super) fn set_weight(&self, tenant: TenantId, weight: u32) {
        self.table().weights.insert(tenant, weight);
    }

    /// Forgets the weight of a tenant that was deleted.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.table().weights.remove(&tenant);
    }

    /// The number of waits.
    pub(crate) fn count(&self) -> u64 {
        self.table().entries.len() as u64
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The wait that ends to make room for one of this tenant: the oldest whose client may be gone, or the oldest of
    /// the tenant that has most for its weight, if that tenant keeps at least as many for its weight as this one gets.
    fn dispensable(&self, tenant: TenantId) -> Option<u64> {
        let half_closed = |entry: &Entry| entry.connection.as_ref().is_some_and(|client| client.is_half_closed());
        let gone = self.entries.iter().find(|(_, entry)| half_closed(entry));
        if let Some((number, _)) = gone {
            return Some(*number);
        }
        let mut counts: HashMap<TenantId, usize> = HashMap::new();
        for entry in self.entries.values() {
            *counts.entry(entry.tenant).or_default() += 1;
        }
        let own = counts.get(&tenant).copied().unwrap_or_default();
        // What the others would keep for their weights, compared without division: a/x < b/y if a*y < b*x. The tenant id
        // breaks ties, so that the result does not depend on the order of the map.
        let kept = counts.into_iter().map(|(tenant, count)| (tenant, count - 1));
        let (largest, keeps) = kept.max_by(|(a, of_a), (b, of_b)| {
            let by_count = (of_a * self.weight(*b)).cmp(&(of_b * self.weight(*a)));
            by_count.then(a.cmp(b))
        })?;
        if keeps * self.weight(tenant) < (own + 1) * self.weight(largest) {
            return None;
        }
        let oldest = self.entries.iter().find(|(_, entry)| entry.tenant == largest);
        oldest.map(|(number, _)| *number)
    }

    fn weight(&self, tenant: TenantId) -> usize {
        let weight = self.weights.get(&tenant).copied();
        weight.unwrap_or(Quotas::DEFAULT_WEIGHT) as usize
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn ended(wait: &Wait<'_>) -> bool {
        wait.must_end().now_or_never().is_some()
    }

    #[test]
    fn a_part_of_the_places_stays_free_of_waits() {
        for (places, waits) in [(1, 0), (2, 1), (8, 6), (64, 48), (1_024, 768)] {
            assert_eq!(WaitLimit::new(places).most, waits, "{places}");
        }
    }

    #[test]
    fn a_wait_without_room_does_not_begin_and_one_that_ends_makes_room() {
        let waits = WaitLimit::new(4);
        let mut begun: Vec<_> = (0..3)
            .map(|_| waits.begin(TenantId(1), &Client::default()).unwrap())
            .collect();
        assert!(waits.begin(TenantId(1), &Client::default()).is_none());
        assert!(!begun.iter().any(ended));
        drop(begun.pop());
        assert!(waits.begin(TenantId(1), &Client::default()).is_some());
    }

    #[test]
    fn another_request_of_a_tenant_ends_its_oldest_wait() {
        let waits = WaitLimit::new(8);
        let of = |tenant| waits.begin(TenantId(tenant), &Client::default()).unwrap();
        let (other, older, newer) = (of(2), of(1), of(1));
        waits.end_one_of(TenantId(1));
        assert_eq!([&other, &older, &newer].map(ended), [false, true, false]);
        waits.end_one_of(TenantId(3));
        assert_eq!(waits.count(), 2);
    }

    #[test]
    fn tenants_share_the_room_evenly() {
        let waits = WaitLimit::new(8);
        let many: Vec<_> = (0..6)
            .map(|_| waits.begin(TenantId(1), &Client::default()).unwrap())
            .collect();
        let few: Vec<_> = (0..10)
            .filter_map(|_| waits.begin(TenantId(2), &Client::default()))
            .collect();
        assert_eq!(few.len(), 3);
        assert_eq!(
            many.iter().map(ended).collect::<Vec<_>>(),
            [true, true, true, false, false, false]
        );
        assert!(!few.iter().any(ended));
        assert!(waits.begin(TenantId(1), &Client::default()).is_none());
        assert!(waits.begin(TenantId(3), &Client::default()).is_some());
    }

    #[test]
    fn who_has_much_for_its_weight_makes_room_even_if_a_light_tenant_has_one() {
        let [heavy, light, new] = [1, 2, 3].map(TenantId);
        let waits = WaitLimit::new(8);
        waits.set_weight(heavy, 1_000);
        waits.set_weight(new, 1_000);
        let begin = |tenant| waits.begin(tenant, &Client::default());
        let of_light = begin(light).unwrap();
        let of_heavy: Vec<_> = (0..5).map(|_| begin(heavy).unwrap()).collect();
        let _new = begin(new).expect("there is room for its first");
        assert!(!ended(&of_light) && ended(&of_heavy[0]));
    }

    #[test]
    fn tenants_share_the_room_by_weight() {
        let (heavy, light) = (TenantId(1), TenantId(2));
        let waits = WaitLimit::new(16);
        waits.set_weight(heavy, 300);
        let _of_light: Vec<_> = (0..12)
            .map(|_| waits.begin(light, &Client::default()).unwrap())
            .collect();
        let of_heavy: Vec<_> = (0..20).filter_map(|_| waits.begin(heavy, &Client::default())).collect();
        assert_eq!(of_heavy.len(), 9, "three quarters");
        waits.forget(heavy);
        waits.begin(light, &Client::default()).unwrap();
    }
}
