//! Instances whose work waits in the store because the memory budget has no room for it.
//!
//! Each tenant with such instances has a task that waits for memory and then resumes the [next](LeftOut::next) one, in
//! the order in which they were left out. The work itself is in the store, so an instance takes only its number here. The
//! numbers are bounded, too: when a tenant has too many, its instances with work are read from the store afterwards.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::environment::Environment;
use crate::model::{InstanceNumber, TenantId};
use crate::store;

/// Instances to read at once.
const PAGE: u32 = 1_000;

/// The number of instances of one tenant that are known here: less than a megabyte.
pub(super) const MAX_OF_TENANT: usize = 20_000;

/// The number of instances of all tenants that are known here: about 20 MB.
const MAX_OF_ALL: usize = 500_000;

/// The instances that were left out, by tenant. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LeftOut {
    max_of_tenant: usize,
    tenants: Arc<Mutex<Tenants>>,
}

#[derive(Debug, Default)]
struct Tenants {
    queues: BTreeMap<TenantId, Queue>,
    known: usize,
}

/// The instances of one tenant, each once, in the order in which they were left out.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<InstanceNumber>,
    known: HashSet<InstanceNumber>,
    /// Instances that are not known here were left out since the store was last read from its beginning.
    more: bool,
    /// Instances that are not known here were left out since the tenant had none.
    has_forgotten: bool,
    /// The store is being read; its next page begins after this instance.
    reading: Option<Option<InstanceNumber>>,
}

/// What the task of a tenant does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Resume(InstanceNumber),
    /// Read the instances with work after this one from the store.
    Read(Option<InstanceNumber>),
    /// The tenant has none any more, and its task ends. Whether all of them were known here.
    End {
        were_known: bool,
    },
}

/// What became of the instances of a tenant that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeftOutNext {
    /// This one was left out first, and is not left out any more.
    Resume(InstanceNumber),
    /// The tenant has none any more. Those that were not known here were resumed if they had something to do when the store
    /// was read.
    None {
        /// Whether all of them were known here.
        were_known: bool,
    },
}

impl LeftOut {
    /// Knows at most that many instances of one tenant.
    pub(super) fn new(max_of_tenant: usize) -> Self {
        Self {
            max_of_tenant,
            tenants: Arc::default(),
        }
    }

    /// Notes that work of an instance was left out. Returns whether the tenant had none before: then the caller starts
    /// the task that resumes its instances.
    #[must_use]
    pub(super) fn note(&self, tenant: TenantId, instance: InstanceNumber) -> bool {
        let mut tenants = self.lock();
        let Tenants { queues, known } = &mut *tenants;
        let is_first = !queues.contains_key(&tenant);
        let queue = queues.entry(tenant).or_default();
        if queue.known.contains(&instance) {
            return is_first;
        }
        match queue.order.len() < self.max_of_tenant && *known < MAX_OF_ALL {
            true => *known += usize::from(queue.add(instance)),
            false => {
                queue.more = true;
                queue.has_forgotten = true;
            }
        }
        is_first
    }

    /// Removes and returns the instance that was left out first. If the tenant has none any more, its task ends.
    ///
    /// # Errors
    /// If the store fails. Call it again then.
    pub(super) async fn next(&self, environment: &Environment, tenant: TenantId) -> Result<LeftOutNext, store::Error> {
        loop {
            match self.step(tenant) {
                Next::Resume(instance) => return Ok(LeftOutNext::Resume(instance)),
                Next::End { were_known } => return Ok(LeftOutNext::None { were_known }),
                Next::Read(after) => {
                    let now = environment.clock.now();
                    let page = environment.store.to_wake_of(tenant, now, after, PAGE).await?;
                    self.add_page(tenant, &page);
                }
            }
        }
    }

    fn step(&self, tenant: TenantId) -> Next {
        let mut tenants = self.lock();
        let Tenants { queues, known } = &mut *tenants;
        let Some(queue) = queues.get_mut(&tenant) else {
            return Next::End { were_known: true };
        };
        if let Some(instance) = queue.order.pop_front() {
            queue.known.remove(&instance);
            *known -= 1;
            return Next::Resume(instance);
        }
        if queue.reading.is_none() && std::mem::take(&mut queue.more) {
            queue.reading = Some(None);
        }
        match queue.reading {
            Some(after) => Next::Read(after),
            None => {
                let were_known = !queue.has_forgotten;
                queues.remove(&tenant);
                Next::End { were_known }
            }
        }
    }

    fn add_page(&self, tenant: TenantId, page: &[InstanceNumber]) {
        let mut tenants = self.lock();
        let Tenants { queues, known } = &mut *tenants;
        let Some(queue) = queues.get_mut(&tenant) else { return };
        queue.reading = (page.len() == PAGE as usize).then(|| page.last().copied());
        *known += page.iter().filter(|instance| queue.add(**instance)).count();
    }

    /// How many instances of all tenants were left out and are known here.
    pub(super) fn count(&self) -> usize {
        self.lock().known
    }

    fn lock(&self) -> MutexGuard<'_, Tenants> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Adds an instance, unless it is known.
    fn add(&mut self, instance: InstanceNumber) -> bool {
        let is_new = self.known.insert(instance);
        if is_new {
            self.order.push_back(instance);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    fn resume(number: u64) -> Next {
        Next::Resume(InstanceNumber(number))
    }

    #[test]
    fn instances_are_resumed_once_in_the_order_in_which_they_were_left_out() {
        let left_out = LeftOut::new(10);
        let note = |number| left_out.note(TENANT, InstanceNumber(number));
        assert_eq!([note(1), note(2), note(1)], [true, false, false]);
        assert_eq!(left_out.step(TENANT), resume(1));
        assert!(!note(1), "its task runs");
        assert_eq!(left_out.count(), 2);
        let rest = [(); 3].map(|()| left_out.step(TENANT));
        assert_eq!(rest, [resume(2), resume(1), Next::End { were_known: true }]);
        assert!(note(3), "its task has ended");
    }

    #[test]
    fn when_too_many_were_left_out_the_rest_is_read_from_the_store() {
        let left_out = LeftOut::new(2);
        let note = |number| left_out.note(TENANT, InstanceNumber(number));
        assert_eq!([7, 8, 9, 8].map(note), [true, false, false, false]);
        assert_eq!(left_out.count(), 2, "9 is not known");
        assert_eq!(
            [(); 3].map(|()| left_out.step(TENANT)),
            [resume(7), resume(8), Next::Read(None)]
        );
        let page: Vec<_> = (1..=u64::from(PAGE)).map(InstanceNumber).collect();
        left_out.add_page(TENANT, &page);
        assert!(!note(2_000), "it is not known, so the store is read once more");
        for number in 1..=u64::from(PAGE) {
            assert_eq!(left_out.step(TENANT), resume(number));
        }
        let last = InstanceNumber(PAGE.into());
        assert_eq!(left_out.step(TENANT), Next::Read(Some(last)));
        assert_eq!(left_out.step(TENANT), Next::Read(Some(last)), "the store failed");
        left_out.add_page(TENANT, &[InstanceNumber(5_000)]);
        assert_eq!(
            [(); 2].map(|()| left_out.step(TENANT)),
            [resume(5_000), Next::Read(None)]
        );
        left_out.add_page(TENANT, &[]);
        assert_eq!(left_out.step(TENANT), Next::End { were_known: false });
        assert_eq!(left_out.count(), 0);
    }
}
