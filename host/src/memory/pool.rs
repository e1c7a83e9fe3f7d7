//! One part of the budget, shared between tenants.
//!
//! A tenant may take more if it then holds at most a multiple of what is still free (dynamic thresholds: Choudhury
//! and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking
//! 6(2), 1998). So nothing has to be taken away from a tenant to make room for another one, and no tenant needs a
//! configured share. Weights scale the multiple.
//!
//! The last eighth of the part is not shared like this, but left for tenants that hold little: otherwise tenants that come
//! one after the other, and keep what they have for long, would each take most of the rest until nothing is left. One
//! tenant alone may use seven ninths of the part (eight ninths of seven eighths), two that want everything get seven
//! seventeenths each.
//!
//! A request that waits for many bytes is not overtaken by tenants that hold more, except by small ones, which cannot
//! take what it waits for: so it gets them in the end, and does not stop everybody else until then. Nor do bytes that
//! were counted only once they existed, and leave nothing free or even exceed the limit: small tenants may exceed it by an
//! eighth of the part.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::TenantId;

/// A tenant of the default weight may hold this many times as much memory as is free.
const MULTIPLE: u64 = 8;

/// The same for places, of which nothing is reserved.
const MULTIPLE_OF_PLACES: u64 = 4;

/// The weight of a tenant for which none is set.
const DEFAULT_WEIGHT: u64 = 100;

/// A tenant that holds at most this fraction of the pool is small: it waits for nobody else's request.
const SMALL_FRACTION: u64 = 32;

/// Bytes of more than this fraction of the pool are large.
const LARGE_FRACTION: u64 = 4;

/// A tenant that holds at most this fraction of the pool may use what is [reserved](RESERVED_FRACTION).
const LIGHT_FRACTION: u64 = 16;

/// This fraction of the pool is for tenants that hold little. All small tenants together may exceed
/// the limit by as much.
const RESERVED_FRACTION: u64 = 8;

/// A part of the budget. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Mutex<State>>);

/// Bytes of a tenant in a pool, given back on drop.
#[derive(Debug)]
pub struct Held {
    pool: Pool,
    tenant: TenantId,
    bytes: u64,
}

/// How much of a part is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUse {
    /// The size of the part, in bytes.
    pub limit: u64,
    /// The bytes that are held now.
    pub used: u64,
    /// The most bytes that were held at one time.
    pub most: u64,
    /// How often a request had to wait or was refused.
    pub refused: u64,
    /// Requests that wait now.
    pub waiting: usize,
    /// The tenants that hold or held bytes.
    pub tenants: Vec<(TenantId, TenantUse)>,
}

/// How much of a part one tenant uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantUse {
    /// The bytes that it holds now.
    pub used: u64,
    /// The most bytes that it held at one time.
    pub most: u64,
    /// How often a request of it had to wait or was refused.
    pub refused: u64,
    /// Requests of it that wait now.
    pub waiting: usize,
}

#[derive(Debug)]
struct State {
    limit: u64,
    /// Whether it has places instead of bytes: many small units, which are soon given back.
    has_places: bool,
    used: u64,
    most: u64,
    refused: u64,
    tenants: BTreeMap<TenantId, Account>,
    /// Tenants with waiting requests.
    waiting: usize,
    /// The ticket of the next request that has to wait.
    next_ticket: u64,
}

#[derive(Debug)]
struct Account {
    weight: u64,
    used: u64,
    most: u64,
    refused: u64,
    waiting: VecDeque<Waiter>,
    /// Requests that were dropped since the last time that `waiting` was searched for them.
    cancelled: usize,
    is_forgotten: bool,
}

#[derive(Debug)]
struct Waiter {
    bytes: u64,
    /// The position of the request among all requests that had to wait.
    ticket: u64,
    granted: oneshot::Sender<Held>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            weight: DEFAULT_WEIGHT,
            used: 0,
            most: 0,
            refused: 0,
            waiting: VecDeque::new(),
            cancelled: 0,
            is_forgotten: false,
        }
    }
}

impl Pool {
    /// Creates a pool of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self::with(limit, false)
    }

    /// Creates a pool of `limit` places, which are soon given back, so that none has to be reserved. One tenant alone may
    /// use four fifths of them, two that need all get four ninths each.
    pub fn of_places(limit: u64) -> Self {
        Self::with(limit, true)
    }

    fn with(limit: u64, has_places: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit,
            has_places,
            used: 0,
            most: 0,
            refused: 0,
            tenants: BTreeMap::new(),
            waiting: 0,
            next_ticket: 0,
        })))
    }

    /// The size of the pool, in bytes.
    pub fn limit(&self) -> u64 {
        self.lock().limit
    }

    /// As much as any tenant may hold without waiting for a large request of another one, in bytes.
    pub fn small_bytes(&self) -> u64 {
        self.limit() / SMALL_FRACTION
    }

    /// How much to ask for if `bytes` are needed: something that does not fit takes the rest beyond the limit, instead of
    /// waiting until all others have given back what they hold.
    pub fn at_most(&self, bytes: u64) -> u64 {
        bytes.min(self.limit() / 4 * 3)
    }

    /// Takes bytes if the tenant may have them now and none of its requests waits.
    pub fn try_take(&self, tenant: TenantId, bytes: u64) -> Option<Held> {
        let mut state = self.lock();
        if !state.may_take_now(tenant, bytes) {
            state.count_refused(tenant);
            return None;
        }
        state.add(tenant, bytes);
        drop(state);
        Some(self.held(tenant, bytes))
    }

    /// Takes bytes as soon as the tenant may have them. The requests of a tenant are granted in order. A request for
    /// more than the whole pool is granted once the pool is empty.
    ///
    /// Cancel safe: a request that is dropped takes nothing.
    pub async fn take(&self, tenant: TenantId, bytes: u64) -> Held {
        let granted = {
            let mut state = self.lock();
            if state.may_take_now(tenant, bytes) {
                state.add(tenant, bytes);
                drop(state);
                return self.held(tenant, bytes);
            }
            state.count_refused(tenant);
            let (sender, granted) = oneshot::channel();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let account = state.tenants.entry(tenant).or_default();
            account.waiting.push_back(Waiter {
                bytes,
                ticket,
                granted: sender,
            });
            if account.waiting.len() == 1 {
                state.waiting += 1;
            }
            granted
        };
        // Dropped after the receiver.
        let cancelled = Cancelled { pool: self, tenant };
        let held = granted.await.expect("a pool keeps its waiters until they are granted");
        std::mem::forget(cancelled);
        held
    }

    /// Takes bytes in any case, for something that already exists. The pool may then hold more than its limit, and
    /// grants nothing until enough is given back, except to tenants that hold little.
    pub fn take_beyond_limit(&self, tenant: TenantId, bytes: u64) -> Held {
        self.lock().add(tenant, bytes);
        self.held(tenant, bytes)
    }

    /// Whether the tenant may take bytes now.
    pub fn has_room(&self, tenant: TenantId, bytes: u64) -> bool {
        self.lock().may_take_now(tenant, bytes)
    }

    /// The tenant that should give bytes back so that `tenant` can take more: itself if it holds its share, or else the
    /// tenant that holds most, relative to its weight.
    pub fn gives_way(&self, tenant: TenantId, bytes: u64) -> TenantId {
        let state = self.lock();
        let holds_some = state.tenants.get(&tenant).is_some_and(|account| account.used > 0);
        if holds_some && bytes <= state.free() {
            return tenant;
        }
        state.largest().unwrap_or(tenant)
    }

    /// Whether a request waits for bytes that this tenant should [give back](Self::gives_way).
    pub fn must_give_way(&self, tenant: TenantId) -> bool {
        let state = self.lock();
        if state.waiting == 0 {
            return false;
        }
        let is_waiting = |tenant| {
            state
                .tenants
                .get(&tenant)
                .is_some_and(|account| !account.waiting.is_empty())
        };
        is_waiting(tenant) || state.largest() == Some(tenant)
    }

    /// Whether the pool would grant these bytes again if the tenant, which holds them, gave them back. A small tenant
    /// never has to.
    pub fn would_grant_again(&self, held: &Held) -> bool {
        let state = self.lock();
        let Some(account) = state.tenants.get(&held.tenant) else {
            return true;
        };
        if state.is_small(account.used, 0) {
            return true;
        }
        let others = state.used - held.bytes;
        let free = state.limit.saturating_sub(others);
        if held.bytes > free {
            return others == 0;
        }
        account.used == held.bytes
            || state.is_within_share(account.used, account.weight, state.free_beside(free, held.bytes))
    }

    /// Whether the holder should give the bytes back after it has used them: they are a large part of the pool, and another
    /// tenant, which holds less without them, waits until so much is free.
    pub fn is_large_and_wanted(&self, held: &Held) -> bool {
        let state = self.lock();
        let Some(account) = state.tenants.get(&held.tenant) else {
            return false;
        };
        if state.waiting == 0 || held.bytes <= state.limit / LARGE_FRACTION {
            return false;
        }
        let rest = (account.used - held.bytes).saturating_mul(DEFAULT_WEIGHT) / account.weight;
        let free = state.free();
        let with_these = state.limit.saturating_sub(state.used - held.bytes);
        let next = state.first_waiting(|other, bytes| bytes > free && bytes <= with_these && other.relative() <= rest);
        next.is_some()
    }

    /// Whether more is taken than there is, even without these bytes: holders may grow beyond the limit. A small tenant
    /// is not told so, because it can have its bytes all the same.
    pub fn is_exceeded_by_others(&self, held: &Held) -> bool {
        let state = self.lock();
        let account = state.tenants.get(&held.tenant);
        let is_small = account.is_none_or(|account| state.is_small(account.used, 0));
        !is_small && state.used - held.bytes > state.limit
    }

    /// Sets the weight of a tenant; the default is 100.
    pub fn set_weight(&self, tenant: TenantId, weight: u32) {
        let mut state = self.lock();
        let account = state.tenants.entry(tenant).or_default();
        account.weight = u64::from(weight.max(1));
        account.is_forgotten = false;
        self.grant(state);
    }

    /// Drops what is remembered about a tenant, as soon as it holds nothing.
    pub fn forget(&self, tenant: TenantId) {
        let mut state = self.lock();
        if let Some(account) = state.tenants.get_mut(&tenant) {
            account.is_forgotten = true;
        }
        state.drop_if_forgotten(tenant);
    }

    /// How much is used.
    pub fn usage(&self) -> PoolUse {
        let state = self.lock();
        let tenants = state
            .tenants
            .iter()
            .filter(|(_, account)| account.most > 0 || account.refused > 0);
        PoolUse {
            limit: state.limit,
            used: state.used,
            most: state.most,
            refused: state.refused,
            waiting: state.tenants.values().map(Account::waiting).sum(),
            tenants: tenants.map(|(tenant, account)| (*tenant, account.usage())).collect(),
        }
    }

    /// How much one tenant uses.
    pub fn usage_of(&self, tenant: TenantId) -> TenantUse {
        self.lock().tenants.get(&tenant).map(Account::usage).unwrap_or_default()
    }

    fn held(&self, tenant: TenantId, bytes: u64) -> Held {
        Held {
            pool: self.clone(),
            tenant,
            bytes,
        }
    }

    fn give_back(&self, tenant: TenantId, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut state = self.lock();
        state.used -= bytes;
        if let Some(account) = state.tenants.get_mut(&tenant) {
            account.used -= bytes;
        }
        state.drop_if_forgotten(tenant);
        self.grant(state);
    }

    /// Grants waiting requests that fit now. Receivers may drop what they are granted at once, so they get it after the
    /// lock is released.
    fn grant(&self, mut state: MutexGuard<'_, State>) {
        if state.waiting == 0 {
            return;
        }
        let granted = state.grant();
        drop(state);
        for (tenant, waiter) in granted {
            // A request that was dropped returns its bytes, which grants further requests.
            let _ = waiter.granted.send(self.held(tenant, waiter.bytes));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a waiting request that is dropped, and grants the requests that it blocked.
struct Cancelled<'p> {
    pool: &'p Pool,
    tenant: TenantId,
}

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.note_cancelled(self.tenant);
        self.pool.grant(state);
    }
}

impl State {
    const fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// Whether a request that does not wait may be granted.
    fn may_take_now(&self, tenant: TenantId, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        let account = self.tenants.get(&tenant);
        if account.is_some_and(|account| !account.waiting.is_empty()) {
            return false;
        }
        let (used, weight) = account.map_or((0, DEFAULT_WEIGHT), |account| (account.used, account.weight));
        let next = if self.waiting > 0 { self.next_waiting() } else { None };
        // Do not overtake a tenant that holds less and waits for bytes to be free.
        let overtakes = !self.is_small(used, bytes)
            && next.is_some_and(|next| self.tenants[&next].relative() <= used.saturating_mul(DEFAULT_WEIGHT) / weight);
        !overtakes && self.fits(used, weight, bytes)
    }

    /// Whether a tenant that holds `used` bytes would hold little after it takes more.
    const fn is_small(&self, used: u64, bytes: u64) -> bool {
        used.saturating_add(bytes) <= self.limit / SMALL_FRACTION
    }

    /// Whether a tenant that holds `used` bytes may take more.
    fn fits(&self, used: u64, weight: u64, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        if bytes > self.free() {
            // Larger than the whole pool, or of a small tenant.
            return self.used == 0 || self.has_reserved(used, bytes);
        }
        used == 0 || self.is_within_share(used.saturating_add(bytes), weight, self.free_beside(self.free(), bytes))
    }

    /// What counts as free for a request of `bytes` while so much is free: the rest, because the request may be a large part
    /// of all. A place is a small one.
    const fn free_beside(&self, free: u64, bytes: u64) -> u64 {
        if self.has_places { free } else { free - bytes }
    }

    /// Whether a tenant may hold `used` bytes while so much is free.
    fn is_within_share(&self, used: u64, weight: u64, free: u64) -> bool {
        let is_light = used <= self.limit / LIGHT_FRACTION;
        let (multiple, reserved) = match self.has_places {
            true => (MULTIPLE_OF_PLACES, 0),
            false => (MULTIPLE, self.limit / RESERVED_FRACTION),
        };
        let shared = free.saturating_sub(if is_light { 0 } else { reserved });
        let most = u128::from(shared) * u128::from(multiple * weight) / u128::from(DEFAULT_WEIGHT);
        u128::from(used) <= most
    }

    /// Whether a small tenant may take bytes although the others leave none.
    fn has_reserved(&self, used: u64, bytes: u64) -> bool {
        if !self.is_small(used, bytes) {
            return false;
        }
        let held = self.tenants.values().map(|account| account.used);
        let small: u64 = held.filter(|used| self.is_small(*used, 0)).sum();
        small.saturating_add(bytes) <= self.limit / RESERVED_FRACTION
    }

    fn add(&mut self, tenant: TenantId, bytes: u64) {
        self.used += bytes;
        self.most = self.most.max(self.used);
        let account = self.tenants.entry(tenant).or_default();
        account.used += bytes;
        account.most = account.most.max(account.used);
    }

    /// The tenant that holds most, relative to its weight.
    fn largest(&self) -> Option<TenantId> {
        let largest = self.tenants.iter().max_by_key(|(_, account)| account.relative());
        largest.map(|(tenant, _)| *tenant)
    }

    fn count_refused(&mut self, tenant: TenantId) {
        self.refused += 1;
        self.tenants.entry(tenant).or_default().refused += 1;
    }

    /// The tenant whose request is granted next: the one that holds least, relative to its weight; of several, the one
    /// that waits for longest.
    fn next_waiting(&self) -> Option<TenantId> {
        self.first_waiting(|_, _| true)
    }

    /// The tenant that holds least of those with a waiting request for which `is_wanted` is true; it gets the account
    /// and the size of the request.
    fn first_waiting(&self, is_wanted: impl Fn(&Account, u64) -> bool) -> Option<TenantId> {
        let waiting = self.tenants.iter().filter(|(_, account)| {
            let first = account.waiting.front();
            first.is_some_and(|waiter| is_wanted(account, waiter.bytes))
        });
        let next = waiting.min_by_key(|(_, account)| (account.relative(), account.waiting[0].ticket));
        next.map(|(tenant, _)| *tenant)
    }

    /// The tenant whose waiting request can be granted now: the next one, or a small one.
    fn next_to_grant(&self) -> Option<TenantId> {
        let fits = |account: &Account, bytes| self.fits(account.used, account.weight, bytes);
        let next = self.next_waiting()?;
        let account = &self.tenants[&next];
        if fits(account, account.waiting[0].bytes) {
            return Some(next);
        }
        self.first_waiting(|account, bytes| self.is_small(account.used, bytes) && fits(account, bytes))
    }

    /// Removes and returns the waiting requests that fit. A tenant that holds more does not overtake one that waits for
    /// bytes to be free, unless it holds little.
    fn grant(&mut self) -> Vec<(TenantId, Waiter)> {
        let mut granted = Vec::new();
        while let Some(tenant) = self.next_to_grant() {
            let bytes = self.tenants[&tenant].waiting[0].bytes;
            self.add(tenant, bytes);
            let account = self.tenants.get_mut(&tenant).expect("the tenant waits");
            let waiter = account.waiting.pop_front().expect("the tenant waits");
            if account.waiting.is_empty() {
                self.waiting -= 1;
            }
            granted.push((tenant, waiter));
        }
        granted
    }

    /// Removes dropped requests: those in front at once, because they block others, and the rest once they are half of
    /// all, so that each costs constant time.
    fn note_cancelled(&mut self, tenant: TenantId) {
        let Some(account) = self
            .tenants
            .get_mut(&tenant)
            .filter(|account| !account.waiting.is_empty())
        else {
            return;
        };
        account.cancelled += 1;
        if account.cancelled * 2 > account.waiting.len() {
            account.waiting.retain(|waiter| !waiter.granted.is_closed());
            account.cancelled = 0;
        }
        while account.waiting.front().is_some_and(|waiter| waiter.granted.is_closed()) {
            account.waiting.pop_front();
        }
        if account.waiting.is_empty() {
            self.waiting -= 1;
        }
    }

    fn drop_if_forgotten(&mut self, tenant: TenantId) {
        let is_done = |account: &Account| account.is_forgotten && account.used == 0 && account.waiting.is_empty();
        if self.tenants.get(&tenant).is_some_and(is_done) {
            self.tenants.remove(&tenant);
        }
    }
}

impl Account {
    /// What the tenant holds, relative to its weight.
    const fn relative(&self) -> u64 {
        self.used.saturating_mul(DEFAULT_WEIGHT) / self.weight
    }

    fn waiting(&self) -> usize {
        let waiting = self.waiting.iter();
        waiting.filter(|waiter| !waiter.granted.is_closed()).count()
    }

    fn usage(&self) -> TenantUse {
        TenantUse {
            used: self.used,
            most: self.most,
            refused: self.refused,
            waiting: self.waiting(),
        }
    }
}

impl Held {
    /// The tenant that holds the bytes.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The number of bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more bytes if the tenant may have them now. Growth precedes the tenant's waiting requests: what has begun
    /// should end before something else begins.
    #[must_use]
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let mut state = self.pool.lock();
        let (used, weight) = state
            .tenants
            .get(&self.tenant)
            .map_or((0, DEFAULT_WEIGHT), |account| (account.used, account.weight));
        let fits = state.fits(used, weight, bytes);
        match fits {
            true => state.add(self.tenant, bytes),
            false => state.count_refused(self.tenant),
        }
        drop(state);
        self.bytes += if fits { bytes } else { 0 };
        fits
    }

    /// Changes the number of bytes to the size that the object has by now. Beyond the limit if it must be.
    pub fn resize(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            let more = self.pool.take_beyond_limit(self.tenant, bytes - self.bytes);
            self.add(more);
        } else {
            self.pool.give_back(self.tenant, self.bytes - bytes);
            self.bytes = bytes;
        }
    }

    /// Adds other bytes of the same tenant and pool.
    pub fn add(&mut self, mut more: Self) {
        debug_assert!(more.tenant == self.tenant && Arc::ptr_eq(&more.pool.0, &self.pool.0));
        self.bytes += std::mem::take(&mut more.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.give_back(self.tenant, self.bytes);
    }
}

#[cfg(test)]
mod tests;
