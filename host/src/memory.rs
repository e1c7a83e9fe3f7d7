//! The memory budget of the host: whoever wants to hold bytes takes them from a part of the budget first.
//!
//! Limits on single objects do not protect a host: ten thousand small objects of one tenant are as harmful as one large
//! object. The budget bounds their sum. It is divided into [parts](Part), so that a flood of one kind leaves room for
//! the others, and each part is shared between tenants ([`pool`]), so that a flood of one tenant leaves room for the
//! others. Bytes that do not fit wait, stay in the store or are refused; each user of a part says which.
//!
//! The bytes are estimates of what an object takes in memory, and not what the allocator reports.

mod machine;
mod pool;

use std::sync::Arc;

use crate::model::TenantId;

pub use machine::available_bytes;
pub use pool::{Held, Pool, PoolUse, TenantUse};

/// A part of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Active instances: what their owners know of them, such as outstanding tasks.
    Instances,
    /// Orchestrations in memory: their guests.
    Guests,
    /// Running attempts of activities.
    Attempts,
    /// Calls that wait for their attempt, and results that their orchestration has not taken yet.
    Calls,
    /// Messages on their way to an instance.
    Mailboxes,
    /// Turns that wait for the database writer.
    Turns,
    /// Answers that are being assembled or sent to clients.
    Answers,
    /// Compilations of modules.
    Compilations,
    /// Compiled schemas.
    Schemas,
}

impl Part {
    /// All parts, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Instances,
        Self::Guests,
        Self::Attempts,
        Self::Calls,
        Self::Mailboxes,
        Self::Turns,
        Self::Answers,
        Self::Compilations,
        Self::Schemas,
    ];

    /// The name in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instances => "instances",
            Self::Guests => "guests",
            Self::Attempts => "attempts",
            Self::Calls => "calls",
            Self::Mailboxes => "mailboxes",
            Self::Turns => "turns",
            Self::Answers => "answers",
            Self::Compilations => "compilations",
            Self::Schemas => "schemas",
        }
    }

    /// The share of the budget, in percent.
    const fn percent(self) -> u64 {
        match self {
            Self::Instances => 10,
            Self::Guests => 30,
            Self::Attempts => 20,
            Self::Calls => 12,
            Self::Mailboxes => 6,
            Self::Turns => 10,
            Self::Answers => 6,
            Self::Compilations => 3,
            Self::Schemas => 3,
        }
    }
}

/// The budget of a host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory(Arc<[Pool; Part::ALL.len()]>);

impl Memory {
    /// The smallest budget, in bytes.
    pub const MIN_BYTES: u64 = 128 << 20;

    /// Divides `bytes` into parts.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Part::ALL.map(|part| Pool::new(bytes / 100 * part.percent()))))
    }

    /// A budget that nothing exhausts, for commands without tenants and for tests.
    pub fn unlimited() -> Self {
        Self(Arc::new(Part::ALL.map(|_| Pool::new(u64::MAX / 2))))
    }

    /// The whole budget, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.iter().fold(0, |bytes, pool| bytes.saturating_add(pool.limit()))
    }

    /// A part of the budget.
    pub fn part(&self, part: Part) -> &Pool {
        &self.0[part as usize]
    }

    /// The bytes that a tenant holds in all parts.
    pub fn used_by(&self, tenant: TenantId) -> u64 {
        self.0.iter().map(|pool| pool.usage_of(tenant).used).sum()
    }

    /// Sets the weight of a tenant in all parts.
    pub fn set_weight(&self, tenant: TenantId, weight: u32) {
        self.0.iter().for_each(|pool| pool.set_weight(tenant, weight));
    }

    /// Drops what is remembered about a tenant that was deleted, as soon as it holds nothing.
    pub fn forget(&self, tenant: TenantId) {
        self.0.iter().for_each(|pool| pool.forget(tenant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        assert_eq!(Part::ALL.map(Part::percent).iter().sum::<u64>(), 100);
        for (index, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, index);
        }
    }
}
