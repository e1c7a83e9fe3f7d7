//! The gate in front of the guest threads: decides which tenant's turns and attempts run next while the threads are
//! busy.
//!
//! A runtime runs tasks in the order in which they became ready, so a tenant with thousands of tasks would delay all
//! others. Therefore a task waits in a queue before it runs a guest, and holds its permit only while the guest
//! computes, never while it waits for something. Before permits are given out, a [porter](Gate::porter) goes to the end
//! of the runtime's queue: by then, all tasks that were ready have joined the gate's queue, and none runs only because
//! it was ready earlier.
//!
//! Tenants share the time of the threads, so a tenant with short turns does not wait for as many long ones of each
//! other.
//!
//! While only one tenant has work, and its turns are short, the gate is open.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tokio_util::task::AbortOnDropHandle;

use super::Share;
use super::slots::{Slot, Slots};
use crate::clock::Clock;
use crate::model::TenantId;

/// The gate opens after one tenant alone has entered this many times in a row: a fraction of a second on a busy host.
const OPENS_AFTER: u32 = 10_000;

/// A guest that uses more fuel than this in one turn closes the gate, because a newcomer would have to wait
/// for such turns: about a millisecond.
const MOMENT: u64 = 1_000_000;

/// Fuel that may be used behind the open gate before ready tasks get a chance to queue: about ten milliseconds.
/// Otherwise a newcomer would wait for all ready tasks.
const AHEAD: u64 = 10_000_000;

/// The cost of a permit for the host, in fuel.
const PERMIT_FUEL: u64 = 20_000;

/// How many permits cost the host a millisecond.
const PERMITS_IN_MS: u32 = 50;

/// How many guests of light tenants may run in addition to one for each thread. They use little time, and would wait for
/// the pause of a long turn at each of their steps. The runtime has as many threads more.
pub(in crate::engine) const FOR_LIGHT_TENANTS: usize = 2;

/// The gate. Cheap to clone.
#[derive(Clone)]
pub(in crate::engine) struct Gate(Arc<Inner>);

struct Inner {
    threads: Slots,
    times: Arc<Times>,
    /// Gives out the slots until the gate is dropped.
    _porter: AbortOnDropHandle<()>,
}

/// Decides whether the gate is open. Concurrent entries may be counted as one.
#[derive(Default)]
struct Times {
    /// The tenant that entered last, and how often in a row.
    last: AtomicU64,
    /// Fuel used behind the open gate since the porter last was at the end of the runtime's queue.
    ahead: AtomicU64,
}

/// Allows its holder to run until it is dropped.
pub(in crate::engine) struct TurnPermit {
    tenant: TenantId,
    times: Arc<Times>,
    _thread: Option<Slot>,
}

impl TurnPermit {
    /// Reports how much fuel a guest used under this permit.
    pub(in crate::engine) fn used(&self, fuel: u64) {
        if fuel > MOMENT {
            self.times.last.store(times_of(self.tenant, 0), Ordering::Relaxed);
        }
        self.times.ahead.fetch_add(fuel.min(AHEAD), Ordering::Relaxed);
    }
}

impl Gate {
    /// Creates a gate that lets this many guests run at a time, and this many more of light tenants.
    pub(in crate::engine) fn new(
        threads: usize,
        for_light: usize,
        clock: Arc<dyn Clock>,
        runtime: &tokio::runtime::Handle,
    ) -> Self {
        let threads = Slots::given_out_later(threads, for_light, PERMITS_IN_MS, clock);
        let times = Arc::<Times>::default();
        let porter = runtime.spawn(Self::porter(threads.clone(), times.clone()));
        Self(Arc::new(Inner {
            threads,
            times,
            _porter: AbortOnDropHandle::new(porter),
        }))
    }

    /// Gives out slots after all ready tasks have joined the queue.
    async fn porter(threads: Slots, times: Arc<Times>) {
        loop {
            threads.asked().await;
            go_to_the_end().await;
            times.ahead.store(0, Ordering::Relaxed);
            threads.give_out();
        }
    }

    /// Sets the weight of a tenant.
    pub(in crate::engine) fn set_weight(&self, tenant: TenantId, weight: u32) {
        let share = Share {
            weight,
            ..Share::default()
        };
        self.0.threads.set_share(tenant, share);
    }

    /// Waits until a guest of the tenant may run. Do not hold the permit while waiting for anything, and report the
    /// fuel that was [used](TurnPermit::used) under it.
    pub(in crate::engine) async fn enter(&self, tenant: TenantId) -> TurnPermit {
        let Inner { threads, times, .. } = &*self.0;
        let thread = match times.is_open(tenant) {
            true => None,
            false => Some(threads.line_up(tenant, None).await),
        };
        TurnPermit {
            tenant,
            times: times.clone(),
            _thread: thread,
        }
    }

    /// Runs work that alternates between computing and waiting, with a permit whenever it computes. `fuel` returns what
    /// the work has used so far. Await this in a task that waits for nothing else, because any wake-up of the task is
    /// taken for one of the work.
    pub(in crate::engine) async fn run<F: Future>(
        &self,
        tenant: TenantId,
        fuel: impl Fn() -> u64,
        work: F,
    ) -> F::Output {
        let mut work = pin!(work);
        let mut before = 0;
        loop {
            let permit = self.enter(tenant).await;
            let polled = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            let now = fuel();
            permit.used(now - std::mem::replace(&mut before, now));
            drop(permit);
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => woken().await,
            }
        }
    }
}

impl Times {
    /// Whether no other tenant has entered for a while and little fuel was used behind the open gate.
    fn is_open(&self, tenant: TenantId) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let times = match last {
            // No tenant has ever entered.
            0 => OPENS_AFTER,
            _ if last == times_of(tenant, OPENS_AFTER) => OPENS_AFTER,
            _ if (times_of(tenant, 0)..times_of(tenant, OPENS_AFTER)).contains(&last) => {
                (last - times_of(tenant, 0)) as u32 + 1
            }
            _ => 0,
        };
        if last != times_of(tenant, times) {
            self.last.store(times_of(tenant, times), Ordering::Relaxed);
        }
        times == OPENS_AFTER && self.ahead.fetch_add(PERMIT_FUEL, Ordering::Relaxed) < AHEAD
    }
}

/// Encodes a tenant and how often it has entered in a row.
fn times_of(tenant: TenantId, times: u32) -> u64 {
    (u64::from(tenant.0) << 32) | u64::from(times)
}

/// Goes to the end of the runtime's queue once, without waiting for anything.
async fn go_to_the_end() {
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

/// Waits until the task is woken by anything that has its waker.
async fn woken() {
    let mut is_back = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut is_back, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}
