//! Tests of what operators do with the states of entities, also of stuck ones and through crashes.

use futures::future::join_all;
use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: [&str; 2] = ["entities", "entities_orchestrations"];

async fn call(world: &World, path: &str, input: Value) -> Value {
    world.post(&format!("/v1/entities/{path}"), &input).await.expect(200)
}

async fn entity(world: &World, path: &str) -> Value {
    world.get(&format!("/v1/entities/{path}")).await.expect(200)
}

/// Asks to set the state, with a precondition.
fn set(world: &World, path: &str, (header, value): (&str, &str), state: &Value) -> reqwest::RequestBuilder {
    let request = world.request(Method::PUT, &format!("/v1/entities/{path}/state"));
    request.header(header.to_owned(), value.to_owned()).json(state)
}

/// Makes a counter stuck, with two operations that wait.
async fn stuck(world: &World, key: &str) -> Value {
    let path = format!("counter/{key}");
    call(world, &format!("{path}/calls/add"), json!(1)).await;
    let spoil = set(world, &path, ("if-match", "*"), &json!("no counter"));
    world.send(spoil).await.expect(200);
    for number in [20, 3] {
        let signal = format!("/v1/entities/{path}/signals/add");
        world.post(&signal, &json!(number)).await.expect(202);
    }
    until("the entity to be stuck", async || {
        let found = entity(world, &path).await;
        (found["stuck"].is_string() && found["waiting"] == 2).then_some(found)
    })
    .await
}

#[tokio::test]
async fn the_state_of_a_stuck_entity_is_exported_and_replaced_and_its_queue_goes_on() {
    let mut world = World::start(&MODULES).await;
    let found = stuck(&world, "a").await;
    assert_eq!(found["state"], "no counter", "{found:#}");
    assert_eq!(found["version"], 2);
    world.crash().await;
    let answer = world.get("/v1/entities/counter/a").await;
    let etag = answer.header("etag").to_owned();
    assert_eq!(answer.body["etag"], json!(etag));
    assert!(answer.body["stuck"].is_string());

    let state = json!({ "count": 100 });
    let world_ref = &world;
    let wrong =
        async |precondition: (&str, &str)| world_ref.send(set(world_ref, "counter/a", precondition, &state)).await;
    wrong(("if-match", "\"9.9\"")).await.refused(412, "entity-changed");
    wrong(("if-none-match", "*")).await.refused(412, "entity-changed");
    for no_tag in ["2", "W/\"2\"", "\"", "\"a\", \"b\""] {
        wrong(("if-match", no_tag)).await.refused(400, "invalid-precondition");
    }
    let none = world.request(Method::PUT, "/v1/entities/counter/a/state").json(&state);
    world.send(none).await.refused(428, "precondition-required");
    let null = set(&world, "counter/a", ("if-match", "*"), &Value::Null);
    world.send(null).await.refused(400, "invalid-body");
    let large = set(&world, "counter/a", ("if-match", "*"), &json!("x".repeat(300 << 10)));
    assert_eq!(
        world.send(large).await.refused(413, "quota-exceeded")["quota"],
        "maxEntityState"
    );
    let absent = set(&world, "counter/b", ("if-match", "*"), &state);
    world.send(absent).await.refused(404, "unknown-entity");
    assert!(
        entity(&world, "counter/a").await["stuck"].is_string(),
        "nothing has changed"
    );

    // The client of this one leaves before the answer, and the host is killed.
    let left = set(&world, "counter/a", ("if-match", &etag), &state).header("idempotency-key", "repair");
    let _ = tokio::time::timeout(std::time::Duration::from_millis(5), left.send()).await;
    world.crash().await;
    let again = set(&world, "counter/a", ("if-match", &etag), &state).header("idempotency-key", "repair");
    assert_eq!(world.send(again).await.expect(200), json!({ "version": 3 }));
    let value = call(&world, "counter/a/calls/get", json!(null)).await;
    assert_eq!(value["output"], 123, "the operations that waited were applied to it");
    let log = world.log_of("@counter@a").await;
    let says = "an operator set the state: version 2 (12 bytes) became version 3 (13 bytes)";
    assert_eq!(log.iter().filter(|line| line.contains(says)).count(), 1, "{log:#?}");
    world.stop().await;
}

#[tokio::test]
async fn a_stuck_entity_is_deleted_without_its_code_and_its_queue_begins_anew() {
    let mut world = World::start(&MODULES).await;
    stuck(&world, "a").await;
    world.crash().await;
    world.delete("/v1/entities/counter/a").await.expect(202);
    assert_eq!(call(&world, "counter/a/calls/get", json!(null)).await["output"], 23);

    stuck(&world, "b").await;
    // Without its module, too.
    world.delete("/v1/modules/entities").await.expect(204);
    world.crash().await;
    let etag = entity(&world, "counter/b").await["etag"]
        .as_str()
        .expect("a tag")
        .to_owned();
    let delete = || {
        let request = world.request(Method::DELETE, "/v1/entities/counter/b/state");
        request.header("if-match", etag.clone())
    };
    assert_eq!(world.send(delete()).await.expect(200), json!({ "version": 3 }));
    world.send(delete()).await.refused(412, "entity-changed");
    until("what waited to be applied", async || {
        let found = entity(&world, "counter/b").await;
        (found["waiting"] == 0 && found["state"]["count"] == 23).then_some(())
    })
    .await;
    // An entity that no module offers any more is deleted without its code.
    world.delete("/v1/entities/counter/b").await.expect(202);
    until("the end of the entity", async || {
        let answer = world.get("/v1/entities/counter/b").await;
        (answer.status == 404).then_some(())
    })
    .await;
    world.stop_without_replay().await;
}

#[tokio::test]
async fn operations_at_the_same_time_are_never_overwritten_unseen() {
    let mut world = World::start(&MODULES).await;
    call(&world, "counter/busy/calls/add", json!(1)).await;
    // Each operator adds 1,000 to what it has read; each client adds 1.
    let operator = async || {
        let mut tries = 0;
        loop {
            tries += 1;
            let found = entity(&world, "counter/busy").await;
            let state = json!({ "count": found["state"]["count"].as_i64().expect("a number") + 1_000 });
            let etag = found["etag"].as_str().expect("a tag").to_owned();
            let answer = world
                .send(set(&world, "counter/busy", ("if-match", &etag), &state))
                .await;
            match answer.status {
                200 => return tries,
                412 => {}
                other => panic!("{other}: {answer:?}"),
            }
        }
    };
    let client = async || {
        for _ in 0..25 {
            call(&world, "counter/busy/calls/add", json!(1)).await;
        }
    };
    let operators = join_all((0..4).map(|_| operator()));
    let clients = join_all((0..4).map(|_| client()));
    let (tries, _) = tokio::join!(operators, clients);
    assert!(tries.iter().all(|tries| *tries >= 1));
    assert_eq!(entity(&world, "counter/busy").await["state"]["count"], 4_101);
    world.crash().await;
    assert_eq!(entity(&world, "counter/busy").await["state"]["count"], 4_101);
    world.stop().await;
}

#[tokio::test]
async fn operators_change_states_with_commands() {
    let world = World::start(&MODULES).await;
    stuck(&world, "c").await;
    let shown = world.cli(&["entity", "show", "Counter", "c"]).await;
    assert!(shown.stdout.contains("version  2"), "{shown:?}");
    let vague = world
        .cli(&["entity", "set-state", "Counter", "c", "--state", "{}"])
        .await;
    assert!(vague.code != 0 && vague.stderr.contains("--version"), "{vague:?}");
    let state = json!({ "count": 5 }).to_string();
    let args = ["entity", "set-state", "Counter", "c", "--state", &state, "--version"];
    let old = world.cli(&[&args[..], &["1"]].concat()).await;
    assert!(old.code != 0 && old.stderr.contains("version 2, not 1"), "{old:?}");
    let now = world.cli(&[&args[..], &["2"]].concat()).await;
    assert!(now.code == 0 && now.stdout.contains("its version is now 3"), "{now:?}");
    assert_eq!(call(&world, "counter/c/calls/get", json!(null)).await["output"], 28);
    let created = ["entity", "set-state", "Counter", "d", "--create", "--state", &state];
    assert_eq!(world.cli(&created).await.code, 0);
    assert_ne!(world.cli(&created).await.code, 0, "it exists");
    assert_eq!(call(&world, "counter/d/calls/get", json!(null)).await["output"], 5);
    let deleted = world.cli(&["entity", "delete-state", "Counter", "d", "--force"]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    world.get("/v1/entities/counter/d").await.refused(404, "unknown-entity");
    world.stop().await;
}

#[tokio::test]
async fn an_entity_without_state_leaves_no_row() {
    let world = World::start(&MODULES).await;
    for key in 0..20 {
        call(&world, &format!("counter/k{key}/calls/add"), json!(1)).await;
        world.delete(&format!("/v1/entities/counter/k{key}")).await.expect(202);
    }
    until("the end of the entities", async || {
        let listed = world.get("/v1/entities").await.expect(200);
        (listed["entities"] == json!([])).then_some(())
    })
    .await;
    let logs = world.get("/v1/instances/@counter@k7/logs").await;
    logs.refused(404, "unknown-instance");
    // Deleted entities begin again, in any order with operations that are on their way.
    let bursts = (0..8).map(|_| async {
        for _ in 0..20 {
            call(&world, "counter/flicker/calls/add", json!(1)).await;
            let _ = world.delete("/v1/entities/counter/flicker").await;
        }
    });
    join_all(bursts).await;
    until("the end of the entity", async || {
        let answer = world.get("/v1/entities/counter/flicker").await;
        (answer.status == 404).then_some(())
    })
    .await;
    world.stop().await;
}
