//! Keeps count of how much is stored while a batch is planned, and says when a log is full.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::plan::Plan;
use crate::{
    model::{InstanceNumber, LogLevel, LogLine, TenantId},
    store::{
        instances::InstanceHead,
        logs::NewLine,
        sizes::{Growth, ROW_BYTES, SizedInstance, Sizes},
    },
};

/// What a batch changes of the sizes of instances and tenants.
#[derive(Default)]
pub(super) struct Sizing {
    /// What is in no rows yet.
    growth: Growth,
    /// Instances whose sizes changed and are in no rows yet.
    resized: BTreeSet<InstanceNumber>,
    /// What the whole batch has changed.
    total: Growth,
}

/// Lines of an instance's log, and how much the log of an execution may hold.
#[derive(Clone, Copy)]
pub(super) struct LinesToWrite<'a> {
    pub(super) lines: &'a [LogLine],
    pub(super) max_bytes: u64,
}

impl Sizing {
    /// An instance is there now.
    pub(super) fn created(&mut self, tenant: TenantId, instance: InstanceNumber) {
        self.growth.add(tenant, 0, Sizes::EMPTY.total());
        self.resized.insert(instance);
    }

    /// An instance is no more.
    pub(super) fn deleted(&mut self, head: &InstanceHead) {
        self.growth.add(head.tenant, head.sizes.total(), 0);
    }

    /// What the batch has changed of the tenants.
    pub(super) fn into_growth(self) -> Growth {
        self.total
    }
}

impl<'a> Plan<'a> {
    /// Changes how much is stored of an instance.
    pub(super) fn resize(&mut self, instance: InstanceNumber, change: impl FnOnce(&mut Sizes)) {
        let Some(head) = self.heads.by_number_mut(instance) else {
            return;
        };
        let before = head.sizes.total();
        change(&mut head.sizes);
        self.sizing.growth.add(head.tenant, before, head.sizes.total());
        self.sizing.resized.insert(instance);
    }

    /// Writes lines as long as the log has room. The first that has none is replaced by one that says so.
    pub(super) fn write_lines(
        &mut self,
        instance: InstanceNumber,
        LinesToWrite { lines, max_bytes }: LinesToWrite<'a>,
    ) {
        for line in lines {
            let Some(used) = self.heads.by_number(instance).map(|head| head.sizes.log) else {
                return;
            };
            if used > max_bytes {
                return;
            }
            let with_it = used.saturating_add(bytes_of(line));
            let (line, size) = if with_it <= max_bytes {
                (Cow::Borrowed(line), with_it)
            } else {
                let last = is_full(line, max_bytes);
                let size = used.saturating_add(bytes_of(&last));
                (Cow::Owned(last), size.max(max_bytes.saturating_add(1)))
            };
            self.resize(instance, |sizes| sizes.log = size);
            let seq = self.counters.next_seq();
            self.rows.lines.push(NewLine { instance, seq, line });
        }
    }

    /// Puts the sizes into the rows that are about to be written.
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

/// What stands in the log in place of the first line that has no room.
fn is_full(dropped: &LogLine, max_bytes: u64) -> LogLine {
    LogLine {
        at: dropped.at,
        execution: dropped.execution,
        task: None,
        attempt: None,
        level: LogLevel::Warn,
        message: format!(
            "the log is full: that of one execution may hold {max_bytes} bytes; further lines are dropped"
        ),
    }
}
