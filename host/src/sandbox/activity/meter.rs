//! The fuel that an attempt has used so far. It can be read while the attempt runs, and after it was dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::{Store, StoreContextMut, UpdateDeadline};

/// The fuel of one attempt, in Wasmtime units. Clones share the value.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// The fuel used so far. It may be short by less than one portion, which the guest has not reported yet.
    pub fn fuel(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Reports the fuel used so far.
    pub fn show(&self, fuel: u64) {
        self.0.fetch_max(fuel, Ordering::Relaxed);
    }
}

/// A store that updates the meter at each epoch, and when it is dropped.
pub(super) struct Metered<T: 'static> {
    pub(super) store: Store<T>,
    meter: Meter,
    allowed: u64,
}

impl<T> Metered<T> {
    /// Sets the fuel of the store, and makes it yield at each epoch.
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

    /// The fuel used so far.
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
