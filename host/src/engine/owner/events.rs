//! Events that nobody has taken: what an owner knows of them, which ones a turn may want, and what becomes durable.

use crate::model::{Event, EventPage, InboxSeq, Timestamp, TurnNumber, inbox::event_bytes};
use crate::replay::{Guest, Ledger, Place, Player, Waits};

use super::Owner;
use crate::store::ROW_BYTES;

/// Most bytes of events that an owner keeps in memory unless told otherwise. The others stay in the store.
pub(in crate::engine) const KNOWN_EVENT_BYTES: usize = 8 << 20;

/// Most bytes of events that stay in memory while an instance is idle: nobody waits for them.
const IDLE_EVENT_BYTES: usize = 64 << 10;

/// Most names that are read at once.
const MAX_NAMES_READ: usize = 256;

impl<G: Guest> Owner<G> {
    /// At most that many bytes of events are kept in memory.
    pub fn know_events_of(&mut self, bytes: usize) {
        self.known_event_bytes = bytes;
    }

    /// Takes in a stored event.
    pub(super) fn receive_stored_event(&mut self, seq: InboxSeq, event: Event) {
        self.event_bytes = self.event_bytes.saturating_add(stored_bytes(&event));
        let none = Waits::default();
        let waits = waits(self.player.as_ref(), &self.ledger, self.last_turn);
        if waits.is_none_or(|waits| waits.contains_key(&event.name.folded())) {
            self.quiet = false;
        }
        self.pending
            .receive(seq, event, self.known_event_bytes, waits.unwrap_or(&none));
    }

    /// Whether an event can be [received directly](Self::receive_event), to be stored by the commit of the turn that
    /// takes it. Otherwise whoever raised it has it stored, and is told if there is no room: an execution may have that
    /// many bytes of history and of events that wait.
    pub fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp) -> bool {
        let name = event.name.folded();
        let may_be_wanted = match waits(self.player.as_ref(), &self.ledger, self.last_turn) {
            // The first turn has yet to say what it waits for.
            _ if self.last_turn == TurnNumber::NONE => self.not_before().is_none_or(|time| time <= now),
            Some(waits) => waits.contains_key(&name),
            None => true,
        };
        may_be_wanted
            && !self.is_suspended_or_stuck()
            && !self.more_inbox
            && self.pending.is_complete(&name)
            && self.pending.bytes() < self.known_event_bytes
            && self.history_bytes.saturating_add(self.event_bytes) < max_bytes
    }

    /// Takes in an event that is durable once a commit [took](Self::committed) it or the loop stored it.
    pub fn receive_event(&mut self, event: Event) {
        self.quiet = false;
        self.pending.receive_direct(event);
    }

    /// Hands over what [`Next::Events`](super::Next::Events) asked for. `newest` is the newest message that was on disk
    /// before.
    pub fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>) {
        let none = Waits::default();
        let waits = waits(self.player.as_ref(), &self.ledger, self.last_turn).unwrap_or(&none);
        self.pending.read(newest, pages, self.known_event_bytes, waits);
        self.quiet = false;
        self.looked = true;
    }

    /// The names of events to be read before the next turn: those that are waited for and of which none is known though
    /// some may be stored. One that was looked for in vain is known to have none.
    pub(super) fn unread(&mut self) -> Option<Vec<String>> {
        if self.quiet {
            return None;
        }
        let waits = waits(self.player.as_ref(), &self.ledger, self.last_turn)?;
        let unread: Vec<String> = self.pending.unread(waits).take(MAX_NAMES_READ).cloned().collect();
        // A page may not have reached all names. Then it brought something for a turn.
        let is_enough = self.looked && self.pending.has_wanted(waits, Place::Own);
        (!unread.is_empty() && !is_enough).then_some(unread)
    }

    /// Whether an event is known that is waited for and came before that place.
    pub(super) fn wants_events(&mut self, before: Place) -> bool {
        if self.quiet {
            return false;
        }
        let waits = waits(self.player.as_ref(), &self.ledger, self.last_turn);
        let Some(waits) = waits else { return false };
        let wants = self.pending.has_wanted(waits, before);
        self.quiet = !self.pending.has_wanted(waits, Place::Own) && self.unread().is_none();
        wants
    }

    /// Nothing is to be done for a while: events that nobody waits for need not be in memory.
    pub(super) fn shed_events(&mut self) {
        if self.pending.bytes() > IDLE_EVENT_BYTES.min(self.known_event_bytes)
            && let Some(waits) = waits(self.player.as_ref(), &self.ledger, self.last_turn)
        {
            self.pending.shed(waits);
        }
    }
}

/// How much the store counts for an event, in bytes.
pub(super) fn stored_bytes(event: &Event) -> u64 {
    event_bytes(event) + ROW_BYTES
}

/// The waits for events, as the guest has them or, if it is cold, as its history says; none if that is not known yet.
fn waits<'a, G: Guest>(player: Option<&'a Player<G>>, ledger: &'a Ledger, last_turn: TurnNumber) -> Option<&'a Waits> {
    match player {
        Some(player) if player.last_turn() == last_turn => Some(player.waits()),
        _ => (ledger.last_turn() == last_turn).then(|| ledger.waits()),
    }
}
