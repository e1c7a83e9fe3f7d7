//! What tenants do, counted for whoever watches the host.
//!
//! Every label of a metric costs whoever keeps it, and the number of tenants has no bound. So the first
//! [`MAX_COUNTED_ALONE`] are counted each by itself, all others together.

use std::sync::Arc;

use crate::metrics::{Counter, Gauge, Held};

/// Most tenants that are counted each by itself: some hundred series.
pub const MAX_COUNTED_ALONE: u64 = 100;

/// What a tenant did since the host started, or what several did together.
#[derive(Debug, Default)]
pub struct TenantCounts {
    /// Orchestrations that clients started; a repeated request is none.
    pub starts: Counter,
    /// New turns that are durable.
    pub turns: Counter,
    /// Attempts of activities that came to an end of their own.
    pub attempts: Counter,
    /// Fuel of turns and attempts.
    pub fuel: Counter,
    /// One of the places for those that are counted alone; none where several are counted together.
    place: Option<Held>,
}

/// What was run on behalf of a tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// New turns that are durable.
    pub turns: u64,
    /// Attempts of activities.
    pub attempts: u64,
    /// Fuel that all of it used.
    pub fuel: u64,
}

/// Who is counted where.
#[derive(Debug, Default)]
pub(super) struct Counting {
    alone: Gauge,
    others: Arc<TenantCounts>,
}

impl Counting {
    /// Where a tenant is counted from now on: by itself, if there is a place. It stays there for as long as the host runs,
    /// because a counter that lost what it has counted would look as if it had begun anew.
    pub(super) fn of_newcomer(&self) -> Arc<TenantCounts> {
        if self.alone.get() >= MAX_COUNTED_ALONE {
            return self.others.clone();
        }
        Arc::new(TenantCounts {
            place: Some(self.alone.hold()),
            ..TenantCounts::default()
        })
    }

    /// Those who are not counted alone, together.
    pub(super) fn others(&self) -> Arc<TenantCounts> {
        self.others.clone()
    }
}

impl TenantCounts {
    /// Whether they are those of one tenant.
    pub fn are_of_one(&self) -> bool {
        self.place.is_some()
    }

    pub(super) fn add(&self, work: Work) {
        self.turns.add(work.turns);
        self.attempts.add(work.attempts);
        self.fuel.add(work.fuel);
    }
}
