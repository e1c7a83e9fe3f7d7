//! A weighted fair queue of tenants before a number of slots. Pure: what happens is told to it, time included, and the same
//! calls always have the same answers.
//!
//! Each tenant has a tag, a place on a line of virtual time. Every start moves it on by the inverse of the tenant's weight,
//! and the lowest tag comes first (start-time fair queueing), so starts are shared by weight. A tenant that comes with
//! something to run is put where the others are by now: it has saved nothing up. Before all that, a tenant that holds less
//! than its share of the slots comes before those that hold more, so nobody keeps the slots by running for long.
//!
//! Within a tenant the oldest comes first, past those whose function is at a limit of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{FunctionShare, Rate, Share, ShareUse};
use crate::model::{FunctionName, TenantId, Timestamp};

/// A place in virtual time. Wide enough never to be used up.
type Tag = u128;

/// How far one start moves a tenant of weight 1.
const STRIDE: Tag = 1 << 32;

/// How much of a rate may be used at once, in microseconds of it: the clock shows milliseconds, and timers come late.
const BURST_US: u64 = 100_000;

/// Those who wait, with what they are reached by, and the slots.
#[derive(Debug)]
pub(super) struct Queue<W> {
    /// Who has each slot.
    slots: Vec<Option<Holder>>,
    free: Vec<SlotNumber>,
    /// All that were ever seen: no more than there are.
    tenants: BTreeMap<TenantId, Tenant<W>>,
    /// Tenants of whom somebody may start.
    ready: BTreeSet<(Tag, TenantId)>,
    /// Tenants of whom nobody may start before some time, because of rates.
    held: BTreeSet<(Timestamp, TenantId)>,
    /// The sum of the weights of those who have something that runs or waits.
    active_weight: u64,
    /// Where a tenant begins that comes now.
    now: Tag,
    /// The newest time that was handed in.
    seen_at: Timestamp,
    next_ticket: u64,
}

/// A slot that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotNumber(usize);

/// The place of somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    tenant: TenantId,
    number: u64,
}

#[derive(Debug)]
struct Holder {
    tenant: TenantId,
    function: Option<FunctionName>,
}

#[derive(Debug)]
struct Tenant<W> {
    weight: u32,
    max_running: Option<u32>,
    /// Where its next start comes.
    tag: Tag,
    running: usize,
    waiting: usize,
    /// Functions with limits of their own.
    limited: BTreeMap<FunctionName, Lane<W>>,
    /// All others.
    rest: Lane<W>,
    place: TenantPosition,
    /// What it adds to the active weight.
    counted: u32,
}

/// Those of a tenant that are under the same limits.
#[derive(Debug)]
struct Lane<W> {
    limits: FunctionShare,
    running: usize,
    /// When the next would start if all kept to the rate exactly.
    next_us: u64,
    waiting: BTreeMap<u64, Waiting<W>>,
}

#[derive(Debug)]
struct Waiting<W> {
    function: Option<FunctionName>,
    waiter: W,
}

/// Where a tenant stands as a whole.
#[derive(Debug, Clone, Copy)]
enum TenantPosition {
    /// Nobody of it waits, or all are at a limit until something ends.
    Aside,
    Ready,
    Held(Timestamp),
}

impl<W> Queue<W> {
    /// With that many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
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

    /// A slot at once, if there is one and nobody comes first.
    pub(super) fn try_enter(
        &mut self,
        tenant: TenantId,
        function: Option<&FunctionName>,
        now: Timestamp,
    ) -> Option<SlotNumber> {
        self.let_go(now);
        if self.free.is_empty() || !self.ready.is_empty() {
            return None;
        }
        let known = self.tenants.entry(tenant).or_default();
        let lane = known.lane(function);
        if known.is_full() || !lane.waiting.is_empty() || !matches!(lane.may_start(now), May::Now) {
            return None;
        }
        self.now = self.now.max(known.tag);
        let function = function.cloned();
        Some(self.give(Holder { tenant, function }, now))
    }

    /// Makes somebody wait; [`Self::next`] says when that is over.
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

    /// Takes somebody out of the queue; none if it has a slot.
    pub(super) fn leave(&mut self, ticket: Ticket, now: Timestamp) -> Option<W> {
        let Ticket { tenant, number } = ticket;
        let known = self.tenants.get_mut(&tenant)?;
        let left = known.lanes_mut().find_map(|lane| lane.waiting.remove(&number))?;
        known.waiting -= 1;
        self.refresh(tenant, now);
        Some(left.waiter)
    }

    /// Who starts next, and in which slot; none if nobody can. To be asked until it is none after every change.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(W, SlotNumber)> {
        self.let_go(now);
        if self.free.is_empty() {
            return None;
        }
        let &(lowest, first) = self.ready.first()?;
        let mut tenants = self.ready.iter().map(|(_, tenant)| *tenant);
        let tenant = tenants.find(|tenant| self.holds_less_than_its_share(*tenant));
        let tenant = tenant.unwrap_or(first);
        self.now = self.now.max(lowest);
        let known = self.tenants.get_mut(&tenant).expect("who is ready is known");
        let Waiting { function, waiter } = known.take_oldest(now).expect("somebody of a ready tenant may start");
        Some((waiter, self.give(Holder { tenant, function }, now)))
    }

    /// Whether somebody could be given a slot now, by what was known of time last.
    pub(super) fn could_give_one(&self) -> bool {
        !self.free.is_empty() && !self.ready.is_empty()
    }

    /// Takes a slot back.
    pub(super) fn release(&mut self, slot: SlotNumber, now: Timestamp) {
        let holder = self.slots[slot.0].take().expect("a slot is given back once");
        self.free.push(slot);
        let known = self.tenants.get_mut(&holder.tenant).expect("who holds a slot is known");
        known.running -= 1;
        known.lane_mut(holder.function.as_ref()).running -= 1;
        self.refresh(holder.tenant, now);
    }

    /// Sets what a tenant gets.
    pub(super) fn set_share(&mut self, tenant: TenantId, share: Share, now: Timestamp) {
        let known = self.tenants.entry(tenant).or_default();
        known.weight = share.weight.clamp(1, Share::MAX_WEIGHT);
        known.max_running = share.max_activities;
        let holders = self.slots.iter().flatten().filter(|holder| holder.tenant == tenant);
        known.set_limits(share.functions, holders, now);
        self.refresh(tenant, now);
    }

    /// What a tenant uses.
    pub(super) fn used_by(&self, tenant: TenantId) -> ShareUse {
        self.tenants
            .get(&tenant)
            .map_or_else(ShareUse::default, |known| ShareUse {
                running: known.running,
                waiting: known.waiting,
            })
    }

    /// When to ask for the [next](Self::next) one although nothing has changed.
    pub(super) fn look_again_at(&self) -> Option<Timestamp> {
        self.held.first().map(|(time, _)| *time)
    }

    /// Those whose rate allows another start by now are ready.
    fn let_go(&mut self, now: Timestamp) {
        if now < self.seen_at {
            // The clock was put back: who was ready by it may not be, and nobody waits for what it shows again.
            let all: Vec<TenantId> = self.tenants.keys().copied().collect();
            for tenant in all {
                let known = self.tenants.get_mut(&tenant).expect("it is one of all");
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
        known.running as u64 * self.active_weight < self.slots.len() as u64 * u64::from(known.weight)
    }

    fn give(&mut self, holder: Holder, now: Timestamp) -> SlotNumber {
        let slot = self.free.pop().expect("a slot is free");
        let tenant = holder.tenant;
        let known = self.tenants.get_mut(&tenant).expect("who starts is known");
        known.running += 1;
        known.lane_mut(holder.function.as_ref()).start(now);
        if matches!(known.place, TenantPosition::Ready) {
            self.ready.remove(&(known.tag, tenant));
            known.place = TenantPosition::Aside;
        }
        known.tag = known.tag.max(self.now) + STRIDE / Tag::from(known.weight);
        self.slots[slot.0] = Some(holder);
        self.refresh(tenant, now);
        slot
    }

    /// Puts a tenant where it belongs after a change.
    fn refresh(&mut self, tenant: TenantId, now: Timestamp) {
        let known = self.tenants.get_mut(&tenant).expect("a tenant that changes is known");
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

/// Whether somebody may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Now,
    /// Not before that time.
    At(Timestamp),
    /// When something else has ended, if at all.
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

    /// Who has waited longest of those that may start.
    fn take_oldest(&mut self, now: Timestamp) -> Option<Waiting<W>> {
        let lanes = self.lanes_mut().filter(|lane| lane.may_start(now) == May::Now);
        let with_oldest = lanes.filter_map(|lane| Some((*lane.waiting.keys().next()?, lane)));
        let (_, lane) = with_oldest.min_by_key(|(number, _)| *number)?;
        let (_, oldest) = lane.waiting.pop_first()?;
        self.waiting -= 1;
        Some(oldest)
    }

    /// Puts everybody where they belong under new limits. What was used of a rate stays used.
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

    /// Nobody waits longer than after a start just now.
    fn forget_what_is_ahead(&mut self, now: Timestamp) {
        if let Some(rate) = self.limits.rate {
            self.next_us = self.next_us.min(rate.latest_us(now));
        }
    }

    fn start(&mut self, now: Timestamp) {
        self.running += 1;
        if let Some(rate) = self.limits.rate {
            self.next_us = rate.next_after(self.next_us, now);
        }
    }
}

impl Rate {
    /// How far ahead of an exact rate a start may be.
    fn tolerance_us(self) -> u64 {
        BURST_US.saturating_sub(self.interval_us)
    }

    /// The time from which on one may start that would start at `next_us` exactly.
    fn allows_at(self, next_us: u64) -> Timestamp {
        Timestamp(next_us.saturating_sub(self.tolerance_us()).div_ceil(1_000))
    }

    /// When the one after a start now would start exactly.
    fn next_after(self, next_us: u64, now: Timestamp) -> u64 {
        next_us.max(micros(now)).saturating_add(self.interval_us)
    }

    /// When it would at the latest.
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
