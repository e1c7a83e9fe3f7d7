//! Fair shares: whose activities and turns come next when more wants to run than can.
//!
//! [`queue`] decides, without I/O or a clock of its own; [`slots`] lets tasks wait for what it decides; the [`gate`] puts
//! the threads for guests behind such a queue. A tenant's weight counts against the weights of those that have work at the
//! same time; who has none loses nothing and saves nothing up.

mod gate;
mod queue;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use self::gate::{Gate, TurnPermit};
pub(super) use self::slots::{Slot, Slots};
use super::guests::Modules;
use crate::model::{FunctionName, TenantId};
use crate::tenancy::{Observer, Quotas, Tenant};

/// The fewest starts of a [`Rate`]: one in a day.
const FEWEST_PER_SECOND: f64 = 1.0 / 86_400.0;

/// The most starts of a [`Rate`] in a second.
const MOST_PER_SECOND: f64 = 1_000_000.0;

/// What a tenant gets of the host's activity slots and threads for guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// How much it gets where several want more than there is, in proportion to theirs: 1 to 1,000. What is outside counts
    /// as the nearest.
    pub weight: u32,
    /// Most of its activities that run at a time; none for as many as there are slots.
    pub max_activities: Option<u32>,
    /// Further limits on single activities, by name.
    pub functions: BTreeMap<FunctionName, FunctionShare>,
}

/// Limits on the activity of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FunctionShare {
    /// Most attempts that run at a time.
    pub max_activities: Option<u32>,
    /// Most attempts that start in a second.
    pub rate: Option<Rate>,
}

/// How often something may start. Starts are spread evenly; those of a tenth of a second may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval_us: u64,
}

/// What a tenant uses of its share now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShareUse {
    /// Attempts of activities that run.
    pub running: usize,
    /// Attempts that wait for a slot, or for a limit of the tenant's own.
    pub waiting: usize,
}

impl Share {
    /// The weight of a tenant for which none was set.
    pub const DEFAULT_WEIGHT: u32 = 100;
    /// The largest weight.
    pub const MAX_WEIGHT: u32 = 1_000;
}

impl From<&Quotas> for Share {
    fn from(quotas: &Quotas) -> Self {
        Self {
            weight: quotas.weight.unwrap_or(Self::DEFAULT_WEIGHT),
            max_activities: quotas.max_activities,
            functions: quotas
                .activities
                .iter()
                .flatten()
                .map(|(name, quota)| {
                    let share = FunctionShare {
                        max_activities: quota.max_activities,
                        rate: quota.per_second.and_then(Rate::per_second),
                    };
                    (name.clone(), share)
                })
                .collect(),
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self {
            weight: Self::DEFAULT_WEIGHT,
            max_activities: None,
            functions: BTreeMap::new(),
        }
    }
}

impl Rate {
    /// So many in a second; none if that is less than one in a day or more than a million.
    pub fn per_second(starts: f64) -> Option<Self> {
        // Truncation would be wrong by less than a start in a million.
        let interval_us = (1_000_000.0 / starts).round() as u64;
        (FEWEST_PER_SECOND..=MOST_PER_SECOND)
            .contains(&starts)
            .then_some(Self { interval_us })
    }
}

/// Gives tenants what their quotas say, also of what waits already; what runs goes on. What was remembered of tenants that
/// are gone is forgotten.
pub(super) struct Follower {
    pub(super) gate: Gate,
    pub(super) slots: Slots,
    pub(super) modules: Arc<dyn Modules>,
}

impl Observer for Follower {
    fn changed(&self, tenant: &Tenant) {
        let share = Share::from(&tenant.quotas);
        self.gate.set_weight(tenant.id, share.weight);
        self.slots.set_share(tenant.id, share);
    }

    fn deleted(&self, tenant: TenantId) {
        self.modules.forget(tenant);
    }
}
