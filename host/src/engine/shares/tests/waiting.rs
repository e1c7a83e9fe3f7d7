//! Slots and the gate under a runtime: who gives up, who is woken when, and what time does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::engine::shares::{FunctionShare, Gate, Rate, Share, ShareUse, Slots};
use crate::engine::simulation::SimulatedClock;
use crate::model::{FunctionName, TenantId};

const ONE: TenantId = TenantId(1);
const TWO: TenantId = TenantId(2);

/// One that shows paused tokio time.
fn clock() -> Arc<SimulatedClock> {
    let clock = SimulatedClock::new();
    clock.boot();
    Arc::new(clock)
}

fn function() -> FunctionName {
    "work".parse().expect("a name")
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_nothing_behind_whether_a_slot_was_given_or_not() {
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
    // The slot goes to the other, who drops it without having looked.
    drop(held);
    assert_eq!(slots.used_by(ONE), ShareUse { running: 1, waiting: 0 });
    drop(is_given);
    assert_eq!(slots.used_by(ONE), ShareUse::default());
    assert!(slots.acquire(TWO, &function()).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_new_share_counts_for_those_who_wait_already() {
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
async fn who_waits_for_a_rate_is_woken_by_time() {
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

/// Tasks that come to the gate in that order, all at once; who ran in which order.
async fn order_at_the_gate(gate: &Gate, tenants: impl Iterator<Item = TenantId>) -> Vec<TenantId> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks = tenants.map(|tenant| {
        let (gate, order) = (gate.clone(), order.clone());
        tokio::spawn(async move {
            let work = async { order.lock().expect("nobody panics").push(tenant) };
            gate.run(tenant, work).await;
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("nobody panics");
    }
    let order = order.lock().expect("nobody panics");
    order.clone()
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_to_the_gate_after_a_thousand_others_of_one_tenant_does_not_wait_for_them() {
    let gate = Gate::new(1, clock());
    // Both are there.
    order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    let order = order_at_the_gate(&gate, std::iter::repeat_n(ONE, 1_000).chain([TWO])).await;
    let place = order.iter().position(|tenant| *tenant == TWO).expect("it ran");
    assert!(place <= 2, "{place} ran before it");
}

#[tokio::test(start_paused = true)]
async fn threads_are_shared_by_weight() {
    let gate = Gate::new(1, clock());
    gate.set_weight(ONE, 300);
    order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    let both = std::iter::repeat_n(ONE, 400).chain(std::iter::repeat_n(TWO, 400));
    let order = order_at_the_gate(&gate, both).await;
    let of_one = order[..400].iter().filter(|tenant| **tenant == ONE).count();
    assert!((295..=305).contains(&of_one), "{of_one} of the first 400");
}

#[tokio::test(start_paused = true)]
async fn one_tenant_alone_passes_an_open_gate() {
    let gate = Gate::new(1, clock());
    // A closed gate would let the first of them go on only after the others have come.
    let passes: Vec<_> = (0..3).map(|_| gate.enter(ONE).now_or_never()).collect();
    assert!(passes.iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn work_that_waits_is_woken_through_the_gate() {
    let clock = clock();
    let gate = Gate::new(1, clock.clone());
    order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    let work = |tenant| {
        gate.run(tenant, async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    futures::join!(work(ONE), work(TWO));
    assert!(clock.uptime() < Duration::from_millis(40), "both wait at the same time");
}
