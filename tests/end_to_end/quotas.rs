//! Tests of quotas, of tenants that are held, and of usage.

use harness::{World, module, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::tenants::{Tenant, with_keys};

#[tokio::test]
async fn a_rejection_names_the_quota_and_other_tenants_are_unaffected() {
    let world = with_keys(&[]).await;
    let quotas = json!({ "maxModules": 2, "maxPayload": "1KiB", "maxTurns": 4 });
    let acme = Tenant::create(&world, "acme", quotas).await;
    let other = Tenant::create(&world, "other", json!({})).await;

    let refused = acme
        .upload("patterns", module("patterns"))
        .await
        .refused(403, "quota-exceeded");
    assert_eq!(
        (&refused["quota"], &refused["limit"]),
        (&json!("maxModules"), &json!(2))
    );
    other.upload("patterns", module("patterns")).await.expect(201);
    // A new version of an existing module does not count as another module.
    acme.upload("bench", module("bench")).await.expect(200);

    let long = json!("x".repeat(2_000));
    let refused = acme
        .start("BenchChain", "long", &long)
        .await
        .refused(413, "quota-exceeded");
    assert_eq!(refused["quota"], "maxPayload");
    other.start("BenchChain", "long", &long).await.expect(200);

    let failed = acme.start("BenchChain", "five-steps", &json!("x")).await.expect(200);
    assert_eq!(failed["runtimeStatus"], "Failed", "{failed:#}");

    let set = async |quotas: Value| {
        let body = json!({ "quotas": quotas });
        let request = world.request(Method::PATCH, "/v1/tenants/acme").json(&body);
        world.send(request).await
    };
    let tenant = set(json!({ "maxTurns": null, "startsPerSecond": 1 })).await.expect(200);
    assert_eq!(
        tenant["quotas"],
        json!({ "maxModules": 2, "maxPayload": "1KiB", "startsPerSecond": 1 })
    );
    assert_eq!(tenant["use"]["modules"], 2, "{tenant:#}");
    acme.start("BenchChain", "first", &json!("x")).await.expect(200);
    let mut refusals = 0;
    for attempt in 0..20 {
        let answer = acme.start("BenchChain", &format!("next-{attempt}"), &json!("x")).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), "1");
            assert_eq!(answer.refused(429, "quota-exceeded")["quota"], "startsPerSecond");
            refusals += 1;
        }
    }
    assert!(refusals > 0);
    for number in 0..20 {
        other
            .start("BenchChain", &format!("other-{number}"), &json!("x"))
            .await
            .expect(200);
    }
    set(json!({ "startsPerSecond": null, "eventsPerSecond": 1 }))
        .await
        .expect(200);
    let waiting = "/v1/orchestrations/BenchCollect?instanceId=waiting";
    let request = world.request_as(Some(&acme.client), Method::POST, waiting);
    world.send(request).await.expect(202);
    let refused = until("an event that the quota refuses", async || {
        let event = "/v1/instances/waiting/events/nobody-waits-for-it";
        let answer = world
            .send(world.request_as(Some(&acme.client), Method::POST, event))
            .await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.refused(429, "quota-exceeded")["quota"], "eventsPerSecond");
    set(json!({ "eventsPerSecond": null, "fuelPerMinute": 1_000 }))
        .await
        .expect(200);
    let thirsty = "/v1/orchestrations/BenchChain?instanceId=thirsty";
    let request = world.request_as(Some(&acme.client), Method::POST, thirsty);
    world.send(request.json(&json!("x"))).await.expect(202);
    let mut number = 0;
    until("a start that the fuel quota refuses", async || {
        number += 1;
        let path = format!("/v1/orchestrations/BenchChain?instanceId=also-{number}");
        let request = world.request_as(Some(&acme.client), Method::POST, &path);
        let answer = world.send(request.json(&json!("x"))).await;
        (answer.status == 429 && answer.body["quota"] == "fuelPerMinute").then_some(())
    })
    .await;
    set(json!({ "fuelPerMinute": null })).await.expect(200);
    let resumed = acme
        .call(Method::GET, "/v1/instances/thirsty?wait=30")
        .await
        .expect(200);
    assert_eq!(resumed["output"], "x", "{resumed:#}");
    for bad in [
        json!({ "activities": { "BenchEcho": { "maxActivities": 0 } } }),
        json!({ "allowedHosts": { "*": ["no rule at all"] } }),
        json!({ "moduleSigners": ["00"] }),
    ] {
        set(bad).await.refused(400, "invalid-body");
    }
    set(json!({ "nonsense": 1 })).await.refused(400, "invalid-body");
    set(json!({ "maxTurns": 0 })).await.refused(400, "invalid-body");
    world.stop().await;
}

#[tokio::test]
async fn the_instances_of_a_disabled_tenant_wait_and_then_continue() {
    let mut world = with_keys(&[]).await;
    let (client, operator, other) = {
        let acme = Tenant::create(&world, "acme", json!({})).await;
        let other = Tenant::create(&world, "other", json!({})).await;
        (acme.client, acme.operator, other.client)
    };
    let begin = async |world: &World, function: &str, id: &str, input: Value| {
        let path = format!("/v1/orchestrations/{function}?instanceId={id}");
        let request = world.request_as(Some(&client), Method::POST, &path);
        world.send(request.json(&input)).await.expect(202);
    };
    let due = std::time::SystemTime::now() + std::time::Duration::from_millis(1_500);
    let due = due
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time after 1970")
        .as_millis();
    let due = u64::try_from(due).expect("a time after 1970");
    begin(&world, "BenchSleeper", "sleeper", json!(due)).await;
    begin(&world, "BenchChain", "chain", json!("x")).await;
    assert_eq!(world.cli(&["tenant", "disable", "acme"]).await.code, 0);
    let tenant = world.get("/v1/tenants/acme").await.expect(200);
    assert_eq!(tenant["held"], "disabled", "{tenant:#}");
    // An administrator may still query the instances of a disabled tenant.
    let look = async |world: &World, id: &str| {
        let request = world.request(Method::GET, &format!("/v1/instances/{id}"));
        world.send(request.header("windlass-tenant", "acme")).await.body
    };
    // When an instance of another tenant wakes that sleeps a little longer, the timer of the first one is due.
    let path = "/v1/orchestrations/BenchSleeper?instanceId=later&wait=30";
    let request = world.request_as(Some(&other), Method::POST, path);
    let later = world.send(request.json(&json!(due + 200))).await.expect(200);
    assert_eq!(later["runtimeStatus"], "Completed", "{later:#}");
    let asleep = look(&world, "sleeper").await;
    assert_eq!(
        asleep["runtimeStatus"], "Running",
        "an instance of a disabled tenant ran a turn: {asleep:#}"
    );
    assert_eq!(asleep["held"], "disabled");
    let shown = world.cli(&["--tenant", "acme", "status", "sleeper"]).await;
    assert!(shown.stdout.contains("Held       disabled"), "{shown:?}");
    world.crash().await;
    assert_eq!(look(&world, "sleeper").await["runtimeStatus"], "Running");
    assert_eq!(world.cli(&["tenant", "enable", "acme"]).await.code, 0);
    for id in ["sleeper", "chain"] {
        let path = format!("/v1/instances/{id}?wait=30");
        let request = world.request_as(Some(&operator), Method::GET, &path);
        let ended = world.send(request).await.expect(200);
        assert_eq!(ended["runtimeStatus"], "Completed", "{ended:#}");
        assert!(ended.get("held").is_none(), "{ended:#}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_tenant_that_stores_too_much_is_refused_and_then_held_until_it_purges() {
    let world = with_keys(&[]).await;
    let acme = Tenant::create(&world, "acme", json!({ "maxHistory": "60KiB" })).await;
    let stored_bytes = |tenant: &Value| tenant["use"]["storedBytes"].as_u64().expect("a number");
    let tenant = world.get("/v1/tenants/acme").await.expect(200);
    let modules = stored_bytes(&tenant);
    assert!(modules > 100 << 10, "compiled code counts: {tenant:#}");
    let set = async |bytes: u64| {
        let request = world.request(Method::PATCH, "/v1/tenants/acme");
        let body = json!({ "quotas": { "maxStoredBytes": (modules + bytes).to_string() } });
        world.send(request.json(&body)).await.expect(200)
    };
    set(100 << 10).await;
    let refused = acme
        .upload("another", module("patterns"))
        .await
        .refused(403, "quota-exceeded");
    assert_eq!(refused["quota"], "maxStoredBytes", "{refused:#}");
    let other = Tenant::create(&world, "other", json!({})).await;
    let begin = async |id: &str| {
        let path = format!("/v1/orchestrations/BenchCollect?instanceId={id}");
        let request = world.request_as(Some(&acme.client), Method::POST, &path);
        world.send(request).await
    };
    let raise = async |id: &str| {
        let path = format!("/v1/instances/{id}/events/nobody-waits-for-it");
        let request = world.request_as(Some(&acme.client), Method::POST, &path);
        world.send(request.json(&json!("x".repeat(20 << 10)))).await
    };
    let control = async |id: &str, what: &str| {
        let path = format!("/v1/instances/{id}/{what}");
        acme.call(Method::POST, &path).await.expect(202);
    };
    begin("asleep").await.expect(202);
    control("asleep", "suspend").await;
    until("the suspension", async || {
        let instance = acme.call(Method::GET, "/v1/instances/asleep").await.body;
        (instance["runtimeStatus"] == "Suspended").then_some(())
    })
    .await;
    for _ in 0..3 {
        raise("asleep").await.expect(202);
    }
    let refused = raise("asleep").await.refused(403, "quota-exceeded");
    assert_eq!(refused["quota"], "maxHistory");
    begin("second").await.expect(202);
    control("second", "suspend").await;
    let refused = until("a refused event", async || {
        let answer = raise("second").await;
        (answer.status != 202).then_some(answer)
    })
    .await
    .refused(403, "quota-exceeded");
    assert_eq!(refused["quota"], "maxStoredBytes", "{refused:#}");
    assert_eq!(
        begin("third").await.refused(403, "quota-exceeded")["quota"],
        "maxStoredBytes"
    );
    let tenant = world.get("/v1/tenants/acme").await.expect(200);
    assert!(stored_bytes(&tenant) > modules + (100 << 10), "{tenant:#}");
    other.start("BenchChain", "other", &json!("x")).await.expect(200);

    // The tenant is held at a tenth more than its quota.
    let request = world.request(Method::PATCH, "/v1/tenants/acme");
    let tight = json!({ "quotas": { "maxStoredBytes": ((modules + (55 << 10)) * 10 / 11).to_string() } });
    let tenant = world.send(request.json(&tight)).await.expect(200);
    assert_eq!(tenant["held"], "maxStoredBytes");
    control("asleep", "terminate").await;
    control("second", "resume").await;
    until("termination while the tenant is held", async || {
        let instance = acme.call(Method::GET, "/v1/instances/asleep").await.body;
        (instance["runtimeStatus"] == "Terminated").then_some(())
    })
    .await;
    acme.call(Method::DELETE, "/v1/instances/asleep").await.expect(200);
    let tenant = until("the end of the hold", async || {
        let tenant = world.get("/v1/tenants/acme").await.expect(200);
        tenant.get("held").is_none().then_some(tenant)
    })
    .await;
    assert!(stored_bytes(&tenant) < modules + (55 << 10), "{tenant:#}");
    set(100 << 10).await;
    let request = world.request_as(Some(&acme.client), Method::POST, "/v1/instances/second/events/item");
    world.send(request.json(&json!(-1))).await.expect(202);
    until("the second instance to complete despite its other events", async || {
        let instance = acme.call(Method::GET, "/v1/instances/second").await.body;
        (instance["runtimeStatus"] == "Completed").then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn usage_is_counted_exactly_and_survives_a_crash() {
    let mut world = with_keys(&[]).await;
    let (used, operator) = {
        let acme = Tenant::create(&world, "acme", json!({})).await;
        for number in 0..10 {
            acme.start("BenchChain", &format!("one-{number}"), &json!("12345678"))
                .await
                .expect(200);
        }
        let used = acme.call(Method::GET, "/v1/usage").await.expect(200);
        (used, acme.operator)
    };
    let function = |name: &str| {
        let functions = used["functions"].as_array().expect("functions");
        let found = functions.iter().find(|function| function["function"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {used:#}")).clone()
    };
    let (chain, echo) = (function("BenchChain"), function("BenchEcho"));
    assert_eq!(
        (&chain["kind"], &chain["count"]),
        (&json!("orchestration"), &json!(60)),
        "{chain:#}"
    );
    assert_eq!(
        (&echo["kind"], &echo["count"], &echo["failed"]),
        (&json!("activity"), &json!(50), &json!(0))
    );
    for amount in [&chain, &echo] {
        assert!(amount["fuel"].as_u64() > Some(1_000), "{amount:#}");
    }
    // The payload has ten bytes with its quotes; each of the 50 calls has it as input and as output.
    assert_eq!((&echo["bytesIn"], &echo["bytesOut"]), (&json!(500), &json!(500)));
    world.crash().await;
    let usage = async |key: Option<&str>, query: &str| {
        let request = world.request_as(key, Method::GET, &format!("/v1/usage{query}"));
        world.send(request).await.expect(200)
    };
    // The memory that the tenant uses now is not recorded.
    let recorded = |mut usage: Value| {
        assert!(usage.as_object_mut().and_then(|usage| usage.remove("memory")).is_some());
        usage
    };
    let used = recorded(used);
    assert_eq!(recorded(usage(Some(&operator), "").await), used);
    assert_eq!(
        recorded(usage(Some(&operator), "?from=2020-01-01T00:00:00Z").await),
        used
    );
    let past = usage(Some(&operator), "?to=2020-01-01T00:00:00Z").await;
    assert_eq!(past["total"]["count"], 0);
    assert_eq!(
        usage(world.key(), "").await["total"]["count"],
        0,
        "usage of another tenant"
    );
    world.stop().await;
}
