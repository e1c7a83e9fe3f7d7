//! External events that have arrived at one execution: matched with waits in order, and given back by dropped waits.
//!
//! A new turn delivers an event only if a task waits for it (see [`pending`](super::pending)). Early events, for which no
//! task waits, come from histories of older hosts, from the start of the execution, and from dropped waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Event, TaskId};

/// The tasks that wait for events, by folded name. No set is empty. The numbers of tasks ascend, so the oldest wait is the
/// first of its set.
pub type Waits = BTreeMap<String, BTreeSet<TaskId>>;

/// The queues of all names. For each name, either events wait for tasks or tasks wait for events, never both.
///
/// Every event gets a number when it arrives. An event that is given back returns to the place of its number, so several
/// events can be given back in any order.
#[derive(Debug, Default)]
pub struct Events {
    next_number: u64,
    /// Events that are not delivered to a wait, by folded name and number. No queue is empty.
    early: BTreeMap<String, BTreeMap<u64, Event>>,
    waits: Waits,
    /// Events that are delivered to a wait but not taken by the guest.
    held: BTreeMap<TaskId, Numbered>,
}

#[derive(Debug)]
struct Numbered {
    number: u64,
    event: Event,
}

impl Events {
    /// Adds an event. Returns the task whose wait it completes, if any.
    pub fn arrive(&mut self, event: Event) -> Option<TaskId> {
        let number = self.next_number;
        self.next_number += 1;
        self.place(Numbered { number, event })
    }

    fn place(&mut self, numbered: Numbered) -> Option<TaskId> {
        let name = numbered.event.name.folded();
        if let Some(task) = pop_wait(&mut self.waits, &name) {
            self.held.insert(task, numbered);
            return Some(task);
        }
        let Numbered { number, event } = numbered;
        self.early.entry(name).or_default().insert(number, event);
        None
    }

    /// Adds a wait. Returns whether an early event completes it immediately.
    pub fn wait(&mut self, task: TaskId, folded_name: &str) -> bool {
        let Some(queue) = self.early.get_mut(folded_name) else {
            self.waits.entry(folded_name.to_owned()).or_default().insert(task);
            return false;
        };
        let (number, event) = queue.pop_first().expect("no queue is empty");
        if queue.is_empty() {
            self.early.remove(folded_name);
        }
        self.held.insert(task, Numbered { number, event });
        true
    }

    /// The waits that no event has completed.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Takes the event of a completed wait, once.
    pub fn take(&mut self, task: TaskId) -> Option<Event> {
        Some(self.held.remove(&task)?.event)
    }

    /// The folded name of the event that was delivered to the task and not taken.
    pub fn held_name(&self, task: TaskId) -> Option<String> {
        Some(self.held.get(&task)?.event.name.folded())
    }

    /// Withdraws a wait that no event has completed.
    pub fn withdraw(&mut self, task: TaskId, folded_name: &str) {
        withdraw(&mut self.waits, folded_name, &task);
    }

    /// Puts the event of a dropped wait back. Returns the task whose wait it completes instead, if any.
    pub fn give_back(&mut self, task: TaskId) -> Option<TaskId> {
        let numbered = self.held.remove(&task)?;
        self.place(numbered)
    }

    /// All events that have arrived but that the guest has not taken, in the order of arrival.
    pub fn untaken(&self) -> Vec<Event> {
        let early = self.early.values().flatten();
        let held = self.held.values().map(|Numbered { number, event }| (number, event));
        let all: BTreeMap<&u64, &Event> = early.chain(held).collect();
        all.into_values().cloned().collect()
    }
}

/// Removes the oldest wait for a name, and its set if it is then empty: a guest that loops over new names must not leave a
/// set for each.
pub(super) fn pop_wait<T: Ord>(waits: &mut BTreeMap<String, BTreeSet<T>>, name: &str) -> Option<T> {
    let tasks = waits.get_mut(name)?;
    let first = tasks.pop_first();
    if tasks.is_empty() {
        waits.remove(name);
    }
    first
}

/// Removes a wait, and its set if it is then empty. A guest may withdraw tens of thousands of waits for one name in a turn,
/// so each is found without looking at the others.
pub(super) fn withdraw<T: Ord>(waits: &mut BTreeMap<String, BTreeSet<T>>, name: &str, task: &T) {
    if let Some(tasks) = waits.get_mut(name) {
        tasks.remove(task);
        if tasks.is_empty() {
            waits.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::*;
    use crate::replay::tests::script::event;

    thread_local! {
        static COMPARISONS: Cell<u64> = const { Cell::new(0) };
    }

    /// A task that counts how often it is compared with another.
    struct Counted(u32);

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other) == Ordering::Equal
        }
    }

    impl Eq for Counted {}

    /// Withdraws so many waits for one name, and returns the number of comparisons.
    fn comparisons(count: u32) -> u64 {
        let mut waits: BTreeMap<String, BTreeSet<Counted>> = BTreeMap::new();
        waits.insert("a".into(), (0..count).map(Counted).collect());
        COMPARISONS.set(0);
        // Neither from the front nor from the back.
        (0..count).for_each(|n| withdraw(&mut waits, "a", &Counted(n * 7_919 % count)));
        assert!(waits.is_empty());
        COMPARISONS.get()
    }

    #[test]
    fn withdrawing_four_times_as_many_waits_takes_about_four_times_as_long() {
        let (few, many) = (comparisons(1_000), comparisons(4_000));
        assert!(few > 0 && many < 6 * few, "{few}, {many}");
    }

    #[test]
    fn events_given_back_in_any_order_return_to_their_places() {
        let mut events = Events::default();
        (1..=4).for_each(|n| assert_eq!(events.arrive(event("a", n)), None));
        (1..=4).for_each(|n| assert!(events.wait(TaskId(n), "a")));
        for n in [3, 1, 4] {
            assert_eq!(events.give_back(TaskId(n)), None);
        }
        assert_eq!(events.untaken(), [1, 2, 3, 4].map(|n| event("a", n)));
        assert!(events.wait(TaskId(5), "a"));
        assert_eq!(events.take(TaskId(5)), Some(event("a", 1)));
        assert_eq!(events.take(TaskId(2)), Some(event("a", 2)));
        assert_eq!(events.untaken(), [3, 4].map(|n| event("a", n)));
    }
}
