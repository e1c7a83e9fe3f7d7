//! Wakes instances when their timers are due.
//!
//! Only the wake-ups up to a horizon are in memory. The others stay in the store and are read when the horizon comes
//! closer, so a million sleeping instances take only disk space, and the store is not polled.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::environment::Environment;
use super::mail::Mail;
use super::owners::Owners;
use crate::model::{InstanceNumber, TenantId, Timestamp};
use crate::store::{Store, WakeUp};

/// Wake-ups to read from the store at once; memory holds up to twice as many.
const PAGE: u32 = 20_000;

/// The clock is read again after this time even if nothing is due, because clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The delay before the next try if the store fails.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// The wake-ups of all instances. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Timers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nearest: Mutex<Nearest>,
    /// Notified when the earliest wake-up changes.
    changed: Notify,
}

/// All wake-ups up to the horizon that were not delivered yet.
#[derive(Debug)]
struct Nearest {
    by_time: BTreeSet<(Timestamp, InstanceNumber)>,
    by_instance: HashMap<InstanceNumber, (Timestamp, TenantId)>,
    horizon: Timestamp,
    /// Up to here, the store was read. Wake-ups before it are in memory or were delivered, even if their owners have not
    /// changed them in the store yet, so they are not read again. `None`: nothing was read.
    read_to: Option<(Timestamp, InstanceNumber)>,
    /// How often reading began again.
    beginnings: u64,
    page: usize,
}

impl Nearest {
    fn remove(&mut self, instance: InstanceNumber) {
        if let Some((time, _)) = self.by_instance.remove(&instance) {
            self.by_time.remove(&(time, instance));
        }
    }

    /// What is beyond the horizon is not in memory any more and must be read again.
    fn read_at_most_to_horizon(&mut self) {
        let horizon = (self.horizon, InstanceNumber(u64::MAX));
        self.read_to = self.read_to.map(|read_to| read_to.min(horizon));
    }

    fn insert(&mut self, time: Timestamp, instance: InstanceNumber, tenant: TenantId) {
        self.remove(instance);
        if time > self.horizon {
            return;
        }
        self.by_time.insert((time, instance));
        self.by_instance.insert(instance, (time, tenant));
        while self.by_time.len() > 2 * self.page {
            let (time, instance) = self.by_time.pop_last().expect("there are many");
            self.by_instance.remove(&instance);
            self.horizon = Timestamp(time.0.saturating_sub(1));
            self.read_at_most_to_horizon();
        }
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(TenantId, InstanceNumber)> {
        let (time, instance) = *self.by_time.first()?;
        if time > now {
            return None;
        }
        let (_, tenant) = self.by_instance[&instance];
        self.remove(instance);
        Some((tenant, instance))
    }

    /// Whether no wake-up is in memory but the store has some.
    fn wants_more(&self) -> bool {
        self.by_time.is_empty() && self.horizon < Timestamp::MAX
    }
}

impl Timers {
    /// Starts without wake-ups; all of them are in the store.
    pub(super) fn new() -> Self {
        let nearest = Nearest {
            by_time: BTreeSet::new(),
            by_instance: HashMap::new(),
            horizon: Timestamp(0),
            read_to: None,
            beginnings: 0,
            page: PAGE as usize,
        };
        Self(Arc::new(Inner {
            nearest: Mutex::new(nearest),
            changed: Notify::new(),
        }))
    }

    /// Sets the only wake-up of an instance. The store must already contain it.
    pub(super) fn arm(&self, tenant: TenantId, instance: InstanceNumber, time: Timestamp) {
        let mut nearest = self.lock();
        nearest.insert(time, instance, tenant);
        let first = nearest.by_time.first() == Some(&(time, instance));
        drop(nearest);
        if first {
            self.changed();
        }
    }

    /// Removes the wake-up of an instance.
    pub(super) fn disarm(&self, instance: InstanceNumber) {
        self.lock().remove(instance);
    }

    /// Reads all wake-ups again, because some were left out before.
    pub(super) fn read_again(&self) {
        let mut nearest = self.lock();
        nearest.by_time.clear();
        nearest.by_instance.clear();
        nearest.horizon = Timestamp(0);
        nearest.read_to = None;
        nearest.beginnings += 1;
        drop(nearest);
        self.changed();
    }

    fn changed(&self) {
        self.0.changed.notify_one();
    }

    /// How many wake-ups are in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.lock().by_time.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Nearest> {
        self.0.nearest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes instances until shutdown. Wake-ups of tenants that are `held` are not read from the store.
    pub(super) async fn run(self, environment: Arc<Environment>, owners: Owners, held: impl Fn() -> Vec<TenantId>) {
        let Environment { store, clock, .. } = &*environment;
        let work = async {
            loop {
                if self.lock().wants_more() {
                    self.read_more(store, &held()).await;
                }
                let now = clock.now();
                loop {
                    let due = self.lock().pop_due(now);
                    let Some((tenant, instance)) = due else { break };
                    owners.deliver(tenant, instance, Mail::Wake);
                }
                let next = self.lock().by_time.first().map(|(time, _)| *time);
                if next.is_none() && self.lock().wants_more() {
                    continue;
                }
                let wait = next.map_or(LOOK_AGAIN, |time| time.since(now).min(LOOK_AGAIN));
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(wait) => {}
                    () = self.0.changed.notified() => {}
                }
            }
        };
        environment.shutdown.run_until_cancelled(work).await;
    }

    /// Reads the next wake-ups and moves the horizon. During the read, every new wake-up is accepted, so that none is
    /// missed between the two. Tenants that are held are left out: their wake-ups may all be due and use up the memory.
    async fn read_more(&self, store: &Store, held: &[TenantId]) {
        let (after, beginnings) = {
            let mut nearest = self.lock();
            nearest.horizon = Timestamp::MAX;
            (nearest.read_to, nearest.beginnings)
        };
        match store.wake_ups(after, held, PAGE).await {
            Ok(rows) => {
                let mut nearest = self.lock();
                if nearest.beginnings != beginnings {
                    // All must be read again.
                    return;
                }
                let more = rows.len() >= PAGE as usize;
                let last = rows.last().map(|last| (last.at, last.instance));
                nearest.read_to = last.or(after);
                nearest.read_at_most_to_horizon();
                for WakeUp { at, instance, tenant } in rows {
                    // A wake-up that was set during the read is newer than the stored one.
                    if !nearest.by_instance.contains_key(&instance) {
                        nearest.insert(at, instance, tenant);
                    }
                }
                if let (true, Some((last, _))) = (more, last) {
                    nearest.horizon = nearest.horizon.min(last);
                    let beyond: Vec<_> = nearest
                        .by_time
                        .range((Timestamp(last.0 + 1), InstanceNumber(0))..)
                        .copied()
                        .collect();
                    for (_, instance) in beyond {
                        nearest.remove(instance);
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "wake-ups could not be read; trying again");
                {
                    let mut nearest = self.lock();
                    nearest.horizon = nearest.read_to.map_or(Timestamp(0), |(time, _)| time);
                }
                tokio::time::sleep(TROUBLE_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    fn timers(page: usize) -> Timers {
        let timers = Timers::new();
        {
            let mut nearest = timers.lock();
            nearest.page = page;
            nearest.horizon = Timestamp::MAX;
        }
        timers
    }

    #[test]
    fn an_instance_has_one_wake_up_and_the_last_one_counts() {
        let timers = timers(10);
        timers.arm(TENANT, InstanceNumber(1), Timestamp(5));
        timers.arm(TENANT, InstanceNumber(1), Timestamp(9));
        timers.arm(TENANT, InstanceNumber(2), Timestamp(7));
        timers.disarm(InstanceNumber(2));
        let mut nearest = timers.lock();
        assert_eq!(nearest.pop_due(Timestamp(8)), None);
        assert_eq!(nearest.pop_due(Timestamp(9)), Some((TENANT, InstanceNumber(1))));
        assert_eq!(nearest.pop_due(Timestamp(9)), None);
    }

    #[test]
    fn memory_is_bounded_and_only_wake_ups_behind_the_horizon_are_dropped() {
        let timers = timers(10);
        for n in 0..100 {
            timers.arm(TENANT, InstanceNumber(n), Timestamp(1_000 - n));
        }
        let mut nearest = timers.lock();
        assert_eq!(nearest.by_time.len(), 20);
        let horizon = nearest.horizon;
        let mut kept = Vec::new();
        while let Some((_, instance)) = nearest.pop_due(Timestamp::MAX) {
            kept.push(instance.0);
        }
        assert!((0..100).all(|n| kept.contains(&n) == (Timestamp(1_000 - n) <= horizon)));
        assert!(nearest.wants_more());
    }
}
