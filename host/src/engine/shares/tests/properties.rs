//! Properties of the queue under arbitrary calls.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::engine::shares::queue::{Queue, SlotNumber, Ticket};
use crate::engine::shares::{FunctionShare, Rate, Share};
use crate::model::{FunctionName, TenantId, Timestamp};

const TENANTS: u32 = 4;
const FUNCTIONS: [&str; 3] = ["plain", "capped", "rated"];

/// An event that a queue handles.
#[derive(Debug, Clone)]
enum Happening {
    Comes {
        tenant: u32,
        function: usize,
    },
    Leaves(Index),
    Ends(Index),
    /// A slot is given back unused.
    DoesNotRun(Index),
    Share(u32, Share),
    Time(i64),
}

fn share() -> impl Strategy<Value = Share> {
    let limits = (
        proptest::option::of(0..4u32),
        proptest::option::of(0..3u32),
        proptest::option::of(1..50u32),
    );
    (1..1_200u32, limits).prop_map(|(weight, (max_activities, capped, rated))| {
        let limited = |max_activities, rate| FunctionShare { max_activities, rate };
        let rate = rated.and_then(|starts| Rate::per_second(f64::from(starts)));
        let functions = BTreeMap::from([
            (name("capped"), limited(capped, None)),
            (name("rated"), limited(None, rate)),
        ]);
        Share {
            weight,
            max_activities,
            functions,
        }
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..TENANTS, 0..FUNCTIONS.len()).prop_map(|(tenant, function)| Happening::Comes { tenant, function }),
        2 => any::<Index>().prop_map(Happening::Leaves),
        6 => any::<Index>().prop_map(Happening::Ends),
        2 => any::<Index>().prop_map(Happening::DoesNotRun),
        1 => (0..TENANTS, share()).prop_map(|(tenant, share)| Happening::Share(tenant, share)),
        3 => prop_oneof![9 => 0..300i64, 1 => -5_000..5_000i64].prop_map(Happening::Time),
    ]
}

fn name(text: &str) -> FunctionName {
    text.parse().expect("a name")
}

/// A waiter or a holder of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    number: u64,
    tenant: TenantId,
    function: FunctionName,
}

/// The queue, and the test's own record of what happened.
struct Observed {
    queue: Queue<u64>,
    slots: usize,
    now: Timestamp,
    coming: u64,
    waiting: BTreeMap<u64, (Job, Ticket)>,
    /// With the time of the start.
    running: Vec<(Job, SlotNumber, Timestamp)>,
    shares: BTreeMap<TenantId, Share>,
    /// Times of starts under the current rate, while the clock does not jump back.
    starts: BTreeMap<(TenantId, FunctionName), Vec<Timestamp>>,
}

impl Observed {
    fn new(slots: usize) -> Self {
        Self {
            queue: Queue::new(slots),
            slots,
            now: Timestamp(1_000_000),
            coming: 0,
            waiting: BTreeMap::new(),
            running: Vec::new(),
            shares: BTreeMap::new(),
            starts: BTreeMap::new(),
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Comes { tenant, function } => self.comes(TenantId(tenant), &name(FUNCTIONS[function])),
            Happening::Leaves(which) => self.leaves(&which),
            Happening::Ends(which) => self.ends(&which),
            Happening::DoesNotRun(which) => self.does_not_run(&which),
            Happening::Share(tenant, share) => {
                self.queue.set_share(TenantId(tenant), share.clone(), self.now);
                self.shares.insert(TenantId(tenant), share);
                self.starts.retain(|(known, _), _| *known != TenantId(tenant));
            }
            Happening::Time(by_ms) => {
                self.now = Timestamp(self.now.0.saturating_add_signed(by_ms));
                if by_ms < 0 {
                    self.starts.clear();
                }
            }
        }
        self.settle();
    }

    fn comes(&mut self, tenant: TenantId, function: &FunctionName) {
        let job = Job {
            number: self.coming,
            tenant,
            function: function.clone(),
        };
        self.coming += 1;
        match self.queue.try_enter(tenant, Some(function), self.now) {
            Some(slot) => self.starts(job, slot),
            None => {
                let ticket = self.queue.wait(tenant, Some(function), job.number, self.now);
                self.waiting.insert(job.number, (job, ticket));
            }
        }
    }

    fn leaves(&mut self, which: &Index) {
        if !self.waiting.is_empty() {
            let number = *which.get(&self.waiting.keys().copied().collect::<Vec<_>>());
            let (_, ticket) = self.waiting.remove(&number).expect("it waits");
            assert_eq!(self.queue.leave(ticket, self.now), Some(number));
            assert_eq!(self.queue.leave(ticket, self.now), None, "it has left already");
        }
    }

    fn ends(&mut self, which: &Index) {
        if !self.running.is_empty() {
            let (_, slot, _) = self.running.swap_remove(which.index(self.running.len()));
            self.queue.release(slot, self.now);
        }
    }

    /// A start that did not happen counts for no rate.
    fn does_not_run(&mut self, which: &Index) {
        if !self.running.is_empty() {
            let (job, slot, at) = self.running.swap_remove(which.index(self.running.len()));
            if let Some(times) = self.starts.get_mut(&(job.tenant, job.function))
                && let Some(position) = times.iter().rposition(|time| *time == at)
            {
                times.remove(position);
            }
            self.queue.take_back(slot, self.now);
        }
    }

    fn settle(&mut self) {
        while let Some((number, slot)) = self.queue.next(self.now) {
            let (job, _) = self.waiting.remove(&number).expect("only waiters get a slot");
            let older = self.waiting.values().find(|(other, _)| {
                other.number < number && other.tenant == job.tenant && other.function == job.function
            });
            assert_eq!(older, None, "{job:?} was not the oldest");
            self.starts(job, slot);
        }
        self.no_wait_is_unnecessary();
        for tenant in (0..TENANTS).map(TenantId) {
            let used = self.queue.used_by(tenant);
            assert_eq!(used.running, self.count(|running| running.tenant == tenant));
            let waiting = self.waiting.values().filter(|(waiting, _)| waiting.tenant == tenant);
            assert_eq!(used.waiting, waiting.count());
        }
    }

    fn count(&self, which: impl Fn(&Job) -> bool) -> usize {
        self.running.iter().filter(|(job, ..)| which(job)).count()
    }

    /// Records a start and checks that it is within all limits.
    fn starts(&mut self, job: Job, slot: SlotNumber) {
        assert!(
            self.running.iter().all(|(_, taken, _)| *taken != slot),
            "{slot:?} is free"
        );
        assert!(self.running.len() < self.slots);
        assert!(!self.is_capped(&job), "{job:?} starts above a limit");
        if let Some(rate) = self.limits(&job).rate {
            let times = self.starts.entry((job.tenant, job.function.clone())).or_default();
            times.push(self.now);
            let interval_ms = rate.interval_us as f64 / 1_000.0;
            for (earlier, time) in times.iter().rev().enumerate() {
                // The number that the rate allows in this time, plus a tenth of a second's starts, plus the first one.
                let span_ms = (self.now.0 - time.0) as f64 + 1.0;
                let most = 1.0 + (span_ms + (100.0 - interval_ms).max(0.0)) / interval_ms;
                assert!(earlier as f64 + 1.0 <= most + 0.01, "{times:?} under {rate:?}");
            }
        }
        self.running.push((job, slot, self.now));
    }

    fn limits(&self, job: &Job) -> FunctionShare {
        let share = self.shares.get(&job.tenant);
        let limits = share.and_then(|share| share.functions.get(&job.function));
        limits.copied().unwrap_or_default()
    }

    fn is_capped(&self, job: &Job) -> bool {
        let of_tenant = self.count(|running| running.tenant == job.tenant);
        let of_function = self.count(|running| running.tenant == job.tenant && running.function == job.function);
        let max = self.shares.get(&job.tenant).and_then(|share| share.max_activities);
        let reached = |max: Option<u32>, count: usize| max.is_some_and(|max| count >= max as usize);
        reached(max, of_tenant) || reached(self.limits(job).max_activities, of_function)
    }

    /// If a slot is free, all waiters are at a limit; at a rate only until a time that the queue reports.
    fn no_wait_is_unnecessary(&self) {
        if self.running.len() == self.slots {
            return;
        }
        let for_time = self.waiting.values().filter(|(waiting, _)| !self.is_capped(waiting));
        for (waiting, _) in for_time {
            assert!(self.limits(waiting).rate.is_some(), "{waiting:?} waits unnecessarily");
            let time = self.queue.look_again_at().expect("the queue reports when to continue");
            // The lowest rate here is one per second.
            assert!(
                time > self.now && time.0 <= self.now.0 + 1_000,
                "{time:?} at {:?}",
                self.now
            );
        }
    }

    /// Over time, every waiter starts unless a limit of 0 prevents it.
    fn goes_on(&mut self) {
        loop {
            let hopeful = |(waiting, _): &&(Job, Ticket)| {
                let of_tenant = self.shares.get(&waiting.tenant).and_then(|share| share.max_activities);
                of_tenant != Some(0) && self.limits(waiting).max_activities != Some(0)
            };
            if self.waiting.values().filter(hopeful).count() == 0 {
                return;
            }
            let before = self.waiting.len();
            for (_, slot, _) in std::mem::take(&mut self.running) {
                self.queue.release(slot, self.now);
            }
            // The time that the lowest rate here needs for one start.
            self.happens(Happening::Time(1_000));
            assert!(self.waiting.len() < before, "a waiter starts");
        }
    }

    /// Removes all waiters and holders; then every slot is free again.
    fn all_leave(mut self) {
        for (_, ticket) in std::mem::take(&mut self.waiting).into_values() {
            self.queue.leave(ticket, self.now);
        }
        for (_, slot, _) in std::mem::take(&mut self.running) {
            self.queue.release(slot, self.now);
        }
        let fresh = TenantId(TENANTS);
        for _ in 0..self.slots {
            assert!(self.queue.try_enter(fresh, None, self.now).is_some(), "no slot is lost");
        }
        assert_eq!(self.queue.try_enter(fresh, None, self.now), None);
    }
}

/// A queue with tenants of these weights that always have waiters. Returns how often each of them started when running
/// holders end in the given order.
fn flooded(slots: usize, weights: &[u32], ends: &[Index]) -> Vec<usize> {
    let (mut queue, now) = (Queue::new(slots), Timestamp(0));
    for (tenant, weight) in (0..).zip(weights) {
        let share = Share {
            weight: *weight,
            ..Share::default()
        };
        queue.set_share(TenantId(tenant), share, now);
        for _ in 0..slots + ends.len() {
            queue.wait(TenantId(tenant), None, tenant as usize, now);
        }
    }
    let mut counts = vec![0; weights.len()];
    let mut running = Vec::new();
    for end in std::iter::once(None).chain(ends.iter().map(Some)) {
        if let Some(end) = end {
            queue.release(running.swap_remove(end.index(running.len())), now);
        }
        while let Some((tenant, slot)) = queue.next(now) {
            counts[tenant] += 1;
            running.push(slot);
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn limits_are_kept_no_slot_is_lost_and_no_wait_is_unnecessary(
        slots in 1..6usize,
        happenings in proptest::collection::vec(happening(), 1..120),
    ) {
        let mut observed = Observed::new(slots);
        happenings.into_iter().for_each(|happening| observed.happens(happening));
        observed.goes_on();
        observed.all_leave();
    }

    #[test]
    fn no_tenant_starves_beside_floods(
        slots in 1..6usize,
        floods in proptest::collection::vec(1..=1_000u32, 1..5),
        weight in 1..=1_000u32,
        ends in proptest::collection::vec(any::<Index>(), 0..60),
    ) {
        let now = Timestamp(0);
        let mut queue = Queue::new(slots);
        let visitor = TenantId(100);
        // Until its next start, a new visitor lets each other tenant start this often.
        let patience = floods.iter().map(|flood| flood.div_ceil(weight) as usize + 1).sum::<usize>();
        for (tenant, weight) in (0..).zip(floods) {
            let share = Share { weight, ..Share::default() };
            queue.set_share(TenantId(tenant), share, now);
            (0..slots + ends.len() + patience).for_each(|_| _ = queue.wait(TenantId(tenant), None, false, now));
        }
        queue.set_share(visitor, Share { weight, ..Share::default() }, now);
        let mut running = Vec::new();
        running.extend(std::iter::from_fn(|| queue.next(now)).map(|(_, slot)| slot));
        for end in ends {
            queue.release(running.swap_remove(end.index(running.len())), now);
            running.extend(queue.next(now).map(|(_, slot)| slot));
        }
        queue.wait(visitor, None, true, now);
        let others = (0..).take_while(|_| {
            queue.release(running.remove(0), now);
            let (is_visitor, slot) = queue.next(now).expect("many wait");
            running.push(slot);
            !is_visitor
        });
        prop_assert!(others.count() <= patience);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn starts_are_shared_by_weight_if_all_runs_take_equally_long(
        weights in proptest::collection::vec(1..=10u32, 2..5),
        ends in proptest::collection::vec(any::<Index>(), 600),
    ) {
        let counts = flooded(1, &weights, &ends);
        let sum: u32 = weights.iter().sum();
        // At the beginning every tenant starts once, regardless of its weight.
        let unfair = weights.len() as f64;
        for (count, weight) in counts.into_iter().zip(weights) {
            let fair = 601.0 * f64::from(weight) / f64::from(sum);
            prop_assert!((count as f64 - fair).abs() <= unfair, "{count} of {fair}");
        }
    }

    #[test]
    fn slots_are_shared_by_weight_even_if_some_runs_never_end(weights in (1..=9u32, 1..=9u32)) {
        // The runs of the first tenant never end; those of the second end at once.
        let (mut queue, now) = (Queue::new(64), Timestamp(0));
        let tenants = [(TenantId(1), weights.0), (TenantId(2), weights.1)];
        for (tenant, weight) in tenants {
            queue.set_share(tenant, Share { weight, ..Share::default() }, now);
            (0..2_000).for_each(|_| _ = queue.wait(tenant, None, tenant, now));
        }
        let mut running = Vec::new();
        for _ in 0..1_000 {
            while let Some((tenant, slot)) = queue.next(now) {
                running.push((tenant, slot));
            }
            let short = running.iter().position(|(tenant, _)| *tenant == TenantId(2)).expect("it has its share");
            queue.release(running.remove(short).1, now);
        }
        let fair = 64.0 * f64::from(weights.0) / f64::from(weights.0 + weights.1);
        let long = queue.used_by(TenantId(1)).running as f64;
        prop_assert!((long - fair).abs() <= 1.0, "{long} slots are kept, {fair} would be fair");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn time_is_shared_by_weight_if_runs_take_differently_long(
        tenants in proptest::collection::vec((1..=10u32, 1..=30u64), 2..5),
    ) {
        let mut queue = Queue::by_time(1, 0, 50);
        for ((weight, _), tenant) in tenants.iter().zip(0..) {
            queue.set_share(TenantId(tenant), Share { weight: *weight, ..Share::default() }, Timestamp(0));
            queue.wait(TenantId(tenant), None, tenant, Timestamp(0));
        }
        let mut now = 0;
        let mut used = vec![0; tenants.len()];
        while now < 100_000 {
            let (tenant, slot) = queue.next(Timestamp(now)).expect("many wait");
            let length = tenants[tenant as usize].1;
            now += length;
            used[tenant as usize] += length;
            queue.wait(TenantId(tenant), None, tenant, Timestamp(now));
            queue.release(slot, Timestamp(now));
        }
        let sum: u32 = tenants.iter().map(|(weight, _)| weight).sum();
        for (used, (weight, _)) in used.iter().zip(&tenants) {
            let fair = now as f64 * f64::from(*weight) / f64::from(sum);
            // A tenant of ten times the weight may be up to ten runs ahead.
            prop_assert!((*used as f64 - fair).abs() <= 0.02 * now as f64, "{used} of {fair}: {tenants:?}");
        }
    }
}

#[test]
fn a_jump_of_the_clock_costs_little() {
    let mut queue = Queue::by_time(1, 0, 50);
    let (jumps, other) = (TenantId(1), TenantId(2));
    let slot = queue.try_enter(jumps, None, Timestamp(0)).expect("it is free");
    let mut now = 1_000_000_000;
    for tenant in [jumps, other] {
        (0..2_000).for_each(|_| _ = queue.wait(tenant, None, tenant, Timestamp(now)));
    }
    queue.release(slot, Timestamp(now));
    let waited = std::iter::from_fn(|| {
        let (tenant, slot) = queue.next(Timestamp(now)).expect("many wait");
        now += 10;
        queue.release(slot, Timestamp(now));
        (tenant == other).then_some(())
    });
    assert!(waited.count() <= 1_001);
}

#[test]
fn a_light_tenant_does_not_wait_for_long_runs_of_others() {
    let mut queue = Queue::by_time(2, 1, 50);
    let [busy, other, light] = [1, 2, 3].map(TenantId);
    let mut now = 0;
    let wait = |queue: &mut Queue<TenantId>, tenant, now| _ = queue.wait(tenant, None, tenant, Timestamp(now));
    let mut running = Vec::new();
    // Both have used more than their part before the other one comes.
    for tenant in [busy, other] {
        (0..10).for_each(|_| wait(&mut queue, tenant, now));
    }
    for _ in 0..20 {
        while let Some(started) = queue.next(Timestamp(now)) {
            running.push(started);
        }
        now += 10;
        for (tenant, slot) in running.drain(..) {
            wait(&mut queue, tenant, now);
            queue.release(slot, Timestamp(now));
        }
    }
    for _ in 0..2 {
        running.extend(queue.next(Timestamp(now)));
    }
    assert!(!queue.could_give_one(), "nobody is light");
    assert!(queue.next(Timestamp(now)).is_none());

    (0..3).for_each(|_| wait(&mut queue, light, now));
    assert!(queue.could_give_one());
    let (tenant, slot) = queue.next(Timestamp(now)).expect("it is light");
    assert_eq!(tenant, light);
    assert!(queue.next(Timestamp(now)).is_none(), "one at a time");
    queue.release(slot, Timestamp(now));
    let (_, slot) = queue.next(Timestamp(now)).expect("it is still light");
    now += 20;
    queue.release(slot, Timestamp(now));
    assert!(
        queue.next(Timestamp(now)).is_none(),
        "it has used a fourth of its share"
    );
    now += 200;
    assert_eq!(queue.next(Timestamp(now)).map(|(tenant, _)| tenant), Some(light));
}

#[test]
fn an_idle_tenant_does_not_accumulate_starts() {
    let (mut queue, now) = (Queue::new(1), Timestamp(0));
    let (busy, idle) = (TenantId(1), TenantId(2));
    let slot = queue.try_enter(idle, None, now).expect("it is free");
    queue.release(slot, now);
    for _ in 0..1_000 {
        let slot = queue.try_enter(busy, None, now).expect("it is free");
        queue.release(slot, now);
    }
    let mut slot = queue.try_enter(busy, None, now).expect("it is free");
    for tenant in [busy, idle] {
        (0..100).for_each(|_| _ = queue.wait(tenant, None, tenant, now));
    }
    let mut starts = 0;
    for _ in 0..100 {
        queue.release(slot, now);
        let (tenant, next) = queue.next(now).expect("many wait");
        starts += usize::from(tenant == idle);
        slot = next;
    }
    assert!((49..=51).contains(&starts), "{starts} of 100");
}

#[test]
fn slots_that_are_given_back_unused_delay_nobody() {
    let (mut queue, tenant, rated) = (Queue::new(1), TenantId(0), name("rated"));
    let limits = FunctionShare {
        max_activities: None,
        rate: Rate::per_second(0.1),
    };
    let share = Share {
        functions: BTreeMap::from([(rated.clone(), limits)]),
        ..Share::default()
    };
    let now = Timestamp(1_000_000);
    queue.set_share(tenant, share, now);
    for number in 0..1_000 {
        queue.wait(tenant, Some(&rated), number, now);
    }
    for number in 0..999 {
        let (waiter, slot) = queue.next(now).expect("nothing has run");
        assert_eq!(waiter, number);
        queue.take_back(slot, now);
    }
    let (_, slot) = queue.next(now).expect("nothing has run");
    queue.release(slot, now);
    queue.wait(tenant, Some(&rated), 1_000, now);
    assert_eq!(queue.next(now), None, "one has run");
    assert_eq!(
        queue.next(Timestamp(now.0 + 10_000)).map(|(waiter, _)| waiter),
        Some(1_000)
    );
}

#[test]
fn a_rate_is_as_fast_as_it_says_and_spread_evenly() {
    let (mut queue, tenant, function) = (Queue::<()>::new(100), TenantId(1), name("rated"));
    for per_second in [0.5, 5.0, 50.0, 1_000.0] {
        let rate = Rate::per_second(per_second).expect("a rate");
        let limits = FunctionShare {
            max_activities: None,
            rate: Some(rate),
        };
        let share = Share {
            functions: BTreeMap::from([(function.clone(), limits)]),
            ..Share::default()
        };
        queue.set_share(tenant, Share::default(), Timestamp(0));
        queue.set_share(tenant, share, Timestamp(0));
        let mut starts = 0;
        for ms in 0..10_000 {
            while let Some(slot) = queue.try_enter(tenant, Some(&function), Timestamp(ms)) {
                queue.release(slot, Timestamp(ms));
                starts += 1;
            }
        }
        let expected = per_second * 10.0;
        let at_once = (per_second / 10.0).max(1.0);
        let range = expected..=expected + at_once + 1.0;
        assert!(range.contains(&f64::from(starts)), "{starts} at {per_second} a second");
    }
    assert_eq!([0.0, -1.0, f64::NAN, 2e6].map(Rate::per_second), [None; 4]);
}
