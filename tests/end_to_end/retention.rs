//! Retention: exactly what the rules do not keep is deleted, also if the host is killed in between.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: &[&str] = &["bench", "bench_activities", "patterns", "patterns_activities"];

/// Sets a rule.
async fn set(world: &World, scope: &str, rule: Value) -> harness::Answer {
    let path = format!("/v1/retention/rule?{scope}");
    world.send(world.request(Method::PUT, &path).json(&rule)).await
}

/// All instances that match a query, newest first.
async fn list(world: &World, query: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world
            .get(&format!("/v1/instances?limit=1000&{query}{cursor}"))
            .await
            .expect(200);
        all.extend(page["instances"].as_array().expect("a list").iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn id(instance: &Value) -> String {
    instance["instanceId"].as_str().expect("an id").to_owned()
}

async fn ids(world: &World, query: &str) -> BTreeSet<String> {
    list(world, query).await.iter().map(id).collect()
}

/// How many instances were deleted since the host started.
async fn deleted(world: &World) -> u64 {
    let retention = world.get("/v1/retention").await.expect(200);
    retention["instancesDeleted"].as_u64().expect("a number")
}

#[tokio::test]
async fn exactly_the_surplus_is_deleted_although_the_host_is_killed_in_the_middle() {
    const INSTANCES: usize = 4_000;
    const KEPT: usize = 500;
    let mut world = World::start(MODULES).await;
    // Each wakes at a time that has passed, and ends.
    let starts = stream::iter(0..INSTANCES).map(|number| {
        let path = format!("/v1/orchestrations/BenchSleeper?instanceId=s{number}");
        let world = &world;
        async move { world.post(&path, &json!(0)).await.expect(202) }
    });
    starts.buffer_unordered(32).for_each(async |_| ()).await;
    for number in 0..20 {
        world.begin("BenchCollect", &format!("c{number}"), &Value::Null).await;
    }
    for number in 0..10 {
        world
            .tell(&format!("/v1/instances/c{number}/terminate"))
            .await
            .expect(202);
    }
    until("the ends of all", async || {
        let ended = ids(&world, "runtimeStatus=Completed,Terminated").await;
        (ended.len() == INSTANCES + 10).then_some(())
    })
    .await;
    let all = ids(&world, "").await;
    assert_eq!(all.len(), INSTANCES + 20);

    // The list is in the order of creation, which decides between instances that ended in the same millisecond.
    let mut newest = list(&world, "name=BenchSleeper").await;
    newest.reverse();
    newest.sort_by_key(|instance| instance["lastUpdatedTime"].as_str().expect("a time").to_owned());
    newest.reverse();
    let surplus: BTreeSet<String> = newest[KEPT..].iter().map(id).collect();
    let oldest: Vec<String> = newest.iter().rev().take(5).map(id).collect();

    // What the rule will delete can be asked before it is set.
    let preview = world
        .cli(&[
            "retention",
            "set",
            "--name=BenchSleeper",
            &format!("--max-count={KEPT}"),
            "--dry-run",
            "--json",
        ])
        .await
        .json();
    let group = &preview["groups"][0];
    assert_eq!(group["name"], "BenchSleeper", "{preview:#}");
    assert_eq!(group["instances"], INSTANCES - KEPT, "{preview:#}");
    let first = group["first"].as_array().expect("a list").iter();
    assert_eq!(first.map(id).collect::<Vec<_>>(), oldest);
    assert_eq!(preview["groups"].as_array().map(Vec::len), Some(1), "{preview:#}");
    let stored = world.cli(&["retention", "preview"]).await;
    assert!(stored.stdout.contains("nothing would be deleted"), "{stored:?}");
    assert_eq!(ids(&world, "").await.len(), INSTANCES + 20);

    let done = world
        .cli(&[
            "retention",
            "set",
            "--name=BenchSleeper",
            &format!("--max-count={KEPT}"),
        ])
        .await;
    assert_eq!(done.code, 0, "{done:?}");
    until("some are deleted", async || (deleted(&world).await > 0).then_some(())).await;
    world.crash().await;
    let left = ids(&world, "").await.len();
    assert!(
        left > KEPT + 20,
        "the host was killed before all were deleted: {left} are left"
    );
    let expected: BTreeSet<String> = all.difference(&surplus).cloned().collect();
    until("all are deleted", async || {
        (ids(&world, "").await.len() <= expected.len()).then_some(())
    })
    .await;
    let retention = until("nothing is left to delete", async || {
        let retention = world.get("/v1/retention").await.expect(200);
        retention["finishedTime"].is_string().then_some(retention)
    })
    .await;
    assert_eq!(ids(&world, "").await, expected);
    assert_eq!(retention["rules"][0]["maxCount"], KEPT, "{retention:#}");
    let metrics = world.metrics().await;
    let expired = metrics.number(r#"windlass_tenant_instances_expired_total{tenant="default"}"#);
    assert_eq!(expired as u64, deleted(&world).await);
    assert!(metrics.number("windlass_retention_finished_timestamp_seconds") > 1e9);
    // Another one ends, and the oldest is deleted.
    world.begin("BenchSleeper", "another", &json!(0)).await;
    world.once_status("another", "Completed").await;
    set(&world, "name=BenchSleeper", json!({ "maxCount": KEPT }))
        .await
        .expect(204);
    until("the oldest is deleted", async || {
        let left = ids(&world, "name=BenchSleeper").await;
        (left.len() == KEPT && left.contains("another")).then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn old_instances_are_deleted_with_their_sub_orchestrations_and_others_are_kept() {
    let world = World::start(MODULES).await;
    let call = |key: &str, failures: u32| world.input(json!({ "key": key, "failures": failures }));
    world
        .begin("AllOrNothing", "good", &json!([call("a", 0), call("b", 0)]))
        .await;
    world.begin("AllOrNothing", "bad", &json!([call("c", 9)])).await;
    world.begin("OneCall", "audit", &call("d", 0)).await;
    world.begin("BenchCollect", "runs", &Value::Null).await;
    for id in ["good", "bad", "audit"] {
        world.end_of(id).await;
    }
    // Everything is deleted after a second, except failed instances and one function.
    let failed = "runtimeStatus=Failed";
    set(&world, failed, json!({ "maxAge": "1d" })).await.expect(204);
    set(&world, "name=OneCall", json!({ "keepForever": true }))
        .await
        .expect(204);
    let before = ids(&world, "name=OneCall").await;
    assert_eq!(before.len(), 4);
    set(&world, "", json!({ "maxAge": "1s" })).await.expect(204);
    until("the tree is deleted", async || {
        // A pass begins every half minute, or with a new rule.
        set(&world, "", json!({ "maxAge": "1s" })).await.expect(204);
        world.get("/v1/instances/good").await.status.eq(&404).then_some(())
    })
    .await;
    let left = ids(&world, "").await;
    assert!(
        left.contains("bad") && left.contains("audit") && left.contains("runs"),
        "{left:?}"
    );
    assert_eq!(left.len(), 4, "and the child of the failed one: {left:?}");
    let shown = world.cli(&["retention", "show"]).await;
    assert!(
        shown.stdout.contains("OneCall") && shown.stdout.contains("for ever") && shown.stdout.contains("3 instances"),
        "{shown:?}"
    );
    // A child that a purge has left behind follows the rules of its own function.
    world.purge("bad").await;
    let done = world.cli(&["retention", "delete", "--name=OneCall"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    set(&world, failed, json!({ "maxAge": "1s" })).await.expect(204);
    until("all are deleted", async || {
        set(&world, failed, json!({ "maxAge": "1s" })).await.expect(204);
        (ids(&world, "").await == BTreeSet::from(["runs".to_owned()])).then_some(())
    })
    .await;
    world.raise("runs", "item", json!(-1)).await;
    world.output_of("runs").await;
    world.stop().await;
}

#[tokio::test]
async fn rules_are_checked_and_only_operators_set_them() {
    let mut world = World::start(&[]).await;
    for (scope, rule, message) in [
        ("", json!({}), "give maxAge, maxCount, or keepForever"),
        ("", json!({ "maxAge": "soon" }), "maxAge must be a time"),
        ("", json!({ "maxAge": "0s" }), "maxAge must be 1s to 36500d"),
        ("", json!({ "maxAge": "40000d" }), "maxAge must be 1s to 36500d"),
        ("", json!({ "maxCount": 0 }), "maxCount must be 1 to 1000000"),
        ("", json!({ "maxCount": 1_000_001 }), "maxCount must be 1 to 1000000"),
        ("", json!({ "maxCount": -1 }), "invalid value"),
        ("", json!({ "maxAge": "1d", "keepForever": true }), "excludes"),
        ("", json!({ "maxDays": 3 }), "unknown field"),
    ] {
        let problem = set(&world, scope, rule.clone()).await.refused(400, "invalid-body");
        let detail = problem["detail"].as_str().expect("a sentence");
        assert!(detail.contains(message), "{rule}: {detail}");
    }
    let rule = json!({ "maxAge": "1d" });
    for (scope, name) in [
        ("runtimeStatus=Running", "runtimeStatus"),
        ("runtimeStatus=", "runtimeStatus"),
        ("runtimeStatus=Failed,Completed", "runtimeStatus"),
        ("name=", "name"),
    ] {
        let problem = set(&world, scope, rule.clone()).await.refused(400, "invalid-parameter");
        assert_eq!(problem["parameter"], name, "{scope}");
    }
    set(&world, "function=Order", rule.clone())
        .await
        .refused(400, "unknown-parameter");
    for (query, name) in [
        ("maxAge=never", "maxAge"),
        ("maxCount=0", "maxCount"),
        ("maxCount=x", "maxCount"),
        ("name=Order", "keepForever"),
        ("cursor=9", "cursor"),
    ] {
        let answer = world.get(&format!("/v1/retention/preview?{query}")).await;
        let problem = answer.refused(400, "invalid-parameter");
        assert_eq!(problem["parameter"], name, "{query}");
    }
    let path = "/v1/retention/rule?name=Order";
    world.delete(path).await.refused(404, "unknown-retention-rule");
    // A function that no module offers yet is accepted.
    set(&world, "name=Order&runtimeStatus=failed", rule.clone())
        .await
        .expect(204);
    let shown = world.get("/v1/retention").await.expect(200);
    let first = &shown["rules"][0];
    assert_eq!(
        (
            &first["name"],
            &first["runtimeStatus"],
            &first["maxAge"],
            &first["keepForever"]
        ),
        (&json!("Order"), &json!("Failed"), &json!("1day"), &json!(false))
    );
    for number in 1..100 {
        set(&world, &format!("name=F{number}"), rule.clone()).await.expect(204);
    }
    let refused = set(&world, "name=F100", rule.clone()).await;
    assert_eq!(refused.refused(409, "too-many-retention-rules")["limit"], 100);
    set(&world, "name=F1", json!({ "maxCount": 1 })).await.expect(204);
    world.delete("/v1/retention/rule?name=F1").await.expect(204);
    set(&world, "name=F100", rule.clone()).await.expect(204);

    world.guard().await;
    world.create_tenant("acme").await;
    let (client, operator) = (
        world.create_key("acme", "client").await,
        world.create_key("acme", "operator").await,
    );
    let put = |key: &str| {
        world
            .request_as(Some(key), Method::PUT, "/v1/retention/rule")
            .json(&rule)
    };
    world.send(put(&client)).await.refused(403, "role-forbids");
    world.send(put(&operator)).await.expect(204);
    let get = |key: &str| world.request_as(Some(key), Method::GET, "/v1/retention");
    world.send(get(&client)).await.refused(403, "role-forbids");
    let own = world.send(get(&operator)).await.expect(200);
    assert_eq!(own["rules"].as_array().map(Vec::len), Some(1), "{own:#}");
    let preview = world.request_as(Some(&operator), Method::GET, "/v1/retention/preview");
    assert_eq!(world.send(preview).await.expect(200), json!({ "groups": [] }));
    world.stop().await;
}

#[tokio::test]
async fn nothing_of_a_disabled_tenant_is_deleted() {
    let mut world = World::start(&[]).await;
    world.guard().await;
    world.create_tenant("acme").await;
    let (operator, deployer) = (
        world.create_key("acme", "operator").await,
        world.create_key("acme", "deployer").await,
    );
    world.deploy_as(&deployer, &["bench", "bench_activities"]).await;
    let start = world.request_as(
        Some(&operator),
        Method::POST,
        "/v1/orchestrations/BenchSleeper?instanceId=old&wait=20s",
    );
    world.send(start.json(&json!(0))).await.expect(200);
    let put = |age: &str| {
        let request = world.request_as(Some(&operator), Method::PUT, "/v1/retention/rule");
        request.json(&json!({ "maxAge": age }))
    };
    world.send(put("5s")).await.expect(204);
    let disable = |disabled: bool| {
        let request = world.request(Method::PATCH, "/v1/tenants/acme");
        request.json(&json!({ "disabled": disabled }))
    };
    world.send(disable(true)).await.expect(200);
    let exists = async || {
        let shown = world.get("/v1/tenants/acme").await.expect(200);
        shown["use"]["instances"].as_u64() == Some(1)
    };
    assert!(exists().await, "{:#}", world.get("/v1/tenants/acme").await.expect(200));
    // The rules of another tenant wake the deletion, after the age of the instance.
    let wake = || {
        world
            .request(Method::PUT, "/v1/retention/rule")
            .json(&json!({ "maxAge": "1d" }))
    };
    let ended = std::time::Instant::now();
    until("the age", async || {
        world.send(wake()).await.expect(204);
        (ended.elapsed().as_secs() >= 7).then_some(())
    })
    .await;
    assert!(exists().await, "the tenant is disabled");
    world.send(disable(false)).await.expect(200);
    until("the deletion", async || {
        world.send(wake()).await.expect(204);
        (!exists().await).then_some(())
    })
    .await;
    world.stop().await;
}
