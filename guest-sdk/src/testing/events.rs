//! The events of one simulated instance: buffered, matched by name in order, and given back by dropped waits.
//!
//! As on the real host, an event that arrives before its wait is buffered until the orchestration waits and nothing else
//! is ready. Then the oldest event with an awaited name is delivered. An event that a dropped wait gave back is delivered
//! to the next wait immediately.

use std::collections::BTreeMap;

use crate::backend::TaskId;

/// Buffered events, and waits for events.
#[derive(Default)]
pub(super) struct Events {
    /// Undelivered events, by lower-case name and order of arrival.
    kept: BTreeMap<(String, u64), Kept>,
    waits: BTreeMap<TaskId, Wait>,
    arrived: u64,
}

struct Kept {
    payload: String,
    /// Whether the event was delivered to a wait that was dropped.
    given_back: bool,
}

struct Wait {
    name: String,
    /// The event that completed this wait, with its place in the order of arrival, until it is taken.
    delivered: Option<(u64, String)>,
}

impl Events {
    /// Adds an event. Returns the wait that it completes, if any.
    pub(super) fn raise(&mut self, name: &str, payload: String) -> Option<TaskId> {
        self.arrived += 1;
        let kept = Kept {
            payload,
            given_back: false,
        };
        self.kept.insert((name.to_lowercase(), self.arrived), kept);
        self.deliver(&name.to_lowercase())
    }

    /// Adds a wait. Returns true if an event that was given back completes it immediately.
    pub(super) fn wait(&mut self, task: TaskId, name: &str) -> bool {
        let name = name.to_lowercase();
        self.waits.insert(
            task,
            Wait {
                name: name.clone(),
                delivered: None,
            },
        );
        let given_back = self
            .first(&name)
            .is_some_and(|place| self.kept[&(name.clone(), place)].given_back);
        given_back && self.deliver(&name).is_some()
    }

    /// Delivers the oldest event with an awaited name, and returns the wait that it completes. Called when the
    /// orchestration waits and nothing else is ready.
    pub(super) fn pull(&mut self) -> Option<TaskId> {
        let firsts = self.waited_for().filter_map(|name| Some((self.first(name)?, name)));
        let (_, name) = firsts.min()?;
        let name = name.to_owned();
        self.deliver(&name)
    }

    /// Takes the event of a completed wait, once.
    pub(super) fn take(&mut self, task: TaskId) -> Option<String> {
        let (_, payload) = self.waits.get_mut(&task)?.delivered.take()?;
        self.waits.remove(&task);
        Some(payload)
    }

    /// Withdraws a wait. An event that was delivered to it but not taken returns to its place in the order, and from
    /// there to the next wait for the name, which is returned.
    pub(super) fn cancel(&mut self, task: TaskId) -> Option<TaskId> {
        let wait = self.waits.remove(&task)?;
        let (place, payload) = wait.delivered?;
        self.give_back(&wait.name, place, payload);
        self.deliver(&wait.name)
    }

    /// Ends all waits for continue-as-new. Events stay.
    pub(super) fn begin_next_execution(&mut self) {
        for (_, wait) in std::mem::take(&mut self.waits) {
            if let Some((place, payload)) = wait.delivered {
                self.give_back(&wait.name, place, payload);
            }
        }
    }

    fn give_back(&mut self, name: &str, place: u64, payload: String) {
        let kept = Kept {
            payload,
            given_back: true,
        };
        self.kept.insert((name.to_owned(), place), kept);
    }

    /// The place of the oldest undelivered event with this name.
    fn first(&self, name: &str) -> Option<u64> {
        let mut of_name = self.kept.range((name.to_owned(), 0)..=(name.to_owned(), u64::MAX));
        of_name.next().map(|((_, place), _)| *place)
    }

    /// The names of waits without an event.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = &str> {
        self.waits
            .values()
            .filter(|wait| wait.delivered.is_none())
            .map(|wait| wait.name.as_str())
    }

    /// Delivers the oldest undelivered event with this name to the first wait without one. Waits are served in the order
    /// of their ids, which is the order of creation.
    fn deliver(&mut self, name: &str) -> Option<TaskId> {
        let place = self.first(name)?;
        let (&task, wait) = self
            .waits
            .iter_mut()
            .find(|(_, wait)| wait.name == name && wait.delivered.is_none())?;
        let kept = self.kept.remove(&(name.to_owned(), place))?;
        wait.delivered = Some((place, kept.payload));
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_given_back_is_served_before_later_ones() {
        let mut events = Events::default();
        assert!(!events.wait(1, "Go"));
        assert_eq!(events.raise("go", "1".into()), Some(1));
        assert_eq!(events.raise("GO", "2".into()), None);
        assert_eq!(events.cancel(1), None);
        assert!(events.wait(2, "go"));
        assert_eq!(events.take(2).as_deref(), Some("1"));
        assert_eq!(events.take(2), None);
    }

    #[test]
    fn an_event_given_back_is_delivered_to_the_next_wait() {
        let mut events = Events::default();
        events.wait(1, "go");
        events.wait(2, "go");
        assert_eq!(events.raise("go", "1".into()), Some(1));
        assert_eq!(events.cancel(1), Some(2));
    }

    #[test]
    fn early_events_are_taken_in_the_order_of_arrival_across_names() {
        let mut events = Events::default();
        events.raise("noise", "0".into());
        events.raise("b", "1".into());
        events.raise("A", "2".into());
        events.raise("b", "3".into());
        assert!(!events.wait(1, "a") && !events.wait(2, "b"));
        assert_eq!([events.pull(), events.pull(), events.pull()], [Some(2), Some(1), None]);
        assert_eq!(events.take(2).as_deref(), Some("1"));
    }

    #[test]
    fn events_outlive_the_execution_and_waits_do_not() {
        let mut events = Events::default();
        events.wait(1, "go");
        events.raise("go", "1".into());
        events.begin_next_execution();
        assert_eq!(events.take(1), None);
        assert!(events.wait(1, "go"));
    }
}
