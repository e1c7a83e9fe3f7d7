//! Tests of a host that gets more work than it accepts.

use futures::future::join_all;
use harness::World;
use serde_json::json;

#[tokio::test]
async fn an_overloaded_host_refuses_more_work_and_finishes_what_it_accepted() {
    let args = &["--max-queued", "20", "--activity-slots", "2"];
    let world = World::start_with(&["bench", "bench_activities"], args).await;
    let (mut accepted, mut refused) = (Vec::new(), 0);
    // The faster the host, the more starts it accepts before it refuses one.
    for round in 0..100 {
        if refused > 0 {
            break;
        }
        let starts = (0..40).map(async |n| {
            let id = format!("{round}-{n}");
            let path = format!("/v1/orchestrations/BenchChain?instanceId={id}");
            (id, world.post(&path, &json!("x")).await)
        });
        for (id, answer) in join_all(starts).await {
            if answer.status == 202 {
                accepted.push(id);
            } else {
                assert_eq!(answer.header("retry-after"), "1");
                answer.refused(503, "overloaded");
                refused += 1;
            }
        }
    }
    assert!(
        refused > 0,
        "no start was refused: 4,000 starts, 40 at a time, with room for 20 calls"
    );
    for id in &accepted {
        assert_eq!(world.output_of(id).await, json!("x"), "{id}");
    }
    // The queue is short again, so the host accepts new work.
    assert_eq!(world.run("BenchChain", &json!("later")).await, "later");
    world.stop().await;
}

#[tokio::test]
async fn starts_and_events_do_not_wait_for_a_slow_turn() {
    let endless = &["--turn-timeout", "10m", "--turn-fuel", "1000000000000000"];
    let mut world = World::start_with(&["hostile_orchestrations"], endless).await;
    world.begin("HostileTurnLoop", "slow", &json!(null)).await;
    world.raise("slow", "go", json!(1)).await;
    world.raise("slow", "go", json!(2)).await;
    assert_eq!(world.status("slow").await["runtimeStatus"], "Pending");
    world.kill().await;
    world.restart_with(&["--turn-timeout", "1s"]).await;
    world.failure_of("slow").await;
    world.stop().await;
}
