//! Slots and the gate under a runtime: who gives up, who is woken when, and what time does.

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

/// One that shows paused tokio time.
fn clock() -> Arc<SimulatedClock> {
    let clock = SimulatedClock::new();
    clock.boot();
    Arc::new(clock)
}

fn gate(clock: Arc<SimulatedClock>) -> Gate {
    Gate::new(1, clock, &tokio::runtime::Handle::current())
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
            gate.run(tenant, || 0, work).await;
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
    let gate = gate(clock());
    // Both are there.
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
    // A closed gate would let the first of them go on only after the others have come.
    let passes: Vec<_> = (0..3).map(|_| gate.enter(ONE).now_or_never()).collect();
    assert!(passes.iter().all(Option::is_some));
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
        work.await.expect("nobody panics");
    }
    assert!(clock.uptime() < Duration::from_millis(40), "both wait at the same time");
}

/// How many passes a tenant's thousand tasks, all ready at the same moment, have had when somebody of another tenant gets one
/// who comes while the first of them runs.
async fn ahead_of_a_newcomer(is_open: bool, fuel: u64) -> usize {
    let gate = gate(clock());
    if !is_open {
        order_at_the_gate(&gate, [ONE, TWO].into_iter()).await;
    }
    let passes = Arc::new(AtomicUsize::new(0));
    let newcomer = Arc::new(Mutex::new(None));
    let tasks = (0..1_000).map(|_| {
        let (gate, passes, newcomer) = (gate.clone(), passes.clone(), newcomer.clone());
        tokio::spawn(async move {
            let pass = gate.enter(ONE).await;
            if passes.fetch_add(1, Ordering::Relaxed) == 0 {
                let (gate, passes) = (gate.clone(), passes.clone());
                let comes = async move {
                    let _pass = gate.enter(TWO).await;
                    passes.load(Ordering::Relaxed)
                };
                *newcomer.lock().expect("nobody panics") = Some(tokio::spawn(comes));
            }
            pass.used(fuel);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("nobody panics");
    }
    let newcomer = newcomer.lock().expect("nobody panics").take();
    newcomer.expect("somebody ran").await.expect("nobody panics")
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_while_a_tenant_is_alone_does_not_wait_for_all_that_is_ready() {
    let ahead = ahead_of_a_newcomer(true, 2_000_000_000).await;
    assert!(ahead <= 3, "{ahead} long turns");
    let ahead = ahead_of_a_newcomer(true, 900_000).await;
    assert!((10..=15).contains(&ahead), "{ahead} turns of a millisecond");
    let ahead = ahead_of_a_newcomer(true, 1_000).await;
    assert!((400..=600).contains(&ahead), "{ahead} turns of a moment");
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_while_others_have_lined_up_does_not_wait_for_them() {
    let ahead = ahead_of_a_newcomer(false, 1_000).await;
    assert!(ahead <= 3, "{ahead}");
}
