//! Slots that tasks can wait for, in the order of a [`Queue`].
//!
//! A task that stops waiting and a task that drops its slot both pass the slot on. This happens under one lock, so no
//! slot is lost.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::queue::{Queue, SlotNumber, Ticket};
use super::{Share, ShareUse};
use crate::clock::Clock;
use crate::model::{FunctionName, TenantId, Timestamp};

/// The clock is read again after this time, because clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A number of slots, shared by weight. Cheap to clone.
#[derive(Clone)]
pub(in crate::engine) struct Slots(Arc<Inner>);

struct Inner {
    line: Mutex<Line>,
    clock: Arc<dyn Clock>,
    /// Notified when a start becomes possible earlier than expected.
    sooner: Notify,
    /// If slots are given out later: notified when a waiter could get one.
    asked: Option<Notify>,
}

struct Line {
    queue: Queue<oneshot::Sender<SlotNumber>>,
    /// When [`Slots::run`] checks the queue again.
    looks_at: Option<Timestamp>,
}

/// A slot. Dropping it returns it.
pub(in crate::engine) struct Slot {
    slots: Slots,
    number: SlotNumber,
    is_used: bool,
}

/// A place in the queue, to be awaited. Dropping it leaves the queue.
pub(super) struct QueuedSlot {
    slots: Slots,
    ticket: Ticket,
    given: oneshot::Receiver<SlotNumber>,
    is_over: bool,
}

impl Slots {
    /// Creates this many free slots.
    pub(in crate::engine) fn new(slots: usize, clock: Arc<dyn Clock>) -> Self {
        Self::with(Queue::new(slots), clock, None)
    }

    /// Creates this many slots, and some more for light tenants, which nobody gets before a call of
    /// [`give_out`](Self::give_out). Their time is shared, and a millisecond counts as much as this many starts.
    pub(super) fn given_out_later(slots: usize, for_light: usize, starts_in_ms: u32, clock: Arc<dyn Clock>) -> Self {
        Self::with(
            Queue::by_time(slots, for_light, starts_in_ms),
            clock,
            Some(Notify::new()),
        )
    }

    fn with(queue: Queue<oneshot::Sender<SlotNumber>>, clock: Arc<dyn Clock>, asked: Option<Notify>) -> Self {
        let line = Line { queue, looks_at: None };
        Self(Arc::new(Inner {
            line: Mutex::new(line),
            clock,
            sooner: Notify::new(),
            asked,
        }))
    }

    /// Waits for a slot for a function of a tenant.
    pub(in crate::engine) async fn acquire(&self, tenant: TenantId, function: &FunctionName) -> Slot {
        let entered = self.lock().queue.try_enter(tenant, Some(function), self.now());
        match entered {
            Some(number) => self.slot(number),
            None => self.line_up(tenant, Some(function)).await,
        }
    }

    /// Waits for a slot that belongs to no function.
    pub(in crate::engine) async fn acquire_for(&self, tenant: TenantId) -> Slot {
        self.line_up(tenant, None).await
    }

    /// Joins the queue. Does not give out slots.
    pub(super) fn line_up(&self, tenant: TenantId, function: Option<&FunctionName>) -> QueuedSlot {
        let (give, given) = oneshot::channel();
        let ticket = self.lock().queue.wait(tenant, function, give, self.now());
        QueuedSlot {
            slots: self.clone(),
            ticket,
            given,
            is_over: false,
        }
    }

    /// Sets the share of a tenant.
    pub(in crate::engine) fn set_share(&self, tenant: TenantId, share: Share) {
        self.change(|queue, now| queue.set_share(tenant, share, now));
    }

    /// How much a tenant uses.
    pub(in crate::engine) fn used_by(&self, tenant: TenantId) -> ShareUse {
        self.lock().queue.used_by(tenant)
    }

    /// Gives out slots to waiters when their rate limit allows it, until shutdown.
    pub(in crate::engine) async fn run(self, shutdown: CancellationToken) {
        let work = async {
            loop {
                self.change(|_, _| ());
                let looks_at = self.lock().looks_at;
                let wait = looks_at.map(|time| time.since(self.now()).min(LOOK_AGAIN));
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(wait.unwrap_or(LOOK_AGAIN)) => self.lock().looks_at = None,
                    () = self.0.sooner.notified() => {}
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Waits until a waiter could get a slot. Only for slots that are given out later.
    pub(super) async fn asked(&self) {
        match &self.0.asked {
            Some(asked) => asked.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Gives slots to all waiters whose turn it is.
    pub(super) fn give_out(&self) {
        self.lock().give_out(self.now());
    }

    /// Changes the queue, and gives slots to all waiters whose turn it is, unless slots are given out later.
    fn change<T>(&self, change: impl FnOnce(&mut Queue<oneshot::Sender<SlotNumber>>, Timestamp) -> T) -> T {
        let now = self.now();
        let mut line = self.lock();
        let changed = change(&mut line.queue, now);
        match &self.0.asked {
            None => line.give_out(now),
            Some(asked) if line.queue.could_give_one() => asked.notify_one(),
            Some(_) => {}
        }
        let look_at = line.queue.look_again_at();
        let sooner = look_at.is_some_and(|time| line.looks_at.is_none_or(|looks_at| time < looks_at));
        if sooner {
            line.looks_at = look_at;
            self.0.sooner.notify_one();
        }
        changed
    }

    fn slot(&self, number: SlotNumber) -> Slot {
        Slot {
            slots: self.clone(),
            number,
            is_used: true,
        }
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn give_out(&mut self, now: Timestamp) {
        while let Some((give, number)) = self.queue.next(now) {
            give.send(number).expect("a waiter that gives up leaves the queue");
        }
    }
}

impl Slot {
    /// Returns the slot without having used it: that counts against no rate and no share.
    pub(in crate::engine) fn give_back(mut self) {
        self.is_used = false;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.change(|queue, now| match self.is_used {
            true => queue.release(self.number, now),
            false => queue.take_back(self.number, now),
        });
    }
}

impl Future for QueuedSlot {
    type Output = Slot;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Slot> {
        // The first poll may find a free slot.
        self.slots.change(|_, _| ());
        let given = std::task::ready!(Pin::new(&mut self.given).poll(context));
        self.is_over = true;
        Poll::Ready(self.slots.slot(given.expect("the queue drops no waiter")))
    }
}

impl Drop for QueuedSlot {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.slots.change(|queue, now| {
            if queue.leave(self.ticket, now).is_none()
                && let Ok(number) = self.given.try_recv()
            {
                queue.take_back(number, now);
            }
        });
    }
}
