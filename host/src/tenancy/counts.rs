//! Counts what tenants do, for the metrics.
//!
//! Every label value of a metric has a cost, and the number of tenants is not bounded. So the first
//! [`MAX_COUNTED_ALONE`] tenants are counted individually, and all others together.

use std::sync::Arc;

use crate::metrics::{Counter, Gauge, Held};

/// The maximum number of tenants that are counted individually: some hundred series.
pub const MAX_COUNTED_ALONE: u64 = 100;

/// Counters since the host started, of one tenant or of several together.
#[derive(Debug, Default)]
pub struct TenantCounts {
    /// Orchestrations that clients started, without repeated requests.
    pub starts: Counter,
    /// New turns that are durable.
    pub turns: Counter,
    /// Operations of entities that are durable, whether they succeeded or failed.
    pub operations: Counter,
    /// Attempts of activities that were not dropped or cut off.
    pub attempts: Counter,
    /// Fuel of turns, steps of entities and attempts.
    pub fuel: Counter,
    /// Instances that retention deleted.
    pub expired: Counter,
    /// A place among the tenants that are counted individually; `None` for the counters of the others.
    place: Option<Held>,
}

/// Work that was done for a tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// New turns that are durable.
    pub turns: u64,
    /// Operations of entities that are durable.
    pub operations: u64,
    /// Attempts of activities.
    pub attempts: u64,
    /// Fuel used by all of it.
    pub fuel: u64,
}

/// Assigns tenants to counters.
#[derive(Debug, Default)]
pub(super) struct Counting {
    alone: Gauge,
    others: Arc<TenantCounts>,
}

impl Counting {
    /// The counters of a new tenant: its own, if there is a place. The assignment never changes while the host runs,
    /// because a counter that moved would seem to start again from zero.
    pub(super) fn of_newcomer(&self) -> Arc<TenantCounts> {
        if self.alone.get() >= MAX_COUNTED_ALONE {
            return self.others.clone();
        }
        Arc::new(TenantCounts {
            place: Some(self.alone.hold()),
            ..TenantCounts::default()
        })
    }

    /// The counters of all tenants that are not counted individually.
    pub(super) fn others(&self) -> Arc<TenantCounts> {
        self.others.clone()
    }
}

impl TenantCounts {
    /// Whether these are the counters of a single tenant.
    pub fn are_of_one(&self) -> bool {
        self.place.is_some()
    }

    pub(super) fn add(&self, work: Work) {
        self.turns.add(work.turns);
        self.operations.add(work.operations);
        self.attempts.add(work.attempts);
        self.fuel.add(work.fuel);
    }
}
