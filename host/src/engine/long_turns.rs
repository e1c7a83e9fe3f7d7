//! Lets others run during a long turn.
//!
//! A turn runs on its thread until the guest waits, which may take as long as a turn may take. Guests of several tenants
//! share the threads, so a turn that takes long pauses from time to time: it gives its permit back and waits for another
//! one, behind those that have waited for longer. Meanwhile another thread takes over the work of the runtime.
//!
//! A paused turn keeps its thread, so there is a limit on their number, for each tenant and for all. A tenant with as many
//! begins no further turns until one of them has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::shares::{Gate, TurnPermit};
use crate::model::TenantId;
use crate::replay::Pause;

/// How many turns of a tenant may be paused.
const OF_TENANT: usize = 4;

/// How many turns of all tenants may be paused. Further long turns do not pause.
const OF_ALL: usize = 64;

/// The paused turns of a host. Cheap to clone.
#[derive(Clone)]
pub(super) struct LongTurns(Arc<Inner>);

struct Inner {
    gate: Gate,
    shutdown: CancellationToken,
    paused: Mutex<BTreeMap<TenantId, usize>>,
    /// Notified when a turn continues.
    continued: Notify,
}

/// Where the running turn of an instance keeps its permit. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct PermitPlace(Arc<Mutex<Option<TurnPermit>>>);

impl PermitPlace {
    /// Keeps a permit while a turn runs.
    pub(super) fn put(&self, permit: Option<TurnPermit>) {
        *self.lock() = permit;
    }

    /// Takes the permit that the turn has at its end.
    pub(super) fn take(&self) -> Option<TurnPermit> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<TurnPermit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LongTurns {
    pub(super) fn new(gate: Gate, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            gate,
            shutdown,
            paused: Mutex::default(),
            continued: Notify::new(),
        }))
    }

    /// Enters the gate for a new turn, once the tenant has few paused ones.
    pub(super) async fn enter(&self, tenant: TenantId) -> TurnPermit {
        loop {
            let continued = self.0.continued.notified();
            let permit = self.0.gate.enter(tenant).await;
            if self.paused_of(tenant) < OF_TENANT {
                return permit;
            }
            drop(permit);
            continued.await;
        }
    }

    /// What a guest calls from time to time during a turn.
    pub(super) fn pause(&self, tenant: TenantId, place: PermitPlace) -> Pause {
        let turns = self.clone();
        Arc::new(move || turns.let_others_run(tenant, &place))
    }

    fn let_others_run(&self, tenant: TenantId, place: &PermitPlace) {
        let can_block =
            Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        if !can_block || !self.begin_pause(tenant) {
            return;
        }
        let Some(permit) = place.take() else {
            return self.end_pause(tenant);
        };
        drop(permit);
        let work = self.0.shutdown.run_until_cancelled(self.0.gate.enter(tenant));
        place.put(tokio::task::block_in_place(|| Handle::current().block_on(work)));
        self.end_pause(tenant);
    }

    fn begin_pause(&self, tenant: TenantId) -> bool {
        let mut paused = self.paused();
        let may_pause = paused.values().sum::<usize>() < OF_ALL;
        if may_pause {
            *paused.entry(tenant).or_default() += 1;
        }
        may_pause
    }

    fn end_pause(&self, tenant: TenantId) {
        let mut paused = self.paused();
        if let Some(count) = paused.get_mut(&tenant) {
            *count -= 1;
            if *count == 0 {
                paused.remove(&tenant);
            }
        }
        drop(paused);
        self.0.continued.notify_waiters();
    }

    fn paused_of(&self, tenant: TenantId) -> usize {
        self.paused().get(&tenant).copied().unwrap_or_default()
    }

    fn paused(&self) -> MutexGuard<'_, BTreeMap<TenantId, usize>> {
        self.0.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;

    const ONE: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    fn turns() -> LongTurns {
        let gate = Gate::new(1, 0, Arc::new(SystemClock), &Handle::current());
        LongTurns::new(gate, CancellationToken::new())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_run_on_the_only_thread_while_a_turn_pauses() {
        let (turns, ran) = (turns(), Arc::<AtomicBool>::default());
        let place = PermitPlace::default();
        place.put(Some(turns.enter(ONE).await));
        let other = tokio::spawn({
            let (turns, ran) = (turns.clone(), ran.clone());
            async move {
                let _permit = turns.enter(OTHER).await;
                ran.store(true, Ordering::SeqCst);
            }
        });
        let long = tokio::spawn(async move {
            let pause = turns.pause(ONE, place.clone());
            while !ran.load(Ordering::SeqCst) {
                pause();
            }
            assert!(place.take().is_some(), "the turn has a permit again");
            assert_eq!(turns.paused_of(ONE), 0);
        });
        let ended = async { tokio::try_join!(long, other) };
        tokio::time::timeout(Duration::from_secs(30), ended)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_tenant_with_many_paused_turns_begins_no_further_ones() {
        let turns = turns();
        assert!((0..OF_TENANT).all(|_| turns.begin_pause(ONE)));
        let further = turns.enter(ONE);
        tokio::pin!(further);
        let waits = tokio::time::timeout(Duration::from_millis(20), &mut further).await;
        assert!(waits.is_err());
        drop(turns.enter(OTHER).await);
        turns.end_pause(ONE);
        drop(further.await);
    }

    #[tokio::test]
    async fn a_turn_does_not_pause_beyond_the_limit_of_all() {
        let turns = turns();
        assert!((0..OF_ALL).all(|n| turns.begin_pause(TenantId(u32::try_from(n).unwrap()))));
        assert!(!turns.begin_pause(ONE));
        turns.end_pause(TenantId(7));
        assert!(turns.begin_pause(ONE));
    }
}
