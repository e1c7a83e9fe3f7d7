//! The gate before the threads for guests: whose turns and attempts run next, when the threads are busy.
//!
//! A runtime runs tasks in the order in which they became ready; a tenant with thousands of them would put all others
//! behind. So whoever wants to run a guest takes a place in a queue first, lets all others that are ready do the same, and
//! runs when the queue says so. Only for as long as the guest computes: nobody holds a place while waiting for something.
//!
//! While one tenant alone wants to run, there is nothing to decide, and the gate stands open.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use super::Share;
use super::slots::{Slot, Slots};
use crate::clock::Clock;
use crate::model::TenantId;

/// So many times in a row one tenant alone has come when the gate is opened: a fraction of a second of a busy host.
const OPENS_AFTER: u32 = 10_000;

/// The gate. Cheap to clone.
#[derive(Clone)]
pub(in crate::engine) struct Gate {
    threads: Slots,
    /// Who came last, and how often in a row. Two that come at once may be counted as one.
    last: Arc<AtomicU64>,
}

/// Lets its holder run until it is dropped.
pub(in crate::engine) struct Pass {
    _thread: Option<Slot>,
}

impl Gate {
    /// Before that many threads.
    pub(in crate::engine) fn new(threads: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            threads: Slots::new(threads, clock),
            last: Arc::default(),
        }
    }

    /// Sets how much a tenant gets when several want to run.
    pub(in crate::engine) fn set_weight(&self, tenant: TenantId, weight: u32) {
        let share = Share {
            weight,
            ..Share::default()
        };
        self.threads.set_share(tenant, share);
    }

    /// Waits until a guest of the tenant may run. The pass must not be kept over anything that waits.
    pub(in crate::engine) async fn enter(&self, tenant: TenantId) -> Pass {
        if self.is_open(tenant) {
            return Pass { _thread: None };
        }
        let place = self.threads.line_up(tenant, None);
        let_others_line_up().await;
        Pass {
            _thread: Some(place.await),
        }
    }

    /// Runs what computes and waits in turns, with a pass whenever it computes.
    pub(in crate::engine) async fn run<F: Future>(&self, tenant: TenantId, work: F) -> F::Output {
        let mut work = pin!(work);
        loop {
            let pass = self.enter(tenant).await;
            let polled = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            drop(pass);
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => woken().await,
            }
        }
    }

    /// Whether nobody else has come for a while.
    fn is_open(&self, tenant: TenantId) -> bool {
        let alone = |times: u32| (u64::from(tenant.0) << 32) | u64::from(times);
        let last = self.last.load(Ordering::Relaxed);
        if last == alone(OPENS_AFTER) {
            return true;
        }
        let times = match last {
            // Nobody has ever come.
            0 => OPENS_AFTER,
            _ if last >= alone(0) && last < alone(OPENS_AFTER) => (last - alone(0)) as u32 + 1,
            _ => 0,
        };
        self.last.store(alone(times), Ordering::Relaxed);
        times == OPENS_AFTER
    }
}

/// Goes to the end of the runtime's queue once, without waiting for anything.
async fn let_others_line_up() {
    let mut is_back = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_back, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Returns when the task is woken, by whatever it has left its waker with.
async fn woken() {
    let mut is_back = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut is_back, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}
