//! Tests of pools.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);
const C: TenantId = TenantId(3);

/// Takes as much as the tenant gets, in steps of one byte.
fn fill(pool: &Pool, tenant: TenantId) -> Held {
    let mut held = pool.try_take(tenant, 0).unwrap();
    while held.try_grow(1) {}
    held
}

#[test]
fn one_tenant_may_use_seven_ninths_and_two_get_seven_seventeenths_each() {
    let pool = Pool::new(3_400);
    let a = fill(&pool, A);
    assert_eq!(a.bytes(), 2_644);
    drop(a);
    let (mut a, mut b) = (pool.try_take(A, 1).unwrap(), pool.try_take(B, 1).unwrap());
    while a.try_grow(1) | b.try_grow(1) {}
    assert_eq!((a.bytes(), b.bytes()), (1_400, 1_400));
    let third = fill(&pool, C).bytes();
    assert_eq!(third, 212, "a sixteenth of the pool, from its last eighth");
}

#[test]
fn one_tenant_may_use_four_fifths_of_all_places_and_two_get_four_ninths_each() {
    let pool = Pool::of_places(900);
    assert_eq!(fill(&pool, A).bytes(), 720);
    let (mut a, mut b) = (pool.try_take(A, 1).unwrap(), pool.try_take(B, 1).unwrap());
    while a.try_grow(1) | b.try_grow(1) {}
    assert_eq!((a.bytes(), b.bytes()), (400, 400));
    assert_eq!(fill(&Pool::of_places(8), A).bytes(), 7);
}

#[test]
fn tenants_that_come_one_after_the_other_leave_an_eighth_to_those_that_hold_little() {
    let pool = Pool::new(1_600);
    let tenants = (1..=6).map(TenantId);
    let all: Vec<Held> = tenants.map(|tenant| fill(&pool, tenant)).collect();
    let bytes: Vec<u64> = all.iter().map(Held::bytes).collect();
    assert_eq!(bytes[..3], [1_244, 138, 100]);
    assert!(bytes[3..].iter().all(|bytes| *bytes > 0), "{bytes:?}");
    assert_eq!(pool.try_take(TenantId(9), 1).map(|held| held.bytes()), Some(1));
}

#[test]
fn of_those_that_hold_the_same_the_one_that_waits_for_longest_is_next() {
    let pool = Pool::new(100);
    let first = pool.take_beyond_limit(A, 100);
    let mut c = Box::pin(pool.take(C, 75));
    assert!(c.as_mut().now_or_never().is_none());
    let mut b = Box::pin(pool.take(B, 75));
    assert!(b.as_mut().now_or_never().is_none());
    drop(first);
    let mut a = Box::pin(pool.take(A, 75));
    assert!(a.as_mut().now_or_never().is_none());
    drop(c.now_or_never().expect("it waited for longest"));
    drop(b.now_or_never().expect("it waited for longer than the last"));
    assert!(a.now_or_never().is_some());
}

#[test]
fn who_holds_much_makes_room_for_those_that_wait() {
    let pool = Pool::new(100);
    let large = pool.take_beyond_limit(A, 120);
    assert!(!pool.is_large_and_wanted(&large), "nobody else wants them");
    let mut waiting = Box::pin(pool.take(B, 75));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(pool.is_large_and_wanted(&large));
    drop(large);
    assert!(waiting.now_or_never().is_some());
}

#[test]
fn a_weight_scales_the_share_once_bytes_were_given_back() {
    let pool = Pool::new(1_300);
    pool.set_weight(A, 200);
    let (mut a, mut b) = (pool.try_take(A, 1).unwrap(), pool.try_take(B, 1).unwrap());
    for _ in 0..100 {
        while a.try_grow(1) | b.try_grow(1) {}
        a.resize(a.bytes() - a.bytes() / 20);
        b.resize(b.bytes() - b.bytes() / 20);
    }
    while a.try_grow(1) | b.try_grow(1) {}
    let (a, b) = (a.bytes(), b.bytes());
    // The order of requests decides who gets the last bytes.
    assert!(a * 2 > b * 3 && a < b * 3 && a + b > 1_080, "{a} {b}");
}

#[test]
fn a_tenant_that_holds_nothing_gets_whatever_is_free() {
    let pool = Pool::new(100);
    let _a = pool.try_take(A, 80).unwrap();
    assert!(pool.try_take(A, 1).is_none());
    assert!(pool.try_take(B, 21).is_none());
    assert_eq!(pool.try_take(B, 20).unwrap().bytes(), 20);
}

#[test]
fn a_request_for_more_than_the_pool_is_granted_alone() {
    let pool = Pool::new(100);
    let small = pool.try_take(A, 1).unwrap();
    let mut large = Box::pin(pool.take(A, 1_000));
    assert!(large.as_mut().now_or_never().is_none());
    drop(small);
    let large = large.now_or_never().unwrap();
    assert!(pool.try_take(B, 20).is_none());
    drop(large);
    assert!(pool.try_take(B, 1).is_some());
}

#[test]
fn a_large_request_is_not_overtaken_for_ever() {
    let pool = Pool::new(100);
    let (first, _second) = (pool.try_take(A, 40).unwrap(), pool.try_take(A, 20).unwrap());
    let mut large = Box::pin(pool.take(B, 60));
    assert!(large.as_mut().now_or_never().is_none());
    assert!(
        pool.try_take(A, 1).is_none(),
        "it would take what the other one waits for"
    );
    assert!(pool.try_take(A, 0).is_some());
    let mut small = Box::pin(pool.take(A, 1));
    assert!(small.as_mut().now_or_never().is_none());
    drop(first);
    assert_eq!(large.now_or_never().unwrap().bytes(), 60);
    assert!(small.now_or_never().is_some());
}

#[test]
fn a_large_request_does_not_stop_tenants_that_hold_little() {
    let pool = Pool::new(3_200);
    let _first = pool.try_take(A, 2_000).unwrap();
    let mut large = Box::pin(pool.take(B, 2_000));
    assert!(large.as_mut().now_or_never().is_none());
    let little = pool.try_take(C, 60).unwrap();
    assert!(pool.try_take(C, 41).is_none(), "more than a hundred bytes");
    let mut further = Box::pin(pool.take(C, 41));
    let waits = further.as_mut().now_or_never().is_none();
    drop(little);
    assert!(waits && further.now_or_never().is_some());
    assert!(large.now_or_never().is_none());
}

#[test]
fn a_dropped_request_lets_others_pass() {
    let pool = Pool::new(100);
    let _a = pool.try_take(A, 60).unwrap();
    let mut large = Box::pin(pool.take(B, 60));
    assert!(large.as_mut().now_or_never().is_none());
    let mut small = Box::pin(pool.take(A, 1));
    assert!(small.as_mut().now_or_never().is_none());
    drop(large);
    assert!(small.now_or_never().is_some());
    assert_eq!(pool.usage().waiting, 0);
}

#[test]
fn a_tenant_gives_way_to_itself_or_the_largest_to_all() {
    let pool = Pool::new(100);
    let (_a, b) = (pool.try_take(A, 60).unwrap(), pool.try_take(B, 30).unwrap());
    assert_eq!(pool.gives_way(B, 10), B);
    assert_eq!(pool.gives_way(B, 20), A);
    assert_eq!(pool.gives_way(C, 20), A);
    assert!(!pool.must_give_way(A));
    let mut waiting = Box::pin(pool.take(C, 20));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(pool.must_give_way(A) && pool.must_give_way(C) && !pool.must_give_way(B));
    drop(b);
    assert!(waiting.now_or_never().is_some() && !pool.must_give_way(A));
}

#[test]
fn what_was_granted_would_be_granted_again_until_others_take_more() {
    let pool = Pool::new(100);
    let (a, b) = (pool.try_take(A, 38).unwrap(), pool.try_take(A, 38).unwrap());
    assert!(pool.would_grant_again(&a) && pool.would_grant_again(&b));
    let large = pool.take_beyond_limit(B, 30);
    assert!(!pool.would_grant_again(&a));
    drop((b, large));
    assert!(pool.would_grant_again(&a));
}

#[test]
fn a_holder_learns_that_others_exceed_the_limit_unless_its_tenant_is_small() {
    let pool = Pool::new(3_200);
    let (large, little) = (pool.try_take(A, 2_000).unwrap(), pool.try_take(B, 50).unwrap());
    let mut other = pool.try_take(C, 500).unwrap();
    assert!([&large, &little, &other].map(|held| pool.is_exceeded_by_others(held)) == [false; 3]);
    other.resize(4_000);
    assert!(pool.is_exceeded_by_others(&large));
    assert!(!pool.is_exceeded_by_others(&other), "it has grown itself");
    assert!(!pool.is_exceeded_by_others(&little));
    drop(other);
    assert!(!pool.is_exceeded_by_others(&large));
}

#[test]
fn existing_bytes_are_counted_beyond_the_limit() {
    let pool = Pool::new(100);
    let mut held = pool.take_beyond_limit(A, 150);
    assert!(pool.try_take(B, 20).is_none());
    held.resize(50);
    assert!(pool.try_take(B, 1).is_some());
    held.resize(60);
    let usage = pool.usage();
    assert_eq!((usage.used, usage.most, usage.refused), (60, 150, 1));
    assert_eq!(
        pool.usage_of(A),
        TenantUse {
            used: 60,
            most: 150,
            refused: 0,
            waiting: 0
        }
    );
}

#[test]
fn small_tenants_take_bytes_while_others_exceed_the_limit() {
    let pool = Pool::new(3_200);
    let _beyond = pool.take_beyond_limit(A, 10_000);
    let little = pool.try_take(B, 100).unwrap();
    assert!(pool.would_grant_again(&little));
    assert!(pool.try_take(B, 1).is_none(), "it would not be small");
    assert!(pool.try_take(A, 1).is_none());
    let others: Vec<_> = (10..13).map(|tenant| pool.try_take(TenantId(tenant), 100)).collect();
    assert!(others.iter().all(Option::is_some));
    assert!(pool.try_take(C, 1).is_none(), "an eighth is taken");
}

#[test]
fn a_forgotten_tenant_is_kept_while_it_holds_something() {
    let pool = Pool::new(100);
    let held = pool.try_take(A, 10).unwrap();
    pool.forget(A);
    assert_eq!(pool.usage().tenants.len(), 1);
    drop(held);
    assert_eq!(pool.usage().tenants, []);
}

#[derive(Debug, Clone)]
enum Step {
    Take(u32, u64),
    TryTake(u32, u64),
    GiveBack(usize),
    Cancel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..5_u32, 0..400_u64).prop_map(|(tenant, bytes)| Step::Take(tenant, bytes)),
        2 => (1..5_u32, 0..400_u64).prop_map(|(tenant, bytes)| Step::TryTake(tenant, bytes)),
        4 => any::<usize>().prop_map(Step::GiveBack),
        1 => any::<usize>().prop_map(Step::Cancel),
    ]
}

/// Moves granted requests to what is held.
fn poll(waiting: &mut Vec<BoxFuture<'_, Held>>, held: &mut Vec<Held>) {
    waiting.retain_mut(|request| match request.now_or_never() {
        Some(granted) => {
            held.push(granted);
            false
        }
        None => true,
    });
}

proptest! {
    #[test]
    fn no_byte_is_lost_and_nobody_waits_for_ever(steps in prop::collection::vec(step(), 0..120)) {
        let pool = Pool::new(1_000);
        let (mut waiting, mut held): (Vec<BoxFuture<'_, Held>>, Vec<Held>) = Default::default();
        for step in steps {
            match step {
                Step::Take(tenant, bytes) => waiting.push(Box::pin(pool.take(TenantId(tenant), bytes))),
                Step::TryTake(tenant, bytes) => held.extend(pool.try_take(TenantId(tenant), bytes)),
                Step::GiveBack(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Step::Cancel(which) if !waiting.is_empty() => drop(waiting.swap_remove(which % waiting.len())),
                Step::GiveBack(_) | Step::Cancel(_) => {}
            }
            poll(&mut waiting, &mut held);
            let usage = pool.usage();
            prop_assert_eq!(usage.used, held.iter().map(Held::bytes).sum::<u64>());
            prop_assert!(usage.used <= 1_000);
            prop_assert_eq!(usage.waiting, waiting.len());
        }
        while !held.is_empty() {
            held.pop();
            poll(&mut waiting, &mut held);
        }
        prop_assert!(waiting.is_empty(), "{} requests wait for an empty pool", waiting.len());
        prop_assert_eq!(pool.usage().used, 0);
    }
}
