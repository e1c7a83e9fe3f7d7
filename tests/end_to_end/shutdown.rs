//! Tests of SIGTERM: the host exits quickly and cleanly, and continues its instances after a restart.

use std::time::Duration;

use harness::{Load, World};
use serde_json::json;

#[tokio::test]
async fn a_graceful_shutdown_keeps_everything_and_answers_waiting_requests() {
    let mut world = World::start(&["patterns", "patterns_activities"]).await;
    let input = json!({ "below": 1000, "pauseSeconds": 2 });
    world.begin("LongWorkflow", "primes", &input).await;
    world
        .once("primes", "the first step", |instance| {
            instance["customStatus"]["step"] == 1
        })
        .await;
    let (waiting, ended) = {
        let wait = world.try_get("/v1/instances/primes?wait=60s");
        let shut_down = async {
            harness::until("the request to wait", async || {
                (world.metrics().await.number("windlass_http_waits") == 1.0).then_some(())
            })
            .await;
            world.ask_to_end();
        };
        let (waiting, ()) = async { tokio::join!(wait, shut_down) }.await;
        (waiting, world.ended().await)
    };
    assert!(ended.success(), "{ended}");
    // The waiting request is answered at once instead of after a minute.
    assert_eq!(waiting.map(|answer| answer.status), Some(202));

    world.restart().await;
    assert_eq!(world.output_of("primes").await["primesSoFar"], 168);
    world.stop().await;
}

#[tokio::test]
async fn a_running_activity_does_not_delay_the_shutdown_and_runs_again() {
    let args = &["--shutdown-grace", "500ms"];
    let mut world = World::start_with(&["patterns", "patterns_activities"], args).await;
    world.backend.delay("customers", 50_000).await;
    let input = world.input(json!({ "customerId": "cust-ada" }));
    world.begin("ParallelExecution", "ada", &input).await;
    harness::until("all three calls", async || {
        (world.backend.calls("GET customers").await == 3).then_some(())
    })
    .await;
    world.ask_to_end();
    assert!(world.ended().await.success());
    world.backend.behave("customers").await;
    world.restart().await;
    assert!(world.output_of("ada").await["profile"].is_object());
    world.stop().await;
}

#[tokio::test]
async fn a_shutdown_under_load_is_clean_and_loses_nothing() {
    let args = &["--shutdown-grace", "5s"];
    let mut world = World::start_with(&["bench", "bench_activities"], args).await;
    let load = Load::new(1);
    for _ in 0..3 {
        let url = world.url().to_owned();
        let end = async {
            let before = load.accepted_starts();
            harness::until("the load to begin", async || {
                (load.accepted_starts() > before).then_some(())
            })
            .await;
            tokio::time::sleep(load.moment(Duration::from_millis(300))).await;
            world.ask_to_end();
            world.ended().await
        };
        let ((), status) = tokio::join!(load.run(&url), end);
        assert!(status.success(), "{status}");
        world.restart().await;
    }
    load.settle(&world).await;
    world.stop().await;
}

#[tokio::test]
async fn a_data_folder_serves_one_host_at_a_time() {
    let world = World::start(&[]).await;
    let data = world.data().display().to_string();
    let second = world.cli(&["serve", "--listen", "127.0.0.1:0", "--data", &data]).await;
    assert_ne!(second.code, 0, "{second:?}");
    assert!(!second.stderr.is_empty());
    let check = world.cli(&["check", "--data", &data]).await;
    assert_ne!(check.code, 0, "{check:?}");
    world.is_healthy().await;
    world.stop().await;
}
