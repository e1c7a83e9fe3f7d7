//! The gate before the threads for guests: whose turns and attempts run next, when the threads are busy.
//!
//! A runtime runs tasks in the order in which they became ready; a tenant with thousands of them would put all others
//! behind. So whoever wants to run a guest takes a place in a queue, and runs when the queue says so: only for as long as
//! the guest computes, for nobody holds a place while waiting for something. Before it says so, a [porter](Gate::porter)
//! goes to the end of the runtime's queue: whoever is ready by then has lined up, and nobody runs just for having been
//! there earlier.
//!
//! While one tenant alone wants to run, and runs a moment at a time, there is nothing to decide, and the gate stands open.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tokio_util::task::AbortOnDropHandle;

use super::Share;
use super::slots::{Slot, Slots};
use crate::clock::Clock;
use crate::model::TenantId;

/// So many times in a row one tenant alone has come when the gate is opened: a fraction of a second of a busy host.
const OPENS_AFTER: u32 = 10_000;

/// A guest that uses more fuel than this at a time closes the gate: about a millisecond. Who comes new waits for what has
/// passed before.
const MOMENT: u64 = 1_000_000;

/// So much fuel may be used behind the open gate before whoever is ready has lined up: about ten milliseconds. Otherwise one
/// who comes new would wait for all that are ready, however many they are.
const AHEAD: u64 = 10_000_000;

/// What the host does for a pass itself, counted as if it were fuel.
const OF_A_PASS: u64 = 20_000;

/// The gate. Cheap to clone.
#[derive(Clone)]
pub(in crate::engine) struct Gate(Arc<Inner>);

struct Inner {
    threads: Slots,
    times: Arc<Times>,
    /// Gives the slots out, for as long as there is a gate.
    _porter: AbortOnDropHandle<()>,
}

/// What opens and closes the gate. Two that come at once may be counted as one.
#[derive(Default)]
struct Times {
    /// Who came last, and how often in a row.
    last: AtomicU64,
    /// Fuel used behind the open gate since the porter was at the end of the runtime's queue.
    ahead: AtomicU64,
}

/// Lets its holder run until it is dropped.
pub(in crate::engine) struct TurnPermit {
    tenant: TenantId,
    times: Arc<Times>,
    _thread: Option<Slot>,
}

impl TurnPermit {
    /// Says how much fuel a guest used with it.
    pub(in crate::engine) fn used(&self, fuel: u64) {
        if fuel > MOMENT {
            self.times.last.store(times_of(self.tenant, 0), Ordering::Relaxed);
        }
        self.times.ahead.fetch_add(fuel.min(AHEAD), Ordering::Relaxed);
    }
}

impl Gate {
    /// Before that many threads, on that runtime.
    pub(in crate::engine) fn new(threads: usize, clock: Arc<dyn Clock>, runtime: &tokio::runtime::Handle) -> Self {
        let (threads, times) = (Slots::given_out_later(threads, clock), Arc::<Times>::default());
        let porter = runtime.spawn(Self::porter(threads.clone(), times.clone()));
        Self(Arc::new(Inner {
            threads,
            times,
            _porter: AbortOnDropHandle::new(porter),
        }))
    }

    /// Gives slots out, after whoever is ready has lined up.
    async fn porter(threads: Slots, times: Arc<Times>) {
        loop {
            threads.asked().await;
            go_to_the_end().await;
            times.ahead.store(0, Ordering::Relaxed);
            threads.give_out();
        }
    }

    /// Sets how much a tenant gets when several want to run.
    pub(in crate::engine) fn set_weight(&self, tenant: TenantId, weight: u32) {
        let share = Share {
            weight,
            ..Share::default()
        };
        self.0.threads.set_share(tenant, share);
    }

    /// Waits until a guest of the tenant may run. The pass must not be kept over anything that waits, and is to be told the
    /// fuel that was [used](TurnPermit::used) with it.
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

    /// Runs what computes and waits in turns, with a pass whenever it computes. `fuel` is what it has used so far. To be
    /// awaited by a task that waits for nothing else meanwhile: whatever wakes the task is taken for what the work waits for.
    pub(in crate::engine) async fn run<F: Future>(
        &self,
        tenant: TenantId,
        fuel: impl Fn() -> u64,
        work: F,
    ) -> F::Output {
        let mut work = pin!(work);
        let mut before = 0;
        loop {
            let pass = self.enter(tenant).await;
            let polled = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            let now = fuel();
            pass.used(now - std::mem::replace(&mut before, now));
            drop(pass);
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => woken().await,
            }
        }
    }
}

impl Times {
    /// Whether nobody else has come for a while, and not much has run ahead.
    fn is_open(&self, tenant: TenantId) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let times = match last {
            // Nobody has ever come.
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
        times == OPENS_AFTER && self.ahead.fetch_add(OF_A_PASS, Ordering::Relaxed) < AHEAD
    }
}

/// That a tenant has come so often in a row, as a number.
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

/// Returns when the task is woken, by whatever it has left its waker with.
async fn woken() {
    let mut is_back = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut is_back, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}
