//! Operations that wait for their time. Those that are due first are in memory, the others in the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ENTRY_BYTES, InboxItem, InboxRow, InboxSeq, Operation, Timestamp};

/// Bytes of delayed operations to keep in memory.
const KNOWN_BYTES: u64 = 1 << 20;

/// The delayed operations of an entity.
#[derive(Debug)]
pub(super) struct Delayed {
    /// The operations that are due first, by time.
    known: BTreeMap<(Timestamp, InboxSeq), Operation>,
    bytes: u64,
    /// The store has more, all of which are due later than those in memory.
    more: bool,
    /// Rows up to this one were read with the entity; a later delivery of one is a duplicate.
    read_to: InboxSeq,
    /// Newer rows that were read with the entity.
    seen: BTreeSet<InboxSeq>,
}

impl Delayed {
    /// The operations of a stored entity. `read_to` is the newest row that was in the store just before they were read.
    pub(super) fn new(rows: Vec<InboxRow>, read_to: InboxSeq, more: bool) -> Self {
        let mut delayed = Self {
            known: BTreeMap::new(),
            bytes: 0,
            more: false,
            read_to,
            seen: rows.iter().map(|row| row.seq).filter(|seq| *seq > read_to).collect(),
        };
        rows.into_iter().for_each(|row| delayed.insert(row.seq, row.item));
        delayed.more |= more;
        delayed
    }

    /// Receives a row, unless it is a duplicate.
    pub(super) fn receive(&mut self, row: InboxRow) {
        if row.seq > self.read_to && !self.seen.contains(&row.seq) {
            self.insert(row.seq, row.item);
        }
    }

    fn insert(&mut self, seq: InboxSeq, item: InboxItem) {
        let InboxItem::Operation(operation) = item else { return };
        self.put(seq, *operation);
    }

    /// Adds an operation, and drops those from memory that are due last if there are too many.
    pub(super) fn put(&mut self, seq: InboxSeq, operation: Operation) {
        let Some(due_at) = operation.due_at else { return };
        let last = self.known.last_key_value().map(|((due_at, _), _)| *due_at);
        if self.more && last.is_none_or(|last| due_at > last) {
            // Others that are not in memory may be due before.
            return;
        }
        self.bytes += bytes(&operation);
        self.known.insert((due_at, seq), operation);
        while self.bytes > KNOWN_BYTES
            && self.known.len() > 1
            && let Some((_, dropped)) = self.known.pop_last()
        {
            self.bytes -= bytes(&dropped);
            self.more = true;
        }
    }

    /// Takes the operation that is due first, if its time has come.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(InboxSeq, Operation)> {
        let first = self.known.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, seq), operation) = first.remove_entry();
        self.bytes -= bytes(&operation);
        Some((seq, operation))
    }

    /// When the first one is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.known.first_key_value().map(|((due_at, _), _)| *due_at)
    }

    /// Whether the store may have some and none is in memory.
    pub(super) fn is_to_be_read(&self) -> bool {
        self.more && self.known.is_empty()
    }

    /// Whether there are some, in memory or in the store.
    pub(super) fn has_any(&self) -> bool {
        self.more || !self.known.is_empty()
    }

    /// Whether none is in memory.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Notes that the store may have rows that were not delivered to this owner.
    pub(super) fn has_missed_some(&mut self) {
        self.known.clear();
        self.bytes = 0;
        self.more = true;
    }

    /// The size in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn bytes(operation: &Operation) -> u64 {
    ENTRY_BYTES * 4 + operation.input.bytes() + operation.name.len() as u64
}
