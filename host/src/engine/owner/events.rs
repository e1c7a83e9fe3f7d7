//! Events that nobody has taken: what an owner knows of them, which ones a turn may want, and what becomes durable.
//!
//! `waits` is always the waits for events as they stand, or none if they are not known yet.

use std::collections::BTreeMap;

use crate::model::{Event, EventPage, InboxItem, InboxRow, InboxSeq, inbox::event_bytes};
use crate::replay::{PendingEvent, PendingEvents, Place, Waits};
use crate::store::{ROW_BYTES, TakenEvent};

/// Most bytes of events that an owner keeps in memory unless told otherwise. The others stay in the store.
pub(in crate::engine) const KNOWN_EVENT_BYTES: usize = 8 << 20;

/// Most bytes of events that stay in memory while an instance is idle: nobody waits for them.
const IDLE_EVENT_BYTES: usize = 64 << 10;

/// Most names that are read at once.
const MAX_NAMES_READ: usize = 256;

/// The events that an owner knows.
pub(super) struct KnownEvents {
    pending: PendingEvents,
    /// Most bytes of them in memory.
    max_bytes: usize,
    /// None of them is waited for, and none of those that are is unread.
    quiet: bool,
    /// Events were read since the last turn.
    looked: bool,
}

/// What a step does with events.
pub(super) struct SettledEvents {
    /// The stored ones that it took.
    pub(super) taken: Vec<TakenEvent>,
    /// Bytes that were counted for these in the store.
    pub(super) freed: u64,
    /// The others that it stores.
    pub(super) kept: Vec<Event>,
    /// Of each event that was received directly, in their order, whether it is durable with the step.
    pub(super) direct: Vec<bool>,
}

impl KnownEvents {
    /// Those that were read with the instance. Older rows than `read_to` were read with them, unless there are `more`.
    pub(super) fn new(events: Vec<InboxRow>, read_to: InboxSeq, more: bool) -> Self {
        // Whatever is older than an event that was read was read with it.
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

    /// At most that many bytes are kept in memory.
    pub(super) fn keep_at_most(&mut self, bytes: usize) {
        self.max_bytes = bytes;
    }

    // ---- what comes ----

    /// Takes in a stored event.
    pub(super) fn receive(&mut self, seq: InboxSeq, event: Event, waits: Option<&Waits>) {
        if waits.is_none_or(|waits| waits.contains_key(&event.name.folded())) {
            self.quiet = false;
        }
        let none = Waits::default();
        self.pending.receive(seq, event, self.max_bytes, waits.unwrap_or(&none));
    }

    /// Whether an event of that folded name can be received directly: older ones are known, and there is room.
    pub(super) fn takes_directly(&self, name: &str) -> bool {
        self.pending.is_complete(name) && self.pending.bytes() < self.max_bytes
    }

    /// Takes in an event that is nowhere durable yet.
    pub(super) fn receive_directly(&mut self, event: Event) {
        self.quiet = false;
        self.pending.receive_direct(event);
    }

    /// Takes in what was read of some names. `newest` is the newest message that was on disk before.
    pub(super) fn read(&mut self, newest: InboxSeq, pages: Vec<EventPage>, waits: Option<&Waits>) {
        let none = Waits::default();
        self.pending.read(newest, pages, self.max_bytes, waits.unwrap_or(&none));
        self.quiet = false;
        self.looked = true;
    }

    /// Forgets all of them: the store may hold more than the owner knows.
    pub(super) fn forget(&mut self) {
        self.pending.forget();
        self.quiet = false;
    }

    /// Nothing is to be done for a while: events that nobody waits for need not be in memory.
    pub(super) fn shed(&mut self, waits: Option<&Waits>) {
        if self.pending.bytes() > IDLE_EVENT_BYTES.min(self.max_bytes)
            && let Some(waits) = waits
        {
            self.pending.shed(waits);
        }
    }

    // ---- what a turn may want ----

    /// The names of events to be read before the next turn: those that are waited for and of which none is known though
    /// some may be stored. One that was looked for in vain is known to have none.
    pub(super) fn unread(&self, waits: Option<&Waits>) -> Option<Vec<String>> {
        if self.quiet {
            return None;
        }
        let waits = waits?;
        let unread: Vec<String> = self.pending.unread(waits).take(MAX_NAMES_READ).cloned().collect();
        // A page may not have reached all names. Then it brought something for a turn.
        let is_enough = self.looked && self.pending.has_wanted(waits, Place::Own);
        (!unread.is_empty() && !is_enough).then_some(unread)
    }

    /// Whether an event is known that is waited for and came before that place.
    pub(super) fn has_wanted(&mut self, before: Place, waits: Option<&Waits>) -> bool {
        if self.quiet {
            return false;
        }
        let Some(waits) = waits else { return false };
        let has_wanted = self.pending.has_wanted(waits, before);
        self.quiet = !self.pending.has_wanted(waits, Place::Own) && self.unread(Some(waits)).is_none();
        has_wanted
    }

    /// Whether some are known of which, as far as can be told, one may be waited for.
    pub(super) fn may_be_wanted(&self) -> bool {
        !self.quiet && !self.pending.is_empty()
    }

    /// Those from which a turn takes what its guest waits for. What it waits for afterwards is another matter.
    pub(super) fn for_turn(&mut self) -> &mut PendingEvents {
        (self.quiet, self.looked) = (false, false);
        &mut self.pending
    }

    // ---- what becomes durable ----

    /// Whether some are nowhere durable yet.
    pub(super) fn has_direct(&self) -> bool {
        self.pending.has_direct()
    }

    /// Takes out those that are nowhere durable yet.
    pub(super) fn take_direct(&mut self) -> Vec<Event> {
        self.pending.take_direct()
    }

    /// What a step that took some of them does with these and with those that are nowhere durable yet. Of an instance that
    /// has ended, nothing will take them, and their senders get an error.
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

    /// Those that were nowhere durable are stored now, under these numbers. Returns the bytes that are counted for them.
    pub(super) fn stored(&mut self, seqs: &[InboxSeq]) -> u64 {
        let kept = self.pending.direct();
        let bytes = kept.iter().take(seqs.len()).map(|(_, event)| stored_bytes(event)).sum();
        self.pending.stored(seqs);
        bytes
    }
}

/// How much the store counts for an event, in bytes.
pub(super) fn stored_bytes(event: &Event) -> u64 {
    event_bytes(event) + ROW_BYTES
}
