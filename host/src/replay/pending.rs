//! The pending events of an instance, which no turn has taken yet. Contains only those that its owner has in memory.
//!
//! Pending events are not arrivals: an event stays here or in the store until the guest waits for its name and nothing
//! else is ready. So the cost of a turn depends on the events that it takes, not on how many are pending, and
//! continue-as-new does not copy events.
//!
//! The owner may have only some of them in memory; the store may have many more. For each name the owner knows whether
//! the store has further events, and a turn never takes an event while an older one may be unread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{Event, EventPage, InboxSeq};

use super::events::Waits;

/// A place in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A stored message.
    Stored(InboxSeq),
    /// An event that is not durable yet, by the order in which it came. It is after all stored ones.
    Direct(u64),
    /// Results and timers of the instance itself, after all events.
    Own,
}

/// An event with its place in the order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingEvent {
    /// Its place in the order of arrival.
    pub place: Place,
    /// The event itself.
    pub event: Event,
}

/// The pending events of one instance, by folded name and in the order of arrival.
#[derive(Debug, Default)]
pub struct PendingEvents {
    lanes: BTreeMap<String, Lane>,
    /// Whether the store may have events of names without a lane. Once true it stays true, and a lane has its own flag.
    more: bool,
    /// For names without a lane: rows up to here were read or taken.
    read_to: InboxSeq,
    /// The names of events that are not durable yet, by their number.
    direct: BTreeMap<u64, String>,
    next_direct: u64,
    bytes: usize,
    /// During a turn: the place of the first event of each awaited name, and the name.
    heads: BTreeSet<(Place, String)>,
    /// During a turn: awaited names with unread events but without events in memory, after how far they were read.
    emptied: BTreeSet<(InboxSeq, String)>,
}

/// The pending events of one name.
#[derive(Debug, Default)]
struct Lane {
    /// The events in memory, in ascending order of their places.
    events: VecDeque<PendingEvent>,
    /// Whether the store may have further events, after these.
    more: bool,
    /// Rows up to here were read or taken.
    read_to: InboxSeq,
}

impl PendingEvents {
    /// No events. Rows up to `read_to` were read or taken. With `more`, the store may have events that were not read.
    pub fn new(read_to: InboxSeq, more: bool) -> Self {
        Self {
            more,
            read_to,
            ..Self::default()
        }
    }

    /// The approximate memory that the events use, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no event is in memory.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether all stored events with this folded name are in memory.
    pub fn is_complete(&self, name: &str) -> bool {
        !self.lanes.get(name).map_or(self.more, |lane| lane.more)
    }

    // ---- adding events ----

    /// Adds a stored event, unless it is known, was taken, or follows events that are not in memory. If the events would
    /// use more than `most` bytes, drops those for which no task waits, and if necessary does not add this event: they
    /// are read from the store later.
    pub fn receive(&mut self, seq: InboxSeq, event: Event, most: usize, waits: &Waits) {
        let name = event.name.folded();
        let read_to = self.lanes.get(&name).map_or(self.read_to, |lane| lane.read_to);
        if !self.is_complete(&name) || seq <= read_to {
            return;
        }
        if self.bytes.saturating_add(size(&event)) > most {
            self.shed(waits);
            if !self.is_complete(&name) {
                // `shed` dropped older events of this name.
                return;
            }
            if self.bytes.saturating_add(size(&event)) > most && !self.direct.values().any(|direct| *direct == name) {
                self.leave_in_store(&name);
                return;
            }
        }
        self.insert(name, Place::Stored(seq), event);
    }

    /// Adds an event that is not durable yet. Its name must be [complete](Self::is_complete).
    pub fn receive_direct(&mut self, event: Event) {
        let name = event.name.folded();
        debug_assert!(self.is_complete(&name), "older events come first");
        let number = self.next_direct;
        self.next_direct += 1;
        self.direct.insert(number, name.clone());
        self.insert(name, Place::Direct(number), event);
    }

    /// Adds events that were read from the store, of names without events in memory. `newest` is the newest message that
    /// was on disk before the read. If the events would use more than `most` bytes, drops some of them.
    pub fn read(&mut self, newest: InboxSeq, pages: Vec<EventPage>, most: usize, waits: &Waits) {
        self.lanes
            .retain(|name, lane| !lane.events.is_empty() || waits.contains_key(name));
        for EventPage { name, events, more } in pages {
            let last = events.last().map_or(InboxSeq(0), |(seq, _)| *seq);
            let lane = self.lanes.entry(name.clone()).or_default();
            debug_assert!(
                lane.events.is_empty(),
                "a name is read when none of its events is in memory"
            );
            lane.more = more;
            // All older rows were read with the last one.
            lane.read_to = if more { last } else { newest.max(last) };
            for (seq, event) in events {
                self.insert(name.clone(), Place::Stored(seq), event);
            }
        }
        self.fit(most, waits);
    }

    /// Puts back the events that a discarded turn took.
    pub fn put_back(&mut self, taken: Vec<PendingEvent>) {
        // The newest first, so that each is inserted in front of the others.
        for PendingEvent { place, event } in taken.into_iter().rev() {
            let name = event.name.folded();
            if let Place::Direct(number) = place {
                self.direct.insert(number, name.clone());
            }
            self.insert(name, place, event);
        }
    }

    fn insert(&mut self, name: String, place: Place, event: Event) {
        let (more, read_to) = (self.more, self.read_to);
        let lane = self.lanes.entry(name).or_insert_with(|| Lane {
            more,
            read_to,
            ..Lane::default()
        });
        let position = lane.events.partition_point(|other| other.place < place);
        if lane.events.get(position).is_some_and(|other| other.place == place) {
            return;
        }
        self.bytes += size(&event);
        lane.events.insert(position, PendingEvent { place, event });
    }

    // ---- leaving events in the store ----

    /// Drops the stored events for which no task waits.
    pub fn shed(&mut self, waits: &Waits) {
        self.remember(waits);
        let direct: BTreeSet<&String> = self.direct.values().collect();
        let bytes = &mut self.bytes;
        self.lanes.retain(|name, lane| {
            let stays = waits.contains_key(name) || direct.contains(name);
            if !stays {
                *bytes -= lane.events.iter().map(|pending| size(&pending.event)).sum::<usize>();
            }
            stays
        });
    }

    /// Drops stored events until the rest uses at most `most` bytes: first those for which no task waits, then all but
    /// the first event of each name, then the names whose first event is newest. Events that are not durable stay, and so
    /// does the oldest event.
    fn fit(&mut self, most: usize, waits: &Waits) {
        if self.bytes <= most {
            return;
        }
        self.shed(waits);
        let stored = self.lanes.iter().filter_map(|(name, lane)| {
            let (first, last) = (lane.events.front()?, lane.events.back()?);
            matches!(last.place, Place::Stored(_)).then(|| (first.place, name.clone()))
        });
        let mut oldest_first: Vec<(Place, String)> = stored.collect();
        oldest_first.sort_unstable();
        for (keep, untouched) in [(1, 0), (0, 1)] {
            for (_, name) in oldest_first.iter().skip(untouched).rev() {
                if self.bytes <= most {
                    return;
                }
                self.truncate(name, keep);
            }
        }
    }

    /// Drops all but the first `keep` events of a name, all of which must be stored.
    fn truncate(&mut self, name: &str, keep: usize) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let left = lane.events.split_off(keep.min(lane.events.len()));
        let Some(Place::Stored(InboxSeq(first))) = left.front().map(|first| first.place) else {
            return;
        };
        lane.more = true;
        lane.read_to = InboxSeq(first - 1);
        self.bytes -= left.iter().map(|pending| size(&pending.event)).sum::<usize>();
    }

    /// Drops all events, because the store has events between them that this owner was not notified of.
    ///
    /// # Panics
    /// When there are events that are not durable yet.
    pub fn forget(&mut self) {
        assert!(self.direct.is_empty(), "events that are not durable would be lost");
        self.lanes.clear();
        self.bytes = 0;
        self.more = true;
    }

    fn leave_in_store(&mut self, name: &str) {
        self.more = true;
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.leave_rest_in_store();
        }
    }

    /// Marks names without a lane as possibly unread. Adds lanes for the awaited names first, which are complete so far.
    fn remember(&mut self, waits: &Waits) {
        if !self.more {
            for name in waits
                .keys()
                .filter(|name| !self.lanes.contains_key(*name))
                .cloned()
                .collect::<Vec<_>>()
            {
                let read_to = self.read_to;
                self.lanes.insert(
                    name,
                    Lane {
                        read_to,
                        ..Lane::default()
                    },
                );
            }
            self.more = true;
        }
    }

    /// The awaited names without events in memory, of which the store may have some.
    pub fn unread<'a>(&'a self, waits: &'a Waits) -> impl Iterator<Item = &'a String> {
        let is_unread = |name: &&String| match self.lanes.get(*name) {
            Some(lane) => lane.more && lane.events.is_empty(),
            None => true,
        };
        waits.keys().filter(move |name| self.more && is_unread(name))
    }

    // ---- events that are not durable ----

    /// Whether there are events that are not durable yet.
    pub fn has_direct(&self) -> bool {
        !self.direct.is_empty()
    }

    /// The events that are not durable yet, with their numbers, in the order of arrival.
    pub fn direct(&self) -> Vec<(u64, Event)> {
        let found = self.direct.iter().filter_map(|(number, name)| {
            let events = &self.lanes.get(name)?.events;
            let at = events.binary_search_by_key(&Place::Direct(*number), |pending| pending.place);
            Some((*number, events.get(at.ok()?)?.event.clone()))
        });
        found.collect()
    }

    /// Removes and returns the events that are not durable yet.
    pub fn take_direct(&mut self) -> Vec<Event> {
        let direct = self.direct();
        for name in std::mem::take(&mut self.direct).into_values() {
            let Some(lane) = self.lanes.get_mut(&name) else {
                continue;
            };
            // They are after all stored ones.
            let stored = lane.events.partition_point(|pending| pending.place < Place::Direct(0));
            let dropped = lane.events.drain(stored..);
            self.bytes -= dropped.map(|pending| size(&pending.event)).sum::<usize>();
        }
        direct.into_iter().map(|(_, event)| event).collect()
    }

    /// Marks the events that were not durable as stored, with these sequence numbers in their order.
    pub fn stored(&mut self, seqs: &[InboxSeq]) {
        for ((number, name), seq) in std::mem::take(&mut self.direct).into_iter().zip(seqs) {
            let Some(lane) = self.lanes.get_mut(&name) else {
                continue;
            };
            let at = lane
                .events
                .binary_search_by_key(&Place::Direct(number), |pending| pending.place);
            if let Ok(at) = at {
                // Events stored before have lower numbers, so the order does not change.
                lane.events[at].place = Place::Stored(*seq);
            }
        }
    }

    // ---- taking events in a turn ----

    /// Whether an event in memory has an awaited name and a place before this one.
    pub fn has_wanted(&self, waits: &Waits, before: Place) -> bool {
        let has_events = |lane: &Lane| lane.events.front().is_some_and(|first| first.place < before);
        if waits.len() < self.lanes.len() {
            return waits.keys().filter_map(|name| self.lanes.get(name)).any(has_events);
        }
        self.lanes
            .iter()
            .any(|(name, lane)| has_events(lane) && waits.contains_key(name))
    }

    /// Begins a turn with these waits.
    pub(super) fn begin(&mut self, waits: &Waits) {
        if waits.len() < self.lanes.len() {
            waits.keys().for_each(|name| self.want_known(name));
        } else {
            let names: Vec<String> = self
                .lanes
                .keys()
                .filter(|name| waits.contains_key(*name))
                .cloned()
                .collect();
            names.iter().for_each(|name| self.want_known(name));
        }
    }

    /// Ends the turn.
    pub(super) fn end(&mut self) {
        self.heads.clear();
        self.emptied.clear();
    }

    fn want_known(&mut self, name: &str) {
        if let Some(first) = self.lanes.get(name).and_then(|lane| lane.events.front()) {
            self.heads.insert((first.place, name.to_owned()));
        }
    }

    /// Updates whether a task waits for events with this name.
    pub(super) fn want(&mut self, name: &str, wanted: bool) {
        let lane = self.lanes.get(name);
        let first = lane.and_then(|lane| lane.events.front()).map(|pending| pending.place);
        let unread = match lane {
            Some(lane) => lane.more.then_some(lane.read_to),
            None => self.more.then_some(InboxSeq(0)),
        };
        match (first, unread) {
            (Some(place), _) => set(&mut self.heads, (place, name.to_owned()), wanted),
            (None, Some(read_to)) => set(&mut self.emptied, (read_to, name.to_owned()), wanted),
            (None, None) => {}
        }
    }

    /// Takes the oldest event with an awaited name, if its place is before `before` and no unread event may be older.
    pub(super) fn next(&mut self, before: Place) -> Option<PendingEvent> {
        let place = self.heads.first()?.0;
        let unread = self.emptied.first().map(|(read_to, _)| Place::Stored(*read_to));
        if place >= before || unread.is_some_and(|read_to| place > read_to) {
            return None;
        }
        let (_, name) = self.heads.pop_first()?;
        let lane = self.lanes.get_mut(&name)?;
        let taken = lane.events.pop_front()?;
        self.bytes -= size(&taken.event);
        if let Place::Direct(number) = taken.place {
            self.direct.remove(&number);
        }
        match lane.events.front() {
            Some(first) => drop(self.heads.insert((first.place, name))),
            None if lane.more => drop(self.emptied.insert((lane.read_to, name))),
            // An empty, complete lane is the same as no lane.
            None if !self.more => drop(self.lanes.remove(&name)),
            None => {}
        }
        Some(taken)
    }
}

impl Lane {
    /// Marks the lane as having further events in the store, after those in memory.
    fn leave_rest_in_store(&mut self) {
        self.more = true;
        if let Some(Place::Stored(last)) = self.events.back().map(|last| last.place) {
            self.read_to = self.read_to.max(last);
        }
    }
}

fn set<T: Ord>(set: &mut BTreeSet<T>, value: T, present: bool) {
    if present {
        set.insert(value);
    } else {
        set.remove(&value);
    }
}

/// The approximate memory that an event uses, in bytes.
fn size(event: &Event) -> usize {
    const OVERHEAD: usize = 128;
    event.name.as_str().len() + event.payload.as_str().len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::tests::script::event;

    fn waits(names: &[&str]) -> Waits {
        names.iter().map(|name| ((*name).to_owned(), BTreeSet::new())).collect()
    }

    fn take_all(pending: &mut PendingEvents, waits: &Waits) -> Vec<String> {
        pending.begin(waits);
        let mut taken = Vec::new();
        while let Some(PendingEvent { event, .. }) = pending.next(Place::Own) {
            taken.push(format!("{}{}", event.name, event.payload));
        }
        pending.end();
        taken
    }

    fn seqs(of: &str, range: std::ops::RangeInclusive<u64>) -> Vec<(InboxSeq, Event)> {
        let number = |seq: u64| u32::try_from(seq).unwrap();
        range.map(|seq| (InboxSeq(seq), event(of, number(seq)))).collect()
    }

    #[test]
    fn awaited_events_are_taken_in_the_order_of_arrival_across_names() {
        let mut pending = PendingEvents::new(InboxSeq(0), false);
        for (seq, name) in [(5, "a"), (3, "B"), (4, "c"), (6, "b")] {
            pending.receive(InboxSeq(seq), event(name, seq as u32), usize::MAX, &waits(&[]));
        }
        pending.receive_direct(event("a", 7));
        assert_eq!(take_all(&mut pending, &waits(&["a", "b"])), ["B3", "a5", "b6", "a7"]);
        assert!(!pending.has_direct());
        assert_eq!(take_all(&mut pending, &waits(&["c"])), ["c4"]);
        assert!(pending.is_empty());
    }

    #[test]
    fn an_event_is_not_taken_while_an_older_one_may_be_unread() {
        let mut pending = PendingEvents::new(InboxSeq(0), true);
        let both = waits(&["a", "b"]);
        assert!(pending.unread(&both).eq(["a", "b"]));
        let read = |name: &str, range, more| EventPage {
            name: name.into(),
            events: seqs(name, range),
            more,
        };
        pending.read(
            InboxSeq(20),
            vec![read("a", 1..=2, true), read("b", 5..=6, false)],
            usize::MAX,
            &both,
        );
        assert_eq!(take_all(&mut pending, &both), ["a1", "a2"], "a3 may be unread");
        assert!(pending.unread(&both).eq(["a"]));
        pending.read(InboxSeq(20), vec![read("a", 7..=7, false)], usize::MAX, &both);
        assert_eq!(take_all(&mut pending, &both), ["b5", "b6", "a7"]);
        pending.receive(InboxSeq(20), event("a", 20), usize::MAX, &both);
        assert!(pending.is_empty(), "a20 was read already");
        pending.receive(InboxSeq(21), event("a", 21), usize::MAX, &both);
        assert!(!pending.is_empty());
    }

    #[test]
    fn events_without_a_wait_do_not_fill_the_memory() {
        let mut pending = PendingEvents::new(InboxSeq(0), false);
        let wanted = waits(&["a"]);
        for seq in 1..=100 {
            pending.receive(InboxSeq(seq), event("noise", 1), 1_000, &wanted);
            assert!(pending.bytes() <= 1_000);
        }
        assert!(pending.is_complete("a") && !pending.is_complete("noise"));
        for seq in 101..=200 {
            pending.receive(InboxSeq(seq), event("a", 1), 1_000, &wanted);
            assert!(pending.bytes() <= 1_000);
        }
        assert!(!pending.is_complete("a"));
        assert!(!take_all(&mut pending, &wanted).is_empty());
        assert!(pending.unread(&wanted).eq(["a"]));
    }

    #[test]
    fn an_event_keeps_its_place_when_it_is_stored() {
        let mut pending = PendingEvents::new(InboxSeq(0), false);
        pending.receive_direct(event("a", 1));
        pending.receive_direct(event("b", 2));
        pending.receive_direct(event("a", 3));
        assert_eq!(take_all(&mut pending, &waits(&["b"])), ["b2"]);
        assert_eq!(pending.direct().len(), 2);
        pending.stored(&[InboxSeq(8), InboxSeq(9)]);
        pending.receive(InboxSeq(10), event("a", 4), usize::MAX, &waits(&[]));
        assert_eq!(take_all(&mut pending, &waits(&["a"])), ["a1", "a3", "a4"]);
        pending.receive_direct(event("a", 5));
        assert_eq!(pending.take_direct(), [event("a", 5)]);
        assert!(pending.is_empty());
    }

    #[test]
    fn events_from_the_store_do_not_fill_the_memory() {
        let mut pending = PendingEvents::new(InboxSeq(0), true);
        let wanted = waits(&["a", "b", "c"]);
        let read = |name: &str, range| EventPage {
            name: name.into(),
            events: seqs(name, range),
            more: false,
        };
        let pages = vec![read("a", 7..=9), read("b", 1..=3), read("c", 4..=6)];
        pending.read(InboxSeq(9), pages.clone(), 3 * size(&event("a", 1)), &wanted);
        assert!(pending.unread(&wanted).eq([""; 0]));
        assert_eq!(take_all(&mut pending, &wanted), ["b1"], "b2 may be unread");
        pending.forget();
        pending.read(InboxSeq(9), pages, 0, &wanted);
        assert!(pending.unread(&wanted).eq(["a", "c"]));
        assert_eq!(take_all(&mut pending, &wanted), ["b1"]);
        pending.read(InboxSeq(9), vec![read("b", 2..=3)], usize::MAX, &wanted);
        assert_eq!(take_all(&mut pending, &wanted), ["b2", "b3"], "they were left in order");
    }

    #[test]
    fn an_unseen_event_is_read_before_a_later_one_that_was_seen() {
        let mut pending = PendingEvents::new(InboxSeq(10), false);
        let wanted = waits(&["a"]);
        pending.receive(InboxSeq(12), event("a", 12), usize::MAX, &wanted);
        pending.forget();
        assert!(pending.unread(&wanted).eq(["a"]));
        let page = EventPage {
            name: "a".into(),
            events: seqs("a", 11..=12),
            more: false,
        };
        pending.read(InboxSeq(12), vec![page], usize::MAX, &wanted);
        assert_eq!(take_all(&mut pending, &wanted), ["a11", "a12"]);
    }
}
