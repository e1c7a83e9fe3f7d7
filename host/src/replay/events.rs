//! External events that have arrived at one execution: matched with waits in order, and given back by dropped waits.
//!
//! A new turn delivers an event only if a task waits for it (see [`pending`](super::pending)). Early events, for which no
//! task waits, come from histories of older hosts, from the start of the execution, and from dropped waits.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Event, TaskId};

/// The tasks that wait for events, oldest first, by folded name. No queue is empty.
pub type Waits = BTreeMap<String, VecDeque<TaskId>>;

/// The queues of all names. For each name, either events wait for tasks or tasks wait for events, never both.
///
/// Every event gets a number when it arrives. An event that is given back returns to the place of its number, so several
/// events can be given back in any order.
#[derive(Debug, Default)]
pub struct Events {
    next_number: u64,
    /// Events that are not delivered to a wait, by folded name. No queue is empty.
    early: BTreeMap<String, VecDeque<Numbered>>,
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
        if let Some(task) = pop(&mut self.waits, &name) {
            self.held.insert(task, numbered);
            return Some(task);
        }
        let queue = self.early.entry(name).or_default();
        let position = queue.partition_point(|other| other.number < numbered.number);
        queue.insert(position, numbered);
        None
    }

    /// Adds a wait. Returns whether an early event completes it immediately.
    pub fn wait(&mut self, task: TaskId, folded_name: &str) -> bool {
        match pop(&mut self.early, folded_name) {
            Some(numbered) => {
                self.held.insert(task, numbered);
                true
            }
            None => {
                self.waits.entry(folded_name.to_owned()).or_default().push_back(task);
                false
            }
        }
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
        if let Some(queue) = self.waits.get_mut(folded_name) {
            queue.retain(|waiting| *waiting != task);
            if queue.is_empty() {
                self.waits.remove(folded_name);
            }
        }
    }

    /// Puts the event of a dropped wait back. Returns the task whose wait it completes instead, if any.
    pub fn give_back(&mut self, task: TaskId) -> Option<TaskId> {
        let numbered = self.held.remove(&task)?;
        self.place(numbered)
    }

    /// All events that have arrived but that the guest has not taken, in the order of arrival.
    pub fn untaken(&self) -> Vec<Event> {
        let early = self.early.values().flatten();
        let mut all: Vec<&Numbered> = early.chain(self.held.values()).collect();
        all.sort_by_key(|numbered| numbered.number);
        all.into_iter().map(|numbered| numbered.event.clone()).collect()
    }
}

/// Removes the first element of a queue, and the queue if it is then empty: a guest that loops over new names must not
/// leave a queue for each.
pub(super) fn pop<T>(queues: &mut BTreeMap<String, VecDeque<T>>, name: &str) -> Option<T> {
    let queue = queues.get_mut(name)?;
    let first = queue.pop_front();
    if queue.is_empty() {
        queues.remove(name);
    }
    first
}
