//! Resource usage of tenants, summed up per day and function when it is recorded.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
};

use super::CursorError;
use crate::model::{FromStored, FunctionKind, FunctionName, TenantId, Timestamp};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The usage of one turn or attempt, for accounting.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The tenant that it ran for.
    pub tenant: TenantId,
    /// Whether it was a turn of an orchestration or an attempt of an activity.
    pub kind: FunctionKind,
    /// The function that ran.
    pub function: FunctionName,
    /// When it ended.
    pub at: Timestamp,
    /// The resources that it used.
    pub amount: Amount,
}

/// The total usage of some turns or attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// The number of turns or attempts.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The fuel that they used.
    pub fuel: u64,
    /// Wall-clock time in milliseconds; only for attempts.
    pub wall_ms: u64,
    /// Bytes of their input payloads.
    pub bytes_in: u64,
    /// Bytes of their output payloads.
    pub bytes_out: u64,
    /// Bytes that their outgoing requests sent; only for attempts.
    pub http_sent: u64,
    /// Bytes that their outgoing requests received; only for attempts.
    pub http_received: u64,
}

/// The usage of one function of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionUsage {
    /// Whether these are turns of an orchestration or attempts of an activity.
    pub kind: FunctionKind,
    /// The function.
    pub function: FunctionName,
    /// The total.
    pub amount: Amount,
}

/// Usage of functions, by kind and name.
#[derive(Debug, Clone, PartialEq)]
pub struct UsagePage {
    /// The usage of all functions, including those on other pages.
    pub total: Amount,
    /// The functions on this page.
    pub functions: Vec<FunctionUsage>,
    /// Where the next page begins, if more functions follow.
    pub next: Option<UsageCursor>,
}

impl UsagePage {
    /// A page from functions of which one more than the limit was read.
    pub(super) fn new(total: Amount, mut functions: Vec<FunctionUsage>, limit: u32) -> Self {
        let more = functions.len() > limit as usize;
        functions.truncate(limit as usize);
        let next = functions.last().filter(|_| more).map(|last| UsageCursor {
            kind: last.kind,
            function: last.function.clone(),
        });
        Self { total, functions, next }
    }
}

/// A place in a list of functions: after this one. Opaque to clients, which return it unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCursor {
    pub(super) kind: FunctionKind,
    pub(super) function: FunctionName,
}

impl fmt::Display for UsageCursor {
    /// The first digit is the kind of cursor, so that later kinds can be distinguished; the second one that of function.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1{}{}", self.kind as u8, self.function.as_str())
    }
}

impl FromStr for UsageCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let text = text.strip_prefix('1').ok_or(CursorError)?;
        let kind = text.bytes().next().and_then(|digit| digit.checked_sub(b'0'));
        let kind = kind.and_then(FunctionKind::from_number).ok_or(CursorError)?;
        let name = &text[1..];
        let function = FunctionName::from_stored(name).map_err(|_| CursorError)?;
        Ok(Self { kind, function })
    }
}

/// A range of days (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first day, in days since the Unix epoch.
    pub(super) first: u64,
    /// The last day, inclusive.
    pub(super) last: u64,
}

impl Days {
    /// All days that overlap the time from `from` (inclusive) to `before` (exclusive).
    pub fn between(from: Option<Timestamp>, before: Option<Timestamp>) -> Self {
        let largest = i64::MAX.unsigned_abs();
        Self {
            first: from.map_or(0, |at| at.0 / DAY_MS),
            last: before.map_or(largest, |at| at.0.saturating_sub(1) / DAY_MS),
        }
    }
}

impl Used {
    /// Sums up the usage of each function on each day.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut sums: BTreeMap<_, Self> = BTreeMap::new();
        for used in all {
            let key = (used.tenant, used.at.0 / DAY_MS, used.kind, used.function.clone());
            match sums.entry(key) {
                Entry::Vacant(place) => drop(place.insert(used)),
                Entry::Occupied(mut sum) => sum.get_mut().amount.add(used.amount),
            }
        }
        sums.into_values().collect()
    }
}

impl Amount {
    /// Adds another amount.
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

/// The usage of all operations of a batch: one row per tenant, day and function.
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

/// A row whose amounts are added to the stored ones.
pub(super) struct UsageRow<'a> {
    pub(super) tenant: TenantId,
    pub(super) day: u64,
    pub(super) kind: FunctionKind,
    pub(super) function: &'a FunctionName,
    pub(super) amount: Amount,
}
