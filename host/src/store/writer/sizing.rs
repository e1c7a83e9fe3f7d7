//! Counts stored bytes while a batch is planned, and detects full logs.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::plan::Plan;
use crate::{
    model::{InstanceNumber, LogLevel, LogLine, TenantId},
    store::{
        garbage::Swept,
        instances::InstanceHead,
        logs::NewLine,
        modules::Counted,
        sizes::{Growth, ROW_BYTES, SizedInstance, Sizes},
    },
};

/// The changes of a batch to the sizes of instances and tenants.
#[derive(Default)]
pub(super) struct Sizing {
    /// Changes that are not in the rows yet.
    growth: Growth,
    /// Instances whose changed sizes are not in the rows yet.
    resized: BTreeSet<InstanceNumber>,
    /// The changes of the whole batch.
    total: Growth,
    /// What the batch leaves behind as garbage.
    left: Growth,
}

/// Lines for an instance's log, and the limit for the log of an execution in bytes.
#[derive(Clone, Copy)]
pub(super) struct LinesToWrite<'a> {
    pub(super) lines: &'a [LogLine],
    pub(super) max_bytes: u64,
}

impl Sizing {
    /// Counts a new instance.
    pub(super) fn created(&mut self, tenant: TenantId, instance: InstanceNumber) {
        self.growth.add(tenant, 0, Sizes::EMPTY.total());
        self.resized.insert(instance);
    }

    /// Subtracts a deleted instance.
    pub(super) fn deleted(&mut self, head: &InstanceHead) {
        self.growth.add(head.tenant, head.sizes.total(), 0);
        self.left.add(head.tenant, 0, head.sizes.total());
    }

    /// Counts something of a tenant that belongs to no instance.
    pub(super) fn count(&mut self, tenant: TenantId, before: u64, after: u64) {
        self.growth.add(tenant, before, after);
    }

    /// Counts what an execution leaves behind that continues as new.
    pub(super) fn continued(&mut self, head: &InstanceHead) {
        let left = head.sizes.total().saturating_sub(head.sizes.continued().total());
        self.left.add(head.tenant, 0, left);
    }

    /// The changes of the whole batch to the stored bytes of tenants, and what it leaves behind as garbage.
    pub(super) fn into_growth(self) -> (Growth, Growth) {
        (self.total, self.left)
    }
}

impl<'a> Plan<'a> {
    /// Changes the sizes of an instance, if it exists.
    pub(super) fn resize(&mut self, instance: InstanceNumber, change: impl FnOnce(&mut Sizes)) {
        let Some(head) = self.heads.by_number_mut(instance) else {
            return;
        };
        let before = head.sizes.total();
        change(&mut head.sizes);
        self.sizing.growth.add(head.tenant, before, head.sizes.total());
        self.sizing.resized.insert(instance);
    }

    /// Counts a change to something of a tenant that belongs to no instance. Returns its outcome.
    pub(super) fn count_change<T>(&mut self, tenant: TenantId, change: Counted<T>) -> T {
        self.sizing.count(tenant, change.before, change.after);
        change.outcome
    }

    /// Counts what a sweep has deleted. Returns whether there may be more.
    pub(super) fn count_swept(&mut self, swept: Swept) -> bool {
        for (instance, bytes) in swept.old_logs {
            self.resize(instance, |sizes| sizes.remove_old_logs(bytes));
        }
        for (tenant, bytes) in swept.keys {
            self.sizing.count(tenant, bytes, 0);
        }
        swept.more
    }

    /// Writes lines while the log of the current execution has room. The first line that does not fit is replaced by a
    /// warning that the log is full.
    pub(super) fn write_lines(
        &mut self,
        instance: InstanceNumber,
        LinesToWrite { lines, max_bytes }: LinesToWrite<'a>,
    ) {
        for line in lines {
            let Some(head) = self.heads.by_number(instance) else {
                return;
            };
            let (sizes, is_old) = (head.sizes, line.execution < head.execution);
            if sizes.log > max_bytes || sizes.log_full_at.is_some_and(|limit| max_bytes <= limit) {
                return;
            }
            let fits = sizes.log.saturating_add(bytes_of(line)) <= max_bytes;
            let line = if fits {
                Cow::Borrowed(line)
            } else {
                Cow::Owned(is_full(line, max_bytes))
            };
            self.resize(instance, |sizes| {
                let log = if is_old { &mut sizes.old_logs } else { &mut sizes.log };
                *log = log.saturating_add(bytes_of(&line));
                sizes.log_full_at = Some(max_bytes).filter(|_| !fits);
            });
            let seq = self.counters.next_seq();
            self.rows.lines.push(NewLine { instance, seq, line });
        }
    }

    /// Writes the sizes into the collected rows. Call it before they are written.
    pub(super) fn settle(&mut self) {
        let size = |number: InstanceNumber| self.heads.by_number(number).map(|head| head.sizes);
        let changed = self.rows.changed.iter_mut();
        let created = self.rows.created.iter_mut().map(|created| &mut created.state);
        for row in changed.chain(created) {
            row.sizes = size(row.number).unwrap_or(row.sizes);
        }
        for number in std::mem::take(&mut self.sizing.resized) {
            if let Some(sizes) = size(number).filter(|_| !self.rows.writes(number)) {
                self.rows.sized.push(SizedInstance { number, sizes });
            }
        }
        let growth = std::mem::take(&mut self.sizing.growth);
        self.sizing.total.merge(&growth);
        self.rows.growth = growth;
    }
}

fn bytes_of(line: &LogLine) -> u64 {
    line.message.len() as u64 + ROW_BYTES
}

/// The warning that replaces the first line that does not fit.
fn is_full(dropped: &LogLine, max_bytes: u64) -> LogLine {
    LogLine {
        at: dropped.at,
        execution: dropped.execution,
        task: None,
        attempt: None,
        level: LogLevel::Warn,
        message: format!("the log is full: one execution may log at most {max_bytes} bytes; further lines are dropped"),
    }
}
