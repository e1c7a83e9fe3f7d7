//! Measures how fast commits are written and how much space they take. Ignored by default; run it by name.

use std::time::Instant;

use super::*;
use crate::model::Decision;

/// The number of concurrent instances.
const IN_FLIGHT: usize = 64;

/// Runs one instance that calls five activities in sequence, in six turns.
async fn chain(store: Store, name: String) {
    let StartOutcome::Created(number) = store.start(instance(&name), None).await.unwrap() else {
        panic!("{name} exists")
    };
    let inbox = store.load(number).await.unwrap().unwrap().inbox;
    store.commit(first_turn(number, inbox)).await.unwrap();
    for n in 2..=5 {
        let call = Decision::CallActivity {
            task: TaskId(n),
            function: "UpdateInventoryActivity".parse().unwrap(),
            input: payload(r#"{"order":7,"items":[{"sku":"A-17","count":2}]}"#),
            options: crate::model::ActivityOptions::default(),
            module: ModuleNumber(1),
        };
        let result = Ok(payload(r#"{"ok":true,"reference":"PAY-000017"}"#));
        store
            .commit(turn(number, n, vec![task_ended(n - 1, result)], vec![call]))
            .await
            .unwrap();
    }
    store.commit(last_turn(number, 6)).await.unwrap();
}

/// The CPU time of this process so far, from `/proc`, in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

async fn measure(synchronous: Synchronous, in_flight: usize, chains: usize) {
    let test = TestStore::open(Place::folder(), |options| options.synchronous = synchronous).await;
    test.put_module(put_module("orders", 1, &["Order"])).await.unwrap();
    let (before, cpu_before) = (test.stats(), cpu_seconds());
    let began = Instant::now();
    let workers = (0..in_flight).map(|worker| {
        let store = test.store.clone();
        tokio::spawn(async move {
            for n in 0..chains / in_flight {
                chain(store.clone(), format!("order-{worker}-{n}")).await;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    let (stats, cpu) = (test.stats(), cpu_seconds() - cpu_before);
    let operations = (stats.operations - before.operations) as f64;
    let batches = (stats.batches - before.batches) as f64;
    let folder = test.place.path().join("windlass.db");
    let test = test.reopen().await;
    let bytes = std::fs::metadata(folder).unwrap().len() as f64;
    println!(
        "{synchronous:?}, {in_flight} in flight: {:.0} operations/s, {:.1} a batch, {:.2} ms a batch, \
         {:.0} µs of CPU an operation, {:.0} bytes a chain",
        operations / seconds,
        operations / batches,
        seconds * 1000.0 / batches,
        cpu * 1e6 / operations,
        bytes / chains as f64
    );
    test.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn chains_of_five_activities() {
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        for in_flight in [1, IN_FLIGHT, 8 * IN_FLIGHT] {
            measure(synchronous, in_flight, if in_flight == 1 { 300 } else { 10_240 }).await;
        }
    }
}
