//! The messages of an instance: which ones are in memory, and whether the store has more. A behaviour keeps some kinds
//! of messages elsewhere (an orchestration its events).
//!
//! The owner may learn of a row from its mailbox, from a receipt and by reading the instance, but receives it once:
//! rows up to `read_to`, and those in `seen`, were read with the instance. While the store has rows that were not read,
//! newer ones stay there as well, so that messages stay in order; only control messages overtake them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ENTRY_BYTES, ExecutionNumber, InboxItem, InboxRow, InboxSeq, Started, TaskId};
use crate::replay::Place;

/// The inbox of one instance; see the module docs.
#[derive(Debug)]
pub struct Inbox {
    /// The start of the current execution, until its first turn. It precedes all other messages, although after
    /// continue-as-new some of them may be older.
    start: Option<Start>,
    /// All other messages in memory.
    rows: BTreeMap<InboxSeq, InboxItem>,
    /// Rows up to this one were read with the instance; a later delivery of one is a duplicate.
    read_to: InboxSeq,
    /// Newer rows than `read_to` that were read with the instance; a later delivery of one is a duplicate.
    seen: BTreeSet<InboxSeq>,
    /// The store has more rows than are in memory. They are read after those in memory were taken.
    more: bool,
    /// The approximate size of `rows`, in bytes.
    bytes: u64,
}

/// Bytes of messages to receive into memory. An entity that is locked, for example, cannot take them.
const KNOWN_BYTES: u64 = 4 << 20;

/// The approximate size of a message in memory, in bytes.
fn bytes(item: &InboxItem) -> u64 {
    4 * ENTRY_BYTES + item.payload_bytes()
}

#[derive(Debug)]
struct Start {
    /// `None` if the instance is not stored yet.
    seq: Option<InboxSeq>,
    started: Box<Started>,
}

/// A message that a step takes.
#[derive(Debug)]
pub(super) struct TakenMessage {
    /// The row to delete; `None` for the start of an instance that is not stored yet.
    pub(super) seq: Option<InboxSeq>,
    pub(super) item: InboxItem,
}

impl Inbox {
    /// The inbox of a stored instance. `read_to` is the newest row that was in the store just before `rows` were read.
    pub(super) fn new(read_to: InboxSeq, rows: Vec<InboxRow>, more: bool) -> Self {
        let mut inbox = Self {
            start: None,
            rows: BTreeMap::new(),
            read_to,
            seen: rows.iter().map(|row| row.seq).filter(|seq| *seq > read_to).collect(),
            more,
            bytes: 0,
        };
        rows.into_iter().for_each(|row| inbox.insert(Some(row.seq), row.item));
        inbox
    }

    /// The inbox of an instance that is not stored yet.
    pub(super) fn of_new(started: Started) -> Self {
        let mut inbox = Self::new(InboxSeq(0), Vec::new(), false);
        inbox.insert(None, InboxItem::Start(Box::new(started)));
        inbox
    }

    /// Receives a stored row, unless it is a duplicate or follows rows that were not read yet.
    pub(super) fn receive(&mut self, row: InboxRow) {
        if self.bytes > KNOWN_BYTES && !row.item.is_control() {
            self.more = true;
        }
        let comes_after_unknown = self.more && !row.item.is_control();
        if !comes_after_unknown && row.seq > self.read_to && !self.seen.contains(&row.seq) {
            self.insert(Some(row.seq), row.item);
        }
    }

    fn insert(&mut self, seq: Option<InboxSeq>, item: InboxItem) {
        match (seq, item) {
            (seq, InboxItem::Start(started)) => self.start = Some(Start { seq, started }),
            (Some(seq), item) => {
                self.bytes += bytes(&item);
                if let Some(replaced) = self.rows.insert(seq, item) {
                    self.bytes -= bytes(&replaced);
                }
            }
            (None, _) => unreachable!("only a start comes before its instance is stored"),
        }
    }

    // ---- state ----

    /// Whether no message is in memory.
    pub(super) fn is_empty(&self) -> bool {
        self.start.is_none() && self.rows.is_empty()
    }

    /// Whether the store has more rows than are in memory.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// The approximate size of the messages in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are messages, in memory or in the store.
    pub(super) fn has_any(&self) -> bool {
        self.more || !self.is_empty()
    }

    /// Whether all messages in memory were taken and the store has more.
    pub(super) fn is_to_be_read(&self) -> bool {
        self.more && self.is_empty()
    }

    /// The start of the execution, before its first turn.
    pub(super) fn start(&self) -> Option<&Started> {
        self.start.as_ref().map(|start| &*start.started)
    }

    /// The messages that concern the run to come. Before a request to rewind the instance, terminations, suspensions and
    /// resumptions were meant for the run that failed.
    fn current(&self) -> impl Iterator<Item = &InboxItem> {
        self.rows.range(self.current_from()..).map(|(_, item)| item)
    }

    /// The oldest request to rewind the instance, or the beginning of the inbox.
    fn current_from(&self) -> InboxSeq {
        let mut rewinds = self
            .rows
            .iter()
            .filter(|(_, item)| matches!(item, InboxItem::Rewind { .. }));
        rewinds.next().map_or(InboxSeq(0), |(seq, _)| *seq)
    }

    /// The reason of a termination, if one was requested.
    pub(super) fn terminate_reason(&self) -> Option<&str> {
        self.current().find_map(|item| match item {
            InboxItem::Terminate { reason } => Some(reason.as_str()),
            _ => None,
        })
    }

    /// Whether a suspension or resumption was requested, or a cancellation more than once.
    pub(super) fn has_control(&self) -> bool {
        self.current().any(is_suspension_or_resumption)
            || self.rows.values().filter(|item| is_cancellation(item)).nth(1).is_some()
    }

    /// Whether an operator asked to change the state of the entity.
    pub(super) fn has_state_change(&self) -> bool {
        self.rows.values().any(is_state_change)
    }

    /// The reason of a cancellation, if one was requested.
    pub(super) fn cancel_reason(&self) -> Option<&str> {
        self.rows.values().find_map(|item| match item {
            InboxItem::Cancel { reason } => Some(reason.as_str()),
            _ => None,
        })
    }

    /// The reason of the oldest request to rewind the instance, if there is one.
    pub(super) fn rewind_reason(&self) -> Option<&str> {
        self.rows.values().find_map(|item| match item {
            InboxItem::Rewind { reason } => Some(reason.as_str()),
            _ => None,
        })
    }

    /// The tasks of this execution whose outcomes are here.
    pub(super) fn tasks_that_ended(&self, of: ExecutionNumber) -> impl Iterator<Item = TaskId> {
        self.rows.values().filter_map(move |item| match item {
            InboxItem::TaskEnded { execution, task, .. } if *execution == of => Some(*task),
            _ => None,
        })
    }

    /// The place up to which all messages were taken: events at or after it follow messages that were not. `last` is
    /// the newest row that was taken.
    pub(super) fn known_until(&self, last: Option<InboxSeq>) -> Place {
        if self.more {
            return Place::Stored(last.unwrap_or(InboxSeq(0)));
        }
        let next = self.rows.keys().next();
        next.map_or(Place::Own, |seq| Place::Stored(*seq))
    }

    // ---- taking messages ----

    /// Takes the start, or else the oldest message.
    pub(super) fn take(&mut self) -> Option<TakenMessage> {
        if let Some(start) = self.take_start() {
            return Some(start);
        }
        let (seq, item) = self.rows.pop_first()?;
        self.bytes -= bytes(&item);
        Some(TakenMessage { seq: Some(seq), item })
    }

    /// Takes the start.
    pub(super) fn take_start(&mut self) -> Option<TakenMessage> {
        let Start { seq, started } = self.start.take()?;
        Some(TakenMessage {
            seq,
            item: InboxItem::Start(started),
        })
    }

    /// Takes the suspensions and resumptions, in order, and all requests for cancellation except the first: the instance
    /// may be suspended for long, and clients may repeat the request.
    pub(super) fn take_controls(&mut self) -> Vec<TakenMessage> {
        let (from, mut is_cancelled) = (self.current_from(), false);
        let controls = self.take_where(|seq, item| {
            let is_repeated = is_cancelled && is_cancellation(item);
            is_cancelled |= is_cancellation(item);
            is_repeated || (seq >= from && is_suspension_or_resumption(item))
        });
        let controls = controls.into_iter();
        let taken = controls.map(|(seq, item)| TakenMessage { seq: Some(seq), item });
        taken.collect()
    }

    /// Takes the requests to rewind the instance, and what was meant for the run that failed.
    pub(super) fn take_rewinds(&mut self) -> Vec<TakenMessage> {
        let from = self.current_from();
        let rewinds = self.take_where(|seq, item| match item {
            InboxItem::Rewind { .. } => true,
            InboxItem::Terminate { .. } => seq < from,
            item => seq < from && is_suspension_or_resumption(item),
        });
        let taken = rewinds
            .into_iter()
            .map(|(seq, item)| TakenMessage { seq: Some(seq), item });
        taken.collect()
    }

    /// Takes the changes of the state that operators asked for, in order.
    pub(super) fn take_state_changes(&mut self) -> Vec<(InboxSeq, InboxItem)> {
        self.take_where(|_, item| is_state_change(item))
    }

    /// Takes the messages for which `wanted` returns true, which sees them in order.
    pub(super) fn take_where(
        &mut self,
        mut wanted: impl FnMut(InboxSeq, &InboxItem) -> bool,
    ) -> Vec<(InboxSeq, InboxItem)> {
        let taken = self.rows.extract_if(.., |seq, item| wanted(*seq, item));
        let taken: Vec<_> = taken.collect();
        self.bytes -= taken.iter().map(|(_, item)| bytes(item)).sum::<u64>();
        taken
    }

    /// Takes all messages in memory.
    pub(super) fn take_all(&mut self) -> Vec<TakenMessage> {
        std::iter::from_fn(|| self.take()).collect()
    }

    /// Puts back what was taken by a step that did not happen.
    pub(super) fn put_back(&mut self, taken: Vec<TakenMessage>) {
        taken
            .into_iter()
            .for_each(|TakenMessage { seq, item }| self.insert(seq, item));
    }

    /// Notes that the store may have rows that were not delivered to this owner.
    pub(super) fn has_missed_some(&mut self) {
        self.more = true;
    }
}

fn is_suspension_or_resumption(item: &InboxItem) -> bool {
    matches!(item, InboxItem::Suspend { .. } | InboxItem::Resume { .. })
}

fn is_state_change(item: &InboxItem) -> bool {
    matches!(item, InboxItem::SetState(_))
}

fn is_cancellation(item: &InboxItem) -> bool {
    matches!(item, InboxItem::Cancel { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::tests::script::started;

    fn ended(seq: u64) -> InboxRow {
        let item = InboxItem::TaskEnded {
            execution: ExecutionNumber::FIRST,
            task: TaskId(1),
            attempt: 0,
            outcome: Ok(crate::model::Payload::null()),
        };
        InboxRow {
            seq: InboxSeq(seq),
            item,
        }
    }

    fn start(seq: u64) -> InboxRow {
        InboxRow {
            seq: InboxSeq(seq),
            item: InboxItem::Start(Box::new(started(Vec::new()))),
        }
    }

    fn taken(inbox: &mut Inbox) -> Vec<Option<u64>> {
        let taken = inbox.take_all();
        taken.iter().map(|message| message.seq.map(|seq| seq.0)).collect()
    }

    #[test]
    fn a_row_is_received_once_even_if_it_is_delivered_repeatedly() {
        let mut inbox = Inbox::new(InboxSeq(5), vec![ended(4), ended(6)], false);
        assert_eq!(taken(&mut inbox), [Some(4), Some(6)]);
        for seq in [3, 4, 6, 7] {
            inbox.receive(ended(seq));
        }
        assert_eq!(taken(&mut inbox), [Some(7)]);
    }

    #[test]
    fn only_the_first_of_several_cancellations_is_kept() {
        let cancel = |seq: u64| InboxRow {
            seq: InboxSeq(seq),
            item: InboxItem::Cancel {
                reason: format!("reason {seq}"),
            },
        };
        let mut inbox = Inbox::new(InboxSeq(0), Vec::new(), false);
        inbox.receive(cancel(1));
        assert!(!inbox.has_control());
        inbox.receive(ended(2));
        inbox.receive(cancel(3));
        inbox.receive(cancel(4));
        assert!(inbox.has_control());
        let dropped: Vec<_> = inbox.take_controls().iter().map(|message| message.seq).collect();
        assert_eq!(dropped, [Some(InboxSeq(3)), Some(InboxSeq(4))]);
        assert!(!inbox.has_control());
        assert_eq!(inbox.cancel_reason(), Some("reason 1"));
    }

    #[test]
    fn a_start_precedes_older_messages() {
        let mut inbox = Inbox::new(InboxSeq(0), vec![ended(1), start(2)], false);
        assert_eq!(inbox.known_until(None), Place::Stored(InboxSeq(1)));
        assert_eq!(taken(&mut inbox), [Some(2), Some(1)]);
        assert!(inbox.is_empty() && inbox.known_until(None) == Place::Own);
    }

    #[test]
    fn the_start_of_an_instance_that_is_not_stored_has_no_row() {
        let mut inbox = Inbox::of_new(started(Vec::new()));
        let before = inbox.take_start();
        assert!(before.as_ref().is_some_and(|start| start.seq.is_none()));
        inbox.put_back(before.into_iter().collect());
        assert_eq!(taken(&mut inbox), [None]);
        inbox.receive(start(1));
        assert_eq!(taken(&mut inbox), [Some(1)]);
    }

    #[test]
    fn rows_after_unread_ones_stay_in_the_store_except_controls() {
        let mut inbox = Inbox::new(InboxSeq(2), vec![ended(1)], true);
        inbox.receive(ended(4));
        let terminate = InboxItem::Terminate {
            reason: "enough".into(),
        };
        inbox.receive(InboxRow {
            seq: InboxSeq(5),
            item: terminate,
        });
        assert_eq!(inbox.terminate_reason(), Some("enough"));
        assert_eq!(inbox.known_until(Some(InboxSeq(1))), Place::Stored(InboxSeq(1)));
        assert_eq!(taken(&mut inbox), [Some(1), Some(5)]);
        assert!(inbox.is_to_be_read());
    }
}
