//! External events of one execution: kept when early, matched in order, given back when their wait is dropped.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Event, TaskId};

/// The queues of all names.
///
/// Every event gets a number when it arrives. An event that is given back returns to the place of its number, so
/// giving back several restores their order whatever the order of the giving back.
#[derive(Debug, Default)]
pub struct Events {
    next_number: u64,
    /// By folded name.
    queues: BTreeMap<String, Queue>,
    /// Delivered to a wait, not taken by the guest.
    held: BTreeMap<TaskId, Numbered>,
}

#[derive(Debug)]
struct Numbered {
    number: u64,
    event: Event,
}

/// Per name: either events wait for tasks or tasks for events; never both.
#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Numbered>,
    waits: VecDeque<TaskId>,
}

impl Events {
    /// Takes in an event. Returns the task whose wait it ends, if one waits.
    pub fn arrive(&mut self, event: Event) -> Option<TaskId> {
        let number = self.next_number;
        self.next_number += 1;
        self.place(Numbered { number, event })
    }

    fn place(&mut self, numbered: Numbered) -> Option<TaskId> {
        let queue = self.queues.entry(numbered.event.name.folded()).or_default();
        if let Some(task) = queue.waits.pop_front() {
            self.held.insert(task, numbered);
            return Some(task);
        }
        let position = queue.events.partition_point(|other| other.number < numbered.number);
        queue.events.insert(position, numbered);
        None
    }

    /// Adds a wait. Returns whether an event was there for it already.
    pub fn wait(&mut self, task: TaskId, folded_name: &str) -> bool {
        let queue = self.queues.entry(folded_name.to_owned()).or_default();
        match queue.events.pop_front() {
            Some(numbered) => {
                self.held.insert(task, numbered);
                self.forget_if_empty(folded_name);
                true
            }
            None => {
                queue.waits.push_back(task);
                false
            }
        }
    }

    /// Hands over the event of a wait, once.
    pub fn take(&mut self, task: TaskId) -> Option<Event> {
        let numbered = self.held.remove(&task)?;
        self.forget_if_empty(&numbered.event.name.folded());
        Some(numbered.event)
    }

    /// Whether an event was delivered to the task and not taken.
    pub fn holds(&self, task: TaskId) -> bool {
        self.held.contains_key(&task)
    }

    /// Withdraws a wait that no event has ended.
    pub fn withdraw(&mut self, task: TaskId, folded_name: &str) {
        if let Some(queue) = self.queues.get_mut(folded_name) {
            queue.waits.retain(|waiting| *waiting != task);
        }
        self.forget_if_empty(folded_name);
    }

    /// Puts the event of a dropped wait back. Returns the task whose wait it ends instead, if one waits.
    pub fn give_back(&mut self, task: TaskId) -> Option<TaskId> {
        let numbered = self.held.remove(&task)?;
        self.place(numbered)
    }

    /// All events that no guest code has taken, in the order of their arrival.
    pub fn untaken(&self) -> Vec<Event> {
        let queued = self.queues.values().flat_map(|queue| &queue.events);
        let mut all: Vec<&Numbered> = queued.chain(self.held.values()).collect();
        all.sort_by_key(|numbered| numbered.number);
        all.into_iter().map(|numbered| numbered.event.clone()).collect()
    }

    /// A loop over ever new names must not leave a queue for each.
    fn forget_if_empty(&mut self, folded_name: &str) {
        if self
            .queues
            .get(folded_name)
            .is_some_and(|queue| queue.events.is_empty() && queue.waits.is_empty())
        {
            self.queues.remove(folded_name);
        }
    }
}
