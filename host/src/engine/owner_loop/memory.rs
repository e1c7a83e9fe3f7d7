//! Takes the memory of guests from the budget of the host.
//!
//! A guest takes what it needs as it grows. If the budget has no memory for it, the turn is dropped, and the next guest
//! of the instance takes twice as much in advance, so that a turn is dropped a few times at most. While an instance
//! waits for memory, guests that are idle give way: those of its own tenant if that holds its share, or else those of
//! the tenant that holds most.
//!
//! An instance takes what its owner knows of it, such as its outstanding tasks. A turn may schedule some thousands of
//! tasks. One that schedules more is dropped, and the instance leaves memory until the budget has room for them.

use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;

use super::{GuestOwner, Session};
use crate::engine::admission::memory_of_instance;
use crate::engine::mailbox::Mailbox;
use crate::engine::owners::OWNER_BYTES;
use crate::engine::shared::Shared;
use crate::memory::{Held, Part};
use crate::model::TenantId;

/// How long an evicted guest may take to give its memory back before another one is evicted.
const EVICTION: Duration = Duration::from_millis(10);

/// Tasks of this size need no memory in advance, in bytes: a few thousand.
const SMALL_GROWTH: usize = 4 << 20;

/// What the next turn of an instance may add to it, because a turn that was dropped needed more than
/// [`SMALL_GROWTH`].
#[derive(Default)]
pub(super) struct Growth {
    bytes: u64,
    /// How much of it the instance has taken from the budget; `None` if it must leave memory first.
    taken: Option<u64>,
}

impl Growth {
    /// How large the tasks of the next turn may be, in bytes.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX).max(SMALL_GROWTH)
    }

    /// Notes that a turn was dropped when its tasks had this size. They cannot exceed `most`.
    pub(super) fn needs(&mut self, tasks: usize, most: usize) {
        if tasks > self.room() {
            self.bytes = tasks.saturating_mul(4).min(most).max(tasks) as u64;
            self.taken = None;
        }
    }

    /// Whether the instance must leave memory to take it.
    fn is_missing(&self) -> bool {
        self.bytes > 0 && self.taken.is_none()
    }

    fn taken(&self) -> u64 {
        self.taken.unwrap_or_default()
    }
}

/// A request for memory that waits.
type Request = Pin<Box<dyn Future<Output = Held> + Send + Sync>>;

/// The memory of the next guest of an instance.
pub(super) struct GuestMemory {
    /// How much to take in advance, in bytes.
    bytes: u64,
    /// The request while it waits. It keeps its place in the queue while the owner does something else.
    request: Option<Request>,
}

impl Default for GuestMemory {
    fn default() -> Self {
        Self {
            bytes: crate::sandbox::GUEST_BASE_BYTES,
            request: None,
        }
    }
}

impl GuestMemory {
    /// Notes that a guest needed this much, but could not take it.
    pub(super) fn needs(&mut self, needed: u64, limit: u64) {
        let most = limit.saturating_add(crate::sandbox::GUEST_BASE_BYTES);
        self.bytes = needed.saturating_mul(2).min(most).max(needed);
    }

    /// Withdraws a request that waits, because the owner needs no guest now.
    pub(super) fn withdraw(&mut self) {
        self.request = None;
    }

    /// Takes the memory if there is enough now.
    fn try_take(&mut self, shared: &Shared, tenant: TenantId) -> Option<Held> {
        let pool = shared.memory.part(Part::Guests);
        let at_once = match &mut self.request {
            Some(request) => request.now_or_never(),
            None => pool.try_take(tenant, self.bytes),
        };
        if at_once.is_some() {
            self.request = None;
        }
        at_once
    }

    /// The request that waits.
    fn waits(&mut self, shared: &Shared, tenant: TenantId) -> &mut Request {
        self.request.get_or_insert_with(|| {
            let (pool, bytes) = (shared.memory.part(Part::Guests).clone(), self.bytes);
            Box::pin(async move { pool.take(tenant, bytes).await })
        })
    }
}

impl Session<'_> {
    /// Takes the memory of a guest. Returns `None` if a message arrived first or the host shuts down; then the owner
    /// decides again what to do. An instance that is not stored yet does not wait.
    pub(super) async fn guest_memory(&mut self, owner: &mut GuestOwner, mailbox: &mut Mailbox) -> Option<Held> {
        let tenant = owner.tenant();
        if let Some(held) = self.memory.try_take(self.shared, tenant) {
            return Some(held);
        }
        if owner.is_not_stored() {
            owner.turn_later();
            return None;
        }
        loop {
            let evicts = self.evict_for(tenant);
            tokio::select! {
                biased;
                held = self.memory.waits(self.shared, tenant) => {
                    self.memory.withdraw();
                    return Some(held);
                }
                mail = mailbox.recv() => {
                    if let Some(mail) = mail {
                        self.receive(owner, mail);
                    }
                    return None;
                }
                () = self.shared.shutdown.cancelled() => return None,
                () = tokio::time::sleep(EVICTION), if evicts => {}
            }
        }
    }

    /// Counts what the owner knows of its instance.
    pub(super) fn count_instance(&mut self, owner: &GuestOwner) {
        let mut bytes = OWNER_BYTES + owner.task_bytes() + self.growth.taken();
        if self.loading.is_some() {
            // It does not know all its tasks yet.
            bytes = bytes.max(self.active.bytes());
        }
        if bytes != self.active.bytes() {
            self.active.resize(bytes);
        }
    }

    /// Whether the owner makes room for others before its next turn, because the instances of its tenant have grown
    /// beyond their share, or because this turn will grow much. Then it is dropped, and reads its instance again once
    /// there is memory. It has taken at least one turn since, unless it needs more memory than it had.
    pub(super) fn makes_room(&mut self, owner: &GuestOwner) -> bool {
        self.needed = self.active.bytes();
        if owner.is_not_stored() {
            return false;
        }
        let pool = self.shared.memory.part(Part::Instances);
        let gives_way = || !pool.would_grant_again(&self.active) || pool.is_large_and_wanted(&self.active);
        self.growth.is_missing() || self.has_taken_turn && gives_way()
    }

    /// Whether other instances have grown beyond the part of the budget for all. Then no further one runs a turn, which
    /// could grow as well: it waits for memory, also if it has taken no turn yet.
    pub(super) fn others_take_all(&mut self) -> bool {
        self.needed = self.active.bytes();
        let pool = self.shared.memory.part(Part::Instances);
        pool.is_exceeded_by_others(&self.active)
    }

    /// Whether the instance must leave memory while its history is folded, because it needs more than it has taken and the
    /// budget has no room for it. It will take more before it is read again.
    pub(super) fn outgrows_its_memory(&mut self, owner: &GuestOwner) -> bool {
        let needs = OWNER_BYTES + owner.task_bytes();
        let has = self.needed.max(self.active.bytes()).max(SMALL_GROWTH as u64);
        if self.has_taken_turn || needs <= has || self.active.try_grow(needs - self.active.bytes()) {
            return false;
        }
        self.needed = needs.saturating_mul(4);
        true
    }

    /// Waits until the budget has memory for the instance, before it is read: for as much as it needed when it was in
    /// memory before, and for what its next turn will add.
    pub(super) async fn room_to_load(&mut self) {
        let (shared, owners, tenant) = (self.shared, self.owners, self.active.tenant());
        let pool = shared.memory.part(Part::Instances);
        let alone = self.needed.saturating_sub(self.growth.taken());
        self.needed = alone.saturating_add(self.growth.bytes);
        let needed = pool.at_most(self.needed).max(OWNER_BYTES);
        self.active.resize(self.active.bytes().min(needed));
        let mut is_granted = self.active.bytes() == needed && !pool.is_large_and_wanted(&self.active);
        while !is_granted || !pool.would_grant_again(&self.active) {
            self.active.resize(0);
            let memory = memory_of_instance(shared, owners, tenant, needed);
            match shared.shutdown.run_until_cancelled(memory).await {
                Some(memory) => self.active = memory,
                None => return,
            }
            is_granted = true;
        }
        self.growth.taken = Some(self.active.bytes().saturating_sub(alone));
        self.has_taken_turn = false;
    }

    /// Evicts an idle guest so that a guest of this tenant can be created. Returns whether there was one.
    fn evict_for(&self, tenant: TenantId) -> bool {
        let (shared, pool) = (self.shared, self.shared.memory.part(Part::Guests));
        let gives_way = pool.gives_way(tenant, self.memory.bytes);
        let evicted = shared.hot_instances.oldest_of(gives_way);
        if let Some(evicted) = evicted {
            self.owners.cool(evicted);
        }
        evicted.is_some()
    }
}
