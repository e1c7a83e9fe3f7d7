//! Events that no task has taken: which ones are in memory, which ones a turn may want, and which ones a commit stores.
//!
//! `waits` always stands for the current waits for events; `None` means that they are not known yet.

use std::collections::BTreeMap;

use crate::model::{Event, EventPage, InboxItem, InboxRow, InboxSeq, inbox::event_bytes};
use crate::replay::{PendingEvent, PendingEvents, Place, Waits};
use crate::store::{ROW_BYTES, TakenEvent};

/// The default limit for the events that an owner keeps in memory, in bytes. The others stay in the store.
pub(in crate::engine) const KNOWN_EVENT_BYTES: usize = 8 << 20;

/// The limit for the events in memory while an instance is idle, in bytes: no task waits for them.
const IDLE_EVENT_BYTES: usize = 64 << 10;

/// The maximum number of names to read at once.
const MAX_NAMES_READ: usize = 256;

/// The events that an owner has in memory.
pub(super) struct KnownEvents {
    pending: PendingEvents,
    /// The limit for `pending`, in bytes.
    max_bytes: usize,
    /// No event in memory is waited for, and no awaited name has unread events in the store.
    quiet: bool,
    /// Events were read since the last turn.
    looked: bool,
}

/// What a step does with events.
pub(super) struct SettledEvents {
    /// The stored events that it took.
    pub(super) taken: Vec<TakenEvent>,
    /// The size of those in the store, in bytes.
    pub(super) freed: u64,
    /// Events that are not taken and become durable with the step.
    pub(super) kept: Vec<Event>,
    /// For each event that was received directly, in order: whether it becomes durable with the step.
    pub(super) direct: Vec<bool>,
}

impl KnownEvents {
    /// The events that were read with the instance. All rows up to `read_to` are among them, unless there are `more`.
    pub(super) fn new(events: Vec<InboxRow>, read_to: InboxSeq, more: bool) -> Self {
        // Events are read in order, so all events up to the newest one are here.
        let newest = events.iter().map(|row| row.seq).max();
        let mut pending = PendingEvents::new(newest.map_or(read_to, |newest| newest.max(read_to)), more);
        let known = events.into_iter().filter_map(|InboxRow { seq, item }| match item {
            InboxItem::Event(event) => Some(PendingEvent {
                place: Place::Stored(seq),
                event,
            }),
            _ => None,
        });
        pending.put_back(known.collect());
        Self {
            pending,
            max_bytes: KNOWN_EVENT_BYTES,
            quiet: false,
            looked: false,
        }
    }

    /// Limits the bytes of events in memory.
    pub(super) fn keep_at_most(&mut self, bytes: usize) {
        self.max_bytes = bytes;
    }

    // ---- receiving events ----

    /// Receives a stored event.
    pub(super) fn receive(&mut self, seq: InboxSeq, event: Event, waits: Option<&Waits>) {
        if waits.is_none_or(|waits| waits.contains_key(&event.name.folded())) {
            self.quiet = false;
        }
        let none = Waits::default();
        self.pending.receive(seq, event, self.max_bytes, waits.unwrap_or(&none));
    }

    /// Whether an event of this folded name can be received directly: all older ones are in memory, and there is room.
    pub(super) fn takes_directly(&self, name: &str) -> bool {
        self.pending.is_complete(name) && self.pending.bytes() < self.max_bytes
    }

    /// Receives an event that is not durable yet.
    pub(super) fn receive_directly(&mut self, event: Event) {
        self.quiet = false;
        self.pending.receive_direct(event);
    }

    /// Receives the events that were read for some names. `newest` is the newest message that was in the store before
    /// the read.
    pub(super) fn read(&mut self, newest: InboxSeq, pages: Vec<EventPage>, waits: Option<&Waits>) {
        let none = Waits::default();
        self.pending.read(newest, pages, self.max_bytes, waits.unwrap_or(&none));
        self.quiet = false;
        self.looked = true;
    }

    /// Drops all events, because the store may have some that were not delivered to this owner.
    pub(super) fn forget(&mut self) {
        self.pending.forget();
        self.quiet = false;
    }

    /// Drops events that no task waits for, because the instance is idle.
    pub(super) fn shed(&mut self, waits: Option<&Waits>) {
        if self.pending.bytes() > IDLE_EVENT_BYTES.min(self.max_bytes)
            && let Some(waits) = waits
        {
            self.pending.shed(waits);
        }
    }

    // ---- what a turn may take ----

    /// The names of events to read before the next turn: those that a task waits for, of which none is in memory and
    /// the store may have some. A name whose events were read without a result is not returned again.
    pub(super) fn unread(&self, waits: Option<&Waits>) -> Option<Vec<String>> {
        if self.quiet {
            return None;
        }
        let waits = waits?;
        let unread: Vec<String> = self.pending.unread(waits).take(MAX_NAMES_READ).cloned().collect();
        // One page may not cover all names. But then it contains an event for a turn.
        let is_enough = self.looked && self.pending.has_wanted(waits, Place::Own);
        (!unread.is_empty() && !is_enough).then_some(unread)
    }

    /// Whether an event is in memory that a task waits for and that arrived before this place.
    pub(super) fn has_wanted(&mut self, before: Place, waits: Option<&Waits>) -> bool {
        if self.quiet {
            return false;
        }
        let Some(waits) = waits else { return false };
        let has_wanted = self.pending.has_wanted(waits, before);
        self.quiet = !self.pending.has_wanted(waits, Place::Own) && self.unread(Some(waits)).is_none();
        has_wanted
    }

    /// Whether a task may wait for one of the events in memory, as far as the owner knows.
    pub(super) fn may_be_wanted(&self) -> bool {
        !self.quiet && !self.pending.is_empty()
    }

    /// The events from which a turn takes those that its guest waits for. The guest's waits change during the turn.
    pub(super) fn for_turn(&mut self) -> &mut PendingEvents {
        (self.quiet, self.looked) = (false, false);
        &mut self.pending
    }

    // ---- what becomes durable ----

    /// Whether some events are not durable yet.
    pub(super) fn has_direct(&self) -> bool {
        self.pending.has_direct()
    }

    /// Takes the events that are not durable yet.
    pub(super) fn take_direct(&mut self) -> Vec<Event> {
        self.pending.take_direct()
    }

    /// What a step does with the `taken` events and with those that are not durable yet. If the instance has ended, the
    /// latter are dropped and their senders get an error.
    pub(super) fn settle(&self, taken: Vec<PendingEvent>, has_ended: bool) -> SettledEvents {
        let (mut stored, mut freed, mut direct) = (Vec::new(), 0, BTreeMap::new());
        for PendingEvent { place, event } in taken {
            match place {
                Place::Stored(seq) => {
                    freed += stored_bytes(&event);
                    stored.push(TakenEvent {
                        seq,
                        name: event.name.folded(),
                        bytes: event_bytes(&event),
                    });
                }
                Place::Direct(number) => drop(direct.insert(number, true)),
                Place::Own => {}
            }
        }
        let left = self.pending.direct();
        direct.extend(left.iter().map(|(number, _)| (*number, !has_ended)));
        let kept = match has_ended {
            true => Vec::new(),
            false => left.into_iter().map(|(_, event)| event).collect(),
        };
        SettledEvents {
            taken: stored,
            freed,
            kept,
            direct: direct.into_values().collect(),
        }
    }

    /// Notes that the events that were not durable are stored in these rows. Returns their size in the store, in bytes.
    pub(super) fn stored(&mut self, seqs: &[InboxSeq]) -> u64 {
        let kept = self.pending.direct();
        let bytes = kept.iter().take(seqs.len()).map(|(_, event)| stored_bytes(event)).sum();
        self.pending.stored(seqs);
        bytes
    }
}

/// The size of an event in the store, in bytes.
pub(super) fn stored_bytes(event: &Event) -> u64 {
    event_bytes(event) + ROW_BYTES
}
