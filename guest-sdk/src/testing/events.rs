//! The events of one simulated instance: kept, matched by name in order, and given back.

use std::collections::BTreeMap;

use crate::backend::TaskId;

/// Events that came, and waits for them.
#[derive(Default)]
pub(super) struct Events {
    /// Not delivered to any wait, by lower-case name and order of arrival.
    kept: BTreeMap<(String, u64), String>,
    waits: BTreeMap<TaskId, Wait>,
    arrived: u64,
}

struct Wait {
    name: String,
    /// The event that completed it, with its place in the order of arrival, until it is taken.
    delivered: Option<(u64, String)>,
}

impl Events {
    /// An event comes; the wait that it completes, if there is one.
    pub(super) fn raise(&mut self, name: &str, payload: String) -> Option<TaskId> {
        self.arrived += 1;
        self.kept.insert((name.to_lowercase(), self.arrived), payload);
        self.deliver(&name.to_lowercase())
    }

    /// Someone waits; true if an event is there already.
    pub(super) fn wait(&mut self, task: TaskId, name: &str) -> bool {
        let name = name.to_lowercase();
        self.waits.insert(
            task,
            Wait {
                name: name.clone(),
                delivered: None,
            },
        );
        self.deliver(&name).is_some()
    }

    /// The event of a completed wait, once.
    pub(super) fn take(&mut self, task: TaskId) -> Option<String> {
        let (_, payload) = self.waits.get_mut(&task)?.delivered.take()?;
        self.waits.remove(&task);
        Some(payload)
    }

    /// Withdraws a wait. An event that it had but did not take goes back to where it was in the order, and from there
    /// to the next wait of the name, which is returned.
    pub(super) fn cancel(&mut self, task: TaskId) -> Option<TaskId> {
        let wait = self.waits.remove(&task)?;
        let (place, payload) = wait.delivered?;
        self.kept.insert((wait.name.clone(), place), payload);
        self.deliver(&wait.name)
    }

    /// Continue-as-new: waits end, events stay.
    pub(super) fn begin_next_execution(&mut self) {
        for (_, wait) in std::mem::take(&mut self.waits) {
            if let Some((place, payload)) = wait.delivered {
                self.kept.insert((wait.name, place), payload);
            }
        }
    }

    /// The names that are waited for in vain so far.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = &str> {
        self.waits
            .values()
            .filter(|wait| wait.delivered.is_none())
            .map(|wait| wait.name.as_str())
    }

    /// Gives the first kept event of a name to the first wait without one. Waits are served in the order they were
    /// made, which is that of their ids.
    fn deliver(&mut self, name: &str) -> Option<TaskId> {
        let (&task, wait) = self
            .waits
            .iter_mut()
            .find(|(_, wait)| wait.name == name && wait.delivered.is_none())?;
        let key = self
            .kept
            .range((name.to_owned(), 0)..=(name.to_owned(), u64::MAX))
            .next()?
            .0
            .clone();
        let payload = self.kept.remove(&key)?;
        wait.delivered = Some((key.1, payload));
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
    fn an_event_given_back_goes_on_to_the_next_wait() {
        let mut events = Events::default();
        events.wait(1, "go");
        events.wait(2, "go");
        assert_eq!(events.raise("go", "1".into()), Some(1));
        assert_eq!(events.cancel(1), Some(2));
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
