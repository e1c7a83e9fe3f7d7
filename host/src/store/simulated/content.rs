//! The tables of the simulated disk, as plain values.
//!
//! Cloning is cheap because clones share the rows of each instance. A transaction works on a clone, which the commit
//! swaps in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{
    Amount, AttemptRow, Completion, Heartbeat, idempotency::StoredKey, instances::InstanceHead, sizes::Sizes,
};
use super::{broadcasts::BroadcastRow, catalogue::Catalogue, schedules::Schedules};
use crate::model::{
    ExecutionNumber, FunctionKind, FunctionName, InboxSeq, InstanceId, InstanceNumber, InstanceStatus, LogLine,
    ModuleNumber, Parent, StuckReason, TaskId, TenantId, Timestamp, TurnNumber,
};

/// All tables of the disk.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) instances: BTreeMap<InstanceNumber, Arc<InstanceRows>>,
    pub(in crate::store) ids: BTreeMap<(TenantId, InstanceId), InstanceNumber>,
    pub(in crate::store) functions: Arc<BTreeMap<(TenantId, FunctionName), u64>>,
    pub(in crate::store) keys: Arc<BTreeMap<(TenantId, String), StoredKey>>,
    /// The answers that are stored with keys.
    pub(in crate::store) answers: Arc<BTreeMap<(TenantId, String), Vec<u8>>>,
    /// Instance, kind of garbage (0: instance, 1: execution, 2: inbox; as in SQLite), and execution.
    pub(in crate::store) garbage: BTreeSet<(InstanceNumber, u32, ExecutionNumber)>,
    pub(in crate::store) counters: BTreeMap<&'static str, u64>,
    pub(in crate::store) usage: Arc<BTreeMap<UsageKey, Amount>>,
    pub(in crate::store) catalogue: Arc<Catalogue>,
    pub(in crate::store) schedules: Arc<Schedules>,
    /// In the order of acceptance.
    pub(in crate::store) broadcasts: Arc<Vec<BroadcastRow>>,
}

impl Content {
    /// The broadcasts, in the order of acceptance.
    pub(crate) fn broadcasts(&self) -> impl Iterator<Item = &BroadcastRow> {
        self.broadcasts.iter()
    }
}

/// Tenant, day, kind and function.
type UsageKey = (TenantId, u64, FunctionKind, FunctionName);

/// All rows that belong to one instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct InstanceRows {
    /// The row in `instances`. `None` after the instance was purged or replaced, until its other rows are swept.
    pub(crate) row: Option<InstanceRow>,
    pub(crate) history: BTreeMap<(ExecutionNumber, TurnNumber), Arc<[u8]>>,
    pub(crate) inbox: BTreeMap<InboxSeq, Message>,
    pub(crate) attempts: BTreeMap<(ExecutionNumber, TaskId, u32), AttemptRow>,
    pub(crate) completions: BTreeMap<(ExecutionNumber, TaskId), Completion>,
    pub(crate) heartbeats: BTreeMap<(ExecutionNumber, TaskId), Heartbeat>,
    pub(in crate::store) lines: BTreeMap<InboxSeq, LogLine>,
    pub(in crate::store) tags: BTreeMap<String, String>,
}

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) control: bool,
    pub(crate) due_at: Option<Timestamp>,
    /// The case-folded name if this is an event. (SQLite stores events in their own table.)
    pub(crate) event: Option<String>,
    pub(crate) item: Arc<[u8]>,
}

/// A row of the table `instances`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InstanceRow {
    pub(crate) tenant: TenantId,
    pub(crate) id: InstanceId,
    pub(crate) function: FunctionName,
    pub(crate) module: ModuleNumber,
    pub(crate) status: InstanceStatus,
    pub(crate) execution: ExecutionNumber,
    pub(crate) last_turn: TurnNumber,
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) in_flight: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) fuel: u64,
    pub(crate) custom_status: Option<String>,
    pub(crate) entity: Option<Arc<[u8]>>,
    pub(crate) rewinds: Option<Arc<[u8]>>,
    pub(crate) stuck: Option<StuckReason>,
    pub(crate) parent: Option<Parent>,
    /// Whether the parent was deleted, and the sweep has noted it here. (SQLite sets the column `parent` to NULL.)
    pub(in crate::store) parent_is_gone: bool,
    pub(in crate::store) sizes: Sizes,
}

impl InstanceRow {
    /// Whether the row satisfies the constraints of the real schema.
    pub(in crate::store) fn is_sound(&self) -> bool {
        let has_no_work = self.wake_at.is_none() && self.in_flight == 0;
        (!self.status.has_ended() || has_no_work) && (self.status == InstanceStatus::Stuck) == self.stuck.is_some()
    }
}

impl InstanceRows {
    pub(in crate::store) fn is_empty(&self) -> bool {
        let Self {
            row,
            history,
            inbox,
            attempts,
            completions,
            heartbeats,
            lines,
            tags,
        } = self;
        let is_empty = history.is_empty()
            && inbox.is_empty()
            && attempts.is_empty()
            && heartbeats.is_empty()
            && completions.is_empty();
        row.is_none() && is_empty && lines.is_empty() && tags.is_empty()
    }
}

impl Content {
    /// The tables of a new database.
    pub(in crate::store) fn new() -> Self {
        Self {
            instances: BTreeMap::new(),
            ids: BTreeMap::new(),
            functions: Arc::default(),
            keys: Arc::default(),
            answers: Arc::default(),
            garbage: BTreeSet::new(),
            counters: BTreeMap::from([("instance", 1), ("sequence", 1), ("tenant", 2)]),
            usage: Arc::default(),
            catalogue: Arc::new(Catalogue::new()),
            schedules: Arc::default(),
            broadcasts: Arc::default(),
        }
    }

    /// The number of the instance with this id.
    pub(crate) fn number(&self, tenant: TenantId, id: &InstanceId) -> Option<InstanceNumber> {
        self.ids.get(&(tenant, id.clone())).copied()
    }

    /// The row of an instance.
    pub(crate) fn row(&self, instance: InstanceNumber) -> Option<&InstanceRow> {
        self.instances.get(&instance)?.row.as_ref()
    }

    /// The number of rows in a table, by its name in SQLite.
    pub(in crate::store) fn count(&self, table: &str) -> usize {
        let of_each = |count: fn(&InstanceRows) -> usize| self.instances.values().map(|rows| count(rows)).sum();
        match table {
            "instances" => self.existing().count(),
            "history" => of_each(|rows| rows.history.len()),
            "inbox" => of_each(|rows| rows.inbox.values().filter(|row| row.event.is_none()).count()),
            "events" => of_each(|rows| rows.inbox.values().filter(|row| row.event.is_some()).count()),
            "attempts" => of_each(|rows| rows.attempts.len()),
            "completions" => of_each(|rows| rows.completions.len()),
            "heartbeats" => of_each(|rows| rows.heartbeats.len()),
            "logs" => of_each(|rows| rows.lines.len()),
            "tags" => of_each(|rows| rows.tags.len()),
            "garbage" => self.garbage.len(),
            "idempotency_keys" => self.keys.len(),
            "function_names" => self.functions.len(),
            "usage" => self.usage.len(),
            "schedules" | "schedule_definitions" => self.schedules.len(),
            "broadcasts" => self.broadcasts.len(),
            other => self.catalogue.rows(other).expect("the table exists"),
        }
    }

    /// All instances that have not been deleted, with their rows.
    pub(crate) fn existing(&self) -> impl Iterator<Item = (InstanceNumber, &InstanceRow, &InstanceRows)> {
        self.instances
            .iter()
            .filter_map(|(number, rows)| Some((*number, rows.row.as_ref()?, &**rows)))
    }

    pub(in crate::store) fn rows_mut(&mut self, instance: InstanceNumber) -> &mut InstanceRows {
        Arc::make_mut(self.instances.entry(instance).or_default())
    }

    pub(in crate::store) fn row_mut(&mut self, instance: InstanceNumber) -> Option<&mut InstanceRow> {
        self.row(instance)?;
        self.rows_mut(instance).row.as_mut()
    }

    pub(in crate::store) fn head(&self, number: InstanceNumber) -> Option<InstanceHead> {
        let row = self.row(number)?;
        let mut head = InstanceHead {
            number,
            tenant: row.tenant,
            id: row.id.clone(),
            status: row.status,
            execution: row.execution,
            last_turn: row.last_turn,
            parent: row.parent.as_ref().map(|parent| parent.instance),
            has_wake_up: row.wake_at.is_some(),
            waiting: 0,
            sizes: row.sizes,
        };
        if head.is_entity() {
            head.waiting = self.instances.get(&number).map_or(0, |rows| rows.inbox.len() as u64);
        }
        Some(head)
    }
}
