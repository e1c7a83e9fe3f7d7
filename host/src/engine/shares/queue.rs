//! A weighted fair queue of tenants for a number of slots. Pure: the caller reports every change and passes in the
//! time, and the same calls always give the same answers.
//!
//! Each tenant has a tag, a position in virtual time. Every start advances it by the inverse of the tenant's weight,
//! and the lowest tag goes first (start-time fair queueing), so starts are shared by weight. A tenant that becomes
//! active starts at the current virtual time, so idle time does not accumulate. Before tags, the share of slots counts:
//! a tenant that holds less than its share goes before those that hold more, so long runs cannot occupy the slots.
//! Optionally, the time in a slot advances the tag as well, so time is shared by weight instead of starts.
//!
//! Within a tenant, the oldest waiter goes first, except for those whose function is at a limit of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{FunctionShare, Rate, Share, ShareUse};
use crate::model::{FunctionName, TenantId, Timestamp};

/// The longest time in a slot that is charged, because clocks jump: as long as a turn may take.
const MAX_CHARGED: Duration = Duration::from_secs(10);

/// A position in virtual time. Wide enough to never overflow.
type Tag = u128;

/// How far one start advances a tenant of weight 1.
const STRIDE: Tag = 1 << 32;

/// The length of the windows in which the recent use of a tenant is measured.
const WINDOW: Duration = Duration::from_millis(100);

/// A tenant is light while it uses less than one part in this many of its share.
const LIGHT: u64 = 4;

/// How many ready tenants are looked at for a light one. Those that used much are behind the others.
const LOOK_AT: usize = 16;

/// How far ahead of an exact rate starts may be, in microseconds: the clock shows only milliseconds, and timers fire late.
const BURST_US: u64 = 100_000;

/// The waiters, each with a value for the caller, and the slots.
#[derive(Debug)]
pub(super) struct Queue<W> {
    /// How many starts one millisecond in a slot counts as; 0 if starts are shared.
    starts_in_ms: u32,
    /// How many slots every tenant may use. The others are for light tenants.
    ordinary: usize,
    /// The holder of each slot.
    slots: Vec<Option<Holder>>,
    free: Vec<SlotNumber>,
    /// All tenants that ever used the queue; bounded by the number of tenants.
    tenants: BTreeMap<TenantId, Tenant<W>>,
    /// Tenants with a waiter that may start.
    ready: BTreeSet<(Tag, TenantId)>,
    /// Tenants whose waiters may all not start before some time, because of rates.
    held: BTreeSet<(Timestamp, TenantId)>,
    /// The sum of the weights of tenants that have something running or waiting.
    active_weight: u64,
    /// The current virtual time, at which a new tenant starts.
    now: Tag,
    /// The newest time that was passed in.
    seen_at: Timestamp,
    next_ticket: u64,
}

/// A slot that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotNumber(usize);

/// The place of a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    tenant: TenantId,
    number: u64,
}

#[derive(Debug)]
struct Holder {
    tenant: TenantId,
    function: Option<FunctionName>,
    since: Timestamp,
}

#[derive(Debug)]
struct Tenant<W> {
    weight: u32,
    max_running: Option<u32>,
    /// The virtual time of its next start.
    tag: Tag,
    running: usize,
    waiting: usize,
    /// Functions with limits of their own.
    limited: BTreeMap<FunctionName, Lane<W>>,
    /// All other functions.
    rest: Lane<W>,
    place: TenantPosition,
    /// What it adds to `active_weight`.
    counted: u32,
    recent: RecentUse,
}

/// What a tenant used in the current window and the one before, in starts.
#[derive(Debug, Clone, Copy, Default)]
struct RecentUse {
    window: u64,
    current: u64,
    previous: u64,
}

impl RecentUse {
    fn add(&mut self, starts: u64, now: Timestamp) {
        *self = self.at(now);
        self.current = self.current.saturating_add(starts);
    }

    /// As seen at a time. Nothing is recent if the clock was set back.
    fn at(self, now: Timestamp) -> Self {
        let window = now.0 / WINDOW.as_millis() as u64;
        match window.checked_sub(self.window) {
            Some(0) => self,
            Some(1) => Self {
                window,
                current: 0,
                previous: self.current,
            },
            _ => Self {
                window,
                ..Self::default()
            },
        }
    }
}

/// The waiters of a tenant that have the same limits.
#[derive(Debug)]
struct Lane<W> {
    limits: FunctionShare,
    running: usize,
    /// When the next start is due at the exact rate, in microseconds.
    next_us: u64,
    /// The time of the last start.
    last_start: Timestamp,
    waiting: BTreeMap<u64, Waiting<W>>,
}

#[derive(Debug)]
struct Waiting<W> {
    function: Option<FunctionName>,
    waiter: W,
}

/// The position of a tenant as a whole.
#[derive(Debug, Clone, Copy)]
enum TenantPosition {
    /// It has no waiters, or all of them wait for something to end.
    Aside,
    Ready,
    Held(Timestamp),
}

impl<W> Queue<W> {
    /// Creates a queue for this many slots, whose starts are shared by weight.
    pub(super) fn new(slots: usize) -> Self {
        Self::with(slots, 0, 0)
    }

    /// Creates a queue for this many slots, whose time is shared by weight. A millisecond counts as much as this many
    /// starts. While all of them are taken, a light tenant, which used little of its share lately, may have one of some
    /// more slots, so that it need not wait until a long run ends.
    pub(super) fn by_time(slots: usize, for_light: usize, starts_in_ms: u32) -> Self {
        Self::with(slots, for_light, starts_in_ms)
    }

    fn with(ordinary: usize, for_light: usize, starts_in_ms: u32) -> Self {
        let slots = ordinary + for_light;
        Self {
            starts_in_ms,
            ordinary,
            slots: (0..slots).map(|_| None).collect(),
            free: (0..slots).rev().map(SlotNumber).collect(),
            tenants: BTreeMap::new(),
            ready: BTreeSet::new(),
            held: BTreeSet::new(),
            active_weight: 0,
            now: 0,
            seen_at: Timestamp(0),
            next_ticket: 0,
        }
    }

    /// Takes a slot at once, if one is free and no waiter goes first.
    pub(super) fn try_enter(
        &mut self,
        tenant: TenantId,
        function: Option<&FunctionName>,
        now: Timestamp,
    ) -> Option<SlotNumber> {
        self.let_go(now);
        if !self.has_ordinary() || !self.ready.is_empty() {
            return None;
        }
        let known = self.tenants.entry(tenant).or_default();
        let lane = known.lane(function);
        if known.is_full() || !lane.waiting.is_empty() || !matches!(lane.may_start(now), May::Now) {
            return None;
        }
        self.now = self.now.max(known.tag);
        Some(self.give(tenant, function.cloned(), now))
    }

    /// Adds a waiter; [`Self::next`] returns it when it may start.
    pub(super) fn wait(
        &mut self,
        tenant: TenantId,
        function: Option<&FunctionName>,
        waiter: W,
        now: Timestamp,
    ) -> Ticket {
        let number = self.next_ticket;
        self.next_ticket += 1;
        let waiting = Waiting {
            function: function.cloned(),
            waiter,
        };
        let known = self.tenants.entry(tenant).or_default();
        known.waiting += 1;
        known.lane_mut(function).waiting.insert(number, waiting);
        self.refresh(tenant, now);
        Ticket { tenant, number }
    }

    /// Removes a waiter; `None` if it has a slot already.
    pub(super) fn leave(&mut self, ticket: Ticket, now: Timestamp) -> Option<W> {
        let Ticket { tenant, number } = ticket;
        let known = self.tenants.get_mut(&tenant)?;
        let left = known.lanes_mut().find_map(|lane| lane.waiting.remove(&number))?;
        known.waiting -= 1;
        self.refresh(tenant, now);
        Some(left.waiter)
    }

    /// The next waiter to start, and its slot; `None` if none may start. After every change, call this until it returns
    /// `None`.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(W, SlotNumber)> {
        self.let_go(now);
        let &(lowest, first) = self.ready.first()?;
        let mut tenants = self.ready.iter().map(|(_, tenant)| *tenant);
        let tenant = match self.has_ordinary() {
            true => tenants
                .find(|tenant| self.holds_less_than_its_share(*tenant))
                .unwrap_or(first),
            false => self.light(now)?,
        };
        self.now = self.now.max(lowest);
        let known = self.tenants.get_mut(&tenant).expect("a ready tenant is known");
        let Waiting { function, waiter } = known
            .take_oldest(now)
            .expect("a ready tenant has a waiter that may start");
        Some((waiter, self.give(tenant, function, now)))
    }

    /// Whether a waiter could get a slot, as of the newest time that was passed in.
    pub(super) fn could_give_one(&self) -> bool {
        match self.has_ordinary() {
            true => !self.ready.is_empty(),
            false => self.light(self.seen_at).is_some(),
        }
    }

    /// Whether a slot is free that every tenant may use.
    fn has_ordinary(&self) -> bool {
        self.slots.len() - self.free.len() < self.ordinary
    }

    /// The first light tenant that is ready and has nothing running, if one of the additional slots is free.
    fn light(&self, now: Timestamp) -> Option<TenantId> {
        if self.free.is_empty() {
            return None;
        }
        let tenants = self.ready.iter().map(|(_, tenant)| *tenant).take(LOOK_AT);
        tenants.into_iter().find(|tenant| self.is_light(*tenant, now))
    }

    fn is_light(&self, tenant: TenantId, now: Timestamp) -> bool {
        let known = &self.tenants[&tenant];
        let RecentUse { current, previous, .. } = known.recent.at(now);
        let all = WINDOW.as_millis() as u64 * u64::from(self.starts_in_ms) * self.ordinary as u64;
        let share = u128::from(all) * u128::from(known.weight);
        let used = u128::from(current.saturating_add(previous)) * u128::from(LIGHT * self.active_weight);
        known.running == 0 && used < share
    }

    /// Returns a slot that was not used, as if it had not been given out.
    pub(super) fn take_back(&mut self, slot: SlotNumber, now: Timestamp) {
        if let Some(Holder {
            tenant,
            function,
            since,
        }) = &self.slots[slot.0]
            && let Some(known) = self.tenants.get_mut(tenant)
        {
            known.lane_mut(function.as_ref()).take_back_start(*since);
            let stride = STRIDE / Tag::from(known.weight);
            let is_ready = self.ready.remove(&(known.tag, *tenant));
            known.tag = known.tag.saturating_sub(stride);
            if is_ready {
                self.ready.insert((known.tag, *tenant));
            }
        }
        self.release(slot, now);
    }

    /// Returns a slot.
    pub(super) fn release(&mut self, slot: SlotNumber, now: Timestamp) {
        let holder = self.slots[slot.0].take().expect("a slot is returned once");
        self.free.push(slot);
        let known = self
            .tenants
            .get_mut(&holder.tenant)
            .expect("a tenant with a slot is known");
        known.running -= 1;
        known.lane_mut(holder.function.as_ref()).running -= 1;
        if self.starts_in_ms > 0 {
            self.charge(holder.tenant, now.since(holder.since), now);
        }
        self.refresh(holder.tenant, now);
    }

    /// Sets the share of a tenant.
    pub(super) fn set_share(&mut self, tenant: TenantId, share: Share, now: Timestamp) {
        let known = self.tenants.entry(tenant).or_default();
        known.weight = share.weight.clamp(1, Share::MAX_WEIGHT);
        known.max_running = share.max_activities;
        let holders = self.slots.iter().flatten().filter(|holder| holder.tenant == tenant);
        known.set_limits(share.functions, holders, now);
        self.refresh(tenant, now);
    }

    /// How much a tenant uses.
    pub(super) fn used_by(&self, tenant: TenantId) -> ShareUse {
        self.tenants
            .get(&tenant)
            .map_or_else(ShareUse::default, |known| ShareUse {
                running: known.running,
                waiting: known.waiting,
            })
    }

    /// When to call [`next`](Self::next) again even if nothing has changed.
    pub(super) fn look_again_at(&self) -> Option<Timestamp> {
        self.held.first().map(|(time, _)| *time)
    }

    /// Makes the tenants ready whose rate allows another start by now.
    fn let_go(&mut self, now: Timestamp) {
        if now < self.seen_at {
            // The clock was set back: check all tenants again, and shorten their waits, so that none lasts until the
            // old time returns.
            let all: Vec<TenantId> = self.tenants.keys().copied().collect();
            for tenant in all {
                let known = self.tenants.get_mut(&tenant).expect("it is in the map");
                known
                    .limited
                    .values_mut()
                    .for_each(|lane| lane.forget_what_is_ahead(now));
                self.refresh(tenant, now);
            }
        }
        self.seen_at = now;
        while let Some((_, tenant)) = self.held.first().copied().filter(|(time, _)| *time <= now) {
            self.refresh(tenant, now);
        }
    }

    fn holds_less_than_its_share(&self, tenant: TenantId) -> bool {
        let known = &self.tenants[&tenant];
        known.running as u64 * self.active_weight < self.ordinary as u64 * u64::from(known.weight)
    }

    /// Advances a tenant by the time in a slot.
    fn charge(&mut self, tenant: TenantId, time: Duration, now: Timestamp) {
        let starts = time.min(MAX_CHARGED).as_millis() * u128::from(self.starts_in_ms);
        let known = self.tenants.get_mut(&tenant).expect("a tenant with a slot is known");
        let strides = STRIDE * starts / Tag::from(known.weight);
        known.recent.add(u64::try_from(starts).unwrap_or(u64::MAX), now);
        let is_ready = self.ready.remove(&(known.tag, tenant));
        known.tag += strides;
        if is_ready {
            self.ready.insert((known.tag, tenant));
        }
    }

    fn give(&mut self, tenant: TenantId, function: Option<FunctionName>, now: Timestamp) -> SlotNumber {
        let slot = self.free.pop().expect("a slot is free");
        let known = self.tenants.get_mut(&tenant).expect("a tenant that starts is known");
        known.running += 1;
        known.lane_mut(function.as_ref()).start(now);
        if matches!(known.place, TenantPosition::Ready) {
            self.ready.remove(&(known.tag, tenant));
            known.place = TenantPosition::Aside;
        }
        known.tag = known.tag.max(self.now) + STRIDE / Tag::from(known.weight);
        known.recent.add(1, now);
        self.slots[slot.0] = Some(Holder {
            tenant,
            function,
            since: now,
        });
        self.refresh(tenant, now);
        slot
    }

    /// Updates the position of a tenant after a change.
    fn refresh(&mut self, tenant: TenantId, now: Timestamp) {
        let known = self.tenants.get_mut(&tenant).expect("a changed tenant is known");
        let is_active = known.running > 0 || known.waiting > 0;
        let weight = if is_active { known.weight } else { 0 };
        self.active_weight = self.active_weight - u64::from(known.counted) + u64::from(weight);
        known.counted = weight;
        let place = match known.may_start(now) {
            May::Now => TenantPosition::Ready,
            May::At(time) => TenantPosition::Held(time),
            May::NotYet => TenantPosition::Aside,
        };
        match (known.place, place) {
            (TenantPosition::Ready, TenantPosition::Ready) | (TenantPosition::Aside, TenantPosition::Aside) => return,
            (TenantPosition::Ready, _) => _ = self.ready.remove(&(known.tag, tenant)),
            (TenantPosition::Held(time), _) => _ = self.held.remove(&(time, tenant)),
            (TenantPosition::Aside, _) => {}
        }
        match place {
            TenantPosition::Ready => {
                known.tag = known.tag.max(self.now);
                self.ready.insert((known.tag, tenant));
            }
            TenantPosition::Held(time) => _ = self.held.insert((time, tenant)),
            TenantPosition::Aside => {}
        }
        known.place = place;
    }
}

/// Whether a waiter may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Now,
    /// Not before this time.
    At(Timestamp),
    /// Only after something else has ended, if at all.
    NotYet,
}

impl<W> Default for Tenant<W> {
    fn default() -> Self {
        Self {
            weight: Share::DEFAULT_WEIGHT,
            max_running: None,
            tag: 0,
            running: 0,
            waiting: 0,
            limited: BTreeMap::new(),
            rest: Lane::new(FunctionShare::default()),
            place: TenantPosition::Aside,
            counted: 0,
            recent: RecentUse::default(),
        }
    }
}

impl<W> Tenant<W> {
    fn lane(&self, function: Option<&FunctionName>) -> &Lane<W> {
        function.and_then(|name| self.limited.get(name)).unwrap_or(&self.rest)
    }

    fn lane_mut(&mut self, function: Option<&FunctionName>) -> &mut Lane<W> {
        function
            .and_then(|name| self.limited.get_mut(name))
            .unwrap_or(&mut self.rest)
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane<W>> {
        std::iter::once(&self.rest).chain(self.limited.values())
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane<W>> {
        std::iter::once(&mut self.rest).chain(self.limited.values_mut())
    }

    fn is_full(&self) -> bool {
        is_reached(self.max_running, self.running)
    }

    fn may_start(&self, now: Timestamp) -> May {
        if self.is_full() {
            return May::NotYet;
        }
        let mut soonest = May::NotYet;
        for lane in self.lanes().filter(|lane| !lane.waiting.is_empty()) {
            soonest = match (soonest, lane.may_start(now)) {
                (_, May::Now) => return May::Now,
                (May::At(one), May::At(other)) => May::At(one.min(other)),
                (May::NotYet, may) | (may, _) => may,
            };
        }
        soonest
    }

    /// Takes the oldest waiter that may start.
    fn take_oldest(&mut self, now: Timestamp) -> Option<Waiting<W>> {
        let lanes = self.lanes_mut().filter(|lane| lane.may_start(now) == May::Now);
        let with_oldest = lanes.filter_map(|lane| Some((*lane.waiting.keys().next()?, lane)));
        let (_, lane) = with_oldest.min_by_key(|(number, _)| *number)?;
        let (_, oldest) = lane.waiting.pop_first()?;
        self.waiting -= 1;
        Some(oldest)
    }

    /// Sorts all waiters and holders under new limits. What was used of a rate stays used.
    fn set_limits<'a>(
        &mut self,
        limits: BTreeMap<FunctionName, FunctionShare>,
        holders: impl Iterator<Item = &'a Holder>,
        now: Timestamp,
    ) {
        let before = std::mem::take(&mut self.limited);
        let rest = std::mem::replace(&mut self.rest, Lane::new(FunctionShare::default()));
        for (name, limits) in limits {
            let next_us = before.get(&name).map_or(0, |lane| lane.next_us);
            let mut lane = Lane {
                next_us,
                ..Lane::new(limits)
            };
            lane.forget_what_is_ahead(now);
            self.limited.insert(name, lane);
        }
        for (number, waiting) in before.into_values().chain([rest]).flat_map(|lane| lane.waiting) {
            self.lane_mut(waiting.function.as_ref()).waiting.insert(number, waiting);
        }
        for holder in holders {
            self.lane_mut(holder.function.as_ref()).running += 1;
        }
    }
}

impl<W> Lane<W> {
    fn new(limits: FunctionShare) -> Self {
        Self {
            limits,
            running: 0,
            next_us: 0,
            last_start: Timestamp(0),
            waiting: BTreeMap::new(),
        }
    }

    fn may_start(&self, now: Timestamp) -> May {
        if is_reached(self.limits.max_activities, self.running) {
            return May::NotYet;
        }
        match self.limits.rate.map(|rate| rate.allows_at(self.next_us)) {
            Some(time) if time > now => May::At(time),
            _ => May::Now,
        }
    }

    /// Limits the wait to that after a start just now.
    fn forget_what_is_ahead(&mut self, now: Timestamp) {
        if let Some(rate) = self.limits.rate {
            self.next_us = self.next_us.min(rate.latest_us(now));
        }
    }

    /// The start at this time did not happen after all. Starts after it stay as far apart as the rate demands.
    fn take_back_start(&mut self, at: Timestamp) {
        if let Some(rate) = self.limits.rate {
            let earliest = match at >= self.last_start {
                true => 0,
                false => rate.next_after(0, self.last_start),
            };
            self.next_us = rate.before(self.next_us).max(earliest).min(self.next_us);
        }
    }

    fn start(&mut self, now: Timestamp) {
        self.running += 1;
        self.last_start = now;
        if let Some(rate) = self.limits.rate {
            self.next_us = rate.next_after(self.next_us, now);
        }
    }
}

impl Rate {
    /// The opposite of [`next_after`](Self::next_after).
    fn before(self, next_us: u64) -> u64 {
        next_us.saturating_sub(self.interval_us)
    }

    /// How much earlier than at the exact rate a start may be.
    fn tolerance_us(self) -> u64 {
        BURST_US.saturating_sub(self.interval_us)
    }

    /// The earliest time of a start that is due at `next_us` at the exact rate.
    fn allows_at(self, next_us: u64) -> Timestamp {
        Timestamp(next_us.saturating_sub(self.tolerance_us()).div_ceil(1_000))
    }

    /// When the start after one now is due at the exact rate.
    fn next_after(self, next_us: u64, now: Timestamp) -> u64 {
        next_us.max(micros(now)).saturating_add(self.interval_us)
    }

    /// The latest time at which that start may be due.
    fn latest_us(self, now: Timestamp) -> u64 {
        micros(now)
            .saturating_add(self.tolerance_us())
            .saturating_add(self.interval_us)
    }
}

fn micros(time: Timestamp) -> u64 {
    time.0.saturating_mul(1_000)
}

fn is_reached(limit: Option<u32>, count: usize) -> bool {
    limit.is_some_and(|limit| count >= limit as usize)
}
