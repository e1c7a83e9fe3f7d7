//! Fair shares: which tenant's activities and turns run next when there is more work than capacity.
//!
//! [`queue`] decides, without I/O or a clock of its own; [`slots`] lets tasks wait for its decisions; the [`gate`] puts
//! such a queue in front of the guest threads. A tenant's weight counts relative to the weights of the tenants that
//! have work at the same time; an idle tenant neither loses nor accumulates anything.

mod gate;
mod queue;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use self::gate::{FOR_LIGHT_TENANTS, Gate, TurnPermit};
pub(super) use self::slots::{Slot, Slots};
use super::guests::Modules;
use crate::memory::Memory;
use crate::model::{FunctionName, TenantId};
use crate::tenancy::{Observer, Quotas, Tenant};

/// The lowest [`Rate`]: one start per day.
const FEWEST_PER_SECOND: f64 = 1.0 / 86_400.0;

/// The highest [`Rate`], in starts per second.
const MOST_PER_SECOND: f64 = 1_000_000.0;

/// A tenant's share of the activity slots and guest threads of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The tenant's part relative to other tenants with work, from 1 to 1,000. Other values are clamped.
    pub weight: u32,
    /// The maximum number of its activities that run at a time; `None` for no limit besides the slots.
    pub max_activities: Option<u32>,
    /// Further limits for single activities, by name.
    pub functions: BTreeMap<FunctionName, FunctionShare>,
}

/// Limits for activities of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FunctionShare {
    /// The maximum number of attempts that run at a time.
    pub max_activities: Option<u32>,
    /// The maximum rate at which attempts start.
    pub rate: Option<Rate>,
}

/// A rate of starts. Starts are spread evenly, in bursts of at most a tenth of a second's starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval_us: u64,
}

/// How much a tenant uses of its share now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShareUse {
    /// Running attempts of activities.
    pub running: usize,
    /// Attempts that wait for a slot or because of a limit of the tenant.
    pub waiting: usize,
}

impl Share {
    /// The weight of a tenant whose quotas set none.
    pub const DEFAULT_WEIGHT: u32 = Quotas::DEFAULT_WEIGHT;
    /// The highest weight.
    pub const MAX_WEIGHT: u32 = 1_000;
}

impl From<&Quotas> for Share {
    fn from(quotas: &Quotas) -> Self {
        Self {
            weight: quotas.weight(),
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
    /// A number of starts per second; `None` if it is below one per day or above a million per second.
    pub fn per_second(starts: f64) -> Option<Self> {
        // The rounding error is less than one start in a million.
        let interval_us = (1_000_000.0 / starts).round() as u64;
        (FEWEST_PER_SECOND..=MOST_PER_SECOND)
            .contains(&starts)
            .then_some(Self { interval_us })
    }
}

/// Applies the quotas of tenants when they change, including to calls that are waiting; running attempts continue.
/// Drops the functions of deleted tenants.
pub(super) struct Follower {
    pub(super) gate: Gate,
    pub(super) loading: Slots,
    pub(super) slots: Slots,
    pub(super) memory: Memory,
    pub(super) modules: Arc<dyn Modules>,
}

impl Observer for Follower {
    fn changed(&self, tenant: &Tenant) {
        let share = Share::from(&tenant.quotas);
        let only_weight = Share {
            weight: share.weight,
            ..Share::default()
        };
        self.gate.set_weight(tenant.id, share.weight);
        self.loading.set_share(tenant.id, only_weight);
        self.memory.set_weight(tenant.id, share.weight);
        self.slots.set_share(tenant.id, share);
    }

    fn deleted(&self, tenant: TenantId) {
        self.modules.forget(tenant);
        self.memory.forget(tenant);
    }
}
