//! Tests of the quotas of entities and tags.

use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: [&str; 2] = ["entities", "entities_orchestrations"];

async fn set(world: &World, quotas: Value) {
    let request = world.request(Method::PATCH, "/v1/tenants/default");
    let tenant = world.send(request.json(&json!({ "quotas": quotas }))).await.expect(200);
    for (name, value) in quotas.as_object().expect("an object") {
        assert_eq!(&tenant["quotas"][name], value, "{tenant:#}");
    }
}

async fn refused_quotas(world: &World, quotas: Value) {
    let request = world.request(Method::PATCH, "/v1/tenants/default");
    let request = request.json(&json!({ "quotas": quotas }));
    world.send(request).await.refused(400, "invalid-body");
}

#[tokio::test]
async fn an_entity_with_too_many_waiting_operations_refuses_clients_and_fails_calls_of_orchestrations() {
    let mut world = World::start(&MODULES).await;
    set(&world, json!({ "maxWaitingOperations": 3 })).await;
    let signal = async |world: &World, counter: &str| {
        let path = format!("/v1/entities/Counter/{counter}/signals/add?after=1h");
        world.post(&path, &json!(1)).await
    };
    for _ in 0..3 {
        signal(&world, "busy").await.expect(202);
    }
    // What waits is counted across a crash.
    for _ in 0..2 {
        let answer = signal(&world, "busy").await;
        assert_eq!(answer.header("retry-after"), "1");
        let refused = answer.refused(429, "quota-exceeded");
        assert_eq!(
            (&refused["quota"], &refused["limit"]),
            (&json!("maxWaitingOperations"), &json!(3))
        );
        let called = world.post("/v1/entities/Counter/busy/calls/get", &json!(null)).await;
        called.refused(429, "quota-exceeded");
        assert_eq!(world.get("/v1/entities/Counter/busy").await.expect(200)["waiting"], 3);
        world.crash().await;
    }
    signal(&world, "other").await.expect(202);

    // A call of an orchestration fails with a name, and its signals are kept: nobody would learn of a lost one.
    let calls = json!({ "counter": "busy", "signals": 2, "calls": 1 });
    let failure = world.run_failing("CountTogether", &calls).await;
    assert_eq!(failure["type"], "windlass.too-many-operations", "{failure:#}");
    until("the signals of the orchestration", async || {
        let entity = world.get("/v1/entities/Counter/busy").await.expect(200);
        (entity["version"] == 2 && entity["waiting"] == 3).then_some(())
    })
    .await;

    set(&world, json!({ "maxWaitingOperations": 4 })).await;
    let called = world.post("/v1/entities/Counter/busy/calls/get", &json!(null)).await;
    assert_eq!(called.expect(200)["output"], 2);
    set(&world, json!({ "maxWaitingOperations": null })).await;
    let calls = json!({ "counter": "busy", "signals": 0, "calls": 5 });
    assert_eq!(world.run("CountTogether", &calls).await, json!(7));
    for bad in [0, 10_001] {
        refused_quotas(&world, json!({ "maxWaitingOperations": bad })).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_critical_section_locks_no_more_entities_than_the_quota_allows() {
    let world = World::start(&MODULES).await;
    let deposit = world
        .post("/v1/entities/Account/ada/calls/deposit", &json!(1_000))
        .await;
    deposit.expect(200);
    let transfer = json!({ "from": "ada", "to": "bob", "cents": 100 });
    set(&world, json!({ "maxLockedEntities": 1 })).await;
    let failure = world.run_failing("BankTransfer", &transfer).await;
    assert_eq!(failure["type"], "windlass.limit", "{failure:#}");
    assert!(
        failure["message"]
            .as_str()
            .expect("a message")
            .contains("lock 1 entities"),
        "{failure:#}"
    );
    set(&world, json!({ "maxLockedEntities": 2 })).await;
    world.run("BankTransfer", &transfer).await;
    // A lower quota does not affect what is recorded; `stop` replays it.
    set(&world, json!({ "maxLockedEntities": 1 })).await;
    for bad in [0, 257] {
        refused_quotas(&world, json!({ "maxLockedEntities": bad })).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn an_instance_has_no_more_tags_than_the_quota_allows() {
    let world = World::start(&["price_v1"]).await;
    let started = async |count: u32| {
        let tags: String = (0..count).map(|number| format!("&tag=k{number}:v")).collect();
        let path = format!("/v1/orchestrations/PriceOrder?startAfter=1h{tags}");
        world.post(&path, &json!(1)).await
    };
    started(16).await.expect(202);
    let refused = started(17).await.refused(403, "quota-exceeded");
    assert_eq!((&refused["quota"], &refused["limit"]), (&json!("maxTags"), &json!(16)));
    let schedule = async |tags: Value| {
        let request = world.request(Method::PUT, "/v1/schedules/tagged");
        let schedule = json!({
            "orchestration": "PriceOrder", "input": 1, "interval": "1h", "tags": tags,
        });
        world.send(request.json(&schedule)).await
    };
    set(&world, json!({ "maxTags": 1 })).await;
    schedule(json!({ "a": "1", "b": "2" }))
        .await
        .refused(403, "quota-exceeded");
    schedule(json!({ "a": "1" })).await.expect(201);
    set(&world, json!({ "maxTags": 0 })).await;
    started(1).await.refused(403, "quota-exceeded");
    started(0).await.expect(202);
    set(&world, json!({ "maxTags": 64 })).await;
    started(64).await.expect(202);
    started(65).await.refused(400, "invalid-parameter");
    refused_quotas(&world, json!({ "maxTags": 65 })).await;
    world.stop().await;
}
