//! What tenants have used, per day and function, added up as it is recorded.

use std::collections::BTreeMap;

use crate::model::{FunctionKind, FunctionName, TenantId, Timestamp};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A turn or an attempt that was run, for the books.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// On whose behalf.
    pub tenant: TenantId,
    /// A turn of an orchestration, or an attempt of an activity.
    pub kind: FunctionKind,
    /// Its function.
    pub function: FunctionName,
    /// When it ended.
    pub at: Timestamp,
    /// How much it took.
    pub amount: Amount,
}

/// How much turns or attempts took together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Fuel.
    pub fuel: u64,
    /// Wall-clock time in milliseconds; of attempts only.
    pub wall_ms: u64,
    /// Bytes of payloads given to them.
    pub bytes_in: u64,
    /// Bytes of payloads that they gave.
    pub bytes_out: u64,
    /// Bytes that their outgoing requests sent; of attempts only.
    pub http_sent: u64,
    /// Bytes that these received.
    pub http_received: u64,
}

/// What one function of a tenant has used.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionUsage {
    /// Turns of an orchestration, or attempts of an activity.
    pub kind: FunctionKind,
    /// The function.
    pub function: FunctionName,
    /// Together.
    pub amount: Amount,
}

/// The days from midnight UTC to midnight UTC that a usage is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// In days since the epoch.
    pub(super) first: u64,
    /// The last one included.
    pub(super) last: u64,
}

impl Days {
    /// All days that have a moment from the first time on, and before the second.
    pub fn between(from: Option<Timestamp>, before: Option<Timestamp>) -> Self {
        let largest = i64::MAX.unsigned_abs();
        Self {
            first: from.map_or(0, |at| at.0 / DAY_MS),
            last: before.map_or(largest, |at| at.0.saturating_sub(1) / DAY_MS),
        }
    }
}

impl Amount {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.count, other.count);
        add(&mut self.failed, other.failed);
        add(&mut self.fuel, other.fuel);
        add(&mut self.wall_ms, other.wall_ms);
        add(&mut self.bytes_in, other.bytes_in);
        add(&mut self.bytes_out, other.bytes_out);
        add(&mut self.http_sent, other.http_sent);
        add(&mut self.http_received, other.http_received);
    }
}

/// What the operations of a batch have used: one row for each tenant, day and function.
#[derive(Default)]
pub(super) struct UsageRows<'a>(BTreeMap<(TenantId, u64, FunctionKind, &'a FunctionName), Amount>);

impl<'a> UsageRows<'a> {
    pub(super) fn add(&mut self, used: &'a Used) {
        let key = (used.tenant, used.at.0 / DAY_MS, used.kind, &used.function);
        self.0.entry(key).or_default().add(used.amount);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn rows(&self) -> Vec<UsageRow<'a>> {
        let row = |((tenant, day, kind, function), amount): (&(_, _, _, &'a _), &_)| UsageRow {
            tenant: *tenant,
            day: *day,
            kind: *kind,
            function,
            amount: *amount,
        };
        self.0.iter().map(row).collect()
    }
}

/// A row to be added to what is there.
pub(super) struct UsageRow<'a> {
    pub(super) tenant: TenantId,
    pub(super) day: u64,
    pub(super) kind: FunctionKind,
    pub(super) function: &'a FunctionName,
    pub(super) amount: Amount,
}
