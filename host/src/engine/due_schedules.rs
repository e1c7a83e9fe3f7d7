//! Which tenant's schedules are looked at next.
//!
//! Each tenant that has schedules is in one place of a queue, with the time at which its first schedule is due; the
//! schedules themselves are in the store. Of the tenants that are due, the one whose last visit is the longest ago comes
//! first, and a visit is short, so ten thousand due schedules of one tenant delay those of another by a visit, and take
//! no memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::{TenantId, Timestamp};

/// How many tenants are visited at the same time.
const VISITS_AT_ONCE: usize = 4;

/// The queue of tenants. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct DueSchedules(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    tenants: BTreeMap<TenantId, Place>,
    visits: usize,
    /// Numbers the visits.
    visited: u64,
}

/// The place of a tenant.
#[derive(Debug, Default)]
struct Place {
    /// When its first schedule is due; `None` if it has none.
    due_at: Option<Timestamp>,
    /// The number of its last visit.
    last_visit: u64,
    /// Whether it is visited now.
    is_visited: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Visit this tenant.
    Visit(TenantId),
    /// Nothing until this time, or until something changes.
    WaitUntil(Option<Timestamp>),
    /// Nothing until something changes: there are no schedules.
    Idle,
}

impl DueSchedules {
    /// Notes that a schedule of a tenant is due at this time.
    pub(super) fn note(&self, tenant: TenantId, due_at: Timestamp) {
        let mut queue = self.queue();
        let place = queue.tenants.entry(tenant).or_default();
        place.due_at = Some(place.due_at.map_or(due_at, |earlier| earlier.min(due_at)));
        drop(queue);
        self.0.changed.notify_one();
    }

    /// The tenant to visit now. Tenants for which `is_held` returns true are left out, and looked at later.
    pub(super) fn next(&self, now: Timestamp, is_held: impl Fn(TenantId) -> bool) -> Next {
        let mut queue = self.queue();
        let queue = &mut *queue;
        if queue.tenants.is_empty() {
            return Next::Idle;
        }
        if queue.visits >= VISITS_AT_ONCE {
            return Next::WaitUntil(None);
        }
        let waiting = || {
            let places = queue.tenants.iter().filter(|(_, place)| !place.is_visited);
            places.filter_map(|(tenant, place)| Some((*tenant, place.due_at?, place.last_visit)))
        };
        let mut due: Vec<_> = waiting().filter(|(_, due_at, _)| *due_at <= now).collect();
        due.sort_by_key(|(_, due_at, last_visit)| (*last_visit, *due_at));
        let Some((tenant, ..)) = due.into_iter().find(|(tenant, ..)| !is_held(*tenant)) else {
            return Next::WaitUntil(
                waiting()
                    .map(|(_, due_at, _)| due_at)
                    .filter(|due_at| *due_at > now)
                    .min(),
            );
        };
        queue.visits += 1;
        queue.visited += 1;
        if let Some(place) = queue.tenants.get_mut(&tenant) {
            place.is_visited = true;
            place.last_visit = queue.visited;
            // Set again by the end of the visit, and by changes during it.
            place.due_at = None;
        }
        Next::Visit(tenant)
    }

    /// Notes the end of a visit, and when the tenant's first schedule is due now.
    pub(super) fn visited(&self, tenant: TenantId, due_at: Option<Timestamp>) {
        let mut queue = self.queue();
        queue.visits -= 1;
        if let Some(place) = queue.tenants.get_mut(&tenant) {
            place.is_visited = false;
            place.due_at = match (place.due_at, due_at) {
                (Some(noted), Some(due_at)) => Some(noted.min(due_at)),
                (noted, due_at) => noted.or(due_at),
            };
            if place.due_at.is_none() {
                queue.tenants.remove(&tenant);
            }
        }
        drop(queue);
        self.0.changed.notify_one();
    }

    /// Waits until something changes.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Waits until something changes, for at most this time.
    pub(super) async fn changed_within(&self, at_most: Duration) {
        // An elapsed time is as good as a change.
        let _ = tokio::time::timeout(at_most, self.changed()).await;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: fn(TenantId) -> bool = |_| false;

    #[test]
    fn a_tenant_with_many_due_schedules_takes_turns_with_the_others() {
        let due = DueSchedules::default();
        let (many, few) = (TenantId(1), TenantId(2));
        due.note(many, Timestamp(1));
        due.note(few, Timestamp(5));
        let mut order = Vec::new();
        for _ in 0..4 {
            let Next::Visit(tenant) = due.next(Timestamp(10), NOBODY) else {
                panic!("nothing is due");
            };
            order.push(tenant);
            due.visited(tenant, Some(Timestamp(1)));
        }
        assert_eq!(order, [many, few, many, few]);
    }

    #[test]
    fn a_change_during_a_visit_is_not_lost_and_a_tenant_without_schedules_is_forgotten() {
        let due = DueSchedules::default();
        let tenant = TenantId(1);
        due.note(tenant, Timestamp(1));
        assert_eq!(due.next(Timestamp(0), NOBODY), Next::WaitUntil(Some(Timestamp(1))));
        assert_eq!(due.next(Timestamp(1), NOBODY), Next::Visit(tenant));
        assert_eq!(due.next(Timestamp(1), NOBODY), Next::WaitUntil(None));
        due.note(tenant, Timestamp(3));
        due.visited(tenant, Some(Timestamp(7)));
        assert_eq!(due.next(Timestamp(3), NOBODY), Next::Visit(tenant));
        due.visited(tenant, None);
        assert_eq!(due.next(Timestamp(9), NOBODY), Next::Idle);
        assert!(due.queue().tenants.is_empty());
    }

    #[test]
    fn held_tenants_are_left_out_and_visits_are_bounded() {
        let due = DueSchedules::default();
        for tenant in 1..10 {
            due.note(TenantId(tenant), Timestamp(1));
        }
        assert_eq!(due.next(Timestamp(1), |_| true), Next::WaitUntil(None));
        assert_eq!(due.next(Timestamp(1), |tenant| tenant.0 < 3), Next::Visit(TenantId(3)));
        for _ in 1..VISITS_AT_ONCE {
            assert!(matches!(due.next(Timestamp(1), NOBODY), Next::Visit(_)));
        }
        assert_eq!(due.next(Timestamp(1), NOBODY), Next::WaitUntil(None));
    }
}
