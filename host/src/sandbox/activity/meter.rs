//! What an attempt has used so far: to be read while it runs, and after it was dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::{Store, StoreContextMut, UpdateDeadline};

/// The fuel of one attempt, in Wasmtime units. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// What was used so far, without what is not settled yet: less than a portion.
    pub fn fuel(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Says that so much was used so far.
    pub fn show(&self, fuel: u64) {
        self.0.fetch_max(fuel, Ordering::Relaxed);
    }
}

/// A store whose meter is read at each epoch, and when it is dropped.
pub(super) struct Metered<T: 'static> {
    pub(super) store: Store<T>,
    meter: Meter,
    allowed: u64,
}

impl<T> Metered<T> {
    /// Gives the store its fuel. It yields at each epoch.
    pub(super) fn new(mut store: Store<T>, meter: Meter, allowed: u64) -> wasmtime::Result<Self> {
        store.set_fuel(allowed)?;
        store.set_epoch_deadline(1);
        let shown = meter.clone();
        store.epoch_deadline_callback(move |store: StoreContextMut<'_, T>| {
            shown.show(allowed.saturating_sub(store.get_fuel()?));
            Ok(UpdateDeadline::Yield(1))
        });
        Ok(Self { store, meter, allowed })
    }

    /// What was used so far.
    pub(super) fn fuel(&self) -> u64 {
        let left = self.store.get_fuel().expect("the engines count fuel");
        self.allowed.saturating_sub(left)
    }
}

impl<T> Drop for Metered<T> {
    fn drop(&mut self) {
        self.meter.show(self.fuel());
    }
}
