//! Slots and the gate under a runtime: giving up, waking, and rates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::engine::shares::{FunctionShare, Gate, Rate, Share, ShareUse, Slots};
use crate::engine::simulation::SimulatedClock;
use crate::model::{FunctionName, TenantId};

const ONE: TenantId = TenantId(1);
const TWO: TenantId = TenantId(2);

/// A clock that shows paused tokio time.
fn clock() -> Arc<SimulatedClock> {
    let clock = SimulatedClock::new();
    clock.boot();
    Arc::new(clock)
}

fn gate(clock: Arc<SimulatedClock>) -> Gate {
    Gate::new(1, 0, clock, &tokio::runtime::Handle::current())
}

fn function() -> FunctionName {
    "work".parse().expect("a name")
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_nothing_behind_with_or_without_a_slot() {
    let slots = Slots::new(1, clock());
    let held = slots.acquire(ONE, &function()).await;
    let name = function();
    let mut gives_up = Box::pin(slots.acquire(ONE, &name));
    let mut is_given = Box::pin(slots.acquire(ONE, &name));
    assert!((&mut gives_up).now_or_never().is_none());
    assert!((&mut is_given).now_or_never().is_none());
    let both_wait = ShareUse { running: 1, waiting: 2 };
    assert_eq!(slots.used_by(ONE), both_wait);
    drop(gives_up);
    // The slot goes to the other waiter, which drops it without polling.
    drop(held);
    assert_eq!(slots.used_by(ONE), ShareUse { running: 1, waiting: 0 });
    drop(is_given);
    assert_eq!(slots.used_by(ONE), ShareUse::default());
    assert!(slots.acquire(TWO, &function()).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_new_share_applies_to_existing_waiters() {
    let slots = Slots::new(3, clock());
    let none = Share {
        max_activities: Some(0),
        ..Share::default()
    };
    slots.set_share(ONE, none);
    let name = function();
    let mut waits = Box::pin(slots.acquire(ONE, &name));
    assert!((&mut waits).now_or_never().is_none());
    slots.set_share(ONE, Share::default());
    assert!(waits.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_limited_by_a_rate_is_woken_in_time() {
    let clock = clock();
    let slots = Slots::new(10, clock.clone());
    let stop = CancellationToken::new();
    let keeper = tokio::spawn(slots.clone().run(stop.clone()));
    let limits = FunctionShare {
        max_activities: None,
        rate: Rate::per_second(2.0),
    };
    let share = Share {
        functions: BTreeMap::from([(function(), limits)]),
        ..Share::default()
    };
    slots.set_share(ONE, share);
    for _ in 0..5 {
        slots.acquire(ONE, &function()).await;
    }
    let took = clock.uptime();
    assert!(
        (Duration::from_secs(2)..Duration::from_millis(2_050)).contains(&took),
        "{took:?}"
    );
    stop.cancel();
    keeper.await.expect("it ends");
}

/// Spawns tasks that enter the gate in this order, all at once. Returns the order in which they ran.
async fn order_at_the_gate(gate: &Gate, tenants: impl Iterator<Item = TenantId>) -> Vec<TenantId> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks = tenants.map(|tenant| {
        let (gate, order) = (gate.clone(), order.clone());
        tokio::spawn(async move {
            let work = async { order.lock().expect("no task panics").push(tenant) };
            gate.run(tenant, || 0, work).await;
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no task panics");
    }
    let order = order.lock().expect("no task panics");
    order.clone()
}

#[tokio::test(start_paused = true)]
async fn a_task_behind_a_thousand_tasks_of_another_tenant_does_not_wait_for_them() {
    let gate = gate(clock());
    // Both tenants have work, so the gate is closed.
    order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    let order = order_at_the_gate(&gate, std::iter::repeat_n(ONE, 1_000).chain([TWO])).await;
    let place = order.iter().position(|tenant| *tenant == TWO).expect("it ran");
    assert!(place <= 2, "{place} ran before it");
}

#[tokio::test(start_paused = true)]
async fn threads_are_shared_by_weight() {
    let gate = gate(clock());
    gate.set_weight(ONE, 300);
    order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    let both = std::iter::repeat_n(ONE, 400).chain(std::iter::repeat_n(TWO, 400));
    let order = order_at_the_gate(&gate, both).await;
    let of_one = order[..400].iter().filter(|tenant| **tenant == ONE).count();
    assert!((295..=305).contains(&of_one), "{of_one} of the first 400");
}

#[tokio::test(start_paused = true)]
async fn one_tenant_alone_passes_an_open_gate() {
    let gate = gate(clock());
    // A closed gate would let the first task continue only after the others have entered.
    let permits: Vec<_> = (0..3).map(|_| gate.enter(ONE).now_or_never()).collect();
    assert!(permits.iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn work_that_waits_is_woken_through_the_gate() {
    let clock = clock();
    let gate = gate(clock.clone());
    order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    let work = |tenant| {
        let gate = gate.clone();
        tokio::spawn(async move {
            let sleeps = async {
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            gate.run(tenant, || 0, sleeps).await;
        })
    };
    for work in [work(ONE), work(TWO)] {
        work.await.expect("no task panics");
    }
    assert!(clock.uptime() < Duration::from_millis(40), "both wait at the same time");
}

/// A tenant has a thousand tasks that are ready at the same moment; while the first one runs, a task of another tenant
/// enters. Returns how many permits the first tenant got before the newcomer.
async fn ahead_of_a_newcomer(is_open: bool, fuel: u64) -> usize {
    let gate = gate(clock());
    if !is_open {
        order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    }
    let permits = Arc::new(AtomicUsize::new(0));
    let newcomer = Arc::new(Mutex::new(None));
    let tasks = (0..1_000).map(|_| {
        let (gate, permits, newcomer) = (gate.clone(), permits.clone(), newcomer.clone());
        tokio::spawn(async move {
            let permit = gate.enter(ONE).await;
            if permits.fetch_add(1, Ordering::Relaxed) == 0 {
                let (gate, permits) = (gate.clone(), permits.clone());
                let comes = async move {
                    let _permit = gate.enter(TWO).await;
                    permits.load(Ordering::Relaxed)
                };
                *newcomer.lock().expect("no task panics") = Some(tokio::spawn(comes));
            }
            permit.used(fuel);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no task panics");
    }
    let newcomer = newcomer.lock().expect("no task panics").take();
    newcomer.expect("the first task ran").await.expect("no task panics")
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_at_an_open_gate_does_not_wait_for_all_ready_tasks() {
    let ahead = ahead_of_a_newcomer(true, 2_000_000_000).await;
    assert!(ahead <= 3, "{ahead} long turns");
    let ahead = ahead_of_a_newcomer(true, 900_000).await;
    assert!((10..=15).contains(&ahead), "{ahead} turns of a millisecond");
    let ahead = ahead_of_a_newcomer(true, 1_000).await;
    assert!((400..=600).contains(&ahead), "{ahead} turns of a moment");
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_at_a_closed_gate_does_not_wait_for_queued_tasks() {
    let ahead = ahead_of_a_newcomer(false, 1_000).await;
    assert!(ahead <= 3, "{ahead}");
}
