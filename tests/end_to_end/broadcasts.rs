//! Broadcasts: each instance gets the event exactly once, also if the host is killed in between.

use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const INSTANCES: usize = 1_000;

async fn broadcast(world: &World, query: &str, key: &str, payload: &Value) -> harness::Answer {
    let path = format!("/v1/broadcasts?{query}");
    let request = world.request(Method::POST, &path).header("idempotency-key", key);
    world.send(request.json(payload)).await
}

/// Sets how many events the tenant may raise per second.
async fn limit(world: &World, per_second: Option<u32>) {
    let body = json!({ "quotas": { "eventsPerSecond": per_second } });
    let request = world.request(Method::PATCH, "/v1/tenants/default").json(&body);
    world.send(request).await.expect(200);
}

#[tokio::test]
async fn a_thousand_instances_get_an_event_exactly_once_although_the_host_is_killed() {
    let mut world = World::start(&["bench", "bench_activities"]).await;
    for number in 0..INSTANCES {
        let group = if number == 0 { "none" } else { "all" };
        let path = format!("/v1/orchestrations/BenchCollect?instanceId=c{number}&tag=group:{group}");
        world.post(&path, &Value::Null).await.expect(202);
    }
    let counted = world
        .post("/v1/broadcasts?event=item&tag=group:all&dryRun=true", &Value::Null)
        .await;
    assert_eq!(counted.expect(200), json!({ "instances": INSTANCES - 1 }));

    // So slowly that the host is killed in the middle.
    limit(&world, Some(200)).await;
    let accepted = broadcast(&world, "event=item&tag=group:all", "first", &json!(1)).await;
    assert_eq!(accepted.expect(202)["id"], "first");
    // Kills the host once some instances have it, and others do not.
    until("the broadcast has begun", async || {
        let progress = world.get("/v1/broadcasts/first").await.expect(200);
        (progress["raised"].as_u64() > Some(0)).then_some(())
    })
    .await;
    world.crash().await;
    let progress = world.get("/v1/broadcasts/first").await.expect(200);
    assert_eq!(progress["status"], "Running", "{progress:#}");
    limit(&world, None).await;
    // The client does not know whether the request was accepted, and repeats it.
    broadcast(&world, "tag=group:all&event=item", "first", &json!(1))
        .await
        .expect(202);
    let reused = broadcast(&world, "tag=group:all&event=item", "first", &json!(2)).await;
    reused.refused(422, "idempotency-key-reused");
    let shown = world
        .cli(&["broadcast", "show", "first", "--wait", "--json"])
        .await
        .json();
    let progress = (&shown["matched"], &shown["raised"], &shown["skipped"], &shown["status"]);
    assert_eq!(
        progress,
        (
            &json!(INSTANCES - 1),
            &json!(INSTANCES - 1),
            &json!(0),
            &json!("Finished")
        )
    );

    // Ends the collectors, the first with another broadcast.
    let ended = world
        .cli(&["broadcast", "raise", "ITEM", "--payload=-1", "--all", "--wait"])
        .await;
    assert!(
        ended.code == 0 && ended.stdout.contains("raised for 1000 instances"),
        "{ended:?}"
    );
    for number in 0..INSTANCES {
        let items = if number == 0 { json!([]) } else { json!([1]) };
        assert_eq!(world.output_of(&format!("c{number}")).await, items, "c{number}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_broadcast_raises_no_more_and_broadcasts_are_listed() {
    let mut world = World::start(&["bench", "bench_activities"]).await;
    for number in 0..100 {
        let path = format!("/v1/orchestrations/BenchCollect?instanceId=c{number}");
        world.post(&path, &Value::Null).await.expect(202);
    }
    limit(&world, Some(10)).await;
    broadcast(&world, "event=item&all=true", "b1", &json!(1))
        .await
        .expect(202);
    broadcast(&world, "event=item&all=true", "b2", &json!(2))
        .await
        .expect(202);
    until("the broadcast has begun", async || {
        let progress = world.get("/v1/broadcasts/b1").await.expect(200);
        (progress["raised"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let cancelled = world.tell("/v1/broadcasts/b1/cancel").await.expect(200);
    assert_eq!(cancelled["status"], "Cancelled", "{cancelled:#}");
    let raised = cancelled["raised"].as_u64().expect("a number");
    assert!(raised < 100, "{cancelled:#}");
    world.crash().await;
    // Again: it has no further effect.
    let again = world.tell("/v1/broadcasts/b1/cancel").await.expect(200);
    assert_eq!(again, cancelled);
    world
        .tell("/v1/broadcasts/nothing/cancel")
        .await
        .refused(404, "unknown-broadcast");
    // The next one goes on.
    limit(&world, None).await;
    let shown = world.cli(&["broadcast", "show", "b2", "--wait", "--json"]).await.json();
    assert_eq!(shown["raised"], 100, "{shown:#}");
    world
        .tell("/v1/broadcasts/b2/cancel")
        .await
        .refused(409, "broadcast-ended");
    let page = world.get("/v1/broadcasts?limit=1").await.expect(200);
    assert_eq!(page["broadcasts"], json!([cancelled]));
    let cursor = page["nextCursor"].as_str().expect("there is another one");
    let page = world
        .get(&format!("/v1/broadcasts?limit=1&cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(
        (&page["broadcasts"][0]["id"], &page["nextCursor"]),
        (&json!("b2"), &Value::Null)
    );
    let listed = world.cli(&["broadcast", "list"]).await;
    assert!(
        listed.stdout.contains("Cancelled") && listed.stdout.contains("Finished"),
        "{listed:?}"
    );
    world
        .cli(&["broadcast", "raise", "item", "--payload=-1", "--all", "--wait"])
        .await;
    let mut got = 0;
    for number in 0..100 {
        let items = world.output_of(&format!("c{number}")).await;
        match items.as_array().map(Vec::len) {
            Some(1) => assert_eq!(items, json!([2])),
            Some(2) => got += 1,
            _ => panic!("c{number}: {items}"),
        }
    }
    assert_eq!(got, raised, "what was raised stays raised");
    let metrics = world.metrics().await;
    assert_eq!(metrics.number("windlass_broadcasts_total{state=\"unreadable\"}"), 0.0);
    assert!(metrics.number("windlass_broadcast_events_total{outcome=\"raised\"}") > 100.0);
    world.stop().await;
}
